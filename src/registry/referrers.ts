// The single owner of what is attached to a manifest: the referrers API, its fallback tag, and the quirks of both (image-spec 1.1, distribution-spec 1.1.1).
import { parseJson, utf8Encode, sha256Hex } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { Descriptor, FetchedManifest, Repository } from './client.ts'
import { MAX_MANIFEST } from './client.ts'
import { isDigest } from './reference.ts'

export const BUNDLE_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json'
export const IMAGE_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const IMAGE_INDEX = 'application/vnd.oci.image.index.v1+json'
export const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json'
export const EMPTY_DIGEST =
  'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'

/** More than these and an attacker who can attach things could make a gate read for ever. */
export const REFERRER_LIMITS = { descriptors: 256, pages: 16, blobBytes: 64 << 20 } as const

/** A manifest that names `subject`: read, digest checked, its layers listed. */
export interface Referrer {
  readonly manifest: FetchedManifest
  readonly layers: readonly Descriptor[]
  readonly annotations: Readonly<Record<string, string>>
}

/** The tag under which clients keep the list where a registry has no referrers API. */
export function fallbackTag(digest: string): string {
  return digest.replace(':', '-')
}

/**
 * Every descriptor that the registry lists for `digest`, from the API and from the fallback tag. What a descriptor says of its type is not looked at:
 * registries get it wrong (reference: cosign on registries without the API), so it would hide signatures.
 */
export async function listReferrers(
  repository: Repository,
  digest: string,
): Promise<readonly Descriptor[]> {
  const found = new Map<string, Descriptor>()
  const add = (descriptors: readonly Descriptor[]): void => {
    for (const descriptor of descriptors) {
      if (found.size >= REFERRER_LIMITS.descriptors) {
        throw new ZtError(
          'TOO_LARGE',
          `more than ${String(REFERRER_LIMITS.descriptors)} referrers`,
          {
            path: `${repository.host}/${repository.name}@${digest}`,
            hint: 'remove what is attached and not needed',
          },
        )
      }
      found.set(descriptor.digest, descriptor)
    }
  }
  let path: string | undefined = `referrers/${digest}`
  for (let page = 0; path !== undefined; page++) {
    if (page >= REFERRER_LIMITS.pages)
      throw new ZtError(
        'TOO_LARGE',
        `more than ${String(REFERRER_LIMITS.pages)} pages of referrers`,
      )
    const response = await repository.get(path, { accept: IMAGE_INDEX })
    if (response.status !== 200) {
      response.discard()
      // 404 and 405: no such API. Anything else is no answer, and an empty list would be a lie.
      if (response.status !== 404 && response.status !== 405) {
        throw new ZtError(
          'REGISTRY_ANSWER',
          `reading referrers: status ${String(response.status)}`,
          { path: `${repository.host}/${repository.name}` },
        )
      }
      break
    }
    add(
      descriptorsOf(
        parseJson(await response.bytes(MAX_MANIFEST), { maxBytes: MAX_MANIFEST }),
        'manifests',
      ),
    )
    path = nextPage(response.headers['link'], response.url)
  }
  if (found.size === 0) {
    const index = await repository.manifest(fallbackTag(digest))
    if (index !== undefined) add(descriptorsOf(index.json, 'manifests'))
  }
  return [...found.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1))
}

/** Reads the manifests that really have `digest` as their subject. What can't be read is an error: a gate must not decide on half of them. */
export async function fetchReferrers(
  repository: Repository,
  digest: string,
): Promise<readonly Referrer[]> {
  const descriptors = await listReferrers(repository, digest)
  const manifests = await Promise.all(
    descriptors.map((descriptor) => repository.manifest(descriptor.digest)),
  )
  return manifests.flatMap((manifest) => {
    // A registry may list what was deleted: nothing there can be used, and nothing is proved by it.
    if (manifest === undefined) return []
    const subject = descriptorOf(manifest.json['subject'])
    return subject?.digest === digest
      ? [
          {
            manifest,
            layers: descriptorsOf(manifest.json, 'layers'),
            annotations: textsOf(manifest.json['annotations']) ?? {},
          },
        ]
      : []
  })
}

/** The Sigstore bundles attached to `digest`, bytes checked against their digests. Their content proves nothing until it is verified. */
export async function fetchBundles(
  repository: Repository,
  digest: string,
): Promise<readonly { readonly digest: string; readonly bytes: Uint8Array }[]> {
  const referrers = await fetchReferrers(repository, digest)
  const wanted = referrers.flatMap(({ layers }) =>
    layers.filter((layer) => layer.mediaType === BUNDLE_TYPE),
  )
  const unique = [...new Map(wanted.map((layer) => [layer.digest, layer])).values()]
  return Promise.all(
    unique.map(async (layer) => ({
      digest: layer.digest,
      bytes: await repository.blob(layer.digest, REFERRER_LIMITS.blobBytes),
    })),
  )
}

export interface Attachment {
  readonly subject: Descriptor
  /** Media type of the artifact and of its one layer. */
  readonly mediaType: string
  readonly content: Uint8Array
  readonly annotations: Readonly<Record<string, string>>
}

/** Uploads an attachment as a referrer, in exactly cosign's layout, and keeps the fallback tag where the registry needs it. Gives the referrer's digest. */
export async function attach(repository: Repository, attachment: Attachment): Promise<string> {
  const layer: Descriptor = {
    mediaType: attachment.mediaType,
    digest: `sha256:${sha256Hex(attachment.content)}`,
    size: attachment.content.length,
  }
  const empty = utf8Encode('{}')
  await repository.uploadBlob(EMPTY_DIGEST, empty.length, () => once(empty))
  await repository.uploadBlob(layer.digest, layer.size, (offset) =>
    once(attachment.content.subarray(offset)),
  )
  const { mediaType, digest, size } = attachment.subject
  const manifest = {
    schemaVersion: 2,
    mediaType: IMAGE_MANIFEST,
    artifactType: attachment.mediaType,
    config: {
      mediaType: EMPTY_TYPE,
      digest: EMPTY_DIGEST,
      size: empty.length,
      artifactType: attachment.mediaType,
    },
    layers: [layer],
    subject: { mediaType, digest, size },
    annotations: attachment.annotations,
  }
  const bytes = utf8Encode(JSON.stringify(manifest))
  const own = `sha256:${sha256Hex(bytes)}`
  await repository.putManifest(own, IMAGE_MANIFEST, bytes)
  // The answer's OCI-Subject header is not believed: ECR sent it without having the API (seen in 2024). The list itself is asked.
  if (!(await apiLists(repository, digest, own))) {
    const { mediaType: artifactType, annotations } = attachment
    await addToFallbackTag(repository, digest, {
      mediaType: IMAGE_MANIFEST,
      digest: own,
      size: bytes.length,
      artifactType,
      annotations,
    })
  }
  return own
}

async function apiLists(repository: Repository, subject: string, own: string): Promise<boolean> {
  const response = await repository.get(`referrers/${subject}`, { accept: IMAGE_INDEX })
  if (response.status !== 200) {
    response.discard()
    return false
  }
  const listed = descriptorsOf(
    parseJson(await response.bytes(MAX_MANIFEST), { maxBytes: MAX_MANIFEST }),
    'manifests',
  )
  return (
    response.headers['link'] !== undefined || listed.some((descriptor) => descriptor.digest === own)
  )
}

/** The tag is shared by all clients and has no lock, so what was written is read again, and put again if another client won. */
async function addToFallbackTag(
  repository: Repository,
  subject: string,
  descriptor: Descriptor,
): Promise<void> {
  const tag = fallbackTag(subject)
  for (let attempt = 0; attempt < 5; attempt++) {
    const current = await repository.manifest(tag)
    const manifests = current === undefined ? [] : rawList(current.json)
    if (manifests.some((entry) => (entry as { digest?: unknown }).digest === descriptor.digest))
      return
    const bytes = utf8Encode(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: IMAGE_INDEX,
        manifests: [...manifests, descriptor],
      }),
    )
    await repository.putManifest(tag, IMAGE_INDEX, bytes)
  }
  const last = await repository.manifest(tag)
  if (
    last !== undefined &&
    descriptorsOf(last.json, 'manifests').some((entry) => entry.digest === descriptor.digest)
  )
    return
  throw new ZtError(
    'REGISTRY_ANSWER',
    'the list of referrers could not be written: others keep writing it',
    {
      path: `${repository.host}/${repository.name}:${tag}`,
      hint: 'try again',
    },
  )
}

function rawList(json: Readonly<Record<string, unknown>>): readonly unknown[] {
  return Array.isArray(json['manifests']) ? (json['manifests'] as unknown[]) : []
}

export async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  await Promise.resolve()
  yield bytes
}

function nextPage(link: string | undefined, base: string): string | undefined {
  const match = /<([^<>]{1,2048})>\s*;[^,]*\brel="?next"?/.exec(link ?? '')
  if (match?.[1] === undefined) return undefined
  const url = new URL(match[1], base)
  if (url.origin !== new URL(base).origin) {
    throw new ZtError('REGISTRY_ANSWER', 'the next page of referrers lies on another host', {
      path: url.host,
    })
  }
  return url.href
}

/** Descriptors of a manifest's list. What has not the form of a descriptor is an error, not skipped. */
export function descriptorsOf(json: unknown, field: 'manifests' | 'layers'): readonly Descriptor[] {
  const list =
    typeof json === 'object' && json !== null ? (json as Record<string, unknown>)[field] : undefined
  if (list === undefined || list === null) return []
  if (!Array.isArray(list) || list.length > 10_000)
    throw new ZtError('REGISTRY_ANSWER', `${field} is not a list, or longer than 10,000`)
  return list.map((entry: unknown, index) => {
    const descriptor = descriptorOf(entry)
    if (descriptor === undefined)
      throw new ZtError(
        'REGISTRY_ANSWER',
        `${field}[${String(index)}] is not a descriptor with a sha256 digest`,
      )
    return descriptor
  })
}

/** One descriptor, strictly; undefined if it isn't one. */
export function descriptorOf(value: unknown): Descriptor | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { mediaType, digest, size, artifactType, annotations } = value as Record<string, unknown>
  if (
    typeof mediaType !== 'string' ||
    !isDigest(digest) ||
    typeof size !== 'number' ||
    !Number.isSafeInteger(size) ||
    size < 0
  )
    return undefined
  const texts = textsOf(annotations)
  if (texts === undefined) return undefined
  return {
    mediaType,
    digest,
    size,
    ...(typeof artifactType === 'string' ? { artifactType } : {}),
    annotations: texts,
  }
}

/** Annotations: absent is none; undefined if it is anything but texts by name. */
function textsOf(annotations: unknown): Readonly<Record<string, string>> | undefined {
  if (annotations === undefined || annotations === null) return {}
  if (typeof annotations !== 'object') return undefined
  const texts = Object.entries(annotations)
  return texts.every(([, text]) => typeof text === 'string')
    ? (Object.fromEntries(texts))
    : undefined
}
