// The public face of the strict readers: the only bytes, JSON, DER, X.509, CRL and time code of the product.
export {
  base64ToBytes,
  base64UrlToBytes,
  bytesToBase64,
  bytesToBase64Url,
  bytesToHex,
  concatBytes,
  equalBytes,
  hexToBytes,
  isZero,
  joinLines,
  sha256,
  sha256Hex,
  trimBlanks,
  utf8Decode,
  utf8Encode,
} from './bytes.ts'
export { Reader } from './reader.ts'
export { dateFromParts, formatTime, parseTime } from './time.ts'
export { parseJson, parseJsonRaw } from './json.ts'
export type { JsonLimits, JsonObject, JsonValue } from './json.ts'
export * as decode from './decode.ts'
export type { Decoded, Decoder, OptionalDecoder } from './decode.ts'
export {
  derBitString,
  derBoolean,
  derChildren,
  derContext,
  derEnumerated,
  derInteger,
  derNull,
  derOctets,
  derOid,
  derSequence,
  derSet,
  derText,
  derTime,
  parseDer,
  TAG,
} from './der.ts'
export type { Der } from './der.ts'
export { importKey, parseKeyKind, verifySignature } from './algorithm.ts'
export type { Hash, KeyKind, SignatureAlgorithm } from './algorithm.ts'
export type { Name, NameAttribute } from './name.ts'
export type { Extension, SubjectAltName } from './extension.ts'
export { parseCertificate, verifiedBy } from './x509.ts'
export type { Certificate } from './x509.ts'
export { parseCertificates, parsePem, parsePemBlocks } from './pem.ts'
export type { PemBlock, PemOptions } from './pem.ts'
export { buildPath, checkPath } from './chain.ts'
export type { PathOptions, Problem, SearchOptions } from './chain.ts'
export { checkCrl, isRevoked, parseCrl } from './crl.ts'
export type { Crl } from './crl.ts'
export { AttestationError } from '../error.ts'
