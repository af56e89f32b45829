// The single owner of sending one blob: in chunks, resumed where the registry stopped (distribution-spec 1.1.1 "Pushing a blob in chunks").
import { ZtError } from '../error.ts'
import type { HttpRequest, HttpResponse } from '../fetch/transport.ts'

export interface Upload {
  /** `sha256:…` */
  readonly digest: string
  readonly size: number
  /** The bytes from an offset on. */
  readonly open: (offset: number) => AsyncIterable<Uint8Array>
  readonly progress?: (sent: number) => void
}

/** How an upload reaches its registry. */
export interface UploadPort {
  /** Bytes of one request at most, unless the registry wants more. */
  readonly chunkSize: number
  begin(): Promise<HttpResponse>
  send(request: HttpRequest): Promise<HttpResponse>
  has(digest: string): Promise<boolean>
  pause(attempt: number): Promise<void>
  unexpected(response: HttpResponse, what: string): Promise<ZtError>
}

/** Failures in a row without so many bytes more. */
const TRIES = 5
const ENOUGH = 1 << 16

/** Where an upload stands. */
interface Session {
  readonly location: string
  readonly offset: number
  readonly chunkSize: number
}

/** @throws ZtError NETWORK, REGISTRY_ANSWER, REGISTRY_AUTH, FILE_UNSTABLE and what `open` throws */
export async function sendBlob(upload: Upload, port: UploadPort): Promise<void> {
  const source = new Source(upload.open)
  try {
    let session = await begin(port)
    for (let failures = 0; session.offset < upload.size;) {
      const { offset } = session
      try {
        session = await sendChunk(upload, session, source, port)
      } catch (error) {
        if (!(error instanceof ZtError) || error.code !== 'NETWORK') throw error
        if (++failures >= TRIES) throw error
        await port.pause(failures)
        session = (await resume(session, port)) ?? (await begin(port))
      }
      if (session.offset - offset >= Math.min(ENOUGH, upload.size - offset)) failures = 0
      else if (++failures >= 2 * TRIES)
        throw new ZtError('NETWORK', 'the registry keeps too little of what is sent')
    }
    await end(upload, session, port)
  } finally {
    await source.close()
  }
}

async function begin(port: UploadPort): Promise<Session> {
  const response = await port.begin()
  if (response.status !== 202) throw await port.unexpected(response, 'beginning an upload')
  const least = Number(
    /^[0-9]{1,12}$/.exec(response.headers['oci-chunk-min-length'] ?? '')?.[0] ?? 0,
  )
  response.discard()
  const location = next(response, response.url)
  return { location, offset: 0, chunkSize: Math.max(port.chunkSize, least) }
}

/** One chunk. Gives where the registry says that it stands: it may have kept less than was sent. */
async function sendChunk(
  { size, progress }: Upload,
  session: Session,
  source: Source,
  port: UploadPort,
): Promise<Session> {
  const { location, offset } = session
  const end = Math.min(size, offset + session.chunkSize)
  const response = await port.send({
    method: 'PATCH',
    url: location,
    headers: {
      'content-type': 'application/octet-stream',
      'content-length': String(end - offset),
      'content-range': `${offset}-${end - 1}`,
    },
    body: () => source.read(offset, end, progress),
  })
  // 416: it stands elsewhere. 5xx: something before it failed. Both are asked about again.
  if (response.status === 416 || response.status >= 500) {
    response.discard()
    throw new ZtError('NETWORK', `uploading a blob: status ${response.status}`)
  }
  if (response.status !== 202 && response.status !== 204 && response.status !== 201)
    throw await port.unexpected(response, 'uploading a blob')
  response.discard()
  const kept = keptBytes(response) ?? end
  if (kept <= offset || kept > end)
    throw new ZtError('NETWORK', 'the registry kept nothing of what was sent')
  return { ...session, location: next(response, location), offset: kept }
}

async function resume(session: Session, port: UploadPort): Promise<Session | undefined> {
  const response = await port.send({ method: 'GET', url: session.location })
  response.discard()
  if (response.status !== 204) return undefined
  const offset = keptBytes(response) ?? 0
  // `0-0` is one byte or none: beginning again is cheaper than finding out.
  if (offset === 1) return undefined
  return { ...session, location: next(response, session.location), offset }
}

async function end({ digest, size }: Upload, session: Session, port: UploadPort): Promise<void> {
  if (session.offset !== size)
    throw new ZtError('REGISTRY_ANSWER', 'the registry kept more than was sent')
  const separator = session.location.includes('?') ? '&' : '?'
  const response = await port.send({
    method: 'PUT',
    url: `${session.location}${separator}digest=${encodeURIComponent(digest)}`,
    headers: { 'content-type': 'application/octet-stream' },
    body: new Uint8Array(0),
  })
  if (response.status === 201 || response.status === 204) {
    response.discard()
    return
  }
  const error = await port.unexpected(response, 'ending an upload')
  // Repeated after an answer that was lost, the upload is gone and the blob is there.
  if (response.status !== 404 || !(await port.has(digest))) throw error
}

function next(response: HttpResponse, current: string): string {
  const location = response.headers['location']
  if (location === undefined) return current
  if (!URL.canParse(location, response.url))
    throw new ZtError('REGISTRY_ANSWER', 'the registry sends an upload to no URL')
  return new URL(location, response.url).href
}

/** Bytes that the registry kept, from `Range: 0-<last>`; undefined if it doesn't say. */
function keptBytes(response: HttpResponse): number | undefined {
  const range = /^(?:bytes=)?0-([0-9]{1,15})$/.exec(response.headers['range'] ?? '')
  return range === null ? undefined : Number(range[1]) + 1
}

/** The bytes of a blob, opened once for all chunks that follow each other: what it comes from may be a download or a tar that is made anew. */
class Source {
  readonly #open: (offset: number) => AsyncIterable<Uint8Array>
  #chunks: AsyncIterator<Uint8Array> | null = null
  #rest: Uint8Array = new Uint8Array(0)
  #at = -1
  #turn = 0

  constructor(open: (offset: number) => AsyncIterable<Uint8Array>) {
    this.#open = open
  }

  async *read(
    from: number,
    to: number,
    progress: ((sent: number) => void) | undefined,
  ): AsyncIterable<Uint8Array> {
    // A request that is repeated begins before the one that failed has noticed: only the last reads on.
    const turn = ++this.#turn
    if (this.#at !== from) {
      await this.close()
      this.#chunks = this.#open(from)[Symbol.asyncIterator]()
      this.#at = from
    }
    while (this.#at < to) {
      if (this.#rest.length === 0) {
        const chunk = await this.#next()
        if (turn !== this.#turn) return
        this.#rest = chunk
      }
      const part = this.#rest.subarray(0, to - this.#at)
      this.#rest = this.#rest.subarray(part.length)
      this.#at += part.length
      yield part
      if (turn !== this.#turn) return
      progress?.(this.#at)
    }
  }

  async close(): Promise<void> {
    const chunks = this.#chunks
    this.#chunks = null
    this.#rest = new Uint8Array(0)
    this.#at = -1
    await chunks?.return?.()
  }

  async #next(): Promise<Uint8Array> {
    for (;;) {
      const next = await this.#chunks?.next()
      if (next === undefined || next.done === true)
        throw new ZtError('FILE_UNSTABLE', 'a blob is shorter than it was when it was listed')
      if (next.value.length > 0) return next.value
    }
  }
}
