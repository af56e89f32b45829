// The single owner of simulated collateral: TCB info version 3 and enclave identity version 2, as Intel's service writes and signs them.
import { bytesToHex, formatTime, utf8Encode } from '../../attestation/lib/index.ts'
import type { EcKey } from './keys.ts'
import { daysFrom } from './pki.ts'

export interface IsvLevelJson {
  readonly tcb: { readonly isvsvn: number }
  readonly tcbDate: string
  readonly tcbStatus: string
  readonly advisoryIDs?: readonly string[]
}

export interface PlatformLevelJson {
  readonly tcb: {
    readonly sgxtcbcomponents: readonly { readonly svn: number }[]
    readonly pcesvn: number
    readonly tdxtcbcomponents?: readonly { readonly svn: number }[]
  }
  readonly tcbDate: string
  readonly tcbStatus: string
  readonly advisoryIDs?: readonly string[]
}

interface ModuleJson {
  readonly mrsigner: string
  readonly attributes: string
  readonly attributesMask: string
}

/** TCB info version 3. The order of the members is the order in the file. */
export interface TcbInfoJson {
  readonly id: string
  readonly version: number
  readonly issueDate: string
  readonly nextUpdate: string
  readonly fmspc: string
  readonly pceId: string
  readonly tcbType: number
  readonly tcbEvaluationDataNumber: number
  readonly tdxModule?: ModuleJson
  readonly tdxModuleIdentities?: readonly (ModuleJson & {
    readonly id: string
    readonly tcbLevels: readonly IsvLevelJson[]
  })[]
  readonly tcbLevels: readonly PlatformLevelJson[]
}

/** Enclave identity version 2. */
export interface QeIdentityJson {
  readonly id: string
  readonly version: number
  readonly issueDate: string
  readonly nextUpdate: string
  readonly tcbEvaluationDataNumber: number
  readonly miscselect: string
  readonly miscselectMask: string
  readonly attributes: string
  readonly attributesMask: string
  readonly mrsigner: string
  readonly isvprodid: number
  readonly tcbLevels: readonly IsvLevelJson[]
}

/** What the simulated platform needs to be UpToDate, one step less to be OutOfDate, and two steps less to fit no level. */
export const LEVEL = {
  components: [3, 3, 3, 3, 4, 2, 2, 5, 2, 2, 2, 2, 2, 2, 2, 2],
  pceSvn: 13,
  /** TEE_TCB_SVN: module SVN 5 of major version 0, SEAM loader SVN 6. */
  tdx: [5, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  module: 5,
  qe: 8,
} as const

/** The evaluation number of the simulated collateral: Intel's of August 2026. */
export const EVALUATION_NUMBER = 20

const ADVISORY = 'SIMULATED-SA-00001'
const DATE = '2026-02-11T00:00:00Z'
const OLD_DATE = '2024-03-13T00:00:00Z'
/** Genuine modules have an MRSIGNERSEAM of zeros too. */
const MODULE: ModuleJson = {
  mrsigner: '00'.repeat(48),
  attributes: '00'.repeat(8),
  attributesMask: 'FF'.repeat(8),
}

const isvLevels = (svn: number): readonly IsvLevelJson[] => [
  { tcb: { isvsvn: svn }, tcbDate: DATE, tcbStatus: 'UpToDate' },
  { tcb: { isvsvn: svn - 1 }, tcbDate: OLD_DATE, tcbStatus: 'OutOfDate', advisoryIDs: [ADVISORY] },
]
const svns = (values: readonly number[], less = 0): readonly { readonly svn: number }[] =>
  values.map((svn) => ({ svn: Math.max(0, svn - less) }))

/** TCB info for the FMSPC, around `at`. */
export function tcbInfoJson(
  id: 'SGX' | 'TDX',
  platform: { readonly fmspc: Uint8Array; readonly pceId: Uint8Array },
  at: Date,
): TcbInfoJson {
  const level = (less: number): PlatformLevelJson['tcb'] => ({
    sgxtcbcomponents: svns(LEVEL.components, less),
    pcesvn: LEVEL.pceSvn - less,
    ...(id === 'TDX' ? { tdxtcbcomponents: svns(LEVEL.tdx, less) } : {}),
  })
  return {
    id,
    version: 3,
    ...window(at),
    fmspc: upper(platform.fmspc),
    pceId: upper(platform.pceId),
    tcbType: 0,
    tcbEvaluationDataNumber: EVALUATION_NUMBER,
    ...(id === 'TDX'
      ? {
          tdxModule: MODULE,
          tdxModuleIdentities: [
            { id: 'TDX_03', ...MODULE, tcbLevels: isvLevels(LEVEL.module) },
            { id: 'TDX_01', ...MODULE, tcbLevels: isvLevels(LEVEL.module) },
          ],
        }
      : {}),
    tcbLevels: [
      { tcb: level(0), tcbDate: DATE, tcbStatus: 'UpToDate' },
      { tcb: level(1), tcbDate: OLD_DATE, tcbStatus: 'OutOfDate', advisoryIDs: [ADVISORY] },
    ],
  }
}

/** The identity of the simulated quoting enclave, around `at`. */
export function qeIdentityJson(id: 'QE' | 'TD_QE', mrSigner: Uint8Array, at: Date): QeIdentityJson {
  return {
    id,
    version: 2,
    ...window(at),
    tcbEvaluationDataNumber: EVALUATION_NUMBER,
    miscselect: '00000000',
    miscselectMask: 'FFFFFFFF',
    attributes: '11000000000000000000000000000000',
    attributesMask: 'FBFFFFFFFFFFFFFF0000000000000000',
    mrsigner: upper(mrSigner),
    isvprodid: id === 'TD_QE' ? 2 : 1,
    tcbLevels: isvLevels(LEVEL.qe),
  }
}

/** A JSON text and the signature over exactly its bytes, r ‖ s in hex. */
export interface SignedJson {
  readonly text: string
  readonly signature: string
}

export function signJson(value: object, key: EcKey): SignedJson {
  const text = JSON.stringify(value)
  return { text, signature: bytesToHex(key.signRaw(utf8Encode(text))) }
}

const window = (at: Date): { issueDate: string; nextUpdate: string } => ({
  issueDate: formatTime(daysFrom(at, -1)),
  nextUpdate: formatTime(daysFrom(at, 29)),
})

const upper = (bytes: Uint8Array): string => bytesToHex(bytes).toUpperCase()
