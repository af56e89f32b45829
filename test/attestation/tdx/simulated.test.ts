// Simulated hardware: sound machines are accepted under their own root and only there; every validly signed negative is refused for its reason.
import { describe, expect, it } from 'vitest'
import { attest } from '../../../attestation/attest.ts'
import { AttestationError } from '../../../attestation/error.ts'
import { VENDOR_ROOTS } from '../../../attestation/roots.ts'
import { parseQuote, TdxTrust } from '../../../attestation/tdx/index.ts'
import { simulateTdx, TDX_NEGATIVES } from '../../../src/simulate/index.ts'
import type { TdxRequest } from '../../../src/simulate/index.ts'
import { failures, judge, simulated } from './samples.ts'

describe('sound machines', () => {
  const kinds = ['td15', 'td10', 'sgx'] as const
  const authorities = ['platform', 'processor'] as const
  const machines = kinds.flatMap((kind) => authorities.map((ca) => ({ kind, ca })))

  it.each(machines)('$kind under the $ca CA', ({ kind, ca }) => {
    const sample = simulated(simulateTdx({ kind, ca }))
    const result = judge(sample)
    expect(failures(result)).toEqual([])
    expect(result).toMatchObject({ accepted: true, simulated: true })

    const production = judge({ ...sample, trustRoots: VENDOR_ROOTS })
    expect(production.accepted).toBe(false)
    expect(production.claims).toBeNull()
    expect(failures(production)).toContain(`${sample.evidence.platform}.root:ROOT_UNTRUSTED`)
  })

  it.each([
    ['sgx', 3],
    ['sgx', 4],
    ['sgx', 5],
    ['td10', 4],
    ['td10', 5],
    ['td15', 5],
  ] as const)('%s in a quote of version %i', (kind, version) => {
    const result = judge(simulated(simulateTdx({ kind, form: { version } })))
    expect(failures(result)).toEqual([])
    const [first] = result.claims?.fields ?? []
    expect(first).toMatchObject({ name: 'quote version', value: `${version}` })
  })

  it.each([
    ['td10', 3],
    ['td15', 4],
  ] as const)('%s does not exist in version %i', (kind, version) => {
    const { quote } = simulateTdx({ kind, form: { version } })
    expect(() => parseQuote(quote)).toThrow(AttestationError)
  })

  it('the quoting enclave may add as much data to its binding as it likes, or none', () => {
    for (const length of [0, 1, 1000])
      expect(
        failures(judge(simulated(simulateTdx({ form: { qeAuthData: new Uint8Array(length) } })))),
      ).toEqual([])
  })

  it('is judged by its platform’s verifier, and a quote of another kind can’t be read', () => {
    for (const kind of ['td15', 'sgx'] as const) {
      const sample = simulated(simulateTdx({ kind }))
      const { evidence, endorsements, at, trustRoots } = sample
      const options = { trustRoots, tdxTrust: new TdxTrust() }
      const result = attest(evidence, endorsements, {}, at, new Date('2026-11-20'), options)
      expect(result).toEqual(judge(sample))
      expect(options.tdxTrust.size).toBe(1)
      const other = kind === 'sgx' ? 'tdx' : 'sgx'
      expect(() => judge({ ...sample, evidence: { ...evidence, platform: other } })).toThrow(
        expect.objectContaining({ code: 'FORMAT_INVALID' }),
      )
    }
  })
})

describe('validly signed negatives', () => {
  it('covers each kind that issue lists and reference §8 name', () => {
    expect(TDX_NEGATIVES.length).toBeGreaterThan(200)
    expect(new Set(TDX_NEGATIVES.map(({ name }) => name)).size).toBe(TDX_NEGATIVES.length)
  })

  it.each(TDX_NEGATIVES)('$name', ({ codes, record }) => {
    const { evidence, trustedRoot } = record()
    let found: readonly string[]
    try {
      const numbers = { tcbInfo: 20, qeIdentity: 20 }
      const policy = { minimumEvaluationNumbers: numbers }
      const result = judge(simulated(evidence, trustedRoot), { tdx: policy, sgx: policy })
      expect(result.accepted).toBe(false)
      found = failures(result).map((failure) => failure.split(':')[1] ?? '')
    } catch (error) {
      if (!(error instanceof AttestationError)) throw error
      found = [error.code]
    }
    expect(found).toEqual(expect.arrayContaining([...codes]))
  })
})

describe('metamorphic, through the whole verifier', () => {
  const accepted = (request: TdxRequest): boolean => judge(simulated(simulateTdx(request))).accepted

  it('raising an SVN of an accepted machine never refuses it', () => {
    const sound = simulateTdx()
    for (let index = 0; index < 16; index++) {
      const components = sound.platform.components.map((v, i) => v + (i === index ? 1 : 0))
      expect(accepted({ pck: { components } })).toBe(true)
    }
    expect(accepted({ pck: { pceSvn: sound.platform.pceSvn + 1 } })).toBe(true)
    expect(accepted({ qe: { isvSvn: 255 } })).toBe(true)
    // component 1 is the module's version, which selects another identity
    for (const index of [0, ...Array.from({ length: 14 }, (_, i) => i + 2)]) {
      const svn = sound.td.teeTcbSvn.map((v, i) => v + (i === index ? 1 : 0))
      expect(accepted({ td: { teeTcbSvn: svn, teeTcbSvn2: svn } })).toBe(true)
    }
  })

  it('a later evaluation number alone changes nothing, an earlier one is refused where a minimum is set', () => {
    const policy = { minimumEvaluationNumbers: { tcbInfo: 20, qeIdentity: 20 } }
    const at = (number: number) =>
      judge(
        simulated(
          simulateTdx({
            tcbInfo: (info) => ({ ...info, tcbEvaluationDataNumber: number }),
            qeIdentity: (identity) => ({ ...identity, tcbEvaluationDataNumber: number }),
          }),
        ),
        { tdx: policy },
      )
    expect(at(20).accepted).toBe(true)
    expect(at(21).accepted).toBe(true)
    expect(failures(at(19))).toEqual([
      'tdx.tcbInfo.number:EVAL_NUMBER_LOW',
      'tdx.qeIdentity.number:EVAL_NUMBER_LOW',
    ])
  })

  it('older collateral given beside newer does not improve the verdict, in either order', () => {
    const machine: TdxRequest = {
      td: { teeTcbSvn: Uint8Array.of(4, 1, 6, ...new Array<number>(13).fill(0)) },
    }
    const now = simulated(simulateTdx(machine))
    const older = simulated(
      simulateTdx({
        ...machine,
        tcbInfo: (info) => ({
          ...info,
          tcbEvaluationDataNumber: 17,
          tdxModuleIdentities: info.tdxModuleIdentities?.map((identity) => ({
            ...identity,
            tcbLevels: [
              { tcb: { isvsvn: 1 }, tcbDate: '2024-01-01T00:00:00Z', tcbStatus: 'UpToDate' },
            ],
          })),
        }),
      }),
    )
    expect(judge(now).accepted).toBe(false)
    expect(judge(older).accepted).toBe(true)
    const both = [...now.endorsements.tcbInfos, ...older.endorsements.tcbInfos]
    for (const tcbInfos of [both, [...both].reverse()]) {
      const mixed = { ...now, endorsements: { ...now.endorsements, tcbInfos } }
      expect(judge(mixed).accepted).toBe(false)
    }
  })
})
