// The single owner of firmware images that tests make: one page, with the tables that OVMF ends with.
import { concatBytes, hexToBytes } from '../../../attestation/lib/bytes.ts'
import { guid } from '../../../attestation/snp/ovmf.ts'

export function numbers(...values: number[]): Uint8Array {
  const out = Buffer.alloc(values.length * 4)
  values.forEach((value, i) => out.writeUInt32LE(value, i * 4))
  return new Uint8Array(out)
}

export function entry(id: string, data: Uint8Array, size = data.length + 18): Uint8Array {
  return concatBytes(data, Uint8Array.of(size & 255, size >> 8), hexToBytes(guid(id)))
}

export const SECTIONS = [
  [0x800000, 0x9000, 1],
  [0x80a000, 0x3000, 1],
  [0x80d000, 0x1000, 2],
  [0x80e000, 0x1000, 3],
  [0x80f000, 0x1000, 0x10],
  [0x810000, 0x10000, 1],
]

/** An image of one page that ends as OVMF does. */
export function image(sections = SECTIONS, more: Uint8Array[] = [], hashes = 0x80fc00): Uint8Array {
  const metadata = concatBytes(
    new TextEncoder().encode('ASEV'),
    numbers(16 + sections.length * 12, 1, sections.length, ...sections.flat()),
  )
  const entries = concatBytes(
    ...more,
    entry('7255371f-3a3b-4b04-927b-1da6efa8d454', numbers(hashes, 0x400)),
    entry('00f771de-1a7e-4fcb-890e-68c77e2fb44e', numbers(0x80b004)),
    entry('dc886566-984a-4798-a75e-5585a7bf67cc', numbers(1024)),
  )
  const footer = entry(
    '96b582de-1fb2-45f7-baea-a366c55a082d',
    new Uint8Array(),
    entries.length + 18,
  )
  const bytes = new Uint8Array(4096)
  bytes.set(metadata, 4096 - 1024)
  bytes.set(concatBytes(entries, footer), 4096 - 32 - entries.length - 18)
  return bytes
}
