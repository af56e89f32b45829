// Every row of recorded/INDEX.md through `zt4ai attest`, judged at the time and with the verdict that the row states.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AttestationResult } from '../../attestation/index.ts'
import { command } from '../../src/cli/attest.ts'
import { ran } from '../cli/command.ts'
import { party } from '../fakes/authority.ts'
import { haveShared, shared } from '../shared.ts'

const MILAN = 'snp/ca/milan-ask-ark-asvk.pem'
const GENOA = 'snp/ca/genoa-ask-ark-asvk.pem'
const TRAILING = 'tdx/v4-trailing-data'
const DEBUG = 'tdx/v4-debug/collateral'
const TEST_PKI = 'tdx/intel-test-pki'
const OLD_TCB = [
  'snp.tcb.reported TCB_BELOW_MINIMUM',
  'snp.tcb.committed TCB_BELOW_MINIMUM',
  'snp.tcb.launch TCB_BELOW_MINIMUM',
]
const ALIAS = 'snp.platform-info PLATFORM_INFO'
const FIRMWARE = 'snp.firmware FIRMWARE_BELOW_MINIMUM'
const WAIVED = `
      minimum-tcb: {reported: any, committed: any, launch: any}
      minimum-firmware: any
      platform-info: {ALIAS_CHECK_COMPLETE: allowed}`

/** PASS is accepted; CRYPTO is authentic and refused; FAIL is refused, or is no evidence at all (`error`). */
type Verdict = 'PASS' | 'CRYPTO' | 'FAIL'

interface Row {
  /** The first cell of the row in INDEX.md. */
  readonly index: string
  readonly what: string
  readonly evidence: string
  readonly given: readonly string[]
  /** The moment that INDEX.md states, unless `instead` says why another one. */
  readonly at: string
  readonly instead?: string
  readonly verdict: Verdict
  readonly fails?: readonly string[]
  readonly error?: string
  readonly options?: readonly string[]
  /** Options of the machine in the owner's policy. */
  readonly policy?: string
}

const inFolder = (folder: string, ...names: string[]): string[] =>
  names.map((name) => `${folder}/${name}`)

const AZURE: Row = {
  index: 'milan-v2-azure-provisional',
  what: 'strict',
  evidence: 'snp/milan-v2-azure-provisional/report.bin',
  given: ['snp/milan-v2-azure-provisional/vcek.der', MILAN],
  at: '2024-01-01',
  verdict: 'CRYPTO',
  fails: [ALIAS, ...OLD_TCB, 'snp.provisional PROVISIONAL_FIRMWARE', FIRMWARE],
}
const OLD: Row = {
  index: 'milan-v2-old-tcb',
  what: 'strict',
  evidence: 'snp/milan-v2-old-tcb/report.hex',
  given: ['snp/milan-v2-old-tcb/vcek.der', MILAN],
  at: '2024-01-01',
  verdict: 'CRYPTO',
  fails: [ALIAS, ...OLD_TCB, FIRMWARE],
}
const VLEK: Row = {
  index: 'milan-v3-vlek-aws',
  what: 'strict',
  evidence: 'snp/milan-v3-vlek-aws/report.bin',
  given: ['snp/milan-v3-vlek-aws/vlek.der', MILAN],
  at: '2025-06-01',
  verdict: 'CRYPTO',
  fails: [
    'snp.tcb.reported TCB_BELOW_MINIMUM',
    'snp.provisional PROVISIONAL_FIRMWARE',
    'snp.vmpl VMPL',
    'snp.chip CHIP_ID',
  ],
}
const CCEL: Row = {
  index: 'tdx/v4-ccel',
  what: 'with its event log',
  evidence: 'tdx/v4-ccel/quote.bin',
  given: inFolder('tdx/v4-ccel', 'ccel_table.dat', 'ccel_data.dat'),
  at: '2024-08-01',
  instead: 'the PCK certificate of the quote is valid from 2024-07-02 on',
  verdict: 'CRYPTO',
  fails: [
    'tdx.crl.root CRL_MISSING',
    'tdx.crl.pck CRL_MISSING',
    'tdx.tcbInfo.signature COLLATERAL_MISSING',
    'tdx.qeIdentity.signature COLLATERAL_MISSING',
  ],
}
const PKI: Row = {
  index: 'tdx/intel-test-pki',
  what: 'under Intel’s production root',
  evidence: `${TEST_PKI}/quote.dat`,
  given: inFolder(
    TEST_PKI,
    'pckCert.pem',
    'pckSignChain.pem',
    'tcbSignChain.pem',
    'rootCaCrl.der',
    'intermediateCaCrl.der',
    'tcbInfo.json',
    'qeIdentity.json',
  ),
  at: '2026-01-01',
  verdict: 'FAIL',
  fails: [
    'tdx.root ROOT_UNTRUSTED',
    'tdx.module MODULE_MISMATCH',
    'tdx.qe.identity QE_IDENTITY_MRSIGNER',
  ],
}

const ROWS: readonly Row[] = [
  {
    index: 'milan-v2-debug',
    what: 'with the cert_chain of KDS',
    evidence: 'snp/milan-v2-debug/report.bin',
    given: inFolder('snp/milan-v2-debug', 'vcek.der', 'kds-cert-chain.pem'),
    at: '2023-01-01',
    verdict: 'CRYPTO',
    fails: ['snp.debug DEBUG', ALIAS, ...OLD_TCB, FIRMWARE],
  },
  OLD,
  { ...OLD, what: 'TCB and alias check waived', verdict: 'PASS', fails: [], policy: WAIVED },
  AZURE,
  {
    ...AZURE,
    what: 'old TCB and provisional firmware permitted',
    verdict: 'PASS',
    fails: [],
    policy: `${WAIVED}
      provisional-firmware: true`,
  },
  ...['test-vcek-invalid-legacy.der', 'test-vcek-invalid-new.der'].map((name): Row => ({
    ...AZURE,
    what: name,
    given: [`snp/milan-v2-azure-provisional/${name}`, MILAN],
    verdict: 'FAIL',
    fails: [
      'snp.chain CHAIN_INVALID',
      'snp.certificate-tcb CERT_TCB_MISMATCH',
      'snp.hwid HWID_MISMATCH',
      'snp.signature SIGNATURE_INVALID',
    ],
  })),
  VLEK,
  {
    ...VLEK,
    what: 'after the VLEK ended',
    at: '2025-12-11',
    instead: 'the row speaks of the time after 2025-12-10 too',
    verdict: 'FAIL',
    fails: ['snp.validity.leaf CERT_EXPIRED'],
  },
  {
    index: 'milan-v3',
    what: 'strict',
    evidence: 'snp/milan-v3/report.bin',
    given: ['snp/milan-v3/vcek.pem', MILAN],
    at: '2026-06-01',
    verdict: 'PASS',
  },
  {
    index: 'genoa-v3',
    what: 'strict',
    evidence: 'snp/genoa-v3/report.bin',
    given: ['snp/genoa-v3/vcek.pem', GENOA],
    at: '2026-06-01',
    verdict: 'PASS',
  },
  {
    index: 'genoa-19a0-v5',
    what: 'strict',
    evidence: 'snp/genoa-19a0-v5/report.bin',
    given: ['snp/genoa-19a0-v5/vcek.der', GENOA],
    at: '2026-06-01',
    verdict: 'PASS',
  },
  {
    index: 'vcek-turin-only',
    what: 'a certificate is no evidence',
    evidence: 'snp/vcek-turin-only/vcek.der',
    given: [],
    at: '2026-06-01',
    instead: 'the row has no report to judge',
    verdict: 'FAIL',
    error: 'FORMAT_UNKNOWN',
  },
  ...[
    ['guest_report_bad_sig.bin', 'TRAILING_DATA'],
    ['guest_report_corrupt.bin', 'TRUNCATED'],
  ].map(([name = '', error = '']): Row => ({
    index: 'malformed',
    what: name,
    evidence: `snp/malformed/${name}`,
    given: [MILAN],
    at: '2024-01-01',
    instead: 'the row states none',
    verdict: 'FAIL',
    error,
  })),
  {
    index: 'tdx/v4-uptodate',
    what: 'strict',
    evidence: 'tdx/v4-uptodate/quote.bin',
    given: ['tdx/v4-uptodate/collateral.json'],
    at: '2025-07-01',
    verdict: 'PASS',
  },
  {
    index: 'tdx/v4-uptodate-eval20',
    what: 'with its dstack log',
    evidence: 'tdx/v4-uptodate-eval20/quote.json',
    given: inFolder('tdx/v4-uptodate-eval20', 'collateral.json', 'tcb_info.json'),
    at: '2026-08-20',
    verdict: 'PASS',
  },
  {
    index: "tdx v4-uptodate with v4-uptodate-eval20's collateral",
    what: 'strict',
    evidence: 'tdx/v4-uptodate/quote.bin',
    given: ['tdx/v4-uptodate-eval20/collateral.json'],
    at: '2026-08-20',
    verdict: 'FAIL',
    fails: ['tdx.tcb.status TCB_STATUS', 'tdx.tcb.advisories TCB_ADVISORY'],
  },
  {
    index: 'tdx/v5-no-tcb-level',
    what: 'strict',
    evidence: 'tdx/v5-no-tcb-level/quote.bin',
    given: ['tdx/v5-no-tcb-level/collateral.json'],
    at: '2026-03-01',
    verdict: 'FAIL',
    fails: ['tdx.tcb.status TCB_NOT_SUPPORTED'],
  },
  {
    index: 'tdx/v5-td15',
    what: 'strict',
    evidence: 'tdx/v5-td15/quote.bin',
    given: ['tdx/v5-no-tcb-level/collateral.json', 'tdx/v5-td15/tcb-info-response.json'],
    at: '2026-02-25',
    verdict: 'PASS',
  },
  {
    index: 'tdx/v4-trailing-data',
    // "no TCB level" is seen in tdx/recorded.test.ts: the signer of this TCB info was not recorded, so here it is not believed at all
    what: 'strict',
    evidence: `${TRAILING}/quote.bin`,
    given: inFolder(
      TRAILING,
      'pck-crl.der',
      'root-crl.der',
      'tcb-info-response.json',
      'qe-identity-response.json',
    ),
    at: '2023-07-01',
    verdict: 'FAIL',
    fails: [
      'tdx.quote TRAILING_DATA',
      'tdx.tcbInfo.signature CERT_MISSING',
      'tdx.qeIdentity.signature CERT_MISSING',
      'tdx.attributes ATTRIBUTES',
    ],
  },
  CCEL,
  {
    ...CCEL,
    what: 'at the time that the row states',
    at: '2024-06-01',
    instead: 'INDEX.md overlooked the dates of the PCK certificate',
    verdict: 'FAIL',
    fails: ['tdx.validity.pck CERT_NOT_YET_VALID', ...(CCEL.fails ?? [])],
  },
  {
    ...CCEL,
    index: 'eventlog',
    what: 'a separator twice in the log',
    given: ['eventlog/cos-113-intel-tdx-dupe-separator.bin'],
    instead: 'the row has a log alone; it is given beside the quote of v4-ccel',
    verdict: 'FAIL',
    fails: [
      ...(CCEL.fails ?? []),
      'tdx.event-log.replay RTMR_REPLAY',
      'tdx.event-log.events EVENT_LOG',
    ],
  },
  {
    index: 'tdx/v4-debug',
    what: 'strict',
    evidence: 'tdx/v4-debug/quote.bin',
    given: inFolder(
      DEBUG,
      'pck_crl_platform.der',
      'root_ca_crl.der',
      'tcb_signing_chain.pem',
      'qe_identity_signing_chain.pem',
      'tcb_info_50806f000000.json',
      'tcb_info_90c06f000000.json',
      'td_qe_identity.json',
    ),
    at: '2026-04-01',
    verdict: 'FAIL',
    fails: [
      'tdx.tcb.status TCB_STATUS',
      'tdx.tcb.advisories TCB_ADVISORY',
      'tdx.debug DEBUG',
      'tdx.attributes ATTRIBUTES',
    ],
  },
  PKI,
  {
    ...PKI,
    // INDEX.md says PASS. Signatures, chains, dates and revocation do hold under this root, but the content is filler: module version 193
    // without an identity, an MRSIGNER that the identity does not name, levels beyond a byte, TDATTRIBUTES and XFAM of zeros.
    what: 'under its own root: authentic, with content that no strict policy accepts',
    options: ['--trust-root', `${TEST_PKI}/trustedRootCaCert.pem`],
    verdict: 'CRYPTO',
    fails: [
      'tdx.module MODULE_MISMATCH',
      'tdx.qe.identity QE_IDENTITY_MRSIGNER',
      'tdx.tcb.status TCB_NOT_SUPPORTED',
      'tdx.attributes ATTRIBUTES',
      'tdx.xfam-fixed XFAM',
    ],
  },
  {
    index: 'sgx/v3-config-and-swhardening',
    what: 'strict',
    evidence: 'sgx/v3-config-and-swhardening/quote.bin',
    given: ['sgx/v3-config-and-swhardening/collateral.json'],
    at: '2025-07-01',
    verdict: 'CRYPTO',
    fails: ['sgx.tcb.status TCB_STATUS', 'sgx.tcb.advisories TCB_ADVISORY'],
  },
]

/** First cell and time of every row of INDEX.md that has a sample; `ca` folders hold endorsements alone. */
function indexRows(): ReadonlyMap<string, string> {
  const rows = readFileSync(shared('recorded/INDEX.md'), 'utf8')
    .split('\n')
    .filter((line) => /^\| (?!folder)/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()))
  return new Map(
    rows
      .map(([, folder = '', , at = '']): [string, string] => [folder, at])
      .filter(([folder]) => !/^(?:tdx\/)?ca$/.test(folder)),
  )
}

describe.runIf(haveShared)('recorded/INDEX.md', () => {
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'zt4ai-recorded-'))
  })
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const recorded = (path: string): string => shared(`recorded/${path}`)

  async function attest(row: Row): Promise<Awaited<ReturnType<typeof ran>>> {
    const named = (row.options ?? []).map((one) => (one.startsWith('--') ? one : recorded(one)))
    const args = [
      recorded(row.evidence),
      ...row.given.flatMap((path) => ['--endorsements', recorded(path)]),
      ...['--at', `${row.at}T00:00:00Z`, '--offline', '--json'],
      ...named,
    ]
    if (row.policy !== undefined) {
      const file = join(folder, 'policy.yaml')
      writeFileSync(
        file,
        `schema: zt4ai.policy/v1
name: waivers
signers:
  anyone: {key: {file: key.pem}}
machines:
  one:
    platform: sev-snp
    any-measurement: true
    snp:${row.policy}
rules:
  one: {models: ['*'], signed-by: {any-of: [anyone]}, machine: {any-of: [one]}}
`,
      )
      writeFileSync(join(folder, 'key.pem'), party('anyone').publicPem)
      args.push('--policy', file)
    }
    return ran(command, ...args)
  }

  it('every row has its cases here, at the time that it states', () => {
    const rows = indexRows()
    expect([...new Set(ROWS.map(({ index }) => index))].sort()).toEqual([...rows.keys()].sort())
    const elsewhere = ROWS.filter(
      (row) => row.instead === undefined && row.at !== rows.get(row.index),
    )
    expect(elsewhere.map(({ index }) => index)).toEqual([])
  })

  it.each(ROWS)('$index, $what: $verdict', async (row) => {
    const { out, code, error } = await attest(row)
    if (row.error !== undefined) {
      expect(error?.code).toBe(row.error)
      expect(out).toBe('')
      return
    }
    expect(error).toBeNull()
    const result = JSON.parse(out) as AttestationResult
    const fails = result.checks
      .filter(({ status }) => status === 'fail')
      .map((check) => `${check.id} ${check.code}`)
    expect(fails).toEqual(row.fails ?? [])
    expect(code).toBe(row.verdict === 'PASS' ? 0 : 1)
    expect(result).toMatchObject({ accepted: row.verdict === 'PASS', historical: true })
    expect(result.simulated).toBe(false)
    if (row.verdict === 'CRYPTO') expect(result.claims).not.toBeNull()
    const warnings = result.checks.filter(({ status }) => status === 'warn').map((one) => one.code)
    if (result.claims !== null && row.evidence.startsWith('snp/')) {
      expect(warnings).toContain('CRL_MISSING')
      expect(warnings.includes('PRODUCT_WEAK')).toBe(row.index.startsWith('milan'))
    }
    if (row.policy !== undefined) expect(warnings).toContain('WAIVED')
  })

  it('tdx/v4-ccel: the report data is the nonce that was recorded', async () => {
    const nonce = readFileSync(recorded('tdx/v4-ccel/nonce.dat')).toString('hex')
    const { out } = await attest({ ...CCEL, options: [] })
    const claims = (JSON.parse(out) as AttestationResult).claims
    expect(claims?.reportData).toBe(nonce)
  })

  it('malformed: the raw ioctl response is unwrapped', async () => {
    const { out } = await ran(
      command,
      recorded('snp/malformed/snp_report_msg_resp.bin'),
      ...['--offline', '--json', '--at', '2024-01-01T00:00:00Z'],
    )
    const result = JSON.parse(out) as AttestationResult
    expect(result).toMatchObject({ platform: 'sev-snp', accepted: false, claims: null })
    const codes = result.checks.map(({ code }) => code)
    expect(codes).toContain('CERT_MISSING')
    expect(codes).not.toContain('FORMAT_INVALID')
  })
})
