// The single owner of the manifest: which files a signature names, under which parameters, and the one digest that identifies them all.

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
