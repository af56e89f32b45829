// The single owner of the form of `signers:` and of sources (`file:`, `pem:`, `json:`).
import type { Cursor } from './cursor.ts'
import type { PolicySigner, Source } from './policy.ts'

/** One entry of `signers:`. Adds the files that it names to `files`. */
export function readSigner(item: Cursor, files: string[]): PolicySigner {
  const fields = item.fields(['key', 'certificate', 'keyless'])
  switch (fields.exactlyOne(['key', 'certificate', 'keyless'])) {
    case 'key':
      return { kind: 'key', key: fields.need('key', (value) => readSource(value, 'pem', files)) }
    case 'certificate':
      return fields.need('certificate', (value) => {
        const inner = value.fields(['roots', 'identity', 'any-identity'])
        const roots = inner.need(
          'roots',
          (source) => readSource(source, 'pem', files),
          'which roots are trusted: `roots: {file: ca.pem}`',
        )
        const any = inner.get('any-identity', (flag) => flag.flag()) ?? false
        if (any && inner.has('identity'))
          inner.refuse('any-identity', '`identity` and `any-identity: true` contradict each other')
        if (any) return { kind: 'certificate', roots, identity: null }
        const identity = inner.need(
          'identity',
          (text) => exact(text, 'the exact subject alternative name of the leaf'),
          'name the one identity, or write `any-identity: true` to accept every leaf under these roots',
        )
        return { kind: 'certificate', roots, identity }
      })
    case 'keyless':
      return fields.need('keyless', (value) => {
        const inner = value.fields(['identity', 'issuer', 'trusted-root'])
        return {
          kind: 'keyless',
          identity: inner.need('identity', (text) => exact(text, 'the exact identity')),
          issuer: inner.need('issuer', (text) => exact(text, 'the exact issuer (a URL)')),
          trustedRoot: inner.need(
            'trusted-root',
            (source) => readSource(source, 'json', files),
            'the Sigstore trusted root to verify under: `trusted-root: {file: trusted_root.json}`',
          ),
        }
      })
  }
}

/** `file: NAME`, or the text itself under `inline`'s key. */
export function readSource(item: Cursor, inline: 'pem' | 'json', files: string[]): Source {
  const fields = item.fields(['file', inline])
  if (fields.exactlyOne(['file', inline]) === 'file') {
    const path = fields.need('file', (value) => value.text('the name of a file'))
    files.push(path)
    return { kind: 'file', path }
  }
  const text = fields.need(inline, (value) => value.text('the text itself', { multiline: true }))
  if (inline === 'pem' && !text.includes('-----BEGIN ')) {
    return item.refuse(
      'this is not PEM text',
      'write `pem: |` and the lines from -----BEGIN to -----END below it, or name a `file:`',
    )
  }
  return { kind: 'inline', text }
}

/** Identities are compared exactly, so a pattern in one can only be a mistake. */
function exact(item: Cursor, what: string): string {
  const text = item.text(what, { max: 2048 })
  if (text.includes('*'))
    item.refuse('identities are compared exactly; `*` has no meaning here', 'write it out')
  if (text !== text.trim()) item.refuse('there is a blank at the start or the end')
  return text
}
