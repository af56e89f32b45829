// The single owner of the SNP appraisal policy: its options, their strict defaults, its strict decoder, and which of its choices are waivers.
import { AttestationError } from '../error.ts'
import * as decode from '../lib/decode.ts'
import type { Decoder } from '../lib/decode.ts'
import type { JsonValue } from '../lib/json.ts'
import { PLATFORM_BITS, POLICY_BITS } from './report.ts'
import type { FirmwareVersion, PlatformBit, PolicyBit } from './report.ts'
import { PRODUCT_LINES, TCB_ROWS } from './product.ts'
import type { ProductLine, TcbRow } from './product.ts'
import { TCB_COMPONENTS, below, highestLevel } from './tcb.ts'
import type { Tcb, TcbComponent } from './tcb.ts'

/** What a flag may be: `required` is one, `refused` is zero, `allowed` is either. */
export type BitRule = 'required' | 'allowed' | 'refused'
export type TcbTable = Readonly<Record<TcbRow, Partial<Tcb>>>
export type FirmwareTable = Readonly<Record<ProductLine, FirmwareVersion>>

/** A list of reference values: one of them must match. `undefined` means that nobody gave any, and the check is skipped. */
type OneOf<T> = readonly T[] | undefined

/**
 * What the owner accepts. Every option has a value: what a policy file leaves out is the strict default (`STRICT_SNP_POLICY`), and reference values that
 * nobody gave are undefined.
 */
export interface SnpPolicy {
  readonly products: {
    readonly allow: readonly ProductLine[]
    /** Wins over `allow`. A denied product is accepted only from a chip that `chipIds` lists. */
    readonly deny: readonly ProductLine[]
  }
  readonly policyBits: Readonly<Record<PolicyBit, BitRule>>
  /** The least firmware ABI (major, minor) that the guest must have demanded of its host. */
  readonly minimumAbi: { readonly major: number; readonly minor: number }
  readonly platformInfo: Readonly<Record<PlatformBit, BitRule>>
  /** Bits of PLATFORM_INFO that this verifier has no name for and that may be set all the same. */
  readonly unknownPlatformInfo: bigint
  readonly minimumTcb: {
    readonly reported: TcbTable
    readonly committed: TcbTable
    readonly launch: TcbTable
  }
  /** For the running and the committed firmware both. */
  readonly minimumFirmware: FirmwareTable
  /** True accepts a running firmware that is ahead of the committed one. */
  readonly provisionalFirmware: boolean
  /** Bits that the mitigation vectors (report version 5) must have. */
  readonly mitigations: { readonly launch: bigint; readonly current: bigint }
  readonly vmpl: readonly number[]
  /** True accepts a report that names no chip (CHIP_ID masked, or a VLEK whose cloud provider `cspIds` does not pin). */
  readonly anonymousChip: boolean
  /** True refuses if no revocation list was given. */
  readonly requireCrl: boolean
  readonly requireIdBlock: boolean
  readonly requireAuthorKey: boolean
  readonly minimumGuestSvn: number | undefined
  readonly measurements: OneOf<Uint8Array>
  readonly hostData: OneOf<Uint8Array>
  readonly familyIds: OneOf<Uint8Array>
  readonly imageIds: OneOf<Uint8Array>
  readonly reportIds: OneOf<Uint8Array>
  readonly reportIdsMa: OneOf<Uint8Array>
  readonly idKeyDigests: OneOf<Uint8Array>
  readonly authorKeyDigests: OneOf<Uint8Array>
  readonly chipIds: OneOf<Uint8Array>
  readonly cspIds: OneOf<string>
  /** The whole REPORT_DATA, 64 bytes. */
  readonly reportData: Uint8Array | undefined
}

/** When the figures below were taken: the lowest levels seen on genuine machines patched against BadRAM and EntrySign. */
export const MINIMUMS_DATE = '2026-11-20'

/**
 * Default minimum TCB. Milan and Genoa: machines patched after AMD-SB-3015 and AMD-SB-3019. Microcode of Bergamo and Siena counts apart.
 * No lower bound is known for Turin's bootloader and TEE.
 */
const MINIMUM_TCB: TcbTable = {
  Milan: { bootloader: 4, snp: 24, microcode: 219 },
  Genoa: { bootloader: 10, snp: 23, microcode: 84 },
  'Genoa-dense': { bootloader: 10, snp: 23, microcode: 27 },
  Turin: { fmc: 1, snp: 4, microcode: 81 },
}

/** Default minimum firmware, from the same machines. No figure was recorded for Turin: it gets the series of the other two. */
const MINIMUM_FIRMWARE: FirmwareTable = {
  Milan: { major: 1, minor: 55, build: 29 },
  Genoa: { major: 1, minor: 55, build: 40 },
  Turin: { major: 1, minor: 55, build: 0 },
}

/** What holds where the owner says nothing: SMT is allowed; no debugging, migration, CXL, provisional firmware or VMPL but 0; memory aliases checked. */
export const STRICT_SNP_POLICY: SnpPolicy = {
  products: { allow: PRODUCT_LINES, deny: [] },
  policyBits: {
    SMT: 'allowed',
    MIGRATE_MA: 'refused',
    DEBUG: 'refused',
    SINGLE_SOCKET: 'allowed',
    CXL_ALLOW: 'refused',
    MEM_AES_256_XTS: 'allowed',
    RAPL_DIS: 'allowed',
    CIPHERTEXT_HIDING_DRAM: 'allowed',
    PAGE_SWAP_DISABLE: 'allowed',
  },
  minimumAbi: { major: 0, minor: 0 },
  platformInfo: {
    SMT_EN: 'allowed',
    TSME_EN: 'allowed',
    ECC_EN: 'allowed',
    RAPL_DIS: 'allowed',
    CIPHERTEXT_HIDING_DRAM_EN: 'allowed',
    ALIAS_CHECK_COMPLETE: 'required',
    IOMMU_WRITE_SAFE: 'allowed',
    TIO_EN: 'refused',
  },
  unknownPlatformInfo: 0n,
  minimumTcb: { reported: MINIMUM_TCB, committed: MINIMUM_TCB, launch: MINIMUM_TCB },
  minimumFirmware: MINIMUM_FIRMWARE,
  provisionalFirmware: false,
  mitigations: { launch: 0n, current: 0n },
  vmpl: [0],
  anonymousChip: false,
  requireCrl: false,
  requireIdBlock: false,
  requireAuthorKey: false,
  minimumGuestSvn: undefined,
  measurements: undefined,
  hostData: undefined,
  familyIds: undefined,
  imageIds: undefined,
  reportIds: undefined,
  reportIdsMa: undefined,
  idKeyDigests: undefined,
  authorKeyDigests: undefined,
  chipIds: undefined,
  cspIds: undefined,
  reportData: undefined,
}

/** An option that can be looser than its strict default. */
export type WaivableOption =
  | 'policyBits'
  | 'platformInfo'
  | 'unknownPlatformInfo'
  | 'minimumTcb'
  | 'minimumFirmware'
  | 'provisionalFirmware'
  | 'vmpl'
  | 'anonymousChip'

const waiversOf = new WeakMap<SnpPolicy, ReadonlySet<WaivableOption>>()

/** The options by which this policy accepts what the strict default refuses. */
export function waivers(policy: SnpPolicy): ReadonlySet<WaivableOption> {
  const known = waiversOf.get(policy)
  if (known !== undefined) return known
  const found = new Set<WaivableOption>()
  waiversOf.set(policy, found)
  const strict = STRICT_SNP_POLICY
  if (looser(policy.policyBits, strict.policyBits)) found.add('policyBits')
  if (looser(policy.platformInfo, strict.platformInfo)) found.add('platformInfo')
  if (policy.unknownPlatformInfo !== 0n) found.add('unknownPlatformInfo')
  for (const field of ['reported', 'committed', 'launch'] as const) {
    for (const row of TCB_ROWS) {
      const floor = {
        bootloader: 0,
        tee: 0,
        snp: 0,
        microcode: 0,
        ...policy.minimumTcb[field][row],
      }
      if (below(floor, strict.minimumTcb[field][row]).length > 0) found.add('minimumTcb')
    }
  }
  for (const product of PRODUCT_LINES) {
    if (compareFirmware(policy.minimumFirmware[product], strict.minimumFirmware[product]) < 0) {
      found.add('minimumFirmware')
    }
  }
  if (policy.provisionalFirmware) found.add('provisionalFirmware')
  if (policy.vmpl.some((level) => level !== 0)) found.add('vmpl')
  if (policy.anonymousChip) found.add('anonymousChip')
  return found
}

function looser<K extends string>(
  rules: Readonly<Record<K, BitRule>>,
  strict: Readonly<Record<K, BitRule>>,
): boolean {
  return (Object.keys(strict) as K[]).some(
    (bit) => strict[bit] !== 'allowed' && rules[bit] !== strict[bit],
  )
}

/** Negative if `a` is older than `b`. */
export function compareFirmware(a: FirmwareVersion, b: FirmwareVersion): number {
  return a.major - b.major || a.minor - b.minor || a.build - b.build
}

const bitRule = decode.literal('required', 'allowed', 'refused')

function bits<K extends string>(
  names: Readonly<Record<K, unknown>>,
  strict: Readonly<Record<K, BitRule>>,
): Decoder<Readonly<Record<K, BitRule>>> {
  const shape = Object.fromEntries(
    Object.keys(names).map((name) => [name, decode.optional(bitRule)]),
  )
  const decoder = decode.object(shape)
  return (value, path) => ({ ...strict, ...(decoder(value, path) as Partial<Record<K, BitRule>>) })
}

function policyBits(value: JsonValue, path: string): SnpPolicy['policyBits'] {
  const rules = bits(POLICY_BITS, STRICT_SNP_POLICY.policyBits)(value, path)
  if (rules.DEBUG !== 'refused') {
    throw new AttestationError(
      'POLICY_INVALID',
      `${path}.DEBUG: a debugged guest is never accepted`,
      {
        path: `${path}.DEBUG`,
      },
    )
  }
  return rules
}

/** `any`, or levels by component. A component that is left out keeps the default. */
function tcb(row: TcbRow): Decoder<Partial<Tcb>> {
  const named = TCB_COMPONENTS.filter((component) => component !== 'fmc' || row === 'Turin')
  const shape = Object.fromEntries(
    named.map((component: TcbComponent) => [
      component,
      decode.optional(decode.integer({ min: 0, max: highestLevel(component) })),
    ]),
  )
  const decoder = decode.object(shape)
  return (value, path) =>
    value === 'any' ? {} : { ...MINIMUM_TCB[row], ...(decoder(value, path) as Partial<Tcb>) }
}

/** `any`, or a row per product. A row that is left out keeps the default. */
function tcbTable(value: JsonValue, path: string): TcbTable {
  if (value === 'any') return { Milan: {}, Genoa: {}, 'Genoa-dense': {}, Turin: {} }
  const shape = Object.fromEntries(TCB_ROWS.map((row) => [row, decode.optional(tcb(row))]))
  return { ...MINIMUM_TCB, ...(decode.object(shape)(value, path) as Partial<TcbTable>) }
}

/** Each of the three TCBs is named: one `any` for all would hide which is meant. */
const minimumTcb: Decoder<SnpPolicy['minimumTcb']> = (value, path) => {
  const decoded = decode.object({
    reported: decode.optional(tcbTable),
    committed: decode.optional(tcbTable),
    launch: decode.optional(tcbTable),
  })(value, path)
  return { ...STRICT_SNP_POLICY.minimumTcb, ...decoded }
}

const version = decode.string({ max: 11, pattern: /^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$/ })

/** `any`, or a version such as `1.55.40` per product. */
function firmwareTable(value: JsonValue, path: string): FirmwareTable {
  const none: FirmwareVersion = { major: 0, minor: 0, build: 0 }
  if (value === 'any') return { Milan: none, Genoa: none, Turin: none }
  const row: Decoder<FirmwareVersion> = (text, where) => {
    if (text === 'any') return none
    const [major = 0, minor = 0, build = 0] = version(text, where).split('.').map(Number)
    return { major, minor, build }
  }
  const decoded = decode.object({
    Milan: decode.optional(row),
    Genoa: decode.optional(row),
    Turin: decode.optional(row),
  })(value, path)
  return { ...MINIMUM_FIRMWARE, ...decoded }
}

const abiText = decode.string({ max: 7, pattern: /^[0-9]{1,3}\.[0-9]{1,3}$/ })
function abi(value: JsonValue, path: string): SnpPolicy['minimumAbi'] {
  const [major = 0, minor = 0] = abiText(value, path).split('.').map(Number)
  return { major, minor }
}

/** A 64-bit mask as hex, `0x40`. */
const maskText = decode.string({ max: 18, pattern: /^0x[0-9a-fA-F]{1,16}$/ })
const mask: Decoder<bigint> = (value, path) => BigInt(maskText(value, path))

const MAX_VALUES = 4096
const values = (length: number): Decoder<readonly Uint8Array[]> =>
  decode.array(decode.hex({ length }), { min: 1, max: MAX_VALUES })
const products = decode.array(decode.literal(...PRODUCT_LINES), { max: PRODUCT_LINES.length })
const flag = decode.boolean()

/** A chip identifier: 64 bytes, or 8 for Turin, whose CHIP_ID ends in 56 zero bytes. */
const chipId: Decoder<Uint8Array> = (value, path) => {
  const short = typeof value === 'string' && value.length === 16
  const bytes = decode.hex({ length: short ? 8 : 64 })(value, path)
  const full = new Uint8Array(64)
  full.set(bytes)
  return full
}

const shape = decode.object({
  products: decode.optional(
    decode.object({ allow: decode.optional(products), deny: decode.optional(products) }),
  ),
  policyBits: decode.optional(policyBits),
  minimumAbi: decode.optional(abi),
  platformInfo: decode.optional(bits(PLATFORM_BITS, STRICT_SNP_POLICY.platformInfo)),
  unknownPlatformInfo: decode.optional(mask),
  minimumTcb: decode.optional(minimumTcb),
  minimumFirmware: decode.optional(firmwareTable),
  provisionalFirmware: decode.optional(flag),
  mitigations: decode.optional(
    decode.object({ launch: decode.optional(mask), current: decode.optional(mask) }),
  ),
  vmpl: decode.optional(decode.array(decode.integer({ min: 0, max: 3 }), { min: 1, max: 4 })),
  anonymousChip: decode.optional(flag),
  requireCrl: decode.optional(flag),
  requireIdBlock: decode.optional(flag),
  requireAuthorKey: decode.optional(flag),
  minimumGuestSvn: decode.optional(decode.integer({ min: 0, max: 0xffffffff })),
  measurements: decode.optional(values(48)),
  hostData: decode.optional(values(32)),
  familyIds: decode.optional(values(16)),
  imageIds: decode.optional(values(16)),
  reportIds: decode.optional(values(32)),
  reportIdsMa: decode.optional(values(32)),
  idKeyDigests: decode.optional(values(48)),
  authorKeyDigests: decode.optional(values(48)),
  chipIds: decode.optional(decode.array(chipId, { min: 1, max: MAX_VALUES })),
  cspIds: decode.optional(
    decode.array(decode.string({ min: 1, max: 256 }), { min: 1, max: MAX_VALUES }),
  ),
  reportData: decode.optional(decode.hex({ length: 64 })),
})

/**
 * Decodes the owner's SNP policy from a plain value, as JSON or YAML gives it. Unknown members are refused; what is left out is the strict default.
 *
 * @throws AttestationError POLICY_INVALID, with the JSON path of what is wrong
 */
export function decodeSnpPolicy(value: unknown, path = '$'): SnpPolicy {
  try {
    const { products: lists, mitigations, ...rest } = shape(value as JsonValue, path)
    return {
      ...STRICT_SNP_POLICY,
      ...rest,
      products: { ...STRICT_SNP_POLICY.products, ...lists },
      mitigations: { ...STRICT_SNP_POLICY.mitigations, ...mitigations },
    }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new AttestationError('POLICY_INVALID', error.message, {
      ...(error.path === undefined ? {} : { path: error.path }),
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    })
  }
}
