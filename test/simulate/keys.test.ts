import { createPublicKey, constants, verify } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { derInteger, derOid, derTime, parseDer } from '../../attestation/lib/index.ts'
import { integer, oid, time, tlv } from '../../src/simulate/der.ts'
import {
  ecKey,
  PRIME_STEPS,
  rsaKey,
  rsaPrivateKey,
  seededBytes,
  SeededBytes,
  WELL_KNOWN_SEED,
} from '../../src/simulate/keys.ts'

const publicKey = (spki: Uint8Array) =>
  createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })

describe('DER writer', () => {
  it('writes integers that the strict reader reads back', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1n << 200n }), (value) => {
        expect(derInteger(parseDer(integer(value)))).toBe(value)
      }),
    )
  })

  it('writes lengths of one, two and three bytes in their shortest form', () => {
    for (const length of [0, 127, 128, 255, 256, 65535, 65536]) {
      const node = parseDer(tlv(0x04, new Uint8Array(length)), { maxBytes: 1 << 20 })
      expect(node.content.length).toBe(length)
    }
  })

  it('writes object identifiers with long arcs', () => {
    for (const dotted of ['2.5.29.15', '1.2.840.113741.1.13.1.2.18', '1.3.6.1.4.1.3704.1.3.9'])
      expect(derOid(parseDer(oid(dotted)))).toBe(dotted)
  })

  it('changes from UTCTime to GeneralizedTime at 2050', () => {
    const last = new Date('2049-12-31T23:59:59Z')
    const first = new Date('2050-01-01T00:00:00Z')
    expect([time(last)[0], time(first)[0]]).toEqual([0x17, 0x18])
    expect(derTime(parseDer(time(last)))).toEqual(last)
    expect(derTime(parseDer(time(first)))).toEqual(first)
  })
})

describe('seeded keys', () => {
  it('are the same for the same seed and label, and others for others', () => {
    expect(seededBytes('a', 'x', 40)).toEqual(new SeededBytes('a', 'x').take(40))
    expect(seededBytes('a', 'x', 40)).not.toEqual(seededBytes('a', 'y', 40))
    expect(seededBytes('a', 'x', 40)).not.toEqual(seededBytes('b', 'x', 40))
    // No two splits of seed and label meet.
    expect(seededBytes('a\0b', 'c', 40)).not.toEqual(seededBytes('a', 'b\0c', 40))
    expect(ecKey('P-384', 'a', 'x').spki).toEqual(ecKey('P-384', 'a', 'x').spki)
    expect(ecKey('P-384', 'a', 'x').spki).not.toEqual(ecKey('P-384', 'a', 'y').spki)
  })

  it.each(['P-256', 'P-384'] as const)('sign on %s so that node verifies, repeatably', (curve) => {
    const key = ecKey(curve, 'a', 'sign')
    const message = new TextEncoder().encode('evidence')
    const hash = curve === 'P-256' ? 'sha256' : 'sha384'
    expect(key.signRaw(message)).toEqual(key.signRaw(message))
    const raw = { key: publicKey(key.spki), dsaEncoding: 'ieee-p1363' } as const
    expect(verify(hash, message, raw, key.signRaw(message))).toBe(true)
    expect(verify(hash, message, publicKey(key.spki), key.sign(message))).toBe(true)
  })

  it('sign with RSA-PSS, salt 48, so that node verifies, repeatably', () => {
    const key = rsaKey('a', 'sign', 2048)
    const message = new TextEncoder().encode('certificate')
    const signature = key.sign(message)
    expect(key.sign(message)).toEqual(signature)
    const pss = {
      key: publicKey(key.spki),
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: 48,
    }
    expect(verify('sha384', message, pss, signature)).toBe(true)
    expect(verify('sha384', new TextEncoder().encode('other'), pss, signature)).toBe(false)
    expect(publicKey(key.spki).asymmetricKeyDetails).toMatchObject({
      modulusLength: 2048,
      publicExponent: 65537n,
    })
  })

  it.each(Object.keys(PRIME_STEPS))('%s: the known steps lead to a key that works', (label) => {
    const key = rsaKey(WELL_KNOWN_SEED, label)
    const message = new TextEncoder().encode(label)
    const pss = {
      key: publicKey(key.spki),
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: 48,
    }
    expect(verify('sha384', message, pss, key.sign(message))).toBe(true)
  })

  it.each(['SEV-Milan', 'ARK-Genoa'])('%s: the search finds the known steps', (label) => {
    expect(rsaPrivateKey(WELL_KNOWN_SEED, label, 4096).steps).toEqual(PRIME_STEPS[label])
  })
})
