// The single owner of remembering which PCK chains and collateral were examined, so that the next quote of the same platform costs two signatures.
import type { CollateralFindings } from './statement.ts'
import type { PckFindings } from './chain.ts'

/** What was found under one set of inputs. Nothing of it depends on the time: dates are compared anew for each quote. */
export interface Examined {
  readonly pck: PckFindings
  readonly collateral: CollateralFindings
}

/**
 * A bounded memory, held by the caller. An entry is found only by the SHA-256 of everything that led to it: the quote's certificates, every
 * certificate, list and statement among the endorsements, and the trusted roots.
 */
export class TdxTrust {
  readonly #entries = new Map<string, Examined>()
  readonly #limit: number

  /** @param limit most entries that are kept; the one that was used least recently goes first */
  constructor(limit = 256) {
    this.#limit = limit
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): Examined | undefined {
    const found = this.#entries.get(key)
    if (found === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, found)
    return found
  }

  set(key: string, examined: Examined): void {
    this.#entries.set(key, examined)
    const [oldest] = this.#entries.keys()
    if (this.#entries.size > this.#limit && oldest !== undefined) this.#entries.delete(oldest)
  }
}
