// The single owner of the SNP certificate table (GHCB specification, extended guest request; configfs-tsm's auxblob).
import { AttestationError } from '../error.ts'
import type { Certificate, Crl } from '../lib/index.ts'
import {
  bytesToHex,
  isZero,
  parseCertificates,
  parseCrl,
  parsePem,
  utf8Decode,
} from '../lib/index.ts'

const HEADER = 24
const MAX_ENTRIES = 32
const MAX_TABLE = 1 << 20

/** The GUIDs of the table, as hex in the byte order of RFC 4122. */
export const TABLE_GUID = {
  VCEK: '63da758de6644564adc5f4b93be8accd',
  VLEK: 'a8074bc2a25a483eaae639c045a0b8a1',
  ASK: '4ab7b379bbac4fe4a02f05aef327c782',
  ARK: 'c0b406a4a803495297433fb6014cd0ae',
  CRL: '92f81bc358114d3d97ffd19f88dc67ea',
} as const

const CERTIFICATES: ReadonlySet<string> = new Set([
  TABLE_GUID.VCEK,
  TABLE_GUID.VLEK,
  TABLE_GUID.ASK,
  TABLE_GUID.ARK,
])
const KNOWN: ReadonlySet<string> = new Set(Object.values(TABLE_GUID))

/** True if these bytes begin with entries, one of them of a kind that is known. Clouds put entries of their own before them. */
export function looksLikeTable(bytes: Uint8Array): boolean {
  for (let at = 0; at < MAX_ENTRIES * HEADER && at + HEADER <= bytes.length; at += HEADER) {
    const guid = bytes.subarray(at, at + 16)
    if (KNOWN.has(bytesToHex(guid))) return true
    if (isZero(guid)) return false
  }
  return false
}

function invalid(message: string): never {
  throw new AttestationError('FORMAT_INVALID', `certificate table: ${message}`)
}

interface Entry {
  readonly guid: string
  readonly offset: number
  readonly length: number
}

/**
 * Reads a certificate table: entries {GUID, offset u32, length u32} up to an all-zero one, then the blobs. No GUID twice, no
 * blob that begins within the header, leaves the table or overlaps another; what lies outside of the blobs is zero. Entries of
 * unknown kind are skipped. All of it is unsigned data of the host: candidates, never anchors.
 * @throws AttestationError FORMAT_INVALID, TRUNCATED, TOO_LARGE, and what certificates and lists throw
 */
export function parseCertificateTable(table: Uint8Array): {
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Crl[]
} {
  if (table.length > MAX_TABLE) {
    throw new AttestationError('TOO_LARGE', `certificate table larger than ${MAX_TABLE} bytes`)
  }
  const entries = readEntries(table)
  checkLayout(table, entries)
  const certificates: Certificate[] = []
  const crls: Crl[] = []
  for (const { guid, offset, length } of entries) {
    const blob = table.subarray(offset, offset + length)
    if (CERTIFICATES.has(guid)) certificates.push(...parseCertificates(blob, { max: 1 }))
    else if (guid === TABLE_GUID.CRL) crls.push(readCrl(blob))
  }
  return { certificates, crls }
}

function readEntries(table: Uint8Array): readonly Entry[] {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
  const entries: Entry[] = []
  const seen = new Set<string>()
  for (let at = 0; ; at += HEADER) {
    if (at + HEADER > table.length) {
      throw new AttestationError('TRUNCATED', 'certificate table: it has no last entry')
    }
    if (isZero(table.subarray(at, at + HEADER))) break
    if (entries.length >= MAX_ENTRIES) {
      throw new AttestationError('TOO_LARGE', `certificate table: more than ${MAX_ENTRIES} entries`)
    }
    const guid = bytesToHex(table.subarray(at, at + 16))
    if (seen.has(guid)) invalid(`${guid} occurs twice`)
    seen.add(guid)
    entries.push({
      guid,
      offset: view.getUint32(at + 16, true),
      length: view.getUint32(at + 20, true),
    })
  }
  if (entries.length === 0) invalid('it is empty')
  return entries
}

function checkLayout(table: Uint8Array, entries: readonly Entry[]): void {
  let end = (entries.length + 1) * HEADER
  for (const { guid, offset, length } of [...entries].sort((a, b) => a.offset - b.offset)) {
    if (offset < end) invalid(`${guid} overlaps the header or another entry`)
    if (length === 0) invalid(`${guid} is empty`)
    if (offset + length > table.length) {
      throw new AttestationError('TRUNCATED', `certificate table: ${guid} leaves the table`)
    }
    if (!isZero(table.subarray(end, offset))) invalid('there are bytes between its entries')
    end = offset + length
  }
  if (!isZero(table.subarray(end))) {
    throw new AttestationError('TRAILING_DATA', 'certificate table: bytes follow after its end')
  }
}

function readCrl(blob: Uint8Array): Crl {
  if (blob[0] === 0x30) return parseCrl(blob)
  const [der] = parsePem(utf8Decode(blob), 'X509 CRL', { max: 1 })
  return der === undefined ? invalid('its revocation list is empty') : parseCrl(der)
}
