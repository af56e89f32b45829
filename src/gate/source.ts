// The single owner of a model on this machine as a source of facts: its signatures, and every file compared and looked into with one reading.
import { closeSync, fstatSync, readSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import type { NamedBytes } from '../../attestation/index.ts'
import { defaultSignature, inModel, readSignature, SIGNATURE_NAME } from '../bundle/location.ts'
import { ZtError } from '../error.ts'
import { compareFound, unsignedDefaults, type Comparison } from '../model/compare.ts'
import type { HashedFile, Manifest } from '../model/manifest.ts'
import { Anchor } from '../model/open.ts'
import { hashFiles, type HashOptions, type HashOutcome } from '../model/pool.ts'
import { classify, HEAD_BYTES, TAIL_BYTES, tailWanted, type Content } from '../model/sniff.ts'
import { hashTar, looksLikeTar, readTar, type TarOutcome } from '../model/tar.ts'
import { walkModel, type ModelFile, type Walk } from '../model/walk.ts'
import type { FileFormat, FilesFact } from '../policy/facts.ts'
import type { CompareRequest, ModelSource } from './question.ts'

export interface PathSourceOptions {
  /** What the caller calls the model. Default: the last part of its path. */
  readonly name?: string
  /** Signatures beside the default one; those inside the model are no part of it. */
  readonly signatures?: readonly string[]
  /** The caller's own paths to leave out, relative to the model. */
  readonly ignorePaths?: readonly string[]
  /** How files in a directory are read: by default just hashed. A loader copies them as it goes. */
  readonly read?: ReadFiles
}

/** Reads the signed files that are there, under the parameters of the signed list. */
export type ReadFiles = (
  walk: Walk,
  files: readonly ModelFile[],
  manifest: Manifest,
  options: HashOptions,
) => Promise<HashOutcome>

/**
 * A directory, a file or a tar archive. Each file is read once for each way of hashing it, however many lists name it.
 * @throws ZtError MODEL_NOT_FOUND; later what walking and hashing throw
 */
export function pathSource(path: string, options: PathSourceOptions = {}): ModelSource {
  const places = [...new Set([defaultSignature(path), ...(options.signatures ?? [])])]
  const own = places.flatMap((place) => inModel(path, place) ?? [])
  const ignorePaths = [...(options.ignorePaths ?? []), ...own]
  const subject = { name: options.name ?? basename(path.replace(/(?:\/+\.?)+$/, '')) }
  return {
    subject,
    bundles: () => Promise.resolve(readBundles(places, options.signatures ?? [])),
    compare: statSync(path).isFile() && looksLikeTar(path) ? tarCompare() : diskCompare(),
  }

  function diskCompare(): ModelSource['compare'] {
    const disk = new Disk(path, ignorePaths, options.read)
    return (manifest, request) => disk.compare(manifest, request)
  }

  function tarCompare(): ModelSource['compare'] {
    const disk = new Disk(path, ignorePaths, options.read)
    const archive = new Archive(path, ignorePaths)
    return (manifest, request) => {
      // one file: the archive itself was signed, not what is in it
      const [only, second] = manifest.resources
      const itself = second === undefined && (only?.name === '.' || only?.name === basename(path))
      return itself ? disk.compare(manifest, request) : archive.compare(manifest, request)
    }
  }
}

/** A tar archive. It is read once for each way of hashing what is in it. */
class Archive {
  readonly #path: string
  readonly #ignorePaths: readonly string[]
  readonly #read = new Map<string, Promise<TarOutcome>>()

  constructor(path: string, ignorePaths: readonly string[]) {
    this.#path = path
    this.#ignorePaths = ignorePaths
  }

  async compare(manifest: Manifest, { signal }: CompareRequest): Promise<FilesFact> {
    const { hashType, shardSize, allowSymlinks, ignorePaths } = manifest.serialization
    const defaults = unsignedDefaults(manifest)
    const parameters = [hashType, shardSize ?? 0, allowSymlinks, ignorePaths ?? [], defaults]
    const key = JSON.stringify(parameters)
    const reading =
      this.#read.get(key) ??
      hashTar(readTar(this.#path), {
        hashType,
        allowSymlinks,
        defaultIgnores: false,
        ignorePaths: [...defaults, ...this.#ignorePaths],
        // a file of this name; a directory of it is the model's
        ownSignature: SIGNATURE_NAME,
        reportIgnored: ignorePaths ?? [],
        sniff: true,
        ...(shardSize === undefined ? {} : { shardSize }),
        ...(signal === undefined ? {} : { signal }),
      })
    this.#read.set(key, reading)
    const outcome = await reading
    const byName = new Map(outcome.files.map((file) => [file.name, file]))
    const comparison = await compareFound(manifest, { ...outcome, single: false }, {}, (read) => {
      const files = read.flatMap(({ name }) => byName.get(name) ?? [])
      const bytes = files.reduce((sum, { size }) => sum + size, 0)
      return Promise.resolve({ files, checks: [], bytes })
    })
    const unread = outcome.files.flatMap(({ name, size, content }): FileFormat[] => {
      if (comparison.contents.has(name)) return []
      const found = content ?? (size === 0 ? EMPTY : null)
      return found === null ? [] : [{ ...found, name, basis }]
    })
    return { ...factOf(manifest, comparison, unread), route: 'streamed' }
  }
}

/** An empty file has no shard, so nothing looked at it on the way. */
const EMPTY: Content = { format: 'empty', executable: false, why: 'the file is empty' }

function readBundles(places: readonly string[], asked: readonly string[]): NamedBytes[] {
  return places.flatMap((place) => {
    const bytes = readSignature(place)
    if (bytes !== null) return [{ name: basename(place), bytes }]
    if (!asked.includes(place)) return []
    throw new ZtError('SIGNATURE_NOT_FOUND', 'there is no signature here', { path: place })
  })
}

const justHash: ReadFiles = ({ root }, files, _, options) => hashFiles(root, files, options)

/** One model on disk. Remembers what it hashed, by the exact state of each file. */
class Disk {
  readonly #path: string
  readonly #ignorePaths: readonly string[]
  readonly #read: ReadFiles
  readonly #hashed = new Map<string, HashedFile>()

  constructor(path: string, ignorePaths: readonly string[], read: ReadFiles = justHash) {
    this.#path = path
    this.#ignorePaths = ignorePaths
    this.#read = read
  }

  async compare(manifest: Manifest, request: CompareRequest): Promise<FilesFact> {
    const { serialization } = manifest
    const walk = await walkModel(this.#path, {
      allowSymlinks: serialization.allowSymlinks,
      defaultIgnores: false,
      ignorePaths: [...unsignedDefaults(manifest), ...this.#ignorePaths],
      reportIgnored: serialization.ignorePaths ?? [],
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    })
    const comparison = await compareFound(manifest, walk, {}, (read) =>
      this.#hash(walk, read, manifest, request),
    )
    return factOf(manifest, comparison, this.#unread(walk, comparison))
  }

  async #hash(
    walk: Walk,
    read: readonly ModelFile[],
    manifest: Manifest,
    request: CompareRequest,
  ): Promise<HashOutcome> {
    const { hashType, shardSize } = manifest.serialization
    const key = ({ name, source, stamp }: ModelFile): string =>
      JSON.stringify([hashType, shardSize ?? 0, stamp, source, name])
    const unknown = read.filter((file) => !this.#hashed.has(key(file)))
    // What a file is depends on its name: the one of a single-file model, which some signers call `.`, is taken from the disk.
    const named = walk.single ? walk.files : unknown
    const { checks, files, bytes } = await this.#read(
      walk,
      unknown.length > 0 ? named : [],
      manifest,
      {
        hashType,
        sniff: true,
        ...(shardSize === undefined ? {} : { shardSize }),
        ...request,
      },
    )
    const fresh = new Map(files.map((file) => [file.name, file]))
    for (const file of unknown) {
      const hashed = fresh.get(walk.single ? (walk.files[0]?.name ?? '') : file.name)
      if (hashed !== undefined) this.#hashed.set(key(file), { ...hashed, name: file.name })
    }
    const known = read.flatMap((file) => this.#hashed.get(key(file)) ?? [])
    const reused = known.reduce((sum, { size }) => sum + size, 0)
    return { files: known, checks, bytes: unknown.length === read.length ? bytes : reused }
  }

  /** What the files are that were not hashed: unsigned ones, and those whose size already says that they changed. */
  #unread(walk: Walk, comparison: Comparison): FileFormat[] {
    const known = new Set(comparison.contents.keys())
    if (walk.single && known.size > 0) return []
    const files = walk.files.filter(({ name }) => !known.has(name))
    if (files.length + walk.ignored.length === 0) return []
    const anchor = new Anchor(walk.root)
    try {
      return [
        ...files.map(({ name, source }) => sniffed(anchor, name, source)),
        ...walk.ignored.map((name) => sniffed(anchor, name, name)),
      ]
    } finally {
      anchor.close()
    }
  }
}

function factOf(
  manifest: Manifest,
  comparison: Comparison,
  unread: readonly FileFormat[],
): FilesFact {
  const { contents, ...result } = comparison
  const formats = [...contents].map(([name, content]): FileFormat => ({ ...content, name, basis }))
  return {
    root: manifest.root,
    manifest,
    route: 'files',
    result,
    formats: [...formats, ...unread].sort((a, b) => (a.name < b.name ? -1 : 1)),
  }
}

const basis = 'content' as const

/** Looks at the two ends of a file. What can't be looked at is `unknown`, which no rule allows unless it says so. */
function sniffed(anchor: Anchor, name: string, source: string): FileFormat {
  return { ...contentOf(anchor, name, source), name, basis }
}

function contentOf(anchor: Anchor, name: string, source: string): Content {
  let fd: number
  try {
    fd = anchor.openFile(source)
  } catch (cause) {
    return unreadable(String((cause as { code?: unknown }).code))
  }
  try {
    return lookInto(fd, name)
  } finally {
    closeSync(fd)
  }
}

/** Looks at the two ends of an open file. */
export function lookInto(fd: number, name: string): Content {
  try {
    const stats = fstatSync(fd)
    if (!stats.isFile()) return unreadable('it is no file')
    const { size } = stats
    const head = readPart(fd, 0, Math.min(size, HEAD_BYTES))
    let tail = readPart(fd, size - Math.min(size, TAIL_BYTES), Math.min(size, TAIL_BYTES))
    const wanted = tailWanted(tail, size)
    if (wanted > tail.length) tail = readPart(fd, size - wanted, wanted)
    return classify({ name, size, head, tail })
  } catch (cause) {
    return unreadable(String((cause as { code?: unknown }).code))
  }
}

function unreadable(why: string): Content {
  return { format: 'unknown', executable: false, why: `it can't be looked into (${why})` }
}

function readPart(fd: number, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let got = 0; got < length;) {
    const count = readSync(fd, bytes, got, length - got, at + got)
    if (count === 0) return bytes.subarray(0, got)
    got += count
  }
  return bytes
}
