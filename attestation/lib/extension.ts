// The single owner of X.509 extensions (RFC 5280 §4.2): the list itself, and those that this product understands.
import { AttestationError } from '../error.ts'
import type { Der } from './der.ts'
import {
  derBitString,
  derBoolean,
  derInteger,
  derOctets,
  derOid,
  derSequence,
  parseDer,
  TAG,
} from './der.ts'
import { bytesToHex } from './bytes.ts'

export interface Extension {
  readonly critical: boolean
  /** The content of extnValue. */
  readonly value: Uint8Array
}

export interface SubjectAltName {
  readonly type: 'email' | 'dns' | 'uri' | 'ip' | 'otherName' | 'other'
  /** Text for email, dns and uri; hex of the address for ip; `oid#hex of the value's DER` for otherName; hex of the DER for all others. */
  readonly value: string
}

/** What the standard extensions say. A missing one is undefined or empty. */
export interface Extensions {
  readonly basicConstraints: { readonly ca: boolean; readonly pathLen?: number } | undefined
  /** Names of RFC 5280 §4.2.1.3: `digitalSignature`, `keyCertSign`, `cRLSign` … */
  readonly keyUsage: ReadonlySet<string> | undefined
  /** OIDs. */
  readonly extKeyUsage: readonly string[] | undefined
  readonly subjectAltNames: readonly SubjectAltName[]
  readonly subjectKeyId: Uint8Array | undefined
  /** The keyIdentifier of the extension, if it has one. */
  readonly authorityKeyId: Uint8Array | undefined
  /** The URIs. */
  readonly crlDistributionPoints: readonly string[]
}

export const OID = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  invalidityDate: '2.5.29.24',
  nameConstraints: '2.5.29.30',
  crlDistributionPoints: '2.5.29.31',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
} as const

const KEY_USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const

function invalid(message: string): never {
  throw new AttestationError('FORMAT_INVALID', `extension: ${message}`)
}

/** An explicitly tagged list of extensions. Each may occur once; `critical` may not spell out its default. */
export function parseExtensionList(tagged: Der): ReadonlyMap<string, Extension> {
  const [list, extra] = tagged.children
  if (list === undefined || extra !== undefined) invalid('the list is malformed')
  return parseExtensions(list)
}

/** A SEQUENCE OF Extension. */
export function parseExtensions(list: Der): ReadonlyMap<string, Extension> {
  const items = derSequence(list)
  if (items.length === 0) invalid('the list is empty')
  if (items.length > 64) throw new AttestationError('TOO_LARGE', 'more than 64 extensions')
  const extensions = new Map<string, Extension>()
  for (const item of items) {
    const parts = [...derSequence(item)]
    const first = parts.shift()
    const critical = parts[0]?.tag === TAG.boolean ? parts.shift() : undefined
    const value = parts.shift()
    if (first === undefined || value === undefined || parts.length > 0) invalid('it is malformed')
    if (critical !== undefined && !derBoolean(critical)) invalid('it spells out critical = FALSE')
    const oid = derOid(first)
    if (extensions.has(oid)) {
      throw new AttestationError('FORMAT_INVALID', `extension ${oid} occurs twice`, { path: oid })
    }
    extensions.set(oid, { critical: critical !== undefined, value: derOctets(value) })
  }
  return extensions
}

/** Reads the standard extensions of a certificate. */
export function readExtensions(extensions: ReadonlyMap<string, Extension>): Extensions {
  const read = <T>(oid: string, parse: (node: Der) => T): T | undefined => {
    const extension = extensions.get(oid)
    return extension === undefined ? undefined : parse(parseDer(extension.value))
  }
  return {
    basicConstraints: read(OID.basicConstraints, parseBasicConstraints),
    keyUsage: read(OID.keyUsage, parseKeyUsage),
    extKeyUsage: read(OID.extKeyUsage, parseExtKeyUsage),
    subjectAltNames: read(OID.subjectAltName, parseAltNames) ?? [],
    subjectKeyId: read(OID.subjectKeyIdentifier, derOctets),
    authorityKeyId: read(OID.authorityKeyIdentifier, parseAuthorityKeyId),
    crlDistributionPoints: read(OID.crlDistributionPoints, parseDistributionPoints) ?? [],
  }
}

function parseBasicConstraints(node: Der): { readonly ca: boolean; readonly pathLen?: number } {
  const parts = [...derSequence(node)]
  const flag = parts[0]?.tag === TAG.boolean ? parts.shift() : undefined
  const limit = parts.shift()
  if (parts.length > 0) invalid('basicConstraints is malformed')
  const ca = flag !== undefined && derBoolean(flag)
  if (limit === undefined) return { ca }
  const pathLen = derInteger(limit)
  if (!ca || pathLen < 0n || pathLen > 255n) invalid('basicConstraints has a wrong path length')
  return { ca, pathLen: Number(pathLen) }
}

function parseKeyUsage(node: Der): ReadonlySet<string> {
  const { bytes, unused } = derBitString(node)
  const count = bytes.length * 8 - unused
  const set = (bit: number): boolean => (((bytes[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1) === 1
  // X.690 §11.2.2 wants zero bits at the end cut off; every intermediate of AMD leaves them (03 02 00 04), so they are let pass
  if (bytes.length > 2) invalid('keyUsage is malformed')
  const usages = new Set<string>()
  for (let bit = 0; bit < count; bit++) {
    if (!set(bit)) continue
    const usage = KEY_USAGES[bit]
    if (usage === undefined) return invalid('keyUsage has an unknown bit')
    usages.add(usage)
  }
  if (usages.size === 0) invalid('keyUsage is empty')
  return usages
}

function parseExtKeyUsage(node: Der): readonly string[] {
  const usages = derSequence(node).map(derOid)
  if (usages.length === 0) invalid('extKeyUsage is empty')
  return usages
}

const PLAIN = /^[\x20-\x7e]*$/

function plainText(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1')
  if (!PLAIN.test(text)) invalid('a name has characters that it must not have')
  return text
}

const TEXT_NAMES: Readonly<Record<number, 'email' | 'dns' | 'uri' | undefined>> = {
  0x81: 'email',
  0x82: 'dns',
  0x86: 'uri',
}

function parseAltNames(node: Der): readonly SubjectAltName[] {
  const names = derSequence(node)
  if (names.length === 0) invalid('subjectAltName is empty')
  return names.map((name): SubjectAltName => {
    const text = TEXT_NAMES[name.tag]
    if (text !== undefined) return { type: text, value: plainText(name.content) }
    if (name.tag === 0x87) {
      if (name.content.length !== 4 && name.content.length !== 16) invalid('an IP address')
      return { type: 'ip', value: bytesToHex(name.content) }
    }
    if (name.tag !== 0xa0) return { type: 'other', value: bytesToHex(name.der) }
    const [oid, wrapped, extra] = name.children
    const [value, more] = wrapped?.tag === 0xa0 ? wrapped.children : []
    if (oid === undefined || value === undefined || extra !== undefined || more !== undefined) {
      return invalid('an otherName is malformed')
    }
    return { type: 'otherName', value: `${derOid(oid)}#${bytesToHex(value.der)}` }
  })
}

function parseAuthorityKeyId(node: Der): Uint8Array | undefined {
  const parts = derSequence(node)
  if (parts.some((part) => ![0x80, 0xa1, 0x82].includes(part.tag))) {
    invalid('authorityKeyIdentifier is malformed')
  }
  return parts.find((part) => part.tag === 0x80)?.content
}

function parseDistributionPoints(node: Der): readonly string[] {
  const uris: string[] = []
  for (const point of derSequence(node)) {
    for (const part of derSequence(point)) {
      // DistributionPointName ::= [0] { fullName [0] GeneralNames }
      const names = part.tag === 0xa0 ? part.children[0] : undefined
      if (names?.tag !== 0xa0) continue
      for (const name of names.children) if (name.tag === 0x86) uris.push(plainText(name.content))
    }
  }
  return uris
}
