// The single owner of evidence as facts: each piece appraised as each machine that the rules name, and its report data computed anew for each model in question.
import {
  attest,
  AttestationError,
  modelBinding,
  readEndorsements,
  readEvidence,
  UNAUTHENTICATED,
  type AttestationResult,
  type AttestOptions,
  type Endorsements,
  type Evidence,
  type Expected,
  type NamedBytes,
} from '../../attestation/index.ts'
import {
  bytesToHex,
  equalBytes,
  formatTime,
  hexToBytes,
  isZero,
  sha256Hex,
} from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { expectationOf } from '../policy/expect.ts'
import type { BindingFact, EvidenceFact, StatementFact } from '../policy/facts.ts'
import type { ResolvedPolicy, Rule } from '../policy/policy.ts'
import type { AdmitCaches, Challenge } from './question.ts'

export interface EvidenceQuestion {
  readonly policy: ResolvedPolicy
  readonly rules: readonly Rule[]
  readonly evidence: readonly NamedBytes[]
  readonly endorsements: readonly NamedBytes[]
  readonly statements: readonly StatementFact[]
  /** Root digests that the evidence may be bound to, lower-case hex. */
  readonly roots: readonly string[]
  readonly challenge?: Challenge
  readonly keyDigest?: Uint8Array
  readonly caches?: AdmitCaches
}

const MAX_PIECES = 64
const BINDING_NONCE = 32

/**
 * Appraises each piece of evidence for each machine of its platform that a rule names. A piece that can't be read is a refused fact, with the
 * reason; endorsements that can't be read are the caller's own, and no answer.
 * @throws ZtError for endorsements that can't be read, and too many pieces
 */
export function appraiseEvidence(
  question: EvidenceQuestion,
  at: Date,
  now: Date,
): readonly EvidenceFact[] {
  const { evidence, rules, policy } = question
  if (evidence.length > MAX_PIECES)
    throw new ZtError('TOO_LARGE', `more than ${MAX_PIECES} pieces of evidence`)
  const names = [...new Set(rules.flatMap(({ machines }) => machines ?? []))]
  if (evidence.length === 0 || names.length === 0) return []
  const endorsements = endorsementsOf(question.endorsements)
  return evidence.flatMap(({ name, bytes }) => {
    let piece: Evidence
    try {
      piece = readEvidence(bytes)
    } catch (error) {
      return names.map((machine) => unreadable(question, machine, { name, bytes }, error, at, now))
    }
    const platform = (machine: string): string | undefined =>
      policy.policy.machines.get(machine)?.platform
    const fitting = names.filter((machine) => platform(machine) === piece.platform)
    return (fitting.length > 0 ? fitting : names).map((machine) => {
      try {
        return appraise(question, machine, piece, endorsements, at, now)
      } catch (error) {
        return unreadable(question, machine, { name, bytes }, error, at, now)
      }
    })
  })
}

function endorsementsOf(files: readonly NamedBytes[]): Endorsements {
  try {
    return readEndorsements(files)
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError(error.code, error.message, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.path === undefined ? {} : { path: error.path }),
      cause: error,
    })
  }
}

function appraise(
  question: EvidenceQuestion,
  machine: string,
  piece: Evidence,
  endorsements: Endorsements,
  at: Date,
  now: Date,
): EvidenceFact {
  const { policy, statements, caches, challenge } = question
  const expectation = expectationOf(policy, machine, statements, at)
  const options: AttestOptions = {
    trustRoots: expectation.trustRoots,
    ...(caches?.snp === undefined ? {} : { snpTrust: caches.snp }),
    ...(caches?.tdx === undefined ? {} : { tdxTrust: caches.tdx }),
  }
  const ask = (expected: Expected): AttestationResult =>
    attest(piece, endorsements, expectation.policy, at, now, { ...options, ...expected })
  const result = ask({})
  if (result.claims === null) return { machine, result, binding: null }
  const answer = answerOf(question, piece, hexToBytes(result.claims.reportData))
  const binding: BindingFact = {
    model: answer?.root ?? null,
    nonce: {
      expected: challenge === undefined ? null : bytesToHex(challenge.nonce),
      actual: answer === null ? null : bytesToHex(answer.nonce),
      ...(challenge?.issued === undefined ? {} : { issued: formatTime(challenge.issued) }),
    },
  }
  // Asked again with what was found, so that the result itself says it.
  return { machine, result: answer === null ? result : ask(answer.expected), binding }
}

interface Answer {
  readonly nonce: Uint8Array
  readonly root: string | null
  readonly expected: Expected
}

/** Which nonce and which model give exactly this report data, of those in question: the nonce that was asked, and the one that the evidence names. */
function answerOf(
  { challenge, keyDigest, roots }: EvidenceQuestion,
  piece: Evidence,
  reportData: Uint8Array,
): Answer | null {
  const nonces = [challenge?.nonce, piece.nonce].filter((nonce) => nonce !== undefined)
  for (const nonce of nonces.filter(({ length }) => length === BINDING_NONCE)) {
    for (const root of roots) {
      const binding = {
        nonce,
        modelDigest: hexToBytes(root),
        ...(keyDigest === undefined ? {} : { keyDigest }),
      }
      if (equalBytes(modelBinding(binding), reportData))
        return { nonce, root, expected: { nonce, binding } }
    }
  }
  const plain = nonces.find(
    (nonce) =>
      nonce.length >= 1 &&
      nonce.length <= reportData.length &&
      equalBytes(nonce, reportData.subarray(0, nonce.length)) &&
      isZero(reportData.subarray(nonce.length)),
  )
  return plain === undefined ? null : { nonce: plain, root: null, expected: { nonce: plain } }
}

/** Evidence that could not be read at all, as a refused result: nothing was authenticated. */
function unreadable(
  { policy }: EvidenceQuestion,
  machine: string,
  { name, bytes }: NamedBytes,
  error: unknown,
  at: Date,
  now: Date,
): EvidenceFact {
  if (!(error instanceof AttestationError)) throw error
  const result: AttestationResult = {
    schema: 'zt4ai.attestation/v1',
    platform: policy.policy.machines.get(machine)?.platform ?? 'sev-snp',
    accepted: false,
    at: formatTime(at),
    historical: at < now,
    simulated: false,
    root: null,
    claims: null,
    checks: [
      {
        id: 'form',
        status: 'fail',
        code: error.code,
        message: "the evidence can't be read",
        expected: 'evidence in a form that zt4ai reads',
        actual: error.message,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      },
    ],
    vector: UNAUTHENTICATED,
    inputs: [{ name, sha256: sha256Hex(bytes) }],
  }
  return { machine, result, binding: null }
}
