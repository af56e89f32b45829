// The single owner of the recorded TDX and SGX samples and of the simulated ones as evidence and endorsements, for tests.
import { readFileSync } from 'node:fs'
import { readEndorsements } from '../../../attestation/evidence/collect.ts'
import { readEvidence } from '../../../attestation/evidence/detect.ts'
import type { Endorsements } from '../../../attestation/endorsements.ts'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import type { Evidence } from '../../../attestation/evidence.ts'
import { utf8Encode } from '../../../attestation/lib/bytes.ts'
import type { AttestationResult, Check } from '../../../attestation/result.ts'
import { userRoots, VENDOR_ROOTS } from '../../../attestation/roots.ts'
import type { TrustRoot } from '../../../attestation/roots.ts'
import {
  attestSgx,
  attestTdx,
  STRICT_SGX_POLICY,
  STRICT_TDX_POLICY,
} from '../../../attestation/tdx/index.ts'
import type { SgxPolicy, TdxOptions, TdxPolicy } from '../../../attestation/tdx/index.ts'
import type { TdxEvidence } from '../../../src/simulate/index.ts'
import { shared } from '../../shared.ts'

export const bytesOf = (path: string): Uint8Array =>
  new Uint8Array(readFileSync(shared(`recorded/${path}`)))

/** Evidence with its endorsements, at the moment at which INDEX.md judges it. */
export interface Sample {
  readonly evidence: Evidence
  readonly endorsements: Endorsements
  readonly at: Date
  readonly trustRoots: readonly TrustRoot[]
}

function recorded(quote: string, files: readonly string[], at: string): Sample {
  return {
    evidence: readEvidence(bytesOf(quote)),
    endorsements: readEndorsements(files.map((name) => ({ name, bytes: bytesOf(name) }))),
    at: new Date(at),
    trustRoots: VENDOR_ROOTS,
  }
}

const DEBUG = 'tdx/v4-debug/collateral'
const TEST_PKI = 'tdx/intel-test-pki'
const TRAILING = 'tdx/v4-trailing-data'

export const RECORDED = {
  v4UpToDate: () =>
    recorded('tdx/v4-uptodate/quote.bin', ['tdx/v4-uptodate/collateral.json'], '2025-07-01'),
  v4Eval20: () =>
    recorded(
      'tdx/v4-uptodate-eval20/quote.json',
      ['tdx/v4-uptodate-eval20/collateral.json'],
      '2026-08-20',
    ),
  /** The quote of v4-uptodate under the collateral of a later evaluation number. */
  v4CrossPair: () =>
    recorded('tdx/v4-uptodate/quote.bin', ['tdx/v4-uptodate-eval20/collateral.json'], '2026-08-20'),
  v5NoTcbLevel: () =>
    recorded(
      'tdx/v5-no-tcb-level/quote.bin',
      ['tdx/v5-no-tcb-level/collateral.json'],
      '2026-03-01',
    ),
  /** Its own TCB info; QE identity, lists and chains of v5-no-tcb-level, whose TCB info of another day goes unused. */
  v5Td15: () => {
    const sample = recorded(
      'tdx/v5-td15/quote.bin',
      ['tdx/v5-no-tcb-level/collateral.json', 'tdx/v5-td15/tcb-info-response.json'],
      '2026-02-25',
    )
    const { endorsements } = sample
    return {
      ...sample,
      endorsements: { ...endorsements, tcbInfos: endorsements.tcbInfos.slice(1) },
    }
  },
  /** Recorded without issuer chains, and no other sample holds the TCB signer of that time. */
  v4TrailingData: () =>
    recorded(
      `${TRAILING}/quote.bin`,
      ['pck-crl.der', 'root-crl.der', 'tcb-info-response.json', 'qe-identity-response.json'].map(
        (name) => `${TRAILING}/${name}`,
      ),
      '2023-07-01',
    ),
  v4Ccel: () => recorded('tdx/v4-ccel/quote.bin', [], '2024-08-01'),
  v4Debug: () =>
    recorded(
      'tdx/v4-debug/quote.bin',
      [
        'pck_crl_platform.der',
        'root_ca_crl.der',
        'tcb_signing_chain.pem',
        'qe_identity_signing_chain.pem',
        'tcb_info_50806f000000.json',
        'tcb_info_90c06f000000.json',
        'td_qe_identity.json',
      ].map((name) => `${DEBUG}/${name}`),
      '2026-04-01',
    ),
  intelTestPki: () =>
    recorded(
      `${TEST_PKI}/quote.dat`,
      [
        'pckCert.pem',
        'pckSignChain.pem',
        'tcbSignChain.pem',
        'rootCaCrl.der',
        'intermediateCaCrl.der',
        'tcbInfo.json',
        'qeIdentity.json',
      ].map((name) => `${TEST_PKI}/${name}`),
      '2026-01-01',
    ),
  sgxV3: () =>
    recorded(
      'sgx/v3-config-and-swhardening/quote.bin',
      ['sgx/v3-config-and-swhardening/collateral.json'],
      '2025-07-01',
    ),
} as const satisfies Record<string, () => Sample>

export const testPkiRoot = (): readonly TrustRoot[] =>
  userRoots(bytesOf(`${TEST_PKI}/trustedRootCaCert.pem`))

/** What a simulated machine recorded, judged under `root` (its own unless told). */
export function simulated(evidence: TdxEvidence, root: Uint8Array = evidence.root): Sample {
  return {
    evidence: {
      platform: evidence.kind === 'sgx' ? 'sgx' : 'tdx',
      raw: evidence.quote,
      form: 'simulated',
      endorsements: NO_ENDORSEMENTS,
    },
    endorsements: readEndorsements([
      { name: 'collateral', bytes: utf8Encode(JSON.stringify(evidence.collateral)) },
    ]),
    at: evidence.at,
    trustRoots: userRoots(root),
  }
}

const NOW = new Date('2026-11-20')

export interface Judging extends Omit<TdxOptions, 'trustRoots'> {
  readonly tdx?: Partial<TdxPolicy>
  readonly sgx?: Partial<SgxPolicy>
}

/** The result under the strict defaults, changed where told. */
export function judge(sample: Sample, { tdx, sgx, ...options }: Judging = {}): AttestationResult {
  const { evidence, endorsements, at, trustRoots } = sample
  const more = { ...options, trustRoots }
  return evidence.platform === 'sgx'
    ? attestSgx(evidence, endorsements, { ...STRICT_SGX_POLICY, ...sgx }, at, NOW, more)
    : attestTdx(evidence, endorsements, { ...STRICT_TDX_POLICY, ...tdx }, at, NOW, more)
}

/** `id:CODE` of every check that failed, in order. */
export const failures = (result: AttestationResult): string[] =>
  result.checks.filter(({ status }) => status === 'fail').map(({ id, code }) => `${id}:${code}`)

export function checkOf(result: AttestationResult, id: string): Check {
  const found = result.checks.filter((check) => check.id === id)
  if (found.length !== 1 || found[0] === undefined) throw new Error(`${found.length} checks ${id}`)
  return found[0]
}
