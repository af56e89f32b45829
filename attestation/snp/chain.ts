// The single owner of authenticating AMD's certificate chain: ARK (pinned) → ASK or ASVK → VCEK or VLEK, its roles, algorithms, dates and revocation.
import { AttestationError } from '../error.ts'
import { fail, pass, settle, warn } from '../check.ts'
import { describeAlgorithm, describeKey } from '../lib/algorithm.ts'
import { bytesToHex, equalBytes } from '../lib/bytes.ts'
import { checkPath, describeAuthority } from '../lib/chain.ts'
import type { Problem } from '../lib/chain.ts'
import { checkCrl, isRevoked } from '../lib/crl.ts'
import type { Crl } from '../lib/crl.ts'
import { OID } from '../lib/extension.ts'
import { describeName } from '../lib/name.ts'
import type { Name } from '../lib/name.ts'
import { describeTime, describeWindow, formatTime } from '../lib/time.ts'
import { verifiedBy } from '../lib/x509.ts'
import type { Certificate } from '../lib/x509.ts'
import type { EvidenceCheck } from '../result.ts'
import { describeRoots } from '../roots.ts'
import type { TrustRoot } from '../roots.ts'
import { parseLeaf, snpRole } from './certificate.ts'
import type { LeafKind, SnpLeaf } from './certificate.ts'
import { PRODUCT_LINES } from './product.ts'
import type { ProductLine } from './product.ts'
import type { SnpTrust } from './trust.ts'

/** What AMD (or whoever claims to be) says of the chip. All of it is a candidate: nothing here is an anchor. */
export interface SnpEndorsements {
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Crl[]
}

/** What the chain turned out to be. `sound` only if no check failed; the rest is there to go on checking. */
export interface ChainFindings {
  readonly checks: readonly EvidenceCheck[]
  readonly sound: boolean
  readonly certificate: Certificate | null
  readonly kind: LeafKind | null
  readonly leaf: SnpLeaf | null
  /** The product line by the name of the root. */
  readonly product: ProductLine | null
  readonly root: TrustRoot | null
  /** Leaf, CA and root, as far as they were found, and the lists that were used. */
  readonly inputs: readonly { readonly name: string; readonly sha256: string }[]
  /** The moments between which all dates of certificates and lists hold, in milliseconds. */
  readonly from: number
  readonly until: number
}

export interface ChainOptions {
  readonly trustRoots: readonly TrustRoot[]
  readonly at: Date
  readonly requireCrl: boolean
  readonly trust?: SnpTrust | undefined
}

/** How many certificates of one name are tried. AMD has one. */
const MAX_SAME_NAME = 4
const COMMON_NAME = '2.5.4.3'
/** How AMD signs certificates and lists, and with what keys. */
const AMD_SIGNATURE = 'RSASSA-PSS with SHA-384 and salt 48'
const AMD_KEY = 'RSA-4096'
const LEAF_KEY = 'P-384'
const DATE_CODES: ReadonlySet<string> = new Set(['CERT_EXPIRED', 'CERT_NOT_YET_VALID'])

/**
 * Authenticates the chain under one leaf. With a `trust`, a chain that was found sound before, with the same certificates, lists and roots by digest, costs only the comparison
 * of dates; outside of them everything is done again.
 *
 * @param leaf the certificate that should have signed the report, or null if there is none
 */
export function authenticateChain(
  leaf: Certificate | null,
  endorsements: SnpEndorsements,
  options: ChainOptions,
): ChainFindings {
  if (leaf === null) return findings(null, endorsements, options)
  const key = options.trust?.key(leaf, endorsements, options)
  if (key !== undefined) {
    const known = options.trust?.get(key, options.at)
    if (known !== undefined) return known
  }
  const found = findings(leaf, endorsements, options)
  if (key !== undefined && found.sound) options.trust?.set(key, found)
  return found
}

interface Path {
  readonly leaf: Certificate | null
  readonly ca: Certificate | null
  readonly ark: Certificate | null
  readonly root: TrustRoot | null
}

function findings(
  certificate: Certificate | null,
  endorsements: SnpEndorsements,
  options: ChainOptions,
): ChainFindings {
  const path = findPath(certificate, endorsements, options.trustRoots)
  const { ca, ark, root } = path
  const role = certificate === null ? null : snpRole(certificate)
  const kind = role?.kind === 'VCEK' || role?.kind === 'VLEK' ? role.kind : null
  const arkRole = ark === null ? null : snpRole(ark)
  const product = arkRole?.kind === 'ARK' ? arkRole.product : null
  const { leaf, check: form } = readLeaf(certificate, kind)
  const found = [
    ['leaf', certificate],
    ['ca', ca],
    ['root', ark],
  ] as const
  const lists = ark === null ? [] : listsOf(ark, endorsements.crls)
  const checks = [
    checkRoot(path, options.trustRoots),
    settle('snp.roles', 'names and roles are AMD’s', checkRoles(path, kind, product), {
      expected: 'a VCEK under an ASK, or a VLEK under an ASVK, under the ARK of one product',
      actual: found.map(([, cert]) => cert?.subject.commonName).join(' under '),
    }),
    form,
    settle('snp.algorithms', 'RSA-4096 with PSS and SHA-384, P-384 leaf', checkAlgorithms(path), {
      expected: `signed with ${AMD_SIGNATURE}; keys: ${LEAF_KEY} under ${AMD_KEY} under ${AMD_KEY}`,
      actual: describeAlgorithms([path.leaf, ca, ark]),
    }),
    settle('snp.chain', 'every certificate was signed by the next', checkLinks(path, options.at), {
      expected: 'the leaf signed by its issuer, that by the root, the root by itself',
      actual: 'all three signatures verify',
    }),
    ...found.map(([level, cert]) => checkDates(level, cert, options.at)),
    checkRevocation(path, lists, options),
  ]
  const certificates = found.flatMap(([, cert]) => (cert === null ? [] : [cert]))
  return {
    checks,
    sound: checks.every((check) => check.status !== 'fail'),
    certificate,
    kind,
    leaf,
    product,
    root,
    inputs: [
      ...found.flatMap(([name, cert]) =>
        cert === null ? [] : [{ name: `certificate: ${name}`, sha256: cert.sha256 }],
      ),
      ...lists.map((crl) => ({ name: 'revocation list', sha256: crl.sha256 })),
    ],
    from: Math.max(
      ...certificates.map((cert) => cert.notBefore.getTime()),
      ...lists.map((crl) => crl.thisUpdate.getTime()),
    ),
    until: Math.min(
      ...certificates.map((cert) => cert.notAfter.getTime()),
      ...lists.map((crl) => crl.nextUpdate.getTime()),
    ),
  }
}

/** Finds the issuers by their exact names; among several of one name, the one whose key fits. */
function findPath(
  leaf: Certificate | null,
  endorsements: SnpEndorsements,
  roots: readonly TrustRoot[],
): Path {
  const nothing: Path = { leaf, ca: null, ark: null, root: null }
  if (leaf === null) return nothing
  const rootOf = (cert: Certificate): TrustRoot | null =>
    roots.find((root) => root.vendor !== 'Intel' && root.sha256 === cert.sha256) ?? null
  const given = roots.flatMap((root) => (root.certificate === undefined ? [] : [root.certificate]))
  const pool = [...given, ...endorsements.certificates]
  const ca = issuerOf(leaf, pool)
  if (ca === null) return nothing
  const ark = issuerOf(ca, [...pool.filter(rootOf), ...pool])
  return { leaf, ca, ark, root: ark === null ? null : rootOf(ark) }
}

function issuerOf(cert: Certificate, pool: readonly Certificate[]): Certificate | null {
  const same = pool.filter((candidate) => equalBytes(candidate.subject.der, cert.issuer.der))
  const named = [...new Map(same.map((candidate) => [candidate.sha256, candidate])).values()]
  const tried = named.slice(0, MAX_SAME_NAME)
  const fits = tried.length > 1 ? tried.find((candidate) => verifiedBy(cert, candidate)) : undefined
  return fits ?? tried[0] ?? null
}

function checkRoot({ ca, ark, root }: Path, roots: readonly TrustRoot[]): EvidenceCheck {
  const id = 'snp.root'
  const expected = describeRoots(roots, 'AMD')
  if (root !== null) {
    const whose = root.vendor === 'AMD' ? 'AMD’s own root' : 'a root named by the user'
    const actual = `${root.name} ${root.sha256}`
    return pass(id, `the chain ends at ${whose}`, { expected, actual })
  }
  if (ark === null) {
    const missing = ca === null ? 'the issuer of the leaf' : 'the root'
    return fail(id, 'CERT_MISSING', `${missing} was not given`, {
      expected,
      actual: `no certificate of ${missing}`,
      hint: 'give the KDS cert_chain of the product as endorsements',
    })
  }
  return fail(id, 'ROOT_UNTRUSTED', `${ark.subject.text} is not a trusted root`, {
    expected,
    actual: `another certificate, ${ark.sha256}`,
  })
}

function checkRoles(
  { leaf, ca, ark }: Path,
  kind: LeafKind | null,
  product: ProductLine | null,
): Problem[] {
  const problems: Problem[] = []
  const add = (code: Problem['code'], message: string, expected: string, actual: string): void => {
    problems.push({ code, message, expected, actual })
  }
  if (leaf === null) add('CERT_MISSING', 'no VCEK or VLEK was given', 'a VCEK or VLEK', 'none')
  else if (kind === null) {
    const message = `${leaf.subject.text} is neither a VCEK nor a VLEK`
    add('CERT_ROLE', message, 'CN=SEV-VCEK or CN=SEV-VLEK', describeName(leaf.subject))
  }
  if (ark !== null) {
    if (product === null) {
      const expected = PRODUCT_LINES.map((line) => `CN=ARK-${line}`).join(' or ')
      const message = `${ark.subject.text} is not an ARK of a known product`
      add('CERT_ROLE', message, expected, describeName(ark.subject))
    }
    if (ark.keyUsage?.has('keyCertSign') !== true || ark.basicConstraints?.ca !== true) {
      const expected = 'CA:TRUE, keyCertSign'
      add('CERT_ROLE', 'the root is not an authority', expected, describeAuthority(ark))
    }
  }
  if (ca !== null) {
    const role = snpRole(ca)
    const wanted = kind === 'VLEK' ? 'ASVK' : 'ASK'
    if (role?.kind !== wanted || (product !== null && role.product !== product)) {
      add(
        'CERT_ROLE',
        `the issuer of a ${kind ?? 'leaf'} must be the ${wanted} of the product`,
        `CN=SEV-${wanted === 'ASVK' ? 'VLEK-' : ''}${product ?? '{product}'}`,
        describeName(ca.subject),
      )
    }
    if (
      ca.keyUsage?.has('keyCertSign') !== true ||
      ca.basicConstraints?.pathLen !== 0 ||
      ca.extensions.get(OID.basicConstraints)?.critical !== true
    ) {
      add(
        'CERT_ROLE',
        'the issuer of the leaf is not an authority of path length 0',
        'CA:TRUE, path length 0, keyCertSign, and this critical',
        describeAuthority(ca),
      )
    }
    const { authorityKeyId } = ca
    const rootKeyId = ark?.subjectKeyId
    if (authorityKeyId && rootKeyId && !equalBytes(authorityKeyId, rootKeyId)) {
      const [expected, actual] = [bytesToHex(rootKeyId), bytesToHex(authorityKeyId)]
      add('CHAIN_INVALID', 'the issuer of the leaf names another root key', expected, actual)
    }
  }
  for (const cert of [leaf, ca]) {
    if (cert !== null && ark !== null && !sameOwner(cert.subject, ark.subject)) {
      add(
        'CERT_ROLE',
        `${cert.subject.text} belongs to another organisation than the root`,
        `the same as ${describeName(ark.subject)}, but for the common name`,
        describeName(cert.subject),
      )
    }
  }
  return [...problems, ...gaps([leaf, ca, ark])]
}

function gaps(path: readonly (Certificate | null)[]): Problem[] {
  const found = path.filter((cert) => cert !== null).length
  if (found === 3) return []
  const expected = 'a leaf, its issuer and the root'
  const actual = found === 0 ? 'no such chain' : `${found} of the three`
  return [{ code: 'CERT_MISSING', message: 'the chain has a gap', expected, actual }]
}

/** All attributes but the common name are equal, in order. */
function sameOwner(a: Name, b: Name): boolean {
  const rest = (name: Name): Name['attributes'] =>
    name.attributes.filter((attribute) => attribute.oid !== COMMON_NAME)
  const [left, right] = [rest(a), rest(b)]
  return (
    left.length === right.length &&
    left.every(({ oid, value }, index) => right[index]?.oid === oid && right[index].value === value)
  )
}

/** Every signature of AMD's PKI is RSASSA-PSS with SHA-384 and salt 48 by a 4096-bit key. Both DER forms of its parameters decode to the same. */
function checkAlgorithms({ leaf, ca, ark }: Path): Problem[] {
  const problems: Problem[] = []
  const add = (message: string, expected: string, actual: string): void => {
    problems.push({ code: 'UNSUPPORTED_ALGORITHM', message, expected, actual })
  }
  for (const cert of [leaf, ca, ark]) {
    if (cert === null) continue
    const { subject, key } = cert
    if (!signedAsAmd(cert)) {
      const message = `${subject.text} is not signed with RSASSA-PSS, SHA-384 and salt 48`
      add(message, AMD_SIGNATURE, describeAlgorithm(cert.signatureAlgorithm))
    }
    if (cert === leaf) {
      if (key.type !== 'ec' || key.curve !== 'P-384') {
        add(`the key of ${subject.text} is not on P-384`, LEAF_KEY, describeKey(key))
      }
    } else if (key.type !== 'rsa' || key.bits !== 4096) {
      add(`the key of ${subject.text} is not RSA-4096`, AMD_KEY, describeKey(key))
    }
  }
  return [...problems, ...gaps([leaf, ca, ark])]
}

function signedAsAmd({ signatureAlgorithm }: Pick<Certificate, 'signatureAlgorithm'>): boolean {
  const { kind, hash, saltLength } = signatureAlgorithm
  return kind === 'rsa-pss' && hash === 'sha384' && saltLength === 48
}

/** `signed with RSASSA-PSS …; keys: P-384 under RSA-4096 under RSA-4096`. */
function describeAlgorithms(path: readonly (Certificate | null)[]): string {
  const certs = path.filter((cert) => cert !== null)
  const ways = new Set(certs.map((cert) => describeAlgorithm(cert.signatureAlgorithm)))
  const keys = certs.map(({ key }) => describeKey(key)).join(' under ')
  return `signed with ${[...ways].join(' or ')}; keys: ${keys}`
}

function readLeaf(
  certificate: Certificate | null,
  kind: LeafKind | null,
): { readonly leaf: SnpLeaf | null; readonly check: EvidenceCheck } {
  const id = 'snp.leaf'
  if (certificate === null || kind === null) {
    const told = { expected: 'a VCEK or VLEK', actual: 'none' }
    return { leaf: null, check: fail(id, 'CERT_MISSING', 'there is no VCEK or VLEK to read', told) }
  }
  const expected = `the extensions of a ${kind}, each once and in its form, and no others`
  const count = certificate.extensions.size
  try {
    const leaf = parseLeaf(certificate, kind)
    const message = `the ${kind} has exactly the extensions of its kind`
    return {
      leaf,
      check: pass(id, message, { expected, actual: `${count} extensions, all of them so` }),
    }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    const told = { expected, actual: `${count} extensions, not all of them so` }
    return { leaf: null, check: fail(id, 'CERT_INVALID', error.message, told) }
  }
}

function checkLinks({ leaf, ca, ark }: Path, at: Date): readonly Problem[] {
  const path = [leaf, ca, ark].filter((cert) => cert !== null)
  const problems = checkPath(path, at, { selfSignedRoot: ark !== null }).filter(
    (problem) => !DATE_CODES.has(problem.code),
  )
  return [...problems, ...gaps([leaf, ca, ark])]
}

function checkDates(
  level: 'leaf' | 'ca' | 'root',
  cert: Certificate | null,
  at: Date,
): EvidenceCheck {
  const id = `snp.validity.${level}`
  if (cert === null) {
    const told = { expected: 'a certificate', actual: 'none' }
    return fail(id, 'CERT_MISSING', `there is no ${level} certificate`, told)
  }
  const problems = checkPath([cert], at).filter((problem) => DATE_CODES.has(problem.code))
  return settle(id, `${cert.subject.commonName ?? level} is valid at the stated time`, problems, {
    expected: describeWindow(cert.notBefore, cert.notAfter),
    actual: describeTime(at),
  })
}

function listsOf(ark: Certificate, crls: readonly Crl[]): readonly Crl[] {
  return crls.filter((crl) => equalBytes(crl.issuer.der, ark.subject.der))
}

/**
 * AMD's leaves all have serial number 0, so what a list can revoke is the ASK or ASVK; the leaf is looked up too. A list that does not verify, or none that is current, fails.
 */
function checkRevocation(
  { leaf, ca, ark }: Path,
  lists: readonly Crl[],
  { at, requireCrl }: ChainOptions,
): EvidenceCheck {
  const id = 'snp.revocation'
  if (ark === null || lists.length === 0) {
    const message = 'no revocation list of this root was given, so revocation is unknown'
    const hint = 'give the KDS crl of the product as endorsement'
    const told = { expected: 'a current revocation list of the root', actual: 'none', hint }
    return (requireCrl ? fail : warn)(id, 'CRL_MISSING', message, told)
  }
  const problems: Problem[] = []
  const stale: Problem[] = []
  let current = 0
  for (const crl of lists) {
    const found = checkCrl(crl, ark, at)
    const broken = found.filter((problem) => problem.code !== 'CRL_EXPIRED')
    if (!signedAsAmd(crl)) {
      const message = 'a list is not signed as AMD signs'
      const actual = describeAlgorithm(crl.signatureAlgorithm)
      broken.push({ code: 'CRL_INVALID', message, expected: AMD_SIGNATURE, actual })
    }
    problems.push(...broken)
    if (broken.length > 0) continue
    if (found.length === 0) current++
    else stale.push(...found)
    for (const cert of [leaf, ca]) {
      // a leaf names another issuer than the list: AMD's root revokes it by its serial number all the same
      const listed =
        cert !== null &&
        (isRevoked(crl, cert) || (cert === leaf && crl.revoked.has(`${cert.serial}`)))
      if (listed) problems.push(revoked(crl, cert))
    }
  }
  if (current === 0) problems.push(...stale)
  const order = (problem: Problem): number => (problem.code === 'REVOKED' ? 0 : 1)
  problems.sort((a, b) => order(a) - order(b))
  const entries = lists.reduce((sum, crl) => sum + crl.revoked.size, 0)
  return settle(id, 'neither the leaf nor its issuer is revoked', problems, {
    expected: 'neither serial number on a current list of the root',
    actual: `neither is among the ${entries} that the list names`,
  })
}

function revoked(crl: Crl, cert: Certificate): Problem {
  const since = crl.revoked.get(`${cert.serial}`)
  return {
    code: 'REVOKED',
    message: `${cert.subject.text} is revoked`,
    expected: 'a serial number that is not on the list of the root',
    actual: `${cert.serial}, revoked ${since === undefined ? 'before' : formatTime(since)}`,
  }
}
