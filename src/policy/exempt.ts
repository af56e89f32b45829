// The single owner of exemptions at work: which failing checks become warnings, for how long, and which exemptions nobody needs any more.
import type { Check } from '../verdict.ts'
import { fail, instant, warn } from './check.ts'
import { matches } from './match.ts'
import type { Exemption, Policy } from './policy.ts'

/** One policy's exemptions for one model at one time. */
export class Exemptions {
  readonly #own: readonly (readonly [string, Exemption])[]
  readonly #at: number

  constructor(policy: Policy, names: readonly string[], at: number) {
    this.#at = at
    this.#own = [...policy.exemptions].filter(([, { models }]) =>
      models.some((pattern) => names.some((name) => matches(pattern, name))),
    )
  }

  /**
   * The checks with the waived ones as warnings. A refused piece of evidence is waived code by code, and only if the hardware's
   * signature holds (`authentic`): then the summary is waived with its parts.
   */
  waive(checks: readonly Check[], authentic: boolean): readonly Check[] {
    const waived = checks.map((check) => {
      const found = this.#own.find(
        ([, exemption]) => this.#active(exemption) && covers(exemption, check, authentic),
      )
      return found === undefined || check.status !== 'fail' ? check : waiver(check, found)
    })
    const isPart = ({ id }: Check): boolean => id.startsWith('evidence.')
    const excused = checks.some(
      (check, index) =>
        isPart(check) && check.status === 'fail' && waived[index]?.status === 'warn',
    )
    if (!authentic || !excused || waived.some((check) => isPart(check) && check.status === 'fail'))
      return waived
    return waived.map((check) =>
      check.id === 'machine.evidence' &&
      check.status === 'fail' &&
      check.code === 'EVIDENCE_REFUSED'
        ? {
            ...check,
            status: 'warn',
            code: 'WAIVED',
            message: `${check.message}; all its failing checks are waived`,
          }
        : check,
    )
  }

  /** What to say of the exemptions themselves: expired ones that are needed fail, unneeded ones are named. */
  report(before: readonly Check[], after: readonly Check[], authentic: boolean): readonly Check[] {
    return this.#own.flatMap(([name, exemption]) => {
      const id = `exemption.${name}`
      const needed = before.filter(
        (check, index) =>
          check.status === 'fail' &&
          covers(exemption, check, authentic) &&
          (!this.#active(exemption) ? after[index]?.status === 'fail' : true),
      )
      const more = {
        expected: `needed until ${exemption.expires}`,
        actual: `${exemption.owner}: ${exemption.reason}`,
      }
      if (needed.length === 0)
        return [
          warn(id, 'EXEMPTION_UNUSED', 'not needed: the checks that it waives would now pass', {
            ...more,
            hint: 'remove it from the policy',
          }),
        ]
      if (this.#active(exemption)) return []
      return [
        fail(id, 'EXEMPTION_EXPIRED', `expired at ${exemption.expires}`, {
          ...more,
          hint: `mend what it covers (${needed.map(({ id: check }) => check).join(', ')}), or have ${exemption.owner} extend it`,
        }),
      ]
    })
  }

  #active({ expires }: Exemption): boolean {
    return this.#at < instant(expires)
  }
}

/** One question that is asked twice: by attestation of the evidence, and here of the facts. */
const IMPLIED: Readonly<Record<string, readonly string[]>> = {
  'machine.measurement': ['MEASUREMENT'],
  'machine.nonce': ['NONCE', 'MODEL_BINDING'],
  'machine.binding': ['MODEL_BINDING'],
}

/** What is never waived: with these, nothing that the evidence says protects anything. */
export const NEVER_WAIVED: ReadonlySet<string> = new Set([
  'DEBUG',
  'QE_DEBUG',
  'REVOKED',
  'TCB_STATUS_UNKNOWN',
])

function covers(exemption: Exemption, check: Check, authentic: boolean): boolean {
  const part = check.id.startsWith('evidence.')
  if (part)
    return (
      authentic &&
      !NEVER_WAIVED.has(check.code) &&
      (exemption.checks.includes(check.id) ||
        exemption.checks.includes(check.code) ||
        exemption.checks.some((id) => IMPLIED[id]?.includes(check.code)))
    )
  // Refused evidence is more than missing evidence: an exemption from bringing any does not excuse bringing that.
  if (check.id === 'machine.evidence' && check.code !== 'EVIDENCE_MISSING') return false
  return exemption.checks.includes(check.id)
}

function waiver(check: Check, [name, exemption]: readonly [string, Exemption]): Check {
  return {
    ...check,
    status: 'warn',
    code: 'WAIVED',
    message: `waived until ${exemption.expires} by ${exemption.owner} (${name}: ${exemption.reason}): ${check.message}`,
  }
}
