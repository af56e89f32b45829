// The single owner of the attestation result: what appraising one piece of evidence gave, on every platform.
import type { Code } from './codes.ts'

export type CheckStatus = 'pass' | 'fail' | 'warn' | 'skip'

/** One check that ran (or says why it did not). `C` is the closed list of codes of the room that made it. */
export interface Check<C extends string = Code> {
  /** Dotted name of what was checked, for example `snp.signature`. Unique within one result. */
  readonly id: string
  /** `skip` means that nothing was given to compare with. It never counts as passed. */
  readonly status: CheckStatus
  readonly code: C
  readonly message: string
  readonly expected?: string
  readonly actual?: string
  readonly hint?: string
}

/** What was demanded, and what was found, for a person: short values, each a fact of the inputs. */
export interface Comparison {
  readonly expected: string
  readonly actual: string
}

/** A check that compared something. */
export interface ComparedCheck extends Check {
  readonly status: 'pass' | 'fail' | 'warn'
  readonly expected: string
  readonly actual: string
}

/** A check for which there was nothing to compare with. */
export interface SkippedCheck extends Check {
  readonly status: 'skip'
  readonly expected?: never
  readonly actual?: never
}

/** Every check of evidence says what it compared, or that it compared nothing. */
export type EvidenceCheck = ComparedCheck | SkippedCheck

export type Platform = 'sev-snp' | 'tdx' | 'sgx'

/** What was read, by digest, so that a result can be tied to exactly its inputs. */
export interface InputDigest {
  readonly name: string
  /** Lower-case hex. */
  readonly sha256: string
}

/** One authenticated field for a person: its name, its value, and the value in words where that helps. */
export interface ClaimField {
  readonly name: string
  readonly value: string
  readonly meaning?: string
}

/** Facts that the hardware signed. Exists only when the whole chain of signatures verified. Hex is lower case. */
export interface Claims {
  readonly platform: Platform
  /** Product line (`Milan`, `Genoa`, `Turin`) or FMSPC. */
  readonly product: string
  /** SNP MEASUREMENT, TDX MRTD, SGX MRENCLAVE. Hex. */
  readonly measurement: string
  /** 64 bytes, hex. */
  readonly reportData: string
  readonly debug: boolean
  /** SNP CHIP_ID or TDX/SGX PPID, hex; null where the evidence carries none. */
  readonly instanceId: string | null
  /** TCB in words: an SVN per component for SNP, Intel's status for TDX and SGX. */
  readonly tcb: string
  /** Everything else, in the order in which a person would read it. */
  readonly fields: readonly ClaimField[]
}

/** AR4SI trustworthiness vector (draft-ietf-rats-ar4si §2.3.1); 0 means no claim. */
export interface TrustworthinessVector {
  readonly 'instance-identity': number
  readonly configuration: number
  readonly executables: number
  readonly 'file-system': number
  readonly hardware: number
  readonly 'runtime-opaque': number
  readonly 'storage-opaque': number
  readonly 'sourced-data': number
}

/** AR4SI §2.3.2: 99 is "cryptographic validation failed". Of evidence that did not authenticate. */
export const UNAUTHENTICATED: TrustworthinessVector = {
  'instance-identity': 99,
  configuration: 99,
  executables: 99,
  'file-system': 99,
  hardware: 99,
  'runtime-opaque': 99,
  'storage-opaque': 99,
  'sourced-data': 99,
}

export interface AttestationResult {
  readonly schema: 'zt4ai.attestation/v1'
  readonly platform: Platform
  /** True only if no check failed. */
  readonly accepted: boolean
  /** The time at which everything was judged, RFC 3339 in UTC. */
  readonly at: string
  /** True if `at` lies in the past of the moment of judging: the result says nothing about today. */
  readonly historical: boolean
  /** True if the result rests on a simulated vendor's root. */
  readonly simulated: boolean
  /** The root that the chain ended at; null if it ended at none that is trusted. */
  readonly root: { readonly name: string; readonly sha256: string } | null
  readonly claims: Claims | null
  readonly checks: readonly Check[]
  readonly vector: TrustworthinessVector
  readonly inputs: readonly InputDigest[]
}
