// Every check of evidence that passes, fails or warns says what was expected and what was found, over all genuine evidence and all refusals that can be made.
import { describe, expect, it } from 'vitest'
import { failAll, settle } from '../../attestation/check.ts'
import { NO_ENDORSEMENTS } from '../../attestation/endorsements.ts'
import type { Problem } from '../../attestation/lib/chain.ts'
import type { Check } from '../../attestation/result.ts'
import { VENDOR_ROOTS } from '../../attestation/roots.ts'
import { attestSnp, decodeSnpPolicy, STRICT_SNP_POLICY } from '../../attestation/snp/index.ts'
import type { SnpOptions, SnpPolicy } from '../../attestation/snp/index.ts'
import { attestTdx, decodeSgxPolicy, decodeTdxPolicy } from '../../attestation/tdx/index.ts'
import { STRICT_TDX_POLICY } from '../../attestation/tdx/policy.ts'
import { userRoots } from '../../attestation/roots.ts'
import { LOG_NEGATIVES, SNP_NEGATIVES, TDX_NEGATIVES } from '../../src/simulate/index.ts'
import { haveShared } from '../shared.ts'
import { judgeSnp, judgeTdx } from '../simulate/judge.ts'
import { bytesOf, DUPLICATED_SEPARATOR, judgeLogs, RECORDED_LOGS } from './eventlog/samples.ts'
import { endorsements, evidence, SAMPLES } from './snp/samples.ts'
import type { Sample } from './snp/samples.ts'
import { judge, RECORDED } from './tdx/samples.ts'

const LONGEST = 1024
const BROKEN = /\(empty\)|undefined|\[object|NaN|\bnull\b|\s{2}|^\s|\s$/

/** What is wrong with how checks are told; empty if nothing is. */
function untold(checks: readonly Check[]): string[] {
  return checks.flatMap(({ id, status, expected, actual }) => {
    const fault = (text: string): string[] => [`${id} ${status}: ${text}`]
    if (status === 'skip')
      return expected === undefined && actual === undefined ? [] : fault('compares nothing')
    if (expected === undefined || expected === '') return fault('nothing expected')
    if (actual === undefined || actual === '') return fault('nothing found')
    if (BROKEN.test(expected) || BROKEN.test(actual)) return fault(`${expected} / ${actual}`)
    if (Math.max(expected.length, actual.length) > LONGEST) return fault('too long')
    // a refusal that shows the same twice explains nothing
    if (status === 'fail' && expected === actual) return fault(`expected is actual: ${expected}`)
    return []
  })
}

const statuses = (checks: readonly Check[]): Set<string> =>
  new Set(checks.map(({ status }) => status))

const other = (bytes: number): string => 'ab'.repeat(bytes)
const both = (bytes: number): string[] => [other(bytes), 'cd'.repeat(bytes)]

/** Every option of SNP that a check compares with: refused by whatever a genuine report says. */
const SNP_DEMANDING = decodeSnpPolicy({
  products: { allow: ['Turin'] },
  policyBits: { SMT: 'refused' },
  minimumAbi: '255.255',
  platformInfo: { SMT_EN: 'refused', ECC_EN: 'required' },
  minimumTcb: { reported: { Milan: { snp: 127 }, Genoa: { snp: 127 } } },
  minimumFirmware: { Milan: '255.0.0', Genoa: '255.0.0' },
  mitigations: { launch: '0xff', current: '0xff' },
  vmpl: [3],
  requireCrl: true,
  requireIdBlock: true,
  requireAuthorKey: true,
  minimumGuestSvn: 1_000_000,
  measurements: [other(48)],
  hostData: both(32),
  familyIds: [other(16)],
  imageIds: both(16),
  reportIds: [other(32)],
  reportIdsMa: both(32),
  idKeyDigests: [other(48)],
  authorKeyDigests: both(48),
  chipIds: both(64),
  cspIds: ['CN=nobody'],
  reportData: other(64),
})
const SNP_LOOSE = decodeSnpPolicy({
  policyBits: { MIGRATE_MA: 'allowed', CXL_ALLOW: 'allowed' },
  platformInfo: { ALIAS_CHECK_COMPLETE: 'allowed', TIO_EN: 'allowed' },
  unknownPlatformInfo: '0xff00',
  minimumTcb: { reported: 'any', committed: 'any', launch: 'any' },
  minimumFirmware: 'any',
  provisionalFirmware: true,
  vmpl: [0, 1, 2, 3],
  anonymousChip: true,
})
const NONCE = new Uint8Array(32).fill(7)
const BINDING = { nonce: NONCE, modelDigest: new Uint8Array(32) }

describe.skipIf(!haveShared)('genuine SNP reports', () => {
  const told = (
    sample: Sample,
    policy: SnpPolicy,
    options: SnpOptions = {},
    { at, chain }: Pick<Sample, 'at' | 'chain'> = sample,
  ): readonly Check[] => {
    const { checks } = attestSnp(
      evidence(sample.report),
      endorsements(chain),
      policy,
      at,
      at,
      options,
    )
    expect(untold(checks)).toEqual([])
    return checks
  }

  it.each(Object.entries(SAMPLES))('%s', (_, load) => {
    const sample = load()
    const { at, chain } = sample
    expect(statuses(told(sample, STRICT_SNP_POLICY))).toContain('pass')
    expect(statuses(told(sample, SNP_LOOSE))).toContain('warn')
    expect(statuses(told(sample, SNP_DEMANDING, { nonce: NONCE }))).toContain('fail')
    told(sample, STRICT_SNP_POLICY, { nonce: new Uint8Array() })
    told(sample, STRICT_SNP_POLICY, { binding: BINDING })
    told(sample, STRICT_SNP_POLICY, { trustRoots: [] })
    // the pass and the refusal of each list name what was asked for
    const chip = { ...STRICT_SNP_POLICY, chipIds: [new Uint8Array(64)], cspIds: ['CN=x'] }
    told(sample, chip)
    told(sample, { ...STRICT_SNP_POLICY, cspIds: ['CN=cc-us-east-2.amazonaws.com'] })
    told(sample, STRICT_SNP_POLICY, {}, { chain, at: new Date('2050-01-01') })
    told(sample, STRICT_SNP_POLICY, {}, { chain, at: new Date('2001-01-01') })
    for (let kept = 0; kept < chain.length; kept++)
      told(sample, STRICT_SNP_POLICY, {}, { at, chain: chain.slice(0, kept) })
    for (const [position] of chain.entries())
      told(sample, STRICT_SNP_POLICY, {}, { at, chain: chain.slice(position) })
  })

  it('under the certificates of another machine', () => {
    const samples = Object.values(SAMPLES).map((load) => load())
    for (const sample of samples)
      for (const { chain } of samples) told(sample, STRICT_SNP_POLICY, {}, { chain, at: sample.at })
  })
})

const INTEL_DEMANDING = {
  minimumTcbDate: '2030-01-01T00:00:00Z',
  minimumEvaluationNumbers: { tcbInfo: 1000, qeIdentity: 1000 },
  qeVendorIds: [other(16)],
  minimumQeSvn: 60_000,
  minimumPceSvn: 60_000,
  fmspcs: both(6),
  ppids: [other(16)],
  reportData: other(64),
}
const TDX_DEMANDING = decodeTdxPolicy({
  ...INTEL_DEMANDING,
  tdAttributes: { PKS: 'required' },
  xfam: ['0x3', '0x7'],
  minimumTeeTcbSvn: 'ff'.repeat(16),
  mrTd: [other(48)],
  mrSeam: both(48),
  mrConfigId: [other(48)],
  mrOwner: [other(48)],
  mrOwnerConfig: [other(48)],
  mrServiceTd: [other(48)],
  rtmr0: [other(48)],
  rtmr3: both(48),
  requiredEvents: [
    { register: 3, name: 'app-id', text: ['x'] },
    { register: 1, digest: both(48) },
  ],
})
const SGX_DEMANDING = decodeSgxPolicy({
  ...INTEL_DEMANDING,
  mrEnclave: [other(32)],
  mrSigner: both(32),
})

describe.skipIf(!haveShared)('genuine TDX and SGX quotes', () => {
  it.each(Object.entries(RECORDED))('%s', (_, load) => {
    const sample = load()
    const strict = judge(sample).checks
    expect(untold(strict)).toEqual([])
    expect(statuses(strict)).toContain('pass')
    const demanding = { tdx: TDX_DEMANDING, sgx: SGX_DEMANDING, nonce: NONCE, binding: BINDING }
    const refused = judge(sample, demanding).checks
    expect(untold(refused)).toEqual([])
    expect(statuses(refused)).toContain('fail')
    for (const changed of [
      { at: new Date('2050-01-01') },
      { at: new Date('2001-01-01') },
      { trustRoots: [] },
      { trustRoots: VENDOR_ROOTS.slice(0, 1) },
      { endorsements: NO_ENDORSEMENTS },
      { endorsements: { ...sample.endorsements, certificates: [] } },
      { endorsements: { ...sample.endorsements, crls: sample.endorsements.crls.slice(0, 1) } },
    ])
      expect(untold(judge({ ...sample, ...changed }).checks)).toEqual([])
  })

  it('under the collateral of another platform', () => {
    const samples = Object.values(RECORDED).map((load) => load())
    for (const sample of samples)
      for (const { endorsements: foreign } of samples)
        expect(untold(judge({ ...sample, endorsements: foreign }).checks)).toEqual([])
  })
})

describe.skipIf(!haveShared)('genuine event logs', () => {
  const required = [
    { register: 2, name: 'kernel_cmdline', text: ['x'] },
    { register: 2, name: 'grub_cmd', hex: ['00', '01'] },
    { register: 3, name: 'app-id', text: ['x', 'y'] },
    { register: 1, digest: [other(48)] },
  ]
  it.each(Object.entries(RECORDED_LOGS))('%s', (_, load) => {
    const { logs, rtmrs } = load()
    const zeros = rtmrs.map(() => new Uint8Array(48))
    for (const given of [logs, [], [...logs, ...logs], Array(9).fill(logs[0]) as typeof logs])
      for (const wanted of [undefined, required])
        for (const registers of [rtmrs, zeros])
          expect(untold(judgeLogs(given, registers, wanted).checks)).toEqual([])
    expect(statuses(judgeLogs(logs, rtmrs).checks)).toContain('pass')
    expect(statuses(judgeLogs(logs, zeros).checks)).toContain('fail')
  })

  it('a log that can’t be read, and one whose events contradict each other', () => {
    const { rtmrs } = RECORDED_LOGS.ccel()
    const cut = { kind: 'ccel', data: new Uint8Array(7) } as const
    const twice = { kind: 'ccel', data: bytesOf(DUPLICATED_SEPARATOR) } as const
    for (const log of [cut, twice, { kind: 'dstack', text: '{' } as const])
      expect(untold(judgeLogs([log], rtmrs).checks)).toEqual([])
  })
})

describe('refusals, each validly signed', () => {
  it('SNP', () => {
    for (const { name, record } of SNP_NEGATIVES) {
      const { evidence: made, trustedRoot } = record()
      expect(untold(judgeSnp(made, trustedRoot).result?.checks ?? []), name).toEqual([])
    }
  })

  it('TDX', () => {
    for (const { name, record } of TDX_NEGATIVES) {
      const { evidence: made, trustedRoot } = record()
      expect(untold(judgeTdx(made, trustedRoot).result?.checks ?? []), name).toEqual([])
    }
  })

  it('event logs', () => {
    for (const { name, record } of LOG_NEGATIVES) {
      const { evidence: made, log } = record()
      const raw = { platform: 'tdx', raw: made.quote, form: 'quote' } as const
      const { checks } = attestTdx(
        { ...raw, endorsements: { ...NO_ENDORSEMENTS, eventLogs: [log] } },
        NO_ENDORSEMENTS,
        STRICT_TDX_POLICY,
        made.at,
        made.at,
        { trustRoots: userRoots(made.root) },
      )
      expect(untold(checks), name).toEqual([])
    }
  })
})

describe('several problems in one check', () => {
  const problem = (expected: string, actual: string): Problem => ({
    code: 'CERT_ROLE',
    message: `${actual} is wrong`,
    expected,
    actual,
  })
  const sound = { expected: 'a', actual: 'a' }

  it('passes with what was compared if there is none', () => {
    expect(settle('x', 'fine', [], sound)).toEqual({
      id: 'x',
      status: 'pass',
      code: 'OK',
      message: 'fine',
      ...sound,
    })
  })

  it('shows their values side by side, and what is the same for all of them once', () => {
    const check = settle('x', '', [problem('at most 1', 'b'), problem('at most 1', 'c')], sound)
    expect(check).toMatchObject({ status: 'fail', code: 'CERT_ROLE', expected: 'at most 1' })
    expect(check.actual).toBe('b; c')
    expect(check.message).toBe('b is wrong; c is wrong')
    const pairs = [problem('a', 'b'), problem('c', 'd'), problem('a', 'b')]
    expect(settle('x', '', pairs, sound)).toMatchObject({ expected: 'a; c', actual: 'b; d' })
  })

  it('keeps what an attacker wrote short, and hides none of the first ones behind it', () => {
    const many = Array.from({ length: 40 }, (_, index) => {
      const text = `${index} ${'x'.repeat(100_000)}`
      return problem(text, text)
    })
    const { expected, actual } = failAll('x', many[0]!, many)
    expect(Math.max(expected.length, actual.length)).toBeLessThanOrEqual(LONGEST)
    expect(actual).toMatch(/^0 x+…; 1 x+…; .*; 5 x+…; and 34 more$/)
    expect(settle('x', '', many.slice(0, 1), sound).actual).toHaveLength(LONGEST)
    expect(settle('x', '', [problem('', '')], sound).actual).toBe('(empty)')
  })
})
