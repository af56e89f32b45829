// The single owner of promotion: an admitted model goes from a staging repository to a production one, blobs first, what is attached next, its manifest last.
import type { Repository } from '../registry/client.ts'
import type { Descriptor } from '../registry/descriptor.ts'
import { eachOf } from '../registry/parallel.ts'
import {
  attach,
  BUNDLE_TYPE,
  bundleAnnotations,
  EVIDENCE_TYPE,
  fetchReferrers,
  IMAGE_MANIFEST,
  putReferrer,
  REFERRER_LIMITS,
  type Referrer,
} from '../registry/referrers.ts'
import type { RegistrySource } from './oci.ts'

export { bundleAnnotations }

export interface PromoteOptions {
  readonly from: Repository
  readonly to: Repository
  /** What was admitted. The same bytes are promoted: nothing is resolved again. */
  readonly source: RegistrySource
  /** The saved verdict's bundle, which travels along. */
  readonly verdict?: Uint8Array
  readonly verdictType?: string
  /** When the verdict is attached. */
  readonly now?: Date
  readonly tag?: string
  readonly parallel?: number
}

export interface Promoted {
  readonly digest: string
  /** Blobs that were there, or were linked from another repository of the same registry. */
  readonly mounted: number
  readonly copied: number
  readonly attached: number
}

/**
 * Promotes. What calls this must have an allow verdict over exactly `source`. Every attached bundle and evidence travels along as it is, byte for byte;
 * anything else that is attached is not what was admitted, and stays.
 */
export async function promoteModel(options: PromoteOptions): Promise<Promoted> {
  const { from, to, source } = options
  const counts = { mounted: 0, copied: 0 }
  const move = async (blobs: readonly Descriptor[]): Promise<void> => {
    const unique = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()]
    await eachOf(unique, options.parallel ?? 4, async (blob) => {
      counts[await moveBlob(from, to, blob)] += 1
    })
  }
  const { manifest, artifact } = source
  await move([artifact.config, ...artifact.layers])
  const subject = {
    mediaType: manifest.mediaType || IMAGE_MANIFEST,
    digest: manifest.digest,
    size: manifest.bytes.length,
  }
  let attached = 0
  for (const referrer of (await fetchReferrers(from, manifest.digest)).filter(travels)) {
    await move([...(referrer.config === undefined ? [] : [referrer.config]), ...referrer.layers])
    const { mediaType, bytes } = referrer.manifest
    const { annotations } = referrer
    await putReferrer(to, subject.digest, {
      mediaType: mediaType || IMAGE_MANIFEST,
      bytes,
      artifactType: referrer.layers[0]?.mediaType ?? BUNDLE_TYPE,
      annotations,
    })
    attached += 1
  }
  if (options.verdict !== undefined) {
    const annotations = bundleAnnotations(options.verdictType ?? '', options.now ?? new Date())
    await attach(to, { subject, mediaType: BUNDLE_TYPE, content: options.verdict, annotations })
    attached += 1
  }
  await to.putManifest(manifest.digest, subject.mediaType, manifest.bytes)
  if (options.tag !== undefined)
    await to.putManifest(options.tag, subject.mediaType, manifest.bytes)
  return { digest: manifest.digest, ...counts, attached }
}

function travels({ layers: [layer, second] }: Referrer): boolean {
  if (layer === undefined || second !== undefined) return false
  // One that claims to be larger is no evidence; one that is larger than it claims is not copied.
  const evidence = layer.mediaType === EVIDENCE_TYPE && layer.size <= REFERRER_LIMITS.evidenceBytes
  return evidence || layer.mediaType === BUNDLE_TYPE
}

async function moveBlob(
  from: Repository,
  to: Repository,
  blob: Descriptor,
): Promise<'mounted' | 'copied'> {
  if (await to.hasBlob(blob.digest)) return 'mounted'
  if (from.host === to.host && (await to.mountBlob(blob.digest, from.name))) return 'mounted'
  await to.uploadBlob(blob.digest, blob.size, (offset) =>
    from.blobStream(blob.digest, blob.size, offset),
  )
  return 'copied'
}
