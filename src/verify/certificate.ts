// The single owner of the certificate method's verification: the caller's anchors, a path by signatures, at the caller's time, and the identity asked for.
import {
  AttestationError,
  buildPath,
  checkPath,
  parseCertificate,
  parseCertificates,
  sha256Hex,
  utf8Encode,
  verifiedBy,
} from '../../attestation/lib/index.ts'
import type { Certificate } from '../../attestation/lib/index.ts'
import type { Bundle, Envelope } from '../bundle/bundle.ts'
import { pae, paeCompat } from '../bundle/dsse.ts'
import { describeKey, verifiesWith } from '../bundle/keys.ts'
import type { PublicKey } from '../bundle/keys.ts'
import { quote } from '../bundle/names.ts'
import { authorityProblem, purposeProblem } from '../bundle/purpose.ts'
import type { Problem } from '../bundle/names.ts'
import { ZtError } from '../error.ts'
import type { Check } from '../verdict.ts'
import { wrongMaterial } from './material.ts'
import type { CertificateTrust, MaterialResult } from './material.ts'

/**
 * Verifies a bundle of the certificate method. Only what the caller gave is an anchor; the bundle's certificates are candidates. There is no
 * default web trust, and the leaf must be valid at `at` (the reference implementation looks at the leaf's first moment instead).
 *
 * Certificates are never matched by name alone: the format's own vectors have a leaf whose subject is its issuer's.
 * @throws ZtError TRUST_INVALID if the caller's anchors can't be read
 */
export async function verifyCertificate(
  { material, envelope }: Bundle,
  _bytes: Uint8Array,
  trust: CertificateTrust,
  at: Date,
): Promise<MaterialResult> {
  const trusted = readTrust(trust.roots)
  if (material.kind !== 'certificates') return wrongMaterial('x509CertificateChain', 'publicKey')
  const parsed = parseAll(material.certificates)
  if ('check' in parsed)
    return { checks: [parsed.check], signer: null, times: [], oldEncoding: false }
  const { leaf, others } = parsed
  const chain = checkChain(leaf, others, trusted, at)
  const identities = leaf.subjectAltNames
    .filter(({ type }) => type === 'email' || type === 'uri' || type === 'dns')
    .map(({ value }) => value)
  const signature = await checkEnvelope(leaf, envelope)
  const checks = [
    ...chain.checks,
    checkPurpose(leaf),
    checkIdentity(leaf, identities, trust.identity),
    signature.check,
  ]
  const failed = checks.some((check) => check.status === 'fail')
  return {
    checks,
    signer:
      failed || chain.root === null
        ? null
        : {
            kind: 'certificate',
            rootSha256: chain.root.sha256,
            leafSha256: leaf.sha256,
            spkiSha256: sha256Hex(leaf.spki),
            subject: leaf.subject.text,
            identities,
          },
    times: [],
    oldEncoding: signature.oldEncoding,
  }
}

interface Trusted {
  readonly anchors: readonly Certificate[]
  /** What else the caller gave: candidates, like the bundle's. */
  readonly candidates: readonly Certificate[]
}

/**
 * The caller's anchors. Beside self-signed roots, other certificates only help to build the path; without any root they are the anchors,
 * because the caller then chose exactly these.
 */
function readTrust(roots: string): Trusted {
  let given: readonly Certificate[]
  try {
    given = parseCertificates(utf8Encode(roots), { max: 64, preamble: true })
  } catch (cause) {
    if (!(cause instanceof AttestationError)) throw cause
    throw new ZtError('TRUST_INVALID', `the trusted certificates can't be read: ${cause.message}`, {
      hint: 'give the root certificate in PEM (-----BEGIN CERTIFICATE-----)',
      cause,
    })
  }
  const anchors = given.filter((certificate) => verifiedBy(certificate, certificate))
  return anchors.length === 0
    ? { anchors: given, candidates: [] }
    : { anchors, candidates: given.filter((certificate) => !anchors.includes(certificate)) }
}

function parseAll(
  ders: readonly Uint8Array[],
): { leaf: Certificate; others: Certificate[] } | { check: Check } {
  try {
    const [leaf, ...others] = ders.map(parseCertificate)
    if (leaf === undefined) throw new AttestationError('CERT_MISSING', 'there is no certificate')
    return { leaf, others }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    return {
      check: {
        id: 'signature.chain',
        status: 'fail',
        code: error.code,
        message: `a certificate of the bundle can't be read: ${error.message}`,
        expected: 'certificates in DER (RFC 5280)',
        actual: 'another form',
        hint: 'fetch the signature again; if it is the same, its signer made a broken one',
      },
    }
  }
}

function checkChain(
  leaf: Certificate,
  others: readonly Certificate[],
  { anchors, candidates }: Trusted,
  at: Date,
): { checks: Check[]; root: Certificate | null } {
  const id = 'signature.chain'
  const path = buildPath(leaf, [...others, ...candidates], anchors, {
    accept: (found) => problemsOf(found, at).length === 0,
  })
  const root = path?.at(-1)
  if (path === undefined || root === undefined)
    return {
      checks: [
        {
          id,
          status: 'fail',
          code: 'ROOT_UNTRUSTED',
          message: "the signer's certificate does not lead to a root that was given",
          expected: anchors.map(({ subject, sha256 }) => `${subject.text} (${sha256})`).join('; '),
          actual: `issued by ${quote(leaf.issuer.text)}`,
          hint: "give the root certificate of the signer's authority, if you trust it for models",
        },
      ],
      root: null,
    }
  const problems = problemsOf(path, at)
  if (problems.length === 0)
    return {
      checks: [
        {
          id,
          status: 'pass',
          code: 'OK',
          message: `the signer's certificate leads to a root that was given, and all are valid at the stated time`,
          actual: path.map(({ subject }) => quote(subject.text)).join(' < '),
        },
      ],
      root,
    }
  return {
    checks: problems.map((problem, index) => ({
      id: index === 0 ? id : `${id}.${index + 1}`,
      status: 'fail' as const,
      ...problem,
      hint:
        problem.hint ??
        CHAIN_HINTS[problem.code] ??
        'have the model signed with a certificate of a sound chain',
    })),
    root: null,
  }
}

const CHAIN_HINTS: Readonly<Partial<Record<Problem['code'], string>>> = {
  CERT_EXPIRED: 'have the model signed again, or judge at an earlier time with --at',
  CERT_NOT_YET_VALID: "compare this machine's clock, or the time of --at, with the certificate's",
}

/** What is wrong with a path, and with the authorities between its ends. The last one is the caller's own choice. */
function problemsOf(path: readonly Certificate[], at: Date): readonly Problem[] {
  return [
    ...checkPath(path, at),
    ...path.slice(1, -1).flatMap((authority) => authorityProblem(authority) ?? []),
  ]
}

function checkPurpose(leaf: Certificate): Check {
  const id = 'signature.purpose'
  const problem = purposeProblem(leaf)
  return problem === null
    ? { id, status: 'pass', code: 'OK', message: 'the certificate is for signing' }
    : { id, status: 'fail', ...problem }
}

/** Exact comparison with an alternative name (email, URI, DNS name), or with the common name of a certificate that has none of these. */
function checkIdentity(
  leaf: Certificate,
  identities: readonly string[],
  wanted: string | undefined,
): Check {
  const id = 'signature.identity'
  const names =
    identities.length > 0 || leaf.subject.commonName === undefined
      ? identities
      : [leaf.subject.commonName]
  const actual = names.map(quote).join(', ')
  if (wanted === undefined)
    return {
      id,
      status: 'skip',
      code: 'NOT_GIVEN',
      message: 'no identity was asked for: any certificate of the authority will do',
      actual,
      hint: 'pin the signer with --certificate-identity',
    }
  if (names.includes(wanted))
    return { id, status: 'pass', code: 'OK', message: `the signer is ${quote(wanted)}` }
  return {
    id,
    status: 'fail',
    code: 'IDENTITY_MISMATCH',
    message: 'the signer is somebody else',
    expected: wanted,
    actual: actual === '' ? 'no identity' : actual,
    hint: 'the comparison is exact; ask for one of the names that the certificate has, if you trust it',
  }
}

async function checkEnvelope(
  leaf: Certificate,
  { payloadType, payload, signature }: Envelope,
): Promise<{ check: Check; oldEncoding: boolean }> {
  const id = 'signature.envelope'
  const key = readLeafKey(leaf)
  if (key !== null) {
    const pass = (message: string): Check => ({ id, status: 'pass', code: 'OK', message })
    if (await verifiesWith(key, pae(payloadType, payload), signature))
      return {
        check: pass(`the signature is the certificate's (${key.algorithm})`),
        oldEncoding: false,
      }
    if (await verifiesWith(key, paeCompat(payloadType, payload), signature, 'sha256'))
      return {
        check: pass(`the signature is the certificate's, in the encoding of release 0.2.0`),
        oldEncoding: true,
      }
  }
  return {
    check: {
      id,
      status: 'fail',
      code: 'SIGNATURE_INVALID',
      message: "the signature is not the certificate's over this payload",
      expected: `a signature by the key of ${quote(leaf.subject.text)}`,
      actual: 'another key, or a payload or signature that was changed',
      hint: 'fetch the signature again',
    },
    oldEncoding: false,
  }
}

function readLeafKey(leaf: Certificate): PublicKey | null {
  try {
    const key = describeKey(leaf.publicKey)
    // Ed25519 is our extension of the key method alone
    return key.hash === null ? null : key
  } catch (error) {
    if (error instanceof ZtError || error instanceof AttestationError) return null
    throw error
  }
}
