// The single owner of the policy's meaning: every key of the file as a type, with what it says and what its absence says.
import type { SnpPolicy, TdxPolicy, TrustRoot } from '../../attestation/index.ts'
import type { HashType } from '../model/manifest.ts'
import type { Format } from '../model/sniff.ts'
import type { Trust } from '../verify/result.ts'
import type { Protection, VerdictInput } from '../verdict.ts'

export const POLICY_SCHEMA = 'zt4ai.policy/v1'

/** Text that stands in the policy itself (`pem:`, `json:`), or the name of a file beside it (`file:`). */
export type Source =
  | { readonly kind: 'inline'; readonly text: string }
  | { readonly kind: 'file'; readonly path: string }

/** `signers:` who may be asked for by name. The policy chooses whom to trust; a bundle never does. */
export type PolicySigner =
  /** `key:` one public key (PEM, SPKI). */
  | { readonly kind: 'key'; readonly key: Source }
  /** `certificate:` a leaf under these roots. `identity` is exact; null only where `any-identity: true` says so. */
  | { readonly kind: 'certificate'; readonly roots: Source; readonly identity: string | null }
  /** `keyless:` exact identity and issuer, under this Sigstore trusted root. */
  | {
      readonly kind: 'keyless'
      readonly identity: string
      readonly issuer: string
      readonly trustedRoot: Source
    }

export type MachinePlatform = 'sev-snp' | 'tdx'

/** One accepted measurement: a literal, or whatever a trusted signer states. */
export type Measurement =
  | { readonly kind: 'literal'; /** 48 bytes, lower-case hex. */ readonly value: string }
  | {
      readonly kind: 'reference-values'
      /** A name from `signers:`. */
      readonly signer: string
      /** The statement's bundle, where the policy names it; else the caller brings one. */
      readonly file: string | null
      /** Exact name of the statement's subject; null accepts every statement of this signer. */
      readonly image: string | null
    }

/** `machines:` which attested machine is meant by a name. */
export type Machine = MachineQuestions &
  (
    | {
        readonly platform: 'sev-snp'
        /** `snp:` as attestation's own decoder gave it; its strict defaults where the section is absent. */
        readonly options: SnpPolicy
      }
    | { readonly platform: 'tdx'; /** `tdx:` in the same way. */ readonly options: TdxPolicy }
  )

export interface MachineQuestions {
  /** `measurements:` any of these. Null only where `any-measurement: true` says so. */
  readonly measurements: readonly Measurement[] | null
  /** `nonce:` the evidence must carry the nonce that was asked for. `required` unless `not-required` is written. */
  readonly nonce: boolean
  /** `binding:` the evidence must be bound to exactly this model. `required` unless `not-required` is written. */
  readonly binding: boolean
  /** `max-age:` seconds since the nonce was issued. Null: no limit beside the nonce itself. */
  readonly maxAge: number | null
  /**
   * `trust-root:` the chain must end at exactly this root (simulated hardware); null: at a vendor's own root. The certificate itself, not
   * its digest: only the certificate says whether it is a simulated one.
   */
  readonly trustRoot: Source | null
}

/** `signed-by:` every one of `allOf`, and at least `threshold` different ones of `anyOf`; each of them another person. */
export interface SignedBy {
  readonly allOf: readonly string[]
  readonly anyOf: readonly string[]
  /** 0 only where `anyOf` is empty. */
  readonly threshold: number
}

/**
 * How signed files were compared with what is there. `files`: every byte was hashed here. `streamed`: hashed while it passed.
 * `fs-verity`: the kernel's measurement of each file is the signed one, and it checks each page against that when it is read.
 * The others look at a registry's manifest alone: `raw-bijection` (each layer is one signed file), `signed-layer-map` (the signer
 * recorded the layer's digest), `manifest-digest` (a signature over the manifest itself), `hub-asserted` (a hub's word). And
 * `machine-asserted`: the word of an attested machine, whose evidence is bound to the root of the list (the verifier service).
 */
export const ROUTES = [
  'files',
  'streamed',
  'fs-verity',
  'raw-bijection',
  'signed-layer-map',
  'manifest-digest',
  'hub-asserted',
  'machine-asserted',
] as const
export type Route = (typeof ROUTES)[number]
/** The routes by which nobody here has read the bytes. */
export const MANIFEST_ROUTES = [
  'raw-bijection',
  'signed-layer-map',
  'manifest-digest',
  'hub-asserted',
  'machine-asserted',
] as const satisfies readonly Route[]
export type ManifestRoute = (typeof MANIFEST_ROUTES)[number]

/** `admitted:` a saved verdict that must be there: somebody named has admitted exactly this model, not long ago, under a known policy. */
export interface Admitted {
  /** `by:` any of these signers. */
  readonly by: readonly string[]
  /** `within:` seconds between that verdict and now. */
  readonly within: number
  /** `policy:` name, digest (SHA-256), or both. At least one is there. */
  readonly policy: { readonly name: string | null; readonly sha256: string | null }
}

/** `rules:` a model is allowed if one rule that matches it is satisfied. No rule matches: refused. */
export interface Rule {
  /** `models:` patterns: exact, or `*` for anything but `/`. `oci://…` matches references, anything else names. */
  readonly models: readonly string[]
  readonly signedBy: SignedBy
  /** `hashes:` allowed `hash_type`s. Absent: the three of OMS v1.0. */
  readonly hashes: readonly HashType[]
  /** `formats.only:` nothing but these, executable ones included if named. Null: all known formats that cannot run code. */
  readonly formatsOnly: readonly Format[] | null
  /** `formats.allow:` these as well, `unknown` and executable ones included if named. */
  readonly formatsAllowed: readonly Format[]
  /** `formats.deny:` never these. */
  readonly formatsDenied: readonly Format[]
  /** `extra-files.allow:` patterns of unsigned files that may lie there. Absent: none. They must still have an allowed format. */
  readonly extraAllowed: readonly string[]
  /** `extra-files.ignored: allow`: unsigned files under paths that the signer chose to ignore may lie there. */
  readonly ignoredAllowed: boolean
  /** `max-signature-age:` seconds; needs a time that somebody other than the signer vouches for. */
  readonly maxSignatureAge: number | null
  /** `machine.any-of:` names from `machines:`; null only where `machine: not-required` is written. */
  readonly machines: readonly string[] | null
  /** `protection:` lowest level that a loader must reach. Absent: `start`. */
  readonly protection: Protection
  readonly admitted: Admitted | null
  /** `manifest-only:` routes that may stand in for reading the files, in a registry or a cluster. Absent: none. */
  readonly manifestOnly: readonly ManifestRoute[]
}

/** `exemptions:` a failing check that is let pass as a warning, for a while, by somebody with a name. */
export interface Exemption {
  readonly models: readonly string[]
  /** Ids of checks of this room that may be waived, ids `evidence.…`, or codes of attestation. */
  readonly checks: readonly string[]
  readonly owner: string
  readonly reason: string
  /** First moment at which it holds no longer, RFC 3339. */
  readonly expires: string
}

export const MODES = ['audit', 'warn', 'enforce'] as const
export type Mode = (typeof MODES)[number]

/** `modes:` what the admission service does with a refusal, by namespace. Absent: enforce everywhere. */
export interface Modes {
  readonly default: Mode
  /** Exact name or pattern. An exact name wins; of several patterns the strictest wins. */
  readonly namespaces: ReadonlyMap<string, Mode>
  /** Exact names that are never asked about. */
  readonly exempt: readonly string[]
}

export interface Policy {
  readonly schema: typeof POLICY_SCHEMA
  readonly name: string
  readonly description: string | null
  readonly signers: ReadonlyMap<string, PolicySigner>
  readonly machines: ReadonlyMap<string, Machine>
  readonly rules: ReadonlyMap<string, Rule>
  readonly exemptions: ReadonlyMap<string, Exemption>
  readonly modes: Modes
  /** Files that the policy names and `resolve` needs, each once, in the order of the text. Relative to the policy file. */
  readonly files: readonly string[]
  /** SHA-256 of the policy's bytes. */
  readonly sha256: string
}

/** A policy whose files are there: ready to verify and to evaluate with. Only `resolve` makes one. */
export interface ResolvedPolicy {
  readonly policy: Policy
  /** What to verify each signer's bundles with. */
  readonly trust: ReadonlyMap<string, Trust>
  /** SHA-256 of the public key's DER, of signers that are keys. */
  readonly keys: ReadonlyMap<string, string>
  /** The one root of machines that name one. */
  readonly trustRoots: ReadonlyMap<string, TrustRoot>
  /** Identity of the policy and everything that it names: SHA-256 of its bytes, or over its and its files' digests. */
  readonly digest: string
  /** The files themselves, by the names in the policy: statements of reference values are verified from here. */
  readonly files: ReadonlyMap<string, Uint8Array>
  /** The policy and its files, for a verdict's `inputs`. */
  readonly inputs: readonly VerdictInput[]
}
