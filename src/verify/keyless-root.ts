// The single owner of the Sigstore trusted root: the caller's file, read strictly, as the trust material of the library.
import { AttestationError, decode, parseJson } from '../../attestation/lib/index.ts'
import type { JsonValue } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { TrustedRoot } from '@sigstore/protobuf-specs'
import { toTrustMaterial } from '@sigstore/verify'
import type { TrustMaterial } from '@sigstore/verify'

const { any, array, literal, object, optional, string } = decode

/** The public-good root is 7 kB. */
const MAX_BYTES = 1 << 20
const LIST = array(any(), { max: 256 })
/** `dev.sigstore.trustroot.v1.TrustedRoot`. Its parts are read by the library; what it would read as nothing at all is refused here. */
const ROOT = object({
  mediaType: literal(
    'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    'application/vnd.dev.sigstore.trustedroot.v0.2+json',
  ),
  tlogs: LIST,
  certificateAuthorities: LIST,
  ctlogs: LIST,
  timestampAuthorities: optional(LIST),
})
const LOG = object({ baseUrl: string({ min: 1, max: 1024 }) }, { unknown: 'ignore' })

/**
 * Reads a trusted root. The periods of validity inside it are compared with the times of signing, not with now.
 * @throws ZtError TRUST_INVALID
 */
export function readTrustedRoot(bytes: Uint8Array): TrustMaterial {
  const invalid = (cause: unknown): ZtError =>
    new ZtError('TRUST_INVALID', 'the file is not a Sigstore trusted root that can be read', {
      cause,
      hint: 'give the trusted_root.json of the Sigstore instance that issued the certificate',
      ...(cause instanceof AttestationError ? { path: cause.path ?? cause.message } : {}),
    })
  let json: JsonValue
  try {
    json = parseJson(bytes, { maxBytes: MAX_BYTES, maxDepth: 16 })
    ROOT(json, '$').tlogs.forEach((log, index) => LOG(log, `$.tlogs[${index}]`))
  } catch (error) {
    throw invalid(error)
  }
  try {
    const material = toTrustMaterial(TrustedRoot.fromJSON(json))
    // A chain with a certificate that can't be read would fail late and unclearly.
    for (const { certChain } of [
      ...material.certificateAuthorities,
      ...material.timestampAuthorities,
    ]) {
      if (certChain.length === 0) throw new Error('an authority without certificates')
      certChain.forEach((certificate) => certificate.validForDate(new Date(0)))
    }
    return material
  } catch (error) {
    throw invalid(error)
  }
}
