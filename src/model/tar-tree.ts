// The single owner of what the entries of a tar stream make together: names, links and conflicts, as if they had been unpacked.
import { isUtf8 } from 'node:buffer'
import type { Header } from 'tar-stream'
import { ZtError } from '../error.ts'
import type { Check } from '../verdict.ts'
import type { HashedFile } from './manifest.ts'
import { compareNames, DEFAULT_IGNORES, nameProblem, shownName } from './name.ts'
import { entryProblem } from './problem.ts'
import { Around } from './tar-around.ts'
import { ignoreList } from './walk.ts'

type Node =
  | { readonly kind: 'file'; readonly file: HashedFile | null }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'directory' }

export interface TarTreeOptions {
  readonly allowSymlinks?: boolean
  readonly ignorePaths?: readonly string[]
  readonly reportIgnored?: readonly string[]
  readonly defaultIgnores?: boolean
  readonly ownSignature?: string
  readonly stripComponents?: number
  /** The model is this directory of a container image, whose layer the archive is: see `TarOptions`. */
  readonly within?: string
  readonly around?: Around
  readonly maxEntries?: number
}

const MAX_HOPS = 40

/** Collects entries one by one; `finish` lists the files under the names that they would have in the unpacked directory. */
export class TarTree {
  entries = 0
  readonly #options: TarTreeOptions
  readonly #skip: ReadonlySet<string>
  readonly #report: ReadonlySet<string>
  readonly #around: Around | null
  readonly #nodes = new Map<string, Node>([['', { kind: 'directory' }]])
  readonly #children = new Map<string, string[]>()
  readonly #checks: Check[] = []
  readonly #files: HashedFile[] = []
  readonly #ignored: string[] = []
  #listed = 0

  constructor(options: TarTreeOptions) {
    this.#options = options
    const defaults = options.defaultIgnores === false ? [] : DEFAULT_IGNORES
    this.#skip = new Set([...defaults, ...ignoreList(options.ignorePaths)])
    this.#report = new Set(ignoreList(options.reportIgnored).filter((p) => !this.#skip.has(p)))
    const { within } = options
    this.#around = within === undefined ? null : (options.around ?? new Around(within))
  }

  /**
   * Takes an entry's header. Returns the name under which its bytes are to be hashed, or null if they are not.
   * @throws ZtError MODEL_TOO_LARGE
   */
  add(header: Header): string | null {
    const { maxEntries = 1_000_000 } = this.#options
    if (++this.entries > maxEntries)
      throw new ZtError('MODEL_TOO_LARGE', `more than ${maxEntries} entries in the archive`)
    const pax = header.pax as { path?: string; linkpath?: string } | null | undefined
    const full = this.#name(header.name, pax?.path, header.type === 'directory')
    const name = full === null ? null : this.#inside(full, header.type === 'directory')
    if (name === null) {
      this.#beside(header, pax?.path, pax?.linkpath)
      return null
    }
    if (header.type === 'directory') {
      if (name !== '') this.#insert(name, { kind: 'directory' })
      return null
    }
    if (header.type === 'file') {
      // Bytes under ignored paths matter only where a link could lead to them.
      const hashed = this.#options.allowSymlinks === true || !this.#isLeftOut(name)
      return this.#insert(name, { kind: 'file', file: null }) && hashed ? name : null
    }
    if (header.type === 'link' || header.type === 'symlink') this.#link(name, header, pax?.linkpath)
    else if (!this.#isLeftOut(name)) this.#special(name, header.type)
    return null
  }

  /** Gives the file whose name `add` returned. */
  addFile(file: HashedFile): void {
    this.#nodes.set(file.name, { kind: 'file', file })
  }

  finish(): {
    files: HashedFile[]
    ignored: string[]
    checks: Check[]
    directories: string[]
    links: string[]
  } {
    this.#list('', '', [])
    if (this.#files.length === 0 && this.#checks.length === 0)
      this.#checks.push({
        id: 'model.files',
        status: 'fail',
        code: 'MODEL_EMPTY',
        message: 'the archive has no files',
      })
    this.#files.sort((a, b) => compareNames(a.name, b.name))
    this.#ignored.sort(compareNames)
    const named = (kind: Node['kind']): string[] =>
      [...this.#nodes].flatMap(([name, node]) => (node.kind === kind && name !== '' ? [name] : []))
    return {
      files: this.#files,
      ignored: this.#ignored,
      checks: this.#checks,
      directories: named('directory'),
      links: named('link'),
    }
  }

  /** The name inside the model; '' is the root itself; null if there is none (and then why is in the checks). */
  #name(raw: string, fromPax: string | undefined, directory: boolean): string | null {
    const bytes = Buffer.from(raw, 'latin1')
    if (this.#elsewhere(fromPax ?? raw)) return null
    const text = fromPax ?? (isUtf8(bytes) ? bytes.toString('utf8') : null)
    if (text === null) {
      this.#refuse('NAME_NOT_UTF8', raw, 'the name is not valid UTF-8')
      return null
    }
    const cut = this.#cut(text, directory)
    if (cut === '' && directory) return ''
    const problem = nameProblem(cut)
    if (problem === null) return cut
    this.#refuse('NAME_UNSAFE', text, problem)
    return null
  }

  /** True for a name that lies beside the model in an image's layer, whatever it looks like: a plain path whose first part is another. */
  #elsewhere(text: string): boolean {
    const { within } = this.#options
    if (within === undefined) return false
    const [first = '', ...rest] = this.#cut(text, true).split('/')
    const plain = (part: string): boolean => !['', '.', '..'].includes(part)
    return first !== within && rest.length > 0 && [first, ...rest].every(plain)
  }

  /** The name within the model's directory, or null where an entry of an image's layer is no part of it. */
  #inside(name: string, directory: boolean): string | null {
    const { within } = this.#options
    if (within === undefined) return name
    const cut = name.lastIndexOf('/')
    const parent = cut < 0 ? '' : name.slice(0, cut)
    const above = (path: string): boolean => path === '' || `${within}/`.startsWith(`${path}/`)
    const deletes = name.slice(cut + 1).startsWith('.wh.')
    // A deletion takes away what an earlier layer brought, so what is there depends on more than this layer.
    if (deletes && (above(parent) || parent.startsWith(`${within}/`))) {
      this.#refuse('NAME_UNSAFE', name, 'deletes what another layer of the image may hold')
      return null
    }
    if (!directory && above(name)) {
      this.#refuse('NAME_UNSAFE', name, "is not a directory, and stands where the model's must be")
      return null
    }
    if (name === within) return ''
    return name.startsWith(`${within}/`) ? name.slice(within.length + 1) : null
  }

  /** An entry beside the model, or one that was refused already: it must not lead into the model by another way. */
  #beside(header: Header, fromPax: string | undefined, linkFromPax: string | undefined): void {
    const around = this.#around
    if (around === null) return
    const name = this.#cut(asLatin1(fromPax) ?? header.name, header.type === 'directory')
    const own = (header.linkname as string | null) ?? ''
    const target = asLatin1(linkFromPax) ?? own
    if (around.leadsInside(name))
      this.#refuse('NAME_UNSAFE', name, 'leads into the model through a symbolic link beside it')
    // A hard link to a symbolic link is one as well, and leads where that one does.
    const leads = header.type === 'symlink' ? target : header.type === 'link' ? `/${target}` : null
    if (leads !== null && !around.link(name, leads))
      this.#refuse('NAME_UNSAFE', name, 'is a link to nothing that could be a path')
  }

  #cut(text: string, directory: boolean): string {
    let name = directory ? text.replace(/\/$/, '') : text
    name = name === '.' ? '' : name.replace(/^(?:\.\/)+/, '')
    const strip = this.#options.stripComponents ?? 0
    return strip === 0 || name.startsWith('/') ? name : name.split('/').slice(strip).join('/')
  }

  /** False if the place is taken; then why is in the checks. */
  #insert(name: string, node: Node): boolean {
    const there = this.#nodes.get(name)
    if (there !== undefined) {
      if (there.kind === 'directory' && node.kind === 'directory') return true
      this.#refuse('NAME_DUPLICATE', name, 'two entries of the archive claim this name')
      return false
    }
    const cut = name.lastIndexOf('/')
    const parent = cut < 0 ? '' : name.slice(0, cut)
    const above = this.#nodes.get(parent)
    if (above === undefined && !this.#insert(parent, { kind: 'directory' })) return false
    if (above !== undefined && above.kind !== 'directory') {
      this.#refuse('NAME_DUPLICATE', name, `lies under ${shownName(parent)}, which is no directory`)
      return false
    }
    this.#nodes.set(name, node)
    const siblings = this.#children.get(parent)
    if (siblings === undefined) this.#children.set(parent, [name])
    else siblings.push(name)
    return true
  }

  #link(name: string, header: Header, fromPax: string | undefined): void {
    const bytes = Buffer.from((header.linkname as string | null) ?? '', 'latin1')
    const target = fromPax ?? (isUtf8(bytes) ? bytes.toString('utf8') : null)
    if (target === null || target === '') {
      this.#refuse('LINK_BROKEN', name, 'the link has no target that is valid UTF-8')
      return
    }
    if (header.type === 'symlink') {
      this.#insert(name, { kind: 'link', target })
      return
    }
    const whole = this.#cut(target, false)
    const { within } = this.#options
    const inside =
      within === undefined || !whole.startsWith(`${within}/`)
        ? whole
        : whole.slice(within.length + 1)
    const node = within !== undefined && inside === whole ? undefined : this.#nodes.get(inside)
    if (node?.kind === 'file') {
      this.#insert(name, {
        kind: 'file',
        file: node.file === null ? null : { ...node.file, name },
      })
      if (node.file !== null || this.#isLeftOut(name)) return
    }
    this.#refuse('LINK_BROKEN', name, 'a hard link to no file that came before it in the archive')
  }

  #special(name: string, type: string): void {
    this.#refuse('FILE_SPECIAL', name, `is of the type ${type}`)
  }

  #isLeftOut(name: string): boolean {
    for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1)) {
      const prefix = name.slice(0, at)
      if (this.#skip.has(prefix) || this.#report.has(prefix)) return true
    }
    return this.#skip.has(name) || this.#report.has(name)
  }

  /** Lists the directory `source` under `name`, as the walk of an unpacked directory does. `above`: the directories on the way. */
  #list(name: string, source: string, above: readonly string[]): void {
    if (above.includes(source)) {
      this.#refuse('LINK_CYCLE', name, `leads back to ${source === '' ? 'the root' : source}`)
      return
    }
    const way = [...above, source]
    for (const child of this.#children.get(source) ?? []) {
      const shown = join(name, child.slice(source === '' ? 0 : source.length + 1))
      if (this.#skip.has(shown)) continue
      // Its name excuses one file: a directory of that name is the model's, and what is in it must be signed.
      if (shown === this.#options.ownSignature && this.#nodes.get(child)?.kind === 'file') continue
      if (this.#report.has(shown)) this.#listIgnored(shown, child)
      else this.#listOne(shown, child, way)
    }
  }

  #listOne(name: string, source: string, way: readonly string[]): void {
    // Links to directories can multiply what is there.
    if (++this.#listed > (this.#options.maxEntries ?? 1_000_000))
      throw new ZtError('MODEL_TOO_LARGE', 'links multiply the entries of the archive')
    const node = this.#nodes.get(source)
    if (node?.kind === 'directory') this.#list(name, source, way)
    else if (node?.kind === 'file' && node.file !== null) this.#files.push({ ...node.file, name })
    else if (node?.kind === 'link') {
      if (this.#options.allowSymlinks !== true) {
        this.#refuse('FILE_LINK', name, 'is a symbolic link')
        return
      }
      const target = this.#resolve(name, source)
      if (target !== null) this.#listOne(name, target, way)
    }
  }

  /** Where a link leads in the end, as a path without links in it. */
  #resolve(name: string, source: string): string | null {
    let hops = 0
    const done: string[] = []
    const todo = source.split('/').reverse()
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      if (part === '' || part === '.') continue
      if (part === '..') {
        if (done.pop() !== undefined) continue
        this.#refuse('LINK_OUTSIDE', name, 'the link leads out of the model')
        return null
      }
      done.push(part)
      const node = this.#nodes.get(done.join('/'))
      if (node?.kind === 'link') {
        if (node.target.startsWith('/') || ++hops > MAX_HOPS) {
          const outside = node.target.startsWith('/')
          const message = outside ? 'the link leads out of the model' : 'the link leads to itself'
          this.#refuse(outside ? 'LINK_OUTSIDE' : 'LINK_CYCLE', name, message)
          return null
        }
        done.pop()
        todo.push(...node.target.split('/').reverse())
      } else if (node === undefined || (node.kind === 'file' && todo.length > 0)) {
        this.#refuse('LINK_BROKEN', name, 'the link leads nowhere')
        return null
      }
    }
    return done.join('/')
  }

  #listIgnored(name: string, source: string): void {
    const children = this.#children.get(source)
    if (this.#nodes.get(source)?.kind !== 'directory') this.#ignored.push(name)
    else if (children === undefined) this.#ignored.push(`${name}/`)
    else
      for (const child of children)
        this.#listIgnored(join(name, child.slice(source.length + 1)), child)
  }

  #refuse(code: Check['code'], name: string, message: string): void {
    this.#checks.push(entryProblem(code, name, message))
  }
}

/** As the names in headers are read: each byte one character. */
function asLatin1(text: string | undefined): string | undefined {
  return text === undefined ? undefined : Buffer.from(text, 'utf8').toString('latin1')
}

function join(dir: string, part: string): string {
  return dir === '' ? part : `${dir}/${part}`
}
