// The single owner of where a model's signature lies, and of reading one from there.
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { ZtError } from '../error.ts'
import { MAX_BUNDLE } from './bundle.ts'

/** The name of a signature inside its model. */
export const SIGNATURE_NAME = 'model.sig'

/** `MODEL/model.sig` for a directory, `MODEL.sig` for a file (OMS v1.0 §9: beside the model). */
export function defaultSignature(model: string): string {
  let directory: boolean
  try {
    directory = statSync(model).isDirectory()
  } catch (cause) {
    throw new ZtError('MODEL_NOT_FOUND', 'there is nothing at this path', { path: model, cause })
  }
  return directory ? join(model, SIGNATURE_NAME) : `${model}.sig`
}

/**
 * `file` relative to the model's root, `/` between its parts; null if it lies outside, or the model is one file. Links in the directories
 * above the file are followed, the file itself is not: it need not exist.
 */
export function inModel(model: string, file: string): string | null {
  const root = realpathSync(model)
  if (!statSync(root).isDirectory()) return null
  const path = relative(root, join(realDirectory(dirname(resolve(file))), basename(file)))
  const inside = path !== '' && path !== '..' && !path.startsWith(`..${sep}`)
  return inside ? path.split(sep).join('/') : null
}

function realDirectory(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/**
 * Refuses to write a signature over anything but an earlier one (or an empty file that holds its place): a slip must not cost a model's own
 * file, or a key.
 * @throws ZtError USAGE
 */
export function checkPlace(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (stats === undefined || stats.isSymbolicLink()) return // the writer replaces the link, never what it leads to
  const isSignature = (): boolean => {
    const bytes = readSignature(path)
    return bytes !== null && Buffer.from(bytes).includes('"dsseEnvelope"')
  }
  if (stats.isFile() && (stats.size === 0 || (stats.size <= MAX_BUNDLE && isSignature()))) return
  throw new ZtError('USAGE', 'where the signature would go lies something that is no signature', {
    path,
    hint: 'name another place with --signature, or remove what lies there',
  })
}

/**
 * Reads a signature; null if there is none.
 * @throws ZtError IO if it can't be read, TOO_LARGE
 */
export function readSignature(path: string): Uint8Array | null {
  let fd: number
  try {
    // a FIFO must not hang the open
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    const code = (cause as { code?: unknown }).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw new ZtError('IO', `the signature can't be read (${String(code)})`, { path, cause })
  }
  try {
    const stats = fstatSync(fd)
    if (!stats.isFile()) throw new ZtError('IO', 'the signature is not a file', { path })
    if (stats.size > MAX_BUNDLE)
      throw new ZtError('TOO_LARGE', `the signature is larger than ${MAX_BUNDLE} bytes`, { path })
    const bytes = new Uint8Array(stats.size)
    let read = 0
    while (read < bytes.length) {
      const count = readSync(fd, bytes, read, bytes.length - read, read)
      if (count === 0) break
      read += count
    }
    return bytes.subarray(0, read)
  } finally {
    closeSync(fd)
  }
}
