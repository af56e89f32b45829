// What is written in portions is, byte for byte, what would be written in one go.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { base64ToBytes, bytesToBase64 } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { writeBundle, writeStatement } from '../../src/bundle/write.ts'
import type { Manifest, Resource } from '../../src/model/manifest.ts'

function manifest(resources: readonly Resource[], name = 'm'): Manifest {
  return {
    name,
    serialization: { method: 'files', hashType: 'sha256', allowSymlinks: false, ignorePaths: [] },
    resources,
    root: '0'.repeat(64),
  }
}

function inOneGo({ name, resources, root }: Manifest): string {
  return JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name, digest: { sha256: root } }],
    predicateType: 'https://model_signing/signature/v1.0',
    predicate: {
      serialization: {
        method: 'files',
        hash_type: 'sha256',
        allow_symlinks: false,
        ignore_paths: [],
      },
      resources,
    },
  })
}

const resource = (name: string): Resource => ({
  name,
  algorithm: 'sha256',
  digest: 'ab'.repeat(32),
})

describe('writeStatement', () => {
  it.each([0, 1, 255, 256, 257, 700])('writes %i resources', (count) => {
    const model = manifest(Array.from({ length: count }, (_, i) => resource(`file ${i}`)))
    expect(Buffer.from(writeStatement(model)).toString()).toBe(inOneGo(model))
  })

  it('writes names of any length and characters, and every member', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.constant('\u{1f600}'.repeat(60)),
    )
    const full = fc.record({
      name: text,
      algorithm: fc.constant('sha256'),
      digest: fc.constant('ab'.repeat(32)),
      size: fc.nat(),
      fsverity: fc.constant(`sha256:${'cd'.repeat(32)}`),
    })
    fc.assert(
      fc.property(
        text,
        fc.array(fc.oneof(full, text.map(resource)), { maxLength: 8 }),
        (name, list) => {
          const model = manifest(list, name)
          expect(Buffer.from(writeStatement(model)).toString()).toBe(inOneGo(model))
        },
      ),
      { numRuns: 25 },
    )
  })
})

describe('writeBundle', () => {
  const STEP = 48 * 1024

  it.each([1, 2, 3, STEP - 1, STEP, STEP + 1, 2 * STEP, 3 * STEP + 2])(
    'encodes a payload of %i bytes',
    (length) => {
      const payload = Uint8Array.from({ length }, (_, i) => (i * 7) % 251)
      const material = { publicKey: { hint: '"payload":"' }, tlogEntries: [] }
      const bundle = writeBundle(payload, Uint8Array.of(1, 2, 3), material)
      expect(Buffer.from(bundle).toString()).toBe(
        `${JSON.stringify({
          mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
          verificationMaterial: material,
          dsseEnvelope: {
            payload: Buffer.from(payload).toString('base64'),
            payloadType: 'application/vnd.in-toto+json',
            signatures: [{ sig: 'AQID', keyid: '' }],
          },
        })}\n`,
      )
      expect(Buffer.from(decodeBundle(bundle).envelope.payload).equals(payload)).toBe(true)
    },
  )
})

describe('base64ToBytes', () => {
  it('is strict in every portion of a long text', () => {
    const text = bytesToBase64(new Uint8Array(200_000))
    expect(base64ToBytes(text)).toHaveLength(200_000)
    for (const at of [0, 65_535, 65_536, 65_537, 131_072, text.length - 4]) {
      for (const wrong of ['=', '-', ' ', '\u0141'])
        expect(() => base64ToBytes(`${text.slice(0, at)}${wrong}${text.slice(at + 1)}`)).toThrow()
    }
    expect(() => base64ToBytes(`${text}AAA`)).toThrow()
    expect(() =>
      base64ToBytes(`${bytesToBase64(new Uint8Array(100_000)).slice(0, -2)}B=`),
    ).toThrow()
  })
})
