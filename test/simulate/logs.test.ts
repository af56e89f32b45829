import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  bootLog,
  ccel,
  dstackLog,
  LOG_NEGATIVES,
  runtimeEvent,
  simulateTdx,
} from '../../src/simulate/index.ts'
import { replay } from '../../src/simulate/eventlog.ts'
import { judgeTdx } from './judge.ts'

const model = runtimeEvent('model-digest', new Uint8Array(32).fill(0xaa))

describe('simulated event logs', () => {
  const events = [...bootLog('log'), model]

  it('replay into the registers of the quote', () => {
    const { td } = simulateTdx({ events })
    expect(td.rtmrs).toEqual(replay(events))
    expect(new Set(td.rtmrs.map((rtmr) => Buffer.from(rtmr).toString('hex'))).size).toBe(4)
  })

  it('CCEL: the log that is written replays to the same registers', () => {
    const { table, data } = ccel(events)
    const area = Buffer.from(data)
    expect(Buffer.from(table).toString('latin1', 0, 4)).toBe('CCEL')
    expect(table.reduce((sum, byte) => (sum + byte) % 256, 0)).toBe(0)
    const registers = [0, 1, 2, 3].map(() => Buffer.alloc(48))
    let at = 32 + area.readUInt32LE(28)
    while (area.readUInt32LE(at) !== 0xffffffff) {
      const index = area.readUInt32LE(at) - 1
      const digest = area.subarray(at + 14, at + 62)
      registers[index] = createHash('sha384').update(registers[index]!).update(digest).digest()
      at += 66 + area.readUInt32LE(at + 62)
    }
    expect(registers.map((r) => new Uint8Array(r))).toEqual(replay(events))
    expect(area.subarray(at).every((byte) => byte === 0xff)).toBe(true)
  })

  it('dstack: the digest of an event at run time is that of its type, name and payload', () => {
    const log = JSON.parse(dstackLog(events)) as {
      imr: number
      event: string
      event_type: number
      event_payload: string
      digest: string
    }[]
    const last = log.at(-1)!
    expect(last).toMatchObject({ imr: 3, event: 'model-digest', event_type: 134217729 })
    const hash = createHash('sha384')
      .update(Buffer.from('01000008', 'hex'))
      .update(':model-digest:')
      .update(Buffer.from(last.event_payload, 'hex'))
    expect(last.digest).toBe(hash.digest('hex'))
  })
})

describe('negatives of event logs', () => {
  it('have distinct names', () => {
    expect(new Set(LOG_NEGATIVES.map(({ name }) => name)).size).toBe(LOG_NEGATIVES.length)
  })

  it.each(LOG_NEGATIVES)('$name: the quote is sound, whatever the log', ({ name, record }) => {
    const { evidence, log } = record()
    expect(judgeTdx(evidence, evidence.root).codes).toEqual([])
    expect(log.kind).toBe(name.startsWith('ccel') ? 'ccel' : 'dstack')
    // The log is not the one that the sound machine would tell.
    const sound = ccel([...bootLog('zt4ai'), model])
    if (log.kind === 'ccel') expect(log.data).not.toEqual(sound.data)
  })
})
