// The single owner of reading the values of `zt4ai simulate`: hex, masks, levels, events, and what the report data is.
import { createPublicKey } from 'node:crypto'
import { modelBinding } from '../../attestation/index.ts'
import { hexToBytes, sha256 } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import {
  runtimeEvent,
  SNP_DEFAULTS,
  type LogEvent,
  type SnpProduct,
  type SnpTcb,
} from '../simulate/index.ts'
import { readText } from './options.ts'

/** What the report data is: given whole, the answer to a nonce, or the model binding. */
export function readReportData(options: {
  readonly reportData?: string
  readonly nonce?: string
  readonly modelDigest?: string
  readonly key?: string
}): Uint8Array {
  const given = readHex('--report-data', options.reportData)
  const nonce = readHex('--nonce', options.nonce)
  const modelDigest = readHex('--model-digest', options.modelDigest, 32)
  if (given !== undefined && (nonce !== undefined || modelDigest !== undefined))
    throw new ZtError('USAGE', '--report-data goes with neither --nonce nor --model-digest')
  if (modelDigest === undefined) {
    if (options.key !== undefined) throw new ZtError('USAGE', '--key goes with --model-digest')
    return padded(nonce === undefined ? '--report-data' : '--nonce', nonce ?? given)
  }
  if (nonce?.length !== 32)
    throw new ZtError('USAGE', '--model-digest goes with a --nonce of 32 bytes')
  return modelBinding({
    nonce,
    modelDigest,
    ...(options.key === undefined ? {} : { keyDigest: keyDigest(options.key) }),
  })
}

function keyDigest(path: string): Uint8Array {
  try {
    return sha256(createPublicKey(readText(path)).export({ type: 'spki', format: 'der' }))
  } catch (cause) {
    if (cause instanceof ZtError) throw cause
    throw new ZtError('USAGE', 'this is no key in PEM', { path, cause })
  }
}

function padded(option: string, bytes: Uint8Array | undefined): Uint8Array {
  const data = new Uint8Array(64)
  if (bytes !== undefined && bytes.length > 64)
    throw new ZtError('USAGE', `${option} is longer than 64 bytes`)
  data.set(bytes ?? [])
  return data
}

/** The guest policy, with the debug bit where it is asked for. */
export function snpPolicy(options: {
  readonly policy?: string
  readonly debug?: boolean
}): bigint | undefined {
  const policy = readMask('--policy', options.policy)
  return options.debug === true ? (policy ?? 0x30000n) | (1n << 19n) : policy
}

/** `NAME=HEX`: an event measured into RTMR3. */
export function readEvent(text: string): LogEvent {
  const at = text.indexOf('=')
  if (at < 1) throw new ZtError('USAGE', `--event is not NAME=HEX: ${text}`)
  return runtimeEvent(text.slice(0, at), readHex('--event', text.slice(at + 1)) ?? new Uint8Array())
}

/** `snp=24,microcode=219` over the product's defaults. */
export function readTcb(product: SnpProduct, text: string): SnpTcb {
  const names: Readonly<Record<string, keyof SnpTcb>> = {
    fmc: 'fmc',
    bootloader: 'bootLoader',
    tee: 'tee',
    snp: 'snp',
    microcode: 'microcode',
  }
  const changes = text.split(',').map((part) => {
    const [name = '', level = ''] = part.split('=')
    const component = Object.hasOwn(names, name) ? names[name] : undefined
    if (component === undefined || (component === 'fmc' && product !== 'Turin'))
      throw new ZtError('USAGE', `--tcb: ${product} has no component ${name}`)
    return [component, readNumber('--tcb', level, 255)] as const
  })
  return { ...SNP_DEFAULTS[product].tcb, ...Object.fromEntries(changes) }
}

/** Hex of that many bytes, or of any number. */
export function readHex(
  option: string,
  text: string | undefined,
  length?: number,
): Uint8Array | undefined {
  if (text === undefined) return undefined
  try {
    return hexToBytes(text, length === undefined ? {} : { length })
  } catch (cause) {
    throw new ZtError('USAGE', `${option}: ${(cause as Error).message}`, { cause })
  }
}

/** A 64-bit number as hex, `0x30000`. */
export function readMask(option: string, text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined
  if (/^0x[0-9a-fA-F]{1,16}$/.test(text)) return BigInt(text)
  throw new ZtError('USAGE', `${option} is not a number like 0x30000: ${text}`)
}

/** A decimal number up to `max`. */
export function readNumber(option: string, text: string, max: number): number {
  const value = Number(text)
  if (/^\d{1,10}$/.test(text) && value <= max) return value
  throw new ZtError('USAGE', `${option} is not a number up to ${max}: ${text}`)
}

/** Certificates know no fractions of a second. */
export const wholeSecond = (at: Date): Date => new Date(Math.floor(at.getTime() / 1000) * 1000)

/** A member that is only there if it has a value. */
export function optional<K extends string, V>(
  key: K,
  value: V | undefined,
): { readonly [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: V }
}
