// What an event means, and the tricks of logs whose digests replay.
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  EVENT_TYPE,
  eventFields,
  extractEvents,
  replayEvents,
} from '../../../attestation/eventlog/index.ts'
import type { LoggedEvent, Register } from '../../../attestation/eventlog/index.ts'
import { matchRegisters } from '../../../attestation/eventlog/replay.ts'
import { runtimePreimage } from '../../../attestation/eventlog/dstack.ts'
import { concatBytes, utf8Encode } from '../../../attestation/lib/index.ts'

const T = EVENT_TYPE
const sha384 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha384').update(bytes).digest())
const event = (
  type: number,
  data: Uint8Array | string,
  measured: Uint8Array | string = data,
  register: Register = 0,
): LoggedEvent => ({
  register,
  type,
  data: typeof data === 'string' ? utf8Encode(data) : data,
  digest: sha384(typeof measured === 'string' ? utf8Encode(measured) : measured),
})
const runtime = (
  name: string,
  data: Uint8Array,
  version: 1 | 2 = 1,
  measured = runtimePreimage(name, data, version),
  preimage?: Uint8Array,
): LoggedEvent => ({
  ...event(T.DSTACK_RUNTIME, data, measured, 3),
  runtime: { name, version, ...(preimage === undefined ? {} : { preimage }) },
})
const extract = (...events: readonly LoggedEvent[]) => extractEvents(events, false)
const ZEROS = new Uint8Array(4)
const ONES = new Uint8Array(4).fill(0xff)

/** UEFI_VARIABLE_DATA. */
function variable(name: string, content: Uint8Array): Uint8Array {
  const head = Buffer.alloc(32)
  Buffer.from('61dfe48bca93d211aa0d00e098032b8c', 'hex').copy(head)
  head.writeBigUInt64LE(BigInt(name.length), 16)
  head.writeBigUInt64LE(BigInt(content.length), 24)
  return concatBytes(head, Buffer.from(name, 'utf16le'), content)
}
const SECURE_BOOT = '8be4df61-93ca-11d2-aa0d-00e098032b8c-SecureBoot'
const on = Uint8Array.of(1)

describe('meaning', () => {
  it.each<[string, LoggedEvent, string | null, Uint8Array | null]>([
    ['a separator', event(T.EV_SEPARATOR, ZEROS), null, ZEROS],
    ['a separator of ones', event(T.EV_SEPARATOR, ONES), null, ONES],
    ['an action', event(T.EV_EFI_ACTION, 'x'), null, utf8Encode('x')],
    [
      'a variable',
      event(T.EV_EFI_VARIABLE_DRIVER_CONFIG, variable('SecureBoot', on)),
      SECURE_BOOT,
      on,
    ],
    [
      'a variable with a NUL',
      event(T.EV_EFI_VARIABLE_AUTHORITY, variable('SecureBoot\0', on)),
      SECURE_BOOT,
      on,
    ],
    [
      'a variable of the boot, measured whole',
      event(T.EV_EFI_VARIABLE_BOOT, variable('SecureBoot', on)),
      SECURE_BOOT,
      on,
    ],
    [
      'a variable of the boot, content alone',
      event(T.EV_EFI_VARIABLE_BOOT, variable('SecureBoot', on), on),
      null,
      on,
    ],
    [
      'GRUB’s command line',
      event(T.EV_IPL, 'kernel_cmdline: /k ro\0', '/k ro'),
      'kernel_cmdline',
      utf8Encode('/k ro'),
    ],
    [
      'GRUB’s command',
      event(T.EV_IPL, 'grub_cmd: set x=1\0', 'set x=1'),
      'grub_cmd',
      utf8Encode('set x=1'),
    ],
    ['a file that GRUB read', event(T.EV_IPL, '/k\0', 'content'), null, null],
    ['text that was measured whole', event(T.EV_IPL, 'text'), null, utf8Encode('text')],
    [
      'a tag whose content is elsewhere',
      event(T.EV_EVENT_TAG, 'LOADED_IMAGE', 'options'),
      null,
      null,
    ],
    ['a type that nobody knows', event(0x123, 'x', 'y'), null, null],
    ['dstack, version 1', runtime('app-id', on), 'app-id', on],
    ['dstack, version 2', runtime('app:id', on, 2), 'app:id', on],
    [
      'dstack with its preimage',
      runtime('app-id', on, 2, undefined, runtimePreimage('app-id', on, 2)),
      'app-id',
      on,
    ],
  ])('%s', (_, given, name, value) => {
    const { events, problems } = extract(given)
    expect(problems).toEqual([])
    expect(events).toMatchObject([{ name }])
    expect(events[0]?.value).toEqual(value)
  })

  it('of an event of the firmware whose data dstack left out: opaque, and a separator all the same', () => {
    const stripped = (type: number, measured: Uint8Array | string) => event(type, '', measured)
    const { events, problems } = extractEvents(
      [stripped(T.EV_EFI_ACTION, 'x'), stripped(T.EV_SEPARATOR, ZEROS), stripped(T.EV_IPL, 'y')],
      true,
    )
    expect(problems).toEqual([])
    expect(events.map(({ value }) => value)).toEqual([null, ZEROS, null])
    expect(extractEvents([stripped(T.EV_EFI_ACTION, 'x')], false).problems).toHaveLength(1)
    expect(extractEvents([stripped(T.EV_SEPARATOR, 'x')], true).problems).toHaveLength(1)
  })
})

describe('for a person', () => {
  const shown = (name: string | null, value: Uint8Array | null) =>
    eventFields([{ register: 3, type: 'T', name, value, digest: new Uint8Array(48) }])[0]

  it.each<[string, string | null, Uint8Array | null, object]>([
    ['text', 'a', utf8Encode('b c'), { name: 'RTMR3 T a', value: 'b c' }],
    ['bytes', 'a', on, { name: 'RTMR3 T a', value: '01', meaning: 'in hex' }],
    ['nothing', null, new Uint8Array(), { name: 'RTMR3 T', value: '', meaning: 'in hex' }],
    ['opaque', null, null, { value: '00'.repeat(48), meaning: 'opaque: its digest' }],
    ['an escape sequence', 'a', utf8Encode('\u001b[2J'), { value: '1b5b324a', meaning: 'in hex' }],
    ['a line end', 'a', utf8Encode('a\nb'), { value: '610a62', meaning: 'in hex' }],
    ['text that turns around', 'a', utf8Encode('\u202eab'), { value: 'e280ae6162' }],
    ['a name that turns around', '\u202eab', on, { name: 'RTMR3 T e280ae6162' }],
    ['much', 'a', utf8Encode('x'.repeat(1025)), { meaning: '1025 bytes: their digest' }],
  ])('%s', (_, name, value, field) => {
    expect(shown(name, value)).toMatchObject(field)
  })
})

describe('tricks', () => {
  const error = Uint8Array.of(1, 0, 0, 0)
  it.each<[string, readonly LoggedEvent[]]>([
    ['two separators', [event(T.EV_SEPARATOR, ZEROS), event(T.EV_SEPARATOR, ZEROS)]],
    [
      'two separators of different value',
      [event(T.EV_SEPARATOR, ZEROS), event(T.EV_SEPARATOR, ONES)],
    ],
    ['a separator that tells an error', [event(T.EV_SEPARATOR, error)]],
    ['a separator that hides an error', [event(T.EV_SEPARATOR, ZEROS, error)]],
    ['a separator of another length', [event(T.EV_SEPARATOR, new Uint8Array(8))]],
    ['a separator with other data', [event(T.EV_SEPARATOR, error, ZEROS)]],
    ['a separator that hides as another type', [event(T.EV_EFI_ACTION, ZEROS)]],
    ['a separator that hides as opaque', [event(T.EV_IPL, '/k\0', ZEROS)]],
    ['a separator that hides as a tag', [event(T.EV_EVENT_TAG, 'x', ZEROS)]],
    [
      'a mark of the boot that hides as opaque',
      [event(T.EV_EVENT_TAG, 'x', 'Exit Boot Services Invocation')],
    ],
    [
      'firmware after the separator',
      [event(T.EV_SEPARATOR, ZEROS), event(T.EV_EFI_PLATFORM_FIRMWARE_BLOB2, 'x', 'y')],
    ],
    [
      'Secure Boot after the separator',
      [
        event(T.EV_SEPARATOR, ZEROS),
        event(T.EV_EFI_VARIABLE_DRIVER_CONFIG, variable('SecureBoot', on)),
      ],
    ],
    ['a forged action', [event(T.EV_EFI_ACTION, 'x', 'y')]],
    [
      'a forged variable',
      [event(T.EV_EFI_VARIABLE_DRIVER_CONFIG, variable('SecureBoot', on), 'y')],
    ],
    [
      'a forged variable of the boot',
      [event(T.EV_EFI_VARIABLE_BOOT, variable('BootOrder', on), 'y')],
    ],
    ['a forged partition table', [event(T.EV_EFI_GPT_EVENT, 'x', 'y')]],
    ['a forged command line', [event(T.EV_IPL, 'kernel_cmdline: ro\0', 'rw')]],
    ['a command line with its label measured', [event(T.EV_IPL, 'kernel_cmdline: ro\0')]],
    ['a forged payload', [runtime('app-id', on, 1, runtimePreimage('app-id', ZEROS, 1))]],
    ['a forged name', [runtime('app-id', on, 1, runtimePreimage('other', on, 1))]],
    ['version 1 that says version 2', [runtime('app-id', on, 2, runtimePreimage('app-id', on, 1))]],
    ['a name that runs into its payload', [runtime('a:b', on)]],
    ['no name', [runtime('', on)]],
    ['another preimage', [runtime('app-id', on, 2, undefined, on)]],
  ])('%s', (_, events) => {
    expect(extract(...events).problems).toHaveLength(1)
  })

  it('are told one by one', () => {
    expect(
      extract(event(T.EV_SEPARATOR, error), event(T.EV_EFI_ACTION, 'x', 'y')).problems,
    ).toEqual([
      'RTMR0, event 0 (EV_SEPARATOR): a separator that tells an error, or is not what was measured',
      'RTMR0, event 1 (EV_EFI_ACTION): its data are not what was measured',
    ])
  })

  it('a separator in each register is none', () => {
    const registers = [0, 1, 2, 3] as const
    expect(
      extract(...registers.map((register) => event(T.EV_SEPARATOR, ZEROS, ZEROS, register)))
        .problems,
    ).toEqual([])
  })
})

describe('properties', () => {
  const anyEvent = fc.record({
    register: fc.constantFrom<Register>(0, 1, 2, 3),
    type: fc.oneof(fc.constantFrom(...Object.values(T)), fc.nat()),
    data: fc.uint8Array({ maxLength: 80 }),
    digest: fc.uint8Array({ minLength: 48, maxLength: 48 }),
  })

  it('a value is believed only where the digest covers it', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 8 }), (events) => {
        const { events: extracted } = extract(...events)
        expect(extracted).toHaveLength(events.length)
        for (const { value } of extracted) expect(value).toBeNull()
      }),
      { numRuns: 200 },
    )
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 8 }), (events) => {
        const honest = events.map((one) => ({ ...one, digest: sha384(one.data) }))
        for (const [index, { name, value }] of extract(...honest).events.entries())
          if (name === null && value !== null) expect(value).toEqual(honest[index]?.data)
      }),
      { numRuns: 200 },
    )
  })

  it('any other order of one register’s events replays into another value', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.uint8Array({ minLength: 48, maxLength: 48 }), {
          minLength: 2,
          maxLength: 6,
          selector: String,
        }),
        fc.nat(),
        (digests, at) => {
          const events = digests.map((digest) => ({
            register: 2 as const,
            type: 4,
            data: ZEROS,
            digest,
          }))
          const turned = [...events]
          const index = at % (events.length - 1)
          turned.splice(index, 2, ...events.slice(index, index + 2).reverse())
          expect(replayEvents(turned)[2]).not.toEqual(replayEvents(events)[2])
        },
      ),
      { numRuns: 100 },
    )
  })

  it('each register needs a log, and each log a register', () => {
    const low = [event(T.EV_IPL, 'a', 'a', 0), event(T.EV_IPL, 'b', 'b', 2)]
    const high = [event(T.EV_IPL, 'c', 'c', 3)]
    const log = (events: readonly LoggedEvent[]) =>
      ({ kind: 'ccel', events, dataMayBeStripped: false }) as const
    const rtmrs = replayEvents([...low, ...high])
    expect(matchRegisters([log(low), log(high)], rtmrs)).toMatchObject({
      registers: [0, 0, 0, 1],
      strangers: [],
    })
    expect(matchRegisters([log(low)], rtmrs).registers[3]).toBeNull()
    expect(
      matchRegisters([log([...low, ...high]), log([event(T.EV_IPL, 'd')])], rtmrs).strangers,
    ).toEqual([1])
    // A log without events accounts for registers that are still zero, and for nothing else.
    expect(matchRegisters([log([])], rtmrs).registers).toEqual([null, 0, null, null])
  })
})
