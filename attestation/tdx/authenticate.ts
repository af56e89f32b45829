// The single owner of authenticating a TDX or SGX quote: every check between the bytes and "Intel's hardware said this" (Intel QVL 4.1.2, steps A to I and N).
import { createHash } from 'node:crypto'
import type { Authenticated } from '../authenticated.ts'
import { fail, pass, settle } from '../check.ts'
import type { Endorsements, SignedJson } from '../endorsements.ts'
import { bytesToHex, sha256Hex } from '../lib/bytes.ts'
import type { Comparison, EvidenceCheck, InputDigest } from '../result.ts'
import { describeRoots } from '../roots.ts'
import type { TrustRoot } from '../roots.ts'
import { examinePck, EXTENSION_FORM } from './chain.ts'
import type { PckFindings } from './chain.ts'
import type { QeIdentity, TcbInfo } from './collateral.ts'
import {
  checkModule,
  checkQeBinding,
  checkQeDebug,
  checkQeIdentity,
  checkQeSignature,
  checkQuoteSignature,
} from './enclave.ts'
import { checkId } from './id.ts'
import type { PckFacts } from './pck.ts'
import type { Quote, TeeType } from './quote.ts'
import { examineCollateral } from './statement.ts'
import type { CollateralFindings, Statement } from './statement.ts'
import { AttestationKeys } from './trust.ts'
import type { Examined, Judged, TdxTrust } from './trust.ts'
import {
  checkCertificateDates,
  checkLists,
  checkRevocation,
  checkStatement,
  within,
} from './validity.ts'

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
  readonly checks: readonly EvidenceCheck[]
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
  const examined = examine(quote, endorsements, options)
  const { pck, collateral, attestationKeys, chainChecks } = examined
  const { tcbInfo, identity, checks: dated } = judgeAt(tee, examined, at)
  const key = attestationKeys.get(quote.attestationKey)

  const own: readonly EvidenceCheck[] = [
    ...chainChecks,
    checkQeSignature(quote, pck),
    checkQeBinding(quote),
    checkQeDebug(quote),
    checkQuoteSignature(quote, key),
  ]
  const checks: readonly EvidenceCheck[] = [
    checkTrailing(quote),
    ...own,
    ...dated,
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

/** Everything that depends on the moment and on nothing that is the quote's own. */
function judgeAt(tee: TeeType, examined: Examined, at: Date): Judged {
  const { pck, collateral, judged } = examined
  if (judged?.at === at.getTime()) return judged
  const tcbInfo = choose(collateral.tcbInfos, at)
  const identity = choose(collateral.qeIdentities, at)
  const checks: readonly EvidenceCheck[] = [
    checkCertificateDates(checkId(tee, 'validity.root'), pck.root, at),
    checkCertificateDates(checkId(tee, 'validity.ca'), pck.intermediate, at),
    checkCertificateDates(checkId(tee, 'validity.pck'), pck.leaf, at),
    checkLists(checkId(tee, 'crl.root'), 'Intel SGX Root CA', collateral.rootLists, at),
    checkLists(checkId(tee, 'crl.pck'), 'the PCK issuer', collateral.pckLists, at),
    checkRevocation(checkId(tee, 'revocation'), pck, collateral, [
      tcbInfo?.signer,
      identity?.signer,
    ]),
    ...checkStatement(tee, 'tcbInfo', tcbInfo, at),
    ...checkStatement(tee, 'qeIdentity', identity, at),
  ]
  examined.judged = { at: at.getTime(), tcbInfo, identity, checks }
  return examined.judged
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
  const tee = quote.teeType
  const chainChecks = [
    settle(checkId(tee, 'root'), `the chain ends at ${rootText(pck.trustRoot)}`, pck.rootProblems, {
      expected: describeRoots(trustRoots, 'Intel'),
      actual: `${pck.trustRoot?.name ?? 'none'} ${pck.trustRoot?.sha256 ?? ''}`,
    }),
    settle(
      checkId(tee, 'pck.chain'),
      'every certificate was signed by the next, in its role',
      pck.chainProblems,
      {
        expected: 'a PCK certificate under the Platform or Processor CA under the root, all P-256',
        actual: [pck.leaf, pck.intermediate, pck.root]
          .map((cert) => cert?.subject.commonName)
          .join(' under '),
      },
    ),
    settle(
      checkId(tee, 'pck.extension'),
      'the PCK certificate names its platform',
      pck.extensionProblems,
      { expected: EXTENSION_FORM, actual: platformText(pck.facts) },
    ),
  ]
  const examined: Examined = {
    pck,
    collateral,
    chainChecks,
    attestationKeys: new AttestationKeys(),
    judged: null,
  }
  trust?.set(key, examined)
  return examined
}

/** Everything that the findings depend on, by digest. */
function examinedKey(
  quote: Quote,
  endorsements: TdxEndorsements,
  trustRoots: readonly TrustRoot[],
): string {
  const chain = sha256Hex(quote.certificationData)
  const roots = remembered(trustRoots, (list) =>
    list.map(({ vendor, sha256, simulated }) => `${vendor} ${sha256} ${simulated}`),
  )
  const given = remembered(endorsements, ({ certificates, crls, tcbInfos, qeIdentities }) => [
    ...certificates.map(({ sha256 }) => `certificate ${sha256}`),
    ...crls.map(({ sha256 }) => `crl ${sha256}`),
    ...tcbInfos.map((signed) => `tcb ${statementDigest(signed)}`),
    ...qeIdentities.map((signed) => `qe ${statementDigest(signed)}`),
  ])
  return `${quote.teeType} ${chain} ${roots} ${given}`
}

function statementDigest({ raw, signature }: SignedJson): string {
  return createHash('sha256').update(`${raw.length} `).update(raw).update(signature).digest('hex')
}

const digests = new WeakMap<object, string>()

/** The digest of what an object holds. Roots and endorsements are immutable, so it is made once for each. */
function remembered<T extends object>(value: T, parts: (value: T) => readonly string[]): string {
  let digest = digests.get(value)
  if (digest === undefined) {
    digest = createHash('sha256').update(parts(value).join('|')).digest('base64')
    digests.set(value, digest)
  }
  return digest
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
          within(at, content.issueDate, content.nextUpdate) ? 1 : 0,
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

function platformText(facts: PckFacts | null): string {
  if (facts === null) return 'none'
  const { fmspc, pceId, pceSvn } = facts
  return `FMSPC ${bytesToHex(fmspc)}, PCE ${bytesToHex(pceId)}, PCESVN ${pceSvn}`
}

function rootText(root: TrustRoot | null): string {
  if (root === null) return 'no trusted root'
  return root.vendor === 'Intel' ? 'Intel’s own root' : `a root named by the user, ${root.name}`
}

const ALONE = 'a quote, and nothing but zeros after it'
const NOTHING_MORE: Comparison = { expected: ALONE, actual: 'nothing after it' }

function checkTrailing(quote: Quote): EvidenceCheck {
  const id = checkId(quote.teeType, 'quote')
  if (quote.trailing > 0)
    return fail(
      id,
      'TRAILING_DATA',
      `${quote.trailing} bytes follow the quote and are not zero padding`,
      {
        expected: ALONE,
        actual: `${quote.trailing} bytes after it`,
        hint: 'give the quote alone, without the buffer around it',
      },
    )
  const message = `a quote of version ${quote.version} with nothing left over`
  if (quote.padding === 0) return pass(id, message, NOTHING_MORE)
  const padding = `${quote.padding} bytes of zero padding`
  return pass(id, `${message}, followed by ${padding}`, { expected: ALONE, actual: padding })
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
  add('TCB info', tcbInfo?.sha256)
  add('identity of the quoting enclave', identity?.sha256)
  return inputs
}
