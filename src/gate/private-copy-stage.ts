// The single owner of what happens inside the private mount namespace: mount, copy or bind the signed files, close it for writing, wait for the verdict.
import { closeSync, readSync, writeSync } from 'node:fs'
import { ZtError } from '../error.ts'
import type { StageAnswer, StagePlan } from './private-copy.ts'
import { Showroom } from './private-copy-mount.ts'
import { copyFiles } from './private-copy-files.ts'
import { bindMeasured } from './fsverity.ts'
import { pathSource } from './source.ts'

/** The pipes that the process outside opened for us. */
const PLAN = 3
const ANSWER = 4

process.exitCode = await main().catch((error: unknown) => {
  const { code, message, hint, path } =
    error instanceof ZtError ? error : new ZtError('INTERNAL', String(error))
  const more = {
    message,
    ...(hint === undefined ? {} : { hint }),
    ...(path === undefined ? {} : { path }),
  }
  answer(
    code === 'PROTECTION_UNAVAILABLE'
      ? { kind: 'unavailable', ...more }
      : { kind: 'error', code, ...more },
  )
  return 1
})

/** 0 if the program may start. */
async function main(): Promise<number> {
  const plan = JSON.parse(readLine()) as StagePlan
  const room = new Showroom(plan)
  const source = pathSource(plan.path, {
    signatures: plan.signatures,
    ignorePaths: plan.ignorePaths,
    read: async (walk, files, manifest, options) => {
      room.open(walk, files)
      return plan.mode === 'fsverity'
        ? bindMeasured(walk, files, manifest, room, plan.fsverity)
        : await copyFiles(walk.root, files, manifest, room, options)
    },
  })
  const fact = await source.compare(plan.manifest, {
    onProgress: (progress) => {
      answer({ kind: 'progress', progress })
    },
  })
  if (fact === null) throw new ZtError('INTERNAL', 'the model was not compared')
  const { root, result, formats } = fact
  const route = plan.mode === 'fsverity' ? 'fs-verity' : fact.route
  const { missing, changed, checks } = result
  const broken = checks.some(
    ({ id, status }) => status === 'fail' && !id.startsWith('model.extra:'),
  )
  const ready = missing.length === 0 && changed.length === 0 && !broken
  if (ready) room.close()
  answer({ kind: 'fact', fact: { root, route, result, formats }, ready })
  if (!ready) return 1
  return readLine() === 'go' ? 0 : 1
}

function answer(value: StageAnswer): void {
  const bytes = Buffer.from(`${JSON.stringify(value)}\n`)
  for (let at = 0; at < bytes.length;) at += writeSync(ANSWER, bytes, at)
}

/** One line; empty at the end. Whole lines are sent, and nothing after one until it was answered. */
function readLine(): string {
  const parts: Buffer[] = []
  for (;;) {
    const buffer = Buffer.alloc(64 * 1024)
    const count = readSync(PLAN, buffer)
    if (count === 0) {
      closeSync(PLAN)
      return ''
    }
    const part = buffer.subarray(0, count)
    if (part.at(-1) === 0x0a) {
      parts.push(part.subarray(0, -1))
      return Buffer.concat(parts).toString('utf8')
    }
    parts.push(part)
  }
}
