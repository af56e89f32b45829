// Every known mistake of other SNP verifiers, by name: what they let through is refused here, and what they refuse wrongly is accepted.
import { describe, expect, it } from 'vitest'
import { modelBinding } from '../../../attestation/binding.ts'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { AttestationError } from '../../../attestation/error.ts'
import { hexToBytes } from '../../../attestation/lib/bytes.ts'
import { parseCrl } from '../../../attestation/lib/crl.ts'
import { parseCertificate } from '../../../attestation/lib/x509.ts'
import type { AttestationResult } from '../../../attestation/result.ts'
import { VENDOR_ROOTS } from '../../../attestation/roots.ts'
import { attestSnp } from '../../../attestation/snp/attest.ts'
import { decodeSnpPolicy, STRICT_SNP_POLICY } from '../../../attestation/snp/policy.ts'
import { productOf } from '../../../attestation/snp/product.ts'
import { parseReport } from '../../../attestation/snp/report.ts'
import { GENOA_A0, SNP_NEGATIVES, simulateSnp } from '../../../src/simulate/index.ts'
import type { SnpEvidence, SnpRequest } from '../../../src/simulate/index.ts'
import { haveShared } from '../../shared.ts'
import { failures, having, judge } from './machine.ts'
import { SAMPLES, endorsements, evidence } from './samples.ts'

/** The simulated vendor under AMD's own organisation name: what a forger would make. */
const GENUINE_NAMES = (() => {
  const rename = (parts: readonly (readonly [string, string])[]) =>
    parts.map(([type, value]) => [type, type === 'O' ? 'Advanced Micro Devices' : value] as const)
  const change = (
    fields: Parameters<NonNullable<NonNullable<SnpRequest['certificates']>['ark']>>[0],
  ) => ({
    ...fields,
    issuer: rename(fields.issuer) as typeof fields.issuer,
    subject: rename(fields.subject) as typeof fields.subject,
  })
  return { ark: change, ask: change, leaf: change }
})()

function negative(name: string): AttestationResult {
  const found = SNP_NEGATIVES.find((candidate) => candidate.name === name)
  const { evidence: recorded, trustedRoot } = found!.record()
  return judge(recorded, { root: trustedRoot })
}

/** As `judge`, with the certificates inside the evidence, where a certificate table would put them. */
function fromOwnTable(recorded: SnpEvidence): AttestationResult {
  const own = [recorded.ark, recorded.ask, recorded.leaf].map(parseCertificate)
  const raw = evidence(recorded.report, endorsements(own))
  return attestSnp(raw, NO_ENDORSEMENTS, STRICT_SNP_POLICY, recorded.at, recorded.at)
}

describe('trust anchors', () => {
  it('go-sev-guest #185, TAV #140: ARK and ASK of the evidence itself are no anchors, whatever their names', () => {
    const forged = simulateSnp({ product: 'Genoa', certificates: GENUINE_NAMES })
    expect(failures(fromOwnTable(forged))).toEqual(['snp.root ROOT_UNTRUSTED'])
    expect(fromOwnTable(forged)).toMatchObject({ claims: null, accepted: false })
  })

  it('Akash: a self-signed certificate in the evidence is no anchor', () => {
    const result = judge(simulateSnp(), { root: null })
    expect(failures(result)).toEqual(['snp.root ROOT_UNTRUSTED'])
  })

  it('a vendor root of another vendor is no anchor for SNP', () => {
    const recorded = simulateSnp()
    const intel = { ...VENDOR_ROOTS[3]!, sha256: parseCertificate(recorded.ark).sha256 }
    const result = judge(recorded, { root: null, trustRoots: [intel] })
    expect(failures(result)).toContain('snp.root ROOT_UNTRUSTED')
  })

  it.runIf(haveShared)('a forged ASK and ARK beside the genuine ones change nothing', () => {
    const sample = SAMPLES.genoa()
    const forged = simulateSnp({ product: 'Genoa', certificates: GENUINE_NAMES })
    const extra = [forged.ask, forged.ark, forged.leaf].map(parseCertificate)
    const run = (list: typeof extra): AttestationResult =>
      attestSnp(
        evidence(sample.report),
        endorsements(list),
        STRICT_SNP_POLICY,
        sample.at,
        sample.at,
      )
    expect(run([...extra, ...sample.chain])).toMatchObject({ accepted: true })
    expect(run([...sample.chain, ...extra])).toMatchObject({ accepted: true })
    expect(failures(run([...extra, sample.leaf]))).toContain('snp.chain CHAIN_INVALID')
  })

  it.runIf(haveShared)('teekit: the order in which certificates are given means nothing', () => {
    const sample = SAMPLES.genoa()
    const [leaf, ask, ark] = sample.chain
    const orders = [
      [leaf, ask, ark],
      [ark, ask, leaf],
      [ask, leaf, ark],
    ]
    const results = orders.map((list) =>
      attestSnp(
        evidence(sample.report),
        endorsements(list.map((cert) => cert!)),
        STRICT_SNP_POLICY,
        sample.at,
        sample.at,
      ),
    )
    expect(results[1]).toEqual(results[0])
    expect(results[2]).toEqual(results[0])
    expect(results[0]?.accepted).toBe(true)
  })
})

describe('roles and names', () => {
  it('Trustee: the chip id is compared under the exact name SEV-VCEK', () => {
    expect(failures(negative('hwid-of-another-chip'))).toEqual(['snp.hwid HWID_MISMATCH'])
    expect(having(judge(simulateSnp()), 'pass')).toContain('snp.hwid OK')
    expect(failures(negative('leaf-named-vcek'))).toContain('snp.signature CERT_MISSING')
  })

  it('snpguest: "sev" in a name makes no ASK, and the hardware id of any length is no panic', () => {
    expect(failures(negative('leaf-as-ca'))).toContain('snp.roles CERT_ROLE')
    for (const length of [0, 1, 7, 8, 9, 10, 62, 63, 65, 66, 67, 128]) {
      const value = new Uint8Array(length).fill(5)
      const oid = '1.3.6.1.4.1.3704.1.4'
      const recorded = simulateSnp({
        certificates: {
          leaf: (fields) => ({
            ...fields,
            extensions: fields.extensions.map((e) => (e.oid === oid ? { ...e, value } : e)),
          }),
        },
      })
      expect(failures(judge(recorded))).toContain('snp.leaf CERT_INVALID')
    }
  })

  it('snpguest: a sound chain and a report of another key are one verdict, and it is a refusal', () => {
    expect(failures(negative('report-signed-by-another-key'))).toEqual([
      'snp.signature SIGNATURE_INVALID',
    ])
  })

  it('Trustee, TAV #142: SIGNING_KEY decides which kind of leaf may sign', () => {
    expect(failures(negative('vcek-says-vlek'))).toContain('snp.signing-key CERT_ROLE')
    expect(failures(negative('vlek-says-vcek'))).toContain('snp.signing-key CERT_ROLE')
    expect(failures(negative('vcek-issued-by-asvk'))).toEqual(['snp.roles CERT_ROLE'])
    expect(failures(negative('vlek-issued-by-ask'))).toEqual(['snp.roles CERT_ROLE'])
  })

  it('Trustee: certificates are judged at the stated time', () => {
    for (const level of ['leaf', 'ask', 'ark']) {
      const id = { leaf: 'leaf', ask: 'ca', ark: 'root' }[level]!
      expect(failures(negative(`${level}-expired`))).toEqual([`snp.validity.${id} CERT_EXPIRED`])
      expect(failures(negative(`${level}-not-yet-valid`))).toEqual([
        `snp.validity.${id} CERT_NOT_YET_VALID`,
      ])
    }
  })
})

describe('revocation', () => {
  it('attestation-rs: the ASK and the ASVK are looked up, not the leaf alone', () => {
    expect(failures(negative('revoked-ask'))).toEqual(['snp.revocation REVOKED'])
    expect(failures(negative('revoked-asvk'))).toEqual(['snp.revocation REVOKED'])
  })

  it('go-sev-guest: a list that was given is always checked, and a missing one shows', () => {
    const recorded = simulateSnp()
    const without = judge(recorded, { crl: false, policy: STRICT_SNP_POLICY })
    expect(having(without, 'warn')).toEqual(['snp.revocation CRL_MISSING'])
    expect(failures(judge(recorded, { crl: false }))).toEqual(['snp.revocation CRL_MISSING'])
  })

  it('teekit: a list that can’t be read is an error, never an empty list', () => {
    const { crl } = simulateSnp()
    for (const length of [0, 10, crl.length - 1]) {
      expect(() => parseCrl(crl.subarray(0, length))).toThrow(AttestationError)
    }
    expect(failures(negative('crl-signed-by-ask'))).toEqual(['snp.revocation CRL_INVALID'])
    expect(failures(negative('crl-expired'))).toEqual(['snp.revocation CRL_EXPIRED'])
    expect(failures(negative('crl-not-yet-valid'))).toEqual(['snp.revocation CRL_EXPIRED'])
  })

  it('an old list beside the current one does not hide what it revoked', () => {
    const recorded = simulateSnp()
    const old = simulateSnp({
      crl: (fields) => ({
        ...fields,
        thisUpdate: new Date('2025-01-01T00:00:00Z'),
        nextUpdate: new Date('2025-02-01T00:00:00Z'),
        revoked: [{ serial: 0x20001n, at: new Date('2025-01-01T00:00:00Z') }],
      }),
    })
    const crls = [recorded.crl, old.crl].map(parseCrl)
    const own = { ...NO_ENDORSEMENTS, crls }
    const certificates = [recorded.leaf, recorded.ask, recorded.ark].map(parseCertificate)
    const root = parseCertificate(recorded.ark)
    const result = attestSnp(
      evidence(recorded.report, own),
      { ...NO_ENDORSEMENTS, certificates },
      STRICT_SNP_POLICY,
      recorded.at,
      recorded.at,
      {
        trustRoots: [
          {
            name: 'x',
            vendor: 'named by the user',
            sha256: root.sha256,
            simulated: true,
          },
        ],
      },
    )
    expect(failures(result)).toEqual(['snp.revocation REVOKED'])
  })
})

describe('products', () => {
  it('go-sev-guest: Turin has its own TCB layout, extension .3.9, 8-byte hardware id and PLATFORM_INFO bit 6', () => {
    const recorded = simulateSnp({ product: 'Turin', report: { platformInfo: 0x65n } })
    const result = judge(recorded)
    expect(failures(result)).toEqual([])
    expect(result.claims?.tcb).toBe('FMC 1, bootloader 1, TEE 1, SNP 4, microcode 81')
  })

  it('go-sev-guest: an unknown PLATFORM_INFO bit is a question for the policy, not a parse error', () => {
    const recorded = simulateSnp({ report: { platformInfo: 0x125n } })
    const result = judge(recorded)
    expect(failures(result)).toEqual(['snp.platform-info-unknown PLATFORM_INFO'])
    expect(result.claims).not.toBeNull()
    const policy = decodeSnpPolicy({ unknownPlatformInfo: '0x100' })
    const allowed = judge(recorded, { policy })
    expect(allowed.accepted).toBe(true)
    expect(having(allowed, 'warn')).toEqual(['snp.platform-info-unknown WAIVED'])
  })

  it('go-sev-guest, Trustee: ranges of models are whole ranges, both ends included', () => {
    const cases = [
      [0x19, 0x00, 'Milan'],
      [0x19, 0x0f, 'Milan'],
      [0x19, 0x10, 'Genoa'],
      [0x19, 0x1f, 'Genoa'],
      [0x19, 0x20, null],
      [0x19, 0x9f, null],
      [0x19, 0xa0, 'Genoa'],
      [0x19, 0xaf, 'Genoa'],
      [0x19, 0xb0, null],
      [0x1a, 0x00, 'Turin'],
      [0x1a, 0x11, 'Turin'],
      [0x1a, 0x12, null],
      [0x1a, 0x4f, null],
      [0x1a, 0x50, 'Venice'],
      [0x1a, 0x57, 'Venice'],
      [0x1a, 0x58, null],
      [0x1a, 0x8f, null],
      [0x1a, 0x90, 'Venice'],
      [0x1a, 0xaf, 'Venice'],
      [0x1a, 0xb0, null],
      [0x1a, 0xc0, 'Venice'],
      [0x1a, 0xc7, 'Venice'],
      [0x1a, 0xc8, null],
      [0x18, 0x01, null],
    ] as const
    for (const [family, model, expected] of cases) {
      expect(productOf({ family, model, stepping: 0 })).toBe(expected)
    }
    const last = simulateSnp({ report: { cpuid: { ...GENOA_A0, model: 0xaf } } })
    expect(judge(last).accepted).toBe(true)
  })

  it('virtee/sev: Venice is recognised, and refused because nobody vouches for it', () => {
    const cpuid = { family: 0x1a, model: 0x50, stepping: 0 }
    const result = judge(simulateSnp({ product: 'Turin', report: { cpuid } }))
    expect(failures(result)).toEqual(['snp.product PRODUCT_UNKNOWN'])
  })

  it('virtee/sev: an unknown report version is not read as the newest', () => {
    for (const version of [0, 1, 6, 0xffffffff]) {
      const { report } = simulateSnp({ report: { version } })
      expect(() => parseReport(report)).toThrow(
        expect.objectContaining({ code: 'UNSUPPORTED_VERSION' }),
      )
    }
  })

  it('symbolic analysis: CPUID, leaf and authorities must name one product', () => {
    for (const name of ['cpuid-of-milan', 'cpuid-of-turin', 'product-name-of-milan']) {
      expect(failures(negative(name))).toContain('snp.product PRODUCT_MISMATCH')
    }
  })

  it('a version 2 report, which has no CPUID bytes, shows Turin by its chip id', () => {
    const report = { version: 2, chipId: simulateSnp({ product: 'Turin' }).fields.chipId }
    const hardwareId = report.chipId
    expect(failures(judge(simulateSnp({ report, hardwareId })))).toEqual([
      'snp.product PRODUCT_MISMATCH',
    ])
    const turin = { product: 'Turin', report: { version: 2 } } as const
    expect(judge(simulateSnp(turin)).accepted).toBe(true)
  })

  it('teekit: SIGNATURE_ALGO 0 does not exist', () => {
    const { report } = simulateSnp({ report: { signatureAlgorithm: 0 } })
    expect(() => parseReport(report)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED_ALGORITHM' }),
    )
  })

  it('attestation-go: TCBs are compared component by component, not as one number', () => {
    const tcb = { bootLoader: 127, tee: 127, snp: 22, microcode: 255 }
    expect(failures(judge(simulateSnp({ tcb })))).toEqual([
      'snp.tcb.reported TCB_BELOW_MINIMUM',
      'snp.tcb.committed TCB_BELOW_MINIMUM',
      'snp.tcb.launch TCB_BELOW_MINIMUM',
    ])
  })
})

describe('platform attacks', () => {
  it('BadRAM: the memory alias check is required', () => {
    expect(failures(negative('alias-check-missing'))).toEqual(['snp.platform-info PLATFORM_INFO'])
    expect(negative('alias-check-missing').vector.configuration).toBe(32)
  })

  it('EntrySign and RMPocalypse: minimum TCB by default, mitigation vector on demand', () => {
    expect(failures(negative('genoa-old-tcb'))).toContain('snp.tcb.reported TCB_BELOW_MINIMUM')
    const policy = decodeSnpPolicy({ mitigations: { current: '0x10' } })
    expect(failures(judge(simulateSnp(), { policy }))).toEqual(['snp.mitigations MITIGATIONS'])
    const before = simulateSnp({ report: { version: 4 } })
    expect(failures(judge(before, { policy }))).toEqual(['snp.mitigations MITIGATIONS'])
  })

  it('MilanLaunchy, BadFuse: Milan is flagged with its reason, and can be denied', () => {
    const result = judge(simulateSnp({ product: 'Milan' }))
    expect(having(result, 'warn')).toEqual(['snp.allowed-product PRODUCT_WEAK'])
    expect(result.vector.hardware).toBe(32)
  })

  it('TEE.fail, Battering RAM: chips can be listed, and a chip that is not listed is refused', () => {
    const recorded = simulateSnp()
    const other = simulateSnp({ machine: 'another' })
    const id = judge(recorded).claims!.instanceId
    const policy = decodeSnpPolicy({ chipIds: [id] })
    expect(judge(recorded, { policy }).vector['instance-identity']).toBe(2)
    expect(failures(judge(other, { policy }))).toEqual(['snp.chip CHIP_ID'])
    expect(judge(other, { policy }).vector['instance-identity']).toBe(97)
    const turin = simulateSnp({ product: 'Turin' })
    const short = judge(turin).claims!.instanceId!.slice(0, 16)
    expect(judge(turin, { policy: decodeSnpPolicy({ chipIds: [short] }) }).accepted).toBe(true)
  })

  it('MASK_CHIP_KEY: a report that names no chip is refused unless the owner says so', () => {
    const report = { chipId: new Uint8Array(64), keyInfo: 2 }
    const recorded = simulateSnp({ report })
    expect(failures(judge(recorded))).toEqual(['snp.chip CHIP_ID'])
    const allowed = judge(recorded, { policy: decodeSnpPolicy({ anonymousChip: true }) })
    expect(having(allowed, 'warn')).toContain('snp.chip WAIVED')
    const listed = decodeSnpPolicy({ anonymousChip: true, chipIds: ['00'.repeat(64)] })
    expect(failures(judge(recorded, { policy: listed }))).toEqual(['snp.chip CHIP_ID'])
  })

  it('ciphertext side channels: restrictions can be required of guest and platform', () => {
    const policy = decodeSnpPolicy({
      policyBits: { CIPHERTEXT_HIDING_DRAM: 'required', PAGE_SWAP_DISABLE: 'required' },
      platformInfo: { CIPHERTEXT_HIDING_DRAM_EN: 'required' },
    })
    expect(failures(judge(simulateSnp(), { policy }))).toEqual([
      'snp.policy-bits POLICY_BITS',
      'snp.platform-info PLATFORM_INFO',
    ])
    const report = { policy: 0x30000n | (1n << 24n) | (1n << 25n), platformInfo: 0x35n }
    expect(judge(simulateSnp({ report }), { policy }).accepted).toBe(true)
  })

  it('debugging and migration are refused, and debugging can’t be waived', () => {
    expect(failures(negative('debug'))).toEqual(['snp.debug DEBUG'])
    expect(failures(negative('migration'))).toEqual(['snp.policy-bits POLICY_BITS'])
    expect(() => decodeSnpPolicy({ policyBits: { DEBUG: 'allowed' } })).toThrow(
      expect.objectContaining({ code: 'POLICY_INVALID', path: '$.policyBits.DEBUG' }),
    )
  })

  it('replay: old evidence does not answer a new nonce', () => {
    const nonce = new Uint8Array(32).fill(7)
    const reportData = new Uint8Array(64)
    reportData.set(nonce)
    const recorded = simulateSnp({ report: { reportData } })
    expect(judge(recorded, { nonce }).accepted).toBe(true)
    expect(failures(judge(recorded, { nonce: new Uint8Array(32).fill(8) }))).toEqual([
      'snp.nonce NONCE',
    ])
    expect(failures(judge(recorded, { nonce: nonce.subarray(1) }))).toEqual(['snp.nonce NONCE'])
    expect(failures(judge(recorded, { nonce: new Uint8Array(0) }))).toEqual(['snp.nonce NONCE'])
  })

  it('attested TLS, CVE-2026-33697: evidence that is relayed is bound to the key of the machine, not to that of the relay', () => {
    const [nonce, modelDigest, keyDigest, relay] = [1, 2, 3, 4].map((value) =>
      new Uint8Array(32).fill(value),
    ) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
    const own = { nonce, modelDigest, keyDigest }
    const recorded = simulateSnp({ report: { reportData: modelBinding(own) } })
    expect(judge(recorded, { binding: own }).accepted).toBe(true)
    for (const binding of [
      { ...own, keyDigest: relay },
      { nonce, modelDigest },
    ])
      expect(failures(judge(recorded, { binding }))).toEqual(['snp.model-binding MODEL_BINDING'])
  })

  it('the evidence factory: host data is compared, not report data alone', () => {
    const hostData = new Uint8Array(32).fill(6)
    const policy = decodeSnpPolicy({ hostData: ['06'.repeat(32)] })
    const result = judge(simulateSnp({ report: { hostData } }), { policy })
    expect(result.accepted).toBe(true)
    expect(result.vector.configuration).toBe(2)
    expect(failures(judge(simulateSnp(), { policy }))).toEqual(['snp.host-data HOST_DATA'])
  })

  it('a report that the host asked for is refused whatever the policy', () => {
    const policy = decodeSnpPolicy({ vmpl: [0, 1, 2, 3] })
    const recorded = simulateSnp({ report: { vmpl: 0xffffffff } })
    expect(failures(judge(recorded, { policy }))).toEqual(['snp.vmpl VMPL'])
  })

  it('malleability: (r, n−s) verifies too, and both are the same report in the result', () => {
    const order = BigInt(
      '0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
    )
    const recorded = simulateSnp()
    const s = parseReport(recorded.report).signature.subarray(48)
    const other = order - BigInt(`0x${Buffer.from(s).toString('hex')}`)
    const report = recorded.report.slice()
    report.set(hexToBytes(other.toString(16).padStart(96, '0')).reverse(), 0x2a0 + 72)
    const results = [recorded, { ...recorded, report }].map((each) => judge(each))
    expect(report).not.toEqual(recorded.report)
    expect(results[1]).toEqual(results[0])
    expect(results[0]?.accepted).toBe(true)
  })
})
