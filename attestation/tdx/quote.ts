// The single owner of the layout of SGX and TDX quotes, versions 3, 4 and 5: bytes to structure, without any cryptography.
import { isZero, sha256Hex } from '../lib/bytes.ts'
import { Reader } from '../lib/reader.ts'
import { AttestationError } from '../error.ts'

/** Larger input is refused unread. Genuine quotes have about 5 KB, 8 KB with padding. */
export const MAX_QUOTE_BYTES = 65_536
/** Hosts pad the buffer that a quote lies in with zeros: 70, 307 and 3065 bytes were seen. */
export const MAX_PADDING_BYTES = 16_384

export type QuoteVersion = 3 | 4 | 5
export type TeeType = 'sgx' | 'tdx'

/** Intel SGX REPORT body, 384 bytes: the quoting enclave's own report, and the body of an SGX quote. */
export interface SgxReport {
  readonly bytes: Uint8Array
  readonly cpuSvn: Uint8Array
  readonly miscSelect: number
  readonly isvExtProdId: Uint8Array
  /** FLAGS (8 bytes) and XFRM (8 bytes). */
  readonly attributes: Uint8Array
  readonly mrEnclave: Uint8Array
  readonly mrSigner: Uint8Array
  readonly configId: Uint8Array
  readonly isvProdId: number
  readonly isvSvn: number
  readonly configSvn: number
  readonly isvFamilyId: Uint8Array
  readonly reportData: Uint8Array
}

/** TD report, 584 bytes (TDX 1.0) or 648 bytes (TDX 1.5). */
export interface TdReport {
  readonly bytes: Uint8Array
  /** [0] TDX module SVN, [1] TDX module major version, [2] SEAM loader SVN. */
  readonly teeTcbSvn: Uint8Array
  readonly mrSeam: Uint8Array
  readonly mrSignerSeam: Uint8Array
  readonly seamAttributes: Uint8Array
  readonly tdAttributes: bigint
  readonly xfam: bigint
  readonly mrTd: Uint8Array
  readonly mrConfigId: Uint8Array
  readonly mrOwner: Uint8Array
  readonly mrOwnerConfig: Uint8Array
  readonly rtmrs: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  readonly reportData: Uint8Array
  /** TDX 1.5: the TCB of the module that runs now, after a TD-preserving update; null in a TDX 1.0 body. */
  readonly teeTcbSvn2: Uint8Array | null
  /** TDX 1.5: measurement of the bound service TD; null in a TDX 1.0 body. */
  readonly mrServiceTd: Uint8Array | null
}

export type QuoteBody =
  | { readonly type: 'sgx'; readonly report: SgxReport }
  | { readonly type: 'td10' | 'td15'; readonly report: TdReport }

/** A quote that was parsed and nothing more: no signature of it was looked at. */
export interface Quote {
  readonly version: QuoteVersion
  readonly teeType: TeeType
  /** Header bytes 8 and 10: meant in version 3, reserved (but written by some producers) later. */
  readonly headerQeSvn: number
  readonly headerPceSvn: number
  readonly qeVendorId: Uint8Array
  readonly userData: Uint8Array
  readonly body: QuoteBody
  /** Header and body: what the attestation key signed. */
  readonly signed: Uint8Array
  /** r ‖ s, 64 bytes, big-endian. ECDSA is malleable: never use it as an identifier. */
  readonly signature: Uint8Array
  /** x ‖ y of a P-256 point, 64 bytes. */
  readonly attestationKey: Uint8Array
  readonly qeReport: SgxReport
  readonly qeReportSignature: Uint8Array
  readonly qeAuthData: Uint8Array
  /** Certification data type 5: the PCK certificate chain as PEM. */
  readonly certificationData: Uint8Array
  /** How many zero bytes followed the quote. */
  readonly padding: number
  /** How many bytes followed that are not zero padding. `authenticateQuote` refuses such a quote, and still judges the rest. */
  readonly trailing: number
  /** The quote without what followed. */
  readonly bytes: Uint8Array
  /** SHA-256 of the quote without what followed, hex: its identity. */
  readonly sha256: string
}

const TEE_TYPES: ReadonlyMap<number, TeeType> = new Map([
  [0x00, 'sgx'],
  [0x81, 'tdx'],
])
const SGX_REPORT_BYTES = 384
const TD10_BYTES = 584
const TD15_BYTES = 648
const BODY_TYPES: ReadonlyMap<number, { type: QuoteBody['type']; size: number }> = new Map([
  [1, { type: 'sgx', size: SGX_REPORT_BYTES }],
  [2, { type: 'td10', size: TD10_BYTES }],
  [3, { type: 'td15', size: TD15_BYTES }],
])
const PCK_CHAIN_PEM = 5
const QE_REPORT_CERTIFICATION = 6

/**
 * Reads a quote of version 3 (SGX), 4 (SGX, TDX 1.0) or 5 (SGX, TDX 1.0, TDX 1.5) with an ECDSA P-256 attestation key and certification data
 * of type 5 (inside type 6 from version 4 on). What follows is counted: zero padding is accepted, anything else is a failed check later.
 * Source: Intel TDX DCAP Quoting Library API, appendix A; SGX ECDSA QuoteLib reference, appendix A.
 * @throws {AttestationError} for anything else.
 */
export function parseQuote(bytes: Uint8Array): Quote {
  if (bytes.length > MAX_QUOTE_BYTES)
    throw new AttestationError(
      'TOO_LARGE',
      `a quote of ${bytes.length} bytes is larger than ${MAX_QUOTE_BYTES}`,
    )
  const reader = new Reader(bytes, 'quote')
  const version = reader.u16()
  if (version !== 3 && version !== 4 && version !== 5)
    throw new AttestationError('UNSUPPORTED_VERSION', `quote version ${version} is not 3, 4 or 5`, {
      path: 'quote.version',
    })
  const keyType = reader.u16()
  if (keyType !== 2)
    throw new AttestationError(
      'UNSUPPORTED_ALGORITHM',
      `attestation key type ${keyType} is not 2 (ECDSA P-256)`,
      { path: 'quote.attestationKeyType' },
    )
  const teeCode = reader.u32()
  const teeType = TEE_TYPES.get(teeCode)
  if (teeType === undefined || (version === 3 && teeType !== 'sgx'))
    throw new AttestationError(
      'FORMAT_INVALID',
      `TEE type 0x${teeCode.toString(16)} does not exist in a quote of version ${version}`,
      { path: 'quote.teeType' },
    )
  const headerQeSvn = reader.u16()
  const headerPceSvn = reader.u16()
  const qeVendorId = reader.bytes(16)
  const userData = reader.bytes(20)
  const body = parseBody(reader, version, teeType)
  const signed = bytes.subarray(0, reader.offset)

  const authLength = reader.u32()
  if (authLength > reader.remaining)
    throw new AttestationError(
      'TRUNCATED',
      `the signature data has ${authLength} bytes, of which ${reader.remaining} are there`,
      { path: 'quote.authData' },
    )
  const auth = parseAuthData(reader.bytes(authLength), version)
  const end = reader.offset
  const rest = bytes.subarray(end)
  const isPadding = rest.length <= MAX_PADDING_BYTES && isZero(rest)
  const trimmed = bytes.subarray(0, end)
  return {
    version,
    teeType,
    headerQeSvn,
    headerPceSvn,
    qeVendorId,
    userData,
    body,
    signed,
    ...auth,
    padding: isPadding ? rest.length : 0,
    trailing: isPadding ? 0 : rest.length,
    bytes: trimmed,
    sha256: sha256Hex(trimmed),
  }
}

function parseBody(reader: Reader, version: QuoteVersion, teeType: TeeType): QuoteBody {
  let type: QuoteBody['type'] = teeType === 'sgx' ? 'sgx' : 'td10'
  if (version === 5) {
    const code = reader.u16()
    const size = reader.u32()
    const known = BODY_TYPES.get(code)
    if (known === undefined)
      throw new AttestationError('UNSUPPORTED_VERSION', `quote body type ${code} is not known`, {
        path: 'quote.bodyType',
      })
    if (size !== known.size || (known.type === 'sgx') !== (teeType === 'sgx'))
      throw new AttestationError(
        'FORMAT_INVALID',
        `body type ${code} with ${size} bytes does not fit a quote of ${teeType}`,
        { path: 'quote.bodySize' },
      )
    type = known.type
  }
  if (type === 'sgx') return { type, report: parseSgxReport(reader.bytes(SGX_REPORT_BYTES)) }
  return { type, report: parseTdReport(reader.bytes(type === 'td10' ? TD10_BYTES : TD15_BYTES)) }
}

/** Reads an SGX REPORT body of exactly 384 bytes; reserved fields must be zero. */
export function parseSgxReport(bytes: Uint8Array): SgxReport {
  const reader = new Reader(bytes, 'sgx report')
  const cpuSvn = reader.bytes(16)
  const miscSelect = reader.u32()
  reader.zeros(12)
  const isvExtProdId = reader.bytes(16)
  const attributes = reader.bytes(16)
  const mrEnclave = reader.bytes(32)
  reader.zeros(32)
  const mrSigner = reader.bytes(32)
  reader.zeros(32)
  const configId = reader.bytes(64)
  const isvProdId = reader.u16()
  const isvSvn = reader.u16()
  const configSvn = reader.u16()
  reader.zeros(42)
  const isvFamilyId = reader.bytes(16)
  const reportData = reader.bytes(64)
  reader.end()
  return {
    bytes,
    cpuSvn,
    miscSelect,
    isvExtProdId,
    attributes,
    mrEnclave,
    mrSigner,
    configId,
    isvProdId,
    isvSvn,
    configSvn,
    isvFamilyId,
    reportData,
  }
}

function parseTdReport(bytes: Uint8Array): TdReport {
  const reader = new Reader(bytes, 'td report')
  const td15 = bytes.length === TD15_BYTES
  const report: TdReport = {
    bytes,
    teeTcbSvn: reader.bytes(16),
    mrSeam: reader.bytes(48),
    mrSignerSeam: reader.bytes(48),
    seamAttributes: reader.bytes(8),
    tdAttributes: reader.u64(),
    xfam: reader.u64(),
    mrTd: reader.bytes(48),
    mrConfigId: reader.bytes(48),
    mrOwner: reader.bytes(48),
    mrOwnerConfig: reader.bytes(48),
    rtmrs: [reader.bytes(48), reader.bytes(48), reader.bytes(48), reader.bytes(48)],
    reportData: reader.bytes(64),
    teeTcbSvn2: td15 ? reader.bytes(16) : null,
    mrServiceTd: td15 ? reader.bytes(48) : null,
  }
  reader.end()
  return report
}

type AuthData = Pick<
  Quote,
  | 'signature'
  | 'attestationKey'
  | 'qeReport'
  | 'qeReportSignature'
  | 'qeAuthData'
  | 'certificationData'
>

function parseAuthData(bytes: Uint8Array, version: QuoteVersion): AuthData {
  const outer = new Reader(bytes, 'signature data')
  const signature = outer.bytes(64)
  const attestationKey = outer.bytes(64)
  const inner =
    version === 3
      ? outer
      : new Reader(certification(outer, QE_REPORT_CERTIFICATION), 'qe certification')
  const qeReport = parseSgxReport(inner.bytes(SGX_REPORT_BYTES))
  const qeReportSignature = inner.bytes(64)
  const qeAuthData = inner.bytes(inner.u16())
  const certificationData = certification(inner, PCK_CHAIN_PEM)
  inner.end()
  outer.end()
  return {
    signature,
    attestationKey,
    qeReport,
    qeReportSignature,
    qeAuthData,
    certificationData,
  }
}

/** Reads `{u16 type, u32 length, data}`; only `wanted` is accepted, because the others need a key or a certificate from elsewhere. */
function certification(reader: Reader, wanted: number): Uint8Array {
  const type = reader.u16()
  if (type !== wanted)
    throw new AttestationError(
      'FORMAT_INVALID',
      `certification data of type ${type} where only type ${wanted} is accepted`,
      {
        path: 'quote.certificationData',
        ...(type >= 1 && type <= 4
          ? { hint: 'ask the quote provider for a quote that carries its PCK certificate chain' }
          : {}),
      },
    )
  const length = reader.u32()
  if (length > reader.remaining)
    throw new AttestationError(
      'TRUNCATED',
      `certification data of ${length} bytes, of which ${reader.remaining} are there`,
      { path: 'quote.certificationData' },
    )
  return reader.bytes(length)
}
