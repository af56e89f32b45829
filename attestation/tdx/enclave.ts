// The single owner of checking the quoting enclave, the TDX module and the quote's own signature.
import { createHash, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { fail, pass, settle, skip } from '../check.ts'
import type { Code } from '../codes.ts'
import { bytesToHex, equalBytes, isZero } from '../lib/bytes.ts'
import type { Problem } from '../lib/chain.ts'
import type { Certificate } from '../lib/x509.ts'
import type { Comparison, EvidenceCheck } from '../result.ts'
import type { PckFindings } from './chain.ts'
import type { QeIdentity, TcbInfo, TdxModule } from './collateral.ts'
import { checkId } from './id.ts'
import type { Quote } from './quote.ts'
import { describeModules, findModuleIdentity } from './tcb.ts'

/** Intel QVL 4.1.2.5.12: the module's signer and attributes, by the identity of its major version where that is not 0. */
export function checkModule(quote: Quote, tcbInfo: TcbInfo | null): EvidenceCheck {
  const id = 'tdx.module'
  if (tcbInfo === null || quote.body.type === 'sgx')
    return skip(
      id,
      'without TCB info nothing can be said about the TDX module',
      'COLLATERAL_MISSING',
    )
  const { teeTcbSvn, mrSignerSeam, seamAttributes } = quote.body.report
  const version = teeTcbSvn[1] ?? 0
  const module = version === 0 ? tcbInfo.tdxModule : findModuleIdentity(tcbInfo, version)
  if (module == null)
    return fail(
      id,
      'MODULE_MISMATCH',
      `the TCB info has no identity for TDX module version ${version}`,
      {
        expected: `an identity of TDX module version ${version}`,
        actual: describeModules(tcbInfo),
      },
    )
  const problems: Problem[] = []
  if (!equalBytes(mrSignerSeam, module.mrSigner))
    problems.push({
      code: 'MODULE_MISMATCH',
      message: 'the TDX module was signed by someone else',
      expected: `MRSIGNERSEAM ${short(module.mrSigner)}`,
      actual: `MRSIGNERSEAM ${short(mrSignerSeam)}`,
    })
  if (!isZero(seamAttributes) || !equalBytes(seamAttributes, module.attributes))
    problems.push({
      code: 'MODULE_MISMATCH',
      message: 'SEAMATTRIBUTES are not zero as the TDX module’s identity demands',
      expected: `SEAMATTRIBUTES ${isZero(seamAttributes) ? bytesToHex(module.attributes) : 'all zeros'}`,
      actual: `SEAMATTRIBUTES ${short(seamAttributes)}`,
    })
  return settle(id, 'the TDX module is Intel’s', problems, asDemanded(moduleWords(module)))
}

function short(bytes: Uint8Array): string {
  return isZero(bytes) ? 'all zeros' : bytesToHex(bytes)
}

function moduleWords({ mrSigner, attributes }: TdxModule): string {
  return `MRSIGNERSEAM ${short(mrSigner)}, SEAMATTRIBUTES ${short(attributes)}`
}

/** What was found where everything is as a statement demands. */
function asDemanded(words: string): Comparison {
  return { expected: words, actual: words }
}

const PCK_SIGNED = 'a signature by the PCK key: ECDSA on P-256 with SHA-256'
const KEY_SIGNED = 'a signature by the attestation key: ECDSA on P-256 with SHA-256'
const YES = 'it verifies'
const NO = 'it does not verify'

/** Intel QVL 4.1.2.5.13. */
export function checkQeSignature(quote: Quote, { leaf }: PckFindings): EvidenceCheck {
  const id = checkId(quote.teeType, 'qe.signature')
  const expected = PCK_SIGNED
  if (leaf === null) {
    const told = { expected, actual: 'no PCK certificate' }
    return fail(id, 'CERT_MISSING', 'there is no PCK certificate to verify with', told)
  }
  if (verifies(quote.qeReport.bytes, leafKey(leaf), quote.qeReportSignature))
    return pass(id, 'the PCK key signed the report of the quoting enclave', {
      expected,
      actual: YES,
    })
  const message = 'the report of the quoting enclave was not signed by the PCK key'
  return fail(id, 'SIGNATURE_INVALID', message, { expected, actual: NO })
}

function leafKey(leaf: Certificate): KeyObject | null {
  try {
    return leaf.key.type === 'ec' && leaf.key.curve === 'P-256' ? leaf.publicKey : null
  } catch {
    return null
  }
}

/** 32 bytes. */
const ZEROS = '00'.repeat(32)

/** Intel QVL 4.1.2.5.14, and the second half of the field, which Intel's verifier does not look at. */
export function checkQeBinding(quote: Quote): EvidenceCheck {
  const id = checkId(quote.teeType, 'qe.binding')
  const { reportData } = quote.qeReport
  const hash = createHash('sha256').update(quote.attestationKey).update(quote.qeAuthData).digest()
  const expected = hash.toString('hex') + ZEROS
  if (equalBytes(reportData.subarray(0, 32), hash) && isZero(reportData.subarray(32)))
    return pass(id, 'the quoting enclave vouches for the attestation key', {
      expected,
      actual: expected,
    })
  return fail(id, 'QE_BINDING', 'the quoting enclave did not vouch for the attestation key', {
    expected,
    actual: bytesToHex(reportData),
  })
}

/** Intel QVL 4.1.2.5.15 and 16. */
export function checkQeIdentity(quote: Quote, identity: QeIdentity | null): EvidenceCheck {
  const id = checkId(quote.teeType, 'qe.identity')
  if (identity === null)
    return skip(
      id,
      'without its identity nothing can be said about the quoting enclave',
      'COLLATERAL_MISSING',
    )
  const { miscSelect, attributes, mrSigner, isvProdId } = quote.qeReport
  const problems: Problem[] = []
  const differs = (code: Code, name: string, expected: string, actual: string): void => {
    const message = `${name} of the quoting enclave differs`
    problems.push({ code, message, expected: `${name} ${expected}`, actual: `${name} ${actual}` })
  }
  const select = (miscSelect & identity.miscSelectMask) >>> 0
  const masked = attributes.map((byte, index) => byte & (identity.attributesMask[index] ?? 0xff))
  if (select !== identity.miscSelect >>> 0)
    differs('QE_IDENTITY_MISCSELECT', 'MISCSELECT', hex32(identity.miscSelect), hex32(select))
  if (!equalBytes(masked, identity.attributes))
    differs(
      'QE_IDENTITY_ATTRIBUTES',
      'ATTRIBUTES',
      bytesToHex(identity.attributes),
      bytesToHex(masked),
    )
  if (!equalBytes(mrSigner, identity.mrSigner))
    differs('QE_IDENTITY_MRSIGNER', 'MRSIGNER', bytesToHex(identity.mrSigner), bytesToHex(mrSigner))
  if (isvProdId !== identity.isvProdId)
    differs('QE_IDENTITY_ISVPRODID', 'ISVPRODID', `${identity.isvProdId}`, `${isvProdId}`)
  const message = 'the quoting enclave is the one that Intel identifies'
  return settle(id, message, problems, asDemanded(enclaveWords(identity)))
}

const hex32 = (value: number): string => (value >>> 0).toString(16).padStart(8, '0')

function enclaveWords({ miscSelect, attributes, mrSigner, isvProdId }: QeIdentity): string {
  return `MISCSELECT ${hex32(miscSelect)}, ATTRIBUTES ${bytesToHex(attributes)}, MRSIGNER ${bytesToHex(mrSigner)}, ISVPRODID ${isvProdId}`
}

const NO_DEBUG = 'debugging not allowed (DEBUG clear)'

export function checkQeDebug(quote: Quote): EvidenceCheck {
  const id = checkId(quote.teeType, 'qe.debug')
  return ((quote.qeReport.attributes[0] ?? 0) & 2) === 0
    ? pass(id, 'the quoting enclave can’t be debugged', {
        expected: NO_DEBUG,
        actual: 'not allowed (DEBUG clear)',
      })
    : fail(id, 'QE_DEBUG', 'the quoting enclave can be debugged, so its key proves nothing', {
        expected: NO_DEBUG,
        actual: 'allowed (DEBUG set)',
      })
}

function verifies(data: Uint8Array, key: KeyObject | null, signature: Uint8Array): boolean {
  return key !== null && verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

/** Intel QVL 4.1.2.5.17. */
export function checkQuoteSignature(quote: Quote, key: KeyObject | null): EvidenceCheck {
  const id = checkId(quote.teeType, 'signature')
  if (key === null)
    return fail(id, 'SIGNATURE_INVALID', 'the attestation key is not a point of P-256', {
      expected: KEY_SIGNED,
      actual: 'no point of P-256',
    })
  return verifies(quote.signed, key, quote.signature)
    ? pass(id, 'the attestation key signed the quote', { expected: KEY_SIGNED, actual: YES })
    : fail(id, 'SIGNATURE_INVALID', 'the quote was not signed by its attestation key', {
        expected: KEY_SIGNED,
        actual: NO,
      })
}
