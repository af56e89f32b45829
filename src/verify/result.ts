// The single owner of what verifying a signature gives: authenticated facts, and nothing that was not authenticated.
import type { Manifest } from '../model/manifest.ts'
import type { Check, VerdictInput } from '../verdict.ts'

/** What the caller trusts. The bundle never chooses. */
export type Trust =
  | { readonly kind: 'key'; /** PEM (SPKI). */ readonly publicKey: string }
  | {
      readonly kind: 'certificate'
      /** PEM of the self-made root (or other anchors) that the caller trusts. There is no default. */
      readonly roots: string
      /** Exact subject alternative name (or subject common name) that the leaf must carry. */
      readonly identity?: string
    }
  | {
      readonly kind: 'keyless'
      /** Exact subject alternative name. */
      readonly identity: string
      /** Exact OIDC issuer. */
      readonly issuer: string
      /** The bytes of a Sigstore trusted root (JSON). */
      readonly trustedRoot: Uint8Array
    }

/** Who signed. Digests are lower-case hex. */
export type Signer =
  | {
      readonly kind: 'key'
      readonly algorithm: 'ecdsa-p256' | 'ecdsa-p384' | 'ecdsa-p521' | 'ed25519'
      /** SHA-256 over the DER of the public key. */
      readonly spkiSha256: string
    }
  | {
      readonly kind: 'certificate'
      readonly rootSha256: string
      readonly leafSha256: string
      /** SHA-256 over the DER of the leaf's public key. */
      readonly spkiSha256: string
      readonly subject: string
      readonly identities: readonly string[]
    }
  | {
      readonly kind: 'keyless'
      readonly identity: string
      readonly issuer: string
      readonly leafSha256: string
    }

/** A time that somebody other than the signer vouches for. */
export interface SigningTime {
  readonly time: string
  readonly source: 'transparency-log' | 'timestamp-authority'
}

/** An in-toto statement whose signature verified. Only `verify` makes one. */
export interface AuthenticatedStatement {
  readonly signer: Signer
  readonly times: readonly SigningTime[]
  readonly predicateType: string
  /** Strictly parsed JSON of the whole statement, null-prototype objects. */
  readonly statement: Readonly<Record<string, unknown>>
  /** SHA-256 of the payload bytes. */
  readonly payloadSha256: string
}

/** The outcome of verifying one bundle over any statement. `authenticated` is null if any check failed. */
export interface StatementResult {
  readonly checks: readonly Check[]
  readonly authenticated: AuthenticatedStatement | null
  readonly inputs: readonly VerdictInput[]
}

/** The outcome of verifying a model's signature, before a file was read. `manifest` is null if any check failed. */
export interface SignatureResult extends StatementResult {
  readonly manifest: Manifest | null
}

/** How the files on disk differ from the manifest. Every list is complete, in name order. */
export interface FilesResult {
  readonly missing: readonly string[]
  readonly extra: readonly string[]
  readonly changed: readonly {
    readonly name: string
    readonly expected: string
    readonly actual: string
  }[]
  /** What lies there unsigned under paths that the signer chose to ignore beyond the defaults. */
  readonly ignored: readonly string[]
  readonly files: number
  readonly bytes: number
}
