// The public face of attestation/: the RATS verifier. Evidence and endorsements in, attestation result out.
export { CODES } from './codes.ts'
export type { Code } from './codes.ts'
export { AttestationError } from './error.ts'
export type {
  AttestationResult,
  Check,
  CheckStatus,
  ClaimField,
  Claims,
  InputDigest,
  Platform,
  TrustworthinessVector,
} from './result.ts'
