// Measures hashing side by side with openssl, b3sum and the Python model-signing, in one run, and prints a table. Run: npx tsx test/bench/hash.ts [MiB]
import { execFileSync, spawnSync } from 'node:child_process'
import { createCipheriv, generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { IdentifyOptions } from '../../src/model/identify.ts'

const MIB = 1024 * 1024
const SIZE = Number(process.argv[2] ?? 1024) * MIB
const FILES = 16
const SMALL = 100_000
const RUNS = 5
const CORES = availableParallelism()
const DIST = fileURLToPath(new URL('../../dist/src/', import.meta.url))

interface Row {
  readonly what: string
  readonly ours: string
  readonly other: string
  readonly ratio?: number
  readonly target: string
  readonly ok: boolean | null
}
const rows: Row[] = []

const folder = mkdtempSync(join(process.env['ZT4AI_BENCH_DIR'] ?? tmpdir(), 'zt4ai-bench-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
process.on('SIGINT', () => process.exit(1))

const several = join(folder, 'several')
const big = join(folder, 'big')
const small = join(folder, 'small')
const tiny = join(folder, 'tiny')

function prepare(): void {
  if (statfsSync(folder).bavail * statfsSync(folder).bsize < 3 * SIZE)
    throw new Error(`not enough room in ${folder} (set ZT4AI_BENCH_DIR)`)
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16))
  const block = cipher.update(Buffer.alloc(SIZE / FILES))
  for (const dir of [several, big, small, tiny]) mkdirSync(dir)
  for (let i = 0; i < FILES; i++) {
    block.writeUInt32LE(i)
    writeFileSync(join(several, `part-${i}.safetensors`), block)
    writeFileSync(join(big, 'model.bin'), block, { flag: 'a' })
  }
  for (let d = 0; d < 100; d++) {
    mkdirSync(join(small, `d${d}`))
    for (let i = 0; i < SMALL / 100; i++)
      writeFileSync(join(small, `d${d}`, `example-${i}.txt`), `example ${d} ${i}\n`)
  }
  writeFileSync(join(tiny, 'model.bin'), 'a model')
}

interface Run {
  /** Seconds inside the process, without its start. */
  readonly seconds: number
  /** Seconds of the whole process. */
  readonly wall: number
  /** MB. */
  readonly memory: number
}

/** The best of some runs, each in its own process: the others measure what else the machine does. */
function ours(path: string, options: IdentifyOptions): Run {
  const script = `
    const { identifyModel } = await import(process.argv[1])
    const at = performance.now()
    const { manifest } = await identifyModel(process.argv[2], JSON.parse(process.argv[3]))
    if (manifest === null) throw new Error('refused')
    console.log(JSON.stringify([(performance.now() - at) / 1000, process.resourceUsage().maxRSS * 1024 / 1e6]))`
  const args = [
    '--input-type=module',
    '-e',
    script,
    `file://${DIST}model/identify.js`,
    path,
    JSON.stringify(options),
  ]
  return best(() => {
    const at = performance.now()
    const [seconds, memory] = JSON.parse(
      execFileSync(process.execPath, args, { encoding: 'utf8' }),
    ) as [number, number]
    return { seconds, memory, wall: (performance.now() - at) / 1000 }
  })
}

function best(run: () => Run): Run {
  const all = Array.from({ length: RUNS }, run)
  return {
    seconds: Math.min(...all.map(({ seconds }) => seconds)),
    wall: Math.min(...all.map(({ wall }) => wall)),
    memory: Math.max(...all.map(({ memory }) => memory)),
  }
}

/** Best wall time of a command in seconds, null if it is not installed. */
function command(name: string, args: readonly string[]): number | null {
  if (spawnSync(name, ['--version']).error !== undefined) return null
  return best(() => {
    const at = performance.now()
    const { status } = spawnSync(name, args, { stdio: 'ignore' })
    if (status !== 0) throw new Error(`${name} failed`)
    const wall = (performance.now() - at) / 1000
    return { seconds: wall, wall, memory: 0 }
  }).wall
}

/** Bytes a second of one thread: the best of three one-second runs. */
function openssl(): number {
  let most = 0
  for (let i = 0; i < 3; i++) {
    const { stdout } = spawnSync(
      'openssl',
      ['speed', '-seconds', '1', '-bytes', '1048576', '-evp', 'sha256'],
      { encoding: 'utf8' },
    )
    most = Math.max(most, Number(/^sha256\s+([\d.]+)k/im.exec(stdout)?.[1] ?? 0) * 1000)
  }
  return most
}

const rate = (bytes: number, seconds: number): string =>
  `${(bytes / seconds / 1e9).toFixed(2)} GB/s`
const seconds = (s: number): string => `${s.toFixed(3)} s`

function atLeast(
  what: string,
  oursRate: number,
  otherRate: number,
  factor: number,
  name: string,
): void {
  const ratio = oursRate / otherRate
  rows.push({
    what,
    ours: rate(oursRate, 1),
    other: `${name} ${rate(otherRate, 1)}`,
    ratio,
    target: `>= ${factor.toFixed(2)}`,
    ok: ratio >= factor,
  })
}

function absent(what: string, name: string): void {
  rows.push({ what, ours: '', other: `${name} is not installed`, target: '', ok: null })
}

prepare()
const memory: number[] = []
const cold = openssl()
const runs = {
  several: ours(several, {}),
  shards: ours(big, { shardSize: Math.ceil(SIZE / (8 * CORES)) }),
  oneFile: ours(big, {}),
  blake2b: ours(several, { hashType: 'blake2b' }),
  blake3: ours(several, { hashType: 'blake3' }),
  blake3Big: ours(big, { hashType: 'blake3' }),
  small: ours(small, {}),
}
for (const run of Object.values(runs)) memory.push(run.memory)
const speed = Math.max(cold, openssl())
const all = `${CORES} x openssl`
atLeast(`SHA-256, ${FILES} files`, SIZE / runs.several.seconds, CORES * speed, 0.9, all)
atLeast('SHA-256, one file in shards', SIZE / runs.shards.seconds, CORES * speed, 0.9, all)
atLeast(
  'SHA-256, one file whole (one core by nature)',
  SIZE / runs.oneFile.seconds,
  speed,
  0.8,
  'openssl',
)
rows.push({
  what: `BLAKE2b, ${FILES} files`,
  ours: rate(SIZE, runs.blake2b.seconds),
  other: '',
  target: '',
  ok: null,
})
for (const [what, run, path] of [
  [`BLAKE3, ${FILES} files`, runs.blake3, several],
  ['BLAKE3, one file', runs.blake3Big, big],
] as const) {
  const paths =
    path === big
      ? [join(big, 'model.bin')]
      : Array.from({ length: FILES }, (_, i) => join(several, `part-${i}.safetensors`))
  const other = command('b3sum', paths)
  if (other === null) absent(what, 'b3sum')
  else atLeast(what, SIZE / run.seconds, SIZE / other, 0.7, 'b3sum')
}
for (const [what, run, path] of [
  ['whole process, several files', runs.several, several],
  ['whole process, 100,000 files', runs.small, small],
] as const) {
  const other = command('model_signing', ['digest', path])
  if (other === null) absent(what, 'model_signing')
  else
    rows.push({
      what,
      ours: seconds(run.wall),
      other: `model_signing ${seconds(other)}`,
      ratio: run.wall / other,
      target: '<= 1',
      ok: run.wall <= other,
    })
}
const filesPerSecond = SMALL / runs.small.seconds
rows.push({
  what: '100,000 small files',
  ours: `${Math.round(filesPerSecond)} files/s`,
  other: '',
  target: '>= 15000',
  ok: filesPerSecond >= 15_000,
})
const peak = Math.max(...memory)
rows.push({
  what: 'memory, the most of all',
  ours: `${Math.round(peak)} MB`,
  other: '',
  target: '< 200',
  ok: peak < 200,
})
startUp()
print()
if (rows.some(({ ok }) => ok === false)) process.exitCode = 1

function startUp(): void {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const [secret, open] = [join(folder, 'key.pem'), join(folder, 'key.pub.pem')]
  writeFileSync(secret, key.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(open, key.publicKey.export({ type: 'spki', format: 'pem' }))
  const cli = join(DIST, 'cli/main.js')
  const signed = spawnSync(process.execPath, [cli, 'sign', tiny, '--key', secret], {
    encoding: 'utf8',
  })
  if (signed.status !== 0) {
    rows.push({
      what: 'start-up of verify',
      ours: '',
      other: `sign failed: ${signed.stderr.slice(0, 60)}`,
      target: '<= 3',
      ok: null,
    })
    return
  }
  const node = command(process.execPath, ['-e', '0']) ?? 1
  const verify = command(process.execPath, [cli, 'verify', tiny, '--key', open]) ?? 1
  rows.push({
    what: 'verify of a one-file model',
    ours: seconds(verify),
    other: `node -e 0 ${seconds(node)}`,
    ratio: verify / node,
    target: '<= 3',
    ok: verify <= 3 * node,
  })
}

function print(): void {
  const cells = rows.map((row) => [
    row.what,
    row.ours,
    row.other,
    row.ratio === undefined ? '' : row.ratio.toFixed(2),
    row.target,
    row.ok === null ? '' : row.ok ? 'ok' : 'MISSED',
  ])
  const table = [['', 'zt4ai', 'beside it', 'ratio', 'target', ''], ...cells]
  const widths = [0, 1, 2, 3, 4, 5].map((c) =>
    Math.max(...table.map((row) => (row[c] ?? '').length)),
  )
  process.stdout.write(
    `${SIZE / MIB} MiB, ${CORES} cores, node ${process.version}, best of ${RUNS} runs\n`,
  )
  for (const row of table)
    process.stdout.write(
      `${row
        .map((cell, c) => cell.padEnd(widths[c] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    )
}
