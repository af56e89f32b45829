// What only a simulated authority can show: validly signed machines of every product, version and role, and validly signed negatives.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import { modelBinding } from '../../../attestation/binding.ts'
import { decodeSnpPolicy } from '../../../attestation/snp/policy.ts'
import { SnpTrust } from '../../../attestation/snp/trust.ts'
import { GENOA_A0, SNP_DEFAULTS, SNP_NEGATIVES, simulateSnp } from '../../../src/simulate/index.ts'
import type { SnpProduct, SnpRequest, SnpTcb } from '../../../src/simulate/index.ts'
import { STRICT_VLEK, failures, having, judge } from './machine.ts'

const PRODUCTS = ['Milan', 'Genoa', 'Turin'] as const
const DAY = 86_400_000

describe('simulated machines', () => {
  for (const product of PRODUCTS) {
    for (const version of [2, 3, 4, 5]) {
      for (const role of ['vcek', 'vlek'] as const) {
        it(`${product} v${version} ${role} is accepted, and says SIMULATED`, () => {
          const result = judge(simulateSnp({ product, role, report: { version } }))
          expect(failures(result)).toEqual([])
          expect(result).toMatchObject({ accepted: true, simulated: true, historical: false })
          const warned = product === 'Milan' ? ['snp.allowed-product PRODUCT_WEAK'] : []
          expect(having(result, 'warn')).toEqual(warned)
        })
      }
    }
  }

  it('are trusted only where their root is named', () => {
    const result = judge(simulateSnp(), { root: null })
    expect(failures(result)).toEqual(['snp.root ROOT_UNTRUSTED'])
    expect(result).toMatchObject({ claims: null, root: null, simulated: false })
  })

  it('of another vendor are not trusted under the root of the first', () => {
    const other = simulateSnp({ seed: 'another' })
    const result = judge(other, { root: simulateSnp().ark })
    expect(failures(result)).toEqual(['snp.root ROOT_UNTRUSTED'])
  })

  it('Bergamo and Siena have their own microcode minimum', () => {
    const tcb = { ...SNP_DEFAULTS.Genoa.tcb, microcode: 27 }
    const dense = simulateSnp({ tcb, report: { cpuid: GENOA_A0 } })
    expect(failures(judge(dense))).toEqual([])
    expect(failures(judge(simulateSnp({ tcb })))).toContain('snp.tcb.reported TCB_BELOW_MINIMUM')
  })

  it('a VLEK without a pinned provider is refused, with another provider too', () => {
    const recorded = simulateSnp({ role: 'vlek' })
    const nobody = judge(recorded, { policy: decodeSnpPolicy({}) })
    expect(failures(nobody)).toEqual(['snp.chip CHIP_ID'])
    const other = judge(recorded, { policy: decodeSnpPolicy({ cspIds: ['CN=elsewhere'] }) })
    expect(failures(other)).toEqual(['snp.csp CSP_ID'])
    expect(other.vector['instance-identity']).toBe(97)
    const anyone = judge(recorded, { policy: decodeSnpPolicy({ anonymousChip: true }) })
    expect(anyone.accepted).toBe(true)
    expect(having(anyone, 'warn')).toContain('snp.chip WAIVED')
    expect(judge(recorded, { policy: STRICT_VLEK }).accepted).toBe(true)
  })

  it('a report is bound to model and nonce, or it is not', () => {
    const binding = {
      nonce: new Uint8Array(32).fill(1),
      modelDigest: new Uint8Array(32).fill(2),
      keyDigest: new Uint8Array(32).fill(3),
    }
    const recorded = simulateSnp({ report: { reportData: modelBinding(binding) } })
    expect(judge(recorded, { binding, nonce: binding.nonce }).accepted).toBe(true)
    for (const part of ['nonce', 'modelDigest', 'keyDigest'] as const) {
      const other = { ...binding, [part]: new Uint8Array(32).fill(9) }
      const result = judge(recorded, { binding: other })
      expect(failures(result)).toEqual(['snp.model-binding MODEL_BINDING'])
      expect(result.vector['file-system']).toBe(96)
    }
  })

  it('Milan can be denied, with an exception for a chip that is known', () => {
    const recorded = simulateSnp({ product: 'Milan' })
    const denied = { products: { deny: ['Milan'] } }
    const result = judge(recorded, { policy: decodeSnpPolicy(denied) })
    expect(failures(result)).toEqual(['snp.allowed-product PRODUCT_DENIED'])
    expect(result.vector.hardware).toBe(96)
    const chipIds = [result.claims!.instanceId]
    const known = judge(recorded, { policy: decodeSnpPolicy({ ...denied, chipIds }) })
    expect(known.accepted).toBe(true)
    expect(having(known, 'warn')).toContain('snp.allowed-product WAIVED')
    const elsewhere = simulateSnp({ product: 'Milan', machine: 'another' })
    expect(failures(judge(elsewhere, { policy: decodeSnpPolicy({ ...denied, chipIds }) }))).toEqual(
      ['snp.allowed-product PRODUCT_DENIED', 'snp.chip CHIP_ID'],
    )
  })
})

describe('validly signed negatives', () => {
  it.each(SNP_NEGATIVES.map((negative) => [negative.name, negative] as const))(
    '%s',
    (_, negative) => {
      const { evidence, trustedRoot } = negative.record()
      let codes: readonly string[]
      try {
        const result = judge(evidence, { root: trustedRoot })
        expect(result.accepted).toBe(false)
        codes = result.checks.filter((check) => check.status === 'fail').map((check) => check.code)
      } catch (error) {
        expect(error).toBeInstanceOf(AttestationError)
        codes = [(error as AttestationError).code]
      }
      for (const code of negative.codes) expect(codes).toContain(code)
    },
  )
})

describe('window edges', () => {
  const request: SnpRequest = {}
  const recorded = simulateSnp(request)
  const status = (at: number, options: { trust?: SnpTrust } = {}): Map<string, string> => {
    const result = judge(recorded, { at: new Date(at), ...options })
    return new Map(result.checks.map((check) => [check.id, check.code]))
  }
  const start = recorded.at.getTime()
  // what changes when the clock moves over each edge: leaf from -30 d to +7 y, list from -1 d to +364 d, authorities 2020 to 2045
  const EDGES = [
    ['snp.revocation', start - DAY, 'CRL_EXPIRED', 'begin'],
    ['snp.revocation', start + 364 * DAY, 'CRL_EXPIRED', 'end'],
    ['snp.validity.leaf', start - 30 * DAY, 'CERT_NOT_YET_VALID', 'begin'],
    ['snp.validity.leaf', start + 7 * 365 * DAY, 'CERT_EXPIRED', 'end'],
    ['snp.validity.ca', Date.parse('2020-10-22T00:00:00Z'), 'CERT_NOT_YET_VALID', 'begin'],
    ['snp.validity.root', Date.parse('2045-10-22T00:00:00Z'), 'CERT_EXPIRED', 'end'],
  ] as const
  it.each(EDGES)('%s at its %s', (id, edge, code, side) => {
    for (const trust of [undefined, new SnpTrust()]) {
      const options = trust === undefined ? {} : { trust }
      const inside = status(edge, options)
      const outside = status(side === 'begin' ? edge - 1 : edge + 1, options)
      expect(inside.get(id)).toBe('OK')
      expect(outside.get(id)).toBe(code)
      const flipped = [...inside].filter(
        ([key, value]) => outside.has(key) && outside.get(key) !== value,
      )
      const both = edge === EDGES[4][1] || edge === EDGES[5][1]
      expect(flipped.map(([key]) => key)).toEqual(
        both ? ['snp.validity.ca', 'snp.validity.root'] : [id],
      )
    }
  })
})

describe('metamorphic', () => {
  const components = ['bootLoader', 'tee', 'snp', 'microcode'] as const
  const option = {
    bootLoader: 'bootloader',
    tee: 'tee',
    snp: 'snp',
    microcode: 'microcode',
  } as const
  const level = (
    product: SnpProduct,
    component: (typeof components)[number],
    change: number,
  ): SnpTcb => {
    const tcb = SNP_DEFAULTS[product].tcb
    return { ...tcb, [component]: Math.max(0, tcb[component] + change) }
  }

  it('raising a minimum never turns a refusal into acceptance', () => {
    const recorded = simulateSnp({})
    const trust = new SnpTrust()
    fc.assert(
      fc.property(
        fc.constantFrom('reported', 'committed', 'launch'),
        fc.constantFrom(...components),
        fc.integer({ min: 0, max: 126 }),
        (field, component, minimum) => {
          const run = (value: number): boolean => {
            const minimumTcb = { [field]: { Genoa: { [option[component]]: value } } }
            return judge(recorded, { policy: decodeSnpPolicy({ minimumTcb }), trust }).accepted
          }
          const own = recorded.fields.reportedTcb[component]
          expect(run(minimum)).toBe(minimum <= own)
          if (!run(minimum)) expect(run(minimum + 1)).toBe(false)
        },
      ),
      { numRuns: 40, seed: 1 },
    )
  })

  it('raising an SVN in a re-signed report never turns acceptance into refusal', () => {
    for (const product of PRODUCTS) {
      for (const component of components) {
        const verdicts = [-3, -1, 0, 1, 3].map((change) => {
          const recorded = simulateSnp({ product, tcb: level(product, component, change) })
          return judge(recorded).accepted
        })
        const first = verdicts.indexOf(true)
        expect(first).toBeGreaterThanOrEqual(0)
        expect(verdicts.slice(first).every(Boolean)).toBe(true)
      }
    }
  })

  it('raising the guest SVN, firmware or mitigations never turns acceptance into refusal', () => {
    const policy = decodeSnpPolicy({
      minimumGuestSvn: 2,
      minimumFirmware: { Genoa: '1.55.50' },
      mitigations: { launch: '0x3', current: '0x3' },
    })
    const verdicts = [0, 1, 2, 3, 4].map((step) => {
      const firmware = { major: 1, minor: 55, build: 48 + step }
      const report = {
        guestSvn: step,
        currentFirmware: firmware,
        committedFirmware: firmware,
        launchMitigations: (1n << BigInt(step)) - 1n,
        currentMitigations: (1n << BigInt(step)) - 1n,
      }
      return judge(simulateSnp({ report }), { policy }).accepted
    })
    expect(verdicts).toEqual([false, false, true, true, true])
  })
})

describe('the memory of sound chains', () => {
  it('gives the same result as without it, keeps no unsound chain, and is bounded', () => {
    const trust = new SnpTrust(2)
    for (const machine of ['a', 'b', 'c', 'a']) {
      const recorded = simulateSnp({ machine })
      const cold = judge(recorded)
      expect(judge(recorded, { trust })).toEqual(cold)
      expect(judge(recorded, { trust })).toEqual(cold)
    }
    expect(trust.size).toBe(2)
    const unsound = new SnpTrust()
    const revoked = SNP_NEGATIVES.find((negative) => negative.name === 'revoked-ask')!.record()
    for (let i = 0; i < 2; i++) {
      const result = judge(revoked.evidence, { root: revoked.trustedRoot, trust: unsound })
      expect(failures(result)).toEqual(['snp.revocation REVOKED'])
    }
    expect(unsound.size).toBe(0)
  })

  it('is not consulted for other roots or other lists', () => {
    const trust = new SnpTrust()
    const recorded = simulateSnp()
    expect(judge(recorded, { trust }).accepted).toBe(true)
    expect(judge(recorded, { trust, root: null }).accepted).toBe(false)
    expect(judge(recorded, { trust, crl: false }).accepted).toBe(false)
  })
})
