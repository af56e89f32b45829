// Measures hashing side by side with openssl, b3sum and the Python model-signing, in one run, and prints a table. Run: npx tsx test/bench/hash.ts [MiB] [--strict]
import { execFileSync, spawnSync } from 'node:child_process'
import { createCipheriv, generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { IdentifyOptions } from '../../src/model/identify.ts'

const MIB = 1024 * 1024
const SIZE = Number(process.argv.find((word) => /^\d+$/.test(word)) ?? 1024) * MIB
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

const CLI = join(DIST, 'cli/main.js')
const SECRET = join(folder, 'key.pem')
const PUBLIC = join(folder, 'key.pub.pem')
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
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(SECRET, key.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(PUBLIC, key.publicKey.export({ type: 'spki', format: 'pem' }))
}

interface Run {
  /** Seconds inside the process, without its start. */
  readonly seconds: number
  /** Seconds of the whole process. */
  readonly wall: number
  /** Bytes for each second of processor time of all threads, their start among it. */
  readonly perCpu: number
}

/** One run in its own process. */
function once(path: string, options: IdentifyOptions): Run {
  const script = `
    const { identifyModel } = await import(process.argv[1])
    const at = performance.now()
    const before = process.cpuUsage()
    const { manifest } = await identifyModel(process.argv[2], JSON.parse(process.argv[3]))
    if (manifest === null) throw new Error('refused')
    const { user, system } = process.cpuUsage(before)
    console.log(JSON.stringify([(performance.now() - at) / 1000, (user + system) / 1e6]))`
  const module = `file://${DIST}model/identify.js`
  const args = ['--input-type=module', '-e', script, module, path, JSON.stringify(options)]
  const at = performance.now()
  const printed = execFileSync(process.execPath, args, { encoding: 'utf8' })
  const [seconds, cpu] = JSON.parse(printed) as [number, number]
  return { seconds, wall: (performance.now() - at) / 1000, perCpu: SIZE / cpu }
}

/** Seconds that a thread for each core needs to read and hash these files with bare calls of node:fs and node:crypto: the limit of what can be had here. */
function bare(files: readonly string[]): number {
  const script = `
    import { createHash } from 'node:crypto'
    import { openSync, readSync } from 'node:fs'
    import { parentPort, Worker, workerData } from 'node:worker_threads'
    const [, source, ...files] = process.argv
    if (workerData === null) {
      const workers = Array.from({ length: ${CORES} }, (_, i) => new Worker(new URL(source), { argv: [], workerData: files.filter((_, k) => k % ${CORES} === i) }))
      await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
      const at = performance.now()
      await Promise.all(workers.map((worker) => new Promise((resolve) => { worker.once('message', resolve); worker.postMessage('go') })))
      console.log((performance.now() - at) / 1000)
      process.exit()
    }
    parentPort.postMessage('ready')
    parentPort.once('message', () => {
      const buffer = Buffer.allocUnsafeSlow(256 * 1024)
      for (const file of workerData) {
        const fd = openSync(file)
        const hash = createHash('sha256')
        for (let n = readSync(fd, buffer); n > 0; n = readSync(fd, buffer)) hash.update(buffer.subarray(0, n))
        hash.digest()
      }
      parentPort.postMessage('done')
    })`
  const source = `data:text/javascript,${encodeURIComponent(script)}`
  const args = ['--input-type=module', '-e', `await import(process.argv[1])`, source, ...files]
  return Number(execFileSync(process.execPath, args, { encoding: 'utf8' }))
}

/** Seconds of a command, from start to end. */
function command(name: string, args: readonly string[]): number {
  const at = performance.now()
  const { status } = spawnSync(name, args, { stdio: 'ignore' })
  if (status !== 0) throw new Error(`${name} failed`)
  return (performance.now() - at) / 1000
}

const installed = (name: string): boolean => spawnSync(name, ['--version']).error === undefined

/** What is compared is measured in turns, the best of each, so that other work on the machine hits all of them. */
function inTurns<T extends readonly (() => number)[]>(...measured: T): { [K in keyof T]: number } {
  const best = measured.map(() => Infinity)
  for (let i = 0; i < RUNS; i++)
    for (const [k, once] of measured.entries()) best[k] = Math.min(best[k] ?? Infinity, once())
  return best as { [K in keyof T]: number }
}

/** Seconds that openssl needs for this many bytes: one thread by the clock or by its processor time, or as many at once as there are cores. */
function openssl(bytes: number, how: 'clock' | 'cpu' | 'all cores' = 'clock'): number {
  const args = ['-seconds', '1', '-bytes', String(256 * 1024), '-evp', 'sha256']
  if (how !== 'cpu') args.unshift('-elapsed')
  if (how === 'all cores') args.unshift('-multi', String(CORES))
  const { stdout } = spawnSync('openssl', ['speed', ...args], { encoding: 'utf8' })
  return bytes / (Number(/^sha256\s+([\d.]+)k/im.exec(stdout)?.[1]) * 1000)
}

const rate = (bytes: number, seconds: number): string =>
  `${(bytes / seconds / 1e9).toFixed(2)} GB/s`
const seconds = (s: number): string => `${s.toFixed(3)} s`

/** `factor`: how many times the other's rate is the target. */
function compareRates(
  what: string,
  name: string,
  [ours, other]: readonly [number, number],
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
] as const) {
  const [ours, single, multi] = inTurns(
    () => once(path, options).seconds,
    () => openssl(SIZE) / CORES,
    () => openssl(SIZE, 'all cores'),
  )
  compareRates(what, `${CORES} x openssl`, [ours, single], 0.9)
  compareRates('  what the cores give together', `openssl -multi ${CORES}`, [ours, multi], null)
}
compareRates(
  '  beside bare read and hash on all cores',
  'node:crypto',
  inTurns(
    () => once(several, {}).seconds,
    () => bare(parts),
  ),
  null,
)
// Processor time, which other work on the machine does not take: what the copy out of the page cache and all else costs beside bare hashing.
compareRates(
  '  for each second of processor time',
  'openssl',
  inTurns(
    () => SIZE / once(several, {}).perCpu,
    () => openssl(SIZE, 'cpu'),
  ),
  null,
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
  if (!installed('b3sum')) {
    absent(what, 'b3sum')
    continue
  }
  const [ours, all, one] = inTurns(
    () => once(path, { hashType: 'blake3' }).seconds,
    () => command('b3sum', files),
    () => command('b3sum', ['--num-threads', '1', ...files]),
  )
  compareRates(what, 'b3sum', [ours, all], 0.7)
  compareRates('  beside one thread of it', 'b3sum', [ours, one], null)
}
for (const [what, path] of [
  [`whole process, SHA-256, ${FILES} files`, several],
  ['whole process, SHA-256, 100,000 files', small],
] as const) {
  if (!installed('model_signing')) {
    absent(what, 'model_signing')
    continue
  }
  const signature = join(folder, 'peer.sig')
  const [ours, other] = inTurns(
    () => command(process.execPath, [CLI, 'sign', path, '--key', SECRET, '--signature', signature]),
    () =>
      command('model_signing', [
        ...['sign', 'key', path, '--private_key', SECRET, '--signature', signature],
      ]),
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
const [smallSeconds] = inTurns(() => once(small, {}).seconds)
rows.push({
  what: '100,000 small files',
  ours: `${Math.round(SMALL / smallSeconds)} files/s`,
  other: '',
  target: '>= 15000',
  ok: SMALL / smallSeconds >= 15_000,
})
memory()
startUp()
print()
if (process.argv.includes('--strict') && rows.some(({ ok }) => ok === false)) process.exitCode = 1

/** MB at most of one run of the command line, all threads. */
function peak(args: readonly string[]): number {
  // Not `maxRSS`: that of a new process begins with the one that started it.
  const tell = `import { readFileSync } from 'node:fs'
    process.on('exit', () => console.error('peak ' + /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]))`
  const { stderr, status } = spawnSync(process.execPath, [CLI, ...args], {
    encoding: 'utf8',
    env: {
      ...process.env,
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(tell)}`,
    },
  })
  if (status !== 0) throw new Error(`zt4ai ${args[0] ?? ''} failed: ${stderr.slice(0, 200)}`)
  const kilobytes = [...stderr.matchAll(/^peak (\d+)$/gm)].map((match) => Number(match[1]))
  return (Math.max(...kilobytes) * 1024) / 1e6
}

function memory(): void {
  for (const [what, path] of [
    [`${FILES} files`, several],
    ['one file', join(big, 'model.bin')],
    ['100,000 files', small],
  ] as const) {
    const signature = join(folder, 'memory.sig')
    const signing = peak(['sign', path, '--key', SECRET, '--signature', signature])
    const verifying = peak(['verify', path, '--key', PUBLIC, '--signature', signature])
    rows.push({
      what: `memory of sign and verify, ${what}`,
      ours: `${signing.toFixed(0)} and ${verifying.toFixed(0)} MB`,
      other: '',
      target: '< 200',
      ok: Math.max(signing, verifying) < 200,
    })
  }
}

function startUp(): void {
  command(process.execPath, [CLI, 'sign', tiny, '--key', SECRET])
  const [verify, node] = inTurns(
    () => command(process.execPath, [CLI, 'verify', tiny, '--key', PUBLIC]),
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
    row.ok === null ? '' : row.ok ? 'met' : 'MISSED',
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
