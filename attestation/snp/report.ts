// The single owner of the ATTESTATION_REPORT layout (AMD SEV-SNP firmware ABI, document 56860, MSG_REPORT_RSP), versions 2 to 5. Parses; judges nothing.
import { AttestationError } from '../error.ts'
import { Reader } from '../lib/reader.ts'
import { isZero } from '../lib/bytes.ts'

/** A report is exactly this long; there is no longer or shorter form. */
export const REPORT_SIZE = 0x4a0

/** The signature covers bytes 0 to 0x29F. These bytes, and not the malleable signature, identify a report. */
export const SIGNED_SIZE = 0x2a0

/** GUEST_POLICY: the guest owner's terms, fixed at launch. Bits 0-7 and 8-15 hold the ABI version, bit 17 is always one. */
export const POLICY_BITS = {
  SMT: 16n,
  MIGRATE_MA: 18n,
  DEBUG: 19n,
  SINGLE_SOCKET: 20n,
  CXL_ALLOW: 21n,
  MEM_AES_256_XTS: 22n,
  RAPL_DIS: 23n,
  CIPHERTEXT_HIDING_DRAM: 24n,
  PAGE_SWAP_DISABLE: 25n,
} as const
export type PolicyBit = keyof typeof POLICY_BITS

/** PLATFORM_INFO: how the host was set up. Bits above these are for the appraisal policy, never a parse error. */
export const PLATFORM_BITS = {
  SMT_EN: 0n,
  TSME_EN: 1n,
  ECC_EN: 2n,
  RAPL_DIS: 3n,
  CIPHERTEXT_HIDING_DRAM_EN: 4n,
  ALIAS_CHECK_COMPLETE: 5n,
  IOMMU_WRITE_SAFE: 6n,
  TIO_EN: 7n,
} as const
export type PlatformBit = keyof typeof PLATFORM_BITS

/** A firmware version, as in 1.55.40. */
export interface FirmwareVersion {
  readonly major: number
  readonly minor: number
  readonly build: number
}

/** Family, model and stepping of the processor, from the signed bytes of report version 3 and later. */
export interface Cpuid {
  readonly family: number
  readonly model: number
  readonly stepping: number
}

/** Every field of a report, unjudged and unauthenticated. The byte fields are views into the input's private copy. */
export interface SnpReport {
  readonly bytes: Uint8Array
  readonly signed: Uint8Array
  readonly version: 2 | 3 | 4 | 5
  readonly guestSvn: number
  readonly policy: bigint
  readonly familyId: Uint8Array
  readonly imageId: Uint8Array
  readonly vmpl: number
  readonly platformInfo: bigint
  readonly authorKeyEnabled: boolean
  readonly maskChipKey: boolean
  readonly signingKey: 'VCEK' | 'VLEK'
  readonly reportData: Uint8Array
  readonly measurement: Uint8Array
  readonly hostData: Uint8Array
  readonly idKeyDigest: Uint8Array
  readonly authorKeyDigest: Uint8Array
  readonly reportId: Uint8Array
  readonly reportIdMa: Uint8Array
  /** null before version 3. */
  readonly cpuid: Cpuid | null
  readonly chipId: Uint8Array
  /** The four TCB_VERSION fields, raw: their layout depends on the product (tcb.ts). */
  readonly rawTcb: {
    readonly current: Uint8Array
    readonly reported: Uint8Array
    readonly committed: Uint8Array
    readonly launch: Uint8Array
  }
  readonly currentFirmware: FirmwareVersion
  readonly committedFirmware: FirmwareVersion
  /** null before version 5. */
  readonly mitigations: { readonly launch: bigint; readonly current: bigint } | null
  /** r and s, 48 bytes each, big-endian, as `ieee-p1363` wants them. Both lie in 1..n-1. */
  readonly signature: Uint8Array
}

/** The order n of P-384 (FIPS 186-5, SP 800-186 §3.2.1.4), big-endian. */
const P384_ORDER = BigInt(
  '0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
)

function isVersion(value: number): value is SnpReport['version'] {
  return value >= 2 && value <= 5
}

function firmware(reader: Reader): FirmwareVersion {
  const build = reader.u8()
  const minor = reader.u8()
  return { major: reader.u8(), minor, build }
}

/** A 72-byte little-endian number of the signature, as 48 bytes big-endian. */
function scalar(reader: Reader, name: string): Uint8Array {
  const value = reader.bytes(48).slice().reverse()
  reader.zeros(24)
  const number = BigInt(`0x${Buffer.from(value).toString('hex')}`)
  if (number === 0n || number >= P384_ORDER) {
    throw new AttestationError('FORMAT_INVALID', `${name} of the signature is not in 1..n-1`, {
      path: `report.signature.${name}`,
    })
  }
  return value
}

/**
 * Reads an attestation report of exactly 1,184 bytes.
 *
 * @throws AttestationError TRUNCATED or TRAILING_DATA (length), UNSUPPORTED_VERSION (not 2 to 5), UNSUPPORTED_ALGORITHM
 *   (not ECDSA P-384 with SHA-384), RESERVED_NOT_ZERO, FORMAT_INVALID.
 */
export function parseReport(input: Uint8Array): SnpReport {
  if (input.length !== REPORT_SIZE) {
    throw new AttestationError(
      input.length < REPORT_SIZE ? 'TRUNCATED' : 'TRAILING_DATA',
      `an SNP report has ${REPORT_SIZE} bytes, this has ${input.length}`,
      { path: 'report' },
    )
  }
  const bytes = input.slice()
  const reader = new Reader(bytes, 'report')
  const version = reader.u32()
  if (!isVersion(version)) {
    throw new AttestationError('UNSUPPORTED_VERSION', `report version ${version} is not known`, {
      path: 'report.VERSION',
    })
  }
  const guestSvn = reader.u32()
  const policy = reader.u64()
  checkPolicy(policy)
  const familyId = reader.bytes(16)
  const imageId = reader.bytes(16)
  const vmpl = reader.u32()
  const algorithm = reader.u32()
  if (algorithm !== 1) {
    throw new AttestationError(
      'UNSUPPORTED_ALGORITHM',
      `SIGNATURE_ALGO is ${algorithm}; only 1, ECDSA P-384 with SHA-384, exists`,
      { path: 'report.SIGNATURE_ALGO' },
    )
  }
  const currentTcb = reader.bytes(8)
  const platformInfo = reader.u64()
  const key = keyInfo(reader.u32())
  reader.zeros(4)
  const reportData = reader.bytes(64)
  const measurement = reader.bytes(48)
  const hostData = reader.bytes(32)
  const idKeyDigest = reader.bytes(48)
  const authorKeyDigest = reader.bytes(48)
  if (!key.authorKeyEnabled && !isZero(authorKeyDigest)) {
    throw new AttestationError(
      'RESERVED_NOT_ZERO',
      'AUTHOR_KEY_DIGEST is set although AUTHOR_KEY_EN is not',
      { path: 'report.AUTHOR_KEY_DIGEST' },
    )
  }
  const reportId = reader.bytes(32)
  const reportIdMa = reader.bytes(32)
  const reportedTcb = reader.bytes(8)
  let cpuid: Cpuid | null = null
  if (version >= 3) {
    cpuid = { family: reader.u8(), model: reader.u8(), stepping: reader.u8() }
    reader.zeros(21)
  } else {
    reader.zeros(24)
  }
  const chipId = reader.bytes(64)
  const committedTcb = reader.bytes(8)
  const currentFirmware = firmware(reader)
  reader.zeros(1)
  const committedFirmware = firmware(reader)
  reader.zeros(1)
  const launchTcb = reader.bytes(8)
  let mitigations: SnpReport['mitigations'] = null
  if (version >= 5) {
    mitigations = { launch: reader.u64(), current: reader.u64() }
    reader.zeros(152)
  } else {
    reader.zeros(168)
  }
  const r = scalar(reader, 'r')
  const s = scalar(reader, 's')
  reader.zeros(368)
  reader.end()
  const signature = new Uint8Array(96)
  signature.set(r)
  signature.set(s, 48)
  return {
    bytes,
    signed: bytes.subarray(0, SIGNED_SIZE),
    version,
    guestSvn,
    policy,
    familyId,
    imageId,
    vmpl,
    platformInfo,
    ...key,
    reportData,
    measurement,
    hostData,
    idKeyDigest,
    authorKeyDigest,
    reportId,
    reportIdMa,
    cpuid,
    chipId,
    rawTcb: {
      current: currentTcb,
      reported: reportedTcb,
      committed: committedTcb,
      launch: launchTcb,
    },
    currentFirmware,
    committedFirmware,
    mitigations,
    signature,
  }
}

function checkPolicy(policy: bigint): void {
  if ((policy >> 17n) % 2n !== 1n) {
    throw new AttestationError('FORMAT_INVALID', 'bit 17 of POLICY must be one', {
      path: 'report.POLICY',
    })
  }
  if (policy >> 26n !== 0n) {
    throw new AttestationError('RESERVED_NOT_ZERO', 'bits 26 to 63 of POLICY must be zero', {
      path: 'report.POLICY',
    })
  }
}

/** KEY_INFO: bit 0 AUTHOR_KEY_EN, bit 1 MASK_CHIP_KEY, bits 2-4 SIGNING_KEY, the rest must be zero. */
function keyInfo(
  value: number,
): Pick<SnpReport, 'authorKeyEnabled' | 'maskChipKey' | 'signingKey'> {
  if (value >>> 5 !== 0) {
    throw new AttestationError('RESERVED_NOT_ZERO', 'bits 5 to 31 of KEY_INFO must be zero', {
      path: 'report.KEY_INFO',
    })
  }
  const signingKey = value >>> 2
  if (signingKey > 1) {
    throw new AttestationError(
      'FORMAT_INVALID',
      signingKey === 7
        ? 'SIGNING_KEY is 7: the host asked for a report without a signature'
        : `SIGNING_KEY ${signingKey} is reserved`,
      { path: 'report.KEY_INFO' },
    )
  }
  return {
    authorKeyEnabled: (value & 1) !== 0,
    maskChipKey: (value & 2) !== 0,
    signingKey: signingKey === 0 ? 'VCEK' : 'VLEK',
  }
}
