// The single owner of the form of an RFC 3161 timestamp as the guard reads it: strict DER, and its time with any fraction.
import {
  dateFromParts,
  derChildren,
  derInteger,
  derOctets,
  derOid,
  derSequence,
  derSet,
  parseDer,
  TAG,
} from '../../attestation/lib/index.ts'
import type { Der } from '../../attestation/lib/index.ts'
import { finding, Refusal } from './guard-entry.ts'
import type { Finding } from './guard-entry.ts'

const SIGNED_DATA = '1.2.840.113549.1.7.2'
const TST_INFO = '1.2.840.113549.1.9.16.1.4'
const CONTENT_TYPE = '1.2.840.113549.1.9.3'
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4'
/** SHA-256, SHA-384, SHA-512. */
const IMPRINTS = new Set([
  '2.16.840.1.101.3.4.2.1',
  '2.16.840.1.101.3.4.2.2',
  '2.16.840.1.101.3.4.2.3',
])
const MAX_TIMESTAMPS = 8
const MAX_BYTES = 64 * 1024
/** The library keeps 32 bits of an arc, so that a larger one could pass for another. */
export const MAX_ARC = 0x7fffffffn

/** A timestamp of the right form. Its signature is not verified yet. */
export interface Timestamp {
  readonly der: Uint8Array
  /** TSTInfo.genTime, cut to milliseconds. */
  readonly time: Date
}

/** Reads every timestamp of a bundle. `timestamps` is meaningful only if there are no findings. */
export function guardTimestamps(tokens: readonly Uint8Array[]): {
  readonly findings: readonly Finding[]
  readonly timestamps: readonly Timestamp[]
} {
  if (tokens.length > MAX_TIMESTAMPS) {
    const message = `the bundle has more than ${MAX_TIMESTAMPS} timestamps`
    return { findings: [{ code: 'TOO_LARGE', message }], timestamps: [] }
  }
  const findings: Finding[] = []
  const timestamps: Timestamp[] = []
  tokens.forEach((der, index) => {
    try {
      timestamps.push({ der, time: readTime(der) })
    } catch (error) {
      const { message, ...rest } = finding(error)
      findings.push({ ...rest, message: `rfc3161Timestamps[${index}]: ${message}` })
    }
  })
  return { findings, timestamps }
}

/** Walks TimeStampResp (RFC 3161 §2.4.2) down to the signed time, and checks what the library leaves open. */
function readTime(der: Uint8Array): Date {
  const response = parseDer(der, { maxBytes: MAX_BYTES, maxDepth: 24 })
  checkArcs(response)
  const [status, token] = derSequence(response)
  const granted = derInteger(part(derSequence(part(status)), 0))
  if (granted !== 0n && granted !== 1n) {
    throw new Refusal({
      code: 'TIMESTAMP_INVALID',
      message: 'the timestamp authority did not grant the request',
      expected: 'status 0 or 1',
      actual: `status ${granted.toString()}`,
    })
  }
  const [contentType, wrapped] = derSequence(part(token))
  expectOid(part(contentType), SIGNED_DATA, 'content type')
  const signedData = derSequence(part(derChildren(part(wrapped)), 0))
  const encapsulated = derSequence(part(signedData, 2))
  expectOid(part(encapsulated, 0), TST_INFO, 'encapsulated content type')
  const content = derOctets(part(derChildren(part(encapsulated, 1)), 0))
  checkSignedAttributes(signedData)
  const info = derSequence(parseDer(content, { maxBytes: MAX_BYTES }))
  if (derInteger(part(info, 0)) !== 1n) {
    throw new Refusal({ code: 'UNSUPPORTED_VERSION', message: 'TSTInfo is not of version 1' })
  }
  const imprint = derSequence(part(info, 2))
  const algorithm = derOid(part(derSequence(part(imprint, 0)), 0))
  if (!IMPRINTS.has(algorithm)) {
    throw new Refusal({
      code: 'UNSUPPORTED_ALGORITHM',
      message: 'the timestamp is over a hash that is not accepted',
      expected: 'SHA-256, SHA-384 or SHA-512',
      actual: algorithm,
    })
  }
  return generalizedTime(part(info, 4))
}

/** Both mandatory signed attributes, each once (RFC 5652 §11.1 and §11.2). One signer, as the library reads only the first. */
function checkSignedAttributes(signedData: readonly Der[]): void {
  const signers = derSet(part(signedData, signedData.length - 1))
  const attributes = signers[0]?.children.find((node) => node.tag === 0xa0)?.children ?? []
  const values = (oid: string): readonly Der[] =>
    attributes.filter((attribute) => derOid(part(derSequence(attribute), 0)) === oid)
  const types = values(CONTENT_TYPE)
  if (signers.length !== 1 || types.length !== 1 || values(MESSAGE_DIGEST).length !== 1) {
    throw new Refusal({
      code: 'TIMESTAMP_INVALID',
      message:
        'the timestamp must have one signer, whose signed attributes hold content type and message digest once',
    })
  }
  expectOid(part(derSet(part(part(types, 0).children, 1)), 0), TST_INFO, 'signed content type')
}

function expectOid(node: Der, oid: string, what: string): void {
  const actual = derOid(node)
  if (actual === oid) return
  throw new Refusal({
    code: 'TIMESTAMP_INVALID',
    message: `the ${what} of the timestamp is another one`,
    expected: oid,
    actual,
  })
}

function part(node: Der | undefined): Der
function part(nodes: readonly Der[], index: number): Der
function part(nodes: Der | readonly Der[] | undefined, index?: number): Der {
  const node = index === undefined ? nodes : (nodes as readonly Der[])[index]
  if (node === undefined || Array.isArray(node)) {
    throw new Refusal({ code: 'TIMESTAMP_INVALID', message: 'a part of the timestamp is missing' })
  }
  return node as Der
}

function checkArcs(node: Der): void {
  if (node.tag === TAG.oid) checkArc(derOid(node))
  node.children.forEach(checkArcs)
}

/** Refuses an object identifier that the library would read as another one. */
export function checkArc(oid: string): void {
  if (oid.split('.').every((arc) => BigInt(arc) <= MAX_ARC)) return
  throw new Refusal({
    code: 'FORMAT_INVALID',
    message: 'an object identifier has an arc of more than 31 bits',
    actual: oid.slice(0, 100),
  })
}

/** DER: seconds always, a fraction of any length without trailing zeros, `Z` (X.690 §11.7). The library knows three digits only. */
const GENERALIZED = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(?:\.(\d{0,8}[1-9]))?Z$/

function generalizedTime(node: Der): Date {
  const text = String.fromCharCode(...node.content.subarray(0, 40))
  const match = node.tag === TAG.generalizedTime ? GENERALIZED.exec(text) : null
  const [, year, month, day, hour, minute, second, fraction = ''] = match ?? []
  const date = dateFromParts(
    Number(year),
    Number(month),
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
    Number(fraction.padEnd(3, '0').slice(0, 3)),
  )
  if (match === null || date === undefined) {
    throw new Refusal({
      code: 'TIMESTAMP_INVALID',
      message: 'the time of the timestamp is not a DER GeneralizedTime in UTC',
    })
  }
  return date
}
