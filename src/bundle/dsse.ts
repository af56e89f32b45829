// The single owner of DSSE's pre-authentication encoding: the bytes that a signature is over.
import { Buffer } from 'node:buffer'
import { concatBytes, utf8Encode } from '../../attestation/lib/index.ts'

/** The payload type of every in-toto statement (in-toto attestation framework v1, envelope layer). */
export const IN_TOTO = 'application/vnd.in-toto+json'

/** PAE(type, payload) of DSSE v1: lengths are byte counts in decimal. */
export function pae(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = utf8Encode(payloadType)
  return concatBytes(
    utf8Encode(`DSSEv1 ${type.length} `),
    type,
    utf8Encode(` ${payload.length} `),
    payload,
  )
}

/**
 * The encoding that release 0.2.0 of the reference implementation signed by mistake: a capital V, and Python's `repr` of the payload
 * instead of the payload. Only certificate signatures of that release carry it, always with SHA-256.
 */
export function paeCompat(payloadType: string, payload: Uint8Array): Uint8Array {
  const length = utf8Encode(payloadType).length
  return utf8Encode(`DSSEV1 ${length} ${payloadType} ${payload.length} ${pythonRepr(payload)}`)
}

/** `repr(bytes)` of CPython: double quotes only where the bytes hold a single quote and no double quote. */
function pythonRepr(bytes: Uint8Array): string {
  const quote = bytes.includes(0x27) && !bytes.includes(0x22) ? '"' : "'"
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  const escaped = text.replace(/[^\x20-\x7e]|[\\'"]/g, (char) => {
    if (char === '\\') return '\\\\'
    if (char === '\t') return '\\t'
    if (char === '\n') return '\\n'
    if (char === '\r') return '\\r'
    if (char === "'" || char === '"') return char === quote ? `\\${char}` : char
    return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
  return `b${quote}${escaped}${quote}`
}
