// The single owner of hashing: which library computes which digest, and how the bytes of one opened file get into it.
import { createHash, hash as hashOnce } from 'node:crypto'
import { closeSync, fstatSync, readSync } from 'node:fs'
import type { Code } from '../codes.ts'
import { FsVerity } from './fsverity.ts'
import type { HashType } from './manifest.ts'
import { stampOf, type Anchor, type Stamp } from './open.ts'
import type * as Sniff from './sniff.ts'

export interface Hasher {
  update(bytes: Uint8Array): void
  /** Lower-case hex. The hasher can not be used after. */
  hex(): string
}

export interface HashKit {
  readonly create: () => Hasher
  readonly once: (bytes: Uint8Array) => string
  /** Rough bytes a second of one thread: decides whether threads are worth their start. */
  readonly rate: number
}

/**
 * The implementation of an algorithm (OMS v1.0 §6.4). SHA-256 and BLAKE2b-512 are OpenSSL's. BLAKE3 is the optional native package
 * (9 GB/s a thread where measured) or else the portable one (0.08 GB/s): same digests, tested against each other.
 */
export async function loadHash(type: HashType): Promise<HashKit> {
  if (type === 'blake3') return (await nativeBlake3()) ?? (await portableBlake3())
  const name = type === 'blake2b' ? 'blake2b512' : 'sha256'
  return {
    create: () => {
      const hash = createHash(name)
      return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') }
    },
    once: (bytes) => hashOnce(name, bytes, 'hex'),
    rate: 1.5e9,
  }
}

async function nativeBlake3(): Promise<HashKit | null> {
  try {
    const { Blake3Hasher } = await import('@napi-rs/blake-hash')
    const create = (): Hasher => {
      const hash = new Blake3Hasher()
      return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest('hex') }
    }
    return { create, once: (bytes) => once(create(), bytes), rate: 6e9 }
  } catch {
    return null // optional: not installed, or no build for this platform
  }
}

/** Exported for the test that holds both implementations against each other. */
export async function portableBlake3(): Promise<HashKit> {
  const { blake3 } = await import('@noble/hashes/blake3.js')
  const create = (): Hasher => {
    const hash = blake3.create()
    return {
      update: (bytes) => void hash.update(bytes),
      hex: () => Buffer.from(hash.digest()).toString('hex'),
    }
  }
  return { create, once: (bytes) => once(create(), bytes), rate: 0.07e9 }
}

function once(hasher: Hasher, bytes: Uint8Array): string {
  hasher.update(bytes)
  return hasher.hex()
}

/** 256 KiB: stays in the second-level cache between read and hash (1 MiB was 4 % slower where measured), and the system calls do not show. */
export const CHUNK = 256 * 1024

/** One range of one file. */
export interface Piece {
  /** As signed: decides only what sniffing makes of source code. */
  readonly name: string
  readonly source: string
  readonly stamp: Stamp
  readonly start: number
  readonly end: number
}

export interface PieceProblem {
  readonly code: Code
  readonly message: string
  readonly expected?: string
  readonly actual?: string
}

export interface PieceResult {
  /** Lower-case hex; empty if there is a problem. */
  readonly digest: string
  readonly fsverity?: string
  /** Of the whole file, with its first piece. */
  readonly content?: Sniff.Content
  readonly problem?: PieceProblem
}

export interface HashContext {
  readonly anchor: Anchor
  readonly kit: HashKit
  /** `CHUNK` bytes, reused. */
  readonly buffer: Buffer
  readonly fsverity: boolean
  /** The module sniff.ts, where the content is asked for. */
  readonly sniff: Sniffer | null
}

/** How much was read since the step before. */
export type Step = number

type Sniffer = typeof Sniff

/**
 * Hashes one range in one pass. The file's state is compared with the one seen in the walk after opening and again after reading, so a
 * file that changed in between is refused, whoever changed it and whether or not its size stayed.
 * It works in steps of at most CHUNK bytes: whoever runs it can do something else in between, or stop (which closes the file).
 */
export function* hashPiece(piece: Piece, context: HashContext): Generator<Step, PieceResult> {
  let fd: number
  try {
    fd = context.anchor.openFile(piece.source)
  } catch (cause) {
    return { digest: '', problem: openProblem(cause) }
  }
  try {
    const stats = fstatSync(fd, { bigint: true })
    const before = stampOf(stats)
    if (before !== piece.stamp) return unstable(piece.stamp, before)
    const result = yield* readPiece(fd, piece, Number(stats.size), context)
    const after = stampOf(fstatSync(fd, { bigint: true }))
    if (result === null || after !== piece.stamp) return unstable(piece.stamp, after)
    return result
  } catch (cause) {
    return { digest: '', problem: openProblem(cause) }
  } finally {
    closeSync(fd)
  }
}

/** Null if the file ended too early. */
function* readPiece(
  fd: number,
  piece: Piece,
  size: number,
  context: HashContext,
): Generator<Step, PieceResult | null> {
  const { buffer, kit } = context
  const { start, end } = piece
  const verity = context.fsverity ? new FsVerity() : null
  const sniff = start === 0 ? context.sniff : null
  if (end - start <= CHUNK) {
    const bytes = readFully(fd, buffer, start, end - start)
    if (bytes === null) return null
    verity?.update(bytes)
    const digest = kit.once(bytes)
    const content = sniff === null ? {} : { content: sniffFile(fd, piece.name, size, sniff) }
    yield bytes.length
    return { digest, ...(verity === null ? {} : { fsverity: verity.digest() }), ...content }
  }
  const hasher = kit.create()
  for (let at = start; at < end;) {
    const count = readSync(fd, buffer, 0, Math.min(CHUNK, end - at), at)
    if (count === 0) return null
    const bytes = buffer.subarray(0, count)
    hasher.update(bytes)
    verity?.update(bytes)
    at += count
    yield count
  }
  return {
    digest: hasher.hex(),
    ...(verity === null ? {} : { fsverity: verity.digest() }),
    ...(sniff === null ? {} : { content: sniffFile(fd, piece.name, size, sniff) }),
  }
}

function readFully(fd: number, buffer: Buffer, start: number, length: number): Buffer | null {
  let got = 0
  while (got < length) {
    const count = readSync(fd, buffer, got, length - got, start + got)
    if (count === 0) return null
    got += count
  }
  return buffer.subarray(0, length)
}

/** Looks at the open file that was just hashed; the comparison of its state that follows covers this reading too. */
function sniffFile(fd: number, name: string, size: number, sniff: Sniffer): Sniff.Content {
  const read = (length: number, fromEnd: boolean): Buffer =>
    readFully(fd, Buffer.alloc(length), fromEnd ? size - length : 0, length) ?? Buffer.alloc(0)
  const head = read(Math.min(size, sniff.HEAD_BYTES), false)
  let tail = size === head.length ? head : read(Math.min(size, sniff.TAIL_BYTES), true)
  const wanted = sniff.tailWanted(tail, size)
  if (wanted > tail.length) tail = read(wanted, true)
  return sniff.classify({ name, size, head, tail })
}

function unstable(expected: Stamp, actual: Stamp): PieceResult {
  const message = 'changed while it was being read'
  return { digest: '', problem: { code: 'FILE_UNSTABLE', message, expected, actual } }
}

/** What a file that can't be opened or read says. */
export function openProblem(cause: unknown): PieceProblem {
  const code = String((cause as { code?: unknown }).code ?? cause)
  return code === 'ELOOP' || code === 'ENOTDIR' || code === 'ENOENT' || code === 'ENXIO'
    ? { code: 'FILE_UNSTABLE', message: `was replaced while the model was being read (${code})` }
    : { code: 'FILE_UNREADABLE', message: `can not be read (${code})` }
}
