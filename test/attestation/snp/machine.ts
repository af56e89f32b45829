// The single owner of judging what simulated SNP hardware recorded.
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { parseCertificate } from '../../../attestation/lib/x509.ts'
import { parseCrl } from '../../../attestation/lib/crl.ts'
import type { AttestationResult } from '../../../attestation/result.ts'
import { VENDOR_ROOTS, userRoots } from '../../../attestation/roots.ts'
import { attestSnp } from '../../../attestation/snp/attest.ts'
import type { SnpOptions } from '../../../attestation/snp/attest.ts'
import { decodeSnpPolicy } from '../../../attestation/snp/policy.ts'
import type { SnpPolicy } from '../../../attestation/snp/policy.ts'
import type { SnpEvidence } from '../../../src/simulate/index.ts'

/** Strict defaults, a list required, and the simulated provider pinned where the key is a provider's. */
export const STRICT = decodeSnpPolicy({ requireCrl: true })
export const STRICT_VLEK = decodeSnpPolicy({
  requireCrl: true,
  cspIds: ['CN=simulated-region.example'],
})

export interface Judging extends SnpOptions {
  readonly policy?: SnpPolicy
  readonly at?: Date
  /** DER; null trusts the vendors' own roots alone. */
  readonly root?: Uint8Array | null
  readonly crl?: boolean
}

export function judge(recorded: SnpEvidence, judging: Judging = {}): AttestationResult {
  const { policy, at = recorded.at, root = recorded.ark, crl = true, ...options } = judging
  const named = root === null ? [] : userRoots(root)
  const defaults = recorded.role === 'vlek' ? STRICT_VLEK : STRICT
  return attestSnp(
    {
      platform: 'sev-snp',
      raw: recorded.report,
      form: 'simulated',
      endorsements: NO_ENDORSEMENTS,
    },
    {
      ...NO_ENDORSEMENTS,
      certificates: [recorded.leaf, recorded.ask, recorded.ark].map(parseCertificate),
      crls: crl ? [parseCrl(recorded.crl)] : [],
    },
    policy ?? defaults,
    at,
    recorded.at,
    { trustRoots: [...VENDOR_ROOTS, ...named], ...options },
  )
}

/** `id CODE` of each check with this status. */
export function having(result: AttestationResult, status: string): string[] {
  return result.checks
    .filter((check) => check.status === status)
    .map(({ id, code }) => `${id} ${code}`)
}

export function failures(result: AttestationResult): string[] {
  return having(result, 'fail')
}
