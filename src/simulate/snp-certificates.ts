// The single owner of the simulated AMD-like vendor: ARK, ASK and ASVK per product, VCEK and VLEK leaves, and the ARK's revocation list.
import { ia5, integer } from './der.ts'
import { ecKey, PSS, rsaKey, type EcKey, type RsaKey } from './keys.ts'
import {
  certificate,
  daysFrom,
  revocationList,
  standard,
  type CertificateChange,
  type CertificateFields,
  type CrlChange,
  type Extension,
  type NameParts,
} from './pki.ts'
import type { SnpProduct, SnpTcb } from './snp-report.ts'

export type SnpRole = 'vcek' | 'vlek'

/** What every subject of the simulated vendor says, so that nobody takes it for the vendor. */
export const SIMULATED_AMD = 'SIMULATED (zt4ai), not Advanced Micro Devices'

/** AMD's order of attributes, with the genuine common name: verifiers compare that one. */
export function amdName(commonName: string): NameParts {
  return [
    ['OU', 'Engineering'],
    ['C', 'US'],
    ['L', 'Santa Clara'],
    ['ST', 'CA'],
    ['O', SIMULATED_AMD],
    ['CN', commonName],
  ]
}

const ARK_SERIALS: Readonly<Record<SnpProduct, bigint>> = {
  Milan: 0x10000n,
  Genoa: 0x20000n,
  Turin: 0x30000n,
}
const CA_FROM = new Date('2020-10-22T00:00:00Z')
const CA_TO = new Date('2045-10-22T00:00:00Z')

/** The keys of one product line. The RSA keys are made when first asked for and kept for the process. */
export interface SnpKeys {
  readonly ark: RsaKey
  /** ASK for VCEKs, ASVK for VLEKs. */
  issuer(role: SnpRole): RsaKey
  leaf(role: SnpRole, tcb: SnpTcb): EcKey
}

export function snpKeys(seed: string, product: SnpProduct): SnpKeys {
  return {
    get ark() {
      return rsaKey(seed, `ARK-${product}`)
    },
    issuer: (role) => rsaKey(seed, `${role === 'vcek' ? 'SEV' : 'SEV-VLEK'}-${product}`),
    // A real VCEK or VLEK is derived from the TCB, so another TCB gives another key.
    leaf: (role, tcb) => ecKey('P-384', seed, `${product} ${role} ${JSON.stringify(tcb)}`),
  }
}

const crlUrl = (role: SnpRole, product: SnpProduct): string =>
  `https://kdsintf.amd.com/${role}/v1/${product}/crl`

/** The fields of the self-signed root. */
export function arkFields(seed: string, product: SnpProduct): CertificateFields {
  const { ark } = snpKeys(seed, product)
  return {
    serial: ARK_SERIALS[product],
    issuer: amdName(`ARK-${product}`),
    subject: amdName(`ARK-${product}`),
    notBefore: CA_FROM,
    notAfter: CA_TO,
    spki: ark.spki,
    signer: ark,
    extensions: [
      standard.keyUsage('keyCertSign', 'cRLSign'),
      standard.subjectKeyId(ark.keyId),
      standard.basicConstraints(true),
      standard.crlDistributionPoint(crlUrl('vcek', product)),
    ],
  }
}

/** The fields of the ASK (`SEV-{product}`) or the ASVK (`SEV-VLEK-{product}`). */
export function issuerFields(seed: string, product: SnpProduct, role: SnpRole): CertificateFields {
  const keys = snpKeys(seed, product)
  const own = keys.issuer(role)
  return {
    serial: ARK_SERIALS[product] + (role === 'vcek' ? 1n : 0x101n),
    issuer: amdName(`ARK-${product}`),
    subject: amdName(role === 'vcek' ? `SEV-${product}` : `SEV-VLEK-${product}`),
    notBefore: CA_FROM,
    notAfter: CA_TO,
    spki: own.spki,
    signer: keys.ark,
    extensions: [
      standard.subjectKeyId(own.keyId),
      standard.authorityKeyId(keys.ark.keyId),
      standard.basicConstraints(true, 0),
      standard.keyUsage('keyCertSign'),
      standard.crlDistributionPoint(crlUrl(role, product)),
    ],
  }
}

/** AMD's arc for the extensions of VCEK and VLEK (57230, "Versioned Chip Endorsement Key Certificate"). */
export const AMD_ARC = '1.3.6.1.4.1.3704.1'

const amd = (suffix: string, value: Uint8Array): Extension => ({
  oid: `${AMD_ARC}.${suffix}`,
  value,
})

/** The extensions of a leaf, in the order in which KDS writes them. */
export function leafExtensions(leaf: {
  readonly product: SnpProduct
  readonly role: SnpRole
  readonly tcb: SnpTcb
  /** 64 bytes; Turin certificates carry the first 8. */
  readonly hardwareId: Uint8Array
  readonly cspId: string
}): readonly Extension[] {
  const { product, role, tcb } = leaf
  const turin = product === 'Turin'
  const productName = product === 'Milan' && role === 'vcek' ? 'Milan-B0' : product
  return [
    amd('1', integer(turin ? 1 : 0)),
    amd('2', ia5(productName)),
    ...(turin ? [amd('3.9', integer(tcb.fmc ?? 0))] : []),
    amd('3.1', integer(tcb.bootLoader)),
    amd('3.2', integer(tcb.tee)),
    ...(turin ? [amd('3.3', integer(tcb.snp))] : [amd('3.4', integer(0))]),
    amd('3.5', integer(0)),
    amd('3.6', integer(0)),
    amd('3.7', integer(0)),
    ...(turin ? [] : [amd('3.3', integer(tcb.snp))]),
    amd('3.8', integer(tcb.microcode)),
    role === 'vcek'
      ? amd('4', leaf.hardwareId.slice(0, turin ? 8 : 64))
      : amd('5', ia5(leaf.cspId)),
  ]
}

/** The fields of a VCEK or VLEK, issued 30 days before `at`, for 7 years or 1 year. */
export function leafFields(
  seed: string,
  leaf: Parameters<typeof leafExtensions>[0] & { readonly at: Date },
): CertificateFields {
  const { product, role, tcb, at } = leaf
  const keys = snpKeys(seed, product)
  return {
    serial: 0n,
    issuer: amdName(role === 'vcek' ? `SEV-${product}` : `SEV-VLEK-${product}`),
    subject: amdName(role === 'vcek' ? 'SEV-VCEK' : 'SEV-VLEK'),
    notBefore: daysFrom(at, -30),
    notAfter: daysFrom(at, role === 'vcek' ? 7 * 365 : 335),
    spki: keys.leaf(role, tcb).spki,
    signer: keys.issuer(role),
    algorithm: PSS.plain,
    extensions: leafExtensions(leaf),
  }
}

/** The ARK's revocation list around `at`, with nothing revoked unless changed. */
export function arkCrl(
  seed: string,
  product: SnpProduct,
  at: Date,
  change?: CrlChange,
): Uint8Array {
  const { ark } = snpKeys(seed, product)
  const fields = {
    issuer: amdName(`ARK-${product}`),
    thisUpdate: daysFrom(at, -1),
    nextUpdate: daysFrom(at, 364),
    revoked: [],
    number: 1n,
    authorityKeyId: ark.keyId,
    signer: ark,
  }
  return revocationList(change === undefined ? fields : change(fields))
}

const issued = new Map<string, Uint8Array>()

/** A CA certificate; the unchanged one is issued once per seed and product. */
export function caCertificate(
  seed: string,
  product: SnpProduct,
  which: 'ark' | SnpRole,
  change?: CertificateChange,
): Uint8Array {
  const fields = (): CertificateFields =>
    which === 'ark' ? arkFields(seed, product) : issuerFields(seed, product, which)
  if (change !== undefined) return certificate(change(fields()))
  const key = `${seed}\0${product}\0${which}`
  const found = issued.get(key)
  if (found !== undefined) return found
  const made = certificate(fields())
  issued.set(key, made)
  return made
}
