// The single owner of judging evidence of any platform: hands it to the verifier of its platform.
import type { Endorsements } from './endorsements.ts'
import type { Evidence } from './evidence.ts'
import type { Expected } from './expected.ts'
import type { AttestationResult } from './result.ts'
import type { TrustRoot } from './roots.ts'
import { attestSnp } from './snp/attest.ts'
import { STRICT_SNP_POLICY } from './snp/policy.ts'
import type { SnpPolicy } from './snp/policy.ts'
import type { SnpTrust } from './snp/trust.ts'
import { attestSgx, attestTdx } from './tdx/attest.ts'
import { STRICT_SGX_POLICY, STRICT_TDX_POLICY } from './tdx/policy.ts'
import type { SgxPolicy, TdxPolicy } from './tdx/policy.ts'
import type { TdxTrust } from './tdx/trust.ts'

/** What the owner accepts, per platform. A platform that is left out has its strict defaults. */
export interface AttestationPolicy {
  readonly snp?: SnpPolicy
  readonly tdx?: TdxPolicy
  readonly sgx?: SgxPolicy
}

export interface AttestOptions extends Expected {
  /** Anchors; the vendors' own unless told. */
  readonly trustRoots?: readonly TrustRoot[]
  /** Remembers sound SNP chains between calls. */
  readonly snpTrust?: SnpTrust
  /** Remembers examined TDX and SGX chains and collateral between calls. */
  readonly tdxTrust?: TdxTrust
}

/**
 * Judges one piece of evidence. The answer depends on nothing but the arguments.
 *
 * @param endorsements candidates beside those that travelled with the evidence
 * @param at the moment at which dates are judged
 * @param now the moment of judging: if `at` lies before it, the result is marked `historical`
 * @throws AttestationError if the evidence can't be read
 */
export function attest(
  evidence: Evidence,
  endorsements: Endorsements,
  policy: AttestationPolicy,
  at: Date,
  now: Date,
  options: AttestOptions = {},
): AttestationResult {
  const { snpTrust, tdxTrust, ...common } = options
  const quoteOptions = { ...common, ...(tdxTrust === undefined ? {} : { trust: tdxTrust }) }
  switch (evidence.platform) {
    case 'sev-snp':
      return attestSnp(evidence, endorsements, policy.snp ?? STRICT_SNP_POLICY, at, now, {
        ...common,
        ...(snpTrust === undefined ? {} : { trust: snpTrust }),
      })
    case 'tdx':
      return attestTdx(
        evidence,
        endorsements,
        policy.tdx ?? STRICT_TDX_POLICY,
        at,
        now,
        quoteOptions,
      )
    case 'sgx':
      return attestSgx(
        evidence,
        endorsements,
        policy.sgx ?? STRICT_SGX_POLICY,
        at,
        now,
        quoteOptions,
      )
  }
}
