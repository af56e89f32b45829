// The single owner of putting a model into a registry: blobs first, then its signatures, and the manifest last, so that no registry ever shows an unsigned model.
import type { Attachment } from './referrers.ts'
import { attach, IMAGE_MANIFEST, once } from './referrers.ts'
import { rawArtifact, tarArtifact, type ModelFile } from './artifact.ts'
import type { Repository } from './client.ts'
import { eachOf } from './parallel.ts'

/** A file that can be read again from any offset, so that a broken upload resumes. */
export interface PushedFile extends ModelFile {
  open(offset: number): AsyncIterable<Uint8Array>
}

export interface PushOptions {
  readonly name: string
  /** Raw layers, one a file; or one tar layer. */
  readonly content: { readonly files: readonly PushedFile[] } | { readonly tar: PushedFile }
  /** What to attach before the manifest is written: at least the model's signature. */
  readonly attachments: readonly Omit<Attachment, 'subject'>[]
  readonly tag?: string
  /** Blobs uploaded at the same time. */
  readonly parallel?: number
  readonly progress?: (sentBytes: number, totalBytes: number) => void
}

export interface Pushed {
  /** `sha256:…` of the model's manifest. */
  readonly digest: string
  readonly attached: readonly string[]
  readonly uploaded: number
  readonly present: number
}

/** Pushes a model. A registry must accept a manifest whose subject does not exist yet (distribution-spec 1.1 §"Pushing manifests with subject"). */
export async function pushModel(repository: Repository, options: PushOptions): Promise<Pushed> {
  const files = 'files' in options.content ? options.content.files : [options.content.tar]
  const artifact =
    'files' in options.content
      ? rawArtifact(options.name, files)
      : tarArtifact(options.name, {
          digest: `sha256:${options.content.tar.sha256}`,
          size: options.content.tar.size,
        })
  const total = files.reduce((sum, file) => sum + file.size, 0)
  const sent = new Map<string, number>()
  const report = (digest: string, bytes: number): void => {
    sent.set(digest, bytes)
    options.progress?.(
      [...sent.values()].reduce((sum, each) => sum + each, 0),
      total,
    )
  }
  // Equal files are one blob.
  const blobs = [...new Map(files.map((file) => [file.sha256, file])).values()]
  let uploaded = 0
  let present = 0
  await eachOf(blobs, options.parallel ?? 4, async (file) => {
    const outcome = await repository.uploadBlob(
      `sha256:${file.sha256}`,
      file.size,
      (offset) => file.open(offset),
      (bytes) => report(file.sha256, bytes),
    )
    report(file.sha256, file.size)
    if (outcome === 'uploaded') uploaded += 1
    else present += 1
  })
  await repository.uploadBlob(artifact.configDigest, artifact.config.length, (offset) =>
    once(artifact.config.subarray(offset)),
  )
  const subject = {
    mediaType: IMAGE_MANIFEST,
    digest: artifact.digest,
    size: artifact.manifest.length,
  }
  const attached: string[] = []
  for (const attachment of options.attachments)
    attached.push(await attach(repository, { ...attachment, subject }))
  await repository.putManifest(artifact.digest, IMAGE_MANIFEST, artifact.manifest)
  if (options.tag !== undefined)
    await repository.putManifest(options.tag, IMAGE_MANIFEST, artifact.manifest)
  return { digest: artifact.digest, attached, uploaded, present }
}
