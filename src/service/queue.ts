// The single owner of how much the service does at once: so many at the same time, so many waiting, and the rest refused at once.
import { ZtError } from '../error.ts'

export interface QueueLimits {
  /** Done at the same time. */
  readonly running: number
  /** Waiting for their turn; one more is refused. */
  readonly waiting: number
}

/** A bounded queue, first come first served. */
export class WorkQueue {
  readonly #limits: QueueLimits
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(limits: QueueLimits) {
    this.#limits = limits
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** @throws ZtError OVERLOADED where there is no room; what `work` throws */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limits.running) {
      if (this.#waiting.length >= this.#limits.waiting)
        throw new ZtError('OVERLOADED', 'too many decisions are waiting', {
          hint: 'try again; if it lasts, run more replicas',
        })
      // The place passes from the one who leaves to the next, so that nobody slips in between.
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    } else this.#running += 1
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#running -= 1
      else next()
    }
  }
}
