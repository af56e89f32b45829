// The single owner of how this room words its checks: one passed, failed, warned or skipped check, and lists that stay short.
import type { Code } from '../codes.ts'
import type { Check } from '../verdict.ts'

type More = Pick<Check, 'expected' | 'actual' | 'hint'>

export function pass(id: string, message: string, more: More = {}): Check {
  return { id, status: 'pass', code: 'OK', message, ...more }
}

export function fail(id: string, code: Code, message: string, more: More = {}): Check {
  return { id, status: 'fail', code, message, ...more }
}

export function warn(id: string, code: Code, message: string, more: More = {}): Check {
  return { id, status: 'warn', code, message, ...more }
}

/** Nothing was asked, or nothing could be compared. Never counts as passed. */
export function skip(id: string, message: string, more: More = {}): Check {
  return { id, status: 'skip', code: 'NOT_GIVEN', message, ...more }
}

/** The first five, and how many more. */
export function some(items: readonly string[]): string {
  const shown = items.slice(0, 5).join(', ')
  return items.length > 5 ? `${shown} and ${String(items.length - 5)} more` : shown
}

/** The same checks, their ids put under a prefix. */
export function under(prefix: string, checks: readonly Check[]): readonly Check[] {
  return checks.map((check) => ({ ...check, id: `${prefix}.${check.id}` }))
}

/** A failing check in a few words. */
export function reasonOf(checks: readonly Check[]): string {
  const first = checks.find(({ status }) => status === 'fail')
  return first === undefined ? 'refused without a reason' : `${first.message} (${first.code})`
}

/** Milliseconds since 1970 of an RFC 3339 time that this product wrote; NaN where it is none. Comparisons with NaN are false: they refuse. */
export function instant(text: string | undefined): number {
  return text === undefined ? Number.NaN : Date.parse(text)
}
