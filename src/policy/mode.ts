// The single owner of the question what the admission service does with a refusal in a namespace.
import { matches } from './match.ts'
import { MODES, type Mode, type Policy } from './policy.ts'

/** The mode for a namespace; `exempt` means that it is not asked about at all. An exact name wins, then the strictest pattern. */
export function modeOf(policy: Policy, namespace: string): Mode | 'exempt' {
  const { modes } = policy
  if (modes.exempt.includes(namespace)) return 'exempt'
  const exact = modes.namespaces.get(namespace)
  if (exact !== undefined) return exact
  const found = [...modes.namespaces]
    .filter(([pattern]) => matches(pattern, namespace))
    .map(([, mode]) => MODES.indexOf(mode))
  return found.length === 0 ? modes.default : (MODES[Math.max(...found)] ?? 'enforce')
}
