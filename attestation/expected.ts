// The single owner of what a relying party expects of one piece of evidence: that it answers a nonce, or that it is bound to a model.
import { modelBinding } from './binding.ts'
import type { ModelBinding } from './binding.ts'
import { fail, pass, skip } from './check.ts'
import { bytesToHex, equalBytes, isZero } from './lib/bytes.ts'
import type { EvidenceCheck } from './result.ts'

/** Asked anew each time, so it is no part of an owner's policy. */
export interface Expected {
  /** 1 to 64 bytes: the report data must be these, followed by zeros. With a `binding`, it must be the nonce of that instead. */
  readonly nonce?: Uint8Array
  /** The report data must be the model binding of these. */
  readonly binding?: ModelBinding
}

/**
 * Two checks, `{platform}.nonce` and `{platform}.model-binding`.
 *
 * @param reportData the 64 bytes that the hardware signed
 */
export function checkExpected(
  platform: 'snp' | 'tdx' | 'sgx',
  reportData: Uint8Array,
  expected: Expected,
): readonly EvidenceCheck[] {
  return [
    checkNonce(`${platform}.nonce`, reportData, expected),
    checkBinding(`${platform}.model-binding`, reportData, expected.binding),
  ]
}

function checkNonce(id: string, data: Uint8Array, { nonce, binding }: Expected): EvidenceCheck {
  if (nonce === undefined) return skip(id, 'no nonce was given')
  if (binding !== undefined && equalBytes(binding.nonce, nonce)) {
    return skip(id, 'the model binding contains the nonce')
  }
  const answered =
    nonce.length >= 1 &&
    nonce.length <= data.length &&
    equalBytes(nonce, data.subarray(0, nonce.length)) &&
    isZero(data.subarray(nonce.length))
  const more = {
    expected: bytesToHex(nonce) || 'a nonce of 1 to 64 bytes',
    actual: bytesToHex(data),
  }
  return answered
    ? pass(id, 'the report data answers the nonce', more)
    : fail(id, 'NONCE', 'the report data does not answer the nonce', more)
}

function checkBinding(
  id: string,
  data: Uint8Array,
  parts: ModelBinding | undefined,
): EvidenceCheck {
  if (parts === undefined)
    return skip(id, 'no model was given that the evidence should be bound to')
  const wanted = modelBinding(parts)
  const more = { expected: bytesToHex(wanted), actual: bytesToHex(data) }
  return equalBytes(wanted, data)
    ? pass(id, 'the evidence is bound to this model and this nonce', more)
    : fail(id, 'MODEL_BINDING', 'the evidence is not bound to this model and this nonce', more)
}
