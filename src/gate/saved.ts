// The single owner of saved verdicts: a verdict as a signed in-toto statement (SLSA Verification Summary), and as an EAR token.
import type { KeyObject } from 'node:crypto'
import {
  appraisalOf,
  AttestationError,
  signEar,
  type EarAppraisal,
  type TrustworthinessVector,
} from '../../attestation/index.ts'
import { decode, parseTime, utf8Encode, type JsonValue } from '../../attestation/lib/index.ts'
import { STATEMENT_TYPE } from '../bundle/statement.ts'
import { ZtError } from '../error.ts'
import type { EvidenceFact } from '../policy/facts.ts'
import { signStatement } from '../sign/model.ts'
import type { Signer } from '../sign/signer.ts'
import type { Verdict } from '../verdict.ts'
import type { AuthenticatedStatement } from '../verify/result.ts'
import type { Admission } from './question.ts'
import { decodeVerdict } from './read-verdict.ts'

/** https://slsa.dev/verification_summary/v1 */
export const VERDICT_PREDICATE = 'https://slsa.dev/verification_summary/v1'
/** Who verified, where the caller names nobody else. */
export const VERIFIER = 'https://zt4ai.dev/verifier'

export interface SaveOptions {
  readonly signer: Signer
  /** URI of whoever verified. */
  readonly verifier?: string
}

/**
 * Signs a verdict: a bundle over an in-toto statement whose subject is the model's root digest and whose predicate is a SLSA Verification
 * Summary. The whole verdict is its extension field `zt4ai_verdict`.
 * @throws ZtError VERDICT_SUBJECT if no signature gave a digest; what the signer throws
 */
export async function saveVerdict(verdict: Verdict, options: SaveOptions): Promise<Uint8Array> {
  return signStatement(verdictStatement(verdict, options.verifier ?? VERIFIER), options.signer)
}

/** The statement that `saveVerdict` signs, as UTF-8 JSON. The same verdict gives the same bytes. */
export function verdictStatement(verdict: Verdict, verifier = VERIFIER): Uint8Array {
  const { subject, policy, at, decision, inputs } = verdict
  if (subject.digest === undefined)
    throw new ZtError('VERDICT_SUBJECT', 'a verdict about no digest can not be signed', {
      hint: 'no trusted signature gave the model a digest, so there is nothing that the statement could be about',
    })
  return utf8Encode(
    JSON.stringify({
      _type: STATEMENT_TYPE,
      subject: [{ name: subject.name, digest: subject.digest }],
      predicateType: VERDICT_PREDICATE,
      predicate: {
        verifier: { id: verifier },
        timeVerified: at,
        resourceUri: resourceOf(verdict),
        policy:
          policy === null
            ? {}
            : { uri: `urn:zt4ai:policy:${encodeURIComponent(policy.name)}`, digest: policy.digest },
        inputAttestations: inputs.filter(({ name }) => name.startsWith('bundle:')),
        verificationResult: decision === 'allow' ? 'PASSED' : 'FAILED',
        // The levels of SLSA are about how something was built: nothing is said of that here.
        verifiedLevels: [decision === 'allow' ? 'SLSA_BUILD_LEVEL_UNEVALUATED' : 'FAILED'],
        slsaVersion: '1.0',
        zt4ai_verdict: verdict,
      },
    }),
  )
}

function resourceOf({ subject }: Verdict): string {
  return subject.name.startsWith('oci://')
    ? subject.name
    : `urn:zt4ai:model:${encodeURIComponent(subject.name)}`
}

const digest = decode.object({ sha256: decode.string() }, { unknown: 'ignore' })
const statement = decode.object(
  {
    subject: decode.array(decode.object({ digest }, { unknown: 'ignore' }), { min: 1, max: 1 }),
    predicate: decode.object(
      {
        timeVerified: decode.string(),
        verificationResult: decode.literal('PASSED', 'FAILED'),
        zt4ai_verdict: decode.any(),
      },
      { unknown: 'ignore' },
    ),
  },
  { unknown: 'ignore' },
)

/**
 * The verdict in an authenticated statement; null if it has none, or one that contradicts the statement around it: subject, time and result
 * say the same thing twice, so they must agree.
 */
export function savedVerdict(authenticated: AuthenticatedStatement | null): Verdict | null {
  if (authenticated?.predicateType !== VERDICT_PREDICATE) return null
  try {
    return verdictIn(authenticated.statement as JsonValue)
  } catch (error) {
    if (error instanceof ZtError) return null
    throw error
  }
}

/**
 * The verdict in a statement that nobody authenticated: for showing only.
 * @throws ZtError VERDICT_INVALID
 */
export function verdictIn(value: JsonValue): Verdict {
  try {
    const { subject, predicate } = statement(value, '$')
    const verdict = decodeVerdict(predicate.zt4ai_verdict, '$.predicate.zt4ai_verdict')
    const same =
      subject[0]?.digest.sha256 === verdict.subject.digest?.sha256 &&
      predicate.timeVerified === verdict.at &&
      (predicate.verificationResult === 'PASSED') === (verdict.decision === 'allow')
    if (same) return verdict
    throw new ZtError(
      'VERDICT_INVALID',
      'the statement and the verdict in it contradict each other',
    )
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('VERDICT_INVALID', error.message, {
      ...(error.path === undefined ? {} : { path: error.path }),
      cause: error,
    })
  }
}

/**
 * An admission as a signed EAR token with the submods `model0` and, where evidence was given, `cpu0`.
 * @param key a private key: P-256, P-384 or Ed25519
 * @throws AttestationError UNSUPPORTED_ALGORITHM for any other key
 */
export function verdictEar(
  { verdict, facts, recorded }: Admission,
  key: KeyObject,
  build: string,
): string {
  const policyId = verdict.policy === null ? {} : { policyId: verdict.policy.digest.sha256 }
  const evidence = evidenceOf(verdict, facts.evidence)
  const submods = new Map<string, EarAppraisal>([
    ['model0', { ...modelAppraisal(verdict, evidence), ...policyId }],
  ])
  if (evidence !== undefined)
    submods.set('cpu0', appraisalOf(evidence.result, verdict.policy?.digest.sha256))
  const nonce = recorded.challenge?.nonce
  return signEar(
    {
      at: parseTime(verdict.at),
      verifier: { developer: VERIFIER, build },
      submods,
      inputs: verdict.inputs.map(({ name, digest: { sha256 } }) => ({ name, sha256 })),
      historical: recorded.at < recorded.now,
      simulated: evidence?.result.simulated ?? false,
      ...(nonce !== undefined && nonce.length >= 8 && nonce.length <= 64 ? { nonce } : {}),
    },
    key,
  )
}

/** The evidence that counts: accepted and bound to this model before accepted, before any. */
function evidenceOf(verdict: Verdict, evidence: readonly EvidenceFact[]): EvidenceFact | undefined {
  const root = verdict.subject.digest?.sha256
  const accepted = evidence.filter(({ result }) => result.accepted)
  return (
    accepted.find(({ binding }) => root !== undefined && binding?.model === root) ??
    accepted[0] ??
    evidence[0]
  )
}

/** AR4SI values for a model (draft-ietf-rats-ar4si §2.3.3): `sourced-data` for its signature and bytes, `file-system` for its binding to the machine. */
function modelAppraisal(verdict: Verdict, evidence: EvidenceFact | undefined): EarAppraisal {
  const allowed = verdict.decision === 'allow'
  const root = verdict.subject.digest?.sha256
  const bound = root !== undefined && evidence?.binding?.model === root
  const waived = verdict.checks.some(({ status }) => status === 'warn')
  const vector: TrustworthinessVector = {
    'instance-identity': 0,
    configuration: 0,
    executables: 0,
    'file-system': allowed && bound ? 2 : 0,
    hardware: 0,
    'runtime-opaque': 0,
    'storage-opaque': 0,
    'sourced-data': allowed ? (waived ? 32 : 2) : 96,
  }
  return { status: allowed ? (waived ? 'warning' : 'affirming') : 'contraindicated', vector }
}
