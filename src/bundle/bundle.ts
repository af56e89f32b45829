// The single owner of the Sigstore bundle's form as OMS uses it: what is read strictly, before anything is verified.
import { AttestationError, decode, parseJson, utf8Decode } from '../../attestation/lib/index.ts'
import type { Decoder, JsonObject, OptionalDecoder } from '../../attestation/lib/index.ts'
import type { Code } from '../codes.ts'
import { ZtError } from '../error.ts'

/** The only media type that writers of this format use (OMS v1.0 §4). */
export const MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json'
/** The same form by its first name (Sigstore bundle specification, v0.3). */
const MEDIA_TYPES: readonly string[] = [
  MEDIA_TYPE,
  'application/vnd.dev.sigstore.bundle+json;version=0.3',
]

/** Bytes. A data set of 100,000 files has a bundle of about 40 MB in the reference implementation's form. */
export const MAX_BUNDLE = 256 * 1024 * 1024
const MAX_PART = 64 * 1024
const MAX_LIST = 16

/** The DSSE envelope, decoded. Nothing in it is authenticated yet. */
export interface Envelope {
  readonly payloadType: string
  /** The exact bytes that were signed (through the pre-authentication encoding). */
  readonly payload: Uint8Array
  readonly signature: Uint8Array
}

/** The verification material: exactly one kind. Certificates are DER, leaf first. None of it is trusted. */
export type Material =
  | {
      readonly kind: 'key'
      /** Lower-case hex SHA-256 over the canonical PEM of the public key; absent in releases before 1.1.0, and where a tool gave none. */
      readonly hint?: string
      /** The bytes of a PEM text of the public key, in releases before 1.1.0. Compared, never trusted. */
      readonly publicKey?: Uint8Array
      /** Sigstore's name of the key's algorithm, in releases before 1.1.0. Compared, never trusted. */
      readonly keyDetails?: string
    }
  | {
      /** `x509CertificateChain`, or a single `certificate`, which the certificate and keyless methods share. */
      readonly kind: 'certificates'
      readonly form: 'chain' | 'single'
      readonly certificates: readonly Uint8Array[]
    }

/** A decoded bundle. `json` is the strictly parsed document (null-prototype objects), for the keyless verifier. */
export interface Bundle {
  readonly mediaType: string
  readonly material: Material
  readonly envelope: Envelope
  /** Number of transparency log entries presented (not verified). */
  readonly logEntries: number
  /** RFC 3161 tokens, DER (not verified). */
  readonly timestamps: readonly Uint8Array[]
  readonly json: JsonObject
}

const { array, base64, object, string } = decode

/** A member of a protobuf message: where it is missing, null or an empty text it has no value (protobuf JSON mapping). */
function optional<T>(decoder: Decoder<T>): OptionalDecoder<T | undefined> {
  return decode.optional((value, path) =>
    value === null || value === '' ? undefined : decoder(value, path),
  )
}

const bytes: Decoder<Uint8Array> = (value, path) => {
  const decoded = base64({ max: MAX_BUNDLE })(value, path)
  if (decoded.length > 0) return decoded
  throw new AttestationError('FORMAT_INVALID', `${path}: is empty`, { path })
}

const part: Decoder<Uint8Array> = (value, path) => {
  const decoded = bytes(value, path)
  if (decoded.length <= MAX_PART) return decoded
  throw new AttestationError('TOO_LARGE', `${path}: more than ${MAX_PART} bytes`, { path })
}

/** Entries of transparency logs are Sigstore's own: the keyless verifier reads them. Here they are only objects. */
const logEntry: Decoder<JsonObject> = (value, path) => {
  if (decode.isObject(value)) return value
  throw new AttestationError('FORMAT_INVALID', `${path}: expected an object`, { path })
}

const certificate = object({ rawBytes: part })

const bundle = object({
  mediaType: string(),
  verificationMaterial: object({
    publicKey: optional(
      object({
        hint: optional(string({ max: 1024 })),
        rawBytes: optional(part),
        keyDetails: optional(string({ max: 128 })),
      }),
    ),
    x509CertificateChain: optional(
      object({ certificates: array(certificate, { min: 1, max: MAX_LIST }) }),
    ),
    certificate: optional(certificate),
    tlogEntries: optional(array(logEntry, { max: MAX_LIST })),
    timestampVerificationData: optional(
      object({
        rfc3161Timestamps: optional(array(object({ signedTimestamp: part }), { max: MAX_LIST })),
      }),
    ),
  }),
  dsseEnvelope: object({
    payload: bytes,
    payloadType: string({ max: 1024 }),
    signatures: array(object({ sig: part, keyid: optional(string({ max: 1024 })) }), { max: 1024 }),
  }),
})

/**
 * Reads a bundle. Refuses everything that this format does not use: other media types, unknown fields, several materials or signatures,
 * base64 that is not canonical, duplicate keys. Accepts what releases since 0.2.0 wrote: `keyid` absent, empty or null, `tlogEntries` absent,
 * a raw public key instead of a hint.
 * @throws ZtError BUNDLE_INVALID, MEDIA_TYPE_UNKNOWN, MATERIAL_KIND, SIGNATURE_COUNT, TOO_LARGE, with the JSON path
 */
export function decodeBundle(input: Uint8Array): Bundle {
  const { json, decoded } = readStrict(input, MAX_BUNDLE, bundle, 'BUNDLE_INVALID')
  const { mediaType, dsseEnvelope, verificationMaterial } = decoded
  if (!MEDIA_TYPES.includes(mediaType))
    throw new ZtError(
      'MEDIA_TYPE_UNKNOWN',
      `the media type is ${JSON.stringify(mediaType.slice(0, 100))}`,
      { path: '$.mediaType', hint: `a signature of a model has ${MEDIA_TYPE}` },
    )
  const [signature, ...others] = dsseEnvelope.signatures
  if (signature === undefined || others.length > 0)
    throw new ZtError(
      'SIGNATURE_COUNT',
      `the envelope carries ${dsseEnvelope.signatures.length} signatures and must carry one`,
      {
        path: '$.dsseEnvelope.signatures',
        hint: 'put a second signature into a bundle of its own',
      },
    )
  return {
    mediaType,
    material: materialOf(verificationMaterial),
    envelope: {
      payloadType: dsseEnvelope.payloadType,
      payload: dsseEnvelope.payload,
      signature: signature.sig,
    },
    logEntries: verificationMaterial.tlogEntries?.length ?? 0,
    timestamps: (verificationMaterial.timestampVerificationData?.rfc3161Timestamps ?? []).map(
      (entry) => entry.signedTimestamp,
    ),
    json,
  }
}

type DecodedBundle = ReturnType<typeof bundle>

function materialOf(material: DecodedBundle['verificationMaterial']): Material {
  const { publicKey, x509CertificateChain, certificate: single } = material
  const path = '$.verificationMaterial'
  const kinds = [publicKey, x509CertificateChain, single].filter((kind) => kind !== undefined)
  if (kinds.length !== 1)
    throw new ZtError(
      'BUNDLE_INVALID',
      `the verification material is of ${kinds.length} kinds and must be of one`,
      { path, hint: 'a bundle holds a publicKey, an x509CertificateChain or a certificate' },
    )
  if (publicKey !== undefined) {
    const { hint, rawBytes, keyDetails } = publicKey
    return {
      kind: 'key',
      ...(hint === undefined ? {} : { hint }),
      ...(rawBytes === undefined ? {} : { publicKey: rawBytes }),
      ...(keyDetails === undefined ? {} : { keyDetails }),
    }
  }
  if (single !== undefined)
    return { kind: 'certificates', form: 'single', certificates: [single.rawBytes] }
  return {
    kind: 'certificates',
    form: 'chain',
    certificates: (x509CertificateChain?.certificates ?? []).map((entry) => entry.rawBytes),
  }
}

/**
 * Parses JSON strictly and decodes it. `text` is the document: what is read from it shares its memory, so keeping it costs nothing more.
 * @throws ZtError `code` or TOO_LARGE, with the JSON path
 */
export function readStrict<T>(
  input: Uint8Array | string,
  maxBytes: number,
  decoder: Decoder<T>,
  code: Code,
): { readonly json: JsonObject; readonly decoded: T; readonly text: string } {
  try {
    if (input.length > maxBytes)
      throw new AttestationError('TOO_LARGE', `JSON larger than ${maxBytes} bytes`)
    const text = typeof input === 'string' ? input : utf8Decode(input)
    if (text.startsWith('\ufeff'))
      throw new ZtError(code, 'the text starts with a byte order mark, which JSON must not have', {
        hint: 'an editor or a shell added it: fetch the file again, or save it as plain UTF-8',
      })
    const json = parseJson(text, { maxBytes })
    const decoded = decoder(json, '$')
    return { json: json as JsonObject, decoded, text }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError(error.code === 'TOO_LARGE' ? 'TOO_LARGE' : code, error.message, {
      ...(error.path === undefined ? {} : { path: error.path }),
      cause: error,
    })
  }
}
