// The single owner of the mounts of a private copy: a memory file system at the place, files bound into it, and the proof that it is read-only.
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { ZtError } from '../error.ts'
import type { ModelFile, Walk } from '../model/walk.ts'
import type { StagePlan } from './private-copy.ts'
import type { Destination } from './private-copy-files.ts'

const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
/** What a file and its directory entry take in a memory file system, roughly. */
const ENTRY = 16 * 1024
/** There if the kernel takes memory for files in larger pieces where it is told so: less to do for the copy, its end, and the program. */
const HUGE = '/sys/kernel/mm/transparent_hugepage/shmem_enabled'

/** The place as seen from inside. Made of synchronous steps only. */
export class Showroom implements Destination {
  readonly #plan: StagePlan
  readonly #onDisk: boolean
  /** The directory under the mount, still reachable through this. */
  #below = -1
  #root = ''
  #made = new Set<string>()

  constructor(plan: StagePlan) {
    this.#plan = plan
    this.#onDisk = plan.onDisk && plan.mode === 'private-copy'
  }

  /** Mounts. Called when it is known how much there is. @throws ZtError PROTECTION_UNAVAILABLE */
  open({ single }: Pick<Walk, 'single'>, files: readonly ModelFile[]): void {
    if (this.#below >= 0) return
    const { place, name, mode } = this.#plan
    const inMemory = mode === 'private-copy' && !this.#onDisk
    const bytes = files.reduce((sum, { size }) => sum + (inMemory ? size : 0) + ENTRY, 1 << 20)
    if (inMemory) checkMemory(bytes)
    this.#below = openSync(place, DIRECTORY)
    const huge = existsSync(HUGE) ? 'huge=within_size,' : ''
    const options = `${huge}mode=0755,nosuid,nodev,size=${String(bytes)},nr_inodes=0`
    this.#mount(['-t', 'tmpfs', '-o', options, 'zt4ai', place])
    this.#root = single ? place : join(place, name)
    if (!single) mkdirSync(this.#root, { mode: 0o755 })
  }

  create(name: string): number {
    const path = this.#path(name)
    try {
      if (!this.#onDisk) return openSync(path, CREATE, 0o444)
      // On the disk it has a name only until it is bound: what is killed later leaves nothing.
      const below = `/proc/self/fd/${String(this.#below)}/copy`
      const fd = openSync(below, CREATE, 0o444)
      this.bind(fd, name)
      unlinkSync(below)
      return fd
    } catch (cause) {
      if (cause instanceof ZtError) throw cause
      const code = String((cause as { code?: unknown }).code)
      throw new ZtError('PROTECTION_UNAVAILABLE', `the copy can't be made (${code})`, { cause })
    }
  }

  /** Shows an open file, read-only, under a name. The very file: it goes by its descriptor, not by a path. */
  bind(fd: number, name: string): void {
    const path = this.#path(name)
    writeFileSync(path, '', { flag: 'wx' })
    const options = ['--no-canonicalize', '--bind', '-o', 'ro,nosuid,nodev']
    this.#mount([...options, '/proc/self/fd/3', path], fd)
  }

  /** Makes it read-only, and looks whether it is. @throws ZtError PROTECTION_UNAVAILABLE */
  close(): void {
    const { place } = this.#plan
    if (this.#below < 0) throw new ZtError('PROTECTION_UNAVAILABLE', 'there was nothing to copy')
    closeSync(this.#below)
    this.#mount(['-o', 'remount,bind,ro,nosuid,nodev', place])
    for (const { point, options } of mounts())
      if ((point === place || point.startsWith(`${place}/`)) && !options.includes('ro'))
        throw new ZtError('PROTECTION_UNAVAILABLE', 'a mount stayed writable', { path: point })
    if (!mounts().some(({ point }) => point === place))
      throw new ZtError('PROTECTION_UNAVAILABLE', 'the mount is not there', { path: place })
  }

  #path(name: string): string {
    const { name: model } = this.#plan
    const path = join(this.#root, name === '.' ? model : name)
    const parent = dirname(path)
    if (!this.#made.has(parent)) mkdirSync(parent, { recursive: true, mode: 0o755 })
    this.#made.add(parent)
    return path
  }

  #mount(parameters: readonly string[], fd?: number): void {
    const { status, stderr } = spawnSync(this.#plan.mount, ['-n', ...parameters], {
      stdio: ['ignore', 'ignore', 'pipe', ...(fd === undefined ? [] : [fd])],
      encoding: 'utf8',
      env: { LC_ALL: 'C' },
    })
    if (status === 0) return
    throw new ZtError(
      'PROTECTION_UNAVAILABLE',
      `a mount failed (${stderr.trim().split('\n')[0] ?? ''})`,
    )
  }
}

/** The mounts of this namespace: where, and with which options (proc(5), mountinfo). */
function mounts(): { point: string; options: string[] }[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, , , , point = '', options = ''] = line.split(' ')
      const plain = point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      )
      return { point: plain, options: options.split(',') }
    })
}

/** A copy that does not fit into memory would take the machine down with it. */
function checkMemory(bytes: number): void {
  const text = readFileSync('/proc/meminfo', 'latin1')
  const available = Number(/^MemAvailable:\s*(\d+) kB$/m.exec(text)?.[1] ?? Infinity) * 1024
  if (bytes <= available) return
  throw new ZtError(
    'PROTECTION_UNAVAILABLE',
    `a copy in memory takes ${String(bytes)} bytes, and ${String(available)} are available`,
    { hint: 'name a directory on a fast disk with --scratch' },
  )
}
