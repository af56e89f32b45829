// The single owner of incremental hashing: which files need not be read again, and how that is said.
import { ZtError } from '../error.ts'
import type { Check } from '../verdict.ts'
import type { DigestCache } from './cache.ts'
import { parseShardName, type HashedFile, type Manifest, type Part } from './manifest.ts'
import { compareNames, ignoredPath, shownName } from './name.ts'
import { hashFiles, type HashOptions, type HashOutcome } from './pool.ts'
import type { ModelFile } from './walk.ts'

/** Where digests may come from instead of from the bytes. Read the trust limits in cache.ts before using either. */
export interface Reuse {
  /** Files in a recorded state are not read; those that are read are recorded. */
  readonly cache?: DigestCache
  /** The manifest of an earlier signature that the caller verified, */
  readonly earlier?: Manifest
  /** and the paths (files, or directories with all in them) that the caller says are unchanged since. */
  readonly unchanged?: readonly string[]
}

export interface ReuseOutcome extends HashOutcome {
  /** A warning that names every file that was not read; none if all were. */
  readonly checks: readonly Check[]
}

/**
 * `hashFiles`, without reading what is known. A digest of other parameters (hash, method, shard size) or another size is never taken.
 * @throws ZtError as `hashFiles`; USAGE where more than digests is wanted of files that would not be read
 */
export async function hashReusing(
  root: string,
  files: readonly ModelFile[],
  options: HashOptions & { readonly reuse?: Reuse },
): Promise<ReuseOutcome> {
  const { reuse } = options
  if (reuse === undefined) return hashFiles(root, files, options)
  if (options.sniff === true || options.fsverity === true)
    throw new ZtError('USAGE', 'contents and fs-verity digests need every file to be read', {
      hint: 'leave out the reuse of digests, or what else is asked for',
    })
  const startedAt = BigInt(Date.now()) * 1_000_000n
  const { cache } = reuse
  const earlier = earlierParts(reuse, files, options)
  const known = new Map<string, readonly Part[]>()
  for (const file of files) {
    const parts = cache?.get(file.stamp, options) ?? earlier(file)
    if (parts !== null) known.set(file.name, parts)
  }
  const read = files.filter(({ name }) => !known.has(name))
  const hashed = await hashFiles(root, read, options)
  const fresh = new Map(hashed.files.map((file) => [file.name, file]))
  const all: HashedFile[] = []
  for (const { name, size, stamp } of files) {
    const parts = known.get(name)
    const file = parts === undefined ? fresh.get(name) : { name, size, parts }
    if (file === undefined) continue
    all.push(file)
    if (parts === undefined) cache?.set(stamp, options, file.parts, startedAt)
  }
  cache?.retain(files.map(({ stamp }) => stamp))
  return { files: all, bytes: hashed.bytes, checks: [...hashed.checks, ...said([...known.keys()])] }
}

function earlierParts(
  { earlier, unchanged }: Reuse,
  files: readonly ModelFile[],
  options: HashOptions,
): (file: ModelFile) => readonly Part[] | null {
  const paths = new Set((unchanged ?? []).map(unchangedPath))
  for (const path of paths)
    if (!files.some(({ name }) => name === path || name.startsWith(`${path}/`)))
      throw new ZtError(
        'USAGE',
        'no file of the model lies at a path that is said to be unchanged',
        {
          path,
          hint: 'write it relative to the model, as the signature lists it, for example: weights',
        },
      )
  const same =
    earlier?.serialization.hashType === options.hashType &&
    earlier.serialization.shardSize === options.shardSize
  if (!same || paths.size === 0) return () => null
  const byName = new Map<string, { parts: Part[]; size: number | null }>()
  for (const { name, digest, size } of earlier.resources) {
    const shard = options.shardSize === undefined ? null : parseShardName(name)
    if (shard === null)
      byName.set(name, { parts: [{ start: 0, end: 0, digest }], size: size ?? null })
    else {
      const file = byName.get(shard.path) ?? { parts: [], size: 0 }
      file.parts.push({ start: shard.start, end: shard.end, digest })
      byName.set(shard.path, { parts: file.parts, size: Math.max(file.size ?? 0, shard.end) })
    }
  }
  return ({ name, size }) => {
    const file = byName.get(name)
    if (file === undefined || !isUnder(name, paths) || (file.size ?? size) !== size) return null
    if (options.shardSize === undefined) return file.parts.map((part) => ({ ...part, end: size }))
    return file.parts.sort((a, b) => a.start - b.start)
  }
}

function unchangedPath(path: string): string {
  const plain = ignoredPath(path)
  if (plain !== null) return plain
  throw new ZtError('USAGE', 'an unchanged path must be relative, without .. and globs', {
    path,
    hint: 'write it relative to the model, as the signature lists it, for example: weights',
  })
}

function isUnder(name: string, paths: ReadonlySet<string>): boolean {
  for (let at = name.length; at > 0; at = name.lastIndexOf('/', at - 1))
    if (paths.has(name.slice(0, at))) return true
  return false
}

function said(names: string[]): Check[] {
  if (names.length === 0) return []
  return [
    {
      id: 'model.reused',
      status: 'warn',
      code: 'DIGEST_REUSED',
      message: `${names.length} ${names.length === 1 ? 'file was' : 'files were'} not read: the digests are from an earlier run`,
      actual: names.sort(compareNames).map(shownName).join('\n'),
      hint: 'run without the reuse of digests to read every byte',
    },
  ]
}
