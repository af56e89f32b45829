// The single owner of the evidence file (schema zt4ai.evidence/v1; published as schemas/evidence.v1.schema.json): strict reading, reproducible writing.
import type { Endorsements, EventLog, SignedJson } from '../endorsements.ts'
import { NO_ENDORSEMENTS } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import type { Evidence } from '../evidence.ts'
import type { JsonValue } from '../lib/index.ts'
import {
  bytesToBase64,
  bytesToHex,
  decode,
  parseCertificate,
  parseCrl,
  parseJson,
  utf8Decode,
  utf8Encode,
} from '../lib/index.ts'

export const EVIDENCE_SCHEMA = 'zt4ai.evidence/v1'
export const REPORT_SIZE = 1184
/** Largest evidence file. The largest part of one is an event log. */
export const MAX_EVIDENCE_FILE = 16 << 20
/** Largest quote that is taken. Genuine ones are below 8 KiB, padding included. */
export const MAX_QUOTE = 64 * 1024
const MAX_LOG = 4 << 20

const signedJson = decode.object({
  body: decode.string({ min: 2, max: 1 << 20 }),
  signature: decode.hex({ length: 64 }),
})
const endorsementsShape = decode.object({
  certificates: decode.optional(decode.array(decode.base64({ max: 65_536 }), { max: 256 })),
  crls: decode.optional(decode.array(decode.base64({ max: 8 << 20 }), { max: 64 })),
  tcbInfos: decode.optional(decode.array(signedJson, { max: 64 })),
  qeIdentities: decode.optional(decode.array(signedJson, { max: 64 })),
})
const ccelShape = decode.object({
  kind: decode.literal('ccel'),
  table: decode.optional(decode.base64({ max: 56 })),
  data: decode.base64({ max: MAX_LOG }),
})
const dstackShape = decode.object({
  kind: decode.literal('dstack'),
  text: decode.string({ min: 2, max: MAX_LOG }),
})
const common = {
  schema: decode.literal(EVIDENCE_SCHEMA),
  endorsements: endorsementsShape,
  eventLog: decode.optional(decode.array(eventLog, { max: 8 })),
  nonce: decode.optional(decode.hex()),
  runtimeData: decode.optional(decode.base64({ max: 1 << 20 })),
}
const reportShape = decode.object({
  ...common,
  kind: decode.literal('sev-snp'),
  report: decode.base64({ max: REPORT_SIZE }),
})
const quoteShape = decode.object({
  ...common,
  kind: decode.literal('tdx', 'sgx'),
  quote: decode.base64({ max: MAX_QUOTE }),
})

function eventLog(value: JsonValue, path: string): EventLog {
  const ccel = decode.object({ kind: decode.string() }, { unknown: 'ignore' })(value, path)
  return ccel.kind === 'ccel' ? ccelShape(value, path) : dstackShape(value, path)
}

/** True if this JSON value says that it is an evidence file (of any version). */
export function isEvidenceFile(value: JsonValue): boolean {
  return (
    decode.isObject(value) &&
    typeof value['schema'] === 'string' &&
    value['schema'].startsWith('zt4ai.evidence/')
  )
}

/**
 * Reads an evidence file.
 * @throws AttestationError FORMAT_INVALID with the JSON path, UNSUPPORTED_VERSION, and what JSON, certificates and lists throw
 */
export function readEvidenceFile(file: Uint8Array | string): Evidence {
  return decodeEvidenceFile(parseJson(file, { maxBytes: MAX_EVIDENCE_FILE }))
}

/** The same for a JSON value that was read before. */
export function decodeEvidenceFile(value: JsonValue): Evidence {
  if (isEvidenceFile(value) && decode.isObject(value) && value['schema'] !== EVIDENCE_SCHEMA) {
    throw new AttestationError('UNSUPPORTED_VERSION', `only ${EVIDENCE_SCHEMA} is known`, {
      path: '$.schema',
    })
  }
  const { kind } = decode.object({ kind: decode.string() }, { unknown: 'ignore' })(value, '$')
  const file = kind === 'sev-snp' ? reportShape(value, '$') : quoteShape(value, '$')
  const raw = 'report' in file ? file.report : file.quote
  if ('report' in file && raw.length !== REPORT_SIZE) {
    throw new AttestationError('FORMAT_INVALID', `$.report: must be ${REPORT_SIZE} bytes`, {
      path: '$.report',
    })
  }
  return {
    platform: file.kind,
    raw,
    form: 'evidence file',
    endorsements: decodeEndorsements(file.endorsements, file.eventLog ?? []),
    ...(file.nonce === undefined ? {} : { nonce: file.nonce }),
    ...(file.runtimeData === undefined ? {} : { runtimeData: file.runtimeData }),
  }
}

function decodeEndorsements(
  shape: ReturnType<typeof endorsementsShape>,
  eventLogs: readonly EventLog[],
): Endorsements {
  const statements = (
    list: readonly { readonly body: string; readonly signature: Uint8Array }[] = [],
  ): readonly SignedJson[] =>
    list.map(({ body, signature }) => ({ raw: utf8Encode(body), signature }))
  return {
    ...NO_ENDORSEMENTS,
    certificates: distinct((shape.certificates ?? []).map(parseCertificate)),
    crls: distinct((shape.crls ?? []).map(parseCrl)),
    tcbInfos: statements(shape.tcbInfos),
    qeIdentities: statements(shape.qeIdentities),
    eventLogs,
  }
}

function distinct<T extends { readonly sha256: string }>(items: readonly T[]): readonly T[] {
  return [...new Map(items.map((item) => [item.sha256, item])).values()]
}

/**
 * Writes evidence and endorsements as one evidence file. The same input gives the same bytes: members in the order of the schema,
 * lists in the order given, two blanks of indentation, one line end at the end.
 */
export function writeEvidenceFile(
  evidence: Pick<Evidence, 'platform' | 'raw' | 'nonce' | 'runtimeData'>,
  endorsements: Endorsements,
): string {
  const { platform, raw, nonce, runtimeData } = evidence
  const statements = (list: readonly SignedJson[]): object[] =>
    list.map((item) => ({ body: utf8Decode(item.raw), signature: bytesToHex(item.signature) }))
  const logs = endorsements.eventLogs.map((log) =>
    log.kind === 'dstack'
      ? log
      : {
          kind: log.kind,
          ...(log.table === undefined ? {} : { table: bytesToBase64(log.table) }),
          data: bytesToBase64(log.data),
        },
  )
  const file = {
    schema: EVIDENCE_SCHEMA,
    kind: platform,
    [platform === 'sev-snp' ? 'report' : 'quote']: bytesToBase64(raw),
    endorsements: {
      ...some(
        'certificates',
        endorsements.certificates.map(({ der }) => bytesToBase64(der)),
      ),
      ...some(
        'crls',
        endorsements.crls.map(({ der }) => bytesToBase64(der)),
      ),
      ...some('tcbInfos', statements(endorsements.tcbInfos)),
      ...some('qeIdentities', statements(endorsements.qeIdentities)),
    },
    ...some('eventLog', logs),
    ...(nonce === undefined ? {} : { nonce: bytesToHex(nonce) }),
    ...(runtimeData === undefined ? {} : { runtimeData: bytesToBase64(runtimeData) }),
  }
  return `${JSON.stringify(file, null, 2)}\n`
}

function some(name: string, list: readonly unknown[]): Record<string, readonly unknown[]> {
  return list.length === 0 ? {} : { [name]: list }
}
