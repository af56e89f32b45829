// The single owner of the manifest: which files a signature names, under which parameters, and the one digest that identifies them all.
import { createHash } from 'node:crypto'
import { ZtError } from '../error.ts'
import { compareNames } from './name.ts'
import type { Content } from './sniff.ts'

export const HASH_TYPES = ['sha256', 'blake2b', 'blake3'] as const
/** As recorded in `serialization.hash_type`. blake2b is BLAKE2b-512, blake3 is 256 bits (OMS v1.0 §6.4). */
export type HashType = (typeof HASH_TYPES)[number]

/** How a model was turned into resources (OMS v1.0 §5.2.2). */
export interface Serialization {
  readonly method: 'files' | 'shards'
  readonly hashType: HashType
  /** Bytes; only and always with `shards`. */
  readonly shardSize?: number
  readonly allowSymlinks: boolean
  /** Paths relative to the model's root; absent in signatures older than 1.1.0. */
  readonly ignorePaths?: readonly string[]
}

/** One file or shard. `name` is `path` or `path:start:end`; `digest` is lower-case hex. */
export interface Resource {
  readonly name: string
  readonly algorithm: string
  readonly digest: string
  /** Digest of the kernel's fs-verity measurement (`sha256:<hex>`), where the signer recorded it (`zt4ai sign --fsverity`). */
  readonly fsverity?: string
  /** Size in bytes, where the signer recorded it. */
  readonly size?: number
}

export interface Manifest {
  /** The subject's name: informational, never compared. */
  readonly name: string
  readonly serialization: Serialization
  /** In the order in which they were presented: the root depends on it. */
  readonly resources: readonly Resource[]
  /** SHA-256 over the raw digests in order, lower-case hex (OMS v1.0 §6.5). The model's identity. */
  readonly root: string
}

/**
 * The model's identity: SHA-256 over the raw digests in the given order, lower-case hex (OMS v1.0 §6.5). Always SHA-256, whatever the
 * resources' algorithm. Names are not in it: the signature binds them.
 */
export function rootDigest(resources: readonly Pick<Resource, 'digest'>[]): string {
  const hash = createHash('sha256')
  for (const { digest } of resources) hash.update(digest, 'hex')
  return hash.digest('hex')
}

/** Bytes of a digest of this type. */
export function digestLength(type: HashType): number {
  return type === 'blake2b' ? 64 : 32
}

export const DEFAULT_SHARD_SIZE = 1_000_000_000

/** One digested range of a file: bytes `start` up to, not including, `end`. */
export interface Part {
  readonly start: number
  readonly end: number
  /** Lower-case hex. */
  readonly digest: string
}

/** A file with its digests: one part for the method `files`, consecutive parts for `shards` (none if it is empty). */
export interface HashedFile {
  readonly name: string
  readonly size: number
  readonly parts: readonly Part[]
  /** `sha256:<hex>`: see fsverity.ts. */
  readonly fsverity?: string
  /** What the file is, where that was asked for. Absent for an empty file that has no shard. */
  readonly content?: Content
}

export interface ManifestOptions {
  /** The subject's name. */
  readonly name: string
  readonly serialization: Serialization
  /** True if the model is one file, not a directory. */
  readonly single?: boolean
  /**
   * `reference`: the form of the reference implementation in the two places where it differs from the specification, a single file's name
   * (`.`) and the shards' algorithm (`sha256-sharded-<size>`). Neither form is readable by both. Default: the specification's.
   */
  readonly compat?: 'reference'
  /** Record each resource's size. The specification allows more fields in a resource. Default false. */
  readonly sizes?: boolean
}

/**
 * Makes the manifest of hashed files: resources in the order of their names' UTF-8 bytes, and the root (OMS v1.0 §5.2, §6.3, §6.5).
 * The same files and options give the same manifest.
 * @throws ZtError MODEL_EMPTY, NAME_DUPLICATE
 */
export function makeManifest(files: readonly HashedFile[], options: ManifestOptions): Manifest {
  const { serialization } = options
  const reference = options.compat === 'reference'
  const algorithm =
    serialization.method === 'shards' && reference
      ? `${serialization.hashType}-sharded-${serialization.shardSize ?? 0}`
      : serialization.hashType
  const resources: Resource[] = []
  for (const file of files) {
    const path = options.single === true && reference ? '.' : file.name
    for (const { start, end, digest } of file.parts)
      resources.push({
        name: serialization.method === 'shards' ? `${path}:${start}:${end}` : path,
        algorithm,
        digest,
        ...(file.fsverity === undefined ? {} : { fsverity: file.fsverity }),
        ...(options.sizes === true ? { size: end - start } : {}),
      })
  }
  resources.sort((a, b) => compareNames(a.name, b.name))
  for (const [i, { name }] of resources.entries())
    if (name === resources[i + 1]?.name)
      throw new ZtError('NAME_DUPLICATE', 'two files have the same name', { path: name })
  if (resources.length === 0)
    throw new ZtError('MODEL_EMPTY', 'there is nothing to sign: no file has any bytes', {
      hint: 'empty files have no shards; use the method files',
    })
  return { name: options.name, serialization, resources, root: rootDigest(resources) }
}

/** `path:start:end` by its last two colons (OMS v1.0 §6.3); null if it has not this form, or the numbers are not canonical. */
export function parseShardName(name: string): { path: string; start: number; end: number } | null {
  const match = /^(.+):(0|[1-9]\d{0,15}):([1-9]\d{0,15})$/s.exec(name)
  if (match === null) return null
  const [path, start, end] = [match[1] ?? '', Number(match[2]), Number(match[3])]
  return start < end && Number.isSafeInteger(end) ? { path, start, end } : null
}
