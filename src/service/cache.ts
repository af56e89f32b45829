// The single owner of remembered decisions: bounded in number and bytes, each for a limited time, least recently used first to go.

interface Entry<T> {
  readonly value: T
  readonly weight: number
  readonly until: number
}

/** A bounded cache. Ages are measured with a clock that nobody can set back. */
export class Cache<T> {
  readonly #entries = new Map<string, Entry<T>>()
  readonly #limits: { readonly entries: number; readonly bytes: number }
  readonly #monotonic: () => number
  #bytes = 0

  /** @param monotonic milliseconds that only grow (`performance.now`) */
  constructor(
    limits: { readonly entries: number; readonly bytes: number },
    monotonic: () => number,
  ) {
    this.#limits = limits
    this.#monotonic = monotonic
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#bytes
  }

  get(key: string): T | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    this.#entries.delete(key)
    if (entry.until <= this.#monotonic()) {
      this.#bytes -= entry.weight
      return undefined
    }
    this.#entries.set(key, entry)
    return entry.value
  }

  /** Remembers for `lifetimeMs`; what alone is larger than the cache is not kept. */
  set(key: string, value: T, weight: number, lifetimeMs: number): void {
    const old = this.#entries.get(key)
    if (old !== undefined) {
      this.#entries.delete(key)
      this.#bytes -= old.weight
    }
    if (lifetimeMs <= 0 || weight > this.#limits.bytes) return
    this.#entries.set(key, { value, weight, until: this.#monotonic() + lifetimeMs })
    this.#bytes += weight
    for (const [first, entry] of this.#entries) {
      if (this.#entries.size <= this.#limits.entries && this.#bytes <= this.#limits.bytes) break
      this.#entries.delete(first)
      this.#bytes -= entry.weight
    }
  }
}
