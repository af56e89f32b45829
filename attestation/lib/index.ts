// The public face of the strict readers: the only bytes, JSON, DER, X.509, CRL and time code of the product.
export * from './bytes.ts'
export * from './reader.ts'
export * from './time.ts'
export * from './json.ts'
export * as decode from './decode.ts'
export type { Decoded, Decoder, OptionalDecoder } from './decode.ts'
