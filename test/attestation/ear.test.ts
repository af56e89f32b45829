import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { AttestationResult, Ear } from '../../attestation/index.ts'
import {
  appraisalOf,
  AttestationError,
  earOf,
  signEar,
  verifyEar,
} from '../../attestation/index.ts'
import { tierOf } from '../../attestation/ear.ts'
import { bytesToBase64Url, utf8Encode } from '../../attestation/lib/index.ts'

const vector = {
  'instance-identity': 2,
  configuration: 2,
  executables: 3,
  'file-system': 0,
  hardware: 2,
  'runtime-opaque': 2,
  'storage-opaque': 0,
  'sourced-data': 0,
}
const result: AttestationResult = {
  schema: 'zt4ai.attestation/v1',
  platform: 'sev-snp',
  accepted: true,
  at: '2026-06-01T00:00:00Z',
  historical: true,
  simulated: false,
  root: null,
  claims: null,
  checks: [],
  vector,
  inputs: [{ name: 'evidence', sha256: 'ab'.repeat(32) }],
}
const verifier = { developer: 'zt4ai', build: '0.1.0' }
const nonce = new Uint8Array(32).fill(5)
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const ed = generateKeyPairSync('ed25519')
const ear: Ear = earOf(result, {
  verifier,
  nonce,
  rawEvidence: Uint8Array.of(1, 2),
  policyId: 'sha256:00',
})

describe('EAR', () => {
  it.each([
    ['ES256', p256],
    ['ES384', p384],
    ['EdDSA', ed],
  ])('comes back as it was signed: %s', (alg, pair) => {
    const token = signEar(ear, pair.privateKey)
    expect(JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString())).toEqual({
      alg,
      typ: 'JWT',
    })
    expect(verifyEar(token, pair.publicKey)).toEqual(ear)
    expect(verifyEar(token, createPublicKey(pair.privateKey))).toEqual(ear)
  })

  it('has the claims that others read', () => {
    const payload = JSON.parse(
      Buffer.from(signEar(ear, ed.privateKey).split('.')[1]!, 'base64url').toString(),
    ) as object
    expect(payload).toEqual({
      eat_profile: 'tag:github.com,2023:veraison/ear',
      iat: 1780272000,
      'ear.verifier-id': verifier,
      eat_nonce: bytesToBase64Url(nonce),
      'ear.raw-evidence': 'AQI',
      submods: {
        cpu0: {
          'ear.status': 'affirming',
          'ear.trustworthiness-vector': vector,
          'ear.appraisal-policy-id': 'sha256:00',
        },
      },
      'zt4ai.at': '2026-06-01T00:00:00Z',
      'zt4ai.historical': true,
      'zt4ai.simulated': false,
      'zt4ai.inputs': result.inputs,
    })
    expect(signEar(ear, ed.privateKey)).toBe(signEar(ear, ed.privateKey))
  })

  it('never affirms what was refused', () => {
    expect(appraisalOf(result).status).toBe('affirming')
    expect(appraisalOf({ ...result, accepted: false }).status).toBe('contraindicated')
    expect(appraisalOf({ ...result, vector: { ...vector, hardware: 32 } }).status).toBe('warning')
    expect(appraisalOf({ ...result, vector: { ...vector, hardware: 99 } }).status).toBe(
      'contraindicated',
    )
    const none = Object.fromEntries(
      Object.keys(vector).map((key) => [key, 0]),
    ) as unknown as typeof vector
    expect(appraisalOf({ ...result, vector: none }).status).toBe('none')
  })

  it('has the tiers of AR4SI', () => {
    const tiers = new Map([
      [-128, 'contraindicated'],
      [-97, 'contraindicated'],
      [-96, 'warning'],
      [-33, 'warning'],
      [-32, 'affirming'],
      [-2, 'affirming'],
      [-1, 'none'],
      [0, 'none'],
      [1, 'none'],
      [2, 'affirming'],
      [31, 'affirming'],
      [32, 'warning'],
      [95, 'warning'],
      [96, 'contraindicated'],
      [127, 'contraindicated'],
      [128, 'contraindicated'],
      [0.5, 'contraindicated'],
    ])
    for (const [value, tier] of tiers) expect([value, tierOf(value)]).toEqual([value, tier])
  })

  const part = (value: unknown): string => bytesToBase64Url(utf8Encode(JSON.stringify(value)))
  const [header, body] = signEar(ear, ed.privateKey).split('.') as [string, string, string]
  const payload = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>
  const forge = (head: string, content: string): string => {
    const data = `${head}.${content}`
    return `${data}.${bytesToBase64Url(sign(null, Buffer.from(data), ed.privateKey))}`
  }

  it('is refused by any other key, and when any character of it changes', () => {
    const token = signEar(ear, p256.privateKey)
    for (const pair of [p384, ed, generateKeyPairSync('ec', { namedCurve: 'P-256' })]) {
      expect(() => verifyEar(token, pair.publicKey)).toThrow(AttestationError)
    }
    const short = signEar(ear, ed.privateKey)
    fc.assert(
      fc.property(
        fc.nat(short.length - 1),
        fc.constantFrom('A', 'b', '_', '.', '=', ' '),
        (at, c) => {
          const changed = short.slice(0, at) + c + short.slice(at + 1)
          if (changed === short) return
          expect(() => verifyEar(changed, ed.publicKey)).toThrow(AttestationError)
        },
      ),
      { numRuns: 300 },
    )
  })

  it.each<[string, () => string]>([
    ['no algorithm', () => forge(part({ alg: 'none', typ: 'JWT' }), body)],
    ['another algorithm than the key’s', () => forge(part({ alg: 'ES256', typ: 'JWT' }), body)],
    ['a critical header', () => forge(part({ alg: 'EdDSA', typ: 'JWT', crit: ['x'] }), body)],
    ['an unknown header member', () => forge(part({ alg: 'EdDSA', typ: 'JWT', jwk: {} }), body)],
    ['an unknown claim', () => forge(header, part({ ...payload, exp: 1 }))],
    ['another profile', () => forge(header, part({ ...payload, eat_profile: 'x' }))],
    ['iat that is not zt4ai.at', () => forge(header, part({ ...payload, iat: 1 }))],
    [
      'a status better than its vector',
      () =>
        forge(
          header,
          part({
            ...payload,
            submods: {
              cpu0: {
                'ear.status': 'affirming',
                'ear.trustworthiness-vector': { ...vector, hardware: 96 },
              },
            },
          }),
        ),
    ],
    [
      'a claim out of range',
      () =>
        forge(
          header,
          part({
            ...payload,
            submods: {
              cpu0: {
                'ear.status': 'none',
                'ear.trustworthiness-vector': { ...vector, hardware: 200 },
              },
            },
          }),
        ),
    ],
    [
      'a digest that is none',
      () => forge(header, part({ ...payload, 'zt4ai.inputs': [{ name: 'x', sha256: 'AB' }] })),
    ],
    ['a fourth part', () => `${forge(header, body)}.x`],
    ['padding', () => `${forge(header, body)}=`],
    ['nothing', () => ''],
  ])('is refused with %s, although validly signed', (_, make) => {
    expect(() => verifyEar(make(), ed.publicKey)).toThrow(AttestationError)
  })

  it('is made with keys and nonces of the right kind alone', () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
    for (const pair of [rsa, p521])
      expect(() => signEar(ear, pair.privateKey)).toThrow(AttestationError)
    for (const length of [7, 65]) {
      expect(() => signEar({ ...ear, nonce: new Uint8Array(length) }, ed.privateKey)).toThrow(
        '8 to 64',
      )
    }
    const bare = earOf(result, { verifier })
    expect(verifyEar(signEar(bare, ed.privateKey), ed.publicKey)).toEqual(bare)
  })
})
