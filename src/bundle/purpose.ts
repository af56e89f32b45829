// The single owner of whether a certificate may sign models: its key's kind and what it, and the authorities above it, were issued for.
import type { Certificate } from '../../attestation/lib/index.ts'
import { quote } from './names.ts'
import type { Problem } from './names.ts'

const CODE_SIGNING = '1.3.6.1.5.5.7.3.3'
const ANY_PURPOSE = '2.5.29.37.0'

/**
 * Why a leaf is not for signing, or null. Digital signatures must be allowed where key usage is stated, code signing where extended usage is,
 * and at least one of the two must be stated. A certificate that authorises web servers signs no models.
 */
export function purposeProblem({
  keyUsage,
  extKeyUsage,
  key,
  subject,
}: Pick<Certificate, 'keyUsage' | 'extKeyUsage' | 'key' | 'subject'>): Problem | null {
  const hint = 'sign with a certificate that was issued for signing code'
  if (key.type !== 'ec')
    return {
      code: 'KEY_UNSUPPORTED',
      message: "the certificate's key is not one that this format uses",
      expected: 'P-256, P-384 or P-521',
      actual: key.type,
      hint,
    }
  if (keyUsage === undefined && extKeyUsage === undefined)
    return {
      code: 'CERT_ROLE',
      message: 'the certificate does not say what it is for',
      expected: 'digital signatures or code signing',
      actual: 'nothing',
      hint,
    }
  if (keyUsage !== undefined && !keyUsage.has('digitalSignature'))
    return {
      code: 'CERT_ROLE',
      message: `${quote(subject.text)} must not make signatures`,
      expected: 'digitalSignature',
      actual: [...keyUsage].join(', '),
      hint,
    }
  if (excludesSigning(extKeyUsage))
    return {
      code: 'CERT_ROLE',
      message: `${quote(subject.text)} was issued for something else than signing`,
      expected: `code signing (${CODE_SIGNING})`,
      actual: extKeyUsage.join(', '),
      hint,
    }
  return null
}

/**
 * Why an authority between the leaf and the anchor can't vouch for signers, or null. Extended usages of an authority bound what it may issue
 * (CA/Browser Forum Baseline Requirements §7.1.5): one for web servers makes no signers.
 */
export function authorityProblem({
  extKeyUsage,
  subject,
}: Pick<Certificate, 'extKeyUsage' | 'subject'>): Problem | null {
  if (!excludesSigning(extKeyUsage)) return null
  return {
    code: 'CERT_ROLE',
    message: `${quote(subject.text)} is an authority for something else than signing`,
    expected: `code signing (${CODE_SIGNING})`,
    actual: extKeyUsage.join(', '),
    hint: 'sign with a certificate of an authority that was made for signing code',
  }
}

function excludesSigning(uses: readonly string[] | undefined): uses is readonly string[] {
  return uses?.some((use) => use === CODE_SIGNING || use === ANY_PURPOSE) === false
}
