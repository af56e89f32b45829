// The single owner of distinguished names: their attributes, and one unambiguous line of text for people.
import { AttestationError } from '../error.ts'
import { bytesToHex } from './bytes.ts'
import type { Der } from './der.ts'
import { derOid, derSequence, derSet, derText } from './der.ts'

export interface NameAttribute {
  readonly oid: string
  /** The text, or `#` and the DER in hex where the type is not a text type that is read here. */
  readonly value: string
}

export interface Name {
  /** The whole name. Two names are the same only if these bytes are. */
  readonly der: Uint8Array
  /** For people: `CN=…, O=…` with RFC 4514 escapes. Never compare it. */
  readonly text: string
  /** The common name if there is exactly one. */
  readonly commonName: string | undefined
  /** In the order of the certificate. */
  readonly attributes: readonly NameAttribute[]
}

const COMMON_NAME = '2.5.4.3'
const SHORT: Readonly<Record<string, string | undefined>> = {
  [COMMON_NAME]: 'CN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
}

function attributeText(node: Der): string {
  try {
    return derText(node)
  } catch {
    return `#${bytesToHex(node.der)}`
  }
}

function escape(value: string): string {
  return value
    .replace(/[\\",+;<>=]/g, '\\$&')
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`)
}

/** The text of a name where a check shows it: there are names without any attribute. */
export function describeName({ text }: Name): string {
  return text === '' ? 'an empty name' : text
}

/** Decodes an RDNSequence (RFC 5280 §4.1.2.4). */
export function parseName(node: Der): Name {
  const attributes: NameAttribute[] = []
  for (const rdn of derSequence(node)) {
    const parts = derSet(rdn)
    if (parts.length === 0) throw new AttestationError('FORMAT_INVALID', 'a name has an empty part')
    for (const part of parts) {
      const [type, value, extra] = derSequence(part)
      if (type === undefined || value === undefined || extra !== undefined) {
        throw new AttestationError('FORMAT_INVALID', 'an attribute of a name is not a pair')
      }
      attributes.push({ oid: derOid(type), value: attributeText(value) })
    }
  }
  const commonNames = attributes.filter((attribute) => attribute.oid === COMMON_NAME)
  return {
    der: node.der,
    // made when asked for: most names are compared by their bytes and never shown
    get text() {
      return attributes.map(({ oid, value }) => `${SHORT[oid] ?? oid}=${escape(value)}`).join(', ')
    },
    commonName: commonNames.length === 1 ? commonNames[0]?.value : undefined,
    attributes,
  }
}
