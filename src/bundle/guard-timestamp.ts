// The single owner of the form of an RFC 3161 timestamp as the guard reads it: strict DER, and its time with any fraction.
import {
  dateFromParts,
  derInteger,
  derNull,
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
const HASHES = new Set([
  '2.16.840.1.101.3.4.2.1',
  '2.16.840.1.101.3.4.2.2',
  '2.16.840.1.101.3.4.2.3',
])
/** ECDSA and RSA with those, RSA by its key's name, Ed25519. The library takes an unknown one for the default of its key. */
const SIGNATURES = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.1',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.3.101.112',
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
  const signedData = derSequence(part(explicit(wrapped)))
  const encapsulated = derSequence(part(signedData, 2))
  expectOid(part(encapsulated, 0), TST_INFO, 'encapsulated content type')
  const content = derOctets(part(explicit(encapsulated[1])))
  checkSigner(signedData)
  const info = derSequence(parseDer(content, { maxBytes: MAX_BYTES }))
  if (derInteger(part(info, 0)) !== 1n) {
    throw new Refusal({ code: 'UNSUPPORTED_VERSION', message: 'TSTInfo is not of version 1' })
  }
  const imprint = derSequence(part(info, 2))
  algorithm(part(imprint, 0), HASHES)
  return generalizedTime(part(info, 4))
}

/**
 * One signer, as the library reads only the first: issuer and serial, known algorithms, and both mandatory signed attributes, each once
 * (RFC 5652 §5.3, §11.1, §11.2).
 */
function checkSigner(signedData: readonly Der[]): void {
  const signers = derSet(part(signedData, signedData.length - 1))
  const signer = derSequence(part(signers, 0))
  const [issuer, serial] = derSequence(part(signer, 1))
  derSequence(part(issuer))
  derInteger(part(serial))
  const digest = algorithm(part(signer, 2), HASHES)
  for (const listed of derSet(part(signedData, 1))) algorithm(listed, HASHES)
  const attributes = part(signer, 3)
  algorithm(part(signer, 4), SIGNATURES)
  derOctets(part(signer, 5))
  const values = (oid: string): readonly Der[] =>
    attributes.children.filter((attribute) => derOid(part(derSequence(attribute), 0)) === oid)
  const types = values(CONTENT_TYPE)
  const versions = [derInteger(part(signedData, 0)), derInteger(part(signer, 0))]
  if (
    signers.length !== 1 ||
    attributes.tag !== 0xa0 ||
    types.length !== 1 ||
    values(MESSAGE_DIGEST).length !== 1 ||
    !versions.every((version) => version === 1n || version === 3n) ||
    !derSet(part(signedData, 1)).some((listed) => algorithm(listed, HASHES) === digest)
  ) {
    throw new Refusal({
      code: 'TIMESTAMP_INVALID',
      message: 'the timestamp does not have the one signer that RFC 3161 demands',
    })
  }
  expectOid(part(derSet(part(part(types, 0).children, 1)), 0), TST_INFO, 'signed content type')
}

/** An AlgorithmIdentifier without parameters, or with NULL for them. */
function algorithm(node: Der, known: ReadonlySet<string>): string {
  const [oid, parameters, extra] = derSequence(node)
  const name = derOid(part(oid))
  if (parameters !== undefined) derNull(parameters)
  if (known.has(name) && extra === undefined) return name
  throw new Refusal({
    code: 'UNSUPPORTED_ALGORITHM',
    message: 'the timestamp uses an algorithm that is not accepted',
    expected: [...known].join(', '),
    actual: name,
  })
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

/** What `[0] EXPLICIT` wraps. */
function explicit(node: Der | undefined): Der | undefined {
  return node?.tag === 0xa0 && node.children.length === 1 ? node.children[0] : undefined
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
