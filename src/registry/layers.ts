// The single owner of a registry's layers as the files of a model: by their digests alone, or streamed through the hashers without unpacking.
import { ZtError } from '../error.ts'
import { compareFound, type Comparison } from '../model/compare.ts'
import type { HashedFile, Manifest } from '../model/manifest.ts'
import {
  compareNames,
  DEFAULT_IGNORES,
  ignoredPath,
  nameProblem,
  shownName,
} from '../model/name.ts'
import { guessFormat } from '../model/guess.ts'
import { hashStream } from '../model/stream.ts'
import { hashTar } from '../model/tar.ts'
import type { Check } from '../verdict.ts'
import { layerForm, pathsNamed, type Artifact } from './artifact.ts'
import type { Descriptor, Repository } from './client.ts'

/** Where KServe's ModelCar images keep the model. */
export const MODELCAR = 'models'
const MAX_BLOB = 16 * 2 ** 40

/** Why the manifest alone can't decide about an artifact; undefined if it can. */
export function whyNotFromManifest(artifact: Artifact, model: Manifest): string | undefined {
  const { method, hashType } = model.serialization
  if (method !== 'files')
    return `the signature names shards, and a layer's digest is that of a whole file`
  if (hashType !== 'sha256')
    return `the signature's digests are ${hashType}, and layers have sha256`
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
  const { layers, checks } = pathsOf(artifact.layers)
  const files = layers.map(({ path, layer }): HashedFile => {
    const parts = [{ start: 0, end: layer.size, digest: layer.digest.slice('sha256:'.length) }]
    const content = guessFormat(path)
    return { name: path, size: layer.size, parts, content }
  })
  return compareHashed(model, files, checks)
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
  const { hashType, shardSize, allowSymlinks, ignorePaths } = model.serialization
  const common = { hashType, sniff: true, ...(shardSize === undefined ? {} : { shardSize }) }
  const raw = pathsOf(artifact.layers.filter((layer) => layerForm(layer.mediaType) === 'file'))
  const paths = new Map(raw.layers.map(({ path, layer }) => [layer, path]))
  const files: HashedFile[] = []
  const ignored: string[] = []
  const checks: Check[] = [...raw.checks]
  let read = 0
  async function* counted(layer: Descriptor): AsyncIterable<Uint8Array> {
    for await (const chunk of repository.blobStream(layer.digest, MAX_BLOB)) {
      if (options.signal?.aborted === true)
        throw new ZtError('INTERRUPTED', 'interrupted while reading a layer')
      options.onBytes?.((read += chunk.length))
      yield chunk
    }
  }
  for (const layer of artifact.layers) {
    const form = layerForm(layer.mediaType)
    const path = paths.get(layer)
    if (form === 'unknown') {
      throw new ZtError(
        'ARTIFACT_INVALID',
        `a layer has a media type that is not read: ${shownName(layer.mediaType.slice(0, 200))}`,
        {
          path: layer.digest,
          hint: 'zt4ai reads ModelPack, KitOps ModelKit, Ollama and container-image (ModelCar) layers, plain or gzip',
        },
      )
    }
    if (form === 'file') {
      if (path !== undefined && !isLeftOut(path))
        files.push(await hashStream(path, counted(layer), common))
      continue
    }
    const outcome = await hashTar(counted(layer), {
      ...common,
      allowSymlinks,
      reportIgnored: ignorePaths ?? [],
      ...(artifact.kind === 'image' ? { within: MODELCAR } : {}),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    files.push(...outcome.files)
    ignored.push(...outcome.ignored)
    // An image has layers without a part of the model.
    checks.push(...outcome.checks.filter(({ code }) => code !== 'MODEL_EMPTY'))
  }
  return compareHashed(model, files, [...checks, ...duplicates(files)], ignored)
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
  const kept = all.filter(({ name }) => !isLeftOut(name))
  const files = kept.filter(({ name }) => !under(name))
  const ignored = [
    ...fromTar,
    ...kept.filter(({ name }) => under(name)).map(({ name }) => name),
  ].sort(compareNames)
  const single = false
  return compareFound(model, { files, single, ignored, checks }, {}, (wanted) =>
    Promise.resolve({
      files: wanted,
      checks: [],
      bytes: wanted.reduce((sum, { size }) => sum + size, 0),
    }),
  )
}

function isLeftOut(path: string): boolean {
  return (DEFAULT_IGNORES as readonly string[]).includes(path.split('/', 1)[0] ?? '')
}

function parents(name: string): string[] {
  const found: string[] = []
  for (let at = name.indexOf('/'); at > 0; at = name.indexOf('/', at + 1))
    found.push(name.slice(0, at))
  return found
}

/** Each plain layer's path; what has none, several, or one that is not canonical or not its own, is in the checks. */
function pathsOf(layers: readonly Descriptor[]): {
  layers: { path: string; layer: Descriptor }[]
  checks: Check[]
} {
  const checks: Check[] = []
  const named: { path: string; layer: Descriptor }[] = []
  for (const layer of layers) {
    const names = pathsNamed(layer)
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
    const problem = nameProblem(path)
    if (problem === null) named.push({ path, layer })
    else
      checks.push(fault(layer.digest, `a layer's path can't lie inside a model: ${problem}`, path))
  }
  return {
    layers: named,
    checks: [...checks, ...duplicates(named.map(({ path }) => ({ name: path })))],
  }
}

/** Two files of one path, folded, or a file that is also a directory: two consumers would see two models. */
function duplicates(files: readonly { readonly name: string }[]): Check[] {
  const checks: Check[] = []
  const seen = new Map<string, string>()
  const fold = (name: string): string => name.normalize('NFC').toLowerCase()
  for (const { name } of files) {
    const twin = seen.get(fold(name))
    if (twin !== undefined)
      checks.push(
        fault(name, 'two layers claim one path (letter case and Unicode forms folded)', twin),
      )
    seen.set(fold(name), name)
  }
  for (const { name } of files) {
    const directory = parents(name).find((parent) => seen.has(fold(parent)))
    if (directory !== undefined)
      checks.push(fault(name, 'a file is also the directory of another', directory))
  }
  return checks
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
