// The single owner of authenticating an SNP report: chain, role, product, chip, TCB and the report's own signature. The only maker of Authenticated<SnpFacts>.
import { verify } from 'node:crypto'
import { AttestationError } from '../error.ts'
import type { Authenticated } from '../authenticated.ts'
import { fail, pass, skip } from '../check.ts'
import { describeKey } from '../lib/algorithm.ts'
import { bytesToHex, equalBytes, isZero } from '../lib/bytes.ts'
import type { Certificate } from '../lib/x509.ts'
import type { Comparison, EvidenceCheck } from '../result.ts'
import { VENDOR_ROOTS } from '../roots.ts'
import type { TrustRoot } from '../roots.ts'
import { parseLeaf, snpRole } from './certificate.ts'
import type { LeafKind } from './certificate.ts'
import { authenticateChain } from './chain.ts'
import type { ChainFindings, SnpEndorsements } from './chain.ts'
import { describeCpuid, PRODUCT_LINES, productOf } from './product.ts'
import type { ProductLine } from './product.ts'
import type { SnpReport } from './report.ts'
import { decodeTcb, describeTcb, equalTcb, hasFmc } from './tcb.ts'
import type { Tcb } from './tcb.ts'
import type { SnpTrust } from './trust.ts'

/** The four TCBs of a report, in the layout of its product. */
export interface SnpTcbs {
  readonly current: Tcb
  readonly reported: Tcb
  readonly committed: Tcb
  readonly launch: Tcb
}

/** What the hardware signed, and what the chain behind it says. */
export interface SnpFacts {
  readonly report: SnpReport
  readonly product: ProductLine
  /** With a stepping where the certificate has one. */
  readonly productName: string
  readonly tcb: SnpTcbs
  readonly kind: LeafKind
  /** The chip by its VCEK, hex; null under a VLEK. */
  readonly hwid: string | null
  /** The cloud provider by its VLEK; null under a VCEK. */
  readonly cspId: string | null
  readonly root: TrustRoot
}

export interface SnpAuthentication {
  readonly checks: readonly EvidenceCheck[]
  /** null if any check failed: then nothing in the report can be believed. */
  readonly facts: Authenticated<SnpFacts> | null
  readonly chain: ChainFindings
}

export interface AuthenticateOptions {
  readonly at: Date
  /** The vendors' own unless told. */
  readonly trustRoots?: readonly TrustRoot[]
  /** Fail, and not only warn, if no revocation list was given. */
  readonly requireCrl?: boolean
  /** Remembers sound chains between calls. */
  readonly trust?: SnpTrust
}

/**
 * Authenticates a parsed report. Certificates and lists are candidates wherever they came from; the anchors are `trustRoots` by digest alone.
 *
 * All checks are done and reported, whichever fail first. Never throws for what the evidence says.
 */
export function authenticateSnp(
  report: SnpReport,
  endorsements: SnpEndorsements,
  options: AuthenticateOptions,
): SnpAuthentication {
  const chain = authenticateChain(findLeaf(report, endorsements.certificates), endorsements, {
    at: options.at,
    trustRoots: options.trustRoots ?? VENDOR_ROOTS,
    requireCrl: options.requireCrl ?? false,
    trust: options.trust,
  })
  const tcb = chain.product === null ? null : decodeTcbs(report, chain.product)
  const checks = [
    ...chain.checks,
    checkSigningKey(report, chain),
    checkProduct(report, chain),
    checkTcbLayout(report, chain.product, tcb),
    checkCertificateTcb(chain, tcb),
    checkHwid(report, chain),
    checkSignature(report, chain.certificate),
  ]
  const { kind, leaf, product, root } = chain
  if (
    checks.some((check) => check.status === 'fail') ||
    kind === null ||
    leaf === null ||
    product === null ||
    root === null ||
    tcb === null
  ) {
    return { checks, facts: null, chain }
  }
  const facts: SnpFacts = {
    report,
    product,
    productName: leaf.productName,
    tcb,
    kind,
    hwid: leaf.hwid === null ? null : bytesToHex(leaf.hwid),
    cspId: leaf.cspId,
    root,
  }
  return { checks, facts: facts as Authenticated<SnpFacts>, chain }
}

/** The certificate that should have signed: of the kind that the report names, and among several the one for its chip and TCB. */
function findLeaf(report: SnpReport, certificates: readonly Certificate[]): Certificate | null {
  const leaves = certificates.filter((cert) => {
    const kind = snpRole(cert)?.kind
    return kind === 'VCEK' || kind === 'VLEK'
  })
  const named = leaves.filter((cert) => snpRole(cert)?.kind === report.signingKey)
  const fits = named.length > 1 ? named.find((cert) => belongsTo(report, cert)) : undefined
  return fits ?? named[0] ?? leaves[0] ?? null
}

function belongsTo(report: SnpReport, certificate: Certificate): boolean {
  try {
    const leaf = parseLeaf(certificate, report.signingKey)
    const reported = decodeTcb(report.rawTcb.reported, leaf.product)
    if (reported === null || !equalTcb(reported, leaf.tcb)) return false
    return leaf.hwid === null || isZero(report.chipId) || sameChip(leaf.hwid, report.chipId)
  } catch (error) {
    if (error instanceof AttestationError) return false
    throw error
  }
}

/** A VCEK's hwID against CHIP_ID: Turin has 8 bytes, and CHIP_ID goes on with zeros. */
function sameChip(hwid: Uint8Array, chipId: Uint8Array): boolean {
  return equalBytes(hwid, chipId.subarray(0, hwid.length)) && isZero(chipId.subarray(hwid.length))
}

function decodeTcbs(report: SnpReport, product: ProductLine): SnpTcbs | null {
  const { rawTcb } = report
  const current = decodeTcb(rawTcb.current, product)
  const reported = decodeTcb(rawTcb.reported, product)
  const committed = decodeTcb(rawTcb.committed, product)
  const launch = decodeTcb(rawTcb.launch, product)
  return current && reported && committed && launch
    ? { current, reported, committed, launch }
    : null
}

function checkSigningKey(report: SnpReport, chain: ChainFindings): EvidenceCheck {
  const id = 'snp.signing-key'
  const expected = report.signingKey
  if (chain.kind === expected) {
    const message = `the report says that a ${expected} signed it, and the leaf is one`
    return pass(id, message, { expected, actual: expected })
  }
  const code = chain.certificate === null ? 'CERT_MISSING' : 'CERT_ROLE'
  return fail(id, code, `the report says that a ${expected} signed it`, {
    expected,
    actual: chain.kind ?? 'none',
  })
}

/** CPUID bytes (version 3 and later), productName of the leaf, names of the authorities, and the shape of CHIP_ID must all name one product. */
function checkProduct(report: SnpReport, chain: ChainFindings): EvidenceCheck {
  const id = 'snp.product'
  const { product, leaf } = chain
  if (report.cpuid !== null) {
    const signed = productOf(report.cpuid)
    if (signed === null || signed === 'Venice') {
      return fail(id, 'PRODUCT_UNKNOWN', 'no certificate authority is known for this processor', {
        expected: PRODUCT_LINES.join(' or '),
        actual: `${signed ?? 'unknown'}: ${describeCpuid(report.cpuid)}`,
      })
    }
    if (signed !== product) {
      const actual = product === null ? 'no known authority' : `the authority of ${product}`
      const message = `the report is of a ${signed} (${describeCpuid(report.cpuid)})`
      return fail(id, 'PRODUCT_MISMATCH', message, { expected: signed, actual })
    }
  }
  if (product === null || leaf === null) {
    return fail(id, 'PRODUCT_UNKNOWN', 'the certificates do not say which product this is', {
      expected: 'a root of a known product, and a leaf that can be read',
      actual: product === null ? 'no such root' : `the root of ${product}, and no such leaf`,
    })
  }
  if (leaf.product !== product) {
    return fail(id, 'PRODUCT_MISMATCH', 'leaf and authorities are of different products', {
      expected: product,
      actual: leaf.productName,
    })
  }
  const { chipId } = report
  if (!isZero(chipId) && isZero(chipId.subarray(8)) !== hasFmc(product)) {
    // from Turin on a chip id has 8 bytes; the only sign of the product that a version 2 report has
    return fail(id, 'PRODUCT_MISMATCH', `CHIP_ID does not have the form of ${product}`, {
      ...(hasFmc(product)
        ? { expected: '8 bytes, then zeros', actual: '64 bytes' }
        : { expected: '64 bytes', actual: '8 bytes, then zeros' }),
    })
  }
  const source = report.cpuid === null ? 'certificates' : 'processor and certificates'
  const told = { expected: product, actual: leaf.productName }
  return pass(id, `${source} agree on the product`, told)
}

function checkTcbLayout(
  report: SnpReport,
  product: ProductLine | null,
  tcb: SnpTcbs | null,
): EvidenceCheck {
  const id = 'snp.tcb-layout'
  if (product === null) {
    return fail(id, 'PRODUCT_UNKNOWN', 'without a product the TCB has no known layout', {
      expected: PRODUCT_LINES.join(' or '),
      actual: 'no known product',
    })
  }
  const expected = `the layout of ${product}: every level in its range, all other bytes zero`
  if (tcb !== null) {
    return pass(id, `the TCBs are in the layout of ${product}`, {
      expected,
      actual: 'all four TCBs are in it',
    })
  }
  const strange = Object.entries(report.rawTcb).filter(([, raw]) => !decodeTcb(raw, product))
  return fail(id, 'RESERVED_NOT_ZERO', `a TCB is not in the layout of ${product}`, {
    expected,
    actual: strange.map(([name, raw]) => `${name} ${bytesToHex(raw)}`).join(', '),
  })
}

function checkCertificateTcb({ leaf, kind }: ChainFindings, tcb: SnpTcbs | null): EvidenceCheck {
  const id = 'snp.certificate-tcb'
  if (leaf === null || kind === null || tcb === null) {
    return fail(id, 'CERT_TCB_MISMATCH', 'there is no certificate whose TCB could be compared', {
      expected: 'a VCEK or VLEK for the reported TCB',
      actual: leaf === null ? 'none that can be read' : 'a reported TCB that can’t be read',
    })
  }
  const expected = describeTcb(leaf.tcb)
  return equalTcb(leaf.tcb, tcb.reported)
    ? pass(id, `the ${kind} was issued for the reported TCB`, { expected, actual: expected })
    : fail(id, 'CERT_TCB_MISMATCH', `the ${kind} was issued for another TCB than the reported`, {
        expected,
        actual: describeTcb(tcb.reported),
      })
}

/** A masked CHIP_ID is all zero: then there is nothing to compare, and whether that is acceptable is the policy's question (`anonymousChip`). */
function checkHwid(report: SnpReport, { leaf, kind }: ChainFindings): EvidenceCheck {
  const id = 'snp.hwid'
  if (leaf === null) {
    const told = { expected: 'the VCEK of the chip, or a VLEK', actual: 'none that can be read' }
    return fail(id, 'HWID_MISMATCH', 'there is no certificate to compare with', told)
  }
  if (kind === 'VLEK' || leaf.hwid === null) {
    return skip(id, 'a VLEK belongs to a cloud provider, not to a chip')
  }
  if (isZero(report.chipId)) return skip(id, 'the report names no chip')
  const told = { expected: bytesToHex(leaf.hwid), actual: bytesToHex(report.chipId) }
  return sameChip(leaf.hwid, report.chipId)
    ? pass(id, 'the VCEK belongs to the chip of the report', told)
    : fail(id, 'HWID_MISMATCH', 'the VCEK belongs to another chip than the report', told)
}

const SIGNED = 'a signature by the key of the leaf: ECDSA on P-384 with SHA-384'
const VERIFIES: Comparison = { expected: SIGNED, actual: 'it verifies' }
const DIFFERS: Comparison = { expected: SIGNED, actual: 'it does not verify' }

/** ECDSA P-384 with SHA-384 over the first 672 bytes. (r, n−s) verifies as well as (r, s): the signature never identifies a report. */
function checkSignature(report: SnpReport, certificate: Certificate | null): EvidenceCheck {
  const id = 'snp.signature'
  if (certificate === null) {
    const told = { expected: SIGNED, actual: 'no leaf' }
    return fail(id, 'CERT_MISSING', 'there is no certificate to verify the report with', told)
  }
  if (verifies(report, certificate)) {
    return pass(id, 'the key of the leaf signed the report', VERIFIES)
  }
  const { key } = certificate
  const told =
    key.type === 'ec' && key.curve === 'P-384'
      ? DIFFERS
      : { expected: SIGNED, actual: `a leaf with another key: ${describeKey(key)}` }
  return fail(id, 'SIGNATURE_INVALID', 'the key of the leaf did not sign this report', told)
}

function verifies(report: SnpReport, certificate: Certificate): boolean {
  const { key: kind } = certificate
  if (kind.type !== 'ec' || kind.curve !== 'P-384') return false
  try {
    const key = certificate.publicKey
    return verify('sha384', report.signed, { key, dsaEncoding: 'ieee-p1363' }, report.signature)
  } catch (error) {
    if (error instanceof AttestationError) return false
    throw error
  }
}
