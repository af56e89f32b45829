// The single owner of what the model on a command line is: a path on disk, an archive, or an archive on standard input.
import { statSync } from 'node:fs'
import { basename } from 'node:path'
import { ZtError } from '../error.ts'
import type { Progress, ProgressLine } from './progress.ts'

/** A tar or tar.gz that is read once. */
export interface Archive {
  readonly stream: AsyncIterable<Uint8Array>
  /** Its own path, where it is on disk. */
  readonly file?: string
  /** What the model is called: the archive's name without its ending. */
  readonly name: string
  readonly signature: string
  /** Packed bytes, where they are known. */
  readonly totalBytes?: number
}

const ENDING = /\.(?:tar|tgz|tar\.gz)$/i

/**
 * The archive that `model` is, or null for a directory or a plain file. `-` is standard input, and needs to be told where the signature is.
 * @throws ZtError USAGE
 */
export async function openArchive(
  model: string,
  signature: string | undefined,
): Promise<Archive | null> {
  if (model === '-') {
    if (signature === undefined)
      throw new ZtError('USAGE', 'a model on standard input needs --signature')
    return { stream: process.stdin, name: nameOf(signature.replace(/\.sig$/, '')), signature }
  }
  // the name first: the code that reads archives is not loaded for every model
  if (!ENDING.test(model)) return null
  const { looksLikeTar, readTar } = await import('../model/tar.ts')
  if (!looksLikeTar(model)) return null
  return {
    stream: readTar(model),
    file: model,
    name: nameOf(model),
    signature: signature ?? `${model}.sig`,
    totalBytes: statSync(model).size,
  }
}

/** What `onProgress` is told while an archive is read: packed bytes, and their total where it is known. */
export function archiveProgress(
  { totalBytes }: Archive,
  onProgress: ProgressLine['onProgress'],
): { onProgress?: (progress: Progress) => void } {
  if (onProgress === undefined) return {}
  const total = totalBytes === undefined ? {} : { totalBytes }
  return {
    onProgress: ({ bytes }) => {
      onProgress({ bytes, ...total })
    },
  }
}

function nameOf(path: string): string {
  return basename(path).replace(ENDING, '') || 'model'
}
