// The single owner of what endorsements are: everything that a vendor says about its hardware, read but not yet believed.
import type { Certificate, Crl } from './lib/index.ts'
import type { InputDigest } from './result.ts'

/** JSON that Intel signed: the exact bytes of the inner object, and the signature over them (ECDSA P-256 / SHA-256, r ‖ s, 64 bytes). */
export interface SignedJson {
  readonly raw: Uint8Array
  readonly signature: Uint8Array
}

/** A run-time measurement log. It proves nothing until it is replayed against signed registers. */
export type EventLog =
  /** TCG crypto-agile log of a TD: the ACPI CCEL table where it was given, and the log area with its padding. */
  | { readonly kind: 'ccel'; readonly table?: Uint8Array; readonly data: Uint8Array }
  /** The `event_log` of dstack, as JSON text (an array of events). */
  | { readonly kind: 'dstack'; readonly text: string }

/**
 * Candidates only: nothing in here was verified, and everything may come from the attacker. Which of the certificates, lists
 * and statements fit the evidence is found out by `authenticate` of each platform.
 */
export interface Endorsements {
  /** Leaves, intermediates and roots in any order, each once. */
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Crl[]
  /** Intel TCB info, several where several FMSPCs or evaluation numbers were given. */
  readonly tcbInfos: readonly SignedJson[]
  /** Intel identity of the quoting enclave (QE, TD_QE). */
  readonly qeIdentities: readonly SignedJson[]
  readonly eventLogs: readonly EventLog[]
  /** What was read, by digest. */
  readonly inputs: readonly InputDigest[]
}

/** A file of unknown kind: its name is used in messages, never to tell what it is. */
export interface NamedBytes {
  readonly name: string
  readonly bytes: Uint8Array
}

/** The port through which missing endorsements are fetched. attestation/ itself never opens a connection. */
export interface Fetcher {
  /**
   * One GET. Answers with whatever status the server gave; throws AttestationError ENDORSEMENT_UNAVAILABLE if there was no
   * answer within the limits. Header names are lower case.
   */
  fetch(
    url: string,
    limit: { readonly maxBytes: number; readonly timeoutMs: number },
  ): Promise<{
    readonly status: number
    readonly headers: ReadonlyMap<string, string>
    readonly body: Uint8Array
  }>
}

export const NO_ENDORSEMENTS: Endorsements = {
  certificates: [],
  crls: [],
  tcbInfos: [],
  qeIdentities: [],
  eventLogs: [],
  inputs: [],
}
