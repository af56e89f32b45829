// The single owner of simulated event logs: what a machine measured into RTMR0 to 3, written as CCEL (ACPI table and TCG log) and as dstack's JSON.
import { createHash } from 'node:crypto'
import { bytesToHex, concatBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { seededBytes } from './keys.ts'

/** One measurement. */
export interface LogEvent {
  readonly register: 0 | 1 | 2 | 3
  readonly type: number
  /** SHA-384, 48 bytes: what the register is extended with. */
  readonly digest: Uint8Array
  readonly data: Uint8Array
  /** dstack's name of the event; empty for what the firmware measured. */
  readonly name: string
}

/** TCG PC Client Platform Firmware Profile, §10.4.1, and dstack's type for events at run time. */
export const EVENT = {
  separator: 0x4,
  ipl: 0xd,
  variableDriverConfig: 0x80000001,
  bootServicesApplication: 0x80000003,
  action: 0x80000007,
  platformFirmwareBlob2: 0x8000000a,
  noAction: 0x3,
  runtime: 0x08000001,
} as const

const sha384 = (...parts: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash('sha384')
      .update(concatBytes(...parts))
      .digest(),
  )

/** An event whose digest is the hash of its data, as for separators, actions and variables. */
export function plainEvent(
  register: LogEvent['register'],
  type: number,
  data: Uint8Array,
): LogEvent {
  return { register, type, digest: sha384(data), data, name: '' }
}

/** The separator that ends the firmware's part of a register. */
export const separator = (register: LogEvent['register']): LogEvent =>
  plainEvent(register, EVENT.separator, new Uint8Array(4))

/** What GRUB measures: the log has a label and a NUL that the digest leaves out. */
export function grubEvent(label: 'grub_cmd' | 'kernel_cmdline', text: string): LogEvent {
  return {
    register: 2,
    type: EVENT.ipl,
    digest: sha384(utf8Encode(text)),
    data: utf8Encode(`${label}: ${text}\0`),
    name: '',
  }
}

/** dstack's event at run time, into RTMR3: SHA-384(type ‖ ":" ‖ name ‖ ":" ‖ payload). */
export function runtimeEvent(name: string, payload: Uint8Array): LogEvent {
  const digest = sha384(u32(EVENT.runtime), utf8Encode(`:${name}:`), payload)
  return { register: 3, type: EVENT.runtime, digest, data: payload, name }
}

/** What the simulated machine measures from reset to the kernel. */
export function bootLog(seed: string, commandLine = 'root=/dev/vda ro quiet'): readonly LogEvent[] {
  const blob = (register: LogEvent['register'], type: number, label: string): LogEvent => ({
    register,
    type,
    digest: sha384(seededBytes(seed, label, 64)),
    data: utf8Encode(label),
    name: '',
  })
  const text = (register: LogEvent['register'], type: number, message: string): LogEvent =>
    plainEvent(register, type, utf8Encode(message))
  return [
    blob(0, EVENT.platformFirmwareBlob2, 'SIMULATED firmware volume'),
    text(0, EVENT.variableDriverConfig, 'SIMULATED SecureBoot=0'),
    separator(0),
    text(1, EVENT.action, 'Calling EFI Application from Boot Option'),
    separator(1),
    blob(1, EVENT.bootServicesApplication, 'SIMULATED boot loader'),
    grubEvent('grub_cmd', 'set timeout=0'),
    blob(2, EVENT.ipl, '/boot/vmlinuz\0'),
    grubEvent('kernel_cmdline', `/boot/vmlinuz ${commandLine}`),
    text(1, EVENT.action, 'Exit Boot Services Invocation'),
    text(1, EVENT.action, 'Exit Boot Services Returned with Success'),
  ]
}

/** The four registers after the log: RTMR = SHA-384(RTMR ‖ digest), from zeros. */
export function replay(events: readonly LogEvent[]): readonly Uint8Array[] {
  return [0, 1, 2, 3].map((register) =>
    events
      .filter((event) => event.register === register && event.type !== EVENT.noAction)
      .reduce<Uint8Array>((value, event) => sha384(value, event.digest), new Uint8Array(48)),
  )
}

const SHA384_ALGORITHM = 0x000c

/** CCEL: the ACPI table (56 bytes) and the log area, padded with 0xFF to `area` bytes. */
export function ccel(
  events: readonly LogEvent[],
  area = 4096,
): { readonly table: Uint8Array; readonly data: Uint8Array } {
  // Spec ID Event03: signature, platform class 0, version 2.0, uintn size 2, one algorithm, no vendor info.
  const specId = concatBytes(
    utf8Encode('Spec ID Event03\0'),
    u32(0),
    Uint8Array.of(0, 2, 0, 2),
    u32(1),
    u16(SHA384_ALGORITHM),
    u16(48),
    Uint8Array.of(0),
  )
  const log = concatBytes(
    u32(1),
    u32(EVENT.noAction),
    new Uint8Array(20),
    u32(specId.length),
    specId,
    ...events.map((event) =>
      concatBytes(
        // The log counts registers from 1.
        u32(event.register + 1),
        u32(event.type),
        u32(1),
        u16(SHA384_ALGORITHM),
        event.digest,
        u32(event.data.length),
        event.data,
      ),
    ),
  )
  const data = new Uint8Array(area).fill(0xff)
  data.set(log)
  return { table: ccelTable(area), data }
}

/** The CCEL table of ACPI 6.5, §5.2.34, with a checksum that makes its bytes sum to zero. */
function ccelTable(area: number): Uint8Array {
  const table = Buffer.alloc(56)
  table.write('CCEL', 0)
  table.writeUInt32LE(56, 4)
  table.writeUInt8(1, 8)
  table.write('ZT4AI ', 10)
  table.write('SIMULATE', 16)
  table.writeUInt8(2, 36)
  table.writeBigUInt64LE(BigInt(area), 40)
  table.writeBigUInt64LE(0xbedbf000n, 48)
  table.writeUInt8((256 - (table.reduce((sum, byte) => sum + byte, 0) % 256)) % 256, 9)
  return new Uint8Array(table)
}

/** dstack's event log: a JSON array, payloads and digests in hex. */
export function dstackLog(events: readonly LogEvent[]): string {
  return JSON.stringify(
    events.map((event) => ({
      imr: event.register,
      event_type: event.type,
      digest: bytesToHex(event.digest),
      event: event.name,
      event_payload: event.name === '' ? '' : bytesToHex(event.data),
    })),
  )
}

function u16(value: number): Uint8Array {
  const out = Buffer.alloc(2)
  out.writeUInt16LE(value)
  return out
}

function u32(value: number): Uint8Array {
  const out = Buffer.alloc(4)
  out.writeUInt32LE(value)
  return out
}
