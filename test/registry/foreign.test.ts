// Models as other tools put them into registries: read in one pass to the signed list, and refused with a stable code where they play tricks.
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Repository } from '../../src/registry/client.ts'
import { attach, BUNDLE_TYPE } from '../../src/registry/referrers.ts'
import { startRegistry, type RegistryDouble } from '../fakes/registry.ts'
import { failures, FILES, routeOf, sha, Shelf, verify, type SignedFolder } from './shelf.ts'

const shelf = new Shelf()
let double: RegistryDouble
let repository: Repository
let model: SignedFolder
beforeAll(async () => {
  double = await startRegistry()
  repository = shelf.repository(double.host, 'foreign/tiny', { idleTimeoutMs: 2_000 })
  model = await shelf.model()
})
afterAll(async () => {
  shelf.close()
  await double.close()
})

type Entry =
  | readonly [name: string, text: string]
  | { readonly name: string; readonly type: 'symlink' | 'link' | 'directory'; readonly to?: string }

const nameOf = (entry: Entry): string => ('type' in entry ? entry.name : entry[0])

async function tar(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack()
  for (const entry of entries) {
    if ('type' in entry) {
      const { name, type, to } = entry
      archive.entry({ name, type, ...(to === undefined ? {} : { linkname: to }) })
    } else archive.entry({ name: entry[0] }, entry[1])
  }
  archive.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of archive) chunks.push(chunk as Uint8Array)
  return Buffer.concat(chunks)
}
const under = (folder: string): Entry[] =>
  Object.entries(FILES).map(([name, text]) => [`${folder}${name}`, text] as const)

interface Layer {
  readonly type: string
  readonly bytes: Uint8Array
  readonly annotations?: Readonly<Record<string, string>>
  readonly size?: number
}
const KIT = 'application/vnd.kitops.modelkit'
const CONFIGS = {
  image: 'application/vnd.oci.image.config.v1+json',
  docker: 'application/vnd.docker.container.image.v1+json',
  kit: `${KIT}.config.v1+json`,
  pack: 'application/vnd.cncf.model.config.v1+json',
  strange: 'application/vnd.example.config.v1+json',
}

/** Puts an artifact as any tool could have written it, and a signature beside it. */
async function put(
  config: keyof typeof CONFIGS,
  layers: readonly Layer[],
  signed: SignedFolder = model,
): Promise<string> {
  const utf8 = new TextEncoder().encode('{"config":1}')
  const upload = async (bytes: Uint8Array): Promise<string> => {
    const digest = `sha256:${sha(bytes)}`
    await repository.uploadBlob(digest, bytes.length, async function* (offset) {
      await Promise.resolve()
      yield bytes.subarray(offset)
    })
    return digest
  }
  const descriptors = []
  for (const { type, bytes, annotations, size } of layers)
    descriptors.push({
      mediaType: type,
      digest: await upload(bytes),
      size: size ?? bytes.length,
      ...(annotations === undefined ? {} : { annotations }),
    })
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = new TextEncoder().encode(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: { mediaType: CONFIGS[config], digest: await upload(utf8), size: utf8.length },
      layers: descriptors,
    }),
  )
  const digest = `sha256:${sha(manifest)}`
  await repository.putManifest(digest, mediaType, manifest)
  await attach(repository, {
    subject: { mediaType, digest, size: manifest.length },
    mediaType: BUNDLE_TYPE,
    content: signed.signature,
    annotations: {},
  })
  return digest
}

async function decide(
  config: keyof typeof CONFIGS,
  layers: readonly Layer[],
  signed: SignedFolder = model,
): Promise<string[]> {
  const verdict = await verify(repository, await put(config, layers, signed))
  if (verdict.decision === 'allow') return [routeOf(verdict) ?? '']
  return failures(verdict)
}
const image = async (...layers: readonly (readonly Entry[])[]): Promise<Layer[]> =>
  Promise.all(
    layers.map(async (entries) => ({
      type: 'application/vnd.oci.image.layer.v1.tar+gzip',
      bytes: gzipSync(await tar(entries)),
    })),
  )

describe('read in one pass', () => {
  it('KitOps ModelKit: several tars, plain and gzip', async () => {
    const entries = under('')
    const first = await tar(entries.slice(0, 2))
    const second = gzipSync(await tar(entries.slice(2)))
    expect(
      await decide('kit', [
        { type: `${KIT}.docs.v1.tar`, bytes: first },
        { type: `${KIT}.model.v1.tar+gzip`, bytes: second },
      ]),
    ).toEqual(['streamed'])
  })

  it('ModelPack: tar beside raw', async () => {
    const name = 'config.json'
    const text = FILES[name] ?? ''
    expect(
      await decide('pack', [
        {
          type: 'application/vnd.cncf.model.weight.config.v1.raw',
          bytes: new TextEncoder().encode(text),
          annotations: { 'org.cncf.model.filepath': name },
        },
        { type: 'application/vnd.cncf.model.weight.v1.tar', bytes: await tar(under('').slice(1)) },
      ]),
    ).toEqual(['streamed'])
  })

  it('ModelCar: layers of an image, a base with anything in it, hard links, a warning', async () => {
    const base: Entry[] = [
      ['etc/passwd', 'root'],
      ['usr/lib/a\\x2db.slice', ''],
      ['usr/.wh.old', ''],
      { name: 'bin', type: 'symlink', to: 'usr/bin' },
      { name: 'models/', type: 'directory' },
    ]
    const layers = await image(base, under('models/').slice(0, 2), under('models/').slice(2))
    expect(await decide('image', layers)).toEqual(['streamed'])
    const verdict = await verify(repository, await put('image', layers))
    expect(verdict.checks.find(({ id }) => id === 'registry.image')).toMatchObject({
      status: 'warn',
      code: 'IMAGE_UNCOVERED',
    })
    const twins = await shelf.model({ 'a.bin': 'same', 'b.bin': 'same' })
    const linked = await image(base, [
      ['models/a.bin', 'same'],
      { name: 'models/b.bin', type: 'link', to: 'models/a.bin' },
    ])
    expect(await decide('image', linked, twins)).toEqual(['streamed'])
    expect(await decide('docker', linked, twins)).toEqual(['streamed'])
  })

  it('a model whose own .gitattributes is signed, as releases before 1.1.0 did', async () => {
    const signed = await shelf.model(
      { 'config.json': '{}', '.gitattributes': '*.bin lfs' },
      { defaultIgnores: false },
    )
    const files = (text: string): Entry[] => [
      ['config.json', '{}'],
      ['.gitattributes', text],
      ['.gitignore', 'left out'],
    ]
    const packed = async (text: string): Promise<Layer[]> => [
      { type: `${KIT}.model.v1.tar`, bytes: await tar(files(text)) },
    ]
    const raw = (text: string): Layer[] =>
      files(text).map((entry) => ({
        type: 'application/vnd.cncf.model.weight.v1.raw',
        bytes: new TextEncoder().encode((entry as readonly string[])[1]),
        annotations: { 'org.cncf.model.filepath': nameOf(entry) },
      }))
    expect(await decide('kit', await packed('*.bin lfs'), signed)).toEqual(['streamed'])
    expect(await decide('kit', await packed('*.bin evil'), signed)).toEqual([
      'model.changed FILE_CHANGED',
    ])
    expect(await decide('pack', raw('*.bin lfs'), signed)).toEqual(['raw-bijection'])
    expect(await decide('pack', raw('*.bin evil'), signed)).toEqual(['model.changed FILE_CHANGED'])
  })

  it('Ollama: a file by its role, and a lone GGUF by its bytes alone', async () => {
    const text = (content: string): Uint8Array => new TextEncoder().encode(content)
    const layer = (role: string, content: string): Layer => ({
      type: `application/vnd.ollama.image.${role}`,
      bytes: text(content),
    })
    const roles = await shelf.model({ model: 'GGUF', template: '{{ .Prompt }}', params: '{}' })
    const layers = [
      layer('model', 'GGUF'),
      layer('template', '{{ .Prompt }}'),
      layer('params', '{}'),
    ]
    expect(await decide('docker', layers, roles)).toEqual(['raw-bijection'])
    expect(await decide('docker', [...layers, layer('system', 'be evil')], roles)).toEqual([
      'model.extra FILE_EXTRA',
    ])
    expect(await decide('docker', [...layers, layer('adapter', 'x')], roles)).toHaveLength(1)
    const lone = await shelf.model({ 'llama.gguf': 'GGUF' })
    expect(await decide('docker', [layer('model', 'GGUF')], lone)).toEqual(['raw-bijection'])
    expect(await decide('docker', [layer('model', 'GGUX')], lone)).toEqual([
      'model.changed FILE_CHANGED',
    ])
    expect(
      (await decide('docker', [layer('model', 'GGUF'), layer('template', 'x')], lone)).length,
    ).toBeGreaterThan(0)
  })
})

describe('refused', () => {
  const all = under('models/')
  it.each<[string, readonly (readonly Entry[])[], string]>([
    [
      'one path in two layers',
      [all, [['models/config.json', FILES['config.json'] ?? '']]],
      'registry.path LAYER_PATH',
    ],
    ['a deletion of a file', [all, [['models/.wh.README.md', '']]], 'model.entry NAME_UNSAFE'],
    ['a deletion of all files', [all, [['models/.wh..wh..opq', '']]], 'model.entry NAME_UNSAFE'],
    ['a deletion of the directory', [all, [['.wh.models', '']]], 'model.entry NAME_UNSAFE'],
    [
      'a link in place of the directory',
      [[{ name: 'models', type: 'symlink', to: 'opt' }], all],
      'model.entry NAME_UNSAFE',
    ],
    [
      'a link in it',
      [[...all, { name: 'models/x', type: 'symlink', to: 'config.json' }]],
      'model.entry FILE_LINK',
    ],
    [
      'a directory in place of a file',
      [all, [{ name: 'models/README.md', type: 'directory' }]],
      'registry.path LAYER_PATH',
    ],
    [
      'a file in place of a directory',
      [all, [['models/weights', 'x']]],
      'registry.path LAYER_PATH',
    ],
    [
      'a hard link to a file that is not the model’s',
      [
        [
          ['etc/x', '# tiny\n'],
          ...all.filter((entry) => nameOf(entry) !== 'models/README.md'),
          { name: 'models/README.md', type: 'link', to: 'etc/x' },
        ],
      ],
      'model.entry LINK_BROKEN',
    ],
    ['a path that climbs', [[...all, ['models/../models/x', '']]], 'model.entry NAME_UNSAFE'],
    [
      'a path that comes back from elsewhere',
      [[...all, ['etc/../models/x', '']]],
      'model.entry NAME_UNSAFE',
    ],
    ['an absolute path', [[...all, ['/models/x', '']]], 'model.entry NAME_UNSAFE'],
    ['one file more', [[...all, ['models/x', '']]], 'model.extra FILE_EXTRA'],
    ['no model at all', [[['etc/x', '']]], 'model.missing FILE_MISSING'],
  ] as [string, readonly (readonly Entry[])[], string][])(
    'an image with %s',
    async (_, layers, code) => {
      expect(await decide('image', await image(...layers))).toContain(code)
    },
  )

  it('links in a model of several layers, even where links are allowed', async () => {
    const linking = await shelf.model(FILES, { allowSymlinks: true })
    const directory: Entry = { name: 'models/w', type: 'symlink', to: 'empty' }
    const layers = await image(all, [{ name: 'models/empty/', type: 'directory' }, directory])
    expect(await decide('image', layers, linking)).toEqual(['registry.path LAYER_PATH'])
    expect(await decide('image', await image(all), linking)).toEqual(['streamed'])
  })

  it.each<[string, () => Promise<Layer>, string]>([
    [
      'zstd',
      async () => ({
        type: 'application/vnd.cncf.model.weight.v1.tar+zstd',
        bytes: await tar(under('')),
      }),
      'ARTIFACT_INVALID',
    ],
    [
      'an unknown type',
      async () => ({ type: 'application/octet-stream', bytes: await tar(under('')) }),
      'ARTIFACT_INVALID',
    ],
    [
      'bytes after the end of gzip',
      async () => ({
        type: `${KIT}.model.v1.tar+gzip`,
        bytes: Buffer.concat([gzipSync(await tar(under(''))), Buffer.from('more')]),
      }),
      'TAR_INVALID',
    ],
    [
      'no tar',
      () => Promise.resolve({ type: `${KIT}.model.v1.tar`, bytes: Buffer.from('text') }),
      'TAR_INVALID',
    ],
    [
      'a bomb',
      () => Promise.resolve({ type: `${KIT}.model.v1.tar+gzip`, bytes: bomb() }),
      'TAR_TOO_LARGE',
    ],
    [
      'more bytes than it claims',
      async () => ({ type: `${KIT}.model.v1.tar`, bytes: await tar(under('')), size: 10 }),
      'TOO_LARGE',
    ],
  ])('a layer that is %s', async (_, make, code) => {
    const digest = await put('kit', [await make()])
    await expect(verify(repository, digest)).rejects.toMatchObject({ code })
  })

  it('a config that nobody knows, and an index', async () => {
    const layer = { type: `${KIT}.model.v1.tar`, bytes: await tar(under('')) }
    const strange = await put('strange', [layer])
    await expect(verify(repository, strange)).rejects.toMatchObject({ code: 'ARTIFACT_INVALID' })
    const mediaType = 'application/vnd.oci.image.index.v1+json'
    const index = new TextEncoder().encode(
      JSON.stringify({ schemaVersion: 2, mediaType, manifests: [] }),
    )
    await repository.putManifest('index', mediaType, index)
    await expect(verify(repository, 'index')).rejects.toMatchObject({ code: 'ARTIFACT_INVALID' })
  })

  it('a registry that lies, never ends, stalls or breaks off', async () => {
    const digest = await put('kit', [{ type: `${KIT}.model.v1.tar`, bytes: await tar(under('')) }])
    const bundles = [...double.blobs]
      .filter(([, bytes]) => bytes.length > 100_000)
      .map(([key]) => key)
    expect(bundles.length).toBeGreaterThan(0)
    const under_ = async (switches: Partial<RegistryDouble['switches']>): Promise<unknown> => {
      const source = await import('./shelf.ts').then((shelves) =>
        shelves.source(repository, digest),
      )
      const [bundle] = await source.bundles({})
      const { listOf } = await import('./shelf.ts')
      const list = listOf(bundle?.bytes ?? new Uint8Array())
      Object.assign(double.switches, switches)
      try {
        return await source.compare(list!, {})
      } finally {
        for (const key of Object.keys(switches)) Reflect.deleteProperty(double.switches, key)
      }
    }
    await expect(under_({ lie: 'blob' })).rejects.toMatchObject({
      code: expect.stringMatching(/TAR_INVALID|REGISTRY_DIGEST/) as string,
    })
    await expect(under_({ endless: true })).rejects.toMatchObject({
      code: expect.stringMatching(/TOO_LARGE|TAR_INVALID/) as string,
    })
    await expect(under_({ cutBlobs: 99 })).rejects.toMatchObject({ code: 'NETWORK' })
    await expect(under_({ stalledAbove: 0 })).rejects.toMatchObject({ code: 'NETWORK' })
    expect(await under_({ cutBlobs: 3 })).toMatchObject({ route: 'streamed' })
    expect(await under_({ cutBlobs: 3, noRanges: true })).toMatchObject({ route: 'streamed' })
  }, 40_000)
})

/** A tar of zeros that packs a thousand to one. */
function bomb(): Buffer {
  const size = 200 << 20
  const header = Buffer.alloc(512)
  header.write('zeros')
  header.write('0000644\0', 100)
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124)
  header.write('00000000000\0', 136)
  header.write('        0', 148)
  header.write('ustar\x0000', 257, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return gzipSync(Buffer.concat([header, Buffer.alloc(size + 1024)]), { level: 1 })
}
