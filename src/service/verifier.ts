// The single owner of the verifier service (RATS background check, RFC 9334 §5.2): a challenge, evidence that answers it, and a signed result.
import { createPublicKey } from 'node:crypto'
import {
  AttestationError,
  type NamedBytes,
  type SnpTrust,
  type TdxTrust,
} from '../../attestation/index.ts'
import {
  bytesToBase64,
  bytesToHex,
  decode,
  formatTime,
  sha256,
  sha256Hex,
  utf8Encode,
  type JsonObject,
  type JsonValue,
} from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { decide } from '../gate/admit.ts'
import { gather } from '../gate/gather.ts'
import type { Admission, ModelSource } from '../gate/question.ts'
import { saveVerdict, verdictEar } from '../gate/saved.ts'
import { guessFormat } from '../model/guess.ts'
import type { Manifest } from '../model/manifest.ts'
import type { FilesFact } from '../policy/facts.ts'
import { keySigner, type PrivateKey } from '../sign/key.ts'
import { makeVerdict, verdictJson, type Check } from '../verdict.ts'
import type { Call, Reply } from './http.ts'
import type { Metrics } from './metrics.ts'
import type { Nonces } from './nonces.ts'
import type { ActivePolicy, Policies } from './policies.ts'
import { resultOf } from './review.ts'

/** Evidence with an event log, endorsements and signatures, all as base64. */
export const MAX_APPRAISAL = 16 << 20

export interface VerifierOptions {
  readonly nonces: Nonces
  readonly policies: Policies
  readonly metrics: Metrics
  readonly now: () => Date
  readonly key: PrivateKey
  readonly build: string
  readonly trust: { readonly snp: SnpTrust; readonly tdx: TdxTrust }
}

const { array, base64, object, optional, string } = decode
const named = array(
  object({ name: string({ min: 1, max: 256 }), bytes: base64({ max: 8 << 20 }) }),
  { max: 32 },
)
const shape = object({
  nonce: string({ pattern: /^[0-9a-f]{64}$/ }),
  evidence: base64({ max: 8 << 20 }),
  endorsements: optional(named),
  bundles: optional(named),
  key: optional(string({ max: 16_384 })),
  model: object({
    digest: string({ pattern: /^[0-9a-f]{64}$/ }),
    name: string({ min: 1, max: 256 }),
  }),
  policy: optional(string({ max: 256 })),
})

/** `POST /v1/challenge`: a nonce for one question. */
export function challenge({ nonces, metrics }: VerifierOptions): Reply {
  try {
    const { nonce, issued, lifetimeMs } = nonces.give()
    metrics.nonce('given')
    const expires = formatTime(new Date(issued.getTime() + lifetimeMs))
    return {
      status: 200,
      body: {
        schema: 'zt4ai.challenge/v1',
        nonce: bytesToHex(nonce),
        issued: formatTime(issued),
        expires,
      },
    }
  } catch (error) {
    metrics.nonce('full')
    metrics.shed('nonce')
    throw error
  }
}

/**
 * `POST /v1/appraise`: evidence that answers a challenge, for one model. The nonce is used up whatever comes of it, a body that can't be
 * read included. What is not bound to the model, the nonce and the key is refused whatever the policy says.
 */
export async function appraise(call: Call, options: VerifierOptions): Promise<Reply> {
  const body = await call.json()
  const issued = options.nonces.take(nonceOf(body))
  const asked = read(body)
  if (issued === undefined) {
    options.metrics.nonce('unknown')
    throw new ZtError(
      'NONCE_UNKNOWN',
      'this nonce was not given out here, was used, or is too old',
      {
        hint: 'ask for a new one: POST /v1/challenge',
      },
    )
  }
  options.metrics.nonce('used')
  const policy = options.policies.get(asked.policy)
  if (policy === undefined) throw new ZtError('REQUEST_INVALID', 'there is no policy of this name')
  const at = options.now()
  const { digest, name } = asked.model
  const gathered = await gather({
    model: asserted(name, digest, asked.bundles ?? []),
    policy: policy.loaded,
    at,
    now: at,
    evidence: [{ name: 'evidence', bytes: asked.evidence }],
    endorsements: asked.endorsements ?? [],
    challenge: { nonce: issued.nonce, issued: issued.issued },
    ...(asked.key === undefined ? {} : { keyDigest: spkiDigest(asked.key) }),
    caches: options.trust,
  })
  const nonce = bytesToHex(issued.nonce)
  const bound = gathered.facts.evidence.some(
    ({ result, binding }) =>
      result.claims !== null && binding?.model === digest && binding.nonce.actual === nonce,
  )
  // The machine's word about its files is worth something only if the evidence carries it.
  const facts = bound ? gathered.facts : { ...gathered.facts, files: [] }
  const admission = insisting(decide({ ...gathered, facts }), digest, bound)
  return answer(call, admission, policy, options)
}

/** A nonce is taken from a body that is otherwise unreadable as well: nobody tries twice with it. */
function nonceOf(body: JsonValue): string {
  const nonce = isObject(body) ? body['nonce'] : undefined
  return typeof nonce === 'string' ? nonce : ''
}

/** The model as its loader describes it: signatures to be verified here, and the word that the files are those of the list with this root. */
function asserted(name: string, root: string, bundles: readonly NamedBytes[]): ModelSource {
  return {
    subject: { name },
    bundles: () => Promise.resolve(bundles),
    compare: (manifest) => Promise.resolve(manifest.root === root ? assertedFiles(manifest) : null),
  }
}

function assertedFiles(manifest: Manifest): FilesFact {
  const sharded = manifest.serialization.method === 'shards'
  const names = manifest.resources.map(({ name }) =>
    sharded ? name.replace(/:[0-9]+:[0-9]+$/, '') : name,
  )
  const files = [...new Set(names)]
  return {
    root: manifest.root,
    manifest,
    route: 'machine-asserted',
    result: {
      missing: [],
      extra: [],
      changed: [],
      ignored: [],
      files: files.length,
      bytes: 0,
      checks: [],
    },
    formats: files.map((file) => ({ ...guessFormat(file), name: file, basis: 'name' })),
  }
}

/** The answer is about exactly the model and the machine that were asked about, or it is a refusal. */
function insisting(admission: Admission, digest: string, bound: boolean): Admission {
  const { verdict } = admission
  if (verdict.decision === 'deny') return admission
  const problems: Check[] = []
  if (!bound)
    problems.push({
      id: 'appraisal.binding',
      status: 'fail',
      code: 'BINDING_MISMATCH',
      message: 'the evidence is not bound to this nonce, model and key',
      hint: 'ask the hardware for the report data that `zt4ai binding` prints',
    })
  // A rule without a machine would allow it on any, this one included, whatever its evidence says: nothing here was judged by it.
  if (!verdict.checks.some(({ id }) => id.startsWith('evidence.')))
    problems.push({
      id: 'appraisal.machine',
      status: 'fail',
      code: 'EVIDENCE_REFUSED',
      message: refusedEvidence(admission),
      hint: 'a verifier answers for a machine: name it under `machine` in the rule that is to allow this',
    })
  if (verdict.subject.digest?.sha256 !== digest)
    problems.push({
      id: 'appraisal.model',
      status: 'fail',
      code: 'ROOT_MISMATCH',
      message: 'the verdict would be about another model',
      expected: digest,
      actual: verdict.subject.digest?.sha256 ?? 'none',
    })
  if (problems.length === 0) return admission
  const refused = makeVerdict({ ...verdict, checks: [...verdict.checks, ...problems] })
  return { ...admission, verdict: refused, manifest: null, files: null }
}

/** Why the machine's evidence did not count. */
function refusedEvidence({ facts }: Admission): string {
  const checks = facts.evidence.flatMap(({ result }) => (result.accepted ? [] : result.checks))
  const first = checks.find(({ status }) => status === 'fail')
  return first === undefined
    ? 'the rule that allows the model asks for no machine'
    : `the rule that allows the model asks for no machine, and the evidence is refused: ${first.message} (${first.code})`
}

async function answer(
  call: Call,
  admission: Admission,
  policy: ActivePolicy,
  { key, build, metrics }: VerifierOptions,
): Promise<Reply> {
  const { verdict } = admission
  const digest = sha256Hex(utf8Encode(verdictJson(verdict)))
  const { result, code } = resultOf({
    kind: 'verdict',
    verdict,
    digest,
    reference: '',
    from: 'miss',
  })
  metrics.verdict(result, code, policy.name, 'enforce')
  call.log.info(
    {
      model: verdict.subject.name,
      result,
      code,
      policy: policy.name,
      policyDigest: policy.digest,
      verdict: `sha256:${digest}`,
    },
    'appraised',
  )
  const bundle =
    verdict.subject.digest === undefined
      ? null
      : bytesToBase64(await saveVerdict(verdict, { signer: keySigner(key) }))
  return {
    status: 200,
    body: {
      schema: 'zt4ai.appraisal/v1',
      result,
      code,
      verdictDigest: `sha256:${digest}`,
      verdict,
      ear: verdictEar(admission, key.key, build),
      bundle,
    },
  }
}

function spkiDigest(pem: string): Uint8Array {
  try {
    if (!pem.includes('-----BEGIN PUBLIC KEY-----')) throw new Error('no public key')
    return sha256(new Uint8Array(createPublicKey(pem).export({ type: 'spki', format: 'der' })))
  } catch {
    throw new ZtError('KEY_INVALID', 'the key is not a public key in PEM')
  }
}

function read(value: JsonValue): ReturnType<typeof shape> {
  try {
    return shape(value, '$')
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('REQUEST_INVALID', error.message, { cause: error })
  }
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
