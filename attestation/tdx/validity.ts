// The single owner of what certificates, revocation lists and statements are worth at a moment.
import { fail, failAll, pass, settle, skip } from '../check.ts'
import type { Code } from '../codes.ts'
import type { Problem } from '../lib/chain.ts'
import { describeTime, describeWindow } from '../lib/time.ts'
import type { Certificate } from '../lib/x509.ts'
import type { EvidenceCheck } from '../result.ts'
import { checkDates } from './chain.ts'
import type { PckFindings } from './chain.ts'
import type { QeIdentity, TcbInfo } from './collateral.ts'
import { checkId } from './id.ts'
import type { TeeType } from './quote.ts'
import type { CollateralFindings, ListFindings, Statement } from './statement.ts'

export function checkCertificateDates(
  id: string,
  cert: Certificate | null,
  at: Date,
): EvidenceCheck {
  if (cert === null) {
    const told = { expected: 'a certificate', actual: 'none' }
    return fail(id, 'CERT_MISSING', 'there is no certificate to look at', told)
  }
  return settle(
    id,
    `${cert.subject.commonName ?? 'the certificate'} is valid at the stated time`,
    checkDates(cert, at),
    { expected: describeWindow(cert.notBefore, cert.notAfter), actual: describeTime(at) },
  )
}

/** True if the list is sound and covers the moment. */
function covers({ crl, problems }: ListFindings, at: Date): boolean {
  return problems.length === 0 && within(at, crl.thisUpdate, crl.nextUpdate)
}

/** At least one list of this issuer verifies and covers the moment. A broken one beside it proves nothing and harms nothing. */
export function checkLists(
  id: string,
  issuer: string,
  lists: readonly ListFindings[],
  at: Date,
): EvidenceCheck {
  if (lists.length === 0)
    return fail(id, 'CRL_MISSING', `no revocation list of ${issuer} was given`, {
      expected: `a revocation list of ${issuer} that covers ${describeTime(at)}`,
      actual: 'none',
      hint: 'give the collateral of the platform as endorsements, or fetch it',
    })
  const current = lists.find((list) => covers(list, at))
  if (current !== undefined)
    return pass(id, `a revocation list of ${issuer} verifies and covers the stated time`, {
      expected: `signed by its issuer, and covers ${describeTime(at)}`,
      actual: `signed by its issuer, and covers ${describeWindow(current.crl.thisUpdate, current.crl.nextUpdate)}`,
    })
  const sound = lists.filter(({ problems }) => problems.length === 0)
  const problems = lists.flatMap((list) => list.problems)
  const [first] = problems
  if (sound.length === 0 && first !== undefined) return failAll(id, first, problems)
  return fail(
    id,
    'CRL_EXPIRED',
    `the revocation list of ${issuer} does not cover the stated time`,
    {
      expected: sound.map(({ crl }) => describeWindow(crl.thisUpdate, crl.nextUpdate)).join(', '),
      actual: describeTime(at),
    },
  )
}

/** False also if the moment is no moment. */
export function within(at: Date, from: Date, until: Date): boolean {
  const time = at.getTime()
  return time >= from.getTime() && time <= until.getTime()
}

const NOT_LISTED = 'serial numbers that no revocation list names'

/** No sound list, of whatever date, names the PCK certificate, its issuer or a TCB signer that was used. */
export function checkRevocation(
  id: string,
  { leaf, intermediate }: PckFindings,
  { rootLists, pckLists, revoked }: CollateralFindings,
  signers: readonly (Certificate | null | undefined)[],
): EvidenceCheck {
  const problems = revoked
    .filter((cert) => cert === leaf || cert === intermediate || signers.includes(cert))
    .map((cert): Problem => ({
      code: 'REVOKED',
      message: `${cert.subject.text} is revoked`,
      expected: NOT_LISTED,
      actual: `serial number ${cert.serial} is (certificate ${cert.sha256})`,
    }))
  const entries = [...rootLists, ...pckLists]
    .filter((list) => list.problems.length === 0)
    .reduce((sum, { crl }) => sum + crl.revoked.size, 0)
  const none = (lists: readonly ListFindings[]): boolean =>
    lists.every((list) => list.problems.length > 0)
  if (problems.length === 0 && (none(rootLists) || none(pckLists)))
    return skip(id, 'without both revocation lists nothing can be said', 'CRL_MISSING')
  return settle(
    id,
    'neither the PCK certificate nor its issuer nor the TCB signer is revoked',
    problems,
    {
      expected: NOT_LISTED,
      actual: `none of them is among the ${entries} that the lists name`,
    },
  )
}

const STATEMENT_IDS = {
  tcbInfo: { signature: 'tcbInfo.signature', match: 'tcbInfo.match', validity: 'tcbInfo.validity' },
  qeIdentity: {
    signature: 'qeIdentity.signature',
    match: 'qeIdentity.match',
    validity: 'qeIdentity.validity',
  },
} as const

/** Three checks of one signed statement: that it holds, that it is about this platform, and that it covers the moment (with its signer). */
export function checkStatement(
  tee: TeeType,
  kind: 'tcbInfo' | 'qeIdentity',
  statement: Statement<TcbInfo | QeIdentity> | undefined,
  at: Date,
): EvidenceCheck[] {
  const what = kind === 'tcbInfo' ? 'TCB info' : 'identity of the quoting enclave'
  if (statement === undefined)
    return [
      fail(
        checkId(tee, STATEMENT_IDS[kind].signature),
        'COLLATERAL_MISSING',
        `no ${what} was given`,
        {
          expected: `the ${what}, signed by Intel`,
          actual: 'none',
          hint: 'give the collateral of the platform as endorsements, or fetch it',
        },
      ),
    ]
  const { content, signer, problems, mismatches, about } = statement
  const checks = [
    settle(
      checkId(tee, STATEMENT_IDS[kind].signature),
      `the ${what} was signed by Intel’s TCB signer`,
      problems,
      {
        expected: 'a signature by the TCB signer: ECDSA on P-256 with SHA-256',
        actual: `it verifies with the key of ${signer?.subject.commonName ?? 'none'}`,
      },
    ),
    ...(problems.length > 0 && mismatches.length === 0 && content === null
      ? []
      : [
          settle(
            checkId(tee, STATEMENT_IDS[kind].match),
            `the ${what} is for this platform`,
            mismatches,
            about,
          ),
        ]),
  ]
  if (content === null) return checks
  const dates: Problem[] = []
  const valid = describeWindow(content.issueDate, content.nextUpdate)
  const late = (code: Code, message: string): void => {
    dates.push({
      code,
      message: `the ${what} ${message}`,
      expected: valid,
      actual: describeTime(at),
    })
  }
  if (at < content.issueDate) late('COLLATERAL_NOT_YET_VALID', 'was issued after the stated time')
  else if (!(at <= content.nextUpdate))
    late('COLLATERAL_EXPIRED', 'was replaced before the stated time')
  if (signer !== null) dates.push(...checkDates(signer, at))
  return [
    ...checks,
    settle(
      checkId(tee, STATEMENT_IDS[kind].validity),
      `the ${what} and its signer are valid at the stated time`,
      dates,
      { expected: valid, actual: describeTime(at) },
    ),
  ]
}
