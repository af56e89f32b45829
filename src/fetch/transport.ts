// The single owner of HTTP as zt4ai speaks it: time-outs, retries with back-off, redirects that leak nothing, and a cap on every answer.
import * as http from 'node:http'
import * as https from 'node:https'
import { setTimeout as pause } from 'node:timers/promises'
import { rootCertificates } from 'node:tls'
import { ZtError } from '../error.ts'

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  /** Bytes, or a function that makes the stream afresh for each attempt. A streamed body needs a `content-length` header. */
  readonly body?: Uint8Array | (() => AsyncIterable<Uint8Array>)
  readonly signal?: AbortSignal
  /** Milliseconds without a byte before the attempt is given up. */
  readonly idleTimeoutMs?: number
}

export interface HttpResponse {
  readonly status: number
  /** Lower-case names; repeated headers joined with `, `. */
  readonly headers: Readonly<Record<string, string>>
  /** Where the answer came from, after redirects. */
  readonly url: string
  /** The body as it arrives. Must be read to its end or given up with `discard`. */
  readonly stream: AsyncIterable<Uint8Array>
  /** The whole body; more than `maxBytes` is an error (`TOO_LARGE`). */
  bytes(maxBytes: number): Promise<Uint8Array>
  discard(): void
}

export interface Transport {
  /** Any HTTP status is an answer; only a failure to get one throws (`NETWORK`). */
  request(request: HttpRequest): Promise<HttpResponse>
  /** Waits as before attempt `attempt + 1`, for callers that repeat in their own way. @throws ZtError INTERRUPTED */
  pause(attempt: number): Promise<void>
  /** Closes every connection, those in use among them. */
  close(): void
}

export interface TransportOptions {
  /** PEM certificates to trust beside the system's. */
  readonly ca?: string | undefined
  /** Allows `http:`. Without it every URL, redirects included, must be `https:`. */
  readonly plainHttp?: boolean
  readonly idleTimeoutMs?: number
  /** A body that brings fewer bytes than 1 KiB a second over this many milliseconds is given up. Default 60 s. */
  readonly crawlTimeoutMs?: number
  /** Attempts in all for requests that can be repeated. */
  readonly attempts?: number
  readonly maxRedirects?: number
  /** Connections kept to one host. */
  readonly connections?: number
  /** Waits between attempts; handed in so that tests need not wait. */
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>
  readonly userAgent?: string
  readonly signal?: AbortSignal
}

const REDIRECTS = new Set([301, 302, 303, 307, 308])
const RETRIED = new Set([429, 500, 502, 503, 504])
const SECRET_HEADERS = ['authorization', 'cookie', 'proxy-authorization']
const LONGEST_WAIT_MS = 30_000
const SLOWEST = 1024

/** Makes a transport over node:http and node:https with kept connections. */
export function httpTransport(options: TransportOptions = {}): Transport {
  const sockets = options.connections ?? 16
  const agents = {
    'http:': new http.Agent({ keepAlive: true, maxSockets: sockets }),
    'https:': new https.Agent({
      keepAlive: true,
      maxSockets: sockets,
      // `ca` replaces the system's certificates, so they are given again.
      ...(options.ca === undefined ? {} : { ca: [...rootCertificates, options.ca] }),
    }),
  }
  const attempts = options.attempts ?? 4
  const maxRedirects = options.maxRedirects ?? 5
  const sleep = options.sleep ?? wait

  function once(request: HttpRequest, url: URL): Promise<HttpResponse> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:'
      const idle = request.idleTimeoutMs ?? options.idleTimeoutMs ?? 30_000
      const signal = request.signal ?? options.signal
      const sending = { over: false }
      const outgoing = (secure ? https : http).request(
        url,
        {
          method: request.method,
          agent: secure ? agents['https:'] : agents['http:'],
          headers: { 'user-agent': options.userAgent ?? 'zt4ai', ...request.headers },
          timeout: idle,
          ...(signal === undefined ? {} : { signal }),
        },
        (incoming) => {
          // An answer before the body's end is a refusal: nothing more is sent, and the connection can't be used again.
          if (!outgoing.writableEnded) {
            sending.over = true
            incoming.once('close', () => outgoing.destroy())
          }
          resolve(
            answer(incoming, {
              url: url.href,
              method: request.method,
              crawlMs: options.crawlTimeoutMs ?? 60_000,
              signal,
            }),
          )
        },
      )
      outgoing.on('timeout', () => outgoing.destroy(new Error(`no byte for ${idle} ms`)))
      outgoing.on('error', (error) => {
        sending.over = true
        // A kept connection that the server closed at the same moment: nothing was read there, so nothing was done.
        const stale = outgoing.reusedSocket && (error as { code?: unknown }).code === 'ECONNRESET'
        reject(stale ? new StaleConnection('the connection was closed', { cause: error }) : error)
      })
      send(outgoing, request.body, sending).catch((error: unknown) => {
        reject(error instanceof Error ? error : new Error(String(error)))
        outgoing.destroy()
      })
    })
  }

  async function follow(request: HttpRequest): Promise<HttpResponse> {
    let url = allowed(request.url, options.plainHttp === true)
    let current = request
    for (let hop = 0; ; hop++) {
      const response = await once(current, url)
      const location = response.headers['location']
      const follows =
        (current.method === 'GET' || current.method === 'HEAD') && REDIRECTS.has(response.status)
      if (!follows || location === undefined) return response
      response.discard()
      if (hop >= maxRedirects) {
        throw new ZtError('NETWORK', `more than ${String(maxRedirects)} redirects`, {
          path: request.url,
        })
      }
      const next = allowed(new URL(location, url).href, options.plainHttp === true)
      if (next.origin !== url.origin)
        current = { ...current, headers: withoutSecrets(current.headers) }
      url = next
    }
  }

  async function request(wanted: HttpRequest): Promise<HttpResponse> {
    const repeatable =
      wanted.method === 'GET' || wanted.method === 'HEAD' || wanted.method === 'PUT'
    const most = repeatable ? attempts : 1
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await follow(wanted)
        // 429 promises that nothing was done, so it may be repeated whatever the method.
        const again = response.status === 429 ? attempt < attempts : attempt < most
        if (!RETRIED.has(response.status) || !again) return response
        const pause = pauseFor(attempt, response.headers['retry-after'])
        response.discard()
        await sleep(pause, wanted.signal ?? options.signal)
      } catch (error) {
        if (error instanceof ZtError) throw error
        const signal = wanted.signal ?? options.signal
        if (signal?.aborted === true)
          throw new ZtError('INTERRUPTED', 'interrupted', { cause: error })
        const stale = error instanceof StaleConnection && typeof wanted.body !== 'function'
        if (attempt >= (stale ? attempts : most)) {
          const reason = error instanceof Error ? error.message : String(error)
          throw new ZtError('NETWORK', `no answer from ${new URL(wanted.url).host}: ${reason}`, {
            path: wanted.url.split('?')[0] ?? '',
            hint: 'check the address and the network; nothing was decided',
            cause: error,
          })
        }
        await sleep(pauseFor(attempt, undefined), signal)
      }
    }
  }

  return {
    request,
    pause: (attempt) => sleep(pauseFor(attempt, undefined), options.signal),
    close() {
      agents['http:'].destroy()
      agents['https:'].destroy()
    },
  }
}

class StaleConnection extends Error {}

/** Milliseconds to wait before attempt `attempt + 1`: what the server asked for within reason, else exponential. */
export function pauseFor(attempt: number, retryAfter: string | undefined): number {
  const seconds =
    retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : undefined
  if (seconds !== undefined) return Math.min(seconds * 1000, LONGEST_WAIT_MS)
  return Math.min(200 * 4 ** (attempt - 1), LONGEST_WAIT_MS)
}

function allowed(text: string, plainHttp: boolean): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw new ZtError('NETWORK', 'not a URL', { path: text.slice(0, 200) })
  }
  if (url.username !== '' || url.password !== '') {
    throw new ZtError('NETWORK', 'a URL must not carry credentials', { path: url.host })
  }
  if (url.protocol === 'https:' || (plainHttp && url.protocol === 'http:')) return url
  throw new ZtError('NETWORK', `${url.protocol}// is not allowed`, {
    path: url.host,
    hint: 'only https is spoken; --plain-http allows http for a registry that you name',
  })
}

function withoutSecrets(headers: HttpRequest['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers ?? {}).filter(([name]) => !SECRET_HEADERS.includes(name.toLowerCase())),
  )
}

async function send(
  outgoing: http.ClientRequest,
  body: HttpRequest['body'],
  sending: { readonly over: boolean },
): Promise<void> {
  if (body === undefined) {
    outgoing.end()
  } else if (body instanceof Uint8Array) {
    outgoing.setHeader('content-length', body.length)
    outgoing.end(body)
  } else {
    for await (const chunk of body()) {
      if (sending.over || outgoing.destroyed) return
      if (!outgoing.write(chunk)) await drained(outgoing)
    }
    outgoing.end()
  }
}

function drained(outgoing: http.ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off('drain', done)
      outgoing.off('close', done)
      resolve()
    }
    outgoing.on('drain', done)
    outgoing.on('close', done)
  })
}

interface Asked {
  readonly url: string
  readonly method: string
  readonly crawlMs: number
  readonly signal: AbortSignal | undefined
}

function answer(incoming: http.IncomingMessage, asked: Asked): HttpResponse {
  const { url, method } = asked
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  // A body that nobody reads yet must not throw out of nowhere when its connection breaks.
  incoming.on('error', () => undefined)
  if (method === 'HEAD') incoming.resume()
  return {
    status: incoming.statusCode ?? 0,
    headers,
    url,
    stream: bodyOf(incoming, asked),
    async bytes(maxBytes) {
      const chunks: Uint8Array[] = []
      let size = 0
      for await (const chunk of bodyOf(incoming, asked)) {
        size += chunk.length
        if (size > maxBytes) {
          throw new ZtError('TOO_LARGE', `the answer is larger than ${maxBytes} bytes`, {
            path: withoutQuery(url),
          })
        }
        chunks.push(chunk)
      }
      return new Uint8Array(Buffer.concat(chunks))
    },
    discard() {
      // A short rest is read, so that the connection can be used again; a long one is not worth it.
      let left = 65_536 - Number(headers['content-length'] ?? 0)
      if (left < 0) incoming.destroy()
      else
        incoming.on('data', (chunk: Uint8Array) => {
          // Only where no length was told can more come than fits.
          if (headers['content-length'] === undefined && (left -= chunk.length) < 0)
            incoming.destroy()
        })
    },
  }
}

/** The body, and every way in which it can end early as one error. */
async function* bodyOf(incoming: http.IncomingMessage, asked: Asked): AsyncIterable<Uint8Array> {
  const path = withoutQuery(asked.url)
  let since = performance.now()
  let bytes = 0
  try {
    for await (const chunk of incoming as AsyncIterable<Uint8Array>) {
      yield chunk
      bytes += chunk.length
      const now = performance.now()
      if (now - since < asked.crawlMs) continue
      if (bytes < (SLOWEST * asked.crawlMs) / 1000)
        throw new ZtError('NETWORK', 'the answer comes too slowly', { path })
      since = now
      bytes = 0
    }
  } catch (error) {
    if (asked.signal?.aborted === true)
      throw new ZtError('INTERRUPTED', 'interrupted', { cause: error })
    if (error instanceof ZtError) throw error
    throw new ZtError('NETWORK', 'the answer was cut off', { path, cause: error })
  }
}

function withoutQuery(url: string): string {
  return url.split('?')[0] ?? ''
}

function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return pause(ms, undefined, signal === undefined ? {} : { signal }).catch((cause: unknown) => {
    throw new ZtError('INTERRUPTED', 'interrupted', { cause })
  })
}
