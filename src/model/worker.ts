// The single owner of what a hashing thread does: takes batches of pieces, gives back their digests.
import { parentPort, workerData } from 'node:worker_threads'
import { CHUNK, hashPiece, loadHash, type Piece, type PieceResult } from './hash.ts'
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
  const context = {
    anchor: new Anchor(root),
    kit: await loadHash(hashType),
    buffer: Buffer.allocUnsafeSlow(CHUNK),
    fsverity,
    sniff: sniff ? await import('./sniff.ts') : null,
  }
  /** Null if it was told to stop. */
  const run = (piece: Piece): PieceResult | null => {
    const steps = hashPiece(piece, context)
    for (let step = steps.next(); ; step = steps.next()) {
      if (step.done === true) return step.value
      Atomics.add(bytes, 0, BigInt(step.value))
      if (Atomics.load(stop, 0) !== 0) return null
    }
  }
  port.on('message', (batch: Batch) => {
    const results: PieceResult[] = []
    for (const piece of batch.pieces) {
      const result = run(piece)
      if (result === null) return
      results.push(result)
    }
    port.postMessage({ id: batch.id, results } satisfies BatchResult)
  })
}
