// The single owner of what lies beside a model in the layers of an image: the links by which an entry of another name lands in the model.
import { ZtError } from '../error.ts'

/** Longest target that Linux takes (PATH_MAX). */
const MAX_TARGET = 4096
const MAX_LINKS = 1_000_000
/** Parts of paths that are looked at for one entry; who needs more is refused. */
const MAX_STEPS = 10_000
/** Links that containerd follows on one way (continuity's `RootPath`); Linux itself follows 40. */
const MAX_HOPS = 255

/**
 * Runtimes unpack one layer over the other and follow the links on the way to an entry, so that `x -> models` and `x/weights` write
 * `models/weights`. A name keeps every target that it ever had: what is deleted or written over in between only makes it stricter.
 * Names and targets are text or, where they are not, bytes as Latin-1: the same bytes must give the same string.
 */
export class Around {
  readonly #within: string
  readonly #links = new Map<string, Set<string>>()

  constructor(within: string) {
    this.#within = within
  }

  /** Remembers a link beside the model. False if no system could make it. @throws ZtError MODEL_TOO_LARGE */
  link(name: string, target: string): boolean {
    if (target === '' || target.length > MAX_TARGET) return false
    const targets = this.#links.get(name)
    if (targets !== undefined) targets.add(target)
    else if (this.#links.size < MAX_LINKS) this.#links.set(name, new Set([target]))
    else throw new ZtError('MODEL_TOO_LARGE', `more than ${MAX_LINKS} links in an image`)
    return true
  }

  /** True if an entry of this name, which lies beside the model, may land in the model or in its place. */
  leadsInside(name: string): boolean {
    if (this.#links.size === 0) return false
    for (let at = name.indexOf('/'); at > 0; at = name.indexOf('/', at + 1))
      if (this.#links.has(name.slice(0, at)))
        return this.#reaches('', name.split('/'), { left: MAX_STEPS }, 0)
    return false
  }

  #reaches(from: string, parts: readonly string[], steps: { left: number }, hops: number): boolean {
    if (hops > MAX_HOPS) return true
    let done = from
    for (const [index, part] of parts.entries()) {
      if (--steps.left < 0) return true
      if (part === '' || part === '.') continue
      if (part === '..') {
        // Above the root of the image there is nothing.
        done = done.slice(0, Math.max(0, done.lastIndexOf('/')))
        continue
      }
      const parent = done
      done = done === '' ? part : `${done}/${part}`
      if (done === this.#within) return true
      const rest = parts.slice(index + 1)
      const targets = this.#links.get(done)
      // The last part is what is written: it is put in the place of a link.
      if (targets === undefined || rest.length === 0) continue
      for (const target of targets) {
        const start = target.startsWith('/') ? '' : parent
        if (this.#reaches(start, [...target.split('/'), ...rest], steps, hops + 1)) return true
      }
      // None of its targets leads inside; as the directory that it may have become since, it might.
    }
    return false
  }
}
