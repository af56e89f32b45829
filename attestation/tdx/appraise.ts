// The single owner of appraising an authenticated quote: every check of the owner's policy, in one stable order, whichever fail.
import type { Authenticated } from '../authenticated.ts'
import { fail, failAll, pass, skip, warn } from '../check.ts'
import type { EventLog } from '../endorsements.ts'
import { appraiseLogs } from '../eventlog/index.ts'
import type { ExtractedEvent } from '../eventlog/index.ts'
import { checkExpected } from '../expected.ts'
import type { Expected } from '../expected.ts'
import { bytesToHex, equalBytes } from '../lib/bytes.ts'
import { formatTime } from '../lib/time.ts'
import type { Comparison, EvidenceCheck } from '../result.ts'
import type { QuoteFacts } from './authenticate.ts'
import { atLeast, broken, flagsText, hex, inWords, numberIn, oneOf, waivable } from './compare.ts'
import { checkId } from './id.ts'
import { SGX_FLAGS, STRICT_SGX_POLICY, STRICT_TDX_POLICY, TD_ATTRIBUTES } from './policy.ts'
import type { IntelPolicy, SgxPolicy, TdxPolicy } from './policy.ts'
import type { SgxReport, TdReport } from './quote.ts'
import { evaluateTcb } from './tcb.ts'
import type { TcbEvaluation } from './tcb.ts'

export interface Appraisal {
  readonly checks: readonly EvidenceCheck[]
  /** Null if the collateral that it rests on was not there or does not hold. */
  readonly tcb: TcbEvaluation | null
  /** What was measured at run time, as event logs that hold tell it. TDX only. */
  readonly events: readonly ExtractedEvent[]
}

/** XFAM: x87 and SSE must be on (bits 0, 1), and nothing beyond these bits may be (TDX module specification, "fixed" bits). */
const XFAM_REQUIRED = 0x3n
const XFAM_ALLOWED = 0x6dbe7n
const XFAM_WORDS = `x87 and SSE (${hex(XFAM_REQUIRED)}) set, and nothing beyond ${hex(XFAM_ALLOWED)}`

/**
 * Appraises a TD, with the event logs that came with it. Every rule is run and reported; a rule that holds only because the policy is looser than the strict default says so: `warn`, WAIVED.
 */
export function appraiseTdx(
  facts: Authenticated<QuoteFacts>,
  policy: TdxPolicy,
  at: Date,
  expected: Expected = {},
  eventLogs: readonly EventLog[] = [],
): Appraisal {
  const { body } = facts.quote
  if (body.type === 'sgx') return { checks: [wrongTee('tdx', 'sgx')], tcb: null, events: [] }
  const { report } = body
  const tcb = evaluate(facts)
  const rtmr = (index: 0 | 1 | 2 | 3): EvidenceCheck =>
    oneOf(
      `tdx.rtmr${index}`,
      'RTMR',
      `RTMR${index}`,
      report.rtmrs[index],
      policy[`rtmr${index}` as const],
    )
  const log = appraiseLogs(eventLogs, report.rtmrs, policy.requiredEvents)
  return {
    tcb,
    events: log.events,
    checks: [
      ...platformChecks('tdx', facts, tcb, policy, at),
      debugTd(report),
      waivable(
        (rules) => tdAttributes(report, rules),
        policy.tdAttributes,
        STRICT_TDX_POLICY.tdAttributes,
      ),
      waivable(
        (mask) => unknownTdAttributes(report, mask),
        policy.unknownTdAttributes,
        STRICT_TDX_POLICY.unknownTdAttributes,
      ),
      xfamFixed(report),
      numberIn('tdx.xfam', 'XFAM', 'XFAM', report.xfam, policy.xfam),
      minimumTeeTcbSvn(report, policy.minimumTeeTcbSvn),
      oneOf('tdx.mrtd', 'MEASUREMENT', 'MRTD', report.mrTd, policy.mrTd),
      oneOf('tdx.mrseam', 'MRSEAM', 'MRSEAM', report.mrSeam, policy.mrSeam),
      oneOf('tdx.mrconfigid', 'CONFIG_ID', 'MRCONFIGID', report.mrConfigId, policy.mrConfigId),
      oneOf('tdx.mrowner', 'OWNER', 'MROWNER', report.mrOwner, policy.mrOwner),
      oneOf(
        'tdx.mrownerconfig',
        'OWNER',
        'MROWNERCONFIG',
        report.mrOwnerConfig,
        policy.mrOwnerConfig,
      ),
      oneOf('tdx.mrservicetd', 'SERVICE_TD', 'MRSERVICETD', report.mrServiceTd, policy.mrServiceTd),
      rtmr(0),
      rtmr(1),
      rtmr(2),
      rtmr(3),
      ...log.checks,
      reportData('tdx', report.reportData, policy.reportData),
      ...checkExpected('tdx', report.reportData, expected),
    ],
  }
}

/** Appraises an SGX enclave, in the same way. */
export function appraiseSgx(
  facts: Authenticated<QuoteFacts>,
  policy: SgxPolicy,
  at: Date,
  expected: Expected = {},
): Appraisal {
  const { body } = facts.quote
  if (body.type !== 'sgx') return { checks: [wrongTee('sgx', 'tdx')], tcb: null, events: [] }
  const { report } = body
  const tcb = evaluate(facts)
  const xfrm = new DataView(
    report.attributes.buffer,
    report.attributes.byteOffset,
    16,
  ).getBigUint64(8, true)
  return {
    tcb,
    events: [],
    checks: [
      ...platformChecks('sgx', facts, tcb, policy, at),
      debugEnclave(report),
      waivable((rules) => enclaveFlags(report, rules), policy.flags, STRICT_SGX_POLICY.flags),
      numberIn('sgx.xfrm', 'XFAM', 'XFRM', xfrm, policy.xfrm),
      numberIn('sgx.miscselect', 'ATTRIBUTES', 'MISCSELECT', report.miscSelect, policy.miscSelect),
      oneOf('sgx.mrenclave', 'MEASUREMENT', 'MRENCLAVE', report.mrEnclave, policy.mrEnclave),
      oneOf('sgx.mrsigner', 'SIGNER', 'MRSIGNER', report.mrSigner, policy.mrSigner),
      numberIn('sgx.isvprodid', 'SIGNER', 'ISVPRODID', report.isvProdId, policy.isvProdId),
      atLeast('sgx.isvsvn', 'ISV_SVN', 'ISVSVN', report.isvSvn, policy.minimumIsvSvn),
      oneOf('sgx.configid', 'CONFIG_ID', 'CONFIGID', report.configId, policy.configId),
      atLeast('sgx.configsvn', 'CONFIG_ID', 'CONFIGSVN', report.configSvn, policy.minimumConfigSvn),
      oneOf('sgx.isvfamilyid', 'SIGNER', 'ISVFAMILYID', report.isvFamilyId, policy.isvFamilyId),
      oneOf('sgx.isvextprodid', 'SIGNER', 'ISVEXTPRODID', report.isvExtProdId, policy.isvExtProdId),
      reportData('sgx', report.reportData, policy.reportData),
      ...checkExpected('sgx', report.reportData, expected),
    ],
  }
}

function wrongTee(wanted: 'sgx' | 'tdx', found: 'sgx' | 'tdx'): EvidenceCheck {
  const message = 'the policy is for another kind of TEE'
  const told = { expected: wanted.toUpperCase(), actual: found.toUpperCase() }
  return fail(checkId(wanted, 'body'), 'COLLATERAL_MISMATCH', message, told)
}

function evaluate({ quote, pck, tcbInfo, qeIdentity }: QuoteFacts): TcbEvaluation | null {
  if (tcbInfo === null || qeIdentity === null) return null
  const td = quote.body.type === 'sgx' ? null : quote.body.report
  return evaluateTcb({
    tcbInfo,
    qeIdentity,
    pck,
    qeIsvSvn: quote.qeReport.isvSvn,
    teeTcbSvn: td?.teeTcbSvn ?? null,
    teeTcbSvn2: td?.teeTcbSvn2 ?? null,
  })
}

function platformChecks(
  tee: 'sgx' | 'tdx',
  facts: QuoteFacts,
  tcb: TcbEvaluation | null,
  policy: IntelPolicy,
  at: Date,
): EvidenceCheck[] {
  const { quote, pck } = facts
  const strict = STRICT_TDX_POLICY
  const vendor = (accepted: IntelPolicy['qeVendorIds']): EvidenceCheck =>
    oneOf(
      checkId(tee, 'qe.vendor'),
      'QE_VENDOR',
      'vendor of the quoting enclave',
      quote.qeVendorId,
      accepted,
    )
  return [
    waivable((statuses) => tcbStatus(tee, tcb, statuses), policy.tcbStatuses, strict.tcbStatuses),
    advisories(tee, tcb, policy, at),
    tcbDate(tee, tcb, policy.minimumTcbDate),
    evaluationNumber(
      checkId(tee, 'tcbInfo.number'),
      'TCB info',
      facts.tcbInfo,
      policy.minimumEvaluationNumbers.tcbInfo,
    ),
    evaluationNumber(
      checkId(tee, 'qeIdentity.number'),
      'identity of the quoting enclave',
      facts.qeIdentity,
      policy.minimumEvaluationNumbers.qeIdentity,
    ),
    waivable(vendor, policy.qeVendorIds, strict.qeVendorIds),
    atLeast(
      checkId(tee, 'qe.svn'),
      'QE_SVN',
      'quoting enclave’s ISVSVN',
      quote.qeReport.isvSvn,
      policy.minimumQeSvn,
    ),
    atLeast(checkId(tee, 'pce.svn'), 'QE_SVN', 'PCESVN', pck.pceSvn, policy.minimumPceSvn),
    oneOf(checkId(tee, 'fmspc'), 'FMSPC', 'FMSPC', pck.fmspc, policy.fmspcs),
    oneOf(checkId(tee, 'ppid'), 'PPID', 'PPID', pck.ppid, policy.ppids),
  ]
}

/** Intel QVL 4.1.2.5.18 to 20. A TCB that no level covers, or whose status is not known, has no status that could be accepted. */
function tcbStatus(
  tee: 'sgx' | 'tdx',
  tcb: TcbEvaluation | null,
  tcbStatuses: IntelPolicy['tcbStatuses'],
): EvidenceCheck {
  const id = checkId(tee, 'tcb.status')
  if (tcb === null)
    return skip(id, 'without collateral the TCB has no status', 'COLLATERAL_MISSING')
  const [problem] = tcb.problems
  if (problem !== undefined) return failAll(id, problem, tcb.problems)
  const more = { expected: tcbStatuses.join(' or '), actual: tcb.status ?? 'none' }
  if (tcb.status === null) return fail(id, 'TCB_STATUS_UNKNOWN', 'the TCB has no status', more)
  return tcb.status !== 'Revoked' && tcbStatuses.includes(tcb.status)
    ? pass(id, `the TCB is ${tcb.status}`, more)
    : fail(id, 'TCB_STATUS', `the TCB is ${tcb.status}`, more)
}

const NOTHING_OPEN = 'no advisory without an exception that still runs'
const NONE_OPEN: Comparison = { expected: NOTHING_OPEN, actual: 'none' }

/** Up to date means that nothing is open. In any other status every advisory needs an exception of its own that has not run out. */
function advisories(
  tee: 'sgx' | 'tdx',
  tcb: TcbEvaluation | null,
  { advisoryExceptions }: IntelPolicy,
  at: Date,
): EvidenceCheck {
  const id = checkId(tee, 'tcb.advisories')
  if (tcb?.status == null)
    return skip(id, 'without a TCB status no advisory can be judged', 'COLLATERAL_MISSING')
  if (tcb.status === 'UpToDate')
    return pass(id, 'the TCB is up to date, so no advisory is open', NONE_OPEN)
  const open: string[] = []
  const excused: string[] = []
  for (const advisory of tcb.advisoryIds) {
    const exception = advisoryExceptions.find((each) => each.advisory === advisory)
    if (exception === undefined) open.push(advisory)
    else if (!(at <= exception.expires))
      open.push(`${advisory} (its exception ended ${formatTime(exception.expires)})`)
    else
      excused.push(
        `${advisory} (${exception.owner} until ${formatTime(exception.expires)}: ${exception.reason})`,
      )
  }
  if (open.length > 0)
    return fail(id, 'TCB_ADVISORY', `open: ${open.join(', ')}`, {
      expected: NOTHING_OPEN,
      actual: tcb.advisoryIds.join(', '),
      hint: 'update the platform, or accept an advisory for a while with advisoryExceptions',
    })
  return excused.length === 0
    ? pass(id, 'no advisory applies', NONE_OPEN)
    : warn(id, 'WAIVED', `excused: ${excused.join(', ')}`, {
        expected: NOTHING_OPEN,
        actual: tcb.advisoryIds.join(', '),
      })
}

function tcbDate(
  tee: 'sgx' | 'tdx',
  tcb: TcbEvaluation | null,
  minimum: Date | undefined,
): EvidenceCheck {
  const id = checkId(tee, 'tcb.date')
  if (minimum === undefined) return skip(id, 'no minimum TCB date was given')
  const expected = `from ${formatTime(minimum)} on`
  if (tcb?.tcbDate == null)
    return fail(id, 'TCB_DATE', 'the TCB has no date', { expected, actual: 'none' })
  const more = { expected, actual: formatTime(tcb.tcbDate) }
  return tcb.tcbDate >= minimum
    ? pass(id, 'the TCB is recent enough', more)
    : fail(id, 'TCB_DATE', 'the TCB is too old', more)
}

function evaluationNumber(
  id: string,
  what: string,
  statement: { readonly evaluationNumber: number } | null,
  minimum: number | undefined,
): EvidenceCheck {
  if (minimum === undefined)
    return skip(id, `no minimum evaluation number of the ${what} was given`)
  const expected = `at least ${minimum}`
  if (statement === null)
    return fail(id, 'EVAL_NUMBER_LOW', `there is no ${what}`, { expected, actual: 'none' })
  const more = { expected, actual: `${statement.evaluationNumber}` }
  return statement.evaluationNumber >= minimum
    ? pass(id, `the ${what} is recent enough`, more)
    : fail(id, 'EVAL_NUMBER_LOW', `the ${what} has an evaluation number that is too low`, more)
}

const NO_DEBUG = 'debugging not allowed (DEBUG clear)'
const DEBUG_CLEAR: Comparison = { expected: NO_DEBUG, actual: 'not allowed (DEBUG clear)' }
const DEBUG_SET: Comparison = { expected: NO_DEBUG, actual: 'allowed (DEBUG set)' }

function debugTd({ tdAttributes: attributes }: TdReport): EvidenceCheck {
  return (attributes & 1n) === 0n
    ? pass('tdx.debug', 'the TD can’t be debugged', DEBUG_CLEAR)
    : fail('tdx.debug', 'DEBUG', 'the TD can be debugged: the host can read its memory', DEBUG_SET)
}

function debugEnclave({ attributes }: SgxReport): EvidenceCheck {
  return ((attributes[0] ?? 0) & 2) === 0
    ? pass('sgx.debug', 'the enclave can’t be debugged', DEBUG_CLEAR)
    : fail(
        'sgx.debug',
        'DEBUG',
        'the enclave can be debugged: its memory can be read from outside',
        DEBUG_SET,
      )
}

const maskOf = (positions: Readonly<Record<string, number>>): bigint =>
  Object.values(positions).reduce((mask, position) => mask | (1n << BigInt(position)), 0n)
const KNOWN_TD_ATTRIBUTES = maskOf(TD_ATTRIBUTES)
const KNOWN_SGX_FLAGS = maskOf(SGX_FLAGS)

function tdAttributes(report: TdReport, rules: TdxPolicy['tdAttributes']): EvidenceCheck {
  const id = 'tdx.attributes'
  const problems = broken(report.tdAttributes, TD_ATTRIBUTES, rules)
  const actual = flagsText(report.tdAttributes, TD_ATTRIBUTES)
  const more = { expected: inWords(rules), actual }
  return problems.length === 0
    ? pass(id, 'the attributes of the TD are accepted', more)
    : fail(id, 'ATTRIBUTES', problems.join(', '), more)
}

const NO_UNKNOWN = 'no attribute that this verifier does not know'

function unknownTdAttributes(
  report: TdReport,
  accepted: TdxPolicy['unknownTdAttributes'],
): EvidenceCheck {
  const id = 'tdx.attributes-unknown'
  const unknown = report.tdAttributes & ~KNOWN_TD_ATTRIBUTES
  const told = {
    expected: accepted === 0n ? NO_UNKNOWN : `${NO_UNKNOWN} but ${hex(accepted)}`,
    actual: unknown === 0n ? 'none' : hex(unknown),
  }
  return (unknown & ~accepted) === 0n
    ? pass(id, 'no unknown attribute is set that must not be', told)
    : fail(id, 'ATTRIBUTES', 'attributes are set that this verifier does not know', told)
}

function enclaveFlags(report: SgxReport, rules: SgxPolicy['flags']): EvidenceCheck {
  const id = 'sgx.attributes'
  const flags = new DataView(
    report.attributes.buffer,
    report.attributes.byteOffset,
    16,
  ).getBigUint64(0, true)
  const problems = broken(flags, SGX_FLAGS, rules)
  const unknown = flags & ~KNOWN_SGX_FLAGS
  if (unknown !== 0n) problems.push(`the unknown flags ${hex(unknown)} must not be set`)
  const more = { expected: inWords(rules), actual: flagsText(flags, SGX_FLAGS) }
  return problems.length === 0
    ? pass(id, 'the attributes of the enclave are accepted', more)
    : fail(id, 'ATTRIBUTES', problems.join(', '), more)
}

function xfamFixed({ xfam }: TdReport): EvidenceCheck {
  const id = 'tdx.xfam-fixed'
  const problems: string[] = []
  if ((xfam & XFAM_REQUIRED) !== XFAM_REQUIRED) problems.push('x87 and SSE must be on')
  if ((xfam & ~XFAM_ALLOWED) !== 0n) problems.push(`${hex(xfam & ~XFAM_ALLOWED)} must not be set`)
  const told = { expected: XFAM_WORDS, actual: hex(xfam) }
  return problems.length === 0
    ? pass(id, 'the fixed bits of XFAM are as the TDX module demands', told)
    : fail(id, 'XFAM', problems.join(', '), told)
}

function minimumTeeTcbSvn(report: TdReport, minimum: Uint8Array | undefined): EvidenceCheck {
  const id = 'tdx.tee-tcb-svn'
  if (minimum === undefined) return skip(id, 'no minimum TEE_TCB_SVN was given')
  const more = {
    expected: `at least ${bytesToHex(minimum)}`,
    actual: bytesToHex(report.teeTcbSvn),
  }
  return minimum.every((svn, index) => (report.teeTcbSvn[index] ?? 0) >= svn)
    ? pass(id, 'every component of TEE_TCB_SVN is high enough', more)
    : fail(id, 'TCB_BELOW_MINIMUM', 'a component of TEE_TCB_SVN is too low', more)
}

function reportData(
  tee: 'sgx' | 'tdx',
  data: Uint8Array,
  wanted: Uint8Array | undefined,
): EvidenceCheck {
  const id = checkId(tee, 'report-data')
  if (wanted === undefined) return skip(id, 'no report data was given to compare with')
  const more = { expected: bytesToHex(wanted), actual: bytesToHex(data) }
  return equalBytes(wanted, data)
    ? pass(id, 'the report data is as expected', more)
    : fail(id, 'REPORT_DATA', 'the report data is not as expected', more)
}
