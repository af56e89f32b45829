// The single owner of bounds-checked reading of fixed binary layouts.
import { AttestationError } from '../error.ts'

/** Reads a byte string from front to back. Every read is checked, every error says where. Multi-byte numbers are little-endian unless they say otherwise. */
export class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #name: string
  #offset = 0

  /** @param name what is being read, for error messages */
  constructor(bytes: Uint8Array, name: string) {
    // node's Buffer is a Uint8Array whose `slice` is no copy: what is handed out is never one
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#name = name
  }

  get offset(): number {
    return this.#offset
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  #take(count: number): number {
    if (!Number.isSafeInteger(count) || count < 0 || count > this.remaining) {
      throw new AttestationError(
        'TRUNCATED',
        `${this.#name} ends too early: ${count} bytes wanted at offset ${this.#offset}, ${this.remaining} left`,
        { path: `${this.#name}@${this.#offset}` },
      )
    }
    const at = this.#offset
    this.#offset += count
    return at
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true)
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true)
  }

  u16be(): number {
    return this.#view.getUint16(this.#take(2), false)
  }

  u32be(): number {
    return this.#view.getUint32(this.#take(4), false)
  }

  /** The next `count` bytes, as a view on the input. */
  bytes(count: number): Uint8Array {
    const at = this.#take(count)
    return this.#bytes.subarray(at, at + count)
  }

  /**
   * Skips bytes that must be zero.
   * @throws AttestationError RESERVED_NOT_ZERO
   */
  zeros(count: number): void {
    const at = this.#offset
    const index = this.bytes(count).findIndex((byte) => byte !== 0)
    if (index === -1) return
    throw new AttestationError(
      'RESERVED_NOT_ZERO',
      `${this.#name}: reserved byte at offset ${at + index} is not zero`,
      { path: `${this.#name}@${at + index}` },
    )
  }

  /**
   * Must be called at the end: nothing may follow.
   * @throws AttestationError TRAILING_DATA
   */
  end(): void {
    if (this.remaining === 0) return
    throw new AttestationError(
      'TRAILING_DATA',
      `${this.#name}: ${this.remaining} bytes follow after its end`,
      { path: `${this.#name}@${this.#offset}` },
    )
  }
}
