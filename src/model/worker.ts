// The single owner of what a hashing thread does: takes batches of pieces, gives back their digests.
import { parentPort, workerData } from 'node:worker_threads'
import { CHUNK, hashPiece, loadHash, Stopped, type Piece, type PieceResult } from './hash.ts'
import type { HashType } from './manifest.ts'
import { Anchor } from './open.ts'

/** What a thread is started with. */
export interface WorkerSetup {
  readonly root: string
  readonly hashType: HashType
  readonly fsverity: boolean
  readonly sniff: boolean
  /** One 64-bit count of the bytes read by all threads. */
  readonly bytes: BigInt64Array
  /** Not 0: stop at the next portion. */
  readonly stop: Int32Array
}

export interface Batch {
  readonly id: number
  readonly pieces: readonly Piece[]
}

export interface BatchResult {
  readonly id: number
  readonly results: readonly PieceResult[]
}

const port = parentPort
if (port !== null) {
  const { root, hashType, fsverity, sniff, bytes, stop } = workerData as WorkerSetup
  const anchor = new Anchor(root)
  const context = {
    anchor,
    kit: await loadHash(hashType),
    buffer: Buffer.allocUnsafeSlow(CHUNK + 1),
    fsverity,
    sniff: sniff ? await import('./sniff.ts') : null,
    onBytes: (count: number): boolean => {
      Atomics.add(bytes, 0, BigInt(count))
      return Atomics.load(stop, 0) !== 0
    },
  }
  port.on('message', (batch: Batch) => {
    try {
      const results = batch.pieces.map((piece) => hashPiece(piece, context))
      port.postMessage({ id: batch.id, results } satisfies BatchResult)
    } catch (error) {
      if (!(error instanceof Stopped)) throw error
      port.close()
    }
  })
}
