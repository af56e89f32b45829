// The single owner of putting simulated evidence before the verifier, under the root that is named.
import { NO_ENDORSEMENTS, type Endorsements } from '../../attestation/endorsements.ts'
import { AttestationError } from '../../attestation/error.ts'
import { hexToBytes, parseCertificates, parseCrl, utf8Encode } from '../../attestation/lib/index.ts'
import type { AttestationResult } from '../../attestation/result.ts'
import { userRoots } from '../../attestation/roots.ts'
import { attestSnp } from '../../attestation/snp/attest.ts'
import { STRICT_SNP_POLICY } from '../../attestation/snp/policy.ts'
import { attestSgx, attestTdx } from '../../attestation/tdx/attest.ts'
import { STRICT_SGX_POLICY, STRICT_TDX_POLICY } from '../../attestation/tdx/policy.ts'
import type { SnpEvidence, TdxEvidence } from '../../src/simulate/index.ts'

/** The cloud provider of simulated VLEKs: a VLEK names no chip, so a strict policy must pin its provider. */
export const CSP = 'CN=simulated-region.example'

/** Codes of the failing checks, or of the error where the evidence can't be read at all. */
export interface Judgement {
  readonly accepted: boolean
  readonly codes: readonly string[]
  readonly result: AttestationResult | null
}

function judge(run: () => AttestationResult): Judgement {
  try {
    const result = run()
    const codes = result.checks.filter(({ status }) => status === 'fail').map(({ code }) => code)
    return { accepted: result.accepted, codes, result }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    return { accepted: false, codes: [error.code], result: null }
  }
}

/** The strict policy, with revocation lists required, under that root alone. */
export function judgeSnp(evidence: SnpEvidence, root: Uint8Array): Judgement {
  return judge(() => {
    const endorsements: Endorsements = {
      ...NO_ENDORSEMENTS,
      certificates: [evidence.leaf, evidence.ask, evidence.ark].flatMap((der) =>
        parseCertificates(der),
      ),
      crls: [parseCrl(evidence.crl)],
    }
    const policy = {
      ...STRICT_SNP_POLICY,
      requireCrl: true,
      ...(evidence.role === 'vlek' ? { cspIds: [CSP] } : {}),
    }
    const raw = {
      platform: 'sev-snp',
      raw: evidence.report,
      form: 'report',
      endorsements: NO_ENDORSEMENTS,
    } as const
    const options = { trustRoots: userRoots(root) }
    return attestSnp(raw, endorsements, policy, evidence.at, evidence.at, options)
  })
}

/** The strict policy, with the evaluation numbers of the simulated collateral as minimum, under that root alone. */
export function judgeTdx(evidence: TdxEvidence, root: Uint8Array): Judgement {
  return judge(() => {
    const { collateral: c } = evidence
    const endorsements: Endorsements = {
      ...NO_ENDORSEMENTS,
      certificates: [c.tcb_info_issuer_chain, c.pck_crl_issuer_chain].flatMap((chain) =>
        parseCertificates(utf8Encode(chain)),
      ),
      crls: [evidence.rootCrl, evidence.pckCrl].map((crl) => parseCrl(crl)),
      tcbInfos: [{ raw: utf8Encode(c.tcb_info), signature: hexToBytes(c.tcb_info_signature) }],
      qeIdentities: [
        { raw: utf8Encode(c.qe_identity), signature: hexToBytes(c.qe_identity_signature) },
      ],
    }
    const minimum = { minimumEvaluationNumbers: { tcbInfo: 20, qeIdentity: 20 } }
    const sgx = evidence.kind === 'sgx'
    const raw = {
      platform: sgx ? 'sgx' : 'tdx',
      raw: evidence.quote,
      form: 'quote',
      endorsements: NO_ENDORSEMENTS,
    } as const
    const { at } = evidence
    const options = { trustRoots: userRoots(root) }
    return sgx
      ? attestSgx(raw, endorsements, { ...STRICT_SGX_POLICY, ...minimum }, at, at, options)
      : attestTdx(raw, endorsements, { ...STRICT_TDX_POLICY, ...minimum }, at, at, options)
  })
}
