// The single owner of a model in a registry as a source of facts: decided from manifests alone where that is sound, else streamed.
import type { NamedBytes } from '../../attestation/index.ts'
import { ZtError } from '../error.ts'
import type { Comparison } from '../model/compare.ts'
import type { Manifest } from '../model/manifest.ts'
import type { FileFormat, FilesFact } from '../policy/facts.ts'
import { readArtifact, type Artifact } from '../registry/artifact.ts'
import type { FetchedManifest, Repository } from '../registry/client.ts'
import { compareLayers, compareStreamed, whyNotFromManifest } from '../registry/layers.ts'
import { formatReference, manifestPart, type Reference } from '../registry/reference.ts'
import { fetchBundles, fetchEvidence, fetchReferrers } from '../registry/referrers.ts'
import type { CompareRequest, ModelSource } from './question.ts'

export interface RegistrySource extends ModelSource {
  /** The reference with the digest that was resolved: what must be deployed, whatever the tag says later. */
  readonly pinned: Reference & { readonly digest: string }
  readonly manifest: FetchedManifest
  readonly artifact: Artifact
  evidence(request: CompareRequest): Promise<readonly NamedBytes[]>
}

export interface RegistrySourceOptions {
  /** Never read a layer: a model that its manifest can't decide about is not compared. For admission, which has milliseconds. */
  readonly manifestOnly?: boolean
  /** Read the layers even where the manifest is enough. */
  readonly alwaysStream?: boolean
  readonly name?: string
}

/**
 * Resolves a reference once and gives the model behind it.
 * @throws ZtError REGISTRY_NOT_FOUND, ARTIFACT_INVALID, and what the client throws
 */
export async function registrySource(
  repository: Repository,
  reference: Reference,
  options: RegistrySourceOptions = {},
): Promise<RegistrySource> {
  // Where milliseconds count, what is attached is asked for together with the manifest: both are found by the digest.
  let listed: ReturnType<typeof fetchReferrers> | undefined
  const referrers = (digest: string): ReturnType<typeof fetchReferrers> =>
    (listed ??= fetchReferrers(repository, digest))
  const bundlesOf = (digest: string): ReturnType<typeof fetchBundles> =>
    fetchBundles(repository, digest, referrers(digest))
  const early =
    options.manifestOnly === true && reference.digest !== undefined
      ? bundlesOf(reference.digest)
      : undefined
  // Whoever asks for the bundles gets the error; without a manifest nobody does.
  early?.catch(() => undefined)
  const manifest = await repository.manifest(manifestPart(reference))
  if (manifest === undefined) {
    throw new ZtError('REGISTRY_NOT_FOUND', 'the registry has no such model', {
      path: formatReference(reference),
    })
  }
  const artifact = readArtifact(manifest)
  const pinned = { ...reference, digest: manifest.digest }
  const name = options.name ?? reference.repository.slice(reference.repository.lastIndexOf('/') + 1)
  return {
    pinned,
    manifest,
    artifact,
    subject: { name, reference: formatReference(pinned) },
    async bundles(): Promise<readonly NamedBytes[]> {
      const found = await (early ?? bundlesOf(manifest.digest))
      return found.map(({ digest, bytes }) => ({
        name: `${formatReference(pinned)} referrer ${digest}`,
        bytes,
      }))
    },
    async evidence(): Promise<readonly NamedBytes[]> {
      try {
        const { digest } = manifest
        const found = await fetchEvidence(repository, digest, referrers(digest))
        return found.map((one) => ({ name: one.digest, bytes: one.bytes }))
      } catch (error) {
        throw unavailable(error, formatReference(pinned))
      }
    },
    async compare(model: Manifest, request: CompareRequest): Promise<FilesFact | null> {
      const why = whyNotFromManifest(artifact, model)
      if (why === undefined && options.alwaysStream !== true) {
        return factOf(model, await compareLayers(artifact, model), 'raw-bijection')
      }
      if (options.manifestOnly === true) return null
      const { signal, onProgress } = request
      const total = artifact.layers.reduce((sum, { size }) => sum + size, 0)
      const comparison = await compareStreamed(repository, artifact, model, {
        ...(signal === undefined ? {} : { signal }),
        ...(onProgress === undefined
          ? {}
          : {
              onBytes: (bytes) =>
                onProgress({
                  bytes,
                  totalBytes: total,
                  pieces: 0,
                  totalPieces: artifact.layers.length,
                }),
            }),
      })
      return factOf(model, comparison, 'streamed')
    },
    whole(): Promise<readonly FilesFact[]> {
      const result = {
        missing: [],
        extra: [],
        changed: [],
        ignored: [],
        files: 0,
        bytes: 0,
        checks: [],
      }
      const root = manifest.digest.slice('sha256:'.length)
      return Promise.resolve([
        { root, manifest: null, route: 'manifest-digest', result, formats: [] },
      ])
    },
  }
}

/** What a registry does not send is neither there nor missing: no verdict, and so no refusal that anybody may keep. */
function unavailable(error: unknown, path: string): unknown {
  if (!(error instanceof ZtError) || ['INTERRUPTED', 'TOO_LARGE'].includes(error.code)) return error
  const where = error.path === undefined ? '' : ` (${error.path})`
  return new ZtError(
    'EVIDENCE_UNAVAILABLE',
    `the evidence attached to the model can't be read: ${error.code}: ${error.message}${where}`,
    { path, hint: error.hint ?? 'try again, or give evidence with --evidence FILE', cause: error },
  )
}

function factOf(
  model: Manifest,
  comparison: Comparison,
  route: 'raw-bijection' | 'streamed',
): FilesFact {
  const { contents, ...result } = comparison
  const basis = route === 'streamed' ? 'content' : 'name'
  const formats = [...contents].map(([name, content]): FileFormat => ({ ...content, name, basis }))
  return { root: model.root, manifest: model, route, result, formats }
}
