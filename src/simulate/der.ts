// The single owner of writing DER (X.690): what simulated vendors put into certificates and revocation lists.
import { concatBytes, hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'

/** One element: tag byte, minimal definite length, the parts as content. */
export function tlv(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = concatBytes(...parts)
  const length: number[] = []
  if (content.length < 0x80) length.push(content.length)
  else {
    for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256))
      length.unshift(rest % 256)
    length.unshift(0x80 | length.length)
  }
  return concatBytes(Uint8Array.of(tag, ...length), content)
}

export const sequence = (...parts: readonly Uint8Array[]): Uint8Array => tlv(0x30, ...parts)
export const set = (...parts: readonly Uint8Array[]): Uint8Array => tlv(0x31, ...parts)
export const octets = (bytes: Uint8Array): Uint8Array => tlv(0x04, bytes)
export const nullValue = (): Uint8Array => tlv(0x05)
export const boolean = (value: boolean): Uint8Array => tlv(0x01, Uint8Array.of(value ? 0xff : 0))

/** `[n]` with constructed content (an explicit tag, or an implicit SEQUENCE). */
export const context = (n: number, ...parts: readonly Uint8Array[]): Uint8Array =>
  tlv(0xa0 | n, ...parts)

/** `[n] IMPLICIT` over a primitive: the bytes are the content. */
export const contextPrimitive = (n: number, content: Uint8Array): Uint8Array =>
  tlv(0x80 | n, content)

/** The shortest two's complement content of a number that is not negative. */
function unsigned(value: bigint): Uint8Array {
  const text = value.toString(16)
  const bytes = hexToBytes(text.length % 2 === 0 ? text : `0${text}`)
  return (bytes[0] ?? 0) < 0x80 ? bytes : concatBytes(Uint8Array.of(0), bytes)
}

export const integer = (value: number | bigint): Uint8Array => tlv(0x02, unsigned(BigInt(value)))
export const enumerated = (value: number): Uint8Array => tlv(0x0a, unsigned(BigInt(value)))

/** BIT STRING of whole bytes, or with `unused` bits at the end. */
export const bits = (bytes: Uint8Array, unused = 0): Uint8Array =>
  tlv(0x03, Uint8Array.of(unused), bytes)

export const utf8 = (text: string): Uint8Array => tlv(0x0c, utf8Encode(text))
export const printable = (text: string): Uint8Array => tlv(0x13, utf8Encode(text))
export const ia5 = (text: string): Uint8Array => tlv(0x16, utf8Encode(text))

/** OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const out: number[] = []
  for (const arc of [first * 40 + second, ...rest]) {
    const digits = [arc % 128]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift((left % 128) | 0x80)
    out.push(...digits)
  }
  return tlv(0x06, Uint8Array.from(out))
}

/** UTCTime until 2049, GeneralizedTime after that (RFC 5280 §4.1.2.5). Seconds; fractions are dropped. */
export function time(at: Date): Uint8Array {
  const digits = at.toISOString().replace(/\..*$/, '').replace(/[-:T]/g, '')
  return at.getUTCFullYear() < 2050
    ? tlv(0x17, utf8Encode(`${digits.slice(2)}Z`))
    : tlv(0x18, utf8Encode(`${digits}Z`))
}
