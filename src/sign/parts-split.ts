// The single owner of how a model is divided among machines: by its list of files alone, so that each finds its own part without asking the others.
import { createHash } from 'node:crypto'

/** A file or a shard. */
export interface Unit {
  readonly name: string
  /** Bytes of the whole file. */
  readonly size: number
  readonly start: number
  readonly end: number
}

/** What opening a file is worth in bytes, so that a million small ones are spread as well. */
const UNIT_COST = 32 * 1024

/** Every unit of a model, in the order of the files. An empty file is one unit. */
export function unitsOf(
  files: readonly { readonly name: string; readonly size: number }[],
  shardSize: number | undefined,
): Unit[] {
  return files.flatMap(({ name, size }) => {
    const step = shardSize ?? Infinity
    const units: Unit[] = [{ name, size, start: 0, end: Math.min(step, size) }]
    for (let start = step; start < size; start += step)
      units.push({ name, size, start, end: Math.min(start + step, size) })
    return units
  })
}

/**
 * The units of one of `parts` parts (counted from 1), in their order. Largest first, each to the part that has least so far and of those to the
 * first: no part has more than the average and the largest unit.
 */
export function unitsOfPart(units: readonly Unit[], part: number, parts: number): Unit[] {
  const order = units.map((_, i) => i)
  const cost = (i: number): number => length(units[i]) + UNIT_COST
  order.sort((a, b) => cost(b) - cost(a) || a - b)
  const lightest = new Lightest(parts)
  const own = order.filter((i) => lightest.add(cost(i)) === part - 1)
  return own.sort((a, b) => a - b).flatMap((i) => units[i] ?? [])
}

function length(unit: Unit | undefined): number {
  return unit === undefined ? 0 : unit.end - unit.start
}

/** A heap of loads; of equal ones the first part comes first. */
class Lightest {
  readonly #heap: { load: number; readonly part: number }[]

  constructor(parts: number) {
    this.#heap = Array.from({ length: parts }, (_, part) => ({ load: 0, part }))
  }

  /** Gives the part that takes the load. */
  add(cost: number): number {
    const top = this.#heap[0]
    if (top === undefined) return -1
    top.load += cost
    for (let at = 0; ;) {
      const child = this.#lighter(2 * at + 1, 2 * at + 2)
      const here = this.#heap[at]
      const below = this.#heap[child]
      if (here === undefined || below === undefined || !before(below, here)) return top.part
      this.#heap[at] = below
      this.#heap[child] = here
      at = child
    }
  }

  #lighter(left: number, right: number): number {
    const [a, b] = [this.#heap[left], this.#heap[right]]
    return a !== undefined && b !== undefined && before(b, a) ? right : left
  }
}

function before(
  a: { readonly load: number; readonly part: number },
  b: { readonly load: number; readonly part: number },
): boolean {
  return a.load < b.load || (a.load === b.load && a.part < b.part)
}

/** SHA-256 over names and sizes in order, hex: every part must have seen the same files. */
export function listingDigest(
  files: readonly { readonly name: string; readonly size: number }[],
): string {
  const hash = createHash('sha256')
  for (const { name, size } of files) hash.update(`${JSON.stringify([name, size])}\n`)
  return hash.digest('hex')
}
