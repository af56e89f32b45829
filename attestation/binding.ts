// The single owner of the model binding: what ties this model to this machine, now.
import { createHash } from 'node:crypto'
import { AttestationError } from './error.ts'

/** Domain separator: 17 bytes, the last one zero. */
const DOMAIN = 'zt4ai-binding/v1\0'

export interface ModelBinding {
  /** The relying party's challenge, 32 bytes. */
  readonly nonce: Uint8Array
  /** The root digest of the model's signed manifest (OpenSSF Model Signing), 32 bytes. */
  readonly modelDigest: Uint8Array
  /** SHA-256 of the SubjectPublicKeyInfo (DER) of a key that only the machine holds, 32 bytes; zeros if there is none. */
  readonly keyDigest?: Uint8Array
}

/**
 * The REPORT_DATA (64 bytes) that a machine must put into its report or quote:
 * `SHA-512("zt4ai-binding/v1" ‖ 0x00 ‖ nonce[32] ‖ modelDigest[32] ‖ keyDigest[32])`. Every part has a fixed length, so no two
 * inputs share a preimage.
 *
 * Vectors, with nonce = 00 01 … 1f and modelDigest = 32 × aa:
 * - no key: `fc9432434f98c89d92ecb8472c2d7f038591b921ee92de18a403ac27a8e49765` `13826d45643ad2173e60b8a1aa6a4a1559f3ccf525b4a59a7239a31275bce9ed`
 * - keyDigest = 32 × bb: `8f585cb98a213e85a60649e7cebf68d69b1395afe4196ebed268b5a78e27fab6` `5736907c8764e3a4b06d1dbb92058d02d3cf6f8c7a08ceb3b62b541df860db69`
 * @throws AttestationError FORMAT_INVALID if a part is not 32 bytes long
 */
export function modelBinding(parts: ModelBinding): Uint8Array {
  const { nonce, modelDigest, keyDigest = new Uint8Array(32) } = parts
  const hash = createHash('sha512').update(DOMAIN)
  for (const [name, part] of Object.entries({ nonce, modelDigest, keyDigest })) {
    if (part.length !== 32) {
      throw new AttestationError('FORMAT_INVALID', `${name} must be 32 bytes, not ${part.length}`, {
        path: name,
      })
    }
    hash.update(part)
  }
  return new Uint8Array(hash.digest())
}
