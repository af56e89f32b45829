// The single owner of checking the quoting enclave, the TDX module and the quote's own signature.
import { createHash, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { fail, pass, settle, skip } from '../check.ts'
import type { Code } from '../codes.ts'
import { bytesToHex, equalBytes, isZero } from '../lib/bytes.ts'
import type { Problem } from '../lib/chain.ts'
import type { Certificate } from '../lib/x509.ts'
import type { Check } from '../result.ts'
import type { PckFindings } from './chain.ts'
import type { QeIdentity, TcbInfo } from './collateral.ts'
import { checkId } from './id.ts'
import type { Quote } from './quote.ts'
import { findModuleIdentity } from './tcb.ts'

/** Intel QVL 4.1.2.5.12: the module's signer and attributes, by the identity of its major version where that is not 0. */
export function checkModule(quote: Quote, tcbInfo: TcbInfo | null): Check {
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
    )
  const problems: Problem[] = []
  if (!equalBytes(mrSignerSeam, module.mrSigner))
    problems.push({
      code: 'MODULE_MISMATCH',
      message: 'the TDX module was signed by someone else',
      expected: bytesToHex(module.mrSigner),
      actual: bytesToHex(mrSignerSeam),
    })
  if (!isZero(seamAttributes) || !equalBytes(seamAttributes, module.attributes))
    problems.push({
      code: 'MODULE_MISMATCH',
      message: 'SEAMATTRIBUTES are not zero as the TDX module’s identity demands',
      expected: bytesToHex(module.attributes),
      actual: bytesToHex(seamAttributes),
    })
  return settle(id, 'the TDX module is Intel’s', problems)
}

/** Intel QVL 4.1.2.5.13. */
export function checkQeSignature(quote: Quote, { leaf }: PckFindings): Check {
  const id = checkId(quote.teeType, 'qe.signature')
  if (leaf === null) return fail(id, 'CERT_MISSING', 'there is no PCK certificate to verify with')
  const problems: Problem[] = []
  if (!verifies(quote.qeReport.bytes, leafKey(leaf), quote.qeReportSignature))
    problems.push({
      code: 'SIGNATURE_INVALID',
      message: 'the report of the quoting enclave was not signed by the PCK key',
    })
  return settle(id, 'the PCK key signed the report of the quoting enclave', problems)
}

function leafKey(leaf: Certificate): KeyObject | null {
  try {
    return leaf.key.type === 'ec' && leaf.key.curve === 'P-256' ? leaf.publicKey : null
  } catch {
    return null
  }
}

/** Intel QVL 4.1.2.5.14, and the second half of the field, which Intel's verifier does not look at. */
export function checkQeBinding(quote: Quote): Check {
  const id = checkId(quote.teeType, 'qe.binding')
  const { reportData } = quote.qeReport
  const hash = createHash('sha256').update(quote.attestationKey).update(quote.qeAuthData).digest()
  if (equalBytes(reportData.subarray(0, 32), hash) && isZero(reportData.subarray(32)))
    return pass(id, 'the quoting enclave vouches for the attestation key')
  return fail(id, 'QE_BINDING', 'the quoting enclave did not vouch for the attestation key', {
    expected: hash.toString('hex') + '00'.repeat(32),
    actual: bytesToHex(reportData),
  })
}

/** Intel QVL 4.1.2.5.15 and 16. */
export function checkQeIdentity(quote: Quote, identity: QeIdentity | null): Check {
  const id = checkId(quote.teeType, 'qe.identity')
  if (identity === null)
    return skip(
      id,
      'without its identity nothing can be said about the quoting enclave',
      'COLLATERAL_MISSING',
    )
  const { miscSelect, attributes, mrSigner, isvProdId } = quote.qeReport
  const problems: Problem[] = []
  const compare = (code: Code, name: string, expected: string, actual: string): void => {
    if (expected !== actual)
      problems.push({ code, message: `${name} of the quoting enclave differs`, expected, actual })
  }
  const hex32 = (value: number): string => (value >>> 0).toString(16).padStart(8, '0')
  const masked = attributes.map((byte, index) => byte & (identity.attributesMask[index] ?? 0xff))
  compare(
    'QE_IDENTITY_MISCSELECT',
    'MISCSELECT',
    hex32(identity.miscSelect),
    hex32(miscSelect & identity.miscSelectMask),
  )
  compare(
    'QE_IDENTITY_ATTRIBUTES',
    'ATTRIBUTES',
    bytesToHex(identity.attributes),
    bytesToHex(masked),
  )
  compare('QE_IDENTITY_MRSIGNER', 'MRSIGNER', bytesToHex(identity.mrSigner), bytesToHex(mrSigner))
  compare('QE_IDENTITY_ISVPRODID', 'ISVPRODID', `${identity.isvProdId}`, `${isvProdId}`)
  return settle(id, 'the quoting enclave is the one that Intel identifies', problems)
}

export function checkQeDebug(quote: Quote): Check {
  const id = checkId(quote.teeType, 'qe.debug')
  return ((quote.qeReport.attributes[0] ?? 0) & 2) === 0
    ? pass(id, 'the quoting enclave can’t be debugged')
    : fail(id, 'QE_DEBUG', 'the quoting enclave can be debugged, so its key proves nothing')
}

function verifies(data: Uint8Array, key: KeyObject | null, signature: Uint8Array): boolean {
  return key !== null && verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

/** Intel QVL 4.1.2.5.17. */
export function checkQuoteSignature(quote: Quote, key: KeyObject | null): Check {
  const id = checkId(quote.teeType, 'signature')
  if (key === null)
    return fail(id, 'SIGNATURE_INVALID', 'the attestation key is not a point of P-256')
  return verifies(quote.signed, key, quote.signature)
    ? pass(id, 'the attestation key signed the quote')
    : fail(id, 'SIGNATURE_INVALID', 'the quote was not signed by its attestation key')
}
