// The single owner of the form of `rules:`.
import type { HashType } from '../model/manifest.ts'
import type { Format } from '../model/sniff.ts'
import { PROTECTIONS } from '../verdict.ts'
import type { Cursor } from './cursor.ts'
import { readDuration, readName, readSha256 } from './decode-machine.ts'
import { MANIFEST_ROUTES, type Admitted, type Machine, type Rule, type SignedBy } from './policy.ts'

const HASHES = ['sha256', 'blake2b', 'blake3'] as const satisfies readonly HashType[]
/** The model room's formats (a test compares the two lists). */
export const FORMATS = [
  'safetensors',
  'gguf',
  'ggml',
  'onnx',
  'tflite',
  'tensorflow',
  'pickle',
  'pytorch',
  'numpy',
  'npz',
  'hdf5',
  'keras',
  'zip',
  'jar',
  'compressed',
  'tar',
  'code',
  'json',
  'markdown',
  'text',
  'empty',
  'unknown',
] as const satisfies readonly Format[]

/** What a rule may name. */
export interface Known {
  readonly signers: readonly string[]
  readonly machines: ReadonlyMap<string, Machine>
}

/** One entry of `rules:`. */
export function readRule(item: Cursor, known: Known): Rule {
  const fields = item.fields([
    'models',
    'signed-by',
    'hashes',
    'formats',
    'extra-files',
    'max-signature-age',
    'machine',
    'protection',
    'admitted',
    'manifest-only',
  ])
  const extra = fields.get('extra-files', (value) => {
    const inner = value.fields(['allow', 'ignored'])
    return {
      allow: inner.get('allow', (list) => list.list(readPattern)) ?? [],
      ignored: inner.get('ignored', (word) => word.oneOf(['allow', 'refuse'])) ?? 'refuse',
    }
  })
  return {
    models: fields.need(
      'models',
      (value) => value.list(readPattern),
      "which models the rule is about: `models: ['acme/*']`",
    ),
    signedBy: fields.need(
      'signed-by',
      (value) => readSignedBy(value, known.signers),
      'who must have signed: `signed-by: {any-of: [NAME]}`',
    ),
    hashes: fields.get('hashes', (value) => value.list((one) => one.oneOf(HASHES))) ?? HASHES,
    ...(fields.get('formats', readFormats) ?? {
      formatsOnly: null,
      formatsAllowed: [],
      formatsDenied: [],
    }),
    extraAllowed: extra?.allow ?? [],
    ignoredAllowed: extra?.ignored === 'allow',
    maxSignatureAge: fields.get('max-signature-age', readDuration) ?? null,
    machines: fields.need(
      'machine',
      (value) => readMachines(value, known.machines),
      'which attested machine: `machine: {any-of: [NAME]}`, or `machine: not-required`',
    ),
    protection: fields.get('protection', (value) => value.oneOf(PROTECTIONS)) ?? 'start',
    admitted: fields.get('admitted', (value) => readAdmitted(value, known.signers)) ?? null,
    manifestOnly:
      fields.get('manifest-only', (value) => value.list((one) => one.oneOf(MANIFEST_ROUTES))) ?? [],
  }
}

function readSignedBy(item: Cursor, signers: readonly string[]): SignedBy {
  const fields = item.fields(['any-of', 'all-of', 'threshold'])
  if (!fields.has('any-of') && !fields.has('all-of'))
    return item.refuse('one of any-of, all-of is missing')
  const names = (value: Cursor): readonly string[] =>
    value.list((one) => readName(one, signers, 'signers'))
  const allOf = fields.get('all-of', names) ?? []
  const anyOf = fields.get('any-of', names) ?? []
  const twice = anyOf.find((name) => allOf.includes(name))
  if (twice !== undefined)
    fields.refuse('any-of', `\`${twice}\` is in \`all-of\` as well`, 'keep it in one of the two')
  if (anyOf.length === 0) {
    if (fields.has('threshold'))
      fields.refuse('threshold', '`threshold` counts the signers of `any-of`, which is missing')
    return { allOf, anyOf, threshold: 0 }
  }
  const threshold = fields.get('threshold', (value) => value.integer(1, 100)) ?? 1
  if (threshold > anyOf.length)
    fields.refuse(
      'threshold',
      `${String(threshold)} of ${String(anyOf.length)} signers can never be reached`,
    )
  return { allOf, anyOf, threshold }
}

function readFormats(item: Cursor): Pick<Rule, 'formatsOnly' | 'formatsAllowed' | 'formatsDenied'> {
  const fields = item.fields(['only', 'allow', 'deny'])
  const words = (value: Cursor): readonly Format[] => value.list((one) => one.oneOf(FORMATS))
  const only = fields.get('only', words) ?? null
  const allow = fields.get('allow', words) ?? []
  const deny = fields.get('deny', words) ?? []
  if (only !== null && fields.has('allow'))
    fields.refuse(
      'allow',
      '`only` and `allow` exclude each other',
      '`only` names all formats; `allow` adds some to the known ones that cannot run code',
    )
  const both = deny.find((format) => (only ?? allow).includes(format))
  if (both !== undefined) fields.refuse('deny', `\`${both}\` is allowed and denied at once`)
  return { formatsOnly: only, formatsAllowed: allow, formatsDenied: deny }
}

function readMachines(
  item: Cursor,
  machines: ReadonlyMap<string, Machine>,
): readonly string[] | null {
  if (item.node.kind === 'scalar') {
    item.oneOf(['not-required'])
    return null
  }
  return item
    .fields(['any-of'])
    .need('any-of', (value) => value.list((one) => readName(one, [...machines.keys()], 'machines')))
}

function readAdmitted(item: Cursor, signers: readonly string[]): Admitted {
  const fields = item.fields(['by', 'within', 'policy'])
  return {
    by: fields.need('by', (value) => value.list((one) => readName(one, signers, 'signers'))),
    within: fields.need('within', readDuration, 'how old the saved verdict may be: `within: 7d`'),
    policy: fields.need(
      'policy',
      (value) => {
        const inner = value.fields(['name', 'sha256'])
        const name = inner.get('name', (text) => text.text('the name of a policy')) ?? null
        const sha256 = inner.get('sha256', readSha256) ?? null
        return name === null && sha256 === null
          ? value.refuse('one of name, sha256 is missing')
          : { name, sha256 }
      },
      'under which policy: `policy: {name: NAME}` or `policy: {sha256: DIGEST}`',
    ),
  }
}

/** A pattern for models, files or namespaces. What other tools' patterns can do and this one cannot is refused, not taken literally. */
export function readPattern(item: Cursor): string {
  const text = item.text('a name or a pattern')
  if (text.includes('**'))
    item.refuse('`**` has no meaning: `*` stands for anything but `/`', 'write one `*` per level')
  if (/[?[\]{}\\]/.test(text) || text.startsWith('!'))
    item.refuse('only `*` is a pattern; ? [ ] { } \\ and a leading ! are not allowed')
  if (text !== text.trim()) item.refuse('there is a blank at the start or the end')
  return text
}
