// The single owner of recognising a Python pickle by walking its opcodes (pickletools.py), whatever the file is called.

/** Opcodes without an argument. */
const PLAIN = new Set('(012NQRabd}el])ostu\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98')
/** Opcodes with an argument of this many bytes. */
const FIXED: Readonly<Record<string, number>> = {
  J: 4,
  K: 1,
  M: 2,
  h: 1,
  j: 4,
  q: 1,
  r: 4,
  G: 8,
  '\x80': 1,
  '\x82': 1,
  '\x83': 2,
  '\x84': 4,
  '\x95': 8,
}
/** Opcodes with a counted argument: bytes of the count. */
const COUNTED: Readonly<Record<string, number>> = {
  T: 4,
  U: 1,
  B: 4,
  C: 1,
  X: 4,
  '\x8a': 1,
  '\x8b': 4,
  '\x8c': 1,
  '\x8d': 8,
  '\x8e': 8,
  '\x96': 8,
}
/** Opcodes whose argument is this many lines. */
const LINES: Readonly<Record<string, number>> = {
  F: 1,
  I: 1,
  L: 1,
  S: 1,
  V: 1,
  P: 1,
  c: 2,
  i: 2,
  g: 1,
  p: 1,
}
/** Opcodes that name or call code. */
const CALLS = new Set('ciRob\x81\x82\x83\x84\x92\x93')

export interface PickleFacts {
  /** It names or calls code where it could be read. */
  readonly calls: boolean
  /** It was read to its end within the sample. */
  readonly complete: boolean
}

/**
 * Walks the opcodes from the start of a sample. Null if what is there is not a pickle. A pickle of protocol 0 is text, so a few plain
 * texts could be walked too: one must have three opcodes at least, and end within the sample or fill it.
 */
export function walkPickle(sample: Uint8Array): PickleFacts | null {
  const view = new DataView(sample.buffer, sample.byteOffset, sample.byteLength)
  let at = 0
  let calls = false
  for (let count = 1; at < sample.length; count++) {
    const op = String.fromCharCode(sample[at] ?? 0)
    at++
    if (op === '.') return count >= 3 ? { calls, complete: true } : null
    calls ||= CALLS.has(op)
    const lines = LINES[op]
    const counted = COUNTED[op]
    if (lines !== undefined) {
      for (let i = 0; i < lines; i++) {
        const end = sample.indexOf(0x0a, at)
        if (end < 0) return sample.length - at > 4096 ? null : { calls, complete: false }
        at = end + 1
      }
    } else if (counted !== undefined) {
      if (at + counted > sample.length) return { calls, complete: false }
      const length =
        counted === 1
          ? view.getUint8(at)
          : counted === 4
            ? view.getUint32(at, true)
            : Number(view.getBigUint64(at, true))
      at += counted + length
    } else if (FIXED[op] !== undefined) at += FIXED[op]
    else if (!PLAIN.has(op)) return null
  }
  return { calls, complete: false }
}
