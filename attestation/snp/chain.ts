// The single owner of authenticating AMD's certificate chain: ARK (pinned) → ASK or ASVK → VCEK or VLEK, its roles, algorithms, dates and revocation.
import { AttestationError } from '../error.ts'
import { fail, pass, settle, warn } from '../check.ts'
import { equalBytes } from '../lib/bytes.ts'
import { checkPath } from '../lib/chain.ts'
import type { Problem } from '../lib/chain.ts'
import { checkCrl, isRevoked } from '../lib/crl.ts'
import type { Crl } from '../lib/crl.ts'
import { OID } from '../lib/extension.ts'
import type { Name } from '../lib/name.ts'
import { verifiedBy } from '../lib/x509.ts'
import type { Certificate } from '../lib/x509.ts'
import type { Check } from '../result.ts'
import type { TrustRoot } from '../roots.ts'
import { parseLeaf, snpRole } from './certificate.ts'
import type { LeafKind, SnpLeaf } from './certificate.ts'
import type { ProductLine } from './product.ts'
import type { SnpTrust } from './trust.ts'

/** What AMD (or whoever claims to be) says of the chip. All of it is a candidate: nothing here is an anchor. */
export interface SnpEndorsements {
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Crl[]
}

/** What the chain turned out to be. `sound` only if no check failed; the rest is there to go on checking. */
export interface ChainFindings {
  readonly checks: readonly Check[]
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
const MISSING: Problem = { code: 'CERT_MISSING', message: 'the chain has a gap' }
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
    checkRoot(path),
    settle('snp.roles', 'names and roles are AMD’s', checkRoles(path, kind, product)),
    form,
    settle('snp.algorithms', 'RSA-4096 with PSS and SHA-384, P-384 leaf', checkAlgorithms(path)),
    settle('snp.chain', 'every certificate was signed by the next', checkLinks(path, options.at)),
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

function checkRoot({ ca, ark, root }: Path): Check {
  const id = 'snp.root'
  if (root !== null) {
    const whose = root.vendor === 'AMD' ? 'AMD’s own root' : 'a root named by the user'
    return pass(id, `the chain ends at ${whose}`, { actual: `${root.name} ${root.sha256}` })
  }
  if (ark === null) {
    const missing = ca === null ? 'the issuer of the leaf' : 'the root'
    return fail(id, 'CERT_MISSING', `${missing} was not given`, {
      hint: 'give the KDS cert_chain of the product as endorsements',
    })
  }
  return fail(id, 'ROOT_UNTRUSTED', `${ark.subject.text} is not a trusted root`, {
    actual: ark.sha256,
  })
}

function checkRoles(
  { leaf, ca, ark }: Path,
  kind: LeafKind | null,
  product: ProductLine | null,
): Problem[] {
  const problems: Problem[] = []
  const add = (code: Problem['code'], message: string, more: Partial<Problem> = {}): void => {
    problems.push({ code, message, ...more })
  }
  if (leaf === null) add('CERT_MISSING', 'no VCEK or VLEK was given')
  else if (kind === null) add('CERT_ROLE', `${leaf.subject.text} is neither a VCEK nor a VLEK`)
  if (ark !== null) {
    if (product === null) add('CERT_ROLE', `${ark.subject.text} is not an ARK of a known product`)
    if (ark.keyUsage?.has('keyCertSign') !== true || ark.basicConstraints?.ca !== true) {
      add('CERT_ROLE', 'the root is not an authority')
    }
  }
  if (ca !== null) {
    const role = snpRole(ca)
    const wanted = kind === 'VLEK' ? 'ASVK' : 'ASK'
    if (role?.kind !== wanted || (product !== null && role.product !== product)) {
      add('CERT_ROLE', `the issuer of a ${kind ?? 'leaf'} must be the ${wanted} of the product`, {
        actual: ca.subject.text,
      })
    }
    if (
      ca.keyUsage?.has('keyCertSign') !== true ||
      ca.basicConstraints?.pathLen !== 0 ||
      ca.extensions.get(OID.basicConstraints)?.critical !== true
    ) {
      add('CERT_ROLE', 'the issuer of the leaf is not an authority of path length 0')
    }
    const { authorityKeyId } = ca
    const rootKeyId = ark?.subjectKeyId
    if (authorityKeyId && rootKeyId && !equalBytes(authorityKeyId, rootKeyId)) {
      add('CHAIN_INVALID', 'the issuer of the leaf names another root key')
    }
  }
  for (const cert of [leaf, ca]) {
    if (cert !== null && ark !== null && !sameOwner(cert.subject, ark.subject)) {
      add('CERT_ROLE', `${cert.subject.text} belongs to another organisation than the root`)
    }
  }
  if (leaf === null || ca === null || ark === null) problems.push(MISSING)
  return problems
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
  const add = (message: string): void => {
    problems.push({ code: 'UNSUPPORTED_ALGORITHM', message })
  }
  for (const cert of [leaf, ca, ark]) {
    if (cert === null) {
      if (!problems.includes(MISSING)) problems.push(MISSING)
      continue
    }
    const { kind, hash, saltLength } = cert.signatureAlgorithm
    if (kind !== 'rsa-pss' || hash !== 'sha384' || saltLength !== 48) {
      add(`${cert.subject.text} is not signed with RSASSA-PSS, SHA-384 and salt 48`)
    }
    if (cert === leaf) {
      if (cert.key.type !== 'ec' || cert.key.curve !== 'P-384') {
        add(`the key of ${cert.subject.text} is not on P-384`)
      }
    } else if (cert.key.type !== 'rsa' || cert.key.bits !== 4096) {
      add(`the key of ${cert.subject.text} is not RSA-4096`)
    }
  }
  return problems
}

function readLeaf(
  certificate: Certificate | null,
  kind: LeafKind | null,
): { readonly leaf: SnpLeaf | null; readonly check: Check } {
  const id = 'snp.leaf'
  if (certificate === null || kind === null) {
    const message = 'there is no VCEK or VLEK to read'
    return { leaf: null, check: fail(id, 'CERT_MISSING', message) }
  }
  try {
    const leaf = parseLeaf(certificate, kind)
    return { leaf, check: pass(id, `the ${kind} has exactly the extensions of its kind`) }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    return { leaf: null, check: fail(id, 'CERT_INVALID', error.message) }
  }
}

function checkLinks({ leaf, ca, ark }: Path, at: Date): readonly Problem[] {
  const path = [leaf, ca, ark].filter((cert) => cert !== null)
  const problems = checkPath(path, at, { selfSignedRoot: ark !== null }).filter(
    (problem) => !DATE_CODES.has(problem.code),
  )
  return path.length === 3 ? problems : [...problems, MISSING]
}

function checkDates(level: 'leaf' | 'ca' | 'root', cert: Certificate | null, at: Date): Check {
  const id = `snp.validity.${level}`
  if (cert === null) return fail(id, 'CERT_MISSING', `there is no ${level} certificate`)
  const problems = checkPath([cert], at).filter((problem) => DATE_CODES.has(problem.code))
  return settle(id, `${cert.subject.commonName ?? level} is valid at the stated time`, problems)
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
): Check {
  const id = 'snp.revocation'
  if (ark === null || lists.length === 0) {
    const message = 'no revocation list of this root was given, so revocation is unknown'
    const hint = 'give the KDS crl of the product as endorsement'
    return (requireCrl ? fail : warn)(id, 'CRL_MISSING', message, { hint })
  }
  const problems: Problem[] = []
  const stale: Problem[] = []
  let current = 0
  for (const crl of lists) {
    const found = checkCrl(crl, ark, at)
    const broken = found.filter((problem) => problem.code !== 'CRL_EXPIRED')
    const algorithm = crl.signatureAlgorithm
    if (
      algorithm.kind !== 'rsa-pss' ||
      algorithm.hash !== 'sha384' ||
      algorithm.saltLength !== 48
    ) {
      broken.push({ code: 'CRL_INVALID', message: 'a list is not signed as AMD signs' })
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
      if (listed) problems.push({ code: 'REVOKED', message: `${cert.subject.text} is revoked` })
    }
  }
  if (current === 0) problems.push(...stale)
  const order = (problem: Problem): number => (problem.code === 'REVOKED' ? 0 : 1)
  problems.sort((a, b) => order(a) - order(b))
  return settle(id, 'neither the leaf nor its issuer is revoked', problems)
}
