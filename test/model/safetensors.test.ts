import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ZtError } from '../../src/error.ts'
import { parseSafetensors, safetensorsHeaderLength } from '../../src/model/safetensors.ts'

const bytes = (text: string): Buffer => Buffer.from(text)
const tensor = (dtype: string, shape: number[], from: number, to: number): object => ({
  dtype,
  shape,
  data_offsets: [from, to],
})
const parse = (json: unknown, data: number): ReturnType<typeof parseSafetensors> => {
  const header = bytes(typeof json === 'string' ? json : JSON.stringify(json))
  return parseSafetensors(header, 8 + header.length + data)
}
const invalid = expect.objectContaining({ code: 'SAFETENSORS_INVALID' })

describe('parseSafetensors', () => {
  it('reads tensors in the order of their places, and metadata', () => {
    const read = parse(
      {
        __metadata__: { format: 'pt' },
        b: tensor('F32', [2, 3], 4, 28),
        a: tensor('BF16', [2], 0, 4),
        empty: tensor('I64', [0], 28, 28),
        scalar: tensor('BOOL', [], 28, 29),
      },
      29,
    )
    expect(read.tensors.map(({ name }) => name)).toEqual(['a', 'b', 'empty', 'scalar'])
    expect(read.tensors[1]).toMatchObject({ start: read.dataStart + 4, end: read.dataStart + 28 })
    expect(read.metadata.get('format')).toBe('pt')
    expect(parse(`${JSON.stringify({ a: tensor('F4', [4], 0, 2) })}   `, 2).tensors).toHaveLength(1)
  })
  it('refuses every header whose parts do not fit', () => {
    const bad: [unknown, number][] = [
      ['', 0],
      [' {}', 0],
      ['[]', 0],
      ['{"a":1,"a":1}', 0],
      [
        `{"a":${JSON.stringify(tensor('U8', [1], 0, 1))},"a":${JSON.stringify(tensor('U8', [1], 0, 1))}}`,
        1,
      ],
      ['{}x', 0],
      ['{}', 1],
      [{ a: 1 }, 0],
      [{ __metadata__: { a: 1 } }, 0],
      [{ a: { ...tensor('U8', [1], 0, 1), more: 1 } }, 1],
      [{ a: tensor('U9', [1], 0, 1) }, 1],
      [{ a: tensor('constructor', [1], 0, 1) }, 1],
      [{ a: tensor('U8', [2], 0, 1) }, 1],
      [{ a: tensor('F4', [3], 0, 2) }, 2],
      [{ a: tensor('U8', [-1], 0, 1) }, 1],
      [{ a: tensor('U8', [1.5], 0, 1) }, 1],
      [{ a: tensor('U8', [2 ** 53], 0, 1) }, 1],
      [{ a: tensor('U8', [2 ** 40, 2 ** 40], 0, 0) }, 0],
      [{ a: tensor('U8', [1], 1, 2) }, 2],
      [{ a: tensor('U8', [1], 0, 1) }, 2],
      [{ a: tensor('U8', [2], 0, 2) }, 1],
      [{ a: tensor('U8', [1], 1, 0) }, 1],
      [{ a: tensor('U8', [2], 0, 2), b: tensor('U8', [2], 1, 3) }, 3],
      [{ a: tensor('U8', [1], 0, 1), b: tensor('U8', [1], 2, 3) }, 3],
      [{ a: tensor('U8', [1], 0, 1), b: tensor('U8', [1], 0, 1) }, 1],
    ]
    for (const [json, data] of bad)
      expect(() => parse(json, data), JSON.stringify(json)).toThrow(invalid)
  })
  it('throws nothing but its own error on any bytes', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.json().map(bytes)),
        fc.nat(100),
        (header, extra) => {
          try {
            parseSafetensors(header, 8 + header.length + extra)
          } catch (error) {
            expect(error).toBeInstanceOf(ZtError)
          }
        },
      ),
    )
  })
})

describe('safetensorsHeaderLength', () => {
  it('bounds the length by the file and by 100 MB', () => {
    const length = (n: bigint, size: number): number => {
      const first = Buffer.alloc(8)
      first.writeBigUInt64LE(n)
      return safetensorsHeaderLength(first, size)
    }
    expect(length(2n, 10)).toBe(2)
    for (const [n, size] of [
      [3n, 10],
      [100_000_001n, 2e8],
      [2n ** 64n - 1n, 2e8],
      [0n, 7],
    ] as const)
      expect(() => length(n, size)).toThrow(invalid)
    expect(() => safetensorsHeaderLength(Buffer.alloc(7), 100)).toThrow(invalid)
  })
})
