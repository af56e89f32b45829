// Every option that attestation has for a machine: written in the owner's YAML, read, and deciding about evidence.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { attest, NO_ENDORSEMENTS, readEvidence } from '../../attestation/index.ts'
import { bytesToHex, utf8Encode } from '../../attestation/lib/index.ts'
import {
  PLATFORM_BITS,
  POLICY_BITS,
  PRODUCT_LINES,
  STRICT_SNP_POLICY,
} from '../../attestation/snp/index.ts'
import { STRICT_TDX_POLICY } from '../../attestation/tdx/index.ts'
import { TD_ATTRIBUTES } from '../../attestation/tdx/policy.ts'
import { expectationOf } from '../../src/policy/expect.ts'
import { loadPolicy } from '../../src/policy/resolve.ts'
import {
  bootLog,
  rootFile,
  runtimeEvent,
  simulateSnp,
  simulateTdx,
  SNP_DEFAULTS,
  snpEvidenceFile,
  tdxEvidenceFile,
} from '../../src/simulate/index.ts'
import type { SnpRequest, TdxRequest } from '../../src/simulate/index.ts'
import { party } from '../fakes/authority.ts'
import { REPOSITORY } from '../shared.ts'

const published = new Ajv2020({ strict: false }).compile(
  JSON.parse(readFileSync(join(REPOSITORY, 'schemas/policy.v1.schema.json'), 'utf8')) as object,
)
const AT = new Date('2026-06-01T00:00:00Z')
const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)
const hex = (length: number, value: number): string => bytesToHex(bytes(length, value))

const policyText = (platform: 'sev-snp' | 'tdx', options: string, more: string): string => `
schema: zt4ai.policy/v1
name: options
signers:
  anyone: {key: {file: key.pem}}
machines:
  one:
    platform: ${platform}
    ${more}
    trust-root: {file: root.pem}
    ${platform === 'tdx' ? 'tdx' : 'snp'}: ${options}
rules:
  one: {models: ['*'], signed-by: {any-of: [anyone]}, machine: {any-of: [one]}}
`

interface Asked {
  readonly evidence: string
  readonly root: Uint8Array
}

/** `id CODE` of each check that fails when this evidence is judged as the machine of this policy. */
function judged(
  platform: 'sev-snp' | 'tdx',
  { evidence, root }: Asked,
  options: string,
  more = 'any-measurement: true',
): string[] {
  const text = policyText(platform, options, more)
  // what is read here is also what the published schema allows
  expect(published(parse(text))).toBe(true)
  const files: Readonly<Record<string, Uint8Array>> = {
    'key.pem': utf8Encode(party('anyone').publicPem),
    'root.pem': root,
  }
  const read = (name: string): Uint8Array => files[name] ?? new Uint8Array()
  const resolved = loadPolicy(utf8Encode(text), { file: 'policy.yaml', read })
  const { policy, trustRoots } = expectationOf(resolved, 'one', [], AT)
  const found = readEvidence(utf8Encode(evidence))
  const result = attest(found, NO_ENDORSEMENTS, policy, AT, AT, { trustRoots })
  const failing = result.checks.filter(({ status }) => status === 'fail')
  expect(result.accepted).toBe(failing.length === 0)
  return failing.map(({ id, code }) => `${id} ${code}`)
}

const root = (der: Uint8Array): Uint8Array => rootFile(der)['root.pem'] ?? new Uint8Array()
function snp(request: SnpRequest): Asked {
  const made = simulateSnp({ at: AT, ...request })
  return { evidence: snpEvidenceFile(made), root: root(made.ark) }
}
function tdx(request: TdxRequest): Asked {
  const made = simulateTdx({ at: AT, ...request })
  // the names of events at run time are in dstack's log alone
  return { evidence: tdxEvidenceFile(made, { log: 'dstack' }), root: root(made.root) }
}

/** Option, its YAML, a machine that has what it asks for, one that has not, and the one check that then fails. */
type Case<R> = readonly [string, string, R, R, string]

const TCB = SNP_DEFAULTS.Genoa.tcb
const low = { ...TCB, snp: 22 }
const firmware = (build: number) => ({ major: 1, minor: 55, build })
const report = (fields: NonNullable<SnpRequest['report']>): SnpRequest => ({ report: fields })
const list = (
  option: string,
  yaml: string,
  field: 'hostData' | 'familyId' | 'imageId' | 'reportId' | 'reportIdMa' | 'idKeyDigest',
  length: number,
  fails: string,
): Case<SnpRequest> => [
  option,
  `{${yaml}: ['${hex(length, 9)}', '${hex(length, 1)}']}`,
  report({ [field]: bytes(length, 1) }),
  report({ [field]: bytes(length, 2) }),
  fails,
]
const STANDARD = 0x30000n
const PLATFORM = 0x25n
const { chipId } = simulateSnp().fields

const SNP: readonly Case<SnpRequest>[] = [
  [
    'products',
    '{products: {allow: [Turin]}}',
    { product: 'Turin' },
    {},
    'snp.allowed-product PRODUCT_DENIED',
  ],
  [
    'products',
    '{products: {deny: [Milan]}}',
    {},
    { product: 'Milan' },
    'snp.allowed-product PRODUCT_DENIED',
  ],
  ...Object.entries(POLICY_BITS)
    .filter(([name]) => name !== 'DEBUG')
    .flatMap(([name, position]): Case<SnpRequest>[] => {
      const clear = report({ policy: STANDARD & ~(1n << position) })
      const set = report({ policy: STANDARD | (1n << position) })
      const fails = 'snp.policy-bits POLICY_BITS'
      return [
        ['policyBits', `{policy-bits: {${name}: required}}`, set, clear, fails],
        ['policyBits', `{policy-bits: {${name}: refused}}`, clear, set, fails],
      ]
    }),
  ...Object.entries(PLATFORM_BITS).flatMap(([name, position]): Case<SnpRequest>[] => {
    const clear = report({ platformInfo: PLATFORM & ~(1n << position) })
    const set = report({ platformInfo: PLATFORM | (1n << position) })
    const fails = 'snp.platform-info PLATFORM_INFO'
    return [
      ['platformInfo', `{platform-info: {${name}: required}}`, set, clear, fails],
      ['platformInfo', `{platform-info: {${name}: refused}}`, clear, set, fails],
    ]
  }),
  [
    'minimumAbi',
    "{minimum-abi: '1.31'}",
    report({ policy: 0x3011fn }),
    report({ policy: 0x3011en }),
    'snp.policy-abi POLICY_BITS',
  ],
  [
    'unknownPlatformInfo',
    '{unknown-platform-info: 0x100}',
    report({ platformInfo: PLATFORM | 0x100n }),
    report({ platformInfo: PLATFORM | 0x200n }),
    'snp.platform-info-unknown PLATFORM_INFO',
  ],
  ...(['reported', 'committed', 'launch'] as const).map((which): Case<SnpRequest> => {
    const others = '{Genoa: {snp: 21}}'
    const all = ['reported', 'committed', 'launch'].map((one) =>
      one === which ? `${one}: {Genoa: {snp: 23}}` : `${one}: ${others}`,
    )
    return [
      'minimumTcb',
      `{minimum-tcb: {${all.join(', ')}}}`,
      { tcb: { ...TCB, snp: 23 } },
      { tcb: low },
      `snp.tcb.${which} TCB_BELOW_MINIMUM`,
    ]
  }),
  ...(['bootloader', 'tee', 'snp', 'microcode'] as const).map((component): Case<SnpRequest> => {
    const key = component === 'bootloader' ? 'bootLoader' : component
    const level = TCB[key] + 1
    const any = 'committed: any, launch: any'
    return [
      'minimumTcb',
      `{minimum-tcb: {reported: {Genoa: {${component}: ${level}}}, ${any}}}`,
      { tcb: { ...TCB, [key]: level } },
      {},
      'snp.tcb.reported TCB_BELOW_MINIMUM',
    ]
  }),
  [
    'minimumTcb',
    '{minimum-tcb: {reported: {Turin: {fmc: 2}}}}',
    { product: 'Turin', tcb: { ...SNP_DEFAULTS.Turin.tcb, fmc: 2 } },
    { product: 'Turin' },
    'snp.tcb.reported TCB_BELOW_MINIMUM',
  ],
  [
    'minimumFirmware',
    "{minimum-firmware: {Genoa: '1.55.54'}}",
    {},
    report({ currentFirmware: firmware(53), committedFirmware: firmware(53) }),
    'snp.firmware FIRMWARE_BELOW_MINIMUM',
  ],
  [
    'provisionalFirmware',
    '{provisional-firmware: false}',
    {},
    report({ committedFirmware: firmware(50) }),
    'snp.provisional PROVISIONAL_FIRMWARE',
  ],
  [
    'provisionalFirmware',
    '{provisional-firmware: true}',
    report({ committedFirmware: firmware(50) }),
    report({ committedFirmware: firmware(39) }),
    'snp.firmware FIRMWARE_BELOW_MINIMUM',
  ],
  [
    'mitigations',
    '{mitigations: {launch: 0x2}}',
    {},
    report({ launchMitigations: 1n }),
    'snp.mitigations MITIGATIONS',
  ],
  [
    'mitigations',
    '{mitigations: {current: 0x8}}',
    {},
    report({ currentMitigations: 3n }),
    'snp.mitigations MITIGATIONS',
  ],
  ['vmpl', '{vmpl: [1, 2]}', report({ vmpl: 2 }), report({ vmpl: 0 }), 'snp.vmpl VMPL'],
  [
    'anonymousChip',
    '{anonymous-chip: true}',
    { role: 'vlek' },
    { role: 'vlek', report: { vmpl: 1 } },
    'snp.vmpl VMPL',
  ],
  ['anonymousChip', '{anonymous-chip: false}', {}, { role: 'vlek' }, 'snp.chip CHIP_ID'],
  [
    'requireCrl',
    '{require-crl: true}',
    {},
    { crl: (fields) => ({ ...fields, nextUpdate: new Date(AT.getTime() - 1000) }) },
    'snp.revocation CRL_EXPIRED',
  ],
  [
    'requireIdBlock',
    '{require-id-block: true}',
    report({ idKeyDigest: bytes(48, 1) }),
    {},
    'snp.id-block SIGNING_KEY_ID',
  ],
  [
    'requireAuthorKey',
    '{require-author-key: true}',
    report({ keyInfo: 1, authorKeyDigest: bytes(48, 1) }),
    {},
    'snp.author-key-present SIGNING_KEY_ID',
  ],
  [
    'minimumGuestSvn',
    '{minimum-guest-svn: 5}',
    report({ guestSvn: 5 }),
    report({ guestSvn: 4 }),
    'snp.guest-svn GUEST_SVN',
  ],
  list('hostData', 'host-data', 'hostData', 32, 'snp.host-data HOST_DATA'),
  list('familyIds', 'family-ids', 'familyId', 16, 'snp.family-id IMAGE_ID'),
  list('imageIds', 'image-ids', 'imageId', 16, 'snp.image-id IMAGE_ID'),
  list('reportIds', 'report-ids', 'reportId', 32, 'snp.report-id REPORT_ID'),
  list('reportIdsMa', 'report-ids-ma', 'reportIdMa', 32, 'snp.report-id-ma REPORT_ID'),
  list('idKeyDigests', 'id-key-digests', 'idKeyDigest', 48, 'snp.id-key SIGNING_KEY_ID'),
  [
    'authorKeyDigests',
    `{author-key-digests: ['${hex(48, 1)}']}`,
    report({ keyInfo: 1, authorKeyDigest: bytes(48, 1) }),
    report({ keyInfo: 1, authorKeyDigest: bytes(48, 2) }),
    'snp.author-key SIGNING_KEY_ID',
  ],
  [
    'chipIds',
    `{chip-ids: ['${bytesToHex(chipId)}']}`,
    {},
    { machine: 'another' },
    'snp.chip CHIP_ID',
  ],
  [
    'cspIds',
    '{csp-ids: [CN=simulated-region.example]}',
    { role: 'vlek' },
    { role: 'vlek', cspId: 'CN=another.example' },
    'snp.csp CSP_ID',
  ],
]

const made = simulateTdx({ at: AT })
const { td, platform } = made
const OLD_QE: TdxRequest = { qe: { isvSvn: 7 } }
const exception = (expires: string): string =>
  `[{advisory: SIMULATED-SA-00001, owner: ops, reason: "replaced in May", expires: ${expires}}]`
const registers = (index: number): Case<TdxRequest> => {
  const rtmrs = td.rtmrs.map((value, each) => (each === index ? bytes(48, 1) : value))
  // the log no longer replays into the register that another value was put into
  return [
    `rtmr${index}`,
    `{rtmr${index}: ['${bytesToHex(td.rtmrs[index] ?? new Uint8Array())}']}`,
    {},
    { td: { rtmrs } },
    `tdx.rtmr${index} RTMR`,
  ]
}
const field = (
  option: string,
  yaml: string,
  name: 'mrConfigId' | 'mrOwner' | 'mrOwnerConfig' | 'mrServiceTd' | 'mrSeam',
  fails: string,
): Case<TdxRequest> => [
  option,
  `{${yaml}: ['${hex(48, 1)}']}`,
  { td: { [name]: bytes(48, 1) } },
  { td: { [name]: bytes(48, 2) } },
  fails,
]
const MODEL = runtimeEvent('model-digest', bytes(32, 0xaa))
const OTHER = runtimeEvent('model-digest', bytes(32, 0xbb))

const TDX: readonly Case<TdxRequest>[] = [
  [
    'tcbStatuses',
    `{tcb-statuses: [UpToDate, OutOfDate], advisory-exceptions: ${exception('2027-01-01T00:00:00Z')}}`,
    OLD_QE,
    { ...OLD_QE, td: { tdAttributes: td.tdAttributes | (1n << 30n) } },
    'tdx.attributes ATTRIBUTES',
  ],
  [
    'tcbStatuses',
    '{tcb-statuses: [UpToDate, OutOfDate]}',
    {},
    OLD_QE,
    'tdx.tcb.advisories TCB_ADVISORY',
  ],
  [
    'advisoryExceptions',
    `{tcb-statuses: [UpToDate, OutOfDate], advisory-exceptions: ${exception('2026-05-31T00:00:00Z')}}`,
    {},
    OLD_QE,
    'tdx.tcb.advisories TCB_ADVISORY',
  ],
  [
    'minimumTcbDate',
    `{minimum-tcb-date: 2026-02-11T00:00:00Z, tcb-statuses: [UpToDate, OutOfDate], advisory-exceptions: ${exception('2027-01-01T00:00:00Z')}}`,
    {},
    OLD_QE,
    'tdx.tcb.date TCB_DATE',
  ],
  [
    'minimumEvaluationNumbers',
    '{minimum-evaluation-numbers: {tcb-info: 20}}',
    {},
    { tcbInfo: (info) => ({ ...info, tcbEvaluationDataNumber: 19 }) },
    'tdx.tcbInfo.number EVAL_NUMBER_LOW',
  ],
  [
    'minimumEvaluationNumbers',
    '{minimum-evaluation-numbers: {qe-identity: 20}}',
    {},
    { qeIdentity: (identity) => ({ ...identity, tcbEvaluationDataNumber: 19 }) },
    'tdx.qeIdentity.number EVAL_NUMBER_LOW',
  ],
  [
    'fmspcs',
    `{fmspcs: [${bytesToHex(platform.fmspc)}]}`,
    {},
    { pck: { fmspc: bytes(6, 1) } },
    'tdx.fmspc FMSPC',
  ],
  [
    'ppids',
    `{ppids: ['${bytesToHex(platform.ppid)}']}`,
    {},
    { machine: 'another' },
    'tdx.ppid PPID',
  ],
  [
    'qeVendorIds',
    `{qe-vendor-ids: ['${hex(16, 1)}']}`,
    { form: { vendorId: bytes(16, 1) } },
    {},
    'tdx.qe.vendor QE_VENDOR',
  ],
  ['minimumQeSvn', '{minimum-qe-svn: 9}', { qe: { isvSvn: 9 } }, {}, 'tdx.qe.svn QE_SVN'],
  ['minimumPceSvn', '{minimum-pce-svn: 14}', { pck: { pceSvn: 14 } }, {}, 'tdx.pce.svn QE_SVN'],
  ...Object.entries(TD_ATTRIBUTES)
    .filter(([name]) => name !== 'DEBUG')
    .flatMap(([name, position]): Case<TdxRequest>[] => {
      const clear: TdxRequest = {
        td: { tdAttributes: td.tdAttributes & ~(1n << BigInt(position)) },
      }
      const set: TdxRequest = { td: { tdAttributes: td.tdAttributes | (1n << BigInt(position)) } }
      const fails = 'tdx.attributes ATTRIBUTES'
      return [
        ['tdAttributes', `{td-attributes: {${name}: required}}`, set, clear, fails],
        ['tdAttributes', `{td-attributes: {${name}: refused}}`, clear, set, fails],
      ]
    }),
  [
    'unknownTdAttributes',
    '{unknown-td-attributes: 0x10000000000}',
    { td: { tdAttributes: td.tdAttributes | (1n << 40n) } },
    { td: { tdAttributes: td.tdAttributes | (1n << 41n) } },
    'tdx.attributes-unknown ATTRIBUTES',
  ],
  ['xfam', '{xfam: [0x600e7, 0x602e7]}', {}, { td: { xfam: 0x61ae7n } }, 'tdx.xfam XFAM'],
  field('mrSeam', 'mr-seam', 'mrSeam', 'tdx.mrseam MRSEAM'),
  field('mrConfigId', 'mr-config-id', 'mrConfigId', 'tdx.mrconfigid CONFIG_ID'),
  field('mrOwner', 'mr-owner', 'mrOwner', 'tdx.mrowner OWNER'),
  field('mrOwnerConfig', 'mr-owner-config', 'mrOwnerConfig', 'tdx.mrownerconfig OWNER'),
  field('mrServiceTd', 'mr-service-td', 'mrServiceTd', 'tdx.mrservicetd SERVICE_TD'),
  ...[0, 1, 2, 3].map(registers),
  [
    'requiredEvents',
    `{required-events: [{register: 3, name: model-digest, hex: ['${hex(32, 0xaa)}']}]}`,
    { events: [...bootLog('zt4ai'), MODEL] },
    { events: [...bootLog('zt4ai'), OTHER] },
    'tdx.event-log.required EVENT_MISSING',
  ],
  [
    'requiredEvents',
    `{required-events: [{register: 3, digest: ['${bytesToHex(MODEL.digest)}']}]}`,
    { events: [...bootLog('zt4ai'), MODEL] },
    { events: [...bootLog('zt4ai'), OTHER] },
    'tdx.event-log.required EVENT_MISSING',
  ],
  [
    'minimumTeeTcbSvn',
    "{minimum-tee-tcb-svn: '06010600000000000000000000000000'}",
    { td: { teeTcbSvn: Uint8Array.from([6, 1, 6, ...bytes(13, 0)]) } },
    {},
    'tdx.tee-tcb-svn TCB_BELOW_MINIMUM',
  ],
]

describe('snp: options from the owner’s policy', () => {
  it.each(SNP)('%s: %s', (_, yaml, good, bad, fails) => {
    expect(judged('sev-snp', snp(good), yaml)).toEqual([])
    expect(judged('sev-snp', snp(bad), yaml)).toEqual([fails])
  })

  it('are all there; measurements and report data have their own places', () => {
    const named = new Set([...SNP.map(([option]) => option), 'measurements', 'reportData'])
    expect([...named].sort()).toEqual(Object.keys(STRICT_SNP_POLICY).sort())
    for (const product of PRODUCT_LINES)
      expect(judged('sev-snp', snp({ product }), `{products: {allow: [${product}]}}`)).toEqual([])
  })

  it('measurements: beside the platform', () => {
    const asked = snp({ report: { measurement: bytes(48, 7) } })
    const under = (value: string): string[] =>
      judged('sev-snp', asked, '{}', `measurements: ['${value}']`)
    expect(under(hex(48, 7))).toEqual([])
    expect(under(hex(48, 8))).toEqual(['snp.measurement MEASUREMENT'])
  })
})

describe('tdx: options from the owner’s policy', () => {
  it.each(TDX)('%s: %s', (option, yaml, good, bad, fails) => {
    expect(judged('tdx', tdx(good), yaml)).toEqual([])
    const failing = judged('tdx', tdx(bad), yaml)
    // another register is also one into which the log does not replay
    const replay = option.startsWith('rtmr') ? ['tdx.event-log.replay RTMR_REPLAY'] : []
    expect(failing).toEqual([fails, ...replay])
  })

  it('are all there; MRTD is the measurement, report data comes from nonce and binding', () => {
    const named = new Set([...TDX.map(([option]) => option), 'mrTd', 'reportData'])
    expect([...named].sort()).toEqual(Object.keys(STRICT_TDX_POLICY).sort())
  })

  it('MRTD: as measurements, beside the platform', () => {
    const asked = tdx({ td: { mrTd: bytes(48, 7) } })
    const under = (value: string): string[] =>
      judged('tdx', asked, '{}', `measurements: ['${value}']`)
    expect(under(hex(48, 7))).toEqual([])
    expect(under(hex(48, 8))).toEqual(['tdx.mrtd MEASUREMENT'])
  })
})
