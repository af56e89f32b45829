// The single owner of the digest cache: digests of an earlier run, each bound to the exact state of the file that it was computed from.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { AttestationError, decode, parseJson } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { writeAtomically } from './atomic.ts'
import { digestLength, HASH_TYPES, type HashType, type Part } from './manifest.ts'
import type { Stamp } from './open.ts'

/** How the digests were made: an entry of other parameters is never used. */
export interface CacheKey {
  readonly hashType: HashType
  /** Bytes; absent for the method `files`. */
  readonly shardSize?: number
}

interface Entry {
  /** When the digests were recorded, nanoseconds since 1970. */
  readonly at: bigint
  readonly parts: readonly Part[]
}

/**
 * Times of a file can be this coarse: a change within this time of the recording might leave them as they were ("racy clean", as in git's
 * index). Such an entry is not believed.
 */
export const RACY_NS = 2_000_000_000n
const MAX_BYTES = 512 * 1024 * 1024
const SCHEMA = 'zt4ai.digest-cache/v1'

/**
 * Digests by file state: device, inode, size, modification and change time in nanoseconds (`Stamp`), and the parameters of the hash.
 *
 * What it can be trusted for: nobody but the kernel sets the change time, so on a local file system a file whose state is the recorded
 * one has the recorded bytes, as long as (1) nobody with root rights set the clock back or wrote to the device below the file system,
 * (2) nobody else can write the cache file (its own digest finds accidents, not attackers), (3) the file system keeps change times
 * (network and FUSE file systems may not), (4) no write through a memory map is still on its way. Where one of these is not given, read the
 * files. Signing with it vouches for bytes that this run did not see; verifying never uses it unless told to, and then says so.
 */
export class DigestCache {
  readonly #entries = new Map<string, Entry>()
  get size(): number {
    return this.#entries.size
  }

  /** The digests of a file in this state, or null. */
  get(stamp: Stamp, key: CacheKey): readonly Part[] | null {
    const entry = this.#entries.get(entryKey(stamp, key))
    if (entry === undefined || isRacy(stamp, entry.at)) return null
    return entry.parts
  }

  /** @param at when, before the file was opened for hashing, in nanoseconds since 1970 */
  set(stamp: Stamp, key: CacheKey, parts: readonly Part[], at: bigint): void {
    if (!isRacy(stamp, at)) this.#entries.set(entryKey(stamp, key), { at, parts })
  }

  /** Forgets every state but these, so that the file does not grow for ever. */
  retain(stamps: Iterable<Stamp>): void {
    const kept = new Set(stamps)
    for (const key of this.#entries.keys())
      if (!kept.has(key.slice(key.indexOf(' ') + 1))) this.#entries.delete(key)
  }

  /** Deterministic: the same entries give the same bytes. */
  serialize(): string {
    const entries = [...this.#entries].sort(([a], [b]) => (a < b ? -1 : 1))
    const body = JSON.stringify(
      entries.map(([key, { at, parts }]) => [
        key,
        at.toString(),
        ...parts.map(({ start, end, digest }) => [start, end, digest]),
      ]),
    )
    return `{"schema":"${SCHEMA}","sha256":"${sha256(body)}","entries":${body}}\n`
  }

  /**
   * Reads a cache strictly: one wrong entry, and none is believed.
   * @throws ZtError CACHE_INVALID
   */
  static parse(bytes: Uint8Array): DigestCache {
    const cache = new DigestCache()
    try {
      const { entries, sha256: recorded } = FILE(parseJson(bytes, { maxBytes: MAX_BYTES }), '$')
      for (const [i, row] of entries.entries()) cache.#add(row, `$.entries[${i}]`)
      if (sha256(JSON.stringify(entries)) !== recorded) throw invalid('its digest does not match')
    } catch (error) {
      if (error instanceof AttestationError) throw invalid(error.message, error)
      throw error
    }
    return cache
  }

  #add(row: readonly unknown[], path: string): void {
    const [key, at, ...parts] = row
    const match = typeof key === 'string' ? KEY.exec(key) : null
    const type = HASH_TYPES.find((known) => known === match?.[1])
    if (match === null || type === undefined || typeof at !== 'string' || !/^\d{1,20}$/.test(at))
      throw invalid(`${path} is not an entry`)
    if (this.#entries.has(match[0])) throw invalid(`${path} is there twice`)
    const size = Number(match[3])
    const shard = match[2] === undefined ? size : Number(match[2])
    let end = 0
    const list = parts.map((value): Part => {
      const part = PART(value as never, path)
      const [start, to, digest] = part as unknown as [number, number, string]
      const last = Math.min(end + shard, size)
      const whole = match[2] === undefined && size === 0
      if (start !== end || to !== last || (to === start && !whole))
        throw invalid(`${path} has parts that do not follow each other`)
      if (!new RegExp(`^[0-9a-f]{${2 * digestLength(type)}}$`).test(digest))
        throw invalid(`${path} has a digest that is none`)
      end = to
      return { start, end: to, digest }
    })
    if (end !== size || (match[2] === undefined && list.length !== 1))
      throw invalid(`${path} does not cover its file`)
    this.#entries.set(match[0], { at: BigInt(at), parts: list })
  }
}

/** `hash[:shard size] device:inode:size:mtime:ctime`. */
const KEY =
  /^(sha256|blake2b|blake3)(?::([1-9]\d{0,15}))? \d{1,20}:\d{1,20}:(\d{1,16}):-?\d{1,20}:-?\d{1,20}$/
const FILE = decode.object({
  schema: decode.literal(SCHEMA),
  sha256: decode.string(),
  entries: decode.array(decode.array(decode.any(), { min: 2 })),
})
const PART = decode.array(decode.any(), { min: 3, max: 3 })

/** Reads a cache file; one that is not there is an empty cache. @throws ZtError CACHE_INVALID, IO */
export function readCache(path: string): DigestCache {
  let bytes
  try {
    bytes = readFileSync(path)
  } catch (cause) {
    if ((cause as { code?: unknown }).code === 'ENOENT') return new DigestCache()
    throw new ZtError('IO', 'the digest cache can not be read', { path, cause })
  }
  return DigestCache.parse(bytes)
}

/** Writes a cache file in one step: another reader sees the old one or the new one. Only its owner can read it. @throws ZtError IO */
export function writeCache(path: string, cache: DigestCache): void {
  writeAtomically(path, Buffer.from(cache.serialize()), 0o600)
}

function entryKey(stamp: Stamp, { hashType, shardSize }: CacheKey): string {
  return `${hashType}${shardSize === undefined ? '' : `:${shardSize}`} ${stamp}`
}

function isRacy(stamp: Stamp, at: bigint): boolean {
  const [, , , mtime = '', ctime = ''] = stamp.split(':')
  return BigInt(mtime) + RACY_NS > at || BigInt(ctime) + RACY_NS > at
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function invalid(message: string, cause?: unknown): ZtError {
  return new ZtError('CACHE_INVALID', `the digest cache is not well-formed: ${message}`, {
    cause,
    hint: 'delete the file: the next run makes a new one',
  })
}
