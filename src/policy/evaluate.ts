// The single owner of the decision: facts and a policy in, one verdict out. Pure: the same in, the same bytes out.
import { ZtError } from '../error.ts'
import { makeVerdict, type Check, type Verdict, type VerdictInput } from '../verdict.ts'
import { fail, instant, pass } from './check.ts'
import { checkAdmitted, checkProtection } from './check-admission.ts'
import { checkFiles } from './check-files.ts'
import { checkMachine } from './check-machine.ts'
import { checkSigners } from './check-signers.ts'
import { Exemptions } from './exempt.ts'
import type { EvidenceFact, Facts, FilesFact } from './facts.ts'
import { matches, namesOf } from './match.ts'
import type { Policy, ResolvedPolicy, Rule } from './policy.ts'

/** One way in which the model could be allowed: a rule, a signed list of files, a piece of evidence. */
interface Alternative {
  readonly rule: string
  readonly root: string | null
  readonly checks: readonly Check[]
  /** How many of files and evidence this alternative does without. */
  readonly missing: number
  readonly failing: number
  readonly warnings: number
}

/**
 * Decides. Every rule that matches, with every signed list and every piece of evidence, is an alternative; the model is allowed if one
 * of them has no failing check. Else the checks of the nearest one are shown, all failing ones among them.
 *
 * One more fact or rule never turns an allow into a deny, and one less never turns a deny into an allow.
 * Throws `ZtError` `INTERNAL` if `facts.at` is no time: then there is no answer.
 */
export function evaluate(resolved: ResolvedPolicy, facts: Facts): Verdict {
  const at = instant(facts.at)
  if (Number.isNaN(at))
    throw new ZtError('INTERNAL', 'the time of judging is not a time', { path: 'facts.at' })
  const { policy } = resolved
  const names = namesOf(facts.subject)
  const matching = rulesFor(policy, facts.subject)
  const best = matching.length === 0 ? null : nearest(resolved, facts, matching, names, at)
  const checks = best === null ? [noRule(policy, names)] : best.checks
  return makeVerdict({
    at: facts.at,
    subject: {
      name: facts.subject.reference ?? facts.subject.name,
      ...(best?.root == null ? {} : { digest: { sha256: best.root } }),
    },
    policy: { name: policy.name, digest: { sha256: resolved.digest } },
    checks,
    inputs: inputsOf(resolved, facts),
    ...(facts.protection === undefined ? {} : { protection: facts.protection }),
  })
}

/** The rules that match a model, in the order of the policy. Whoever gathers facts asks this first. */
export function rulesFor(
  policy: Policy,
  subject: Facts['subject'],
): readonly (readonly [string, Rule])[] {
  const names = namesOf(subject)
  return [...policy.rules].filter(([, { models }]) =>
    models.some((pattern) => names.some((name) => matches(pattern, name))),
  )
}

function nearest(
  resolved: ResolvedPolicy,
  facts: Facts,
  rules: readonly (readonly [string, Rule])[],
  names: readonly string[],
  at: number,
): Alternative | null {
  const exemptions = new Exemptions(resolved.policy, names, at)
  let best: Alternative | null = null
  for (const [name, rule] of rules) {
    const machines = rule.machines ?? []
    const evidences = facts.evidence.filter(({ machine }) => machines.includes(machine))
    let own: Alternative | null = null
    // Nothing at all is an alternative too: what an exemption excuses from bringing cannot hurt where it was brought.
    for (const files of [...facts.files, null]) {
      const content = judgeContent(resolved, facts, rule, files, at)
      for (const evidence of [...evidences, null]) {
        const one = judge(resolved, facts, { name, rule, content, evidence, exemptions, at })
        if (own === null || rank(one, 'within a rule') < rank(own, 'within a rule')) own = one
      }
    }
    if (own === null) continue
    if (best === null || rank(own, 'between rules') < rank(best, 'between rules')) best = own
  }
  if (best === null) return null
  const chosen = best.rule
  const others = rules.map(([name]) => name).filter((name) => name !== chosen)
  const rule = pass('policy.rule', `the rule \`${chosen}\` matches`, {
    actual:
      others.length === 0
        ? chosen
        : best.failing === 0
          ? `${chosen}; also matching: ${others.join(', ')}`
          : `${chosen} is the nearest; no nearer: ${others.join(', ')}`,
  })
  return { ...best, checks: [rule, ...best.checks] }
}

/** Less is nearer. Allowed comes first; within a rule, what was brought is shown before what was not. */
function rank(one: Alternative, scope: 'within a rule' | 'between rules'): number {
  const denied = one.failing === 0 ? 0 : 1
  const missing = scope === 'within a rule' ? one.missing : 0
  return ((denied * 4 + missing) * 1e5 + one.failing) * 1e5 + one.warnings
}

/** What does not depend on the machine. */
interface Content {
  readonly root: string | null
  readonly missing: boolean
  readonly checks: readonly Check[]
}

function judgeContent(
  resolved: ResolvedPolicy,
  facts: Facts,
  rule: Rule,
  files: FilesFact | null,
  at: number,
): Content {
  const signers = checkSigners(resolved, rule, facts.signatures, files, at)
  // Only a root that somebody trusted signed is the model's: a comparison with any other list says nothing.
  // A registry's manifest has a digest and no root: nothing can be bound to it, and no verdict is about it.
  const root = signers.covered && files?.manifest != null ? files.root : null
  return {
    root,
    missing: files === null,
    checks: [
      ...signers.checks,
      ...checkFiles(rule, files),
      checkAdmitted(resolved, rule, facts.saved, root, at),
    ],
  }
}

function judge(
  resolved: ResolvedPolicy,
  facts: Facts,
  way: {
    readonly name: string
    readonly rule: Rule
    readonly content: Content
    readonly evidence: EvidenceFact | null
    readonly exemptions: Exemptions
    readonly at: number
  },
): Alternative {
  const { rule, content, evidence, exemptions, at } = way
  const { root } = content
  const before = [
    ...content.checks,
    ...checkMachine({ resolved, rule, root, statements: facts.referenceValues, at }, evidence),
    checkProtection(rule, facts),
  ]
  const authentic = evidence !== null && evidence.result.claims !== null
  const after = exemptions.waive(before, authentic)
  const checks = [...after, ...exemptions.report(before, after, authentic)]
  return {
    rule: way.name,
    root,
    checks,
    missing: (content.missing ? 1 : 0) + (evidence === null ? 1 : 0),
    failing: checks.filter(({ status }) => status === 'fail').length,
    warnings: checks.filter(({ status }) => status === 'warn').length,
  }
}

function noRule(policy: Policy, names: readonly string[]): Check {
  return fail('policy.rule', 'NO_RULE', 'no rule of the policy matches this model', {
    expected: [...policy.rules]
      .map(([name, { models }]) => `${name}: ${models.join(', ')}`)
      .join('; '),
    actual: names.join(', '),
    hint: 'what no rule matches is refused; add the model to the `models` of a rule if it may be loaded',
  })
}

/** Every input by digest, each once. */
function inputsOf(resolved: ResolvedPolicy, facts: Facts): readonly VerdictInput[] {
  const all: VerdictInput[] = [
    ...resolved.inputs,
    ...facts.inputs,
    ...facts.signatures.flatMap(({ result }) => result.inputs),
    ...facts.referenceValues.flatMap(({ result }) => result.inputs),
    ...facts.saved.flatMap(({ result }) => result.inputs),
    ...facts.evidence.flatMap(({ result }) =>
      result.inputs.map(({ name, sha256 }) => ({ name, digest: { sha256 } })),
    ),
  ]
  const once = new Map(all.map((input) => [`${input.name}\n${input.digest.sha256}`, input]))
  return [...once].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, input]) => input)
}
