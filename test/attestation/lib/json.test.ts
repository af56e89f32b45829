import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import type { JsonValue } from '../../../attestation/lib/index.ts'
import {
  decode,
  parseJson,
  parseJsonRaw,
  utf8Decode,
  utf8Encode,
} from '../../../attestation/lib/index.ts'

const limits = { maxBytes: 1 << 20 }
const parse = (text: string): JsonValue => parseJson(text, limits)

describe('parseJson', () => {
  it('agrees with JSON.parse on everything that JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
        const text = JSON.stringify(value)
        if (JSON.stringify(JSON.parse(text)) !== text || /\\ud[89a-f]/.test(text)) return
        expect(JSON.stringify(parse(text))).toBe(text)
        expect(JSON.stringify(parseJson(utf8Encode(text), limits))).toBe(text)
      }),
      { numRuns: 500 },
    )
  })

  it('accepts a subset of JSON.parse, and throws nothing but the typed error', () => {
    const unit = fc.constantFrom(...Array.from('{}[]",:\\u0019eE+-.truefalsn \n\t\u0000d8D'))
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 24 }), (text) => {
        let value: JsonValue
        try {
          value = parse(text)
        } catch (error) {
          expect(error).toBeInstanceOf(AttestationError)
          return
        }
        expect(JSON.stringify(value)).toBe(JSON.stringify(JSON.parse(text)))
      }),
      { numRuns: 20_000 },
    )
  })

  it.each([
    ['{"a":1,"a":2}', 'FORMAT_INVALID'],
    ['{"a":1,"\\u0061":2}', 'FORMAT_INVALID'],
    ['{"__proto__":1,"__proto__":2}', 'FORMAT_INVALID'],
    ['{"x":{"a":1,"a":2}}', 'FORMAT_INVALID'],
    ['"\\ud800"', 'FORMAT_INVALID'],
    ['"\\udc00\\ud800"', 'FORMAT_INVALID'],
    ['"\ud800"', 'FORMAT_INVALID'],
    ['1 2', 'TRAILING_DATA'],
    ['{} x', 'TRAILING_DATA'],
    ['', 'TRUNCATED'],
    ['[1,', 'TRUNCATED'],
    ['"abc', 'TRUNCATED'],
    ['"a\\', 'FORMAT_INVALID'],
    ['\ufeff1', 'FORMAT_INVALID'],
    ['01', 'TRAILING_DATA'],
    ['1.', 'TRAILING_DATA'],
    ['.5', 'FORMAT_INVALID'],
    ['+1', 'FORMAT_INVALID'],
    ['-', 'FORMAT_INVALID'],
    ['1e999', 'FORMAT_INVALID'],
    ['NaN', 'FORMAT_INVALID'],
    ['[1,]', 'FORMAT_INVALID'],
    ['{"a":1,}', 'FORMAT_INVALID'],
    ["{'a':1}", 'FORMAT_INVALID'],
    ['{a:1}', 'FORMAT_INVALID'],
    ['"\t"', 'FORMAT_INVALID'],
    ['"\\x41"', 'FORMAT_INVALID'],
    ['"\\u12"', 'FORMAT_INVALID'],
    ['// c\n1', 'FORMAT_INVALID'],
    ['\u00a01', 'FORMAT_INVALID'],
    [`${'['.repeat(33)}${']'.repeat(33)}`, 'TOO_LARGE'],
  ])('refuses %j', (text, code) => {
    expect(() => parse(text)).toThrow(
      expect.objectContaining({ name: 'AttestationError', code }) as Error,
    )
  })

  it('makes keys such as __proto__ inert', () => {
    const value = parse('{"__proto__":{"polluted":true},"constructor":1,"toString":2}')
    expect(Object.getPrototypeOf(value)).toBeNull()
    expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor', 'toString'])
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it('keeps to its limits', () => {
    expect(() => parseJson('[1]', { maxBytes: 2 })).toThrow(AttestationError)
    expect(() => parseJson('[[1]]', { maxBytes: 9, maxDepth: 1 })).toThrow(AttestationError)
    expect(parseJson('[[1]]', { maxBytes: 9, maxDepth: 2 })).toEqual([[1]])
    expect(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22), limits)).toThrow(AttestationError)
  })

  it('gives the raw bytes of the outermost members', () => {
    const text = '{ "a" : {"n": 1.0, "s":"\\u0041é"} , "b":[ 1 ,2 ],"c":"x" }'
    const { value, members } = parseJsonRaw(utf8Encode(text), limits)
    expect([...members].map(([key, raw]) => [key, utf8Decode(raw)])).toEqual([
      ['a', '{"n": 1.0, "s":"\\u0041é"}'],
      ['b', '[ 1 ,2 ]'],
      ['c', '"x"'],
    ])
    expect(JSON.stringify(value)).toBe('{"a":{"n":1,"s":"Aé"},"b":[1,2],"c":"x"}')
    expect(parseJsonRaw('[1]', limits).members.size).toBe(0)
  })

  it('reads a manifest of 100,000 files', () => {
    const resources = Array.from({ length: 100_000 }, (_, i) => ({
      name: `d/f-${i}`,
      algorithm: 'sha256',
      digest: 'ab'.repeat(32),
    }))
    const text = JSON.stringify({ resources })
    expect(JSON.stringify(parseJson(utf8Encode(text), { maxBytes: 1 << 26 }))).toBe(text)
  })
})

describe('decode', () => {
  const point = decode.object({
    x: decode.integer({ min: 0, max: 9 }),
    label: decode.optional(decode.string({ max: 4 })),
    tags: decode.array(decode.literal('a', 'b'), { max: 2 }),
    id: decode.hex({ length: 2 }),
  })
  const run = (text: string): unknown => point(parse(text), '$')

  it('gives a typed value', () => {
    expect(run('{"x":1.0,"tags":["a"],"id":"00fF"}')).toEqual({
      x: 1,
      tags: ['a'],
      id: Uint8Array.of(0, 255),
    })
    expect(run('{"x":1,"label":"n","tags":[],"id":"0000"}')).toHaveProperty('label', 'n')
  })

  it.each([
    ['[]', '$'],
    ['null', '$'],
    ['{"x":1,"tags":[],"id":"0000","y":1}', '$'],
    ['{"tags":[],"id":"0000"}', '$'],
    ['{"x":1.5,"tags":[],"id":"0000"}', '$.x'],
    ['{"x":"1","tags":[],"id":"0000"}', '$.x'],
    ['{"x":10,"tags":[],"id":"0000"}', '$.x'],
    ['{"x":9007199254740993,"tags":[],"id":"0000"}', '$.x'],
    ['{"x":1,"label":null,"tags":[],"id":"0000"}', '$.label'],
    ['{"x":1,"label":"12345","tags":[],"id":"0000"}', '$.label'],
    ['{"x":1,"tags":["a","c"],"id":"0000"}', '$.tags[1]'],
    ['{"x":1,"tags":["a","a","a"],"id":"0000"}', '$.tags'],
    ['{"x":1,"tags":[],"id":"000"}', '$.id'],
    ['{"x":1,"tags":[],"id":"000000"}', '$.id'],
    ['{"x":1,"__proto__":{},"tags":[],"id":"0000"}', '$'],
  ])('refuses %s at %s', (text, path) => {
    expect(() => run(text)).toThrow(
      expect.objectContaining({ name: 'AttestationError', path }) as Error,
    )
  })

  it('does not take inherited members for given ones', () => {
    const shape = decode.object({
      toString: decode.optional(decode.string()),
      valueOf: decode.optional(decode.any()),
    })
    expect(Object.keys(shape(parse('{}'), '$'))).toEqual([])
  })

  it('decodes base64, times, booleans and dictionaries', () => {
    const shape = decode.object({
      b: decode.base64({ max: 3 }),
      t: decode.time(),
      f: decode.boolean(),
      m: decode.record(decode.integer(), { max: 2 }),
    })
    expect(
      shape(parse('{"b":"AAEC","t":"2026-01-01T00:00:00Z","f":true,"m":{"__proto__":1}}'), '$'),
    ).toEqual({
      b: Uint8Array.of(0, 1, 2),
      t: new Date('2026-01-01T00:00:00Z'),
      f: true,
      m: new Map([['__proto__', 1]]),
    })
    for (const bad of [
      '{"b":"AAECAw==","t":"2026-01-01T00:00:00Z","f":true,"m":{}}',
      '{"b":"AA","t":"2026-01-01T00:00:00Z","f":true,"m":{}}',
      '{"b":"","t":"2026-02-30T00:00:00Z","f":true,"m":{}}',
      '{"b":"","t":"2026-01-01T00:00:00Z","f":1,"m":{}}',
      '{"b":"","t":"2026-01-01T00:00:00Z","f":true,"m":{"a":1,"b":2,"c":3}}',
      '{"b":"","t":"2026-01-01T00:00:00Z","f":true,"m":{"a":"1"}}',
    ]) {
      expect(() => shape(parse(bad), '$')).toThrow(AttestationError)
    }
  })
})
