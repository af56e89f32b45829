// Genuine event logs: they replay into the quotes that they belong to, and what they tell is what was measured.
import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import {
  eventFields,
  extractEvents,
  parseEventLog,
  replayEvents,
} from '../../../attestation/eventlog/index.ts'
import type { ExtractedEvent } from '../../../attestation/eventlog/index.ts'
import { utf8Decode } from '../../../attestation/lib/bytes.ts'
import { haveShared } from '../../shared.ts'
import { bytesOf, DUPLICATED_SEPARATOR, failuresOf, judgeLogs, RECORDED_LOGS } from './samples.ts'

const sha384 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha384').update(bytes).digest())

describe.skipIf(!haveShared)('recorded', () => {
  it('tdx/v4-ccel: 43 events replay into RTMR0 to RTMR3', () => {
    const { logs, rtmrs } = RECORDED_LOGS.ccel()
    const [log] = logs
    if (log?.kind !== 'ccel') throw new Error('no CCEL log')
    expect(log.table).toBeDefined()
    const parsed = parseEventLog(log)
    expect(parsed.events).toHaveLength(43)
    expect(replayEvents(parsed.events)).toEqual(rtmrs)
    expect(failuresOf(judgeLogs(logs, rtmrs))).toEqual([])
  })

  it('tdx/v4-ccel: events by name, and which of them are opaque', () => {
    const { logs, rtmrs } = RECORDED_LOGS.ccel()
    const { events } = judgeLogs(logs, rtmrs)
    const opaque = events.filter(({ value }) => value === null).map(({ type }) => type)
    // Contents that are nowhere in the log: firmware, ACPI tables, applications, files and lists of the boot loader.
    expect([...new Set(opaque)].sort()).toEqual([
      'EV_EFI_BOOT_SERVICES_APPLICATION',
      'EV_EFI_HANDOFF_TABLES2',
      'EV_EFI_PLATFORM_FIRMWARE_BLOB2',
      'EV_IPL',
      'EV_PLATFORM_CONFIG_FLAGS',
    ])
    expect(opaque).toHaveLength(12)
    const named = (name: string) => events.filter((event) => event.name === name)
    expect(named('8be4df61-93ca-11d2-aa0d-00e098032b8c-SecureBoot')).toMatchObject([
      { register: 0, type: 'EV_EFI_VARIABLE_DRIVER_CONFIG', value: Uint8Array.of(0) },
    ])
    const [line] = named('kernel_cmdline')
    expect(utf8Decode(line?.value ?? new Uint8Array())).toMatch(
      /^\/syslinux\/vmlinuz\.A init=\/usr\/lib\/systemd\/systemd rootwait ro /,
    )
    expect(named('grub_cmd')).toHaveLength(14)
    expect(eventFields(events)).toContainEqual({
      name: 'RTMR1 EV_EFI_ACTION',
      value: 'Exit Boot Services Returned with Success',
    })
  })

  it('tdx/v4-uptodate-eval20: dstack’s log replays into RTMR0 to RTMR3', () => {
    const { logs, rtmrs } = RECORDED_LOGS.dstack()
    const result = judgeLogs(logs, rtmrs, [
      {
        register: 3,
        name: 'compose-hash',
        hex: ['2911e1f733466216dedb862d6d669e11256ee7a34ce4dbc66c4b807ba7a9c895'],
      },
      { register: 3, name: 'storage-fs', text: ['ext4', 'zfs'] },
    ])
    expect(failuresOf(result)).toEqual([])
    expect(
      result.events.filter(({ type }) => type === 'DSTACK_RUNTIME').map(({ name }) => name),
    ).toEqual([
      'system-preparing',
      'app-id',
      'compose-hash',
      'instance-id',
      'boot-mr-done',
      'key-provider',
      'storage-fs',
      'system-ready',
      'mpc-image-digest',
    ])
  })

  it('tdx/v4-uptodate-eval20: the same with the digests of events at run time left blank', () => {
    const { logs, rtmrs } = RECORDED_LOGS.dstack()
    const [log] = logs
    if (log?.kind !== 'dstack') throw new Error('no dstack log')
    const events = JSON.parse(log.text) as { event_type: number; digest: string }[]
    const text = JSON.stringify(
      events.map((event) => (event.event_type === 134217729 ? { ...event, digest: '' } : event)),
    )
    expect(failuresOf(judgeLogs([{ kind: 'dstack', text }], rtmrs))).toEqual([])
  })

  it('eventlog: a duplicated separator is refused at extraction although the digests replay', () => {
    const log = { kind: 'ccel', data: bytesOf(DUPLICATED_SEPARATOR) } as const
    const { events } = parseEventLog(log)
    expect(extractEvents(events, false).problems).toEqual([
      'RTMR0, event 15 (EV_SEPARATOR): a second separator in one register',
    ])
    // The registers that were really extended so: nothing in the digests gives it away.
    const result = judgeLogs([log], replayEvents(events))
    expect(failuresOf(result)).toEqual(['.events:EVENT_LOG'])
    expect(result.events).toEqual([])
  })

  it('a log of another machine does not replay', () => {
    const { logs } = RECORDED_LOGS.ccel()
    expect(failuresOf(judgeLogs(logs, RECORDED_LOGS.dstack().rtmrs))).toEqual([
      '.replay:RTMR_REPLAY',
    ])
  })

  it('cut at every length: a typed error, or registers that are not the quote’s', () => {
    const { logs, rtmrs } = RECORDED_LOGS.ccel()
    const [log] = logs
    if (log?.kind !== 'ccel') throw new Error('no CCEL log')
    const end = log.data.findLastIndex((byte) => byte !== 0xff) + 1
    for (let length = 0; length < end; length++) {
      const cut = judgeLogs([{ kind: 'ccel', data: log.data.subarray(0, length) }], rtmrs)
      expect(failuresOf(cut).length, `${length}`).toBeGreaterThan(0)
      expect(cut.events).toEqual([])
    }
    for (let length = end; length < end + 16; length++)
      expect(
        failuresOf(judgeLogs([{ kind: 'ccel', data: log.data.subarray(0, length) }], rtmrs)),
      ).toEqual([])
  })

  it('dstack’s log cut at every length', () => {
    const { logs, rtmrs } = RECORDED_LOGS.dstack()
    const [log] = logs
    if (log?.kind !== 'dstack') throw new Error('no dstack log')
    for (let length = 0; length < log.text.length - 1; length += 3) {
      const cut = judgeLogs([{ kind: 'dstack', text: log.text.slice(0, length) }], rtmrs)
      expect(failuresOf(cut), `${length}`).toHaveLength(1)
    }
  })

  /** A type is not part of what was measured; a name and its value are, and so is every value without a name. */
  function expectBelievable(
    events: readonly ExtractedEvent[],
    sound: readonly ExtractedEvent[],
    at: number,
  ): void {
    for (const [index, { name, value, digest }] of events.entries()) {
      const was = sound[index]
      if (name !== null) expect([name, value], `${at}`).toEqual([was?.name, was?.value])
      else if (value !== null && was?.name !== null) expect(sha384(value), `${at}`).toEqual(digest)
      else if (value !== null) expect(value, `${at}`).toEqual(was?.value)
    }
  }

  it('a flipped bit is refused, or changes nothing that is believed', () => {
    const { logs, rtmrs } = RECORDED_LOGS.ccel()
    const [log] = logs
    if (log?.kind !== 'ccel') throw new Error('no CCEL log')
    const sound = judgeLogs(logs, rtmrs).events
    const end = log.data.findLastIndex((byte) => byte !== 0xff) + 1
    const area = log.data.slice(0, end + 64)
    let refused = 0
    for (let at = 0; at < area.length; at += 13) {
      const bit = 1 << ((at * 5) % 8)
      area[at] = (area[at] ?? 0) ^ bit
      const result = judgeLogs([{ kind: 'ccel', data: area }], rtmrs)
      if (failuresOf(result).length > 0) refused++
      else expectBelievable(result.events, sound, at)
      area[at] = (area[at] ?? 0) ^ bit
    }
    expect(refused).toBeGreaterThan((end / 13) * 0.9)
  })

  it('a flipped bit in dstack’s log is refused, or changes nothing that is believed', () => {
    const { logs, rtmrs } = RECORDED_LOGS.dstack()
    const [log] = logs
    if (log?.kind !== 'dstack') throw new Error('no dstack log')
    const sound = judgeLogs(logs, rtmrs).events
    for (let at = 0; at < log.text.length; at += 3) {
      const flipped = String.fromCharCode(log.text.charCodeAt(at) ^ (1 << (at % 7)))
      const text = log.text.slice(0, at) + flipped + log.text.slice(at + 1)
      const result = judgeLogs([{ kind: 'dstack', text }], rtmrs)
      if (failuresOf(result).length === 0) expectBelievable(result.events, sound, at)
    }
  })

  it('nothing but the typed error leaves the readers', () => {
    for (const data of [new Uint8Array(), new Uint8Array(64), new Uint8Array(300).fill(0xff)])
      expect(() => parseEventLog({ kind: 'ccel', data })).toThrow(AttestationError)
  })
})
