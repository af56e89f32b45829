// The single owner of certification paths: finding one by signature, and every reason why one is not valid (RFC 5280 §6.1).
import type { Code } from '../codes.ts'
import { equalBytes } from './bytes.ts'
import { OID } from './extension.ts'
import { describeName } from './name.ts'
import { describeTime, formatTime } from './time.ts'
import type { Certificate } from './x509.ts'
import { verifiedBy } from './x509.ts'

/** One thing that is wrong, with what was demanded and what was found. */
export interface Problem {
  readonly code: Code
  readonly message: string
  readonly expected: string
  readonly actual: string
}

export interface PathOptions {
  /** Demand that the last certificate signed itself. Needed where the anchor is a vendor's root. */
  readonly selfSignedRoot?: boolean
  /** OIDs of critical extensions that the caller handles beyond the standard ones. */
  readonly knownCritical?: readonly string[]
}

const UNDERSTOOD: ReadonlySet<string> = new Set([
  OID.basicConstraints,
  OID.keyUsage,
  OID.extKeyUsage,
  OID.subjectAltName,
  OID.subjectKeyIdentifier,
  OID.authorityKeyIdentifier,
  OID.crlDistributionPoints,
])

/** For messages: a name that a person can find again. */
function title(cert: Certificate): string {
  return cert.subject.text === '' ? cert.sha256.slice(0, 16) : cert.subject.text
}

/**
 * Checks a path, leaf first, anchor last, at a moment: names and signature of every link, CA flag, path length, keyCertSign,
 * validity at every level, critical extensions. Whether the last certificate is trusted is the caller's question, and so are
 * the roles (names, key kinds, extended key usages).
 * @returns every problem there is; empty if the path is valid
 */
export function checkPath(
  path: readonly Certificate[],
  at: Date,
  options: PathOptions = {},
): readonly Problem[] {
  if (path.length === 0) {
    const [message, expected] = ['the path has no certificate', 'at least one certificate']
    return [{ code: 'CERT_MISSING', message, expected, actual: 'none' }]
  }
  const known = new Set([...UNDERSTOOD, ...(options.knownCritical ?? [])])
  const problems: Problem[] = []
  let authorities = 0
  for (const [index, cert] of path.entries()) {
    problems.push(...checkValidity(cert, at), ...checkCritical(cert, known))
    if (index > 0) {
      problems.push(...checkAuthority(cert, authorities))
      // RFC 5280 §4.2.1.9: certificates that a CA issued to itself do not count
      if (!equalBytes(cert.subject.der, cert.issuer.der)) authorities++
    }
    const issuer = path[index + 1]
    if (issuer !== undefined) problems.push(...checkLink(cert, issuer))
    else if (options.selfSignedRoot === true) problems.push(...checkLink(cert, cert))
  }
  return problems
}

function checkLink(cert: Certificate, issuer: Certificate): Problem[] {
  const problems: Problem[] = []
  if (!equalBytes(cert.issuer.der, issuer.subject.der)) {
    problems.push({
      code: 'CHAIN_INVALID',
      message: `${title(cert)} names another issuer`,
      expected: describeName(issuer.subject),
      actual: describeName(cert.issuer),
    })
  }
  if (!verifiedBy(cert, issuer)) {
    problems.push({
      code: 'CHAIN_INVALID',
      message: `the signature on ${title(cert)} was not made by ${title(issuer)}`,
      expected: `a signature by the key of ${title(issuer)}`,
      actual: 'another key, or a certificate that was changed',
    })
  }
  return problems
}

function checkValidity(cert: Certificate, at: Date): Problem[] {
  if (Number.isNaN(at.getTime())) {
    const message = 'the stated time is not a time'
    return [{ code: 'CERT_EXPIRED', message, expected: 'a time', actual: describeTime(at) }]
  }
  if (at < cert.notBefore) {
    return [
      {
        code: 'CERT_NOT_YET_VALID',
        message: `${title(cert)} is not valid yet`,
        expected: `not before ${formatTime(cert.notBefore)}`,
        actual: formatTime(at),
      },
    ]
  }
  if (at > cert.notAfter) {
    return [
      {
        code: 'CERT_EXPIRED',
        message: `${title(cert)} has expired`,
        expected: `not after ${formatTime(cert.notAfter)}`,
        actual: formatTime(at),
      },
    ]
  }
  return []
}

function checkCritical(cert: Certificate, known: ReadonlySet<string>): Problem[] {
  const problems: Problem[] = []
  for (const [oid, { critical }] of cert.extensions) {
    // name constraints are not evaluated here, so a certificate that has them can't be honoured at all
    if ((critical && !known.has(oid)) || (oid === OID.nameConstraints && !known.has(oid))) {
      problems.push({
        code: 'CERT_INVALID',
        message: `${title(cert)} has an extension that is not understood`,
        expected: 'no critical extension but those that are understood',
        actual: oid,
      })
    }
  }
  return problems
}

/** @param below how many authorities stand between this one and the leaf */
function checkAuthority(cert: Certificate, below: number): Problem[] {
  const problems: Problem[] = []
  const { basicConstraints, keyUsage } = cert
  if (basicConstraints?.ca !== true) {
    problems.push({
      code: 'CERT_ROLE',
      message: `${title(cert)} is not a certificate authority`,
      expected: 'basicConstraints with CA:TRUE',
      actual: describeConstraints(cert),
    })
  } else if (basicConstraints.pathLen !== undefined && below > basicConstraints.pathLen) {
    problems.push({
      code: 'CERT_ROLE',
      message: `${title(cert)} stands too far above the leaf`,
      expected: `at most ${basicConstraints.pathLen} authorities below`,
      actual: `${below}`,
    })
  }
  if (keyUsage !== undefined && !keyUsage.has('keyCertSign')) {
    problems.push({
      code: 'CERT_ROLE',
      message: `${title(cert)} must not sign certificates`,
      expected: 'keyCertSign',
      actual: describeUsage(cert),
    })
  }
  return problems
}

/** What a key may be used for, as the certificate says it. */
export function describeUsage({ keyUsage }: Certificate): string {
  return keyUsage === undefined ? 'no keyUsage' : [...keyUsage].join(', ')
}

/** Whether a certificate is an authority, and of what kind: `CA:TRUE, path length 0, keyCertSign, cRLSign`. */
export function describeAuthority(cert: Certificate): string {
  const { basicConstraints } = cert
  const length =
    basicConstraints?.pathLen === undefined ? '' : `, path length ${basicConstraints.pathLen}`
  return `${describeConstraints(cert)}${length}, ${describeUsage(cert)}`
}

function describeConstraints({ basicConstraints }: Certificate): string {
  if (basicConstraints === undefined) return 'no basicConstraints'
  return basicConstraints.ca ? 'CA:TRUE' : 'CA:FALSE'
}

export interface SearchOptions {
  /** Longest path, leaf and anchor included; 8 unless told. */
  readonly maxLength?: number
  /** Most signatures that are verified during the search; 64 unless told. */
  readonly maxSteps?: number
  /** Go on searching until a path pleases, for example `(path) => checkPath(path, at).length === 0`. The first one found is given if none does. */
  readonly accept?: (path: readonly Certificate[]) => boolean
}

/**
 * Finds a path from `leaf` to one of `anchors` by signatures; names only decide what is tried first (certificates exist whose
 * subject and issuer are equal and that did not sign themselves). A leaf that is itself an anchor is a path of one.
 * @returns leaf first, anchor last, or undefined if there is none within the limits
 */
export function buildPath(
  leaf: Certificate,
  intermediates: readonly Certificate[],
  anchors: readonly Certificate[],
  options: SearchOptions = {},
): readonly Certificate[] | undefined {
  const { maxLength = 8, maxSteps = 64, accept } = options
  const trusted = new Set(anchors.map((anchor) => anchor.sha256))
  const pool = new Map([...anchors, ...intermediates].map((cert) => [cert.sha256, cert]))
  let steps = 0
  let first: readonly Certificate[] | undefined

  const search = (path: readonly Certificate[]): readonly Certificate[] | undefined => {
    const last = path.at(-1)
    if (last === undefined) return undefined
    if (trusted.has(last.sha256)) {
      first ??= path
      return accept === undefined || accept(path) ? path : undefined
    }
    if (path.length >= maxLength) return undefined
    const candidates = [...pool.values()].filter((cert) => !path.includes(cert))
    const named = (cert: Certificate): boolean => equalBytes(cert.subject.der, last.issuer.der)
    for (const cert of [
      ...candidates.filter(named),
      ...candidates.filter((candidate) => !named(candidate)),
    ]) {
      if (++steps > maxSteps) return undefined
      if (!verifiedBy(last, cert)) continue
      const found = search([...path, cert])
      if (found !== undefined) return found
    }
    return undefined
  }

  return search([pool.get(leaf.sha256) ?? leaf]) ?? first
}
