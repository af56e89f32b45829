// The single owner of verifying a model in a registry against one signer, without a policy: its attached signatures, then every layer.
import { verifySignature } from '../verify/statement.ts'
import { joined } from '../verify/model.ts'
import type { SignatureResult, Trust } from '../verify/result.ts'
import type { Check, Verdict } from '../verdict.ts'
import type { CompareRequest } from './question.ts'
import type { RegistrySource } from './oci.ts'

export interface ReferenceResult {
  readonly verdict: Verdict
  /** The signature that the verdict rests on, its bundle's bytes, and null where none verified. */
  readonly signature: SignatureResult | null
  readonly bundle: Uint8Array | null
}

/**
 * Verifies what a reference names. One signature of the trusted signer over exactly these files is enough, so others that are attached, by
 * anybody, can't do harm.
 * @throws ZtError where the registry gives no answer
 */
export async function verifyReference(
  source: RegistrySource,
  trust: Trust,
  at: Date,
  request: CompareRequest = {},
): Promise<ReferenceResult> {
  const bundles = await source.bundles(request)
  let best: ReferenceResult | null = null
  for (const { name, bytes } of bundles) {
    const signature = await verifySignature(bytes, trust, at)
    const fact =
      signature.manifest === null ? null : await source.compare(signature.manifest, request)
    const route: Check[] =
      fact === null
        ? []
        : [
            {
              id: 'model.route',
              status: 'pass',
              code: 'OK',
              message: ROUTES[fact.route] ?? fact.route,
              actual: fact.route,
            },
          ]
    const verdict = joined(
      source.subject.reference ?? source.subject.name,
      at,
      signature,
      fact === null ? null : { checks: [...route, ...fact.result.checks] },
    )
    const inputs = [
      ...verdict.inputs.map((input) => ({ ...input, name: name })),
      {
        name: source.subject.reference ?? '',
        digest: { sha256: source.pinned.digest.slice('sha256:'.length) },
      },
    ]
    const result = { verdict: { ...verdict, inputs }, signature, bundle: bytes }
    if (verdict.decision === 'allow') return result
    // The refusal shown is the one that came furthest.
    if (best === null || passes(verdict) > passes(best.verdict)) best = result
  }
  return best ?? { verdict: unsigned(source, at), signature: null, bundle: null }
}

const ROUTES: Readonly<Record<string, string>> = {
  'raw-bijection':
    'decided from the manifest: every layer is one signed file; whoever downloads them must check their digests',
  streamed: 'every layer was read and hashed',
}

function passes(verdict: Verdict): number {
  return verdict.checks.filter(({ status }) => status === 'pass').length
}

function unsigned(source: RegistrySource, at: Date): Verdict {
  const checks: Check[] = [
    {
      id: 'signature.bundle',
      status: 'fail',
      code: 'SIGNATURE_NOT_FOUND',
      message: 'no signature is attached to the model',
      expected: 'a Sigstore bundle as a referrer',
      actual: 'none',
      hint: 'push it with zt4ai push, or attach a signature with zt4ai attach',
    },
  ]
  const signature: SignatureResult = { checks, authenticated: null, manifest: null, inputs: [] }
  return joined(source.subject.reference ?? source.subject.name, at, signature, null)
}
