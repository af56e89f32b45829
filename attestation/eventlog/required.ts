// The single owner of the events that an owner requires: their form in a policy, and finding them among those that were measured.
import { AttestationError } from '../error.ts'
import { bytesToHex, equalBytes, utf8Encode } from '../lib/bytes.ts'
import * as decode from '../lib/decode.ts'
import type { Decoder } from '../lib/decode.ts'
import type { Comparison } from '../result.ts'
import type { Register } from './event.ts'
import { printable } from './extract.ts'
import type { ExtractedEvent } from './extract.ts'

/**
 * An event that must have been measured into a register: by what it is called and holds, or by its digest. The name of an event of dstack is part of
 * what was measured. GRUB's label is not: whoever can make GRUB measure a text of his choice as a command (its console, its
 * configuration) can pass it off as the command line. Where that matters, require RTMR2 by value.
 */
export type RequiredEvent =
  /** The register must hold exactly one event of this name, with one of these values. */
  | { readonly register: Register; readonly name: string; readonly values: readonly Uint8Array[] }
  /** The register must hold an event with one of these digests (SHA-384). */
  | { readonly register: Register; readonly digests: readonly Uint8Array[] }

const MAX_VALUES = 4096
const shape = decode.object({
  register: decode.integer({ min: 0, max: 3 }),
  name: decode.optional(decode.string({ min: 1, max: 1024 })),
  text: decode.optional(decode.array(decode.string({ max: 65_536 }), { min: 1, max: MAX_VALUES })),
  hex: decode.optional(decode.array(decode.hex(), { min: 1, max: MAX_VALUES })),
  digest: decode.optional(decode.array(decode.hex({ length: 48 }), { min: 1, max: MAX_VALUES })),
})

/**
 * `{register, name, text: […]}`, `{register, name, hex: […]}` or `{register, digest: […]}`. Values are compared exactly, byte by byte.
 * @throws AttestationError FORMAT_INVALID with the JSON path
 */
export const requiredEvent: Decoder<RequiredEvent> = (value, path) => {
  const { name, text, hex, digest, ...given } = shape(value, path)
  const register = given.register as Register
  const values = text?.map(utf8Encode) ?? hex
  const count = [text, hex, digest].filter((one) => one !== undefined).length
  if (count === 1 && name !== undefined && values !== undefined) return { register, name, values }
  if (count === 1 && name === undefined && digest !== undefined)
    return { register, digests: digest }
  throw new AttestationError(
    'FORMAT_INVALID',
    `${path}: either \`name\` with \`text\` or \`hex\`, or \`digest\` alone`,
    { path },
  )
}

/** Why a required event is not there, with what was measured instead; null if it is. */
export function missing(
  required: RequiredEvent,
  events: readonly ExtractedEvent[],
): (Comparison & { readonly message: string }) | null {
  const { register } = required
  const expected = describeRequired(required)
  const here = events.filter((event) => event.register === register)
  if ('digests' in required) {
    const found = here.some(({ digest }) => required.digests.some((one) => equalBytes(one, digest)))
    const message = `no event of RTMR${register} has a required digest`
    return found ? null : { message, expected, actual: `${here.length} events with other digests` }
  }
  const { name, values } = required
  const named = here.filter((event) => event.name === name)
  const [event] = named
  const what = `the event ${JSON.stringify(name)} of RTMR${register}`
  if (event === undefined)
    return { message: `${what} was not measured`, expected, actual: 'not measured' }
  if (named.length > 1) {
    const message = `${what} was measured ${named.length} times`
    return { message, expected, actual: `measured ${named.length} times` }
  }
  const { value, digest } = event
  if (value !== null && values.some((one) => equalBytes(one, value))) return null
  const actual = value === null ? `its digest alone, ${bytesToHex(digest)}` : describeValue(value)
  return { message: `${what} is not what is required`, expected, actual }
}

/** `RTMR3 "app-id" is 0123…`, `an event of RTMR1 with one of 2 digests`. */
export function describeRequired(required: RequiredEvent): string {
  const { register } = required
  const alone = 'digests' in required ? required.digests : required.values
  const [first] = alone
  const one = alone.length === 1 ? first : undefined
  if ('digests' in required)
    return `an event of RTMR${register} with ${one === undefined ? `one of ${alone.length} digests` : `the digest ${bytesToHex(one)}`}`
  const value = one === undefined ? `one of ${alone.length} values` : describeValue(one)
  return `RTMR${register} ${JSON.stringify(required.name)} is ${value}`
}

const MAX_SHOWN = 128

function describeValue(value: Uint8Array): string {
  if (value.length === 0) return 'empty'
  if (value.length > MAX_SHOWN)
    return `${value.length} bytes that begin ${bytesToHex(value.subarray(0, 32))}`
  const text = printable(value)
  return text === null ? `0x${bytesToHex(value)}` : text
}
