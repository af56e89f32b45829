// The single owner of the bytes of simulated SNP reports: ATTESTATION_REPORT versions 2 to 5 (SEV-SNP Firmware ABI, 56860, table "ATTESTATION_REPORT").
import { concatBytes, hexToBytes } from '../../attestation/lib/index.ts'
import type { EcKey } from './keys.ts'

export type SnpProduct = 'Milan' | 'Genoa' | 'Turin'

/** Security patch levels by name. `fmc` exists on Turin alone. */
export interface SnpTcb {
  readonly fmc?: number
  readonly bootLoader: number
  readonly tee: number
  readonly snp: number
  readonly microcode: number
}

/** TCB_VERSION, 8 bytes: byte 0 is the boot loader before Turin and the FMC since. */
export function tcbBytes(product: SnpProduct, tcb: SnpTcb): Uint8Array {
  const { fmc = 0, bootLoader, tee, snp, microcode } = tcb
  return product === 'Turin'
    ? Uint8Array.of(fmc, bootLoader, tee, snp, 0, 0, 0, microcode)
    : Uint8Array.of(bootLoader, tee, 0, 0, 0, 0, snp, microcode)
}

/** A firmware version, for example 1.55.40. */
export interface SnpFirmware {
  readonly major: number
  readonly minor: number
  readonly build: number
}

/** Every field of the report. Byte fields have exactly the length that the specification gives. */
export interface SnpReportFields {
  readonly version: number
  readonly guestSvn: number
  readonly policy: bigint
  /** 16 bytes each. */
  readonly familyId: Uint8Array
  readonly imageId: Uint8Array
  readonly vmpl: number
  /** 1 is ECDSA P-384 with SHA-384. */
  readonly signatureAlgorithm: number
  readonly platformInfo: bigint
  /** KEY_INFO whole: bit 0 AUTHOR_KEY_EN, bit 1 MASK_CHIP_KEY, bits 4:2 SIGNING_KEY (0 VCEK, 1 VLEK, 7 none). */
  readonly keyInfo: number
  /** 64 bytes. */
  readonly reportData: Uint8Array
  /** 48 bytes. */
  readonly measurement: Uint8Array
  /** 32 bytes. */
  readonly hostData: Uint8Array
  /** 48 bytes each. */
  readonly idKeyDigest: Uint8Array
  readonly authorKeyDigest: Uint8Array
  /** 32 bytes each. */
  readonly reportId: Uint8Array
  readonly reportIdMa: Uint8Array
  /** Version 3 and later. */
  readonly cpuid: { readonly family: number; readonly model: number; readonly stepping: number }
  /** 64 bytes; on Turin the first 8 carry the id. */
  readonly chipId: Uint8Array
  readonly currentTcb: SnpTcb
  readonly reportedTcb: SnpTcb
  readonly committedTcb: SnpTcb
  readonly launchTcb: SnpTcb
  readonly currentFirmware: SnpFirmware
  readonly committedFirmware: SnpFirmware
  /** Version 5. */
  readonly launchMitigations: bigint
  readonly currentMitigations: bigint
  /** Last word over the 672 signed bytes, for what no field reaches (reserved bytes). */
  readonly patch?: (signed: Uint8Array) => void
}

export const REPORT_SIZE = 0x4a0
const SIGNED_SIZE = 0x2a0

/** The report of these fields, 1184 bytes, signed by `key` (P-384). */
export function snpReport(product: SnpProduct, fields: SnpReportFields, key: EcKey): Uint8Array {
  const out = Buffer.alloc(REPORT_SIZE)
  const put = (at: number, size: number, bytes: Uint8Array): void => {
    if (bytes.length !== size)
      throw new RangeError(`report offset ${at}: ${bytes.length} bytes, not ${size}`)
    out.set(bytes, at)
  }
  const firmware = (at: number, { build, minor, major }: SnpFirmware): void =>
    put(at, 3, Uint8Array.of(build, minor, major))

  out.writeUInt32LE(fields.version, 0x000)
  out.writeUInt32LE(fields.guestSvn, 0x004)
  out.writeBigUInt64LE(fields.policy, 0x008)
  put(0x010, 16, fields.familyId)
  put(0x020, 16, fields.imageId)
  out.writeUInt32LE(fields.vmpl, 0x030)
  out.writeUInt32LE(fields.signatureAlgorithm, 0x034)
  put(0x038, 8, tcbBytes(product, fields.currentTcb))
  out.writeBigUInt64LE(fields.platformInfo, 0x040)
  out.writeUInt32LE(fields.keyInfo, 0x048)
  put(0x050, 64, fields.reportData)
  put(0x090, 48, fields.measurement)
  put(0x0c0, 32, fields.hostData)
  put(0x0e0, 48, fields.idKeyDigest)
  put(0x110, 48, fields.authorKeyDigest)
  put(0x140, 32, fields.reportId)
  put(0x160, 32, fields.reportIdMa)
  put(0x180, 8, tcbBytes(product, fields.reportedTcb))
  if (fields.version >= 3) {
    const { family, model, stepping } = fields.cpuid
    put(0x188, 3, Uint8Array.of(family, model, stepping))
  }
  put(0x1a0, 64, fields.chipId)
  put(0x1e0, 8, tcbBytes(product, fields.committedTcb))
  firmware(0x1e8, fields.currentFirmware)
  firmware(0x1ec, fields.committedFirmware)
  put(0x1f0, 8, tcbBytes(product, fields.launchTcb))
  if (fields.version >= 5) {
    out.writeBigUInt64LE(fields.launchMitigations, 0x1f8)
    out.writeBigUInt64LE(fields.currentMitigations, 0x200)
  }
  fields.patch?.(out.subarray(0, SIGNED_SIZE))

  const signature = key.signRaw(out.subarray(0, SIGNED_SIZE))
  // R and S: 72 bytes each, little-endian, of which 48 are used.
  out.set(signature.slice(0, 48).reverse(), SIGNED_SIZE)
  out.set(signature.slice(48).reverse(), SIGNED_SIZE + 72)
  return new Uint8Array(out)
}

/** MSG_REPORT_RSP as the ioctl hands it over: status, size, 24 reserved bytes, the report; 4,000 bytes in all. */
export function ioctlResponse(report: Uint8Array): Uint8Array {
  const out = Buffer.alloc(4000)
  out.writeUInt32LE(report.length, 4)
  out.set(report, 0x20)
  return new Uint8Array(out)
}

/** GUIDs of the certificate table (GHCB specification 56421, "SNP Extended Guest Request"). */
export const TABLE_GUIDS = {
  vcek: '63da758d-e664-4564-adc5-f4b93be8accd',
  vlek: 'a8074bc2-a25a-483e-aae6-39c045a0b8a1',
  ask: '4ab7b379-bbac-4fe4-a02f-05aef327c782',
  ark: 'c0b406a4-a803-4952-9743-3fb6014cd0ae',
  crl: '92f81bc3-5811-4d3d-97ff-d19f88dc67ea',
} as const

/** A certificate table: entries of {GUID, offset, length}, an all-zero entry, then the blobs. */
export function certificateTable(
  entries: readonly (readonly [keyof typeof TABLE_GUIDS, Uint8Array])[],
): Uint8Array {
  const header = Buffer.alloc(24 * (entries.length + 1))
  let offset = header.length
  entries.forEach(([kind, blob], i) => {
    header.set(hexToBytes(TABLE_GUIDS[kind].replaceAll('-', '')), i * 24)
    header.writeUInt32LE(offset, i * 24 + 16)
    header.writeUInt32LE(blob.length, i * 24 + 20)
    offset += blob.length
  })
  return concatBytes(header, ...entries.map(([, blob]) => blob))
}
