import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import * as http from 'node:http'
import * as https from 'node:https'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as secureConnect } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { timeoutOf, type Route } from '../../src/service/http.ts'
import { openLog } from '../../src/service/log.ts'
import { Metrics } from '../../src/service/metrics.ts'
import { listen } from '../../src/service/server.ts'
import type { Service } from '../../src/service/service.ts'
import { party } from '../fakes/authority.ts'
import { imageVolume, pod, reviewOf } from './fixtures.ts'
import { certificate, CLIENT, world, type World } from './world.ts'

let at: World
beforeEach(async () => {
  at = await world()
})
afterEach(() => at.close())

const review = (reference: string): object => reviewOf(pod({ volumes: [imageVolume(reference)] }))

function files(made = certificate()): { cert: string; key: string; ca: string } {
  const cert = join(at.folder, 'tls.crt')
  const key = join(at.folder, 'tls.key')
  writeFileSync(cert, made.cert)
  writeFileSync(key, made.key)
  return { cert, key, ca: made.ca }
}

async function secure(): Promise<{ service: Service; ca: string; url: string }> {
  const { ca, ...pair } = files()
  const service = await at.start({ certificate: pair })
  expect(service.url).toMatch(/^https:/)
  return { service, ca, url: service.url }
}

describe('over HTTPS, as the API server asks', () => {
  it('answers on one kept connection, packed or not', async () => {
    const model = await at.push('models/good')
    const { url, ca } = await secure()
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 })
    const sockets = new Set<unknown>()
    agent.on('free', (socket: unknown) => sockets.add(socket))
    for (let turn = 0; turn < 6; turn += 1) {
      const { status, json, headers } = await at.ask(`${url}/validate?timeout=10s`, {
        body: review(model),
        agent,
        ca,
        gzip: turn % 2 === 1,
      })
      expect([status, json.response.allowed]).toEqual([200, true])
      expect(headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
      // Go keeps idle connections for 90 seconds.
      expect(
        Number(/timeout=(\d+)/.exec(String(headers['keep-alive']))?.[1]),
      ).toBeGreaterThanOrEqual(120)
    }
    expect(sockets.size).toBe(1)
    agent.destroy()
  })

  it('is refused by whoever pins another authority', async () => {
    const { url } = await secure()
    const { issue } = await import('../fakes/authority.ts')
    await expect(
      at.ask(`${url}/healthz`, { ca: issue(party('other'), { ca: true }) }),
    ).rejects.toThrow()
  })

  it('speaks no TLS older than 1.2', async () => {
    const { service } = await secure()
    const { port } = new URL(service.url)
    const failed = await new Promise<boolean>((resolve) => {
      const socket = secureConnect({
        host: '127.0.0.1',
        port: Number(port),
        maxVersion: 'TLSv1.1',
        minVersion: 'TLSv1.1',
        rejectUnauthorized: false,
        ciphers: 'DEFAULT@SECLEVEL=0',
      })
      socket.on('secureConnect', () => resolve(false))
      socket.on('error', () => resolve(true))
    })
    expect(failed).toBe(true)
  })

  it('uses a new certificate without a restart, and keeps the old one where the new is broken', async () => {
    const { url, ca } = await secure()
    const shown = async (): Promise<string> =>
      new Promise((resolve, reject) => {
        const { port } = new URL(url)
        const socket = secureConnect(
          { host: '127.0.0.1', port: Number(port), ca, servername: 'localhost' },
          () => {
            resolve(socket.getPeerCertificate().fingerprint256)
            socket.destroy()
          },
        )
        socket.on('error', reject)
      })
    const first = await shown()
    const next = party('server')
    writeFileSync(join(at.folder, 'tls.key'), next.privatePem)
    await expect
      .poll(async () => (await at.ask(`${url}/readyz`, { ca })).json.certificate.broken)
      .toContain('key values mismatch')
    expect(await shown()).toBe(first)
    expect((await at.ask(`${url}/metrics`, { ca })).text).toMatch(
      /^zt4ai_broken\{what="certificate"\} 1$/m,
    )
    files(certificate(next))
    await expect.poll(shown).not.toBe(first)
    expect((await at.ask(`${url}/readyz`, { ca })).json.certificate.broken).toBeNull()
    expect((await at.ask(`${url}/metrics`, { ca })).text).toMatch(
      /^zt4ai_certificate_expiry_seconds \d+$/m,
    )
  })

  it('takes only clients of its authority where that is asked for', async () => {
    const { ca, ...pair } = files()
    const clientCa = join(at.folder, 'clients.pem')
    writeFileSync(clientCa, ca)
    const { url } = await at.start({ certificate: { ...pair, clientCa } })
    await expect(at.ask(`${url}/healthz`, { ca })).rejects.toThrow()
    const client = certificate(party('client'), CLIENT)
    const agent = new https.Agent({
      ca,
      cert: client.cert,
      key: client.key,
      servername: 'localhost',
    })
    expect((await at.ask(`${url}/healthz`, { agent })).status).toBe(200)
  })

  it('does not start with a certificate and a key that do not belong together', async () => {
    const { cert } = files()
    const key = join(at.folder, 'other.key')
    writeFileSync(key, party('x').privatePem)
    await expect(at.start({ certificate: { cert, key } })).rejects.toMatchObject({
      code: 'CERTIFICATE_INVALID',
    })
  })
})

describe('without TLS', () => {
  it('listens on a loopback address alone', async () => {
    await expect(at.start({ listen: { host: '0.0.0.0', port: 0 } })).rejects.toMatchObject({
      code: 'USAGE',
    })
    expect((await at.start({ listen: { host: '127.0.0.1', port: 0 } })).url).toMatch(
      /^http:\/\/127/,
    )
  })

  it('shows health and metrics, and nothing else, on the second address', async () => {
    const { adminUrl = '' } = await at.start({ admin: { host: '127.0.0.1', port: 0 } })
    expect((await at.ask(`${adminUrl}/readyz`)).status).toBe(200)
    expect((await at.ask(`${adminUrl}/metrics`)).text).toContain('zt4ai_cache_entries')
    expect((await at.ask(`${adminUrl}/validate`, { body: {} })).status).toBe(404)
  })
})

describe('routes', () => {
  it('are these and no others', async () => {
    const { url } = await at.start()
    expect((await at.ask(`${url}/healthz`)).status).toBe(200)
    expect((await at.ask(`${url}/`)).status).toBe(404)
    expect((await at.ask(`${url}/validate/nobody`, { body: {} })).status).toBe(404)
    expect((await at.ask(`${url}/validate/%E0%A4%A`, { body: {} })).status).toBe(404)
    expect((await at.ask(`${url}/v1/admit`, { method: 'GET' })).status).toBe(405)
    expect((await at.ask(`${url}/v1/challenge`, { body: {} })).status).toBe(404)
    expect((await at.ask(`${url}/v1/events/harbor`, { body: {} })).status).toBe(404)
    expect(
      (await at.ask(`${url}/validate/cluster`, { body: reviewOf(pod()) })).json.response.allowed,
    ).toBe(true)
  })

  it('follow a request by the id that it brings, if it is a plain word', async () => {
    const { url } = await at.start()
    const id = async (text: string): Promise<unknown> =>
      (await at.ask(`${url}/healthz`, { headers: { 'x-request-id': text } })).headers[
        'x-request-id'
      ]
    expect(await id('abc-1')).toBe('abc-1')
    expect(await id('a b')).not.toBe('a b')
  })

  it.each([
    ['10s', 10_000],
    ['1m30s', 90_000],
    ['1.5s', 1500],
    ['500ms', 500],
    ['', undefined],
    ['10', undefined],
    ['-1s', undefined],
    ['9'.repeat(40), undefined],
  ])('read the limit %s of the API server', (text, ms) => {
    expect(timeoutOf(text)).toBe(ms)
  })
})

describe('those who hold connections', () => {
  const open = (port: number): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(socket))
      socket.on('error', reject)
    })

  it.skipIf(openFiles() < 11_000)('ten thousand at a time do not keep others out', async () => {
    const model = await at.push('models/good')
    const { url } = await at.start()
    // They live in a process of their own: each end of a connection takes one of the open files that a process may have.
    const idle = spawn(process.execPath, ['-e', IDLE, new URL(url).port], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const opened = await new Promise<string>((resolve) => {
      idle.stdout.once('data', (text: Buffer) => resolve(text.toString()))
      idle.once('exit', (status) => resolve(`exit ${String(status)}`))
    })
    expect(opened).toBe('10000 open')
    const { json } = await at.ask(`${url}/validate?timeout=10s`, { body: review(model) })
    expect(json.response.allowed).toBe(true)
    idle.kill()
  })

  it('with a head that never ends are cut off', async () => {
    const { url } = await at.start()
    const socket = await open(Number(new URL(url).port))
    socket.on('error', () => undefined)
    socket.write(`POST /validate HTTP/1.1\r\nhost: x\r\n`)
    const answer = await new Promise<string>((resolve) => {
      let text = ''
      socket.on('data', (chunk) => (text += chunk.toString()))
      socket.on('close', () => resolve(text))
      for (let line = 0; line < 40; line += 1)
        socket.write(`x-${String(line)}: ${'y'.repeat(1000)}\r\n`)
    })
    expect(answer).toMatch(/^HTTP\/1.1 4\d\d/)
  })
})

describe('bodies', () => {
  it('that together are more than is held at one time are refused, and given back', async () => {
    const metrics = new Metrics()
    const log = openLog({ write: () => undefined }, 'error')
    const echo: Route = {
      method: 'POST',
      path: '/echo',
      maxBody: 1 << 20,
      handle: async (call) => ({ status: 200, body: { read: typeof (await call.json()) } }),
    }
    const listening = await listen({
      metrics,
      log,
      monotonic: () => performance.now(),
      draining: () => false,
      maxRequests: 100,
      maxHeld: 300_000,
      maxConnections: 100,
      address: { host: '127.0.0.1', port: 0 },
      routes: [echo],
    })
    const body = JSON.stringify({ padding: 'x'.repeat(200_000) })
    const slow = http.request(`${listening.url}/echo`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': body.length },
    })
    slow.write(body.slice(0, 190_000))
    await expect
      .poll(async () => (await at.ask(`${listening.url}/echo`, { body })).status)
      .toBe(503)
    slow.on('error', () => undefined)
    slow.destroy()
    await expect
      .poll(async () => (await at.ask(`${listening.url}/echo`, { body })).status)
      .toBe(200)
    await listening.close(100)
  })
})

describe('more requests than there is room for', () => {
  it('are answered in the form of their route, from their beginning', async () => {
    let open = (): void => undefined
    const gate = new Promise<void>((resolve) => (open = resolve))
    let entered = false
    const slow: Route = {
      method: 'POST',
      path: '/slow',
      maxBody: 100,
      handle: async () => {
        entered = true
        await gate
        return { status: 200, body: 'done' }
      },
      unread: (head, { code }) =>
        head.length === 0
          ? undefined
          : { status: 200, body: `${code} ${Buffer.from(head.subarray(0, 5)).toString()}` },
    }
    const listening = await listen({
      metrics: new Metrics(),
      log: openLog({ write: () => undefined }, 'error'),
      monotonic: () => performance.now(),
      draining: () => false,
      maxRequests: 1,
      maxHeld: 1000,
      maxConnections: 100,
      address: { host: '127.0.0.1', port: 0 },
      routes: [slow],
    })
    const url = `${listening.url}/slow`
    const first = at.ask(url, { body: 'first' })
    await expect.poll(() => entered).toBe(true)
    expect((await at.ask(url, { body: 'hello there' })).text).toBe('OVERLOADED hello')
    expect((await at.ask(url, { body: 'hello there', gzip: true })).text).toBe('OVERLOADED hello')
    expect((await at.ask(url, { method: 'POST' })).status).toBe(503)
    open()
    expect((await first).text).toBe('done')
    await listening.close(100)
  })
})

describe('the end', () => {
  it('lets what runs be answered, and takes nothing new', async () => {
    const model = await at.push('models/good')
    at.registry.switches.delayMs = 500
    const service = await at.start({ drainDelayMs: 1_500, graceMs: 20_000 })
    const agent = new http.Agent({ keepAlive: true })
    const before = at.registry.log.length
    const running = at.ask(`${service.url}/validate`, { body: review(model), agent })
    await expect.poll(() => at.registry.log.length).toBeGreaterThan(before)
    const closed = service.close()
    const ready = await at.ask(`${service.url}/readyz`)
    expect([ready.status, ready.json.draining]).toEqual([503, true])
    const { json, headers } = await running
    expect(json.response.allowed).toBe(true)
    expect(headers.connection).toBe('close')
    await closed
    await expect(at.ask(`${service.url}/healthz`)).rejects.toThrow()
    agent.destroy()
  })
})

/** Opens ten thousand connections to a port, says so, and does nothing with them. */
const IDLE = `
  const port = Number(process.argv[1])
  const one = () => new Promise((open, failed) => {
    require('node:net').connect({ port, host: '127.0.0.1' }, open).on('error', failed)
  })
  const all = async () => {
    for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 500 }, one))
    process.stdout.write('10000 open')
  }
  void all()`

function openFiles(): number {
  const report = process.report.getReport() as unknown as {
    userLimits: { open_files: { soft: number | string } }
  }
  const { soft } = report.userLimits.open_files
  return typeof soft === 'number' ? soft : 1_000_000
}
