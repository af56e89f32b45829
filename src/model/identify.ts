// The single owner of a model's identity: from a path to the manifest that a signature binds.
import { ZtError } from '../error.ts'
import type { Check } from '../verdict.ts'
import {
  DEFAULT_SHARD_SIZE,
  makeManifest,
  type HashType,
  type Manifest,
  type ManifestOptions,
  type Serialization,
} from './manifest.ts'
import { compareNames, DEFAULT_IGNORES, ignoredPath } from './name.ts'
import type { HashOptions, HashOutcome } from './pool.ts'
import { hashReusing, type Reuse } from './reuse.ts'
import type { Content } from './sniff.ts'
import { walkModel } from './walk.ts'

export interface IdentifyOptions extends Omit<HashOptions, 'hashType' | 'shardSize'> {
  /** Default sha256. */
  readonly hashType?: HashType
  /** Default files, or shards where `shardSize` is given. */
  readonly method?: 'files' | 'shards'
  /** Bytes; only with `shards`. Default 1,000,000,000. */
  readonly shardSize?: number
  readonly allowSymlinks?: boolean
  /** Relative to the model; the signature's own path belongs here. Recorded in the manifest together with the defaults. */
  readonly ignorePaths?: readonly string[]
  readonly defaultIgnores?: boolean
  readonly compat?: 'reference'
  readonly sizes?: boolean
  /** Do not read what is known from before: see reuse.ts. The checks say so. */
  readonly reuse?: Reuse
}

export interface Identity {
  /** Null if any check failed: then there is nothing to sign. */
  readonly manifest: Manifest | null
  /** All problems, and a warning for each empty file that the method `shards` leaves uncovered. */
  readonly checks: readonly Check[]
  readonly files: number
  readonly bytes: number
  /** What each file is, where `sniff` was asked for. */
  readonly contents: ReadonlyMap<string, Content>
}

/**
 * How `options` are recorded in the manifest: ignored paths with the defaults, sorted, without duplicates (OMS v1.0 §5.2.2).
 * @throws ZtError USAGE
 */
export function serializationOf(options: IdentifyOptions): Serialization {
  const method = options.method ?? (options.shardSize === undefined ? 'files' : 'shards')
  if (method === 'files' && options.shardSize !== undefined)
    throw new ZtError('USAGE', 'a shard size has no meaning with the method files')
  const defaults = options.defaultIgnores === false ? [] : DEFAULT_IGNORES
  const given = (options.ignorePaths ?? []).flatMap((path) => ignoredPath(path) ?? [])
  return {
    method,
    hashType: options.hashType ?? 'sha256',
    ...(method === 'shards' ? { shardSize: options.shardSize ?? DEFAULT_SHARD_SIZE } : {}),
    allowSymlinks: options.allowSymlinks ?? false,
    ignorePaths: [...new Set([...defaults, ...given])].sort(compareNames),
  }
}

/**
 * Walks, hashes and lists a model (a directory or one file). Every problem is found before it gives up: `checks` has them all.
 * @throws ZtError as `walkModel`, `hashFiles` and `makeManifest`
 */
export async function identifyModel(
  path: string,
  options: IdentifyOptions = {},
): Promise<Identity> {
  const serialization = serializationOf(options)
  const walk = await walkModel(path, options)
  if (walk.checks.length > 0)
    return {
      manifest: null,
      checks: walk.checks,
      files: walk.files.length,
      bytes: 0,
      contents: new Map(),
    }
  const { shardSize, hashType } = serialization
  const hashed = await hashReusing(walk.root, walk.files, {
    ...options,
    hashType,
    ...(shardSize === undefined ? {} : { shardSize }),
  })
  return conclude(hashed, { ...options, name: walk.name, single: walk.single, serialization })
}

/** Makes the manifest of what was hashed, if nothing failed. */
export function conclude(
  hashed: Pick<HashOutcome, 'files' | 'checks' | 'bytes'>,
  options: ManifestOptions,
): Identity {
  const { files, bytes } = hashed
  const checks = [...hashed.checks, ...uncovered(options.serialization, files)]
  const failed = checks.some(({ status }) => status === 'fail')
  const manifest = failed ? null : makeManifest(files, options)
  const contents = new Map<string, Content>()
  for (const { name, content } of files) if (content !== undefined) contents.set(name, content)
  return { manifest, checks, files: files.length, bytes, contents }
}

/** With `shards` an empty file has no resource (OMS v1.0 §6.3): nothing protects its presence or absence. */
export function uncovered(
  serialization: Serialization,
  files: readonly { readonly name: string; readonly size: number }[],
): Check[] {
  const empty = serialization.method === 'shards' ? files.filter(({ size }) => size === 0) : []
  if (empty.length === 0) return []
  return [
    {
      id: 'model.uncovered',
      status: 'warn',
      code: 'FILE_UNCOVERED',
      message: `${empty.length} empty ${empty.length === 1 ? 'file has' : 'files have'} no shard, so the signature does not cover ${empty.length === 1 ? 'it' : 'them'}`,
      actual: empty.map(({ name }) => name).join('\n'),
      hint: 'sign with the method files to cover empty files too',
    },
  ]
}
