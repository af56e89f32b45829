// A certificate authority for tests: parties with keys on any curve, and certificates with every field open.
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { oid, sequence, contextPrimitive, tlv } from '../../src/simulate/der.ts'
import { certificate, pem, standard } from '../../src/simulate/pki.ts'
import type { Extension } from '../../src/simulate/pki.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'

export type Curve = 'P-256' | 'P-384' | 'P-521'
const HASH = { 'P-256': 'sha256', 'P-384': 'sha384', 'P-521': 'sha512' } as const
const OID = {
  'P-256': '1.2.840.10045.4.3.2',
  'P-384': '1.2.840.10045.4.3.3',
  'P-521': '1.2.840.10045.4.3.4',
} as const

export interface Party {
  readonly name: string
  readonly curve: Curve
  readonly privateKey: KeyObject
  readonly privatePem: string
  readonly publicPem: string
}

export function party(name: string, curve: Curve = 'P-256'): Party {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve })
  return {
    name,
    curve,
    privateKey,
    privatePem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }) as string,
  }
}

export const CODE_SIGNING = '1.3.6.1.5.5.7.3.3'
export const SERVER = '1.3.6.1.5.5.7.3.1'

export interface CertificateOptions {
  readonly issuer?: Party
  /** Another subject than the party's name. */
  readonly subject?: string
  readonly notBefore?: Date
  readonly notAfter?: Date
  readonly ca?: boolean
  readonly keyUsage?: Parameters<typeof standard.keyUsage> | null
  readonly extKeyUsage?: readonly string[] | null
  readonly emails?: readonly string[]
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
}

let serial = 1n

/** PEM of a certificate for `subject`; a leaf for signing code unless told otherwise. */
export function issue(subject: Party, options: CertificateOptions = {}): string {
  const issuer = options.issuer ?? subject
  const ca = options.ca === true
  const usage = options.keyUsage ?? (ca ? ['keyCertSign', 'cRLSign'] : ['digitalSignature'])
  const extended = options.extKeyUsage ?? (ca ? [] : [CODE_SIGNING])
  const names = [
    ...(options.emails ?? []).map((text) => contextPrimitive(1, utf8Encode(text))),
    ...(options.dns ?? []).map((text) => contextPrimitive(2, utf8Encode(text))),
    ...(options.uris ?? []).map((text) => contextPrimitive(6, utf8Encode(text))),
  ]
  const extensions: Extension[] = [
    standard.basicConstraints(ca),
    ...(options.keyUsage === null ? [] : [standard.keyUsage(...usage)]),
    ...(options.extKeyUsage === null || extended.length === 0
      ? []
      : [{ oid: '2.5.29.37', value: sequence(...extended.map(oid)) }]),
    ...(names.length === 0 ? [] : [{ oid: '2.5.29.17', value: tlv(0x30, ...names) }]),
  ]
  const spki = new Uint8Array(
    Buffer.from(subject.publicPem.replace(/-----[^-]+-----|\s/g, ''), 'base64'),
  )
  return pem(
    'CERTIFICATE',
    certificate({
      serial: serial++,
      issuer: [['CN', issuer.name]],
      subject: [['CN', options.subject ?? subject.name]],
      notBefore: options.notBefore ?? new Date('2025-01-01T00:00:00Z'),
      notAfter: options.notAfter ?? new Date('2045-01-01T00:00:00Z'),
      extensions,
      spki,
      signer: {
        spki,
        keyId: createHash('sha1').update(spki).digest(),
        algorithm: sequence(oid(OID[issuer.curve])),
        sign: (message) => sign(HASH[issuer.curve], message, issuer.privateKey),
      },
    }),
  )
}
