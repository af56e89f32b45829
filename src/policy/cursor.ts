// The single owner of strict decoding: a value of the policy file together with its path, and readers that refuse with line, column and hint.
import { ZtError } from '../error.ts'
import { place, type Position, type Yaml } from './yaml.ts'

const MAX_ITEMS = 1000
const MAX_STRING = 64 * 1024

/** One value of a policy file. Every reader throws `ZtError` `POLICY_INVALID` where the value is not what was asked for. */
export class Cursor {
  readonly node: Yaml
  /** For example `rules.production.signed-by`. */
  readonly path: string
  readonly #file: string

  constructor(node: Yaml, path: string, file: string) {
    this.node = node
    this.path = path
    this.#file = file
  }

  refuse(message: string, hint?: string, at: Position = this.node): never {
    throw new ZtError(
      'POLICY_INVALID',
      this.path === '' ? message : `${this.path}: ${message}`,
      hint === undefined ? { path: place(this.#file, at) } : { path: place(this.#file, at), hint },
    )
  }

  at(step: string | number, node: Yaml): Cursor {
    const path =
      typeof step === 'number'
        ? `${this.path}[${String(step)}]`
        : this.path === ''
          ? step
          : `${this.path}.${step}`
    return new Cursor(node, path, this.#file)
  }

  /** Text of at least one character, without control characters unless `multiline`. */
  text(what: string, options: { multiline?: boolean; max?: number } = {}): string {
    if (this.node.kind !== 'scalar' || typeof this.node.value !== 'string') {
      const hint =
        this.node.kind === 'scalar' && this.node.value !== null
          ? `put it in quotes: "${this.node.source.slice(0, 200)}"`
          : undefined
      return this.refuse(`expected ${what}, found ${this.kind()}`, hint)
    }
    const value = this.node.value
    const max = options.max ?? (options.multiline === true ? MAX_STRING : 1024)
    if (value.trim() === '') return this.refuse(`expected ${what}, found empty text`)
    if (value.length > max) return this.refuse(`longer than ${String(max)} characters`)
    if (options.multiline !== true && CONTROL.test(value))
      return this.refuse('control characters are not allowed')
    return value
  }

  /** Digits of hex as they are written: `12e4` and `0012` are numbers to YAML, and digests to us. */
  hex(what: string): string {
    const { node } = this
    if (node.kind === 'scalar' && typeof node.value === 'number') return node.source
    return this.text(what)
  }

  integer(least: number, most: number): number {
    const value = this.node.kind === 'scalar' ? this.node.value : undefined
    if (typeof value !== 'number' || !Number.isSafeInteger(value))
      return this.refuse(`expected a whole number, found ${this.kind()}`)
    if (value < least || value > most)
      return this.refuse(`expected ${String(least)} to ${String(most)}, found ${String(value)}`)
    return value
  }

  flag(): boolean {
    const value = this.node.kind === 'scalar' ? this.node.value : undefined
    if (typeof value !== 'boolean')
      return this.refuse(`expected true or false, found ${this.kind()}`)
    return value
  }

  oneOf<T extends string>(words: readonly T[]): T {
    const value = this.node.kind === 'scalar' ? this.node.value : undefined
    const found = words.find((word) => word === value)
    if (found !== undefined) return found
    const written = typeof value === 'string' ? `\`${value}\`` : this.kind()
    return this.refuse(
      `expected ${words.join(' or ')}, found ${written}`,
      typeof value === 'string' ? didYouMean(value, words) : undefined,
    )
  }

  /** A list of at least one item (unless `empty`), each read by `read`; two equal texts are refused. */
  list<T>(read: (item: Cursor) => T, options: { empty?: boolean } = {}): readonly T[] {
    if (this.node.kind !== 'list') {
      return this.refuse(
        `expected a list, found ${this.kind()}`,
        this.node.kind === 'scalar' ? `write [${this.node.source.slice(0, 200)}]` : undefined,
      )
    }
    const { items } = this.node
    if (items.length === 0 && options.empty !== true) return this.refuse('the list is empty')
    if (items.length > MAX_ITEMS) return this.refuse(`more than ${String(MAX_ITEMS)} items`)
    const seen = new Set<unknown>()
    return items.map((item, index) => {
      const cursor = this.at(index, item)
      const value = read(cursor)
      if (typeof value === 'string') {
        if (seen.has(value)) cursor.refuse(`\`${value}\` is listed twice`)
        seen.add(value)
      }
      return value
    })
  }

  /** A map whose keys the user chooses: names of signers, machines, rules. */
  named<T>(read: (item: Cursor, name: string) => T): ReadonlyMap<string, T> {
    if (this.node.kind !== 'map') return this.refuse(`expected a map, found ${this.kind()}`)
    if (this.node.entries.size > MAX_ITEMS)
      return this.refuse(`more than ${String(MAX_ITEMS)} entries`)
    const result = new Map<string, T>()
    for (const [name, { key, value }] of this.node.entries) {
      if (!NAME.test(name)) {
        this.refuse(
          `\`${name.slice(0, 80)}\` is not a name`,
          'a name has letters, digits, `-` and `_`, at most 64, and starts with a letter or digit',
          key,
        )
      }
      result.set(name, read(this.at(name, value), name))
    }
    return result
  }

  /** A map whose keys the language defines. Any other key is refused. */
  fields<K extends string>(known: readonly K[]): Fields<K> {
    if (this.node.kind !== 'map') return this.refuse(`expected a map, found ${this.kind()}`)
    for (const [name, { key }] of this.node.entries) {
      if (!known.some((one) => one === name)) {
        this.refuse(
          `unknown key \`${name.slice(0, 80)}\``,
          didYouMean(name, known) ?? `known keys here: ${known.join(', ')}`,
          key,
        )
      }
    }
    return new Fields(this, this.node.entries)
  }

  /** What stands here, in words, for messages. */
  kind(): string {
    if (this.node.kind === 'map') return 'a map'
    if (this.node.kind === 'list') return 'a list'
    const { value } = this.node
    if (value === null) return 'nothing'
    if (typeof value === 'string') return `text \`${value.slice(0, 60)}\``
    return typeof value === 'boolean' ? String(value) : `the number ${String(value)}`
  }
}

/** The known keys of one map. */
export class Fields<K extends string> {
  readonly #cursor: Cursor
  readonly #entries: Extract<Yaml, { kind: 'map' }>['entries']

  constructor(cursor: Cursor, entries: Extract<Yaml, { kind: 'map' }>['entries']) {
    this.#cursor = cursor
    this.#entries = entries
  }

  has(key: K): boolean {
    return this.#entries.has(key)
  }

  get<T>(key: K, read: (value: Cursor) => T): T | undefined {
    const entry = this.#entries.get(key)
    return entry === undefined ? undefined : read(this.#cursor.at(key, entry.value))
  }

  need<T>(key: K, read: (value: Cursor) => T, hint?: string): T {
    const entry = this.#entries.get(key)
    if (entry === undefined) return this.#cursor.refuse(`\`${key}\` is missing`, hint)
    return read(this.#cursor.at(key, entry.value))
  }

  /** Refuses at a key, for contradictions between keys. */
  refuse(key: K, message: string, hint?: string): never {
    return this.#cursor.refuse(message, hint, this.#entries.get(key)?.key)
  }

  /** Refuses unless exactly one of the keys is there; gives that key. */
  exactlyOne<J extends K>(keys: readonly J[]): J {
    const there = keys.filter((key) => this.has(key))
    const [first, second] = there
    if (first === undefined) return this.#cursor.refuse(`one of ${keys.join(', ')} is missing`)
    if (second !== undefined)
      this.refuse(second, `\`${first}\` and \`${second}\` exclude each other`)
    return first
  }
}

/** The nearest known word as a hint, if one is near. */
export function didYouMean(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const one of known) {
    const far = distance(word.slice(0, 80).toLowerCase(), one.toLowerCase())
    if (far < least) {
      least = far
      best = one
    }
  }
  return best === undefined ? undefined : `did you mean \`${best}\`?`
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/
