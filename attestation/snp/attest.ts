// The single owner of the SNP attestation result: parse → authenticate → appraise, and what comes out of it.
import { skip } from '../check.ts'
import type { Endorsements } from '../endorsements.ts'
import type { Evidence } from '../evidence.ts'
import { mergeEndorsements } from '../evidence/collect.ts'
import type { Expected } from '../expected.ts'
import { sha256Hex } from '../lib/bytes.ts'
import { formatTime } from '../lib/time.ts'
import { policyDigest } from '../policy-digest.ts'
import { UNAUTHENTICATED } from '../result.ts'
import type {
  AttestationResult,
  EvidenceCheck,
  InputDigest,
  TrustworthinessVector,
} from '../result.ts'
import type { TrustRoot } from '../roots.ts'
import { appraiseSnp } from './appraise.ts'
import { authenticateSnp } from './authenticate.ts'
import { snpClaims } from './claims.ts'
import type { SnpPolicy } from './policy.ts'
import { parseReport } from './report.ts'
import type { SnpTrust } from './trust.ts'

export interface SnpOptions extends Expected {
  /** The vendors' own unless told. */
  readonly trustRoots?: readonly TrustRoot[]
  /** Remembers sound chains between calls: then a report costs one ECDSA verification. */
  readonly trust?: SnpTrust
}

/**
 * Judges one report. The answer depends on nothing but the arguments.
 *
 * @param endorsements candidates beside those that travelled with the evidence
 * @param at the moment at which dates are judged
 * @param now the moment of judging: if `at` lies before it, the result is marked `historical`
 * @throws AttestationError if the report can't be read (report.ts); everything that was read and is not accepted is a failed check
 */
export function attestSnp(
  evidence: Evidence,
  endorsements: Endorsements,
  policy: SnpPolicy,
  at: Date,
  now: Date,
  options: SnpOptions = {},
): AttestationResult {
  const report = parseReport(evidence.raw)
  const { checks, facts, chain } = authenticateSnp(
    report,
    mergeEndorsements(endorsements, evidence.endorsements),
    {
      at,
      requireCrl: policy.requireCrl,
      ...(options.trustRoots === undefined ? {} : { trustRoots: options.trustRoots }),
      ...(options.trust === undefined ? {} : { trust: options.trust }),
    },
  )
  const inputs: InputDigest[] = [
    { name: 'report (the signed 672 bytes)', sha256: sha256Hex(report.signed) },
    ...chain.inputs,
    { name: 'policy', sha256: policyDigest(policy) },
  ]
  const frame = {
    schema: 'zt4ai.attestation/v1',
    platform: 'sev-snp',
    at: formatTime(at),
    historical: at < now,
    simulated: chain.root?.simulated ?? false,
    root: chain.root === null ? null : { name: chain.root.name, sha256: chain.root.sha256 },
    inputs,
  } as const
  if (facts === null) {
    const message = 'the report is not authenticated, so nothing in it was appraised'
    return {
      ...frame,
      accepted: false,
      claims: null,
      checks: [...checks, skip('snp.appraisal', message, 'NOT_AUTHENTICATED')],
      vector: UNAUTHENTICATED,
    }
  }
  const appraisal = appraiseSnp(facts, policy, options)
  const all = [...checks, ...appraisal.checks]
  return {
    ...frame,
    accepted: all.every((check) => check.status !== 'fail'),
    claims: snpClaims(facts),
    checks: all,
    vector: vectorOf(appraisal.checks, appraisal.waived),
  }
}

/** AR4SI values (draft-ietf-rats-ar4si §2.3.3), from what the checks said. A claim that nothing was compared for is 0. */
function vectorOf(
  checks: readonly EvidenceCheck[],
  waived: ReadonlySet<string>,
): TrustworthinessVector {
  const status = new Map(checks.map((check) => [check.id, check.status]))
  const failed = (...ids: string[]): boolean => ids.some((id) => status.get(id) === 'fail')
  const passed = (id: string): boolean => status.get(id) === 'pass'
  const needed = (...ids: string[]): boolean => ids.some((id) => waived.has(id))
  const identity = ['snp.chip', 'snp.csp']
  const levels = ['snp.tcb.reported', 'snp.tcb.committed', 'snp.tcb.launch', 'snp.tcb.order']
  const firmware = [...levels, 'snp.firmware', 'snp.mitigations', 'snp.provisional']
  const platform = ['snp.platform-info', 'snp.platform-info-unknown']
  const guest = ['snp.debug', 'snp.policy-bits', 'snp.policy-abi', 'snp.vmpl']
  return {
    'instance-identity': failed(...identity) ? 97 : identity.some(passed) ? 2 : 0,
    configuration: failed(...guest)
      ? 96
      : failed(...platform) || needed(...platform, ...guest)
        ? 32
        : passed('snp.host-data')
          ? 2
          : 3,
    executables: failed('snp.measurement', 'snp.guest-svn', 'snp.id-key', 'snp.author-key')
      ? 33
      : passed('snp.measurement')
        ? 3
        : 0,
    'file-system': failed('snp.model-binding') ? 96 : 0,
    hardware: failed('snp.allowed-product', ...firmware)
      ? 96
      : status.get('snp.allowed-product') === 'warn' || needed(...firmware)
        ? 32
        : 2,
    'runtime-opaque': failed('snp.debug') ? 96 : 2,
    'storage-opaque': 0,
    'sourced-data': 0,
  }
}
