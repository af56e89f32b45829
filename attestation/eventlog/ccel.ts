// The single owner of the CC event log: the ACPI table CCEL, and the TCG crypto-agile log in the area that it points to.
import type { EventLog } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import { equalBytes, isZero, utf8Encode } from '../lib/bytes.ts'
import { Reader } from '../lib/reader.ts'
import { EVENT_TYPE, MAX_EVENT_DATA, MAX_EVENTS } from './event.ts'
import type { LoggedEvent, ParsedLog, Register } from './event.ts'

/** Larger log areas are refused unread. Genuine ones have 64 KiB to 256 KiB, padding included. */
export const MAX_LOG_AREA = 4 << 20
const TABLE_SIZE = 56
const CC_TYPE_TDX = 2
const SHA384 = 0x000c
const MAX_ALGORITHMS = 8
const SIGNATURE = utf8Encode('Spec ID Event03\0')

/** TCG Algorithm Registry: digest sizes of the algorithms that a log may carry beside SHA-384. */
const DIGEST_SIZES: ReadonlyMap<number, number> = new Map([
  [0x0004, 20],
  [0x000b, 32],
  [SHA384, 48],
  [0x000d, 64],
  [0x0012, 32],
  [0x0027, 32],
  [0x0028, 48],
  [0x0029, 64],
])

/**
 * Reads a CC event log (TCG PC Client Platform Firmware Profile 1.06, §10.2: TCG_PCR_EVENT with the Spec ID structure, then TCG_PCR_EVENT2;
 * CC measurement register indices as in UEFI 2.10, §38.4.1: 1 is RTMR0). After the last event nothing but padding may follow: all zero or all 0xFF.
 * Digests of other algorithms than SHA-384 are skipped, because no register holds them.
 * @throws AttestationError FORMAT_INVALID, TRUNCATED, TRAILING_DATA, TOO_LARGE, UNSUPPORTED_VERSION, UNSUPPORTED_ALGORITHM, RESERVED_NOT_ZERO
 */
export function parseCcel(log: Extract<EventLog, { kind: 'ccel' }>): ParsedLog {
  const { table, data } = log
  if (data.length > MAX_LOG_AREA)
    throw new AttestationError('TOO_LARGE', `an event log larger than ${MAX_LOG_AREA} bytes`)
  if (table !== undefined) checkTable(table, data.length)
  const reader = new Reader(data, 'event log')
  const sizes = readHeader(reader)
  const events: LoggedEvent[] = []
  for (let count = 0; !atEnd(reader, data); count++) {
    if (count >= MAX_EVENTS)
      throw new AttestationError('TOO_LARGE', `an event log of more than ${MAX_EVENTS} events`)
    const event = readEvent(reader, sizes)
    if (event !== null) events.push(event)
  }
  return { kind: 'ccel', events, dataMayBeStripped: false }
}

/** ACPI 6.5, §5.2.34. The table is the host's word, so that it fits the log is all that it says. */
function checkTable(table: Uint8Array, area: number): void {
  if (table.length !== TABLE_SIZE)
    throw malformed(`a CCEL table is ${TABLE_SIZE} bytes long, not ${table.length}`, 'CCEL')
  const reader = new Reader(table, 'CCEL table')
  if (!equalBytes(reader.bytes(4), utf8Encode('CCEL')) || reader.u32() !== TABLE_SIZE)
    throw malformed('this is no CCEL table', 'CCEL')
  if (table.reduce((sum, byte) => (sum + byte) % 256, 0) !== 0)
    throw malformed('the checksum of the CCEL table is wrong', 'CCEL')
  reader.bytes(28)
  if (reader.u8() !== CC_TYPE_TDX)
    throw new AttestationError('UNSUPPORTED_VERSION', 'the CCEL table is not for TDX', {
      path: 'CCEL.ccType',
    })
  reader.u8()
  reader.zeros(2)
  if (reader.u64() < BigInt(area))
    throw malformed('the event log is larger than the area of its CCEL table', 'CCEL.laml')
  reader.u64()
  reader.end()
}

/** The first event: a TCG_PCR_EVENT that says which digests the others carry. Gives the size per algorithm. */
function readHeader(reader: Reader): ReadonlyMap<number, number> {
  const index = reader.u32()
  if (reader.u32() !== EVENT_TYPE.EV_NO_ACTION || index > 1)
    throw malformed('the event log does not begin with its Spec ID event', 'header')
  reader.zeros(20)
  const size = reader.u32()
  if (size > 256) throw malformed('the Spec ID event is too long', 'header.size')
  const spec = new Reader(reader.bytes(size), 'Spec ID event')
  if (!equalBytes(spec.bytes(SIGNATURE.length), SIGNATURE))
    throw malformed('the event log is not in the crypto-agile format', 'header.signature')
  spec.u32()
  const minor = spec.u8()
  const major = spec.u8()
  spec.u8()
  if (major !== 2 || minor !== 0)
    throw new AttestationError('UNSUPPORTED_VERSION', `an event log of version ${major}.${minor}`, {
      path: 'header.specVersion',
    })
  const uintn = spec.u8()
  if (uintn !== 1 && uintn !== 2) throw malformed('the size of UINTN must be 1 or 2', 'header')
  const count = spec.u32()
  if (count === 0 || count > MAX_ALGORITHMS)
    throw malformed(`a number of algorithms that must be 1 to ${MAX_ALGORITHMS}`, 'header')
  const sizes = new Map<number, number>()
  for (let i = 0; i < count; i++) {
    const algorithm = spec.u16()
    const digestSize = spec.u16()
    if (sizes.has(algorithm)) throw malformed('an algorithm occurs twice', 'header.algorithms')
    if (DIGEST_SIZES.get(algorithm) !== digestSize)
      throw new AttestationError(
        'UNSUPPORTED_ALGORITHM',
        `a digest algorithm 0x${algorithm.toString(16)} of ${digestSize} bytes`,
        { path: 'header.algorithms' },
      )
    sizes.set(algorithm, digestSize)
  }
  if (!sizes.has(SHA384))
    throw new AttestationError('UNSUPPORTED_ALGORITHM', 'the event log carries no SHA-384', {
      path: 'header.algorithms',
    })
  spec.bytes(spec.u8())
  spec.end()
  return sizes
}

/** True where nothing but padding follows. */
function atEnd(reader: Reader, data: Uint8Array): boolean {
  const rest = data.subarray(reader.offset)
  const [first] = rest
  if (first === undefined) return true
  const marked = rest.length < 4 || (first === rest[1] && first === rest[2] && first === rest[3])
  if (!marked || (first !== 0 && first !== 0xff)) return false
  if (first === 0 ? isZero(rest) : rest.every((byte) => byte === 0xff)) return true
  if (first === 0) return false
  throw new AttestationError(
    'TRAILING_DATA',
    'something else than padding follows the last event',
    { path: `event log@${reader.offset}` },
  )
}

function readEvent(reader: Reader, sizes: ReadonlyMap<number, number>): LoggedEvent | null {
  const path = `event log@${reader.offset}`
  const index = reader.u32()
  const type = reader.u32()
  const count = reader.u32()
  if (count === 0 || count > sizes.size)
    throw malformed(`an event with ${count} digests, where the header has ${sizes.size}`, path)
  const digests = new Map<number, Uint8Array>()
  for (let i = 0; i < count; i++) {
    const algorithm = reader.u16()
    const size = sizes.get(algorithm)
    if (size === undefined)
      throw malformed(`the algorithm 0x${algorithm.toString(16)} is not in the header`, path)
    if (digests.has(algorithm)) throw malformed('an event with two digests of one algorithm', path)
    digests.set(algorithm, reader.bytes(size))
  }
  const digest = digests.get(SHA384)
  if (digest === undefined) throw malformed('an event without a SHA-384 digest', path)
  const size = reader.u32()
  if (size > MAX_EVENT_DATA && size <= reader.remaining)
    throw new AttestationError('TOO_LARGE', `an event of ${size} bytes`, { path })
  const data = reader.bytes(size)
  if (type === EVENT_TYPE.EV_NO_ACTION) return null
  return { register: registerOf(index, path), type, digest, data }
}

/** Index 0 is MRTD, which is not extended at run time. */
function registerOf(index: number, path: string): Register {
  switch (index) {
    case 1:
      return 0
    case 2:
      return 1
    case 3:
      return 2
    case 4:
      return 3
    default:
      throw malformed(`the measurement register ${index} (1 to 4 are RTMR0 to RTMR3)`, path)
  }
}

function malformed(message: string, path: string): AttestationError {
  return new AttestationError('FORMAT_INVALID', message, { path })
}
