import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkFileNames, checkShardNames } from '../../src/bundle/names.ts'

const codes = (problems: readonly { code: string }[]): string[] => problems.map(({ code }) => code)

describe('names of files', () => {
  it.each([
    ['one file', ['a']],
    ['neighbours', ['a', 'a-b', 'a.b', 'ab']],
    ['a file in a directory beside its namesake', ['tokenizer/vocab.json', 'tokenizer.json']],
    ['any Unicode, composed and decomposed', ['é', 'e\u0301', '漢/字', '\u{1f600}', '\ue000']],
    ['colons, blanks, backslashes, control characters', ['a:0:1', ' ', 'a\\b', 'a\nb']],
    ['names that only look like parts', ['...', '.hidden', 'a/..b', 'a/b..']],
    ['the single file of old releases', ['.']],
  ])('%s: sound', (_, names) => {
    expect(checkFileNames(names)).toEqual([])
  })

  it.each([
    ['an absolute path', ['/etc/passwd'], ['NAME_UNSAFE']],
    ['a parent', ['../x'], ['NAME_UNSAFE']],
    ['a parent inside', ['a/../x'], ['NAME_UNSAFE']],
    ['a parent at the end', ['a/..'], ['NAME_UNSAFE']],
    ['a dot', ['./a'], ['NAME_UNSAFE']],
    ['a dot inside', ['a/./b'], ['NAME_UNSAFE']],
    ['an empty part', ['a//b'], ['NAME_UNSAFE']],
    ['a trailing slash', ['a/'], ['NAME_UNSAFE']],
    ['a NUL', ['a\0b'], ['NAME_UNSAFE']],
    ['the dot among others', ['.', 'a'], ['NAME_UNSAFE']],
    ['far too long', ['x'.repeat(5000)], ['NAME_UNSAFE']],
    ['twice', ['a', 'a'], ['NAME_DUPLICATE']],
    ['a directory of another', ['a', 'a/b'], ['NAME_DUPLICATE']],
    ['a directory of another, far above', ['a/b/c/d', 'a'], ['NAME_DUPLICATE']],
    [
      'everything at once',
      ['/a', '../b', 'c', 'c'],
      ['NAME_UNSAFE', 'NAME_UNSAFE', 'NAME_DUPLICATE'],
    ],
  ])('%s: refused', (_, names, expected) => {
    expect(codes(checkFileNames(names))).toEqual(expected)
  })

  it('never two files in one place, whatever the names', () => {
    const part = fc.constantFrom('a', 'b', '.', '..', '', 'a.b')
    const name = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'))
    fc.assert(
      fc.property(fc.array(name, { maxLength: 6 }), (names) => {
        if (checkFileNames(names).length > 0 || (names.length === 1 && names[0] === '.')) return
        for (const [i, a] of names.entries()) {
          expect(new URL(a, 'file:///model/').pathname.startsWith('/model/')).toBe(true)
          for (const [j, b] of names.entries())
            if (i !== j) expect(a === b || b.startsWith(`${a}/`)).toBe(false)
        }
      }),
    )
  })
})

describe('names of shards', () => {
  it.each([
    ['one short shard', ['a:0:3']],
    ['full shards and a rest', ['a:0:10', 'a:10:20', 'a:20:21']],
    ['in any order', ['a:10:20', 'a:0:10']],
    ['a file name with colons', ['a:1:2:0:10', 'a:1:2:10:12']],
    ['the single file of old releases', ['.:0:10', '.:10:11']],
  ])('%s: sound', (_, names) => {
    expect(checkShardNames(names, 10)).toEqual([])
  })

  it.each([
    ['no range', ['a']],
    ['an empty path', [':0:1']],
    ['leading zeros', ['a:00:10']],
    ['a sign', ['a:+0:10']],
    ['an exponent', ['a:0:1e1']],
    ['a number beyond what is exact', ['a:0:99999999999999999']],
    ['an empty range', ['a:0:0']],
    ['a range backwards', ['a:10:5']],
    ['a gap at the start', ['a:10:20']],
    ['a gap', ['a:0:10', 'a:20:30']],
    ['an overlap', ['a:0:10', 'a:5:15']],
    ['the same shard twice', ['a:0:10', 'a:0:10']],
    ['a short shard that is not the last', ['a:0:5', 'a:5:10']],
    ['a shard larger than the size', ['a:0:11']],
    ['a parent', ['../a:0:1']],
    ['a directory of another', ['a:0:1', 'a/b:0:1']],
  ])('%s: refused', (_, names) => {
    expect(checkShardNames(names, 10)).not.toEqual([])
  })

  it('any cut of a file is sound, and no cut with one shard left out or doubled is', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 2, max: 10 }),
        fc.nat(),
        (total, size, pick) => {
          const names: string[] = []
          for (let at = 0; at < total; at += size)
            names.push(`f:${at}:${Math.min(at + size, total)}`)
          expect(checkShardNames(names, size)).toEqual([])
          const at = pick % names.length
          expect(checkShardNames([...names, names[at]!], size)).not.toEqual([])
          // without its last shard a file is only shorter: that shows when the file is read
          if (at < names.length - 1)
            expect(
              checkShardNames(
                names.filter((_, i) => i !== at),
                size,
              ),
            ).not.toEqual([])
        },
      ),
    )
  })
})
