// An OCI registry in this process, with a switch for each thing that real registries get wrong. A test double: it keeps everything in memory.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface RegistrySwitches {
  /** `api`: the referrers API; `none`: 404, so that clients must use the fallback tag. */
  referrers?: 'api' | 'none'
  /** Answers PUT of a manifest without OCI-Subject. */
  noSubjectHeader?: boolean
  /** Lists referrers with this artifactType and no annotations, as some do. */
  wrongArtifactType?: string
  /** Referrers on one page. */
  pageSize?: number
  /** Demands a bearer token from this double's own token service, for these credentials. */
  auth?: { username: string; password: string; scheme?: 'bearer' | 'basic' }
  /** Answers this many requests with 429 first. */
  tooMany?: number
  /** Answers this many requests with 503 first. */
  unavailable?: number
  /** Serves blobs by a redirect to this origin (a second double). */
  redirectBlobsTo?: string
  /** Milliseconds before each answer. */
  delayMs?: number
  /** Cuts the connection in the middle of this many answers with a blob. */
  cutBlobs?: number
  /** Sends whole blobs, whatever range is asked for. */
  noRanges?: boolean
  /** Sends blobs without an end. */
  endless?: boolean
  /** Sends the first byte of a blob of more bytes than this, and nothing more. */
  stalledAbove?: number
  /** Answers this many PATCH requests with 503 before reading them. */
  failUploads?: number
  /** Says after each PATCH that it kept one byte. */
  forgetful?: boolean
  /** Loses an upload when it is asked where it stands. */
  loseUploads?: boolean
  /** Answers manifests with a page for people. */
  html?: boolean
  /** Mounts nothing. */
  noMount?: boolean
  /** Cuts the connection in the middle of this many PATCH requests, keeping what came. */
  cutUploads?: number
  /** Sends other bytes than those asked for. */
  lie?: 'manifest' | 'blob'
  /** Names another media type in the header than the manifest does. */
  wrongContentType?: string
  /** Answers manifests without the usual headers. */
  missingHeaders?: boolean
  /** Lists a referrer of a manifest that it no longer has. */
  danglingReferrer?: string
}

export interface RegistryDouble {
  readonly host: string
  readonly origin: string
  readonly switches: RegistrySwitches
  readonly blobs: Map<string, Uint8Array>
  /** `repository` → `tag or digest` → manifest. */
  readonly manifests: Map<string, Map<string, { type: string; bytes: Uint8Array }>>
  /** Every request, for tests that count or look at headers. */
  readonly log: { method: string; path: string; authorization: string | undefined }[]
  close(): Promise<void>
}

const sha = (bytes: Uint8Array): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`

export async function startRegistry(switches: RegistrySwitches = {}): Promise<RegistryDouble> {
  const blobs = new Map<string, Uint8Array>()
  const owned = new Map<string, Set<string>>()
  const manifests = new Map<string, Map<string, { type: string; bytes: Uint8Array }>>()
  const uploads = new Map<string, Uint8Array[]>()
  const log: RegistryDouble['log'] = []
  let counter = 0
  const server: Server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(500)
      response.end(String(error))
    })
  })
  const origin = (): string => `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`

  const own = (name: string): Set<string> => {
    const set = owned.get(name) ?? new Set<string>()
    owned.set(name, set)
    return set
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', origin())
    const method = request.method ?? 'GET'
    log.push({
      method,
      path: url.pathname + url.search,
      authorization: request.headers.authorization,
    })
    if (switches.delayMs !== undefined)
      await new Promise((resolve) => setTimeout(resolve, switches.delayMs).unref())
    if (url.pathname === '/token') {
      token(request, url, response)
      return
    }
    if ((switches.tooMany ?? 0) > 0) {
      switches.tooMany = (switches.tooMany ?? 0) - 1
      response.writeHead(429, { 'retry-after': '0' }).end()
      return
    }
    if ((switches.unavailable ?? 0) > 0) {
      switches.unavailable = (switches.unavailable ?? 0) - 1
      response.writeHead(503).end()
      return
    }
    if (!authorised(request, url, response)) return
    const match = /^\/v2\/(.+)\/(manifests|blobs|referrers)\/(.*)$/.exec(url.pathname)
    if (match === null) {
      response.writeHead(url.pathname === '/v2/' ? 200 : 404).end('{}')
      return
    }
    const [, name = '', kind = '', rest = ''] = match
    if (kind === 'manifests') await manifest(request, response, name, rest, method)
    else if (kind === 'referrers') referrers(response, name, rest, url)
    else await blob(request, response, name, rest, method, url)
  }

  function token(request: IncomingMessage, url: URL, response: ServerResponse): void {
    const { username = '', password = '' } = switches.auth ?? {}
    const expected = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
    if (request.headers.authorization !== expected) {
      response.writeHead(401).end('{}')
      return
    }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(
      JSON.stringify({
        token: `t0ken.${Buffer.from(url.searchParams.getAll('scope').join(' ')).toString('hex')}`,
        expires_in: 300,
      }),
    )
  }

  function authorised(request: IncomingMessage, url: URL, response: ServerResponse): boolean {
    if (switches.auth === undefined) return true
    const { username, password, scheme = 'bearer' } = switches.auth
    const header = request.headers.authorization ?? ''
    if (scheme === 'basic') {
      if (header === `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`)
        return true
      response.writeHead(401, { 'www-authenticate': 'Basic realm="double"' }).end('{}')
      return false
    }
    const name = /^\/v2\/(.+)\/(?:manifests|blobs|referrers)\//.exec(url.pathname)?.[1] ?? ''
    const needed = `repository:${name}:${request.method === 'GET' || request.method === 'HEAD' ? 'pull' : 'pull,push'}`
    const scopes = Buffer.from(header.replace('Bearer t0ken.', ''), 'hex').toString().split(' ')
    const from = url.searchParams.get('from')
    const also = from === null ? [] : [`repository:${from}:pull`]
    const enough = [needed, ...also].every(
      (wanted) => scopes.includes(wanted) || scopes.includes(wanted.replace(/pull$/, 'pull,push')),
    )
    if (header.startsWith('Bearer t0ken.') && enough) return true
    const wanted = [needed, ...also].join(' ')
    const challenge = `Bearer realm="${origin()}/token",service="double",scope="${wanted}"`
    response
      .writeHead(401, { 'www-authenticate': challenge })
      .end('{"errors":[{"code":"UNAUTHORIZED"}]}')
    return false
  }

  async function manifest(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    reference: string,
    method: string,
  ): Promise<void> {
    const repository = manifests.get(name) ?? new Map<string, { type: string; bytes: Uint8Array }>()
    if (method === 'PUT') {
      const bytes = await body(request)
      const digest = sha(bytes)
      if (reference.startsWith('sha256:') && reference !== digest) {
        response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID"}]}')
        return
      }
      const json = JSON.parse(Buffer.from(bytes).toString()) as {
        config?: { digest: string }
        layers?: { digest: string }[]
        subject?: { digest: string }
      }
      const missing = [json.config, ...(json.layers ?? [])].find(
        (entry) => entry !== undefined && !own(name).has(entry.digest),
      )
      if (missing !== undefined) {
        response
          .writeHead(400)
          .end(`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"${missing.digest}"}]}`)
        return
      }
      const entry = { type: request.headers['content-type'] ?? '', bytes }
      repository.set(digest, entry)
      repository.set(reference, entry)
      manifests.set(name, repository)
      const subject = json.subject?.digest
      const header =
        subject !== undefined && switches.referrers !== 'none' && switches.noSubjectHeader !== true
          ? { 'oci-subject': subject }
          : {}
      response.writeHead(201, { 'docker-content-digest': digest, ...header }).end()
      return
    }
    const found = repository.get(reference)
    if (found === undefined) {
      response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
      return
    }
    if (switches.html === true) {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>It works</h1>')
      return
    }
    const bytes =
      switches.lie === 'manifest'
        ? Buffer.from(Buffer.from(found.bytes).toString().replace('"layers"', '"layers" '))
        : found.bytes
    const headers =
      switches.missingHeaders === true
        ? {}
        : {
            'content-type': switches.wrongContentType ?? found.type,
            'docker-content-digest': sha(found.bytes),
          }
    response.writeHead(200, headers).end(method === 'HEAD' ? undefined : bytes)
  }

  function referrers(response: ServerResponse, name: string, digest: string, url: URL): void {
    if (switches.referrers === 'none') {
      response.writeHead(404).end('404 page not found')
      return
    }
    const all: object[] = []
    for (const [reference, { type, bytes }] of manifests.get(name) ?? []) {
      if (!reference.startsWith('sha256:')) continue
      const json = JSON.parse(Buffer.from(bytes).toString()) as {
        subject?: { digest: string }
        artifactType?: string
        annotations?: object
      }
      if (json.subject?.digest !== digest) continue
      const quirk = switches.wrongArtifactType
      const typed =
        quirk === undefined
          ? { artifactType: json.artifactType, annotations: json.annotations }
          : { artifactType: quirk }
      all.push({ mediaType: type, digest: reference, size: bytes.length, ...typed })
    }
    if (switches.danglingReferrer !== undefined) {
      all.push({
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest: switches.danglingReferrer,
        size: 2,
      })
    }
    const from = Number(url.searchParams.get('from') ?? 0)
    const size = switches.pageSize ?? all.length
    const page = all.slice(from, from + size)
    const more =
      from + size < all.length
        ? { link: `</v2/${name}/referrers/${digest}?from=${String(from + size)}>; rel="next"` }
        : {}
    response.writeHead(200, { 'content-type': 'application/vnd.oci.image.index.v1+json', ...more })
    response.end(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.index.v1+json',
        manifests: page,
      }),
    )
  }

  async function blob(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    rest: string,
    method: string,
    url: URL,
  ): Promise<void> {
    if (rest.startsWith('uploads/')) {
      await upload(request, response, name, rest.slice('uploads/'.length), method, url)
      return
    }
    const bytes = own(name).has(rest) ? blobs.get(rest) : undefined
    if (bytes === undefined) {
      response.writeHead(404).end('{"errors":[{"code":"BLOB_UNKNOWN"}]}')
      return
    }
    if (switches.redirectBlobsTo !== undefined && method === 'GET') {
      response
        .writeHead(307, { location: `${switches.redirectBlobsTo}/v2/${name}/blobs/${rest}` })
        .end()
      return
    }
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')
    const from = range === null || switches.noRanges === true ? 0 : Number(range[1])
    const sent = Buffer.from(bytes.subarray(from))
    if (from > 0) {
      const where = `bytes ${String(from)}-${String(bytes.length - 1)}/${String(bytes.length)}`
      response.writeHead(206, { 'content-length': sent.length, 'content-range': where })
    } else
      response.writeHead(200, switches.endless === true ? {} : { 'content-length': sent.length })
    if (method === 'HEAD') response.end()
    else if (switches.endless === true) {
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      }
      response.on('drain', more)
      more()
    } else if (sent.length > (switches.stalledAbove ?? Infinity))
      response.write(sent.subarray(0, 1))
    else if ((switches.cutBlobs ?? 0) > 0) {
      switches.cutBlobs = (switches.cutBlobs ?? 0) - 1
      response.write(sent.subarray(0, sent.length >> 1), () => request.socket.destroy())
    } else if (switches.lie === 'blob') response.end(sent.fill(0, 0, 1))
    else response.end(sent)
  }

  async function upload(
    request: IncomingMessage,
    response: ServerResponse,
    name: string,
    id: string,
    method: string,
    url: URL,
  ): Promise<void> {
    const at = (upload: string): string => `/v2/${name}/blobs/uploads/${upload}`
    if (method === 'POST') {
      const mount = url.searchParams.get('mount')
      const from = url.searchParams.get('from')
      if (mount !== null && from !== null && own(from).has(mount) && switches.noMount !== true) {
        own(name).add(mount)
        response.writeHead(201, { location: `/v2/${name}/blobs/${mount}` }).end()
        return
      }
      const upload = `u${String(++counter)}`
      uploads.set(upload, [])
      response.writeHead(202, { location: at(upload), range: '0-0' }).end()
      return
    }
    const parts = uploads.get(id)
    if (parts === undefined) {
      response.writeHead(404).end()
      return
    }
    const size = (): number => parts.reduce((sum, part) => sum + part.length, 0)
    const range = (): Record<string, string> =>
      size() === 0 ? {} : { range: `0-${String(size() - 1)}` }
    if (method === 'GET' && switches.loseUploads === true) {
      uploads.delete(id)
      response.writeHead(404).end()
    } else if (method === 'GET') response.writeHead(204, { location: at(id), ...range() }).end()
    else if (method === 'PATCH') {
      const expected = Number(/^(\d+)-/.exec(request.headers['content-range'] ?? '0-')?.[1])
      if (expected !== size()) {
        response.writeHead(416, range()).end()
        return
      }
      if ((switches.failUploads ?? 0) > 0) {
        switches.failUploads = (switches.failUploads ?? 0) - 1
        response.writeHead(503).end()
        return
      }
      if ((switches.cutUploads ?? 0) > 0) {
        switches.cutUploads = (switches.cutUploads ?? 0) - 1
        const first = await new Promise<Uint8Array>((resolve) => request.once('data', resolve))
        parts.push(new Uint8Array(first))
        request.socket.destroy()
        return
      }
      const came = await body(request)
      parts.push(switches.forgetful === true ? came.subarray(0, 1) : came)
      response.writeHead(202, { location: at(id), ...range() }).end()
    } else {
      parts.push(await body(request))
      const bytes = new Uint8Array(Buffer.concat(parts))
      const digest = url.searchParams.get('digest') ?? ''
      uploads.delete(id)
      if (sha(bytes) !== digest) {
        response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID"}]}')
        return
      }
      blobs.set(digest, bytes)
      own(name).add(digest)
      response.writeHead(201, { location: `/v2/${name}/blobs/${digest}` }).end()
    }
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: origin().replace('http://', ''),
    origin: origin(),
    switches,
    blobs,
    manifests,
    log,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function body(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return new Uint8Array(Buffer.concat(chunks))
}
