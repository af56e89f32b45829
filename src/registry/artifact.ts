// The single owner of models as OCI artifacts: the CNCF ModelPack layout that zt4ai writes, and what each foreign layer type holds.
import { sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { FetchedManifest } from './client.ts'
import { shownName } from '../model/name.ts'
import { descriptorOf, descriptorsOf, lookAlike, type Descriptor } from './descriptor.ts'
import { EMPTY_DIGEST, IMAGE_MANIFEST } from './referrers.ts'

const MODEL_ARTIFACT = 'application/vnd.cncf.model.manifest.v1+json'
const MODEL_CONFIG = 'application/vnd.cncf.model.config.v1+json'

const KIT_CONFIG = 'application/vnd.kitops.modelkit.config.v1+json'

/** Where each consumer looks for a layer's path. CRI-O reads `title` first, modctl only `filepath`: they must agree, or two consumers see two models. */
const PATH_ANNOTATIONS = [
  'org.opencontainers.image.title',
  'org.cncf.model.filepath',
  'org.cnai.model.filepath',
] as const

/**
 * Every different path that the annotations of a layer name. Ollama's layers have none: there the type says what each is for, so a layer is
 * the file of that name (`model`, `template`, `params` …).
 */
export function pathsNamed(layer: Descriptor): readonly string[] {
  const named = PATH_ANNOTATIONS.flatMap((key) => layer.annotations?.[key] ?? [])
  const role = OLLAMA_FILE.exec(layer.mediaType)?.[1]
  return named.length === 0 && role !== undefined ? [role] : [...new Set(named)]
}

const OLLAMA_FILE =
  /^application\/vnd\.ollama\.image\.(model|projector|adapter|template|system|params|license|messages)$/

/** A file of a model, as it becomes a layer. */
export interface ModelFile {
  readonly path: string
  readonly size: number
  /** Lower-case hex. */
  readonly sha256: string
}

type Kind = 'weight' | 'weight.config' | 'doc' | 'code' | 'dataset'

/** ModelPack's kind of a file, by name: it only helps people who browse, nothing is decided by it. */
export function kindOf(path: string): Kind {
  const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase()
  if (/\.(md|txt|rst|pdf)$/.test(name) || /^(licen[cs]e|readme|notice)/.test(name)) return 'doc'
  if (/\.(py|ipynb|sh|js|ts|cpp|c|h|rs|go)$/.test(name)) return 'code'
  if (/\.(json|yaml|yml|toml|ini|jinja|model|vocab|merges)$/.test(name)) return 'weight.config'
  if (/\.(csv|parquet|jsonl|arrow)$/.test(name)) return 'dataset'
  return 'weight'
}

/** The manifest and config of a model whose files are raw layers, one each, in the order given. The same files give the same bytes. */
export function rawArtifact(
  name: string,
  files: readonly ModelFile[],
): { manifest: Uint8Array; digest: string; config: Uint8Array; configDigest: string } {
  const config = utf8Encode(
    JSON.stringify({
      descriptor: { name },
      config: {},
      modelfs: { type: 'layers', diffIds: files.map((file) => `sha256:${file.sha256}`) },
    }),
  )
  const layers = files.map((file) =>
    layerOf(
      `application/vnd.cncf.model.${kindOf(file.path)}.v1.raw`,
      `sha256:${file.sha256}`,
      file.size,
      file.path,
    ),
  )
  return { ...modelManifest(config, layers), config }
}

/** The same with one tar layer: `files` name what lies in it, `tar` is the layer. For consumers that know no raw layers. */
export function tarArtifact(
  name: string,
  tar: { digest: string; size: number },
): { manifest: Uint8Array; digest: string; config: Uint8Array; configDigest: string } {
  const config = utf8Encode(
    JSON.stringify({
      descriptor: { name },
      config: {},
      modelfs: { type: 'layers', diffIds: [tar.digest] },
    }),
  )
  const layer: Descriptor = {
    mediaType: 'application/vnd.cncf.model.weight.v1.tar',
    digest: tar.digest,
    size: tar.size,
  }
  return { ...modelManifest(config, [layer]), config }
}

function modelManifest(
  config: Uint8Array,
  layers: readonly Descriptor[],
): { manifest: Uint8Array; digest: string; configDigest: string } {
  const configDigest = `sha256:${sha256Hex(config)}`
  const manifest = utf8Encode(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: IMAGE_MANIFEST,
      artifactType: MODEL_ARTIFACT,
      config: { mediaType: MODEL_CONFIG, digest: configDigest, size: config.length },
      layers,
    }),
  )
  return { manifest, digest: `sha256:${sha256Hex(manifest)}`, configDigest }
}

function layerOf(mediaType: string, digest: string, size: number, path: string): Descriptor {
  return {
    mediaType,
    digest,
    size,
    annotations: { 'org.opencontainers.image.title': path, 'org.cncf.model.filepath': path },
  }
}

/** What a layer holds, by its media type; `unknown` is never opened. */
export type LayerForm = 'file' | 'tar' | 'tar+gzip' | 'unknown'

const FILE_TYPES = [
  /^application\/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.raw$/,
  OLLAMA_FILE,
]
const TAR_TYPES = [
  /^application\/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.tar$/,
  /^application\/vnd\.kitops\.modelkit\.(model|modelpart|dataset|code|docs)\.v1\.tar$/,
  /^application\/vnd\.oci\.image\.layer\.v1\.tar$/,
]
const GZIP_TYPES = [
  /^application\/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.tar\+gzip$/,
  /^application\/vnd\.kitops\.modelkit\.(model|modelpart|dataset|code|docs)\.v1\.tar\+gzip$/,
  /^application\/vnd\.oci\.image\.layer\.v1\.tar\+gzip$/,
  /^application\/vnd\.docker\.image\.rootfs\.diff\.tar\.gzip$/,
]

export function layerForm(mediaType: string): LayerForm {
  if (FILE_TYPES.some((type) => type.test(mediaType))) return 'file'
  if (TAR_TYPES.some((type) => type.test(mediaType))) return 'tar'
  if (GZIP_TYPES.some((type) => type.test(mediaType))) return 'tar+gzip'
  return 'unknown'
}

/** How a manifest carries a model. */
export type ArtifactKind = 'modelpack' | 'modelkit' | 'ollama' | 'image' | 'other'

export interface Artifact {
  readonly kind: ArtifactKind
  readonly config: Descriptor
  readonly layers: readonly Descriptor[]
}

const IMAGE_CONFIGS = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
]
const CONFIGS: Readonly<Record<ArtifactKind, readonly string[]>> = {
  modelpack: [MODEL_CONFIG],
  modelkit: [KIT_CONFIG],
  ollama: IMAGE_CONFIGS,
  image: IMAGE_CONFIGS,
  other: [],
}

/** True where the config is empty, or of the type that goes with the layers: no signature over files covers what is in it. */
export function configKnown({ kind, config }: Artifact): boolean {
  return config.digest === EMPTY_DIGEST || CONFIGS[kind].includes(config.mediaType)
}

/** Reads an image manifest as a model's. An index of several images is refused: which of them would run? */
export function readArtifact(manifest: FetchedManifest): Artifact {
  const config = descriptorOf(manifest.json['config'])
  const layers = descriptorsOf(manifest.json, 'layers')
  if (config === undefined || manifest.json['manifests'] !== undefined) {
    throw new ZtError('ARTIFACT_INVALID', 'this is not the manifest of one artifact', {
      path: manifest.digest,
      hint: 'an index names several images: give the digest of the one that will run',
    })
  }
  const other = lookAlike(manifest.json)
  if (other !== undefined) {
    throw new ZtError(
      'ARTIFACT_INVALID',
      `the manifest has a member ${shownName(JSON.stringify(other.slice(0, 40)))}, which other readers take for one in other letters`,
      { path: manifest.digest, hint: 'push the model again with zt4ai push' },
    )
  }
  return { kind: kindOfArtifact(config, layers), config, layers }
}

function kindOfArtifact(config: Descriptor, layers: readonly Descriptor[]): ArtifactKind {
  const every = (prefix: string): boolean =>
    layers.length > 0 && layers.every((layer) => layer.mediaType.startsWith(prefix))
  if (config.mediaType === MODEL_CONFIG || every('application/vnd.cncf.model.')) return 'modelpack'
  if (config.mediaType === KIT_CONFIG) return 'modelkit'
  if (layers.some((layer) => layer.mediaType.startsWith('application/vnd.ollama.'))) return 'ollama'
  return IMAGE_CONFIGS.includes(config.mediaType) ? 'image' : 'other'
}
