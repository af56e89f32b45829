// The single owner of HTTP as the service answers it: routes, bodies with limits, deadlines, request ids, and refusals as JSON.
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { createGunzip, gunzip } from 'node:zlib'
import { AttestationError } from '../../attestation/index.ts'
import { parseJson, type JsonValue } from '../../attestation/lib/index.ts'
import type { Code } from '../codes.ts'
import { ZtError } from '../error.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

const unzip = promisify(gunzip)

/** One request, as a handler sees it. */
export interface Call {
  readonly id: string
  readonly url: URL
  readonly headers: IncomingMessage['headers']
  /** What the route's pattern left open. */
  readonly rest: string
  readonly log: Log
  /** Milliseconds left until whoever asked gives up. */
  left(): number
  /** The body as strict JSON; asked for once. @throws ZtError REQUEST_INVALID, TOO_LARGE */
  json(): Promise<JsonValue>
}

export interface Reply {
  readonly status: number
  readonly body: string | object
  readonly type?: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface Route {
  readonly method: 'GET' | 'POST'
  /** An exact path; one that ends in `/*` also stands for everything below it. */
  readonly path: string
  /** Largest body, after unpacking. */
  readonly maxBody?: number
  /** What whoever asks waits for where `?timeout=` does not say. */
  readonly timeoutMs?: number
  readonly handle: (call: Call) => Reply | Promise<Reply>
  /** Answers, from its first bytes, a body that was too much to read, for those who understand no error; undefined: the error it is. */
  readonly unread?: (head: Uint8Array, error: ZtError) => Reply | undefined
}

export interface HandlerOptions {
  readonly metrics: Metrics
  readonly log: Log
  readonly monotonic: () => number
  /** Requests at the same time; one more is refused. */
  readonly maxRequests: number
  /** Bytes of bodies held at the same time; what would be more is refused. */
  readonly maxHeld: number
  /** True from the moment of draining: connections end with their answer. */
  readonly draining: () => boolean
}

/** What the API server keeps for its own way home, so that it gets our answer and not its own time-out. */
const MARGIN_MS = 300
const LONGEST_MS = 10 * 60_000
const NO_BODY = 0

/** The listener of `request` for some routes. */
export function handler(
  routes: readonly Route[],
  options: HandlerOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  let running = 0
  const held: Held = { bytes: 0, most: options.maxHeld }
  return (request, response) => {
    const start = options.monotonic()
    const id = requestId(request.headers['x-request-id'])
    const log = options.log.child({ request: id })
    const { route, url, rest } = find(routes, request)
    const finish = (reply: Reply): void => {
      send(request, response, reply, id, options.draining())
      const seconds = (options.monotonic() - start) / 1000
      options.metrics.request(route?.path ?? 'other', reply.status, seconds)
      log.debug({ route: route?.path, status: reply.status, seconds }, 'answered')
    }
    if (route === undefined || url === undefined) {
      const known = routes.some(({ path }) => path === url?.pathname)
      finish(known ? refusal(405, 'REQUEST_INVALID', 'not this method') : NOTHING)
      return
    }
    if (running >= options.maxRequests) {
      options.metrics.shed('request')
      if (route.unread === undefined) finish(busy())
      else
        notRead(route, new Body(request), new ZtError('OVERLOADED', BUSY))
          .then((reply) => finish(reply ?? busy()))
          .catch(() => response.destroy())
      return
    }
    running += 1
    const asked = timeoutOf(url.searchParams.get('timeout')) ?? route.timeoutMs ?? 10_000
    const until = start + Math.min(asked, LONGEST_MS) - MARGIN_MS
    const own = new Share(held)
    const body = new Body(request)
    const call: Call = {
      id,
      url,
      rest,
      log,
      headers: request.headers,
      left: () => until - options.monotonic(),
      json: async () => readJson(request, body, route.maxBody ?? NO_BODY, own),
    }
    answer(route, call, (error) => notRead(route, body, error))
      .then(finish)
      .catch((error: unknown) => {
        // The connection is gone, or the answer could not be written: there is nobody left to tell.
        log.warn({ err: error }, 'an answer was not sent')
        response.destroy()
      })
      .finally(() => {
        running -= 1
        own.release()
      })
  }
}

/** How much all bodies together hold. */
interface Held {
  bytes: number
  readonly most: number
}

/** What one request holds of it. */
class Share {
  readonly #held: Held
  #bytes = 0

  constructor(held: Held) {
    this.#held = held
  }

  /** @throws ZtError OVERLOADED */
  take(bytes: number): void {
    this.#held.bytes += bytes
    this.#bytes += bytes
    if (this.#held.bytes > this.#held.most)
      throw new ZtError('OVERLOADED', 'the service holds as many requests as it can')
  }

  release(): void {
    this.#held.bytes -= this.#bytes
    this.#bytes = 0
  }
}

async function answer(
  route: Route,
  call: Call,
  unread: (error: ZtError) => Promise<Reply | undefined>,
): Promise<Reply> {
  try {
    return await route.handle(call)
  } catch (error) {
    if (error instanceof ZtError && (error.code === 'TOO_LARGE' || error.code === 'OVERLOADED')) {
      const reply = await unread(error)
      if (reply !== undefined) return reply
    }
    if (error instanceof ZtError || error instanceof AttestationError) {
      const status = STATUS[error.code] ?? 400
      return refusal(status, error.code, error.message, error.hint)
    }
    call.log.error({ err: error }, 'a request failed inside the service')
    return refusal(500, 'INTERNAL', 'the request failed inside the service')
  }
}

const STATUS: Readonly<Record<string, number>> = {
  REQUEST_UNAUTHORIZED: 401,
  TOO_LARGE: 413,
  OVERLOADED: 503,
  INTERNAL: 500,
  NETWORK: 400,
}

const BUSY = 'the service is busy'

async function notRead(route: Route, body: Body, error: ZtError): Promise<Reply | undefined> {
  return route.unread?.(await body.head(), error)
}

/** A refusal of a request: no decision about a model. */
export function refusal(status: number, code: Code, message: string, hint?: string): Reply {
  return { status, body: { code, message, ...(hint === undefined ? {} : { hint }) } }
}

/** The refusal of what there is no room for. */
export function busy(): Reply {
  const reply = refusal(503, 'OVERLOADED', BUSY, 'try again in a second')
  return { ...reply, headers: { 'retry-after': '1' } }
}

const NOTHING = refusal(404, 'REQUEST_INVALID', 'there is nothing here')

function find(
  routes: readonly Route[],
  request: IncomingMessage,
): { route?: Route; url?: URL; rest: string } {
  const target = request.url ?? '/'
  if (!target.startsWith('/') || !URL.canParse(target, 'http://service')) return { rest: '' }
  const url = new URL(target, 'http://service')
  for (const route of routes) {
    const below = route.path.endsWith('/*') ? route.path.slice(0, -1) : undefined
    const exact = url.pathname === (below === undefined ? route.path : below.slice(0, -1))
    if (request.method !== route.method) continue
    if (exact) return { route, url, rest: '' }
    if (below !== undefined && url.pathname.startsWith(below))
      return { route, url, rest: url.pathname.slice(below.length) }
  }
  return { url, rest: '' }
}

/** Taken over where it is a plain word, so that a request can be followed through several services. */
function requestId(given: string | string[] | undefined): string {
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : randomUUID()
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Milliseconds of a Go duration, as the API server writes its own limit (`?timeout=10s`); undefined for anything else. */
export function timeoutOf(text: string | null): number | undefined {
  if (text === null || text.length > 32 || !/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text))
    return undefined
  let sum = 0
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g))
    sum += Number(number) * (UNITS[unit] ?? 0)
  return sum
}

async function readJson(
  request: IncomingMessage,
  body: Body,
  maxBytes: number,
  share: Share,
): Promise<JsonValue> {
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  if (type !== 'application/json' && !/^application\/[a-z0-9.-]+\+json$/.test(type))
    throw new ZtError('REQUEST_INVALID', 'the body is not called JSON', {
      hint: 'send Content-Type: application/json',
    })
  const encoding = (request.headers['content-encoding'] ?? 'identity').toLowerCase()
  if (encoding !== 'identity' && encoding !== 'gzip')
    throw new ZtError('REQUEST_INVALID', 'the body is packed in a way that is not read', {
      hint: 'send it as it is, or with Content-Encoding: gzip',
    })
  const bytes = await body.read(maxBytes, share)
  try {
    const plain = encoding === 'gzip' ? await unzip(bytes, { maxOutputLength: maxBytes }) : bytes
    return parseJson(plain, { maxBytes, maxDepth: 128 })
  } catch (error) {
    if (error instanceof AttestationError)
      throw new ZtError('REQUEST_INVALID', error.message, { cause: error })
    if ((error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(maxBytes)
    throw new ZtError('REQUEST_INVALID', 'the body is not well-formed gzip', { cause: error })
  }
}

/** The body of a request. */
class Body {
  readonly #request: IncomingMessage
  #first: Uint8Array | undefined

  constructor(request: IncomingMessage) {
    this.#request = request
  }

  /** Its beginning, unpacked, even where the rest is too much; empty if there is none. */
  async head(): Promise<Uint8Array> {
    const request = this.#request
    const first =
      this.#first ??
      (await new Promise<Uint8Array>((resolve) => {
        request.once('data', resolve)
        for (const end of ['end', 'close', 'error'])
          request.once(end, () => resolve(new Uint8Array()))
      }))
    if (request.headers['content-encoding']?.toLowerCase() !== 'gzip') return first
    const unpacked = createGunzip()
    unpacked.end(first)
    try {
      for await (const chunk of unpacked) return chunk as Uint8Array
    } catch {
      // It breaks off, or is none.
    }
    return new Uint8Array()
  }

  /** @throws ZtError TOO_LARGE, OVERLOADED, REQUEST_INVALID */
  async read(maxBytes: number, share: Share): Promise<Uint8Array> {
    const request = this.#request
    if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes)
    const chunks: Uint8Array[] = []
    let size = 0
    // Not `for await`: leaving that loop destroys the connection, and with it the answer that says why.
    await new Promise<void>((resolve, reject) => {
      request.on('data', (chunk: Uint8Array) => {
        this.#first ??= chunk
        size += chunk.length
        try {
          if (size > maxBytes) throw tooLarge(maxBytes)
          share.take(chunk.length)
          chunks.push(chunk)
        } catch (error) {
          // What still comes is read and thrown away, so that the answer gets through.
          chunks.length = 0
          request.removeAllListeners('data')
          reject(error instanceof Error ? error : new Error(String(error)))
        }
      })
      request.on('end', resolve)
      request.on('error', reject)
      request.on('close', () => reject(new ZtError('REQUEST_INVALID', 'the body was cut off')))
    })
    return Buffer.concat(chunks)
  }
}

function tooLarge(maxBytes: number): ZtError {
  return new ZtError('TOO_LARGE', `the body is larger than ${String(maxBytes)} bytes`)
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  reply: Reply,
  id: string,
  draining: boolean,
): void {
  const text = typeof reply.body === 'string' ? reply.body : `${JSON.stringify(reply.body)}\n`
  // A body that nobody read to its end can't be skipped for the next request on the same connection.
  const unread = !request.complete && Number(request.headers['content-length'] ?? 1) > 0
  const post = request.method !== 'GET' && request.method !== 'HEAD'
  response.writeHead(reply.status, {
    'content-type':
      reply.type ??
      (typeof reply.body === 'string' ? 'text/plain; charset=utf-8' : 'application/json'),
    'content-length': Buffer.byteLength(text),
    'x-request-id': id,
    'cache-control': 'no-store',
    ...(draining || (post && unread) ? { connection: 'close' } : {}),
    ...reply.headers,
  })
  response.end(text)
  if (post && unread) request.resume()
}
