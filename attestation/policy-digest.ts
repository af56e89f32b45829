// The single owner of the digest by which a result names the policy that judged it.
import { bytesToHex, sha256Hex, utf8Encode } from './lib/bytes.ts'

const digests = new WeakMap<object, string>()

/** SHA-256 of a policy with all its defaults, as JSON; bytes as hex, wide numbers in decimal. Kept with the policy, which must not change. */
export function policyDigest(policy: object): string {
  const known = digests.get(policy)
  if (known !== undefined) return known
  const text = JSON.stringify(policy, (_, value: unknown) => {
    if (typeof value === 'bigint') return value.toString()
    if (value instanceof Uint8Array) return bytesToHex(value)
    return value
  })
  const digest = sha256Hex(utf8Encode(text))
  digests.set(policy, digest)
  return digest
}
