// The single owner of bringing a model from a registry to disk: into a folder beside its place first, and to its place only when what is on disk verifies.
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { ZtError } from '../error.ts'
import type { HashType, Manifest } from '../model/manifest.ts'
import { nameProblem } from '../model/name.ts'
import { hashTar } from '../model/tar.ts'
import { layerForm, pathOf, type Artifact } from '../registry/artifact.ts'
import type { Descriptor, Repository } from '../registry/client.ts'
import { eachOf } from '../registry/push.ts'
import { MODELCAR } from '../registry/layers.ts'

export interface PullOptions {
  readonly repository: Repository
  readonly artifact: Artifact
  /** The signed list: only its files are written. */
  readonly manifest: Manifest
  /** The model's place. Must not exist, or be an empty directory. */
  readonly target: string
  /** The bundle that signed the list, written as `model.sig`. */
  readonly signature: Uint8Array
  /** Judges what lies on disk at a path before it is put in its place. False: nothing stays. */
  readonly verify: (path: string) => Promise<boolean>
  readonly parallel?: number
  readonly onBytes?: (bytes: number, total: number) => void
  readonly signal?: AbortSignal
}

/**
 * Pulls a model. Gives whether it is in its place; if not, nothing of it is.
 * @throws ZtError where it could not be decided (network, disk), with nothing left behind
 */
export async function pullModel(options: PullOptions): Promise<boolean> {
  const target = resolve(options.target)
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new ZtError('IO', 'the place for the model is not empty', {
      path: target,
      hint: 'name a folder that does not exist yet',
    })
  }
  mkdirSync(dirname(target), { recursive: true })
  const temporary = mkdtempSync(join(dirname(target), '.zt4ai-pull-'))
  try {
    await download(options, temporary)
    write(join(temporary, 'model.sig'), options.signature)
    if (!(await options.verify(temporary))) return false
    if (existsSync(target)) rmSync(target, { recursive: true })
    renameSync(temporary, target)
    return true
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

async function download(options: PullOptions, folder: string): Promise<void> {
  const { repository, artifact, manifest, signal } = options
  const wanted = signedFiles(manifest)
  const total = artifact.layers.reduce((sum, { size }) => sum + size, 0)
  let read = 0
  async function* bytesOf(layer: Descriptor): AsyncIterable<Uint8Array> {
    for await (const chunk of repository.blobStream(layer.digest, Number.MAX_SAFE_INTEGER)) {
      if (signal?.aborted === true) throw new ZtError('INTERRUPTED', 'interrupted while pulling')
      options.onBytes?.((read += chunk.length), total)
      yield chunk
    }
  }
  await eachOf(artifact.layers, options.parallel ?? 4, async (layer) => {
    if (layerForm(layer.mediaType) === 'file') {
      const path = pathOf(layer)
      if (path === undefined || !wanted.has(path)) return
      const file = create(folder, path)
      try {
        for await (const chunk of bytesOf(layer)) file.write(chunk)
      } finally {
        file.end()
      }
    } else
      await unpack(
        bytesOf(layer),
        artifact.kind === 'image',
        wanted,
        folder,
        manifest.serialization.hashType,
      )
  })
}

async function unpack(
  stream: AsyncIterable<Uint8Array>,
  image: boolean,
  wanted: ReadonlySet<string>,
  folder: string,
  hashType: HashType,
): Promise<void> {
  await hashTar(stream, {
    hashType,
    ...(image ? { within: MODELCAR } : {}),
    tee: (name) => (wanted.has(name) ? create(folder, name) : null),
  })
}

/** Paths of the signed list; the shards of one file are one path. All are safe to create: the decoder of signatures refused any other. */
function signedFiles(manifest: Manifest): ReadonlySet<string> {
  const sharded = manifest.serialization.method === 'shards'
  const names = manifest.resources.map(({ name }) =>
    sharded ? name.replace(/:[0-9]+:[0-9]+$/, '') : name,
  )
  const unsafe = names.find((name) => nameProblem(name) !== null)
  if (unsafe !== undefined)
    throw new ZtError('NAME_UNSAFE', 'a signed name is no path', { path: unsafe })
  return new Set(names)
}

function create(folder: string, name: string): { write(bytes: Uint8Array): void; end(): void } {
  const path = join(folder, name)
  mkdirSync(dirname(path), { recursive: true })
  // The folder is new and ours; `wx` refuses a second file of one name.
  const fd = openSync(path, 'wx', 0o644)
  return {
    write: (bytes) => {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
    },
    end: () => closeSync(fd),
  }
}

function write(path: string, bytes: Uint8Array): void {
  const fd = openSync(path, 'wx', 0o644)
  try {
    for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
  } finally {
    closeSync(fd)
  }
}
