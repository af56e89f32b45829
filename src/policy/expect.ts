// The single owner of what attestation is asked about a machine of the policy: its options, the good measurements, the anchors.
import { VENDOR_ROOTS, type AttestationPolicy, type TrustRoot } from '../../attestation/index.ts'
import { hexToBytes } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { StatementFact } from './facts.ts'
import type { ResolvedPolicy } from './policy.ts'
import { goodMeasurements } from './reference.ts'

export interface Expectation {
  readonly policy: AttestationPolicy
  readonly trustRoots: readonly TrustRoot[]
}

/**
 * What to hand to `attest` for evidence of the machine `name`. The reference values of statements count as they stand at `at`.
 * Throws `ZtError` `INTERNAL` if the policy has no such machine.
 */
export function expectationOf(
  resolved: ResolvedPolicy,
  name: string,
  statements: readonly StatementFact[],
  at: Date,
): Expectation {
  const machine = resolved.policy.machines.get(name)
  if (machine === undefined) throw new ZtError('INTERNAL', `the policy has no machine \`${name}\``)
  const root = resolved.trustRoots.get(name)
  const good = goodMeasurements(resolved, machine, statements, at)
  const measurements =
    good === null ? undefined : [...good.accepted.keys()].map((hex) => hexToBytes(hex))
  return {
    policy:
      machine.platform === 'sev-snp'
        ? { snp: { ...machine.options, measurements } }
        : { tdx: { ...machine.options, mrTd: measurements } },
    trustRoots: root === undefined ? VENDOR_ROOTS : [root],
  }
}
