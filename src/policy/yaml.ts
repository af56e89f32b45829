// The single owner of reading YAML text: into a plain tree that knows where each value was written, and nothing else of the language.
import { CST, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, parseDocument } from 'yaml'
import { ZtError } from '../error.ts'

/** Longest policy text. A real one has a few kilobytes; certificates may be written inline. */
export const MAX_TEXT = 256 * 1024
const MAX_DEPTH = 24
const MAX_NODES = 20_000
/** `- - - - x` opens four levels on one line. */
const MAX_OPENED_ON_LINE = 4
const MAX_INDENT = 128

/** Where something was written; both count from 1. */
export interface Position {
  readonly line: number
  readonly column: number
}

export type Yaml = Position &
  (
    | { readonly kind: 'map'; readonly entries: ReadonlyMap<string, YamlEntry> }
    | { readonly kind: 'list'; readonly items: readonly Yaml[] }
    | {
        readonly kind: 'scalar'
        readonly value: string | number | boolean | null
        readonly source: string
      }
  )

export interface YamlEntry {
  readonly key: Position
  readonly value: Yaml
}

/**
 * Reads one YAML 1.2 document (core schema). Refuses what makes a policy say something else than it seems to: several documents,
 * aliases and anchors, tags, merge keys, duplicate keys, keys that are not text; and what is too large or too deep.
 * Throws only `ZtError` (`POLICY_SYNTAX`, `TOO_LARGE`) with line and column in `path`.
 */
export function readYaml(text: string, file: string): Yaml {
  if (text.length > MAX_TEXT) {
    throw new ZtError('TOO_LARGE', `a policy has at most ${String(MAX_TEXT)} characters`, {
      path: file,
    })
  }
  const lines = new LineCounter()
  const refuse = (offset: number, message: string, hint?: string): never => {
    const { line, col } = lines.linePos(offset)
    throw new ZtError('POLICY_SYNTAX', message, {
      path: place(file, { line: Math.max(line, 1), column: Math.max(col, 1) }),
      ...(hint === undefined ? {} : { hint }),
    })
  }
  refuseDepth(text, refuse)
  const document = parsed(text, file, lines)
  const problem = document.errors[0] ?? document.warnings[0]
  if (problem !== undefined) {
    refuse(
      problem.pos[0],
      problem.code === 'MULTIPLE_DOCS'
        ? 'the file holds more than one document'
        : problem.message.replace(/\s+/g, ' '),
      HINTS[problem.code],
    )
  }
  if (document.contents === null) return refuse(0, 'the policy is empty', 'run `zt4ai policy init`')

  let nodes = 0
  const convert = (node: unknown, depth: number, fallback: number): Yaml => {
    const range = (node as { range?: readonly number[] | null } | null)?.range
    const offset = range?.[0] ?? fallback
    nodes += 1
    if (depth > MAX_DEPTH) return refuse(offset, `nested deeper than ${String(MAX_DEPTH)} levels`)
    if (nodes > MAX_NODES) return refuse(offset, `more than ${String(MAX_NODES)} values`)
    const { line, col: column } = lines.linePos(offset)
    if (isAlias(node)) return refuse(offset, 'aliases are not allowed', HINTS['BAD_ALIAS'])
    const decorated = node as { anchor?: string; tag?: string } | null
    if (decorated?.anchor !== undefined)
      return refuse(offset, 'anchors are not allowed', HINTS['BAD_ALIAS'])
    if (isMap(node)) {
      refuseTag(decorated, 'tag:yaml.org,2002:map', offset)
      const entries = new Map<string, YamlEntry>()
      for (const pair of node.items) {
        const key = isScalar(pair.key) ? pair.key : null
        const start = key?.range?.[0] ?? offset
        if (key === null || typeof key.value !== 'string')
          return refuse(start, 'a key must be text')
        if (key.anchor !== undefined || key.tag !== undefined)
          return refuse(start, 'a key carries no anchor and no tag')
        if (key.value === '<<')
          return refuse(start, 'merge keys are not allowed', HINTS['BAD_ALIAS'])
        if (entries.has(key.value))
          return refuse(start, `the key \`${key.value}\` is written twice`, HINTS['DUPLICATE_KEY'])
        const at = lines.linePos(start)
        entries.set(key.value, {
          key: { line: at.line, column: at.col },
          value: convert(pair.value, depth + 1, start),
        })
      }
      return { kind: 'map', entries, line, column }
    }
    if (isSeq(node)) {
      refuseTag(decorated, 'tag:yaml.org,2002:seq', offset)
      return {
        kind: 'list',
        items: node.items.map((item) => convert(item, depth + 1, offset)),
        line,
        column,
      }
    }
    if (node === null) return { kind: 'scalar', value: null, source: '', line, column }
    if (isScalar(node)) {
      refuseTag(decorated, undefined, offset)
      const value = node.value
      if (
        value === null ||
        typeof value === 'string' ||
        typeof value === 'boolean' ||
        (typeof value === 'number' && Number.isFinite(value))
      )
        return { kind: 'scalar', value, source: node.source ?? String(value), line, column }
    }
    return refuse(offset, 'not a value that a policy can hold')
  }
  const refuseTag = (
    node: { tag?: string } | null,
    usual: string | undefined,
    offset: number,
  ): void => {
    if (node?.tag !== undefined && node.tag !== usual)
      refuse(offset, 'tags are not allowed', 'write the value without `!`')
  }
  try {
    return convert(document.contents, 0, 0)
  } catch (error) {
    throw unreadable(error, file)
  }
}

/** `FILE:LINE:COLUMN`, as editors and compilers write it. */
export function place(file: string, at: Position): string {
  return `${file}:${String(at.line)}:${String(at.column)}`
}

/**
 * The parser recurses into what is nested, and an exhausted stack can end the whole process. So the nesting is bounded over the tokens,
 * which are read without recursion: brackets by their depth, block levels by how many one line opens and by how far it is indented.
 */
function refuseDepth(
  text: string,
  refuse: (offset: number, message: string, hint?: string) => never,
): void {
  let offset = 0
  let flow = 0
  let opened = 0
  let start = true
  for (const token of new Lexer().lex(text)) {
    switch (CST.tokenType(token)) {
      case 'flow-map-start':
      case 'flow-seq-start':
        flow += 1
        break
      case 'flow-map-end':
      case 'flow-seq-end':
        flow = Math.max(0, flow - 1)
        break
      case 'seq-item-ind':
      case 'explicit-key-ind':
        opened += 1
        break
      case 'newline':
        opened = 0
        start = true
        break
      case 'space':
        if (start && token.length > MAX_INDENT)
          refuse(offset, `indented by more than ${String(MAX_INDENT)} spaces`)
        break
      default:
    }
    if (flow > MAX_DEPTH) refuse(offset, `nested deeper than ${String(MAX_DEPTH)} levels`)
    if (opened > MAX_OPENED_ON_LINE)
      refuse(offset, `one line opens more than ${String(MAX_OPENED_ON_LINE)} levels`)
    offset += token.length
    if (!token.endsWith('\n')) start = false
  }
}

function parsed(
  text: string,
  file: string,
  lineCounter: LineCounter,
): ReturnType<typeof parseDocument> {
  try {
    return parseDocument(text, {
      version: '1.2',
      schema: 'core',
      strict: true,
      // Checked in `convert`: the parser compares every key with every other one.
      uniqueKeys: false,
      stringKeys: true,
      merge: false,
      resolveKnownTags: false,
      prettyErrors: false,
      logLevel: 'error',
      lineCounter,
    })
  } catch (error) {
    throw unreadable(error, file)
  }
}

function unreadable(error: unknown, file: string): ZtError {
  if (error instanceof ZtError) return error
  return new ZtError('POLICY_SYNTAX', 'the text cannot be read as YAML', {
    path: file,
    cause: error,
  })
}

const HINTS: Readonly<Record<string, string>> = {
  BAD_ALIAS: 'write the value out where it is used: a policy must be readable from top to bottom',
  DUPLICATE_KEY: 'keep one of the two',
  MULTIPLE_DOCS: 'one file holds one policy: remove the `---` in the middle',
  TAG_RESOLVE_FAILED: 'write the value without `!`',
  TAB_AS_INDENT: 'indent with spaces',
}
