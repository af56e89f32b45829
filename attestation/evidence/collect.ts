// The single owner of collecting endorsements: any mix of files, each known by its content and never by its name.
import type { Endorsements, EventLog, NamedBytes, SignedJson } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import type { Certificate, Crl, Decoder, JsonValue } from '../lib/index.ts'
import {
  base64ToBytes,
  decode,
  hexToBytes,
  joinLines,
  parseCertificate,
  parseCertificates,
  parseCrl,
  parseDer,
  parseJsonRaw,
  parsePemBlocks,
  sha256Hex,
  trimBlanks,
  utf8Decode,
  utf8Encode,
} from '../lib/index.ts'
import { decodeEvidenceFile, isEvidenceFile, MAX_EVIDENCE_FILE } from './file.ts'
import { looksLikeTable, parseCertificateTable } from './table.ts'

const MAX_FILES = 64
const MAX_CERTIFICATES = 256
const CCEL_TABLE = 56
/** More than any server sends; node's own limit for all headers of an answer is 16 KiB. */
const MAX_HEADERS = 64 << 10

interface Basket {
  readonly certificates: Map<string, Certificate>
  readonly crls: Map<string, Crl>
  readonly tcbInfos: SignedJson[]
  readonly qeIdentities: SignedJson[]
  readonly logs: EventLog[]
  readonly tables: Uint8Array[]
}

function unknown(): never {
  throw new AttestationError('FORMAT_UNKNOWN', 'no endorsement in any known format', {
    hint: 'known are certificates and revocation lists (PEM, DER, hex, base64), SNP certificate tables, the certificates that Azure’s metadata service gives, Intel collateral as served or in the PCCS field names, CCEL tables and logs, dstack event logs, and zt4ai evidence files',
  })
}

/**
 * Reads endorsements from any mix of files: certificates and chains (PEM, DER, URL-encoded header values), CRLs (DER, PEM, hex),
 * all of these in hex or base64, SNP certificate tables (auxblob), the answer of Azure's metadata service, Intel TCB info and QE identity as served, collateral in the usual PCCS field names
 * (QuoteCollateralV3), event logs (CCEL table and log, dstack), and our evidence file (of which the endorsements are taken).
 * Duplicates are dropped. Nothing is verified.
 * @throws AttestationError FORMAT_UNKNOWN and what the readers throw; `path` is the file's name
 */
export function readEndorsements(files: readonly NamedBytes[]): Endorsements {
  if (files.length > MAX_FILES) {
    throw new AttestationError('TOO_LARGE', `more than ${MAX_FILES} files of endorsements`)
  }
  const basket: Basket = {
    certificates: new Map(),
    crls: new Map(),
    tcbInfos: [],
    qeIdentities: [],
    logs: [],
    tables: [],
  }
  for (const { name, bytes } of files) {
    try {
      readFile(bytes, basket)
    } catch (error) {
      if (!(error instanceof AttestationError)) throw error
      const { code, hint, message, path } = error
      const more = hint === undefined ? {} : { hint }
      const where = path === undefined || message.includes(path) ? '' : ` (${path})`
      throw new AttestationError(code, `${name}: ${message}${where}`, {
        ...more,
        path: name,
        cause: error,
      })
    }
    if (basket.certificates.size > MAX_CERTIFICATES) {
      throw new AttestationError('TOO_LARGE', `more than ${MAX_CERTIFICATES} certificates`)
    }
  }
  return {
    certificates: [...basket.certificates.values()],
    crls: [...basket.crls.values()],
    tcbInfos: unique(basket.tcbInfos),
    qeIdentities: unique(basket.qeIdentities),
    eventLogs: pairLogs(basket),
    inputs: files.map(({ name, bytes }) => ({ name, sha256: sha256Hex(bytes) })),
  }
}

/** Joins what came with the evidence and what was given beside it. The given ones come first. */
export function mergeEndorsements(...all: readonly Endorsements[]): Endorsements {
  const certificates = new Map<string, Certificate>()
  const crls = new Map<string, Crl>()
  for (const one of all) {
    for (const cert of one.certificates)
      if (!certificates.has(cert.sha256)) certificates.set(cert.sha256, cert)
    for (const crl of one.crls) if (!crls.has(crl.sha256)) crls.set(crl.sha256, crl)
  }
  return {
    certificates: [...certificates.values()],
    crls: [...crls.values()],
    tcbInfos: unique(all.flatMap((one) => one.tcbInfos)),
    qeIdentities: unique(all.flatMap((one) => one.qeIdentities)),
    eventLogs: all.flatMap((one) => one.eventLogs),
    inputs: all.flatMap((one) => one.inputs),
  }
}

function unique(statements: readonly SignedJson[]): readonly SignedJson[] {
  const key = ({ raw, signature }: SignedJson): string =>
    `${sha256Hex(raw)}.${sha256Hex(signature)}`
  return [...new Map(statements.map((statement) => [key(statement), statement])).values()]
}

function pairLogs({ logs, tables }: Basket): readonly EventLog[] {
  const [table] = tables
  if (table === undefined) return logs
  const index = logs.findIndex((log) => log.kind === 'ccel')
  if (tables.length > 1 || index === -1) {
    throw new AttestationError('FORMAT_INVALID', 'a CCEL table without its log, or more than one')
  }
  return logs.map((log, i) => (i === index && log.kind === 'ccel' ? { ...log, table } : log))
}

function addCertificates(basket: Basket, certificates: readonly Certificate[]): void {
  for (const cert of certificates) basket.certificates.set(cert.sha256, cert)
}

function addCrls(basket: Basket, crls: readonly Crl[]): void {
  for (const crl of crls) basket.crls.set(crl.sha256, crl)
}

function readFile(bytes: Uint8Array, basket: Basket): void {
  if (bytes.length > MAX_EVIDENCE_FILE) {
    throw new AttestationError('TOO_LARGE', `larger than ${MAX_EVIDENCE_FILE} bytes`)
  }
  if (startsWith(bytes, 0, 'HTTP/')) {
    const body = readHeaders(bytes, basket)
    if (body.length === 0) return
    bytes = body
  }
  if (bytes[0] === 0x30 && bytes.length > 1 && (bytes[1] ?? 0) >= 0x80) {
    readDer(bytes, basket)
    return
  }
  if (looksLikeTable(bytes)) {
    const table = parseCertificateTable(bytes)
    addCertificates(basket, table.certificates)
    addCrls(basket, table.crls)
    return
  }
  if (startsWith(bytes, 0, 'CCEL')) {
    if (bytes.length !== CCEL_TABLE) {
      throw new AttestationError('FORMAT_INVALID', `a CCEL table is ${CCEL_TABLE} bytes long`)
    }
    basket.tables.push(bytes)
    return
  }
  // TCG_PCR_EVENT of type EV_NO_ACTION with the Spec ID structure: the first event of every crypto-agile log
  if (startsWith(bytes, 32, 'Spec ID Event03\0')) {
    basket.logs.push({ kind: 'ccel', data: bytes })
    return
  }
  readText(bytes, basket)
}

/**
 * Takes the issuer chains out of the headers of an answer, as `curl -i` or `curl -D` writes them. Nothing else of a header counts.
 * @returns the body
 */
function readHeaders(bytes: Uint8Array, basket: Basket): Uint8Array {
  let rest = bytes
  // a proxy's own answer may come first
  while (startsWith(rest, 0, 'HTTP/')) {
    const view = Buffer.from(rest.buffer, rest.byteOffset, Math.min(rest.length, MAX_HEADERS))
    const end = /\r?\n\r?\n/.exec(view.toString('latin1'))
    if (end === null) return unknown()
    const head = view.toString('latin1', 0, end.index)
    for (const [, chain = ''] of head.matchAll(/^[\w-]+:[ \t]*(-----BEGIN%20\S*)[ \t]*\r?$/gm))
      addCertificates(basket, readIssuerChain(chain))
    rest = rest.subarray(end.index + end[0].length)
  }
  return rest
}

function startsWith(bytes: Uint8Array, at: number, text: string): boolean {
  return Buffer.from(bytes.subarray(at, at + text.length)).equals(Buffer.from(text, 'latin1'))
}

function readDer(der: Uint8Array, basket: Basket): void {
  const tbs = parseDer(der, { maxBytes: 8 << 20 }).children[0]
  // in a CRL the fourth part is thisUpdate, in a certificate it is a SEQUENCE
  const fourth = tbs?.children[3]?.tag
  if (fourth === 0x17 || fourth === 0x18) addCrls(basket, [parseCrl(der)])
  else addCertificates(basket, [parseCertificate(der)])
}

function readText(bytes: Uint8Array, basket: Basket): void {
  let text: string
  try {
    text = utf8Decode(bytes)
  } catch {
    return unknown()
  }
  const trimmed = trimBlanks(withoutNul(text))
  if (/^[{["]/.test(trimmed)) {
    readJson(trimmed, basket)
    return
  }
  if (trimmed.startsWith(ENCODED_PEM)) {
    addCertificates(basket, readIssuerChain(trimmed))
    return
  }
  if (trimmed.includes('-----BEGIN ')) {
    readPem(trimmed, basket)
    return
  }
  const line = joinLines(trimmed)
  if (/^[0-9a-fA-F]{8,}$/.test(line)) {
    readDer(hexToBytes(line), basket)
    return
  }
  const decoded = fromBase64(line)
  // DER, JSON or PEM: what the base64 of a file holds that is known here
  if (decoded === null || !WRAPPED.includes(decoded[0] ?? 0)) return unknown()
  readFile(decoded, basket)
}

const ENCODED_PEM = '-----BEGIN%20'
const WRAPPED: readonly number[] = [0x30, 0x7b, 0x2d]

function fromBase64(text: string): Uint8Array | null {
  try {
    return base64ToBytes(text)
  } catch {
    return null
  }
}

/** Intel's own library counts the NUL that ends a C string as part of the text. */
function withoutNul(text: string): string {
  return text.endsWith('\0') ? text.slice(0, -1) : text
}

/** Tools write names before a block (`openssl x509 -text`): text outside of blocks says nothing. */
function readPem(text: string, basket: Basket): void {
  for (const { label, bytes } of parsePemBlocks(text, { max: 64, preamble: true })) {
    if (label === 'CERTIFICATE') addCertificates(basket, [parseCertificate(bytes)])
    else if (label === 'X509 CRL') addCrls(basket, [parseCrl(bytes)])
    else throw new AttestationError('FORMAT_UNKNOWN', `a PEM block of kind ${label}`)
  }
}

/**
 * Reads a chain as Intel's service puts it into a header (`TCB-Info-Issuer-Chain` and its kin): PEM, URL-encoded.
 * @throws AttestationError FORMAT_INVALID and what certificates throw
 */
export function readIssuerChain(value: string): readonly Certificate[] {
  let text: string
  try {
    text = decodeURIComponent(value.slice(0, 1 << 20))
  } catch (cause) {
    throw new AttestationError('FORMAT_INVALID', 'an issuer chain is not URL-encoded', { cause })
  }
  return parseCertificates(utf8Encode(text))
}

function readJson(text: string, basket: Basket): void {
  const { value, members } = parseJsonRaw(text, { maxBytes: MAX_EVIDENCE_FILE })
  if (typeof value === 'string') {
    readFile(utf8Encode(value), basket)
  } else if (Array.isArray(value)) {
    if (!isEventArray(value)) unknown()
    basket.logs.push({ kind: 'dstack', text })
  } else if (isEvidenceFile(value)) {
    const { endorsements } = decodeEvidenceFile(value)
    addCertificates(basket, endorsements.certificates)
    addCrls(basket, endorsements.crls)
    basket.tcbInfos.push(...endorsements.tcbInfos)
    basket.qeIdentities.push(...endorsements.qeIdentities)
    basket.logs.push(...endorsements.eventLogs)
  } else if (members.has('tcbInfo')) {
    basket.tcbInfos.push(served(value, members, 'tcbInfo'))
  } else if (members.has('enclaveIdentity')) {
    basket.qeIdentities.push(served(value, members, 'enclaveIdentity'))
  } else if (members.has('tcb_info') || members.has('qe_identity')) {
    readCollateral(value, members, basket)
  } else if (members.has('vcekCert')) {
    const { vcekCert, certificateChain } = azure(value, '$')
    for (const chain of [vcekCert, certificateChain]) addCertificates(basket, readChain(chain))
  } else if (members.has('event_log')) {
    readDstack(value, members, basket)
  } else {
    unknown()
  }
}

/** `{"tcbInfo":{…},"signature":"…"}` and `{"enclaveIdentity":{…},"signature":"…"}`, as Intel's service answers (PCS API v4). */
function served(
  value: JsonValue,
  members: ReadonlyMap<string, Uint8Array>,
  name: 'tcbInfo' | 'enclaveIdentity',
): SignedJson {
  const shape = decode.object({ [name]: decode.any(), signature: decode.hex({ length: 64 }) })
  const { signature } = shape(value, '$') as unknown as { readonly signature: Uint8Array }
  return { raw: members.get(name) ?? new Uint8Array(), signature }
}

const pem = decode.string({ max: 1 << 20 })
/** What Azure's metadata service (THIM, `/metadata/THIM/amd/certification`) gives a guest: its VCEK, and ASK and ARK, as PEM. */
const azure = decode.object({ vcekCert: pem, certificateChain: pem }, { unknown: 'ignore' })

const octets = decode.array(decode.integer({ min: 0, max: 255 }), { max: 4 << 20 })
/** Hex, or the JSON array of numbers that serde makes of bytes. */
const signature: Decoder<Uint8Array> = (value, path) => {
  if (!Array.isArray(value)) return decode.hex({ length: 64 })(value, path)
  const bytes = octets(value, path)
  if (bytes.length === 64) return Uint8Array.from(bytes)
  throw new AttestationError('FORMAT_INVALID', `${path}: must be 64 bytes`, { path })
}
const list: Decoder<string | Uint8Array> = (value, path) =>
  Array.isArray(value) ? Uint8Array.from(octets(value, path)) : pem(value, path)

/** A chain as text: PEM, or the same URL-encoded, as it stands in a header. */
function readChain(text: string): readonly Certificate[] {
  const chain = trimBlanks(withoutNul(text))
  return chain.startsWith(ENCODED_PEM)
    ? readIssuerChain(chain)
    : parseCertificates(utf8Encode(chain))
}
/** The fields of Intel's quote verification collateral as PCCS clients write them down (for example Phala's QuoteCollateralV3). */
const collateral = decode.object(
  {
    pck_crl_issuer_chain: decode.optional(pem),
    root_ca_crl: decode.optional(list),
    pck_crl: decode.optional(list),
    tcb_info_issuer_chain: decode.optional(pem),
    tcb_info: decode.optional(decode.any()),
    tcb_info_signature: decode.optional(signature),
    qe_identity_issuer_chain: decode.optional(pem),
    qe_identity: decode.optional(decode.any()),
    qe_identity_signature: decode.optional(signature),
    pck_certificate_chain: decode.optional(decode.any()),
  },
  { unknown: 'ignore' },
)

function readCollateral(
  value: JsonValue,
  members: ReadonlyMap<string, Uint8Array>,
  basket: Basket,
): void {
  const fields = collateral(value, '$')
  for (const chain of [
    fields.pck_crl_issuer_chain,
    fields.tcb_info_issuer_chain,
    fields.qe_identity_issuer_chain,
    fields.pck_certificate_chain,
  ]) {
    if (typeof chain === 'string' && chain !== '') addCertificates(basket, readChain(chain))
  }
  for (const crl of [fields.root_ca_crl, fields.pck_crl]) {
    if (crl !== undefined)
      addCrls(basket, [typeof crl === 'string' ? readCrlText(crl) : parseCrl(crl)])
  }
  const statement = (
    name: 'tcb_info' | 'qe_identity',
    inner: 'tcbInfo' | 'enclaveIdentity',
    signature: Uint8Array | undefined,
  ): SignedJson[] => {
    const given = fields[name]
    if (given === undefined) return []
    const raw = typeof given === 'string' ? utf8Encode(withoutNul(given)) : members.get(name)
    if (raw === undefined) return []
    if (signature !== undefined) return [{ raw, signature }]
    // Intel's own library puts the whole answer of the service into this field
    const answer = parseJsonRaw(raw, { maxBytes: MAX_EVIDENCE_FILE })
    return [served(answer.value, answer.members, inner)]
  }
  basket.tcbInfos.push(...statement('tcb_info', 'tcbInfo', fields.tcb_info_signature))
  basket.qeIdentities.push(
    ...statement('qe_identity', 'enclaveIdentity', fields.qe_identity_signature),
  )
}

/** A CRL as text: hex of the DER, PEM, or base64 of the DER. */
function readCrlText(text: string): Crl {
  const trimmed = trimBlanks(withoutNul(text))
  if (trimmed.startsWith('-----BEGIN ')) {
    const [block, extra] = parsePemBlocks(trimmed, { max: 1 })
    if (block?.label !== 'X509 CRL' || extra !== undefined) unknown()
    return parseCrl(block.bytes)
  }
  return parseCrl(/^[0-9a-fA-F]+$/.test(trimmed) ? hexToBytes(trimmed) : base64ToBytes(trimmed))
}

function isEventArray(value: JsonValue): boolean {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    (value as readonly JsonValue[]).every(
      (event) => decode.isObject(event) && 'imr' in event && 'event_type' in event,
    )
  )
}

/** dstack's TCB info: the log is an array of events, or the same as a string. */
function readDstack(
  value: JsonValue,
  members: ReadonlyMap<string, Uint8Array>,
  basket: Basket,
): void {
  const given = decode.isObject(value) ? value['event_log'] : undefined
  const text =
    typeof given === 'string' ? given : utf8Decode(members.get('event_log') ?? new Uint8Array())
  const { value: events } = parseJsonRaw(text, { maxBytes: MAX_EVIDENCE_FILE })
  if (!isEventArray(events)) unknown()
  basket.logs.push({ kind: 'dstack', text })
}
