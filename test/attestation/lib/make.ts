// The single owner of making DER, certificates and revocation lists for the tests of the readers: valid ones, and broken ones that are validly signed.
import { constants, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

export function tlv(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts)
  const n = content.length
  const length =
    n < 0x80
      ? [n]
      : n < 0x100
        ? [0x81, n]
        : n < 0x10000
          ? [0x82, n >> 8, n & 255]
          : [0x83, n >> 16, (n >> 8) & 255, n & 255]
  return new Uint8Array(Buffer.concat([Uint8Array.of(tag, ...length), content]))
}
export const seq = (...parts: readonly Uint8Array[]): Uint8Array => tlv(0x30, ...parts)
export const bits = (bytes: Uint8Array, unused = 0): Uint8Array =>
  tlv(3, Uint8Array.of(unused), bytes)
export const octets = (bytes: Uint8Array): Uint8Array => tlv(4, bytes)
export const bool = (value: boolean): Uint8Array => tlv(1, Uint8Array.of(value ? 0xff : 0))
export const text = (value: string): Uint8Array => tlv(0x0c, Buffer.from(value))

export function int(value: bigint | number): Uint8Array {
  let hex = BigInt(value).toString(16)
  if (hex.length % 2 === 1) hex = `0${hex}`
  if (Number.parseInt(hex.slice(0, 2), 16) >= 0x80) hex = `00${hex}`
  return tlv(2, Buffer.from(hex, 'hex'))
}

export function oid(dotted: string): Uint8Array {
  const [a = 0n, b = 0n, ...rest] = dotted.split('.').map(BigInt)
  const out: number[] = []
  for (const arc of [a * 40n + b, ...rest]) {
    const group = [Number(arc & 127n)]
    for (let left = arc >> 7n; left > 0n; left >>= 7n) group.unshift(Number(left & 127n) | 0x80)
    out.push(...group)
  }
  return tlv(6, Uint8Array.from(out))
}

export function time(date: Date | string): Uint8Array {
  const s = new Date(date).toISOString().replace(/[-:T]/g, '').slice(0, 14)
  return Number(s.slice(0, 4)) >= 2050
    ? tlv(0x18, Buffer.from(`${s}Z`))
    : tlv(0x17, Buffer.from(`${s.slice(2)}Z`))
}

export const name = (cn: string): Uint8Array =>
  cn === '' ? seq() : seq(tlv(0x31, seq(oid('2.5.4.3'), text(cn))))
export const extension = (id: string, value: Uint8Array, critical = false): Uint8Array =>
  seq(oid(id), ...(critical ? [bool(true)] : []), octets(value))
export const ca = (pathLen?: number): Uint8Array =>
  extension('2.5.29.19', seq(bool(true), ...(pathLen === undefined ? [] : [int(pathLen)])), true)
export const usage = (byte: number): Uint8Array => {
  const unused = Math.min(7, 31 - Math.clz32(byte & -byte))
  return extension('2.5.29.15', bits(Uint8Array.of(byte), unused), true)
}
export const CERT_SIGN = 0x04
export const CRL_SIGN = 0x02

export interface Pair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}
export const ecKey = (namedCurve = 'P-256'): Pair => generateKeyPairSync('ec', { namedCurve })
export const rsaKey = (modulusLength = 2048): Pair => generateKeyPairSync('rsa', { modulusLength })
export const edKey = (): Pair => generateKeyPairSync('ed25519')

const SHA384 = seq(oid('2.16.840.1.101.3.4.2.2'), tlv(5))
/** RSASSA-PSS with SHA-384, with or without the explicit default trailer. */
export const pss = (trailer: boolean, salt = 48): Uint8Array =>
  seq(
    oid('1.2.840.113549.1.1.10'),
    seq(
      tlv(0xa0, SHA384),
      tlv(0xa1, seq(oid('1.2.840.113549.1.1.8'), SHA384)),
      tlv(0xa2, int(salt)),
      ...(trailer ? [tlv(0xa3, int(1))] : []),
    ),
  )
export const ECDSA256 = seq(oid('1.2.840.10045.4.3.2'))
export const RSA256 = seq(oid('1.2.840.113549.1.1.11'), tlv(5))
export const ED25519 = seq(oid('1.3.101.112'))

/** Signs a to-be-signed part and puts the frame around it. */
export function signed(
  tbs: Uint8Array,
  algorithm: Uint8Array,
  key: KeyObject,
  salt = 48,
): Uint8Array {
  const isPss = Buffer.from(algorithm).includes(Buffer.from(oid('1.2.840.113549.1.1.10')))
  const signature = isPss
    ? sign('sha384', tbs, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: salt })
    : sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', tbs, key)
  return seq(tbs, algorithm, bits(signature))
}

function algorithmOf(signer: Pair): Uint8Array {
  const type = signer.privateKey.asymmetricKeyType
  return type === 'ec' ? ECDSA256 : type === 'rsa' ? RSA256 : ED25519
}

export interface CertificateParts {
  readonly subject: string
  readonly issuer: string
  readonly key: Pair
  readonly signer: Pair
  readonly serial?: Uint8Array
  readonly version?: Uint8Array
  readonly from?: string
  readonly until?: string
  readonly algorithm?: Uint8Array
  readonly inner?: Uint8Array
  readonly extensions?: readonly Uint8Array[]
  readonly spki?: Uint8Array
  readonly more?: readonly Uint8Array[]
}

export function makeCertificate(parts: CertificateParts): Uint8Array {
  const algorithm = parts.algorithm ?? algorithmOf(parts.signer)
  const extensions = parts.extensions ?? []
  const tbs = seq(
    parts.version ?? tlv(0xa0, int(2)),
    parts.serial ?? int(1),
    parts.inner ?? algorithm,
    name(parts.issuer),
    seq(time(parts.from ?? '2025-01-01T00:00:00Z'), time(parts.until ?? '2030-01-01T00:00:00Z')),
    name(parts.subject),
    parts.spki ?? parts.key.publicKey.export({ type: 'spki', format: 'der' }),
    ...(parts.more ?? []),
    ...(extensions.length === 0 ? [] : [tlv(0xa3, seq(...extensions))]),
  )
  return signed(tbs, algorithm, parts.signer.privateKey)
}

export interface CrlParts {
  readonly issuer: string
  readonly signer: Pair
  readonly from?: string
  readonly until?: string | null
  readonly version?: Uint8Array
  readonly algorithm?: Uint8Array
  readonly entries?: readonly Uint8Array[]
  readonly extensions?: readonly Uint8Array[]
}
export const entry = (serial: number | bigint, ...extensions: readonly Uint8Array[]): Uint8Array =>
  seq(
    int(serial),
    time('2025-06-01T00:00:00Z'),
    ...(extensions.length === 0 ? [] : [seq(...extensions)]),
  )

export function makeCrl(parts: CrlParts): Uint8Array {
  const algorithm = parts.algorithm ?? ECDSA256
  const tbs = seq(
    parts.version ?? int(1),
    algorithm,
    name(parts.issuer),
    time(parts.from ?? '2026-01-01T00:00:00Z'),
    ...(parts.until === null ? [] : [time(parts.until ?? '2026-02-01T00:00:00Z')]),
    ...(parts.entries === undefined ? [] : [seq(...parts.entries)]),
    ...(parts.extensions === undefined ? [] : [tlv(0xa0, seq(...parts.extensions))]),
  )
  return signed(tbs, algorithm, parts.signer.privateKey)
}
