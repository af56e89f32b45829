import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { Fetcher } from '../../attestation/index.ts'
import { cachedFetcher } from '../../src/fetch/cache.ts'
import { httpFetcher } from '../../src/fetch/http.ts'
import { httpTransport } from '../../src/fetch/transport.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void
async function serve(handler: Handler): Promise<{ url: string; count: () => number }> {
  let count = 0
  const server = createServer((request, response) => handler(request, response, ++count))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, count: () => count }
}

function fetcher(waits: number[] = [], options = {}): Fetcher {
  const transport = httpTransport({
    plainHttp: true,
    sleep: (ms) => {
      waits.push(ms)
      return Promise.resolve()
    },
    ...options,
  })
  cleanups.push(() => transport.close())
  return httpFetcher(transport)
}

const limit = { maxBytes: 1000, timeoutMs: 5000 }
const unavailable = expect.objectContaining({
  name: 'AttestationError',
  code: 'ENDORSEMENT_UNAVAILABLE',
}) as Error

describe('httpFetcher', () => {
  it('gives status, lower-case headers and body', async () => {
    const { url } = await serve((_, response) => {
      response.setHeader('TCB-Info-Issuer-Chain', 'x').end('body')
    })
    const answer = await fetcher().fetch(`${url}/a?b=c`, limit)
    expect(answer.status).toBe(200)
    expect(answer.headers.get('tcb-info-issuer-chain')).toBe('x')
    expect(Buffer.from(answer.body).toString()).toBe('body')
  })

  it('takes 404 for an answer', async () => {
    const { url, count } = await serve((_, response) => {
      response.statusCode = 404
      response.end()
    })
    expect((await fetcher().fetch(url, limit)).status).toBe(404)
    expect(count()).toBe(1)
  })

  it('waits as the server asks, and tries again after 429 and 503', async () => {
    const waits: number[] = []
    const { url, count } = await serve((_, response, n) => {
      response.statusCode = n === 1 ? 429 : n === 2 ? 503 : 200
      if (n === 1) response.setHeader('Retry-After', '7')
      response.end('done')
    })
    expect((await fetcher(waits).fetch(url, limit)).status).toBe(200)
    expect(count()).toBe(3)
    expect(waits[0]).toBe(7000)
  })

  it('gives up on a server that never ends, answers too much, drops the line or redirects for ever', async () => {
    const slow = await serve((_, response) => response.write('x'))
    await expect(fetcher().fetch(slow.url, { ...limit, timeoutMs: 200 })).rejects.toThrow(
      unavailable,
    )
    const silent = await serve(() => undefined)
    await expect(fetcher().fetch(silent.url, { ...limit, timeoutMs: 200 })).rejects.toThrow(
      'no answer within 200 ms',
    )
    const large = await serve((_, response) => {
      response.writeHead(200)
      const timer = setInterval(() => response.write(Buffer.alloc(500)), 1)
      response.on('close', () => clearInterval(timer))
    })
    await expect(fetcher().fetch(large.url, limit)).rejects.toThrow('larger than 1000 bytes')
    const broken = await serve((request) => request.socket.destroy())
    await expect(fetcher().fetch(broken.url, limit)).rejects.toThrow(unavailable)
    const loop = await serve((request, response) => {
      response.writeHead(302, { location: request.url ?? '/' }).end()
    })
    await expect(fetcher().fetch(loop.url, limit)).rejects.toThrow('redirects')
  })

  it('speaks https alone unless told', async () => {
    const { url, count } = await serve((_, response) => response.end('x'))
    await expect(fetcher([], { plainHttp: false }).fetch(url, limit)).rejects.toThrow(unavailable)
    await expect(fetcher().fetch('file:///etc/hosts', limit)).rejects.toThrow(unavailable)
    await expect(fetcher().fetch('nonsense', limit)).rejects.toThrow(unavailable)
    expect(count()).toBe(0)
  })
})

describe('cachedFetcher', () => {
  const url = 'https://kdsintf.amd.com/vcek/v1/Milan/cert_chain'
  async function directory(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'zt4ai-cache-'))
    cleanups.push(() => rm(folder, { recursive: true, force: true }))
    return join(folder, 'endorsements')
  }
  function origin(status = 200): Fetcher & { calls: number } {
    const fake = {
      calls: 0,
      fetch: () => {
        fake.calls++
        const body = new TextEncoder().encode(`answer ${fake.calls}`)
        return Promise.resolve({ status, headers: new Map([['x-chain', 'c\nd']]), body })
      },
    }
    return fake
  }
  const text = async (cache: Fetcher, from = url, limits = limit): Promise<string> =>
    Buffer.from((await cache.fetch(from, limits)).body).toString()
  let clock = new Date('2026-01-01T00:00:00Z')
  const now = (): Date => clock

  it('asks once within the lifetime, and again after it', async () => {
    clock = new Date('2026-01-01T00:00:00Z')
    const inner = origin()
    const cache = cachedFetcher(inner, {
      directory: await directory(),
      lifetimeMs: () => 60_000,
      now,
    })
    expect(await text(cache)).toBe('answer 1')
    clock = new Date('2026-01-01T00:00:59.999Z')
    expect(await text(cache)).toBe('answer 1')
    expect((await cache.fetch(url, limit)).headers.get('x-chain')).toBe('c\nd')
    clock = new Date('2026-01-01T00:01:00Z')
    expect(await text(cache)).toBe('answer 2')
    clock = new Date('2025-12-31T00:00:00Z')
    expect(await text(cache)).toBe('answer 3')
    expect(await text(cache, `${url}?x`)).toBe('answer 4')
  })

  it('keeps nothing but good answers, and nothing without a lifetime', async () => {
    const folder = await directory()
    const failing = origin(404)
    const cache = cachedFetcher(failing, { directory: folder, lifetimeMs: () => 60_000, now })
    await text(cache)
    await text(cache)
    expect(failing.calls).toBe(2)
    const inner = origin()
    await text(cachedFetcher(inner, { directory: folder, lifetimeMs: () => 0, now }))
    await expect(readdir(folder)).rejects.toThrow('ENOENT')
  })

  it('offline, uses what is there whatever its age, and never asks', async () => {
    const folder = await directory()
    const inner = origin()
    clock = new Date('2026-01-01T00:00:00Z')
    await text(cachedFetcher(inner, { directory: folder, lifetimeMs: () => 60_000, now }))
    clock = new Date('2036-01-01T00:00:00Z')
    const offline = cachedFetcher(inner, {
      directory: folder,
      lifetimeMs: () => 60_000,
      now,
      offline: true,
    })
    expect(await text(offline)).toBe('answer 1')
    await expect(text(offline, `${url}/other`)).rejects.toThrow(unavailable)
    expect(inner.calls).toBe(1)
  })

  it('does not believe a file that was damaged, cut, swapped or is too large', async () => {
    const folder = await directory()
    const inner = origin()
    clock = new Date('2026-01-01T00:00:00Z')
    const cache = cachedFetcher(inner, { directory: folder, lifetimeMs: () => 60_000, now })
    await text(cache)
    const [name] = await readdir(folder)
    const file = join(folder, name!)
    const good = await readFile(file)
    for (const bad of [
      Buffer.from(good.toString().replace('answer 1', 'answer 9')),
      good.subarray(0, good.length - 1),
      good.subarray(0, 20),
      Buffer.alloc(0),
      Buffer.from(good.toString().replace('/Milan/', '/Genoa/')),
      Buffer.from(good.toString().replace('"status":200', '"status":404')),
    ]) {
      await writeFile(file, bad)
      const calls = inner.calls
      expect(await text(cache)).toBe(`answer ${calls + 1}`)
    }
    const calls = inner.calls
    await text(cache, url, { ...limit, maxBytes: 3 })
    expect(inner.calls).toBe(calls + 1)
  })

  it('writes whole files, readable by their owner alone, and leaves nothing behind', async () => {
    const folder = await directory()
    const cache = cachedFetcher(origin(), { directory: folder, lifetimeMs: () => 60_000, now })
    await Promise.all(Array.from({ length: 8 }, () => text(cache)))
    const names = await readdir(folder)
    expect(names).toHaveLength(1)
    expect(names[0]).toMatch(/^[0-9a-f]{64}\.cache$/)
    expect((await stat(join(folder, names[0]!))).mode & 0o077).toBe(0)
    expect((await stat(folder)).mode & 0o077).toBe(0)
  })

  it('answers also where it can not write', async () => {
    const folder = await directory()
    await writeFile(folder, 'a file in the way')
    await chmod(folder, 0o400)
    const cache = cachedFetcher(origin(), { directory: folder, lifetimeMs: () => 60_000, now })
    expect(await text(cache)).toBe('answer 1')
  })
})
