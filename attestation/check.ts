// The single owner of making a check: four constructors, one per status, and the folding of several problems into one check.
import type { Code } from './codes.ts'
import { HINTS } from './hints.ts'
import type { Problem } from './lib/chain.ts'
import type { Check } from './result.ts'

type More = Pick<Check, 'expected' | 'actual' | 'hint'>

export function pass(id: string, message: string, more: More = {}): Check {
  return { id, status: 'pass', code: 'OK', message, ...more }
}

/** A refusal hints at the way out: with the hint that is given, else with the one of its code (hints.ts). */
export function fail(id: string, code: Code, message: string, more: More = {}): Check {
  const hint = more.hint ?? HINTS[code]
  return { id, status: 'fail', code, message, ...more, ...(hint === undefined ? {} : { hint }) }
}

export function warn(id: string, code: Code, message: string, more: More = {}): Check {
  return { id, status: 'warn', code, message, ...more }
}

export function skip(id: string, message: string, code: Code = 'NOT_GIVEN'): Check {
  return { id, status: 'skip', code, message }
}

/** Passes if there is no problem; otherwise fails with the code of the first and the messages of all. */
export function settle(id: string, message: string, problems: readonly Problem[]): Check {
  const [first] = problems
  if (first === undefined) return pass(id, message)
  return fail(id, first.code, problems.map((problem) => problem.message).join('; '), {
    ...(first.expected === undefined ? {} : { expected: first.expected }),
    ...(first.actual === undefined ? {} : { actual: first.actual }),
  })
}
