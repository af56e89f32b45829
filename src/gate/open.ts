// The single owner of reading a signed model without believing the disk: each byte is handed out from memory in which it was hashed.
import { constants } from 'node:buffer'
import { createHash, type Hash } from 'node:crypto'
import { close as closeFile, read as readFd } from 'node:fs'
import { promisify } from 'node:util'
import { ZtError } from '../error.ts'
import { loadHash, openProblem, type Hasher, type HashKit } from '../model/hash.ts'
import { parseShardName, type HashType, type Manifest, type Part } from '../model/manifest.ts'
import { Anchor } from '../model/open.ts'
import { locateFiles } from '../model/walk.ts'
import { Readers } from './open-readers.ts'

export interface OpenOptions {
  /**
   * Bytes that may be kept so that a file can be read in parts, and the largest piece that is verified as a whole where a file is read in
   * parts. Default 256 MiB.
   */
  readonly memory?: number
}

export interface StreamOptions {
  /** Take back the memory of each piece when the next one is asked for. Default false. */
  readonly reuse?: boolean
}

/** One signed file. */
export interface VerifiedFile {
  readonly name: string
  /** Bytes. */
  readonly size: number
}

/** A range with the digest that was signed for it, or that was taken while the signed one was computed. */
interface Unit extends Part {
  readonly hash: 'signed' | 'sha256'
}

interface OpenFile extends VerifiedFile {
  readonly source: string
  readonly parts: readonly Part[]
}

const readAt = promisify(readFd)
const closeAt = promisify(closeFile)
/** What is hashed between two looks at the event loop, about a millisecond. */
const CHUNK = 1024 * 1024
/** Up to this size units of a stream are read ahead. */
const AHEAD = 64 * 1024 * 1024

/**
 * A model open for verified reading. Only signed files exist in it. Nothing is mapped and nothing is read twice for one answer, so it makes
 * no difference what happens to the files meanwhile: what comes out is what was signed, or an error.
 *
 * Errors, `ZtError`: FILE_MISSING (no such signed file), FILE_CHANGED (the bytes are not the signed ones), FILE_UNREADABLE, FILE_UNSTABLE
 * (replaced by a link or gone), TOO_LARGE, INTERRUPTED (it was closed).
 */
export class VerifiedModel {
  readonly manifest: Manifest
  readonly files: ReadonlyMap<string, VerifiedFile>
  readonly #open: ReadonlyMap<string, OpenFile>
  readonly #anchor: Anchor
  readonly #kit: HashKit
  readonly #memory: number
  readonly #cache: UnitCache
  readonly #pool: Pool
  /** Of large pieces: their own digests in portions, taken while the whole was verified. */
  readonly #portions = new Map<string, Promise<readonly Unit[]>>()
  #readers: Readers | null = null
  #closed = false

  private constructor(
    manifest: Manifest,
    files: ReadonlyMap<string, OpenFile>,
    anchor: Anchor,
    kit: HashKit,
    memory: number,
  ) {
    this.manifest = manifest
    this.files = files
    this.#open = files
    this.#anchor = anchor
    this.#kit = kit
    this.#memory = memory
    this.#cache = new UnitCache(memory)
    this.#pool = new Pool(memory)
  }

  /**
   * Opens a model by a list of files whose signature the caller has verified (`verifySignature`). Reads no file yet.
   * @throws ZtError MODEL_NOT_FOUND; FILE_MISSING, FILE_LINK and others for a signed file that is not there or can't be one
   */
  static async open(
    path: string,
    manifest: Manifest,
    options: OpenOptions = {},
  ): Promise<VerifiedModel> {
    const parts = signedParts(manifest)
    const { allowSymlinks, hashType } = manifest.serialization
    const walk = locateFiles(
      path,
      [...parts.keys()].filter((name) => name !== '.'),
      {
        allowSymlinks,
      },
    )
    const single = walk.single && parts.has('.') ? walk.files[0] : undefined
    const [missing] = walk.missing
    const [problem] = walk.checks
    if (problem !== undefined) throw new ZtError(problem.code, problem.message, { path })
    if (missing !== undefined || (parts.has('.') && single === undefined))
      throw new ZtError('FILE_MISSING', 'a signed file is not there', { path: missing ?? path })
    const files = new Map<string, OpenFile>()
    for (const { name, source, size } of walk.files) {
      const list = parts.get(single === undefined ? name : '.') ?? []
      files.set(name, sized({ name, source, size, parts: list }, manifest))
    }
    const kit = await loadHash(hashType)
    return new VerifiedModel(
      manifest,
      files,
      new Anchor(walk.root),
      kit,
      options.memory ?? 256 * 1024 * 1024,
    )
  }

  /** A whole file, verified before it is handed out. The memory is the caller's own. */
  async readFile(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const file = this.#file(name)
    if (file.size > constants.MAX_LENGTH)
      throw new ZtError('TOO_LARGE', 'the file is larger than one piece of memory can be', {
        path: name,
        hint: 'read it in parts, or as a stream',
      })
    return this.#with(file, async (fd) => {
      const bytes = Buffer.allocUnsafeSlow(file.size)
      for (const part of file.parts)
        await this.#fill(
          fd,
          file,
          { ...part, hash: 'signed' },
          bytes.subarray(part.start, part.end),
        )
      return bytes
    })
  }

  /**
   * The bytes `start` up to, not including, `end`. A model signed in shards reads just the shards that they lie in. Of another, the file is
   * verified as a whole the first time; one that is larger than `memory` is then known by the digests of its megabytes. The memory is the
   * caller's own.
   */
  async read(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const file = this.#file(name)
    if (!(start >= 0 && start <= end && end <= file.size))
      throw new ZtError('USAGE', `the range ${start} to ${end} is not in the file`, { path: name })
    const out = Buffer.allocUnsafeSlow(end - start)
    await this.#with(file, async (fd) => {
      for (const part of file.parts) {
        if (part.end <= start || part.start >= end) continue
        for (const unit of await this.#units(fd, file, part)) {
          if (unit.end <= start || unit.start >= end) continue
          const bytes = await this.#cached(fd, file, unit)
          const from = Math.max(start, unit.start)
          const to = Math.min(end, unit.end)
          out.set(bytes.subarray(from - unit.start, to - unit.start), from - start)
        }
      }
    })
    return out
  }

  /**
   * A file in order, each piece verified before it is handed out: shard by shard if it was signed so. Of another, nothing comes before all
   * of it was verified; one that is larger than `memory` is read twice for that. The memory of each piece is the caller's own; with `reuse`
   * it is so until the next piece is asked for, which is faster: new memory costs as much as hashing.
   */
  async *stream(
    name: string,
    { reuse = false }: StreamOptions = {},
  ): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const file = this.#file(name)
    const fd = this.#openFile(file)
    const ahead: Promise<Uint8Array<ArrayBuffer>>[] = []
    try {
      const shared = this.#readersFor(file)
      for (const part of file.parts) {
        for (const unit of await this.#units(fd, file, part)) {
          const into = reuse ? this.#pool.take(unit.end - unit.start) : undefined
          const loading =
            shared === null
              ? this.#load(fd, file, unit, into)
              : this.#loadThere(shared, fd, file, unit, into)
          loading.catch(() => undefined)
          ahead.push(loading)
          const wait = shared === null && unit.end - unit.start > AHEAD ? 0 : (shared?.width ?? 1)
          while (ahead.length > wait) {
            const bytes = await (ahead.shift() ?? loading)
            yield bytes
            if (reuse) this.#pool.give(bytes.buffer)
          }
        }
      }
      for (let next = ahead.shift(); next !== undefined; next = ahead.shift()) {
        const bytes = await next
        yield bytes
        if (reuse) this.#pool.give(bytes.buffer)
      }
    } finally {
      await Promise.allSettled(ahead)
      await closeAt(fd)
    }
  }

  /** Gives up what it holds. Reading is not possible after. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#anchor.close()
    this.#cache.clear()
    this.#readers?.close()
  }

  #file(name: string): OpenFile {
    if (this.#closed) throw new ZtError('INTERRUPTED', 'the model was closed')
    const file = this.#open.get(name)
    if (file !== undefined) return file
    throw new ZtError('FILE_MISSING', 'the signed list has no such file', { path: name })
  }

  #openFile(file: OpenFile): number {
    try {
      return this.#anchor.openFile(file.source)
    } catch (cause) {
      const { code, message } = openProblem(cause)
      throw new ZtError(code, message, { path: file.name, cause })
    }
  }

  /** Threads, where there are enough pieces for them. */
  #readersFor({ size, parts }: OpenFile): Readers | null {
    const largest = Math.max(0, ...parts.map(({ start, end }) => end - start))
    if (size < AHEAD || parts.length < 4 || largest > AHEAD || largest > this.#memory) return null
    return (this.#readers ??= new Readers(this.manifest.serialization.hashType))
  }

  async #loadThere(
    readers: Readers,
    fd: number,
    file: OpenFile,
    { start, end, ...unit }: Unit,
    into: ArrayBuffer | undefined,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const job = { fd, start, end, ...(into === undefined ? {} : { into }) }
    const { bytes, digest, error } = await readers.read(job)
    if (bytes === null) throw error === undefined ? shorter(file) : unreadable(file, error)
    this.#compare(file, { start, end, ...unit }, digest)
    return bytes
  }

  async #with<T>(file: OpenFile, use: (fd: number) => Promise<T>): Promise<T> {
    const fd = this.#openFile(file)
    try {
      return await use(fd)
    } finally {
      await closeAt(fd)
    }
  }

  /** A part in pieces that may be verified on their own. */
  #units(fd: number, file: OpenFile, part: Part): Promise<readonly Unit[]> {
    if (part.end - part.start <= this.#memory) return Promise.resolve([{ ...part, hash: 'signed' }])
    const key = `${String(part.start)} ${file.name}`
    const known = this.#portions.get(key)
    if (known !== undefined) return known
    const units = this.#portion(fd, file, part)
    this.#portions.set(key, units)
    units.catch(() => this.#portions.delete(key))
    return units
  }

  /** Verifies a part without keeping it, and takes the digests of its portions on the way: bytes that hash to these are the verified ones. */
  async #portion(fd: number, file: OpenFile, part: Part): Promise<readonly Unit[]> {
    const whole = this.#kit.create()
    const units: Unit[] = []
    for (let start = part.start; start < part.end; start += CHUNK) {
      const end = Math.min(start + CHUNK, part.end)
      const bytes = Buffer.allocUnsafeSlow(end - start)
      await this.#readFully(fd, file, bytes, start)
      whole.update(bytes)
      const digest = createHash('sha256').update(bytes).digest('hex')
      units.push({ start, end, digest, hash: 'sha256' })
    }
    this.#compare(file, { ...part, hash: 'signed' }, whole.hex())
    return units
  }

  async #cached(fd: number, file: OpenFile, unit: Unit): Promise<Uint8Array> {
    const key = `${String(unit.start)} ${file.name}`
    const known = this.#cache.get(key)
    if (known !== undefined) return known
    const bytes = await this.#load(fd, file, unit)
    this.#cache.set(key, bytes)
    return bytes
  }

  async #load(
    fd: number,
    file: OpenFile,
    unit: Unit,
    into?: ArrayBuffer,
  ): Promise<Buffer<ArrayBuffer>> {
    const length = unit.end - unit.start
    const bytes = into === undefined ? Buffer.allocUnsafeSlow(length) : Buffer.from(into, 0, length)
    await this.#fill(fd, file, unit, bytes)
    return bytes
  }

  /** Reads a unit into memory that nobody else has yet, hashes it there, and compares. The next chunk is read while one is hashed. */
  async #fill(fd: number, file: OpenFile, unit: Unit, bytes: Buffer): Promise<void> {
    const hasher: Hasher | Hash = unit.hash === 'signed' ? this.#kit.create() : createHash('sha256')
    let ready = this.#readFully(fd, file, bytes.subarray(0, CHUNK), unit.start)
    for (let at = 0; at < bytes.length; at += CHUNK) {
      await ready
      const next = at + CHUNK
      if (next < bytes.length)
        ready = this.#readFully(fd, file, bytes.subarray(next, next + CHUNK), unit.start + next)
      hasher.update(bytes.subarray(at, next))
    }
    this.#compare(file, unit, 'hex' in hasher ? hasher.hex() : hasher.digest('hex'))
  }

  async #readFully(fd: number, file: OpenFile, bytes: Buffer, at: number): Promise<void> {
    for (let got = 0; got < bytes.length;) {
      let count: number
      try {
        count = (await readAt(fd, bytes, got, bytes.length - got, at + got)).bytesRead
      } catch (cause) {
        throw unreadable(file, String((cause as { code?: unknown }).code))
      }
      if (count === 0) throw shorter(file)
      got += count
    }
  }

  #compare(file: OpenFile, { start, end, digest, hash }: Unit, actual: string): void {
    if (actual === digest) return
    const type: HashType = hash === 'signed' ? this.manifest.serialization.hashType : 'sha256'
    throw new ZtError(
      'FILE_CHANGED',
      `bytes ${start} to ${end} are not as signed: expected ${type}:${digest}, got ${type}:${actual}`,
      { path: file.name },
    )
  }
}

function shorter({ name }: OpenFile): ZtError {
  return new ZtError('FILE_CHANGED', 'is shorter than what was signed', { path: name })
}

function unreadable({ name }: OpenFile, code: string): ZtError {
  return new ZtError('FILE_UNREADABLE', `can not be read (${code})`, { path: name })
}

/** The signed ranges of each file, in order. */
function signedParts({ serialization, resources }: Manifest): Map<string, Part[]> {
  const parts = new Map<string, Part[]>()
  for (const { name, digest, size } of resources) {
    const shard = serialization.method === 'shards' ? parseShardName(name) : null
    const { path, start, end } = shard ?? { path: name, start: 0, end: size ?? -1 }
    const list = parts.get(path) ?? []
    list.push({ start, end, digest })
    parts.set(path, list)
  }
  for (const list of parts.values()) list.sort((a, b) => a.start - b.start)
  return parts
}

/** A file whose size is the signed one; where no size was signed, the one that it has now. */
function sized(file: OpenFile, { serialization }: Manifest): OpenFile {
  const { name, size, parts } = file
  const signed = parts.at(-1)?.end ?? -1
  if (signed >= 0 && signed !== size)
    throw new ZtError('FILE_CHANGED', `has ${size} bytes, and ${signed} were signed`, {
      path: name,
    })
  return serialization.method === 'shards'
    ? file
    : { ...file, parts: parts.map(({ digest }) => ({ start: 0, end: size, digest })) }
}

/** Verified bytes, the latest used ones. Nobody outside ever gets hold of them: what is handed out is copied. */
class UnitCache {
  readonly #limit: number
  readonly #units = new Map<string, Uint8Array>()
  #bytes = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  get(key: string): Uint8Array | undefined {
    const bytes = this.#units.get(key)
    if (bytes === undefined) return undefined
    this.#units.delete(key)
    this.#units.set(key, bytes)
    return bytes
  }

  set(key: string, bytes: Uint8Array): void {
    if (bytes.length > this.#limit) return
    this.#bytes += bytes.length - (this.#units.get(key)?.length ?? 0)
    this.#units.delete(key)
    this.#units.set(key, bytes)
    for (const [oldest, { length }] of this.#units) {
      if (this.#bytes <= this.#limit) return
      this.#units.delete(oldest)
      this.#bytes -= length
    }
  }

  clear(): void {
    this.#units.clear()
    this.#bytes = 0
  }
}

/** Memory that streams use again. */
class Pool {
  readonly #limit: number
  #free: ArrayBuffer[] = []

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Memory of at least this length that nobody else has. */
  take(length: number): ArrayBuffer {
    const found = this.#free.findIndex(({ byteLength }) => byteLength >= length)
    const [memory] = found < 0 ? [] : this.#free.splice(found, 1)
    return memory ?? Buffer.allocUnsafeSlow(length).buffer
  }

  give(memory: ArrayBuffer): void {
    const held = this.#free.reduce((sum, { byteLength }) => sum + byteLength, 0)
    if (held + memory.byteLength <= this.#limit) this.#free.push(memory)
  }
}
