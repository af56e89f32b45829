// The single owner of what evidence is: what a machine says of itself, taken out of its container but not yet parsed.
import type { Endorsements } from './endorsements.ts'
import type { Platform } from './result.ts'

export interface Evidence {
  readonly platform: Platform
  /** SNP: the report, 1184 bytes. TDX and SGX: the quote as it was given, padding included. */
  readonly raw: Uint8Array
  /** In which container it was found, for people. */
  readonly form: string
  /** Candidates that travelled with it: a certificate table, an evidence file's endorsements. Never trusted for that. */
  readonly endorsements: Endorsements
  /** The challenge that the machine was given, if the file says so. */
  readonly nonce?: Uint8Array
  /** What the report data commits to, if the file says so. */
  readonly runtimeData?: Uint8Array
}
