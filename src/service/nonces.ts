// The single owner of the verifier's challenges: each good once, for a short time, and only so many at once.
import { randomBytes } from 'node:crypto'
import { bytesToHex } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'

/** A challenge that was given out. */
export interface Issued {
  /** 32 bytes. */
  readonly nonce: Uint8Array
  readonly issued: Date
  readonly lifetimeMs: number
}

export interface NonceOptions {
  /** Challenges that wait for an answer at one time. One more is refused: an old one of somebody else is never forgotten for it. */
  readonly most: number
  readonly lifetimeMs: number
  readonly now: () => Date
  readonly monotonic: () => number
}

export class Nonces {
  readonly #options: NonceOptions
  readonly #waiting = new Map<string, { readonly issued: Issued; readonly until: number }>()

  constructor(options: NonceOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#waiting.size
  }

  /** @throws ZtError OVERLOADED where too many wait */
  give(): Issued {
    const { most, lifetimeMs, now, monotonic } = this.#options
    // They were given out in this order, and all live equally long.
    for (const [key, { until }] of this.#waiting) {
      if (until > monotonic()) break
      this.#waiting.delete(key)
    }
    if (this.#waiting.size >= most)
      throw new ZtError('OVERLOADED', 'too many challenges wait for an answer', {
        hint: `try again in ${String(Math.ceil(lifetimeMs / 1000))} seconds`,
      })
    const nonce = new Uint8Array(randomBytes(32))
    // Everything is judged for whole seconds: a challenge must not be younger than the second of its answer.
    const second = new Date(Math.floor(now().getTime() / 1000) * 1000)
    const issued = { nonce, issued: second, lifetimeMs }
    this.#waiting.set(bytesToHex(nonce), { issued, until: monotonic() + lifetimeMs })
    return issued
  }

  /** Takes a nonce out of the world; undefined if it was not given out here, was taken before, or is too old. */
  take(hex: string): Issued | undefined {
    const found = this.#waiting.get(hex)
    this.#waiting.delete(hex)
    return found !== undefined && found.until > this.#options.monotonic() ? found.issued : undefined
  }
}
