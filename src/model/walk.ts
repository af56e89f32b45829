// The single owner of finding a model's files: what belongs to it, what is left out, and what can not be part of a model.
import { isUtf8 } from 'node:buffer'
import {
  lstatSync,
  opendirSync,
  realpathSync,
  statSync,
  type BigIntStats,
  type Dirent,
} from 'node:fs'
import { basename, dirname, relative, sep } from 'node:path'
import { setImmediate as pause } from 'node:timers/promises'
import type { Code } from '../codes.ts'
import { ZtError } from '../error.ts'
import type { Check } from '../verdict.ts'
import { compareNames, DEFAULT_IGNORES, ignoredPath, nameProblem, shownName } from './name.ts'
import { Anchor, stampOf, type Stamp } from './open.ts'
import { entryProblem } from './problem.ts'

/** One regular file of a model. */
export interface ModelFile {
  /** As signed: relative to the root, `/` between the parts, the bytes on disk as UTF-8. */
  readonly name: string
  /** Where its bytes lie, relative to `Walk.root`, without a link in it. Differs from `name` only behind an allowed link. */
  readonly source: string
  /** Bytes. */
  readonly size: number
  /** The state in which it was seen; hashing refuses any other. */
  readonly stamp: Stamp
}

export interface Walk {
  /** Real path of the directory that every `source` is relative to. */
  readonly root: string
  /** The model's name: the last component of the path that was given. */
  readonly name: string
  /** True if the model is one file. */
  readonly single: boolean
  /** In the order of their names. */
  readonly files: readonly ModelFile[]
  /** What lies under `reportIgnored`, in the order of the names. */
  readonly ignored: readonly string[]
  /** Everything that can not be part of a model; empty if the model is sound. */
  readonly checks: readonly Check[]
}

export interface WalkOptions {
  /** Follow links that stay within the model (OMS v1.0 §6.1.1). Default: every link is refused. */
  readonly allowSymlinks?: boolean
  /** Paths relative to the root, exact or the prefix of a directory. */
  readonly ignorePaths?: readonly string[]
  /** Also left out, but what lies there is listed: what a signer chose to leave out. */
  readonly reportIgnored?: readonly string[]
  /** Leave out `.git`, `.gitattributes`, `.github`, `.gitignore` at the top. Default true. */
  readonly defaultIgnores?: boolean
  /** Default 1,000,000 entries, and 256 levels of directories. */
  readonly maxEntries?: number
  readonly maxDepth?: number
  readonly signal?: AbortSignal
}

interface Place {
  readonly name: string
  readonly source: string
  readonly depth: number
  readonly above: Place | null
}

/**
 * Lists the files of a model (a directory, or one file). Never follows a link unless asked, never normalises a name. All problems are
 * collected in `checks`; the walk goes on. OMS v1.0 §6.1, §6.2.
 * @throws ZtError MODEL_NOT_FOUND, FILE_UNREADABLE, MODEL_TOO_LARGE, USAGE (an ignored path that the specification forbids), INTERRUPTED
 */
export async function walkModel(path: string, options: WalkOptions = {}): Promise<Walk> {
  const { real, stats } = resolveModel(path)
  const name = basename(path.replace(/(?:\/+\.?)+$/, '')) || basename(real)
  const shown = name === '.' || name === '..' ? basename(real) : name
  if (!stats.isDirectory()) return singleFile(real, shown, stats)
  const walker = new Walker(real, options)
  try {
    await walker.run()
  } finally {
    walker.anchor.close()
  }
  if (walker.files.length === 0 && walker.checks.length === 0)
    walker.checks.push({
      id: 'model.files',
      status: 'fail',
      code: 'MODEL_EMPTY',
      message: 'the model has no files',
      expected: 'at least one file',
      actual: 'none',
      hint: 'a signature over nothing proves nothing: check the path and the ignored paths',
    })
  walker.files.sort((a, b) => compareNames(a.name, b.name))
  walker.ignored.sort(compareNames)
  return {
    root: real,
    name: shown,
    single: false,
    files: walker.files,
    ignored: walker.ignored,
    checks: walker.checks,
  }
}

/**
 * Finds just the named files, component by component, without listing anything else. A name that is not there is in `missing`.
 * @throws ZtError MODEL_NOT_FOUND, FILE_UNREADABLE
 */
export function locateFiles(
  path: string,
  names: readonly string[],
  options: { readonly allowSymlinks?: boolean } = {},
): Walk & { readonly missing: readonly string[] } {
  const { real, stats } = resolveModel(path)
  const name = basename(real)
  if (!stats.isDirectory()) {
    const walk = singleFile(real, basename(path), stats)
    return { ...walk, missing: names.filter((wanted) => wanted !== walk.files[0]?.name) }
  }
  const walker = new Walker(real, options)
  const missing: string[] = []
  try {
    for (const wanted of names)
      if (nameProblem(wanted) !== null || !walker.locate(wanted)) missing.push(wanted)
  } finally {
    walker.anchor.close()
  }
  walker.files.sort((a, b) => compareNames(a.name, b.name))
  const { files, checks } = walker
  return { root: real, name, single: false, files, ignored: [], checks, missing }
}

function resolveModel(path: string): { real: string; stats: BigIntStats } {
  try {
    const real = realpathSync(path)
    return { real, stats: lstatSync(real, { bigint: true }) }
  } catch (cause) {
    throw systemError(cause, path)
  }
}

function systemError(cause: unknown, path: string): ZtError {
  const code = (cause as { code?: unknown }).code
  const absent = code === 'ENOENT' || code === 'ENOTDIR'
  return new ZtError(
    absent ? 'MODEL_NOT_FOUND' : 'FILE_UNREADABLE',
    absent ? 'there is nothing at this path' : `can not be read (${String(code)})`,
    { path, cause },
  )
}

function singleFile(real: string, name: string, stats: BigIntStats): Walk {
  const files: ModelFile[] = []
  const checks: Check[] = []
  if (stats.isFile())
    files.push({
      name,
      source: basename(real),
      size: Number(stats.size),
      stamp: stampOf(stats),
    })
  else checks.push(special(name, stats))
  return { root: dirname(real), name, single: true, files, ignored: [], checks }
}

function special(name: string, entry: BigIntStats | Dirent<Buffer>): Check {
  const kind = entry.isFIFO()
    ? 'a FIFO'
    : entry.isSocket()
      ? 'a socket'
      : entry.isBlockDevice() || entry.isCharacterDevice()
        ? 'a device'
        : 'of an unknown kind'
  return entryProblem('FILE_SPECIAL', name, `is ${kind}; a model has only files and directories`, {
    expected: 'a regular file',
    actual: kind,
  })
}

class Walker {
  readonly anchor: Anchor
  readonly files: ModelFile[] = []
  readonly ignored: string[] = []
  readonly checks: Check[] = []
  readonly #root: string
  readonly #options: WalkOptions
  readonly #skip: ReadonlySet<string>
  readonly #report: ReadonlySet<string>
  readonly #maxEntries: number
  readonly #maxDepth: number
  readonly #queue: Place[] = []
  #entries = 0

  constructor(root: string, options: WalkOptions) {
    this.#root = root
    this.#options = options
    const defaults = options.defaultIgnores === false ? [] : DEFAULT_IGNORES
    this.#skip = new Set([...defaults, ...ignoreList(options.ignorePaths)])
    this.#report = new Set(ignoreList(options.reportIgnored).filter((p) => !this.#skip.has(p)))
    this.#maxEntries = options.maxEntries ?? 1_000_000
    this.#maxDepth = options.maxDepth ?? 256
    try {
      this.anchor = new Anchor(root)
    } catch (cause) {
      throw systemError(cause, root)
    }
  }

  async run(): Promise<void> {
    this.#queue.push({ name: '', source: '', depth: 0, above: null })
    let sincePause = 0
    // Depth first, so that few directories wait at any time.
    for (let place = this.#queue.pop(); place !== undefined; place = this.#queue.pop()) {
      const before = this.#entries
      this.#directory(place)
      sincePause += this.#entries - before + 1
      if (sincePause < 4096) continue
      sincePause = 0
      await pause()
      if (this.#options.signal?.aborted === true)
        throw new ZtError('INTERRUPTED', 'interrupted while listing the model')
    }
  }

  #directory(place: Place): void {
    let dir
    try {
      dir = opendirSync(this.anchor.directory(place.source), {
        encoding: 'buffer' as BufferEncoding,
        bufferSize: 256,
      })
    } catch (cause) {
      this.#unreadable(place.name, cause)
      return
    }
    const files: string[] = []
    const links: string[] = []
    try {
      // With the encoding 'buffer' the names are Buffers, which the types of this call do not say.
      for (;;) {
        const entry = dir.readSync() as Dirent<Buffer> | null
        if (entry === null) break
        if (++this.#entries > this.#maxEntries)
          throw new ZtError('MODEL_TOO_LARGE', `more than ${this.#maxEntries} entries`, {
            path: this.#root,
            hint: 'sign a smaller directory, or raise the limit',
          })
        this.#entry(place, entry, files, links)
      }
    } finally {
      dir.closeSync()
    }
    for (const part of files) {
      const name = join(place.name, part)
      // The same string where it can be: half the memory for a model of many files.
      this.#file(name, place.name === place.source ? name : join(place.source, part))
    }
    for (const part of links) this.#link(place, part)
  }

  #entry(place: Place, entry: Dirent<Buffer>, files: string[], links: string[]): void {
    if (!isUtf8(entry.name)) {
      const shown = join(place.name, entry.name.toString('latin1'))
      this.checks.push(
        entryProblem('NAME_NOT_UTF8', shown, 'the name is not valid UTF-8', {
          hint: 'rename the file: the bytes are shown as Latin-1',
        }),
      )
      return
    }
    const part = entry.name.toString('utf8')
    const name = join(place.name, part)
    if (this.#skip.has(name)) return
    if (this.#report.has(name)) {
      this.#listIgnored(place, part, entry.isDirectory())
      return
    }
    const wrong = name.length > 1024 ? nameProblem(name) : null
    if (wrong !== null) this.checks.push(entryProblem('NAME_UNSAFE', name, wrong))
    else if (entry.isFile()) files.push(part)
    else if (entry.isDirectory()) this.#descend(name, join(place.source, part), place)
    else if (entry.isSymbolicLink()) links.push(part)
    else this.checks.push(special(name, entry))
  }

  #descend(name: string, source: string, above: Place): void {
    const depth = above.depth + 1
    if (depth > this.#maxDepth) {
      const message = `directories are nested deeper than ${this.#maxDepth}`
      const counted = { expected: `at most ${this.#maxDepth} levels`, actual: `${depth} levels` }
      this.checks.push(entryProblem('MODEL_TOO_LARGE', name, message, counted))
      return
    }
    if (this.#options.allowSymlinks === true)
      for (let place: Place | null = above; place !== null; place = place.above)
        if (place.source === source) {
          const message = `leads back to ${place.name === '' ? 'the root' : shownName(place.name)}`
          this.checks.push(entryProblem('LINK_CYCLE', name, message))
          return
        }
    this.#queue.push({ name, source, depth, above })
  }

  #file(name: string, source: string): void {
    try {
      const stats = lstatSync(this.anchor.path(source), { bigint: true })
      if (stats.isSymbolicLink()) this.#refuseLink(name)
      else if (!stats.isFile()) this.checks.push(special(name, stats))
      else this.files.push({ name, source, size: Number(stats.size), stamp: stampOf(stats) })
    } catch (cause) {
      this.#unreadable(name, cause)
    }
  }

  #link(place: Place, part: string): void {
    const name = join(place.name, part)
    if (this.#options.allowSymlinks !== true) {
      this.#refuseLink(name)
      return
    }
    const target = this.#target(name, join(place.source, part))
    if (target === null) return
    if (target.stats.isDirectory()) this.#descend(name, target.source, place)
    else this.#file(name, target.source)
  }

  /** Where a link leads, if that is inside the model. What comes back has no link in it; opening checks that again. */
  #target(name: string, source: string): { source: string; stats: BigIntStats } | null {
    try {
      const real = realpathSync(`${this.#root}/${source}`)
      const inside = relative(this.#root, real).split(sep).join('/')
      if (inside === '..' || inside.startsWith('../') || relative(this.#root, real) === real) {
        this.checks.push(
          entryProblem('LINK_OUTSIDE', name, 'the link leads out of the model', {
            hint: 'copy the model with its links followed (cp -rL), then use the copy',
          }),
        )
        return null
      }
      return { source: inside, stats: statSync(real, { bigint: true }) }
    } catch (cause) {
      const code = (cause as { code?: unknown }).code
      if (code === 'ELOOP')
        this.checks.push(entryProblem('LINK_CYCLE', name, 'the link leads to itself'))
      else if (code === 'ENOENT' || code === 'ENOTDIR')
        this.checks.push(entryProblem('LINK_BROKEN', name, 'the link leads nowhere'))
      else this.#unreadable(name, cause)
      return null
    }
  }

  /** Adds one wanted file. False if it is not there. */
  locate(name: string): boolean {
    let source = name
    try {
      if (this.#options.allowSymlinks === true) {
        const target = this.#target(name, name)
        if (target === null) return this.checks.at(-1)?.code !== 'LINK_BROKEN'
        source = target.source
      }
      const stats = lstatSync(this.anchor.path(source), { bigint: true })
      if (stats.isDirectory()) return false
      this.#file(name, source)
      return true
    } catch (cause) {
      const code = (cause as { code?: unknown }).code
      if (code === 'ENOENT') return false
      // Opening a directory component that is a link gives ENOTDIR or ELOOP, a component that is a file gives ENOTDIR.
      if (code === 'ELOOP' || code === 'ENOTDIR') this.#refuseLink(name)
      else this.#unreadable(name, cause)
      return true
    }
  }

  #listIgnored(place: Place, part: string, directory: boolean): void {
    const name = join(place.name, part)
    if (!directory) {
      this.ignored.push(name)
      return
    }
    const queue = [{ name, source: join(place.source, part) }]
    for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
      let dir
      try {
        const options = { encoding: 'buffer' as BufferEncoding, bufferSize: 256 }
        dir = opendirSync(this.anchor.directory(at.source), options)
      } catch {
        this.ignored.push(`${at.name}/`)
        continue
      }
      let empty = true
      for (;;) {
        const entry = dir.readSync() as Dirent<Buffer> | null
        if (entry === null) break
        empty = false
        if (++this.#entries > this.#maxEntries) {
          dir.closeSync()
          throw new ZtError('MODEL_TOO_LARGE', `more than ${this.#maxEntries} entries`)
        }
        const next = entry.name.toString(isUtf8(entry.name) ? 'utf8' : 'latin1')
        const inside = { name: join(at.name, next), source: join(at.source, next) }
        if (entry.isDirectory()) queue.push(inside)
        else this.ignored.push(inside.name)
      }
      dir.closeSync()
      if (empty) this.ignored.push(`${at.name}/`)
    }
  }

  #refuseLink(name: string): void {
    this.checks.push(
      entryProblem(
        'FILE_LINK',
        name,
        'is a symbolic link, or what should be a directory above it is none',
        {
          hint: 'copy the model with its links followed (cp -rL), or allow links that stay inside',
        },
      ),
    )
  }

  #unreadable(name: string, cause: unknown): void {
    const code: unknown = (cause as { code?: unknown }).code
    const known: Code = code === 'ELOOP' || code === 'ENOENT' ? 'FILE_UNSTABLE' : 'FILE_UNREADABLE'
    const message = known === 'FILE_UNSTABLE' ? 'changed while it was looked at' : 'can not be read'
    this.checks.push(entryProblem(known, name, `${message} (${String(code)})`))
  }
}

function join(dir: string, part: string): string {
  // Flat, as in `stampOf`.
  return dir === '' ? part : [dir, part].join('/')
}

/**
 * Ignored paths in their recorded form.
 * @throws ZtError USAGE for one that the specification forbids
 */
export function ignoreList(paths: readonly string[] | undefined): string[] {
  return (paths ?? []).map((path) => {
    const plain = ignoredPath(path)
    if (plain !== null) return plain
    throw new ZtError('USAGE', 'an ignored path must be relative, without .., globs or NUL', {
      path,
      hint: 'write it relative to the model, for example: logs/run.txt',
    })
  })
}
