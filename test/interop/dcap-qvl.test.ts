// The npm package @phala/dcap-qvl as an oracle over every recorded quote with collateral and every simulated negative. Each difference is explained by the row of
// the reference's list of known mistakes (section 6) that it falls under; one that is not explained fails, and so does an explanation that is no longer needed.
import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import type { Endorsements } from '../../attestation/endorsements.ts'
import { bytesToBase64, bytesToHex } from '../../attestation/lib/bytes.ts'
import type { Certificate } from '../../attestation/lib/x509.ts'
import { simulateTdx, TDX_NEGATIVES } from '../../src/simulate/index.ts'
import type { TdxEvidence } from '../../src/simulate/index.ts'
import { failures, judge, RECORDED, simulated } from '../attestation/tdx/samples.ts'
import { haveShared } from '../shared.ts'

interface Oracle {
  readonly QuoteVerifier: {
    readonly newProd: () => Verifier
    readonly newWithRootCa: (der: Buffer) => Verifier
  }
}
interface Verifier {
  readonly verify: (quote: Buffer, collateral: object, seconds: number) => { status: string }
}
const oracle = createRequire(import.meta.url)('@phala/dcap-qvl') as Oracle

/** The status that it gives; `refused: …` if it throws. */
function ask(quote: Uint8Array, collateral: object, at: Date, root?: Uint8Array): string {
  const { newProd, newWithRootCa } = oracle.QuoteVerifier
  const verifier = root === undefined ? newProd() : newWithRootCa(Buffer.from(root))
  try {
    return verifier.verify(Buffer.from(quote), collateral, at.getTime() / 1000).status
  } catch (error) {
    return `refused: ${error instanceof Error ? error.message : String(error)}`
  }
}

function pem({ der }: Certificate): string {
  const lines = bytesToBase64(der).match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

/** Our endorsements in the shape that it takes. */
function collateralOf({
  certificates,
  crls,
  tcbInfos,
  qeIdentities,
}: Endorsements): TdxEvidence['collateral'] {
  const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes)
  const chain = ['Intel SGX TCB Signing', 'Intel SGX Root CA']
    .flatMap((name) => certificates.filter(({ subject }) => subject.commonName === name))
    .map(pem)
    .join('')
  const list = (root: boolean): string => {
    const found = crls.find(({ issuer }) => (issuer.commonName === 'Intel SGX Root CA') === root)
    return bytesToHex(found?.der ?? new Uint8Array())
  }
  const [tcbInfo] = tcbInfos
  const [identity] = qeIdentities
  return {
    pck_crl_issuer_chain: '',
    root_ca_crl: list(true),
    pck_crl: list(false),
    tcb_info_issuer_chain: chain,
    tcb_info: text(tcbInfo?.raw),
    tcb_info_signature: bytesToHex(tcbInfo?.signature ?? new Uint8Array()),
    qe_identity_issuer_chain: chain,
    qe_identity: text(identity?.raw),
    qe_identity_signature: bytesToHex(identity?.signature ?? new Uint8Array()),
  }
}

describe.skipIf(!haveShared)('recorded quotes', () => {
  it.each(['v4UpToDate', 'v4Eval20', 'v4CrossPair', 'v5Td15', 'sgxV3'] as const)(
    '%s: the same status',
    (name) => {
      const { evidence, endorsements, at, trustRoots } = RECORDED[name]()
      const status = ask(evidence.raw, collateralOf(endorsements), at)
      expect(judge({ evidence, endorsements, at, trustRoots }).claims?.tcb).toBe(status)
    },
  )

  it.each([
    ['v5NoTcbLevel', 'No matching TCB level found', 'tdx.tcb.status:TCB_NOT_SUPPORTED'],
    ['v4Debug', 'Debug mode is enabled', 'tdx.debug:DEBUG'],
    ['v4TrailingData', 'Certificate chain is too short', 'tdx.tcbInfo.signature:CERT_MISSING'],
    ['intelTestPki', 'Failed to verify certificate chain', 'tdx.root:ROOT_UNTRUSTED'],
  ] as const)('%s: both refuse', (name, reason, failure) => {
    const sample = RECORDED[name]()
    const status = ask(sample.evidence.raw, collateralOf(sample.endorsements), sample.at)
    expect(status).toContain(`refused: ${reason}`)
    expect(failures(judge(sample))).toContain(failure)
  })
})

const SECTION = {
  crl: '6.1 @phala/dcap-qvl: CRLs are parsed, but their signature, issuer and dates are never checked',
  ca: '6.1 @phala/dcap-qvl: no check of the CA flag, nor of what a key may be used for',
  role: '6.1 dcap-qvl: no check of the names and roles in a chain',
  chain:
    '6.1 teekit and others: the length and order of a chain are not checked (2.4 B: exactly three)',
  extension:
    '2.2: the SGX extension is read leniently; strict: each element once, exact lengths, CPUSVN equal to the components',
  module:
    '6.1 @phala/dcap-qvl, 6.2 issue #124: the TDX module’s identity and level are not verified',
  current: '6.1 dcap-qvl: no TEE_TCB_SVN_2',
  mismatch: '2.4 E: the PCE id is not compared',
  form: '2.3: TCB info of an unknown version, or with a level twice',
  number: '6.3 evaluation-number rollback: no minimum is offered',
  vendor: '6.1 @phala/dcap-qvl, 6.2 issue #127: no QE vendor id',
  binding: '6.1 Intel QVL: only the first 32 bytes of the QE’s report data',
  quote: '6.1 Intel QVL and 2.1: trailing bytes and wrong certification types are allowed',
  attributes: '6.1 Intel QVL: attributes and XFAM are left to the relying party in part',
} as const

/** What it calls UpToDate although it must be refused. */
const EXPLAINED: readonly (readonly [RegExp, string])[] = [
  [/^(root|pck)-crl-(expired|not-yet-valid)$/, SECTION.crl],
  [/^(root-crl-signed-by-ca|pck-crl-signed-by-root|pck-crl-of-the-other-ca)$/, SECTION.crl],
  [/^pck-ca-(not-a-ca|may-not-sign)$/, SECTION.ca],
  [/^(tcb-signer-as-pck|tcb-signer-under-platform-ca|pck-ca-misnamed)$/, SECTION.role],
  [/^chain-of-(two|four)$/, SECTION.chain],
  [/^sgx-(element-(twice|unknown)|type-3)$/, SECTION.extension],
  [/^platform-elements-(under-processor-ca|missing)$/, SECTION.extension],
  [
    /^(cpusvn-contradicts-components|component-256|component-missing|ppid-15-bytes)$/,
    SECTION.extension,
  ],
  [/^module-(?!0-)(?!out-of-date$).+$/, SECTION.module],
  [/^seam-(attributes|signer)$/, SECTION.module],
  [/^current-module-out-of-date$/, SECTION.current],
  [/^pce-id-mismatch$/, SECTION.mismatch],
  [/^(tcb-info-v4|tcb-level-twice)$/, SECTION.form],
  [/^(tcb-info|qe-identity)-rolled-back$/, SECTION.number],
  [/^qe-vendor$/, SECTION.vendor],
  [/^qe-binding-tail$/, SECTION.binding],
  [/^(outer-certification-type-\d|trailing-data)$/, SECTION.quote],
  [/^(perfmon|xfam-fixed-bit-clear|xfam-reserved-bit)$/, SECTION.attributes],
]

describe('simulated hardware', () => {
  it.each(['td15', 'td10', 'sgx'] as const)('%s: both accept', (kind) => {
    for (const ca of ['platform', 'processor'] as const) {
      const evidence = simulateTdx({ kind, ca })
      const { quote, collateral, at, root } = evidence
      expect(ask(quote, collateral, at, root)).toBe('UpToDate')
      expect(judge(simulated(evidence)).accepted).toBe(true)
    }
  })

  it('every negative that it calls UpToDate is explained, and every explanation is needed', () => {
    const used = new Set<RegExp>()
    const unexplained: string[] = []
    for (const { name, record } of TDX_NEGATIVES) {
      const { evidence, trustedRoot } = record()
      const status = ask(evidence.quote, evidence.collateral, evidence.at, trustedRoot)
      if (status !== 'UpToDate') continue
      const rows = EXPLAINED.filter(([pattern]) => pattern.test(name))
      if (rows.length !== 1) unexplained.push(name)
      for (const [pattern] of rows) used.add(pattern)
    }
    expect(unexplained).toEqual([])
    expect(EXPLAINED.filter(([pattern]) => !used.has(pattern))).toEqual([])
  })

  it('a module below component 0 of the platform level, but UpToDate by its own identity: it says OutOfDate (6.1: TDX components from index 0)', () => {
    // the level asks for component 0 ≥ 5; the module's identity, which decides, for ISVSVN ≥ 3
    const svn = Uint8Array.from([3, 1, 6, ...new Array<number>(13).fill(0)])
    const evidence = simulateTdx({
      td: { teeTcbSvn: svn, teeTcbSvn2: svn },
      tcbInfo: (info) => ({
        ...info,
        tdxModuleIdentities: info.tdxModuleIdentities?.map((identity) => ({
          ...identity,
          tcbLevels: identity.tcbLevels.map((level) => ({
            ...level,
            tcb: { isvsvn: level.tcb.isvsvn - 2 },
          })),
        })),
      }),
    })
    const { quote, collateral, at, root } = evidence
    expect(judge(simulated(evidence)).claims?.tcb).toBe('UpToDate')
    expect(ask(quote, collateral, at, root)).not.toBe('UpToDate')
  })
})
