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
/** MB. */
let peak = 0

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
}

/** One run in its own process. */
function once(path: string, options: IdentifyOptions): Run {
  const script = `
    const { identifyModel } = await import(process.argv[1])
    const at = performance.now()
    const { manifest } = await identifyModel(process.argv[2], JSON.parse(process.argv[3]))
    if (manifest === null) throw new Error('refused')
    console.log(JSON.stringify([(performance.now() - at) / 1000, process.resourceUsage().maxRSS * 1024 / 1e6]))`
  const module = `file://${DIST}model/identify.js`
  const args = ['--input-type=module', '-e', script, module, path, JSON.stringify(options)]
  const at = performance.now()
  const printed = execFileSync(process.execPath, args, { encoding: 'utf8' })
  const [seconds, memory] = JSON.parse(printed) as [number, number]
  peak = Math.max(peak, memory)
  return { seconds, wall: (performance.now() - at) / 1000 }
}

/** Seconds of a command, from start to end. */
function command(name: string, args: readonly string[]): number {
  const at = performance.now()
  const { status } = spawnSync(name, args, { stdio: 'ignore' })
  if (status !== 0) throw new Error(`${name} failed`)
  return (performance.now() - at) / 1000
}

const installed = (name: string): boolean => spawnSync(name, ['--version']).error === undefined

/** What is compared is measured in turns, the best of each, so that other work on the machine hits both. */
function inTurns(one: () => number, other: () => number): [number, number] {
  let [a, b] = [Infinity, Infinity]
  for (let i = 0; i < RUNS; i++) {
    a = Math.min(a, one())
    b = Math.min(b, other())
  }
  return [a, b]
}

/** Seconds that one thread of openssl needs for this many bytes. */
function openssl(bytes: number): number {
  const args = ['speed', '-elapsed', '-seconds', '1', '-bytes', '1048576', '-evp', 'sha256']
  const { stdout } = spawnSync('openssl', args, { encoding: 'utf8' })
  return bytes / (Number(/^sha256\s+([\d.]+)k/im.exec(stdout)?.[1]) * 1000)
}

const rate = (bytes: number, seconds: number): string =>
  `${(bytes / seconds / 1e9).toFixed(2)} GB/s`
const seconds = (s: number): string => `${s.toFixed(3)} s`

/** `factor`: how many times the other's rate is the target. */
function compareRates(
  what: string,
  name: string,
  [ours, other]: [number, number],
  factor: number | null,
): void {
  const ratio = other / ours
  rows.push({
    what,
    ours: rate(SIZE, ours),
    other: `${name} ${rate(SIZE, other)}`,
    ratio,
    target: factor === null ? '' : `>= ${factor.toFixed(2)}`,
    ok: factor === null ? null : ratio >= factor,
  })
}

function absent(what: string, name: string): void {
  rows.push({ what, ours: '', other: `${name} is not installed`, target: '', ok: null })
}

prepare()
const parts = Array.from({ length: FILES }, (_, i) => join(several, `part-${i}.safetensors`))
const shardSize = Math.ceil(SIZE / (8 * CORES))
for (const [what, path, options] of [
  [`SHA-256, ${FILES} files`, several, {}],
  ['SHA-256, one file in shards', big, { shardSize }],
] as const)
  compareRates(
    what,
    `${CORES} x openssl`,
    inTurns(
      () => once(path, options).seconds,
      () => openssl(SIZE) / CORES,
    ),
    0.9,
  )
compareRates(
  'SHA-256, one file whole: one core by nature',
  'openssl',
  inTurns(
    () => once(big, {}).seconds,
    () => openssl(SIZE),
  ),
  null,
)
for (const [what, path, files] of [
  [`BLAKE3, ${FILES} files`, several, parts],
  ['BLAKE3, one file', big, [join(big, 'model.bin')]],
] as const) {
  if (!installed('b3sum')) absent(what, 'b3sum')
  else
    compareRates(
      what,
      'b3sum',
      inTurns(
        () => once(path, { hashType: 'blake3' }).seconds,
        () => command('b3sum', files),
      ),
      0.7,
    )
}
for (const [what, path] of [
  [`whole process, SHA-256, ${FILES} files`, several],
  ['whole process, SHA-256, 100,000 files', small],
] as const) {
  if (!installed('model_signing')) {
    absent(what, 'model_signing')
    continue
  }
  const [ours, other] = inTurns(
    () => once(path, {}).wall,
    () => command('model_signing', ['digest', path]),
  )
  rows.push({
    what,
    ours: seconds(ours),
    other: `model_signing ${seconds(other)}`,
    ratio: ours / other,
    target: '<= 1',
    ok: ours <= other,
  })
}
const [smallSeconds] = inTurns(
  () => once(small, {}).seconds,
  () => 0,
)
rows.push({
  what: '100,000 small files',
  ours: `${Math.round(SMALL / smallSeconds)} files/s`,
  other: '',
  target: '>= 15000',
  ok: SMALL / smallSeconds >= 15_000,
})
rows.push({
  what: 'memory, the most of all runs',
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
  const [verify, node] = inTurns(
    () => command(process.execPath, [cli, 'verify', tiny, '--key', open]),
    () => command(process.execPath, ['-e', '0']),
  )
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
