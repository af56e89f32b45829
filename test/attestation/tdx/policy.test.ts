// The owner's policy: strict decoding, strict defaults, and what every option accepts and refuses.
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import { bytesToHex } from '../../../attestation/lib/bytes.ts'
import {
  decodeSgxPolicy,
  decodeTdxPolicy,
  STRICT_SGX_POLICY,
  STRICT_TDX_POLICY,
} from '../../../attestation/tdx/index.ts'
import { simulateTdx } from '../../../src/simulate/index.ts'
import type { TdxRequest } from '../../../src/simulate/index.ts'
import { checkOf, failures, judge, simulated } from './samples.ts'

/** The simulated machine under a policy as a file would give it. */
const under = (policy: object, request: TdxRequest = {}, options = {}) =>
  judge(simulated(simulateTdx(request)), {
    ...(request.kind === 'sgx'
      ? { sgx: decodeSgxPolicy(policy) }
      : { tdx: decodeTdxPolicy(policy) }),
    ...options,
  })

const ZERO48 = '00'.repeat(48)
const { td, platform, enclave } = simulateTdx()
const hex = bytesToHex

describe('decoding', () => {
  it('nothing given is the strict default', () => {
    expect(decodeTdxPolicy({})).toEqual(STRICT_TDX_POLICY)
    expect(decodeSgxPolicy({})).toEqual(STRICT_SGX_POLICY)
  })

  it('reads every option', () => {
    const policy = decodeTdxPolicy({
      tcbStatuses: ['UpToDate', 'SWHardeningNeeded'],
      advisoryExceptions: [
        {
          advisory: 'INTEL-SA-00615',
          owner: 'platform team',
          reason: 'not reachable here',
          expires: '2027-01-01T00:00:00Z',
        },
      ],
      minimumTcbDate: '2025-01-01T00:00:00Z',
      minimumEvaluationNumbers: { tcbInfo: 20 },
      fmspcs: ['B0C06F000000'],
      ppids: ['11'.repeat(16)],
      qeVendorIds: ['939a7233f79c4ca9940a0db3957f0607'],
      minimumQeSvn: 8,
      minimumPceSvn: 11,
      reportData: '00'.repeat(64),
      tdAttributes: { PKS: 'allowed', KL: 'required' },
      unknownTdAttributes: '0x100',
      xfam: ['0x602e7', '0x600e7'],
      mrTd: ['aa'.repeat(48), 'bb'.repeat(48)],
      mrSeam: [ZERO48],
      mrConfigId: [ZERO48],
      mrOwner: [ZERO48],
      mrOwnerConfig: [ZERO48],
      mrServiceTd: [ZERO48],
      rtmr0: [ZERO48],
      rtmr1: [ZERO48],
      rtmr2: [ZERO48],
      rtmr3: [ZERO48],
      minimumTeeTcbSvn: '05010600000000000000000000000000',
    })
    expect(policy).toMatchObject({
      xfam: [0x602e7n, 0x600e7n],
      unknownTdAttributes: 0x100n,
      minimumEvaluationNumbers: { tcbInfo: 20, qeIdentity: undefined },
      tdAttributes: {
        PKS: 'allowed',
        KL: 'required',
        SEPT_VE_DISABLE: 'required',
        DEBUG: 'refused',
      },
    })
    expect(Object.keys(policy).sort()).toEqual(Object.keys(STRICT_TDX_POLICY).sort())
  })

  const exception = { advisory: 'A', owner: 'o', reason: 'r', expires: '2027-01-01T00:00:00Z' }
  const without = (name: keyof typeof exception) =>
    Object.fromEntries(Object.entries(exception).filter(([key]) => key !== name))

  it.each<[string, unknown, string]>([
    ['a member that is not known', { mrtd: [ZERO48] }, '$'],
    ['debugging', { tdAttributes: { DEBUG: 'allowed' } }, '$.tdAttributes.DEBUG'],
    ['an attribute that does not exist', { tdAttributes: { PKZ: 'allowed' } }, '$.tdAttributes'],
    ['a revoked TCB', { tcbStatuses: ['Revoked'] }, '$.tcbStatuses[0]'],
    ['an unknown TCB status', { tcbStatuses: ['Fine'] }, '$.tcbStatuses[0]'],
    ['no TCB status at all', { tcbStatuses: [] }, '$.tcbStatuses'],
    ['an empty list of reference values', { mrTd: [] }, '$.mrTd'],
    ['a reference value of another length', { mrTd: ['00'] }, '$.mrTd[0]'],
    ['XFAM as a number', { xfam: [0x602e7] }, '$.xfam[0]'],
    [
      'an exception without an owner',
      { advisoryExceptions: [without('owner')] },
      '$.advisoryExceptions[0]',
    ],
    [
      'an exception without a reason',
      { advisoryExceptions: [without('reason')] },
      '$.advisoryExceptions[0]',
    ],
    [
      'an exception without an end',
      { advisoryExceptions: [without('expires')] },
      '$.advisoryExceptions[0]',
    ],
    [
      'an exception of a blank owner',
      { advisoryExceptions: [{ ...exception, owner: ' ' }] },
      '$.advisoryExceptions[0].owner',
    ],
    [
      'two exceptions for one advisory',
      { advisoryExceptions: [exception, exception] },
      '$.advisoryExceptions',
    ],
    ['null for a reference value', { mrTd: null }, '$.mrTd'],
    ['an array', [], '$'],
    ['nothing', null, '$'],
  ])('refuses %s', (_, value, path) => {
    expect(() => decodeTdxPolicy(value)).toThrow(
      expect.objectContaining({ name: 'AttestationError', code: 'POLICY_INVALID', path }),
    )
  })

  it('names the place in the owner’s file', () => {
    expect(() => decodeSgxPolicy({ flags: { DEBUG: 'required' } }, '$.attestation.sgx')).toThrow(
      expect.objectContaining({ path: '$.attestation.sgx.flags.DEBUG' }),
    )
    expect(() => decodeSgxPolicy({ mrTd: [ZERO48] })).toThrow(AttestationError)
  })
})

describe('reference values', () => {
  it('that nobody gave are skipped, never passed', () => {
    const result = under({})
    const ids = [
      'mrtd',
      'mrseam',
      'mrconfigid',
      'mrowner',
      'rtmr0',
      'rtmr3',
      'xfam',
      'fmspc',
      'ppid',
      'report-data',
      'nonce',
      'model-binding',
    ]
    for (const id of ids)
      expect(checkOf(result, `tdx.${id}`)).toMatchObject({ status: 'skip', code: 'NOT_GIVEN' })
    expect(result.accepted).toBe(true)
    expect(result.vector).toMatchObject({ executables: 0, 'instance-identity': 0 })
  })

  it.each<[string, object, object, string]>([
    ['mrTd', { mrTd: ['11'.repeat(48), hex(td.mrTd)] }, { mrTd: [ZERO48] }, 'tdx.mrtd:MEASUREMENT'],
    ['mrSeam', { mrSeam: [hex(td.mrSeam)] }, { mrSeam: [ZERO48] }, 'tdx.mrseam:MRSEAM'],
    [
      'mrConfigId',
      { mrConfigId: [ZERO48] },
      { mrConfigId: ['11'.repeat(48)] },
      'tdx.mrconfigid:CONFIG_ID',
    ],
    ['mrOwner', { mrOwner: [ZERO48] }, { mrOwner: ['11'.repeat(48)] }, 'tdx.mrowner:OWNER'],
    [
      'mrOwnerConfig',
      { mrOwnerConfig: [ZERO48] },
      { mrOwnerConfig: ['11'.repeat(48)] },
      'tdx.mrownerconfig:OWNER',
    ],
    [
      'mrServiceTd',
      { mrServiceTd: [ZERO48] },
      { mrServiceTd: ['11'.repeat(48)] },
      'tdx.mrservicetd:SERVICE_TD',
    ],
    ...[0, 1, 2, 3].map((index): [string, object, object, string] => [
      `rtmr${index}`,
      { [`rtmr${index}`]: [hex(td.rtmrs[index] ?? new Uint8Array())] },
      { [`rtmr${index}`]: ['11'.repeat(48)] },
      `tdx.rtmr${index}:RTMR`,
    ]),
    ['xfam', { xfam: [`0x${td.xfam.toString(16)}`] }, { xfam: ['0x600e7'] }, 'tdx.xfam:XFAM'],
    [
      'minimumTeeTcbSvn',
      { minimumTeeTcbSvn: hex(td.teeTcbSvn) },
      { minimumTeeTcbSvn: 'ff'.repeat(16) },
      'tdx.tee-tcb-svn:TCB_BELOW_MINIMUM',
    ],
    ['fmspcs', { fmspcs: [hex(platform.fmspc)] }, { fmspcs: ['00'.repeat(6)] }, 'tdx.fmspc:FMSPC'],
    ['ppids', { ppids: [hex(platform.ppid)] }, { ppids: ['00'.repeat(16)] }, 'tdx.ppid:PPID'],
    ['minimumQeSvn', { minimumQeSvn: 8 }, { minimumQeSvn: 9 }, 'tdx.qe.svn:QE_SVN'],
    ['minimumPceSvn', { minimumPceSvn: 13 }, { minimumPceSvn: 14 }, 'tdx.pce.svn:QE_SVN'],
    [
      'minimumTcbDate',
      { minimumTcbDate: '2026-02-11T00:00:00Z' },
      { minimumTcbDate: '2026-02-11T00:00:01Z' },
      'tdx.tcb.date:TCB_DATE',
    ],
    [
      'reportData',
      { reportData: hex(td.reportData) },
      { reportData: '11'.repeat(64) },
      'tdx.report-data:REPORT_DATA',
    ],
    [
      'qeVendorIds',
      { qeVendorIds: ['939a7233f79c4ca9940a0db3957f0607'] },
      { qeVendorIds: ['00'.repeat(16)] },
      'tdx.qe.vendor:QE_VENDOR',
    ],
  ])('%s', (_, right, wrong, failure) => {
    expect(failures(under(right))).toEqual([])
    expect(failures(under(wrong))).toEqual([failure])
  })

  it('MRSERVICETD is refused where a TDX 1.0 body has none', () => {
    expect(failures(under({ mrServiceTd: [ZERO48] }, { kind: 'td10' }))).toEqual([
      'tdx.mrservicetd:SERVICE_TD',
    ])
  })

  it('of an SGX enclave', () => {
    const own = { kind: 'sgx', enclave: { isvProdId: 3, isvSvn: 4 } } as const
    const sgx = (policy: object) => failures(under(policy, own))
    expect(
      sgx({
        mrEnclave: [hex(enclave.mrEnclave)],
        mrSigner: [hex(enclave.mrSigner)],
        isvProdId: [3],
        minimumIsvSvn: 4,
        miscSelect: [0],
        xfrm: ['0xe7'],
        configId: ['00'.repeat(64)],
        isvFamilyId: ['00'.repeat(16)],
        isvExtProdId: ['00'.repeat(16)],
        minimumConfigSvn: 0,
      }),
    ).toEqual([])
    expect(
      sgx({
        mrEnclave: ['11'.repeat(32)],
        mrSigner: ['11'.repeat(32)],
        isvProdId: [4],
        minimumIsvSvn: 5,
        miscSelect: [1],
        xfrm: ['0x3'],
        configId: ['11'.repeat(64)],
        isvFamilyId: ['11'.repeat(16)],
        isvExtProdId: ['11'.repeat(16)],
        minimumConfigSvn: 1,
      }),
    ).toEqual([
      'sgx.xfrm:XFAM',
      'sgx.miscselect:ATTRIBUTES',
      'sgx.mrenclave:MEASUREMENT',
      'sgx.mrsigner:SIGNER',
      'sgx.isvprodid:SIGNER',
      'sgx.isvsvn:ISV_SVN',
      'sgx.configid:CONFIG_ID',
      'sgx.configsvn:CONFIG_ID',
      'sgx.isvfamilyid:SIGNER',
      'sgx.isvextprodid:SIGNER',
    ])
  })
})

describe('waivers', () => {
  const PKS = { td: { tdAttributes: td.tdAttributes | (1n << 30n) } }

  it('an attribute that the policy allows is waived, not passed', () => {
    expect(failures(under({}, PKS))).toEqual(['tdx.attributes:ATTRIBUTES'])
    const allowed = under({ tdAttributes: { PKS: 'allowed' } }, PKS)
    expect(allowed.accepted).toBe(true)
    expect(checkOf(allowed, 'tdx.attributes')).toMatchObject({ status: 'warn', code: 'WAIVED' })
    expect(allowed.vector.configuration).toBe(32)
    expect(checkOf(under({ tdAttributes: { PKS: 'allowed' } }), 'tdx.attributes').status).toBe(
      'pass',
    )
    expect(failures(under({ tdAttributes: { PKS: 'required' } }))).toEqual([
      'tdx.attributes:ATTRIBUTES',
    ])
  })

  it('an unknown attribute needs its own mask', () => {
    const unknown = { td: { tdAttributes: td.tdAttributes | (1n << 40n) } }
    expect(failures(under({}, unknown))).toEqual(['tdx.attributes-unknown:ATTRIBUTES'])
    const allowed = under({ unknownTdAttributes: `0x${(1n << 40n).toString(16)}` }, unknown)
    expect(checkOf(allowed, 'tdx.attributes-unknown')).toMatchObject({ status: 'warn' })
  })

  it('debugging is refused even where the attributes are waived by hand', () => {
    const debug = { td: { tdAttributes: td.tdAttributes | 1n } }
    const tdx = { tdAttributes: { ...STRICT_TDX_POLICY.tdAttributes, DEBUG: 'allowed' as const } }
    expect(failures(judge(simulated(simulateTdx(debug)), { tdx }))).toEqual(['tdx.debug:DEBUG'])
  })

  it('a status needs to be listed, and each advisory a live exception', () => {
    const old = { qe: { isvSvn: 7 } }
    const excuse = (expires: string) => ({
      tcbStatuses: ['UpToDate', 'OutOfDate'],
      advisoryExceptions: [
        { advisory: 'SIMULATED-SA-00001', owner: 'me', reason: 'test', expires },
      ],
    })
    expect(failures(under({}, old))).toEqual([
      'tdx.tcb.status:TCB_STATUS',
      'tdx.tcb.advisories:TCB_ADVISORY',
    ])
    expect(failures(under({ tcbStatuses: ['OutOfDate'] }, old))).toEqual([
      'tdx.tcb.advisories:TCB_ADVISORY',
    ])
    const live = under(excuse('2099-01-01T00:00:00Z'), old)
    expect(failures(live)).toEqual([])
    expect(checkOf(live, 'tdx.tcb.status')).toMatchObject({ status: 'warn', code: 'WAIVED' })
    expect(live.vector.hardware).toBe(32)
    expect(failures(under(excuse('2020-01-01T00:00:00Z'), old))).toEqual([
      'tdx.tcb.advisories:TCB_ADVISORY',
    ])
  })

  it('UpToDate that is not listed is refused like any other status', () => {
    expect(failures(under({ tcbStatuses: ['SWHardeningNeeded'] }))).toEqual([
      'tdx.tcb.status:TCB_STATUS',
    ])
  })
})
