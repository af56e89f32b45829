// The single owner of names inside a model: their order, which are safe, how ignored paths are written, and how a name is shown.

/**
 * Order of two names by Unicode code points, which is the order of their UTF-8 bytes (OMS v1.0 §5.2.1).
 * JavaScript's own order is that of UTF-16 units and differs where surrogates meet U+E000 to U+FFFF.
 */
export function compareNames(a: string, b: string): number {
  const end = Math.min(a.length, b.length)
  for (let i = 0; i < end; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x === y) continue
    const xAstral = x >= 0xd800 && x <= 0xdfff
    const yAstral = y >= 0xd800 && y <= 0xdfff
    if (xAstral === yAstral) return x - y
    return xAstral ? 1 : -1
  }
  return a.length - b.length
}

const MAX_NAME_BYTES = 4096

/**
 * Why a name can not be a path inside a model, or null if it can: relative, `/` between the parts, no empty, `.` or `..` part, no NUL,
 * well-formed Unicode, at most 4096 bytes of UTF-8 (OMS v1.0 §6.1.2). Nothing is normalised: names are compared as bytes.
 */
export function nameProblem(name: string): string | null {
  if (name === '') return 'the name is empty'
  if (name.startsWith('/')) return 'the name is absolute'
  if (name.includes('\0')) return 'the name has a NUL'
  if (/\p{Surrogate}/u.test(name)) return 'the name is not well-formed Unicode'
  if (name.length > MAX_NAME_BYTES || Buffer.byteLength(name) > MAX_NAME_BYTES)
    return `the name is longer than ${MAX_NAME_BYTES} bytes`
  for (const part of name.split('/')) {
    if (part === '') return 'the name has an empty part'
    if (part === '.' || part === '..') return `the name has the part '${part}'`
  }
  return null
}

/** Paths at the top of a model that no signature covers unless asked (OMS v1.0 §6.2). */
export const DEFAULT_IGNORES = ['.git', '.gitattributes', '.github', '.gitignore'] as const

/**
 * The recorded form of an ignored path: relative to the model's root, without a leading `./` or a trailing `/`.
 * Null where the specification forbids it: globs, absolute paths, `..`, and the root itself (OMS v1.0 §6.2).
 */
export function ignoredPath(path: string): string | null {
  const plain = path.replace(/^(?:\.\/+)+/, '').replace(/\/+$/, '')
  return /[*?[]/.test(plain) || nameProblem(plain) !== null ? null : plain
}

/** A name as it may be shown: control and formatting characters, which a hostile name may carry, are escaped. */
export function shownName(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => {
    const digits = (c.codePointAt(0) ?? 0).toString(16)
    return digits.length > 4 ? `\\u{${digits}}` : `\\u${digits.padStart(4, '0')}`
  })
}
