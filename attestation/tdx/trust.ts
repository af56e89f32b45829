// The single owner of remembering which PCK chains and collateral were examined, so that the next quote of the same platform costs two signatures.
import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { bytesToBase64Url } from '../lib/bytes.ts'
import type { EvidenceCheck } from '../result.ts'
import type { QeIdentity, TcbInfo } from './collateral.ts'
import type { CollateralFindings, Statement } from './statement.ts'
import type { PckFindings } from './chain.ts'

/** What was found under one set of inputs. Nothing of it depends on the time, but for `judged`, which belongs to one moment. */
export interface Examined {
  readonly pck: PckFindings
  readonly collateral: CollateralFindings
  /** Of the root, the chain and the extension of the PCK certificate. */
  readonly chainChecks: readonly EvidenceCheck[]
  readonly attestationKeys: AttestationKeys
  /** Of the moment that was asked about last: quotes come many to the second. */
  judged: Judged | null
}

/** What holds of chain and collateral at one moment: which statements count, and every check of dates, lists and statements. */
export interface Judged {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly tcbInfo: Statement<TcbInfo> | undefined
  readonly identity: Statement<QeIdentity> | undefined
  readonly checks: readonly EvidenceCheck[]
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

/** Attestation keys as node imports them. A platform has one at a time, so few are kept: importing costs almost as much as verifying. */
export class AttestationKeys {
  readonly #keys = new Map<string, KeyObject>()

  /** @param point x ‖ y. @returns null if that is not a point of P-256 */
  get(point: Uint8Array): KeyObject | null {
    const x = bytesToBase64Url(point.subarray(0, 32))
    const y = bytesToBase64Url(point.subarray(32))
    const known = this.#keys.get(x + y)
    if (known !== undefined) return known
    let key: KeyObject
    try {
      key = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' })
    } catch {
      return null
    }
    if (this.#keys.size >= 4) this.#keys.clear()
    this.#keys.set(x + y, key)
    return key
  }
}
