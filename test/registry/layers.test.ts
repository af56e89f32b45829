import { describe, expect, it } from 'vitest'
import type { Manifest } from '../../src/model/manifest.ts'
import { rawArtifact, readArtifact, type Artifact } from '../../src/registry/artifact.ts'
import { compareLayers, whyNotFromManifest } from '../../src/registry/layers.ts'
import type { Descriptor } from '../../src/registry/descriptor.ts'
import { formatReference, parseReference } from '../../src/registry/reference.ts'

const files = [
  { path: 'config.json', size: 2, sha256: '11'.repeat(32) },
  { path: 'sub/weights.bin', size: 9, sha256: '22'.repeat(32) },
]
const model = (more: Partial<Manifest['serialization']> = {}): Manifest => ({
  name: 'model',
  serialization: { method: 'files', hashType: 'sha256', allowSymlinks: false, ...more },
  resources: files.map(({ path, sha256 }) => ({ name: path, algorithm: 'sha256', digest: sha256 })),
  root: '00'.repeat(32),
})
function artifact(change: (layers: Descriptor[]) => Descriptor[] = (layers) => layers): Artifact {
  const { manifest, digest } = rawArtifact('model', files)
  const json = JSON.parse(new TextDecoder().decode(manifest)) as Record<string, unknown>
  const read = readArtifact({
    digest,
    bytes: manifest,
    json,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
  })
  return { ...read, layers: change([...read.layers]) }
}
const title = (layer: Descriptor | undefined, annotations: Record<string, string>): Descriptor => ({
  ...layer!,
  annotations,
})

describe('deciding from the manifest alone', () => {
  it('accepts exactly the signed files', async () => {
    expect(whyNotFromManifest(artifact(), model())).toBeUndefined()
    const comparison = await compareLayers(artifact(), model())
    expect(comparison.checks).toMatchObject([{ status: 'pass', id: 'model.files' }])
    expect([...comparison.contents.keys()]).toEqual(['config.json', 'sub/weights.bin'])
  })

  it('says when it can not be decided so', () => {
    expect(whyNotFromManifest(artifact(), model({ method: 'shards', shardSize: 10 }))).toContain(
      'shards',
    )
    expect(whyNotFromManifest(artifact(), model({ hashType: 'blake3' }))).toContain('blake3')
    const tar = artifact(([first, second]) => [
      first!,
      { ...second!, mediaType: 'application/vnd.cncf.model.weight.v1.tar' },
    ])
    expect(whyNotFromManifest(tar, model())).toContain('not one plain file')
    const unknown = artifact(([first, second]) => [
      first!,
      { ...second!, mediaType: 'application/octet-stream' },
    ])
    expect(whyNotFromManifest(unknown, model())).toContain('not one plain file')
  })

  it.each<[string, (layers: Descriptor[]) => Descriptor[], string]>([
    ['a missing layer', ([first]) => [first!], 'FILE_MISSING'],
    [
      'an extra layer',
      (layers) => [...layers, title(layers[0], { 'org.cncf.model.filepath': 'evil.py' })],
      'FILE_EXTRA',
    ],
    [
      'swapped paths',
      ([a, b]) => [title(a, b!.annotations!), title(b, a!.annotations!)],
      'FILE_CHANGED',
    ],
    [
      'two different paths for two consumers',
      ([a, b]) => [
        a!,
        title(b, { ...b!.annotations, 'org.opencontainers.image.title': 'other.bin' }),
      ],
      'LAYER_PATH',
    ],
    [
      'a third name for CRI-O',
      ([a, b]) => [a!, title(b, { ...b!.annotations, 'org.cnai.model.filepath': 'other.bin' })],
      'LAYER_PATH',
    ],
    ['no path', ([a, b]) => [a!, title(b, {})], 'LAYER_PATH'],
    [
      'a path that climbs out',
      ([a, b]) => [a!, title(b, { 'org.cncf.model.filepath': '../weights.bin' })],
      'LAYER_PATH',
    ],
    [
      'an absolute path',
      ([a, b]) => [a!, title(b, { 'org.cncf.model.filepath': '/weights.bin' })],
      'LAYER_PATH',
    ],
    ['the same path twice', ([a, b]) => [a!, b!, title(a, b!.annotations!)], 'LAYER_PATH'],
    [
      'the same path but for letter case',
      ([a, b]) => [a!, b!, title(b, { 'org.cncf.model.filepath': 'SUB/Weights.bin' })],
      'LAYER_PATH',
    ],
    [
      'a file that is also a directory',
      ([a, b]) => [a!, b!, title(a, { 'org.cncf.model.filepath': 'sub' })],
      'LAYER_PATH',
    ],
  ])('refuses %s', async (_, change, code) => {
    const { checks } = await compareLayers(artifact(change), model())
    expect(checks.filter(({ status }) => status === 'fail').map((check) => check.code)).toContain(
      code,
    )
    expect(checks.some(({ status }) => status === 'pass')).toBe(false)
  })

  it('does not look at sizes, which are claims', async () => {
    const wrong = artifact((layers) => layers.map((layer) => ({ ...layer, size: 1 })))
    expect((await compareLayers(wrong, model())).checks[0]?.status).toBe('pass')
  })

  it('names what lies under a path that the signer chose to ignore', async () => {
    const ignoring = model({ ignorePaths: ['logs'] })
    const { ignored } = await compareLayers(
      artifact((layers) => [
        ...layers,
        title(layers[0], { 'org.cncf.model.filepath': 'logs/run' }),
      ]),
      ignoring,
    )
    expect(ignored).toEqual(['logs/run'])
  })
})

describe('references', () => {
  const digest = `sha256:${'ab'.repeat(32)}`
  it.each([
    `oci://localhost:5000/a/b@${digest}`,
    'oci://ghcr.io/org/model:v1.0',
    `oci://[::1]:5000/m:t@${digest}`,
    'oci://r.example/a__b/c-d.e',
  ])('reads %s', (text) => {
    expect(formatReference(parseReference(text))).toBe(text)
  })
  it.each([
    'oci://',
    'oci://host',
    'oci://host/',
    'oci://Host/a',
    'oci://h/A',
    'oci://h/a/../b',
    'oci://h/a:',
    'oci://h/a:-x',
    'oci://h/a@sha256:ab',
    `oci://h/a@sha512:${'ab'.repeat(64)}`,
    'oci://u:p@h/a',
    'oci://h:0/a',
    'oci://h:99999/a',
    'oci://h/a?x',
    'oci://h//a',
    `oci://h/a@${digest.toUpperCase()}`,
    `oci://h/${'a/'.repeat(300)}b`,
  ])('refuses %s', (text) => {
    expect(() => parseReference(text)).toThrow(
      expect.objectContaining({ code: 'REFERENCE_INVALID' }) as Error,
    )
  })
})
