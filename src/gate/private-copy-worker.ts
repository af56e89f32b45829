// The single owner of what a copying thread does: reads, writes and hashes one range at a time, the three at once.
import { read, write } from 'node:fs'
import { promisify } from 'node:util'
import { parentPort, workerData } from 'node:worker_threads'
import { loadHash } from '../model/hash.ts'
import type { HashType } from '../model/manifest.ts'

/** What a thread is started with. */
export interface CopySetup {
  readonly hashType: HashType
  /** Not 0: write nothing more, hash only. */
  readonly stop: Int32Array
}

/** One range between two open files; the thread that sent it keeps them open. */
export interface CopyJob {
  readonly source: number
  readonly copy: number
  readonly start: number
  readonly end: number
}

export interface CopyResult {
  /** Lower-case hex; null if the file ended too early. */
  readonly digest: string | null
  readonly error?: { readonly code: string; readonly writing: boolean }
}

const CHUNK = 1024 * 1024
const port = parentPort
if (port !== null) {
  const { hashType, stop } = workerData as CopySetup
  const kit = await loadHash(hashType)
  const readAt = promisify(read)
  const writeAt = promisify(write)
  const buffers = [Buffer.allocUnsafeSlow(CHUNK), Buffer.allocUnsafeSlow(CHUNK)] as const

  const fill = async (fd: number, buffer: Buffer, at: number, end: number): Promise<number> =>
    at >= end ? 0 : (await readAt(fd, buffer, 0, Math.min(CHUNK, end - at), at)).bytesRead
  const drain = async (fd: number, bytes: Buffer, at: number): Promise<void> => {
    if (Atomics.load(stop, 0) !== 0) return
    for (let put = 0; put < bytes.length;)
      put += (await writeAt(fd, bytes, put, bytes.length - put, at + put)).bytesWritten
  }

  const copy = async ({ source, copy: target, start, end }: CopyJob): Promise<CopyResult> => {
    const hasher = kit.create()
    let [current, other] = buffers
    let writing = false
    try {
      let count = await fill(source, current, start, end)
      for (let at = start; at < end;) {
        if (count === 0) return { digest: null }
        const bytes = current.subarray(0, count)
        const [written, filled] = [drain(target, bytes, at), fill(source, other, at + count, end)]
        // Both only read this buffer, and nobody else has it: what is hashed is what is written.
        hasher.update(bytes)
        const results = await Promise.allSettled([written, filled])
        writing = results[0].status === 'rejected'
        await written
        at += count
        count = await filled
        ;[current, other] = [other, current]
      }
      return { digest: hasher.hex() }
    } catch (cause) {
      return { digest: null, error: { code: String((cause as { code?: unknown }).code), writing } }
    }
  }
  port.on('message', (job: CopyJob) => {
    void copy(job).then((result) => {
      port.postMessage(result)
    })
  })
}
