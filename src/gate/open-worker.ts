// The single owner of what a reading thread does: reads one range into memory of its own, hashes it there, and gives that very memory away.
import { readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { loadHash } from '../model/hash.ts'
import type { HashType } from '../model/manifest.ts'

/** One range of an open file; the thread that sent it keeps it open. */
export interface ReadJob {
  readonly fd: number
  readonly start: number
  readonly end: number
  /** Memory to use again, at least as large; it comes back with the result. */
  readonly into?: ArrayBuffer
}

export interface ReadResult {
  /** Null if the file ended too early, or could not be read. */
  readonly bytes: Uint8Array<ArrayBuffer> | null
  /** Lower-case hex. */
  readonly digest: string
  /** The system's error, where there was one. */
  readonly error?: string
}

/** Hashed while it is still in the core's cache. */
const CHUNK = 256 * 1024
const port = parentPort
if (port !== null) {
  const kit = await loadHash(workerData as HashType)
  const run = ({ fd, start, end, into }: ReadJob): ReadResult => {
    const bytes =
      into === undefined ? Buffer.allocUnsafeSlow(end - start) : Buffer.from(into, 0, end - start)
    const hasher = kit.create()
    try {
      for (let at = 0; at < bytes.length;) {
        const count = readSync(fd, bytes, at, Math.min(CHUNK, bytes.length - at), start + at)
        if (count === 0) return { bytes: null, digest: '' }
        hasher.update(bytes.subarray(at, at + count))
        at += count
      }
      return { bytes: new Uint8Array(bytes.buffer, 0, bytes.length), digest: hasher.hex() }
    } catch (cause) {
      return { bytes: null, digest: '', error: String((cause as { code?: unknown }).code) }
    }
  }
  port.on('message', (job: ReadJob) => {
    const result = run(job)
    port.postMessage(result, result.bytes === null ? [] : [result.bytes.buffer])
  })
}
