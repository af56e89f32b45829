// The single owner of signed reference values: which measurements somebody with a name says are good, and until when.
import { AttestationError } from '../../attestation/index.ts'
import { decode, formatTime, type JsonValue } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { AuthenticatedStatement } from '../verify/result.ts'
import type { StatementFact } from './facts.ts'
import type { Machine, MachinePlatform, ResolvedPolicy } from './policy.ts'
import { isSigner } from './signer.ts'

/**
 * An in-toto statement (v1) whose subject is the image or machine that the values are for, and whose predicate is
 * `{platform, measurements: [{measurement, name?}], issued, expires}`.
 */
export const REFERENCE_VALUES_TYPE = 'https://zt4ai.dev/reference-values/v1'

export interface ReferenceValues {
  readonly platform: MachinePlatform
  /** Names of the statement's subjects. */
  readonly images: readonly string[]
  readonly measurements: readonly {
    /** Lower-case hex, 48 bytes. */ readonly measurement: string
    readonly name?: string
  }[]
  readonly issued: string
  readonly expires: string
}

const predicate = decode.object({
  platform: decode.literal('sev-snp', 'tdx'),
  measurements: decode.array(
    decode.object({
      measurement: decode.string({ pattern: /^[0-9a-fA-F]{96}$/ }),
      name: decode.optional(decode.string({ min: 1, max: 256 })),
    }),
    { min: 1, max: 4096 },
  ),
  issued: decode.time(),
  expires: decode.time(),
})

const subjects = decode.array(
  decode.object({
    name: decode.string({ min: 1, max: 1024 }),
    digest: decode.optional(decode.any()),
  }),
  { min: 1, max: 1024 },
)

/**
 * Reads the values of an authenticated statement, strictly.
 * Throws `ZtError` `REFERENCE_VALUES_INVALID` with a JSON path.
 */
export function readReferenceValues(authenticated: AuthenticatedStatement): ReferenceValues {
  if (authenticated.predicateType !== REFERENCE_VALUES_TYPE) {
    throw new ZtError(
      'REFERENCE_VALUES_INVALID',
      `the statement is of another type: ${authenticated.predicateType.slice(0, 200)}`,
      { path: '$.predicateType', hint: `expected ${REFERENCE_VALUES_TYPE}` },
    )
  }
  try {
    const { statement } = authenticated
    const images = subjects(member(statement, 'subject'), '$.subject').map(({ name }) => name)
    const value = predicate(member(statement, 'predicate'), '$.predicate')
    if (value.expires.getTime() <= value.issued.getTime())
      throw new AttestationError('FORMAT_INVALID', '$.predicate.expires: not after `issued`', {
        path: '$.predicate.expires',
      })
    return {
      platform: value.platform,
      images,
      measurements: value.measurements.map((one) => ({
        ...one,
        measurement: one.measurement.toLowerCase(),
      })),
      issued: formatTime(value.issued),
      expires: formatTime(value.expires),
    }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('REFERENCE_VALUES_INVALID', error.message, {
      ...(error.path === undefined ? {} : { path: error.path }),
      cause: error,
    })
  }
}

function member(statement: Readonly<Record<string, unknown>>, name: string): JsonValue {
  const value = Object.hasOwn(statement, name) ? statement[name] : undefined
  if (value === undefined)
    throw new AttestationError('FORMAT_INVALID', `$: member "${name}" is missing`, { path: '$' })
  return value as JsonValue
}

/** The measurements that a machine may have, and why other statements did not count. */
export interface GoodMeasurements {
  readonly accepted: ReadonlyMap<string, string>
  readonly problems: readonly string[]
}

/**
 * Joins the literals of the policy with the statements of the signers that it names, as they stand at `at`. Gives each measurement
 * with where it comes from. What it gives is what evidence is to be appraised with; `null` where the policy accepts any.
 */
export function goodMeasurements(
  resolved: ResolvedPolicy,
  machine: Machine,
  statements: readonly StatementFact[],
  at: Date,
): GoodMeasurements | null {
  if (machine.measurements === null) return null
  const accepted = new Map<string, string>()
  const problems: string[] = []
  for (const entry of machine.measurements) {
    if (entry.kind === 'literal') {
      accepted.set(entry.value, 'the policy')
      continue
    }
    const own = statements.filter(({ signer }) => signer === entry.signer)
    if (own.length === 0) problems.push(`no statement of \`${entry.signer}\` was given`)
    for (const { result } of own) {
      const { authenticated } = result
      const genuine =
        authenticated !== null && isSigner(resolved, entry.signer, authenticated.signer)
      const found = genuine
        ? valuesOf(authenticated, machine.platform, entry.image, at)
        : 'does not verify'
      if (typeof found === 'string') problems.push(`a statement of \`${entry.signer}\` ${found}`)
      else
        for (const { measurement, name } of found.measurements)
          accepted.set(
            measurement,
            `${name === undefined ? '' : `\`${name}\`, `}stated by \`${entry.signer}\` until ${found.expires}`,
          )
    }
  }
  return { accepted, problems }
}

function valuesOf(
  authenticated: AuthenticatedStatement,
  platform: MachinePlatform,
  image: string | null,
  at: Date,
): ReferenceValues | string {
  let values: ReferenceValues
  try {
    values = readReferenceValues(authenticated)
  } catch (error) {
    if (!(error instanceof ZtError)) throw error
    return `is not well-formed: ${error.message}`
  }
  if (values.platform !== platform) return `is about ${values.platform}`
  if (image !== null && !values.images.includes(image)) return `is not about \`${image}\``
  if (at.getTime() < Date.parse(values.issued)) return `was issued later, at ${values.issued}`
  if (at.getTime() >= Date.parse(values.expires)) return `expired at ${values.expires}`
  return values
}
