import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { bytesToHex } from '../../attestation/lib/index.ts'
import { modelBinding } from '../../attestation/index.ts'

const nonce = Uint8Array.from({ length: 32 }, (_, i) => i)
const modelDigest = new Uint8Array(32).fill(0xaa)

describe('modelBinding', () => {
  it('has the documented vectors', () => {
    expect(bytesToHex(modelBinding({ nonce, modelDigest }))).toBe(
      'fc9432434f98c89d92ecb8472c2d7f038591b921ee92de18a403ac27a8e49765' +
        '13826d45643ad2173e60b8a1aa6a4a1559f3ccf525b4a59a7239a31275bce9ed',
    )
    const keyDigest = new Uint8Array(32).fill(0xbb)
    expect(bytesToHex(modelBinding({ nonce, modelDigest, keyDigest }))).toBe(
      '8f585cb98a213e85a60649e7cebf68d69b1395afe4196ebed268b5a78e27fab6' +
        '5736907c8764e3a4b06d1dbb92058d02d3cf6f8c7a08ceb3b62b541df860db69',
    )
  })

  it('is the plain formula', () => {
    const preimage = Buffer.concat([
      Buffer.from('zt4ai-binding/v1\0'),
      nonce,
      modelDigest,
      Buffer.alloc(32),
    ])
    expect(preimage).toHaveLength(17 + 96)
    expect(bytesToHex(modelBinding({ nonce, modelDigest }))).toBe(
      createHash('sha512').update(preimage).digest('hex'),
    )
  })

  it.each(['nonce', 'modelDigest', 'keyDigest'])(
    'refuses a %s that is not 32 bytes long',
    (field) => {
      for (const length of [0, 31, 33, 64]) {
        const parts = { nonce, modelDigest, [field]: new Uint8Array(length) }
        expect(() => modelBinding(parts)).toThrow(`${field} must be 32 bytes`)
      }
    },
  )
})
