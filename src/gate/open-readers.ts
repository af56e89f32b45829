// The single owner of the threads that read ahead for a stream.
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { ZtError } from '../error.ts'
import type { HashType } from '../model/manifest.ts'
import type { ReadJob, ReadResult } from './open-worker.ts'

const WORKER = import.meta.url.endsWith('.ts')
  ? new URL('../../dist/src/gate/open-worker.js', import.meta.url)
  : new URL('./open-worker.js', import.meta.url)
const MAX_THREADS = 8

interface Waiting {
  readonly job: ReadJob
  readonly resolve: (result: ReadResult) => void
  readonly reject: (error: unknown) => void
}

/** Reads ranges on all cores. Keeps no process alive while nothing is read. */
export class Readers {
  readonly width = Math.min(availableParallelism(), MAX_THREADS)
  readonly #idle: Worker[] = []
  readonly #all: Worker[] = []
  readonly #busy = new Map<Worker, Waiting>()
  readonly #queue: Waiting[] = []

  constructor(hashType: HashType) {
    for (let i = 0; i < this.width; i++) {
      const worker = new Worker(WORKER, { workerData: hashType, env: {}, execArgv: [] })
      worker.unref()
      worker.on('message', (result: ReadResult) => {
        this.#busy.get(worker)?.resolve(result)
        this.#next(worker)
      })
      const fail = (cause: unknown): void => {
        this.#busy
          .get(worker)
          ?.reject(new ZtError('INTERRUPTED', 'a reading thread ended', { cause }))
        this.#busy.delete(worker)
      }
      worker.on('error', fail)
      worker.on('exit', fail)
      this.#all.push(worker)
      this.#idle.push(worker)
    }
  }

  read(job: ReadJob): Promise<ReadResult> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ job, resolve, reject })
      const worker = this.#idle.pop()
      if (worker !== undefined) this.#next(worker)
    })
  }

  close(): void {
    for (const { reject } of this.#queue) reject(new ZtError('INTERRUPTED', 'the model was closed'))
    for (const worker of this.#all) void worker.terminate()
  }

  #next(worker: Worker): void {
    const waiting = this.#queue.shift()
    if (waiting === undefined) {
      this.#busy.delete(worker)
      this.#idle.push(worker)
      worker.unref()
      return
    }
    this.#busy.set(worker, waiting)
    worker.ref()
    const { into } = waiting.job
    worker.postMessage(waiting.job, into === undefined ? [] : [into])
  }
}
