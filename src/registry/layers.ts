// The single owner of a registry's layers as the files of a model: by their digests alone, or streamed through the hashers without unpacking.
import { ZtError } from '../error.ts'
import { compareFound, unsignedDefaults, type Comparison } from '../model/compare.ts'
import type { HashedFile, Manifest } from '../model/manifest.ts'
import { compareNames, ignoredPath, nameProblem, shownName } from '../model/name.ts'
import { guessFormat } from '../model/guess.ts'
import { hashStream } from '../model/stream.ts'
import { Around } from '../model/tar-around.ts'
import { hashTar } from '../model/tar.ts'
import type { Check } from '../verdict.ts'
import { configKnown, layerForm, pathsNamed, type Artifact } from './artifact.ts'
import type { Repository } from './client.ts'
import type { Descriptor } from './descriptor.ts'

/** Where KServe's ModelCar images keep the model. */
export const MODELCAR = 'models'

/** Why the manifest alone can't decide about an artifact; undefined if it can. */
export function whyNotFromManifest(artifact: Artifact, model: Manifest): string | undefined {
  const { method, hashType } = model.serialization
  if (method !== 'files')
    return `the signature names shards, and a layer's digest is that of a whole file`
  if (hashType !== 'sha256')
    return `the signature's digests are ${hashType}, and layers have sha256`
  if (!configKnown(artifact)) return `the config is of another type than goes with the layers`
  const other = artifact.layers.find((layer) => layerForm(layer.mediaType) !== 'file')
  return other === undefined
    ? undefined
    : `the layer ${other.digest} is not one plain file (${other.mediaType})`
}

/**
 * Compares the layers with a signed list by digests alone. Sound where every layer is one file verbatim and has one path, the same for every
 * consumer, canonical, and unique also when letter case and Unicode forms are folded: then `{(path, sha256)}` must be the same set on both
 * sides. What later downloads the layers must check their digests. Sizes are claims of the registry: a wrong one can only refuse.
 */
export async function compareLayers(artifact: Artifact, model: Manifest): Promise<Comparison> {
  const { layers, checks } = pathsOf(artifact, model)
  const files = layers.map(({ path, layer }): HashedFile => {
    const parts = [{ start: 0, end: layer.size, digest: layer.digest.slice('sha256:'.length) }]
    const content = guessFormat(path)
    return { name: path, size: layer.size, parts, content }
  })
  return compareHashed(model, files, [...checks, ...conflicts(files)])
}

/**
 * Reads every layer once, hashing its files on the way and unpacking nothing. Each layer's own digest is checked as well, so a lying registry
 * is an error and never a verdict.
 */
export async function compareStreamed(
  repository: Repository,
  artifact: Artifact,
  model: Manifest,
  options: { readonly signal?: AbortSignal; readonly onBytes?: (bytes: number) => void } = {},
): Promise<Comparison> {
  refuseUnread(artifact)
  const { hashType, shardSize, allowSymlinks, ignorePaths } = model.serialization
  const isLeftOut = leftOut(model)
  const common = { hashType, sniff: true, ...(shardSize === undefined ? {} : { shardSize }) }
  const raw = pathsOf(artifact, model)
  const paths = new Map(raw.layers.map(({ path, layer }) => [layer, path]))
  const files: HashedFile[] = []
  const ignored: string[] = []
  const checks: Check[] = [...raw.checks]
  const directories = new Set<string>()
  const around = new Around(MODELCAR)
  const links: string[] = []
  let bearing = 0
  let read = 0
  const readLayer = (layer: Descriptor): WholeLayer =>
    new WholeLayer(repository, layer, options.signal, (bytes) => options.onBytes?.((read += bytes)))
  for (const layer of artifact.layers) {
    const whole = readLayer(layer)
    if (layerForm(layer.mediaType) === 'file') {
      const path = paths.get(layer)
      if (path === undefined || isLeftOut(path)) continue
      bearing += 1
      files.push(await hashStream(path, whole.bytes(), common))
    } else {
      const outcome = await hashTar(packedAsSaid(layer, whole.bytes()), {
        ...common,
        allowSymlinks,
        defaultIgnores: false,
        ignorePaths: unsignedDefaults(model),
        reportIgnored: ignorePaths ?? [],
        ...(artifact.kind === 'image' ? { within: MODELCAR, around } : {}),
      })
      const { length } = [...outcome.files, ...outcome.directories, ...outcome.links]
      if (length > 0) bearing += 1
      files.push(...outcome.files)
      ignored.push(...outcome.ignored)
      for (const directory of outcome.directories) directories.add(directory)
      links.push(...outcome.links)
      // An image has layers without a part of the model.
      checks.push(...outcome.checks.filter(({ code }) => code !== 'MODEL_EMPTY'))
    }
    whole.check()
  }
  checks.push(
    ...conflicts(files, directories),
    ...acrossLayers(links, bearing),
    ...beside(artifact),
  )
  return compareHashed(model, files, checks, ignored)
}

/** Everything that can't be read is refused before anything is. */
function refuseUnread(artifact: Artifact): void {
  if (!configKnown(artifact)) {
    throw new ZtError(
      'ARTIFACT_INVALID',
      `the config has a media type that is not read: ${shownName(artifact.config.mediaType.slice(0, 200))}`,
      { path: artifact.config.digest, hint: READ },
    )
  }
  for (const { mediaType, digest } of artifact.layers) {
    if (layerForm(mediaType) !== 'unknown') continue
    throw new ZtError(
      'ARTIFACT_INVALID',
      `a layer has a media type that is not read: ${shownName(mediaType.slice(0, 200))}`,
      {
        path: digest,
        hint: mediaType.includes('zstd')
          ? 'zstd is not unpacked: push the layer plain, as ModelPack recommends, or with gzip'
          : READ,
      },
    )
  }
}

const READ =
  'zt4ai reads ModelPack, KitOps ModelKit, Ollama and container-image (ModelCar) layers, plain or gzip'

/**
 * One layer's bytes, of which every one must have been read: its digest is checked at its end, and a layer that nobody read to there could be
 * another than the one that is deployed. A claimed size is the most that is read of it, so that no registry sends for ever.
 */
class WholeLayer {
  readonly #repository: Repository
  readonly #layer: Descriptor
  readonly #signal: AbortSignal | undefined
  readonly #onBytes: (bytes: number) => void
  #whole = false

  constructor(
    repository: Repository,
    layer: Descriptor,
    signal: AbortSignal | undefined,
    onBytes: (bytes: number) => void,
  ) {
    this.#repository = repository
    this.#layer = layer
    this.#signal = signal
    this.#onBytes = onBytes
  }

  async *bytes(): AsyncIterable<Uint8Array> {
    for await (const chunk of this.#repository.blobStream(this.#layer.digest, this.#layer.size)) {
      if (this.#signal?.aborted === true)
        throw new ZtError('INTERRUPTED', 'interrupted while reading a layer')
      this.#onBytes(chunk.length)
      yield chunk
    }
    this.#whole = true
  }

  check(): void {
    if (this.#whole) return
    throw new ZtError('REGISTRY_DIGEST', 'a layer was not read to its end', {
      path: this.#layer.digest,
    })
  }
}

/** What a file begins with that is packed: gzip, zstd and the frames that it skips, bzip2, xz. Many runtimes look at these and not at the type. */
const PACKED = [
  /^\x1f\x8b/,
  /^\x28\xb5\x2f\xfd/,
  /^[\x50-\x5f]\x2a\x4d\x18/,
  /^BZh/,
  /^\xfd7zXZ/,
] as const

/**
 * The bytes of a tar layer, if they begin as its type says. Whoever goes by the type, and whoever looks at the bytes, must see the same model.
 * @throws ZtError ARTIFACT_INVALID
 */
async function* packedAsSaid(
  { mediaType, digest }: Descriptor,
  stream: AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  let head: Buffer | null = Buffer.alloc(0)
  for await (const chunk of stream) {
    if (head === null) {
      yield chunk
      continue
    }
    head = Buffer.concat([head, chunk])
    if (head.length < LONGEST_MARK) continue
    refusePacked(mediaType, digest, head)
    yield head
    head = null
  }
  if (head === null) return
  refusePacked(mediaType, digest, head)
  yield head
}

const LONGEST_MARK = 6

function refusePacked(mediaType: string, digest: string, head: Buffer): void {
  const start = head.toString('latin1', 0, LONGEST_MARK)
  const [gzip] = PACKED
  const said =
    layerForm(mediaType) === 'tar+gzip'
      ? gzip.test(start)
      : !PACKED.some((mark) => mark.test(start))
  if (said) return
  throw new ZtError(
    'ARTIFACT_INVALID',
    `a layer is not packed as its media type says: ${shownName(mediaType.slice(0, 200))}`,
    { path: digest, hint: 'push it with the media type of what it is: .tar, or .tar+gzip' },
  )
}

function compareHashed(
  model: Manifest,
  all: readonly HashedFile[],
  checks: readonly Check[],
  fromTar: readonly string[] = [],
): Promise<Comparison> {
  const left = new Set(
    (model.serialization.ignorePaths ?? []).flatMap((path) => ignoredPath(path) ?? []),
  )
  const under = (name: string): boolean =>
    left.has(name) || parents(name).some((parent) => left.has(parent))
  const isLeftOut = leftOut(model)
  const kept = all.filter(({ name }) => !isLeftOut(name))
  const files = kept.filter(({ name }) => !under(name))
  const ignored = [
    ...fromTar,
    ...kept.filter(({ name }) => under(name)).map(({ name }) => name),
  ].sort(compareNames)
  // A lone `.` is the file itself, under whatever name it lies (older signers name single-file models so).
  const single = files.length === 1
  return compareFound(model, { files, single, ignored, checks }, {}, (wanted) =>
    Promise.resolve({
      files: wanted,
      checks: [],
      bytes: wanted.reduce((sum, { size }) => sum + size, 0),
    }),
  )
}

function leftOut(model: Manifest): (path: string) => boolean {
  const defaults = new Set(unsignedDefaults(model))
  return (path) => defaults.has(path.split('/', 1)[0] ?? '')
}

function parents(name: string): string[] {
  const found: string[] = []
  for (let at = name.indexOf('/'); at > 0; at = name.indexOf('/', at + 1))
    found.push(name.slice(0, at))
  return found
}

/** The path of each layer that is one file; what has none, several, or one that is not canonical, is in the checks. */
function pathsOf(
  { kind, layers }: Artifact,
  model: Manifest,
): { layers: { path: string; layer: Descriptor }[]; checks: Check[] } {
  const checks: Check[] = []
  const named: { path: string; layer: Descriptor }[] = []
  const plain = layers.filter((layer) => layerForm(layer.mediaType) === 'file')
  // A GGUF file is known to Ollama by its role alone, so nothing but its bytes is to be compared.
  const lone = kind === 'ollama' && layers.length === 1 ? soleFile(model) : undefined
  for (const layer of plain) {
    const names = lone === undefined ? pathsNamed(layer) : [lone]
    const path = names[0]
    if (path === undefined || names.length > 1) {
      checks.push(
        fault(
          layer.digest,
          'a layer must have one path, the same for every consumer',
          names.length === 0 ? 'none' : names.join(' and '),
        ),
      )
      continue
    }
    const problem = path === lone ? null : nameProblem(path)
    if (problem === null) named.push({ path, layer })
    else
      checks.push(fault(layer.digest, `a layer's path can't lie inside a model: ${problem}`, path))
  }
  return { layers: named, checks }
}

function soleFile({ serialization, resources }: Manifest): string | undefined {
  const [only, second] = resources
  return serialization.method === 'files' && second === undefined ? only?.name : undefined
}

/** Two files of one path, folded, or a file that is also a directory: two consumers would see two models. */
function conflicts(
  files: readonly { readonly name: string }[],
  directories: ReadonlySet<string> = new Set(),
): Check[] {
  const checks: Check[] = []
  const fold = (name: string): string => name.normalize('NFC').toLowerCase()
  const seen = new Map<string, string>()
  for (const { name } of files) {
    const twin = seen.get(fold(name))
    if (twin !== undefined)
      checks.push(
        fault(name, 'two layers claim one path (letter case and Unicode forms folded)', twin),
      )
    seen.set(fold(name), name)
  }
  const above = new Set([...files.flatMap(({ name }) => parents(name)), ...directories])
  for (const directory of above) {
    const file = seen.get(fold(directory))
    if (file !== undefined) checks.push(fault(file, 'a file is also a directory', directory))
  }
  return checks
}

/** What lies in one layer can change where a link of another leads. */
function acrossLayers(links: readonly string[], layers: number): Check[] {
  const [link] = links
  if (link === undefined || layers < 2) return []
  return [fault(link, 'a symbolic link in a model of several layers', `${layers} layers`)]
}

/** An image says more than which files it has. */
function beside({ kind, config }: Artifact): Check[] {
  if (kind !== 'image') return []
  return [
    {
      id: 'registry.image',
      status: 'warn',
      code: 'IMAGE_UNCOVERED',
      message: `the signature covers the files under /${MODELCAR}, not the image around them`,
      actual: config.digest,
      hint: 'mount the image as a volume, or have the manifest itself signed, if the image runs',
    },
  ]
}

function fault(name: string, message: string, actual: string): Check {
  return {
    id: `registry.path:${name}`,
    status: 'fail',
    code: 'LAYER_PATH',
    message: `${shownName(name)}: ${message}`,
    expected: 'one canonical relative path a file',
    actual: shownName(actual),
    hint: 'push the model again with zt4ai push, from the directory that was signed',
  }
}
