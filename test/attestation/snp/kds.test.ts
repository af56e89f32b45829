// Fetching what a report lacks, against a double of KDS on loopback.
import { afterEach, describe, expect, it } from 'vitest'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { parseCertificate } from '../../../attestation/lib/x509.ts'
import { userRoots } from '../../../attestation/roots.ts'
import { attestSnp } from '../../../attestation/snp/attest.ts'
import { chainUrl, crlUrl, fetchSnpEndorsements, vcekUrl } from '../../../attestation/snp/kds.ts'
import { parseReport } from '../../../attestation/snp/report.ts'
import { simulateSnp } from '../../../src/simulate/index.ts'
import type { SnpEvidence } from '../../../src/simulate/index.ts'
import { fakeKds } from '../../fakes/kds.ts'
import type { FakeKds } from '../../fakes/kds.ts'
import { STRICT, STRICT_VLEK } from './machine.ts'
import { evidence } from './samples.ts'

let kds: FakeKds | undefined
afterEach(async () => {
  await kds?.close()
  kds = undefined
})

async function serving(...machines: SnpEvidence[]): Promise<FakeKds> {
  kds = await fakeKds(machines)
  return kds
}

describe('URLs', () => {
  it('are the forms of AMD', () => {
    const chip = new Uint8Array(64).fill(0xab)
    const tcb = { bootloader: 2, tee: 0, snp: 8, microcode: 115 }
    expect(vcekUrl('Milan', chip, tcb)).toBe(
      `https://kdsintf.amd.com/vcek/v1/Milan/${'ab'.repeat(64)}?blSPL=02&teeSPL=00&snpSPL=08&ucodeSPL=115`,
    )
    expect(vcekUrl('Turin', chip, { fmc: 1, ...tcb })).toBe(
      `https://kdsintf.amd.com/vcek/v1/Turin/${'ab'.repeat(8)}?fmcSPL=01&blSPL=02&teeSPL=00&snpSPL=08&ucodeSPL=115`,
    )
    expect(chainUrl('Genoa', 'VLEK')).toBe('https://kdsintf.amd.com/vlek/v1/Genoa/cert_chain')
    expect(crlUrl('Genoa', 'VCEK')).toBe('https://kdsintf.amd.com/vcek/v1/Genoa/crl')
  })
})

describe('fetchSnpEndorsements', () => {
  for (const product of ['Milan', 'Genoa', 'Turin'] as const) {
    for (const version of [2, 5]) {
      it(`${product} v${version}: leaf, chain and list, and then the report is accepted`, async () => {
        const machine = simulateSnp({ product, report: { version } })
        const { base, fetcher, requests } = await serving(machine)
        const fetched = await fetchSnpEndorsements(parseReport(machine.report), fetcher, { base })
        expect(fetched.certificates).toHaveLength(3)
        expect(fetched.inputs).toHaveLength(3)
        // a version 2 Genoa is asked for as a Milan first
        expect(requests).toHaveLength(product === 'Genoa' && version === 2 ? 4 : 3)
        const options = { trustRoots: userRoots(machine.ark) }
        const { at } = machine
        const result = attestSnp(evidence(machine.report), fetched, STRICT, at, at, options)
        expect(result.accepted).toBe(true)
      })
    }
  }

  it('a VLEK is taken from the evidence, only its issuers are fetched', async () => {
    const machine = simulateSnp({ role: 'vlek' })
    const { base, fetcher, requests } = await serving(machine)
    const report = parseReport(machine.report)
    await expect(fetchSnpEndorsements(report, fetcher, { base })).rejects.toMatchObject({
      code: 'ENDORSEMENT_UNAVAILABLE',
    })
    expect(requests).toEqual([])
    const own = { ...NO_ENDORSEMENTS, certificates: [parseCertificate(machine.leaf)] }
    const fetched = await fetchSnpEndorsements(report, fetcher, { base, have: own })
    expect(requests).toEqual(['/vlek/v1/Genoa/cert_chain', '/vlek/v1/Genoa/crl'])
    const options = { trustRoots: userRoots(machine.ark) }
    const { at } = machine
    const raw = evidence(machine.report, own)
    expect(attestSnp(raw, fetched, STRICT_VLEK, at, at, options).accepted).toBe(true)
  })

  it('a chip or a product that KDS does not know is unavailable', async () => {
    const { base, fetcher } = await serving(simulateSnp())
    const other = parseReport(simulateSnp({ machine: 'another' }).report)
    await expect(fetchSnpEndorsements(other, fetcher, { base })).rejects.toMatchObject({
      code: 'ENDORSEMENT_UNAVAILABLE',
    })
    const nobody = parseReport(simulateSnp({ report: { chipId: new Uint8Array(64) } }).report)
    await expect(fetchSnpEndorsements(nobody, fetcher, { base })).rejects.toMatchObject({
      code: 'ENDORSEMENT_UNAVAILABLE',
    })
    const cpuid = { family: 0x1a, model: 0x50, stepping: 0 }
    const venice = parseReport(simulateSnp({ report: { cpuid } }).report)
    await expect(fetchSnpEndorsements(venice, fetcher, { base })).rejects.toMatchObject({
      code: 'PRODUCT_UNKNOWN',
    })
  })

  it('answers in another form are refused with the typed error', async () => {
    const machine = simulateSnp()
    const vlek = simulateSnp({ role: 'vlek' })
    const report = parseReport(machine.report)
    const chain = '/vcek/v1/Genoa/cert_chain'
    const leafPath = new URL(
      vcekUrl('Genoa', report.chipId, { bootloader: 0, tee: 0, snp: 0, microcode: 0 }),
    ).pathname
    const cases: [string, number, Uint8Array | string, string][] = [
      [chain, 200, machine.kdsChain() + machine.kdsChain(), 'TOO_LARGE'],
      [chain, 200, `${machine.kdsChain()}x`, 'FORMAT_INVALID'],
      [chain, 200, vlek.kdsChain(), 'CERT_ROLE'],
      [chain, 200, simulateSnp({ product: 'Milan' }).kdsChain(), 'CERT_ROLE'],
      [chain, 200, '', 'FORMAT_INVALID'],
      [chain, 429, '', 'ENDORSEMENT_UNAVAILABLE'],
      [chain, 500, '', 'ENDORSEMENT_UNAVAILABLE'],
      [leafPath, 200, vlek.leaf, 'CERT_ROLE'],
      [leafPath, 200, Uint8Array.of(...machine.leaf, 0), 'TRAILING_DATA'],
      [leafPath, 200, '<html>', 'TRUNCATED'],
      ['/vcek/v1/Genoa/crl', 200, machine.leaf, 'UNSUPPORTED_VERSION'],
      ['/vcek/v1/Genoa/crl', 404, '', 'ENDORSEMENT_UNAVAILABLE'],
    ]
    for (const [path, status, body, code] of cases) {
      const { base, fetcher, answer, close } = await fakeKds([machine])
      answer(path, status, body)
      await expect(fetchSnpEndorsements(report, fetcher, { base })).rejects.toMatchObject({
        name: 'AttestationError',
        code,
      })
      await close()
    }
  })

  it('a service that does not answer is unavailable', async () => {
    const { base, fetcher, close } = await fakeKds([])
    await close()
    const report = parseReport(simulateSnp().report)
    await expect(fetchSnpEndorsements(report, fetcher, { base })).rejects.toMatchObject({
      code: 'ENDORSEMENT_UNAVAILABLE',
    })
  })
})
