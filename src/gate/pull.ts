// The single owner of bringing a model from a registry to disk: into a folder beside its place first, and to its place only when what is on disk verifies.
import {
  closeSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { ZtError } from '../error.ts'
import type { HashedFile, HashType, Manifest } from '../model/manifest.ts'
import { nameProblem } from '../model/name.ts'
import { hashTar } from '../model/tar.ts'
import { layerForm, pathsNamed, type Artifact } from '../registry/artifact.ts'
import type { Repository } from '../registry/client.ts'
import type { Descriptor } from '../registry/descriptor.ts'
import { eachOf } from '../registry/parallel.ts'
import { MODELCAR } from '../registry/layers.ts'

export interface PullOptions {
  readonly repository: Repository
  readonly artifact: Artifact
  /** The signed list: only its files are written. */
  readonly manifest: Manifest
  /** The model's place, a directory. Must not exist, or be an empty directory. */
  readonly target: string
  /** The bundle that signed the list: written as `model.sig`, or `FILE.sig` beside a file that was signed without a name. */
  readonly signature: Uint8Array
  /** Judges what lies on disk at a path before it is put in its place. False: nothing stays. */
  readonly verify: (path: string) => Promise<boolean>
  readonly parallel?: number
  readonly onBytes?: (bytes: number, total: number) => void
  readonly signal?: AbortSignal
}

const PREFIX = '.zt4ai-pull-'
const BEAT_MS = 60_000
/** A folder of a pull that was not touched for so long belongs to nobody: its process was killed. */
const ABANDONED_MS = 15 * 60_000

/**
 * Pulls a model. Gives whether it is in its place; if not, nothing of it is. What a killed pull left beside the place is removed by the next
 * one there: every pull touches its folder each minute, so one that was not touched for 15 minutes is nobody's.
 * @throws ZtError where it could not be decided (network, disk), with nothing left behind
 */
export async function pullModel(options: PullOptions): Promise<boolean> {
  const target = resolve(options.target)
  const parent = dirname(target)
  requireEmpty(target)
  disk(parent, () => mkdirSync(parent, { recursive: true }))
  sweep(parent)
  const temporary = disk(parent, () => mkdtempSync(join(parent, PREFIX)))
  const beat = setInterval(() => utimesSync(temporary, new Date(), new Date()), BEAT_MS)
  beat.unref()
  try {
    // A folder of its own: the outer one is open to its owner alone, and this one to whom the system's settings say.
    const content = join(temporary, 'model')
    mkdirSync(content)
    const written = await download(options, content)
    const nameless = options.manifest.resources.every(({ name }) => /^\.(?::|$)/.test(name))
    const file = nameless ? written[0] : undefined
    if (nameless && (file === undefined || written.length > 1))
      throw new ZtError('ARTIFACT_INVALID', 'one file was signed, and the artifact has several')
    const model = file === undefined ? content : join(content, file)
    write(file === undefined ? join(content, 'model.sig') : `${model}.sig`, options.signature)
    if (!(await options.verify(model))) return false
    if (options.signal?.aborted === true) throw interrupted()
    // Takes the place of an empty directory, and of nothing else.
    disk(target, () => renameSync(content, target))
    return true
  } finally {
    clearInterval(beat)
    rmSync(temporary, { recursive: true, force: true })
  }
}

function requireEmpty(target: string): void {
  const taken =
    existsSync(target) && (!lstatSync(target).isDirectory() || readdirSync(target).length > 0)
  if (!taken) return
  throw new ZtError('IO', 'the place for the model is not empty', {
    path: target,
    hint: 'name a folder that does not exist yet',
  })
}

function sweep(parent: string): void {
  for (const name of readdirSync(parent)) {
    if (!new RegExp(`^${PREFIX.replace('.', '\\.')}[A-Za-z0-9]{6}$`).test(name)) continue
    const path = join(parent, name)
    try {
      const stats = lstatSync(path)
      if (stats.isDirectory() && Date.now() - stats.mtimeMs > ABANDONED_MS)
        rmSync(path, { recursive: true, force: true })
    } catch {
      // It went in the meantime, or it is not ours to remove.
    }
  }
}

/** Writes the signed files. Gives their paths. */
async function download(options: PullOptions, folder: string): Promise<string[]> {
  const { repository, artifact, manifest, signal } = options
  const wants = wanted(manifest)
  const total = artifact.layers.reduce((sum, { size }) => sum + size, 0)
  const written: string[] = []
  let read = 0
  async function* bytesOf(layer: Descriptor): AsyncIterable<Uint8Array> {
    for await (const chunk of repository.blobStream(layer.digest, layer.size)) {
      if (signal?.aborted === true) throw interrupted()
      options.onBytes?.((read += chunk.length), total)
      yield chunk
    }
  }
  const create = (name: string): Output => {
    written.push(name)
    return new Output(folder, name)
  }
  const lone = artifact.kind === 'ollama' && artifact.layers.length === 1
  await eachOf(artifact.layers, options.parallel ?? 4, async (layer) => {
    if (layerForm(layer.mediaType) !== 'file') {
      await unpack(bytesOf(layer), artifact, manifest.serialization.hashType, folder, wants, create)
      return
    }
    const [named, second] = pathsNamed(layer)
    const signed = manifest.resources[0]?.name
    const path = lone && signed !== undefined && signed !== '.' ? signed : named
    if (path === undefined || second !== undefined || !wants(path)) return
    const file = create(path)
    try {
      for await (const chunk of bytesOf(layer)) file.write(chunk)
    } finally {
      file.end()
    }
  })
  return written
}

async function unpack(
  stream: AsyncIterable<Uint8Array>,
  { kind }: Artifact,
  hashType: HashType,
  folder: string,
  wants: (name: string) => boolean,
  create: (name: string) => Output,
): Promise<void> {
  const there = new Set<string>()
  const open = new Set<Output>()
  try {
    const { files } = await hashTar(stream, {
      hashType,
      allowSymlinks: true,
      defaultIgnores: false,
      ...(kind === 'image' ? { within: MODELCAR } : {}),
      tee: (name) => {
        if (!wants(name)) return null
        there.add(name)
        const file = create(name)
        open.add(file)
        return file
      },
    })
    // Links carry no bytes of their own: their files are copies of those that they lead to.
    const key = ({ size, parts }: HashedFile): string => `${size} ${parts[0]?.digest ?? ''}`
    const sources = new Map(
      files.flatMap((file) => (there.has(file.name) ? [[key(file), file.name]] : [])),
    )
    for (const file of files) {
      const source = sources.get(key(file))
      if (there.has(file.name) || !wants(file.name) || source === undefined) continue
      create(file.name).end()
      disk(file.name, () => copyFileSync(join(folder, source), join(folder, file.name)))
    }
  } finally {
    for (const file of open) file.end()
  }
}

/** Paths of the signed list; the shards of one file are one path. All are safe to create: the decoder of signatures refused any other. */
function wanted(manifest: Manifest): (name: string) => boolean {
  const sharded = manifest.serialization.method === 'shards'
  const names = new Set(
    manifest.resources.map(({ name }) => (sharded ? name.replace(/:[0-9]+:[0-9]+$/, '') : name)),
  )
  if (names.size === 1 && names.has('.')) return (name) => nameProblem(name) === null
  const unsafe = [...names].find((name) => nameProblem(name) !== null)
  if (unsafe !== undefined)
    throw new ZtError('NAME_UNSAFE', 'a signed name is no path', { path: unsafe })
  return (name) => names.has(name)
}

/** A new file below a folder that is new and ours. A second one of the same name is refused. */
class Output {
  readonly #path: string
  #fd: number | null

  constructor(folder: string, name: string) {
    this.#path = join(folder, name)
    this.#fd = disk(this.#path, () => {
      mkdirSync(dirname(this.#path), { recursive: true })
      return openSync(this.#path, 'wx', 0o666)
    })
  }

  write(bytes: Uint8Array): void {
    const fd = this.#fd
    if (fd === null) return
    disk(this.#path, () => {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
    })
  }

  end(): void {
    if (this.#fd !== null) closeSync(this.#fd)
    this.#fd = null
  }
}

function write(path: string, bytes: Uint8Array): void {
  const file = new Output(dirname(path), path.slice(dirname(path).length + 1))
  try {
    file.write(bytes)
  } finally {
    file.end()
  }
}

function disk<T>(path: string, run: () => T): T {
  try {
    return run()
  } catch (cause) {
    const code = String((cause as { code?: unknown }).code)
    throw new ZtError('IO', `the model can't be written (${code})`, { path, cause })
  }
}

function interrupted(): ZtError {
  return new ZtError('INTERRUPTED', 'interrupted while pulling')
}
