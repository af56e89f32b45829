// The single owner of comparing one value with what a policy says of it: reference values, minimums, bits, and what is waived.
import { fail, pass, skip, warn } from '../check.ts'
import type { Code } from '../codes.ts'
import { bytesToHex, equalBytes } from '../lib/bytes.ts'
import type { EvidenceCheck } from '../result.ts'
import type { BitRule } from './policy.ts'

/** A rule that holds under what the policy accepts and would not under the strict default is waived, not passed. */
export function waivable<T>(
  judge: (accepted: T) => EvidenceCheck,
  accepted: T,
  strictly: T,
): EvidenceCheck {
  const check = judge(accepted)
  if (check.status !== 'pass' || accepted === strictly) return check
  const strict = judge(strictly)
  if (strict.status !== 'fail') return check
  const { expected, actual } = strict
  return warn(check.id, 'WAIVED', `${strict.message}; the policy accepts it`, { expected, actual })
}

/** Every bit that breaks its rule, in words. */
export function broken<K extends string>(
  value: bigint,
  positions: Readonly<Record<K, number>>,
  rules: Readonly<Record<K, BitRule>>,
): string[] {
  return (Object.keys(positions) as K[]).flatMap((name) => {
    const set = ((value >> BigInt(positions[name])) & 1n) === 1n
    if (rules[name] === 'required' && !set) return [`${name} must be set`]
    if (rules[name] === 'refused' && set) return [`${name} must not be set`]
    return []
  })
}

const asked = new WeakMap<object, string>()

/** What rules ask for, for example `SEPT_VE_DISABLE set, PKS either, all others clear`. Rules are immutable, so it is made once for each. */
export function inWords(rules: Readonly<Record<string, BitRule>>): string {
  let words = asked.get(rules)
  if (words === undefined) {
    const named = Object.entries(rules).filter(([, rule]) => rule !== 'refused')
    const each = named.map(([name, rule]) => `${name} ${rule === 'required' ? 'set' : 'either'}`)
    words = [...each, 'all others clear'].join(', ')
    asked.set(rules, words)
  }
  return words
}

const MAX_KNOWN = 64
const named = new WeakMap<object, Map<bigint, string>>()

/** Flags as a number and by name, `0x10000000 (SEPT_VE_DISABLE set)`. Most quotes have the same few, so their words are kept. */
export function flagsText(value: bigint, positions: Readonly<Record<string, number>>): string {
  let known = named.get(positions)
  if (known === undefined) named.set(positions, (known = new Map<bigint, string>()))
  let text = known.get(value)
  if (text === undefined) {
    const set = Object.entries(positions).filter(([, at]) => ((value >> BigInt(at)) & 1n) === 1n)
    text = `${hex(value)} (${set.map(([name]) => name).join(', ') || 'no known flag'} set)`
    if (known.size >= MAX_KNOWN) known.clear()
    known.set(value, text)
  }
  return text
}

/** A number as `0x…`. */
export const hex = (value: bigint | number): string => `0x${value.toString(16)}`

/** One of the reference values, if there are any. `null` stands for a field that this quote does not have. */
export function oneOf(
  id: string,
  code: Code,
  name: string,
  value: Uint8Array | null,
  values: readonly Uint8Array[] | undefined,
): EvidenceCheck {
  if (values === undefined) return skip(id, `no reference value for the ${name} was given`)
  const [first] = values
  const expected =
    first !== undefined && values.length === 1
      ? bytesToHex(first)
      : `one of ${values.length} reference values`
  if (value === null)
    return fail(id, code, `the quote has no ${name}`, { expected, actual: 'none' })
  const told = { expected, actual: bytesToHex(value) }
  return values.some((each) => equalBytes(each, value))
    ? pass(id, `the ${name} is a reference value`, told)
    : fail(id, code, `the ${name} is not a reference value`, told)
}

/** The same for numbers. */
export function numberIn<T extends bigint | number>(
  id: string,
  code: Code,
  name: string,
  value: T,
  values: readonly T[] | undefined,
): EvidenceCheck {
  if (values === undefined) return skip(id, `no reference value for ${name} was given`)
  const more = { expected: values.map(hex).join(' or ') || 'none', actual: hex(value) }
  return values.includes(value)
    ? pass(id, `${name} is a reference value`, more)
    : fail(id, code, `${name} is not a reference value`, more)
}

/** At least the minimum, if there is one. */
export function atLeast(
  id: string,
  code: Code,
  name: string,
  value: number,
  minimum: number | undefined,
): EvidenceCheck {
  if (minimum === undefined) return skip(id, `no minimum ${name} was given`)
  const more = { expected: `at least ${minimum}`, actual: `${value}` }
  return value >= minimum
    ? pass(id, `the ${name} is high enough`, more)
    : fail(id, code, `the ${name} is too low`, more)
}
