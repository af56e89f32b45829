// The single owner of Intel's TCB evaluation: which level a platform, a TDX module and a quoting enclave are at, and what the levels mean together.
import type {
  QeIdentity,
  TcbInfo,
  PlatformLevel,
  IsvLevel,
  TdxModuleIdentity,
} from './collateral.ts'
import type { PckFacts } from './pck.ts'
import { bytesToHex } from '../lib/bytes.ts'
import type { Problem } from '../lib/chain.ts'

/** Every status that Intel's verifier can give to a TCB. Any other string in collateral fails. */
export const TCB_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'TDRelaunchAdvised',
  'TDRelaunchAdvisedConfigurationNeeded',
  'Revoked',
] as const
export type TcbStatus = (typeof TCB_STATUSES)[number]

/** The statuses that collateral itself may carry: the two "relaunch" ones exist only as a result. */
const COLLATERAL_STATUSES: ReadonlySet<string> = new Set(
  TCB_STATUSES.filter((status) => !status.startsWith('TDRelaunch')),
)

/** One level that was selected, as the collateral states it. */
export interface SelectedLevel {
  readonly status: TcbStatus
  readonly tcbDate: Date
  readonly advisoryIds: readonly string[]
}

export interface TcbEvaluation {
  /** The whole, converged; null if there are problems. */
  readonly status: TcbStatus | null
  /** The oldest date among the selected levels. */
  readonly tcbDate: Date | null
  /** All advisories of the selected levels, each once, sorted. */
  readonly advisoryIds: readonly string[]
  readonly platform: SelectedLevel | null
  /** Null for SGX, and for module version 0, whose SVN is part of the platform level. */
  readonly module: SelectedLevel | null
  readonly qe: SelectedLevel | null
  /** TDX 1.5: the converged status of the module that runs now. Null otherwise. */
  readonly current: TcbStatus | null
  readonly problems: readonly Problem[]
}

const atLeast = (have: ArrayLike<number>, want: readonly number[], from: number): boolean =>
  want.every((svn, index) => index < from || (have[index] ?? -1) >= svn)

/**
 * The first level, in descending order, whose every requirement the platform meets (Intel QVL 4.1.2.5.18).
 * With a TDX module of version 1 or later its SVN lies in the module's own identity, so components 0 and 1 are not compared here.
 */
export function selectPlatformLevel(
  levels: readonly PlatformLevel[],
  pck: Pick<PckFacts, 'components' | 'pceSvn'>,
  teeTcbSvn: Uint8Array | null,
): PlatformLevel | undefined {
  const from = (teeTcbSvn?.[1] ?? 0) > 0 ? 2 : 0
  return levels.find(
    (level) =>
      atLeast(pck.components, level.sgxComponents, 0) &&
      pck.pceSvn >= level.pceSvn &&
      (teeTcbSvn === null ||
        (level.tdxComponents !== null && atLeast(teeTcbSvn, level.tdxComponents, from))),
  )
}

/** The highest level that an enclave's or module's ISVSVN reaches. `levels` are in descending order. */
export function selectIsvLevel(levels: readonly IsvLevel[], isvSvn: number): IsvLevel | undefined {
  return levels.find((level) => isvSvn >= level.isvSvn)
}

/** The identity of the TDX module's major version `TEE_TCB_SVN[1]` (Intel QVL 4.1.2.5.12). */
export function findModuleIdentity(
  tcbInfo: TcbInfo,
  version: number,
): TdxModuleIdentity | undefined {
  const id = `TDX_${version.toString(16).toUpperCase().padStart(2, '0')}`
  return tcbInfo.tdxModuleIdentities.find((identity) => identity.id === id)
}

/** Which TDX modules TCB info knows. */
export function describeModules({ tdxModuleIdentities }: TcbInfo): string {
  const ids = tdxModuleIdentities.map(({ id }) => id)
  return ids.length === 0 ? 'no identity of a module' : `identities of ${ids.join(', ')}`
}

interface Needs {
  readonly outOfDate: boolean
  readonly configuration: boolean
  readonly hardening: boolean
}

const NEEDS: Readonly<Record<Exclude<TcbStatus, 'Revoked'>, Needs>> = {
  UpToDate: { outOfDate: false, configuration: false, hardening: false },
  SWHardeningNeeded: { outOfDate: false, configuration: false, hardening: true },
  ConfigurationNeeded: { outOfDate: false, configuration: true, hardening: false },
  ConfigurationAndSWHardeningNeeded: { outOfDate: false, configuration: true, hardening: true },
  OutOfDate: { outOfDate: true, configuration: false, hardening: false },
  OutOfDateConfigurationNeeded: { outOfDate: true, configuration: true, hardening: false },
  TDRelaunchAdvised: { outOfDate: true, configuration: false, hardening: false },
  TDRelaunchAdvisedConfigurationNeeded: { outOfDate: true, configuration: true, hardening: false },
}

/**
 * Two statuses that hold at the same time, as one. For a platform level and a component (quoting enclave, module) that is UpToDate, OutOfDate or
 * Revoked this is Intel's table (QVL 4.1.2.5.19): out of date wins over hardening, and keeps "configuration needed". For other component
 * statuses, which Intel's verifier ignores, what either needs is needed.
 */
export function converge(a: TcbStatus, b: TcbStatus): TcbStatus {
  if (a === 'Revoked' || b === 'Revoked') return 'Revoked'
  const configuration = NEEDS[a].configuration || NEEDS[b].configuration
  if (NEEDS[a].outOfDate || NEEDS[b].outOfDate)
    return configuration ? 'OutOfDateConfigurationNeeded' : 'OutOfDate'
  const hardening = NEEDS[a].hardening || NEEDS[b].hardening
  if (configuration) return hardening ? 'ConfigurationAndSWHardeningNeeded' : 'ConfigurationNeeded'
  return hardening ? 'SWHardeningNeeded' : 'UpToDate'
}

/**
 * TDX 1.5 (Intel QVL 4.1.2.5.20): a TD that was launched on a module that is out of date, but runs on one that is not (after a TD-preserving
 * update), should be relaunched. Stricter than Intel: whatever the module that runs now needs is not hidden by a good launch.
 */
export function relaunch(launch: TcbStatus, current: TcbStatus): TcbStatus {
  if (current === 'Revoked' || launch === 'Revoked') return 'Revoked'
  if (NEEDS[current].outOfDate) return converge(launch, current)
  if (!NEEDS[launch].outOfDate) return converge(launch, current)
  return NEEDS[launch].configuration || NEEDS[current].configuration
    ? 'TDRelaunchAdvisedConfigurationNeeded'
    : 'TDRelaunchAdvised'
}

export interface TcbInput {
  readonly tcbInfo: TcbInfo
  readonly qeIdentity: QeIdentity
  readonly pck: Pick<PckFacts, 'components' | 'pceSvn'>
  readonly qeIsvSvn: number
  /** Null for SGX. */
  readonly teeTcbSvn: Uint8Array | null
  /** TDX 1.5 only. */
  readonly teeTcbSvn2: Uint8Array | null
}

/** Judges authenticated facts against authenticated collateral (Intel QVL 4.1.2.5.18 to 20). Pure. */
export function evaluateTcb(input: TcbInput): TcbEvaluation {
  const problems: Problem[] = []
  const qeLevel = selectIsvLevel(input.qeIdentity.levels, input.qeIsvSvn)
  if (qeLevel === undefined)
    problems.push({
      code: 'TCB_NOT_SUPPORTED',
      message: `no level of the quoting enclave's identity covers ISVSVN ${input.qeIsvSvn}`,
      expected: lowest(input.qeIdentity.levels),
      actual: `ISVSVN ${input.qeIsvSvn}`,
    })
  const qe = recognise(qeLevel, 'quoting enclave', problems)
  const launch = evaluateModule(input, input.teeTcbSvn, problems)
  const now =
    input.teeTcbSvn2 === null
      ? null
      : evaluateModule(input, input.teeTcbSvn2, problems, ' (running now)')

  // what the running module lacks is open as well, also where the launch was good
  const selected = [launch.platform, launch.module, now?.platform, now?.module, qe].filter(
    (level) => level != null,
  )
  const evaluation = {
    tcbDate:
      selected.length === 0
        ? null
        : new Date(Math.min(...selected.map((level) => level.tcbDate.getTime()))),
    advisoryIds: [...new Set(selected.flatMap((level) => level.advisoryIds))].sort(),
    platform: launch.platform,
    module: launch.module,
    qe,
    problems,
  }
  if (problems.length > 0 || launch.status === null || qe === null)
    return { ...evaluation, status: null, current: null }
  const launched = converge(launch.status, qe.status)
  if (now?.status == null) return { ...evaluation, status: launched, current: null }
  const current = converge(now.status, qe.status)
  return { ...evaluation, status: relaunch(launched, current), current }
}

interface ModuleEvaluation {
  readonly platform: SelectedLevel | null
  readonly module: SelectedLevel | null
  readonly status: TcbStatus | null
}

/** Platform and module level for one TEE_TCB_SVN. */
function evaluateModule(
  input: TcbInput,
  teeTcbSvn: Uint8Array | null,
  problems: Problem[],
  which = '',
): ModuleEvaluation {
  const level = selectPlatformLevel(input.tcbInfo.levels, input.pck, teeTcbSvn)
  if (level === undefined)
    problems.push({
      code: 'TCB_NOT_SUPPORTED',
      message: `no TCB level covers the platform${which}`,
      expected: 'a TCB level all of whose SVNs the platform reaches',
      actual: svns(input, teeTcbSvn),
    })
  const platform = recognise(level, `platform${which}`, problems)
  const version = teeTcbSvn?.[1] ?? 0
  if (teeTcbSvn === null || version === 0)
    return { platform, module: null, status: platform?.status ?? null }

  const identity = findModuleIdentity(input.tcbInfo, version)
  if (identity === undefined) {
    problems.push({
      code: 'MODULE_MISMATCH',
      message: `the TCB info has no identity for TDX module version ${version}${which}`,
      expected: `an identity of TDX module version ${version}`,
      actual: describeModules(input.tcbInfo),
    })
    return { platform, module: null, status: null }
  }
  const isvSvn = teeTcbSvn[0] ?? 0
  const moduleLevel = selectIsvLevel(identity.levels, isvSvn)
  if (moduleLevel === undefined)
    problems.push({
      code: 'TCB_NOT_SUPPORTED',
      message: `no level of ${identity.id} covers module SVN ${isvSvn}${which}`,
      expected: lowest(identity.levels),
      actual: `ISVSVN ${isvSvn}`,
    })
  const module = recognise(moduleLevel, `TDX module${which}`, problems)
  const status =
    platform === null || module === null ? null : converge(platform.status, module.status)
  return { platform, module, status }
}

/** The least that any level asks for. */
function lowest(levels: readonly IsvLevel[]): string {
  const last = levels.at(-1)
  return last === undefined ? 'a level; there is none' : `at least ISVSVN ${last.isvSvn}`
}

function svns({ pck }: TcbInput, teeTcbSvn: Uint8Array | null): string {
  const tdx = teeTcbSvn === null ? '' : `, TEE_TCB_SVN ${bytesToHex(teeTcbSvn)}`
  return `SGX components ${bytesToHex(Uint8Array.from(pck.components))}, PCESVN ${pck.pceSvn}${tdx}`
}

/** A selected level with its status understood; an unknown status is a problem, never a pass. */
function recognise(
  level: PlatformLevel | IsvLevel | undefined,
  what: string,
  problems: Problem[],
): SelectedLevel | null {
  if (level === undefined) return null
  if (!COLLATERAL_STATUSES.has(level.status)) {
    problems.push({
      code: 'TCB_STATUS_UNKNOWN',
      message: `the ${what} has the TCB status ${JSON.stringify(level.status)}, which is not known`,
      expected: [...COLLATERAL_STATUSES].join(' or '),
      actual: JSON.stringify(level.status),
    })
    return null
  }
  return {
    status: level.status as TcbStatus,
    tcbDate: level.tcbDate,
    advisoryIds: level.advisoryIds,
  }
}
