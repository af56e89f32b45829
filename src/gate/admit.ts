// The single owner of admitting: one question about one model in, one verdict out, with everything that it rests on.
import { evaluate } from '../policy/evaluate.ts'
import type { Facts, FilesFact } from '../policy/facts.ts'
import type { ResolvedPolicy } from '../policy/policy.ts'
import type { Protection, Verdict } from '../verdict.ts'
import { gather } from './gather.ts'
import type { Admission, AdmitRequest, Gathered } from './question.ts'

/**
 * Gathers the facts about one model and decides.
 * @throws ZtError where no verdict can be reached: the model, the endorsements or the caller's own trust can't be read, or it was interrupted
 */
export async function admit(request: AdmitRequest): Promise<Admission> {
  return decide(await gather(request))
}

/**
 * Decides over gathered facts. Without `protection` nothing is loaded, and the level that the rule asks for is only named. A loader decides
 * twice: first so (is it worth protecting?), and again with the level that it reached. The same facts give the same bytes.
 */
export function decide(gathered: Gathered, protection?: Protection): Admission {
  const { policy } = gathered
  const reached = protection === undefined ? {} : { protection }
  const facts: Facts = {
    ...gathered.facts,
    ...reached,
    purpose: protection === undefined ? 'judge' : 'load',
  }
  const verdict = evaluate(policy, facts)
  const files = verdict.decision === 'allow' ? deciding(policy, facts, verdict) : null
  const recorded = { ...gathered.recorded, ...reached }
  return { verdict, manifest: files?.manifest ?? null, files, facts, recorded }
}

/** The comparison that alone is enough for the same answer about the same digest: a root covers no names, so it does not say which list it was. */
function deciding(
  policy: ResolvedPolicy,
  facts: Facts,
  { subject }: Pick<Verdict, 'subject'>,
): FilesFact | null {
  const [only, second] = facts.files
  if (only !== undefined && second === undefined) return only
  const same = (one: FilesFact): boolean => {
    const alone = evaluate(policy, { ...facts, files: [one] })
    return alone.decision === 'allow' && alone.subject.digest?.sha256 === subject.digest?.sha256
  }
  return facts.files.find(same) ?? null
}
