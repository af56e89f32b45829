// The single owner of the negatives that lie in event logs: the quote is sound, the log that comes with it is not.
import { utf8Encode } from '../../attestation/lib/index.ts'
import type { Code, EventLog } from '../../attestation/index.ts'
import {
  bootLog,
  ccel,
  dstackLog,
  EVENT,
  plainEvent,
  replay,
  runtimeEvent,
  separator,
  type LogEvent,
} from './eventlog.ts'
import { WELL_KNOWN_SEED } from './keys.ts'
import { simulateTdx, type TdxEvidence } from './tdx.ts'

/** A sound quote with a log that must be refused. Judge at `evidence.at`, trusting `evidence.root`. */
export interface LogNegative {
  readonly name: string
  readonly why: string
  readonly codes: readonly Code[]
  readonly record: (seed?: string) => { readonly evidence: TdxEvidence; readonly log: EventLog }
}

/** What was measured, and what the log says was measured. */
interface Told {
  readonly measured: readonly LogEvent[]
  readonly told: readonly LogEvent[]
}

function negative(
  name: string,
  codes: readonly Code[],
  why: string,
  kind: 'ccel' | 'dstack',
  tell: (events: readonly LogEvent[]) => Told,
  patch: (log: Buffer) => void = () => undefined,
): LogNegative {
  return {
    name: `${kind}-${name}`,
    why,
    codes,
    record: (seed = WELL_KNOWN_SEED) => {
      const { measured, told } = tell([...bootLog(seed), MODEL])
      const evidence = simulateTdx({ seed, events: told, td: { rtmrs: replay(measured) } })
      if (kind === 'dstack') return { evidence, log: { kind, text: dstackLog(told) } }
      const { table, data } = ccel(told)
      const log = Buffer.from(data)
      patch(log)
      return { evidence, log: { kind, table, data: new Uint8Array(log) } }
    },
  }
}

const MODEL = runtimeEvent('model-digest', new Uint8Array(32).fill(0xaa))

/** The log tells something else than was measured. */
const lying =
  (tell: (events: readonly LogEvent[]) => readonly LogEvent[]) =>
  (events: readonly LogEvent[]): Told => ({ measured: events, told: tell(events) })
/** What the log tells was measured, but is not what it looks like. */
const honest =
  (change: (events: readonly LogEvent[]) => readonly LogEvent[]) =>
  (events: readonly LogEvent[]): Told => ({ measured: change(events), told: change(events) })
const same = honest((events) => events)

const startsWith = (event: LogEvent, text: string): boolean =>
  Buffer.from(event.data).toString('latin1').startsWith(text)
/** Other data under the digest of the real data. */
const forged =
  (start: string, data: Uint8Array) =>
  (events: readonly LogEvent[]): readonly LogEvent[] =>
    events.map((event) => (startsWith(event, start) ? { ...event, data } : event))
const extra = plainEvent(1, EVENT.action, utf8Encode('Never happened'))

/** Offset of the first event behind the header. */
const firstEvent = (log: Buffer): number => 32 + log.readUInt32LE(28)
/** Offset behind the last event. */
function end(log: Buffer): number {
  let at = firstEvent(log)
  while (log.readUInt32LE(at) !== 0xffffffff) at += 66 + log.readUInt32LE(at + 62)
  return at
}

const replayed = (kind: 'ccel' | 'dstack'): readonly LogNegative[] => [
  negative(
    'event-dropped',
    ['RTMR_REPLAY'],
    'one measured event is not in the log',
    kind,
    lying((e) => e.slice(1)),
  ),
  negative(
    'event-added',
    ['RTMR_REPLAY'],
    'one event in the log was not measured',
    kind,
    lying((e) => [...e, extra]),
  ),
  negative(
    'events-swapped',
    ['RTMR_REPLAY'],
    'the order of two events of one register is turned',
    kind,
    lying(([a, b, ...e]) => [b, a, ...e].filter((each) => each !== undefined)),
  ),
  negative(
    'digest-changed',
    ['RTMR_REPLAY'],
    'the digest of the command line is another',
    kind,
    lying((e) =>
      e.map((event) =>
        startsWith(event, 'kernel_cmdline') ? { ...event, digest: new Uint8Array(48) } : event,
      ),
    ),
  ),
  negative(
    'register-moved',
    ['RTMR_REPLAY'],
    'an event of RTMR3 is told as one of RTMR2',
    kind,
    lying((e) => e.map((event) => (event.register === 3 ? { ...event, register: 2 } : event))),
  ),
]

/** Every negative of event logs. */
export const LOG_NEGATIVES: readonly LogNegative[] = [
  ...replayed('ccel'),
  ...replayed('dstack'),
  negative(
    'separator-twice',
    ['EVENT_LOG'],
    'a second separator, so that what follows the first passes for firmware',
    'ccel',
    honest((e) => [...e, separator(0)]),
  ),
  negative(
    'separator-forged',
    ['EVENT_LOG'],
    "a separator's data are not what its digest says",
    'ccel',
    lying(forged('\0\0\0\0', Uint8Array.of(1, 0, 0, 0))),
  ),
  negative(
    'action-forged',
    ['EVENT_LOG'],
    "an action's text is not what its digest says",
    'ccel',
    lying(forged('Exit Boot Services Invocation', utf8Encode('Exit Boot Services Never'))),
  ),
  negative(
    'command-line-forged',
    ['EVENT_LOG'],
    'the command line is not what its digest says',
    'ccel',
    lying(forged('kernel_cmdline', utf8Encode('kernel_cmdline: /boot/vmlinuz ro harmless\0'))),
  ),
  negative(
    'payload-forged',
    ['EVENT_LOG'],
    "the payload of the model's event is not what its digest says",
    'dstack',
    lying((e) =>
      e.map((event) =>
        event === MODEL ? { ...event, data: new Uint8Array(32).fill(0xbb) } : event,
      ),
    ),
  ),
  negative(
    'name-forged',
    ['EVENT_LOG'],
    'the event is named otherwise than it was measured',
    'dstack',
    lying((e) => e.map((event) => (event === MODEL ? { ...event, name: 'app-id' } : event))),
  ),
  negative(
    'register-0',
    ['FORMAT_INVALID'],
    'the log counts registers from 1',
    'ccel',
    same,
    (log) => log.writeUInt32LE(0, firstEvent(log)),
  ),
  negative('register-5', ['FORMAT_INVALID'], 'there are four registers', 'ccel', same, (log) =>
    log.writeUInt32LE(5, firstEvent(log)),
  ),
  negative('no-digest', ['FORMAT_INVALID'], 'an event with no digest', 'ccel', same, (log) =>
    log.writeUInt32LE(0, firstEvent(log) + 8),
  ),
  negative(
    'many-digests',
    ['FORMAT_INVALID'],
    'an event with more digests than the header has algorithms',
    'ccel',
    same,
    (log) => log.writeUInt32LE(2, firstEvent(log) + 8),
  ),
  negative(
    'digest-algorithm',
    ['FORMAT_INVALID'],
    'an event whose algorithm is not in the header',
    'ccel',
    same,
    (log) => log.writeUInt16LE(0x000b, firstEvent(log) + 12),
  ),
  negative(
    'event-too-long',
    ['TRUNCATED'],
    'an event that is longer than the log',
    'ccel',
    same,
    (log) => log.writeUInt32LE(0x7fffffff, firstEvent(log) + 62),
  ),
  negative(
    'trailing-data',
    ['TRAILING_DATA'],
    'something else than padding after the last event',
    'ccel',
    same,
    (log) => log.write('hidden', end(log) + 100),
  ),
]
