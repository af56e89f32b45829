// The single owner of the trust anchors: vendor roots pinned by the SHA-256 of their DER, and roots that the user names.
import { parseCertificates } from './lib/pem.ts'
import type { Certificate } from './lib/x509.ts'

/** A root certificate that is trusted by its digest. The certificate itself arrives with the evidence, as a candidate. */
export interface TrustRoot {
  readonly name: string
  readonly vendor: 'AMD' | 'Intel' | 'named by the user'
  /** SHA-256 of the certificate's DER, lower-case hex. */
  readonly sha256: string
  /** True if its subject says SIMULATED. A vendor's own root never is. */
  readonly simulated: boolean
  /** The certificate itself, where the user gave it. */
  readonly certificate?: Certificate
}

/** ARKs from AMD's key distribution service (kdsintf.amd.com), the SGX root from Intel's (certificates.trustedservices.intel.com). */
export const VENDOR_ROOTS: readonly TrustRoot[] = [
  amd('Milan', '69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd'),
  amd('Genoa', '4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1'),
  amd('Turin', '1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a'),
  {
    name: 'Intel SGX Root CA',
    vendor: 'Intel',
    sha256: '44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3',
    simulated: false,
  },
]

function amd(product: string, sha256: string): TrustRoot {
  return { name: `ARK-${product}`, vendor: 'AMD', sha256, simulated: false }
}

/** Which roots one vendor's evidence may end at, in words. Those that the user named are trusted for either. */
export function describeRoots(roots: readonly TrustRoot[], vendor: 'AMD' | 'Intel'): string {
  const names = roots
    .filter((root) => root.vendor === vendor || root.vendor === 'named by the user')
    .map(({ name, sha256 }) => name || sha256)
  return names.length === 0 ? `a trusted root of ${vendor}; there is none` : names.join(' or ')
}

/**
 * Roots that the user names, from PEM (any number) or DER (one). They are trusted for whatever their names fit, and a result that rests on one says so.
 *
 * @throws AttestationError if these are not certificates
 */
export function userRoots(input: Uint8Array): TrustRoot[] {
  return parseCertificates(input).map((certificate) => ({
    name: certificate.subject.commonName ?? certificate.subject.text,
    vendor: 'named by the user',
    sha256: certificate.sha256,
    simulated: certificate.subject.text.includes('SIMULATED'),
    certificate,
  }))
}
