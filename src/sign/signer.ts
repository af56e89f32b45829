// The single owner of the port between signing and its methods: bytes to sign in, signature and verification material out.

/** What a method gives for one payload: the pieces of a v0.3 bundle. */
export interface SignedPieces {
  /** Raw signature bytes over DSSE's pre-authentication encoding: DER for ECDSA, 64 bytes for Ed25519. */
  readonly signature: Uint8Array
  /**
   * The bundle's `verificationMaterial` as JSON: exactly one of `publicKey`, `x509CertificateChain`, `certificate`, and `tlogEntries`,
   * and `timestampVerificationData` where there are timestamps. Keys in this order.
   */
  readonly verificationMaterial: Readonly<Record<string, unknown>>
}

/** Signs payloads. The private key never leaves the implementation. */
export interface Signer {
  readonly kind: 'key' | 'certificate' | 'keyless'
  /** Signs `payload` (raw bytes) of `payloadType` through DSSE. Throws ZtError where no signature can be made. */
  sign(payloadType: string, payload: Uint8Array): Promise<SignedPieces>
}
