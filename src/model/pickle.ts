// The single owner of recognising a Python pickle by walking its opcodes (pickletools.py), whatever the file is called.

/** What an opcode takes: bytes of argument, bytes of the count of a counted argument, or a number of lines. */
type Argument = readonly ['fixed' | 'counted' | 'lines', number]
/** What it does to the stack: items it needs, and by how many it grows. `mark`: takes all down to the last mark first. */
interface Effect {
  readonly needs: number
  readonly grows: number
  readonly mark?: true
}

const ARGUMENTS = new Map<string, Argument>([
  ...each('Khq\x80\x82', 'fixed', 1),
  ...each('M\x83', 'fixed', 2),
  ...each('Jjr\x84', 'fixed', 4),
  ...each('G\x95', 'fixed', 8),
  ...each('UC\x8a\x8c', 'counted', 1),
  ...each('TBX\x8b', 'counted', 4),
  ...each('\x8d\x8e\x96', 'counted', 8),
  ...each('FILSVPgp', 'lines', 1),
  ...each('ci', 'lines', 2),
])
const EFFECTS = new Map<string, Effect>([
  ...effect('IJKMLSTUBCVXFGN])}ghjPc\x82\x83\x84\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x96\x97', 0, 1),
  ...effect('\x80\x95', 0, 0),
  ...effect('pqrQ\x85\x94\x98', 1, 0),
  ...effect('2', 1, 1),
  ...effect('0', 1, -1),
  ...effect('abR\x81\x86\x93', 2, -1),
  ...effect('s\x87\x92', 3, -2),
  ...effect('tldi\x91', 0, 1, true),
  ...effect('o', 0, 1, true),
  ...effect('eu\x90', 1, 0, true),
  ...effect('1', 0, 0, true),
])
/** Opcodes that import, and those that call what was imported. */
const IMPORTS = new Set('c\x82\x83\x84\x93')
const CALLS = new Set('iRob\x81\x92')

function each(ops: string, kind: Argument[0], size: number): [string, Argument][] {
  return Array.from(ops, (op) => [op, [kind, size]])
}

function effect(ops: string, needs: number, grows: number, mark?: true): [string, Effect][] {
  return Array.from(ops, (op) => [op, { needs, grows, ...(mark === undefined ? {} : { mark }) }])
}

export interface PickleFacts {
  /** It imports or calls something where it could be read. */
  readonly calls: boolean
  /** It was read to its end within the sample. */
  readonly complete: boolean
}

/**
 * Walks the opcodes from the start of a sample. Null if loading it as a pickle would fail before anything was called: so plain text, which
 * could be a pickle of protocol 0, is not taken for one. What comes after a call does not matter: it was made by then.
 */
export function walkPickle(sample: Uint8Array): PickleFacts | null {
  const binary = sample[0] === 0x80
  const marks: number[] = []
  let depth = 0
  let imported = false
  let called = false
  const stop = (complete: boolean): PickleFacts => ({ calls: imported || called, complete })
  const broken = (): PickleFacts | null => (called || (binary && imported) ? stop(false) : null)
  for (let at = 0; at < sample.length;) {
    const op = String.fromCharCode(sample[at] ?? 0)
    if (op === '.') return depth > 0 ? stop(true) : broken()
    const end = argumentEnd(sample, at + 1, op)
    if (end === null) return broken()
    if (op === '(') marks.push(depth)
    else {
      const change = EFFECTS.get(op)
      if (change === undefined) return broken()
      const base = change.mark === undefined ? depth : marks.pop()
      if (base === undefined || base < change.needs) return broken()
      depth = base + change.grows
    }
    imported ||= IMPORTS.has(op)
    called ||= CALLS.has(op)
    at = end
  }
  return stop(false)
}

/** Offset after the argument of `op`; may lie beyond the sample. Null if it can not be one. */
function argumentEnd(sample: Uint8Array, start: number, op: string): number | null {
  const [kind, size] = ARGUMENTS.get(op) ?? ['fixed', 0]
  if (kind === 'fixed') return start + size
  if (kind === 'counted') {
    if (start + size > sample.length) return sample.length
    let length = 0
    for (let i = size - 1; i >= 0; i--) length = length * 256 + (sample[start + i] ?? 0)
    return start + size + length
  }
  let at = start
  for (let i = 0; i < size; i++) {
    const end = sample.indexOf(0x0a, at)
    if (end < 0) return sample.length - at > 4096 ? null : sample.length
    const line = Buffer.from(sample.subarray(at, Math.min(end, at + 512))).toString('latin1')
    if (LINE[op]?.test(line) === false) return null
    at = end + 1
  }
  return at
}

const LINE: Readonly<Record<string, RegExp>> = {
  c: /^[\w.]+$/,
  i: /^[\w.]+$/,
  I: /^[+-]?\d+$/,
  L: /^[+-]?\d+L?$/,
  F: /^[-+\d.einfa]+$/,
  S: /^(['"]).*\1$/,
  g: /^\d+$/,
  p: /^\d+$/,
}
