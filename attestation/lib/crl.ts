// The single owner of certificate revocation lists (RFC 5280 §5): version 2, complete, direct.
import { AttestationError } from '../error.ts'
import type { SignatureAlgorithm } from './algorithm.ts'
import { parseSignatureAlgorithm, sameAlgorithm, verifySignature } from './algorithm.ts'
import { bytesToHex, equalBytes, sha256Hex } from './bytes.ts'
import { describeUsage } from './chain.ts'
import type { Problem } from './chain.ts'
import type { Der } from './der.ts'
import { derInteger, derSequence, derTime, parseDer, TAG } from './der.ts'
import type { Extension } from './extension.ts'
import { OID, parseExtensionList, parseExtensions, readExtensions } from './extension.ts'
import type { Name } from './name.ts'
import { describeName, parseName } from './name.ts'
import { describeTime, describeWindow } from './time.ts'
import type { Certificate } from './x509.ts'
import { parseSerial, parseSigned } from './x509.ts'

export interface Crl {
  readonly der: Uint8Array
  /** SHA-256 of `der`, lower-case hex. */
  readonly sha256: string
  /** The signed part. */
  readonly tbs: Uint8Array
  readonly issuer: Name
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  /** Serial number, in decimal, and when it was revoked. Ask `isRevoked`, which also compares the issuer. */
  readonly revoked: ReadonlyMap<string, Date>
  readonly number: bigint | undefined
  readonly authorityKeyId: Uint8Array | undefined
  readonly signatureAlgorithm: SignatureAlgorithm
  readonly signature: Uint8Array
}

const MAX_CRL = 8 << 20
const LIST_EXTENSIONS: ReadonlySet<string> = new Set([OID.crlNumber, OID.authorityKeyIdentifier])
const ENTRY_EXTENSIONS: ReadonlySet<string> = new Set([OID.reasonCode, OID.invalidityDate])
const NEVER: Readonly<Record<string, string | undefined>> = {
  '2.5.29.27': 'it is a delta list',
  '2.5.29.28': 'it covers a part of the certificates only',
  '2.5.29.29': 'it is an indirect list',
}

function invalid(message: string): never {
  throw new AttestationError('FORMAT_INVALID', `revocation list: ${message}`)
}

function refuseUnknown(
  extensions: ReadonlyMap<string, Extension>,
  known: ReadonlySet<string>,
): void {
  for (const [oid, { critical }] of extensions) {
    const reason = NEVER[oid]
    if (reason !== undefined) invalid(reason)
    if (critical && !known.has(oid)) invalid(`critical extension ${oid} is not understood`)
  }
}

/**
 * Parses one DER CRL, strictly: version 2 with nextUpdate, no serial twice, no unknown critical extension, neither delta nor
 * indirect nor partial. It proves nothing yet about who signed it.
 * @throws AttestationError FORMAT_INVALID, TRUNCATED, TRAILING_DATA, TOO_LARGE, UNSUPPORTED_VERSION, UNSUPPORTED_ALGORITHM
 */
export function parseCrl(der: Uint8Array): Crl {
  const { tbs, algorithm, signature } = parseSigned(parseDer(der, { maxBytes: MAX_CRL }))
  const [version, inner, issuer, from, until, ...rest] = derSequence(tbs)
  if (version?.tag !== TAG.integer || derInteger(version) !== 1n) {
    throw new AttestationError('UNSUPPORTED_VERSION', 'revocation list: only version 2 is accepted')
  }
  if (
    inner === undefined ||
    issuer === undefined ||
    from === undefined ||
    until === undefined ||
    (until.tag !== TAG.utcTime && until.tag !== TAG.generalizedTime)
  ) {
    return invalid('a part is missing (nextUpdate is required)')
  }
  if (!sameAlgorithm(parseSignatureAlgorithm(inner), algorithm)) {
    invalid('its two signature algorithms differ')
  }
  const entries = rest[0]?.tag === TAG.sequence ? rest.shift() : undefined
  const list = rest[0]?.tag === 0xa0 ? rest.shift() : undefined
  if (rest.length > 0) invalid('it has a part that is not accepted')
  const extensions = list === undefined ? new Map<string, Extension>() : parseExtensionList(list)
  refuseUnknown(extensions, LIST_EXTENSIONS)
  const thisUpdate = derTime(from)
  const nextUpdate = derTime(until)
  if (thisUpdate > nextUpdate) invalid('its validity ends before it begins')
  const number = extensions.get(OID.crlNumber)
  return {
    der,
    sha256: sha256Hex(der),
    tbs: tbs.der,
    issuer: parseName(issuer),
    thisUpdate,
    nextUpdate,
    revoked: parseEntries(entries === undefined ? [] : derSequence(entries)),
    number: number === undefined ? undefined : parseNumber(parseDer(number.value)),
    authorityKeyId: readExtensions(extensions).authorityKeyId,
    signatureAlgorithm: algorithm,
    signature,
  }
}

function parseNumber(node: Der): bigint {
  const number = derInteger(node)
  if (number < 0n || number >> 160n !== 0n) invalid('its number is out of range')
  return number
}

function parseEntries(entries: readonly Der[]): ReadonlyMap<string, Date> {
  const revoked = new Map<string, Date>()
  for (const entry of entries) {
    const [serialNode, date, list, extra] = derSequence(entry)
    if (serialNode === undefined || date === undefined || extra !== undefined) {
      invalid('an entry is malformed')
    }
    const serial = `${parseSerial(serialNode)}`
    if (revoked.has(serial)) invalid(`serial number ${serial} occurs twice`)
    if (list !== undefined) refuseUnknown(parseExtensions(list), ENTRY_EXTENSIONS)
    revoked.set(serial, derTime(date))
  }
  return revoked
}

/**
 * Checks that `issuer` made this list and that it holds at a moment: names, signature, right to sign lists, key identifier, window.
 * Whether `issuer` is trusted is the caller's question.
 * @returns every problem there is; empty if the list may be used
 */
export function checkCrl(crl: Crl, issuer: Certificate, at: Date): readonly Problem[] {
  const problems: Problem[] = []
  const add = (
    code: 'CRL_INVALID' | 'CRL_EXPIRED',
    text: string,
    expected: string,
    actual: string,
  ): void => {
    const message = `the revocation list of ${crl.issuer.text} ${text}`
    problems.push({ code, message, expected, actual })
  }
  if (!equalBytes(crl.issuer.der, issuer.subject.der)) {
    const [expected, actual] = [describeName(issuer.subject), describeName(crl.issuer)]
    add('CRL_INVALID', 'names another issuer', expected, actual)
  }
  if (!signedBy(crl, issuer)) {
    const expected = `a signature by the key of ${describeName(issuer.subject)}`
    add('CRL_INVALID', 'does not verify', expected, 'another key, or a list that was changed')
  }
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.has('cRLSign')) {
    const message = 'has an issuer that must not sign lists'
    add('CRL_INVALID', message, 'cRLSign', describeUsage(issuer))
  }
  const { authorityKeyId } = crl
  const { subjectKeyId } = issuer
  if (
    authorityKeyId !== undefined &&
    subjectKeyId !== undefined &&
    !equalBytes(authorityKeyId, subjectKeyId)
  ) {
    const [expected, actual] = [bytesToHex(subjectKeyId), bytesToHex(authorityKeyId)]
    add('CRL_INVALID', 'names another key of its issuer', expected, actual)
  }
  if (!(at >= crl.thisUpdate && at <= crl.nextUpdate)) {
    const expected = describeWindow(crl.thisUpdate, crl.nextUpdate)
    add('CRL_EXPIRED', 'does not cover the stated time', expected, describeTime(at))
  }
  return problems
}

function signedBy(crl: Crl, issuer: Certificate): boolean {
  try {
    return verifySignature(crl.signatureAlgorithm, crl.tbs, issuer.publicKey, crl.signature)
  } catch {
    return false
  }
}

/** True if the list names this certificate, whatever the date of revocation. A list of another issuer says nothing: false. */
export function isRevoked(crl: Crl, cert: Certificate): boolean {
  return equalBytes(crl.issuer.der, cert.issuer.der) && crl.revoked.has(`${cert.serial}`)
}
