// The single owner of signing with a private key: P-256, P-384, P-521 in PEM, encrypted or not, and Ed25519 (our extension).
import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { pae } from '../bundle/dsse.ts'
import { describeKey, foreignForm } from '../bundle/keys.ts'
import type { PublicKey } from '../bundle/keys.ts'
import { ZtError } from '../error.ts'
import type { Signer } from './signer.ts'

/** A private key and what is known of its public half. */
export interface PrivateKey {
  readonly key: KeyObject
  readonly publicKey: PublicKey
}

const PRIVATE_PEM =
  /-----BEGIN (EC |ENCRYPTED )?PRIVATE KEY-----[\s\S]+?-----END (?:EC |ENCRYPTED )?PRIVATE KEY-----/g

/** True if a PEM text holds a private key that needs a passphrase (PKCS #8, or the older header of OpenSSL). */
export function isEncrypted(pem: string): boolean {
  return pem.includes('BEGIN ENCRYPTED PRIVATE KEY') || /^Proc-Type: 4,ENCRYPTED$/m.test(pem)
}

/**
 * Reads a private key: one PEM block (an `EC PARAMETERS` block before it, as OpenSSL writes, is passed over).
 * @throws ZtError KEY_INVALID, KEY_PASSPHRASE, KEY_UNSUPPORTED. No message holds anything of the key.
 */
export function readPrivateKey(pem: string, passphrase?: string): PrivateKey {
  const blocks = pem.match(PRIVATE_PEM) ?? []
  const [block] = blocks
  if (block === undefined || blocks.length !== 1)
    throw new ZtError(
      'KEY_INVALID',
      blocks.length === 0 ? 'this is not a private key in PEM' : 'there are several private keys',
      {
        hint: pem.includes('BEGIN PUBLIC KEY')
          ? 'this is a public key; signing needs the private one'
          : blocks.length > 0
            ? 'give a file with the one key to sign with'
            : (foreignForm(pem) ??
              'make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256'),
      },
    )
  const encrypted = isEncrypted(block)
  if (encrypted && passphrase === undefined)
    throw new ZtError('KEY_PASSPHRASE', 'the key is encrypted and no passphrase was given', {
      hint: 'set ZT4AI_KEY_PASSPHRASE, or run on a terminal to be asked',
    })
  let key: KeyObject
  try {
    key = createPrivateKey({
      key: block,
      format: 'pem',
      ...(encrypted ? { passphrase: passphrase ?? '' } : {}),
    })
  } catch {
    // the cause is dropped on purpose: OpenSSL's messages may carry parts of what it read
    throw encrypted
      ? new ZtError('KEY_PASSPHRASE', "the key can't be decrypted with this passphrase")
      : new ZtError('KEY_INVALID', "the private key can't be read")
  }
  return { key, publicKey: describeKey(createPublicKey(key)) }
}

/** Signs bytes: DER for ECDSA with the curve's hash, 64 bytes for Ed25519. */
export async function signBytes(
  { key, publicKey }: PrivateKey,
  message: Uint8Array,
): Promise<Uint8Array> {
  if (publicKey.hash !== null)
    return Uint8Array.from(sign(publicKey.hash, message, { key, dsaEncoding: 'der' }))
  const { signAsync } = await import('@noble/ed25519')
  // the seed is the last 32 bytes of the PKCS #8 form (RFC 8410 §7)
  const der = key.export({ type: 'pkcs8', format: 'der' })
  const seed = Uint8Array.from(der.subarray(-32))
  try {
    return await signAsync(message, seed)
  } finally {
    seed.fill(0)
    der.fill(0)
  }
}

/** A signer of the key method. The bundle carries the key's hint, never the key (OMS v1.0 §4.1). */
export function keySigner(privateKey: PrivateKey): Signer {
  return {
    kind: 'key',
    async sign(payloadType, payload) {
      return {
        signature: await signBytes(privateKey, pae(payloadType, payload)),
        verificationMaterial: {
          publicKey: { hint: privateKey.publicKey.hint },
          tlogEntries: [],
        },
      }
    },
  }
}
