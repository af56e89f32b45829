// The single owner of the bytes of simulated SGX and TDX quotes, versions 3 to 5 (Intel TDX DCAP Quoting Library API, appendix A).
import { concatBytes, hexToBytes, sha256 } from '../../attestation/lib/index.ts'
import type { EcKey } from './keys.ts'

/** Intel SGX REPORT body, 384 bytes. Byte fields have exactly the length that the layout gives. */
export interface SgxReportFields {
  readonly cpuSvn: Uint8Array
  readonly miscSelect: number
  /** FLAGS and XFRM, 8 bytes each. */
  readonly attributes: Uint8Array
  readonly mrEnclave: Uint8Array
  readonly mrSigner: Uint8Array
  readonly isvProdId: number
  readonly isvSvn: number
  readonly reportData: Uint8Array
}

export function sgxReport(fields: SgxReportFields): Uint8Array {
  const out = Buffer.alloc(384)
  out.set(fields.cpuSvn, 0)
  out.writeUInt32LE(fields.miscSelect, 16)
  out.set(fields.attributes, 48)
  out.set(fields.mrEnclave, 64)
  out.set(fields.mrSigner, 128)
  out.writeUInt16LE(fields.isvProdId, 256)
  out.writeUInt16LE(fields.isvSvn, 258)
  out.set(fields.reportData, 320)
  return new Uint8Array(out)
}

/** TD report: 584 bytes for TDX 1.0, 648 for TDX 1.5. */
export interface TdReportFields {
  /** 16 bytes: module SVN, module major version, SEAM loader SVN, zeros. */
  readonly teeTcbSvn: Uint8Array
  readonly mrSeam: Uint8Array
  readonly mrSignerSeam: Uint8Array
  /** 8 bytes. */
  readonly seamAttributes: Uint8Array
  readonly tdAttributes: bigint
  readonly xfam: bigint
  /** 48 bytes each, as are the registers. */
  readonly mrTd: Uint8Array
  readonly mrConfigId: Uint8Array
  readonly mrOwner: Uint8Array
  readonly mrOwnerConfig: Uint8Array
  readonly rtmrs: readonly Uint8Array[]
  /** 64 bytes. */
  readonly reportData: Uint8Array
  /** TDX 1.5: the module that runs now, and the bound service TD. */
  readonly teeTcbSvn2: Uint8Array
  readonly mrServiceTd: Uint8Array
}

export function tdReport(kind: 'td10' | 'td15', fields: TdReportFields): Uint8Array {
  const u64 = (value: bigint): Uint8Array => {
    const out = Buffer.alloc(8)
    out.writeBigUInt64LE(value)
    return out
  }
  const sized = (size: number, bytes: Uint8Array): Uint8Array => {
    if (bytes.length !== size) throw new RangeError(`TD report: ${bytes.length} bytes, not ${size}`)
    return bytes
  }
  return concatBytes(
    sized(16, fields.teeTcbSvn),
    sized(48, fields.mrSeam),
    sized(48, fields.mrSignerSeam),
    sized(8, fields.seamAttributes),
    u64(fields.tdAttributes),
    u64(fields.xfam),
    ...[fields.mrTd, fields.mrConfigId, fields.mrOwner, fields.mrOwnerConfig].map((m) =>
      sized(48, m),
    ),
    sized(4 * 48, concatBytes(...fields.rtmrs)),
    sized(64, fields.reportData),
    ...(kind === 'td15' ? [sized(16, fields.teeTcbSvn2), sized(48, fields.mrServiceTd)] : []),
  )
}

export type QuoteKind = 'sgx' | 'td10' | 'td15'

/** What of a quote is neither body nor certificate. */
export interface QuoteForm {
  readonly version: number
  /** 2 is ECDSA P-256. */
  readonly keyType: number
  readonly teeType: number
  /** 16 bytes. */
  readonly vendorId: Uint8Array
  /** 20 bytes. */
  readonly userData: Uint8Array
  /** Version 5: 1 SGX, 2 TDX 1.0, 3 TDX 1.5. */
  readonly bodyType: number
  /** Type of the certification data outside (version 4 and 5) and inside. */
  readonly outerType: number
  readonly innerType: number
  readonly qeAuthData: Uint8Array
  /** Bytes 32 to 63 of the quoting enclave's report data, zero in genuine quotes. */
  readonly bindingTail: Uint8Array
  /** What follows after the quote. */
  readonly padding: Uint8Array
}

/** The vendor id of Intel's quoting enclaves: part of the format. */
export const QE_VENDOR_ID = hexToBytes('939a7233f79c4ca9940a0db3957f0607')

export function quoteForm(kind: QuoteKind): QuoteForm {
  return {
    version: { sgx: 3, td10: 4, td15: 5 }[kind],
    keyType: 2,
    teeType: kind === 'sgx' ? 0 : 0x81,
    vendorId: QE_VENDOR_ID,
    userData: new Uint8Array(20),
    bodyType: { sgx: 1, td10: 2, td15: 3 }[kind],
    outerType: 6,
    innerType: 5,
    qeAuthData: Uint8Array.from({ length: 32 }, (_, i) => i),
    bindingTail: new Uint8Array(32),
    padding: new Uint8Array(0),
  }
}

export interface QuoteParts {
  readonly form: QuoteForm
  readonly body: Uint8Array
  readonly attestationKey: EcKey
  /** Its report data is set to the binding of the attestation key, unless `keepReportData`. */
  readonly qe: SgxReportFields
  readonly keepReportData: boolean
  readonly pckKey: EcKey
  /** Certification data: the PCK chain as PEM. */
  readonly certificationData: Uint8Array
}

/** The quote of these parts: header ‖ body signed by the attestation key, whose hash the quoting enclave's report carries, signed by the PCK. */
export function quote(parts: QuoteParts): Uint8Array {
  const { form, body, attestationKey: key } = parts
  const header = concatBytes(
    u16(form.version),
    u16(form.keyType),
    u32(form.teeType),
    new Uint8Array(4),
    form.vendorId,
    form.userData,
    ...(form.version >= 5 ? [u16(form.bodyType), u32(body.length)] : []),
  )
  const binding = concatBytes(sha256(concatBytes(key.point, form.qeAuthData)), form.bindingTail)
  const qeReport = sgxReport(parts.keepReportData ? parts.qe : { ...parts.qe, reportData: binding })
  const certified = concatBytes(
    qeReport,
    parts.pckKey.signRaw(qeReport),
    u16(form.qeAuthData.length),
    form.qeAuthData,
    certification(form.innerType, parts.certificationData),
  )
  const auth = concatBytes(
    key.signRaw(concatBytes(header, body)),
    key.point,
    form.version >= 4 ? certification(form.outerType, certified) : certified,
  )
  return concatBytes(header, body, u32(auth.length), auth, form.padding)
}

const certification = (type: number, data: Uint8Array): Uint8Array =>
  concatBytes(u16(type), u32(data.length), data)

function u16(value: number): Uint8Array {
  const out = Buffer.alloc(2)
  out.writeUInt16LE(value)
  return out
}

function u32(value: number): Uint8Array {
  const out = Buffer.alloc(4)
  out.writeUInt32LE(value)
  return out
}
