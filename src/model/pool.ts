// The single owner of spreading the work: cuts the files of a model into pieces and hashes them on all cores.
import { availableParallelism } from 'node:os'
import { setImmediate as pause } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { ZtError } from '../error.ts'
import type { Check } from '../verdict.ts'
import { CHUNK, hashPiece, loadHash, type HashKit, type Piece, type PieceResult } from './hash.ts'
import { digestLength, type HashedFile, type HashType, type Part } from './manifest.ts'
import { Anchor } from './open.ts'
import { entryProblem } from './problem.ts'
import type { ModelFile } from './walk.ts'
import type { Batch, BatchResult, WorkerSetup } from './worker.ts'

export interface Progress {
  /** Bytes read so far, and in all. */
  readonly bytes: number
  readonly totalBytes: number
  /** Files and shards finished so far, and in all. */
  readonly pieces: number
  readonly totalPieces: number
}

export interface HashOptions {
  readonly hashType: HashType
  /** Bytes. Given: the method `shards`; else `files`. */
  readonly shardSize?: number
  /** Also the fs-verity digest of each file. Only with the method `files`. */
  readonly fsverity?: boolean
  /** Also what each file is by its content: see sniff.ts. */
  readonly sniff?: boolean
  /** Threads, the calling one among them: it works in steps of a millisecond. Default: one for each core, at most 14. */
  readonly threads?: number
  /** Work of less than this many seconds, by estimate, is done without threads: starting them takes about 40 ms. Default 0.04. */
  readonly inPlaceSeconds?: number
  readonly signal?: AbortSignal
  /** Called about ten times a second, and once at the end. */
  readonly onProgress?: (progress: Progress) => void
}

/** A file of which only some shards are wanted: bytes `start` to `end`, whole shards, but for the last one. */
export interface HashedRange extends ModelFile {
  readonly range?: { readonly start: number; readonly end: number }
}

export interface HashOutcome {
  /** In the order in which they were given, without those that have a problem. */
  readonly files: readonly HashedFile[]
  /** Files that changed while being read, or can not be read. All of them. */
  readonly checks: readonly Check[]
  /** Bytes hashed. */
  readonly bytes: number
}

const PIECE_SECONDS = 12e-6
/** About a millisecond of hashing, and what opening a file is worth in it. */
const STEP_BYTES = 2 * 1024 * 1024
const PIECE_COST = 32 * 1024
const LARGE = 8 * 1024 * 1024
const BATCH_BYTES = 4 * 1024 * 1024
const BATCH_PIECES = 256
const MAX_PIECES = 2_000_000
/** A thread takes about 8 MB: with so many the process stays under 200 MB. At 2 GB/s each they are faster than any disk. */
const MAX_THREADS = 14

/**
 * Hashes files in one pass over their bytes, on all cores. Memory does not depend on their sizes.
 * One file (or shard) is one core's work, BLAKE3 too: no library here gives access to the tree's inner nodes. A second thread that reads ahead
 * was measured and dropped: what it wins in waiting it loses in moving the bytes from one core's cache to the other's.
 * @param root the directory that each `source` is relative to: `Walk.root`
 * @throws ZtError INTERRUPTED (by `signal`; no thread is left running), USAGE, MODEL_TOO_LARGE, INTERNAL
 */
export async function hashFiles(
  root: string,
  files: readonly HashedRange[],
  options: HashOptions,
): Promise<HashOutcome> {
  const plan = cut(files, options)
  const kit = await loadHash(options.hashType)
  const seconds = plan.bytes / kit.rate + plan.pieces * PIECE_SECONDS
  const threads = options.threads ?? Math.min(availableParallelism(), MAX_THREADS)
  const helpers = seconds < (options.inPlaceSeconds ?? 0.04) ? 0 : threads - 1
  checkSignal(options.signal)
  const results = await run(root, plan, kit, helpers, options)
  options.onProgress?.(progress(plan, plan.bytes, plan.pieces))
  return gather(plan, results)
}

/** What came out, by piece. Raw digests side by side: as objects they would take ten times as much. */
class Results {
  readonly #length: number
  readonly #digests: Buffer
  readonly #done: Uint8Array
  /** Those that are more than a digest. */
  readonly #more = new Map<number, PieceResult>()
  finished = 0

  constructor(pieces: number, hashType: HashType) {
    this.#length = digestLength(hashType)
    this.#digests = Buffer.alloc(pieces * this.#length)
    this.#done = new Uint8Array(pieces)
  }

  set(piece: number, result: PieceResult): void {
    const { digest, problem, fsverity, content } = result
    this.#digests.write(digest, piece * this.#length, 'hex')
    this.#done[piece] = 1
    this.finished++
    if ((problem ?? fsverity ?? content) !== undefined) this.#more.set(piece, result)
  }

  get(piece: number): PieceResult | undefined {
    if (this.#done[piece] !== 1) return undefined
    return this.#more.get(piece) ?? { digest: this.digest(piece) }
  }

  digest(piece: number): string {
    return this.#digests.toString('hex', piece * this.#length, (piece + 1) * this.#length)
  }
}

/** Pieces by number, without an object for each: there can be millions. */
interface Plan {
  readonly files: readonly HashedRange[]
  readonly shardSize: number
  readonly pieces: number
  /** The file of each piece. */
  readonly file: Uint32Array
  /** The first piece of each file; the last entry is the number of pieces. */
  readonly first: Uint32Array
  readonly bytes: number
}

function cut(files: readonly HashedRange[], options: HashOptions): Plan {
  const { shardSize } = options
  if (shardSize !== undefined && (!Number.isSafeInteger(shardSize) || shardSize < 1))
    throw new ZtError('USAGE', 'the size of a shard must be a positive whole number of bytes')
  if (shardSize !== undefined && options.fsverity === true)
    throw new ZtError('USAGE', 'an fs-verity digest belongs to a whole file, not to a shard')
  const first = new Uint32Array(files.length + 1)
  let pieces = 0
  let bytes = 0
  for (const [i, file] of files.entries()) {
    const { start, end } = rangeOf(file)
    first[i] = pieces
    bytes += end - start
    pieces += shardSize === undefined ? 1 : Math.ceil((end - start) / shardSize)
    if (pieces > MAX_PIECES)
      throw new ZtError('MODEL_TOO_LARGE', `more than ${MAX_PIECES} files and shards`, {
        hint: 'choose a larger shard size',
      })
  }
  first[files.length] = pieces
  const file = new Uint32Array(pieces)
  for (let i = 0; i < files.length; i++) file.fill(i, first[i], first[i + 1])
  return { files, shardSize: shardSize ?? Infinity, pieces, file, first, bytes }
}

function rangeOf({ size, range }: HashedRange): { readonly start: number; readonly end: number } {
  return range ?? { start: 0, end: size }
}

function pieceOf({ files, shardSize, file, first }: Plan, piece: number): Piece {
  const owner = file[piece] ?? 0
  const wanted = files[owner] as HashedRange
  const { name, source, stamp } = wanted
  const range = rangeOf(wanted)
  const index = piece - (first[owner] ?? 0)
  const start = range.start + (index === 0 ? 0 : index * shardSize)
  return { name, source, stamp, start, end: Math.min(start + shardSize, range.end) }
}

function lengthOf(plan: Plan, piece: number): number {
  const { start, end } = pieceOf(plan, piece)
  return end - start
}

/** Indices of pieces. Large ones alone and first, the largest before the others; small ones together, neighbours with neighbours. */
function batches(plan: Plan): number[][] {
  const large: number[][] = []
  const small: number[][] = []
  let batch: number[] = []
  let bytes = 0
  for (let i = 0; i < plan.pieces; i++) {
    const length = lengthOf(plan, i)
    if (length >= LARGE) {
      large.push([i])
      continue
    }
    batch.push(i)
    bytes += length
    if (batch.length < BATCH_PIECES && bytes < BATCH_BYTES) continue
    small.push(batch)
    batch = []
    bytes = 0
  }
  if (batch.length > 0) small.push(batch)
  large.sort(([a = 0], [b = 0]) => lengthOf(plan, b) - lengthOf(plan, a))
  return [...large, ...small]
}

// A thread can not load TypeScript on Node 20, so where this file itself runs as source (the tests) the thread runs the built one.
const WORKER = import.meta.url.endsWith('.ts')
  ? new URL('../../dist/src/model/worker.js', import.meta.url)
  : new URL('./worker.js', import.meta.url)

/** What is left to do, and what came out. */
interface Work {
  readonly plan: Plan
  readonly queue: readonly (readonly number[])[]
  readonly results: Results
  /** The next batch in the queue. */
  next: number
}

async function run(
  root: string,
  plan: Plan,
  kit: HashKit,
  helpers: number,
  options: HashOptions,
): Promise<Results> {
  const queue = batches(plan)
  const results = new Results(plan.pieces, options.hashType)
  const work: Work = { plan, queue, results, next: 0 }
  const bytes = new BigInt64Array(new SharedArrayBuffer(8))
  const stop = new Int32Array(new SharedArrayBuffer(4))
  const timer = setInterval(() => {
    options.onProgress?.(progress(plan, Number(Atomics.load(bytes, 0)), results.finished))
  }, 100)
  const setup: WorkerSetup = {
    root,
    hashType: options.hashType,
    fsverity: options.fsverity === true,
    sniff: options.sniff === true,
    bytes,
    stop,
  }
  const workers: Worker[] = []
  let abort = (): void => undefined
  const interruption = new Promise<never>((_, reject) => {
    abort = () => reject(interrupted())
  })
  interruption.catch(() => undefined)
  options.signal?.addEventListener('abort', abort, { once: true })
  let own: Promise<void> | undefined
  try {
    const lanes: Promise<void>[] = []
    for (let i = 0; i < Math.min(helpers, queue.length - 1); i++) {
      const worker = new Worker(WORKER, {
        workerData: setup,
        env: {},
        execArgv: [],
        resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 2 },
      })
      workers.push(worker)
      lanes.push(helperLane(worker, work))
    }
    own = ownLane(setup, kit, work)
    await Promise.race([Promise.all([own, ...lanes]), interruption])
  } finally {
    clearInterval(timer)
    options.signal?.removeEventListener('abort', abort)
    Atomics.store(stop, 0, 1)
    await Promise.allSettled([own, ...workers.map((worker) => worker.terminate())])
  }
  return results
}

/** Feeds one thread until the queue is empty. Small batches two at a time, so that it never waits for the next; a large piece alone, so that no thread hoards. */
function helperLane(worker: Worker, work: Work): Promise<void> {
  return new Promise((resolve, reject) => {
    let waiting = 0
    const feed = (): boolean => {
      const id = work.next
      const batch = work.queue[id]
      if (batch === undefined) return false
      work.next++
      waiting++
      const pieces = batch.map((i) => pieceOf(work.plan, i))
      worker.postMessage({ id, pieces } satisfies Batch)
      return batch.length > 1
    }
    const fail = (cause: unknown): void =>
      reject(new ZtError('INTERNAL', 'a hashing thread failed', { cause }))
    worker.on('error', fail)
    worker.on('exit', fail)
    worker.on('message', ({ id, results }: BatchResult) => {
      const batch = work.queue[id] ?? []
      for (const [k, result] of results.entries()) work.results.set(batch[k] as number, result)
      waiting--
      feed()
      if (waiting === 0) resolve()
    })
    if (feed()) feed()
    if (waiting === 0) resolve()
  })
}

/** The calling thread's own share, while others start and work. Returns to the event loop after each STEP_BYTES. */
async function ownLane(setup: WorkerSetup, kit: HashKit, work: Work): Promise<void> {
  const { root, fsverity, bytes, stop } = setup
  const anchor = new Anchor(root)
  const context = {
    anchor,
    kit,
    buffer: Buffer.allocUnsafeSlow(CHUNK),
    fsverity,
    sniff: setup.sniff ? await import('./sniff.ts') : null,
  }
  let since = 0
  const turn = async (cost: number): Promise<boolean> => {
    since += cost
    if (since >= STEP_BYTES) {
      since = 0
      await pause()
    }
    return Atomics.load(stop, 0) !== 0
  }
  try {
    for (let batch = work.queue[work.next]; batch !== undefined; batch = work.queue[work.next]) {
      work.next++
      for (const i of batch) {
        const steps = hashPiece(pieceOf(work.plan, i), context)
        let step = steps.next()
        for (; step.done !== true; step = steps.next()) {
          Atomics.add(bytes, 0, BigInt(step.value))
          if (!(await turn(step.value))) continue
          steps.return({ digest: '' })
          return
        }
        work.results.set(i, step.value)
        if (await turn(PIECE_COST)) return
      }
    }
  } finally {
    anchor.close()
  }
}

function gather(plan: Plan, results: Results): HashOutcome {
  const hashed: HashedFile[] = []
  const checks: Check[] = []
  let bytes = 0
  for (let i = 0; i < plan.files.length; i++) {
    const { name, size } = plan.files[i] as ModelFile
    const { problem, ...file } = gatherFile(plan, results, i)
    if (problem === undefined) {
      hashed.push({ name, size, ...file })
      bytes += size
    } else {
      const { code, message, ...more } = problem
      checks.push(entryProblem(code, name, message, more))
    }
  }
  return { files: hashed, checks, bytes }
}

type Gathered = Pick<HashedFile, 'parts' | 'fsverity' | 'content'> & Pick<PieceResult, 'problem'>

function gatherFile(plan: Plan, results: Results, file: number): Gathered {
  const first = plan.first[file] ?? 0
  const count = (plan.first[file + 1] ?? 0) - first
  // Not pushed to: that would leave room for 16 more in each of them.
  const parts = new Array<Part>(count)
  let { problem, fsverity, content }: Partial<PieceResult> = {}
  for (let k = 0; k < count; k++) {
    const { start, end, name } = pieceOf(plan, first + k)
    const result = results.get(first + k)
    if (result === undefined) throw new ZtError('INTERNAL', 'a piece has no digest', { path: name })
    problem ??= result.problem
    fsverity ??= result.fsverity
    content ??= result.content
    parts[k] = { start, end, digest: result.digest }
  }
  return {
    parts,
    ...(fsverity === undefined ? {} : { fsverity }),
    ...(content === undefined ? {} : { content }),
    ...(problem === undefined ? {} : { problem }),
  }
}

function progress(plan: Plan, bytes: number, pieces: number): Progress {
  return { bytes, totalBytes: plan.bytes, pieces, totalPieces: plan.pieces }
}

function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw interrupted()
}

function interrupted(): ZtError {
  return new ZtError('INTERRUPTED', 'interrupted while hashing the model')
}
