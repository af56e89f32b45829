// The single owner of the directory in which a protected model is shown: claimed by a lock, removed at the end, and swept by the next start if its owner was killed.
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { ZtError } from '../error.ts'
import type { Tools } from './protect-tools.ts'

const PREFIX = 'zt4ai-run-'
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

/** A directory that is ours as long as this process lives. */
export interface Place {
  /** Absolute. */
  readonly path: string
  /** Gives it up and removes it with whatever is in it. */
  release(): void
}

/**
 * Claims a new directory in `base`. The claim is a lock on the directory itself (flock), which the kernel gives back however this process
 * ends; process ids would not do, since containers share disks and not process ids.
 * @throws ZtError PROTECTION_UNAVAILABLE
 */
export function claimPlace(base: string, tools: Tools): Place {
  checkBase(base)
  sweepPlaces(base, tools)
  // Once more if a sweep of another process came between making and locking.
  for (let attempt = 0; attempt < 8; attempt++) {
    const path = make(base)
    const fd = lockDirectory(path, tools)
    if (fd === null) continue
    return {
      path,
      release: () => {
        rmSync(path, { recursive: true, force: true })
        closeSync(fd)
      },
    }
  }
  throw new ZtError('PROTECTION_UNAVAILABLE', 'no directory could be claimed', { path: base })
}

/**
 * Removes what killed processes left in `base`. Their copies have no names and their mounts are gone with them, so these are empty
 * directories, or a file that was about to lose its name.
 */
export function sweepPlaces(base: string, tools: Tools): void {
  const own = process.getuid?.()
  for (const name of readdirSync(base)) {
    if (!name.startsWith(PREFIX)) continue
    const path = join(base, name)
    try {
      const stats = lstatSync(path)
      if (!stats.isDirectory() || stats.uid !== own) continue
      const fd = lockDirectory(path, tools)
      if (fd === null) continue
      rmSync(path, { recursive: true, force: true })
      closeSync(fd)
    } catch {
      // somebody else sweeps at the same time
    }
  }
}

/** Where others can rename what is ours, nothing is protected. */
function checkBase(base: string): void {
  let problem: string
  try {
    const stats = statSync(base)
    const own = process.getuid?.() ?? -1
    const others = (stats.mode & 0o022) !== 0 && (stats.mode & 0o1000) === 0
    if (!stats.isDirectory()) problem = 'it is no directory'
    else if (others) problem = 'others can rename what is in it'
    else if (stats.uid !== own && stats.uid !== 0 && (stats.mode & 0o1000) === 0)
      problem = 'it belongs to somebody else'
    else return
  } catch (cause) {
    problem = String((cause as { code?: unknown }).code)
  }
  throw new ZtError('PROTECTION_UNAVAILABLE', `nothing can be protected here: ${problem}`, {
    path: base,
    hint: 'name a directory of your own with --scratch, or set TMPDIR',
  })
}

function make(base: string): string {
  try {
    return mkdtempSync(join(base, PREFIX))
  } catch (cause) {
    const code = String((cause as { code?: unknown }).code)
    throw new ZtError('PROTECTION_UNAVAILABLE', `no directory can be made here (${code})`, {
      path: base,
      cause,
    })
  }
}

/** An open, locked directory; null if another process holds it or it is gone. The lock belongs to the open file, so it outlives the program that took it. */
function lockDirectory(path: string, tools: Tools): number | null {
  const flock = tools.need('flock')
  let fd: number
  try {
    fd = openSync(path, DIRECTORY)
  } catch {
    return null
  }
  const { status } = spawnSync(flock, ['--exclusive', '--nonblock', '3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd],
  })
  if (status === 0 && same(fd, path)) return fd
  closeSync(fd)
  return null
}

function same(fd: number, path: string): boolean {
  try {
    const [opened, named] = [fstatSync(fd), lstatSync(path)]
    return opened.ino === named.ino && opened.dev === named.dev
  } catch {
    return false
  }
}
