import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { pack } from 'tar-stream'
import type { Manifest } from '../../src/model/manifest.ts'
import { readArtifact, type Artifact } from '../../src/registry/artifact.ts'
import type { FetchedManifest, Repository } from '../../src/registry/client.ts'
import { compareStreamed } from '../../src/registry/layers.ts'
import type { Check } from '../../src/verdict.ts'

const sha = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')
const IMAGE = 'application/vnd.oci.image.manifest.v1+json'
const TAR = 'application/vnd.oci.image.layer.v1.tar'
const IMAGE_CONFIG = 'application/vnd.oci.image.config.v1+json'
const GOOD = '{"good": true}'
const EVIL = '{"good": false}'

const fetched = (text: string): FetchedManifest => ({
  digest: `sha256:${sha(text)}`,
  bytes: new TextEncoder().encode(text),
  json: JSON.parse(text) as Record<string, unknown>,
  mediaType: IMAGE,
})
const descriptor = (mediaType: string, content: string): object => ({
  mediaType,
  digest: `sha256:${sha(content)}`,
  size: content.length,
})

describe('a manifest that two readers read differently', () => {
  // Go's encoding/json finds its fields without regard to letter case, and the last one wins.
  const base = {
    schemaVersion: 2,
    mediaType: IMAGE,
    config: descriptor(IMAGE_CONFIG, '{}'),
    layers: [descriptor(TAR, 'good')],
  }
  const layer = base.layers[0] ?? {}

  it('is read where it can not be', () => {
    const more = { ...base, annotations: { Layers: 'a name in here is just a name' }, vendor: 1 }
    expect(readArtifact(fetched(JSON.stringify(more))).layers).toHaveLength(1)
  })

  it.each<[string, object]>([
    ['layers', { ...base, Layers: [descriptor(TAR, 'evil')] }],
    ['layers with a long s', { ...base, 'layer\u017f': [descriptor(TAR, 'evil')] }],
    ['a config', { ...base, CONFIG: descriptor(IMAGE_CONFIG, 'evil') }],
    ['a media type', { ...base, mediatype: 'application/vnd.oci.image.index.v1+json' }],
    ['an index', { ...base, MANIFESTS: [] }],
    ['the digest of a layer', { ...base, layers: [{ ...layer, Digest: `sha256:${sha('evil')}` }] }],
    ['the type of a layer', { ...base, layers: [{ ...layer, mediatype: 'x' }] }],
    [
      'the annotations of a layer',
      { ...base, layers: [{ ...layer, Annotations: { 'org.cncf.model.filepath': 'evil' } }] },
    ],
    ['the digest of the config', { ...base, config: { ...base.config, DIGEST: 'sha256:0' } }],
  ])('is refused: %s twice', (_, manifest) => {
    expect(() => readArtifact(fetched(JSON.stringify(manifest)))).toThrow(
      expect.objectContaining({ code: 'ARTIFACT_INVALID' }),
    )
  })
})

interface Entry {
  readonly name: string
  readonly type?: 'symlink' | 'link'
  readonly linkname?: string
  readonly text?: string
}

async function tar(entries: readonly Entry[]): Promise<Uint8Array> {
  const archive = pack()
  for (const { text = '', ...header } of entries) archive.entry(header, text)
  archive.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of archive as AsyncIterable<Uint8Array>) chunks.push(chunk)
  return new Uint8Array(Buffer.concat(chunks))
}

const model: Manifest = {
  name: 'model',
  serialization: { method: 'files', hashType: 'sha256', allowSymlinks: false },
  resources: [{ name: 'config.json', algorithm: 'sha256', digest: sha(GOOD) }],
  root: sha(Buffer.from(sha(GOOD), 'hex')),
}

/** What an image of these layers, which nobody stores but this test, is compared to. */
async function compared(
  layers: readonly Uint8Array[],
  mediaType = TAR,
  config = IMAGE_CONFIG,
): Promise<readonly Check[]> {
  const blobs = new Map(layers.map((bytes) => [`sha256:${sha(bytes)}`, bytes]))
  const repository = {
    async *blobStream(digest: string) {
      await Promise.resolve()
      yield blobs.get(digest)
    },
  } as unknown as Repository
  const artifact: Artifact = {
    kind: config === IMAGE_CONFIG ? 'image' : 'modelpack',
    config: { mediaType: config, digest: `sha256:${sha('{}')}`, size: 2 },
    layers: layers.map((bytes) => ({
      mediaType,
      digest: `sha256:${sha(bytes)}`,
      size: bytes.length,
    })),
  }
  return (await compareStreamed(repository, artifact, model)).checks
}
const failing = (checks: readonly Check[]): readonly string[] =>
  checks.flatMap(({ status, code }) => (status === 'fail' ? [code] : []))

describe('an image whose layers lead into the model by another way', () => {
  const good: Entry = { name: 'models/config.json', text: GOOD }
  const link = (name: string, linkname: string): Entry => ({ name, type: 'symlink', linkname })
  const evil = (name: string): Entry => ({ name, text: EVIL })

  it('is read where the other way leads elsewhere', async () => {
    const usual = [
      link('lib', 'usr/lib'),
      evil('lib/config.json'),
      link('etc/motd', '/run/motd'),
      link('var/models', '/models'),
      good,
    ]
    expect(failing(await compared([await tar(usual)]))).toEqual([])
    expect(failing(await compared([await tar([good]), await tar(usual.slice(0, 4))]))).toEqual([])
  })

  it.each<[string, readonly (readonly Entry[])[]]>([
    ['a link beside it', [[good, link('x', 'models'), evil('x/config.json')]]],
    ['an absolute link', [[good, link('x', '/models'), evil('x/config.json')]]],
    ['a link to the root', [[good, link('x', '.'), evil('x/models/config.json')]]],
    ['a link that climbs', [[good, link('a/x', '../models'), evil('a/x/config.json')]]],
    [
      'a link that climbs above the root, where there is nothing above it',
      [[good, link('a/x', '../../../models'), evil('a/x/config.json')]],
    ],
    [
      'a link through a link',
      [[good, link('y', 'models'), link('x', './y/.'), evil('x/config.json')]],
    ],
    ['a link of an earlier layer', [[good], [link('x', 'models')], [evil('x/config.json')]]],
    ['a new file', [[good], [link('x', 'models')], [evil('x/new.py')]]],
    ['a new file deep below', [[good], [link('x', 'models')], [evil('x/a/b/new.py')]]],
    ['a deletion', [[good], [link('x', 'models')], [evil('x/.wh.config.json')]]],
    [
      'a hard link',
      [
        [
          good,
          link('x', 'models'),
          evil('other/evil'),
          { name: 'x/config.json', type: 'link', linkname: 'other/evil' },
        ],
      ],
    ],
    [
      'a link in place of the directory',
      [[good], [link('x', '/'), link('x/models', '/other'), evil('other/config.json')]],
    ],
    ['links in a circle', [[good, link('x', 'y'), link('y', 'x'), evil('x/config.json')]]],
    [
      'a link that is written over later in the layer',
      [[good, link('x', 'models'), evil('x/config.json'), link('x', 'other')]],
    ],
  ])('is refused: %s', async (_, layers) => {
    const checks = await compared(await Promise.all(layers.map((entries) => tar(entries))))
    expect(failing(checks)).toContain('NAME_UNSAFE')
  })
})

describe('a layer that is packed in another way than its type says', () => {
  const entries: readonly Entry[] = [{ name: 'models/config.json', text: GOOD }]

  it('is refused: whoever goes by the type, and whoever looks, would see two models', async () => {
    const plain = await tar(entries)
    const packed = new Uint8Array(gzipSync(plain))
    expect(failing(await compared([plain]))).toEqual([])
    expect(failing(await compared([packed], `${TAR}+gzip`))).toEqual([])
    const invalid = expect.objectContaining({ code: 'ARTIFACT_INVALID' }) as Error
    await expect(compared([packed], TAR)).rejects.toThrow(invalid)
    await expect(compared([plain], `${TAR}+gzip`)).rejects.toThrow(invalid)
  })

  it.each([
    ['zstd', '(\u00b5/\u00fd'],
    ['a frame that zstd skips', 'S*M\u0018'],
    ['bzip2', 'BZh9'],
    ['xz', '\u00fd7zXZ'],
  ])('is refused where a name at its start is the mark of %s', async (_, name) => {
    const bytes = await tar([{ name: 'xxxxxx/a', text: '' }, ...entries])
    bytes.set(Buffer.from(name, 'latin1'))
    const header = bytes.subarray(0, 512)
    header.fill(0x20, 148, 156)
    const sum = header.reduce((total, byte) => total + byte, 0)
    header.set(Buffer.from(`${sum.toString(8).padStart(6, '0')}\0 `, 'latin1'), 148)
    await expect(compared([bytes])).rejects.toThrow(
      expect.objectContaining({ code: 'ARTIFACT_INVALID' }) as Error,
    )
  })
})
