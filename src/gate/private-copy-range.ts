// The single owner of copying one range while hashing it: what is written is the buffer that was hashed.
import { readSync, writeSync } from 'node:fs'
import type { HashKit } from '../model/hash.ts'

/** One range between two open files; whoever asks for it keeps them open. */
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

/**
 * What `cp` takes at a time. It stays in the second-level cache from reading to writing, and it decides in which sizes the kernel takes
 * memory for the copy: with 1 MiB, a copy on a disk took three times as long in a virtual machine that gives large free blocks back to its
 * host.
 */
const CHUNK = 128 * 1024

/** Copies and hashes ranges, one after the other. */
export class RangeCopier {
  readonly #kit: HashKit
  readonly #stop: Int32Array
  readonly #buffer = Buffer.allocUnsafeSlow(CHUNK)

  /** @param stop not 0: write nothing more, hash only */
  constructor(kit: HashKit, stop: Int32Array) {
    this.#kit = kit
    this.#stop = stop
  }

  /**
   * Synchronous throughout: handing reads and writes to other threads cost more than it gained as soon as there was a file for every core,
   * and gained a tenth where there was one file only.
   */
  copy({ source, copy, start, end }: CopyJob): CopyResult {
    const hasher = this.#kit.create()
    let writing = false
    try {
      for (let at = start; at < end;) {
        const count = readSync(source, this.#buffer, 0, Math.min(CHUNK, end - at), at)
        if (count === 0) return { digest: null }
        const bytes = this.#buffer.subarray(0, count)
        hasher.update(bytes)
        writing = Atomics.load(this.#stop, 0) === 0
        for (let put = 0; writing && put < count;)
          put += writeSync(copy, bytes, put, count - put, at + put)
        writing = false
        at += count
      }
      return { digest: hasher.hex() }
    } catch (cause) {
      return { digest: null, error: { code: String((cause as { code?: unknown }).code), writing } }
    }
  }
}
