// The single owner of replaying event logs into registers, and of saying which log accounts for which register.
import { createHash } from 'node:crypto'
import { equalBytes } from '../lib/bytes.ts'
import type { LoggedEvent, ParsedLog, Register } from './event.ts'

export const REGISTERS = [0, 1, 2, 3] as const satisfies readonly Register[]

/** RTMR0 to RTMR3, 48 bytes each, after these events: RTMR = SHA-384(RTMR ‖ digest), from zeros (Intel TDX Module specification, TDG.MR.RTMR.EXTEND). */
export function replayEvents(events: readonly LoggedEvent[]): readonly Uint8Array[] {
  const registers = REGISTERS.map(() => new Uint8Array(48))
  for (const { register, digest } of events) {
    const before = registers[register] ?? new Uint8Array(48)
    registers[register] = new Uint8Array(
      createHash('sha384').update(before).update(digest).digest(),
    )
  }
  return registers
}

export interface Replay {
  /** Per register, the position of the first log that replays into it; null if none does. */
  readonly registers: readonly (number | null)[]
  /** Positions of logs with events that replay into no register at all. */
  readonly strangers: readonly number[]
  /** Per log, what it replays to: RTMR0 to RTMR3. */
  readonly replays: readonly (readonly Uint8Array[])[]
}

/**
 * Which log accounts for which signed register. A machine may have one log of its firmware and another of what runs in it, so each
 * register needs one log that replays into it, and each log must account for a register that it has events of.
 */
export function matchRegisters(logs: readonly ParsedLog[], rtmrs: readonly Uint8Array[]): Replay {
  const replays = logs.map(({ events }) => replayEvents(events))
  const fits = (log: number, register: Register): boolean => {
    const value = replays[log]?.[register]
    const rtmr = rtmrs[register]
    return value !== undefined && rtmr !== undefined && equalBytes(value, rtmr)
  }
  return {
    replays,
    registers: REGISTERS.map((register) => {
      const log = logs.findIndex((_, index) => fits(index, register))
      return log === -1 ? null : log
    }),
    strangers: logs.flatMap(({ events }, log) =>
      events.length > 0 && !events.some(({ register }) => fits(log, register)) ? [log] : [],
    ),
  }
}
