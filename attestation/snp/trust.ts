// The single owner of remembering which chains were found sound, so that the next report of the same chip costs one signature.
import type { Certificate } from '../lib/x509.ts'
import type { ChainFindings, ChainOptions, SnpEndorsements } from './chain.ts'

/**
 * A bounded memory of sound chains, held by the caller. An entry is found only by the SHA-256 of every certificate, list and root that led to it, and used only at
 * moments that all their dates cover; a chain with any failed check is never remembered.
 */
export class SnpTrust {
  readonly #chains = new Map<string, ChainFindings>()
  readonly #limit: number

  /** @param limit most chains that are kept; the one that was used least recently goes first */
  constructor(limit = 1024) {
    this.#limit = limit
  }

  get size(): number {
    return this.#chains.size
  }

  /** Everything that a chain's soundness depends on, but the time. */
  key(leaf: Certificate, endorsements: SnpEndorsements, options: ChainOptions): string {
    const digests = (list: readonly { readonly sha256: string }[]): string =>
      list.map(({ sha256 }) => sha256).join(',')
    return [
      leaf.sha256,
      digests(endorsements.certificates),
      digests(endorsements.crls),
      digests(options.trustRoots),
      options.requireCrl ? 'crl' : '',
    ].join('|')
  }

  get(key: string, at: Date): ChainFindings | undefined {
    const found = this.#chains.get(key)
    const time = at.getTime()
    if (found === undefined || !(time >= found.from && time <= found.until)) return undefined
    this.#chains.delete(key)
    this.#chains.set(key, found)
    return found
  }

  set(key: string, findings: ChainFindings): void {
    this.#chains.set(key, findings)
    const [oldest] = this.#chains.keys()
    if (this.#chains.size > this.#limit && oldest !== undefined) this.#chains.delete(oldest)
  }
}
