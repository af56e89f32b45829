// The single owner of what a simulated negative is: evidence that is validly signed throughout and still must be refused.
import type { Code } from '../../attestation/index.ts'
import type { CertificateChange, Extension } from './pki.ts'

/** One reason to refuse. `E` is the evidence of its platform. */
export interface Negative<E> {
  readonly name: string
  /** What is wrong with it, in words. */
  readonly why: string
  /** Codes that must be among those of the failing checks (or of the error, where it can't even be read). */
  readonly codes: readonly Code[]
  /** Records it. `trustedRoot` (DER) is the root that the verifier is told to trust; judge at `evidence.at`. */
  readonly record: (seed?: string) => { readonly evidence: E; readonly trustedRoot: Uint8Array }
}

/** A certificate with other extensions, without one, with more. */
export const withExtensions =
  (change: (list: readonly Extension[]) => readonly Extension[]): CertificateChange =>
  (fields) => ({ ...fields, extensions: change(fields.extensions) })
export const without = (oid: string): CertificateChange =>
  withExtensions((list) => list.filter((extension) => extension.oid !== oid))
export const added = (...more: readonly Extension[]): CertificateChange =>
  withExtensions((list) => [...list, ...more])
