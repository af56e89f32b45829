// The single owner of the facts: everything that a policy is asked about, gathered and authenticated elsewhere. Whoever gathers them answers for them.
import type { AttestationResult } from '../../attestation/index.ts'
import type { Manifest } from '../model/manifest.ts'
import type { Content } from '../model/sniff.ts'
import type { Check, Protection, Verdict, VerdictInput } from '../verdict.ts'
import type { FilesResult, SignatureResult, StatementResult } from '../verify/result.ts'
import type { Route } from './policy.ts'

/**
 * The facts about one model at one time. A missing fact never helps: what is not there was not proved. Several facts of one kind are
 * alternatives, so one more can help and never hurt.
 */
export interface Facts {
  /** The time at which everything is judged, RFC 3339. Whoever verified and appraised used the same one. */
  readonly at: string
  /** `load`: a loader acts on the answer, and says which protection it reached. `judge`: nothing is loaded here. */
  readonly purpose: 'judge' | 'load'
  /** What is asked about. The name is what the caller calls it: it selects rules, and proves nothing. */
  readonly subject: {
    readonly name: string
    /** `oci://HOST/REPO[:TAG][@sha256:…]`, in the one written form. */
    readonly reference?: string
  }
  readonly signatures: readonly SignatureFact[]
  readonly files: readonly FilesFact[]
  readonly evidence: readonly EvidenceFact[]
  readonly referenceValues: readonly StatementFact[]
  readonly saved: readonly SavedVerdictFact[]
  /** The level that the loader reached. */
  readonly protection?: Protection
  /** Digests of what was read besides the policy, the signatures and the evidence, which bring their own. */
  readonly inputs: readonly VerdictInput[]
}

/** One bundle, verified with what the policy says about one signer. */
export interface SignatureFact {
  /** The name from `signers:` whose trust it was verified with. */
  readonly signer: string
  /** A result without `manifest` is a signature over something else than a list of files, for the route `manifest-digest`. */
  readonly result: StatementResult & Partial<Pick<SignatureResult, 'manifest'>>
}

/** How what is there compares with one signed list of files. */
export interface FilesFact {
  /** The OMS root of the list; on the route `manifest-digest` the digest of the registry's manifest. Lower-case hex. */
  readonly root: string
  /**
   * The very list that was compared; null on the route `manifest-digest` alone. A root covers digests and no names, so a signature
   * counts for this comparison only if it is over the same list, name by name.
   */
  readonly manifest: Manifest | null
  readonly route: Route
  /**
   * The differences, and the checks of the comparison: entries that could not be compared (links, devices, what cannot be read) are in
   * none of the lists, only there.
   */
  readonly result: FilesResult & { readonly checks: readonly Check[] }
  /** One entry for every file that is there, signed or not. */
  readonly formats: readonly FileFormat[]
}

/** What a file is, as far as loading it matters. */
export interface FileFormat extends Content {
  readonly name: string
  /** `name` where nobody looked into the file. */
  readonly basis: 'content' | 'name'
}

/** Evidence, appraised with what the policy says about one machine. */
export interface EvidenceFact {
  /** The name from `machines:`. */
  readonly machine: string
  readonly result: AttestationResult
  readonly binding: BindingFact | null
}

/** What the report data of the evidence was found to hold, by computing it anew. */
export interface BindingFact {
  /** The OMS root that gives exactly this report data; null if none that was tried does. Lower-case hex. */
  readonly model: string | null
  readonly nonce: {
    /** The nonce that was asked for; null if nobody asked. Lower-case hex. */
    readonly expected: string | null
    /** The nonce that gives exactly this report data; null if none that was tried does. */
    readonly actual: string | null
    /** When the asker made it, RFC 3339, by the asker's clock. */
    readonly issued?: string
  }
}

/** A bundle over any statement, verified with what the policy says about one signer. */
export interface StatementFact {
  readonly signer: string
  readonly result: StatementResult
}

/** A saved verdict. `verdict` is read from the authenticated statement alone; null if it is none. */
export interface SavedVerdictFact extends StatementFact {
  readonly verdict: Verdict | null
}
