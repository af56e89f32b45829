// The single owner of the port between a signature and its three methods: what a method's verifier is given, and what it must answer.
import type { Check } from '../verdict.ts'
import type { Signer, SigningTime, Trust } from './result.ts'

export type KeyTrust = Extract<Trust, { kind: 'key' }>
export type CertificateTrust = Extract<Trust, { kind: 'certificate' }>
export type KeylessTrust = Extract<Trust, { kind: 'keyless' }>

/**
 * The answer of one method's verifier. What it is given was decoded strictly before: media type, one material kind, canonical base64, one
 * signature, size limits. A refusal is a failed check; a ZtError is thrown only where the caller's own trust material can't be read.
 * `signer` is null if any check failed: nothing of the payload is looked at then.
 * Checks have unique ids that start with `signature.`; all failing ones are listed.
 */
export interface MaterialResult {
  readonly checks: readonly Check[]
  readonly signer: Signer | null
  /** Only times that somebody else vouches for and whose proof verified. */
  readonly times: readonly SigningTime[]
  /** True if the signature is over the pre-authentication encoding of release 0.2.0 and not over DSSE's. */
  readonly oldEncoding: boolean
}

/** The answer where the bundle was signed by another method than the one that the caller trusts. */
export function wrongMaterial(expected: string, actual: string): MaterialResult {
  return {
    checks: [
      {
        id: 'signature.material',
        status: 'fail',
        code: 'MATERIAL_KIND',
        message: 'the bundle was signed by another method than the one asked for',
        expected,
        actual,
        hint: 'the caller chooses the method, never the bundle: ask for the method that the signer uses',
      },
    ],
    signer: null,
    times: [],
    oldEncoding: false,
  }
}
