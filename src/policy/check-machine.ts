// The single owner of the question where it would run: evidence of the machine that a rule asks for, its software, its freshness, its binding to the model.
import type { Check } from '../verdict.ts'
import { fail, instant, pass, reasonOf, skip, under, warn } from './check.ts'
import type { EvidenceFact, StatementFact } from './facts.ts'
import { formatDuration } from './match.ts'
import type { Machine, ResolvedPolicy, Rule } from './policy.ts'
import { goodMeasurements } from './reference.ts'

export interface MachineQuestion {
  readonly resolved: ResolvedPolicy
  readonly rule: Rule
  /** The model's root, as signed; null where no signature gave one. */
  readonly root: string | null
  readonly statements: readonly StatementFact[]
  readonly at: number
}

/** Judges one piece of evidence, or its absence, against a rule. */
export function checkMachine(
  question: MachineQuestion,
  fact: EvidenceFact | null,
): readonly Check[] {
  const { resolved, rule } = question
  if (rule.machines === null)
    return [skip('machine.evidence', 'the rule asks for no attested machine')]
  const machine = fact === null ? undefined : resolved.policy.machines.get(fact.machine)
  if (fact === null || machine === undefined || !rule.machines.includes(fact.machine)) {
    const recordings = rule.machines.some(
      (name) => resolved.policy.machines.get(name)?.nonce === false,
    )
    return [
      fail('machine.evidence', 'EVIDENCE_MISSING', 'no evidence of an attested machine', {
        expected: rule.machines
          .map((name) => `${name} (${resolved.policy.machines.get(name)?.platform ?? ''})`)
          .join(' or '),
        hint: `give the evidence of the machine with --evidence FILE (\`zt4ai collect\` reads it on the machine itself)${recordings ? ', or attach it to the model in its registry (`zt4ai attach`)' : ''}`,
      }),
    ]
  }
  return [
    accepted(fact, machine, question.at),
    ...platform(fact, machine),
    ...under('evidence', fact.result.checks),
    trustRoot(fact, question.resolved),
    measurement(fact, machine, question),
    nonce(fact, machine),
    freshness(fact, machine, question.at),
    binding(fact, machine, question.root),
  ]
}

function accepted({ machine: name, result }: EvidenceFact, machine: Machine, at: number): Check {
  const id = 'machine.evidence'
  if (result.platform !== machine.platform)
    return fail(id, 'EVIDENCE_REFUSED', 'the evidence is of another platform', {
      expected: machine.platform,
      actual: result.platform,
    })
  if (Math.floor(instant(result.at) / 1000) !== Math.floor(at / 1000))
    return fail(id, 'EVIDENCE_REFUSED', 'the evidence was judged for another time', {
      expected: new Date(at).toISOString(),
      actual: result.at,
    })
  if (!result.accepted || result.claims === null)
    return fail(id, 'EVIDENCE_REFUSED', `the evidence is refused: ${reasonOf(result.checks)}`, {
      expected: `genuine evidence of \`${name}\``,
    })
  // `accepted` already says it; a machine that can be looked into proves nothing, so it is said twice.
  if (result.claims.debug)
    return fail(id, 'EVIDENCE_REFUSED', 'the machine can be debugged from outside')
  return pass(id, `genuine ${result.platform} evidence of \`${name}\``, {
    actual: `${result.claims.product}, TCB ${result.claims.tcb}`,
  })
}

/** Said on its own, because what is wrong with evidence may be waived; that it is of another platform may not. */
function platform({ machine: name, result }: EvidenceFact, machine: Machine): readonly Check[] {
  if (result.platform === machine.platform) return []
  return [
    fail('machine.platform', 'EVIDENCE_REFUSED', `\`${name}\` is a machine of another platform`, {
      expected: machine.platform,
      actual: result.platform,
      hint: 'give the evidence of the machine that the rule names, or name this one in the rule',
    }),
  ]
}

function trustRoot({ machine: name, result }: EvidenceFact, resolved: ResolvedPolicy): Check {
  const id = 'machine.root'
  const named = resolved.trustRoots.get(name)
  const actual =
    result.root === null ? 'no trusted root' : `${result.root.name} ${result.root.sha256}`
  if (named === undefined) {
    if (result.root === null || result.simulated)
      return fail(id, 'ROOT_UNTRUSTED', 'the evidence does not end at a vendor’s root', {
        expected: 'the root of AMD or Intel',
        actual: result.simulated ? `SIMULATED: ${actual}` : actual,
        hint: 'simulated hardware is trusted only where the machine names its `trust-root`',
      })
    return pass(id, `the chain ends at ${result.root.name}`, { actual })
  }
  if (result.root?.sha256 !== named.sha256)
    return fail(id, 'ROOT_UNTRUSTED', 'the evidence ends at another root than the machine names', {
      expected: named.sha256,
      actual,
    })
  return result.simulated
    ? warn(id, 'SIMULATED', 'SIMULATED hardware: it proves nothing about a real machine', {
        actual,
      })
    : pass(id, 'the chain ends at the root that the machine names', { actual })
}

function measurement(
  { result, machine: name }: EvidenceFact,
  machine: Machine,
  { statements, resolved, at }: MachineQuestion,
): Check {
  const id = 'machine.measurement'
  const good = goodMeasurements(resolved, machine, statements, new Date(at))
  const actual = result.claims?.measurement
  if (good === null)
    return skip(id, 'the policy accepts any software', actual === undefined ? {} : { actual })
  const source = actual === undefined ? undefined : good.accepted.get(actual)
  if (actual !== undefined && source !== undefined)
    return pass(id, `the measured software is known to ${source}`, { actual })
  const count = good.accepted.size
  const expected =
    count === 0
      ? 'a measurement that the policy names; there is none at present'
      : count <= 3
        ? [...good.accepted.keys()].join(' or ')
        : `one of ${String(count)} measurements that \`${name}\` names`
  return fail(
    id,
    'MEASUREMENT_UNKNOWN',
    actual === undefined
      ? 'no measurement is proved'
      : 'the machine runs software that the policy does not know',
    {
      expected,
      actual: actual ?? 'none',
      hint:
        good.problems[0] ??
        'if this software is right, add its measurement to the machine, or have it stated by a signer',
    },
  )
}

function nonce({ binding: fact }: EvidenceFact, machine: Machine): Check {
  const id = 'machine.nonce'
  if (!machine.nonce) return skip(id, 'the policy asks for no nonce: the evidence may be a replay')
  const expected = fact?.nonce.expected ?? null
  const actual = fact?.nonce.actual ?? null
  if (expected === null)
    return fail(
      id,
      'NONCE_MISMATCH',
      'nobody asked with a nonce, so the evidence may be a replay',
      {
        expected: 'a nonce that was asked for',
        actual: actual ?? 'none',
        hint: 'ask the machine with a nonce of your own (--nonce HEX, --evidence FILE), or write `nonce: not-required` for recorded evidence, such as what is attached to a model',
      },
    )
  return expected === actual
    ? pass(id, 'the evidence answers the nonce that was asked', { actual })
    : fail(id, 'NONCE_MISMATCH', 'the evidence answers another nonce', {
        expected,
        actual: actual ?? 'none that was tried',
        hint: 'collect fresh evidence for this nonce: `zt4ai binding` prints the report data to ask for',
      })
}

function freshness({ binding: fact }: EvidenceFact, machine: Machine, at: number): Check {
  const id = 'machine.freshness'
  if (machine.maxAge === null) return skip(id, 'the machine limits no age beside its nonce')
  const expected = `at most ${formatDuration(machine.maxAge)} after the nonce was made`
  const age = at - instant(fact?.nonce.issued)
  if (age >= 0 && age <= machine.maxAge * 1000)
    return pass(id, 'the evidence is fresh', {
      expected,
      actual: `${String(Math.floor(age / 1000))} seconds`,
    })
  return fail(id, 'EVIDENCE_OLD', 'the evidence is not fresh', {
    expected,
    actual: Number.isNaN(age)
      ? 'nobody says when the nonce was made'
      : `${String(Math.floor(age / 1000))} seconds`,
    hint: 'ask again with a new nonce',
  })
}

function binding({ binding: fact }: EvidenceFact, machine: Machine, root: string | null): Check {
  const id = 'machine.binding'
  if (!machine.binding)
    return skip(id, 'the policy does not ask that the evidence is about this model')
  const actual = fact?.model ?? null
  return root !== null && actual === root
    ? pass(id, 'the evidence is bound to this model', { actual })
    : fail(id, 'BINDING_MISMATCH', 'the evidence is not bound to this model', {
        expected: root ?? 'the root of a signed model',
        actual: actual ?? 'none that was tried',
        hint: 'collect evidence with the report data that `zt4ai binding` prints for this model',
      })
}
