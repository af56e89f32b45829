// Records testdata/snp and testdata/tdx anew from the simulated hardware: npx tsx scripts/record-testdata.mjs
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { recordings } from '../test/simulate/recordings.ts'

const testdata = fileURLToPath(new URL('../testdata', import.meta.url))
for (const folder of ['snp', 'tdx'])
  rmSync(join(testdata, folder), { recursive: true, force: true })
for (const [path, bytes] of Object.entries(recordings())) {
  const file = join(testdata, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, bytes)
}
