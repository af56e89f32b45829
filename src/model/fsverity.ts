// The single owner of the fs-verity digest: what the kernel will measure when the file is sealed (Linux, Documentation/filesystems/fsverity.rst).
import { hash } from 'node:crypto'

const BLOCK = 4096
const DIGEST = 32

interface Level {
  readonly block: Buffer
  used: number
  total: number
}

/**
 * The fs-verity file digest as `fsverity digest` prints it and FS_IOC_MEASURE_VERITY returns it: Merkle tree of SHA-256 over 4096-byte
 * blocks, no salt, descriptor version 1. Fed in any portions; constant memory (one block for each level of the tree).
 */
export class FsVerity {
  readonly #levels: Level[] = []
  readonly #rest = Buffer.alloc(BLOCK)
  #restUsed = 0
  #size = 0n

  update(bytes: Uint8Array): void {
    this.#size += BigInt(bytes.length)
    let at = 0
    if (this.#restUsed > 0) {
      at = Math.min(BLOCK - this.#restUsed, bytes.length)
      this.#rest.set(bytes.subarray(0, at), this.#restUsed)
      this.#restUsed += at
      if (this.#restUsed < BLOCK) return
      this.#push(0, this.#rest)
      this.#restUsed = 0
    }
    for (; at + BLOCK <= bytes.length; at += BLOCK) this.#push(0, bytes.subarray(at, at + BLOCK))
    this.#rest.set(bytes.subarray(at))
    this.#restUsed = bytes.length - at
  }

  /** `sha256:<hex>`. The object can not be used after. */
  digest(): string {
    if (this.#restUsed > 0) this.#push(0, this.#rest.fill(0, this.#restUsed))
    const descriptor = Buffer.alloc(256)
    descriptor[0] = 1 // version
    descriptor[1] = 1 // SHA-256
    descriptor[2] = 12 // log2 of the block size
    descriptor.writeBigUInt64LE(this.#size, 8)
    this.#root().copy(descriptor, 16)
    return `sha256:${hash('sha256', descriptor, 'hex')}`
  }

  #push(depth: number, block: Uint8Array): void {
    const level = (this.#levels[depth] ??= { block: Buffer.alloc(BLOCK), used: 0, total: 0 })
    level.block.set(hash('sha256', block, 'buffer'), level.used)
    level.used += DIGEST
    level.total++
    if (level.used < BLOCK) return
    this.#push(depth + 1, level.block)
    level.used = 0
  }

  /** The root is the only digest of its level; an empty file has zeros. */
  #root(): Buffer {
    for (let depth = 0; ; depth++) {
      const level = this.#levels[depth]
      if (level === undefined) return Buffer.alloc(DIGEST)
      if (level.total === 1) return level.block.subarray(0, DIGEST)
      if (level.used > 0) this.#push(depth + 1, level.block.fill(0, level.used))
      level.used = 0
    }
  }
}
