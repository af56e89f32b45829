import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import {
  base64ToBytes,
  base64UrlToBytes,
  bytesToBase64,
  bytesToBase64Url,
  bytesToHex,
  equalBytes,
  formatTime,
  hexToBytes,
  isZero,
  parseTime,
  Reader,
  sha256Hex,
  utf8Decode,
} from '../../../attestation/lib/index.ts'

const refused = (code: string): unknown =>
  expect.objectContaining({ name: 'AttestationError', code })

describe('text encodings of bytes', () => {
  it('give back what went in', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(hexToBytes(bytesToHex(bytes))).toEqual(bytes)
        expect(base64ToBytes(bytesToBase64(bytes))).toEqual(bytes)
        expect(base64UrlToBytes(bytesToBase64Url(bytes))).toEqual(bytes)
      }),
    )
  })

  it.each(['0', 'zz', '0x00', '00 11', '00\n', 'a\u0661', '٠٠', '00g1'])(
    'refuses hex %j, where Buffer.from stops silently',
    (text) => expect(() => hexToBytes(text)).toThrow(AttestationError),
  )

  it('holds hex to a wanted length', () => {
    expect(() => hexToBytes('0011', { length: 3 })).toThrow('expected 3 bytes')
    expect(bytesToHex(hexToBytes('AAbb', { length: 2 }))).toBe('aabb')
  })

  it.each(['A', 'AA', 'AAA', 'AB==', 'AAB=', 'AA==\n', 'A A=', 'AA=A', '====', 'AA-_', 'AAAA='])(
    'refuses base64 %j, where Buffer.from skips junk',
    (text) => expect(() => base64ToBytes(text)).toThrow(AttestationError),
  )

  it.each(['A', 'AB', 'AA==', 'AA+/', 'AAA A'])('refuses base64url %j', (text) =>
    expect(() => base64UrlToBytes(text)).toThrow(AttestationError),
  )

  it('accepts a canonical text only: any text that decodes encodes back to itself', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from('AB+/=-_ \n9z')), maxLength: 12 }),
        (text) => {
          for (const [decode, encode] of [
            [base64ToBytes, bytesToBase64],
            [base64UrlToBytes, bytesToBase64Url],
          ] as const) {
            try {
              expect(encode(decode(text))).toBe(text)
            } catch (error) {
              expect(error).toBeInstanceOf(AttestationError)
            }
          }
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('refuses what is not UTF-8 and keeps a byte order mark', () => {
    expect(() => utf8Decode(Uint8Array.of(0xc0, 0x80))).toThrow(AttestationError)
    expect(() => utf8Decode(Uint8Array.of(0xed, 0xa0, 0x80))).toThrow(AttestationError)
    expect(utf8Decode(Uint8Array.of(0xef, 0xbb, 0xbf, 0x41))).toBe('\ufeffA')
  })

  it('compares whole byte strings', () => {
    expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true)
    expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 3))).toBe(false)
    expect(isZero(new Uint8Array(3))).toBe(true)
    expect(isZero(Uint8Array.of(0, 1))).toBe(false)
    expect(sha256Hex(new Uint8Array())).toBe(
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    )
  })
})

describe('Reader', () => {
  it('reads numbers in both orders', () => {
    const reader = new Reader(
      Uint8Array.from({ length: 22 }, (_, i) => i + 1),
      'sample',
    )
    expect([reader.u8(), reader.u16(), reader.u32(), reader.u16be(), reader.u32be()]).toEqual([
      1, 0x0302, 0x07060504, 0x0809, 0x0a0b0c0d,
    ])
    expect(reader.u64()).toBe(0x1514131211100f0en)
    expect(reader.offset).toBe(21)
    expect(() => reader.end()).toThrow(refused('TRAILING_DATA'))
    expect(reader.bytes(1)).toEqual(Uint8Array.of(22))
    reader.end()
    expect(() => reader.u8()).toThrow(refused('TRUNCATED'))
  })

  it('never reads outside of a view and refuses absurd counts', () => {
    const whole = new Uint8Array(16).fill(7)
    const reader = new Reader(whole.subarray(4, 8), 'view')
    for (const count of [5, -1, 0.5, Number.NaN, 2 ** 53]) {
      expect(() => reader.bytes(count)).toThrow(AttestationError)
    }
    expect(reader.remaining).toBe(4)
  })

  it('names the reserved byte that is not zero', () => {
    const reader = new Reader(Uint8Array.of(0, 0, 1, 0), 'block')
    expect(() => reader.zeros(4)).toThrow('block: reserved byte at offset 2 is not zero')
  })
})

describe('time', () => {
  it.each([
    ['2026-01-31T12:00:00Z', '2026-01-31T12:00:00Z'],
    ['2024-02-29T23:59:59.123456789Z', '2024-02-29T23:59:59.123Z'],
    ['2026-01-01T00:30:00+01:00', '2025-12-31T23:30:00Z'],
    ['2026-01-01T00:30:00-01:00', '2026-01-01T01:30:00Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
  ])('reads %s', (text, expected) => expect(formatTime(parseTime(text))).toBe(expected))

  it.each([
    '2025-02-31T00:00:00Z',
    '2025-02-29T00:00:00Z',
    '2025-13-01T00:00:00Z',
    '2025-00-01T00:00:00Z',
    '2025-01-01T24:00:00Z',
    '2025-01-01T00:60:00Z',
    '2025-01-01T00:00:60Z',
    '2025-01-01t00:00:00z',
    '2025-01-01 00:00:00Z',
    '2025-01-01T00:00:00',
    '2025-01-01T00:00Z',
    '2025-1-1T00:00:00Z',
    '2025-01-01T00:00:00.Z',
    '2025-01-01T00:00:00+1:00',
    '2025-01-01T00:00:00+24:00',
    '+002025-01-01T00:00:00Z',
    '2025-01-01T00:00:00Z\n',
    '2025-01-01',
    '',
  ])('refuses %j', (text) => expect(() => parseTime(text)).toThrow(AttestationError))

  it('writes what it reads, for every second', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true }),
        (date) => {
          expect(parseTime(formatTime(date))).toEqual(date)
        },
      ),
    )
    expect(() => formatTime(new Date(Number.NaN))).toThrow(AttestationError)
  })
})

describe('a Buffer', () => {
  it('is read like any other bytes, and not changed by what is done with a part', () => {
    const buffer = Buffer.from([1, 2, 3, 4])
    new Reader(buffer, 'test').bytes(4).slice().reverse()
    expect([...buffer]).toEqual([1, 2, 3, 4])
    expect(Buffer.isBuffer(new Reader(buffer, 'test').bytes(2))).toBe(false)
  })
})
