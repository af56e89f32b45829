// The single owner of X.509 certificates (RFC 5280 §4), with what node's own class does not show: signature parameters and every extension.
import type { KeyObject } from 'node:crypto'
import { AttestationError } from '../error.ts'
import type { KeyKind, SignatureAlgorithm } from './algorithm.ts'
import {
  importKey,
  parseKeyKind,
  parseSignatureAlgorithm,
  sameAlgorithm,
  verifySignature,
} from './algorithm.ts'
import { sha256Hex } from './bytes.ts'
import type { Der } from './der.ts'
import { derBitString, derInteger, derSequence, derTime, parseDer, TAG } from './der.ts'
import type { Extension, Extensions } from './extension.ts'
import { parseExtensionList, readExtensions } from './extension.ts'
import type { Name } from './name.ts'
import { parseName } from './name.ts'

export interface Certificate extends Extensions {
  /** The whole certificate. */
  readonly der: Uint8Array
  /** SHA-256 of `der`, lower-case hex. */
  readonly sha256: string
  /** The signed part. */
  readonly tbs: Uint8Array
  readonly version: 1 | 3
  /** Never negative; 0 on the leaves of AMD. */
  readonly serial: bigint
  readonly issuer: Name
  readonly subject: Name
  readonly notBefore: Date
  readonly notAfter: Date
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
  /** Imported when it is first asked for; throws AttestationError CERT_INVALID if OpenSSL refuses it. */
  readonly publicKey: KeyObject
  readonly key: KeyKind
  readonly signatureAlgorithm: SignatureAlgorithm
  readonly signature: Uint8Array
  /** Every extension by OID, as it stands in the certificate. */
  readonly extensions: ReadonlyMap<string, Extension>
}

const MAX_CERTIFICATE = 64 * 1024

function invalid(message: string): never {
  throw new AttestationError('FORMAT_INVALID', `certificate: ${message}`)
}

/** {signed part, algorithm, signature}: the frame that certificates and CRLs share. */
export function parseSigned(root: Der): {
  readonly tbs: Der
  readonly algorithm: SignatureAlgorithm
  readonly signature: Uint8Array
} {
  const [tbs, algorithm, bits, extra] = derSequence(root)
  if (tbs === undefined || algorithm === undefined || bits === undefined || extra !== undefined) {
    throw new AttestationError('FORMAT_INVALID', 'a signed structure does not have three parts')
  }
  const { bytes, unused } = derBitString(bits)
  if (unused !== 0) {
    throw new AttestationError('FORMAT_INVALID', 'a signature does not fill its last byte')
  }
  return { tbs, algorithm: parseSignatureAlgorithm(algorithm), signature: bytes }
}

/** A serial number: 0 to 20 octets of magnitude, never negative (RFC 5280 §4.1.2.2, and AMD's zero). */
export function parseSerial(node: Der): bigint {
  const serial = derInteger(node)
  if (serial < 0n) throw new AttestationError('FORMAT_INVALID', 'a serial number is negative')
  if (serial >> 160n !== 0n) {
    throw new AttestationError('FORMAT_INVALID', 'a serial number is longer than 20 bytes')
  }
  return serial
}

/**
 * Parses one DER certificate, strictly: X.509 v1 or v3, inner and outer signature algorithm the same, no duplicate extension,
 * nothing after the end. It proves nothing yet about who signed it.
 * @throws AttestationError FORMAT_INVALID, TRUNCATED, TRAILING_DATA, TOO_LARGE, UNSUPPORTED_VERSION, UNSUPPORTED_ALGORITHM
 */
export function parseCertificate(der: Uint8Array): Certificate {
  const { tbs, algorithm, signature } = parseSigned(parseDer(der, { maxBytes: MAX_CERTIFICATE }))
  const parts = [...derSequence(tbs)]
  const version = parts[0]?.tag === 0xa0 ? parseVersion(parts.shift()) : 1
  const [serialNode, inner, issuer, validity, subject, spki, ...rest] = parts
  if (
    serialNode === undefined ||
    inner === undefined ||
    issuer === undefined ||
    validity === undefined ||
    subject === undefined ||
    spki === undefined
  ) {
    return invalid('a part is missing')
  }
  if (!sameAlgorithm(parseSignatureAlgorithm(inner), algorithm)) {
    invalid('its two signature algorithms differ')
  }
  const [from, until, ...more] = derSequence(validity)
  if (from === undefined || until === undefined || more.length > 0) invalid('its validity')
  const notBefore = derTime(from)
  const notAfter = derTime(until)
  if (notBefore > notAfter) invalid('its validity ends before it begins')
  const [list, ...after] = rest
  if (after.length > 0 || (list !== undefined && (list.tag !== 0xa3 || version !== 3))) {
    // issuerUniqueID and subjectUniqueID are obsolete: RFC 5280 §4.1.2.8 forbids to make them
    invalid('it has a part that is not accepted')
  }
  const extensions = list === undefined ? new Map<string, Extension>() : parseExtensionList(list)
  let publicKey: KeyObject | undefined
  return {
    der,
    sha256: sha256Hex(der),
    tbs: tbs.der,
    version,
    serial: parseSerial(serialNode),
    issuer: parseName(issuer),
    subject: parseName(subject),
    notBefore,
    notAfter,
    spki: spki.der,
    get publicKey() {
      publicKey ??= importKey(spki.der)
      return publicKey
    },
    key: parseKeyKind(spki),
    signatureAlgorithm: algorithm,
    signature,
    extensions,
    ...readExtensions(extensions),
  }
}

function parseVersion(node: Der | undefined): 1 | 3 {
  const [value, extra] = node?.children ?? []
  if (value?.tag !== TAG.integer || extra !== undefined) return invalid('its version')
  if (derInteger(value) !== 2n) {
    throw new AttestationError(
      'UNSUPPORTED_VERSION',
      'certificate: only X.509 v1 and v3 are accepted',
    )
  }
  return 3
}

/** True if `issuer`'s key made the signature of `cert` with the parameters that `cert` names. Names, dates and roles are not looked at. */
export function verifiedBy(cert: Certificate, issuer: Pick<Certificate, 'publicKey'>): boolean {
  let key: KeyObject
  try {
    key = issuer.publicKey
  } catch {
    return false
  }
  return verifySignature(cert.signatureAlgorithm, cert.tbs, key, cert.signature)
}
