// The single owner of one file that passes by as a stream: hashed whole or in shards, and its two ends kept to say what it is.
import { FsVerity } from './fsverity.ts'
import { loadHash, type Hasher, type HashKit } from './hash.ts'
import type { HashedFile, HashType, Part } from './manifest.ts'
import { classify, HEAD_BYTES, TAIL_BYTES, type Content } from './sniff.ts'

export interface SinkOptions {
  /** Bytes. Given: digests of ranges of this size; else one of the whole file. */
  readonly shardSize?: number
  readonly fsverity?: boolean
  readonly sniff?: boolean
}

/** Hashes one stream as the file `name`. Errors of the stream come through as they are. */
export async function hashStream(
  name: string,
  stream: AsyncIterable<Uint8Array>,
  options: SinkOptions & { readonly hashType: HashType },
): Promise<HashedFile> {
  const sink = new FileSink(name, await loadHash(options.hashType), options)
  for await (const chunk of stream) sink.update(chunk)
  return sink.finish()
}

/** Takes one file's bytes in order; `finish` gives what they are. */
export class FileSink {
  readonly #name: string
  readonly #kit: HashKit
  readonly #shardSize: number
  readonly #sharded: boolean
  readonly #verity: FsVerity | null
  readonly #sample: Sampler | null
  readonly #parts: Part[] = []
  #hasher: Hasher | null
  #start = 0
  #size = 0

  constructor(name: string, kit: HashKit, options: SinkOptions) {
    this.#name = name
    this.#kit = kit
    this.#sharded = options.shardSize !== undefined
    this.#shardSize = options.shardSize ?? Infinity
    this.#verity = options.fsverity === true ? new FsVerity() : null
    this.#sample = options.sniff === true ? new Sampler() : null
    this.#hasher = this.#sharded ? null : kit.create()
  }

  update(chunk: Uint8Array): void {
    this.#verity?.update(chunk)
    this.#sample?.update(chunk)
    for (let at = 0; at < chunk.length;) {
      const count = Math.min(chunk.length - at, this.#start + this.#shardSize - this.#size)
      this.#hasher ??= this.#kit.create()
      this.#hasher.update(chunk.subarray(at, at + count))
      at += count
      this.#size += count
      if (this.#size === this.#start + this.#shardSize) this.#cut()
    }
  }

  finish(): HashedFile {
    this.#cut()
    const verity = this.#verity
    return {
      name: this.#name,
      size: this.#size,
      parts: this.#parts,
      ...(verity === null ? {} : { fsverity: verity.digest() }),
      ...(this.#sample === null ? {} : { content: this.#sample.classify(this.#name, this.#size) }),
    }
  }

  #cut(): void {
    if (this.#hasher === null) return
    this.#parts.push({ start: this.#start, end: this.#size, digest: this.#hasher.hex() })
    this.#hasher = null
    this.#start = this.#size
  }
}

/** Keeps the first and the last bytes of a file that passes by. */
class Sampler {
  readonly #head: Uint8Array[] = []
  #headBytes = 0
  #tail: Uint8Array[] = []
  #tailBytes = 0
  #keep = TAIL_BYTES

  update(chunk: Uint8Array): void {
    if (this.#headBytes < HEAD_BYTES) {
      if (this.#headBytes === 0 && chunk[0] === 0x50) this.#keep = 1024 * 1024 // perhaps a zip
      const part = chunk.subarray(0, HEAD_BYTES - this.#headBytes)
      this.#head.push(part)
      this.#headBytes += part.length
    }
    this.#tail.push(chunk)
    this.#tailBytes += chunk.length
    for (
      let first = this.#tail[0];
      first !== undefined && this.#tailBytes - first.length >= this.#keep;
      first = this.#tail[0]
    ) {
      this.#tailBytes -= first.length
      this.#tail.shift()
    }
  }

  classify(name: string, size: number): Content {
    const tail = Buffer.concat(this.#tail)
    const head = Buffer.concat(this.#head)
    return classify({ name, size, head, tail: tail.subarray(-Math.min(this.#keep, tail.length)) })
  }
}
