// The single owner of verdicts that replicas share: written to the registry as signed referrers, and used only where they say what this replica would say.
import type { NamedBytes } from '../../attestation/index.ts'
import { decodeBundle } from '../bundle/bundle.ts'
import { decodeStatement } from '../bundle/statement.ts'
import { ZtError } from '../error.ts'
import { savedVerdict, saveVerdict, VERDICT_PREDICATE, VERIFIER } from '../gate/saved.ts'
import type { RegistrySource } from '../gate/oci.ts'
import { bundleAnnotations } from '../gate/promote.ts'
import type { Repository } from '../registry/client.ts'
import { formatReference, parseReference } from '../registry/reference.ts'
import { attach, BUNDLE_TYPE } from '../registry/referrers.ts'
import type { Signer } from '../sign/signer.ts'
import type { Verdict } from '../verdict.ts'
import { verifyStatement } from '../verify/statement.ts'
import { pinned } from './image.ts'
import { ANCHORS, type ActivePolicy } from './policies.ts'

/** Who says so: the product, with the anchors that it had. Another version with other vendor roots is another verifier. */
export const RECORDER = `${VERIFIER}#anchors=sha256:${ANCHORS}`
/** More of them at one model would only fill the registry, and in the end the limit of what is attached. */
const MOST = 8

export interface SharedVerdicts {
  /** PEM of the keys whose verdicts are used: the replicas' own. */
  readonly recorders: readonly string[]
  readonly maxAgeMs: number
}

/**
 * The newest saved verdict among a model's bundles that stands for a decision of this replica: signed by a recorder with the same anchors,
 * allow, under exactly this policy, about exactly this manifest, not older than allowed, and not resting on a machine's evidence, which says
 * nothing about any other machine.
 */
export async function sharedVerdict(
  bundles: readonly NamedBytes[],
  source: Pick<RegistrySource, 'pinned'>,
  policy: ActivePolicy,
  shared: SharedVerdicts,
  at: Date,
): Promise<{ readonly verdict: Verdict | null; readonly attached: number }> {
  let newest: Verdict | null = null
  let attached = 0
  for (const { bytes } of bundles) {
    if (!claimsVerdict(bytes)) continue
    for (const publicKey of shared.recorders) {
      const { authenticated } = await verifyStatement(bytes, { kind: 'key', publicKey }, at)
      if (authenticated === null) continue
      attached += 1
      const verdict = savedVerdict(authenticated)
      if (verdict === null || recorderOf(authenticated.statement) !== RECORDER) continue
      if (!stands(verdict, source, policy, shared.maxAgeMs, at)) continue
      if (newest === null || newest.at < verdict.at) newest = verdict
    }
  }
  return { verdict: newest, attached }
}

function stands(
  verdict: Verdict,
  source: Pick<RegistrySource, 'pinned'>,
  policy: ActivePolicy,
  maxAgeMs: number,
  at: Date,
): boolean {
  const made = Date.parse(verdict.at)
  return (
    verdict.decision === 'allow' &&
    verdict.policy?.digest.sha256 === policy.digest &&
    sameModel(verdict.subject.name, source.pinned) &&
    at.getTime() - made >= 0 &&
    at.getTime() - made <= maxAgeMs &&
    !expiredBetween(policy, made, at.getTime()) &&
    !restsOnMachine(verdict)
  )
}

/** What one machine proved says nothing about any other, and nothing later. */
export function restsOnMachine({ checks }: Verdict): boolean {
  return checks.some(({ id, status }) => id.startsWith('machine.') && status !== 'skip')
}

/** An exemption that ended since may be what it rested on. */
function expiredBetween({ loaded }: ActivePolicy, from: number, to: number): boolean {
  return [...loaded.resolved.policy.exemptions.values()].some(({ expires }) => {
    const end = Date.parse(expires)
    return end > from && end <= to
  })
}

function sameModel(name: string, asked: RegistrySource['pinned']): boolean {
  try {
    return formatReference(pinned(parseReference(name))) === formatReference(pinned(asked))
  } catch (error) {
    if (error instanceof ZtError) return false
    throw error
  }
}

function recorderOf(statement: Readonly<Record<string, unknown>>): unknown {
  const predicate = statement['predicate'] as Readonly<Record<string, unknown>> | undefined
  const verifier = predicate?.['verifier'] as Readonly<Record<string, unknown>> | undefined
  return verifier?.['id']
}

/** What a bundle claims to be, to leave the others alone: it decides nothing. */
function claimsVerdict(bytes: Uint8Array): boolean {
  try {
    return decodeStatement(decodeBundle(bytes).envelope.payload).predicateType === VERDICT_PREDICATE
  } catch (error) {
    if (error instanceof ZtError) return false
    throw error
  }
}

/**
 * Attaches a verdict to its model. False where enough are attached already, or the verdict is about no root.
 * @throws ZtError what the registry and the signer throw
 */
export async function recordVerdict(
  repository: Repository,
  source: Pick<RegistrySource, 'manifest'>,
  verdict: Verdict,
  attached: number,
  signer: Signer,
): Promise<boolean> {
  if (attached >= MOST || verdict.subject.digest === undefined) return false
  const content = await saveVerdict(verdict, { signer, verifier: RECORDER })
  const { digest, mediaType, bytes } = source.manifest
  await attach(repository, {
    subject: { mediaType, digest, size: bytes.length },
    mediaType: BUNDLE_TYPE,
    content,
    annotations: bundleAnnotations(VERDICT_PREDICATE),
  })
  return true
}
