// The single owner of Intel's certificate chain for quoting: root (pinned) → Platform or Processor CA → PCK, its roles, algorithms and links.
import { AttestationError } from '../error.ts'
import { describeAlgorithm, describeKey } from '../lib/algorithm.ts'
import { equalBytes, utf8Decode } from '../lib/bytes.ts'
import { checkPath, describeAuthority, describeUsage } from '../lib/chain.ts'
import type { Problem } from '../lib/chain.ts'
import { describeName } from '../lib/name.ts'
import { parsePem } from '../lib/pem.ts'
import { parseCertificate } from '../lib/x509.ts'
import type { Certificate } from '../lib/x509.ts'
import { describeRoots } from '../roots.ts'
import type { TrustRoot } from '../roots.ts'
import { parsePckExtension, SGX_EXTENSION } from './pck.ts'
import type { PckFacts } from './pck.ts'

export type Role = 'root' | 'platform' | 'processor' | 'pck' | 'tcb-signer'

/** The common names of Intel's PKI (SGX PCK Certificate and CRL Profile Specification). Simulated hardware differs in the organisation. */
const ROLES: ReadonlyMap<string, Role> = new Map([
  ['Intel SGX Root CA', 'root'],
  ['Intel SGX PCK Platform CA', 'platform'],
  ['Intel SGX PCK Processor CA', 'processor'],
  ['Intel SGX PCK Certificate', 'pck'],
  ['Intel SGX TCB Signing', 'tcb-signer'],
])

/** How Intel signs certificates, lists and statements. */
export const INTEL_SIGNATURE = 'ECDSA with SHA-256'
export const EXTENSION_FORM = 'Intel’s SGX extension, with each of its elements once'

/** The role that a certificate's common name states, exactly. */
export function roleOf(cert: Certificate): Role | undefined {
  return ROLES.get(cert.subject.commonName ?? '')
}

/** What the chain turned out to be. The parts are there to go on checking, whatever the problems. Nothing of it depends on the time. */
export interface PckFindings {
  readonly leaf: Certificate | null
  readonly intermediate: Certificate | null
  readonly root: Certificate | null
  /** Null if the root is not a trusted one. */
  readonly trustRoot: TrustRoot | null
  readonly issuer: 'platform' | 'processor' | null
  readonly facts: PckFacts | null
  readonly rootProblems: readonly Problem[]
  readonly chainProblems: readonly Problem[]
  readonly extensionProblems: readonly Problem[]
}

const DATE_CODES: ReadonlySet<string> = new Set(['CERT_EXPIRED', 'CERT_NOT_YET_VALID'])

/** The problems of a path that do not depend on the time. */
export function timeless(problems: readonly Problem[]): Problem[] {
  return problems.filter(({ code }) => !DATE_CODES.has(code))
}

/** The problems of one certificate that depend on the time alone. */
export function checkDates(cert: Certificate, at: Date): Problem[] {
  const time = at.getTime()
  if (time >= cert.notBefore.getTime() && time <= cert.notAfter.getTime()) return []
  return checkPath([cert], at).filter(({ code }) => DATE_CODES.has(code))
}

/**
 * Reads the chain out of the quote and checks everything about it but its dates and revocation: exactly leaf, CA and root in this order, roles by exact name, P-256 and
 * SHA-256 throughout, every link, the pinned root, and the leaf's SGX extension.
 *
 * @param certificationData PEM of the three certificates, which may end in one NUL
 * @param candidates where the quote's own data are not PEM (older producers write something else there), the chain is looked for among these
 */
export function examinePck(
  certificationData: Uint8Array,
  candidates: readonly Certificate[],
  trustRoots: readonly TrustRoot[],
): PckFindings {
  const read = readChain(certificationData, candidates, trustRoots)
  const [leaf = null, intermediate = null, root = null] = read.path
  const trustRoot =
    trustRoots.find(({ vendor, sha256 }) => vendor !== 'AMD' && sha256 === root?.sha256) ?? null
  const chainProblems = [...read.problems]
  const add = (message: string, expected: string, actual: string): void => {
    chainProblems.push({ code: 'CERT_ROLE', message, expected, actual })
  }
  let issuer: 'platform' | 'processor' | null = null
  if (intermediate !== null) {
    const role = roleOf(intermediate)
    if (role === 'platform' || role === 'processor') issuer = role
    else
      add(
        'the issuer of the PCK certificate is neither the Platform nor the Processor CA',
        'CN=Intel SGX PCK Platform CA or CN=Intel SGX PCK Processor CA',
        describeName(intermediate.subject),
      )
    if (intermediate.basicConstraints?.pathLen !== 0 || intermediate.keyUsage === undefined)
      add(
        'the issuer of the PCK certificate is not an authority of path length 0',
        'CA:TRUE, path length 0, keyCertSign',
        describeAuthority(intermediate),
      )
  }
  if (leaf !== null) {
    if (roleOf(leaf) !== 'pck')
      add(
        'the leaf is not a PCK certificate',
        'CN=Intel SGX PCK Certificate',
        describeName(leaf.subject),
      )
    chainProblems.push(...checkSigner(leaf, 'the PCK certificate'))
  }
  if (root !== null && roleOf(root) !== 'root')
    add(
      'the root does not have the name of an SGX root',
      'CN=Intel SGX Root CA',
      describeName(root.subject),
    )
  for (const cert of read.path) chainProblems.push(...checkAlgorithms(cert))
  if (read.path.length > 0)
    chainProblems.push(...timeless(checkPath(read.path, new Date(read.path[0]?.notBefore ?? 0))))

  const { facts, problems: extensionProblems } = readExtension(leaf, issuer)
  return {
    leaf,
    intermediate,
    root,
    trustRoot,
    issuer,
    facts,
    rootProblems: trustRoot === null ? [untrusted(root, trustRoots)] : [],
    chainProblems,
    extensionProblems,
  }
}

function untrusted(root: Certificate | null, trustRoots: readonly TrustRoot[]): Problem {
  const expected = describeRoots(trustRoots, 'Intel')
  if (root === null) {
    const message = 'the quote carries no root certificate'
    return { code: 'CERT_MISSING', message, expected, actual: 'none' }
  }
  const message = `${root.subject.text} is not a trusted root`
  return {
    code: 'ROOT_UNTRUSTED',
    message,
    expected,
    actual: `another certificate, ${root.sha256}`,
  }
}

interface Read {
  readonly path: readonly Certificate[]
  readonly problems: readonly Problem[]
}

function readChain(
  data: Uint8Array,
  candidates: readonly Certificate[],
  trustRoots: readonly TrustRoot[],
): Read {
  const text = data.at(-1) === 0 ? data.subarray(0, -1) : data
  try {
    const path = parsePem(utf8Decode(text), 'CERTIFICATE', { max: 3 }).map(
      (der) => known(der, candidates) ?? parseCertificate(der),
    )
    if (path.length === 3) return { path, problems: [] }
    const message = `the PCK chain has ${path.length} certificates, not 3`
    const told = { expected: '3 certificates', actual: `${path.length}` }
    return { path, problems: [{ code: 'CHAIN_INVALID', message, ...told }] }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    const path = text[0] === 0x2d ? [] : chainAmong(candidates, trustRoots)
    if (path.length > 0) return { path, problems: [] }
    const message = `the PCK chain in the quote can't be read: ${error.message}`
    const told = { expected: '3 certificates as PEM', actual: 'something else' }
    return { path: [], problems: [{ code: error.code, message, ...told }] }
  }
}

/** The same certificate, if it was read before: the root comes with every chain. */
function known(der: Uint8Array, candidates: readonly Certificate[]): Certificate | undefined {
  return candidates.find((cert) => equalBytes(cert.der, der))
}

/** A PCK certificate, its issuer and the issuer's issuer by exact names, from the endorsements. Links are verified by the caller. */
function chainAmong(
  candidates: readonly Certificate[],
  trustRoots: readonly TrustRoot[],
): readonly Certificate[] {
  const given = trustRoots.flatMap(({ certificate }) => certificate ?? [])
  const pool = [...candidates, ...given]
  const issuerOf = (cert: Certificate): Certificate | undefined =>
    pool.find((each) => equalBytes(each.subject.der, cert.issuer.der))
  const leaf = candidates.find(({ extensions }) => extensions.has(SGX_EXTENSION))
  const intermediate = leaf && issuerOf(leaf)
  const root = intermediate && issuerOf(intermediate)
  return root === undefined ? [] : [leaf, intermediate, root].filter((cert) => cert !== undefined)
}

/** A certificate whose key signs data: no authority, and allowed to make signatures. */
export function checkSigner(cert: Certificate, what: string): Problem[] {
  const problems: Problem[] = []
  if (cert.basicConstraints?.ca !== false)
    problems.push({
      code: 'CERT_ROLE',
      message: `${what} is an authority or does not say that it is none`,
      expected: 'CA:FALSE',
      actual: describeAuthority(cert),
    })
  if (cert.keyUsage?.has('digitalSignature') !== true)
    problems.push({
      code: 'CERT_ROLE',
      message: `${what} must not sign data`,
      expected: 'digitalSignature',
      actual: describeUsage(cert),
    })
  return problems
}

/** Every signature and key of Intel's PKI is ECDSA on P-256 with SHA-256. */
export function checkAlgorithms(cert: Certificate): Problem[] {
  const problems: Problem[] = []
  const { kind, hash } = cert.signatureAlgorithm
  if (kind !== 'ecdsa' || hash !== 'sha256')
    problems.push({
      code: 'UNSUPPORTED_ALGORITHM',
      message: `${cert.subject.text} is not signed with ECDSA and SHA-256`,
      expected: INTEL_SIGNATURE,
      actual: describeAlgorithm(cert.signatureAlgorithm),
    })
  if (cert.key.type !== 'ec' || cert.key.curve !== 'P-256')
    problems.push({
      code: 'UNSUPPORTED_ALGORITHM',
      message: `the key of ${cert.subject.text} is not on P-256`,
      expected: 'P-256',
      actual: describeKey(cert.key),
    })
  return problems
}

function readExtension(
  leaf: Certificate | null,
  issuer: 'platform' | 'processor' | null,
): { readonly facts: PckFacts | null; readonly problems: readonly Problem[] } {
  const value = leaf?.extensions.get(SGX_EXTENSION)?.value
  if (value === undefined || issuer === null) {
    const message = 'there is no SGX extension of a PCK certificate to read'
    const told = { expected: EXTENSION_FORM, actual: 'none' }
    return { facts: null, problems: [{ code: 'CERT_INVALID', message, ...told }] }
  }
  try {
    return { facts: parsePckExtension(value, issuer), problems: [] }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    const { message } = error
    const told = { expected: EXTENSION_FORM, actual: 'another form' }
    return { facts: null, problems: [{ code: 'CERT_INVALID', message, ...told }] }
  }
}
