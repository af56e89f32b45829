// The single owner of the TDX and SGX attestation result: parse → authenticate → appraise, and what comes out of it.
import type { Authenticated } from '../authenticated.ts'
import { skip } from '../check.ts'
import type { Endorsements } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import type { Evidence } from '../evidence.ts'
import type { Expected } from '../expected.ts'
import { bytesToHex, sha256Hex, utf8Encode } from '../lib/bytes.ts'
import { formatTime } from '../lib/time.ts'
import type { AttestationResult, Check, TrustworthinessVector } from '../result.ts'
import { VENDOR_ROOTS } from '../roots.ts'
import type { TrustRoot } from '../roots.ts'
import { appraiseSgx, appraiseTdx } from './appraise.ts'
import type { Appraisal, TdxExpected } from './appraise.ts'
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
export interface TdxOptions extends QuoteOptions, TdxExpected {}
export interface SgxOptions extends QuoteOptions, Expected {}

/**
 * Judges one TDX quote. The answer depends on nothing but the arguments.
 *
 * @param endorsements candidates beside those that travelled with the evidence
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
  return attestQuote('tdx', evidence, endorsements, policy, at, now, options, (facts) =>
    appraiseTdx(facts, policy, at, options),
  )
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
    claims: quoteClaims(facts, appraisal.tcb),
    checks: all,
    vector: vectorOf(tee, all),
  }
}

/** Both sources of candidates, each certificate and list once. */
function merge(own: Endorsements, given: Endorsements): TdxEndorsements {
  const once = <T>(items: readonly T[], key: (item: T) => string): readonly T[] =>
    items.length < 2 ? items : [...new Map(items.map((item) => [key(item), item])).values()]
  return {
    certificates: once([...given.certificates, ...own.certificates], ({ sha256 }) => sha256),
    crls: once([...given.crls, ...own.crls], ({ sha256 }) => sha256),
    tcbInfos: [...given.tcbInfos, ...own.tcbInfos],
    qeIdentities: [...given.qeIdentities, ...own.qeIdentities],
  }
}

const digests = new WeakMap<IntelPolicy, string>()

/** SHA-256 of the policy with all its defaults, as JSON; bytes as hex, wide numbers in decimal. */
function policyDigest(policy: IntelPolicy): string {
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

/** AR4SI §2.3.2: 99 is "cryptographic validation failed". */
const UNAUTHENTICATED: TrustworthinessVector = {
  'instance-identity': 99,
  configuration: 99,
  executables: 99,
  'file-system': 99,
  hardware: 99,
  'runtime-opaque': 99,
  'storage-opaque': 99,
  'sourced-data': 99,
}

const TRUST_CHECKS = ['validity.', 'crl.', 'revocation', 'tcbInfo.', 'qeIdentity.', 'module', 'qe.']
const TCB_CHECKS = ['tcb.', 'pce.', 'tee-tcb-svn', 'fmspc']
const GUEST_CHECKS = [
  'debug',
  'attributes',
  'attributes-unknown',
  'xfam-fixed',
  'xfam',
  'xfrm',
  'miscselect',
]
const CODE_CHECKS = [
  'mrtd',
  'mrseam',
  'mrservicetd',
  'rtmr',
  'mrenclave',
  'mrsigner',
  'isvprodid',
  'isvsvn',
  'isvfamilyid',
  'isvextprodid',
]
const SETUP_CHECKS = ['mrconfigid', 'mrowner', 'mrownerconfig', 'configid', 'configsvn']

/** AR4SI values (draft-ietf-rats-ar4si §2.3.3), from what the checks said. A claim that nothing was compared for is 0. */
function vectorOf(tee: TeeType, checks: readonly Check[]): TrustworthinessVector {
  const among = (names: readonly string[]): Set<Check['status']> =>
    new Set(
      checks
        .filter(({ id }) => names.some((name) => id.startsWith(`${tee}.${name}`)))
        .map(({ status }) => status),
    )
  const trust = among(TRUST_CHECKS)
  const tcb = among(TCB_CHECKS)
  const guest = among(GUEST_CHECKS)
  const setup = among(SETUP_CHECKS)
  const identity = among(['ppid'])
  const code = among(CODE_CHECKS)
  const measured = among([tee === 'tdx' ? 'mrtd' : 'mrenclave']).has('pass')
  const binding = among(['model-binding'])
  const debug = among(['debug']).has('fail')
  return {
    'instance-identity': identity.has('fail') ? 97 : identity.has('pass') ? 2 : 0,
    configuration:
      guest.has('fail') || setup.has('fail')
        ? 96
        : guest.has('warn')
          ? 32
          : setup.has('pass')
            ? 2
            : 3,
    executables: code.has('fail') ? 33 : measured ? 3 : 0,
    'file-system': binding.has('fail') ? 96 : 0,
    hardware:
      trust.has('fail') || tcb.has('fail') ? 96 : trust.has('warn') || tcb.has('warn') ? 32 : 2,
    'runtime-opaque': debug ? 96 : 2,
    'storage-opaque': 0,
    'sourced-data': 0,
  }
}
