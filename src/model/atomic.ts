// The single owner of writing a file whole or not at all.
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ZtError } from '../error.ts'

/**
 * Writes `bytes` to `path`: into a new file beside it, flushed to the disk, then renamed over it. Nothing half-written is ever at `path`, and
 * if anything fails nothing is left. No signal handler can run in between: everything here is synchronous. What a process that was
 * killed has left is removed.
 * @param mode permissions, where the umask leaves them
 * @throws ZtError IO
 */
export function writeAtomically(path: string, bytes: Uint8Array, mode = 0o644): void {
  const directory = dirname(path)
  removeLeftovers(path)
  const writer = `${process.pid}-${startOf(process.pid)}-${randomBytes(6).toString('hex')}`
  const temporary = join(directory, `.${basename(path)}.${writer}.tmp`)
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

/** Removes new files for `path` whose writer was killed before it could rename them. */
export function removeLeftovers(path: string): void {
  const directory = dirname(path)
  const prefix = `.${basename(path)}.`
  let names: string[]
  try {
    names = readdirSync(directory)
  } catch {
    return // writing will say why
  }
  for (const name of names) {
    if (!name.startsWith(prefix)) continue
    const writer = /^(\d{1,10})-(\d{1,20})-[0-9a-f]{12}\.tmp$/.exec(name.slice(prefix.length))
    if (writer !== null && startOf(Number(writer[1])) !== writer[2])
      rmSync(join(directory, name), { force: true })
  }
}

/** When a process started, in ticks (proc(5), stat): with its number it is one process. `0` where that is not known. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '0'
  } catch {
    return '0'
  }
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
