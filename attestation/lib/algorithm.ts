// The single owner of signature algorithms and public keys as X.509 writes them, and of verifying with exactly the decoded parameters.
import { constants, createPublicKey, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { AttestationError } from '../error.ts'
import type { Der } from './der.ts'
import { derBitString, derInteger, derNull, derOid, derSequence, parseDer, TAG } from './der.ts'

export type Hash = 'sha256' | 'sha384' | 'sha512'

/** A decoded AlgorithmIdentifier. `saltLength` is there for rsa-pss alone; ed25519 has no hash of its own choice. */
export interface SignatureAlgorithm {
  readonly kind: 'ecdsa' | 'rsa-pss' | 'rsa-pkcs1' | 'ed25519'
  readonly hash: Hash
  readonly saltLength?: number
}

export type KeyKind =
  | { readonly type: 'rsa'; readonly bits: number; readonly exponent: bigint }
  | { readonly type: 'ec'; readonly curve: 'P-256' | 'P-384' | 'P-521' }
  | { readonly type: 'ed25519' }
  | { readonly type: 'other' }

const HASHES: Readonly<Record<string, Hash | undefined>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}
const ECDSA: Readonly<Record<string, Hash | undefined>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
}
const RSA_PKCS1: Readonly<Record<string, Hash | undefined>> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
}
const RSA_PSS = '1.2.840.113549.1.1.10'
const MGF1 = '1.2.840.113549.1.1.8'
const ED25519 = '1.3.101.112'
const RSA_KEY = '1.2.840.113549.1.1.1'
const EC_KEY = '1.2.840.10045.2.1'
const KEY_TYPE = { ecdsa: 'ec', 'rsa-pss': 'rsa', 'rsa-pkcs1': 'rsa', ed25519: 'ed25519' } as const
const CURVES = {
  '1.2.840.10045.3.1.7': { curve: 'P-256', bytes: 32 },
  '1.3.132.0.34': { curve: 'P-384', bytes: 48 },
  '1.3.132.0.35': { curve: 'P-521', bytes: 66 },
} as const

function unsupported(message: string): never {
  throw new AttestationError('UNSUPPORTED_ALGORITHM', message)
}

function invalid(message: string): never {
  throw new AttestationError('FORMAT_INVALID', message)
}

/** {oid, parameters} of an AlgorithmIdentifier. */
function identifier(node: Der): { readonly oid: string; readonly parameters: Der | undefined } {
  const [oid, parameters, extra] = derSequence(node)
  if (oid === undefined || extra !== undefined) invalid('an AlgorithmIdentifier is malformed')
  return { oid: derOid(oid), parameters }
}

function absent(parameters: Der | undefined): void {
  if (parameters !== undefined) invalid('an algorithm has parameters that it must not have')
}

/** Decodes an AlgorithmIdentifier of a signature. SHA-1 and everything else that is not listed is refused. */
export function parseSignatureAlgorithm(node: Der): SignatureAlgorithm {
  const { oid, parameters } = identifier(node)
  const ecdsa = ECDSA[oid]
  if (ecdsa !== undefined) {
    absent(parameters)
    return { kind: 'ecdsa', hash: ecdsa }
  }
  const pkcs1 = RSA_PKCS1[oid]
  if (pkcs1 !== undefined) {
    if (parameters === undefined) invalid('an RSA signature algorithm lacks its NULL')
    derNull(parameters)
    return { kind: 'rsa-pkcs1', hash: pkcs1 }
  }
  if (oid === RSA_PSS) return parsePss(parameters)
  if (oid === ED25519) {
    absent(parameters)
    return { kind: 'ed25519', hash: 'sha512' }
  }
  return unsupported(`signature algorithm ${oid} is not accepted`)
}

function hashOf(node: Der): Hash {
  const { oid, parameters } = identifier(node)
  if (parameters !== undefined) derNull(parameters)
  return HASHES[oid] ?? unsupported(`hash algorithm ${oid} is not accepted`)
}

/** RSASSA-PSS-params (RFC 4055 §3.1): four optional parts in order, whose defaults are SHA-1 and so never good enough. */
function parsePss(node: Der | undefined): SignatureAlgorithm {
  if (node === undefined) return unsupported('RSASSA-PSS with its default hash SHA-1')
  const parts = new Map<number, Der>()
  let last = -1
  for (const child of derSequence(node)) {
    const [value, extra] = child.children
    const number = child.tag - 0xa0
    if (number <= last || number > 3 || value === undefined || extra !== undefined) {
      invalid('RSASSA-PSS parameters are malformed')
    }
    parts.set(number, value)
    last = number
  }
  const [hashNode, maskNode, saltNode, trailerNode] = [0, 1, 2, 3].map((n) => parts.get(n))
  if (hashNode === undefined || maskNode === undefined) {
    return unsupported('RSASSA-PSS with its default hash SHA-1')
  }
  const hash = hashOf(hashNode)
  const mask = identifier(maskNode)
  if (mask.oid !== MGF1 || mask.parameters === undefined || hashOf(mask.parameters) !== hash) {
    unsupported('RSASSA-PSS with a mask that is not MGF1 over the same hash')
  }
  if (trailerNode !== undefined && derInteger(trailerNode) !== 1n) {
    unsupported('RSASSA-PSS with an unknown trailer')
  }
  const saltLength = saltNode === undefined ? 20n : derInteger(saltNode)
  if (saltLength < 0n || saltLength > 64n) unsupported('RSASSA-PSS with this salt length')
  return { kind: 'rsa-pss', hash, saltLength: Number(saltLength) }
}

/** True if both name the same algorithm with the same decoded parameters (the encodings may differ). */
export function sameAlgorithm(a: SignatureAlgorithm, b: SignatureAlgorithm): boolean {
  return a.kind === b.kind && a.hash === b.hash && a.saltLength === b.saltLength
}

const HASH_NAMES: Readonly<Record<Hash, string>> = {
  sha256: 'SHA-256',
  sha384: 'SHA-384',
  sha512: 'SHA-512',
}

/** `ECDSA with SHA-256`, `RSASSA-PSS with SHA-384 and salt 48`. */
export function describeAlgorithm({ kind, hash, saltLength }: SignatureAlgorithm): string {
  switch (kind) {
    case 'ecdsa':
      return `ECDSA with ${HASH_NAMES[hash]}`
    case 'rsa-pss':
      return `RSASSA-PSS with ${HASH_NAMES[hash]} and salt ${saltLength ?? 20}`
    case 'rsa-pkcs1':
      return `RSASSA-PKCS1-v1_5 with ${HASH_NAMES[hash]}`
    case 'ed25519':
      return 'Ed25519'
  }
}

/** `RSA-4096`, `P-384`. */
export function describeKey(key: KeyKind): string {
  switch (key.type) {
    case 'rsa':
      return `RSA-${key.bits}`
    case 'ec':
      return key.curve
    case 'ed25519':
      return 'Ed25519'
    case 'other':
      return 'a kind of key that is not known'
  }
}

/**
 * Decodes what kind of key a SubjectPublicKeyInfo holds. Explicit curve parameters and compressed points are refused.
 * @throws AttestationError FORMAT_INVALID, UNSUPPORTED_ALGORITHM
 */
export function parseKeyKind(spki: Der): KeyKind {
  const [algorithm, keyBits, extra] = derSequence(spki)
  if (algorithm === undefined || keyBits === undefined || extra !== undefined) {
    invalid('a SubjectPublicKeyInfo is malformed')
  }
  const { oid, parameters } = identifier(algorithm)
  const { bytes, unused } = derBitString(keyBits)
  if (unused !== 0) invalid('a public key does not fill its last byte')
  if (oid === RSA_KEY) {
    if (parameters === undefined) invalid('an RSA key lacks its NULL')
    derNull(parameters)
    return parseRsa(bytes)
  }
  if (oid === EC_KEY) {
    if (parameters?.tag !== TAG.oid) return unsupported('an EC key without a named curve')
    const name = derOid(parameters)
    if (!Object.hasOwn(CURVES, name)) return { type: 'other' }
    const curve = CURVES[name as keyof typeof CURVES]
    if (bytes.length !== 1 + 2 * curve.bytes || bytes[0] !== 4) {
      invalid('an EC key is not an uncompressed point of its curve')
    }
    return { type: 'ec', curve: curve.curve }
  }
  if (oid === ED25519) {
    absent(parameters)
    if (bytes.length !== 32) invalid('an Ed25519 key is not 32 bytes long')
    return { type: 'ed25519' }
  }
  return { type: 'other' }
}

function parseRsa(bytes: Uint8Array): KeyKind {
  const [modulus, exponent, extra] = derSequence(parseDer(bytes))
  if (modulus === undefined || exponent === undefined || extra !== undefined) {
    invalid('an RSA key is malformed')
  }
  // read as bytes: a number of 4096 bits costs more than the rest of the certificate
  if (modulus.tag !== TAG.integer) invalid('an RSA modulus is not an INTEGER')
  const digits = modulus.content
  const n = digits[0] === 0 ? digits.subarray(1) : digits
  const negative = (digits[0] ?? 0) >= 0x80
  const e = derInteger(exponent)
  if (negative || (n.at(-1) ?? 0) % 2 === 0 || e < 3n || e % 2n === 0n) {
    invalid('an RSA key is out of range')
  }
  const bits = n.length * 8 - Math.clz32(n[0] ?? 0) + 24
  if (bits < 2048 || bits > 8192) unsupported(`an RSA key of ${bits} bits`)
  return { type: 'rsa', bits, exponent: e }
}

/** Everything before the coordinates of an uncompressed point of P-256. */
const P256_SPKI = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex')

/**
 * Imports a SubjectPublicKeyInfo.
 * @throws AttestationError CERT_INVALID where OpenSSL refuses the key, for example a point that is not on its curve
 */
export function importKey(spki: Uint8Array): KeyObject {
  try {
    const bytes = Buffer.from(spki)
    // OpenSSL takes half the time for the same point as a JWK, and also refuses one that is not on the curve
    if (
      bytes.length === P256_SPKI.length + 64 &&
      bytes.subarray(0, P256_SPKI.length).equals(P256_SPKI)
    ) {
      const x = bytes.toString('base64url', P256_SPKI.length, P256_SPKI.length + 32)
      const y = bytes.toString('base64url', P256_SPKI.length + 32)
      return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' })
    }
    return createPublicKey({ key: bytes, format: 'der', type: 'spki' })
  } catch (cause) {
    throw new AttestationError('CERT_INVALID', 'a public key could not be imported', { cause })
  }
}

/** Verifies an X.509 style signature (ECDSA in DER form) with the decoded parameters. False also where key and algorithm do not fit. */
export function verifySignature(
  algorithm: SignatureAlgorithm,
  data: Uint8Array,
  key: KeyObject,
  signature: Uint8Array,
): boolean {
  const { kind, hash } = algorithm
  if (key.asymmetricKeyType !== KEY_TYPE[kind]) return false
  try {
    switch (kind) {
      case 'ecdsa':
        return verify(hash, data, { key, dsaEncoding: 'der' }, signature)
      case 'rsa-pkcs1':
        return verify(hash, data, { key, padding: constants.RSA_PKCS1_PADDING }, signature)
      case 'rsa-pss': {
        const padding = constants.RSA_PKCS1_PSS_PADDING
        const saltLength = algorithm.saltLength ?? 20
        return verify(hash, data, { key, padding, saltLength }, signature)
      }
      case 'ed25519':
        return verify(null, data, key, signature)
    }
  } catch {
    // OpenSSL reports some impossible combinations (a hash too long for the key) as an error: not verified either
    return false
  }
}
