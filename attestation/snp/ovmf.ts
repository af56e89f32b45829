// The single owner of what an OVMF image says about how it is launched under SNP: its GUID table and its SEV metadata (edk2, OvmfPkg/ResetVector).
import { AttestationError } from '../error.ts'
import { bytesToHex } from '../lib/bytes.ts'
import { Reader } from '../lib/reader.ts'

export const PAGE = 4096
const MAX_IMAGE = 64 << 20
/** Bytes after the GUID table: the reset vector. */
const RESET_VECTOR = 32
const ENTRY_END = 18
const MAX_SECTIONS = 64
const MAX_SECTION = 64 << 20

/** GUIDs in the byte order of UEFI: the first three parts are little-endian. */
const FOOTER = guid('96b582de-1fb2-45f7-baea-a366c55a082d')
const METADATA = guid('dc886566-984a-4798-a75e-5585a7bf67cc')
const HASH_TABLE = guid('7255371f-3a3b-4b04-927b-1da6efa8d454')
const RESET_BLOCK = guid('00f771de-1a7e-4fcb-890e-68c77e2fb44e')

const KINDS = new Map([
  [1, 'memory'],
  [2, 'secrets'],
  [3, 'cpuid'],
  [4, 'calling-area'], // of an SVSM: a zero page where there is none
  [0x10, 'kernel-hashes'],
] as const)

/** A region that the hypervisor fills before the first instruction, in the order of the image. */
export interface OvmfSection {
  readonly kind: 'memory' | 'secrets' | 'cpuid' | 'calling-area' | 'kernel-hashes'
  readonly gpa: number
  readonly size: number
}

export interface OvmfImage {
  readonly bytes: Uint8Array
  readonly gpa: number
  readonly sections: readonly OvmfSection[]
  /** Where the table of kernel hashes goes, if the image checks one. */
  readonly hashTable: number | undefined
  /** Where all processors but the first start. */
  readonly resetAddress: number | undefined
}

/** The hex of a GUID as UEFI stores it. */
export function guid(text: string): string {
  const [a = '', b = '', c = '', ...rest] = text.split('-')
  const swap = (part: string): string => (part.match(/../g) ?? []).reverse().join('')
  return [swap(a), swap(b), swap(c), ...rest].join('')
}

function invalid(message: string): never {
  throw new AttestationError('FORMAT_INVALID', `OVMF image: ${message}`, {
    hint: 'an image built for SEV is needed, with its SNP metadata',
  })
}

/**
 * Reads an OVMF image.
 *
 * @throws AttestationError FORMAT_INVALID, TRUNCATED, TOO_LARGE
 */
export function parseOvmf(bytes: Uint8Array): OvmfImage {
  if (bytes.length > MAX_IMAGE) throw new AttestationError('TOO_LARGE', 'OVMF image: over 64 MiB')
  if (bytes.length === 0 || bytes.length % PAGE !== 0) invalid('its size is not whole pages')
  const table = guidTable(bytes)
  const number = (id: string): number | undefined => {
    const data = table.get(id)
    return data === undefined ? undefined : new Reader(data, 'OVMF table entry').u32()
  }
  const offset = number(METADATA)
  if (offset === undefined) invalid('it has no SEV metadata')
  return {
    bytes,
    gpa: 2 ** 32 - bytes.length,
    sections: metadata(bytes, offset),
    hashTable: number(HASH_TABLE),
    resetAddress: number(RESET_BLOCK),
  }
}

/** Entries {data, u16 size of the whole entry, GUID}, read from the end; the last one is the footer, whose size covers all. */
function guidTable(bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const table = new Map<string, Uint8Array>()
  let end = bytes.length - RESET_VECTOR
  const entryAt = (stop: number): { readonly id: string; readonly size: number } => {
    const reader = new Reader(bytes.subarray(stop - ENTRY_END, stop), 'OVMF table')
    const size = reader.u16()
    return { id: bytesToHex(reader.bytes(16)), size }
  }
  const footer = entryAt(end)
  if (footer.id !== FOOTER) invalid('it has no GUID table')
  const start = end - footer.size
  if (footer.size < ENTRY_END || start < 0) invalid('the size of its GUID table is wrong')
  end -= ENTRY_END
  while (end > start) {
    if (end - start < ENTRY_END) invalid('its GUID table has a gap')
    const { id, size } = entryAt(end)
    if (size < ENTRY_END || end - size < start) invalid('an entry of its GUID table is malformed')
    if (table.has(id)) invalid('an entry of its GUID table occurs twice')
    table.set(id, bytes.subarray(end - size, end - ENTRY_END))
    end -= size
  }
  return table
}

/** {"ASEV", u32 size, u32 version, u32 count}, then {u32 address, u32 size, u32 kind} each; found by its distance from the end of the image. */
function metadata(bytes: Uint8Array, offset: number): readonly OvmfSection[] {
  if (offset > bytes.length) invalid('its SEV metadata lies outside')
  const reader = new Reader(bytes.subarray(bytes.length - offset), 'OVMF metadata')
  if (bytesToHex(reader.bytes(4)) !== '41534556') invalid('its SEV metadata has no signature')
  const size = reader.u32()
  const version = reader.u32()
  const count = reader.u32()
  if (version !== 1) invalid(`its SEV metadata has version ${version}`)
  if (count > MAX_SECTIONS || size !== 16 + count * 12) invalid('the size of its SEV metadata')
  return Array.from({ length: count }, () => {
    const gpa = reader.u32()
    const length = reader.u32()
    const code = reader.u32()
    const kind = KINDS.get(code as 1)
    if (kind === undefined) invalid(`a section of unknown kind ${code}`)
    const single = kind !== 'memory' && kind !== 'calling-area'
    if (gpa % PAGE !== 0 || length % PAGE !== 0 || length > MAX_SECTION)
      invalid('a section’s range')
    if (single && length !== PAGE) invalid(`a section of kind ${kind} that is not one page`)
    return { kind, gpa, size: length }
  })
}
