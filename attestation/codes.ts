// The single owner of the codes that a check or an error of this island can carry. A closed list: README.md prints it, tests compare the two.

/** Every stable code with its meaning. A code never changes its meaning; a new situation gets a new code. */
export const CODES = {
  OK: 'the check passed',
  NOT_GIVEN: 'nothing was given to compare with, so the check did not run',
  WAIVED: 'the policy waives the check',
  FORMAT_INVALID: 'the input does not follow its format',
  FORMAT_UNKNOWN: 'the input is none of the known formats',
  TRUNCATED: 'the input ends before its structure does',
  TRAILING_DATA: 'bytes follow after the end of the structure',
  TOO_LARGE: 'the input is larger than its limit',
  UNSUPPORTED_VERSION: 'the version is not one that this verifier knows',
  UNSUPPORTED_ALGORITHM: 'the algorithm is not one that this verifier accepts',
  RESERVED_NOT_ZERO: 'a field that must be zero is not',
  SIGNATURE_INVALID: 'the signature does not verify',
  CHAIN_INVALID: 'the certificates do not form a valid chain',
  ROOT_UNTRUSTED: 'the chain ends at a root that is not trusted',
  CERT_MISSING: 'a certificate that is needed was not given',
  CERT_INVALID: 'a certificate does not have the form that its role demands',
  CERT_EXPIRED: 'a certificate is no longer valid at the stated time',
  CERT_NOT_YET_VALID: 'a certificate is not valid yet at the stated time',
  CERT_ROLE: 'a certificate is used in a role that it does not have',
  CRL_MISSING: 'no revocation list was given',
  CRL_INVALID: 'the revocation list does not verify',
  CRL_EXPIRED: 'the revocation list is outside its validity at the stated time',
  REVOKED: 'a certificate is revoked',
  POLICY_INVALID: 'the appraisal policy is not well-formed',
  ENDORSEMENT_UNAVAILABLE: 'an endorsement could not be fetched',
} as const

export type Code = keyof typeof CODES
