// The single owner of putting an authenticated quote into words.
import type { Authenticated } from '../authenticated.ts'
import { eventFields } from '../eventlog/index.ts'
import type { ExtractedEvent } from '../eventlog/index.ts'
import { bytesToHex, isZero } from '../lib/bytes.ts'
import { formatTime } from '../lib/time.ts'
import type { ClaimField, Claims } from '../result.ts'
import type { QuoteFacts } from './authenticate.ts'
import { SGX_FLAGS, TD_ATTRIBUTES } from './policy.ts'
import type { SgxFlag, TdAttribute } from './policy.ts'
import type { SgxReport, TdReport } from './quote.ts'
import type { TcbEvaluation } from './tcb.ts'

const TD_WORDS: Readonly<Record<TdAttribute, string>> = {
  DEBUG: 'debugging on',
  HGS_PLUS_PROF: 'HGS+ profiling',
  PERF_PROF: 'performance profiling',
  PMT_PROF: 'telemetry profiling',
  ICSSD: 'interrupt storm defence off',
  LASS: 'linear address space separation',
  SEPT_VE_DISABLE: 'no exception on pending pages',
  MIGRATABLE: 'can be migrated',
  PKS: 'supervisor protection keys',
  KL: 'key locker',
  TPA: 'TD partitioning assist',
  PERFMON: 'performance monitoring',
}

const SGX_WORDS: Readonly<Record<SgxFlag, string>> = {
  INIT: 'initialised',
  DEBUG: 'debugging on',
  MODE64BIT: '64 bit',
  PROVISION_KEY: 'provisioning key',
  EINITTOKEN_KEY: 'launch key',
  CET: 'control flow enforcement',
  KSS: 'key separation and sharing',
  AEX_NOTIFY: 'exit notification',
}

/** Every field that a person would ask for, in reading order; what was measured at run time comes last. */
export function quoteClaims(
  facts: Authenticated<QuoteFacts>,
  tcb: TcbEvaluation | null,
  events: readonly ExtractedEvent[],
): Claims {
  const { quote, pck, pckIssuer } = facts
  const fields: ClaimField[] = []
  const add = (name: string, value: string, meaning?: string): void => {
    fields.push(
      meaning === undefined || meaning === '' ? { name, value } : { name, value, meaning },
    )
  }
  const { body } = quote
  const kind = { sgx: 'SGX enclave', td10: 'TDX 1.0', td15: 'TDX 1.5' }[body.type]
  add('quote version', `${quote.version}`, `${kind} body`)
  add('FMSPC', bytesToHex(pck.fmspc))
  add('PPID', bytesToHex(pck.ppid))
  add('PCE id', bytesToHex(pck.pceId))
  add('SGX type', pck.sgxType, `certified by the ${pckIssuer} CA`)
  if (pck.platformInstanceId !== null) {
    const none = isZero(pck.platformInstanceId)
    add('platform instance', none ? '0' : bytesToHex(pck.platformInstanceId), none ? 'none' : '')
  }
  if (pck.configuration !== null) {
    const { dynamicPlatform, cachedKeys, smtEnabled } = pck.configuration
    const words = [
      `packages ${dynamicPlatform ? 'can' : 'can’t'} be added`,
      `keys ${cachedKeys ? 'are' : 'are not'} kept by Intel`,
      `hyper-threading ${smtEnabled ? 'on' : 'off'}`,
    ]
    add('platform setup', bytesToHex(pck.cpuSvn), words.join(', '))
  }
  add('CPUSVN', bytesToHex(pck.cpuSvn))
  add('PCESVN', `${pck.pceSvn}`)
  addTcb(add, facts, tcb)
  add('quoting enclave', bytesToHex(quote.qeReport.mrEnclave), `ISVSVN ${quote.qeReport.isvSvn}`)
  add('quote user data', bytesToHex(quote.userData))
  const common = {
    product: bytesToHex(pck.fmspc),
    instanceId: bytesToHex(pck.ppid),
    tcb: tcbText(tcb),
    fields,
  }
  return body.type === 'sgx'
    ? { platform: 'sgx', ...common, ...enclave(add, body.report) }
    : { platform: 'tdx', ...common, ...trustDomain(add, body.report, events) }
}

type Add = (name: string, value: string, meaning?: string) => void
type Own = Pick<Claims, 'measurement' | 'reportData' | 'debug'>

function tcbText(tcb: TcbEvaluation | null): string {
  if (tcb === null) return 'unknown (no collateral)'
  return tcb.status ?? 'not supported'
}

function addTcb(add: Add, { tcbInfo, qeIdentity }: QuoteFacts, tcb: TcbEvaluation | null): void {
  add('TCB status', tcbText(tcb))
  if (tcb === null) return
  const level = (name: string, selected: TcbEvaluation['platform']): void => {
    if (selected !== null) add(name, selected.status, `level of ${formatTime(selected.tcbDate)}`)
  }
  level('platform TCB', tcb.platform)
  level('TDX module TCB', tcb.module)
  level('quoting enclave TCB', tcb.qe)
  if (tcb.current !== null) add('TCB of the module that runs now', tcb.current)
  if (tcb.tcbDate !== null) add('TCB date', formatTime(tcb.tcbDate))
  if (tcb.advisoryIds.length > 0) add('advisories', tcb.advisoryIds.join(', '))
  if (tcbInfo !== null) add('TCB info number', `${tcbInfo.evaluationNumber}`)
  if (qeIdentity !== null) add('QE identity number', `${qeIdentity.evaluationNumber}`)
}

function trustDomain(add: Add, report: TdReport, events: readonly ExtractedEvent[]): Own {
  const bytes = (name: string, value: Uint8Array): void => {
    if (isZero(value)) add(name, '0', 'not set')
    else add(name, bytesToHex(value))
  }
  const [svn = 0, version = 0, loader = 0] = report.teeTcbSvn
  add(
    'TEE_TCB_SVN',
    bytesToHex(report.teeTcbSvn),
    `TDX module ${version}.${svn}, SEAM loader ${loader}`,
  )
  if (report.teeTcbSvn2 !== null) {
    const [now = 0, nowVersion = 0] = report.teeTcbSvn2
    add(
      'TEE_TCB_SVN_2',
      bytesToHex(report.teeTcbSvn2),
      `running now: TDX module ${nowVersion}.${now}`,
    )
  }
  add('MRSEAM', bytesToHex(report.mrSeam))
  add(
    'TDATTRIBUTES',
    `0x${report.tdAttributes.toString(16)}`,
    inWords(report.tdAttributes, TD_ATTRIBUTES, TD_WORDS),
  )
  add('XFAM', `0x${report.xfam.toString(16)}`)
  add('MRTD', bytesToHex(report.mrTd))
  bytes('MRCONFIGID', report.mrConfigId)
  bytes('MROWNER', report.mrOwner)
  bytes('MROWNERCONFIG', report.mrOwnerConfig)
  if (report.mrServiceTd !== null) bytes('MRSERVICETD', report.mrServiceTd)
  for (const [index, rtmr] of report.rtmrs.entries()) bytes(`RTMR${index}`, rtmr)
  for (const { name, value, meaning } of eventFields(events)) add(name, value, meaning)
  return {
    measurement: bytesToHex(report.mrTd),
    reportData: bytesToHex(report.reportData),
    debug: (report.tdAttributes & 1n) === 1n,
  }
}

function enclave(add: Add, report: SgxReport): Own {
  const { attributes } = report
  const flags = new DataView(attributes.buffer, attributes.byteOffset, 16).getBigUint64(0, true)
  add('MRENCLAVE', bytesToHex(report.mrEnclave))
  add('MRSIGNER', bytesToHex(report.mrSigner))
  add('ISVPRODID', `${report.isvProdId}`)
  add('ISVSVN', `${report.isvSvn}`)
  add('ATTRIBUTES', bytesToHex(attributes), inWords(flags, SGX_FLAGS, SGX_WORDS))
  add('MISCSELECT', `0x${report.miscSelect.toString(16)}`)
  return {
    measurement: bytesToHex(report.mrEnclave),
    reportData: bytesToHex(report.reportData),
    debug: (flags & 2n) === 2n,
  }
}

function inWords<K extends string>(
  flags: bigint,
  positions: Readonly<Record<K, number>>,
  words: Readonly<Record<K, string>>,
): string {
  return (Object.keys(positions) as K[])
    .filter((name) => ((flags >> BigInt(positions[name])) & 1n) === 1n)
    .map((name) => words[name])
    .join(', ')
}
