import { afterEach, describe, expect, it, vi } from 'vitest'
import { coloured, renderVerdict, writeVerdict } from '../../src/cli/render.ts'
import { describeProgress, progressLine, size } from '../../src/cli/progress.ts'
import { CODES } from '../../src/codes.ts'
import { makeVerdict } from '../../src/verdict.ts'
import type { Check, Verdict } from '../../src/verdict.ts'
import { ourSchema } from '../fakes/schemas.ts'

const fail = (name: string): Check => ({
  id: `model.changed:${name}`,
  status: 'fail',
  code: 'FILE_CHANGED',
  message: `${name}: not as signed`,
  expected: 'sha256:aa',
  actual: 'sha256:bb',
  hint: 'restore it',
})
const pass: Check = { id: 'signature.envelope', status: 'pass', code: 'OK', message: 'good' }

function verdict(checks: readonly Check[]): Verdict {
  return makeVerdict({
    at: '2026-01-01T00:00:00Z',
    subject: { name: 'model', digest: { sha256: 'ab'.repeat(32) } },
    policy: null,
    checks,
    inputs: [{ name: 'signature', digest: { sha256: 'cd'.repeat(32) } }],
  })
}

describe('the table', () => {
  it('shows the decision, each check, and what belongs to a failed one', () => {
    expect(renderVerdict(verdict([pass, fail('a')]), false)).toBe(
      [
        `DENY  model  sha256:${'ab'.repeat(32)}  at 2026-01-01T00:00:00Z`,
        '  ✓ signature.envelope  good',
        '  ✗ model.changed       a: not as signed',
        '      code      FILE_CHANGED',
        '      expected  sha256:aa',
        '      actual    sha256:bb',
        '      hint      restore it',
        '',
      ].join('\n'),
    )
  })

  it('cuts long lists, and says so; the JSON has them all', () => {
    const checks = Array.from({ length: 100 }, (_, i) => fail(`f${i}`))
    const text = renderVerdict(verdict([pass, ...checks]), false)
    expect(text).toContain('f19: not as signed')
    expect(text).not.toContain('f20: not as signed')
    expect(text).toContain('… and 80 more: --json has every check')
    let json = ''
    writeVerdict(verdict([pass, ...checks]), true, { write: (part: string) => (json += part) })
    expect(JSON.parse(json).checks).toHaveLength(101)
  })

  it('cuts long lists inside a check', () => {
    const actual = Array.from({ length: 50 }, (_, i) => `evil${i}`).join('\n')
    const warn: Check = {
      ...pass,
      id: 'model.ignored',
      status: 'warn',
      code: 'UNSIGNED_IGNORED',
      actual,
    }
    const text = renderVerdict(verdict([warn]), false)
    expect(text).toContain('evil9')
    expect(text).not.toContain('evil10')
    expect(text).toContain('… and 40 more')
  })

  it('a hostile name can not forge a line or a colour', () => {
    const name = 'x\n  ✓ model.files  all good\u001b[2K\u001b[32m\u202e'
    const text = renderVerdict(
      verdict([fail(name), { ...fail(name), expected: name, actual: name, hint: name }]),
      false,
    )

    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/)
    expect(text.split('\n').filter((line) => line.startsWith('  ✓ model.files'))).toEqual([])
  })
})

describe('colour', () => {
  afterEach(() => vi.unstubAllEnvs())

  it('only on a terminal, and never where NO_COLOR is set', () => {
    const write = (): boolean => true
    vi.stubEnv('NO_COLOR', undefined)
    vi.stubEnv('TERM', 'xterm')
    expect(coloured({ write })).toBe(false)
    expect(coloured({ write, isTTY: true })).toBe(true)
    vi.stubEnv('NO_COLOR', '1')
    expect(coloured({ write, isTTY: true })).toBe(false)
    vi.stubEnv('NO_COLOR', '')
    expect(coloured({ write, isTTY: true })).toBe(true)
    vi.stubEnv('TERM', 'dumb')
    expect(coloured({ write, isTTY: true })).toBe(false)
  })
})

describe('the published schema', () => {
  const validate = ourSchema('verdict.v1')

  it('fits what is written', () => {
    const skip: Check = { ...pass, id: 'signature.identity', status: 'skip', code: 'NOT_GIVEN' }
    for (const checks of [[], [pass], [pass, fail('a\nb:c'), skip]])
      expect(validate(JSON.parse(JSON.stringify(verdict(checks))))).toBeNull()
    expect(
      validate({
        ...verdict([pass]),
        policy: { name: 'p', digest: { sha256: 'ab'.repeat(32) } },
        protection: 'fsverity',
      }),
    ).toBeNull()
  })

  it.each([
    ['another decision', { decision: 'maybe' }],
    ['another schema', { schema: 'zt4ai.verdict/v2' }],
    ['a time with an offset', { at: '2026-01-01T00:00:00+01:00' }],
    ['more', { more: 1 }],
    ['a digest of another length', { inputs: [{ name: 'x', digest: { sha256: 'ab' } }] }],
    ['a status of its own', { checks: [{ ...pass, status: 'ok' }] }],
  ])('refuses %s', (_, change) => {
    expect(validate({ ...verdict([pass]), ...change })).not.toBeNull()
  })

  it('has codes of the one form', () => {
    for (const code of Object.keys(CODES))
      expect(validate(verdict([{ ...pass, code: code as Check['code'] }]))).toBeNull()
  })
})

describe('progress', () => {
  it('shows bytes, rate and time left', () => {
    expect(describeProgress({ bytes: 1.5e9, totalBytes: 6e9 }, 3)).toBe(
      '1.5 GB of 6.0 GB (25 %), 500 MB/s, 9 s left',
    )
    expect(describeProgress({ bytes: 0, totalBytes: 6e9 }, 0)).toBe('0 B of 6.0 GB (0 %), 0 B/s')
    expect(describeProgress({ bytes: 0, totalBytes: 0 }, 1)).toBe('0 B of 0 B (100 %), 0 B/s')
    expect(describeProgress({ bytes: 1e9, totalBytes: 2e12 }, 1)).toContain('33 min 19 s left')
    expect(describeProgress({ bytes: 1e9, totalBytes: 2e13 }, 1)).toContain('5 h 33 min left')
    expect(describeProgress({ bytes: 5e6 }, 2)).toBe('5.0 MB, 2.5 MB/s')
  })

  it('numbers are never longer than needed', () => {
    expect([0, 999, 1000, 9949, 9950, 999_499, 999_500, 1e15, 1e18].map(size)).toEqual([
      '0 B',
      '999 B',
      '1.0 kB',
      '9.9 kB',
      '10 kB',
      '999 kB',
      '1.0 MB',
      '1.0 PB',
      '1000 PB',
    ])
  })

  it('goes to a terminal alone, ten times a second at most, and leaves nothing behind', () => {
    const written: string[] = []
    const write = (text: string): number => written.push(text)
    expect(progressLine('x', { write }).onProgress).toBeUndefined()
    let now = 1000
    const line = progressLine('hashing', { write, isTTY: true, columns: 40 }, () => now)
    for (let i = 0; i < 20; i++, now += 10) line.onProgress?.({ bytes: i, totalBytes: 20 })
    line.done()
    expect(written).toHaveLength(3)
    expect(written[0]).toMatch(/^\r\u001b\[2Khashing 0 B of 20 B/)
    expect(written.every((text) => text.length <= 40 + 5)).toBe(true)
    expect(written.at(-1)).toBe('\r\u001b[2K')
  })
})
