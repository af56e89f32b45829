// The single owner of points in time as text: RFC 3339, strictly.
import { AttestationError } from '../error.ts'

const RFC3339 =
  /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(?:Z|([+-])(\d{2}):(\d{2}))$/

/**
 * A date from its parts, or undefined if the calendar has no such moment (node's Date rolls 31 February over into March).
 * Months count from 1. A leap second is not representable and is refused.
 */
export function dateFromParts(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
  millisecond = 0,
): Date | undefined {
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  date.setUTCHours(hour, minute, second, millisecond)
  const same =
    date.getUTCFullYear() === year &&
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    date.getUTCHours() === hour &&
    date.getUTCMinutes() === minute &&
    date.getUTCSeconds() === second
  return same ? date : undefined
}

/**
 * Reads an RFC 3339 date-time: upper-case `T` and `Z`, seconds, up to nine fraction digits (cut to milliseconds), `Z` or a numeric offset.
 * @throws AttestationError FORMAT_INVALID, also for moments that the calendar does not have
 */
export function parseTime(text: string, path?: string): Date {
  const match = text.length <= 40 ? RFC3339.exec(text) : null
  if (match !== null) {
    const part = (index: number): number => Number(match[index] ?? 0)
    const fraction = (match[7] ?? '').padEnd(3, '0').slice(0, 3)
    const date = dateFromParts(
      part(1),
      part(2),
      part(3),
      part(4),
      part(5),
      part(6),
      Number(fraction),
    )
    const offsetHours = part(9)
    const offsetMinutes = part(10)
    if (date !== undefined && offsetHours <= 23 && offsetMinutes <= 59) {
      const offset = (offsetHours * 60 + offsetMinutes) * 60_000
      return new Date(date.getTime() - (match[8] === '-' ? -offset : offset))
    }
  }
  throw new AttestationError(
    'FORMAT_INVALID',
    'this is not a time in the form 2026-01-31T12:00:00Z',
    path === undefined ? {} : { path },
  )
}

/**
 * A date as RFC 3339 in UTC, `2026-01-31T12:00:00Z`; milliseconds only where there are any.
 * @throws AttestationError FORMAT_INVALID for a date outside the years 0 to 9999
 */
export function formatTime(date: Date): string {
  const text = Number.isNaN(date.getTime()) ? '' : date.toISOString()
  if (text.length !== 24) {
    throw new AttestationError('FORMAT_INVALID', 'this date has no RFC 3339 form')
  }
  return text.replace('.000Z', 'Z')
}

/** For checks, which may be asked about a moment that is none: `formatTime`, or words. */
export function describeTime(at: Date): string {
  return Number.isNaN(at.getTime()) ? 'no time' : formatTime(at)
}

/** `2026-01-01T00:00:00Z to 2026-01-31T00:00:00Z`. */
export function describeWindow(from: Date, until: Date): string {
  return `${formatTime(from)} to ${formatTime(until)}`
}
