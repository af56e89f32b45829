// The single owner of how an SNP negative is made: a simulated machine with one thing changed.
import type { Code } from '../../attestation/index.ts'
import { WELL_KNOWN_SEED } from './keys.ts'
import { withExtensions, type Negative } from './negative.ts'
import type { CertificateChange, Extension } from './pki.ts'
import { simulateSnp, type SnpEvidence, type SnpRequest } from './snp.ts'
import { AMD_ARC, amdName, caCertificate } from './snp-certificates.ts'

export type SnpNegative = Negative<SnpEvidence>

/** A request, or one that depends on the seed because it needs the vendor's keys. */
type Ask = SnpRequest | ((seed: string) => SnpRequest)

/** A negative on the machine that `ask` describes, judged under the vendor's sound root, or under the root that the evidence came with. */
export function snpNegative(
  name: string,
  codes: readonly Code[],
  why: string,
  ask: Ask,
  trust: "vendor's root" | 'own root' = "vendor's root",
): SnpNegative {
  return {
    name,
    why,
    codes,
    record: (seed = WELL_KNOWN_SEED) => {
      const evidence = simulateSnp({ seed, ...(typeof ask === 'function' ? ask(seed) : ask) })
      const trustedRoot =
        trust === 'own root' ? evidence.ark : caCertificate(seed, evidence.product, 'ark')
      return { evidence, trustedRoot }
    },
  }
}

/** A machine whose leaf, or whose ASK, is issued with a change. */
export const asLeaf = (leaf: CertificateChange, more: SnpRequest = {}): SnpRequest => ({
  ...more,
  certificates: { leaf },
})
export const asAsk = (ask: CertificateChange, more: SnpRequest = {}): SnpRequest => ({
  ...more,
  certificates: { ask },
})
/** An extension in AMD's arc, and a leaf in which one of them has another value. */
export const amd = (suffix: string, value: Uint8Array): Extension => ({
  oid: `${AMD_ARC}.${suffix}`,
  value,
})
export const replaced = (suffix: string, value: Uint8Array): CertificateChange =>
  withExtensions((list) =>
    list.map((e) => (e.oid === `${AMD_ARC}.${suffix}` ? amd(suffix, value) : e)),
  )
/** A certificate with another issuer or subject. */
export const named = (which: 'issuer' | 'subject', commonName: string): CertificateChange => {
  const parts = amdName(commonName)
  return (fields) => ({ ...fields, [which]: parts })
}
