// The SNP policy: decoded strictly, strict where it says nothing, and every option decides what it says.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { decodeSnpPolicy, STRICT_SNP_POLICY, waivers } from '../../../attestation/snp/policy.ts'
import { SNP_DEFAULTS, simulateSnp } from '../../../src/simulate/index.ts'
import type { SnpRequest } from '../../../src/simulate/index.ts'
import { failures, having, judge } from './machine.ts'

type Fields = NonNullable<SnpRequest['report']>

describe('decodeSnpPolicy', () => {
  it('gives the strict defaults for what is left out', () => {
    expect(decodeSnpPolicy({})).toEqual(STRICT_SNP_POLICY)
    expect(waivers(STRICT_SNP_POLICY).size).toBe(0)
    const partial = decodeSnpPolicy({ minimumTcb: { reported: { Genoa: { snp: 30 } } } })
    expect(partial.minimumTcb.reported.Genoa).toEqual({ bootloader: 10, snp: 30, microcode: 84 })
    expect(partial.minimumTcb.launch).toEqual(STRICT_SNP_POLICY.minimumTcb.launch)
  })

  const WRONG: [unknown, string][] = [
    [null, '$'],
    [[], '$'],
    ['any', '$'],
    [{ measurement: 'aa' }, '$'],
    [{ vmpl: [] }, '$.vmpl'],
    [{ vmpl: [4] }, '$.vmpl[0]'],
    [{ vmpl: 0 }, '$.vmpl'],
    [{ measurements: [] }, '$.measurements'],
    [{ measurements: ['aa'] }, '$.measurements[0]'],
    [{ measurements: ['zz'.repeat(48)] }, '$.measurements[0]'],
    [{ chipIds: ['aa'.repeat(63)] }, '$.chipIds[0]'],
    [{ policyBits: { DEBUG: 'allowed' } }, '$.policyBits.DEBUG'],
    [{ policyBits: { DEBUG: 'required' } }, '$.policyBits.DEBUG'],
    [{ policyBits: { NAME: 'allowed' } }, '$.policyBits'],
    [{ policyBits: { SMT: true } }, '$.policyBits.SMT'],
    [{ platformInfo: { SMT: 'allowed' } }, '$.platformInfo'],
    [{ unknownPlatformInfo: 256 }, '$.unknownPlatformInfo'],
    [{ unknownPlatformInfo: '0x1ffffffffffffffff' }, '$.unknownPlatformInfo'],
    [{ minimumTcb: 'any' }, '$.minimumTcb'],
    [{ minimumTcb: { reported: { Rome: {} } } }, '$.minimumTcb.reported'],
    [{ minimumTcb: { reported: { Milan: { fmc: 1 } } } }, '$.minimumTcb.reported.Milan'],
    [{ minimumTcb: { reported: { Milan: { snp: 128 } } } }, '$.minimumTcb.reported.Milan.snp'],
    [{ minimumTcb: { reported: { Milan: { snp: -1 } } } }, '$.minimumTcb.reported.Milan.snp'],
    [{ minimumFirmware: { Milan: '1.55' } }, '$.minimumFirmware.Milan'],
    [{ minimumFirmware: { Milan: '1.55.x' } }, '$.minimumFirmware.Milan'],
    [{ minimumAbi: '1' }, '$.minimumAbi'],
    [{ requireCrl: 'yes' }, '$.requireCrl'],
    [{ minimumGuestSvn: -1 }, '$.minimumGuestSvn'],
    [{ minimumGuestSvn: 2 ** 32 }, '$.minimumGuestSvn'],
    [{ products: { allow: ['Rome'] } }, '$.products.allow[0]'],
    [{ products: { warn: ['Milan'] } }, '$.products'],
    [{ cspIds: [''] }, '$.cspIds[0]'],
    [{ reportData: 'aa' }, '$.reportData'],
    [{ provisionalFirmware: null }, '$.provisionalFirmware'],
  ]
  it.each(WRONG)('refuses %j, at %s', (value, path) => {
    expect(() => decodeSnpPolicy(value)).toThrow(
      expect.objectContaining({ name: 'AttestationError', code: 'POLICY_INVALID', path }),
    )
  })

  it('names the path below where the policy stands in its file', () => {
    expect(() => decodeSnpPolicy({ vmpl: [9] }, '$.attestation.snp')).toThrow(
      expect.objectContaining({ path: '$.attestation.snp.vmpl[0]' }),
    )
  })
})

describe('waivers', () => {
  it.each([
    [{ policyBits: { MIGRATE_MA: 'allowed' } }, 'policyBits'],
    [{ platformInfo: { ALIAS_CHECK_COMPLETE: 'allowed' } }, 'platformInfo'],
    [{ platformInfo: { TIO_EN: 'required' } }, 'platformInfo'],
    [{ unknownPlatformInfo: '0x100' }, 'unknownPlatformInfo'],
    [{ minimumTcb: { launch: { Turin: { microcode: 80 } } } }, 'minimumTcb'],
    [{ minimumTcb: { committed: { Milan: 'any' } } }, 'minimumTcb'],
    [{ minimumFirmware: { Genoa: '1.55.39' } }, 'minimumFirmware'],
    [{ provisionalFirmware: true }, 'provisionalFirmware'],
    [{ vmpl: [0, 2] }, 'vmpl'],
    [{ anonymousChip: true }, 'anonymousChip'],
  ])('%j is a waiver of %s, and shows in every result', (value, option) => {
    const policy = decodeSnpPolicy(value)
    expect([...waivers(policy)]).toEqual([option])
    const shown = (product: 'Milan' | 'Genoa' | 'Turin') =>
      judge(simulateSnp({ product }), { policy }).checks.filter((check) => check.code === 'WAIVED')
    if ('platformInfo' in value && 'TIO_EN' in value.platformInfo) return // refused here: TIO is off
    const checks = shown('Genoa')
    expect(checks.length).toBeGreaterThan(0)
    expect(checks.every((check) => check.status === 'warn')).toBe(true)
  })

  it.each([
    { policyBits: { SMT: 'refused', SINGLE_SOCKET: 'required' } },
    { platformInfo: { SMT_EN: 'refused', TSME_EN: 'required' } },
    { minimumTcb: { reported: { Genoa: { snp: 99 } } } },
    { minimumFirmware: { Genoa: '1.56.0', Milan: '2.0.0' } },
    { requireCrl: true, requireIdBlock: true, requireAuthorKey: true, provisionalFirmware: false },
    { vmpl: [0] },
  ])('%j is stricter, so it waives nothing', (value) => {
    expect(waivers(decodeSnpPolicy(value)).size).toBe(0)
  })
})

describe('every option', () => {
  const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)
  const hex = (length: number, value: number): string =>
    Buffer.from(bytes(length, value)).toString('hex')
  const low = { ...SNP_DEFAULTS.Genoa.tcb, snp: 22 }

  /** policy, report that satisfies it, report that does not, the one check that fails. */
  const CASES: [object, Fields, Fields, string][] = [
    [{ policyBits: { SMT: 'refused' } }, { policy: 0x20000n }, {}, 'snp.policy-bits POLICY_BITS'],
    [
      { policyBits: { SINGLE_SOCKET: 'required' } },
      { policy: 0x130000n },
      {},
      'snp.policy-bits POLICY_BITS',
    ],
    [
      { policyBits: { MIGRATE_MA: 'allowed' } },
      { policy: 0x70000n },
      { policy: 0x230000n },
      'snp.policy-bits POLICY_BITS',
    ],
    [
      { minimumAbi: '1.31' },
      { policy: 0x3011fn },
      { policy: 0x3011en },
      'snp.policy-abi POLICY_BITS',
    ],
    [
      { minimumAbi: '1.0' },
      { policy: 0x30100n },
      { policy: 0x300ffn },
      'snp.policy-abi POLICY_BITS',
    ],
    [
      { platformInfo: { SMT_EN: 'refused' } },
      { platformInfo: 0x24n },
      {},
      'snp.platform-info PLATFORM_INFO',
    ],
    [
      { platformInfo: { TSME_EN: 'required' } },
      { platformInfo: 0x27n },
      {},
      'snp.platform-info PLATFORM_INFO',
    ],
    [
      { platformInfo: { TIO_EN: 'allowed' } },
      { platformInfo: 0xa5n },
      { platformInfo: 0x85n },
      'snp.platform-info PLATFORM_INFO',
    ],
    [
      { minimumTcb: { launch: { Genoa: { snp: 22 } } } },
      { launchTcb: low },
      { launchTcb: { ...low, snp: 21 } },
      'snp.tcb.launch TCB_BELOW_MINIMUM',
    ],
    [
      { minimumFirmware: { Genoa: '1.55.54' } },
      {},
      {
        currentFirmware: { major: 1, minor: 55, build: 53 },
        committedFirmware: { major: 1, minor: 55, build: 53 },
      },
      'snp.firmware FIRMWARE_BELOW_MINIMUM',
    ],
    [
      { provisionalFirmware: true },
      { committedFirmware: { major: 1, minor: 55, build: 50 } },
      { committedFirmware: { major: 1, minor: 55, build: 30 } },
      'snp.firmware FIRMWARE_BELOW_MINIMUM',
    ],
    [
      {},
      {},
      { committedFirmware: { major: 1, minor: 55, build: 50 } },
      'snp.provisional PROVISIONAL_FIRMWARE',
    ],
    [
      { mitigations: { launch: '0x2' } },
      {},
      { launchMitigations: 1n },
      'snp.mitigations MITIGATIONS',
    ],
    [
      { mitigations: { current: '0x8' } },
      {},
      { currentMitigations: 3n },
      'snp.mitigations MITIGATIONS',
    ],
    [{ vmpl: [1, 2] }, { vmpl: 2 }, { vmpl: 0 }, 'snp.vmpl VMPL'],
    [{ minimumGuestSvn: 5 }, { guestSvn: 5 }, { guestSvn: 4 }, 'snp.guest-svn GUEST_SVN'],
    [
      { measurements: [hex(48, 1), hex(48, 2)] },
      { measurement: bytes(48, 2) },
      { measurement: bytes(48, 3) },
      'snp.measurement MEASUREMENT',
    ],
    [
      { hostData: [hex(32, 1)] },
      { hostData: bytes(32, 1) },
      { hostData: bytes(32, 2) },
      'snp.host-data HOST_DATA',
    ],
    [
      { familyIds: [hex(16, 1)] },
      { familyId: bytes(16, 1) },
      { familyId: bytes(16, 2) },
      'snp.family-id IMAGE_ID',
    ],
    [
      { imageIds: [hex(16, 1)] },
      { imageId: bytes(16, 1) },
      { imageId: bytes(16, 2) },
      'snp.image-id IMAGE_ID',
    ],
    [{ requireIdBlock: true }, { idKeyDigest: bytes(48, 1) }, {}, 'snp.id-block SIGNING_KEY_ID'],
    [
      { idKeyDigests: [hex(48, 1)] },
      { idKeyDigest: bytes(48, 1) },
      { idKeyDigest: bytes(48, 2) },
      'snp.id-key SIGNING_KEY_ID',
    ],
    [
      { requireAuthorKey: true },
      { keyInfo: 1, authorKeyDigest: bytes(48, 1) },
      { keyInfo: 1 },
      'snp.author-key-present SIGNING_KEY_ID',
    ],
    [
      { authorKeyDigests: [hex(48, 1)] },
      { keyInfo: 1, authorKeyDigest: bytes(48, 1) },
      { keyInfo: 1, authorKeyDigest: bytes(48, 2) },
      'snp.author-key SIGNING_KEY_ID',
    ],
    [
      { reportIds: [hex(32, 1)] },
      { reportId: bytes(32, 1) },
      { reportId: bytes(32, 2) },
      'snp.report-id REPORT_ID',
    ],
    [
      { reportIdsMa: [hex(32, 255)] },
      {},
      { reportIdMa: bytes(32, 1) },
      'snp.report-id-ma REPORT_ID',
    ],
    [
      { reportData: hex(64, 1) },
      { reportData: bytes(64, 1) },
      { reportData: bytes(64, 2) },
      'snp.report-data REPORT_DATA',
    ],
  ]
  it.each(CASES)('%j', (value, good, bad, check) => {
    const policy = decodeSnpPolicy(value)
    expect(failures(judge(simulateSnp({ report: good }), { policy }))).toEqual([])
    expect(failures(judge(simulateSnp({ report: bad }), { policy }))).toEqual([check])
  })

  it('products: an allow list leaves the others out, and a deny list wins', () => {
    const only = decodeSnpPolicy({ products: { allow: ['Turin'] } })
    expect(failures(judge(simulateSnp(), { policy: only }))).toEqual([
      'snp.allowed-product PRODUCT_DENIED',
    ])
    expect(judge(simulateSnp({ product: 'Turin' }), { policy: only }).accepted).toBe(true)
    const both = decodeSnpPolicy({ products: { allow: ['Genoa'], deny: ['Genoa'] } })
    expect(failures(judge(simulateSnp(), { policy: both }))).toEqual([
      'snp.allowed-product PRODUCT_DENIED',
    ])
  })

  it('reports the same checks in the same order, whatever fails', () => {
    const ids = (result: ReturnType<typeof judge>): string[] =>
      result.checks.map((check) => check.id)
    const good = judge(simulateSnp())
    const bad = judge(simulateSnp({ report: { policy: 0xf0000n, vmpl: 3, platformInfo: 0n } }))
    expect(ids(bad)).toEqual(ids(good))
    expect(failures(bad).length).toBeGreaterThanOrEqual(4)
    expect(having(good, 'skip').every((check) => check.endsWith(' NOT_GIVEN'))).toBe(true)
  })

  it('the README names every check and every option', () => {
    const url = new URL('../../../attestation/snp/README.md', import.meta.url)
    const text = readFileSync(url, 'utf8')
    const names = [
      ...judge(simulateSnp()).checks.map((check) => check.id),
      ...Object.keys(STRICT_SNP_POLICY),
    ]
    expect(names.filter((name) => !text.includes(`\`${name}\``))).toEqual([])
  })
})
