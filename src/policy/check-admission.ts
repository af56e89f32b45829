// The single owner of two questions: has somebody else admitted the model before, and how well does the loader protect it after.
import { PROTECTIONS, type Check, type Protection } from '../verdict.ts'
import { fail, instant, pass, skip } from './check.ts'
import type { Facts, SavedVerdictFact } from './facts.ts'
import { formatDuration } from './match.ts'
import type { Admitted, ResolvedPolicy, Rule } from './policy.ts'
import { isSigner } from './signer.ts'

/** A saved verdict of the kind that the rule asks for. */
export function checkAdmitted(
  resolved: ResolvedPolicy,
  rule: Rule,
  saved: readonly SavedVerdictFact[],
  root: string | null,
  at: number,
): Check {
  const id = 'model.admitted'
  const { admitted } = rule
  if (admitted === null) return skip(id, 'the rule asks for no saved verdict')
  const own = saved.filter(({ signer }) => admitted.by.includes(signer))
  const expected = inWords(admitted)
  const problems: string[] = []
  for (const fact of own) {
    const problem = problemOf(resolved, admitted, fact, root, at)
    if (problem === null)
      return pass(id, `admitted by ${fact.signer}`, {
        expected,
        actual: `${fact.verdict?.at ?? ''} under ${fact.verdict?.policy?.name ?? ''}`,
      })
    problems.push(`${fact.signer}: ${problem}`)
  }
  return fail(
    id,
    'NOT_ADMITTED',
    own.length === 0 ? 'no saved verdict was given' : 'no saved verdict is good enough',
    {
      expected,
      actual: own.length === 0 ? 'none' : problems.join('; '),
      hint: 'admit the model there again: `zt4ai admit MODEL --policy … --save FILE`',
    },
  )
}

function problemOf(
  resolved: ResolvedPolicy,
  admitted: Admitted,
  { signer, result: { authenticated }, verdict }: SavedVerdictFact,
  root: string | null,
  at: number,
): string | null {
  if (authenticated === null || !isSigner(resolved, signer, authenticated.signer))
    return 'its signature does not verify'
  if (verdict === null) return 'it is no verdict'
  if (verdict.decision !== 'allow') return 'it says deny'
  if (root === null || verdict.subject.digest?.sha256 !== root) return 'it is about another model'
  const { name, sha256 } = admitted.policy
  if (name !== null && verdict.policy?.name !== name)
    return `it was given under the policy \`${verdict.policy?.name ?? 'none'}\``
  if (sha256 !== null && verdict.policy?.digest.sha256 !== sha256)
    return `it was given under the policy ${verdict.policy?.digest.sha256 ?? 'none'}`
  const age = at - instant(verdict.at)
  if (!(age >= 0)) return `it is of a later time, ${verdict.at}`
  return age <= admitted.within * 1000 ? null : `it is of ${verdict.at}, which is too old`
}

function inWords({ by, within, policy }: Admitted): string {
  const which = [policy.name, policy.sha256].filter((one) => one !== null).join(' ')
  return `by ${by.join(' or ')}, within ${formatDuration(within)}, under ${which}`
}

/** The level of protection, where somebody loads. */
export function checkProtection(rule: Rule, facts: Facts): Check {
  const id = 'protection'
  if (facts.purpose === 'judge')
    return skip(id, `nothing is loaded here; a loader must reach ${rule.protection}`)
  const reached: Protection = facts.protection ?? 'none'
  return PROTECTIONS.indexOf(reached) >= PROTECTIONS.indexOf(rule.protection)
    ? pass(id, `the protection reached is ${reached}`, {
        expected: `${rule.protection} or higher`,
        actual: reached,
      })
    : fail(id, 'PROTECTION_TOO_LOW', `the protection reached is only ${reached}`, {
        expected: `${rule.protection} or higher`,
        actual: reached,
        hint: `run with --protection ${rule.protection}, where this machine can, or lower \`protection\` in the rule`,
      })
}
