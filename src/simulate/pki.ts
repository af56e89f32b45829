// The single owner of simulated certificates and revocation lists: X.509 v3 (RFC 5280) with every field open to being overridden.
import { bytesToBase64, utf8Encode } from '../../attestation/lib/index.ts'
import {
  bits,
  boolean,
  context,
  contextPrimitive,
  enumerated,
  integer,
  octets,
  oid,
  printable,
  sequence,
  set,
  time,
  utf8,
} from './der.ts'
import type { SigningKey } from './keys.ts'

/** A distinguished name as `[attribute, value]` pairs in order; `C` is written as PrintableString, all else as UTF8String. */
export type NameParts = readonly (readonly ['CN' | 'O' | 'OU' | 'L' | 'ST' | 'C', string])[]

const ATTRIBUTES = {
  CN: '2.5.4.3',
  C: '2.5.4.6',
  L: '2.5.4.7',
  ST: '2.5.4.8',
  O: '2.5.4.10',
  OU: '2.5.4.11',
} as const

/** The DER of a distinguished name. */
export function name(parts: NameParts): Uint8Array {
  return sequence(
    ...parts.map(([type, value]) =>
      set(sequence(oid(ATTRIBUTES[type]), type === 'C' ? printable(value) : utf8(value))),
    ),
  )
}

export interface Extension {
  readonly oid: string
  readonly critical?: boolean
  /** The content of extnValue: usually DER, in AMD's hardware id raw bytes. */
  readonly value: Uint8Array
}

/** Everything of a certificate that its maker chooses. Times are whole seconds. */
export interface CertificateFields {
  readonly serial: bigint
  readonly issuer: NameParts
  readonly subject: NameParts
  readonly notBefore: Date
  readonly notAfter: Date
  readonly extensions: readonly Extension[]
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array
  /** The key that signs. */
  readonly signer: SigningKey
  /** Another AlgorithmIdentifier than the signer's own. */
  readonly algorithm?: Uint8Array
}

/** A change to the certificate that would have been made. */
export type CertificateChange = (fields: CertificateFields) => CertificateFields

/** The DER of a certificate. */
export function certificate(fields: CertificateFields): Uint8Array {
  const algorithm = fields.algorithm ?? fields.signer.algorithm
  const tbs = sequence(
    context(0, integer(2)),
    integer(fields.serial),
    algorithm,
    name(fields.issuer),
    sequence(time(fields.notBefore), time(fields.notAfter)),
    name(fields.subject),
    fields.spki,
    ...(fields.extensions.length === 0 ? [] : [context(3, extensions(fields.extensions))]),
  )
  return sequence(tbs, algorithm, bits(fields.signer.sign(tbs)))
}

function extensions(list: readonly Extension[]): Uint8Array {
  return sequence(
    ...list.map(({ oid: id, critical, value }) =>
      sequence(oid(id), ...(critical === true ? [boolean(true)] : []), octets(value)),
    ),
  )
}

const KEY_USAGE_BITS = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyCertSign: 5,
  cRLSign: 6,
} as const

/** The standard extensions that vendors' certificates carry (RFC 5280 §4.2.1). */
export const standard = {
  subjectKeyId: (keyId: Uint8Array): Extension => ({ oid: '2.5.29.14', value: octets(keyId) }),
  authorityKeyId: (keyId: Uint8Array): Extension => ({
    oid: '2.5.29.35',
    value: sequence(contextPrimitive(0, keyId)),
  }),
  basicConstraints: (ca: boolean, pathLength?: number): Extension => ({
    oid: '2.5.29.19',
    critical: true,
    value: sequence(
      ...(ca ? [boolean(true)] : []),
      ...(pathLength === undefined ? [] : [integer(pathLength)]),
    ),
  }),
  keyUsage: (...usages: (keyof typeof KEY_USAGE_BITS)[]): Extension => {
    const byte = usages.reduce((sum, usage) => sum | (0x80 >> KEY_USAGE_BITS[usage]), 0)
    const unused = byte === 0 ? 0 : 31 - Math.clz32(byte & -byte)
    return { oid: '2.5.29.15', critical: true, value: bits(Uint8Array.of(byte), unused) }
  },
  crlDistributionPoint: (url: string): Extension => ({
    oid: '2.5.29.31',
    value: sequence(sequence(context(0, context(0, contextPrimitive(6, utf8Encode(url)))))),
  }),
}

/** Everything of a revocation list that its maker chooses. */
export interface CrlFields {
  readonly issuer: NameParts
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  readonly revoked: readonly { readonly serial: bigint; readonly at: Date }[]
  readonly number: bigint
  /** The issuer's key identifier. */
  readonly authorityKeyId: Uint8Array
  readonly signer: SigningKey
}

export type CrlChange = (fields: CrlFields) => CrlFields

/** The DER of a version 2 revocation list; every entry says keyCompromise. */
export function revocationList(fields: CrlFields): Uint8Array {
  const entries = fields.revoked.map(({ serial, at }) =>
    sequence(integer(serial), time(at), extensions([{ oid: '2.5.29.21', value: enumerated(1) }])),
  )
  const tbs = sequence(
    integer(1),
    fields.signer.algorithm,
    name(fields.issuer),
    time(fields.thisUpdate),
    time(fields.nextUpdate),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    context(
      0,
      extensions([
        { oid: '2.5.29.20', value: integer(fields.number) },
        standard.authorityKeyId(fields.authorityKeyId),
      ]),
    ),
  )
  return sequence(tbs, fields.signer.algorithm, bits(fields.signer.sign(tbs)))
}

/** PEM (RFC 7468) of DER bytes. */
export function pem(label: 'CERTIFICATE' | 'X509 CRL', der: Uint8Array): string {
  const lines = bytesToBase64(der).match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

const DAY = 86_400_000

/** The moment at which simulated hardware records when nobody says otherwise. */
export const RECORDED_AT = new Date('2026-06-01T00:00:00Z')

/** `days` after (or, negative, before) a moment, in whole seconds. */
export function daysFrom(at: Date, days: number): Date {
  return new Date(Math.floor(at.getTime() / 1000) * 1000 + days * DAY)
}
