// The single owner of the Sigstore bundle's form as OMS uses it: what is read strictly, before anything is verified.

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
      /** Lower-case hex SHA-256 over the canonical PEM of the public key; absent in releases before 1.1.0. */
      readonly hint?: string
      /** PEM text of the public key, in releases before 1.1.0. Compared, never trusted. */
      readonly publicKey?: string
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
  readonly json: Readonly<Record<string, unknown>>
}
