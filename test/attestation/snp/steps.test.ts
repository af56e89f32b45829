// The work is bounded by the size of the input: signatures are counted, not timed.
import type * as Crypto from 'node:crypto'
import { describe, expect, it, vi } from 'vitest'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { parseCrl } from '../../../attestation/lib/crl.ts'
import { parseCertificate } from '../../../attestation/lib/x509.ts'
import { userRoots } from '../../../attestation/roots.ts'
import { attestSnp } from '../../../attestation/snp/attest.ts'
import { STRICT_SNP_POLICY } from '../../../attestation/snp/policy.ts'
import { SnpTrust } from '../../../attestation/snp/trust.ts'
import { simulateSnp } from '../../../src/simulate/index.ts'
import type { SnpRequest } from '../../../src/simulate/index.ts'
import { evidence } from './samples.ts'

const counted = vi.hoisted(() => ({ verify: 0 }))
vi.mock('node:crypto', async (original) => {
  const real = await original<typeof Crypto>()
  const verify = (...args: Parameters<typeof Crypto.verify>): unknown => {
    counted.verify++
    return (real.verify as (...same: typeof args) => unknown)(...args)
  }
  return { ...real, verify }
})

/** Signatures that are verified for this machine's report with more endorsements beside its own. */
function signatures(more: {
  certificates?: Uint8Array[]
  crls?: Uint8Array[]
  trust?: SnpTrust
}): number {
  const machine = simulateSnp()
  const own = [machine.leaf, machine.ask, machine.ark]
  const trustRoots = userRoots(machine.ark)
  const endorsements = {
    ...NO_ENDORSEMENTS,
    certificates: [...(more.certificates ?? []), ...own].map(parseCertificate),
    crls: (more.crls ?? []).map(parseCrl),
  }
  const options = more.trust === undefined ? { trustRoots } : { trustRoots, trust: more.trust }
  const { at } = machine
  counted.verify = 0
  attestSnp(evidence(machine.report), endorsements, STRICT_SNP_POLICY, at, at, options)
  return counted.verify
}

const altered = (count: number, which: 'leaf' | 'ask' | 'ark'): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => {
    const serial = BigInt(1000 + i)
    const request: SnpRequest = {
      certificates: { [which]: (fields: { serial: bigint }) => ({ ...fields, serial }) },
    }
    return simulateSnp(request)[which]
  })

describe('signatures verified', () => {
  it('are four for one report and its chain, one more per list, one if the chain is known', () => {
    expect(signatures({})).toBe(4)
    expect(signatures({ crls: [simulateSnp().crl] })).toBe(5)
    const trust = new SnpTrust()
    expect(signatures({ trust })).toBe(4)
    expect(signatures({ trust })).toBe(1)
  })

  it.each(['leaf', 'ask', 'ark'] as const)(
    'do not grow with certificates of the name of the %s',
    (which) => {
      const few = signatures({ certificates: altered(8, which) })
      const many = signatures({ certificates: altered(32, which) })
      expect(few).toBeLessThanOrEqual(4 + 8)
      expect(many).toBe(few)
    },
  )

  it('grow by one with each revocation list', () => {
    const lists = Array.from(
      { length: 16 },
      (_, i) => simulateSnp({ crl: (fields) => ({ ...fields, number: BigInt(i) }) }).crl,
    )
    expect(signatures({ crls: lists.slice(0, 4) })).toBe(4 + 4)
    expect(signatures({ crls: lists })).toBe(4 + 16)
  })
})
