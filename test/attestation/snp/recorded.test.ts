// Every recorded SNP sample gets the verdict that recorded/INDEX.md states.
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { attest } from '../../../attestation/attest.ts'
import { readEvidence } from '../../../attestation/evidence/detect.ts'
import { parseReport } from '../../../attestation/snp/report.ts'
import { attestSnp } from '../../../attestation/snp/attest.ts'
import type { SnpOptions } from '../../../attestation/snp/attest.ts'
import { parseLeaf } from '../../../attestation/snp/certificate.ts'
import { authenticateChain } from '../../../attestation/snp/chain.ts'
import { STRICT_SNP_POLICY, decodeSnpPolicy } from '../../../attestation/snp/policy.ts'
import type { SnpPolicy } from '../../../attestation/snp/policy.ts'
import { VENDOR_ROOTS } from '../../../attestation/roots.ts'
import type { AttestationResult } from '../../../attestation/result.ts'
import { haveShared } from '../../shared.ts'
import { SAMPLES, cas, certificates, endorsements, evidence, sampleFile } from './samples.ts'
import type { Sample } from './samples.ts'

const NOW = new Date('2026-11-20T00:00:00Z')

function judge(
  sample: Sample,
  policy: SnpPolicy = STRICT_SNP_POLICY,
  at = sample.at,
  options: SnpOptions = {},
): AttestationResult {
  const endorsed = endorsements(sample.chain)
  return attestSnp(evidence(sample.report), endorsed, policy, at, NOW, options)
}

function failures(result: AttestationResult): string[] {
  return result.checks.filter((c) => c.status === 'fail').map((c) => `${c.id} ${c.code}`)
}

function warnings(result: AttestationResult): string[] {
  return result.checks.filter((c) => c.status === 'warn').map((c) => `${c.id} ${c.code}`)
}

const OLD_TCB = [
  'snp.tcb.reported TCB_BELOW_MINIMUM',
  'snp.tcb.committed TCB_BELOW_MINIMUM',
  'snp.tcb.launch TCB_BELOW_MINIMUM',
]
const WAIVE_TCB = {
  minimumTcb: { reported: 'any', committed: 'any', launch: 'any' },
  minimumFirmware: 'any',
}
const WAIVE_ALIAS = { platformInfo: { ALIAS_CHECK_COMPLETE: 'allowed' } }

describe.runIf(haveShared)('recorded/snp', () => {
  it('milan-v2-debug: CRYPTO, DEBUG', () => {
    const result = judge(SAMPLES.debug())
    expect(result.claims?.debug).toBe(true)
    expect(result.accepted).toBe(false)
    expect(failures(result)).toContain('snp.debug DEBUG')
    expect(result.vector.configuration).toBe(96)
    expect(result.vector['runtime-opaque']).toBe(96)
    const waived = judge(SAMPLES.debug(), decodeSnpPolicy({ ...WAIVE_TCB, ...WAIVE_ALIAS }))
    expect(failures(waived)).toEqual(['snp.debug DEBUG'])
  })

  it('milan-v2-old-tcb: CRYPTO, PASS once the policy waives TCB and alias check', () => {
    const result = judge(SAMPLES.oldTcb())
    expect(result.claims).not.toBeNull()
    expect(failures(result)).toEqual([
      'snp.platform-info PLATFORM_INFO',
      ...OLD_TCB,
      'snp.firmware FIRMWARE_BELOW_MINIMUM',
    ])
    expect(result.vector.hardware).toBe(96)
    const waived = judge(SAMPLES.oldTcb(), decodeSnpPolicy({ ...WAIVE_TCB, ...WAIVE_ALIAS }))
    expect(failures(waived)).toEqual([])
    expect(waived.accepted).toBe(true)
    expect(warnings(waived)).toEqual([
      'snp.revocation CRL_MISSING',
      'snp.allowed-product PRODUCT_WEAK',
      'snp.platform-info WAIVED',
      'snp.tcb.reported WAIVED',
      'snp.tcb.committed WAIVED',
      'snp.tcb.launch WAIVED',
      'snp.firmware WAIVED',
    ])
    expect(waived.vector.hardware).toBe(32)
    expect(waived.vector.configuration).toBe(32)
  })

  it('milan-v2-azure-provisional: CRYPTO, PASS once the policy permits it', () => {
    const result = judge(SAMPLES.azure())
    expect(result.claims).not.toBeNull()
    expect(failures(result)).toEqual([
      'snp.platform-info PLATFORM_INFO',
      ...OLD_TCB,
      'snp.provisional PROVISIONAL_FIRMWARE',
      'snp.firmware FIRMWARE_BELOW_MINIMUM',
    ])
    const policy = { ...WAIVE_TCB, ...WAIVE_ALIAS, provisionalFirmware: true }
    const waived = judge(SAMPLES.azure(), decodeSnpPolicy(policy))
    expect(failures(waived)).toEqual([])
    expect(warnings(waived)).toContain('snp.provisional WAIVED')
  })

  it.each(['test-vcek-invalid-legacy.der', 'test-vcek-invalid-new.der'])(
    'milan-v2-azure-provisional with %s: FAIL, issuer signature',
    (name) => {
      const sample = SAMPLES.azure()
      const chain = [...certificates(`milan-v2-azure-provisional/${name}`), ...cas('milan')]
      const result = judge({ ...sample, chain })
      expect(result.claims).toBeNull()
      expect(failures(result)).toContain('snp.chain CHAIN_INVALID')
    },
  )

  it('milan-v3-vlek-aws: CRYPTO, VMPL 1 and no chip', () => {
    const result = judge(SAMPLES.vlek())
    expect(result.claims?.instanceId).toBeNull()
    expect(failures(result)).toEqual([
      'snp.tcb.reported TCB_BELOW_MINIMUM',
      'snp.provisional PROVISIONAL_FIRMWARE',
      'snp.vmpl VMPL',
      'snp.chip CHIP_ID',
    ])
    const policy = decodeSnpPolicy({
      vmpl: [0, 1],
      provisionalFirmware: true,
      minimumTcb: { reported: { Milan: { microcode: 217 } } },
      cspIds: ['CN=cc-us-east-2.amazonaws.com'],
    })
    const waived = judge(SAMPLES.vlek(), policy)
    expect(failures(waived)).toEqual([])
    expect(waived.vector['instance-identity']).toBe(2)
  })

  it('milan-v3-vlek-aws after 2025-12-10: FAIL, expired', () => {
    const result = judge(SAMPLES.vlek(), STRICT_SNP_POLICY, new Date('2025-12-11T00:00:00Z'))
    expect(failures(result)).toEqual(['snp.validity.leaf CERT_EXPIRED'])
    expect(result.claims).toBeNull()
    expect(result.checks.at(-1)).toMatchObject({ id: 'snp.appraisal', code: 'NOT_AUTHENTICATED' })
    expect(new Set(Object.values(result.vector))).toEqual(new Set([99]))
  })

  it.each(['milan', 'genoa', 'dense'] as const)('%s: PASS', (name) => {
    const result = judge(SAMPLES[name]())
    expect(failures(result)).toEqual([])
    expect(result.accepted).toBe(true)
    expect(result.historical).toBe(true)
    expect(result.simulated).toBe(false)
    expect(result.root?.name).toBe(name === 'milan' ? 'ARK-Milan' : 'ARK-Genoa')
    const expected = ['snp.revocation CRL_MISSING']
    if (name === 'milan') expected.push('snp.allowed-product PRODUCT_WEAK')
    expect(warnings(result)).toEqual(expected)
    const skipped = result.checks.filter((check) => check.status === 'skip').map((c) => c.id)
    expect(skipped).toContain('snp.measurement')
    expect(skipped).toContain('snp.nonce')
    expect(result.vector.hardware).toBe(name === 'milan' ? 32 : 2)
    expect(new Set(result.checks.map((check) => check.id)).size).toBe(result.checks.length)
  })

  it('genoa-19a0-v5: words for a person, and its reference values', () => {
    const sample = SAMPLES.dense()
    const { claims } = judge(sample)
    expect(claims?.tcb).toBe('bootloader 10, TEE 0, SNP 27, microcode 27')
    const field = (name: string) => claims?.fields.find((f) => f.name === name)
    expect(field('processor')?.value).toBe('family 19h model A0h stepping 2')
    expect(field('firmware')?.value).toBe('1.55.49')
    expect(field('guest policy')?.meaning).toBe('firmware ABI from 0.0, hyper-threading allowed')
    expect(field('current mitigations')?.value).toBe('0xb')
    const policy = decodeSnpPolicy({
      measurements: [claims!.measurement],
      reportData: claims!.reportData,
      chipIds: [claims!.instanceId],
      mitigations: { current: '0xb', launch: '0x3' },
    })
    const nonce = new TextEncoder().encode('hello-attestation')
    const result = judge(sample, policy, sample.at, { nonce })
    expect(result.accepted).toBe(true)
    expect(result.vector).toMatchObject({ executables: 3, 'instance-identity': 2 })
    const wrong = judge(sample, policy, sample.at, { nonce: nonce.subarray(1) })
    expect(failures(wrong)).toEqual(['snp.nonce NONCE'])
  })

  it('vcek-turin-only: the genuine Turin extensions and chain', () => {
    const [vcek] = certificates('vcek-turin-only/vcek.der')
    const chain = [vcek!, ...cas('turin')]
    const found = authenticateChain(
      vcek!,
      { certificates: chain, crls: [] },
      { trustRoots: VENDOR_ROOTS, at: new Date('2026-06-01T00:00:00Z'), requireCrl: false },
    )
    expect(found.sound).toBe(true)
    expect(parseLeaf(vcek!, 'VCEK')).toMatchObject({
      product: 'Turin',
      tcb: { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 9 },
    })
    expect(found.leaf?.hwid?.length).toBe(8)
  })

  it('malformed: a bad signature and a cut report are refused', () => {
    for (const name of ['guest_report_bad_sig.bin', 'guest_report_corrupt.bin']) {
      const raw = sampleFile(`malformed/${name}`)
      const run = () => attestSnp(evidence(raw), NO_ENDORSEMENTS, STRICT_SNP_POLICY, NOW, NOW)
      expect(run).toThrow(AttestationError)
    }
  })

  it('malformed: the raw ioctl response is unwrapped, and its report is read', () => {
    const found = readEvidence(sampleFile('malformed/snp_report_msg_resp.bin'))
    expect(found.platform).toBe('sev-snp')
    expect(parseReport(found.raw).version).toBe(2)
    const result = attest(found, NO_ENDORSEMENTS, {}, NOW, NOW)
    expect(result).toMatchObject({ accepted: false, claims: null })
    expect(failures(result)).toContain('snp.signature CERT_MISSING')
  })

  it('every product’s chain file, in the order of KDS', () => {
    for (const product of ['milan', 'genoa', 'turin'] as const) {
      expect(certificates(`ca/${product}-ask-ark-asvk.pem`)).toHaveLength(3)
    }
  })
})
