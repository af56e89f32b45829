// Measures the service as it ships, in a process of its own: manifest-only admission, cached and not, the webhook under load, and its memory. Loopback only. Run: npx tsx test/bench/service.ts
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import * as https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { httpTransport } from '../../src/fetch/transport.ts'
import { openRepository } from '../../src/registry/client.ts'
import { startRegistry } from '../fakes/registry.ts'
import { haveDockerRegistry, startDockerRegistry } from '../registry/backend.ts'
import { imageVolume, pod, reviewOf } from '../service/fixtures.ts'
import { certificate, policyText, pushSigned } from '../service/world.ts'

const CLI = new URL('../../dist/src/cli/main.js', import.meta.url).pathname
const FILES = 40
const WARM_UP = 300
const ROUNDS = 400
const CONNECTIONS = 16
const RATE = 1000
const SECONDS = 10
const MANY = 100_000
const CPU = 'process_cpu_seconds_total'

const folder = mkdtempSync(join(tmpdir(), 'zt4ai-bench-'))
const { cert, key, ca } = certificate()
writeFileSync(join(folder, 'tls.crt'), cert)
writeFileSync(join(folder, 'tls.key'), key)
writeFileSync(join(folder, 'policy.yaml'), policyText())

interface Running {
  readonly child: ChildProcess
  readonly url: string
}

/** The service as a user starts it; nothing of its log is kept. */
function serve(words: readonly string[]): Promise<Running> {
  const child = spawn(
    process.execPath,
    [
      CLI,
      'serve',
      '--policy',
      join(folder, 'policy.yaml'),
      '--listen',
      '127.0.0.1:0',
      '--plain-http',
      '--drain-delay',
      '0s',
      '--tls-cert',
      join(folder, 'tls.crt'),
      '--tls-key',
      join(folder, 'tls.key'),
      ...words,
    ],
    { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, DOCKER_CONFIG: folder } },
  )
  return new Promise((resolve, reject) => {
    child.stdout.once('data', (chunk: Buffer) => resolve({ child, url: chunk.toString().trim() }))
    child.once('exit', (status) => reject(new Error(`the service ended: ${String(status)}`)))
  })
}

async function stop({ child }: Running): Promise<void> {
  const ended = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGTERM')
  await ended
}

/** One review on a kept connection; milliseconds. */
function ask(url: string, body: Buffer, agent: https.Agent): Promise<number> {
  const start = performance.now()
  return new Promise((resolve, reject) => {
    const request = https.request(
      `${url}/validate?timeout=5s`,
      {
        method: 'POST',
        agent,
        headers: { 'content-type': 'application/json', 'content-length': body.length },
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (text += chunk))
        response.on('end', () => {
          if (text.includes('"allowed":true')) resolve(performance.now() - start)
          else reject(new Error(text))
        })
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

const agentOf = (sockets: number): https.Agent =>
  new https.Agent({ keepAlive: true, maxSockets: sockets, ca, servername: 'localhost' })

function quantile(times: readonly number[], part: number): number {
  const sorted = [...times].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

interface Row {
  readonly what: string
  readonly measured: string
  readonly target: string
  readonly met: boolean
}
const rows: Row[] = []
const row = (what: string, measured: string, target: string, met: boolean): void => {
  rows.push({ what, measured, target, met })
}
const ms = (value: number): string => `${value.toFixed(2)} ms`

async function push(host: string, name: string): Promise<Buffer> {
  const transport = httpTransport({ plainHttp: true })
  const reference = await pushSigned(openRepository(host, name, { transport, plainHttp: true }), {
    files: FILES,
  })
  transport.close()
  return Buffer.from(JSON.stringify(reviewOf(pod({ volumes: [imageVolume(reference)] }))))
}

interface Times {
  readonly times: readonly number[]
  /** Processor time of the service for one, milliseconds: whatever else the machine does. */
  readonly cpu: number
}

async function oneByOne(url: string, body: Buffer): Promise<Times> {
  const agent = agentOf(1)
  const times: number[] = []
  for (let round = 0; round < WARM_UP; round += 1) await ask(url, body, agent)
  const before = await metric(url, CPU)
  for (let round = 0; round < ROUNDS; round += 1) times.push(await ask(url, body, agent))
  const cpu = (((await metric(url, CPU)) - before) * 1000) / ROUNDS
  agent.destroy()
  return { times, cpu }
}

async function admission(registry: string, host: string): Promise<void> {
  const body = await push(host, 'models/bench')
  const uncached = await serve(['--max-age', '0s'])
  const slow = await oneByOne(uncached.url, body)
  await stop(uncached)
  const [p50, p99] = [quantile(slow.times, 0.5), quantile(slow.times, 0.99)]
  row(`${String(FILES)} files, uncached, ${registry}: p50`, ms(p50), '12 ms', p50 <= 12)
  row(`${String(FILES)} files, uncached, ${registry}: p99`, ms(p99), '30 ms', p99 <= 30)
  const cached = await serve([])
  const fast = await oneByOne(cached.url, body)
  await stop(cached)
  row(`${String(FILES)} files, uncached, ${registry}: processor`, ms(slow.cpu), '', true)
  row(
    `${String(FILES)} files, cached, ${registry}: p50`,
    ms(quantile(fast.times, 0.5)),
    '1 ms',
    quantile(fast.times, 0.5) < 1,
  )
}

/** Reviews at a fixed rate, whatever the answers do: a slow answer makes the next ones late, and they count as late. */
async function load(url: string, bodies: readonly Buffer[]): Promise<void> {
  const agents = Array.from({ length: CONNECTIONS }, () => agentOf(1))
  await Promise.all(
    agents.map((agent, index) => ask(url, bodies[index % bodies.length] ?? Buffer.alloc(0), agent)),
  )
  const times: number[] = []
  const total = RATE * SECONDS
  const begin = performance.now()
  await Promise.all(
    agents.map(async (agent, index) => {
      for (let turn = index; turn < total; turn += CONNECTIONS) {
        const due = begin + (turn * 1000) / RATE
        const early = due - performance.now()
        if (early > 0) await new Promise((resolve) => setTimeout(resolve, early))
        await ask(url, bodies[turn % bodies.length] ?? Buffer.alloc(0), agent)
        times.push(performance.now() - due)
      }
    }),
  )
  const rate = (total * 1000) / (performance.now() - begin)
  for (const agent of agents) agent.destroy()
  const p99 = quantile(times, 0.99)
  row(
    `webhook, ${String(CONNECTIONS)} connections: rate`,
    `${rate.toFixed(0)} /s`,
    `${String(RATE)} /s`,
    rate >= RATE * 0.98,
  )
  row(`webhook, ${String(CONNECTIONS)} connections: p50`, ms(quantile(times, 0.5)), '', true)
  row(`webhook, ${String(CONNECTIONS)} connections: p99`, ms(p99), '50 ms', p99 < 50)
}

/** One of the service's own metrics. */
async function metric(url: string, name: string): Promise<number> {
  const text = await new Promise<string>((resolve, reject) => {
    https
      .get(`${url}/metrics`, { ca, servername: 'localhost', agent: false }, (response) => {
        let all = ''
        response.on('data', (chunk: Buffer) => (all += chunk.toString()))
        response.on('end', () => resolve(all))
      })
      .on('error', reject)
  })
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}

/** As many as it takes, as fast as it goes: what is held after the first third must not grow. */
async function memory(url: string, bodies: readonly Buffer[]): Promise<void> {
  const agent = agentOf(CONNECTIONS)
  const samples: number[] = []
  const heap: number[] = []
  const before = await metric(url, CPU)
  const begin = performance.now()
  let sent = 0
  for (let part = 0; part < 10; part += 1) {
    const until = ((part + 1) * MANY) / 10
    await Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        for (let turn = sent++; turn < until; turn = sent++)
          await ask(url, bodies[turn % bodies.length] ?? Buffer.alloc(0), agent)
        sent -= 1
      }),
    )
    samples.push((await metric(url, 'process_resident_memory_bytes')) / 2 ** 20)
    heap.push((await metric(url, 'nodejs_heap_size_used_bytes')) / 2 ** 20)
  }
  const seconds = (performance.now() - begin) / 1000
  const cpu = (((await metric(url, CPU)) - before) * 1000) / MANY
  agent.destroy()
  // What is held after a collection shows only in the lowest of several; the process itself grows and shrinks in steps.
  const [early, late] = [Math.min(...heap.slice(0, 5)), Math.min(...heap.slice(5))]
  const [before50, after50] = [Math.max(...samples.slice(0, 5)), Math.max(...samples.slice(5))]
  row(`${String(MANY)} reviews, as fast as it goes`, `${(MANY / seconds).toFixed(0)} /s`, '', true)
  row('one review: processor', ms(cpu), '', true)
  row(
    'live memory, first and second half',
    `${early.toFixed(0)} → ${late.toFixed(0)} MiB`,
    '+10 %',
    // A collection may be a little further along in one of them.
    late <= early * 1.1 + 2,
  )
  row(
    'process, first and second half',
    `${before50.toFixed(0)} → ${after50.toFixed(0)} MiB`,
    '+20 %',
    after50 <= before50 * 1.2,
  )
}

const double = await startRegistry()
await admission('double in another process', double.host)
if (haveDockerRegistry) {
  const real = await startDockerRegistry()
  await admission("Debian's docker-registry", real.host)
  await real.close()
} else console.log("Debian's docker-registry is not installed: not measured")
const bodies = await Promise.all(
  Array.from({ length: 8 }, (_, index) => push(double.host, `models/load${String(index)}`)),
)
const running = await serve([])
await load(running.url, bodies)
await memory(running.url, bodies)
await stop(running)
await double.close()
rmSync(folder, { recursive: true, force: true })

console.log('the service'.padEnd(68), 'measured'.padStart(16), 'target'.padStart(10))
for (const { what, measured, target, met } of rows)
  console.log(
    what.padEnd(68),
    measured.padStart(16),
    target.padStart(10),
    target === '' ? '' : met ? 'met' : 'NOT MET',
  )
if (rows.some(({ met }) => !met)) process.exitCode = 1
