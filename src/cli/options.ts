// The single owner of reading what commands share: files, times, ignored paths, and the interruption by the user.
import { closeSync, openSync, readSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { Option } from 'commander'
import { parseTime } from '../../attestation/lib/index.ts'
import { inModel } from '../bundle/location.ts'
import { ZtError } from '../error.ts'

const MAX_FILE = 4 * 1024 * 1024

/**
 * The bytes of a file that an option names; a small one unless told. A pipe (`<(command)`) is read to its end, a device no further than the limit.
 * @throws ZtError IO, TOO_LARGE
 */
export function readBytes(path: string, maxBytes = MAX_FILE): Uint8Array {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    return readToEnd(fd, path, maxBytes)
  } catch (cause) {
    if (cause instanceof ZtError) throw cause
    const code = String((cause as { code?: unknown }).code)
    throw new ZtError('IO', `the file can't be read (${code})`, { path, cause })
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/** What a file says of its size is not believed: devices say 0, and files grow. */
function readToEnd(fd: number, path: string, maxBytes: number): Uint8Array {
  const chunks: Uint8Array[] = []
  for (let total = 0; ;) {
    const chunk = Buffer.allocUnsafe(64 * 1024)
    const count = readSync(fd, chunk)
    if (count === 0) return new Uint8Array(Buffer.concat(chunks))
    total += count
    if (total > maxBytes)
      throw new ZtError('TOO_LARGE', `the file is larger than ${maxBytes} bytes`, { path })
    chunks.push(chunk.subarray(0, count))
  }
}

/** The same as text. */
export function readText(path: string): string {
  return new TextDecoder().decode(readBytes(path))
}

/** The time of `--at`, or now. @throws ZtError USAGE */
export function readAt(text: string | undefined): Date {
  if (text === undefined) return new Date()
  try {
    return parseTime(text)
  } catch (cause) {
    throw new ZtError('USAGE', `--at is not a time: ${text}`, {
      hint: 'write it as RFC 3339, for example 2026-01-31T12:00:00Z',
      cause,
    })
  }
}

/** Ignored paths relative to the model; absolute ones must lie inside it. @throws ZtError USAGE */
export function readIgnores(model: string, paths: readonly string[]): string[] {
  return paths.map((path) => {
    if (!isAbsolute(path)) return path
    const inside = inModel(model, path)
    if (inside !== null) return inside
    throw new ZtError('USAGE', 'an ignored path lies outside the model', {
      path,
      hint: 'write it relative to the model, for example: logs/run.txt',
    })
  })
}

/** Collects an option that may be given several times. */
export function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value]
}

/** An option that may be given several times; an empty list if it is not. */
export function repeatable(flags: string, description: string): Option {
  return new Option(flags, `${description} (repeatable)`).argParser(collect).default([], 'none')
}

/** A positive whole number. @throws ZtError USAGE */
export function readCount(text: string): number {
  const value = Number(text)
  if (/^[1-9]\d*$/.test(text) && Number.isSafeInteger(value)) return value
  throw new ZtError('USAGE', `not a positive whole number: ${text}`)
}

/** Runs an operation that Ctrl-C and SIGTERM interrupt cleanly; a second one kills. */
export async function interruptible<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const stop = (): void => {
    controller.abort()
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  try {
    return await run(controller.signal)
  } finally {
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}
