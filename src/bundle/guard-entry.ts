// The single owner of the form of one transparency log entry as the guard reads it, and of the guard's refusals.
import { AttestationError, decode } from '../../attestation/lib/index.ts'
import type { Check } from '../verdict.ts'

const { array, base64, literal, object, optional, string } = decode

/** A check's outcome before it has a name. */
export type Finding = Pick<Check, 'code' | 'message' | 'expected' | 'actual' | 'hint'>

/** What is thrown inside the guard where going on has no meaning. It never leaves it. */
export class Refusal extends Error {
  readonly finding: Finding

  constructor(refused: Finding) {
    super(refused.message)
    this.finding = refused
  }
}

/** Turns a refusal, or an exception of a strict reader, into a finding; anything else is a fault of ours and goes on. */
export function finding(error: unknown): Finding {
  if (error instanceof Refusal) return error.finding
  if (error instanceof AttestationError) return { code: error.code, message: error.message }
  throw error
}

/** A `dsse` body holds hashes, one signature and one certificate: about 2.5 kB. */
export const MAX_BODY = 64 * 1024

/** A count as the protobuf's JSON writes it. Below 2^53, because the library turns some of these into a double. */
export const COUNT = string({ pattern: /^(?:0|[1-9][0-9]{0,14})$/, max: 15 })

/** `dev.sigstore.rekor.v1.TransparencyLogEntry`, as far as a bundle v0.3 with a DSSE envelope has it. */
export const ENTRY = object({
  logIndex: optional(COUNT),
  logId: object({ keyId: base64({ max: 64 }) }),
  kindVersion: object({
    kind: literal('dsse', 'hashedrekord'),
    version: literal('0.0.1', '0.0.2'),
  }),
  integratedTime: optional(COUNT),
  inclusionPromise: optional(object({ signedEntryTimestamp: base64({ max: 1024 }) })),
  inclusionProof: object({
    logIndex: optional(COUNT),
    rootHash: base64({ max: 32 }),
    treeSize: COUNT,
    hashes: optional(array(base64({ max: 32 }), { max: 64 })),
    checkpoint: object({ envelope: string({ max: 16 * 1024 }) }),
  }),
  canonicalizedBody: base64({ max: MAX_BODY }),
})
export type RawEntry = ReturnType<typeof ENTRY>
