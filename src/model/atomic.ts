// The single owner of writing a file whole or not at all.
import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ZtError } from '../error.ts'

/**
 * Writes `bytes` to `path`: into a new file beside it, flushed to the disk, then renamed over it. Nothing half-written is ever at `path`, and
 * if anything fails nothing is left. No signal handler can run in between: everything here is synchronous.
 * @param mode permissions, where the umask leaves them
 * @throws ZtError IO
 */
export function writeAtomically(path: string, bytes: Uint8Array, mode = 0o644): void {
  const directory = dirname(path)
  const temporary = join(directory, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`)
  try {
    const fd = openSync(temporary, 'wx', mode)
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, path)
  } catch (cause) {
    rmSync(temporary, { force: true })
    const code = String((cause as { code?: unknown }).code)
    throw new ZtError('IO', `the file can't be written (${code})`, { path, cause })
  }
  flushDirectory(directory)
}

/** The rename is on the disk only when the directory is. Not every system can flush one; then it is late, never half. */
function flushDirectory(directory: string): void {
  try {
    const fd = openSync(directory, 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch {
    // see above
  }
}
