// The single owner of finding out what a bundle is: verified with each signer that a rule names, it is a signature, a saved verdict, reference values, or nothing.
import type { NamedBytes } from '../../attestation/index.ts'
import { decodeBundle } from '../bundle/bundle.ts'
import { decodeStatement } from '../bundle/statement.ts'
import { ZtError } from '../error.ts'
import { MANIFEST_SIGNATURE_TYPE } from '../policy/check-signers.ts'
import type { Facts, SavedVerdictFact, SignatureFact, StatementFact } from '../policy/facts.ts'
import type { Measurement, Rule } from '../policy/policy.ts'
import { REFERENCE_VALUES_TYPE } from '../policy/reference.ts'
import type { Trust } from '../verify/result.ts'
import { verifySignature, verifyStatement } from '../verify/statement.ts'
import type { LoadedPolicy } from './question.ts'
import { savedVerdict, VERDICT_PREDICATE } from './saved.ts'

export type ExaminedBundles = Pick<Facts, 'signatures' | 'referenceValues' | 'saved'>

/** Whom the rules ask for, by what they ask of them. */
interface Wanted {
  readonly signing: ReadonlySet<string>
  readonly admitting: ReadonlySet<string>
  readonly stating: ReadonlySet<string>
}

/**
 * Verifies every bundle with every signer that the rules name. A bundle that some signer made is a fact about that signer alone; one that
 * nobody made is a failed attempt of each, so that the verdict can say why.
 * @throws ZtError if what the policy trusts can't be used to verify
 */
export async function examineBundles(
  policy: LoadedPolicy,
  rules: readonly Rule[],
  bundles: readonly NamedBytes[],
  at: Date,
): Promise<ExaminedBundles> {
  const machines = rules.flatMap((rule) => rule.machines ?? [])
  const sources = statedBy(policy, machines)
  const wanted: Wanted = {
    signing: new Set(rules.flatMap(({ signedBy }) => [...signedBy.allOf, ...signedBy.anyOf])),
    admitting: new Set(rules.flatMap(({ admitted }) => admitted?.by ?? [])),
    stating: new Set(sources.map(({ signer }) => signer)),
  }
  const found: Found = { signatures: [], referenceValues: [], saved: [] }
  for (const { bytes } of bundles) await examine(bytes, wanted, policy.resolved.trust, at, found)
  found.referenceValues.push(...(await namedStatements(policy, sources, at)))
  return found
}

/** The statements of reference values for some machines alone: those that the policy names, and those among `bundles`. */
export async function statementsFor(
  policy: LoadedPolicy,
  machines: readonly string[],
  bundles: readonly NamedBytes[],
  at: Date,
): Promise<readonly StatementFact[]> {
  const sources = statedBy(policy, machines)
  const stating = new Set(sources.map(({ signer }) => signer))
  const none = new Set<string>()
  const found: Found = { signatures: [], referenceValues: [], saved: [] }
  const wanted = { signing: none, admitting: none, stating }
  for (const { bytes } of bundles) await examine(bytes, wanted, policy.resolved.trust, at, found)
  return [...found.referenceValues, ...(await namedStatements(policy, sources, at))]
}

type Stated = Extract<Measurement, { kind: 'reference-values' }>

function statedBy({ resolved }: LoadedPolicy, machines: readonly string[]): readonly Stated[] {
  return machines.flatMap((name) =>
    (resolved.policy.machines.get(name)?.measurements ?? []).flatMap((one) =>
      one.kind === 'reference-values' ? [one] : [],
    ),
  )
}

/** The statements that the policy itself names as files. */
async function namedStatements(
  { resolved, files }: LoadedPolicy,
  sources: readonly Stated[],
  at: Date,
): Promise<readonly StatementFact[]> {
  const found = new Map<string, StatementFact>()
  for (const { signer, file } of sources) {
    const trust = resolved.trust.get(signer)
    const bytes = file === null ? undefined : files.get(file)
    const key = JSON.stringify([signer, file])
    if (trust === undefined || bytes === undefined || found.has(key)) continue
    found.set(key, { signer, result: await verifyStatement(bytes, trust, at) })
  }
  return [...found.values()]
}

interface Found {
  readonly signatures: SignatureFact[]
  readonly referenceValues: StatementFact[]
  readonly saved: SavedVerdictFact[]
}

async function examine(
  bytes: Uint8Array,
  wanted: Wanted,
  trusts: ReadonlyMap<string, Trust>,
  at: Date,
  found: Found,
): Promise<void> {
  const failed: SignatureFact[] = []
  let made = false
  for (const signer of new Set([...wanted.signing, ...wanted.admitting, ...wanted.stating])) {
    const trust = trusts.get(signer)
    if (trust === undefined) continue
    const fact = { signer, result: await verifyOne(bytes, wanted.signing.has(signer), trust, at) }
    if (fact.result.authenticated === null) failed.push(fact)
    else {
      made = true
      sort(fact, wanted, found)
    }
  }
  if (!made) sortFailed(failed, claimedType(bytes), wanted, found)
}

/** As a model's signature first where that is asked for: only what is authentic and something else is looked at as that. */
async function verifyOne(
  bytes: Uint8Array,
  signing: boolean,
  trust: Trust,
  at: Date,
): Promise<SignatureFact['result']> {
  if (!signing) return verifyStatement(bytes, trust, at)
  const result = await verifySignature(bytes, trust, at)
  const other = result.checks.some(
    ({ status, code }) => status === 'fail' && code === 'PREDICATE_TYPE',
  )
  if (!other) return result
  const statement = await verifyStatement(bytes, trust, at)
  // What nobody here has a use for stays a failed signature of a model, so that the verdict says why it does not count.
  return KNOWN_TYPES.has(statement.authenticated?.predicateType ?? '') ? statement : result
}

const KNOWN_TYPES: ReadonlySet<string> = new Set([
  VERDICT_PREDICATE,
  REFERENCE_VALUES_TYPE,
  MANIFEST_SIGNATURE_TYPE,
])

/** An authentic bundle, by what was signed. */
function sort(fact: SignatureFact, wanted: Wanted, found: Found): void {
  const { signer, result } = fact
  const type = result.authenticated?.predicateType
  if (type === VERDICT_PREDICATE) {
    if (wanted.admitting.has(signer))
      found.saved.push({ signer, result, verdict: savedVerdict(result.authenticated) })
  } else if (type === REFERENCE_VALUES_TYPE) {
    if (wanted.stating.has(signer)) found.referenceValues.push({ signer, result })
  } else if (
    wanted.signing.has(signer) &&
    (result.manifest != null || type === MANIFEST_SIGNATURE_TYPE)
  )
    found.signatures.push(fact)
}

/** A bundle that nobody made. What it claims to be decides only where its failure is told. */
function sortFailed(
  failed: readonly SignatureFact[],
  claimed: string | null,
  wanted: Wanted,
  found: Found,
): void {
  for (const fact of failed) {
    const { signer, result } = fact
    if (claimed === VERDICT_PREDICATE) {
      if (wanted.admitting.has(signer)) found.saved.push({ signer, result, verdict: null })
    } else if (claimed === REFERENCE_VALUES_TYPE) {
      if (wanted.stating.has(signer)) found.referenceValues.push({ signer, result })
    } else if (wanted.signing.has(signer)) found.signatures.push(fact)
  }
}

function claimedType(bytes: Uint8Array): string | null {
  try {
    return decodeStatement(decodeBundle(bytes).envelope.payload).predicateType
  } catch (error) {
    if (error instanceof ZtError) return null
    throw error
  }
}
