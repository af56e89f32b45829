// Levels, statuses and what they mean together (Intel QVL 4.1.2.5.18 to 20), on hand-made collateral and as properties.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PlatformLevel, QeIdentity, TcbInfo } from '../../../attestation/tdx/collateral.ts'
import { decodeQeIdentity, decodeTcbInfo } from '../../../attestation/tdx/collateral.ts'
import { descending } from '../../../attestation/tdx/order.ts'
import { evaluateTcb, selectIsvLevel, selectPlatformLevel } from '../../../attestation/tdx/tcb.ts'
import { converge, relaunch, TCB_STATUSES } from '../../../attestation/tdx/index.ts'
import type { TcbStatus } from '../../../attestation/tdx/index.ts'

const DATE = new Date('2026-01-01')
const isv = (isvSvn: number, status: string) => ({ isvSvn, status, tcbDate: DATE, advisoryIds: [] })

describe('converging statuses', () => {
  // rows: platform level; columns: component UpToDate, OutOfDate, Revoked (Intel QVL 4.1.2.5.19)
  it.each([
    ['UpToDate', 'UpToDate', 'OutOfDate', 'Revoked'],
    ['SWHardeningNeeded', 'SWHardeningNeeded', 'OutOfDate', 'Revoked'],
    ['ConfigurationNeeded', 'ConfigurationNeeded', 'OutOfDateConfigurationNeeded', 'Revoked'],
    [
      'ConfigurationAndSWHardeningNeeded',
      'ConfigurationAndSWHardeningNeeded',
      'OutOfDateConfigurationNeeded',
      'Revoked',
    ],
    ['OutOfDate', 'OutOfDate', 'OutOfDate', 'Revoked'],
    [
      'OutOfDateConfigurationNeeded',
      'OutOfDateConfigurationNeeded',
      'OutOfDateConfigurationNeeded',
      'Revoked',
    ],
    ['Revoked', 'Revoked', 'Revoked', 'Revoked'],
  ] as const)('%s', (platform, upToDate, outOfDate, revoked) => {
    expect(converge(platform, 'UpToDate')).toBe(upToDate)
    expect(converge(platform, 'OutOfDate')).toBe(outOfDate)
    expect(converge(platform, 'Revoked')).toBe(revoked)
  })

  it('takes the worse of component statuses that Intel’s verifier ignores', () => {
    expect(converge('UpToDate', 'ConfigurationNeeded')).toBe('ConfigurationNeeded')
    expect(converge('SWHardeningNeeded', 'ConfigurationNeeded')).toBe(
      'ConfigurationAndSWHardeningNeeded',
    )
    expect(converge('ConfigurationNeeded', 'OutOfDateConfigurationNeeded')).toBe(
      'OutOfDateConfigurationNeeded',
    )
  })

  it('is commutative, idempotent, and UpToDate changes nothing', () => {
    const statuses = TCB_STATUSES.filter((status) => !status.startsWith('TDRelaunch'))
    for (const a of statuses) {
      expect(converge(a, a)).toBe(a)
      expect(converge(a, 'UpToDate')).toBe(a)
      for (const b of statuses) expect(converge(a, b)).toBe(converge(b, a))
    }
  })

  it.each([
    ['UpToDate', 'UpToDate', 'UpToDate'],
    ['OutOfDate', 'UpToDate', 'TDRelaunchAdvised'],
    ['OutOfDate', 'SWHardeningNeeded', 'TDRelaunchAdvised'],
    ['OutOfDate', 'ConfigurationNeeded', 'TDRelaunchAdvisedConfigurationNeeded'],
    ['OutOfDateConfigurationNeeded', 'UpToDate', 'TDRelaunchAdvisedConfigurationNeeded'],
    ['OutOfDate', 'OutOfDate', 'OutOfDate'],
    ['SWHardeningNeeded', 'UpToDate', 'SWHardeningNeeded'],
    ['UpToDate', 'OutOfDate', 'OutOfDate'],
    ['UpToDate', 'SWHardeningNeeded', 'SWHardeningNeeded'],
    ['SWHardeningNeeded', 'ConfigurationNeeded', 'ConfigurationAndSWHardeningNeeded'],
    ['UpToDate', 'Revoked', 'Revoked'],
    ['Revoked', 'UpToDate', 'Revoked'],
  ] as const satisfies readonly (readonly [TcbStatus, TcbStatus, TcbStatus])[])(
    'launched %s, running %s: %s',
    (launch, current, wanted) => {
      expect(relaunch(launch, current)).toBe(wanted)
    },
  )
})

const level = (
  sgx: number,
  pceSvn: number,
  tdx: readonly number[],
  status: string,
): PlatformLevel => ({
  sgxComponents: Array.from({ length: 16 }, () => sgx),
  pceSvn,
  tdxComponents: Array.from({ length: 16 }, (_, index) => tdx[index] ?? 0),
  status,
  tcbDate: DATE,
  advisoryIds: [],
})
const teeTcbSvn = (...svns: readonly number[]): Uint8Array =>
  Uint8Array.from({ length: 16 }, (_, index) => svns[index] ?? 0)
const platform = (components: number, pceSvn: number) => ({
  components: Array.from({ length: 16 }, () => components),
  pceSvn,
})

describe('selecting levels', () => {
  const levels = [level(3, 11, [5, 0, 3], 'UpToDate'), level(2, 11, [5, 0, 2], 'OutOfDate')]

  it('compares TDX components from 2 on where the module has a version of its own', () => {
    const select = (svn: Uint8Array) => selectPlatformLevel(levels, platform(3, 11), svn)?.status
    expect(select(teeTcbSvn(4, 1, 3))).toBe('UpToDate')
    expect(select(teeTcbSvn(4, 0, 3))).toBeUndefined()
    expect(select(teeTcbSvn(5, 0, 3))).toBe('UpToDate')
    expect(select(teeTcbSvn(4, 1, 2))).toBe('OutOfDate')
    expect(select(teeTcbSvn(4, 1, 1))).toBeUndefined()
  })

  it('asks for every PCK component and for PCESVN', () => {
    const select = (components: number[], pceSvn: number) =>
      selectPlatformLevel(levels, { components, pceSvn }, teeTcbSvn(5, 1, 3))?.status
    for (let index = 0; index < 16; index++) {
      const components = Array.from({ length: 16 }, (_, i): number => (i === index ? 2 : 3))
      expect(select(components, 11)).toBe('OutOfDate')
      components[index] = 1
      expect(select(components, 11)).toBeUndefined()
    }
    expect(
      select(
        Array.from({ length: 16 }, () => 255),
        10,
      ),
    ).toBeUndefined()
  })

  it('does not depend on the order in which levels are listed', () => {
    const key = (each: PlatformLevel): readonly number[] => [
      ...each.sgxComponents,
      ...(each.tdxComponents ?? []),
      each.pceSvn,
    ]
    expect(descending([...levels].reverse(), key)).toEqual(levels)
  })

  it('takes the highest ISVSVN that is reached', () => {
    const levels = [isv(8, 'UpToDate'), isv(6, 'OutOfDate')]
    expect(selectIsvLevel(levels, 9)?.status).toBe('UpToDate')
    expect(selectIsvLevel(levels, 8)?.status).toBe('UpToDate')
    expect(selectIsvLevel(levels, 7)?.status).toBe('OutOfDate')
    expect(selectIsvLevel(levels, 5)).toBeUndefined()
  })
})

describe('the module that runs now', () => {
  it('brings its advisories and its date with it: accepting OutOfDate does not excuse what was never shown', () => {
    const later = new Date('2026-05-01')
    const levels = [
      { ...isv(9, 'UpToDate'), tcbDate: later },
      { ...isv(2, 'OutOfDate'), advisoryIds: ['INTEL-SA-09999'] },
    ]
    const identity = { id: 'TDX_01', ...MODULE, levels }
    const good = { ...level(1, 1, [], 'UpToDate'), tcbDate: later }
    const { tcbInfo, qeIdentity } = fc.sample(collateral, { numRuns: 1, seed: 1 })[0]!
    const evaluation = evaluateTcb({
      tcbInfo: { ...tcbInfo, levels: [good], tdxModuleIdentities: [identity] },
      qeIdentity: { ...qeIdentity, levels: [{ ...isv(1, 'UpToDate'), tcbDate: later }] },
      pck: platform(1, 1),
      qeIsvSvn: 1,
      teeTcbSvn: teeTcbSvn(9, 1),
      teeTcbSvn2: teeTcbSvn(3, 1),
    })
    expect(evaluation).toMatchObject({ status: 'OutOfDate', current: 'OutOfDate' })
    expect(evaluation.advisoryIds).toEqual(['INTEL-SA-09999'])
    expect(evaluation.tcbDate).toEqual(DATE)
  })
})

describe('another version of collateral', () => {
  it('is called that, whatever members it has', () => {
    const bytes = (value: object): Uint8Array => new TextEncoder().encode(JSON.stringify(value))
    const version = expect.objectContaining({ code: 'UNSUPPORTED_VERSION' }) as Error
    // TCB info of PCS version 3 has no id, and one member for each component
    const tcb = { sgxtcbcomp01svn: 1, pcesvn: 1 }
    expect(() => decodeTcbInfo(bytes({ version: 2, tcbLevels: [{ tcb }] }))).toThrow(version)
    expect(() => decodeQeIdentity(bytes({ id: 'QE', version: 1, isvsvn: 5 }))).toThrow(version)
  })
})

// --- metamorphic: what must follow, whatever the collateral ---

const svn = fc.integer({ min: 0, max: 4 })
const svns = fc.array(svn, { minLength: 16, maxLength: 16 })
const MODULE = {
  mrSigner: new Uint8Array(48),
  attributes: new Uint8Array(8),
  attributesMask: new Uint8Array(8),
}

/** Levels as Intel makes them: each is componentwise below the one before, and no better. */
const falling = (steps: number) => ['UpToDate', 'SWHardeningNeeded', 'OutOfDate'].slice(0, steps)
const collateral = fc
  .record({
    sgx: svns,
    tdx: svns,
    pceSvn: svn,
    module: svn,
    qe: svn,
    steps: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ sgx, tdx, pceSvn, module, qe, steps }) => {
    const less = (values: readonly number[], by: number) => values.map((v) => Math.max(0, v - by))
    const isvLevels = (top: number) => [isv(top + 1, 'UpToDate'), isv(top, 'OutOfDate')]
    const identity = { id: 'TDX_01', ...MODULE, levels: isvLevels(module) }
    const tcbInfo: TcbInfo = {
      id: 'TDX',
      issueDate: DATE,
      nextUpdate: DATE,
      fmspc: new Uint8Array(6),
      pceId: new Uint8Array(2),
      evaluationNumber: 20,
      tdxModule: MODULE,
      tdxModuleIdentities: [identity],
      levels: falling(steps).map((status, by) => ({
        sgxComponents: less(sgx, by),
        pceSvn: Math.max(0, pceSvn - by),
        tdxComponents: less(tdx, by),
        status,
        tcbDate: DATE,
        advisoryIds: [],
      })),
    }
    const qeIdentity: QeIdentity = {
      id: 'TD_QE',
      issueDate: DATE,
      nextUpdate: DATE,
      evaluationNumber: 20,
      miscSelect: 0,
      miscSelectMask: 0,
      attributes: new Uint8Array(16),
      attributesMask: new Uint8Array(16),
      mrSigner: new Uint8Array(32),
      isvProdId: 2,
      levels: isvLevels(qe),
    }
    return { tcbInfo, qeIdentity }
  })
const machine = fc.record({
  components: svns,
  pceSvn: svn,
  qeIsvSvn: fc.integer({ min: 0, max: 6 }),
  module: fc.integer({ min: 0, max: 6 }),
  version: fc.constantFrom(0, 1),
  rest: fc.array(svn, { minLength: 14, maxLength: 14 }),
})
type Machine = typeof machine extends fc.Arbitrary<infer T> ? T : never

/** No status is worst of all. */
const BADNESS: readonly (TcbStatus | null)[] = [
  'UpToDate',
  'SWHardeningNeeded',
  'OutOfDate',
  'Revoked',
  null,
]
const statusOf = (
  { tcbInfo, qeIdentity }: { readonly tcbInfo: TcbInfo; readonly qeIdentity: QeIdentity },
  { components, pceSvn, qeIsvSvn, module, version, rest }: Machine,
): TcbStatus | null =>
  evaluateTcb({
    tcbInfo,
    qeIdentity,
    pck: { components, pceSvn },
    qeIsvSvn,
    teeTcbSvn: Uint8Array.from([module, version, ...rest]),
    teeTcbSvn2: null,
  }).status
const bad = (status: TcbStatus | null): number => BADNESS.indexOf(status)

describe('metamorphic', () => {
  it('raising any SVN never worsens the status', () => {
    const raise = fc.constantFrom('component', 'pceSvn', 'qeIsvSvn', 'module', 'rest')
    fc.assert(
      fc.property(collateral, machine, raise, fc.nat(13), (given, before, which, index) => {
        const up = (values: readonly number[]) => values.map((v, i) => (i === index ? v + 1 : v))
        const after: Machine = {
          ...before,
          components: which === 'component' ? up(before.components) : before.components,
          rest: which === 'rest' ? up(before.rest) : before.rest,
          pceSvn: before.pceSvn + (which === 'pceSvn' ? 1 : 0),
          qeIsvSvn: before.qeIsvSvn + (which === 'qeIsvSvn' ? 1 : 0),
          module: before.module + (which === 'module' ? 1 : 0),
        }
        expect(bad(statusOf(given, after))).toBeLessThanOrEqual(bad(statusOf(given, before)))
      }),
      { numRuns: 2000 },
    )
  })

  it('a later evaluation number, which asks for more, never improves the status', () => {
    fc.assert(
      fc.property(collateral, machine, fc.nat(15), (given, platformOf, index) => {
        const { tcbInfo } = given
        const later: TcbInfo = {
          ...tcbInfo,
          evaluationNumber: 21,
          levels: tcbInfo.levels.map((each) => ({
            ...each,
            sgxComponents: each.sgxComponents.map((v, i) => (i === index ? v + 1 : v)),
          })),
        }
        const now = statusOf({ ...given, tcbInfo: later }, platformOf)
        expect(bad(now)).toBeGreaterThanOrEqual(bad(statusOf(given, platformOf)))
      }),
      { numRuns: 1000 },
    )
  })
})
