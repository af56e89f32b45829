// The single owner of the TDX and SGX attestation result: parse → authenticate → appraise, and what comes out of it.
import type { Authenticated } from '../authenticated.ts'
import { skip } from '../check.ts'
import type { Endorsements, EventLog } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import type { Evidence } from '../evidence.ts'
import type { Expected } from '../expected.ts'
import { sha256Hex, utf8Encode } from '../lib/bytes.ts'
import { formatTime } from '../lib/time.ts'
import { policyDigest } from '../policy-digest.ts'
import { UNAUTHENTICATED } from '../result.ts'
import type {
  AttestationResult,
  EvidenceCheck,
  InputDigest,
  TrustworthinessVector,
} from '../result.ts'
import { VENDOR_ROOTS } from '../roots.ts'
import type { TrustRoot } from '../roots.ts'
import { appraiseSgx, appraiseTdx } from './appraise.ts'
import type { Appraisal } from './appraise.ts'
import { authenticateTdx } from './authenticate.ts'
import type { QuoteFacts, TdxEndorsements } from './authenticate.ts'
import { quoteClaims } from './claims.ts'
import type { IntelPolicy, SgxPolicy, TdxPolicy } from './policy.ts'
import { parseQuote } from './quote.ts'
import type { TeeType } from './quote.ts'
import type { TdxTrust } from './trust.ts'

interface QuoteOptions {
  /** The vendors' own unless told. */
  readonly trustRoots?: readonly TrustRoot[]
  /** Remembers examined chains and collateral between calls: then a quote costs two ECDSA verifications. */
  readonly trust?: TdxTrust
}
export interface TdxOptions extends QuoteOptions, Expected {}
export interface SgxOptions extends QuoteOptions, Expected {}

/**
 * Judges one TDX quote. The answer depends on nothing but the arguments.
 *
 * @param endorsements candidates beside those that travelled with the evidence; event logs of both are used, and each must hold
 * @param at the moment at which dates are judged
 * @param now the moment of judging: if `at` lies before it, the result is marked `historical`
 * @throws AttestationError if the quote can't be read (quote.ts); everything that was read and is not accepted is a failed check
 */
export function attestTdx(
  evidence: Evidence,
  endorsements: Endorsements,
  policy: TdxPolicy,
  at: Date,
  now: Date,
  options: TdxOptions = {},
): AttestationResult {
  const logs = [...endorsements.eventLogs, ...evidence.endorsements.eventLogs]
  const result = attestQuote('tdx', evidence, endorsements, policy, at, now, options, (facts) =>
    appraiseTdx(facts, policy, at, options, logs),
  )
  return logs.length === 0
    ? result
    : { ...result, inputs: [...result.inputs, ...logs.map(logDigest)] }
}

/** The same for a quote of an SGX enclave. */
export function attestSgx(
  evidence: Evidence,
  endorsements: Endorsements,
  policy: SgxPolicy,
  at: Date,
  now: Date,
  options: SgxOptions = {},
): AttestationResult {
  return attestQuote('sgx', evidence, endorsements, policy, at, now, options, (facts) =>
    appraiseSgx(facts, policy, at, options),
  )
}

function attestQuote(
  tee: TeeType,
  evidence: Evidence,
  endorsements: Endorsements,
  policy: IntelPolicy,
  at: Date,
  now: Date,
  options: QuoteOptions,
  appraise: (facts: Authenticated<QuoteFacts>) => Appraisal,
): AttestationResult {
  const quote = parseQuote(evidence.raw)
  if (quote.teeType !== tee)
    throw new AttestationError(
      'FORMAT_INVALID',
      `this is a quote of ${quote.teeType}, not ${tee}`,
      {
        path: 'quote.teeType',
      },
    )
  const { facts, root, checks, inputs } = authenticateTdx(
    quote,
    merge(evidence.endorsements, endorsements),
    { trustRoots: options.trustRoots ?? VENDOR_ROOTS, trust: options.trust },
    at,
  )
  const frame = {
    schema: 'zt4ai.attestation/v1',
    platform: tee,
    at: formatTime(at),
    historical: at < now,
    simulated: root?.simulated ?? false,
    root: root === null ? null : { name: root.name, sha256: root.sha256 },
    inputs: [...inputs, { name: 'policy', sha256: policyDigest(policy) }],
  } as const
  if (facts === null) {
    const message = 'the quote is not authenticated, so nothing in it was appraised'
    return {
      ...frame,
      accepted: false,
      claims: null,
      checks: [...checks, skip(`${tee}.appraisal`, message, 'NOT_AUTHENTICATED')],
      vector: UNAUTHENTICATED,
    }
  }
  const appraisal = appraise(facts)
  const all = [...checks, ...appraisal.checks]
  return {
    ...frame,
    accepted: all.every(({ status }) => status !== 'fail'),
    claims: quoteClaims(facts, appraisal.tcb, appraisal.events),
    checks: all,
    vector: vectorOf(all),
  }
}

function logDigest(log: EventLog): InputDigest {
  const bytes = log.kind === 'ccel' ? log.data : utf8Encode(log.text)
  return { name: `event log (${log.kind})`, sha256: sha256Hex(bytes) }
}

/** Both sources of candidates, each certificate and list once. */
function merge(own: Endorsements, given: Endorsements): TdxEndorsements {
  if (
    own.certificates.length === 0 &&
    own.crls.length === 0 &&
    own.tcbInfos.length === 0 &&
    own.qeIdentities.length === 0
  )
    return given
  return {
    certificates: union(given.certificates, own.certificates),
    crls: union(given.crls, own.crls),
    tcbInfos: [...given.tcbInfos, ...own.tcbInfos],
    qeIdentities: [...given.qeIdentities, ...own.qeIdentities],
  }
}

function union<T extends { readonly sha256: string }>(
  a: readonly T[],
  b: readonly T[],
): readonly T[] {
  if (a.length === 0 || b.length === 0) return a.length === 0 ? b : a
  return [...new Map([...a, ...b].map((item) => [item.sha256, item])).values()]
}

/** Which part of the vector a check speaks for, by the first word of its id that fits. */
const SUBJECTS = {
  hardware: [
    'validity.',
    'crl.',
    'revocation',
    'tcbInfo.',
    'qeIdentity.',
    'module',
    'qe.',
    'tcb.',
    'pce.',
    'tee-tcb-svn',
    'fmspc',
  ],
  identity: ['ppid'],
  guest: ['debug', 'attributes', 'xfam', 'xfrm', 'miscselect'],
  setup: ['mrconfigid', 'mrowner', 'configid', 'configsvn'],
  measurement: ['mrtd', 'mrenclave'],
  code: ['mrseam', 'mrservicetd', 'rtmr', 'event-log', 'mrsigner', 'isv'],
  binding: ['model-binding'],
} as const
type Subject = keyof typeof SUBJECTS

/** The ids of checks are a closed set, so this stays small. */
const subjects = new Map<string, Subject | null>()

function subjectOf(id: string): Subject | null {
  let subject = subjects.get(id)
  if (subject === undefined) {
    const name = id.slice(id.indexOf('.') + 1)
    const found = Object.entries(SUBJECTS).find(([, words]) =>
      words.some((word) => name.startsWith(word)),
    )
    subject = (found?.[0] as Subject | undefined) ?? null
    subjects.set(id, subject)
  }
  return subject
}

const SEVERITY = { skip: 0, pass: 1, warn: 2, fail: 3 } as const

/** AR4SI values (draft-ietf-rats-ar4si §2.3.3), from what the checks said. A claim that nothing was compared for is 0. */
function vectorOf(checks: readonly EvidenceCheck[]): TrustworthinessVector {
  const worst: Record<Subject, number> = {
    hardware: 0,
    identity: 0,
    guest: 0,
    setup: 0,
    measurement: 0,
    code: 0,
    binding: 0,
  }
  let debug = false
  for (const { id, status, code } of checks) {
    const subject = subjectOf(id)
    if (subject !== null) worst[subject] = Math.max(worst[subject], SEVERITY[status])
    if (code === 'DEBUG') debug = true
  }
  const is = (subject: Subject, status: keyof typeof SEVERITY): boolean =>
    worst[subject] === SEVERITY[status]
  return {
    'instance-identity': is('identity', 'fail') ? 97 : is('identity', 'pass') ? 2 : 0,
    configuration:
      is('guest', 'fail') || is('setup', 'fail')
        ? 96
        : is('guest', 'warn')
          ? 32
          : is('setup', 'pass')
            ? 2
            : 3,
    executables:
      is('measurement', 'fail') || is('code', 'fail') ? 33 : is('measurement', 'pass') ? 3 : 0,
    'file-system': is('binding', 'fail') ? 96 : 0,
    hardware: is('hardware', 'fail') ? 96 : is('hardware', 'warn') ? 32 : 2,
    'runtime-opaque': debug ? 96 : 2,
    'storage-opaque': 0,
    'sourced-data': 0,
  }
}
