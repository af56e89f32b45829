// The single owner of signing with a certificate: a key, its certificate, and the chain up to (not necessarily with) the root.
import {
  AttestationError,
  bytesToBase64,
  checkPath,
  parseCertificates,
  utf8Encode,
  verifiedBy,
} from '../../attestation/lib/index.ts'
import type { Certificate } from '../../attestation/lib/index.ts'
import { pae } from '../bundle/dsse.ts'
import { describeKey } from '../bundle/keys.ts'
import { authorityProblem, purposeProblem } from '../bundle/purpose.ts'
import { ZtError } from '../error.ts'
import { signBytes } from './key.ts'
import type { PrivateKey } from './key.ts'
import type { Signer } from './signer.ts'

export interface CertificateMaterial {
  /** PEM of the signer's certificate. It may be followed by its chain. */
  readonly certificate: string
  /** PEM of each further part of the chain. */
  readonly chain?: readonly string[]
}

/**
 * A signer of the certificate method. Refuses what no verifier would accept: a key that is not the certificate's, a certificate that is not
 * for signing or not valid at `at`, a chain whose parts did not issue each other. The chain is written leaf first.
 * @throws ZtError TRUST_INVALID, KEY_MISMATCH, KEY_UNSUPPORTED, CERT_ROLE, CERT_EXPIRED, CERT_NOT_YET_VALID, CHAIN_INVALID
 */
export function certificateSigner(
  privateKey: PrivateKey,
  material: CertificateMaterial,
  at: Date,
): Signer {
  const given = [material.certificate, ...(material.chain ?? [])].flatMap(readPem)
  const [leaf, ...rest] = given
  if (leaf === undefined) throw new ZtError('CERT_MISSING', 'there is no certificate')
  const between = rest.filter((certificate) => !verifiedBy(certificate, certificate))
  const [purpose] = [purposeProblem(leaf), ...between.map(authorityProblem)].filter(
    (problem) => problem !== null,
  )
  if (purpose !== undefined) throw new ZtError(purpose.code, purpose.message, hintOf(purpose.hint))
  if (describeKey(leaf.publicKey).spkiSha256 !== privateKey.publicKey.spkiSha256)
    throw new ZtError('KEY_MISMATCH', "the certificate is not the key's", {
      hint: 'give the certificate that was issued for this key first, its chain after it',
    })
  const [problem] = checkPath([leaf], at)
  if (problem !== undefined)
    throw new ZtError(problem.code, problem.message, hintOf('renew the certificate'))
  const certificates = order(leaf, rest)
  return {
    kind: 'certificate',
    async sign(payloadType, payload) {
      return {
        signature: await signBytes(privateKey, pae(payloadType, payload)),
        verificationMaterial: {
          x509CertificateChain: {
            certificates: certificates.map(({ der }) => ({ rawBytes: bytesToBase64(der) })),
          },
          tlogEntries: [],
        },
      }
    },
  }
}

function readPem(pem: string): readonly Certificate[] {
  try {
    return parseCertificates(utf8Encode(pem), { preamble: true })
  } catch (cause) {
    if (!(cause instanceof AttestationError)) throw cause
    throw new ZtError('TRUST_INVALID', `a certificate can't be read: ${cause.message}`, {
      hint: 'certificates are given in PEM (-----BEGIN CERTIFICATE-----)',
      cause,
    })
  }
}

/** Leaf first, each one followed by its issuer, whatever the order in which they were given. */
function order(leaf: Certificate, rest: readonly Certificate[]): Certificate[] {
  const path = [leaf]
  const left = [...rest]
  for (let last = leaf; left.length > 0;) {
    const at = left.findIndex((candidate) => verifiedBy(last, candidate))
    const [issuer] = at === -1 ? [] : left.splice(at, 1)
    if (issuer === undefined)
      throw new ZtError(
        'CHAIN_INVALID',
        `${left[0]?.subject.text ?? 'a certificate'} did not issue any other certificate of the chain`,
        { hint: 'give the issuer of the signing certificate, then its issuer, and nothing else' },
      )
    path.push(issuer)
    last = issuer
  }
  return path
}

function hintOf(hint: string | undefined): { hint?: string } {
  return hint === undefined ? {} : { hint }
}
