// The single owner of the call into the sigstore library: what it is given, what is set right around it, and what its refusals mean.
import { bytesToBase64, concatBytes, equalBytes, sha256 } from '../../attestation/lib/index.ts'
import { MEDIA_TYPE } from '../bundle/bundle.ts'
import type { Bundle } from '../bundle/bundle.ts'
import { pae } from '../bundle/dsse.ts'
import type { LogEntry } from '../bundle/guard.ts'
import type { Finding } from '../bundle/guard-entry.ts'
import type { Timestamp } from '../bundle/guard-timestamp.ts'
import { bundleFromJSON } from '@sigstore/bundle'
import { toSignedEntity, Verifier } from '@sigstore/verify'
import type { SignedEntity, TrustMaterial } from '@sigstore/verify'

/** The parts of the answer. Each is one check, or several failures under the same name. */
export type Part = 'certificate' | 'envelope' | 'log' | 'time' | 'identity' | 'issuer'

/** Gives the library a bundle built anew from what was read, and names the part that it refuses. Null if it accepts. */
export function verifyWithLibrary(
  bundle: Bundle,
  leaf: Uint8Array,
  entries: readonly LogEntry[],
  timestamps: readonly Timestamp[],
  root: TrustMaterial,
): { readonly part: Part; readonly finding: Finding } | null {
  const { payload, payloadType, signature } = bundle.envelope
  try {
    const entity = toSignedEntity(
      bundleFromJSON({
        mediaType: MEDIA_TYPE,
        verificationMaterial: {
          certificate: { rawBytes: bytesToBase64(leaf) },
          tlogEntries: entries.map(({ json }) => json),
          timestampVerificationData: {
            rfc3161Timestamps: timestamps.map(({ der }) => ({
              signedTimestamp: bytesToBase64(der),
            })),
          },
        },
        dsseEnvelope: {
          payload: bytesToBase64(payload),
          payloadType,
          signatures: [{ sig: bytesToBase64(signature), keyid: '' }],
        },
      }),
    )
    keepBytes(entity, root)
    useOurTimes(entity, timestamps)
    useBothDigests(entity, pae(payloadType, payload))
    if (
      entity.key.$case !== 'certificate' ||
      !equalBytes(entity.key.certificate.root.toDER(), leaf)
    )
      return {
        part: 'certificate',
        finding: { code: 'CERT_INVALID', message: 'the certificate has a part that is not DER' },
      }
    const tlogs = root.tlogs.filter(({ logID }) => entries.some((e) => equalBytes(e.logId, logID)))
    new Verifier(
      { ...root, tlogs },
      { ctlogThreshold: 1, tlogThreshold: 1, timestampThreshold: 1 },
    ).verify(entity)
    return null
  } catch (error) {
    return explain(error)
  }
}

interface Parsed {
  readonly tag: { isOctetString(): boolean }
  readonly subs: Parsed[]
  readonly value: Uint8Array
  toDER(): Uint8Array
}

/**
 * The library takes the bytes of an OCTET STRING for ASN.1 where they happen to look like it, and what it then verifies is what it wrote anew of them: of random
 * key identifiers and digests one in some thousands comes out changed. Where that is so, the bytes stay as they are.
 */
function keepBytes({ key, timestamps }: SignedEntity, root: TrustMaterial): void {
  const authorities = [...root.certificateAuthorities, ...root.timestampAuthorities]
  const certificates = authorities.flatMap(({ certChain }) => certChain)
  for (const certificate of certificates) keepOctets(certificate.root)
  if (key.$case === 'certificate') {
    const leaf = key.certificate
    keepOctets(leaf.root)
    // It verifies the proof of transparency over a copy, which it reads anew.
    const clone = leaf.clone.bind(leaf)
    leaf.clone = () => {
      const copy = clone()
      keepOctets(copy.root)
      return copy
    }
  }
  for (const entry of timestamps)
    if (entry.$case === 'timestamp-authority') keepOctets(entry.timestamp.root)
}

function keepOctets(node: Parsed): void {
  for (const sub of node.subs) keepOctets(sub)
  if (node.subs.length === 0 || !node.tag.isOctetString()) return
  const written = concatBytes(...node.subs.map((sub) => sub.toDER()))
  if (!equalBytes(written, node.value)) node.subs.length = 0
}

/** The library reads times with exactly three fraction digits, and cuts them off; a DER time has none, or as many as it needs. */
function useOurTimes(entity: SignedEntity, timestamps: readonly Timestamp[]): void {
  const tokens = entity.timestamps.filter((entry) => entry.$case === 'timestamp-authority')
  tokens.forEach(({ timestamp }, index) => {
    Object.defineProperty(timestamp, 'signingTime', { value: timestamps[index]?.time })
  })
}

/** Before 4.1.0 the library compares a logged digest with the payload's only; `hashedrekord` records that of the signed bytes. */
function useBothDigests(entity: SignedEntity, signed: Uint8Array): void {
  const { signature: content } = entity
  const isSigned = (digest: Uint8Array): boolean => equalBytes(digest, sha256(signed))
  const both = {
    signature: content.signature,
    compareSignature: (value: Buffer) => content.compareSignature(value),
    verifySignature: (key: Parameters<typeof content.verifySignature>[0]) =>
      content.verifySignature(key),
    // Which of the two it must be was checked by the guard, kind by kind.
    compareDigest: (digest: Buffer) => content.compareDigest(digest) || isSigned(digest),
    compareSignedDigest: isSigned,
  }
  entity.signature = both
}

/** The library's error codes, by the part they speak of. Whatever else it throws is a refusal of the certificate or the tokens. */
function explain(error: unknown): { readonly part: Part; readonly finding: Finding } {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown }
  const text = `sigstore: ${String(message)}`
  const refusal = (part: Part, ours: Finding['code'], hint?: string) => ({
    part,
    finding: { code: ours, message: text, ...(hint === undefined ? {} : { hint }) },
  })
  switch (code) {
    case 'TIMESTAMP_ERROR':
      return refusal('time', 'TIMESTAMP_INVALID')
    case 'CERTIFICATE_ERROR':
      return / SCTs?\b|\bSCTs? /.test(text)
        ? refusal('certificate', 'SCT_INVALID')
        : refusal(
            'certificate',
            'CHAIN_INVALID',
            'a private Sigstore instance needs its own trusted root file: --trusted-root',
          )
    case 'TLOG_BODY_ERROR':
      return refusal('log', 'LOG_MISMATCH')
    case 'SIGNATURE_ERROR':
      return refusal('envelope', 'SIGNATURE_INVALID')
    case 'TLOG_ERROR':
    case 'TLOG_INCLUSION_PROOF_ERROR':
    case 'TLOG_INCLUSION_PROMISE_ERROR':
    case 'TLOG_MISSING_INCLUSION_ERROR':
      return refusal('log', 'LOG_UNVERIFIED')
    default:
      return refusal('certificate', 'CERT_INVALID')
  }
}
