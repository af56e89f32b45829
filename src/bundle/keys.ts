// The single owner of which public keys sign models: the curves and their hashes, how a key is named, and whether a signature is its.
import { Buffer } from 'node:buffer'
import { createHash, createPublicKey, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { parsePemBlocks } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'

export type KeyAlgorithm = 'ecdsa-p256' | 'ecdsa-p384' | 'ecdsa-p521' | 'ed25519'

/** What the format needs to know of a public key. */
export interface PublicKey {
  readonly key: KeyObject
  readonly algorithm: KeyAlgorithm
  /** The hash that goes with the curve (OMS v1.0 algorithm registry); null for Ed25519, which hashes by itself. */
  readonly hash: 'sha256' | 'sha384' | 'sha512' | null
  /** Lower-case hex SHA-256 over the canonical PEM text: the bundle's hint. */
  readonly hint: string
  /** Lower-case hex SHA-256 over the DER. */
  readonly spkiSha256: string
  /** Sigstore's name of the algorithm, as releases before 1.1.0 recorded it. */
  readonly keyDetails: string
}

const CURVES: Readonly<
  Record<string, Pick<PublicKey, 'algorithm' | 'hash' | 'keyDetails'> | undefined>
> = {
  prime256v1: {
    algorithm: 'ecdsa-p256',
    hash: 'sha256',
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
  },
  secp384r1: { algorithm: 'ecdsa-p384', hash: 'sha384', keyDetails: 'PKIX_ECDSA_P384_SHA_384' },
  secp521r1: { algorithm: 'ecdsa-p521', hash: 'sha512', keyDetails: 'PKIX_ECDSA_P521_SHA_512' },
}
// not in the format's registry: our extension
const ED25519 = { algorithm: 'ed25519', hash: null, keyDetails: 'PKIX_ED25519' } as const

/** The facts of a key. @throws ZtError KEY_UNSUPPORTED for anything but P-256, P-384, P-521 and Ed25519 */
export function describeKey(key: KeyObject): PublicKey {
  const curve = key.asymmetricKeyDetails?.namedCurve ?? ''
  const known =
    key.asymmetricKeyType === 'ed25519'
      ? ED25519
      : key.asymmetricKeyType === 'ec' && Object.hasOwn(CURVES, curve)
        ? CURVES[curve]
        : undefined
  if (known === undefined)
    throw new ZtError(
      'KEY_UNSUPPORTED',
      `a key of type ${key.asymmetricKeyType ?? 'unknown'}${curve === '' ? '' : ` (${curve})`} can't sign models`,
      { hint: 'use an elliptic curve key: P-256, P-384 or P-521 (or Ed25519, our extension)' },
    )
  const plain = canonical(key)
  return {
    key: plain,
    ...known,
    hint: hex(plain.export({ type: 'spki', format: 'pem' })),
    spkiSha256: hex(plain.export({ type: 'spki', format: 'der' })),
  }
}

/** Bytes of the DER of a public key whose curve is named and whose point is not compressed. */
const CANONICAL: ReadonlySet<number> = new Set([44, 91, 120, 158])

/** The same key in the one form that every tool names it by: OpenSSL keeps compressed points and spelled-out curves as they were given. */
function canonical(key: KeyObject): KeyObject {
  if (CANONICAL.has(key.export({ type: 'spki', format: 'der' }).length)) return key
  return createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' })
}

/** The way out for a key in a form that is not read; null where nothing is known of it. */
export function foreignForm(text: string): string | null {
  if (text.includes('BEGIN RSA '))
    return 'this is an RSA key: use an elliptic curve key, P-256, P-384 or P-521'
  if (text.includes('BEGIN OPENSSH ') || /^(?:ssh|ecdsa)-/.test(text))
    return 'this is a key of OpenSSH: convert a copy of it (private: ssh-keygen -p -m PKCS8 -f KEY; public: ssh-keygen -e -m PKCS8 -f KEY.pub)'
  if (/BEGIN ENCRYPTED (?:SIGSTORE|COSIGN) /.test(text))
    return "this is a key in cosign's own form, which only cosign reads: make one with openssl, and import it there (cosign import-key-pair)"
  if (/[\0\ufffd]/.test(text))
    return 'this is not text, perhaps DER: convert it (openssl pkey -inform DER -in KEY -out KEY.pem, with -pubin -pubout for a public key)'
  return null
}

/**
 * Reads a public key that the caller trusts: one PEM block, with or without text around it.
 * @throws ZtError KEY_INVALID, KEY_UNSUPPORTED
 */
export function readPublicKey(pem: string): PublicKey {
  let keys: readonly Uint8Array[]
  try {
    keys = parsePemBlocks(pem, { preamble: true })
      .filter(({ label }) => label === 'PUBLIC KEY')
      .map(({ bytes }) => bytes)
  } catch (cause) {
    const hint = foreignForm(pem)
    throw new ZtError('KEY_INVALID', "the public key can't be read", {
      cause,
      ...(hint === null ? {} : { hint }),
    })
  }
  const [key] = keys
  if (key === undefined || keys.length !== 1)
    throw new ZtError(
      'KEY_INVALID',
      key === undefined ? 'this is not a public key in PEM' : 'there are several public keys',
      {
        hint: foreignForm(pem) ?? publicKeyHint(pem, key !== undefined),
      },
    )
  return describeKey(parseKey(key))
}

function publicKeyHint(pem: string, several: boolean): string {
  if (several) return 'give a file with the one key that you trust'
  if (/BEGIN [A-Z ]*PRIVATE KEY/.test(pem))
    return 'this is a private key: give the public one (openssl pkey -in KEY -pubout)'
  if (pem.includes('BEGIN CERTIFICATE'))
    return 'this is a certificate: give it with --ca, or take its public key (openssl x509 -pubkey -noout)'
  return 'it starts with -----BEGIN PUBLIC KEY-----'
}

/** @throws ZtError KEY_INVALID */
function parseKey(der: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' })
  } catch (cause) {
    throw new ZtError('KEY_INVALID', "the public key can't be read", { cause })
  }
}

/**
 * True if `signature` is the key's over `message`: DER for ECDSA, 64 bytes for Ed25519. `hash` overrides the curve's (release 0.2.0 only).
 * Ed25519 follows RFC 8032 strictly: no small-order points, no non-canonical encodings.
 */
export async function verifiesWith(
  { key, hash: curveHash }: PublicKey,
  message: Uint8Array,
  signature: Uint8Array,
  hash = curveHash,
): Promise<boolean> {
  if (hash === null) {
    const { verifyAsync } = await import('@noble/ed25519')
    const raw = key.export({ type: 'spki', format: 'der' }).subarray(-32)
    // a Buffer that noble would keep is copied first
    return verifyAsync(signature, message, Uint8Array.from(raw), { zip215: false }).catch(
      () => false,
    )
  }
  try {
    return verify(hash, message, { key, dsaEncoding: 'der' }, signature)
  } catch {
    // OpenSSL throws on signatures that are not DER at all
    return false
  }
}

function hex(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
