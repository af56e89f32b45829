// The single owner of the form of `exemptions:` and `modes:`.
import { CODES as EVIDENCE_CODES } from '../../attestation/index.ts'
import { formatTime, parseTime } from '../../attestation/lib/index.ts'
import { didYouMean, type Cursor } from './cursor.ts'
import { readPattern } from './decode-rule.ts'
import { NEVER_WAIVED } from './exempt.ts'
import { MODES, type Exemption, type Mode, type Modes } from './policy.ts'

/**
 * Checks that an exemption may name. Not among them: who signed, and whether the files are the signed ones. Without those there is no
 * statement about which bytes the exemption speaks of.
 */
export const WAIVABLE = [
  'model.hashes',
  'model.signature-age',
  'model.extra-files',
  'model.formats',
  'model.admitted',
  'machine.evidence',
  'machine.measurement',
  'machine.nonce',
  'machine.freshness',
  'machine.binding',
  'protection',
] as const

const EVIDENCE_ID = /^evidence\.[a-z0-9]+(?:[.-][a-z0-9]+)*$/
const DAY = /^\d{4}-\d{2}-\d{2}$/

/** One entry of `exemptions:`. Every key is required: an exemption without an end is a rule. */
export function readExemption(item: Cursor): Exemption {
  const fields = item.fields(['models', 'checks', 'owner', 'reason', 'expires'])
  return {
    models: fields.need('models', (value) => value.list(readPattern)),
    checks: fields.need('checks', (value) => value.list(readCheck)),
    owner: fields.need('owner', (value) => value.text('who answers for it'), 'who answers for it'),
    reason: fields.need('reason', (value) => value.text('why'), 'why it is needed'),
    expires: fields.need('expires', readExpiry, 'until when, for example `expires: 2027-01-31`'),
  }
}

function readCheck(item: Cursor): string {
  const text = item.text('the id of a check, or a code of attestation')
  if (WAIVABLE.some((id) => id === text)) return text
  if (NEVER_WAIVED.has(text))
    item.refuse(
      `\`${text}\` is never waived`,
      'with it, nothing that the evidence says protects anything',
    )
  if (EVIDENCE_ID.test(text) || Object.hasOwn(EVIDENCE_CODES, text)) return text
  return item.refuse(
    `\`${text.slice(0, 80)}\` is not a check that can be waived`,
    didYouMean(text, [...WAIVABLE, ...Object.keys(EVIDENCE_CODES)]) ??
      `can be waived: ${WAIVABLE.join(', ')}, evidence.…, and codes of attestation. Who signed and what the files are cannot`,
  )
}

/** A time, or a day, which means its first moment in UTC. */
function readExpiry(item: Cursor): string {
  const text = item.text('a day or a time')
  try {
    return formatTime(parseTime(DAY.test(text) ? `${text}T00:00:00Z` : text))
  } catch {
    return item.refuse(
      `\`${text.slice(0, 40)}\` is not a day or a time`,
      'write 2027-01-31 or 2027-01-31T12:00:00Z',
    )
  }
}

/** The section `modes:`. */
export function readModes(item: Cursor): Modes {
  const fields = item.fields(['default', 'namespaces', 'exempt'])
  const exempt = fields.get('exempt', (value) => value.list(readExact)) ?? []
  const namespaces =
    fields.get('namespaces', (value) => {
      if (value.node.kind !== 'map') return value.refuse(`expected a map, found ${value.kind()}`)
      const result = new Map<string, Mode>()
      for (const [pattern, entry] of value.node.entries) {
        const inner = value.at(pattern, entry.value)
        if (!NAMESPACE.test(pattern))
          inner.refuse('not the name or pattern of a namespace', undefined, entry.key)
        if (exempt.includes(pattern))
          inner.refuse(`\`${pattern}\` is exempt as well`, 'keep it in one of the two', entry.key)
        result.set(pattern, inner.oneOf(MODES))
      }
      return result
    }) ?? new Map<string, Mode>()
  return {
    default: fields.get('default', (value) => value.oneOf(MODES)) ?? 'enforce',
    namespaces,
    exempt,
  }
}

const NAMESPACE = /^[a-z0-9*](?:[a-z0-9*-]{0,61}[a-z0-9*])?$/

/** Exempt namespaces are named one by one: a pattern would exempt what nobody thought of. */
function readExact(item: Cursor): string {
  const text = item.text('the name of a namespace')
  if (!NAMESPACE.test(text) || text.includes('*'))
    item.refuse('exempt namespaces are named exactly', 'write each name out')
  return text
}
