// The single owner of the key method's verification: the caller's key, and nothing that the bundle says of keys.
import { equalBytes, utf8Encode } from '../../attestation/lib/index.ts'
import type { Bundle } from '../bundle/bundle.ts'
import { pae, paeCompat } from '../bundle/dsse.ts'
import { readPublicKey, verifiesWith } from '../bundle/keys.ts'
import type { PublicKey } from '../bundle/keys.ts'
import type { Check } from '../verdict.ts'
import { wrongMaterial } from './material.ts'
import type { KeyTrust, MaterialResult } from './material.ts'

/**
 * Verifies a bundle with the caller's public key. The bundle's hint (or raw key, before 1.1.0) is compared first, then the signature.
 * @throws ZtError KEY_INVALID or KEY_UNSUPPORTED if the caller's key can't be used
 */
export async function verifyKey(
  { material, envelope }: Bundle,
  _bytes: Uint8Array,
  trust: KeyTrust,
): Promise<MaterialResult> {
  const key = keyOf(trust)
  if (material.kind !== 'key') return wrongMaterial('publicKey', material.form)
  const checks: Check[] = [checkHint(material, key)]
  const { payloadType, payload, signature } = envelope
  const valid = await verifiesWith(key, pae(payloadType, payload), signature)
  // release 0.2.0, which knew no other hash and no Ed25519
  const oldEncoding =
    !valid &&
    key.hash !== null &&
    (await verifiesWith(key, paeCompat(payloadType, payload), signature, 'sha256'))
  checks.push(
    valid || oldEncoding
      ? {
          id: 'signature.envelope',
          status: 'pass',
          code: 'OK',
          message: `the signature is the key's (${key.algorithm})${oldEncoding ? ', in the encoding of release 0.2.0' : ''}`,
        }
      : {
          id: 'signature.envelope',
          status: 'fail',
          code: 'SIGNATURE_INVALID',
          message: 'the signature is not the key’s over this payload',
          expected: `a signature by the key ${key.hint}`,
          actual: 'another key, or a payload or signature that was changed',
          hint: 'check that the public key is the signer’s, and fetch the signature again',
        },
  )
  const failed = checks.some((check) => check.status === 'fail')
  return {
    checks,
    signer: failed ? null : { kind: 'key', algorithm: key.algorithm, spkiSha256: key.spkiSha256 },
    times: [],
    oldEncoding,
  }
}

/** A service verifies with the same few trusted keys all day: reading one takes longer than verifying with it (1 ms against 0.2). */
const READ = new WeakMap<KeyTrust, { readonly pem: string; readonly key: PublicKey }>()

function keyOf(trust: KeyTrust): PublicKey {
  const known = READ.get(trust)
  if (known?.pem === trust.publicKey) return known.key
  const key = readPublicKey(trust.publicKey)
  READ.set(trust, { pem: trust.publicKey, key })
  return key
}

function checkHint(material: Extract<Bundle['material'], { kind: 'key' }>, key: PublicKey): Check {
  const id = 'signature.hint'
  const { hint, publicKey, keyDetails } = material
  const fail = (expected: string, actual: string): Check => ({
    id,
    status: 'fail',
    code: 'KEY_HINT',
    message: 'the bundle names another key than the one given',
    expected,
    actual,
    hint: 'verify with the public key of the signer, or fetch the signature of the signer whose key this is',
  })
  if (hint !== undefined && hint !== key.hint) return fail(key.hint, hint)
  if (publicKey !== undefined && !namesKey(publicKey, key))
    return fail(key.hint, 'another key, in the form of releases before 1.1.0')
  // release 0.2.0 called every key by the name of P-256's algorithm
  if (keyDetails !== undefined && keyDetails !== key.keyDetails && keyDetails !== P256_DETAILS)
    return fail(key.keyDetails, keyDetails)
  if (hint === undefined && publicKey === undefined)
    return {
      id,
      status: 'skip',
      code: 'NOT_GIVEN',
      message: 'the bundle does not say which key it was signed with',
      expected: key.hint,
      actual: 'nothing',
    }
  return { id, status: 'pass', code: 'OK', message: 'the bundle names the key given' }
}

const P256_DETAILS = 'PKIX_ECDSA_P256_SHA_256'

/** True if the PEM text that an old bundle carries is exactly the caller's key. */
function namesKey(pem: Uint8Array, { key }: PublicKey): boolean {
  return equalBytes(pem, utf8Encode(key.export({ type: 'spki', format: 'pem' }) as string))
}
