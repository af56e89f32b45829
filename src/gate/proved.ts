// The single owner of letting a verifier service judge the machine before a model is loaded on it: its signed answer joins the question.
import { setTimeout as pause } from 'node:timers/promises'
import type { NamedBytes } from '../../attestation/index.ts'
import { ZtError } from '../error.ts'
import type { AdmitRequest } from './question.ts'
import { pathSource } from './source.ts'
import { proveTo, type Appraisal, type Proof, type VerifierOptions } from './verifier-client.ts'

/** Clocks that differ by more than this are mended, not waited for. */
const MOST_SKEW_MS = 5_000

export interface ProvedQuestion {
  readonly appraisal: Appraisal
  /** The question with the verifier's signed verdict and the evidence that led to it, asked as of now. */
  readonly question: AdmitRequest
}

/**
 * Proves this machine and the model of a question to a verifier, with evidence that the hardware makes for the verifier's own nonce. What the
 * verifier says is believed only as far as the policy's `admitted:` names its key.
 * @throws ZtError what `proveTo` throws, and where the clocks disagree
 */
export async function askVerifier(
  question: AdmitRequest,
  root: string,
  verifier: VerifierOptions,
  more: Pick<Proof, 'evidence' | 'key' | 'policy'>,
  now: () => Date = () => new Date(),
): Promise<ProvedQuestion> {
  const source = typeof question.model === 'string' ? pathSource(question.model) : question.model
  const bundles = [...(await source.bundles({})), ...(question.bundles ?? [])]
  let made: NamedBytes | undefined
  const appraisal = await proveTo(verifier, {
    digest: root,
    name: question.name ?? source.subject.name,
    bundles,
    endorsements: question.endorsements ?? [],
    ...more,
    evidence: async (reportData, nonce) => {
      made = await more.evidence(reportData, nonce)
      return made
    },
  })
  const behind = Date.parse(appraisal.verdict.at) - now().getTime()
  if (behind > MOST_SKEW_MS)
    throw new ZtError(
      'EVIDENCE_UNAVAILABLE',
      `the verifier's clock is ${Math.ceil(behind / 1000)} seconds ahead of this machine's`,
      {
        path: verifier.url,
        hint: 'set the clocks: a verdict from the future is never used',
      },
    )
  if (behind > 0) await pause(behind)
  const at = now()
  const { bundle, challenge } = appraisal
  return {
    appraisal,
    question: {
      ...question,
      at,
      now: at,
      bundles: [
        ...(question.bundles ?? []),
        ...(bundle === null ? [] : [{ name: 'verifier', bytes: bundle }]),
      ],
      evidence: [...(question.evidence ?? []), ...(made === undefined ? [] : [made])],
      challenge: question.challenge ?? { nonce: challenge.nonce, issued: challenge.issued },
    },
  }
}
