// The single owner of making a check: four constructors, one per status, and the folding of several problems into one check.
import type { Code } from './codes.ts'
import { HINTS } from './hints.ts'
import type { Problem } from './lib/chain.ts'
import type { ComparedCheck, Comparison, SkippedCheck } from './result.ts'

/** What is compared, and where a check knows it, the way out. */
export interface Told extends Comparison {
  readonly hint?: string
}

/** Longest value that a check shows: more than any digest or report data has. */
const MAX_SHOWN = 1024
/** The same where one check shows the values of several problems, and how many of them. */
const MAX_PART = 160
const MAX_PARTS = 6

export function pass(id: string, message: string, { expected, actual }: Comparison): ComparedCheck {
  return { id, status: 'pass', code: 'OK', message, expected: cut(expected), actual: cut(actual) }
}

/** A refusal hints at the way out: with the hint that is given, else with the one of its code (hints.ts). */
export function fail(id: string, code: Code, message: string, told: Told): ComparedCheck {
  return doubted('fail', id, code, message, told, told.hint ?? HINTS[code])
}

export function warn(id: string, code: Code, message: string, told: Told): ComparedCheck {
  return doubted('warn', id, code, message, told, told.hint)
}

/** Nothing was given to compare with, so there is neither an expected nor an actual value. */
export function skip(id: string, message: string, code: Code = 'NOT_GIVEN'): SkippedCheck {
  return { id, status: 'skip', code, message }
}

/** Passes, with what was compared, if there is no problem; otherwise fails with all of them. */
export function settle(
  id: string,
  message: string,
  problems: readonly Problem[],
  sound: Comparison,
): ComparedCheck {
  const [first] = problems
  return first === undefined ? pass(id, message, sound) : failAll(id, first, problems)
}

/** Fails with the code of the first of `problems`, the messages of all, and the values of as many as a person would read. */
export function failAll(id: string, first: Problem, problems: readonly Problem[]): ComparedCheck {
  const message = problems.map((problem) => problem.message).join('; ')
  return fail(id, first.code, message, problems.length === 1 ? first : folded(problems))
}

/** Values side by side, in the same order; what is the same for all of them is said once. */
function folded(problems: readonly Problem[]): Comparison {
  const pairs = new Map(problems.map((one) => [`${one.expected}\0${one.actual}`, one]))
  const shown = [...pairs.values()].slice(0, MAX_PARTS)
  const rest = pairs.size - shown.length
  const column = (values: readonly string[]): string => {
    const different = new Set(values).size === 1 ? values.slice(0, 1) : values
    const parts = different.map((value) => cut(value, MAX_PART))
    return [...parts, ...(rest > 0 ? [`and ${rest} more`] : [])].join('; ')
  }
  return {
    expected: column(shown.map(({ expected }) => expected)),
    actual: column(shown.map(({ actual }) => actual)),
  }
}

function doubted(
  status: 'fail' | 'warn',
  id: string,
  code: Code,
  message: string,
  { expected, actual }: Comparison,
  hint: string | undefined,
): ComparedCheck {
  const check = { id, status, code, message, expected: cut(expected), actual: cut(actual) }
  return hint === undefined ? check : { ...check, hint }
}

/** Names in certificates and lists in statements are as long, or as empty, as their authors like. */
function cut(text: string, longest = MAX_SHOWN): string {
  if (text === '') return '(empty)'
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`
}
