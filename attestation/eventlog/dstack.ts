// The single owner of dstack's event log: a JSON array of events, and the two rules by which an event at run time is hashed.
import { createHash } from 'node:crypto'
import { AttestationError } from '../error.ts'
import { bytesToHex, concatBytes, hexToBytes, utf8Encode } from '../lib/bytes.ts'
import * as decode from '../lib/decode.ts'
import type { Decoder } from '../lib/decode.ts'
import { parseJson } from '../lib/json.ts'
import { EVENT_TYPE, MAX_EVENT_DATA, MAX_EVENTS } from './event.ts'
import type { LoggedEvent, ParsedLog, Register } from './event.ts'

/** The largest log text that is read. */
export const MAX_LOG_TEXT = 4 << 20

const payload = decode.string({ max: 2 * MAX_EVENT_DATA })
const data: Decoder<Uint8Array> = (value, path) => hexToBytes(payload(value, path), { path })
const register: Decoder<Register> = (value, path) =>
  decode.integer({ min: 0, max: 3 })(value, path) as Register
const version: Decoder<1 | 2> = (value, path) =>
  decode.integer({ min: 1, max: 2 })(value, path) as 1 | 2

const eventShape = decode.object({
  imr: register,
  event_type: decode.integer({ min: 0, max: 0xffff_ffff }),
  digest: decode.optional(decode.string({ max: 96, pattern: /^(?:[0-9a-fA-F]{96})?$/ })),
  event: decode.string({ max: 1024 }),
  event_payload: data,
  version: decode.optional(version),
  preimage: decode.optional(data),
})
const logShape = decode.array(eventShape, { max: MAX_EVENTS })

/**
 * Reads dstack's event log: the fields `imr`, `event_type`, `digest`, `event`, `event_payload` of its `TdxEvent`, and `version` and
 * `preimage` of newer ones. A digest that was left blank is computed; the name of an event of the firmware is a note of the
 * producer that no digest covers, and is dropped.
 * @throws AttestationError FORMAT_INVALID with the JSON path, and what JSON throws
 */
export function parseDstackLog(text: string): ParsedLog {
  const events = logShape(parseJson(text, { maxBytes: MAX_LOG_TEXT, maxDepth: 3 }), '$')
  return {
    kind: 'dstack',
    events: events
      .map((event, index) => readEvent(event, `$[${index}]`))
      .filter(({ type }) => type !== EVENT_TYPE.EV_NO_ACTION),
    dataMayBeStripped: true,
  }
}

function readEvent(event: ReturnType<typeof eventShape>, path: string): LoggedEvent {
  const { imr, event_type: type, event: name, event_payload: bytes } = event
  const { digest = '', version: rule = 1, preimage } = event
  if (type !== EVENT_TYPE.DSTACK_RUNTIME) {
    if (digest === '')
      throw new AttestationError('FORMAT_INVALID', `${path}: an event without a digest`, {
        path: `${path}.digest`,
      })
    return { register: imr, type, digest: hexToBytes(digest), data: bytes }
  }
  return {
    register: imr,
    type,
    digest: digest === '' ? sha384(runtimePreimage(name, bytes, rule)) : hexToBytes(digest),
    data: bytes,
    runtime: { name, version: rule, ...(preimage === undefined ? {} : { preimage }) },
  }
}

/**
 * What dstack hashes for an event at run time. Version 1: type (u32, little-endian) ‖ ":" ‖ name ‖ ":" ‖ payload. Version 2: the JSON
 * object of name, payload (hex) and type in the canonical form of RFC 8785, which for these three members is JSON.stringify in this order.
 */
export function runtimePreimage(name: string, bytes: Uint8Array, rule: 1 | 2): Uint8Array {
  const type = EVENT_TYPE.DSTACK_RUNTIME
  if (rule === 2) return utf8Encode(JSON.stringify({ name, payload: bytesToHex(bytes), type }))
  const head = new Uint8Array(4)
  new DataView(head.buffer).setUint32(0, type, true)
  return concatBytes(head, utf8Encode(`:${name}:`), bytes)
}

function sha384(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha384').update(bytes).digest())
}
