// The single owner of the distribution API (distribution-spec 1.1.1): manifests, blobs, uploads, mounts. Every digest is checked, every size capped.
import { createHash } from 'node:crypto'
import { parseJson, sha256Hex } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { HttpRequest, HttpResponse, Transport } from '../fetch/transport.ts'
import { authorizer, type CredentialSource } from './auth.ts'
import { isDigest } from './reference.ts'

/** Clients must expect manifests of 4 MiB (distribution-spec §"Pushing manifests"); more than that is refused. */
export const MAX_MANIFEST = 4 << 20

export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  /** As the manifest says: a claim, never trusted. */
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

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
  /** A blob as a stream. It throws `REGISTRY_DIGEST` at its end when the bytes were not the right ones: use nothing before that. */
  blobStream(digest: string, maxBytes: number): AsyncIterable<Uint8Array>
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

const UPLOAD_TRIES = 5

/** Opens one repository of one registry. Nothing is sent before the first call. */
export function openRepository(host: string, name: string, options: RegistryOptions): Repository {
  const { transport } = options
  const base = `${options.plainHttp === true ? 'http' : 'https'}://${host === 'docker.io' ? 'registry-1.docker.io' : host}`
  const authorize = authorizer(
    host,
    transport,
    options.credentials ?? (() => Promise.resolve(undefined)),
  )

  async function call(request: HttpRequest, actions: string): Promise<HttpResponse> {
    const scope = `repository:${name}:${actions}`
    const ours = new URL(request.url).origin === new URL(base).origin
    const withHeader = (): HttpRequest => {
      const authorization = ours ? authorize.header(scope) : undefined
      return authorization === undefined
        ? request
        : { ...request, headers: { ...request.headers, authorization } }
    }
    let response = await transport.request(withHeader())
    if (response.status === 401 && ours) {
      const challenge = response.headers['www-authenticate'] ?? ''
      response.discard()
      if (!(await authorize.answer(challenge, scope))) throw denied(401)
      response = await transport.request(withHeader())
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
    const json = parseJson(bytes, { maxBytes: MAX_MANIFEST })
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      throw new ZtError('REGISTRY_ANSWER', 'the manifest is not a JSON object', {
        path: `${host}/${name}@${digest}`,
      })
    }
    const inside = (json as Record<string, unknown>)['mediaType']
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
      json: json as Record<string, unknown>,
    }
  }

  function wrongDigest(expected: string, actual: string): ZtError {
    return new ZtError('REGISTRY_DIGEST', `asked for ${expected}, got bytes of ${actual}`, {
      path: `${host}/${name}`,
      hint: 'the registry, or something between it and you, is damaged or lying',
    })
  }

  async function* blobStream(digest: string, maxBytes: number): AsyncIterable<Uint8Array> {
    if (!isDigest(digest))
      throw new ZtError('REGISTRY_DIGEST', 'only sha256 digests are followed', {
        path: String(digest).slice(0, 100),
      })
    const response = await call({ method: 'GET', url: url(`blobs/${digest}`) }, 'pull')
    if (response.status === 404) {
      response.discard()
      throw new ZtError('REGISTRY_NOT_FOUND', `the registry does not have the blob ${digest}`, {
        path: `${host}/${name}`,
      })
    }
    if (response.status !== 200) throw await unexpected(response, 'reading a blob')
    const hash = createHash('sha256')
    let size = 0
    try {
      for await (const chunk of response.stream) {
        size += chunk.length
        if (size > maxBytes)
          throw new ZtError('TOO_LARGE', `the blob is larger than ${String(maxBytes)} bytes`, {
            path: digest,
          })
        hash.update(chunk)
        yield chunk
      }
    } catch (error) {
      if (error instanceof ZtError) throw error
      throw new ZtError('NETWORK', 'the blob was cut off', { path: digest, cause: error })
    }
    const actual = `sha256:${hash.digest('hex')}`
    if (actual !== digest) throw wrongDigest(digest, actual)
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

  async function uploadBlob(
    digest: string,
    size: number,
    open: (offset: number) => AsyncIterable<Uint8Array>,
    progress?: UploadProgress,
  ): Promise<'present' | 'uploaded'> {
    if (await hasBlob(digest)) return 'present'
    let location = await begin()
    let offset = 0
    for (let failures = 0; offset < size;) {
      const end = Math.min(size, offset + (options.chunkSize ?? 64 << 20))
      const from = offset
      try {
        const response = await call(
          {
            method: 'PATCH',
            url: location,
            headers: {
              'content-type': 'application/octet-stream',
              'content-length': String(end - from),
              'content-range': `${String(from)}-${String(end - 1)}`,
            },
            body: () => counted(open(from), end - from, (sent) => progress?.(from + sent)),
          },
          'pull,push',
        )
        if (response.status !== 202 && response.status !== 204)
          throw await unexpected(response, 'uploading a blob')
        location = next(response, location)
        offset = kept(response) ?? end
        response.discard()
      } catch (error) {
        if (!(error instanceof ZtError) || error.code !== 'NETWORK' || ++failures >= UPLOAD_TRIES)
          throw error
        const resumed = await resume(location)
        if (resumed === undefined) {
          location = await begin()
          offset = 0
        } else {
          location = resumed.location
          offset = resumed.offset
        }
      }
    }
    const done = new URL(location)
    done.searchParams.set('digest', digest)
    const response = await call(
      {
        method: 'PUT',
        url: done.href,
        headers: { 'content-length': '0' },
        body: new Uint8Array(0),
      },
      'pull,push',
    )
    if (response.status !== 201) throw await unexpected(response, 'ending an upload')
    response.discard()
    return 'uploaded'
  }

  async function begin(): Promise<string> {
    const response = await call(
      { method: 'POST', url: url('blobs/uploads/'), body: new Uint8Array(0) },
      'pull,push',
    )
    if (response.status !== 202) throw await unexpected(response, 'beginning an upload')
    const location = next(response, url('blobs/uploads/'))
    response.discard()
    return location
  }

  async function resume(
    location: string,
  ): Promise<{ location: string; offset: number } | undefined> {
    const response = await call({ method: 'GET', url: location }, 'pull,push')
    response.discard()
    if (response.status !== 204) return undefined
    return { location: next(response, location), offset: kept(response) ?? 0 }
  }

  function next(response: HttpResponse, current: string): string {
    const location = response.headers['location']
    if (location === undefined) return current
    return new URL(location, response.url).href
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

/** Bytes that the registry kept, from `Range: 0-<last>`; undefined if it doesn't say. */
function kept(response: HttpResponse): number | undefined {
  const range = /^(?:bytes=)?0-([0-9]{1,15})$/.exec(response.headers['range'] ?? '')
  return range === null ? undefined : Number(range[1]) + 1
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  size: number,
  sent: (bytes: number) => void,
): AsyncIterable<Uint8Array> {
  let done = 0
  for await (const chunk of source) {
    const part = done + chunk.length > size ? chunk.subarray(0, size - done) : chunk
    done += part.length
    yield part
    sent(done)
    if (done === size) return
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
