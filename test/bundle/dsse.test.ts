import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { utf8Decode, utf8Encode } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { IN_TOTO, pae, paeCompat } from '../../src/bundle/dsse.ts'
import { haveShared, shared } from '../shared.ts'

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

describe('pre-authentication encoding', () => {
  it('is the example of the DSSE specification', () => {
    expect(text(pae('http://example.com/HelloWorld', utf8Encode('hello world')))).toBe(
      'DSSEv1 29 http://example.com/HelloWorld 11 hello world',
    )
  })

  it('counts bytes, not characters', () => {
    expect(utf8Decode(pae('é', utf8Encode('漢字')))).toBe('DSSEv1 2 é 6 漢字')
  })

  it('is injective: two different inputs never give the same bytes', () => {
    const input = fc.tuple(fc.string(), fc.uint8Array())
    fc.assert(
      fc.property(input, input, ([typeA, a], [typeB, b]) => {
        const same = typeA === typeB && Buffer.compare(a, b) === 0
        return same || Buffer.compare(pae(typeA, a), pae(typeB, b)) !== 0
      }),
    )
  })
})

describe("release 0.2.0's encoding", () => {
  it.each([
    ['', "b''"],
    ['abc', "b'abc'"],
    ["it's", `b"it's"`],
    [`it's "so"`, `b'it\\'s "so"'`],
    ['"quoted"', `b'"quoted"'`],
    ['a\tb\nc\rd\\', "b'a\\tb\\nc\\rd\\\\'"],
    ['\u0000\u001f\u007f\u0080\u00ff', "b'\\x00\\x1f\\x7f\\x80\\xff'"],
  ])('writes %j as Python does', (payload, repr) => {
    const bytes = new Uint8Array(Buffer.from(payload, 'latin1'))
    expect(text(paeCompat('t', bytes))).toBe(`DSSEV1 1 t ${bytes.length} ${repr}`)
  })

  it.skipIf(!haveShared)('has the known digest on the genuine payload', () => {
    const bytes = new Uint8Array(readFileSync(shared('vectors/oms/v0.2.0-certificate/model.sig')))
    const { payload } = decodeBundle(bytes).envelope
    expect(payload.length).toBe(664)
    expect(hash(paeCompat(IN_TOTO, payload))).toBe(
      '27bb8aac0f7a8165575d5b7791f2d68353ae84153b6dc261335a19e5aa727f90',
    )
  })
})

describe.skipIf(!haveShared)('known digests of the genuine payloads', () => {
  it.each([
    ['v0.3.1-certificate', 768, 'd8fd962610507cc7', 'a55be5f0feada9e3'],
    ['v1.1.0-certificate', 925, '8883b795768f712c', '73655053629cc2b5'],
    ['v1.1.0-elliptic-key', 926, '75b4ab3675e70de3', '56c34fe75ca78f05'],
  ])('%s', (vector, length, payloadHash, paeHash) => {
    const bytes = new Uint8Array(readFileSync(shared(`vectors/oms/${vector}/model.sig`)))
    const { payload, payloadType } = decodeBundle(bytes).envelope
    expect(payload.length).toBe(length)
    expect(hash(payload).slice(0, 16)).toBe(payloadHash)
    expect(hash(pae(payloadType, payload)).slice(0, 16)).toBe(paeHash)
  })
})
