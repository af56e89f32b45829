// Genuine evidence, damaged in every way: nothing of it is accepted, and nothing but the typed error or a refusal comes out.
import { describe, expect, it } from 'vitest'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { AttestationError } from '../../../attestation/error.ts'
import { parseCertificate } from '../../../attestation/lib/x509.ts'
import type { Certificate } from '../../../attestation/lib/x509.ts'
import { VENDOR_ROOTS } from '../../../attestation/roots.ts'
import { attestSnp } from '../../../attestation/snp/attest.ts'
import { authenticateChain } from '../../../attestation/snp/chain.ts'
import { STRICT_SNP_POLICY } from '../../../attestation/snp/policy.ts'
import { parseReport, REPORT_SIZE, SIGNED_SIZE } from '../../../attestation/snp/report.ts'
import { SnpTrust } from '../../../attestation/snp/trust.ts'
import { haveShared } from '../../shared.ts'
import { SAMPLES, certificates, cas, endorsements, evidence } from './samples.ts'
import type { Sample } from './samples.ts'

/** 1: authenticated, 0: refused by the typed error or by a failed check of authentication. */
function verdict(sample: Sample, report: Uint8Array, trust: SnpTrust): 0 | 1 {
  try {
    const endorsed = endorsements(sample.chain)
    const result = attestSnp(evidence(report), endorsed, STRICT_SNP_POLICY, sample.at, sample.at, {
      trust,
    })
    return result.claims === null ? 0 : 1
  } catch (error) {
    if (error instanceof AttestationError) return 0
    throw error
  }
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice()
  copy[bit >> 3]! ^= 1 << (bit & 7)
  return copy
}

const NAMES = ['debug', 'oldTcb', 'azure', 'vlek', 'milan', 'genoa', 'dense'] as const

describe.runIf(haveShared)('reports', () => {
  it.each(NAMES)('%s: every bit of the signed region flipped', (name) => {
    const sample = SAMPLES[name]()
    const trust = new SnpTrust()
    expect(verdict(sample, sample.report, trust)).toBe(1)
    let accepted = 0
    for (let bit = 0; bit < SIGNED_SIZE * 8; bit++) {
      accepted += verdict(sample, flipped(sample.report, bit), trust)
    }
    expect(accepted).toBe(0)
  })

  it('every bit of the signature and of its padding flipped', () => {
    const sample = SAMPLES.dense()
    const trust = new SnpTrust()
    let accepted = 0
    for (let bit = SIGNED_SIZE * 8; bit < REPORT_SIZE * 8; bit++) {
      accepted += verdict(sample, flipped(sample.report, bit), trust)
    }
    expect(accepted).toBe(0)
  })

  it.each(NAMES)('%s: cut at every length, and 1 to 64 bytes appended', (name) => {
    const sample = SAMPLES[name]()
    for (let length = 0; length < REPORT_SIZE; length++) {
      expect(() => parseReport(sample.report.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'TRUNCATED' }),
      )
    }
    for (let more = 1; more <= 64; more++) {
      for (const filler of [0x00, 0xff]) {
        const longer = new Uint8Array(REPORT_SIZE + more).fill(filler)
        longer.set(sample.report)
        expect(() => parseReport(longer)).toThrow(
          expect.objectContaining({ code: 'TRAILING_DATA' }),
        )
      }
    }
  })
})

/** Whether the chain of a sample is sound with one of its certificates damaged. Unreadable counts as refused. */
function soundWith(chain: readonly Certificate[], index: number, der: Uint8Array, at: Date): 0 | 1 {
  let damaged: Certificate
  try {
    damaged = parseCertificate(der)
  } catch (error) {
    if (error instanceof AttestationError) return 0
    throw error
  }
  const list = chain.map((cert, i) => (i === index ? damaged : cert))
  const options = { trustRoots: VENDOR_ROOTS, at, requireCrl: false }
  const found = authenticateChain(list[0]!, { certificates: list, crls: [] }, options)
  return found.sound ? 1 : 0
}

describe.runIf(haveShared)('certificates', () => {
  const turin = () => ({
    chain: [...certificates('vcek-turin-only/vcek.der'), ...cas('turin')],
    at: new Date('2026-06-01T00:00:00Z'),
  })
  const chains = [
    ['genoa', SAMPLES.dense, 1],
    ['milan', SAMPLES.milan, 8],
    ['milan vlek', SAMPLES.vlek, 8],
    ['turin', turin, 8],
  ] as const
  // One chain bit by bit; of the others one bit of each byte, another one from byte to byte: `ZT4AI_EXHAUSTIVE=1` asks for all.
  it.each(chains)(
    '%s: bits of every certificate flipped',
    { timeout: 600_000 },
    (_, load, usual) => {
      const { chain, at } = load()
      const stride = process.env['ZT4AI_EXHAUSTIVE'] === '1' ? 1 : usual
      for (const [index, cert] of chain.entries()) {
        expect(soundWith(chain, index, cert.der, at)).toBe(1)
        let accepted = 0
        for (let bit = 0; bit < cert.der.length * 8; bit += stride) {
          const chosen = stride === 1 ? bit : bit + ((bit >> 3) % 8)
          accepted += soundWith(chain, index, flipped(cert.der, chosen), at)
        }
        expect(accepted).toBe(0)
      }
    },
  )

  it.each(chains)('%s: every certificate cut at every length, and bytes appended', (_, load) => {
    const { chain } = load()
    for (const cert of chain) {
      for (let length = 0; length < cert.der.length; length++) {
        expect(() => parseCertificate(cert.der.subarray(0, length))).toThrow(AttestationError)
      }
      for (let more = 1; more <= 64; more++) {
        const longer = new Uint8Array(cert.der.length + more)
        longer.set(cert.der)
        expect(() => parseCertificate(longer)).toThrow(
          expect.objectContaining({ code: 'TRAILING_DATA' }),
        )
      }
    }
  })

  it('without any certificate every check still has its answer', () => {
    const sample = SAMPLES.genoa()
    const result = attestSnp(
      evidence(sample.report),
      NO_ENDORSEMENTS,
      STRICT_SNP_POLICY,
      sample.at,
      sample.at,
    )
    expect(result.checks.map((check) => check.status)).not.toContain('pass')
    expect(result.checks.filter((check) => check.status === 'fail')).toHaveLength(14)
    expect(result).toMatchObject({ accepted: false, claims: null, root: null })
  })
})
