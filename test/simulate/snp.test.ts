import { createHash, verify, X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  parseCertificate,
  parseCertificates,
  parseCrl,
  utf8Encode,
} from '../../attestation/lib/index.ts'
import { parseReport } from '../../attestation/snp/report.ts'
import {
  GENOA_A0,
  simulateSnp,
  SNP_DEFAULTS,
  SNP_NEGATIVES,
  type SnpProduct,
  type SnpRole,
} from '../../src/simulate/index.ts'
import { judgeSnp } from './judge.ts'

const PRODUCTS: readonly SnpProduct[] = ['Milan', 'Genoa', 'Turin']
const ROLES: readonly SnpRole[] = ['vcek', 'vlek']
const KINDS = PRODUCTS.flatMap((product) => ROLES.map((role) => [product, role] as const))

/** SHA-256 over everything that a machine recorded. */
function digest(request: Parameters<typeof simulateSnp>[0]): string {
  const { report, leaf, ask, ark, crl } = simulateSnp(request)
  const hash = createHash('sha256')
  for (const part of [report, leaf, ask, ark, crl]) hash.update(part)
  return hash.digest('hex')
}

/** The report's ECDSA signature, by node alone. */
function signedBy(report: Uint8Array, leaf: X509Certificate): boolean {
  if (leaf.publicKey.asymmetricKeyType !== 'ec') return false
  const number = (at: number) => Buffer.from(report.slice(at, at + 48)).reverse()
  const signature = Buffer.concat([number(0x2a0), number(0x2e8)])
  const key = { key: leaf.publicKey, dsaEncoding: 'ieee-p1363' } as const
  return verify('sha384', report.subarray(0, 0x2a0), key, signature)
}

describe('simulated SNP machines', () => {
  it.each(KINDS)('%s %s: node verifies the chain, and the leaf the report', (product, role) => {
    const { leaf, ask, ark, report } = simulateSnp({ product, role })
    const [l, a, r] = [leaf, ask, ark].map((der) => new X509Certificate(der))
    expect(r!.verify(r!.publicKey)).toBe(true)
    expect(a!.verify(r!.publicKey)).toBe(true)
    expect(l!.verify(a!.publicKey)).toBe(true)
    expect(l!.checkIssued(a!)).toBe(true)
    expect(a!.checkIssued(r!)).toBe(true)
    expect(signedBy(report, l!)).toBe(true)
  })

  it.each(KINDS)(
    '%s %s: every subject says SIMULATED, and has the genuine common name',
    (product, role) => {
      const { leaf, ask, ark } = simulateSnp({ product, role })
      const names = [leaf, ask, ark].map((der) => parseCertificate(der).subject)
      expect(names.every(({ text }) => text.includes('SIMULATED'))).toBe(true)
      expect(names.map(({ commonName }) => commonName)).toEqual([
        role === 'vcek' ? 'SEV-VCEK' : 'SEV-VLEK',
        role === 'vcek' ? `SEV-${product}` : `SEV-VLEK-${product}`,
        `ARK-${product}`,
      ])
    },
  )

  it.each(KINDS)(
    '%s %s: the strict verifier accepts versions 2 to 5 under the named root alone',
    (product, role) => {
      for (const version of [2, 3, 4, 5]) {
        const evidence = simulateSnp({ product, role, report: { version } })
        const { accepted, codes, result } = judgeSnp(evidence, evidence.ark)
        expect({ version, accepted, codes }).toEqual({ version, accepted: true, codes: [] })
        expect(result?.simulated).toBe(true)
      }
    },
  )

  it('Bergamo and Siena are endorsed as Genoa', () => {
    const evidence = simulateSnp({ report: { cpuid: GENOA_A0 } })
    expect(judgeSnp(evidence, evidence.ark).codes).toEqual([])
  })

  it('a machine of one vendor is not trusted under the root of another', () => {
    const other = simulateSnp({ seed: 'another vendor', product: 'Genoa' })
    expect(judgeSnp(simulateSnp(), other.ark).accepted).toBe(false)
  })

  it('the fields asked for are the fields recorded', () => {
    const fill = (length: number, byte: number) => new Uint8Array(length).fill(byte)
    const asked = {
      version: 5,
      guestSvn: 7,
      policy: 0x3001fn,
      familyId: fill(16, 1),
      imageId: fill(16, 2),
      vmpl: 1,
      platformInfo: 0x65n,
      reportData: fill(64, 3),
      measurement: fill(48, 4),
      hostData: fill(32, 5),
      idKeyDigest: fill(48, 6),
      reportId: fill(32, 8),
      reportIdMa: fill(32, 9),
      currentFirmware: { major: 1, minor: 2, build: 3 },
      committedFirmware: { major: 4, minor: 5, build: 6 },
    }
    const parsed = parseReport(simulateSnp({ report: { ...asked, launchMitigations: 5n } }).report)
    expect(parsed).toMatchObject(asked)
    expect(parsed.mitigations).toEqual({ launch: 5n, current: 0x0bn })
    expect(parsed.cpuid).toEqual(SNP_DEFAULTS.Genoa.cpuid)
  })

  it('version 2 has no CPUID and versions before 5 have no mitigation vectors', () => {
    const zero = (version: number, from: number, to: number) =>
      simulateSnp({ report: { version } })
        .report.subarray(from, to)
        .every((byte) => byte === 0)
    expect([zero(2, 0x188, 0x18b), zero(3, 0x188, 0x18b)]).toEqual([true, false])
    expect([zero(4, 0x1f8, 0x208), zero(5, 0x1f8, 0x208)]).toEqual([true, false])
  })

  it('the same request gives the same bytes; another machine has another chip and another key holder', () => {
    expect(digest({ product: 'Turin' })).toBe(digest({ product: 'Turin' }))
    const [a, b] = [simulateSnp({ machine: 'a' }), simulateSnp({ machine: 'b' })]
    expect(a.fields.chipId).not.toEqual(b.fields.chipId)
    expect(a.ark).toEqual(b.ark)
  })

  it('writes the containers: certificate table, KDS chain, ioctl response', () => {
    const { report, leaf, ask, ark, crl, extended, kdsChain, ioctlResponse } = simulateSnp()
    expect(extended().subarray(0, 1184)).toEqual(report)
    const table = Buffer.from(extended({ crl: true }).subarray(1184))
    const blobs = [0, 1, 2, 3].map((i) => {
      const [offset, length] = [table.readUInt32LE(i * 24 + 16), table.readUInt32LE(i * 24 + 20)]
      return new Uint8Array(table.subarray(offset, offset + length))
    })
    expect(blobs).toEqual([leaf, ask, ark, crl])
    expect(table.subarray(96, 120).every((byte) => byte === 0)).toBe(true)
    expect(parseCertificates(utf8Encode(kdsChain())).map(({ der }) => der)).toEqual([ask, ark])
    expect(ioctlResponse().subarray(0x20, 0x20 + 1184)).toEqual(report)
    expect(parseCrl(crl).revoked.size).toBe(0)
  })
})

describe('SNP negatives', () => {
  it('have distinct names', () => {
    expect(new Set(SNP_NEGATIVES.map(({ name }) => name)).size).toBe(SNP_NEGATIVES.length)
  })

  // That the verifier refuses each with its codes is test/attestation/snp/simulated.test.ts. Here: that nothing but the stated fault is wrong.
  const OTHER_REPORT_KEY = new Set([
    'ask-as-leaf',
    'leaf-key-p256',
    'leaf-key-rsa',
    'report-signed-by-another-key',
  ])
  const OTHER_LEAF_ISSUER = new Set([
    'ask-as-leaf',
    'leaf-signed-by-ark',
    'leaf-signed-by-ec',
    'leaf-salt-contradicts',
    'turin-vlek-under-milan',
  ])
  const OTHER_ASK_ISSUER = new Set(['ask-signed-by-asvk', 'leaf-as-ca'])

  it.each(SNP_NEGATIVES)('$name is signed by the keys that its names claim', ({ name, record }) => {
    const { report, leaf, ask, ark } = record().evidence
    const [l, a, r] = [leaf, ask, ark].map((der) => new X509Certificate(der))
    const links = {
      ark: r!.verify(r!.publicKey),
      ask: a!.verify(r!.publicKey),
      leaf: l!.verify(a!.publicKey),
      report: signedBy(report, l!),
    }
    expect(links).toEqual({
      ark: true,
      ask: !OTHER_ASK_ISSUER.has(name),
      leaf: !OTHER_LEAF_ISSUER.has(name),
      report: !OTHER_REPORT_KEY.has(name),
    })
  })
})
