// Runs once before all tests: says plainly when the genuine samples are missing, and fails in CI.
import { haveShared, SHARED } from './shared.ts'

export function setup(): void {
  if (haveShared) return
  const message = `the genuine samples are not at ${SHARED} (set ZT4AI_SHARED): the tests that need them are skipped`
  if (process.env['CI'] === 'true') throw new Error(message)
  process.stderr.write(`${message}\n`)
}
