// The memory of examined chains and collateral: two signatures for a known platform, the same answers, nothing carried from one input to another.
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type * as Crypto from 'node:crypto'

const calls = { verify: 0 }
vi.mock('node:crypto', async (original) => {
  const real = await original<typeof Crypto>()
  const verify = (...args: readonly unknown[]): boolean => {
    calls.verify++
    return Reflect.apply(real.verify as (...all: readonly unknown[]) => boolean, undefined, args)
  }
  return { ...real, verify }
})

const { TdxTrust } = await import('../../../attestation/tdx/index.ts')
const { simulateTdx } = await import('../../../src/simulate/index.ts')
const { failures, judge, simulated } = await import('./samples.ts')

beforeEach(() => {
  calls.verify = 0
})

describe('trust', () => {
  it('a second quote of a known platform costs two signatures and has the same result', () => {
    const trust = new TdxTrust()
    const sample = simulated(simulateTdx())
    const cold = judge(sample)
    expect(calls.verify).toBe(9)
    expect(judge(sample, { trust })).toEqual(cold)
    calls.verify = 0
    expect(judge(sample, { trust })).toEqual(cold)
    expect(calls.verify).toBe(2)
    expect(trust.size).toBe(1)
  })

  it('also finds what was read anew from the same bytes', () => {
    const trust = new TdxTrust()
    judge(simulated(simulateTdx()), { trust })
    calls.verify = 0
    expect(judge(simulated(simulateTdx()), { trust }).accepted).toBe(true)
    expect(calls.verify).toBe(2)
  })

  it('judges dates anew each time', () => {
    const trust = new TdxTrust()
    const sample = simulated(simulateTdx())
    expect(judge(sample, { trust }).accepted).toBe(true)
    const later = judge({ ...sample, at: new Date('2040-01-01') }, { trust })
    expect(failures(later)).toContain('tdx.tcbInfo.validity:COLLATERAL_EXPIRED')
    expect(failures(later)).toContain('tdx.validity.pck:CERT_EXPIRED')
  })

  it('does not take one root, chain, list or statement for another', () => {
    const trust = new TdxTrust()
    const sample = simulated(simulateTdx())
    const { endorsements } = sample
    const other = simulated(simulateTdx({ seed: 'other' }))
    expect(judge(sample, { trust }).accepted).toBe(true)
    const changed = [
      { ...sample, trustRoots: other.trustRoots },
      { ...sample, trustRoots: [] },
      { ...sample, evidence: other.evidence },
      { ...sample, endorsements: { ...endorsements, crls: other.endorsements.crls } },
      { ...sample, endorsements: { ...endorsements, crls: [] } },
      { ...sample, endorsements: { ...endorsements, certificates: [] } },
      { ...sample, endorsements: { ...endorsements, tcbInfos: other.endorsements.tcbInfos } },
      { ...sample, endorsements: { ...endorsements, qeIdentities: [] } },
    ]
    for (const each of changed) {
      const result = judge(each, { trust })
      expect(result.accepted).toBe(false)
      expect(result).toEqual(judge(each))
    }
    expect(judge(sample, { trust }).accepted).toBe(true)
  })

  it('remembers a failed chain as a failed one', () => {
    const trust = new TdxTrust()
    const sample = { ...simulated(simulateTdx()), trustRoots: [] }
    for (let i = 0; i < 2; i++)
      expect(failures(judge(sample, { trust }))).toContain('tdx.root:ROOT_UNTRUSTED')
  })

  it('is bounded', () => {
    const trust = new TdxTrust(2)
    for (const seed of ['a', 'b', 'c', 'd'])
      expect(judge(simulated(simulateTdx({ seed })), { trust }).accepted).toBe(true)
    expect(trust.size).toBe(2)
    calls.verify = 0
    judge(simulated(simulateTdx({ seed: 'd' })), { trust })
    expect(calls.verify).toBe(2)
    judge(simulated(simulateTdx({ seed: 'a' })), { trust })
    expect(calls.verify).toBe(2 + 9)
  })
})
