// The single owner of copying while hashing: the bytes that are written are the very bytes that were hashed, on all cores.
import { closeSync, fstatSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { ZtError } from '../error.ts'
import { loadHash, openProblem, type HashKit } from '../model/hash.ts'
import type { HashedFile, Manifest, Part } from '../model/manifest.ts'
import { Anchor, stampOf } from '../model/open.ts'
import type { HashOptions, HashOutcome } from '../model/pool.ts'
import { entryProblem } from '../model/problem.ts'
import type { ModelFile } from '../model/walk.ts'
import type { Check } from '../verdict.ts'
import { RangeCopier, type CopyJob, type CopyResult } from './private-copy-range.ts'
import type { CopySetup } from './private-copy-worker.ts'
import { lookInto } from './source.ts'

/** Where the copies go. */
export interface Destination {
  /** Makes one file and opens it for reading and writing. */
  create(name: string): number
}

const SMALL = 4 * 1024 * 1024
const WORKER = import.meta.url.endsWith('.ts')
  ? new URL('../../dist/src/gate/private-copy-worker.js', import.meta.url)
  : new URL('./private-copy-worker.js', import.meta.url)

/**
 * Copies files, and gives their digests and what they are, like `hashFiles`. At the first digest that is not the signed one, nothing more is
 * written; the rest is still hashed, so that the answer names every difference.
 * @throws ZtError PROTECTION_UNAVAILABLE if the destination does not take them
 */
export async function copyFiles(
  root: string,
  files: readonly ModelFile[],
  manifest: Manifest,
  destination: Destination,
  options: HashOptions,
): Promise<HashOutcome> {
  const kit = await loadHash(options.hashType)
  const totalBytes = files.reduce((sum, { size }) => sum + size, 0)
  const lanes = totalBytes < 4 * SMALL ? 0 : Math.min(availableParallelism(), 14)
  const copier = new Copier(root, manifest, destination, options, kit, lanes)
  const timer = setInterval(() => {
    const { bytes, pieces } = copier
    options.onProgress?.({ bytes, totalBytes, pieces, totalPieces: files.length })
  }, 100)
  try {
    return await copier.run(files)
  } finally {
    clearInterval(timer)
    await copier.close()
  }
}

/** The digest that was signed for a range of a file; undefined where the list has no such entry. */
function signedDigests(manifest: Manifest): (name: string, part: Omit<Part, 'digest'>) => string {
  const byName = new Map(manifest.resources.map(({ name, digest }) => [name, digest]))
  const sharded = manifest.serialization.method === 'shards'
  return (name, { start, end }) => {
    const suffix = sharded ? `:${start}:${end}` : ''
    // `.`: how some signers name the file of a single-file model
    return byName.get(`${name}${suffix}`) ?? byName.get(`.${suffix}`) ?? ''
  }
}

interface Outcome {
  readonly file: HashedFile | null
  readonly check: Check | null
}

class Copier {
  bytes = 0
  pieces = 0
  readonly #anchor: Anchor
  readonly #signed: ReturnType<typeof signedDigests>
  readonly #destination: Destination
  readonly #options: HashOptions
  readonly #here: RangeCopier
  readonly #stop = new Int32Array(new SharedArrayBuffer(4))
  readonly #lanes: Lane[] = []
  readonly #free: Lane[]
  readonly #waiting: ((lane: Lane) => void)[] = []

  constructor(
    root: string,
    manifest: Manifest,
    destination: Destination,
    options: HashOptions,
    kit: HashKit,
    lanes: number,
  ) {
    this.#anchor = new Anchor(root)
    this.#signed = signedDigests(manifest)
    this.#destination = destination
    this.#options = options
    this.#here = new RangeCopier(kit, this.#stop)
    const setup: CopySetup = { hashType: options.hashType, stop: this.#stop }
    for (let i = 0; i < lanes; i++) this.#lanes.push(new Lane(setup))
    this.#free = [...this.#lanes]
  }

  async run(files: readonly ModelFile[]): Promise<HashOutcome> {
    const outcomes = new Map<ModelFile, Outcome>()
    const pieces = this.#lanes.length === 0 ? [] : largestFirst(files)
    const next = (): ModelFile | undefined => pieces.shift()
    // One file at a time for each lane: its pieces go to whichever lane is free.
    const feed = async (): Promise<void> => {
      for (let file = next(); file !== undefined; file = next())
        outcomes.set(file, await this.#one(file))
    }
    const feeds = this.#lanes.map(feed)
    await Promise.all(feeds)
    for (const file of files) if (!outcomes.has(file)) outcomes.set(file, await this.#one(file))
    const all = files.map((file) => outcomes.get(file))
    const hashed = all.flatMap((one) => one?.file ?? [])
    return {
      files: hashed,
      checks: all.flatMap((one) => one?.check ?? []),
      bytes: hashed.reduce((sum, { size }) => sum + size, 0),
    }
  }

  async close(): Promise<void> {
    this.#anchor.close()
    await Promise.all(this.#lanes.map((lane) => lane.close()))
  }

  async #one(file: ModelFile): Promise<Outcome> {
    let source: number
    try {
      source = this.#anchor.openFile(file.source)
    } catch (cause) {
      return this.#problem(file, openProblem(cause))
    }
    try {
      const before = stampOf(fstatSync(source, { bigint: true }))
      if (before !== file.stamp) return this.#unstable(file, before)
      const copy = this.#destination.create(file.name)
      try {
        const parts = await this.#parts(file, source, copy)
        const after = stampOf(fstatSync(source, { bigint: true }))
        if (parts === null || after !== file.stamp) return this.#unstable(file, after)
        this.pieces++
        const content = lookInto(this.#stopped() ? source : copy, file.name)
        return { file: { name: file.name, size: file.size, parts, content }, check: null }
      } finally {
        closeSync(copy)
      }
    } catch (cause) {
      if (cause instanceof ZtError) throw cause
      return this.#problem(file, openProblem(cause))
    } finally {
      closeSync(source)
    }
  }

  /** Null if the file ended too early. */
  async #parts(file: ModelFile, source: number, copy: number): Promise<Part[] | null> {
    const { shardSize = Infinity } = this.#options
    const ranges: { start: number; end: number }[] = []
    if (shardSize === Infinity) ranges.push({ start: 0, end: file.size })
    else
      for (let start = 0; start < file.size; start += shardSize)
        ranges.push({ start, end: Math.min(start + shardSize, file.size) })
    const digests = await inOrder(ranges, this.#lanes.length, async (range) => {
      const digest = await this.#range(source, copy, range)
      if (digest !== this.#signed(file.name, range)) Atomics.store(this.#stop, 0, 1)
      return digest
    })
    const parts: Part[] = []
    for (const [i, range] of ranges.entries()) {
      const digest = digests[i]
      if (digest == null) return null
      parts.push({ ...range, digest })
    }
    return parts
  }

  async #range(
    source: number,
    copy: number,
    { start, end }: { start: number; end: number },
  ): Promise<string | null> {
    const job = { source, copy, start, end }
    const small = end - start < SMALL || this.#lanes.length === 0
    const { digest, error } = small ? this.#here.copy(job) : await this.#there(job)
    this.bytes += end - start
    if (error === undefined) return digest
    if (error.writing) throw full(error.code)
    throw Object.assign(new Error(error.code), { code: error.code })
  }

  async #there(job: CopyJob): Promise<CopyResult> {
    const lane = this.#free.pop() ?? (await new Promise<Lane>((take) => this.#waiting.push(take)))
    const result = await lane.copy(job)
    const take = this.#waiting.shift()
    if (take === undefined) this.#free.push(lane)
    else take(lane)
    return result
  }

  #stopped(): boolean {
    return Atomics.load(this.#stop, 0) !== 0
  }

  #unstable(file: ModelFile, actual: string): Outcome {
    const message = 'changed while it was being read'
    return this.#problem(file, { code: 'FILE_UNSTABLE', message, expected: file.stamp, actual })
  }

  #problem(file: ModelFile, { code, message, ...more }: ReturnType<typeof openProblem>): Outcome {
    Atomics.store(this.#stop, 0, 1)
    return { file: null, check: entryProblem(code, file.name, message, more) }
  }
}

function full(code: string): ZtError {
  return new ZtError('PROTECTION_UNAVAILABLE', `the copy can't be written (${code})`, {
    hint: 'name a directory on a disk that has room for the model with --scratch',
  })
}

function largestFirst(files: readonly ModelFile[]): ModelFile[] {
  return files.filter(({ size }) => size >= SMALL).sort((a, b) => b.size - a.size)
}

/** Results in the order of the items, at most `width` at a time. */
async function inOrder<T, R>(
  items: readonly T[],
  width: number,
  run: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < items.length) {
      const i = next++
      results[i] = await run(items[i] as T)
    }
  }
  await Promise.all(Array.from({ length: Math.max(1, width) }, lane))
  return results
}

/** One thread. */
class Lane {
  readonly #worker: Worker
  #resolve: (result: CopyResult) => void = () => undefined
  #reject: (error: unknown) => void = () => undefined

  constructor(setup: CopySetup) {
    this.#worker = new Worker(WORKER, { workerData: setup, env: {}, execArgv: [] })
    const fail = (cause: unknown): void => {
      this.#reject(new ZtError('INTERNAL', 'a copying thread failed', { cause }))
    }
    this.#worker.on('error', fail)
    this.#worker.on('exit', fail)
    this.#worker.on('message', (result: CopyResult) => {
      this.#resolve(result)
    })
  }

  copy(job: CopyJob): Promise<CopyResult> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#worker.postMessage(job)
    })
  }

  async close(): Promise<void> {
    this.#reject = () => undefined
    await this.#worker.terminate()
  }
}
