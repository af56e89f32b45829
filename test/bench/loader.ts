// Measures the loader side by side with hashing and copying alone, in one run, and prints a table. Run: npx tsx test/bench/loader.ts [MiB] [--strict]
import { execFileSync, spawnSync } from 'node:child_process'
import { createCipheriv, generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const MIB = 1024 * 1024
const SIZE = Number(process.argv.find((word) => /^\d+$/.test(word)) ?? 2048) * MIB
const FILES = 8
const RUNS = 5
const SHARD = 16 * MIB
const DIST = fileURLToPath(new URL('../../dist/src/', import.meta.url))
const CLI = join(DIST, 'cli/main.js')

interface Row {
  readonly what: string
  readonly ours: string
  readonly other: string
  readonly ratio: number
  /** The ratio must be at most this, or at least. */
  readonly most?: number
  readonly least?: number
}
const rows: Row[] = []

// In memory where there is room: what is measured is the loader, not the disk.
const room = existsSync('/dev/shm') ? statfsSync('/dev/shm') : null
const inMemory = room !== null && room.bavail * room.bsize > 3.5 * SIZE
const folder = mkdtempSync(
  join(process.env['ZT4AI_BENCH_DIR'] ?? (inMemory ? '/dev/shm' : tmpdir()), 'zt4ai-bench-'),
)
process.on('exit', () => {
  rmSync(folder, { recursive: true, force: true })
})
process.on('SIGINT', () => process.exit(1))

const model = join(folder, 'model')
const policy = join(folder, 'policy.yaml')
const key = join(folder, 'key.pem')

function prepare(): void {
  mkdirSync(model)
  const each = SIZE / FILES
  const header = Buffer.from(
    JSON.stringify({ w: { dtype: 'U8', shape: [each], data_offsets: [0, each] } }),
  )
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16))
  const block = cipher.update(Buffer.alloc(each))
  for (let i = 0; i < FILES; i++) {
    block.writeUInt32LE(i)
    const name = join(model, `part-${String(i)}.safetensors`)
    writeFileSync(name, Buffer.concat([length, header, block]))
  }
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(key, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(join(folder, 'key.pub.pem'), pair.publicKey.export({ type: 'spki', format: 'pem' }))
  writeFileSync(
    policy,
    `schema: zt4ai.policy/v1
name: bench
signers: {release: {key: {file: key.pub.pem}}}
rules: {all: {models: ['*'], signed-by: {any-of: [release]}, machine: not-required}}
`,
  )
  node([CLI, 'sign', model, '--key', key])
}

/** Seconds of a command, from start to end. */
function command(name: string, args: readonly string[]): number {
  const at = performance.now()
  const { status, stderr } = spawnSync(name, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  if (status !== 0) throw new Error(`${name} ${args.join(' ')}: ${stderr.toString()}`)
  return (performance.now() - at) / 1000
}
const node = (args: readonly string[]): number => command(process.execPath, args)

/** Seconds that a script in a process of its own says. */
function script(text: string): number {
  const args = ['--input-type=module', '-e', text]
  return Number(execFileSync(process.execPath, args, { encoding: 'utf8' }))
}

/** What is compared is measured in turns, the best of each, so that other work on the machine hits all of them. */
function inTurns<T extends readonly (() => number)[]>(...measured: T): { [K in keyof T]: number } {
  const best = measured.map(() => Infinity)
  for (let i = 0; i < RUNS; i++)
    for (const [k, once] of measured.entries()) best[k] = Math.min(best[k] ?? Infinity, once())
  return best as { [K in keyof T]: number }
}

const hashing = `
  const { walkModel } = await import('file://${DIST}model/walk.js')
  const { hashFiles } = await import('file://${DIST}model/pool.js')
  const { root, files } = await walkModel('${model}')
  const hash = (more) => hashFiles(root, files, { hashType: 'sha256', ...more })`

/** A process that hashes and does nothing else. */
const hashOnly = (): number => node(['--input-type=module', '-e', `${hashing}; await hash({})`])
/** Seconds of hashing alone, without the start of a process. */
const hashInside = (): number =>
  script(`${hashing}
    const at = performance.now()
    await hash({})
    console.log((performance.now() - at) / 1000)`)
/** The start of zt4ai itself and of the program. */
const startOnly = (): number => node([CLI, 'run', '--help']) + command('true', [])
const run = (...words: readonly string[]): number =>
  node([CLI, 'run', '--quiet', '--policy', policy, '--model', model, ...words, '--', 'true'])

function copyOnly(to: string): number {
  const target = join(to, 'copy')
  const seconds = command('cp', ['-r', model, target])
  rmSync(target, { recursive: true })
  return seconds
}

const gb = (seconds: number): string => `${(SIZE / seconds / 1e9).toFixed(2)} GB/s`
const s = (seconds: number): string => `${seconds.toFixed(2)} s`

function starting(): void {
  const [ours, hash, start] = inTurns(() => run('--protection', 'start'), hashInside, startOnly)
  rows.push({
    what: `run, start; hashing (${s(hash)}) and starting both processes (${s(start)})`,
    ours: s(ours),
    other: s(hash + start),
    ratio: ours / (hash + start),
    most: 1.1,
  })
}

function copying(): void {
  const memory = inMemory ? folder : '/dev/shm'
  const [ours, hash, copy] = inTurns(
    () => run('--protection', 'private-copy'),
    hashOnly,
    () => copyOnly(memory),
  )
  rows.push({
    what: `run, private-copy; the slower of hashing (${s(hash)}) and copying (${s(copy)})`,
    ours: s(ours),
    other: s(Math.max(hash, copy)),
    ratio: ours / Math.max(hash, copy),
    most: 1.5,
  })
  const disk = mkdtempSync(join(tmpdir(), 'zt4ai-bench-'))
  try {
    const [there, hashed, copied] = inTurns(
      () => run('--protection', 'private-copy', '--scratch', disk),
      hashOnly,
      () => copyOnly(disk),
    )
    rows.push({
      what: `the same with --scratch; hashing (${s(hashed)}) and copying (${s(copied)})`,
      ours: s(there),
      other: s(Math.max(hashed, copied)),
      ratio: there / Math.max(hashed, copied),
      most: 1.5,
    })
  } finally {
    rmSync(disk, { recursive: true })
  }
}

/** Seconds of reading the whole model as streams, and of hashing it with as many threads, in one process after a first run of each. */
function reading(shards: boolean): void {
  const shard = shards ? `{ shardSize: ${String(SHARD)} }` : '{}'
  const text = (measured: string): string => `${hashing}
    const { openSigned } = await import('file://${DIST}index.js')
    const { identifyModel } = await import('file://${DIST}model/identify.js')
    const { manifest } = await identifyModel('${model}', ${shard})
    const opened = await openSigned('${model}', manifest, { memory: 2 ** 31 })
    const stream = async () => {
      let bytes = 0
      for (const { name } of files) for await (const part of opened.stream(name, { reuse: true })) bytes += part.length
      if (bytes < ${String(SIZE)}) throw new Error('short')
    }
    await ${measured}
    const at = performance.now()
    await ${measured}
    console.log((performance.now() - at) / 1000)
    opened.close()`
  const [ours, hash] = inTurns(
    () => script(text('stream()')),
    () => script(text(`hash(${shards ? shard : '{ threads: 1 }'})`)),
  )
  rows.push({
    what: shards
      ? `openVerified, streamed in shards of ${String(SHARD / MIB)} MiB; hashing them on all cores`
      : 'openVerified, streamed file by file, signed whole; hashing one file after the other',
    ours: gb(ours),
    other: gb(hash),
    ratio: hash / ours,
    least: 0.85,
  })
}

prepare()
starting()
copying()
reading(true)
reading(false)

let missed = false
console.log(
  `${String(SIZE / MIB)} MiB in ${String(FILES)} files, ${inMemory ? 'in memory' : folder}`,
)
for (const { what, ours, other, ratio, most = Infinity, least = 0 } of rows) {
  const ok = ratio <= most && ratio >= least
  missed ||= !ok
  const target = most === Infinity ? `≥ ${String(least)}` : `≤ ${String(most)}`
  console.log(
    `${ok ? '✓' : '✗'} ${what}\n    ${ours} against ${other}: ${ratio.toFixed(2)} (${target})`,
  )
}
if (missed && process.argv.includes('--strict')) process.exitCode = 1
