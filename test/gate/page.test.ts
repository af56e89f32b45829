import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { verdictPage } from '../../src/gate/page.ts'
import { makeVerdict, type Check, type Verdict } from '../../src/verdict.ts'

const check = (id: string, status: Check['status'], more: Partial<Check> = {}): Check => ({
  id,
  status,
  code: status === 'pass' ? 'OK' : 'FILE_CHANGED',
  message: `message of ${id}`,
  ...more,
})

const verdict = (checks: readonly Check[], more: Partial<Verdict> = {}): Verdict =>
  makeVerdict({
    at: '2026-11-20T12:00:00Z',
    subject: { name: 'acme/tiny', digest: { sha256: 'ab'.repeat(32) } },
    policy: { name: 'production', digest: { sha256: 'cd'.repeat(32) } },
    checks,
    inputs: [],
    ...more,
  })

describe('the page', () => {
  it('says the decision, what was asked, what failed with what would have passed, and what did not run', () => {
    const page = verdictPage(
      verdict([
        check('policy.rule', 'pass', { actual: 'strict' }),
        check('model.files', 'fail', { expected: 'as signed', actual: 'changed', hint: 'mend it' }),
        check('model.signature-age', 'skip'),
        check('machine.root', 'warn', { code: 'SIMULATED' }),
      ]),
    )
    for (const text of [
      'Refused',
      '1 requirement is not met',
      'as signed',
      'mend it',
      'strict',
      'SIMULATED hardware',
      '20 November 2026, 12:00:00 UTC',
      'What was not proved',
      'message of model.signature-age',
    ])
      expect(page).toContain(text)
    expect(page).not.toContain('Allowed')
  })

  it('its policy allows its own style sheet and nothing else', () => {
    const page = verdictPage(verdict([check('policy.rule', 'pass')]))
    const style = /<style>([\s\S]*)<\/style>/.exec(page)?.[1] ?? ''
    const digest = createHash('sha256').update(style).digest('base64')
    expect(page).toContain(
      `content="default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'"`,
    )
    expect(page).not.toMatch(/<script|<link|<img|<iframe|<a |\bstyle=|\bon[a-z]+=|https?:|url\(/i)
  })

  it('any text stays text', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.constantFrom('<script>', '</style>', '"onload="', '&lt;', '`<b>`', '\u202e', '-->', '\0'),
    )
    const plain = verdictPage(
      verdict([check('model.files', 'fail', { expected: '', actual: '', hint: '' })]),
    )
    const tags = (page: string): string[] => page.match(/<[a-z/!][^>]*>/gi) ?? []
    fc.assert(
      fc.property(text, text, text, (a, b, c) => {
        const page = verdictPage(
          verdict([check('model.files', 'fail', { message: a, expected: b, actual: c, hint: a })], {
            subject: { name: b, digest: { sha256: 'ab'.repeat(32) } },
            policy: { name: c, digest: { sha256: 'cd'.repeat(32) } },
          }),
        )
        // the same elements, whatever was written; words in backticks alone may become code
        expect(tags(page).filter((tag) => !/^<\/?code>$/.test(tag))).toEqual(
          tags(plain).filter((tag) => !/^<\/?code>$/.test(tag)),
        )
        expect(page).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202a-\u202e\u2066-\u2069]/)
      }),
      { numRuns: 200 },
    )
  })

  it('a hundred thousand failures make no page of a hundred megabytes', () => {
    const checks = Array.from({ length: 100_000 }, (_, i) => check(`model.changed:f${i}`, 'fail'))
    const page = verdictPage(verdict(checks))
    expect(page.length).toBeLessThan(200_000)
    expect(page).toContain('and 99900 more')
  })

  it('shows the verdict of a signature alone, without a policy', () => {
    const page = verdictPage(
      verdict([check('signature.bundle', 'pass'), check('model.files', 'pass')], { policy: null }),
    )
    expect(page).toContain('Allowed')
    expect(page).toContain('one signer was named')
  })
})
