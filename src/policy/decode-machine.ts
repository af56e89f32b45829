// The single owner of the form of `machines:`.
import {
  AttestationError,
  decodeSnpPolicy,
  decodeTdxPolicy,
  STRICT_SNP_POLICY,
  STRICT_TDX_POLICY,
} from '../../attestation/index.ts'
import type { JsonValue } from '../../attestation/lib/index.ts'
import { didYouMean, type Cursor } from './cursor.ts'
import { readSource } from './decode-signer.ts'
import { durationSeconds } from './match.ts'
import type { Machine, MachinePlatform, Measurement } from './policy.ts'

const PLATFORMS = ['sev-snp', 'tdx'] as const satisfies readonly MachinePlatform[]
const REQUIRED = ['required', 'not-required'] as const
const MEASUREMENT = /^[0-9a-fA-F]{96}$/
const SHA256 = /^[0-9a-f]{64}$/

/** One entry of `machines:`. */
export function readMachine(item: Cursor, signers: readonly string[], files: string[]): Machine {
  const fields = item.fields([
    'platform',
    'measurements',
    'any-measurement',
    'nonce',
    'binding',
    'max-age',
    'trust-root',
    'snp',
    'tdx',
  ])
  const platform = fields.need('platform', (value) => value.oneOf(PLATFORMS))
  const own = platform === 'sev-snp' ? 'snp' : 'tdx'
  const other = own === 'snp' ? 'tdx' : 'snp'
  if (fields.has(other))
    fields.refuse(other, `a ${platform} machine has no \`${other}\` options`, `use \`${own}:\``)

  const any = fields.get('any-measurement', (value) => value.flag()) ?? false
  if (any && fields.has('measurements'))
    fields.refuse(
      'any-measurement',
      '`measurements` and `any-measurement: true` contradict each other',
    )
  const measurements = any
    ? null
    : fields.need(
        'measurements',
        (value) => value.list((one) => readMeasurement(one, signers, files)),
        'which launch measurements are good: literals, or `{from: reference-values, signer: NAME}`; `any-measurement: true` accepts any software',
      )

  const nonce = (fields.get('nonce', (value) => value.oneOf(REQUIRED)) ?? 'required') === 'required'
  const maxAge = fields.get('max-age', readDuration) ?? null
  if (maxAge !== null && !nonce)
    fields.refuse(
      'max-age',
      'evidence carries no time of its own: its age is the age of the nonce, which is not required here',
      'remove `nonce: not-required`, or `max-age`',
    )
  const shared = {
    measurements,
    nonce,
    binding: (fields.get('binding', (value) => value.oneOf(REQUIRED)) ?? 'required') === 'required',
    maxAge,
    trustRoot: fields.get('trust-root', (value) => readSource(value, 'pem', files)) ?? null,
  }
  return platform === 'sev-snp'
    ? {
        ...shared,
        platform,
        options:
          fields.get('snp', (value) => readOptions(value, decodeSnpPolicy)) ?? STRICT_SNP_POLICY,
      }
    : {
        ...shared,
        platform,
        options:
          fields.get('tdx', (value) => readOptions(value, decodeTdxPolicy)) ?? STRICT_TDX_POLICY,
      }
}

function readMeasurement(item: Cursor, signers: readonly string[], files: string[]): Measurement {
  if (item.node.kind !== 'map') {
    const value = item.hex('a measurement (96 hex digits)')
    if (!MEASUREMENT.test(value)) item.refuse('a measurement has 96 hex digits (48 bytes)')
    return { kind: 'literal', value: value.toLowerCase() }
  }
  const fields = item.fields(['from', 'signer', 'file', 'image'])
  fields.need('from', (value) => value.oneOf(['reference-values']))
  const file = fields.get('file', (value) => value.text('the name of a file')) ?? null
  if (file !== null) files.push(file)
  return {
    kind: 'reference-values',
    signer: fields.need('signer', (value) => readName(value, signers, 'signers')),
    file,
    image: fields.get('image', (value) => value.text('the name of an image')) ?? null,
  }
}

/** Options that the policy gives elsewhere: two places for one fact would contradict each other. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  measurements: '`measurements` stands one level higher, beside `platform`',
  'mr-td': 'MRTD is the measurement: give it as `measurements`, beside `platform`',
  'report-data': 'report data comes from the nonce and the model: see `nonce` and `binding`',
}

/**
 * Attestation's decoders name their options in camel case; this file writes them with hyphens, as everything else. What they
 * refuse comes with a path, for which line and column are found here.
 */
function readOptions<T>(item: Cursor, decoder: (value: unknown, path: string) => T): T {
  if (item.node.kind !== 'map') return item.refuse(`expected a map, found ${item.kind()}`)
  for (const [key, { key: at }] of item.node.entries)
    if (Object.hasOwn(ELSEWHERE, key)) item.refuse(`unknown key \`${key}\``, ELSEWHERE[key], at)
  const options = inCamelCase(item)
  try {
    return decoder(options, item.path)
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    const prefix = `${error.path ?? ''}: `
    const message = error.message.startsWith(prefix)
      ? error.message.slice(prefix.length)
      : error.message
    const unknown = /^unknown member "(.+)"$/.exec(message)?.[1]
    return locate(item, error.path ?? item.path).refuse(
      unknown === undefined ? message : `unknown key \`${hyphens(unknown)}\``,
      error.hint ??
        (message.startsWith('expected a string') ? 'put the value in quotes' : undefined),
    )
  }
}

/** The value as plain data, keys such as `minimum-tcb` as `minimumTcb`. Keys that begin with a capital are names and stay. */
function inCamelCase(item: Cursor): JsonValue {
  const { node } = item
  if (node.kind === 'scalar') {
    // `00906e000000` and `0x40` are numbers to YAML, and text to the decoders.
    const plain = typeof node.value !== 'number' || String(node.value) === node.source
    return plain ? node.value : node.source
  }
  if (node.kind === 'list') return node.items.map((one, index) => inCamelCase(item.at(index, one)))
  const object = Object.create(null) as Record<string, JsonValue>
  for (const [key, { key: at, value }] of node.entries) {
    if (/^[a-z][A-Za-z0-9]*[A-Z]/.test(key))
      item.refuse(
        `unknown key \`${key.slice(0, 80)}\``,
        `write \`${hyphens(key).slice(0, 80)}\``,
        at,
      )
    object[camels(key)] = inCamelCase(item.at(key, value))
  }
  return object
}

function camels(key: string): string {
  if (!/^[a-z]/.test(key)) return key
  return key.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

function hyphens(key: string): string {
  if (!/^[a-z]/.test(key)) return key
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** The deepest value on the way to `path` that is there. */
function locate(item: Cursor, path: string): Cursor {
  let here = item
  const rest = path.startsWith(item.path) ? path.slice(item.path.length) : path
  for (const step of rest.matchAll(/\.([^.[\]]+)|\[([0-9]+)\]/g)) {
    const { node } = here
    if (step[1] !== undefined && node.kind === 'map') {
      const name = hyphens(step[1])
      const entry = node.entries.get(name)
      if (entry === undefined) break
      here = here.at(name, entry.value)
    } else if (step[2] !== undefined && node.kind === 'list') {
      const one = node.items[Number(step[2])]
      if (one === undefined) break
      here = here.at(Number(step[2]), one)
    } else break
  }
  return here
}

/** A name that must be defined elsewhere in the policy. */
export function readName(item: Cursor, known: readonly string[], section: string): string {
  const name = item.text('a name')
  if (known.includes(name)) return name
  return item.refuse(
    `\`${name.slice(0, 80)}\` is not defined under \`${section}\``,
    didYouMean(name, known) ??
      (known.length === 0
        ? `there are no \`${section}\` in this policy`
        : `defined there: ${known.join(', ')}`),
  )
}

export function readDuration(item: Cursor): number {
  const text = item.text('a duration such as 30m, 12h or 7d')
  const seconds = durationSeconds(text)
  return (
    seconds ??
    item.refuse(
      `\`${text.slice(0, 40)}\` is not a duration`,
      'a whole number and s, m, h, d or w, at most a hundred years: 90s, 30m, 12h, 7d, 2w',
    )
  )
}

export function readSha256(item: Cursor): string {
  const text = item.hex('a SHA-256 digest (64 hex digits)').replace(/^sha256:/, '')
  return SHA256.test(text) ? text : item.refuse('a SHA-256 digest has 64 lower-case hex digits')
}
