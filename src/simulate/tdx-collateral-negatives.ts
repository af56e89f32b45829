// The single owner of the TDX negatives that lie in TCB levels, TCB info and QE identity, each signed by the TCB signer.
import { formatTime } from '../../attestation/lib/index.ts'
import { daysFrom, RECORDED_AT } from './pki.ts'
import {
  EVALUATION_NUMBER,
  LEVEL,
  tcbInfoJson,
  type IsvLevelJson,
  type QeIdentityJson,
  type TcbInfoJson,
} from './tdx-collateral.ts'
import {
  running,
  set,
  TEE_TCB_SVN,
  tdxNegative as negative,
  type TdxNegative,
} from './tdx-negative.ts'
import { simulateTdx, type TdxRequest } from './tdx.ts'

const lowered = (values: readonly number[], index: number, by: number): readonly number[] =>
  values.map((value, i) => (i === index ? value - by : value))

// --- TCB levels ---

/** The best platform level asks for more at one TDX component, or all levels do. */
const tdxComponent =
  (index: number, levels: 1 | 2) =>
  (info: TcbInfoJson): TcbInfoJson => ({
    ...info,
    tcbLevels: info.tcbLevels.map((level, i) => {
      const tdx = level.tcb.tdxtcbcomponents?.map(({ svn }, at) => ({
        svn: at === index && i < levels ? (TEE_TCB_SVN[index] ?? 0) + 1 : svn,
      }))
      return {
        ...level,
        tcb: { ...level.tcb, ...(tdx === undefined ? {} : { tdxtcbcomponents: tdx }) },
      }
    }),
  })

const components = LEVEL.components.flatMap((_, index): readonly TdxNegative[] => [
  negative(
    `pck-component-${index}-out-of-date`,
    ['TCB_STATUS'],
    `PCK component ${index} is one below the UpToDate level`,
    {
      pck: { components: lowered(LEVEL.components, index, 1) },
    },
  ),
  negative(
    `pck-component-${index}-unsupported`,
    ['TCB_NOT_SUPPORTED'],
    `PCK component ${index} is below every level`,
    {
      pck: { components: lowered(LEVEL.components, index, 2) },
    },
  ),
  ...(index < 2
    ? []
    : [
        negative(
          `tdx-component-${index}-out-of-date`,
          ['TCB_STATUS'],
          `the UpToDate level asks for more at TDX component ${index}`,
          {
            tcbInfo: tdxComponent(index, 1),
          },
        ),
        negative(
          `tdx-component-${index}-unsupported`,
          ['TCB_NOT_SUPPORTED'],
          `every level asks for more at TDX component ${index}`,
          {
            tcbInfo: tdxComponent(index, 2),
          },
        ),
      ]),
])

/** A machine whose levels all have another status. */
const platformStatus = (tcbStatus: string): TdxRequest => ({
  tcbInfo: (info) => ({
    ...info,
    tcbLevels: info.tcbLevels.map((level) => ({ ...level, tcbStatus })),
  }),
})
const withStatus = (levels: readonly IsvLevelJson[], tcbStatus: string): readonly IsvLevelJson[] =>
  levels.map((level) => ({ ...level, tcbStatus }))
const moduleStatus = (tcbStatus: string): TdxRequest => ({
  tcbInfo: (info) => ({
    ...info,
    tdxModuleIdentities: info.tdxModuleIdentities?.map((identity) => ({
      ...identity,
      tcbLevels: withStatus(identity.tcbLevels, tcbStatus),
    })),
  }),
})
const qeStatus = (tcbStatus: string): TdxRequest => ({
  qeIdentity: (identity) => ({ ...identity, tcbLevels: withStatus(identity.tcbLevels, tcbStatus) }),
})

const STATUSES = [
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] as const

const levels: readonly TdxNegative[] = [
  negative('pcesvn-out-of-date', ['TCB_STATUS'], 'PCESVN is one below the UpToDate level', {
    pck: { pceSvn: LEVEL.pceSvn - 1 },
  }),
  negative('pcesvn-unsupported', ['TCB_NOT_SUPPORTED'], 'PCESVN is below every level', {
    pck: { pceSvn: LEVEL.pceSvn - 2 },
  }),
  // Module version 0 has no identity of its own: components 0 and 1 of the platform level count then.
  negative(
    'module-0-out-of-date',
    ['TCB_STATUS'],
    'TDX 1.0 module with SVN 4',
    running(set(LEVEL.tdx, 0, 4)),
  ),
  negative(
    'module-0-unsupported',
    ['TCB_NOT_SUPPORTED'],
    'TDX 1.0 module with SVN 3',
    running(set(LEVEL.tdx, 0, 3)),
  ),
  negative(
    'module-out-of-date',
    ['TCB_STATUS'],
    'TDX_01 with SVN 4',
    running(set(TEE_TCB_SVN, 0, 4)),
  ),
  negative(
    'module-unsupported',
    ['TCB_NOT_SUPPORTED'],
    'TDX_01 with SVN 3',
    running(set(TEE_TCB_SVN, 0, 3)),
  ),
  negative(
    'seam-loader-out-of-date',
    ['TCB_STATUS'],
    'SEAM loader SVN 5',
    running(set(TEE_TCB_SVN, 2, 5)),
  ),
  negative('relaunch-advised', ['TCB_STATUS'], 'launched on an old module, runs on a new one', {
    td: { teeTcbSvn: set(TEE_TCB_SVN, 0, 4) },
  }),
  negative(
    'current-module-out-of-date',
    ['TCB_STATUS'],
    'launched on a new module, runs on an old one',
    {
      td: { teeTcbSvn2: set(TEE_TCB_SVN, 0, 4) },
    },
  ),
  negative(
    'qe-out-of-date',
    ['TCB_STATUS'],
    'the quoting enclave is one below its UpToDate level',
    {
      qe: { isvSvn: LEVEL.qe - 1 },
    },
  ),
  negative('qe-unsupported', ['TCB_NOT_SUPPORTED'], 'the quoting enclave is below every level', {
    qe: { isvSvn: LEVEL.qe - 2 },
  }),
  ...STATUSES.flatMap((status) => [
    negative(
      `platform-${status}`,
      ['TCB_STATUS'],
      `the platform's level says ${status}`,
      platformStatus(status),
    ),
    negative(
      `module-${status}`,
      ['TCB_STATUS'],
      `the TDX module's level says ${status}`,
      moduleStatus(status),
    ),
    negative(
      `qe-${status}`,
      ['TCB_STATUS'],
      `the quoting enclave's level says ${status}`,
      qeStatus(status),
    ),
  ]),
  negative(
    'platform-status-unknown',
    ['TCB_STATUS_UNKNOWN'],
    'a status that does not exist',
    platformStatus('Fine'),
  ),
  negative(
    'module-status-unknown',
    ['TCB_STATUS_UNKNOWN'],
    'a status that does not exist',
    moduleStatus('uptodate'),
  ),
  negative(
    'qe-status-unknown',
    ['TCB_STATUS_UNKNOWN'],
    'a status that does not exist',
    qeStatus('Up-to-date'),
  ),
]

// --- collateral ---

const dates = (from: number, until: number): { issueDate: string; nextUpdate: string } => ({
  issueDate: formatTime(daysFrom(RECORDED_AT, from)),
  nextUpdate: formatTime(daysFrom(RECORDED_AT, until)),
})
const info = (change: Partial<TcbInfoJson>): TdxRequest => ({
  tcbInfo: (json) => ({ ...json, ...change }),
})
const identity = (change: Partial<QeIdentityJson>): TdxRequest => ({
  qeIdentity: (json) => ({ ...json, ...change }),
})

const collateral: readonly TdxNegative[] = [
  negative(
    'fmspc-mismatch',
    ['COLLATERAL_MISMATCH'],
    'TCB info for another FMSPC',
    info({ fmspc: '00806F050000' }),
  ),
  negative(
    'pce-id-mismatch',
    ['COLLATERAL_MISMATCH'],
    'TCB info for another PCE',
    info({ pceId: '0100' }),
  ),
  negative('tcb-info-for-sgx', ['COLLATERAL_MISMATCH'], 'TCB info for SGX', (seed) => ({
    tcbInfo: () => tcbInfoJson('SGX', simulateTdx({ seed }).platform, RECORDED_AT),
  })),
  negative(
    'qe-identity-for-sgx',
    ['COLLATERAL_MISMATCH'],
    'the identity of the SGX quoting enclave',
    identity({ id: 'QE' }),
  ),
  negative(
    'qe-identity-of-qve',
    ['FORMAT_INVALID'],
    'the identity of the verification enclave',
    identity({ id: 'QVE' }),
  ),
  negative('tcb-info-v2', ['UNSUPPORTED_VERSION'], 'TCB info says version 2', info({ version: 2 })),
  negative('tcb-info-v4', ['UNSUPPORTED_VERSION'], 'TCB info says version 4', info({ version: 4 })),
  negative(
    'qe-identity-v1',
    ['UNSUPPORTED_VERSION'],
    'QE identity says version 1',
    identity({ version: 1 }),
  ),
  negative(
    'tcb-info-future',
    ['COLLATERAL_NOT_YET_VALID'],
    'TCB info is issued tomorrow',
    info(dates(1, 30)),
  ),
  negative(
    'tcb-info-expired',
    ['COLLATERAL_EXPIRED'],
    'TCB info was to be renewed yesterday',
    info(dates(-31, -1)),
  ),
  negative(
    'qe-identity-future',
    ['COLLATERAL_NOT_YET_VALID'],
    'QE identity is issued tomorrow',
    identity(dates(1, 30)),
  ),
  negative(
    'qe-identity-expired',
    ['COLLATERAL_EXPIRED'],
    'QE identity was to be renewed yesterday',
    identity(dates(-31, -1)),
  ),
  negative('tcb-level-twice', ['FORMAT_INVALID'], 'the same level twice, with two statuses', {
    tcbInfo: (json) => ({
      ...json,
      tcbLevels: [
        ...json.tcbLevels,
        ...json.tcbLevels.map((l) => ({ ...l, tcbStatus: 'UpToDate' })),
      ],
    }),
  }),
  negative(
    'tcb-info-rolled-back',
    ['EVAL_NUMBER_LOW'],
    'TCB info of an older evaluation than the policy demands (its minimum is 20)',
    info({
      tcbEvaluationDataNumber: EVALUATION_NUMBER - 3,
    }),
  ),
  negative(
    'qe-identity-rolled-back',
    ['EVAL_NUMBER_LOW'],
    'QE identity of an older evaluation than the policy demands (its minimum is 20)',
    identity({
      tcbEvaluationDataNumber: EVALUATION_NUMBER - 3,
    }),
  ),
]

/** Everything that can be wrong with levels and collateral. Those named `rolled-back` need a policy whose minimum evaluation numbers are 20. */
export const TDX_COLLATERAL_NEGATIVES: readonly TdxNegative[] = [
  ...components,
  ...levels,
  ...collateral,
]
