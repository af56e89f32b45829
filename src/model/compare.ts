// The single owner of comparing a model on disk with a manifest: everything missing, extra and changed.
import type { Check } from '../verdict.ts'
import type { DigestCache } from './cache.ts'
import { uncovered } from './identify.ts'
import { parseShardName, type HashedFile, type Manifest, type Part } from './manifest.ts'
import { compareNames, DEFAULT_IGNORES, shownName } from './name.ts'
import type { HashOptions, HashOutcome } from './pool.ts'
import { hashReusing } from './reuse.ts'
import type { Content } from './sniff.ts'
import { locateFiles, walkModel, type ModelFile } from './walk.ts'

export interface CompareOptions extends Omit<HashOptions, 'hashType' | 'shardSize'> {
  /** The caller's own ignored paths, relative to the model; the signature's own path belongs here. */
  readonly ignorePaths?: readonly string[]
  /** Read just the files that the manifest names; whatever else lies there is not looked at. */
  readonly ignoreUnsigned?: boolean
  /** Believe the digests of files that are in a recorded state, without reading them. The checks say so. */
  readonly cache?: DigestCache
}

/** One resource that is not as signed. Digests as `algorithm:hex`, sizes in bytes. */
export interface Change {
  readonly name: string
  readonly expected: string
  readonly actual: string
}

/** How the files on disk differ from the manifest. Every list is complete, in name order. */
export interface Comparison {
  readonly missing: readonly string[]
  readonly extra: readonly string[]
  readonly changed: readonly Change[]
  /** What lies there unsigned under paths that the signer chose to ignore beyond the defaults. */
  readonly ignored: readonly string[]
  /** Files that were read, and their bytes. */
  readonly files: number
  readonly bytes: number
  /** What each signed file is, where `sniff` was asked for. */
  readonly contents: ReadonlyMap<string, Content>
  /** One failed check for each problem and each difference, warnings for what nothing covers; one passed check if nothing failed. */
  readonly checks: readonly Check[]
}

/** A resource itself with the method `files`, which says nothing of the size unless it was recorded. */
interface Signed {
  readonly digest?: string
  /** With the method `shards`, in order. */
  readonly parts?: readonly Part[]
  readonly size?: number
  readonly fsverity?: string
}

/**
 * Compares a model (directory or file) with a manifest that was authenticated before. The manifest's own parameters decide what is read
 * and how: method, hash, shard size, links, ignored paths (OMS v1.0 §8.4, §8.5). Nothing but signed files is hashed.
 * A resource that lies under a path that the caller ignores counts as missing, as in the reference implementation.
 * @throws ZtError as `walkModel` and `hashFiles`
 */
export async function compareModel(
  path: string,
  manifest: Manifest,
  options: CompareOptions = {},
): Promise<Comparison> {
  const { serialization } = manifest
  const links = { allowSymlinks: serialization.allowSymlinks }
  const walk =
    options.ignoreUnsigned === true
      ? locateFiles(path, [...signedFiles(manifest).keys()], links)
      : await walkModel(path, {
          ...links,
          defaultIgnores: false,
          ignorePaths: [...unsignedDefaults(manifest), ...(options.ignorePaths ?? [])],
          reportIgnored: serialization.ignorePaths ?? [],
          ...(options.signal === undefined ? {} : { signal: options.signal }),
        })
  return compareFound(manifest, walk, options, (read) => {
    const { shardSize, hashType } = serialization
    return hashReusing(walk.root, read, {
      ...options,
      hashType,
      ...(shardSize === undefined ? {} : { shardSize }),
      fsverity: options.fsverity === true && shardSize === undefined,
      ...(options.cache === undefined ? {} : { reuse: { cache: options.cache } }),
    })
  })
}

/**
 * The default ignored paths under which nothing is signed. Releases before 1.1.0 looked for them in the working directory, so their
 * signatures list a model's own `.gitattributes`: what is signed is compared, and what lies beside it there must be signed too.
 */
export function unsignedDefaults(manifest: Manifest): readonly string[] {
  const signed = new Set(manifest.resources.map(({ name }) => /^[^/:]*/.exec(name)?.[0]))
  return DEFAULT_IGNORES.filter((path) => !signed.has(path))
}

interface Found<F> {
  readonly files: readonly F[]
  readonly single: boolean
  readonly ignored: readonly string[]
  readonly checks: readonly Check[]
}

/** The comparison itself, whatever the files were found in. `hash` is called once, with the files whose digests are needed. */
export async function compareFound<F extends Pick<ModelFile, 'name' | 'size'>>(
  manifest: Manifest,
  walk: Found<F>,
  options: Pick<CompareOptions, 'ignoreUnsigned'>,
  hash: (read: readonly F[]) => Promise<HashOutcome>,
): Promise<Comparison> {
  const { serialization } = manifest
  const signed = signedFiles(manifest)
  const found = underSignedNames(walk.files, walk.single, signed)
  const missing = missingNames(found, walk.checks, signed)
  const unsigned = found.filter(({ name }) => !signed.has(name))
  // An empty file has no shard, so it can't be told from one that was there when the model was signed.
  const uncoveredFile = ({ size }: F): boolean => serialization.method === 'shards' && size === 0
  const empty = unsigned.filter(uncoveredFile)
  const extra =
    options.ignoreUnsigned === true
      ? []
      : unsigned.filter((file) => !uncoveredFile(file)).map(({ name }) => name)
  const { read, resized } = bySize(found, signed)
  const hashed = await hash(read)
  const changed = [...resized, ...changes(hashed.files, signed, manifest)]
  const lists = {
    missing: missing.sort(compareNames),
    extra: extra.sort(compareNames),
    changed: changed.sort((a, b) => compareNames(a.name, b.name)),
    ignored: walk.ignored,
  }
  const problems = [...walk.checks.filter(({ code }) => code !== 'MODEL_EMPTY'), ...hashed.checks]
  const checks = [...problems, ...differences(lists), ...uncovered(serialization, empty)]
  if (!checks.some(({ status }) => status === 'fail')) checks.unshift(passed(hashed.files.length))
  const contents = new Map<string, Content>()
  for (const { name, content } of hashed.files)
    if (content !== undefined) contents.set(name, content)
  return { ...lists, files: hashed.files.length, bytes: hashed.bytes, contents, checks }
}

function signedFiles(manifest: Manifest): Map<string, Signed> {
  const signed = new Map<string, Signed>()
  if (manifest.serialization.method === 'files') {
    for (const resource of manifest.resources) signed.set(resource.name, resource)
    return signed
  }
  const parts = new Map<string, Part[]>()
  for (const { name, digest } of manifest.resources) {
    const shard = parseShardName(name)
    // The bundle's reader refused every other form before: a name that is none would stay missing here.
    const { path, start, end } = shard ?? { path: name, start: 0, end: 0 }
    const list = parts.get(path)
    if (list === undefined) parts.set(path, [{ start, end, digest }])
    else list.push({ start, end, digest })
  }
  for (const [path, list] of parts) {
    list.sort((a, b) => a.start - b.start)
    signed.set(path, { parts: list, size: list.at(-1)?.end ?? 0 })
  }
  return signed
}

/** What was signed and was neither found nor refused. */
function missingNames(
  found: readonly { readonly name: string }[],
  problems: readonly Check[],
  signed: ReadonlyMap<string, Signed>,
): string[] {
  const there = new Set<string>()
  for (const { name } of found) if (signed.has(name)) there.add(name)
  if (there.size === signed.size) return []
  for (const { id } of problems) there.add(id.slice('model.entry:'.length))
  return [...signed.keys()].filter((name) => !there.has(name))
}

/** A lone `.` is the file itself: how the reference implementation names the file of a single-file model. */
function underSignedNames<F extends { readonly name: string }>(
  files: readonly F[],
  single: boolean,
  signed: ReadonlyMap<string, Signed>,
): readonly F[] {
  const itself = single && signed.size === 1 && signed.has('.')
  return itself ? files.map((file) => ({ ...file, name: '.' })) : files
}

/** Which files to read. One whose size is not the signed size is changed, whatever its bytes are. */
function bySize<F extends Pick<ModelFile, 'name' | 'size'>>(
  found: readonly F[],
  signed: ReadonlyMap<string, Signed>,
): { read: F[]; resized: Change[] } {
  const read: F[] = []
  const resized: Change[] = []
  for (const file of found) {
    const expected = signed.get(file.name)
    if (expected === undefined) continue
    const { size } = expected
    if (size === undefined || size === file.size) read.push(file)
    else resized.push({ name: file.name, expected: `${size} bytes`, actual: `${file.size} bytes` })
  }
  return { read, resized }
}

function changes(
  files: readonly HashedFile[],
  signed: ReadonlyMap<string, Signed>,
  { serialization: { method, hashType } }: Manifest,
): Change[] {
  const changed: Change[] = []
  for (const { name, parts, fsverity } of files) {
    const file = signed.get(name)
    for (const [i, { start, end, digest }] of parts.entries()) {
      const part = method === 'files' ? { start, end, digest: file?.digest } : file?.parts?.[i]
      const shown = method === 'shards' ? `${name}:${start}:${end}` : name
      const sameRange = method === 'files' || (part?.start === start && part.end === end)
      if (sameRange && part?.digest === digest) continue
      const expected = sameRange
        ? `${hashType}:${part?.digest ?? ''}`
        : `the range ${part?.start ?? 0} to ${part?.end ?? 0}`
      const actual = sameRange ? `${hashType}:${digest}` : `the range ${start} to ${end}`
      changed.push({ name: shown, expected, actual })
    }
    if (fsverity !== undefined && file?.fsverity !== undefined && fsverity !== file.fsverity)
      changed.push({
        name,
        expected: `fs-verity ${file.fsverity}`,
        actual: `fs-verity ${fsverity}`,
      })
  }
  return changed
}

function differences(
  lists: Pick<Comparison, 'missing' | 'extra' | 'changed' | 'ignored'>,
): Check[] {
  const checks: Check[] = []
  const fail = (kind: string, name: string, rest: Omit<Check, 'id' | 'status'>): void => {
    checks.push({ id: `model.${kind}:${name}`, status: 'fail', ...rest })
  }
  for (const name of lists.missing)
    fail('missing', name, {
      code: 'FILE_MISSING',
      message: `${shownName(name)}: signed, but not there`,
      expected: 'the signed file',
      actual: 'nothing',
      hint: 'restore the file; a file under an ignored path is not looked for',
    })
  for (const name of lists.extra)
    fail('extra', name, {
      code: 'FILE_EXTRA',
      message: `${shownName(name)}: there, but not signed`,
      expected: 'nothing',
      actual: 'an unsigned file',
      hint: 'remove the file, ignore its path, or verify only the signed files (--ignore-unsigned)',
    })
  for (const { name, expected, actual } of lists.changed)
    fail('changed', name, {
      code: 'FILE_CHANGED',
      message: `${shownName(name)}: not as signed`,
      expected,
      actual,
    })
  const { ignored } = lists
  if (ignored.length > 0)
    checks.push({
      id: 'model.ignored',
      status: 'warn',
      code: 'UNSIGNED_IGNORED',
      message: `${ignored.length} unsigned ${ignored.length === 1 ? 'entry lies' : 'entries lie'} under paths that the signer chose to leave out`,
      actual: ignored.map(shownName).join('\n'),
      hint: `beyond the defaults (${DEFAULT_IGNORES.join(', ')}), nothing vouches for what lies there: remove it before use`,
    })
  return checks
}

function passed(files: number): Check {
  const message = `${files} ${files === 1 ? 'file is' : 'files are'} exactly as signed, and none is missing or extra`
  return { id: 'model.files', status: 'pass', code: 'OK', message }
}
