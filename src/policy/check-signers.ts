// The single owner of the question who signed: which signers count for a model's root, with which hash, and since when.
import type { Manifest } from '../model/manifest.ts'
import type { Check } from '../verdict.ts'
import type { Signer } from '../verify/result.ts'
import { fail, instant, pass, reasonOf, skip, under } from './check.ts'
import type { FilesFact, SignatureFact } from './facts.ts'
import { formatDuration } from './match.ts'
import type { ResolvedPolicy, Rule } from './policy.ts'
import { isSigner, marksOf, signerInWords } from './signer.ts'

/** The predicate of a signature over a registry's manifest (cosign 3; its subject's digest is the manifest's). */
export const MANIFEST_SIGNATURE_TYPE = 'https://sigstore.dev/cosign/sign/v1'

/** The list that was compared with what is there. */
export type SignedList = Pick<FilesFact, 'root' | 'manifest' | 'route'>

export interface SignersFinding {
  readonly checks: readonly Check[]
  /** True if a signature of a signer that the rule names covers the list. */
  readonly covered: boolean
}

interface Counted {
  readonly name: string
  /** Who it is: the same for all that share a key or a name. */
  readonly person: string
  readonly fact: SignatureFact
  readonly signer: Signer
}

/** Judges the signatures over one list of files. */
export function checkSigners(
  resolved: ResolvedPolicy,
  rule: Rule,
  facts: readonly SignatureFact[],
  target: SignedList | null,
  at: number,
): SignersFinding {
  const wanted = [...rule.signedBy.allOf, ...rule.signedBy.anyOf]
  const attempts = facts.filter(({ signer }) => wanted.includes(signer))
  const covering = attempts.flatMap((fact) => {
    const signer = fact.result.authenticated?.signer
    if (signer === undefined || target === null || !covers(fact, target)) return []
    return isSigner(resolved, fact.signer, signer) ? [{ name: fact.signer, fact, signer }] : []
  })
  const personOf = people(covering.map(({ signer }) => marksOf(signer)))
  const counted: readonly Counted[] = covering.map((one) => ({
    ...one,
    person: personOf(marksOf(one.signer)),
  }))
  if (!satisfied(rule, counted)) {
    const checks: Check[] = [
      onlyPeopleMissing(rule, counted)
        ? fail('model.signed-by', 'SIGNERS', 'not signed by enough different people', {
            expected: `${requirement(rule)}, each a different person`,
            actual: counted
              .map(({ name, signer }) => `${name}: ${signerInWords(signer)}`)
              .join('; '),
            hint: 'have somebody else sign the same files as well: one person under two names counts once',
          })
        : fail('model.signed-by', 'SIGNERS', `not signed by ${requirement(rule)}`, {
            expected: requirement(rule),
            actual: attemptsInWords(wanted, attempts, counted, target !== null),
            hint: 'sign the same files again as a signer that the rule names, or name this signer in the rule',
          }),
      ...detailsOf(wanted, attempts, counted),
      skip('model.hashes', 'not judged: the signers are missing'),
      skip('model.signature-age', 'not judged: the signers are missing'),
    ]
    return { checks, covered: counted.length > 0 }
  }

  const hashed = counted.filter(({ fact }) => rule.hashes.includes(hashOf(fact)))
  const hashesPass = satisfied(rule, hashed)
  const fresh = hashed.filter(
    ({ fact }) => rule.maxSignatureAge === null || ageOf(fact, at) <= rule.maxSignatureAge * 1000,
  )
  const shown = satisfied(rule, fresh) ? fresh : counted
  const names = [...new Set(shown.map(({ name }) => name))]
  const checks: Check[] = [
    pass('model.signed-by', `signed by ${names.join(', ')}`, {
      expected: requirement(rule),
      actual: shown.map(({ name, signer }) => `${name}: ${signerInWords(signer)}`).join('; '),
    }),
  ]
  for (const name of names) {
    const one = shown.find((entry) => entry.name === name)
    if (one !== undefined) checks.push(...embed(name, one.fact))
  }
  checks.push(hashCheck(rule, counted, hashesPass), ageCheck(rule, hashed, fresh, hashesPass, at))
  return { checks, covered: true }
}

function hashCheck(rule: Rule, counted: readonly Counted[], good: boolean): Check {
  const used = [...new Set(counted.map(({ fact }) => hashOf(fact)))].join(', ')
  const more = { expected: rule.hashes.join(' or '), actual: used }
  return good
    ? pass('model.hashes', `hashed with ${used}`, more)
    : fail('model.hashes', 'HASH_NOT_ALLOWED', `the files were hashed with ${used}`, {
        ...more,
        hint: `sign again with --hash ${rule.hashes[0] ?? 'sha256'}`,
      })
}

function ageCheck(
  rule: Rule,
  hashed: readonly Counted[],
  fresh: readonly Counted[],
  hashesPass: boolean,
  at: number,
): Check {
  const id = 'model.signature-age'
  if (rule.maxSignatureAge === null) return skip(id, 'the rule limits no age')
  const expected = `at most ${formatDuration(rule.maxSignatureAge)}, by a time that somebody else vouches for`
  // With a hash that is not allowed nothing is left to be fresh: this fails as well, so that a waiver of one never covers both.
  if (!hashesPass)
    return fail(id, 'SIGNATURE_OLD', 'no signature with an allowed hash is fresh', { expected })
  if (satisfied(rule, fresh)) {
    const oldest = Math.max(...fresh.map(({ fact }) => ageOf(fact, at)))
    return pass(id, 'the signature is fresh', { expected, actual: ageInWords(oldest) })
  }
  const ages = hashed.map(({ fact }) => ageOf(fact, at))
  const known = ages.filter((age) => Number.isFinite(age))
  if (known.length === 0)
    return fail(id, 'SIGNATURE_TIME_UNKNOWN', 'nobody but the signer says when it was signed', {
      expected,
      actual: 'no authenticated time',
      hint: 'sign with a transparency log or a timestamp authority (--keyless), or remove `max-signature-age`',
    })
  return fail(id, 'SIGNATURE_OLD', 'the signature is too old', {
    expected,
    actual: ageInWords(Math.min(...known)),
    hint: 'sign again',
  })
}

function ageInWords(milliseconds: number): string {
  return milliseconds < 0
    ? `signed ${String(Math.ceil(-milliseconds / 1000))} seconds later than the time of judging`
    : `${String(Math.floor(milliseconds / 86_400_000))} days and ${String(Math.floor((milliseconds % 86_400_000) / 1000))} seconds`
}

/** Age by the latest authenticated time that is not in the future; infinite where there is none. */
function ageOf(fact: SignatureFact, at: number): number {
  const ages = (fact.result.authenticated?.times ?? [])
    .map(({ time }) => at - instant(time))
    .filter((age) => age >= 0)
  return ages.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...ages)
}

function hashOf(fact: SignatureFact): Manifest['serialization']['hashType'] {
  // A registry's manifest is named by SHA-256, here always.
  return fact.result.manifest?.serialization.hashType ?? 'sha256'
}

/**
 * All of `all-of`, and enough of `any-of`: different signers, each a different person. One key under two names counts once, also where one
 * of them has a certificate for it, and so do two people under one name (`any-identity`).
 */
function satisfied(
  { signedBy: { allOf, anyOf, threshold } }: Rule,
  counted: readonly Counted[],
): boolean {
  const behind = new Map<string, Set<string>>()
  for (const { name, person } of counted)
    behind.set(name, (behind.get(name) ?? new Set<string>()).add(person))
  const taken = new Map<string, string>()
  // The most pairs of a signer and a person that share neither (a matching, by augmenting paths): who has a place keeps one.
  const place = (name: string, seen = new Set<string>()): boolean =>
    [...(behind.get(name) ?? [])].some((person) => {
      if (seen.has(person)) return false
      seen.add(person)
      const other = taken.get(person)
      if (other !== undefined && !place(other, seen)) return false
      taken.set(person, name)
      return true
    })
  return (
    allOf.every((name) => place(name)) && anyOf.filter((name) => place(name)).length >= threshold
  )
}

/** Gives those who share a mark, or are joined by others who do, the same name. */
function people(marks: readonly (readonly string[])[]): (marks: readonly string[]) => string {
  const joined = new Map<string, string>()
  const top = (mark: string): string => {
    const above = joined.get(mark)
    return above === undefined ? mark : top(above)
  }
  for (const [first = '', ...others] of marks)
    for (const other of others) if (top(other) !== top(first)) joined.set(top(other), top(first))
  return ([first = '']) => top(first)
}

/** True if the signers would do, were each of them another person. */
function onlyPeopleMissing(
  { signedBy: { allOf, anyOf, threshold } }: Rule,
  counted: readonly Counted[],
): boolean {
  const has = (name: string): boolean => counted.some((one) => one.name === name)
  return allOf.every(has) && anyOf.filter(has).length >= threshold
}

/** True if the signature is over exactly this list, in the way that the route needs. */
function covers(fact: SignatureFact, target: SignedList): boolean {
  const { authenticated, manifest } = fact.result
  if (authenticated === null) return false
  if (target.route !== 'manifest-digest')
    return (
      manifest != null &&
      target.manifest !== null &&
      target.manifest.root === target.root &&
      sameList(manifest, target.manifest)
    )
  if (authenticated.predicateType !== MANIFEST_SIGNATURE_TYPE) return false
  const subjects = authenticated.statement['subject']
  if (!Array.isArray(subjects) || subjects.length !== 1) return false
  const digest = (subjects[0] as { digest?: { sha256?: unknown } | null } | null)?.digest
  return digest?.sha256 === target.root
}

/**
 * True if two lists name the same files with the same digests in the same order. The root alone does not say so: it is over the digests,
 * and a list with two names swapped has the same one. What a signer left out (`ignorePaths`) does not name a file.
 */
function sameList(a: Manifest, b: Manifest): boolean {
  if (a === b) return true
  return (
    a.root === b.root &&
    a.serialization.method === b.serialization.method &&
    a.serialization.hashType === b.serialization.hashType &&
    a.resources.length === b.resources.length &&
    a.resources.every((resource, index) => {
      const other = b.resources[index]
      return (
        resource.name === other?.name &&
        resource.algorithm === other.algorithm &&
        resource.digest === other.digest
      )
    })
  )
}

/** What a rule asks for, in words. */
export function requirement(rule: Rule): string {
  const { allOf, anyOf, threshold } = rule.signedBy
  const all = allOf.join(' and ')
  const any =
    anyOf.length === 0
      ? ''
      : anyOf.length === threshold
        ? anyOf.join(' and ')
        : anyOf.length === 1
          ? (anyOf[0] ?? '')
          : `${String(threshold)} of ${anyOf.join(', ')}`
  return [all, any].filter((part) => part !== '').join(', and ')
}

function attemptsInWords(
  wanted: readonly string[],
  attempts: readonly SignatureFact[],
  counted: readonly Counted[],
  compared: boolean,
): string {
  return wanted
    .map((name) => {
      const own = attempts.filter(({ signer }) => signer === name)
      if (counted.some((one) => one.name === name)) return `${name}: signed`
      if (own.length === 0) return `${name}: no signature`
      if (own.every(({ result }) => result.authenticated === null))
        return `${name}: ${reasonOf(closest(own)?.result.checks ?? [])}`
      return compared
        ? `${name}: signed another list of files`
        : `${name}: signed, but no file was compared`
    })
    .join('; ')
}

function detailsOf(
  wanted: readonly string[],
  attempts: readonly SignatureFact[],
  counted: readonly Counted[],
): readonly Check[] {
  return wanted.flatMap((name) => {
    const done = counted.find((one) => one.name === name)
    if (done !== undefined) return embed(name, done.fact)
    const best = closest(attempts.filter(({ signer }) => signer === name))
    return best === undefined ? [] : embed(name, best)
  })
}

/** The attempt with the fewest failing checks. */
function closest(facts: readonly SignatureFact[]): SignatureFact | undefined {
  const failing = ({ result }: SignatureFact): number =>
    result.checks.filter(({ status }) => status === 'fail').length
  return facts.reduce<SignatureFact | undefined>(
    (best, one) => (best === undefined || failing(one) < failing(best) ? one : best),
    undefined,
  )
}

function embed(name: string, fact: SignatureFact): readonly Check[] {
  return under(
    `signature.${name}`,
    fact.result.checks.map((check) => ({ ...check, id: check.id.replace(/^signature\./, '') })),
  )
}
