// The single owner of the way out of each refusal, where the check itself knows no better one.
import type { Code } from './codes.ts'

const FORGED = 'do not believe this evidence; collect it again on the machine itself'
const FETCH = 'fetch the endorsements of this machine again, from the vendor or its cache'
const OPTION = 'if this is what the machine should be, say so in the policy'
const UPDATE = 'have the platform updated by whoever runs it, then collect evidence again'
const VALUE = 'if this is what should run, add its value to the reference values'
const CLOCK = "compare this machine's clock, or the time that was asked for, with the dates"

/** What a person can do. Codes that never stand on a failing check of evidence are left out. */
export const HINTS: Readonly<Partial<Record<Code, string>>> = {
  FORMAT_INVALID: FETCH,
  TRUNCATED: 'the file was cut: copy it again, as a binary file',
  TRAILING_DATA: 'give what the machine sent alone, without the buffer around it',
  TOO_LARGE: 'give only what belongs to this evidence',
  UNSUPPORTED_VERSION: 'a newer version of zt4ai may know this version',
  UNSUPPORTED_ALGORITHM: 'the vendor signs otherwise: fetch the certificates from the vendor again',
  RESERVED_NOT_ZERO: 'a newer version of zt4ai may know this field; until then it proves nothing',
  SIGNATURE_INVALID: FORGED,
  CHAIN_INVALID: FETCH,
  ROOT_UNTRUSTED:
    'only the vendors’ roots are trusted; name another one only for simulated hardware',
  CERT_MISSING:
    'give the certificates of this machine and of its vendor as endorsements, or fetch them',
  CERT_INVALID: 'the vendor makes no such certificate: fetch it from the vendor again',
  CERT_EXPIRED: `fetch the certificate again, or ${CLOCK}`,
  CERT_NOT_YET_VALID: CLOCK,
  CERT_ROLE: 'the vendor gives its certificates other roles: fetch them from the vendor again',
  CRL_MISSING: 'give the revocation lists of the vendor as endorsements, or fetch them',
  CRL_INVALID: 'fetch the revocation list from the vendor again',
  CRL_EXPIRED: 'fetch the current revocation list from the vendor',
  REVOKED:
    'the vendor withdrew this certificate: use another machine, or wait for a new certificate',
  PRODUCT_UNKNOWN: 'a newer version of zt4ai may know this product',
  PRODUCT_MISMATCH: 'give the certificates of this very machine',
  PRODUCT_DENIED: 'use a machine of a product that the policy accepts',
  HWID_MISMATCH: 'give the certificate of this very chip',
  CERT_TCB_MISMATCH: 'fetch the certificate for the TCB that the report states',
  TCB_BELOW_MINIMUM: UPDATE,
  TCB_INCONSISTENT: FORGED,
  FIRMWARE_BELOW_MINIMUM: UPDATE,
  PROVISIONAL_FIRMWARE: 'have the firmware committed, or permit provisional firmware in the policy',
  MITIGATIONS: UPDATE,
  DEBUG: 'start the machine without debugging: with it, nothing in its memory is protected',
  POLICY_BITS: `start the machine under another guest policy, or ${OPTION}`,
  PLATFORM_INFO: `have the host set up otherwise, or ${OPTION}`,
  VMPL: `ask for the report at an accepted privilege level, or ${OPTION}`,
  GUEST_SVN: 'run a newer image',
  MEASUREMENT: VALUE,
  HOST_DATA: VALUE,
  IMAGE_ID: VALUE,
  REPORT_ID: VALUE,
  SIGNING_KEY_ID: VALUE,
  CHIP_ID: 'use a machine that the policy lists, or list this one',
  CSP_ID: 'use a machine of a provider that the policy names, or name this one',
  REPORT_DATA: 'ask the machine for evidence with the report data that is expected',
  NONCE: 'ask the machine again, with this nonce',
  MODEL_BINDING:
    'ask the machine again, with the report data that `zt4ai binding` prints for this model',
  COLLATERAL_MISSING: 'give the collateral of the platform as endorsements, or fetch it',
  COLLATERAL_SIGNATURE:
    'fetch the collateral from Intel or its cache again, and keep its JSON byte for byte: formatted anew, it no longer verifies',
  COLLATERAL_EXPIRED: 'fetch the current collateral from Intel or its cache',
  COLLATERAL_NOT_YET_VALID: CLOCK,
  COLLATERAL_MISMATCH:
    'give the collateral of this platform: the one of its FMSPC and its kind of enclave',
  EVAL_NUMBER_LOW: 'fetch collateral with a higher TCB evaluation data number',
  MODULE_MISMATCH: 'fetch current collateral; if it is current, do not believe this machine',
  QE_BINDING: FORGED,
  QE_IDENTITY_MISCSELECT: FORGED,
  QE_IDENTITY_ATTRIBUTES: FORGED,
  QE_IDENTITY_MRSIGNER: FORGED,
  QE_IDENTITY_ISVPRODID: FORGED,
  QE_DEBUG: FORGED,
  QE_VENDOR: OPTION,
  QE_SVN: UPDATE,
  TCB_STATUS: UPDATE,
  TCB_STATUS_UNKNOWN: 'a newer version of zt4ai may know this status; until then it is refused',
  TCB_NOT_SUPPORTED: UPDATE,
  TCB_ADVISORY: `${UPDATE}; or except the advisory in the policy, for a while`,
  TCB_DATE: UPDATE,
  ATTRIBUTES: `start the machine with other attributes, or ${OPTION}`,
  XFAM: `start the machine with other features, or ${OPTION}`,
  RTMR: VALUE,
  RTMR_REPLAY: 'give the event log of this very machine, as it was when it was asked',
  EVENT_LOG: 'do not believe this log: it does not say what was measured',
  EVENT_MISSING: 'run an image that measures what the policy requires',
  CONFIG_ID: VALUE,
  OWNER: VALUE,
  MRSEAM: VALUE,
  SERVICE_TD: VALUE,
  SIGNER: VALUE,
  ISV_SVN: 'run a newer enclave',
  FMSPC: 'use a platform that the policy lists, or list this one',
  PPID: 'use a platform that the policy lists, or list this one',
}
