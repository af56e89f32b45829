// The single owner of strict DER (X.690 §8, §10, §11): one encoding for each value, exact consumption, bounded depth and size.
import { AttestationError } from '../error.ts'
import { bytesToHex, utf8Decode } from './bytes.ts'
import { dateFromParts } from './time.ts'

/** One DER value. The whole tree below it was checked when it was parsed. */
export interface Der {
  /** The identifier octet, for example 0x30 for SEQUENCE. High tag numbers do not occur. */
  readonly tag: number
  /** Tag, length and content: a view on the input. */
  readonly der: Uint8Array
  readonly content: Uint8Array
  /** The parts of a constructed value; empty for a primitive one. */
  readonly children: readonly Der[]
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

const NONE: readonly Der[] = []
const CONSTRUCTED = 0x20

function refuse(message: string, offset: number): never {
  throw new AttestationError('FORMAT_INVALID', `not strict DER at offset ${offset}: ${message}`, {
    path: `offset ${offset}`,
  })
}

/**
 * Parses exactly one DER value and everything inside it.
 * @param limits.maxBytes largest input, 1 MiB unless told; `maxDepth`: deepest nesting of constructed values, 24 unless told
 * @throws AttestationError FORMAT_INVALID, TRUNCATED, TRAILING_DATA, TOO_LARGE
 */
export function parseDer(
  bytes: Uint8Array,
  limits: { readonly maxBytes?: number; readonly maxDepth?: number } = {},
): Der {
  const { maxBytes = 1 << 20, maxDepth = 24 } = limits
  if (bytes.length > maxBytes) {
    throw new AttestationError('TOO_LARGE', `DER larger than ${maxBytes} bytes`)
  }
  const value = parseAt(bytes, 0, bytes.length, maxDepth, [])
  if (value.end !== bytes.length) {
    throw new AttestationError(
      'TRAILING_DATA',
      `${bytes.length - value.end} bytes follow after the end of the DER value`,
      { path: `offset ${value.end}` },
    )
  }
  return value
}

/** A value of the tree. Its two views are made when asked for: most values are only walked through, and a view costs more than reading it. */
class Value implements Der {
  readonly tag: number
  readonly children: readonly Der[]
  readonly end: number
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #contentStart: number

  constructor(
    bytes: Uint8Array,
    tag: number,
    start: number,
    contentStart: number,
    end: number,
    children: readonly Der[],
  ) {
    this.#bytes = bytes
    this.tag = tag
    this.#start = start
    this.#contentStart = contentStart
    this.end = end
    this.children = children
  }

  get der(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.end)
  }

  get content(): Uint8Array {
    return this.#bytes.subarray(this.#contentStart, this.end)
  }
}

function octet(bytes: Uint8Array, at: number, end: number): number {
  const value = at < end ? bytes[at] : undefined
  if (value === undefined) {
    throw new AttestationError('TRUNCATED', `DER ends too early at offset ${at}`, {
      path: `offset ${at}`,
    })
  }
  return value
}

/** @param stack the parts of the values around this one that were read so far */
function parseAt(
  bytes: Uint8Array,
  start: number,
  end: number,
  depth: number,
  stack: Value[],
): Value {
  const tag = octet(bytes, start, end)
  if ((tag & 0x1f) === 0x1f) refuse('a high tag number', start)
  if (tag === 0) refuse('an end-of-contents octet', start)
  let at = start + 2
  let length = octet(bytes, start + 1, end)
  if (length >= 0x80) {
    const count = length & 0x7f
    if (count === 0) refuse('an indefinite length', start + 1)
    if (count > 4) refuse('a length of more than 4 bytes', start + 1)
    length = 0
    for (let i = 0; i < count; i++) length = length * 256 + octet(bytes, at + i, end)
    at += count
    if (length < 0x80 || length < 256 ** (count - 1)) refuse('a length that is not minimal', start)
  }
  if (length > end - at) {
    throw new AttestationError(
      'TRUNCATED',
      `DER value at offset ${start} is longer than its frame`,
      { path: `offset ${start}` },
    )
  }
  const stop = at + length
  if ((tag & CONSTRUCTED) === 0) {
    checkPrimitive(bytes, tag, at, stop, start)
    return new Value(bytes, tag, start, at, stop, NONE)
  }
  if (tag < 0x40 && tag !== TAG.sequence && tag !== TAG.set) {
    refuse('a constructed form that DER does not have', start)
  }
  if (depth === 0) throw new AttestationError('TOO_LARGE', 'DER is nested too deeply')
  const base = stack.length
  let next = at
  while (next < stop) {
    const child = parseAt(bytes, next, stop, depth - 1, stack)
    const before = stack.length > base ? stack.at(-1) : undefined
    if (tag === TAG.set && before !== undefined && Buffer.compare(before.der, child.der) > 0) {
      refuse('a SET that is not in order', next)
    }
    stack.push(child)
    next = child.end
  }
  // an array of the exact size: one that grows by itself reserves room for seventeen, and most values have two parts
  const children = stack.slice(base)
  while (stack.length > base) stack.pop()
  return new Value(bytes, tag, start, at, stop, children)
}

/** The rules that hold for a universal primitive value wherever it stands. Its content is `bytes[from..to]`. */
function checkPrimitive(
  bytes: Uint8Array,
  tag: number,
  from: number,
  to: number,
  offset: number,
): void {
  const length = to - from
  const first = length > 0 ? (bytes[from] ?? -1) : -1
  const second = length > 1 ? (bytes[from + 1] ?? -1) : -1
  switch (tag) {
    case TAG.boolean:
      if (length !== 1 || (first !== 0 && first !== 0xff)) refuse('a BOOLEAN', offset)
      return
    case TAG.integer:
    case TAG.enumerated:
      if (length === 0) refuse('an empty INTEGER', offset)
      if ((first === 0 && second >= 0 && second < 0x80) || (first === 0xff && second >= 0x80)) {
        refuse('an INTEGER that is not minimal', offset)
      }
      return
    case TAG.bitString: {
      if (first < 0 || first > 7 || (length === 1 && first !== 0)) {
        refuse('the unused bits of a BIT STRING', offset)
      }
      const last = bytes[to - 1] ?? 0
      if (first > 0 && (last & ((1 << first) - 1)) !== 0) {
        refuse('unused bits of a BIT STRING that are not zero', offset)
      }
      return
    }
    case TAG.null:
      if (length !== 0) refuse('a NULL with content', offset)
      return
    case TAG.oid:
      checkOid(bytes, from, to, offset)
      return
    case TAG.sequence - CONSTRUCTED:
    case TAG.set - CONSTRUCTED:
      refuse('a SEQUENCE or SET that is not constructed', offset)
  }
}

function checkOid(bytes: Uint8Array, from: number, to: number, offset: number): void {
  if (to === from || to - from > 128) refuse('the length of an OID', offset)
  let startsArc = true
  for (let at = from; at < to; at++) {
    const byte = bytes[at] ?? 0
    if (startsArc && byte === 0x80) refuse('an OID with a padded arc', offset)
    startsArc = byte < 0x80
  }
  if (!startsArc) refuse('an OID that ends within an arc', offset)
}

function expectTag(node: Der, tag: number, name: string): void {
  if (node.tag !== tag) {
    throw new AttestationError(
      'FORMAT_INVALID',
      `expected ${name}, got DER tag 0x${node.tag.toString(16)}`,
    )
  }
}

/** The parts of any constructed value. */
export function derChildren(node: Der): readonly Der[] {
  if ((node.tag & CONSTRUCTED) === 0) {
    throw new AttestationError('FORMAT_INVALID', 'expected a constructed DER value')
  }
  return node.children
}

/** The parts of a SEQUENCE. */
export function derSequence(node: Der): readonly Der[] {
  expectTag(node, TAG.sequence, 'a SEQUENCE')
  return node.children
}

/** The parts of a SET (their order was checked). */
export function derSet(node: Der): readonly Der[] {
  expectTag(node, TAG.set, 'a SET')
  return node.children
}

function toBigInt(content: Uint8Array): bigint {
  if (content.length > 4096) throw new AttestationError('TOO_LARGE', 'a DER INTEGER is too large')
  const value = BigInt(`0x${bytesToHex(content)}`)
  const negative = (content[0] ?? 0) >= 0x80
  return negative ? value - (1n << BigInt(content.length * 8)) : value
}

/** An INTEGER of up to 4096 bytes. */
export function derInteger(node: Der): bigint {
  expectTag(node, TAG.integer, 'an INTEGER')
  return toBigInt(node.content)
}

/** An ENUMERATED value. */
export function derEnumerated(node: Der): bigint {
  expectTag(node, TAG.enumerated, 'an ENUMERATED')
  return toBigInt(node.content)
}

/** An OBJECT IDENTIFIER in dotted form. Arcs may be of any size. */
export function derOid(node: Der): string {
  expectTag(node, TAG.oid, 'an OBJECT IDENTIFIER')
  return oidText(node.content)
}

/** The dotted form of the content octets of an OID that were checked before. */
function oidText(content: Uint8Array): string {
  let text = ''
  let arc = 0
  for (const byte of content) {
    // beyond this an arc could pass 2^53; the exact way costs eight times as much, and certificates are full of OIDs
    if (arc >= 2 ** 46) return wideOidText(content)
    arc = arc * 128 + (byte & 0x7f)
    if (byte >= 0x80) continue
    if (text === '') {
      const root = arc < 40 ? 0 : arc < 80 ? 1 : 2
      text = `${root}.${arc - root * 40}`
    } else {
      text += `.${arc}`
    }
    arc = 0
  }
  return text
}

/** The same for arcs of any size: the registry has UUIDs as arcs, 128 bits wide. */
function wideOidText(content: Uint8Array): string {
  const arcs: bigint[] = []
  let arc = 0n
  for (const byte of content) {
    arc = (arc << 7n) | BigInt(byte & 0x7f)
    if (byte >= 0x80) continue
    if (arcs.length === 0) {
      const root = arc < 40n ? 0n : arc < 80n ? 1n : 2n
      arcs.push(root, arc - root * 40n)
    } else {
      arcs.push(arc)
    }
    arc = 0n
  }
  return arcs.join('.')
}

/** A BOOLEAN. */
export function derBoolean(node: Der): boolean {
  expectTag(node, TAG.boolean, 'a BOOLEAN')
  return node.content[0] === 0xff
}

/** The content of an OCTET STRING. */
export function derOctets(node: Der): Uint8Array {
  expectTag(node, TAG.octetString, 'an OCTET STRING')
  return node.content
}

/** A BIT STRING: its bytes and the number of unused bits at the end (which are zero). */
export function derBitString(node: Der): { readonly bytes: Uint8Array; readonly unused: number } {
  expectTag(node, TAG.bitString, 'a BIT STRING')
  return { bytes: node.content.subarray(1), unused: node.content[0] ?? 0 }
}

/** A NULL. */
export function derNull(node: Der): void {
  expectTag(node, TAG.null, 'a NULL')
}

const UTC_TIME = /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
const GENERALIZED_TIME = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/

/** UTCTime or GeneralizedTime in the forms of RFC 5280 §4.1.2.5: seconds, `Z`, no fraction, a moment that the calendar has. */
export function derTime(node: Der): Date {
  const utc = node.tag === TAG.utcTime
  if (!utc && node.tag !== TAG.generalizedTime) {
    throw new AttestationError('FORMAT_INVALID', 'expected a UTCTime or GeneralizedTime')
  }
  const text = node.content.length <= 15 ? ascii(node.content) : ''
  const match = (utc ? UTC_TIME : GENERALIZED_TIME).exec(text)
  const [year = -1, month = 0, day = 0, hour = 0, minute = 0, second = 0] =
    match?.slice(1).map(Number) ?? []
  const century = !utc ? 0 : year < 50 ? 2000 : 1900
  const date =
    match === null ? undefined : dateFromParts(century + year, month, day, hour, minute, second)
  if (date === undefined) {
    throw new AttestationError(
      'FORMAT_INVALID',
      'a UTCTime or GeneralizedTime is not in its strict form',
    )
  }
  return date
}

function ascii(bytes: Uint8Array): string {
  return bytes.every((byte) => byte < 0x80) ? utf8Decode(bytes) : '\ufffd'
}

const PRINTABLE = /^[A-Za-z0-9 '()+,\-./:=?]*$/

const IA5 = /^[\0-\x7f]*$/

/** A UTF8String, PrintableString or IA5String, each checked against its alphabet. */
export function derText(node: Der): string {
  if (node.tag === TAG.utf8String) return utf8Decode(node.content)
  const alphabet =
    node.tag === TAG.printableString ? PRINTABLE : node.tag === TAG.ia5String ? IA5 : undefined
  const text = ascii(node.content)
  if (alphabet?.test(text) !== true) {
    throw new AttestationError(
      'FORMAT_INVALID',
      'expected a UTF8String, PrintableString or IA5String',
    )
  }
  return text
}

/** The part of a constructed value that carries context tag `[n]` (either form), or undefined. */
export function derContext(node: Der, n: number): Der | undefined {
  return node.children.find((child) => (child.tag & ~CONSTRUCTED) === (0x80 | n))
}
