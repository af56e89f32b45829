// The single owner of where the genuine recordings and vectors lie: beside the checkout, or at ZT4AI_SHARED.
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const REPOSITORY = fileURLToPath(new URL('..', import.meta.url))
export const SHARED = resolve(process.env['ZT4AI_SHARED'] ?? resolve(REPOSITORY, '../shared'))

/** True where the genuine samples are at hand. CI must have them: see `test/setup.ts`. */
export const haveShared =
  existsSync(resolve(SHARED, 'recorded')) && existsSync(resolve(SHARED, 'vectors'))

/** Absolute path of a genuine sample, for example `shared('recorded/snp/milan-v3/report.bin')`. */
export function shared(path: string): string {
  return resolve(SHARED, path)
}
