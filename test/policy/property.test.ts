import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { evaluate } from '../../src/policy/evaluate.ts'
import type { Facts } from '../../src/policy/facts.ts'
import type { ResolvedPolicy } from '../../src/policy/policy.ts'
import { verdictJson } from '../../src/verdict.ts'
import {
  NONCE,
  ROOT,
  SOURCE,
  STATED,
  ago,
  attestation,
  badSignature,
  content,
  evidence,
  facts,
  files,
  manifest,
  referenceStatement,
  refusedAttestation,
  resolved,
  savedVerdict,
  signature,
} from './example.ts'

const claims = attestation().claims!
const other = manifest({ root: 'b2'.repeat(32) })

const POLICIES = [
  SOURCE,
  SOURCE.replace(
    '{any-of: [release, security]}',
    '{any-of: [release, security, registry], threshold: 2}',
  ),
  SOURCE.replace(
    '{any-of: [release, security]}',
    '{all-of: [release], any-of: [security, registry]}',
  ),
  SOURCE.replace(
    '    protection',
    '    formats: {allow: [pickle]}\n    hashes: [sha256]\n    extra-files: {ignored: allow}\n    protection',
  ),
  SOURCE.replace(
    '    protection',
    '    admitted: {by: [registry], within: 7d, policy: {name: registry}}\n    protection',
  ),
  SOURCE.replace('{any-of: [prod]}', 'not-required').replace(
    '    protection',
    '    manifest-only: [raw-bijection]\n    protection',
  ),
  `${SOURCE}  second:
    models: ['acme/*']
    signed-by: {any-of: [registry]}
    machine: not-required
`,
].flatMap((source) => [
  source,
  `${source}exemptions:
  machine: {models: ['acme/*'], checks: [machine.evidence, machine.nonce, CRL_MISSING], owner: o, reason: r, expires: 2027-01-01}
  content: {models: ['acme/*'], checks: [model.formats, model.extra-files, model.hashes], owner: o, reason: r, expires: 2027-01-01}
`,
  `${source}exemptions:
  late: {models: ['acme/*'], checks: [model.signature-age, protection, model.admitted], owner: o, reason: r, expires: 2026-01-01}
  age: {models: ['acme/*'], checks: [model.signature-age, machine.binding, machine.measurement, machine.freshness], owner: o, reason: r, expires: 2027-01-01}
`,
])
const RESOLVED = POLICIES.map((source) => resolved(source))

const pickle = files({
  formats: [
    content('config.json'),
    content('model.safetensors', { format: 'pickle', executable: true }),
  ],
})

/** Facts of every quality, good ones often enough that many combinations are allowed. */
const anyFacts: fc.Arbitrary<Facts> = fc.record({
  at: fc.constant('2026-11-20T12:00:00Z'),
  purpose: fc.constantFrom('load' as const, 'judge' as const),
  subject: fc.constantFrom({ name: 'acme/bert' }, { name: 'acme/bert' }, { name: 'other' }),
  signatures: fc.subarray([
    signature(),
    signature('security'),
    signature('registry'),
    badSignature(),
    signature('stranger', { as: 'release' }),
    signature('release', { times: [] }),
    signature('security', { times: [ago(100 * 86_400)] }),
    signature('release', { manifest: other }),
    signature('release', {
      manifest: manifest({
        serialization: { method: 'files', hashType: 'blake3', allowSymlinks: false },
      }),
    }),
  ]),
  files: fc.subarray([
    files(),
    pickle,
    files({ result: { extra: ['x.json'] }, formats: [...files().formats, content('x.json')] }),
    files({ result: { ignored: ['x.json'] } }),
    files({ result: { changed: [{ name: 'config.json', expected: 'a', actual: 'b' }] } }),
    files({ root: other.root, manifest: other }),
    files({ route: 'raw-bijection' }),
  ]),
  evidence: fc.subarray([
    evidence(),
    evidence({ binding: null }),
    evidence({ result: refusedAttestation('CRL_MISSING') }),
    evidence({ result: refusedAttestation('SIGNATURE_INVALID', false) }),
    evidence({ result: attestation({ claims: { ...claims, measurement: STATED } }) }),
    evidence({ result: attestation({ simulated: true }) }),
    evidence({
      binding: { model: ROOT, nonce: { expected: NONCE, actual: 'dd', issued: ago(1) } },
    }),
    evidence({ binding: { model: other.root, nonce: { expected: NONCE, actual: NONCE } } }),
    evidence({ machine: 'nowhere' }),
  ]),
  referenceValues: fc.subarray([
    referenceStatement(),
    referenceStatement({ predicate: { expires: ago(1) } }),
    referenceStatement({ signer: 'stranger' }),
  ]),
  saved: fc.subarray([
    savedVerdict(),
    savedVerdict({ decision: 'deny' }),
    savedVerdict({ at: ago(8 * 86_400) }),
  ]),
  protection: fc.constantFrom(
    'none' as const,
    'start' as const,
    'private-copy' as const,
    'fsverity' as const,
  ),
  inputs: fc.constant([]),
})

const anyPolicy = fc.constantFrom(...RESOLVED)

/** Every way to take one fact away. */
function* lessFacts(whole: Facts): Generator<Facts> {
  const lists = ['signatures', 'files', 'evidence', 'referenceValues', 'saved'] as const
  for (const list of lists)
    for (let index = 0; index < whole[list].length; index += 1)
      yield { ...whole, [list]: whole[list].filter((_, at) => at !== index) }
  const { protection, ...rest } = whole
  if (protection !== undefined) yield rest
  for (const [index, file] of whole.files.entries()) {
    for (let gone = 0; gone < file.formats.length; gone += 1)
      yield {
        ...whole,
        files: whole.files.with(index, {
          ...file,
          formats: file.formats.filter((_, at) => at !== gone),
        }),
      }
  }
  for (const [index, fact] of whole.evidence.entries()) {
    yield { ...whole, evidence: whole.evidence.with(index, { ...fact, binding: null }) }
    yield {
      ...whole,
      evidence: whole.evidence.with(index, {
        ...fact,
        result: { ...fact.result, accepted: false, claims: null, root: null },
      }),
    }
  }
  for (const [index, fact] of whole.signatures.entries()) {
    const { authenticated } = fact.result
    if (authenticated === null) continue
    yield {
      ...whole,
      signatures: whole.signatures.with(index, {
        ...fact,
        result: { ...fact.result, authenticated: { ...authenticated, times: [] } },
      }),
    }
    yield {
      ...whole,
      signatures: whole.signatures.with(index, {
        ...fact,
        result: { ...fact.result, manifest: null },
      }),
    }
  }
}

/** Every way to take one thing that permits out of a policy. */
function* lessPolicy(whole: ResolvedPolicy): Generator<ResolvedPolicy> {
  for (const key of ['rules', 'exemptions', 'signers', 'machines'] as const) {
    for (const name of whole.policy[key].keys()) {
      const less = new Map<string, unknown>(whole.policy[key])
      less.delete(name)
      yield { ...whole, policy: { ...whole.policy, [key]: less } }
    }
  }
}

describe('less never allows more', () => {
  it('when a fact is taken away', () => {
    let allowed = 0
    fc.assert(
      fc.property(anyPolicy, anyFacts, (policy, whole) => {
        if (evaluate(policy, whole).decision === 'allow') {
          allowed += 1
          return
        }
        for (const less of lessFacts(whole)) expect(evaluate(policy, less).decision).toBe('deny')
      }),
      { numRuns: 250 },
    )
    // The property says nothing if nothing is ever allowed.
    expect(allowed).toBeGreaterThan(20)
  })

  it('when a rule, an exemption, a signer or a machine is taken away', () => {
    fc.assert(
      fc.property(anyPolicy, anyFacts, (policy, whole) => {
        if (evaluate(policy, whole).decision === 'allow') return
        for (const less of lessPolicy(policy)) expect(evaluate(less, whole).decision).toBe('deny')
      }),
      { numRuns: 250 },
    )
  })

  it('never throws, and is never allow with a failing check or without a signature', () => {
    fc.assert(
      fc.property(anyPolicy, anyFacts, (policy, whole) => {
        const verdict = evaluate(policy, whole)
        const failing = verdict.checks.filter(({ status }) => status === 'fail')
        expect(verdict.decision === 'allow').toBe(failing.length === 0)
        const own = failing.filter(({ id }) => !/^(evidence|signature)\./.test(id))
        for (const { hint, expected, actual } of own)
          expect([hint, expected, actual].some((text) => text !== undefined)).toBe(true)
        if (verdict.decision === 'allow')
          expect(verdict.checks.find(({ id }) => id === 'model.signed-by')?.status).toBe('pass')
        const ids = verdict.checks.map(({ id }) => id)
        expect(new Set(ids).size).toBe(ids.length)
      }),
      { numRuns: 250 },
    )
  })
})

describe('the same facts give the same bytes', () => {
  it('however often they are judged, and whatever copy of them', () => {
    fc.assert(
      fc.property(fc.nat(POLICIES.length - 1), anyFacts, (index, whole) => {
        const once = verdictJson(evaluate(RESOLVED[index]!, whole))
        expect(verdictJson(evaluate(RESOLVED[index]!, structuredClone(whole)))).toBe(once)
      }),
      { numRuns: 200 },
    )
  })

  it('a decision does not depend on the order of facts', () => {
    fc.assert(
      fc.property(anyPolicy, anyFacts, (policy, whole) => {
        const turned = {
          ...whole,
          signatures: whole.signatures.toReversed(),
          files: whole.files.toReversed(),
          evidence: whole.evidence.toReversed(),
          saved: whole.saved.toReversed(),
        }
        expect(evaluate(policy, turned).decision).toBe(evaluate(policy, whole).decision)
      }),
      { numRuns: 300 },
    )
  })
})

describe('the example', () => {
  it('is allowed under the policies that ask for no more', () => {
    expect(evaluate(RESOLVED[0]!, facts()).decision).toBe('allow')
  })
})
