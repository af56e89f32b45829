// The single owner of a model as a tar stream: hashed in one pass, without unpacking, to the identity of the unpacked directory.
import { closeSync, createReadStream, openSync, readSync, statSync } from 'node:fs'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { extract as makeExtract } from 'tar-stream'
import { ZtError } from '../error.ts'
import type { Check } from '../verdict.ts'
import { compareFound, unsignedDefaults, type Comparison } from './compare.ts'
import { loadHash } from './hash.ts'
import { conclude, serializationOf, type Identity, type IdentifyOptions } from './identify.ts'
import type { HashedFile, HashType, Manifest } from './manifest.ts'
import { FileSink } from './stream.ts'
import type { Around } from './tar-around.ts'
import { TarGuard } from './tar-guard.ts'
import { TarTree } from './tar-tree.ts'

export interface TarLimits {
  /** Bytes after gunzip. Default 4 TiB. */
  readonly maxBytes?: number
  /** Unpacked bytes for each packed one, once more than 64 MiB came out. Default 200. */
  readonly maxRatio?: number
  /** Default 1,000,000. */
  readonly maxEntries?: number
}

export interface TarOptions extends TarLimits {
  readonly hashType: HashType
  /** Bytes. Given: the method `shards`; else `files`. */
  readonly shardSize?: number
  /** Follow links within the archive, as if it were unpacked. Hard links to files before them are always followed. */
  readonly allowSymlinks?: boolean
  readonly ignorePaths?: readonly string[]
  readonly reportIgnored?: readonly string[]
  readonly defaultIgnores?: boolean
  /** The name of the signature inside the archive: a file of exactly this name is no part of the model. */
  readonly ownSignature?: string
  /** Leading parts of every name to drop, as `tar --strip-components`. Default 0: only a leading `./` is dropped. */
  readonly stripComponents?: number
  /** The model is this directory of a container image's layer. The rest is passed over; a layer's deletions that touch it are refused. */
  readonly within?: string
  /** What the earlier layers of the same image hold beside the model: the same one for all of them. */
  readonly around?: Around
  readonly fsverity?: boolean
  readonly sniff?: boolean
  /** Called for each file that is hashed: its bytes go to what it gives as well, in order, and `end` when the file ended. */
  readonly tee?: (name: string) => { write(bytes: Uint8Array): void; end(): void } | null
  readonly signal?: AbortSignal
  /** Bytes that came in (packed). */
  readonly onProgress?: (progress: { readonly bytes: number }) => void
}

export interface TarOutcome {
  /** In the order of their names. */
  readonly files: readonly HashedFile[]
  readonly ignored: readonly string[]
  /** Entries that can not be part of a model. All of them. */
  readonly checks: readonly Check[]
  /** Directories and symbolic links of the model, named or implied: several layers lie on each other. */
  readonly directories: readonly string[]
  readonly links: readonly string[]
  /** Bytes of all files. */
  readonly bytes: number
  readonly entries: number
}

/**
 * Hashes the files of a tar or tar.gz stream as they pass by. What the archive says of sizes is never trusted beyond what arrives.
 * Refuses, by `checks`, names and types that can not be part of a model; by exception, an archive that is not well-formed (then nothing
 * in it can be believed) or that unpacks to more than the limits.
 * @throws ZtError TAR_INVALID, TAR_TOO_LARGE, MODEL_TOO_LARGE, INTERRUPTED, USAGE; errors of the stream as they are
 */
export async function hashTar(
  stream: AsyncIterable<Uint8Array>,
  options: TarOptions,
): Promise<TarOutcome> {
  const kit = await loadHash(options.hashType)
  const tree = new TarTree(options)
  const guard = new TarGuard()
  const meter = new Meter(options)
  // Latin-1 keeps the bytes of the names, so that they can be decoded strictly; its types do not know the option.
  const extract = makeExtract({ filenameEncoding: 'latin1' } as Parameters<typeof makeExtract>[0])
  const finished = new Promise<void>((resolve, reject) => {
    extract.on('finish', resolve)
    extract.on('error', reject)
    extract.on('close', () => reject(new ZtError('TAR_INVALID', 'the archive ends early')))
  })
  finished.catch(() => undefined) // it is awaited below, perhaps after it failed
  extract.on('entry', (header, data, next) => {
    try {
      const name = tree.add(header)
      const sink = name === null ? null : new FileSink(name, kit, options)
      const copy = name === null ? null : (options.tee?.(name) ?? null)
      data.on('data', (chunk) => {
        sink?.update(chunk as Uint8Array)
        copy?.write(chunk as Uint8Array)
      })
      data.on('end', () => {
        if (sink !== null) tree.addFile(sink.finish())
        copy?.end()
        next()
      })
    } catch (error) {
      next(error as Error)
    }
  })
  try {
    for await (const chunk of unpacked(meter.packed(stream))) {
      meter.unpacked(chunk.length)
      guard.push(chunk)
      if (!extract.write(chunk)) await Promise.race([drained(extract), finished])
    }
    guard.end()
    extract.end(undefined)
    await finished
  } catch (error) {
    extract.destroy()
    throw tarError(error)
  }
  const outcome = tree.finish()
  const bytes = outcome.files.reduce((sum, { size }) => sum + size, 0)
  return { ...outcome, bytes, entries: tree.entries }
}

/** `identifyModel` for a tar or tar.gz stream. `name` is the subject's name. */
export async function identifyTar(
  stream: AsyncIterable<Uint8Array>,
  options: Omit<IdentifyOptions, 'onProgress'> &
    Pick<TarOptions, 'stripComponents' | 'onProgress'> &
    TarLimits & { readonly name: string },
): Promise<Identity> {
  const serialization = serializationOf(options)
  const { hashType, shardSize } = serialization
  const outcome = await hashTar(stream, {
    ...options,
    hashType,
    ...(shardSize === undefined ? {} : { shardSize }),
  })
  return conclude(outcome, { ...options, serialization })
}

/** `compareModel` for a tar or tar.gz stream. */
export async function compareTar(
  stream: AsyncIterable<Uint8Array>,
  manifest: Manifest,
  options: Omit<TarOptions, 'hashType' | 'shardSize' | 'allowSymlinks' | 'reportIgnored'> & {
    readonly ignoreUnsigned?: boolean
  } = {},
): Promise<Comparison> {
  const { hashType, shardSize, allowSymlinks, ignorePaths } = manifest.serialization
  const outcome = await hashTar(stream, {
    ...options,
    hashType,
    allowSymlinks,
    defaultIgnores: false,
    ignorePaths: [...unsignedDefaults(manifest), ...(options.ignorePaths ?? [])],
    reportIgnored: ignorePaths ?? [],
    ...(shardSize === undefined ? {} : { shardSize }),
  })
  const byName = new Map(outcome.files.map((file) => [file.name, file]))
  return compareFound(manifest, { ...outcome, single: false }, options, (read) => {
    const files = read.flatMap(({ name }) => byName.get(name) ?? [])
    const bytes = files.reduce((sum, { size }) => sum + size, 0)
    return Promise.resolve({ files, checks: [], bytes })
  })
}

/** A file as a stream for `hashTar`. */
export function readTar(path: string): AsyncIterable<Uint8Array> {
  return createReadStream(path, { highWaterMark: 1024 * 1024 })
}

/** True if the file is a tar archive, or a gzip file that is named as a tar.gz. */
export function looksLikeTar(path: string): boolean {
  let fd: number
  try {
    // opening a pipe would wait for somebody to write to it
    if (!statSync(path).isFile()) return false
    fd = openSync(path, 'r')
  } catch {
    return false
  }
  try {
    const head = Buffer.alloc(512)
    const count = readSync(fd, head, 0, 512, 0)
    if (count === 512 && head.toString('latin1', 257, 262) === 'ustar') return true
    return count > 2 && head[0] === 0x1f && head[1] === 0x8b && /\.(?:tgz|tar\.gz)$/i.test(path)
  } catch {
    return false // a directory
  } finally {
    closeSync(fd)
  }
}

/** Counts what goes in and what comes out, and stops a decompression bomb. */
class Meter {
  readonly #options: TarOptions
  #in = 0
  #out = 0

  constructor(options: TarOptions) {
    this.#options = options
  }

  async *packed(stream: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    for await (const chunk of stream) {
      if (this.#options.signal?.aborted === true)
        throw new ZtError('INTERRUPTED', 'interrupted while reading the archive')
      this.#in += chunk.length
      this.#options.onProgress?.({ bytes: this.#in })
      yield chunk
    }
  }

  unpacked(bytes: number): void {
    this.#out += bytes
    const { maxBytes = 4 * 2 ** 40, maxRatio = 200 } = this.#options
    const bomb = this.#out > 64 * 2 ** 20 && this.#out > this.#in * maxRatio
    if (this.#out <= maxBytes && !bomb) return
    throw new ZtError(
      'TAR_TOO_LARGE',
      bomb
        ? `the archive unpacks to more than ${maxRatio} times its size`
        : `the archive unpacks to more than ${maxBytes} bytes`,
      { hint: 'if that is what it should be, unpack it and use the directory' },
    )
  }
}

/** Ungzips a stream that starts as gzip does, and passes every other on. Bytes after the end of the gzip data are refused. */
async function* unpacked(stream: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  const iterator = stream[Symbol.asyncIterator]()
  let first = Buffer.alloc(0)
  while (first.length < 2) {
    const next = await iterator.next()
    if (next.done === true) break
    first = Buffer.concat([first, next.value])
  }
  let total = 0
  async function* whole(): AsyncIterable<Uint8Array> {
    for (let chunk: Uint8Array = first; ;) {
      total += chunk.length
      yield chunk
      const next = await iterator.next()
      if (next.done === true) return
      chunk = next.value
    }
  }
  if (first[0] !== 0x1f || first[1] !== 0x8b) {
    yield* whole()
    return
  }
  const source = Readable.from(whole(), { objectMode: false })
  const gunzip = createGunzip({ chunkSize: 256 * 1024 })
  source.on('error', (error) => gunzip.destroy(error))
  try {
    yield* source.pipe(gunzip) as AsyncIterable<Uint8Array>
    if (gunzip.bytesWritten !== total)
      throw new ZtError('TAR_INVALID', 'bytes follow after the end of the gzip data')
  } finally {
    source.destroy()
    gunzip.destroy()
  }
}

function drained(extract: ReturnType<typeof makeExtract>): Promise<void> {
  return new Promise((resolve) => extract.once('drain', resolve))
}

function tarError(error: unknown): unknown {
  if (error instanceof ZtError) return error
  const { code, message } = error as { code?: unknown; message?: unknown }
  // Errors of the source (a file, a socket) are not the archive's fault.
  if (typeof code === 'string' && !code.startsWith('Z_') && !code.startsWith('ERR_STREAM'))
    return error
  return new ZtError('TAR_INVALID', String(message), { cause: error })
}
