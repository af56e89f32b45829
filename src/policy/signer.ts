// The single owner of the question whether an authenticated signer is the one that the policy names, and whether two are the same.
import type { Signer } from '../verify/result.ts'
import type { ResolvedPolicy } from './policy.ts'

/** True if the authenticated signer is the one that the policy calls by this name. The verifier was told so; here it is compared again. */
export function isSigner(resolved: ResolvedPolicy, name: string, signer: Signer): boolean {
  const wanted = resolved.policy.signers.get(name)
  if (wanted === undefined) return false
  if (wanted.kind === 'key')
    return signer.kind === 'key' && signer.spkiSha256 === resolved.keys.get(name)
  if (wanted.kind === 'keyless')
    return (
      signer.kind === 'keyless' &&
      signer.identity === wanted.identity &&
      signer.issuer === wanted.issuer
    )
  if (signer.kind !== 'certificate') return false
  const { identity } = wanted
  // Without alternative names the common name counts, which only the verifier has apart: there it was compared.
  return identity === null || signer.identities.length === 0 || signer.identities.includes(identity)
}

/** What tells who it is, for counting: signers that share any of these are one person. */
export function marksOf(signer: Signer): readonly string[] {
  if (signer.kind === 'key') return [`key ${signer.spkiSha256}`]
  if (signer.kind === 'keyless') return [`keyless ${signer.issuer} ${signer.identity}`]
  const names = signer.identities.length === 0 ? [signer.subject] : [...signer.identities].sort()
  return [`key ${signer.spkiSha256}`, `certificate ${signer.rootSha256} ${names.join(' ')}`]
}

/** For people. */
export function signerInWords(signer: Signer): string {
  if (signer.kind === 'key') return `${signer.algorithm} key ${signer.spkiSha256.slice(0, 16)}…`
  if (signer.kind === 'keyless') return `${signer.identity} (${signer.issuer})`
  return `${signer.identities[0] ?? signer.subject} under root ${signer.rootSha256.slice(0, 16)}…`
}
