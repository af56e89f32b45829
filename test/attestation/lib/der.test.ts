import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import type { Der } from '../../../attestation/lib/index.ts'
import {
  bytesToHex,
  derBitString,
  derBoolean,
  derChildren,
  derContext,
  derEnumerated,
  derInteger,
  derNull,
  derOctets,
  derOid,
  derSequence,
  derSet,
  derText,
  derTime,
  hexToBytes,
  parseDer,
} from '../../../attestation/lib/index.ts'
import { int, oid, tlv } from './make.ts'

const parse = (hex: string): Der => parseDer(hexToBytes(hex.replaceAll(' ', '')))

describe('parseDer', () => {
  it.each([
    ['30 80 00 00', 'indefinite length'],
    ['04 81 01 00', 'long form for a short length'],
    ['04 82 00 80', 'leading zero in a length'],
    ['04 85 0000000001 00', 'a length of five bytes'],
    ['04 84 ffffffff', 'a length beyond the input'],
    ['04 02 00', 'cut content'],
    ['04', 'no length'],
    ['', 'nothing'],
    ['04 00 00', 'a byte after the end'],
    ['30 03 04 02 00', 'a child longer than its frame'],
    ['00 00', 'end of contents'],
    ['1f 1f 00', 'high tag number'],
    ['bf 81 01 00', 'high tag number, context'],
    ['24 04 04 02 0000', 'constructed OCTET STRING'],
    ['10 00', 'primitive SEQUENCE'],
    ['11 00', 'primitive SET'],
    ['02 00', 'empty INTEGER'],
    ['02 02 00 7f', 'padded INTEGER'],
    ['02 02 ff 80', 'padded negative INTEGER'],
    ['0a 02 00 01', 'padded ENUMERATED'],
    ['01 01 01', 'BOOLEAN 01'],
    ['01 02 ff ff', 'long BOOLEAN'],
    ['01 00', 'empty BOOLEAN'],
    ['03 00', 'empty BIT STRING'],
    ['03 01 01', 'unused bits of nothing'],
    ['03 02 08 00', 'eight unused bits'],
    ['03 02 01 01', 'an unused bit that is set'],
    ['05 01 00', 'NULL with content'],
    ['06 00', 'empty OID'],
    ['06 02 80 01', 'padded first arc'],
    ['06 03 2a 80 01', 'padded arc'],
    ['06 02 2a 81', 'arc without an end'],
    ['31 06 02 01 02 02 01 01', 'SET out of order'],
  ])('refuses %s: %s', (hex) => expect(() => parse(hex)).toThrow(AttestationError))

  it('bounds size, depth and the length of an OID', () => {
    expect(() => parseDer(new Uint8Array(11), { maxBytes: 10 })).toThrow(AttestationError)
    let nested = tlv(5)
    for (let i = 0; i < 23; i++) nested = tlv(0x30, nested)
    expect(parseDer(nested).children).toHaveLength(1)
    expect(() => parseDer(tlv(0x30, nested))).not.toThrow()
    expect(() => parseDer(tlv(0x30, tlv(0x30, nested)))).toThrow(AttestationError)
    expect(() => parseDer(tlv(6, new Uint8Array(129).fill(1)))).toThrow(AttestationError)
  })

  it('survives nesting as deep as the input is long', () => {
    const bomb: number[] = []
    for (let i = 0; i < 200; i++) bomb.push(0x30, 0x80 - 2)
    expect(() => parseDer(Uint8Array.from(bomb))).toThrow(AttestationError)
    const deep = new Uint8Array(60_000).fill(0x30)
    expect(() => parseDer(deep)).toThrow(AttestationError)
  })

  it('throws nothing but the typed error, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          const node = parseDer(bytes)
          expect(bytesToHex(node.der)).toBe(bytesToHex(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(AttestationError)
        }
      }),
      { numRuns: 5000 },
    )
  })

  it('accepts one encoding of a value: whatever parses encodes back to the same bytes', () => {
    const leaf = fc.oneof(
      fc.bigInt({ min: 0n, max: 1n << 70n }).map(int),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => tlv(4, bytes)),
      fc.constant(tlv(5)),
    )
    const tree = fc.letrec<{ node: Uint8Array }>((tie) => ({
      node: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        leaf,
        fc.array(tie('node'), { maxLength: 4 }).map((parts) => tlv(0x30, ...parts)),
      ),
    })).node
    const encode = (node: Der): Uint8Array =>
      (node.tag & 0x20) === 0
        ? tlv(node.tag, node.content)
        : tlv(node.tag, ...node.children.map(encode))
    fc.assert(
      fc.property(tree, fc.nat(), fc.nat({ max: 255 }), (bytes, at, value) => {
        expect(encode(parseDer(bytes))).toEqual(bytes)
        const changed = Uint8Array.from(bytes)
        changed[at % changed.length] = value
        try {
          expect(encode(parseDer(changed))).toEqual(changed)
        } catch (error) {
          if (!(error instanceof AttestationError)) throw error
        }
      }),
      { numRuns: 1000 },
    )
  })

  it('does work in proportion to the input: twice the nodes, twice the children', () => {
    for (const count of [1000, 2000, 4000]) {
      const bytes = tlv(0x30, ...Array.from({ length: count }, () => tlv(0x30, int(1), tlv(5))))
      let nodes = 0
      const walk = (node: Der): void => {
        nodes++
        node.children.forEach(walk)
      }
      walk(parseDer(bytes))
      expect(nodes).toBe(1 + 3 * count)
      expect(nodes).toBeLessThanOrEqual(bytes.length / 2)
    }
  })
})

describe('values', () => {
  it('INTEGER, ENUMERATED', () => {
    expect(derInteger(parse('0201 00'))).toBe(0n)
    expect(derInteger(parse('0201 7f'))).toBe(127n)
    expect(derInteger(parse('0202 0080'))).toBe(128n)
    expect(derInteger(parse('0201 ff'))).toBe(-1n)
    expect(derInteger(parse('0202 ff7f'))).toBe(-129n)
    expect(derEnumerated(parse('0a01 02'))).toBe(2n)
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1n << 200n }), (n) => {
        expect(derInteger(parseDer(int(n)))).toBe(n)
      }),
    )
  })

  it('OIDs, also with arcs beyond 32 and 53 bits', () => {
    for (const text of [
      '1.2.840.113549.1.1.10',
      '2.5.29.15',
      '0.9.2342.19200300.100.1.1',
      '2.999.3',
      '1.3.6.1.4.1.3704.1.3.10',
      `2.25.${(1n << 127n) + 5n}`,
      `1.2.${1n << 32n}.${(1n << 53n) + 1n}`,
    ]) {
      expect(derOid(parseDer(oid(text)))).toBe(text)
    }
  })

  it('does not confuse an arc with its remainder modulo 2^32', () => {
    expect(derOid(parseDer(oid(`1.2.${(1n << 32n) + 840n}`)))).not.toBe('1.2.840')
  })

  it('BOOLEAN, OCTET STRING, BIT STRING, NULL, SEQUENCE, SET, context', () => {
    expect(derBoolean(parse('0101ff'))).toBe(true)
    expect(derBoolean(parse('010100'))).toBe(false)
    expect(derOctets(parse('04020102'))).toEqual(Uint8Array.of(1, 2))
    expect(derBitString(parse('030204f0'))).toEqual({ bytes: Uint8Array.of(0xf0), unused: 4 })
    expect(derBitString(parse('030100'))).toEqual({ bytes: new Uint8Array(), unused: 0 })
    derNull(parse('0500'))
    expect(derSequence(parse('3003020101'))).toHaveLength(1)
    expect(derSet(parse('3106020101020102'))).toHaveLength(2)
    const node = parse(
      '3006 8101 07 a201 05'.replace('a201 05', 'a2020500').replace('3006', '3007'),
    )
    expect(derContext(node, 1)?.content).toEqual(Uint8Array.of(7))
    expect(derChildren(derContext(node, 2)!)).toHaveLength(1)
    expect(derContext(node, 3)).toBeUndefined()
  })

  it('refuses to read one type as another', () => {
    const node = parse('0500')
    for (const read of [
      derInteger,
      derOid,
      derBoolean,
      derOctets,
      derBitString,
      derTime,
      derText,
      derSequence,
      derSet,
      derChildren,
      derEnumerated,
    ]) {
      expect(() => read(node)).toThrow(AttestationError)
    }
    expect(() => derNull(parse('020100'))).toThrow(AttestationError)
  })

  it('text, each in its alphabet', () => {
    expect(derText(tlvText(0x0c, 'é'))).toBe('é')
    expect(derText(tlvText(0x13, "Az 09'()+,-./:=?"))).toBe("Az 09'()+,-./:=?")
    expect(derText(tlvText(0x16, 'a@b'))).toBe('a@b')
    for (const [tag, text] of [
      [0x13, 'a@b'],
      [0x13, 'a*'],
      [0x16, 'é'],
      [0x14, 'a'],
      [0x1e, 'a'],
    ] as const) {
      expect(() => derText(tlvText(tag, text))).toThrow(AttestationError)
    }
    expect(() => derText(parse('0c01ff'))).toThrow(AttestationError)
  })

  it('times, strictly', () => {
    expect(derTime(tlvText(0x17, '491231235959Z'))).toEqual(new Date('2049-12-31T23:59:59Z'))
    expect(derTime(tlvText(0x17, '500101000000Z'))).toEqual(new Date('1950-01-01T00:00:00Z'))
    expect(derTime(tlvText(0x18, '99991231235959Z'))).toEqual(new Date('9999-12-31T23:59:59Z'))
    for (const [tag, text] of [
      [0x17, '2501010000Z'],
      [0x17, '250101000000+0000'],
      [0x17, '250101000000'],
      [0x17, '250229000000Z'],
      [0x17, '20250101000000Z'],
      [0x18, '20250101000000.5Z'],
      [0x18, '20250231000000Z'],
      [0x18, '20250101246000Z'],
      [0x18, '250101000000Z'],
      [0x18, '2025010100000٠Z'],
    ] as const) {
      expect(() => derTime(tlvText(tag, text))).toThrow(AttestationError)
    }
  })
})

function tlvText(tag: number, text: string): Der {
  return parseDer(tlv(tag, Buffer.from(text)))
}
