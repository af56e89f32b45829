// The single owner of what a transparency log entry must say: this signature, this payload, this certificate, and nothing else.
import {
  bytesToHex,
  decode,
  equalBytes,
  parseJson,
  parsePem,
  sha256,
  utf8Decode,
} from '../../attestation/lib/index.ts'
import type { Decoder } from '../../attestation/lib/index.ts'
import type { Envelope } from './bundle.ts'
import { pae } from './dsse.ts'
import { MAX_BODY, Refusal } from './guard-entry.ts'
import type { Finding, RawEntry } from './guard-entry.ts'

const { array, base64, hex, literal, object, string } = decode

/** What a log recorded: the same three facts in every kind. */
interface Recorded {
  readonly digest: Uint8Array
  readonly signature: Uint8Array
  /** DER of the certificate. */
  readonly certificate: Uint8Array
}

const SHA256_HEX = object({ algorithm: literal('sha256'), value: hex({ length: 32 }) })
const SHA256_BASE64 = { algorithm: literal('SHA2_256'), digest: base64({ max: 32 }) }
/** The envelope of an OMS signature over a P-256 key has one signature of at most 72 bytes. */
const SIGNATURE = base64({ max: 256 })
const VERIFIER_V2 = object({
  keyDetails: string({ max: 64 }),
  x509Certificate: object({ rawBytes: base64({ max: MAX_BODY }) }),
})

/** Rekor v1, `dsse` 0.0.1: the hash of the payload. `envelopeHash` is over the JSON as it was sent, which nobody can make again. */
const DSSE_V1 = object({
  apiVersion: literal('0.0.1'),
  kind: literal('dsse'),
  spec: object({
    envelopeHash: SHA256_HEX,
    payloadHash: SHA256_HEX,
    signatures: array(object({ signature: SIGNATURE, verifier: base64({ max: MAX_BODY }) }), {
      min: 1,
      max: 1,
    }),
  }),
})

/** Rekor v2, `dsse` 0.0.2: the hash of the payload. */
const DSSE_V2 = object({
  apiVersion: literal('0.0.2'),
  kind: literal('dsse'),
  spec: object({
    dsseV002: object({
      payloadHash: object(SHA256_BASE64),
      signatures: array(object({ content: SIGNATURE, verifier: VERIFIER_V2 }), { min: 1, max: 1 }),
    }),
  }),
})

/** Rekor v2, `hashedrekord` 0.0.2: the hash of the signed bytes, which for DSSE are the pre-authentication encoding. */
const HASHED_V2 = object({
  apiVersion: literal('0.0.2'),
  kind: literal('hashedrekord'),
  spec: object({
    hashedRekordV002: object({
      data: object(SHA256_BASE64),
      signature: object({ content: SIGNATURE, verifier: VERIFIER_V2 }),
    }),
  }),
})

/** Compares the entry's body with the envelope and the signing certificate (DER). */
export function checkLogBody(
  entry: RawEntry,
  envelope: Envelope,
  leaf: Uint8Array,
  path: string,
): readonly Finding[] {
  const where = `${path}.canonicalizedBody`
  const body = parseJson(entry.canonicalizedBody, { maxBytes: MAX_BODY, maxDepth: 10 })
  const { kind, version } = entry.kindVersion
  const read = <T>(decoder: Decoder<T>): T => decoder(body, where)
  let recorded: Recorded
  let signed = envelope.payload
  if (kind === 'dsse' && version === '0.0.1') {
    const { payloadHash, signatures } = read(DSSE_V1).spec
    recorded = {
      digest: payloadHash.value,
      signature: signatures[0]?.signature ?? new Uint8Array(),
      certificate:
        parsePem(utf8Decode(signatures[0]?.verifier ?? new Uint8Array()), 'CERTIFICATE', {
          max: 1,
        })[0] ?? new Uint8Array(),
    }
  } else if (kind === 'dsse') {
    const { payloadHash, signatures } = read(DSSE_V2).spec.dsseV002
    recorded = {
      digest: payloadHash.digest,
      signature: signatures[0]?.content ?? new Uint8Array(),
      certificate: signatures[0]?.verifier.x509Certificate.rawBytes ?? new Uint8Array(),
    }
  } else if (version === '0.0.2') {
    const { data, signature } = read(HASHED_V2).spec.hashedRekordV002
    recorded = {
      digest: data.digest,
      signature: signature.content,
      certificate: signature.verifier.x509Certificate.rawBytes,
    }
    signed = pae(envelope.payloadType, envelope.payload)
  } else {
    throw new Refusal({
      code: 'LOG_ENTRY_INVALID',
      message: `${path}: a DSSE signature is not logged as ${kind} ${version}`,
      expected: 'dsse 0.0.1, dsse 0.0.2 or hashedrekord 0.0.2',
      actual: `${kind} ${version}`,
    })
  }
  const wrong = (what: string, expected: Uint8Array, actual: Uint8Array): readonly Finding[] =>
    equalBytes(expected, actual)
      ? []
      : [
          {
            code: 'LOG_MISMATCH',
            message: `${where}: the transparency log recorded another ${what}`,
            expected: bytesToHex(expected),
            actual: bytesToHex(actual),
          },
        ]
  return [
    ...wrong('payload', sha256(signed), recorded.digest),
    ...wrong('signature', envelope.signature, recorded.signature),
    ...wrong('certificate', sha256(leaf), sha256(recorded.certificate)),
  ]
}
