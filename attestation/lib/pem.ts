// The single owner of PEM (RFC 7468), in its strict form, and of "these bytes are certificates, whatever the wrapping".
import { AttestationError } from '../error.ts'
import { base64ToBytes, utf8Decode } from './bytes.ts'
import type { Certificate } from './x509.ts'
import { parseCertificate } from './x509.ts'

export interface PemBlock {
  readonly label: string
  readonly bytes: Uint8Array
}

export interface PemOptions {
  /** Most blocks; 16 unless told. */
  readonly max?: number
  /** Allow text before and between the blocks (as `openssl -text` and GnuTLS write it). Off unless asked. */
  readonly preamble?: boolean
}

const MAX_TEXT = 4 << 20
const BEGIN = /^-----BEGIN ([A-Z0-9][A-Z0-9 ]{0,40})-----$/

/** Chains that were put together without a line end between them, as some services do: the only place where one may be missing. */
const JOINED = /(-----END [A-Z0-9 ]{1,41}-----)(?=-----BEGIN )/g

function invalid(message: string, line: number): never {
  throw new AttestationError('FORMAT_INVALID', `PEM line ${line}: ${message}`, {
    path: `line ${line}`,
  })
}

/**
 * Reads every block of a PEM text. Canonical base64, all lines of a block but the last of one length, empty lines only between
 * blocks, LF or CRLF.
 * @throws AttestationError FORMAT_INVALID, TRUNCATED, TOO_LARGE
 */
export function parsePemBlocks(text: string, options: PemOptions = {}): readonly PemBlock[] {
  const { max = 16, preamble = false } = options
  if (text.length > MAX_TEXT) throw new AttestationError('TOO_LARGE', 'the PEM text is too large')
  const blocks: PemBlock[] = []
  let label: string | undefined
  let body: string[] = []
  const lines = text.replace(JOINED, '$1\n').split('\n')
  for (const [index, raw] of lines.entries()) {
    const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw
    if (label === undefined) {
      const begin = BEGIN.exec(line)
      if (begin !== null) {
        if (blocks.length >= max) {
          throw new AttestationError('TOO_LARGE', `more than ${max} PEM blocks`)
        }
        label = begin[1]
        body = []
      } else if (line !== '' && (!preamble || line.includes('-----'))) {
        const boundary = line.includes('-----')
        invalid(
          boundary ? 'a boundary that is not alone on its line' : 'text outside of a block',
          index + 1,
        )
      }
    } else if (line === `-----END ${label}-----`) {
      blocks.push({ label, bytes: decodeBody(body, index + 1) })
      label = undefined
    } else {
      body.push(line)
    }
  }
  if (label !== undefined) throw new AttestationError('TRUNCATED', `PEM: no end of the ${label}`)
  return blocks
}

function decodeBody(lines: readonly string[], end: number): Uint8Array {
  const width = lines[0]?.length ?? 0
  const fits = lines.every((line, index) =>
    index === lines.length - 1 ? line.length > 0 && line.length <= width : line.length === width,
  )
  if (width === 0 || !fits) invalid('the lines of a block are not of one length', end)
  try {
    return base64ToBytes(lines.join(''))
  } catch {
    return invalid('not canonical base64', end)
  }
}

/**
 * Reads the blocks of a PEM text that may hold blocks of this one label alone, and at least one.
 * @returns the DER of each, in order
 */
export function parsePem(
  text: string,
  label: string,
  options: PemOptions = {},
): readonly Uint8Array[] {
  const blocks = parsePemBlocks(text, options)
  if (blocks.length === 0) {
    throw new AttestationError('FORMAT_INVALID', `PEM: there is no ${label}`)
  }
  for (const block of blocks) {
    if (block.label !== label) {
      throw new AttestationError('FORMAT_INVALID', `PEM: expected ${label}, got ${block.label}`)
    }
  }
  return blocks.map((block) => block.bytes)
}

/** Reads certificates: one in DER, or a PEM text with one or more, in the order of the text. */
export function parseCertificates(
  bytes: Uint8Array,
  options: PemOptions = {},
): readonly Certificate[] {
  if (bytes[0] === 0x30) return [parseCertificate(bytes)]
  if (bytes.length > MAX_TEXT) throw new AttestationError('TOO_LARGE', 'the PEM text is too large')
  return parsePem(utf8Decode(bytes), 'CERTIFICATE', options).map(parseCertificate)
}
