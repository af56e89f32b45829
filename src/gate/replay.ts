// The single owner of the record of a verdict (schema zt4ai.replay/v1): everything that led to it, and computing it again.
import { AttestationError, type NamedBytes } from '../../attestation/index.ts'
import {
  bytesToBase64,
  bytesToHex,
  decode,
  formatTime,
  parseJson,
  type Decoder,
  type JsonValue,
} from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { FORMATS } from '../model/sniff.ts'
import type { FilesFact } from '../policy/facts.ts'
import { ROUTES } from '../policy/policy.ts'
import { PROTECTIONS, type Check, type Verdict } from '../verdict.ts'
import { decide } from './admit.ts'
import type { Admission, ModelSource, Recorded } from './question.ts'
import { gather, listKey } from './gather.ts'
import { policyFrom } from './policy.ts'
import { checkShape, decodeVerdict } from './read-verdict.ts'

export const REPLAY_SCHEMA = 'zt4ai.replay/v1'
/** Largest record. Bundles and evidence are the large parts. */
export const MAX_REPLAY = 512 << 20

/** A comparison without the list that it was made with: that list is in a bundle, whose signature is verified again. */
interface RecordedFiles extends Omit<FilesFact, 'manifest'> {
  /** `listKey` of the signed list; null for the digest of a registry's manifest. */
  readonly list: string | null
}

export interface Replay {
  readonly verdict: Verdict
  /** The verdict's bytes as `verdictJson` writes them, from the record as it is. */
  readonly text: string
  readonly recorded: Omit<Recorded, 'files'> & { readonly files: readonly RecordedFiles[] }
}

/** Writes the record of an admission. The same admission gives the same bytes. */
export function writeReplay({ verdict, recorded }: Admission): string {
  const { challenge, keyDigest, protection } = recorded
  const named = (list: readonly NamedBytes[]): object[] =>
    list.map(({ name, bytes }) => ({ name, bytes: bytesToBase64(bytes) }))
  const file = {
    schema: REPLAY_SCHEMA,
    subject: recorded.subject,
    at: recorded.at,
    now: recorded.now,
    ...(challenge === undefined
      ? {}
      : {
          challenge: {
            nonce: bytesToHex(challenge.nonce),
            ...(challenge.issued === undefined ? {} : { issued: formatTime(challenge.issued) }),
          },
        }),
    ...(keyDigest === undefined ? {} : { keyDigest: bytesToHex(keyDigest) }),
    ...(protection === undefined ? {} : { protection }),
    policy: bytesToBase64(recorded.policy.bytes),
    policyFiles: named([...recorded.policy.files].map(([name, bytes]) => ({ name, bytes }))),
    bundles: named(recorded.bundles),
    evidence: named(recorded.evidence),
    endorsements: named(recorded.endorsements),
    files: recorded.files.map(written),
    verdict,
  }
  return `${JSON.stringify(file, null, 2)}\n`
}

/** Only what facts are: a source may know more. */
function written({ manifest, root, route, result, formats }: FilesFact): RecordedFiles {
  const { missing, extra, changed, ignored, files: count, bytes, checks } = result
  return {
    list: manifest === null ? null : listKey(manifest),
    root,
    route,
    result: { missing, extra, changed, ignored, files: count, bytes, checks },
    formats: formats.map(({ name: file, format: kind, executable, why, basis }) => ({
      name: file,
      format: kind,
      executable,
      why,
      basis,
    })),
  }
}

const { array, base64, boolean, hex, integer, literal, object, optional, string, time } = decode

const name = string({ min: 1, max: 65_536 })
const pieces = (max: number): Decoder<readonly NamedBytes[]> =>
  array(object({ name, bytes: base64({ max: MAX_REPLAY }) }), { max })
const names = array(string({ max: 65_536 }), { max: 1_000_000 })
const digest = string({ pattern: /^[0-9a-f]{64}$/ })
const fileList = object({
  missing: names,
  extra: names,
  changed: array(object({ name, expected: string(), actual: string() }), { max: 1_000_000 }),
  ignored: names,
  files: integer({ min: 0 }),
  bytes: integer({ min: 0 }),
  checks: array(checkShape, { max: 1_000_000 }),
})
const format = object({
  name,
  format: literal(...FORMATS),
  executable: boolean(),
  why: string({ max: 65_536 }),
  basis: literal('content', 'name'),
})
const nullable =
  <T>(decoder: Decoder<T>): Decoder<T | null> =>
  (value, path) =>
    value === null ? null : decoder(value, path)
const files: Decoder<RecordedFiles> = (value, path) => {
  const { result, ...rest } = object({
    list: nullable(digest),
    root: digest,
    route: literal(...ROUTES),
    result: fileList,
    formats: array(format, { max: 1_000_000 }),
  })(value, path)
  return { ...rest, result: { ...result, checks: result.checks as readonly Check[] } }
}
const shape = object({
  schema: literal(REPLAY_SCHEMA),
  subject: object({ name: string({ max: 65_536 }), reference: optional(string({ max: 4096 })) }),
  at: time(),
  now: time(),
  challenge: optional(object({ nonce: hex(), issued: optional(time()) })),
  keyDigest: optional(hex({ length: 32 })),
  protection: optional(literal(...PROTECTIONS)),
  policy: base64({ max: 16 << 20 }),
  policyFiles: pieces(4096),
  bundles: pieces(256),
  evidence: pieces(64),
  endorsements: pieces(64),
  files: array(files, { max: 256 }),
  verdict: decode.any(),
})

/**
 * Reads a record.
 * @throws ZtError REPLAY_INVALID with the JSON path, VERDICT_INVALID
 */
export function readReplay(bytes: Uint8Array): Replay {
  try {
    const value: JsonValue = parseJson(bytes, { maxBytes: MAX_REPLAY })
    const { verdict, challenge, keyDigest, protection, ...file } = shape(value, '$')
    return {
      verdict: decodeVerdict(verdict, '$.verdict'),
      text: verdictText(verdict),
      recorded: {
        subject: file.subject,
        at: formatTime(file.at),
        now: formatTime(file.now),
        policy: {
          bytes: file.policy,
          files: new Map(file.policyFiles.map((one) => [one.name, one.bytes])),
        },
        bundles: file.bundles,
        evidence: file.evidence,
        endorsements: file.endorsements,
        files: file.files,
        ...(challenge === undefined ? {} : { challenge }),
        ...(keyDigest === undefined ? {} : { keyDigest }),
        ...(protection === undefined ? {} : { protection }),
      },
    }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('REPLAY_INVALID', `this is no record of a verdict: ${error.message}`, {
      ...(error.path === undefined ? {} : { path: error.path }),
      cause: error,
    })
  }
}

/**
 * Computes the verdict of a record again: policy, signatures, evidence and binding from their bytes. The files are not read: how they compared
 * with the signed lists is taken as recorded.
 * @throws ZtError as `admit`
 */
export async function replay({ recorded }: Replay): Promise<Admission> {
  const { policy, subject, challenge, keyDigest } = recorded
  const lists = new Map(recorded.files.map((one) => [one.list, one]))
  const source: ModelSource = {
    subject,
    bundles: () => Promise.resolve(recorded.bundles),
    compare: (manifest) => {
      const found = lists.get(listKey(manifest))
      if (found?.root !== manifest.root) return Promise.resolve(null)
      return Promise.resolve(factOf(found, manifest))
    },
    whole: () =>
      Promise.resolve(
        recorded.files.filter(({ list }) => list === null).map((one) => factOf(one, null)),
      ),
  }
  const gathered = await gather({
    model: source,
    policy: policyFrom(policy.bytes, (file) => {
      const bytes = policy.files.get(file)
      if (bytes !== undefined) return bytes
      throw new ZtError('REPLAY_INVALID', 'a file that the policy names is not in the record', {
        path: file,
      })
    }),
    at: new Date(recorded.at),
    now: new Date(recorded.now),
    evidence: recorded.evidence,
    endorsements: recorded.endorsements,
    ...(challenge === undefined ? {} : { challenge }),
    ...(keyDigest === undefined ? {} : { keyDigest }),
  })
  return decide(gathered, recorded.protection)
}

function factOf(found: RecordedFiles, manifest: FilesFact['manifest']): FilesFact {
  const { root, route, result, formats } = found
  return { root, manifest, route, result, formats }
}

/** The text of a verdict that was read as JSON: members as they stand, so that a comparison is one of bytes. */
export function verdictText(value: JsonValue): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
