// The single owner of what is attached to a manifest: the referrers API, its fallback tag, and the quirks of both (image-spec 1.1, distribution-spec 1.1.1).
import { formatTime, sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { FetchedManifest, Repository } from './client.ts'
import { MAX_MANIFEST, readObject } from './client.ts'
import { eachOf } from './parallel.ts'
import { descriptorOf, textsOf, type Descriptor } from './descriptor.ts'

export const BUNDLE_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json'
/** The layer of an evidence file (schema zt4ai.evidence/v1). */
export const EVIDENCE_TYPE = 'application/vnd.zt4ai.evidence.v1+json'
export const IMAGE_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const IMAGE_INDEX = 'application/vnd.oci.image.index.v1+json'
export const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json'
export const EMPTY_DIGEST =
  'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'

/** More than these and an attacker who can attach things could make a gate read for ever. */
export const REFERRER_LIMITS = {
  descriptors: 256,
  pages: 64,
  manifestBytes: 32 << 20,
  bundles: 256,
  bundleBytes: 256 << 20,
  evidence: 64,
  evidenceBytes: 32 << 20,
} as const
/** Requests at the same time: each answer may be large. */
const PARALLEL = 8

/** A manifest that names `subject`: read, digest checked, its layers listed. */
export interface Referrer {
  readonly manifest: FetchedManifest
  readonly config?: Descriptor
  readonly layers: readonly Descriptor[]
  readonly annotations: Readonly<Record<string, string>>
}

/** The tag under which clients keep the list where a registry has no referrers API. */
export function fallbackTag(digest: string): string {
  return digest.replace(':', '-')
}

/**
 * Every descriptor that the registry lists for `digest`, from the API and from the fallback tag: what was attached before a registry got the
 * API lies there alone. What a descriptor says of its type is not looked at: registries get it wrong (cosign writes a wrong one where there
 * is no API), so it would hide signatures. An entry that is no descriptor with a sha256 digest can't be followed and is passed over: the more
 * is found the more may be allowed, never the less.
 * @throws ZtError TOO_LARGE, and where the registry gives no answer
 */
export async function listReferrers(
  repository: Repository,
  digest: string,
): Promise<readonly Descriptor[]> {
  const [listed, tagged] = await Promise.all([
    fromApi(repository, digest),
    repository.manifest(fallbackTag(digest)),
  ])
  const found = new Map<string, Descriptor>()
  for (const descriptor of [...listed, ...looseDescriptors(tagged?.json)])
    found.set(descriptor.digest, descriptor)
  if (found.size > REFERRER_LIMITS.descriptors) throw tooMany(repository, digest)
  return [...found.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1))
}

async function fromApi(repository: Repository, digest: string): Promise<Descriptor[]> {
  const found: Descriptor[] = []
  let path: string | undefined = `referrers/${digest}`
  for (let page = 0; path !== undefined; page++) {
    if (page >= REFERRER_LIMITS.pages || found.length > REFERRER_LIMITS.descriptors)
      throw tooMany(repository, digest)
    const response = await repository.get(path, { accept: IMAGE_INDEX })
    if (response.status !== 200) {
      response.discard()
      // 404 and 405: no such API. Anything else is no answer, and an empty list would be a lie.
      if (response.status === 404 || response.status === 405) break
      throw new ZtError('REGISTRY_ANSWER', `reading referrers: status ${response.status}`, {
        path: `${repository.host}/${repository.name}`,
      })
    }
    const where = `${repository.host}/${repository.name}@${digest}`
    found.push(...looseDescriptors(readObject(await response.bytes(MAX_MANIFEST), where)))
    path = nextPage(response.headers['link'], response.url)
  }
  return found
}

function tooMany(
  repository: Repository,
  digest: string,
  what = `${REFERRER_LIMITS.descriptors} referrers`,
): ZtError {
  return new ZtError('TOO_LARGE', `more than ${what}`, {
    path: `${repository.host}/${repository.name}@${digest}`,
    hint: 'remove what is attached and not needed',
  })
}

/**
 * Reads the manifests that really have `digest` as their subject. What is listed and no longer there, or is no manifest, proves nothing
 * and is passed over; what the registry does not send is an error.
 * @throws ZtError TOO_LARGE, and where the registry gives no answer
 */
export async function fetchReferrers(
  repository: Repository,
  digest: string,
): Promise<readonly Referrer[]> {
  const found: Referrer[] = []
  let bytes = 0
  await eachOf(await listReferrers(repository, digest), PARALLEL, async (listed) => {
    const manifest = await repository.manifest(listed.digest)
    bytes += manifest?.bytes.length ?? 0
    if (bytes > REFERRER_LIMITS.manifestBytes) throw tooMany(repository, digest)
    if (manifest === undefined || descriptorOf(manifest.json['subject'])?.digest !== digest) return
    const layers = looseDescriptors(manifest.json, 'layers')
    const config = descriptorOf(manifest.json['config'])
    const annotations = textsOf(manifest.json['annotations']) ?? {}
    found.push({ manifest, layers, annotations, ...(config === undefined ? {} : { config }) })
  })
  return found.sort((a, b) => (a.manifest.digest < b.manifest.digest ? -1 : 1))
}

/** The content of one thing that is attached, by the digest of its bytes. */
export interface AttachedContent {
  readonly digest: string
  readonly bytes: Uint8Array
}

/**
 * The Sigstore bundles attached to `digest`, bytes checked against their digests. Their content proves nothing until it is verified.
 * @param referrers what `fetchReferrers` gave for the same digest, where somebody asked already
 */
export function fetchBundles(
  repository: Repository,
  digest: string,
  referrers = fetchReferrers(repository, digest),
): Promise<readonly AttachedContent[]> {
  const { bundles, bundleBytes } = REFERRER_LIMITS
  return contents(repository, digest, referrers, BUNDLE_TYPE, {
    number: bundles,
    bytes: bundleBytes,
    what: 'bundles',
  })
}

/** The evidence attached to `digest`, in the same way: candidates, of which only their content says whether they are any. */
export function fetchEvidence(
  repository: Repository,
  digest: string,
  referrers = fetchReferrers(repository, digest),
): Promise<readonly AttachedContent[]> {
  const { evidence, evidenceBytes } = REFERRER_LIMITS
  return contents(repository, digest, referrers, EVIDENCE_TYPE, {
    number: evidence,
    bytes: evidenceBytes,
    what: 'pieces of evidence',
  })
}

/** Layers of one media type, which the referrer's own digest covers, each once. Nothing else that is said of them is believed. */
async function contents(
  repository: Repository,
  digest: string,
  referrers: Promise<readonly Referrer[]>,
  mediaType: string,
  most: { readonly number: number; readonly bytes: number; readonly what: string },
): Promise<readonly AttachedContent[]> {
  const wanted = new Set(
    (await referrers).flatMap(({ layers }) =>
      layers.flatMap((layer) => (layer.mediaType === mediaType ? [layer.digest] : [])),
    ),
  )
  if (wanted.size > most.number) throw tooMany(repository, digest, `${most.number} ${most.what}`)
  const found = new Map<string, Uint8Array>()
  let bytes = 0
  await eachOf([...wanted], PARALLEL, async (layer) => {
    const content = await wholeBlob(repository, layer, (more) => {
      bytes += more
      if (bytes > most.bytes)
        throw tooMany(repository, digest, `${most.bytes} bytes of ${most.what}`)
    })
    if (content !== undefined) found.set(layer, content)
  })
  return [...wanted].flatMap((layer) => {
    const content = found.get(layer)
    return content === undefined ? [] : [{ digest: layer, bytes: content }]
  })
}

/** A blob that is gone is as one that was never attached. `count` is told of every byte before it is kept. */
async function wholeBlob(
  repository: Repository,
  digest: string,
  count: (bytes: number) => void,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = []
  try {
    for await (const chunk of repository.blobStream(digest, Number.MAX_SAFE_INTEGER)) {
      count(chunk.length)
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof ZtError && error.code === 'REGISTRY_NOT_FOUND') return undefined
    throw error
  }
  return new Uint8Array(Buffer.concat(chunks))
}

export interface Attachment {
  readonly subject: Descriptor
  /** Media type of the artifact and of its one layer. */
  readonly mediaType: string
  readonly content: Uint8Array
  readonly annotations: Readonly<Record<string, string>>
}

/** cosign's annotations of a bundle with an in-toto statement (sigstore/cosign specs/BUNDLE_SPEC.md). */
export function bundleAnnotations(
  predicateType: string,
  created = new Date(),
): Record<string, string> {
  return {
    'dev.sigstore.bundle.content': 'dsse-envelope',
    'dev.sigstore.bundle.predicateType': predicateType,
    ...createdAnnotation(created),
  }
}

/** image-spec "Pre-Defined Annotation Keys". */
export function createdAnnotation(created: Date): Record<string, string> {
  const at = new Date(Math.floor(created.getTime() / 1000) * 1000)
  return { 'org.opencontainers.image.created': formatTime(at) }
}

/**
 * Uploads an attachment as a referrer, in exactly cosign's layout, and keeps the fallback tag where the registry needs it. Content that is
 * attached already as what it is is not attached again. Gives the referrer's digest.
 */
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
  const there = (await fetchReferrers(repository, attachment.subject.digest)).find(
    ({ layers: [only, second] }) =>
      only?.digest === layer.digest && only.mediaType === layer.mediaType && second === undefined,
  )
  if (there !== undefined) return there.manifest.digest
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
  return putReferrer(repository, digest, {
    mediaType: IMAGE_MANIFEST,
    bytes: utf8Encode(JSON.stringify(manifest)),
    artifactType: attachment.mediaType,
    annotations: attachment.annotations,
  })
}

/** A referrer's manifest, and what the list of referrers says of it. */
export interface ReferrerManifest {
  readonly mediaType: string
  readonly bytes: Uint8Array
  readonly artifactType?: string
  readonly annotations: Readonly<Record<string, string>>
}

/** Puts a referrer whose blobs are there, and lists it where the registry does not do that itself. Gives its digest. */
export async function putReferrer(
  repository: Repository,
  subject: string,
  { bytes, ...described }: ReferrerManifest,
): Promise<string> {
  const own = `sha256:${sha256Hex(bytes)}`
  await repository.putManifest(own, described.mediaType, bytes)
  // The answer's OCI-Subject header is not believed: ECR sent it without having the API (seen in 2024). The list itself is asked.
  if (!(await apiLists(repository, subject, own)))
    await addToFallbackTag(repository, subject, { digest: own, size: bytes.length, ...described })
  return own
}

async function apiLists(repository: Repository, subject: string, own: string): Promise<boolean> {
  const response = await repository.get(`referrers/${subject}`, { accept: IMAGE_INDEX })
  if (response.status !== 200) {
    response.discard()
    return false
  }
  const where = `${repository.host}/${repository.name}`
  const listed = looseDescriptors(readObject(await response.bytes(MAX_MANIFEST), where))
  const more = response.headers['link'] !== undefined
  return more || listed.some((descriptor) => descriptor.digest === own)
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
    if (looseDescriptors(current?.json).some(({ digest }) => digest === descriptor.digest)) return
    if (current !== undefined && current.mediaType !== IMAGE_INDEX) {
      throw new ZtError('REGISTRY_ANSWER', 'the tag for the list of referrers is something else', {
        path: `${repository.host}/${repository.name}:${tag}`,
      })
    }
    const bytes = utf8Encode(
      JSON.stringify({
        ...current?.json,
        schemaVersion: 2,
        mediaType: IMAGE_INDEX,
        manifests: [...manifests, descriptor],
      }),
    )
    await repository.putManifest(tag, IMAGE_INDEX, bytes)
  }
  const last = await repository.manifest(tag)
  if (looseDescriptors(last?.json).some(({ digest }) => digest === descriptor.digest)) return
  throw new ZtError(
    'REGISTRY_ANSWER',
    'the list of referrers could not be written: others keep writing it',
    {
      path: `${repository.host}/${repository.name}:${tag}`,
      hint: 'try again',
    },
  )
}

function rawList(
  json: Readonly<Record<string, unknown>> | undefined,
  field = 'manifests',
): unknown[] {
  const list = json?.[field]
  return Array.isArray(list) ? (list as unknown[]) : []
}

/** The descriptors in a list that can be followed; at most one more than is allowed of them. */
function looseDescriptors(
  json: Readonly<Record<string, unknown>> | undefined,
  field: 'manifests' | 'layers' = 'manifests',
): readonly Descriptor[] {
  return rawList(json, field)
    .slice(0, REFERRER_LIMITS.descriptors + 1)
    .flatMap((entry) => descriptorOf(entry) ?? [])
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
