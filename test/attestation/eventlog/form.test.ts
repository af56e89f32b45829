// The two forms of a log: what is read, and what is refused unread.
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import { MAX_LOG_AREA, parseCcel } from '../../../attestation/eventlog/ccel.ts'
import { parseDstackLog } from '../../../attestation/eventlog/dstack.ts'
import { replayEvents } from '../../../attestation/eventlog/index.ts'
import { bytesToHex, concatBytes, utf8Encode } from '../../../attestation/lib/index.ts'
import { bootLog, ccel, dstackLog, runtimeEvent } from '../../../src/simulate/index.ts'
import { replay } from '../../../src/simulate/eventlog.ts'

const events = [...bootLog('form'), runtimeEvent('model-digest', new Uint8Array(32).fill(0xaa))]
const { table, data } = ccel(events)
/** Offset of the first event behind the header, and behind the last. */
const FIRST = 32 + Buffer.from(data).readUInt32LE(28)
const END = data.findLastIndex((byte) => byte !== 0xff) + 1

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof AttestationError) return error.code
    throw error
  }
  return 'OK'
}

/** The simulated log with one change. */
function changed(change: (area: Buffer) => unknown): string {
  const area = Buffer.from(data)
  const answer = change(area)
  const given = answer instanceof Buffer ? answer : area
  return codeOf(() => parseCcel({ kind: 'ccel', data: new Uint8Array(given) }))
}
const u16 = (at: number, value: number) => (area: Buffer) => void area.writeUInt16LE(value, at)
const u32 = (at: number, value: number) => (area: Buffer) => void area.writeUInt32LE(value, at)
const u8 = (at: number, value: number) => (area: Buffer) => void area.writeUInt8(value, at)

describe('CCEL', () => {
  it('reads every event of the simulated machine', () => {
    const log = parseCcel({ kind: 'ccel', table, data })
    expect(log.events.map(({ register, type }) => [register, type])).toEqual(
      events.map(({ register, type }) => [register, type]),
    )
    expect(replayEvents(log.events)).toEqual(replay(events))
  })

  it.each<[string, (area: Buffer) => unknown, string]>([
    ['no padding at all', (area) => area.subarray(0, END), 'OK'],
    ['a single byte of padding', (area) => area.subarray(0, END + 1), 'OK'],
    ['zeros as padding', (area) => area.fill(0, END), 'OK'],
    ['mixed padding', (area) => area.fill(0, END, END + 9), 'FORMAT_INVALID'],
    ['something behind the padding', u8(END + 500, 1), 'TRAILING_DATA'],
    ['the header alone', (area) => area.subarray(0, FIRST), 'OK'],
    ['an empty area', () => Buffer.alloc(0), 'TRUNCATED'],
    ['half a header', (area) => area.subarray(0, 40), 'TRUNCATED'],
    ['half an event', (area) => area.subarray(0, END - 1), 'TRUNCATED'],
    ['a larger area than is read', () => Buffer.alloc(MAX_LOG_AREA + 1), 'TOO_LARGE'],
    ['a header of another type', u32(4, 4), 'FORMAT_INVALID'],
    ['a header with a digest', u8(8, 1), 'RESERVED_NOT_ZERO'],
    ['a header that is too long', u32(28, 257), 'FORMAT_INVALID'],
    ['a header with bytes at its end', u32(28, 34), 'TRAILING_DATA'],
    [
      'the format before agility',
      (area) => void area.write('Spec ID Event02', 32),
      'FORMAT_INVALID',
    ],
    ['a later version', u8(53, 3), 'UNSUPPORTED_VERSION'],
    ['a UINTN of 8', u8(55, 8), 'FORMAT_INVALID'],
    ['no algorithm', u32(56, 0), 'FORMAT_INVALID'],
    ['too many algorithms', u32(56, 9), 'FORMAT_INVALID'],
    ['SHA-384 with the size of SHA-256', u16(62, 32), 'UNSUPPORTED_ALGORITHM'],
    ['an unknown algorithm', u16(60, 0x99), 'UNSUPPORTED_ALGORITHM'],
    ['SHA-512 alone', u32(60, 0x0040000d), 'UNSUPPORTED_ALGORITHM'],
    ['MRTD', u32(FIRST, 0), 'FORMAT_INVALID'],
    ['a fifth register', u32(FIRST, 5), 'FORMAT_INVALID'],
    ['no digest', u32(FIRST + 8, 0), 'FORMAT_INVALID'],
    ['more digests than algorithms', u32(FIRST + 8, 2), 'FORMAT_INVALID'],
    ['an algorithm that is not in the header', u16(FIRST + 12, 0x0b), 'FORMAT_INVALID'],
    ['an event beyond the end', u32(FIRST + 62, 0x7fffffff), 'TRUNCATED'],
  ])('%s', (_, change, code) => {
    expect(changed(change)).toBe(code)
  })

  it('events that extend nothing are not among the events', () => {
    const area = Buffer.from(data)
    area.writeUInt32LE(3, FIRST + 4)
    area.writeUInt32LE(0xfffffffe, FIRST)
    expect(parseCcel({ kind: 'ccel', data: new Uint8Array(area) }).events).toHaveLength(
      events.length - 1,
    )
  })

  it('a log of two algorithms, in either order', () => {
    const header = Buffer.from(data.subarray(0, FIRST))
    const spec = concatBytes(
      header.subarray(0, 56),
      Buffer.from('02000000' + '0b002000' + '0c003000' + '00', 'hex'),
    )
    Buffer.from(spec.buffer, spec.byteOffset).writeUInt32LE(spec.length - 32, 28)
    const event = (...parts: readonly string[]): Uint8Array =>
      Buffer.from(['01000000', '04000000', ...parts, '04000000', '00000000'].join(''), 'hex')
    const sha256 = `0b00${'22'.repeat(32)}`
    const sha384 = `0c00${'33'.repeat(48)}`
    const read = (...parts: readonly string[]) =>
      parseCcel({ kind: 'ccel', data: concatBytes(spec, event(...parts)) }).events
    const digest = new Uint8Array(48).fill(0x33)
    expect(read('02000000', sha256, sha384)).toMatchObject([{ digest }])
    expect(read('02000000', sha384, sha256)).toMatchObject([{ digest }])
    expect(read('01000000', sha384)).toMatchObject([{ digest }])
    expect(codeOf(() => read('01000000', sha256))).toBe('FORMAT_INVALID')
    expect(codeOf(() => read('02000000', sha384, sha384))).toBe('FORMAT_INVALID')
  })

  it('more events than are read', () => {
    const one = data.subarray(FIRST, FIRST + 66)
    const head = concatBytes(data.subarray(0, FIRST))
    const short = new Uint8Array(one)
    new DataView(short.buffer).setUint32(62, 0, true)
    const many = concatBytes(head, ...Array.from({ length: 4097 }, () => short))
    expect(codeOf(() => parseCcel({ kind: 'ccel', data: many }))).toBe('TOO_LARGE')
  })

  it.each<[string, (table: Buffer) => unknown, string]>([
    ['the table as it is', () => undefined, 'OK'],
    ['a table that is too short', (t) => t.subarray(0, 55), 'FORMAT_INVALID'],
    ['another signature', (t) => void t.write('CCEX', 0), 'FORMAT_INVALID'],
    ['a wrong checksum', (t) => void t.writeUInt8((t[20] ?? 0) ^ 1, 20), 'FORMAT_INVALID'],
    ['another kind of machine', (t) => swap(t, 36, 1), 'UNSUPPORTED_VERSION'],
    ['a reserved byte', (t) => swap(t, 38, 1), 'RESERVED_NOT_ZERO'],
    ['an area smaller than the log', (t) => swap(t, 41, 1), 'FORMAT_INVALID'],
  ])('%s', (_, change, code) => {
    const copy = Buffer.from(table)
    const answer = change(copy)
    const given = new Uint8Array(answer instanceof Buffer ? answer : copy)
    expect(codeOf(() => parseCcel({ kind: 'ccel', table: given, data }))).toBe(code)
  })

  it('any bytes: the typed error or events', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat({ max: END }), (bytes, at) => {
        const area = new Uint8Array(data)
        area.set(bytes, Math.min(at, area.length - bytes.length))
        codeOf(() => parseCcel({ kind: 'ccel', data: area }))
        codeOf(() => parseCcel({ kind: 'ccel', data: bytes }))
        codeOf(() => parseCcel({ kind: 'ccel', table: bytes, data }))
      }),
      { numRuns: 300 },
    )
  })
})

/** Changes one byte of a table and mends its checksum. */
function swap(t: Buffer, at: number, value: number): void {
  const difference = value - (t[at] ?? 0)
  t[at] = value
  t[9] = ((t[9] ?? 0) - difference + 512) % 256
}

describe('dstack', () => {
  const text = dstackLog(events)
  const first = { imr: 3, event_type: 134217729, digest: '', event: 'a', event_payload: '00' }
  const one = (change: object) =>
    codeOf(() => parseDstackLog(JSON.stringify([{ ...first, ...change }])))

  it('reads every event of the simulated machine', () => {
    expect(replayEvents(parseDstackLog(text).events)).toEqual(replay(events))
  })

  it.each<[string, object, string]>([
    ['a blank digest of an event at run time', {}, 'OK'],
    ['no digest of an event at run time', { digest: undefined }, 'OK'],
    ['version 2', { version: 2 }, 'OK'],
    ['a preimage', { preimage: '00' }, 'OK'],
    ['a blank digest of an event of the firmware', { event_type: 4 }, 'FORMAT_INVALID'],
    ['half a digest', { digest: '00'.repeat(24) }, 'FORMAT_INVALID'],
    ['a digest that is not hex', { digest: 'zz'.repeat(48) }, 'FORMAT_INVALID'],
    ['register 4', { imr: 4 }, 'FORMAT_INVALID'],
    ['register -1', { imr: -1 }, 'FORMAT_INVALID'],
    ['a register as text', { imr: '3' }, 'FORMAT_INVALID'],
    ['a type beyond 32 bits', { event_type: 2 ** 32 }, 'FORMAT_INVALID'],
    ['a payload that is not hex', { event_payload: 'x' }, 'FORMAT_INVALID'],
    ['no name', { event: undefined }, 'FORMAT_INVALID'],
    ['version 3', { version: 3 }, 'FORMAT_INVALID'],
    ['an unknown member', { extra: 1 }, 'FORMAT_INVALID'],
  ])('%s', (_, change, code) => {
    expect(one(change)).toBe(code)
  })

  it('a key that occurs twice', () => {
    expect(codeOf(() => parseDstackLog('[{"imr":3,"imr":2}]'))).toBe('FORMAT_INVALID')
  })

  it('more events than are read', () => {
    const many = JSON.stringify(Array.from({ length: 4097 }, () => first))
    expect(codeOf(() => parseDstackLog(many))).toBe('FORMAT_INVALID')
  })

  it('the digests of versions 1 and 2', () => {
    const digest = (version: 1 | 2, event = 'app-id') =>
      parseDstackLog(
        JSON.stringify([{ ...first, event, event_payload: 'deadbeef', version }]),
      ).events.map((each) => bytesToHex(each.digest))
    const sha384 = (...parts: readonly Uint8Array[]) => [
      createHash('sha384')
        .update(concatBytes(...parts))
        .digest('hex'),
    ]
    expect(digest(1)).toEqual(
      sha384(
        Buffer.from('01000008', 'hex'),
        utf8Encode(':app-id:'),
        Buffer.from('deadbeef', 'hex'),
      ),
    )
    expect(digest(2)).toEqual(
      sha384(utf8Encode('{"name":"app-id","payload":"deadbeef","type":134217729}')),
    )
    expect(digest(2, 'a"b\\c\nd')).toEqual(
      sha384(utf8Encode('{"name":"a\\"b\\\\c\\nd","payload":"deadbeef","type":134217729}')),
    )
  })

  it('any text: the typed error or events', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), fc.nat({ max: text.length }), (piece, at) => {
        codeOf(() => parseDstackLog(text.slice(0, at) + piece + text.slice(at + piece.length)))
        codeOf(() => parseDstackLog(piece))
      }),
      { numRuns: 300 },
    )
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
        codeOf(() => parseDstackLog(JSON.stringify(value)))
      }),
      { numRuns: 300 },
    )
  })
})
