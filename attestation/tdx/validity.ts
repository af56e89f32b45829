// The single owner of what certificates, revocation lists and statements are worth at a moment.
import { fail, pass, settle, skip } from '../check.ts'
import type { Code } from '../codes.ts'
import type { Problem } from '../lib/chain.ts'
import { formatTime } from '../lib/time.ts'
import type { Certificate } from '../lib/x509.ts'
import type { Check } from '../result.ts'
import { checkDates } from './chain.ts'
import type { PckFindings } from './chain.ts'
import type { QeIdentity, TcbInfo } from './collateral.ts'
import { checkId } from './id.ts'
import type { TeeType } from './quote.ts'
import type { CollateralFindings, ListFindings, Statement } from './statement.ts'

export function checkCertificateDates(id: string, cert: Certificate | null, at: Date): Check {
  if (cert === null) return fail(id, 'CERT_MISSING', 'there is no certificate to look at')
  return settle(
    id,
    `${cert.subject.commonName ?? 'the certificate'} is valid at the stated time`,
    checkDates(cert, at),
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
): Check {
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

/** False also if the moment is no moment. */
export function within(at: Date, from: Date, until: Date): boolean {
  const time = at.getTime()
  return time >= from.getTime() && time <= until.getTime()
}

function window(from: Date, until: Date): string {
  return `${formatTime(from)} to ${formatTime(until)}`
}

function timeText(at: Date): string {
  return Number.isNaN(at.getTime()) ? 'no time' : formatTime(at)
}

/** No sound list, of whatever date, names the PCK certificate, its issuer or a TCB signer that was used. */
export function checkRevocation(
  id: string,
  { leaf, intermediate }: PckFindings,
  { rootLists, pckLists, revoked }: CollateralFindings,
  signers: readonly (Certificate | null | undefined)[],
): Check {
  const problems = revoked
    .filter((cert) => cert === leaf || cert === intermediate || signers.includes(cert))
    .map((cert): Problem => ({
      code: 'REVOKED',
      message: `${cert.subject.text} is revoked`,
      actual: cert.sha256,
    }))
  const none = (lists: readonly ListFindings[]): boolean =>
    lists.every((list) => list.problems.length > 0)
  if (problems.length === 0 && (none(rootLists) || none(pckLists)))
    return skip(id, 'without both revocation lists nothing can be said', 'CRL_MISSING')
  return settle(
    id,
    'neither the PCK certificate nor its issuer nor the TCB signer is revoked',
    problems,
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
): Check[] {
  const what = kind === 'tcbInfo' ? 'TCB info' : 'identity of the quoting enclave'
  if (statement === undefined)
    return [
      fail(
        checkId(tee, STATEMENT_IDS[kind].signature),
        'COLLATERAL_MISSING',
        `no ${what} was given`,
        {
          hint: 'give the collateral of the platform as endorsements, or fetch it',
        },
      ),
    ]
  const { content, signer, problems, mismatches } = statement
  const checks = [
    settle(
      checkId(tee, STATEMENT_IDS[kind].signature),
      `the ${what} was signed by Intel’s TCB signer`,
      problems,
    ),
    ...(problems.length > 0 && mismatches.length === 0 && content === null
      ? []
      : [
          settle(
            checkId(tee, STATEMENT_IDS[kind].match),
            `the ${what} is for this platform`,
            mismatches,
          ),
        ]),
  ]
  if (content === null) return checks
  const dates: Problem[] = []
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
  if (signer !== null) dates.push(...checkDates(signer, at))
  return [
    ...checks,
    settle(
      checkId(tee, STATEMENT_IDS[kind].validity),
      `the ${what} and its signer are valid at the stated time`,
      dates,
    ),
  ]
}
