// The single owner of judging event logs against signed registers: four checks, and the events that may be believed.
import { fail, settle, skip } from '../check.ts'
import type { EventLog } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import { bytesToHex, utf8Encode } from '../lib/bytes.ts'
import type { Problem } from '../lib/chain.ts'
import type { EvidenceCheck, ClaimField } from '../result.ts'
import { parseCcel } from './ccel.ts'
import { parseDstackLog } from './dstack.ts'
import type { ParsedLog } from './event.ts'
import { extractEvents, printable } from './extract.ts'
import type { ExtractedEvent } from './extract.ts'
import { matchRegisters } from './replay.ts'
import type { Replay } from './replay.ts'
import { describeRequired, missing } from './required.ts'
import type { RequiredEvent } from './required.ts'

const MAX_LOGS = 8
const NAMES = { ccel: 'CCEL', dstack: 'dstack' } as const
const READABLE = 'a CCEL or dstack log in its exact form'
const TRUTHFUL = 'data that are what was measured, and events where they can stand'

export interface LogAppraisal {
  readonly checks: readonly EvidenceCheck[]
  /** Register by register, in the order of measurement; empty unless every log holds. */
  readonly events: readonly ExtractedEvent[]
}

/**
 * Reads a log of either kind.
 * @throws AttestationError as `parseCcel` and `parseDstackLog` do
 */
export function parseEventLog(log: EventLog): ParsedLog {
  return log.kind === 'ccel' ? parseCcel(log) : parseDstackLog(log.text)
}

/**
 * Judges event logs against the registers of an authenticated quote. A log that was given must hold, also where nothing in it is required.
 *
 * @param rtmrs RTMR0 to RTMR3, 48 bytes each
 */
export function appraiseLogs(
  given: readonly EventLog[],
  rtmrs: readonly Uint8Array[],
  required: readonly RequiredEvent[] | undefined,
): LogAppraisal {
  const none = 'no event log was given'
  if (given.length === 0)
    return {
      events: [],
      checks: [
        skip('tdx.event-log', none),
        skip('tdx.event-log.replay', none),
        skip('tdx.event-log.events', none),
        requiredEvents(null, required, none),
      ],
    }
  const { logs, problems } = readLogs(given)
  const read = settle(
    'tdx.event-log',
    logs.length === 1 ? 'the event log can be read' : `${logs.length} event logs can be read`,
    problems,
    { expected: READABLE, actual: logs.map(describeLog).join('; ') },
  )
  if (read.status === 'fail') {
    const message = 'the event log can’t be read'
    return {
      events: [],
      checks: [
        read,
        skip('tdx.event-log.replay', message, read.code),
        skip('tdx.event-log.events', message, read.code),
        requiredEvents(null, required, message),
      ],
    }
  }
  const match = matchRegisters(logs, rtmrs)
  const { registers } = match
  const replay = settle(
    'tdx.event-log.replay',
    'the event log replays into RTMR0 to RTMR3',
    replayProblems(match, rtmrs),
    {
      expected: 'RTMR0 to RTMR3 as the quote states them',
      actual: `the same four values, from ${logs.map(describeLog).join('; ')}`,
    },
  )
  const extractions = logs.map((log) => extractEvents(log.events, log.dataMayBeStripped))
  const tricks = extractions.flatMap((extraction) => extraction.problems)
  const events = settle(
    'tdx.event-log.events',
    'the events are what was measured, wherever their type says what that is',
    tricks.slice(0, 16).map((message) => {
      const actual = `${tricks.length} contradictions`
      return { code: 'EVENT_LOG', message, expected: TRUTHFUL, actual }
    }),
    { expected: TRUTHFUL, actual: 'no contradiction' },
  )
  const sound = replay.status === 'pass' && events.status === 'pass'
  const believed = sound
    ? registers.flatMap((log, register) =>
        (extractions[log ?? -1]?.events ?? []).filter((event) => event.register === register),
      )
    : []
  return {
    events: believed,
    checks: [
      read,
      replay,
      events,
      requiredEvents(sound ? believed : null, required, 'the event log does not hold'),
    ],
  }
}

/** `CCEL with 43 events`. */
function describeLog({ kind, events }: ParsedLog): string {
  return `${NAMES[kind]} with ${events.length} events`
}

/** A register that no log accounts for, and a log that accounts for no register. */
function replayProblems(
  { registers, strangers, replays }: Replay,
  rtmrs: readonly Uint8Array[],
): Problem[] {
  const code = 'RTMR_REPLAY'
  const value = (register: number, bytes: Uint8Array | undefined): string =>
    `RTMR${register} ${bytesToHex(bytes ?? new Uint8Array())}`
  return [
    ...registers.flatMap((log, register): Problem[] => {
      if (log !== null) return []
      const [only] = replays.length === 1 ? replays : []
      return [
        {
          code,
          message: `no log replays into RTMR${register}`,
          expected: value(register, rtmrs[register]),
          actual:
            only === undefined
              ? `another value from each of ${replays.length} logs`
              : value(register, only[register]),
        },
      ]
    }),
    ...strangers.map((log): Problem => {
      const message = `log ${log} replays into no register`
      return { code, message, expected: 'logs of this machine alone', actual: message }
    }),
  ]
}

function readLogs(given: readonly EventLog[]): {
  readonly logs: readonly ParsedLog[]
  readonly problems: readonly Problem[]
} {
  if (given.length > MAX_LOGS) {
    const [message, expected] = [`more than ${MAX_LOGS} logs`, `at most ${MAX_LOGS} logs`]
    return {
      logs: [],
      problems: [{ code: 'TOO_LARGE', message, expected, actual: `${given.length}` }],
    }
  }
  const logs: ParsedLog[] = []
  const problems: Problem[] = []
  for (const log of given) {
    try {
      logs.push(parseEventLog(log))
    } catch (error) {
      if (!(error instanceof AttestationError)) throw error
      const { code, message, path } = error
      problems.push({
        code,
        message: path === undefined ? message : `${message} (${path})`,
        expected: READABLE,
        actual: `a ${NAMES[log.kind]} log that is not in its form`,
      })
    }
  }
  return { logs, problems }
}

function requiredEvents(
  events: readonly ExtractedEvent[] | null,
  required: readonly RequiredEvent[] | undefined,
  otherwise: string,
): EvidenceCheck {
  const id = 'tdx.event-log.required'
  if (required === undefined) return skip(id, 'no event is required')
  const expected = required.map(describeRequired).join('; ')
  if (events === null)
    return fail(id, 'EVENT_MISSING', `events are required; ${otherwise}`, {
      expected,
      actual: otherwise,
      hint: 'give the event log (CCEL or dstack) with the evidence',
    })
  const problems = required.flatMap((one): Problem[] => {
    const problem = missing(one, events)
    return problem === null ? [] : [{ code: 'EVENT_MISSING', ...problem }]
  })
  return settle(id, 'every required event was measured', problems, {
    expected,
    actual: 'measured so',
  })
}

const MAX_SHOWN = 1024

/** Events for a person, one field each. What was not measured itself, only its digest, is shown as the digest. */
export function eventFields(events: readonly ExtractedEvent[]): readonly ClaimField[] {
  return events.map(({ register, type, name, value, digest }) => {
    const text = value === null ? null : printable(value)
    const label =
      name === null ? '' : ` ${printable(utf8Encode(name)) ?? bytesToHex(utf8Encode(name))}`
    const field = `RTMR${register} ${type}${label}`
    if (value === null)
      return { name: field, value: bytesToHex(digest), meaning: 'opaque: its digest' }
    if (text !== null && text.length <= MAX_SHOWN) return { name: field, value: text }
    return value.length <= MAX_SHOWN / 2
      ? { name: field, value: bytesToHex(value), meaning: 'in hex' }
      : { name: field, value: bytesToHex(digest), meaning: `${value.length} bytes: their digest` }
  })
}
