// The single owner of authenticating a TDX or SGX quote: every check between the bytes and "Intel's hardware said this" (Intel QVL 4.1.2, steps A to I and N).
import { createHash, createPublicKey, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import type { Authenticated } from '../authenticated.ts'
import { fail, pass, settle, skip } from '../check.ts'
import type { Code } from '../codes.ts'
import type { Endorsements } from '../endorsements.ts'
import { bytesToHex, equalBytes, hexToBytes, isZero } from '../lib/bytes.ts'
import type { Problem } from '../lib/chain.ts'
import { isRevoked } from '../lib/crl.ts'
import { formatTime } from '../lib/time.ts'
import type { Certificate } from '../lib/x509.ts'
import type { Check, InputDigest } from '../result.ts'
import type { TrustRoot } from '../roots.ts'
import { checkDates, examinePck } from './chain.ts'
import type { PckFindings } from './chain.ts'
import type { QeIdentity, TcbInfo } from './collateral.ts'
import type { PckFacts } from './pck.ts'
import type { Quote } from './quote.ts'
import { examineCollateral } from './statement.ts'
import type { CollateralFindings, ListFindings, Statement } from './statement.ts'
import { findModuleIdentity } from './tcb.ts'
import type { Examined, TdxTrust } from './trust.ts'

/** What Intel's hardware and Intel itself signed. */
export interface QuoteFacts {
  readonly quote: Quote
  readonly pck: PckFacts
  readonly pckIssuer: 'platform' | 'processor'
  readonly root: TrustRoot
  /** Null if none was given whose signature, signer and platform fit. Its dates are a check of their own. */
  readonly tcbInfo: TcbInfo | null
  readonly qeIdentity: QeIdentity | null
}

/** The endorsements that this room looks at. */
export type TdxEndorsements = Pick<
  Endorsements,
  'certificates' | 'crls' | 'tcbInfos' | 'qeIdentities'
>

export interface AuthenticateOptions {
  readonly trustRoots: readonly TrustRoot[]
  /** A memory of earlier calls: with it, a quote of a known platform costs two signatures. */
  readonly trust?: TdxTrust | undefined
}

export interface Authentication {
  /** Null if the quote's own chain of signatures does not hold up to a trusted root. Collateral that fails leaves it, but is a failed check. */
  readonly facts: Authenticated<QuoteFacts> | null
  readonly root: TrustRoot | null
  readonly checks: readonly Check[]
  /** What was used, by digest. */
  readonly inputs: readonly InputDigest[]
}

/**
 * Authenticates a quote of TDX or SGX with the collateral that was given, at a moment. Does every check and lists every one that fails: pinned root, PCK chain and
 * extension, dates, both revocation lists, TCB info and enclave identity with their signer, TDX module identity, quoting enclave, its vouching for the attestation key (all
 * 64 bytes), and the quote's signature. What the TCB's status is, and whether the owner accepts it, is for `appraise`.
 */
export function authenticateTdx(
  quote: Quote,
  endorsements: TdxEndorsements,
  options: AuthenticateOptions,
  at: Date,
): Authentication {
  const tee = quote.teeType
  const { pck, collateral } = examine(quote, endorsements, options)
  const tcbInfo = choose(collateral.tcbInfos, at)
  const identity = choose(collateral.qeIdentities, at)
  const key = importAttestationKey(quote.attestationKey)

  const own: readonly Check[] = [
    settle(`${tee}.root`, `the chain ends at ${rootText(pck.trustRoot)}`, pck.rootProblems),
    settle(
      `${tee}.pck.chain`,
      'every certificate was signed by the next, in its role',
      pck.chainProblems,
    ),
    settle(`${tee}.pck.extension`, 'the PCK certificate names its platform', pck.extensionProblems),
    checkQeSignature(quote, pck),
    checkQeBinding(quote),
    checkQeDebug(quote),
    checkQuoteSignature(quote, key),
  ]
  const checks: readonly Check[] = [
    checkTrailing(quote),
    ...own,
    checkCertificateDates(`${tee}.validity.root`, pck.root, at),
    checkCertificateDates(`${tee}.validity.ca`, pck.intermediate, at),
    checkCertificateDates(`${tee}.validity.pck`, pck.leaf, at),
    checkLists(`${tee}.crl.root`, 'Intel SGX Root CA', collateral.rootLists, at),
    checkLists(`${tee}.crl.pck`, 'the PCK issuer', collateral.pckLists, at),
    checkRevocation(`${tee}.revocation`, pck, collateral, [tcbInfo, identity]),
    ...checkStatement(`${tee}.tcbInfo`, 'TCB info', tcbInfo, at),
    ...checkStatement(`${tee}.qeIdentity`, 'identity of the quoting enclave', identity, at),
    ...(tee === 'tdx' ? [checkModule(quote, tcbInfo?.content ?? null)] : []),
    checkQeIdentity(quote, identity?.content ?? null),
  ]
  const sound = own.every(({ status }) => status === 'pass')
  const { facts, issuer, trustRoot } = pck
  const authenticated =
    sound && facts !== null && issuer !== null && trustRoot !== null
      ? mark({
          quote,
          pck: facts,
          pckIssuer: issuer,
          root: trustRoot,
          tcbInfo: tcbInfo?.content ?? null,
          qeIdentity: identity?.content ?? null,
        })
      : null
  return {
    facts: authenticated,
    root: trustRoot,
    checks,
    inputs: inputsOf(quote, pck, collateral, tcbInfo, identity),
  }
}

function mark(facts: QuoteFacts): Authenticated<QuoteFacts> {
  return facts as Authenticated<QuoteFacts>
}

function examine(
  quote: Quote,
  endorsements: TdxEndorsements,
  { trustRoots, trust }: AuthenticateOptions,
): Examined {
  const key = trust === undefined ? '' : examinedKey(quote, endorsements, trustRoots)
  const known = trust?.get(key)
  if (known !== undefined) return known
  const pck = examinePck(quote.certificationData, endorsements.certificates, trustRoots)
  const collateral = examineCollateral(endorsements, pck, quote.teeType)
  const examined = { pck, collateral }
  trust?.set(key, examined)
  return examined
}

/** Everything that the findings depend on, by digest. */
function examinedKey(
  quote: Quote,
  endorsements: TdxEndorsements,
  trustRoots: readonly TrustRoot[],
): string {
  const hash = createHash('sha256')
  const parts = (name: string, digests: readonly (string | Uint8Array)[]): void => {
    hash.update(`|${name}:${digests.length}:`)
    for (const digest of digests) {
      hash.update(`${digest.length}:`)
      hash.update(digest)
    }
  }
  parts(quote.teeType, [quote.certificationData])
  parts(
    'roots',
    trustRoots.map(({ vendor, sha256, simulated }) => `${vendor} ${sha256} ${simulated}`),
  )
  parts(
    'certificates',
    endorsements.certificates.map(({ sha256 }) => sha256),
  )
  parts(
    'crls',
    endorsements.crls.map(({ sha256 }) => sha256),
  )
  for (const statements of [endorsements.tcbInfos, endorsements.qeIdentities])
    parts(
      'statements',
      statements.flatMap(({ raw, signature }) => [raw, signature]),
    )
  return hash.digest('hex')
}

/**
 * Which of several statements counts: of the sound ones those that are valid at the moment, of those the one with the highest evaluation number, so that adding an older
 * one never helps. If none is sound, the first that is at least about this platform.
 */
function choose<
  T extends {
    readonly issueDate: Date
    readonly nextUpdate: Date
    readonly evaluationNumber: number
  },
>(statements: readonly Statement<T>[], at: Date): Statement<T> | undefined {
  const rank = ({ content, mismatches, signer }: Statement<T>): readonly number[] =>
    content === null
      ? [0, mismatches.length === 0 ? 1 : 0, signer === null ? 0 : 1]
      : [
          1,
          at >= content.issueDate && at <= content.nextUpdate ? 1 : 0,
          content.evaluationNumber,
          content.issueDate.getTime(),
        ]
  let best: { readonly statement: Statement<T>; readonly rank: readonly number[] } | undefined
  for (const statement of statements) {
    const own = rank(statement)
    const index = best?.rank.findIndex((value, i) => value !== own[i]) ?? -1
    if (best === undefined || (index >= 0 && (own[index] ?? 0) > (best.rank[index] ?? 0)))
      best = { statement, rank: own }
  }
  return best?.statement
}

function rootText(root: TrustRoot | null): string {
  if (root === null) return 'no trusted root'
  return root.vendor === 'Intel' ? 'Intel’s own root' : `a root named by the user, ${root.name}`
}

function checkTrailing(quote: Quote): Check {
  const id = `${quote.teeType}.quote`
  if (quote.trailing > 0)
    return fail(
      id,
      'TRAILING_DATA',
      `${quote.trailing} bytes follow the quote and are not zero padding`,
      {
        hint: 'give the quote alone, without the buffer around it',
      },
    )
  const padding = quote.padding === 0 ? '' : `, followed by ${quote.padding} bytes of zero padding`
  return pass(id, `a quote of version ${quote.version} with nothing left over${padding}`, {
    actual: quote.sha256,
  })
}

function checkCertificateDates(id: string, cert: Certificate | null, at: Date): Check {
  if (cert === null) return fail(id, 'CERT_MISSING', 'there is no certificate to look at')
  return settle(
    id,
    `${cert.subject.commonName ?? 'the certificate'} is valid at the stated time`,
    checkDates(cert, at),
  )
}

/** True if the list is sound and covers the moment. */
function covers({ crl, problems }: ListFindings, at: Date): boolean {
  return problems.length === 0 && at >= crl.thisUpdate && at <= crl.nextUpdate
}

/** At least one list of this issuer verifies and covers the moment. A broken one beside it proves nothing and harms nothing. */
function checkLists(id: string, issuer: string, lists: readonly ListFindings[], at: Date): Check {
  if (lists.length === 0)
    return fail(id, 'CRL_MISSING', `no revocation list of ${issuer} was given`, {
      hint: 'give the collateral of the platform as endorsements, or fetch it',
    })
  if (lists.some((list) => covers(list, at)))
    return pass(id, `a revocation list of ${issuer} verifies and covers the stated time`)
  const sound = lists.filter(({ problems }) => problems.length === 0)
  if (sound.length === 0)
    return settle(
      id,
      '',
      lists.flatMap(({ problems }) => problems),
    )
  return fail(
    id,
    'CRL_EXPIRED',
    `the revocation list of ${issuer} does not cover the stated time`,
    {
      expected: sound.map(({ crl }) => window(crl.thisUpdate, crl.nextUpdate)).join(', '),
      actual: timeText(at),
    },
  )
}

function window(from: Date, until: Date): string {
  return `${formatTime(from)} to ${formatTime(until)}`
}

function timeText(at: Date): string {
  return Number.isNaN(at.getTime()) ? 'no time' : formatTime(at)
}

/** No sound list, of whatever date, names the PCK certificate, its issuer or a TCB signer. */
function checkRevocation(
  id: string,
  { leaf, intermediate }: PckFindings,
  { rootLists, pckLists }: CollateralFindings,
  statements: readonly (Statement<unknown> | undefined)[],
): Check {
  const sound = (lists: readonly ListFindings[]): ListFindings[] =>
    lists.filter(({ problems }) => problems.length === 0)
  const [fromRoot, fromIssuer] = [sound(rootLists), sound(pckLists)]
  const problems: Problem[] = []
  const lookUp = (cert: Certificate | null | undefined, lists: readonly ListFindings[]): void => {
    if (cert && lists.some(({ crl }) => isRevoked(crl, cert)))
      problems.push({
        code: 'REVOKED',
        message: `${cert.subject.text} is revoked`,
        actual: cert.sha256,
      })
  }
  lookUp(leaf, fromIssuer)
  lookUp(intermediate, fromRoot)
  for (const signer of new Set(statements.map((statement) => statement?.signer)))
    lookUp(signer, fromRoot)
  if (problems.length === 0 && (fromRoot.length === 0 || fromIssuer.length === 0))
    return skip(id, 'without both revocation lists nothing can be said', 'CRL_MISSING')
  return settle(
    id,
    'neither the PCK certificate nor its issuer nor the TCB signer is revoked',
    problems,
  )
}

/** Three checks of one signed statement: that it holds, that it is about this platform, and that it covers the moment (with its signer). */
function checkStatement(
  id: string,
  what: string,
  statement: Statement<TcbInfo | QeIdentity> | undefined,
  at: Date,
): Check[] {
  if (statement === undefined)
    return [
      fail(`${id}.signature`, 'COLLATERAL_MISSING', `no ${what} was given`, {
        hint: 'give the collateral of the platform as endorsements, or fetch it',
      }),
    ]
  const { content, signer, problems, mismatches } = statement
  const checks = [
    settle(`${id}.signature`, `the ${what} was signed by Intel’s TCB signer`, problems),
    ...(problems.length > 0 && mismatches.length === 0 && content === null
      ? []
      : [settle(`${id}.match`, `the ${what} is for this platform`, mismatches)]),
  ]
  if (content === null) return checks
  const dates: Problem[] = signer === null ? [] : checkDates(signer, at)
  const late = (code: Code, message: string): void => {
    dates.push({
      code,
      message: `the ${what} ${message}`,
      expected: window(content.issueDate, content.nextUpdate),
      actual: timeText(at),
    })
  }
  if (at < content.issueDate) late('COLLATERAL_NOT_YET_VALID', 'was issued after the stated time')
  else if (!(at <= content.nextUpdate))
    late('COLLATERAL_EXPIRED', 'was replaced before the stated time')
  return [
    ...checks,
    settle(`${id}.validity`, `the ${what} and its signer are valid at the stated time`, dates),
  ]
}

/** Intel QVL 4.1.2.5.12: the module's signer and attributes, by the identity of its major version where that is not 0. */
function checkModule(quote: Quote, tcbInfo: TcbInfo | null): Check {
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
function checkQeSignature(quote: Quote, { leaf }: PckFindings): Check {
  const id = `${quote.teeType}.qe.signature`
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
function checkQeBinding(quote: Quote): Check {
  const id = `${quote.teeType}.qe.binding`
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
function checkQeIdentity(quote: Quote, identity: QeIdentity | null): Check {
  const id = `${quote.teeType}.qe.identity`
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

function checkQeDebug(quote: Quote): Check {
  const id = `${quote.teeType}.qe.debug`
  return ((quote.qeReport.attributes[0] ?? 0) & 2) === 0
    ? pass(id, 'the quoting enclave can’t be debugged')
    : fail(id, 'QE_DEBUG', 'the quoting enclave can be debugged, so its key proves nothing')
}

const P256_SPKI = hexToBytes('3059301306072a8648ce3d020106082a8648ce3d03010703420004')

/** Null if the two coordinates are not a point of the curve. */
function importAttestationKey(point: Uint8Array): KeyObject | null {
  try {
    return createPublicKey({ key: Buffer.concat([P256_SPKI, point]), format: 'der', type: 'spki' })
  } catch {
    return null
  }
}

function verifies(data: Uint8Array, key: KeyObject | null, signature: Uint8Array): boolean {
  return key !== null && verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

/** Intel QVL 4.1.2.5.17. */
function checkQuoteSignature(quote: Quote, key: KeyObject | null): Check {
  const id = `${quote.teeType}.signature`
  if (key === null)
    return fail(id, 'SIGNATURE_INVALID', 'the attestation key is not a point of P-256')
  return verifies(quote.signed, key, quote.signature)
    ? pass(id, 'the attestation key signed the quote')
    : fail(id, 'SIGNATURE_INVALID', 'the quote was not signed by its attestation key')
}

function inputsOf(
  quote: Quote,
  pck: PckFindings,
  { rootLists, pckLists }: CollateralFindings,
  tcbInfo: Statement<TcbInfo> | undefined,
  identity: Statement<QeIdentity> | undefined,
): InputDigest[] {
  const inputs: InputDigest[] = [{ name: 'quote', sha256: quote.sha256 }]
  const add = (name: string, sha256: string | undefined): void => {
    if (sha256 !== undefined) inputs.push({ name, sha256 })
  }
  add('certificate: PCK', pck.leaf?.sha256)
  add('certificate: PCK issuer', pck.intermediate?.sha256)
  add('certificate: root', pck.root?.sha256)
  for (const signer of new Set([tcbInfo?.signer, identity?.signer]))
    add('certificate: TCB signer', signer?.sha256)
  for (const { crl } of rootLists) add('revocation list: root', crl.sha256)
  for (const { crl } of pckLists) add('revocation list: PCK issuer', crl.sha256)
  add('TCB info', digestOf(tcbInfo))
  add('identity of the quoting enclave', digestOf(identity))
  return inputs
}

function digestOf(statement: Statement<unknown> | undefined): string | undefined {
  if (statement?.signed == null) return undefined
  return createHash('sha256').update(statement.signed.raw).digest('hex')
}
