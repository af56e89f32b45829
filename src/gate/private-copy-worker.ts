// The single owner of what a copying thread does: ranges between files that the thread that asks keeps open.
import { parentPort, workerData } from 'node:worker_threads'
import { loadHash } from '../model/hash.ts'
import type { HashType } from '../model/manifest.ts'
import { RangeCopier, type CopyJob } from './private-copy-range.ts'

/** What a thread is started with. */
export interface CopySetup {
  readonly hashType: HashType
  /** Not 0: write nothing more, hash only. */
  readonly stop: Int32Array
}

const port = parentPort
if (port !== null) {
  const { hashType, stop } = workerData as CopySetup
  const copier = new RangeCopier(await loadHash(hashType), stop)
  port.on('message', (job: CopyJob) => {
    port.postMessage(copier.copy(job))
  })
}
