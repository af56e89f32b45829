import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { CODES } from '../../attestation/index.ts'
import { ZtError } from '../../src/error.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { decodePolicy } from '../../src/policy/decode.ts'
import type { Verdict } from '../../src/verdict.ts'
import { evaluate } from '../../src/policy/evaluate.ts'
import { NEVER_WAIVED } from '../../src/policy/exempt.ts'
import type { SignatureFact } from '../../src/policy/facts.ts'
import type { ResolvedPolicy } from '../../src/policy/policy.ts'
import type { Signer } from '../../src/verify/result.ts'
import { REPOSITORY } from '../shared.ts'
import { facts, policyOf, resolved, signature, SOURCE } from './example.ts'

describe('a threshold', () => {
  const leaf = (...identities: string[]): Signer => ({
    kind: 'certificate',
    rootSha256: 'a',
    leafSha256: 'b',
    spkiSha256: `key of ${identities.join()}`,
    subject: 'CN=x',
    identities,
  })
  const by = (name: string, signer: Signer): SignatureFact => {
    const base = signature()
    const authenticated = { ...base.result.authenticated!, signer }
    return { signer: name, result: { ...base.result, authenticated } }
  }
  /** The signers `team` (anybody under a root), `lead` and `security` (one each under the same root). */
  function policy(threshold: number): ResolvedPolicy {
    const exactly = (identity: string): string =>
      `{certificate: {roots: {file: ca.pem}, identity: ${identity}}}`
    const source = SOURCE.replace(
      /^ {2}release: .*$/m,
      `  team: {certificate: {roots: {file: ca.pem}, any-identity: true}}\n  lead: ${exactly('lead')}`,
    )
      .replace(/^ {2}security: .*$/m, `  security: ${exactly('security')}`)
      .replace(
        '{any-of: [release, security]}',
        `{any-of: [team, lead, security], threshold: ${String(threshold)}}`,
      )
    // No certificate is parsed here: the policy is put together by hand.
    return { ...resolved(), policy: policyOf(source) }
  }
  const decide = (threshold: number, signatures: readonly SignatureFact[]): string =>
    evaluate(policy(threshold), facts({ signatures })).decision

  it('is of different signers of the rule, each a different person', () => {
    const two = [by('team', leaf('ann')), by('team', leaf('bob'))]
    expect(decide(1, two)).toBe('allow')
    expect(decide(2, two)).toBe('deny')
    const lead = [by('team', leaf('lead')), by('lead', leaf('lead'))]
    expect(decide(2, lead)).toBe('deny')
    expect(decide(2, [...lead, by('security', leaf('security'))])).toBe('allow')
    expect(decide(2, [...lead, by('team', leaf('ann'))])).toBe('allow')
    expect(decide(3, [...lead, by('security', leaf('security'))])).toBe('deny')
    expect(decide(3, [...lead, ...two, by('security', leaf('security'))])).toBe('allow')
  })

  it('and all-of are not both satisfied by one person, and the refusal says so', () => {
    const asked = (signedBy: string, signatures: readonly SignatureFact[]): Verdict => {
      const { policy: text } = policy(1)
      const rule = text.rules.get('production')!
      const parts = decodePolicy(
        utf8Encode(
          `schema: zt4ai.policy/v1\nname: t\nsigners: {team: {key: {file: a}}, lead: {key: {file: b}}, security: {key: {file: c}}}\nrules: {a: {models: [m], signed-by: ${signedBy}, machine: not-required}}`,
        ),
      ).rules.get('a')!
      const rules = new Map([['production', { ...rule, signedBy: parts.signedBy }]])
      return evaluate({ ...resolved(), policy: { ...text, rules } }, facts({ signatures }))
    }
    const lead = [by('team', leaf('lead')), by('lead', leaf('lead'))]
    for (const signedBy of ['{all-of: [team, lead]}', '{all-of: [lead], any-of: [team]}']) {
      const refused = asked(signedBy, lead)
      expect(refused.decision).toBe('deny')
      expect(refused.checks.find(({ id }) => id === 'model.signed-by')).toMatchObject({
        status: 'fail',
        code: 'SIGNERS',
        message: expect.stringContaining('different people'),
      })
      expect(asked(signedBy, [...lead, by('team', leaf('ann'))]).decision).toBe('allow')
    }
  })

  it('counts a key once, bare and in a certificate, and who has it under several names', () => {
    const { kind, algorithm } = signature().result.authenticated!.signer as {
      kind: 'key'
      algorithm: 'ed25519'
    }
    const bare: Signer = { kind, algorithm, spkiSha256: 'key of lead' }
    const source = SOURCE.replace(
      /^ {2}security: .*$/m,
      '  lead: {certificate: {roots: {file: ca.pem}, any-identity: true}}\n  security: {certificate: {roots: {file: ca.pem}, identity: ann}}',
    ).replace('{any-of: [release, security]}', '{any-of: [release, lead, security], threshold: 2}')
    const known = {
      ...resolved(),
      policy: policyOf(source),
      keys: new Map([['release', 'key of lead']]),
    }
    const told = (...signatures: readonly SignatureFact[]): string =>
      evaluate(known, facts({ signatures })).decision
    expect(told(by('release', bare), by('lead', leaf('lead')))).toBe('deny')
    expect(told(by('release', bare), by('security', leaf('ann')))).toBe('allow')
    // ann has the key of lead as well: three signatures, one person
    const also = { ...leaf('ann'), spkiSha256: 'key of lead' } as Signer
    expect(told(by('release', bare), by('lead', also), by('security', leaf('ann')))).toBe('deny')
  })

  it('is never reached by more people or more signers than there are of the others', () => {
    const name = fc.constantFrom('team', 'lead', 'security')
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, fc.constantFrom('ann', 'bob', 'lead', 'security')), {
          maxLength: 8,
        }),
        fc.integer({ min: 1, max: 3 }),
        (pairs, threshold) => {
          const good = pairs.filter(([signer, who]) => signer === 'team' || signer === who)
          // By hand: the most pairs that share neither a name nor a person.
          const most = (left: typeof good): number => {
            const [first, ...rest] = left
            if (first === undefined) return 0
            const free = rest.filter(([one, who]) => one !== first[0] && who !== first[1])
            return Math.max(most(rest), 1 + most(free))
          }
          const signatures = pairs.map(([signer, who]) => by(signer, leaf(who)))
          expect(decide(threshold, signatures)).toBe(most(good) >= threshold ? 'allow' : 'deny')
        },
      ),
    )
  })
})

describe('the published schema', () => {
  const schema = JSON.parse(
    readFileSync(join(REPOSITORY, 'schemas/policy.v1.schema.json'), 'utf8'),
  ) as object
  const conforms = new Ajv2020({ strict: false }).compile(schema)

  it('takes the same codes in an exemption as the decoder does', () => {
    const refused = Object.keys(CODES).filter((code) => {
      const text = `${SOURCE}exemptions:
  x: {models: ['acme/*'], checks: [${code}], owner: o, reason: r, expires: 2027-01-01}
`
      let decodes = true
      try {
        policyOf(text)
      } catch (error) {
        if (!(error instanceof ZtError)) throw error
        decodes = false
      }
      expect([code, conforms(parse(text, { schema: 'failsafe' }))]).toEqual([code, decodes])
      return !decodes
    })
    expect(new Set(refused)).toEqual(NEVER_WAIVED)
  })
})
