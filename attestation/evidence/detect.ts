// The single owner of telling evidence formats apart, by content alone, and of taking the report or quote out of its container.
import type { Endorsements, EventLog } from '../endorsements.ts'
import { NO_ENDORSEMENTS } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import type { Evidence } from '../evidence.ts'
import {
  base64ToBytes,
  base64UrlToBytes,
  decode,
  equalBytes,
  hexToBytes,
  isZero,
  joinLines,
  parseJson,
  Reader,
  trimBlanks,
  utf8Decode,
  utf8Encode,
} from '../lib/index.ts'
import type { JsonObject, JsonValue } from '../lib/index.ts'
import {
  decodeEvidenceFile,
  isEvidenceFile,
  MAX_EVIDENCE_FILE,
  MAX_QUOTE,
  REPORT_SIZE,
} from './file.ts'
import { parseCertificateTable } from './table.ts'

/** Intel's QE vendor id, in the header of every quote (offset 12). */
const INTEL_VENDOR = hexToBytes('939a7233f79c4ca9940a0db3957f0607')
const QUOTE_HEADER = 48
/** A version is a small number: what is larger is no report and no quote. */
const MAX_VERSION = 16

const byteArray = decode.array(decode.integer({ min: 0, max: 255 }), { max: MAX_QUOTE })

/**
 * Takes the evidence out of whatever it came in: a raw SNP report (also configfs-tsm's outblob), an extended report with its
 * certificate table, the response of the guest's ioctl (MSG_REPORT_RSP), an SGX or TDX quote, either of these as hex, base64(url) or
 * JSON byte array, a quote in the JSON answer of a guest agent, or our own evidence file. Nothing is authenticated, and the report or quote itself is not parsed here.
 * @throws AttestationError FORMAT_UNKNOWN if it is none of these; TRUNCATED, TRAILING_DATA, FORMAT_INVALID, TOO_LARGE
 */
export function readEvidence(input: Uint8Array): Evidence {
  if (input.length > MAX_EVIDENCE_FILE) {
    throw new AttestationError('TOO_LARGE', `evidence larger than ${MAX_EVIDENCE_FILE} bytes`)
  }
  return readBinary(input) ?? readText(input) ?? unknown(input)
}

/** Azure's HCL report, from the vTPM: header of 32 bytes, report, and what its report data are the hash of. */
const HCL = Buffer.from('HCLA')

function unknown(input: Uint8Array): never {
  if (equalBytes(input.subarray(0, HCL.length), HCL))
    throw new AttestationError(
      'FORMAT_UNKNOWN',
      'this is an Azure HCL report, not evidence alone',
      {
        hint: `give the hardware's report in it alone (for SEV-SNP: ${REPORT_SIZE} bytes from offset 32); what its report data bind, the keys of the vTPM, is not judged`,
      },
    )
  throw new AttestationError('FORMAT_UNKNOWN', 'this is no evidence in any known format', {
    hint: 'known are SNP reports (raw, extended, ioctl response), TDX and SGX quotes, each also as hex, base64 or JSON byte array, quotes in the answer of a guest agent, and zt4ai evidence files',
  })
}

function readBinary(bytes: Uint8Array): Evidence | undefined {
  if (bytes.length < 8) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const version = view.getUint16(0, true)
  const second = view.getUint16(2, true)
  // an SNP report starts with a u32 version, a quote with a u16 version and a key type that is never zero
  if (version === 0 && second === 0) return readIoctl(bytes)
  if (version === 0 || version > MAX_VERSION) return undefined
  if (second === 0) return readReport(bytes)
  const vendor = bytes.subarray(12, 28)
  return second === 2 || second === 3 || equalBytes(vendor, INTEL_VENDOR)
    ? readQuote(bytes, view)
    : undefined
}

function snp(report: Uint8Array, form: string, endorsements: Endorsements): Evidence {
  return { platform: 'sev-snp', raw: report, form, endorsements }
}

function readReport(bytes: Uint8Array): Evidence {
  if (bytes.length < REPORT_SIZE) {
    throw new AttestationError(
      'TRUNCATED',
      `an SNP report is ${REPORT_SIZE} bytes long, this is cut after ${bytes.length}`,
    )
  }
  const report = bytes.subarray(0, REPORT_SIZE)
  const rest = bytes.subarray(REPORT_SIZE)
  if (rest.length === 0) return snp(report, 'SNP report', NO_ENDORSEMENTS)
  // too short for one entry and the last one, or without a first entry: not a table but something that was appended
  if (rest.length < 48 || isZero(rest.subarray(0, 24))) {
    throw new AttestationError(
      'TRAILING_DATA',
      `${rest.length} bytes follow after the SNP report`,
      {
        hint: `a report has ${REPORT_SIZE} bytes: give it without the buffer around it`,
      },
    )
  }
  const { certificates, crls } = parseCertificateTable(rest)
  return snp(report, 'extended SNP report', { ...NO_ENDORSEMENTS, certificates, crls })
}

/** MSG_REPORT_RSP (SEV-SNP firmware ABI): status u32, report size u32, 24 reserved bytes, the report; the buffer's rest is zero. */
function readIoctl(bytes: Uint8Array): Evidence | undefined {
  if (bytes.length < 32) return undefined
  const reader = new Reader(bytes, 'MSG_REPORT_RSP')
  reader.zeros(4)
  if (reader.u32() !== REPORT_SIZE) return undefined
  reader.zeros(24)
  const report = reader.bytes(REPORT_SIZE)
  if (reader.remaining > 4096 || !isZero(reader.bytes(reader.remaining))) {
    throw new AttestationError('TRAILING_DATA', 'bytes follow after the SNP report')
  }
  return snp(report, 'SNP ioctl response', NO_ENDORSEMENTS)
}

function readQuote(bytes: Uint8Array, view: DataView): Evidence {
  if (bytes.length < QUOTE_HEADER) {
    throw new AttestationError('TRUNCATED', 'a quote ends within its header')
  }
  if (bytes.length > MAX_QUOTE) {
    throw new AttestationError('TOO_LARGE', `a quote larger than ${MAX_QUOTE} bytes`)
  }
  const version = view.getUint16(0, true)
  const type = view.getUint32(4, true)
  // version 3 has no TEE type: the field is reserved, and all of its quotes are of SGX
  const platform = version === 3 || type === 0 ? 'sgx' : type === 0x81 ? 'tdx' : undefined
  if (platform === undefined) {
    throw new AttestationError('FORMAT_UNKNOWN', `a quote of unknown TEE type ${type}`)
  }
  const name = platform === 'tdx' ? 'TDX' : 'SGX'
  return {
    platform,
    raw: bytes,
    form: `${name} quote v${version}`,
    endorsements: NO_ENDORSEMENTS,
  }
}

function readText(bytes: Uint8Array): Evidence | undefined {
  let text: string
  try {
    text = trimBlanks(utf8Decode(bytes))
  } catch {
    return undefined
  }
  if (/^[{["]/.test(text)) return readJson(text)
  const line = joinLines(text)
  const wrapped = unwrap(line)
  const found = wrapped === undefined ? undefined : readBinary(wrapped.bytes)
  return found === undefined || wrapped === undefined
    ? undefined
    : { ...found, form: `${found.form}, as ${wrapped.form}` }
}

function readJson(text: string): Evidence | undefined {
  const value = parseJson(text, { maxBytes: MAX_EVIDENCE_FILE })
  if (isEvidenceFile(value)) return decodeEvidenceFile(value)
  if (typeof value === 'string') return readText(utf8Encode(value))
  if (decode.isObject(value)) return 'quote' in value ? readAnswer(value) : undefined
  if (!Array.isArray(value)) return undefined
  const found = readBinary(Uint8Array.from(byteArray(value, '$')))
  return found === undefined ? undefined : { ...found, form: `${found.form}, as JSON byte array` }
}

const quoteText = decode.string({ max: MAX_EVIDENCE_FILE })
const answer = decode.object(
  {
    quote: quoteText,
    event_log: decode.optional(decode.any()),
    cc_eventlog: decode.optional(decode.any()),
  },
  { unknown: 'ignore' },
)

/**
 * A quote as a guest's agent answers with it: `{"quote": …}` alone (Azure's metadata service), with `event_log` (dstack: the events, or the same as text), or with
 * `cc_eventlog` (Confidential Containers: a CCEL log as base64). What else the answer says is signed by nobody.
 */
function readAnswer(value: JsonObject): Evidence | undefined {
  const fields = answer(value, '$')
  const wrapped = unwrap(fields.quote)
  const found = wrapped === undefined ? undefined : readBinary(wrapped.bytes)
  if (found === undefined || wrapped === undefined || found.platform === 'sev-snp') return undefined
  const { event_log: events, cc_eventlog: ccel } = fields
  const eventLogs: EventLog[] = []
  if (some(events))
    eventLogs.push({
      kind: 'dstack',
      text: typeof events === 'string' ? events : JSON.stringify(events),
    })
  if (some(ccel)) eventLogs.push({ kind: 'ccel', data: base64(ccel, '$.cc_eventlog') })
  return {
    ...found,
    form: `${found.form}, as ${wrapped.form} in JSON`,
    endorsements: { ...found.endorsements, eventLogs },
  }
}

const base64 = decode.base64({ max: MAX_EVIDENCE_FILE })

/** An answer without a log leaves the member out, or empty. */
function some(log: JsonValue | undefined): log is JsonValue {
  const none = log === undefined || log === null || log === '' || log === '[]'
  return !none && !(Array.isArray(log) && log.length === 0)
}

interface Wrapped {
  readonly bytes: Uint8Array
  readonly form: string
}

function unwrap(text: string): Wrapped | undefined {
  return fromHex(text) ?? fromBase64(text)
}

function fromHex(text: string): Wrapped | undefined {
  try {
    return { bytes: hexToBytes(text.startsWith('0x') ? text.slice(2) : text), form: 'hex' }
  } catch {
    return undefined
  }
}

function fromBase64(text: string): Wrapped | undefined {
  const readers = { base64: base64ToBytes, base64url: base64UrlToBytes }
  for (const [form, read] of Object.entries(readers)) {
    try {
      return { bytes: read(text), form }
    } catch {
      // the other alphabet may fit
    }
  }
  return undefined
}
