// The single owner of promotion: an admitted model goes from a staging repository to a production one, blobs first, what is attached next, its manifest last.
import { ZtError } from '../error.ts'
import { attach, BUNDLE_TYPE, fetchReferrers, IMAGE_MANIFEST, once } from '../registry/referrers.ts'
import type { Descriptor, Repository } from '../registry/client.ts'
import { eachOf } from '../registry/push.ts'
import type { RegistrySource } from './oci.ts'

export interface PromoteOptions {
  readonly from: Repository
  readonly to: Repository
  /** What was admitted. The same bytes are promoted: nothing is resolved again. */
  readonly source: RegistrySource
  /** The saved verdict's bundle, which travels along. */
  readonly verdict?: Uint8Array
  readonly verdictType?: string
  readonly tag?: string
  readonly parallel?: number
}

export interface Promoted {
  readonly digest: string
  readonly mounted: number
  readonly copied: number
  readonly attached: number
}

/** Promotes. What calls this must have an allow verdict over exactly `source`. */
export async function promoteModel(options: PromoteOptions): Promise<Promoted> {
  const { from, to, source } = options
  const blobs = [source.artifact.config, ...source.artifact.layers]
  const counts = { mounted: 0, copied: 0 }
  const move = async (blob: Descriptor): Promise<void> => {
    counts[await moveBlob(from, to, blob)] += 1
  }
  await eachOf(
    [...new Map(blobs.map((blob) => [blob.digest, blob])).values()],
    options.parallel ?? 4,
    move,
  )
  const subject = {
    mediaType: source.manifest.mediaType || IMAGE_MANIFEST,
    digest: source.manifest.digest,
    size: source.manifest.bytes.length,
  }
  let attached = 0
  for (const { annotations, layers } of await fetchReferrers(from, source.manifest.digest)) {
    const [layer, second] = layers
    // Bundles are what gates read; anything else that is attached is not what was admitted.
    if (layer?.mediaType !== BUNDLE_TYPE || second !== undefined) continue
    const content = await from.blob(layer.digest, 64 << 20)
    await attach(to, { subject, mediaType: BUNDLE_TYPE, content, annotations })
    attached += 1
  }
  if (options.verdict !== undefined) {
    const annotations = bundleAnnotations(options.verdictType ?? '')
    await attach(to, { subject, mediaType: BUNDLE_TYPE, content: options.verdict, annotations })
    attached += 1
  }
  await to.putManifest(source.manifest.digest, subject.mediaType, source.manifest.bytes)
  if (options.tag !== undefined)
    await to.putManifest(options.tag, subject.mediaType, source.manifest.bytes)
  return { digest: source.manifest.digest, ...counts, attached }
}

/** cosign's annotations of a bundle with an in-toto statement (sigstore/cosign specs/BUNDLE_SPEC.md). */
export function bundleAnnotations(predicateType: string): Record<string, string> {
  return {
    'dev.sigstore.bundle.content': 'dsse-envelope',
    'dev.sigstore.bundle.predicateType': predicateType,
  }
}

async function moveBlob(
  from: Repository,
  to: Repository,
  blob: Descriptor,
): Promise<'mounted' | 'copied'> {
  if (await to.hasBlob(blob.digest)) return 'mounted'
  if (from.host === to.host && (await to.mountBlob(blob.digest, from.name))) return 'mounted'
  await to.uploadBlob(blob.digest, blob.size, (offset) =>
    skipping(from.blobStream(blob.digest, blob.size), offset),
  )
  return 'copied'
}

async function* skipping(
  stream: AsyncIterable<Uint8Array>,
  offset: number,
): AsyncIterable<Uint8Array> {
  let at = 0
  for await (const chunk of stream) {
    if (at + chunk.length > offset) yield* once(chunk.subarray(Math.max(0, offset - at)))
    at += chunk.length
  }
  if (at < offset) throw new ZtError('REGISTRY_ANSWER', 'a blob is shorter than it was')
}
