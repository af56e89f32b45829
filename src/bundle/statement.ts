// The single owner of the in-toto statement and of OMS's predicate in it: signed bytes to a manifest, and every way in which that can fail.
import { AttestationError, decode } from '../../attestation/lib/index.ts'
import type { Decoder, JsonObject, JsonValue } from '../../attestation/lib/index.ts'
import { digestLength, HASH_TYPES, rootDigest } from '../model/manifest.ts'
import type { Manifest, Resource, Serialization } from '../model/manifest.ts'
import { ignoredPath } from '../model/name.ts'
import { MAX_BUNDLE, readStrict } from './bundle.ts'
import { checkFileNames, checkShardNames, quote } from './names.ts'
import type { Problem } from './names.ts'

export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1'
export const PREDICATE_TYPE = 'https://model_signing/signature/v1.0'
/** Release 0.2.0: the files are the subjects, there is no root. */
export const OLD_PREDICATE_TYPE = 'https://model_signing/Digests/v0.1'
/** The same with the shards of files. */
const OLD_SHARDS_TYPE = 'https://model_signing/ShardDigests/v0.1'

/** Every minor version of v1 must be accepted (model-signing-spec VERSIONING.md). */
const PREDICATE_V1 = /^https:\/\/model_signing\/signature\/v1\.(0|[1-9]\d{0,5})$/

const SHA256_DIGITS = 64

export interface Subject {
  readonly name: string
  /** By algorithm, as hex text. */
  readonly digest: ReadonlyMap<string, string>
  readonly json: JsonObject
}

/** An in-toto statement with any predicate. `json` is the strictly parsed document. */
export interface Statement {
  readonly predicateType: string
  readonly subjects: readonly Subject[]
  readonly json: JsonObject
  /** The document itself. */
  readonly text: string
}

/** What a model's statement gave. `manifest` is null if there is any problem. */
export interface ManifestResult {
  readonly manifest: Manifest | null
  /** By what they concern: the statement's own form, the parameters, the listed files, the root. */
  readonly problems: Readonly<Record<Part, readonly Problem[]>>
}
export const PARTS = ['statement', 'serialization', 'resources', 'root'] as const
export type Part = (typeof PARTS)[number]

const { array, boolean, integer, literal, object, optional, record, string } = decode

const subject: Decoder<Subject> = (value, path) => {
  const fields = object(
    { name: optional(string()), digest: record(string({ min: 1, pattern: /^[0-9a-f]+$/ })) },
    { unknown: 'ignore' },
  )(value, path)
  return { name: fields.name ?? '', digest: fields.digest, json: value as JsonObject }
}

const statement = object({
  _type: literal(STATEMENT_TYPE),
  subject: array(subject, { min: 1 }),
  predicateType: string({ min: 1, max: 1024 }),
  predicate: optional(decode.any()),
})

/**
 * Reads the signed bytes as an in-toto statement v1.
 * @throws ZtError STATEMENT_INVALID or TOO_LARGE, with the JSON path
 */
export function decodeStatement(payload: Uint8Array | string): Statement {
  const { json, decoded, text } = readStrict(payload, MAX_BUNDLE, statement, 'STATEMENT_INVALID')
  return { predicateType: decoded.predicateType, subjects: decoded.subject, json, text }
}

/**
 * The manifest that a statement signs. Never throws: everything that is wrong comes back as problems.
 * `oldForm` says that the statement must be release 0.2.0's, because the signature is over that release's encoding, which goes with its
 * predicates and with no other; where no signature is looked at, the predicate says it.
 */
export function decodeManifest(
  from: Statement,
  oldForm = isOldForm(from.predicateType),
): ManifestResult {
  const problems: Record<Part, Problem[]> = {
    statement: [],
    serialization: [],
    resources: [],
    root: [],
  }
  const expected = oldForm ? OLD_PREDICATE_TYPE : PREDICATE_TYPE
  const fits = oldForm ? isOldForm(from.predicateType) : PREDICATE_V1.test(from.predicateType)
  if (!fits) {
    problems.statement.push({
      code: 'PREDICATE_TYPE',
      message: 'the statement is not the signature of a model in this encoding',
      expected,
      actual: quote(from.predicateType),
      hint: 'the signer signed something else: look at it with "zt4ai inspect"',
    })
    return { manifest: null, problems }
  }
  const manifest = oldForm ? oldManifest(from, problems) : currentManifest(from, problems)
  const clean = PARTS.every((part) => problems[part].length === 0)
  return { manifest: clean ? manifest : null, problems }
}

function currentManifest(from: Statement, problems: Record<Part, Problem[]>): Manifest | null {
  const [model, ...others] = from.subjects
  const root = model?.digest.get('sha256')
  if (model === undefined || others.length > 0)
    problems.statement.push({
      code: 'STATEMENT_INVALID',
      message: 'a model is exactly one subject',
      expected: '1',
      actual: String(from.subjects.length),
    })
  else if (model.name === '')
    problems.statement.push({
      code: 'STATEMENT_INVALID',
      message: 'the subject has no name',
      expected: 'a name',
      actual: '""',
    })
  if (root?.length !== SHA256_DIGITS)
    problems.root.push({
      code: 'DIGEST_INVALID',
      message: 'the subject has no SHA-256 digest',
      expected: `${SHA256_DIGITS} hex digits`,
      actual: root === undefined ? 'none' : quote(root),
    })
  // later minor versions may add members beside these two, but not inside the parameters: those change what the digests mean
  const open = from.predicateType !== PREDICATE_TYPE
  const predicate = attempt(problems.statement, 'STATEMENT_INVALID', () =>
    object(
      { serialization: decode.any(), resources: array(decode.any()) },
      { unknown: open ? 'ignore' : 'refuse' },
    )(from.json['predicate'] ?? null, '$.predicate'),
  )
  if (predicate === null) return null
  const serialization = attempt(problems.serialization, 'SERIALIZATION_UNKNOWN', () =>
    decodeSerialization(predicate.serialization, '$.predicate.serialization'),
  )
  const resources = attempt(problems.resources, 'MANIFEST_INVALID', () =>
    predicate.resources.map((value, index) =>
      decodeResource(value, `$.predicate.resources[${index}]`),
    ),
  )
  if (serialization !== null) checkIgnores(serialization, problems.serialization)
  if (serialization === null || resources === null) return null
  checkResources(resources, serialization, problems.resources)
  if (problems.resources.length > 0) return null
  const actual = rootDigest(resources)
  if (root !== undefined && root !== actual)
    problems.root.push({
      code: 'ROOT_MISMATCH',
      message: 'the signed root is not the root of the signed files',
      expected: actual,
      actual: quote(root),
      hint: 'the tool that signed this is broken, or the statement was made by hand',
    })
  return { name: model?.name ?? '', serialization, resources, root: actual }
}

/** True for the two types under which release 0.2.0 signed lists of files. */
export function isOldForm(predicateType: string): boolean {
  return predicateType === OLD_PREDICATE_TYPE || predicateType === OLD_SHARDS_TYPE
}

/** How release 0.2.0 names the algorithm of each digest, which it always calls `sha256` otherwise. */
const OLD_ALGORITHM = /^file-(sha256|blake2b)(?:-([1-9]\d{0,15}))?$/

/** Release 0.2.0: `{name, digest, annotations:{actual_hash_algorithm}}` for each file or shard, and no parameters at all. */
function oldManifest(from: Statement, problems: Record<Part, Problem[]>): Manifest | null {
  const listed = attempt(problems.resources, 'MANIFEST_INVALID', () =>
    from.subjects.map((entry, index) => {
      const { annotations } = oldSubject(entry.json, `$.subject[${index}]`)
      const algorithm = annotations.actual_hash_algorithm
      return { name: entry.name, algorithm, digest: entry.digest.get('sha256') ?? '' }
    }),
  )
  if (listed === null) return null
  const [first = '', ...others] = new Set(listed.map(({ algorithm }) => algorithm))
  const [, hash, size] = OLD_ALGORITHM.exec(first) ?? []
  const hashType = HASH_TYPES.find((known) => known === hash)
  const shards = from.predicateType === OLD_SHARDS_TYPE
  if (hashType === undefined || others.length > 0 || shards !== (size !== undefined)) {
    problems.resources.push({
      code: 'MANIFEST_INVALID',
      message: 'the digests are not all of one algorithm that goes with the kind of list',
      expected: shards
        ? 'file-sha256-SIZE or file-blake2b-SIZE'
        : 'file-sha256 or file-blake2b throughout',
      actual: [first, ...others].slice(0, 4).map(quote).join(', '),
    })
    return null
  }
  const serialization: Serialization = {
    method: shards ? 'shards' : 'files',
    hashType,
    ...(size === undefined ? {} : { shardSize: Number(size) }),
    allowSymlinks: false,
  }
  const resources = listed.map(({ name, digest }): Resource => ({
    name,
    algorithm: hashType,
    digest,
  }))
  checkResources(resources, serialization, problems.resources)
  if (problems.resources.length > 0) return null
  return { name: '', serialization, resources, root: rootDigest(resources) }
}

const oldSubject = object({
  name: string({ min: 1 }),
  digest: object({ sha256: string() }),
  annotations: object({ actual_hash_algorithm: string({ max: 64 }) }),
})

function decodeSerialization(value: JsonValue, path: string): Serialization {
  const fields = object({
    method: literal('files', 'shards'),
    hash_type: string({ max: 64 }),
    shard_size: optional(integer({ min: 1 })),
    allow_symlinks: boolean(),
    ignore_paths: optional(array(string({ min: 1 }), { max: 100_000 })),
  })(value, path)
  const { method, shard_size: shardSize, ignore_paths: ignorePaths } = fields
  if ((method === 'shards') !== (shardSize !== undefined))
    throw new AttestationError(
      'FORMAT_INVALID',
      `${path}.shard_size: is given with shards, and only with shards`,
    )
  // releases 0.3.0 and 0.3.1 wrote the algorithm of the shards here
  const name = fields.hash_type
  const suffix = `-sharded-${String(shardSize)}`
  const plain = method === 'shards' && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name
  return {
    method,
    hashType: literal(...HASH_TYPES)(plain, `${path}.hash_type`),
    ...(shardSize === undefined ? {} : { shardSize }),
    allowSymlinks: fields.allow_symlinks,
    ...(ignorePaths === undefined ? {} : { ignorePaths }),
  }
}

/** A resource descriptor. Unknown members must be ignored (OMS v1.0 §5.2.1); our own two count only in the form that we write. */
function decodeResource(value: JsonValue, path: string): Resource {
  const { name, algorithm, digest } = resource(value, path)
  const { size, fsverity } = value as JsonObject
  return {
    name,
    algorithm: HASH_TYPES.find((known) => known === algorithm) ?? algorithm,
    digest,
    ...(typeof fsverity === 'string' && /^sha256:[0-9a-f]{64}$/.test(fsverity) ? { fsverity } : {}),
    ...(typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? { size } : {}),
  }
}

const resource = object(
  { name: string({ min: 1 }), algorithm: string({ max: 64 }), digest: string({ max: 1024 }) },
  { unknown: 'ignore' },
)

function checkIgnores({ ignorePaths = [] }: Serialization, problems: Problem[]): void {
  for (const path of ignorePaths)
    if (ignoredPath(path) === null)
      problems.push({
        code: 'NAME_UNSAFE',
        message: 'a path that the signer left out does not lie inside the model, or is a pattern',
        expected: 'a relative path without empty, "." or ".." parts or globs',
        actual: quote(path),
        hint: 'such a path could hide every file of the model; have it signed again without',
      })
}

function checkResources(
  resources: readonly Resource[],
  { method, hashType, shardSize = 0 }: Serialization,
  problems: Problem[],
): void {
  if (resources.length === 0)
    problems.push({
      code: 'MANIFEST_EMPTY',
      message: 'the signature lists no file',
      expected: 'at least one',
      actual: '0',
      hint: 'an empty model proves nothing; have the real model signed',
    })
  const digits = digestLength(hashType) * 2
  const form = new RegExp(`^[0-9a-f]{${digits}}$`)
  for (const { name, algorithm, digest } of resources) {
    if (
      algorithm !== hashType &&
      !(method === 'shards' && algorithm === `${hashType}-sharded-${shardSize}`)
    )
      problems.push({
        code: 'MANIFEST_INVALID',
        message: `the digest of ${quote(name)} is of another algorithm than the parameters say`,
        expected: hashType,
        actual: quote(algorithm),
      })
    if (!form.test(digest))
      problems.push({
        code: 'DIGEST_INVALID',
        message: `the digest of ${quote(name)} does not have its form`,
        expected: `${digits} lower-case hex digits`,
        actual: quote(digest),
      })
  }
  const names = resources.map(({ name }) => name)
  problems.push(...(method === 'files' ? checkFileNames(names) : checkShardNames(names, shardSize)))
}

/** Runs a decoder; what it refuses becomes a problem. */
function attempt<T>(problems: Problem[], code: Problem['code'], run: () => T): T | null {
  try {
    return run()
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    const where = error.path === undefined ? '' : ` at ${error.path}`
    const actual = `another form${where}`
    problems.push({ code, message: error.message, expected: 'the form of OMS v1.0', actual })
    return null
  }
}
