// Runs the benchmarks one after the other: each prints its table with what was measured, the target, and whether it is met. Run: npm run bench [-- NAME...] [-- --strict]
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'

const FOLDER = import.meta.dirname
const SELF = basename(import.meta.filename)

const words = process.argv.slice(2)
const strict = words.includes('--strict')
const wanted = words.filter((word) => word !== '--strict')
const known = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.ts') && file !== SELF)
  .map((file) => basename(file, '.ts'))
  .sort()
const unknown = wanted.filter((name) => !known.includes(name))
if (unknown.length > 0) {
  console.error(`no benchmark is called ${unknown.join(', ')}; there are ${known.join(', ')}`)
  process.exit(2)
}

const failed: string[] = []
for (const name of wanted.length > 0 ? wanted : known) {
  console.log(`\n== ${name}`)
  const args = [...process.execArgv, join(FOLDER, `${name}.ts`), ...(strict ? ['--strict'] : [])]
  const { status } = spawnSync(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) failed.push(name)
}
console.log(
  failed.length === 0
    ? `\nevery benchmark ran${strict ? ' and met its targets' : '; the tables say which targets are met'}`
    : `\nmissed a target or failed: ${failed.join(', ')}`,
)
// On a machine with other work a missed target says little, so by default only the tables tell.
if (strict && failed.length > 0) process.exitCode = 1
