import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareNames, ignoredPath, nameProblem, shownName } from '../../src/model/name.ts'

const name = fc.string({ unit: 'binary', maxLength: 12 })

describe('order of names', () => {
  it('is the order of the UTF-8 bytes', () => {
    fc.assert(
      fc.property(name, name, (a, b) => {
        const bytes = Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b)))
        expect(Math.sign(compareNames(a, b))).toBe(bytes)
      }),
      { numRuns: 2000 },
    )
  })
  it('puts astral names after U+E000 to U+FFFF, where UTF-16 order does not', () => {
    const names = [
      '\u{1f600}',
      '\uffee',
      '\ue000',
      'z',
      'tokenizer/vocab.json',
      'tokenizer.json',
      'a/b',
      'a-b',
    ]
    expect([...names].sort(compareNames)).toEqual([
      'a-b',
      'a/b',
      'tokenizer.json',
      'tokenizer/vocab.json',
      'z',
      '\ue000',
      '\uffee',
      '\u{1f600}',
    ])
    expect([...names].sort()).not.toEqual([...names].sort(compareNames))
  })
  it('keeps NFC and NFD apart', () => {
    expect(compareNames('\u00e9', 'e\u0301')).not.toBe(0)
  })
})

describe('names', () => {
  it.each(['a', 'a/b.bin', 'é', 'e\u0301', '...', 'a:b', 'a\nb', ' ', '\u{1f600}/x', '-'])(
    'accepts %j',
    (good) => {
      expect(nameProblem(good)).toBeNull()
    },
  )
  it.each([
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    './a',
    'a/..',
    'a/./b',
    '../a',
    'a\0b',
    '\ud800',
    'x'.repeat(4097),
  ])('refuses %j', (bad) => {
    expect(nameProblem(bad)).not.toBeNull()
  })
  it('records ignored paths in one form, and refuses what the specification forbids', () => {
    expect(ignoredPath('./logs/')).toBe('logs')
    expect(ignoredPath('logs/run.txt')).toBe('logs/run.txt')
    for (const bad of ['', '.', './', '..', '../a', '/etc', 'a/../b', '*.py', 'a?', '[a]', 'a\0'])
      expect(ignoredPath(bad), bad).toBeNull()
  })
  it('shows control and direction characters escaped', () => {
    expect(shownName('a\u001b[31m\u202eb\n')).toBe('a\\u001b[31m\\u202eb\\u000a')
    expect(shownName('a\u200eb\u{e0041}c')).toBe('a\\u200eb\\u{e0041}c')
  })
})
