// The single owner of what an event means: which part of it the digest covers, and the tricks that a log can play although it replays.
import { createHash } from 'node:crypto'
import { AttestationError } from '../error.ts'
import { bytesToHex, equalBytes, utf8Decode, utf8Encode } from '../lib/bytes.ts'
import { runtimePreimage } from './dstack.ts'
import { EVENT_TYPE, typeName } from './event.ts'
import type { LoggedEvent, Register } from './event.ts'

/** One event after extraction. */
export interface ExtractedEvent {
  readonly register: Register
  /** The TCG's name of the type, `DSTACK_RUNTIME`, or a number as hex. No digest covers it, except that of an event at run time. */
  readonly type: string
  /** What a policy can ask for: GRUB's label, dstack's name, a UEFI variable as `{vendor GUID}-{name}`. Null for everything else. */
  readonly name: string | null
  /** What the digest was computed of, and so was measured. Null if the event is opaque: then only its digest was measured. */
  readonly value: Uint8Array | null
  /** SHA-384, 48 bytes. */
  readonly digest: Uint8Array
}

export interface Extraction {
  readonly events: readonly ExtractedEvent[]
  /** Why the log can't be believed although it may replay. */
  readonly problems: readonly string[]
}

const T = EVENT_TYPE

/** Types whose digest is that of the event data (TCG PC Client Platform Firmware Profile 1.06, table 27). */
const OF_DATA: ReadonlySet<number> = new Set([
  T.EV_ACTION,
  T.EV_EFI_ACTION,
  T.EV_EFI_HCRTM_EVENT,
  T.EV_OMIT_BOOT_DEVICE_EVENTS,
  T.EV_EFI_GPT_EVENT,
  T.EV_EFI_GPT_EVENT2,
  T.EV_EFI_VARIABLE_DRIVER_CONFIG,
  T.EV_EFI_VARIABLE_AUTHORITY,
  T.EV_EFI_VARIABLE_BOOT2,
])
const OF_VARIABLE: ReadonlySet<number> = new Set([
  T.EV_EFI_VARIABLE_DRIVER_CONFIG,
  T.EV_EFI_VARIABLE_AUTHORITY,
  T.EV_EFI_VARIABLE_BOOT2,
])

/** Types that describe what was there before anything else ran: after the separator nothing of the kind is measured. */
const BEFORE_SEPARATOR: ReadonlySet<number> = new Set([
  T.EV_POST_CODE,
  T.EV_POST_CODE2,
  T.EV_S_CRTM_CONTENTS,
  T.EV_S_CRTM_VERSION,
  T.EV_CPU_MICROCODE,
  T.EV_EFI_HCRTM_EVENT,
  T.EV_EFI_PLATFORM_FIRMWARE_BLOB,
  T.EV_EFI_PLATFORM_FIRMWARE_BLOB2,
  T.EV_EFI_VARIABLE_DRIVER_CONFIG,
])

/** What GRUB writes before the text that it measures; the digest leaves it, and the NUL at the end, out. */
const GRUB_LABELS = ['grub_cmd', 'kernel_cmdline', 'module_cmdline'] as const

/** A separator that does not tell an error (TCG PFP, §10.4.4: zero, or all ones). */
const SEPARATORS: readonly Uint8Array[] = [new Uint8Array(4), new Uint8Array(4).fill(0xff)]
/** Actions that mark how far the boot came (TCG PFP, §10.4.5). */
const MARKS: readonly Uint8Array[] = [
  'Calling EFI Application from Boot Option',
  'Returning from EFI Application from Boot Option',
  'Exit Boot Services Invocation',
  'Exit Boot Services Returned with Failure',
  'Exit Boot Services Returned with Success',
].map(utf8Encode)

function sha384(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha384').update(bytes).digest())
}

/** The type of each event whose digest is always the same, so that none of these can hide behind another type or as opaque. */
const RESERVED: ReadonlyMap<string, number> = new Map<string, number>([
  ...SEPARATORS.map((data): [string, number] => [bytesToHex(sha384(data)), T.EV_SEPARATOR]),
  ...MARKS.map((data): [string, number] => [bytesToHex(sha384(data)), T.EV_EFI_ACTION]),
])

/**
 * Reads events whose registers replay. Where the type says what the digest covers, the data must be that; a log whose data are not
 * what was measured, or whose events stand where they can't, is refused although its digests replay. Where nothing says what the digest covers,
 * the event is opaque, unless the digest happens to be that of the whole data.
 *
 * @param dataMayBeStripped true if an event of the firmware without data is one whose data were left out
 */
export function extractEvents(
  events: readonly LoggedEvent[],
  dataMayBeStripped: boolean,
): Extraction {
  const problems: string[] = []
  const separated = new Set<Register>()
  const extracted: ExtractedEvent[] = []
  for (const [index, event] of events.entries()) {
    const { register, type } = event
    const problem = (text: string): void => {
      problems.push(`RTMR${register}, event ${index} (${typeName(type)}): ${text}`)
    }
    const stripped = dataMayBeStripped && event.runtime === undefined && event.data.length === 0
    if (type === T.EV_SEPARATOR) {
      if (separated.has(register)) problem('a second separator in one register')
      separated.add(register)
    } else if (separated.has(register) && BEFORE_SEPARATOR.has(type)) {
      problem('an event of this type after the separator')
    }
    const reserved = RESERVED.get(bytesToHex(event.digest))
    if (reserved !== undefined && reserved !== type)
      problem(`its digest is that of another event, ${typeName(reserved)}`)
    const { name, value } = meaning(event, stripped, problem)
    extracted.push({ register, type: typeName(type), name, value, digest: event.digest })
  }
  return { events: extracted, problems }
}

interface Meaning {
  readonly name: string | null
  readonly value: Uint8Array | null
}
const OPAQUE: Meaning = { name: null, value: null }

function meaning(event: LoggedEvent, stripped: boolean, problem: (text: string) => void): Meaning {
  const { type, data, digest, runtime } = event
  if (runtime !== undefined) {
    const { name, version, preimage } = runtime
    const whole = runtimePreimage(name, data, version)
    // Without this rule "a:b" with payload "c" and "a" with payload "b:c" would be one event.
    if (name === '' || (version === 1 && name.includes(':')))
      problem('a name that is empty, or that can’t be told from its payload')
    else if (preimage !== undefined && !equalBytes(preimage, whole))
      problem('its preimage is not that of its name and payload')
    else if (!equalBytes(sha384(whole), digest))
      problem('its digest is not that of its name and payload')
    else return { name, value: data }
    return OPAQUE
  }
  if (type === T.EV_SEPARATOR) {
    const sound = SEPARATORS.find((known) => equalBytes(sha384(known), digest))
    if (sound === undefined || !(stripped || equalBytes(sound, data))) {
      problem('a separator that tells an error, or is not what was measured')
      return OPAQUE
    }
    return { name: null, value: sound }
  }
  if (stripped) return OPAQUE
  const whole = equalBytes(sha384(data), digest)
  if (OF_DATA.has(type)) {
    if (!whole) {
      problem('its data are not what was measured')
      return OPAQUE
    }
    return (OF_VARIABLE.has(type) ? variable(data) : null) ?? { name: null, value: data }
  }
  if (type === T.EV_EFI_VARIABLE_BOOT) {
    if (whole) return variable(data) ?? { name: null, value: data }
    // EDK2 measures the variable's content alone here, so its name was not measured.
    const content = variable(data)?.value
    if (content != null && equalBytes(sha384(content), digest))
      return { name: null, value: content }
    problem('its data are not what was measured')
    return OPAQUE
  }
  if (type === T.EV_IPL) {
    const grub = grubText(data)
    if (grub !== null) {
      if (equalBytes(sha384(grub.value), digest)) return grub
      problem(`the text of ${grub.name} is not what was measured`)
      return OPAQUE
    }
  }
  return whole ? { name: null, value: data } : OPAQUE
}

function grubText(data: Uint8Array): { readonly name: string; readonly value: Uint8Array } | null {
  const name = GRUB_LABELS.find((label) => {
    const start = utf8Encode(`${label}: `)
    return equalBytes(data.subarray(0, start.length), start)
  })
  if (name === undefined) return null
  const end = data[data.length - 1] === 0 ? data.length - 1 : data.length
  return { name, value: data.subarray(name.length + 2, end) }
}

const GUID_GROUPS = [
  [3, 2, 1, 0],
  [5, 4],
  [7, 6],
  [8, 9],
  [10, 11, 12, 13, 14, 15],
] as const

/** UEFI_VARIABLE_DATA (TCG PFP, §10.2.6); null if the lengths do not fill the data exactly. */
function variable(data: Uint8Array): Meaning | null {
  if (data.length < 32) return null
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const nameLength = view.getBigUint64(16, true)
  const contentLength = view.getBigUint64(24, true)
  if (nameLength > 512n || 32n + 2n * nameLength + contentLength !== BigInt(data.length))
    return null
  const end = 32 + 2 * Number(nameLength)
  const units: number[] = []
  for (let at = 32; at < end; at += 2) units.push(view.getUint16(at, true))
  if (units.at(-1) === 0) units.pop()
  const guid = GUID_GROUPS.map((group) =>
    bytesToHex(Uint8Array.from(group, (at) => data[at] ?? 0)),
  ).join('-')
  return { name: `${guid}-${String.fromCharCode(...units)}`, value: data.subarray(end) }
}

/** Text that can be shown as it is; null if it has control characters, or others that change how text is shown. */
export function printable(value: Uint8Array): string | null {
  let text: string
  try {
    text = utf8Decode(value)
  } catch (error) {
    if (error instanceof AttestationError) return null
    throw error
  }
  return text === '' || /[\p{C}\p{Zl}\p{Zp}]/u.test(text) ? null : text
}
