// The single owner of hashing a model in parts: each machine hashes its share, and one that has all the parts joins them to the same list as if it had read every byte.
import { decode, utf8Encode } from '../../attestation/lib/index.ts'
import { MAX_BUNDLE, readStrict } from '../bundle/bundle.ts'
import { checkPlace, defaultSignature, inModel } from '../bundle/location.ts'
import { ZtError } from '../error.ts'
import {
  conclude,
  serializationOf,
  type Identity,
  type IdentifyOptions,
} from '../model/identify.ts'
import {
  digestLength,
  HASH_TYPES,
  type HashedFile,
  type Part,
  type Serialization,
} from '../model/manifest.ts'
import { compareNames, nameProblem, shownName } from '../model/name.ts'
import { hashFiles, type HashedRange } from '../model/pool.ts'
import { walkModel } from '../model/walk.ts'
import type { Check } from '../verdict.ts'
import { seal, type SignedModel } from './model.ts'
import type { Signer } from './signer.ts'
import { listingDigest, unitsOf, unitsOfPart } from './parts-split.ts'

const SCHEMA = 'zt4ai.part/v1'
const MAX_PARTS = 10_000

export interface PartOptions extends Omit<IdentifyOptions, 'reuse' | 'sniff'> {
  /** Counted from 1. */
  readonly part: number
  readonly parts: number
  /** Where the signature will lie, as for `signModel`. */
  readonly signature?: string
}

export interface HashedPart {
  /** The part as a file (schemas/part.v1.schema.json); null if the model can't be signed, and `checks` says why. */
  readonly bytes: Uint8Array | null
  readonly checks: readonly Check[]
  /** Files and shards in this part, and their bytes. */
  readonly pieces: number
  readonly hashedBytes: number
}

/**
 * Hashes one part of a model. Which files and shards are in it depends on the list of files, their sizes, and the number of parts.
 * @throws ZtError USAGE, and as `walkModel` and `hashFiles`
 */
export async function hashPart(path: string, options: PartOptions): Promise<HashedPart> {
  const { part, parts } = options
  if (!(Number.isInteger(parts) && parts >= 1 && parts <= MAX_PARTS && part >= 1 && part <= parts))
    throw new ZtError('USAGE', `there is no part ${part} of ${parts}`, {
      hint: `parts are counted from 1, and there are at most ${MAX_PARTS}`,
    })
  const own = inModel(path, options.signature ?? defaultSignature(path))
  const ignorePaths = [...(options.ignorePaths ?? []), ...(own === null ? [] : [own])]
  const serialization = serializationOf({ ...options, ignorePaths })
  const { hashType, shardSize } = serialization
  const walk = await walkModel(path, { ...options, ignorePaths })
  const nothing = { bytes: null, pieces: 0, hashedBytes: 0 }
  if (walk.checks.length > 0) return { ...nothing, checks: walk.checks }
  const units = unitsOfPart(unitsOf(walk.files, shardSize), part, parts)
  const files = new Map(walk.files.map((file) => [file.name, file]))
  const ranges = units.flatMap(({ name, start, end }): HashedRange[] => {
    const file = files.get(name)
    return file === undefined ? [] : [{ ...file, range: { start, end } }]
  })
  const hashed = await hashFiles(walk.root, ranges, {
    ...options,
    hashType,
    ...(shardSize === undefined ? {} : { shardSize }),
  })
  if (hashed.checks.length > 0) return { ...nothing, checks: hashed.checks }
  const { method, allowSymlinks } = serialization
  const bytes = utf8Encode(
    `${JSON.stringify({
      schema: SCHEMA,
      part,
      parts,
      model: { name: walk.name, single: walk.single },
      listing: { sha256: listingDigest(walk.files) },
      serialization: {
        method,
        hash_type: hashType,
        ...(shardSize === undefined ? {} : { shard_size: shardSize }),
        allow_symlinks: allowSymlinks,
        ignore_paths: serialization.ignorePaths ?? [],
      },
      ...(options.compat === undefined ? {} : { compat: options.compat }),
      sizes: options.sizes === true,
      fsverity: options.fsverity === true,
      pieces: hashed.files.map(({ name, size, parts: [piece], fsverity }) => ({
        name,
        size,
        ...(piece === undefined ? {} : piece),
        ...(fsverity === undefined ? {} : { fsverity }),
      })),
    })}\n`,
  )
  const hashedBytes = units.reduce((sum, { start, end }) => sum + end - start, 0)
  return { bytes, checks: [], pieces: units.length, hashedBytes }
}

const { array, boolean, integer, literal, object, optional, string } = decode
const SHA256 = string({ min: 64, max: 64, pattern: /^[0-9a-f]+$/ })

const PIECE = object({
  name: string({ min: 1, max: 4096 }),
  size: integer({ min: 0 }),
  start: optional(integer({ min: 0 })),
  end: optional(integer({ min: 0 })),
  digest: optional(string({ min: 64, max: 128, pattern: /^[0-9a-f]+$/ })),
  fsverity: optional(string({ pattern: /^sha256:[0-9a-f]{64}$/ })),
})
const FILE = object({
  schema: literal(SCHEMA),
  part: integer({ min: 1, max: MAX_PARTS }),
  parts: integer({ min: 1, max: MAX_PARTS }),
  model: object({ name: string({ min: 1, max: 4096 }), single: boolean() }),
  listing: object({ sha256: SHA256 }),
  serialization: object({
    method: literal('files', 'shards'),
    hash_type: literal(...HASH_TYPES),
    shard_size: optional(integer({ min: 1 })),
    allow_symlinks: boolean(),
    ignore_paths: array(string({ min: 1 }), { max: 100_000 }),
  }),
  compat: optional(literal('reference')),
  sizes: boolean(),
  fsverity: boolean(),
  pieces: array(PIECE),
})
type PartFile = ReturnType<typeof FILE>

/** A part's file; `name` is for messages. */
export interface PartBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

export interface JoinOptions {
  /** What the model is called in the signature. Default: as the parts say. */
  readonly name?: string
  /** Digest of the listing that the parts must have seen, where the joining machine sees the model as well. */
  readonly listing?: string
}

export interface SignPartsOptions {
  readonly signer: Signer
  /** The model, where this machine sees it: its list of files must be the one that the parts saw. Else `signature` must be given. */
  readonly model?: string
  readonly name?: string
  readonly signature?: string
}

/**
 * Joins and signs. The payload is the same, byte for byte, as if one machine had hashed everything.
 * @throws ZtError as `joinParts` and `signModel`
 */
export async function signParts(
  files: readonly PartBytes[],
  options: SignPartsOptions,
): Promise<SignedModel> {
  const { model, name, signer } = options
  const signature = options.signature ?? (model === undefined ? undefined : defaultSignature(model))
  if (signature === undefined)
    throw new ZtError('USAGE', 'without the model nothing says where the signature goes', {
      hint: 'give --signature FILE',
    })
  checkPlace(signature)
  const [first] = files
  const listing =
    model === undefined || first === undefined
      ? undefined
      : await listingOf(model, readPart(first.name, first.bytes))
  const identity = joinParts(files, {
    ...(name === undefined ? {} : { name }),
    ...(listing === undefined ? {} : { listing }),
  })
  return { ...identity, signature, ...(await seal(identity, signer, signature)) }
}

async function listingOf(model: string, part: PartFile): Promise<string> {
  const { allowSymlinks, ignorePaths = [] } = serializationIn(part)
  const walk = await walkModel(model, { allowSymlinks, ignorePaths, defaultIgnores: false })
  return listingDigest(walk.files)
}

/**
 * Joins all parts of a model, in any order. The parts are believed: they are digests that the caller's own machines computed. What they say must
 * fit together, and be whole.
 * @throws ZtError PART_INVALID, TOO_LARGE, MODEL_EMPTY
 */
export function joinParts(files: readonly PartBytes[], options: JoinOptions = {}): Identity {
  const parts = files.map(({ name, bytes }) => ({ name, part: readPart(name, bytes) }))
  const [first] = parts
  if (first === undefined) throw new ZtError('USAGE', 'there are no parts to join')
  const mismatch = (name: string, message: string, expected: string, actual: string): void => {
    checks.push({
      id: `parts:${name}`,
      status: 'fail',
      code: 'PARTS_MISMATCH',
      message,
      expected,
      actual,
      hint: 'hash every part anew, from the same files and with the same options',
    })
  }
  const checks: Check[] = []
  const head = headOf(first.part)
  for (const { name, part } of parts)
    if (headOf(part) !== head)
      mismatch(name, `${name} is a part of something else than ${first.name}`, head, headOf(part))
  const wanted = first.part.parts
  const seen = parts.map(({ part }) => part.part).sort((a, b) => a - b)
  const all = Array.from({ length: wanted }, (_, i) => i + 1)
  if (seen.join() !== all.join())
    mismatch('all', 'not every part is there exactly once', listed(all), listed(seen))
  if (options.listing !== undefined && options.listing !== first.part.listing.sha256)
    mismatch('listing', 'the parts saw other files', options.listing, first.part.listing.sha256)
  const failed = { manifest: null, files: 0, bytes: 0, contents: new Map() }
  if (checks.length > 0) return { ...failed, checks }
  const { model, compat, sizes } = first.part
  const serialization = serializationIn(first.part)
  const pieces = parts.flatMap(({ part }) => part.pieces)
  const joined = joinPieces(pieces, serialization, (name, why) =>
    mismatch(name, `${shownName(name)}: ${why}`, 'every byte in exactly one piece', why),
  )
  const listing = listingDigest(joined)
  if (checks.length === 0 && listing !== first.part.listing.sha256)
    mismatch(
      'listing',
      'the parts hold other files than they saw',
      first.part.listing.sha256,
      listing,
    )
  if (checks.length > 0) return { ...failed, checks }
  const bytes = joined.reduce((sum, { size }) => sum + size, 0)
  return conclude(
    { files: joined, checks: [], bytes },
    {
      name: options.name ?? model.name,
      single: model.single,
      serialization,
      ...(compat === undefined ? {} : { compat }),
      ...(sizes ? { sizes } : {}),
    },
  )
}

function readPart(name: string, bytes: Uint8Array): PartFile {
  try {
    return readStrict(bytes, MAX_BUNDLE, FILE, 'PART_INVALID').decoded
  } catch (error) {
    if (!(error instanceof ZtError)) throw error
    throw new ZtError(error.code, `${name}: ${error.message}`, { path: name, cause: error })
  }
}

/** All that the parts of one model have in common. */
function headOf(part: PartFile): string {
  const { parts, model, listing, serialization, compat, sizes, fsverity } = part
  return JSON.stringify({ parts, model, listing, serialization, compat, sizes, fsverity })
}

function listed(numbers: readonly number[]): string {
  return numbers.length > 50 ? `${numbers.length} parts` : numbers.join(', ')
}

function serializationIn({ serialization }: PartFile): Serialization {
  const { method, hash_type, shard_size, allow_symlinks, ignore_paths } = serialization
  if ((method === 'shards') !== (shard_size !== undefined))
    throw new ZtError('PART_INVALID', 'a shard size is given with shards, and only with shards')
  return {
    method,
    hashType: hash_type,
    ...(shard_size === undefined ? {} : { shardSize: shard_size }),
    allowSymlinks: allow_symlinks,
    ignorePaths: ignore_paths,
  }
}

/** The files that the pieces make, in the order of their names. */
function joinPieces(
  pieces: PartFile['pieces'],
  serialization: Serialization,
  refuse: (name: string, why: string) => void,
): HashedFile[] {
  const byName = new Map<string, (typeof pieces)[number][]>()
  for (const piece of pieces) {
    const there = byName.get(piece.name)
    if (there === undefined) byName.set(piece.name, [piece])
    else there.push(piece)
  }
  const files: HashedFile[] = []
  for (const name of [...byName.keys()].sort(compareNames)) {
    const own = byName.get(name) ?? []
    const [{ size, fsverity } = { size: 0 }] = own
    const parts = own
      .flatMap(({ start, end, digest }): Part[] =>
        start === undefined || end === undefined || digest === undefined
          ? []
          : [{ start, end, digest }],
      )
      .sort((a, b) => a.start - b.start)
    const why =
      nameProblem(name) ?? (own.some((piece) => piece.size !== size) ? 'its size differs' : null)
    const gap = why ?? problemOf(own.length, parts, size, serialization)
    if (gap === null)
      files.push({ name, size, parts, ...(fsverity === undefined ? {} : { fsverity }) })
    else refuse(name, gap)
  }
  return files
}

/** Why these are not all pieces of a file, each once; null if they are. */
function problemOf(
  count: number,
  parts: readonly Part[],
  size: number,
  { hashType, shardSize, method }: Serialization,
): string | null {
  const wanted = unitsOf([{ name: '', size }], shardSize)
  if (count !== wanted.length) return `${count} pieces in place of ${wanted.length}`
  if (method === 'shards' && size === 0)
    return parts.length === 0 ? null : 'an empty file has no shard'
  const whole = wanted.every(({ start, end }, i) => {
    const part = parts[i]
    return part?.start === start && part.end === end
  })
  if (!whole) return 'its pieces do not follow each other'
  const digits = digestLength(hashType) * 2
  return parts.every(({ digest }) => digest.length === digits)
    ? null
    : `a digest is not ${hashType}`
}
