// The single owner of reading a verdict that somebody wrote down: strictly, and never more allowing than its own checks.
import { AttestationError } from '../../attestation/index.ts'
import { decode, parseJson, type JsonValue } from '../../attestation/lib/index.ts'
import type { Code } from '../codes.ts'
import { ZtError } from '../error.ts'
import { makeVerdict, PROTECTIONS, type Check, type Verdict } from '../verdict.ts'

/** Largest verdict that is read. One check for each of 100,000 changed files has about 40 MB. */
export const MAX_VERDICT = 64 << 20

const { array, literal, object, optional, string } = decode

const text = string({ max: 16 << 20 })
const digest = object({ sha256: string({ pattern: /^[0-9a-f]{64}$/ }) })
/** One check, as it is written in JSON. */
export const checkShape = object({
  id: string({ min: 1, max: 65_536 }),
  status: literal('pass', 'fail', 'warn', 'skip'),
  code: string({ max: 64, pattern: /^[A-Z][A-Z0-9_]*$/ }),
  message: text,
  expected: optional(text),
  actual: optional(text),
  hint: optional(text),
})
const shape = object({
  schema: literal('zt4ai.verdict/v1'),
  decision: literal('allow', 'deny'),
  at: string({ pattern: /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/ }),
  subject: object({ name: text, digest: optional(digest) }),
  policy: (value, path) => (value === null ? null : object({ name: text, digest })(value, path)),
  checks: array(checkShape, { max: 1_000_000 }),
  inputs: array(object({ name: string({ min: 1, max: 65_536 }), digest }), { max: 100_000 }),
  protection: optional(literal(...PROTECTIONS)),
})

/**
 * Reads a verdict from a JSON value. The decision must be the one that its checks give.
 * @throws ZtError VERDICT_INVALID with the JSON path
 */
export function decodeVerdict(value: JsonValue, path = '$'): Verdict {
  try {
    const { decision, checks, protection, at, subject, policy, inputs } = shape(value, path)
    // A later version may have more codes and other hints: a verdict is read for what it says, not for what this version would say.
    const written = checks.map((one): Check => ({ ...one, code: one.code as Code }))
    const verdict = makeVerdict({
      at,
      subject,
      policy,
      inputs,
      ...(protection === undefined ? {} : { protection }),
      checks: written,
    })
    if (verdict.decision === decision && !Number.isNaN(Date.parse(verdict.at)))
      return { ...verdict, checks: written }
    throw new AttestationError('FORMAT_INVALID', `${path}.decision: not what the checks give`, {
      path: `${path}.decision`,
    })
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('VERDICT_INVALID', `this is no verdict: ${error.message}`, {
      ...(error.path === undefined ? {} : { path: error.path }),
      cause: error,
    })
  }
}

/**
 * The same from bytes.
 * @throws ZtError VERDICT_INVALID
 */
export function readVerdict(bytes: Uint8Array): Verdict {
  let value: JsonValue
  try {
    value = parseJson(bytes, { maxBytes: MAX_VERDICT })
  } catch (cause) {
    if (!(cause instanceof AttestationError)) throw cause
    throw new ZtError('VERDICT_INVALID', `this is no verdict: ${cause.message}`, { cause })
  }
  return decodeVerdict(value)
}
