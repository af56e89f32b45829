// The single owner of the verdict: the one answer, allow or deny, with every check that led to it.
import type { Check as CheckOf, CheckStatus } from '../attestation/index.ts'
import type { Code } from './codes.ts'
import { EVIDENCE_HINT, HINTS } from './hints.ts'

export type Check = CheckOf<Code>
export type { CheckStatus }

/** How far the bytes stay protected after the check. Reached and reported, never assumed. Weakest first. */
export const PROTECTIONS = ['none', 'start', 'private-copy', 'fsverity', 'in-memory'] as const
export type Protection = (typeof PROTECTIONS)[number]

/** An input of a verdict by name and digest. */
export interface VerdictInput {
  readonly name: string
  readonly digest: { readonly sha256: string }
}

export interface Verdict {
  readonly schema: 'zt4ai.verdict/v1'
  readonly decision: 'allow' | 'deny'
  /** The time at which everything was judged, RFC 3339 in UTC, whole seconds. */
  readonly at: string
  /** `digest` is the OMS root; it is absent when no signature gave one. */
  readonly subject: { readonly name: string; readonly digest?: { readonly sha256: string } }
  readonly policy: { readonly name: string; readonly digest: { readonly sha256: string } } | null
  readonly checks: readonly Check[]
  readonly inputs: readonly VerdictInput[]
  readonly protection?: Protection
}

/**
 * Joins checks into a verdict. It is `allow` only if at least one check passed and none failed; a check that did not run never helps.
 * The same parts give the same bytes.
 */
export function makeVerdict(parts: Omit<Verdict, 'schema' | 'decision'>): Verdict {
  const failed = parts.checks.some((check) => check.status === 'fail')
  const passed = parts.checks.some((check) => check.status === 'pass')
  return {
    schema: 'zt4ai.verdict/v1',
    decision: passed && !failed ? 'allow' : 'deny',
    at: parts.at,
    subject: parts.subject,
    policy: parts.policy,
    checks: parts.checks.map(hinted),
    inputs: [...parts.inputs].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)),
    ...(parts.protection === undefined ? {} : { protection: parts.protection }),
  }
}

/** The check as it is shown. A refusal hints at the way out: with its own hint, else with the one of its code (hints.ts). */
export function hinted(check: Check): Check {
  if (check.status !== 'fail' || check.hint !== undefined) return check
  const hint = check.id.startsWith('evidence.') ? EVIDENCE_HINT : HINTS[check.code]
  return hint === undefined ? check : { ...check, hint }
}

/** The one serialised form of a verdict: two spaces, keys in the order of the type, a final newline. */
export function verdictJson(verdict: Verdict): string {
  return `${JSON.stringify(verdict, null, 2)}\n`
}
