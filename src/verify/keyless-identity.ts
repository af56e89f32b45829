// The single owner of who a Fulcio certificate speaks for: its one subject alternative name and its OIDC issuer, read exactly.
import { derText, hexToBytes, parseDer, utf8Decode } from '../../attestation/lib/index.ts'
import type { Certificate } from '../../attestation/lib/index.ts'
import { checkArc } from '../bundle/guard-timestamp.ts'
import { Refusal } from '../bundle/guard-entry.ts'

const CODE_SIGNING = '1.3.6.1.5.5.7.3.3'
/** Fulcio's OIDC issuer: raw text (v1, deprecated) and a DER UTF8String (v2). Fulcio writes both (fulcio docs/oid-info.md). */
const ISSUER_V1 = '1.3.6.1.4.1.57264.1.1'
const ISSUER_V2 = '1.3.6.1.4.1.57264.1.8'
/** Fulcio's user name as an otherName: a DER UTF8String. */
const USERNAME = '1.3.6.1.4.1.57264.1.7'

export interface CertificateIdentity {
  readonly identity: string
  readonly issuer: string
}

function refuse(message: string, code: 'CERT_INVALID' | 'CERT_ROLE' = 'CERT_INVALID'): never {
  throw new Refusal({ code, message })
}

/**
 * Reads identity and issuer, and checks that the certificate is one that Fulcio makes for signing: version 3, P-256, digitalSignature,
 * codeSigning, not a CA, exactly one name. Throws a Refusal, or what a strict reader throws. Nothing is authenticated here.
 */
export function readIdentity(certificate: Certificate): CertificateIdentity {
  for (const oid of certificate.extensions.keys()) checkArc(oid)
  if (certificate.key.type !== 'ec' || certificate.key.curve !== 'P-256') {
    throw new Refusal({
      code: 'KEY_UNSUPPORTED',
      message: 'the keyless method signs with ECDSA on P-256 and SHA-256 (OMS v1.0)',
      expected: 'P-256',
      actual: certificate.key.type === 'ec' ? certificate.key.curve : certificate.key.type,
    })
  }
  if (certificate.basicConstraints?.ca === true)
    refuse('it is the certificate of a CA', 'CERT_ROLE')
  if (certificate.keyUsage?.has('digitalSignature') !== true)
    refuse('it is not for digital signatures', 'CERT_ROLE')
  if (certificate.extKeyUsage?.includes(CODE_SIGNING) !== true)
    refuse('it is not for code signing', 'CERT_ROLE')
  return { identity: readName(certificate), issuer: readIssuer(certificate) }
}

/** Exactly one name: email, URI, or Fulcio's user name. The library would take the first of its kind, and cut the eighth bit off. */
function readName({ subjectAltNames }: Certificate): string {
  const [name, ...more] = subjectAltNames
  if (name === undefined || more.length > 0)
    refuse('it must have exactly one subject alternative name')
  const { type, value } = name
  const text =
    type === 'email' || type === 'uri'
      ? value
      : type === 'otherName' && value.startsWith(`${USERNAME}#`)
        ? derText(parseDer(hexToBytes(value.slice(USERNAME.length + 1))))
        : ''
  return text === '' ? refuse('its subject alternative name is of an unknown kind') : text
}

function readIssuer(certificate: Certificate): string {
  const old = certificate.extensions.get(ISSUER_V1)
  const current = certificate.extensions.get(ISSUER_V2)
  const first = old === undefined ? undefined : utf8Decode(old.value)
  const second = current === undefined ? undefined : derText(parseDer(current.value))
  const issuer = second ?? first
  if (issuer === undefined || issuer === '') refuse('it names no OIDC issuer')
  if (first !== undefined && first !== issuer) refuse('it names two different OIDC issuers')
  return issuer
}
