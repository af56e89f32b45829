// The single owner of what an event of a log is, and of the event types that this verifier knows by name.

/** A run-time measurement register of a TD. */
export type Register = 0 | 1 | 2 | 3

/** One event as a log states it. Only its digest is bound to the register, and only once the whole log replays. */
export interface LoggedEvent {
  readonly register: Register
  readonly type: number
  /** SHA-384, 48 bytes: what the register is extended with. */
  readonly digest: Uint8Array
  readonly data: Uint8Array
  /** Set for an event at run time of dstack, whose digest covers name and payload. */
  readonly runtime?: RuntimeName
}

export interface RuntimeName {
  readonly name: string
  /** Which of dstack's two digest rules the log says holds. */
  readonly version: 1 | 2
  /** What was hashed, where the log repeats it. */
  readonly preimage?: Uint8Array
}

/** A log that was read and not yet believed. */
export interface ParsedLog {
  readonly kind: 'ccel' | 'dstack'
  /** In the order of the log, without those that extend nothing (EV_NO_ACTION). */
  readonly events: readonly LoggedEvent[]
  /** True if the log may leave out the data of an event of the firmware, as dstack does to save room. */
  readonly dataMayBeStripped: boolean
}

/** More events than any genuine boot has (tens to a few hundred). */
export const MAX_EVENTS = 4096
/** The largest genuine event is a list of signature databases, tens of KiB. */
export const MAX_EVENT_DATA = 1 << 20

/** TCG PC Client Platform Firmware Profile 1.06, §10.4.1, and dstack's own type for events at run time. */
export const EVENT_TYPE = {
  EV_PREBOOT_CERT: 0x0,
  EV_POST_CODE: 0x1,
  EV_NO_ACTION: 0x3,
  EV_SEPARATOR: 0x4,
  EV_ACTION: 0x5,
  EV_EVENT_TAG: 0x6,
  EV_S_CRTM_CONTENTS: 0x7,
  EV_S_CRTM_VERSION: 0x8,
  EV_CPU_MICROCODE: 0x9,
  EV_PLATFORM_CONFIG_FLAGS: 0xa,
  EV_TABLE_OF_DEVICES: 0xb,
  EV_COMPACT_HASH: 0xc,
  EV_IPL: 0xd,
  EV_IPL_PARTITION_DATA: 0xe,
  EV_NONHOST_CODE: 0xf,
  EV_NONHOST_CONFIG: 0x10,
  EV_NONHOST_INFO: 0x11,
  EV_OMIT_BOOT_DEVICE_EVENTS: 0x12,
  EV_POST_CODE2: 0x13,
  DSTACK_RUNTIME: 0x08000001,
  EV_EFI_VARIABLE_DRIVER_CONFIG: 0x80000001,
  EV_EFI_VARIABLE_BOOT: 0x80000002,
  EV_EFI_BOOT_SERVICES_APPLICATION: 0x80000003,
  EV_EFI_BOOT_SERVICES_DRIVER: 0x80000004,
  EV_EFI_RUNTIME_SERVICES_DRIVER: 0x80000005,
  EV_EFI_GPT_EVENT: 0x80000006,
  EV_EFI_ACTION: 0x80000007,
  EV_EFI_PLATFORM_FIRMWARE_BLOB: 0x80000008,
  EV_EFI_HANDOFF_TABLES: 0x80000009,
  EV_EFI_PLATFORM_FIRMWARE_BLOB2: 0x8000000a,
  EV_EFI_HANDOFF_TABLES2: 0x8000000b,
  EV_EFI_VARIABLE_BOOT2: 0x8000000c,
  EV_EFI_GPT_EVENT2: 0x8000000d,
  EV_EFI_HCRTM_EVENT: 0x80000010,
  EV_EFI_VARIABLE_AUTHORITY: 0x800000e0,
  EV_EFI_SPDM_FIRMWARE_BLOB: 0x800000e1,
  EV_EFI_SPDM_FIRMWARE_CONFIG: 0x800000e2,
  EV_EFI_SPDM_DEVICE_POLICY: 0x800000e3,
  EV_EFI_SPDM_DEVICE_AUTHORITY: 0x800000e4,
} as const

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(EVENT_TYPE).map(([name, type]) => [type, name]),
)

/** The name of a type; its number where this verifier has no name for it. */
export function typeName(type: number): string {
  return NAMES.get(type) ?? `0x${type.toString(16)}`
}
