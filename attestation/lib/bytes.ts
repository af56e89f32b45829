// The single owner of byte strings: strict hex and base64, comparison, UTF-8, SHA-256.
import { hash } from 'node:crypto'
import { AttestationError } from '../error.ts'

const HEX = /^[0-9a-fA-F]*$/
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/
const BASE64URL = /^[A-Za-z0-9_-]*$/

function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Reads hex in either case, two digits a byte, nothing else (node's own decoder stops silently at the first bad character).
 * @param options.length the exact number of bytes that is wanted
 * @throws AttestationError FORMAT_INVALID
 */
export function hexToBytes(
  text: string,
  options: { readonly length?: number; readonly path?: string } = {},
): Uint8Array {
  const { length, path } = options
  const where = path === undefined ? {} : { path }
  if (text.length % 2 !== 0 || !HEX.test(text)) {
    throw new AttestationError('FORMAT_INVALID', 'this is not hex (two digits a byte)', where)
  }
  if (length !== undefined && text.length !== length * 2) {
    throw new AttestationError(
      'FORMAT_INVALID',
      `expected ${length} bytes of hex, got ${text.length / 2}`,
      where,
    )
  }
  return plain(Buffer.from(text, 'hex'))
}

/** Lower-case hex. */
export function bytesToHex(bytes: Uint8Array): string {
  return view(bytes).toString('hex')
}

/**
 * Reads standard base64 with padding, in its one canonical form: no blanks, no line ends, unused bits zero (RFC 4648 §3.5).
 * @throws AttestationError FORMAT_INVALID
 */
export function base64ToBytes(text: string): Uint8Array {
  const bytes = text.length % 4 === 0 && BASE64.test(text) ? decodeBase64(text) : null
  if (bytes !== null) return plain(bytes)
  throw new AttestationError('FORMAT_INVALID', 'this is not canonical base64')
}

/** Characters that are decoded and compared in one go, so that a long text is never copied whole. */
const BASE64_STEP = 64 * 1024

/** Null if the text is not canonical. */
function decodeBase64(text: string): Buffer | null {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const bytes = Buffer.allocUnsafe((text.length / 4) * 3 - padding)
  let end = 0
  for (let at = 0; at < text.length; at += BASE64_STEP) {
    const part = text.slice(at, at + BASE64_STEP)
    const start = end
    end += bytes.write(part, start, 'base64')
    if (bytes.toString('base64', start, end) !== part) return null
  }
  return end === bytes.length ? bytes : null
}

/** Standard base64 with padding. */
export function bytesToBase64(bytes: Uint8Array): string {
  return view(bytes).toString('base64')
}

/**
 * Reads base64url without padding (RFC 7515 §2), in its one canonical form.
 * @throws AttestationError FORMAT_INVALID
 */
export function base64UrlToBytes(text: string): Uint8Array {
  if (BASE64URL.test(text)) {
    const bytes = Buffer.from(text, 'base64url')
    if (bytes.toString('base64url') === text) return plain(bytes)
  }
  throw new AttestationError('FORMAT_INVALID', 'this is not canonical base64url')
}

/** Base64url without padding. */
export function bytesToBase64Url(bytes: Uint8Array): string {
  return view(bytes).toString('base64url')
}

/** True if both hold the same bytes. Not constant-time: nothing secret is compared here. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && view(a).equals(b)
}

/** True if every byte is zero (and for the empty string). */
export function isZero(bytes: Uint8Array): boolean {
  // a plain loop: `every` costs six times as much
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== 0) return false
  return true
}

/** One new byte string out of several. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  return plain(Buffer.concat(parts))
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const ENCODER = new TextEncoder()

/**
 * Decodes UTF-8. A byte order mark is kept as a character, so that the caller's grammar refuses it.
 * @throws AttestationError FORMAT_INVALID on anything that is not well-formed UTF-8
 */
export function utf8Decode(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes)
  } catch (cause) {
    throw new AttestationError('FORMAT_INVALID', 'this is not UTF-8', { cause })
  }
}

/** Encodes text as UTF-8. */
export function utf8Encode(text: string): Uint8Array {
  return ENCODER.encode(text)
}

/** Cuts blanks, tabs and line ends off both ends (`trim` would also take a byte order mark). Linear. */
export function trimBlanks(text: string): string {
  const blank = (at: number): boolean => ' \t\r\n'.includes(text.charAt(at))
  let from = 0
  let to = text.length
  while (from < to && blank(from)) from++
  while (to > from && blank(to - 1)) to--
  return text.slice(from, to)
}

/**
 * Text as `base64` and `xxd -p` break it, on one line: lines of one width, of which the last may be shorter. Anything else stays as it is, for the decoder to refuse.
 */
export function joinLines(text: string): string {
  const lines = text.split(/\r?\n/)
  const width = lines[0]?.length ?? 0
  const even = lines.every((line, index) =>
    index === lines.length - 1 ? line.length <= width : line.length === width,
  )
  return even && width >= 16 ? lines.join('') : text
}

/** SHA-256, 32 bytes. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return plain(hash('sha256', bytes, 'buffer'))
}

/** SHA-256 as 64 lower-case hex digits. */
export function sha256Hex(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex')
}
