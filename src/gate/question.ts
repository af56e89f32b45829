// The single owner of the words of admitting: what is asked about a model, what was gathered for it, and the answer.
import type { NamedBytes, SnpTrust, TdxTrust } from '../../attestation/index.ts'
import type { Manifest } from '../model/manifest.ts'
import type { Progress } from '../model/pool.ts'
import type { Facts, FilesFact } from '../policy/facts.ts'
import type { ResolvedPolicy } from '../policy/policy.ts'
import type { Protection, Verdict } from '../verdict.ts'

/** How a comparison may be interrupted and watched. */
export interface CompareRequest {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: Progress) => void
}

/**
 * Where a model is: a directory, a registry, a stream. It finds candidates and compares; it decides nothing and is believed in nothing but
 * how what it holds compares with a list that somebody else signed.
 */
export interface ModelSource {
  readonly subject: Facts['subject']
  /** Every bundle found beside the model, of whatever kind (signature, saved verdict, reference values). Candidates only. */
  bundles(request: CompareRequest): Promise<readonly NamedBytes[]>
  /**
   * Evidence found beside the model, each piece by its digest. Candidates only. Asked where a rule wants a machine and the caller gave no
   * evidence. What is not known to be there or not is an error, never an empty list.
   */
  evidence?(request: CompareRequest): Promise<readonly NamedBytes[]>
  /**
   * Compares what is there with a signed list whose signature verified. Asked once for each different list. Null where this source
   * can't compare with it (a registry whose layers would have to be pulled for that).
   */
  compare(manifest: Manifest, request: CompareRequest): Promise<FilesFact | null>
  /**
   * What is there under the name of one digest and no list: the route `manifest-digest`, whose `root` is the digest of the registry's
   * manifest. Asked once.
   */
  whole?(request: CompareRequest): Promise<readonly FilesFact[]>
}

/** A policy with its files: ready to decide, and to be recorded. `readPolicy` (policy.ts) reads one from disk. */
export interface LoadedPolicy {
  readonly resolved: ResolvedPolicy
  /** The policy's own bytes. */
  readonly bytes: Uint8Array
  /** The files that it names, by exactly those names. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

/** The relying party's challenge. */
export interface Challenge {
  /** 32 bytes where the evidence is bound to the model; else 1 to 64. */
  readonly nonce: Uint8Array
  /** When it was made, by the asker's clock. */
  readonly issued?: Date
}

/** Held by a process that asks often: what was authenticated once need not be again. Keyed by digests, never by names. */
export interface AdmitCaches {
  readonly snp?: SnpTrust
  readonly tdx?: TdxTrust
}

export interface AdmitRequest {
  /** The path of a directory, a file or a tar archive; or a source that somebody else implements. */
  readonly model: string | ModelSource
  readonly policy: LoadedPolicy
  /** What the caller calls the model: selects rules, proves nothing. Default: what the source says (for a path its last part). */
  readonly name?: string
  /** The time at which everything is judged, and the moment of judging. Whole seconds are used. */
  readonly at: Date
  readonly now: Date
  /** Bundles beside those that the source finds: signatures, saved verdicts, statements of reference values, in any order. */
  readonly bundles?: readonly NamedBytes[]
  /** Evidence of the machine; several are alternatives. Without any, what the source finds beside the model. */
  readonly evidence?: readonly NamedBytes[]
  readonly endorsements?: readonly NamedBytes[]
  readonly challenge?: Challenge
  /** SHA-256 of the SPKI of the TEE's key, 32 bytes, where the binding must hold one. */
  readonly keyDigest?: Uint8Array
  readonly caches?: AdmitCaches
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: Progress) => void
}

/** Everything that a request gave once read, in the form that a replay needs (replay.ts). */
export interface Recorded {
  readonly subject: Facts['subject']
  /** RFC 3339, whole seconds. */
  readonly at: string
  readonly now: string
  readonly policy: Pick<LoadedPolicy, 'bytes' | 'files'>
  readonly bundles: readonly NamedBytes[]
  readonly evidence: readonly NamedBytes[]
  readonly endorsements: readonly NamedBytes[]
  readonly challenge?: Challenge
  readonly keyDigest?: Uint8Array
  /** The comparisons, as they were found. */
  readonly files: readonly FilesFact[]
  /** The level that a loader reached before it decided. */
  readonly protection?: Protection
}

/** The facts about one model, gathered and authenticated. */
export interface Gathered {
  readonly policy: ResolvedPolicy
  readonly facts: Facts
  readonly recorded: Recorded
}

export interface Admission {
  readonly verdict: Verdict
  /** The signed list that the verdict rests on; null if it is deny, or rests on the digest of a registry's manifest alone. */
  readonly manifest: Manifest | null
  /** How that list was compared; null if the verdict is deny. */
  readonly files: FilesFact | null
  readonly facts: Facts
  readonly recorded: Recorded
}
