// The single owner of the distribution API (distribution-spec 1.1.1): manifests, blobs, uploads, mounts. Every digest is checked, every size capped.
import { createHash } from 'node:crypto'
import { parseJson, sha256Hex } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { HttpRequest, HttpResponse, Transport } from '../fetch/transport.ts'
import { authorizer, type CredentialSource } from './auth.ts'
import { isDigest } from './reference.ts'
import { sendBlob, type UploadPort } from './upload.ts'

/** Clients must expect manifests of 4 MiB (distribution-spec §"Pushing manifests"); more than that is refused. */
export const MAX_MANIFEST = 4 << 20

/** A manifest's bytes, and the digest that zt4ai computed over them. */
export interface FetchedManifest {
  readonly digest: string
  readonly mediaType: string
  readonly bytes: Uint8Array
  readonly json: Readonly<Record<string, unknown>>
}

export interface UploadProgress {
  (sent: number): void
}

export interface Repository {
  readonly host: string
  readonly name: string
  /** By tag or digest. Bytes that do not have the digest that was asked for throw `REGISTRY_DIGEST`. Undefined if there is none. */
  manifest(reference: string): Promise<FetchedManifest | undefined>
  putManifest(reference: string, mediaType: string, bytes: Uint8Array): Promise<void>
  hasBlob(digest: string): Promise<boolean>
  /** A whole small blob, checked. */
  blob(digest: string, maxBytes: number): Promise<Uint8Array>
  /**
   * A blob as a stream, from an offset on; one that breaks off goes on where it broke. It throws `REGISTRY_DIGEST` at its end when the bytes were
   * not the right ones: use nothing before that. From an offset other than 0 nothing is checked, so that whoever takes the bytes must.
   */
  blobStream(digest: string, maxBytes: number, offset?: number): AsyncIterable<Uint8Array>
  /** Uploads a blob unless it is there. `open(offset)` gives the bytes from an offset, so that an upload can resume. */
  uploadBlob(
    digest: string,
    size: number,
    open: (offset: number) => AsyncIterable<Uint8Array>,
    progress?: UploadProgress,
  ): Promise<'present' | 'uploaded'>
  /** Links a blob from another repository of the same registry without sending it; false if the registry would not. */
  mountBlob(digest: string, from: string): Promise<boolean>
  /** One GET below `/v2/<name>/`, for what this interface has no verb for (referrers). */
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<HttpResponse>
}

export interface RegistryOptions {
  readonly transport: Transport
  readonly credentials?: CredentialSource
  readonly plainHttp?: boolean
  /** Bytes of one PATCH; a broken upload resumes at the last one that the registry kept. */
  readonly chunkSize?: number
}

const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(', ')

const TRIES = 5
/** Bytes that make another try worth it: a registry that sends one at a time is not waited for. */
const ENOUGH = 1 << 20

/** Opens one repository of one registry. Nothing is sent before the first call. */
export function openRepository(host: string, name: string, options: RegistryOptions): Repository {
  const { transport } = options
  const base = `${options.plainHttp === true ? 'http' : 'https'}://${host === 'docker.io' ? 'registry-1.docker.io' : host}`
  const { origin } = new URL(base)
  const authorize = authorizer(
    host,
    transport,
    options.credentials ?? (() => Promise.resolve(undefined)),
  )

  async function call(
    request: HttpRequest,
    actions: string,
    alsoScope = '',
  ): Promise<HttpResponse> {
    const scope = `repository:${name}:${actions}${alsoScope}`
    const ours = (address: string): boolean => new URL(address).origin === origin
    const send = (authorization: string | undefined): Promise<HttpResponse> =>
      transport.request(
        authorization === undefined
          ? request
          : { ...request, headers: { ...request.headers, authorization } },
      )
    const used = ours(request.url) ? authorize.header(scope) : undefined
    let response = await send(used)
    // Only the registry itself may ask for its credentials, not a host to which it redirected.
    if (response.status === 401 && ours(response.url)) {
      const challenge = response.headers['www-authenticate'] ?? ''
      response.discard()
      if (!(await authorize.answer(challenge, scope, used))) throw denied(401)
      response = await send(authorize.header(scope))
    }
    if (response.status === 401 || response.status === 403) {
      response.discard()
      throw denied(response.status)
    }
    return response
  }

  function denied(status: number): ZtError {
    return new ZtError('REGISTRY_AUTH', `the registry answered ${String(status)}`, {
      path: `${host}/${name}`,
      hint: `log in to ${host} (docker login), or name the config with DOCKER_CONFIG`,
    })
  }

  async function unexpected(response: HttpResponse, what: string): Promise<ZtError> {
    let said = ''
    try {
      said = errorText(await response.bytes(64 << 10))
    } catch {
      // The status alone must do.
    }
    return new ZtError('REGISTRY_ANSWER', `${what}: status ${String(response.status)}${said}`, {
      path: `${host}/${name}`,
    })
  }

  const url = (path: string): string => `${base}/v2/${name}/${path}`

  async function manifest(reference: string): Promise<FetchedManifest | undefined> {
    const response = await call(
      { method: 'GET', url: url(`manifests/${reference}`), headers: { accept: MANIFEST_TYPES } },
      'pull',
    )
    if (response.status === 404) {
      response.discard()
      return undefined
    }
    if (response.status !== 200) throw await unexpected(response, 'reading a manifest')
    const bytes = await response.bytes(MAX_MANIFEST)
    const digest = `sha256:${sha256Hex(bytes)}`
    if (isDigest(reference) && reference !== digest) throw wrongDigest(reference, digest)
    const json = readObject(bytes, `${host}/${name}@${digest}`)
    const inside = json['mediaType']
    const outside = (response.headers['content-type'] ?? '').split(';')[0]?.trim() ?? ''
    // Only what the digest covers decides; a header that says otherwise is a lie (CVE-2021-41190).
    if (
      typeof inside === 'string' &&
      outside !== '' &&
      outside !== inside &&
      outside !== 'application/json'
    ) {
      throw new ZtError(
        'REGISTRY_ANSWER',
        `the manifest calls itself ${inside}, the registry calls it ${outside.slice(0, 100)}`,
        {
          path: `${host}/${name}@${digest}`,
        },
      )
    }
    return {
      digest,
      mediaType: typeof inside === 'string' ? inside : outside,
      bytes,
      json,
    }
  }

  function wrongDigest(expected: string, actual: string): ZtError {
    return new ZtError('REGISTRY_DIGEST', `asked for ${expected}, got bytes of ${actual}`, {
      path: `${host}/${name}`,
      hint: 'the registry, or something between it and you, is damaged or lying',
    })
  }

  async function* blobStream(
    digest: string,
    maxBytes: number,
    offset = 0,
  ): AsyncIterable<Uint8Array> {
    if (!isDigest(digest))
      throw new ZtError('REGISTRY_DIGEST', 'only sha256 digests are followed', {
        path: String(digest).slice(0, 100),
      })
    const hash = createHash('sha256')
    let size = offset
    for (let failures = 0, from = offset; ; from = size) {
      try {
        for await (const chunk of blobFrom(digest, from)) {
          size += chunk.length
          if (size > maxBytes)
            throw new ZtError('TOO_LARGE', `the blob is larger than ${maxBytes} bytes`, {
              path: digest,
            })
          hash.update(chunk)
          yield chunk
        }
        break
      } catch (error) {
        if (!(error instanceof ZtError) || error.code !== 'NETWORK') throw error
        failures = size - from >= ENOUGH ? 1 : failures + 1
        if (failures >= TRIES) throw error
        await transport.pause(failures)
      }
    }
    const actual = `sha256:${hash.digest('hex')}`
    if (offset === 0 && actual !== digest) throw wrongDigest(digest, actual)
  }

  /** The blob from an offset on. A registry that knows no ranges sends it whole, and what was read before is passed over. */
  async function* blobFrom(digest: string, offset: number): AsyncIterable<Uint8Array> {
    const headers = offset === 0 ? {} : { range: `bytes=${offset}-` }
    const response = await call({ method: 'GET', url: url(`blobs/${digest}`), headers }, 'pull')
    if (response.status === 404) {
      response.discard()
      throw new ZtError('REGISTRY_NOT_FOUND', `the registry does not have the blob ${digest}`, {
        path: `${host}/${name}`,
      })
    }
    const partial =
      response.status === 206 &&
      (response.headers['content-range'] ?? '').startsWith(`bytes ${offset}-`)
    if (response.status !== 200 && !partial) throw await unexpected(response, 'reading a blob')
    yield* partial ? response.stream : skipping(response.stream, offset)
  }

  async function blob(digest: string, maxBytes: number): Promise<Uint8Array> {
    const chunks: Uint8Array[] = []
    for await (const chunk of blobStream(digest, maxBytes)) chunks.push(chunk)
    return new Uint8Array(Buffer.concat(chunks))
  }

  async function hasBlob(digest: string): Promise<boolean> {
    const response = await call({ method: 'HEAD', url: url(`blobs/${digest}`) }, 'pull')
    response.discard()
    return response.status === 200
  }

  const uploadBlob: Repository['uploadBlob'] = async (digest, size, open, progress) => {
    if (await hasBlob(digest)) return 'present'
    await sendBlob({ digest, size, open, ...(progress === undefined ? {} : { progress }) }, upload)
    return 'uploaded'
  }

  const upload: UploadPort = {
    chunkSize: options.chunkSize ?? 64 << 20,
    begin: () =>
      call({ method: 'POST', url: url('blobs/uploads/'), body: new Uint8Array(0) }, 'pull,push'),
    send: (request) => call(request, 'pull,push'),
    has: hasBlob,
    pause: (attempt) => transport.pause(attempt),
    unexpected,
  }

  async function mountBlob(digest: string, from: string): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, from })
    const response = await call(
      {
        method: 'POST',
        url: `${url('blobs/uploads/')}?${query.toString()}`,
        body: new Uint8Array(0),
      },
      'pull,push',
      ` repository:${from}:pull`,
    )
    response.discard()
    return response.status === 201
  }

  async function putManifest(
    reference: string,
    mediaType: string,
    bytes: Uint8Array,
  ): Promise<void> {
    const response = await call(
      {
        method: 'PUT',
        url: url(`manifests/${reference}`),
        headers: { 'content-type': mediaType },
        body: bytes,
      },
      'pull,push',
    )
    if (response.status !== 201 && response.status !== 200 && response.status !== 202)
      throw await unexpected(response, 'writing a manifest')
    response.discard()
  }

  return {
    host,
    name,
    manifest,
    putManifest,
    hasBlob,
    blob,
    blobStream,
    uploadBlob,
    mountBlob,
    get: (path, headers = {}) =>
      call({ method: 'GET', url: path.startsWith('http') ? path : url(path), headers }, 'pull'),
  }
}

/** A JSON object that a registry sent. @throws ZtError REGISTRY_ANSWER */
export function readObject(bytes: Uint8Array, path: string): Readonly<Record<string, unknown>> {
  let json: unknown
  try {
    json = parseJson(bytes, { maxBytes: MAX_MANIFEST })
  } catch (cause) {
    throw new ZtError('REGISTRY_ANSWER', 'the registry did not answer with JSON', { path, cause })
  }
  if (typeof json === 'object' && json !== null && !Array.isArray(json))
    return json as Record<string, unknown>
  throw new ZtError('REGISTRY_ANSWER', 'the registry did not answer with a JSON object', { path })
}

/** Passes over the first bytes of a stream. */
async function* skipping(
  stream: AsyncIterable<Uint8Array>,
  offset: number,
): AsyncIterable<Uint8Array> {
  let at = 0
  for await (const chunk of stream) {
    if (at + chunk.length > offset) yield chunk.subarray(Math.max(0, offset - at))
    at += chunk.length
  }
}

function errorText(bytes: Uint8Array): string {
  const json = parseJson(bytes, { maxBytes: 64 << 10 }) as {
    errors?: { code?: unknown; message?: unknown }[]
  } | null
  const first = Array.isArray(json?.errors) ? json.errors[0] : undefined
  const plain = (value: unknown): string =>
    typeof value === 'string' ? value.replace(/[^\x20-\x7e]/g, '?').slice(0, 200) : ''
  return first === undefined ? '' : ` ${plain(first.code)} ${plain(first.message)}`
}
