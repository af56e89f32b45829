// The single owner of decoding a JSON value into a typed one: small strict decoders that name the path of what is wrong.
import { AttestationError } from '../error.ts'
import { base64ToBytes, hexToBytes } from './bytes.ts'
import type { JsonObject, JsonValue } from './json.ts'
import { parseTime } from './time.ts'

/** Turns a JSON value into a `T`, or throws an AttestationError FORMAT_INVALID that carries `path` (`$.a.b[2]`). */
export type Decoder<T> = (value: JsonValue, path: string) => T

/** A member that may be missing. `null` is not the same as missing, and is refused. */
export interface OptionalDecoder<T> {
  readonly optional: Decoder<T>
}

type Shape = Readonly<Record<string, Decoder<unknown> | OptionalDecoder<unknown>>>
type Required<S extends Shape> = {
  readonly [K in keyof S as S[K] extends Decoder<unknown> ? K : never]: S[K] extends Decoder<
    infer T
  >
    ? T
    : never
}
type Missing<S extends Shape> = {
  readonly [
    K in keyof S as S[K] extends OptionalDecoder<unknown> ? K : never
  ]?: S[K] extends OptionalDecoder<infer T> ? T : never
}
/** What `object(shape)` gives. */
export type Decoded<S extends Shape> = Required<S> & Missing<S>

function refuse(path: string, message: string): never {
  throw new AttestationError('FORMAT_INVALID', `${path}: ${message}`, { path })
}

/** Names the kind of a value for messages. */
function kind(value: JsonValue): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : typeof value
}

/** True for JSON objects (not arrays, not null). */
export function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Marks a member of an object as one that may be missing. */
export function optional<T>(decoder: Decoder<T>): OptionalDecoder<T> {
  return { optional: decoder }
}

/** An object with exactly these members. Unknown keys are refused unless `unknown` is `ignore`. */
export function object<S extends Shape>(
  shape: S,
  options: { readonly unknown?: 'refuse' | 'ignore' } = {},
): Decoder<Decoded<S>> {
  const names = Object.keys(shape)
  const known = new Set(names)
  return (value, path) => {
    if (!isObject(value)) refuse(path, `expected an object, got ${kind(value)}`)
    if (options.unknown !== 'ignore') {
      for (const key of Object.keys(value)) {
        if (!known.has(key)) refuse(path, `unknown member ${JSON.stringify(key.slice(0, 64))}`)
      }
    }
    const result: Record<string, unknown> = {}
    for (const name of names) {
      const decoder = shape[name]
      const member = Object.hasOwn(value, name) ? value[name] : undefined
      if (decoder === undefined) continue
      if (typeof decoder === 'function') {
        if (member === undefined) refuse(path, `member "${name}" is missing`)
        result[name] = decoder(member, `${path}.${name}`)
      } else if (member !== undefined) {
        result[name] = decoder.optional(member, `${path}.${name}`)
      }
    }
    return result as Decoded<S>
  }
}

/** An array of equal items. */
export function array<T>(
  item: Decoder<T>,
  options: { readonly min?: number; readonly max?: number } = {},
): Decoder<readonly T[]> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = options
  return (value, path) => {
    if (!Array.isArray(value)) refuse(path, `expected an array, got ${kind(value)}`)
    const items = value as readonly JsonValue[]
    if (items.length < min) refuse(path, `fewer than ${min} items`)
    if (items.length > max) refuse(path, `more than ${max} items`)
    return items.map((entry, index) => item(entry, `${path}[${index}]`))
  }
}

/** An object used as a dictionary: any keys, equal values. */
export function record<T>(
  item: Decoder<T>,
  options: { readonly max?: number } = {},
): Decoder<ReadonlyMap<string, T>> {
  return (value, path) => {
    if (!isObject(value)) refuse(path, `expected an object, got ${kind(value)}`)
    const entries = Object.entries(value)
    const { max = Number.MAX_SAFE_INTEGER } = options
    if (entries.length > max) refuse(path, `more than ${max} members`)
    return new Map(entries.map(([key, entry]) => [key, item(entry, `${path}.${key.slice(0, 64)}`)]))
  }
}

/** A string, by length in UTF-16 units and pattern. Anchor the pattern yourself. */
export function string(
  options: { readonly min?: number; readonly max?: number; readonly pattern?: RegExp } = {},
): Decoder<string> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER, pattern } = options
  return (value, path) => {
    if (typeof value !== 'string') refuse(path, `expected a string, got ${kind(value)}`)
    if (value.length < min) refuse(path, `shorter than ${min} characters`)
    if (value.length > max) refuse(path, `longer than ${max} characters`)
    if (pattern !== undefined && !pattern.test(value)) refuse(path, 'does not have the right form')
    return value
  }
}

/** One of these strings. */
export function literal<T extends string>(...values: readonly T[]): Decoder<T> {
  return (value, path) => {
    const found = values.find((known) => known === value)
    if (found === undefined) refuse(path, `expected ${values.map((v) => `"${v}"`).join(' or ')}`)
    return found
  }
}

/** An integral number. Integers beyond 2^53 - 1 are refused, because they can't be told apart. `1e9` and `1.0` are integers. */
export function integer(
  options: { readonly min?: number; readonly max?: number } = {},
): Decoder<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = options
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
      refuse(path, 'expected an integer')
    }
    if (value < min || value > max) refuse(path, `must be from ${min} to ${max}`)
    return value === 0 ? 0 : value
  }
}

/** `true` or `false`. */
export function boolean(): Decoder<boolean> {
  return (value, path) => {
    if (typeof value !== 'boolean') refuse(path, `expected true or false, got ${kind(value)}`)
    return value
  }
}

/** Bytes as hex, in either case. */
export function hex(options: { readonly length?: number } = {}): Decoder<Uint8Array> {
  const text = string()
  return (value, path) => hexToBytes(text(value, path), { ...options, path })
}

/** Bytes as canonical base64 with padding. `max` counts bytes. */
export function base64(options: { readonly max?: number } = {}): Decoder<Uint8Array> {
  const { max = Number.MAX_SAFE_INTEGER } = options
  const text = string({ max: Math.min(Number.MAX_SAFE_INTEGER, Math.ceil(max / 3) * 4) })
  return (value, path) => {
    let bytes: Uint8Array
    try {
      bytes = base64ToBytes(text(value, path))
    } catch (error) {
      return refuse(path, error instanceof Error ? error.message : 'this is not base64')
    }
    if (bytes.length > max) refuse(path, `more than ${max} bytes`)
    return bytes
  }
}

/** An RFC 3339 time. */
export function time(): Decoder<Date> {
  const text = string()
  return (value, path) => parseTime(text(value, path), path)
}

/** Any JSON value, as it is. */
export function any(): Decoder<JsonValue> {
  return (value) => value
}
