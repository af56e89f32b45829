// The single owner of simulated keys: everything comes from a seed, so the same seed makes the same keys and the same signatures.
import {
  checkPrimeSync,
  constants,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  privateEncrypt,
  type KeyObject,
} from 'node:crypto'
import { p256, p384 } from '@noble/curves/nist.js'
import {
  bytesToBase64Url,
  bytesToHex,
  concatBytes,
  hexToBytes,
} from '../../attestation/lib/index.ts'
import { bits, context, integer, nullValue, oid, sequence } from './der.ts'

/** Bytes that depend on the seed and the label alone: HMAC-SHA-256 in counter mode. Not for real keys: seeds are public. */
export class SeededBytes {
  readonly #key: Buffer
  #counter = 0n

  constructor(seed: string, label: string) {
    // The seed is hashed first, so that no two pairs of seed and label meet.
    const seedHash = createHash('sha256').update(seed).digest()
    this.#key = createHash('sha256')
      .update('zt4ai-simulated/v1\0')
      .update(seedHash)
      .update(label)
      .digest()
  }

  take(length: number): Uint8Array {
    const out = Buffer.alloc(length)
    for (let at = 0; at < length; at += 32) {
      const counter = Buffer.alloc(8)
      counter.writeBigUInt64BE(this.#counter++)
      createHmac('sha256', this.#key).update(counter).digest().copy(out, at)
    }
    return new Uint8Array(out)
  }
}

/** `length` bytes for one purpose. */
export function seededBytes(seed: string, label: string, length: number): Uint8Array {
  return new SeededBytes(seed, label).take(length)
}

/** A key that signs certificates and lists. `algorithm` is the AlgorithmIdentifier that goes with `sign`. */
export interface SigningKey {
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array
  /** SHA-1 of the subjectPublicKey bits: the usual key identifier (RFC 5280 §4.2.1.2). */
  readonly keyId: Uint8Array
  readonly algorithm: Uint8Array
  /** The signature as X.509 carries it. */
  sign(message: Uint8Array): Uint8Array
}

/** An ECDSA key, which signs reports and quotes as well. */
export interface EcKey extends SigningKey {
  readonly curve: 'P-256' | 'P-384'
  /** x ‖ y, big-endian. */
  readonly point: Uint8Array
  /** r ‖ s, big-endian, over the SHA-2 hash that goes with the curve; RFC 6979. */
  signRaw(message: Uint8Array): Uint8Array
}

const CURVES = {
  'P-256': { curve: p256, size: 32, oid: '1.2.840.10045.3.1.7', signature: '1.2.840.10045.4.3.2' },
  'P-384': { curve: p384, size: 48, oid: '1.3.132.0.34', signature: '1.2.840.10045.4.3.3' },
} as const

const memory = new Map<string, unknown>()

function remember<T>(parts: readonly string[], make: () => T): T {
  const name = JSON.stringify(parts)
  const found = memory.get(name)
  if (found !== undefined) return found as T
  const made = make()
  memory.set(name, made)
  return made
}

/** The ECDSA key of that seed and label. */
export function ecKey(curve: 'P-256' | 'P-384', seed: string, label: string): EcKey {
  return remember([curve, seed, label], () => {
    const { curve: group, size, oid: curveOid, signature } = CURVES[curve]
    // 16 bytes more than needed, reduced, so that the scalar is valid for every seed.
    const wide = BigInt(`0x${bytesToHex(seededBytes(seed, `${curve} ${label}`, size + 16))}`)
    const scalar = (wide % (group.Point.Fn.ORDER - 1n)) + 1n
    const secret = bigEndian(scalar, size)
    const point = group.getPublicKey(secret, false)
    const signRaw = (message: Uint8Array): Uint8Array =>
      group.sign(message, secret, { prehash: true, lowS: false })
    return {
      curve,
      point: point.subarray(1),
      spki: sequence(sequence(oid('1.2.840.10045.2.1'), oid(curveOid)), bits(point)),
      keyId: sha1(point),
      algorithm: sequence(oid(signature)),
      signRaw,
      sign: (message) => {
        const raw = signRaw(message)
        return sequence(
          integer(BigInt(`0x${bytesToHex(raw.subarray(0, size))}`)),
          integer(BigInt(`0x${bytesToHex(raw.subarray(size))}`)),
        )
      },
    }
  })
}

const SALT = 48

/** An RSA key. */
export interface RsaKey extends SigningKey {
  /** The same key with another salt length, in the signature and (unless `claimed` is given) in its parameters; AMD's is 48. */
  withSalt(length: number, claimed?: number): SigningKey
}

const SHA384 = sequence(oid('2.16.840.1.101.3.4.2.2'), nullValue())
const pssAlgorithm = (salt: number, ...trailer: Uint8Array[]): Uint8Array =>
  sequence(
    oid('1.2.840.113549.1.1.10'),
    sequence(
      context(0, SHA384),
      context(1, sequence(oid('1.2.840.113549.1.1.8'), SHA384)),
      context(2, integer(salt)),
      ...trailer,
    ),
  )

/** AMD's two encodings of RSASSA-PSS with SHA-384: with the default trailerField left out (newer leaves) and written out (CAs). */
export const PSS = {
  plain: pssAlgorithm(SALT),
  withTrailer: pssAlgorithm(SALT, context(3, integer(1))),
}

/** The RSA key of that seed and label. The search for primes takes about half a second at 4096 bits, once in a process. */
export function rsaKey(seed: string, label: string, modulusBits = 4096): RsaKey {
  return remember([`RSA-${modulusBits}`, seed, label], () => {
    const steps = modulusBits === 4096 && seed === WELL_KNOWN_SEED ? PRIME_STEPS[label] : undefined
    const { key } = rsaPrivateKey(seed, label, modulusBits, steps)
    const spki = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }))
    const sign = (message: Uint8Array, saltLength: number): Uint8Array => {
      const hash = createHash('sha384').update(message).digest()
      const salt = seededBytes(seed, `salt ${hash.toString('hex')} ${label}`, saltLength)
      const encoded = emsaPss(hash, salt, modulusBits)
      return new Uint8Array(privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, encoded))
    }
    // SPKI of an RSA key: 24 bytes of header (4096 and 2048 bits alike) before the subjectPublicKey.
    const own = { spki, keyId: sha1(spki.subarray(24)) }
    return {
      ...own,
      algorithm: PSS.withTrailer,
      sign: (message) => sign(message, SALT),
      withSalt: (length, claimed = length) => ({
        ...own,
        algorithm: pssAlgorithm(claimed),
        sign: (message) => sign(message, length),
      }),
    }
  })
}

/** EMSA-PSS-ENCODE with SHA-384 and MGF1-SHA-384 (RFC 8017 §9.1.1), with the salt given so that it can be repeated. */
function emsaPss(hash: Uint8Array, salt: Uint8Array, modulusBits: number): Uint8Array {
  const length = modulusBits / 8
  const h = createHash('sha384').update(new Uint8Array(8)).update(hash).update(salt).digest()
  const block = Buffer.alloc(length - h.length - 1)
  block[block.length - salt.length - 1] = 1
  block.set(salt, block.length - salt.length)
  for (let at = 0, counter = 0; at < block.length; at += h.length, counter++) {
    const c = Buffer.alloc(4)
    c.writeUInt32BE(counter)
    const mask = createHash('sha384').update(h).update(c).digest()
    for (let i = 0; i < mask.length && at + i < block.length; i++)
      block.writeUInt8(block.readUInt8(at + i) ^ mask.readUInt8(i), at + i)
  }
  block.writeUInt8(block.readUInt8(0) & 0x7f, 0)
  return concatBytes(block, h, Uint8Array.of(0xbc))
}

/** The seed whose RSA keys are wanted in every test and demonstration. */
export const WELL_KNOWN_SEED = 'zt4ai'

/**
 * How far behind its seeded start each prime of the well-known seed lies: the search costs half a second a key, this makes it free.
 * A test searches for them anew and compares.
 */
export const PRIME_STEPS: Readonly<Record<string, readonly [number, number]>> = {
  'ARK-Milan': [1468, 3336],
  'SEV-Milan': [14, 782],
  'SEV-VLEK-Milan': [1172, 484],
  'ARK-Genoa': [800, 1626],
  'SEV-Genoa': [2830, 948],
  'SEV-VLEK-Genoa': [1116, 3618],
  'ARK-Turin': [556, 3800],
  'SEV-Turin': [1296, 2022],
  'SEV-VLEK-Turin': [1376, 1364],
  'forged ARK': [70, 1084],
  'forged ASK': [716, 4146],
}

/** An RSA key from two seeded primes, and how far they were to seek; with `steps` given there is no search. */
export function rsaPrivateKey(
  seed: string,
  label: string,
  modulusBits: number,
  steps?: readonly [number, number],
): { readonly key: KeyObject; readonly steps: readonly [number, number] } {
  const source = new SeededBytes(seed, `RSA-${modulusBits} ${label}`)
  const e = 65537n
  const [p, stepsP] = seededPrime(source, modulusBits / 2, e, steps?.[0])
  const [q, stepsQ] = seededPrime(source, modulusBits / 2, e, steps?.[1])
  const d = inverse(e, (p - 1n) * (q - 1n))
  const field = (value: bigint, bytes: number): string => bytesToBase64Url(bigEndian(value, bytes))
  const half = modulusBits / 16
  const key = createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'RSA',
      n: field(p * q, half * 2),
      e: 'AQAB',
      d: field(d, half * 2),
      p: field(p, half),
      q: field(q, half),
      dp: field(d % (p - 1n), half),
      dq: field(d % (q - 1n), half),
      qi: field(inverse(q, p), half),
    },
  })
  return { key, steps: [stepsP, stepsQ] }
}

/** The first prime at or after a seeded start whose two top bits are set, sieved by small primes before the costly test; and its distance. */
function seededPrime(
  source: SeededBytes,
  primeBits: number,
  e: bigint,
  known: number | undefined,
): readonly [bigint, number] {
  const start = source.take(primeBits / 8)
  start[0] = (start[0] ?? 0) | 0xc0
  start[start.length - 1] = (start[start.length - 1] ?? 0) | 1
  const base = BigInt(`0x${bytesToHex(start)}`)
  if (known !== undefined) return [base + BigInt(known), known]
  const rests = SMALL_PRIMES.map((prime) => Number(base % BigInt(prime)))
  for (let step = 0; ; step += 2) {
    if (SMALL_PRIMES.some((prime, i) => ((rests[i] ?? 0) + step) % prime === 0)) continue
    const candidate = base + BigInt(step)
    if ((candidate - 1n) % e === 0n) continue
    // checkPrimeSync: the rounds that OpenSSL chooses for this size (at least 64 of Miller-Rabin).
    if (checkPrimeSync(bigEndian(candidate, primeBits / 8))) return [candidate, step]
  }
}

const SMALL_PRIMES = ((limit: number): readonly number[] => {
  const primes: number[] = []
  for (let n = 3; n < limit; n += 2) if (primes.every((p) => n % p !== 0)) primes.push(n)
  return primes
})(6000)

/** The inverse of `a` modulo `m`, both coprime. */
function inverse(a: bigint, m: bigint): bigint {
  let [r, s, t, u] = [m, a % m, 0n, 1n]
  while (s !== 0n) {
    const quotient = r / s
    ;[r, s] = [s, r - quotient * s]
    ;[t, u] = [u, t - quotient * u]
  }
  return t < 0n ? t + m : t
}

function bigEndian(value: bigint, length: number): Uint8Array {
  return hexToBytes(value.toString(16).padStart(length * 2, '0'))
}

const sha1 = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha1').update(bytes).digest())
