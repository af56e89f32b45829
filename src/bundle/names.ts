// The single owner of which names a manifest may carry: every rule that keeps a name inside the model and the files apart.
import type { Code } from '../codes.ts'
import { parseShardName } from '../model/manifest.ts'
import { nameProblem, shownName } from '../model/name.ts'

/** One thing that is wrong with a statement. A list of them becomes failed checks. */
export interface Problem {
  readonly code: Code
  readonly message: string
  readonly expected?: string
  readonly actual?: string
  readonly hint?: string
}

/** Everything wrong with the names of a `files` manifest. A lone `.` is the single file of releases before the specification. */
export function checkFileNames(names: readonly string[]): Problem[] {
  if (names.length === 1 && names[0] === '.') return []
  return checkPaths(names)
}

/** Everything wrong with the names of a `shards` manifest: each file's ranges must follow each other without gap or overlap. */
export function checkShardNames(names: readonly string[], shardSize: number): Problem[] {
  const problems: Problem[] = []
  const files = new Map<string, { start: number; end: number }[]>()
  for (const name of names) {
    const shard = parseShardName(name)
    if (shard === null) {
      problems.push({
        code: 'SHARDS_INVALID',
        message: 'a shard has no byte range',
        expected: 'path:start:end',
        actual: quote(name),
      })
      continue
    }
    const ranges = files.get(shard.path)
    if (ranges === undefined) files.set(shard.path, [shard])
    else ranges.push(shard)
  }
  const paths = [...files.keys()]
  if (!(paths.length === 1 && paths[0] === '.')) problems.push(...checkPaths(paths))
  for (const [path, ranges] of files) problems.push(...checkRanges(path, ranges, shardSize))
  return problems
}

function checkRanges(
  path: string,
  ranges: readonly { start: number; end: number }[],
  shardSize: number,
): Problem[] {
  const problems: Problem[] = []
  const ordered = [...ranges].sort((a, b) => a.start - b.start || a.end - b.end)
  let next = 0
  ordered.forEach(({ start, end }, index) => {
    const last = index === ordered.length - 1
    const length = end - start
    if (start !== next)
      problems.push({
        code: 'SHARDS_INVALID',
        message: `the shards of ${quote(path)} ${start > next ? 'leave a gap' : 'overlap'}`,
        expected: `a shard that starts at ${next}`,
        actual: `${start}:${end}`,
      })
    else if (length < 1 || length > shardSize || (!last && length !== shardSize))
      problems.push({
        code: 'SHARDS_INVALID',
        message: `a shard of ${quote(path)} does not have the recorded size`,
        expected: last ? `1 to ${shardSize} bytes` : `${shardSize} bytes`,
        actual: `${start}:${end}`,
      })
    next = Math.max(next, end)
  })
  return problems
}

function checkPaths(paths: readonly string[]): Problem[] {
  const problems: Problem[] = []
  const seen = new Set<string>()
  for (const path of paths) {
    const fault = nameProblem(path)
    if (fault !== null)
      problems.push({
        code: 'NAME_UNSAFE',
        message: `a file's name can't lie inside a model: ${fault}`,
        expected: 'a relative path without empty, "." or ".." parts',
        actual: quote(path),
        hint: 'do not use this signature: its signer names files outside the model, or names that no file can have',
      })
    if (seen.has(path))
      problems.push({
        code: 'NAME_DUPLICATE',
        message: 'a file is listed more than once',
        expected: 'each name once',
        actual: quote(path),
      })
    seen.add(path)
  }
  return [...problems, ...checkTree(seen)]
}

/** A file can't also be a directory: `a` next to `a/b` can't exist on disk. */
function checkTree(paths: ReadonlySet<string>): Problem[] {
  const problems: Problem[] = []
  for (const path of paths) {
    for (let at = path.indexOf('/', 1); at !== -1; at = path.indexOf('/', at + 1)) {
      const directory = path.slice(0, at)
      if (paths.has(directory))
        problems.push({
          code: 'NAME_DUPLICATE',
          message: 'a listed file is the directory of another',
          expected: `${quote(directory)} to be a file or a directory`,
          actual: quote(path),
        })
    }
  }
  return problems
}

/** A signed text as it is shown: control characters can't forge lines of output, and it has an end. */
export function quote(text: string): string {
  return shownName(text.length > 200 ? `${text.slice(0, 200)}…` : text)
}
