// The single owner of what the fake Rekor logs: the bodies that a real Rekor makes of a request, and an entry in the bundle's JSON.
import { createHash } from 'node:crypto'

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

interface Dsse {
  readonly payload: string
  readonly payloadType: string
  readonly signatures: readonly { readonly sig: string }[]
}

/** What `@sigstore/mock` answers for one logged body. */
export interface Logged {
  readonly body: string
  readonly integratedTime: number
  readonly logIndex: number
  readonly verification: {
    readonly inclusionProof: {
      readonly logIndex: number
      readonly treeSize: number
      readonly rootHash: string
      readonly checkpoint: string
    }
    readonly signedEntryTimestamp: string
  }
}

/** Rekor v1 keeps of a proposed `dsse` entry the hashes, the signature and the certificate (PEM, in base64). */
export function rekorV1Body(proposed: {
  readonly spec: { readonly proposedContent: { envelope: string; verifiers: readonly string[] } }
}): object {
  const { envelope, verifiers } = proposed.spec.proposedContent
  const { payload, signatures } = JSON.parse(envelope) as Dsse
  return dsseV1(
    Buffer.from(payload, 'base64'),
    signatures[0]?.sig ?? '',
    envelope,
    verifiers[0] ?? '',
  )
}

/** The same body from its parts. */
export function dsseV1(
  payload: Uint8Array,
  signature: string,
  envelope: string,
  verifier: string,
): object {
  const hash = (bytes: Uint8Array) => ({
    algorithm: 'sha256',
    value: sha256(bytes).toString('hex'),
  })
  return {
    apiVersion: '0.0.1',
    kind: 'dsse',
    spec: {
      envelopeHash: hash(Buffer.from(envelope)),
      payloadHash: hash(payload),
      signatures: [{ signature, verifier }],
    },
  }
}

/** Rekor v2 keeps of a `dsse` request the payload's digest, the signature and the certificate (DER). */
export function rekorV2Body(request: {
  readonly dsseRequestV002: {
    readonly envelope: Dsse
    readonly verifiers: readonly {
      keyDetails: string
      x509Certificate: { readonly rawBytes: string }
    }[]
  }
}): object {
  const { envelope, verifiers } = request.dsseRequestV002
  const [verifier] = verifiers
  return {
    apiVersion: '0.0.2',
    kind: 'dsse',
    spec: {
      dsseV002: {
        payloadHash: {
          algorithm: 'SHA2_256',
          digest: base64(sha256(Buffer.from(envelope.payload, 'base64'))),
        },
        signatures: [{ content: envelope.signatures[0]?.sig, verifier }],
      },
    },
  }
}

/** Rekor v2 can also log the digest of the signed bytes (for DSSE: of the pre-authentication encoding). */
export function hashedV2(signed: Uint8Array, signature: string, certificate: string): object {
  return {
    apiVersion: '0.0.2',
    kind: 'hashedrekord',
    spec: {
      hashedRekordV002: {
        data: { algorithm: 'SHA2_256', digest: base64(sha256(signed)) },
        signature: {
          content: signature,
          verifier: {
            keyDetails: 'PKIX_ECDSA_P256_SHA_256',
            x509Certificate: { rawBytes: certificate },
          },
        },
      },
    },
  }
}

/** A logged body as an entry of a bundle. Version 2 has neither time nor promise, and one index. */
export function entryJson(logged: Logged, logId: Uint8Array, version: 1 | 2): object {
  const body = JSON.parse(Buffer.from(logged.body, 'base64').toString()) as Record<string, string>
  const { inclusionProof: proof, signedEntryTimestamp } = logged.verification
  const first = version === 1
  return {
    logIndex: String(first ? logged.logIndex : proof.logIndex),
    logId: { keyId: base64(logId) },
    kindVersion: { kind: body['kind'], version: body['apiVersion'] },
    integratedTime: first ? String(logged.integratedTime) : '0',
    ...(first ? { inclusionPromise: { signedEntryTimestamp } } : {}),
    inclusionProof: {
      logIndex: String(proof.logIndex),
      rootHash: base64(Buffer.from(proof.rootHash, 'hex')),
      treeSize: String(proof.treeSize),
      hashes: [],
      checkpoint: { envelope: proof.checkpoint },
    },
    canonicalizedBody: logged.body,
  }
}
