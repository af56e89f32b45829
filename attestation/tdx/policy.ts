// The single owner of the TDX and SGX appraisal policies: their options, their strict defaults and their strict decoders.
import { AttestationError } from '../error.ts'
import { requiredEvent } from '../eventlog/index.ts'
import type { RequiredEvent } from '../eventlog/index.ts'
import { hexToBytes } from '../lib/bytes.ts'
import * as decode from '../lib/decode.ts'
import type { Decoder } from '../lib/decode.ts'
import type { JsonValue } from '../lib/json.ts'
import { TCB_STATUSES } from './tcb.ts'
import type { TcbStatus } from './tcb.ts'

/** What a flag may be: `required` is one, `refused` is zero, `allowed` is either. */
export type BitRule = 'required' | 'allowed' | 'refused'

/** A list of reference values: one of them must match. `undefined` means that nobody gave any, and the check is skipped. */
type OneOf<T> = readonly T[] | undefined

/** TDATTRIBUTES by bit (Intel TDX Module Base Architecture Specification, TD attributes). */
export const TD_ATTRIBUTES = {
  DEBUG: 0,
  HGS_PLUS_PROF: 4,
  PERF_PROF: 5,
  PMT_PROF: 6,
  ICSSD: 16,
  LASS: 27,
  SEPT_VE_DISABLE: 28,
  MIGRATABLE: 29,
  PKS: 30,
  KL: 31,
  TPA: 62,
  PERFMON: 63,
} as const
export type TdAttribute = keyof typeof TD_ATTRIBUTES

/** ATTRIBUTES.FLAGS of an enclave by bit (Intel SDM volume 3D, 35.7.1). */
export const SGX_FLAGS = {
  INIT: 0,
  DEBUG: 1,
  MODE64BIT: 2,
  PROVISION_KEY: 4,
  EINITTOKEN_KEY: 5,
  CET: 6,
  KSS: 7,
  AEX_NOTIFY: 10,
} as const
export type SgxFlag = keyof typeof SGX_FLAGS

/** One advisory that the owner accepts for a while. All four parts are needed. */
export interface AdvisoryException {
  /** For example `INTEL-SA-00615`. */
  readonly advisory: string
  readonly owner: string
  readonly reason: string
  /** The exception ends at this moment. */
  readonly expires: Date
}

/** What TDX and SGX share: the platform and its quoting enclave. */
export interface IntelPolicy {
  /** Revoked and unknown statuses can't be accepted. */
  readonly tcbStatuses: readonly TcbStatus[]
  /** A status other than UpToDate also needs an exception for each advisory that applies. */
  readonly advisoryExceptions: readonly AdvisoryException[]
  readonly minimumTcbDate: Date | undefined
  /** Guards against collateral that was rolled back. The two numbers differ in genuine collateral, so each has its own minimum. */
  readonly minimumEvaluationNumbers: {
    readonly tcbInfo: number | undefined
    readonly qeIdentity: number | undefined
  }
  /** 6 bytes each. */
  readonly fmspcs: OneOf<Uint8Array>
  /** 16 bytes each. */
  readonly ppids: OneOf<Uint8Array>
  /** 16 bytes each. */
  readonly qeVendorIds: readonly Uint8Array[]
  /** On the quoting enclave's own report, not on the header's copy. */
  readonly minimumQeSvn: number | undefined
  /** On the PCK certificate, not on the header's copy. */
  readonly minimumPceSvn: number | undefined
  /** The whole REPORTDATA, 64 bytes. */
  readonly reportData: Uint8Array | undefined
}

/**
 * What the owner accepts of a TD. What a policy file leaves out is the strict default (`STRICT_TDX_POLICY`), and reference values that nobody gave
 * are undefined. The options are those of go-tdx-guest's policy, and those it lacks.
 */
export interface TdxPolicy extends IntelPolicy {
  readonly tdAttributes: Readonly<Record<TdAttribute, BitRule>>
  /** Bits of TDATTRIBUTES that this verifier has no name for and that may be set all the same. */
  readonly unknownTdAttributes: bigint
  readonly xfam: OneOf<bigint>
  readonly mrTd: OneOf<Uint8Array>
  readonly mrSeam: OneOf<Uint8Array>
  readonly mrConfigId: OneOf<Uint8Array>
  readonly mrOwner: OneOf<Uint8Array>
  readonly mrOwnerConfig: OneOf<Uint8Array>
  readonly mrServiceTd: OneOf<Uint8Array>
  readonly rtmr0: OneOf<Uint8Array>
  readonly rtmr1: OneOf<Uint8Array>
  readonly rtmr2: OneOf<Uint8Array>
  readonly rtmr3: OneOf<Uint8Array>
  /** Events that must have been measured, every one of them. They need an event log that replays. */
  readonly requiredEvents: readonly RequiredEvent[] | undefined
  /** 16 components, each of which must be reached. */
  readonly minimumTeeTcbSvn: Uint8Array | undefined
}

/** What the owner accepts of an SGX enclave. */
export interface SgxPolicy extends IntelPolicy {
  readonly flags: Readonly<Record<SgxFlag, BitRule>>
  readonly xfrm: OneOf<bigint>
  readonly miscSelect: OneOf<number>
  readonly mrEnclave: OneOf<Uint8Array>
  readonly mrSigner: OneOf<Uint8Array>
  readonly isvProdId: OneOf<number>
  readonly minimumIsvSvn: number | undefined
  readonly configId: OneOf<Uint8Array>
  readonly minimumConfigSvn: number | undefined
  readonly isvFamilyId: OneOf<Uint8Array>
  readonly isvExtProdId: OneOf<Uint8Array>
}

/** Intel's own quoting enclaves. */
const INTEL_QE_VENDOR = hexToBytes('939a7233f79c4ca9940a0db3957f0607')

const STRICT_INTEL_POLICY: IntelPolicy = {
  tcbStatuses: ['UpToDate'],
  advisoryExceptions: [],
  minimumTcbDate: undefined,
  minimumEvaluationNumbers: { tcbInfo: undefined, qeIdentity: undefined },
  fmspcs: undefined,
  ppids: undefined,
  qeVendorIds: [INTEL_QE_VENDOR],
  minimumQeSvn: undefined,
  minimumPceSvn: undefined,
  reportData: undefined,
}

/** What holds where the owner says nothing: TDATTRIBUTES exactly SEPT_VE_DISABLE, TCB UpToDate, Intel's quoting enclave. */
export const STRICT_TDX_POLICY: TdxPolicy = {
  ...STRICT_INTEL_POLICY,
  tdAttributes: {
    DEBUG: 'refused',
    HGS_PLUS_PROF: 'refused',
    PERF_PROF: 'refused',
    PMT_PROF: 'refused',
    ICSSD: 'refused',
    LASS: 'refused',
    SEPT_VE_DISABLE: 'required',
    MIGRATABLE: 'refused',
    PKS: 'refused',
    KL: 'refused',
    TPA: 'refused',
    PERFMON: 'refused',
  },
  unknownTdAttributes: 0n,
  xfam: undefined,
  mrTd: undefined,
  mrSeam: undefined,
  mrConfigId: undefined,
  mrOwner: undefined,
  mrOwnerConfig: undefined,
  mrServiceTd: undefined,
  rtmr0: undefined,
  rtmr1: undefined,
  rtmr2: undefined,
  rtmr3: undefined,
  requiredEvents: undefined,
  minimumTeeTcbSvn: undefined,
}

/** What holds where the owner says nothing: an initialised 64-bit enclave that can't be debugged and holds no provisioning or launch key. */
export const STRICT_SGX_POLICY: SgxPolicy = {
  ...STRICT_INTEL_POLICY,
  flags: {
    INIT: 'required',
    DEBUG: 'refused',
    MODE64BIT: 'required',
    PROVISION_KEY: 'refused',
    EINITTOKEN_KEY: 'refused',
    CET: 'allowed',
    KSS: 'allowed',
    AEX_NOTIFY: 'allowed',
  },
  xfrm: undefined,
  miscSelect: undefined,
  mrEnclave: undefined,
  mrSigner: undefined,
  isvProdId: undefined,
  minimumIsvSvn: undefined,
  configId: undefined,
  minimumConfigSvn: undefined,
  isvFamilyId: undefined,
  isvExtProdId: undefined,
}

const MAX_VALUES = 4096
const u16 = decode.integer({ min: 0, max: 65_535 })
const u32 = decode.integer({ min: 0, max: 0xffff_ffff })
const bitRule = decode.literal('required', 'allowed', 'refused')
const words = decode.string({ min: 1, max: 512, pattern: /\S/ })
const values = (length: number): Decoder<readonly Uint8Array[]> =>
  decode.array(decode.hex({ length }), { min: 1, max: MAX_VALUES })

/** A 64-bit number as hex, `0x600e7`. */
const maskText = decode.string({ max: 18, pattern: /^0x[0-9a-fA-F]{1,16}$/ })
const mask: Decoder<bigint> = (value, path) => BigInt(maskText(value, path))
const masks = decode.array(mask, { min: 1, max: MAX_VALUES })

function bits<K extends string>(
  names: Readonly<Record<K, unknown>>,
  strict: Readonly<Record<K, BitRule>>,
): Decoder<Readonly<Record<K, BitRule>>> {
  const rules = decode.object(
    Object.fromEntries(Object.keys(names).map((name) => [name, decode.optional(bitRule)])),
  )
  return (value, path) => {
    const given = rules(value, path) as Partial<Record<K, BitRule>> & { readonly DEBUG?: BitRule }
    if (given.DEBUG !== undefined && given.DEBUG !== 'refused')
      throw new AttestationError('POLICY_INVALID', `${path}.DEBUG: debugging is never accepted`, {
        path: `${path}.DEBUG`,
      })
    return { ...strict, ...given }
  }
}

const acceptable = TCB_STATUSES.filter((status) => status !== 'Revoked')

const intelShape = {
  tcbStatuses: decode.optional(decode.array(decode.literal(...acceptable), { min: 1, max: 16 })),
  advisoryExceptions: decode.optional(
    decode.array(
      decode.object({
        advisory: decode.string({ min: 1, max: 64, pattern: /^[A-Za-z0-9._-]+$/ }),
        owner: words,
        reason: words,
        expires: decode.time(),
      }),
      { max: MAX_VALUES },
    ),
  ),
  minimumTcbDate: decode.optional(decode.time()),
  minimumEvaluationNumbers: decode.optional(
    decode.object({ tcbInfo: decode.optional(u32), qeIdentity: decode.optional(u32) }),
  ),
  fmspcs: decode.optional(values(6)),
  ppids: decode.optional(values(16)),
  qeVendorIds: decode.optional(values(16)),
  minimumQeSvn: decode.optional(u16),
  minimumPceSvn: decode.optional(u16),
  reportData: decode.optional(decode.hex({ length: 64 })),
}

const tdxShape = decode.object({
  ...intelShape,
  tdAttributes: decode.optional(bits(TD_ATTRIBUTES, STRICT_TDX_POLICY.tdAttributes)),
  unknownTdAttributes: decode.optional(mask),
  xfam: decode.optional(masks),
  mrTd: decode.optional(values(48)),
  mrSeam: decode.optional(values(48)),
  mrConfigId: decode.optional(values(48)),
  mrOwner: decode.optional(values(48)),
  mrOwnerConfig: decode.optional(values(48)),
  mrServiceTd: decode.optional(values(48)),
  rtmr0: decode.optional(values(48)),
  rtmr1: decode.optional(values(48)),
  rtmr2: decode.optional(values(48)),
  rtmr3: decode.optional(values(48)),
  requiredEvents: decode.optional(decode.array(requiredEvent, { min: 1, max: 256 })),
  minimumTeeTcbSvn: decode.optional(decode.hex({ length: 16 })),
})

const sgxShape = decode.object({
  ...intelShape,
  flags: decode.optional(bits(SGX_FLAGS, STRICT_SGX_POLICY.flags)),
  xfrm: decode.optional(masks),
  miscSelect: decode.optional(decode.array(u32, { min: 1, max: MAX_VALUES })),
  mrEnclave: decode.optional(values(32)),
  mrSigner: decode.optional(values(32)),
  isvProdId: decode.optional(decode.array(u16, { min: 1, max: MAX_VALUES })),
  minimumIsvSvn: decode.optional(u16),
  configId: decode.optional(values(64)),
  minimumConfigSvn: decode.optional(u16),
  isvFamilyId: decode.optional(values(16)),
  isvExtProdId: decode.optional(values(16)),
})

/**
 * Decodes the owner's TDX policy from a plain value, as JSON or YAML gives it. Unknown members are refused; what is left out is the strict default.
 * @throws {AttestationError} POLICY_INVALID, with the JSON path of what is wrong
 */
export function decodeTdxPolicy(value: unknown, path = '$'): TdxPolicy {
  return decoded(path, () => complete(STRICT_TDX_POLICY, tdxShape(value as JsonValue, path)))
}

/**
 * The same for SGX.
 * @throws {AttestationError} POLICY_INVALID, with the JSON path of what is wrong
 */
export function decodeSgxPolicy(value: unknown, path = '$'): SgxPolicy {
  return decoded(path, () => complete(STRICT_SGX_POLICY, sgxShape(value as JsonValue, path)))
}

type Given<P extends IntelPolicy> = Partial<Omit<P, 'minimumEvaluationNumbers'>> & {
  readonly minimumEvaluationNumbers?: Partial<IntelPolicy['minimumEvaluationNumbers']>
}

function complete<P extends IntelPolicy>(strict: P, given: Given<P>): P {
  return {
    ...strict,
    ...given,
    minimumEvaluationNumbers: {
      ...strict.minimumEvaluationNumbers,
      ...given.minimumEvaluationNumbers,
    },
  }
}

function decoded<P extends IntelPolicy>(path: string, run: () => P): P {
  try {
    const policy = run()
    const ids = policy.advisoryExceptions.map(({ advisory }) => advisory)
    if (new Set(ids).size !== ids.length)
      throw new AttestationError('POLICY_INVALID', 'an advisory has two exceptions', {
        path: `${path}.advisoryExceptions`,
      })
    return policy
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new AttestationError('POLICY_INVALID', error.message, {
      ...(error.path === undefined ? {} : { path: error.path }),
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    })
  }
}
