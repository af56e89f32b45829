// The single owner of opening what lies in a model: one component at a time, so that a link swapped in on the way is never followed.
import { closeSync, constants, existsSync, lstatSync, openSync, type BigIntStats } from 'node:fs'
import { join } from 'node:path'

/**
 * What identifies one state of one file: device, inode, size in bytes, modification and change time in nanoseconds.
 * Writing through a memory map may reach the times late; nothing short of a private copy or fs-verity closes that gap.
 */
export type Stamp = string

export function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): Stamp {
  // One flat string: a template would be kept as a tree of its pieces, four times as large.
  return [dev, ino, size, mtimeNs, ctimeNs].join(':')
}

// Node has no openat. On Linux /proc/self/fd/N/name is the same thing: the kernel starts at the open directory, whatever its path has become.
const BY_DESCRIPTOR = process.platform === 'linux' && existsSync('/proc/self/fd')
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
// O_NONBLOCK: a FIFO swapped in must not hang the open; it has no effect on regular files.
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY

/**
 * A model's root, held open. Holds at most one more directory open, so that neighbours are opened quickly.
 * Where there is no /proc (not Linux), every component is lstat-ed instead: a link that is swapped in between that look and the open is
 * followed; this is the documented limit of those systems.
 */
export class Anchor {
  readonly root: string
  readonly #rootFd: number
  #dir = ''
  #dirFd: number

  /** `root` is a real path (no links in it). Throws the system's error if it is not a directory. */
  constructor(root: string) {
    this.root = root
    this.#rootFd = BY_DESCRIPTOR ? openSync(root, DIRECTORY) : -1
    this.#dirFd = this.#rootFd
  }

  /** A path that reaches the directory `dir` (relative, '' is the root) without following a link; valid until the next call. */
  directory(dir: string): string {
    if (dir !== this.#dir) this.#enter(dir)
    return BY_DESCRIPTOR ? `/proc/self/fd/${this.#dirFd}` : join(this.root, this.#dir)
  }

  /** A path that reaches `file` through its directory; only its last component can be a link. Valid until the next call. */
  path(file: string): string {
    const cut = file.lastIndexOf('/')
    return `${this.directory(cut < 0 ? '' : file.slice(0, cut))}/${cut < 0 ? file : file.slice(cut + 1)}`
  }

  /** Opens a file for reading. Throws the system's error: ELOOP for a link, ENOENT, EACCES, ENOTDIR. */
  openFile(file: string): number {
    return openSync(this.path(file), FILE)
  }

  close(): void {
    this.#leave()
    if (BY_DESCRIPTOR) closeSync(this.#rootFd)
  }

  #leave(): void {
    if (this.#dirFd !== this.#rootFd) closeSync(this.#dirFd)
    this.#dirFd = this.#rootFd
    this.#dir = ''
  }

  #enter(dir: string): void {
    this.#leave()
    if (dir === '') return
    let walked = ''
    for (const part of dir.split('/')) {
      walked = walked === '' ? part : `${walked}/${part}`
      if (BY_DESCRIPTOR) {
        const next = openSync(`/proc/self/fd/${this.#dirFd}/${part}`, DIRECTORY)
        if (this.#dirFd !== this.#rootFd) closeSync(this.#dirFd)
        this.#dirFd = next
      } else if (!lstatSync(join(this.root, walked)).isDirectory()) {
        throw Object.assign(new Error(`ENOTDIR: ${walked} is not a directory`), { code: 'ENOTDIR' })
      }
      this.#dir = walked
    }
  }
}
