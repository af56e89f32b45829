// The single owner of descriptors as a manifest lists them (image-spec 1.1 "Content Descriptors"): strictly read, and believed in nothing but their digests.
import { ZtError } from '../error.ts'
import { isDigest } from './reference.ts'

export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  /** As the manifest says: a claim, never trusted. */
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
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
export function textsOf(annotations: unknown): Readonly<Record<string, string>> | undefined {
  if (annotations === undefined || annotations === null) return {}
  if (typeof annotations !== 'object') return undefined
  const texts = Object.entries(annotations)
  return texts.every(([, text]) => typeof text === 'string') ? Object.fromEntries(texts) : undefined
}

/** Members that readers of manifests know (image-spec 1.1 "Image Manifest", "Image Index", "Content Descriptors"). */
const MANIFEST_MEMBERS = [
  'schemaVersion',
  'mediaType',
  'artifactType',
  'config',
  'layers',
  'manifests',
  'subject',
  'annotations',
] as const
const DESCRIPTOR_MEMBERS = [
  'mediaType',
  'digest',
  'size',
  'urls',
  'annotations',
  'data',
  'platform',
  'artifactType',
] as const

/**
 * A member of a manifest, or of a descriptor in it, that other readers take for another one; undefined if there is none. Go's encoding/json,
 * with which runtimes and registries read, finds members without regard to letter case and takes the last: `Layers` beside `layers` would be
 * the model that they run.
 */
export function lookAlike(manifest: Readonly<Record<string, unknown>>): string | undefined {
  const descriptors = [manifest['config'], manifest['layers']].flat()
  return (
    unlike(manifest, MANIFEST_MEMBERS) ??
    descriptors.map((one) => unlike(one, DESCRIPTOR_MEMBERS)).find((name) => name !== undefined)
  )
}

function unlike(value: unknown, known: readonly string[]): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  // Upper case first: Go folds the long s and the Kelvin sign as well.
  const fold = (name: string): string => name.toUpperCase().toLowerCase()
  const folded = new Set(known.map(fold))
  return Object.keys(value).find((name) => folded.has(fold(name)) && !known.includes(name))
}
