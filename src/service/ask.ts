// The single owner of `POST /v1/admit`: one reference in, one decision out, for registries, CI and nodes.
import { decode, type JsonValue } from '../../attestation/lib/index.ts'
import { AttestationError } from '../../attestation/index.ts'
import { ZtError } from '../error.ts'
import { modeOf } from '../policy/mode.ts'
import { formatReference, type Reference } from '../registry/reference.ts'
import type { Verdict } from '../verdict.ts'
import { whyUnavailable, type Decider, type Decision, type Reading } from './decide.ts'
import type { Call, Reply } from './http.ts'
import { imageReference, namesModel, pinned, storageReference } from './image.ts'
import type { Metrics } from './metrics.ts'
import type { ActivePolicy, Policies } from './policies.ts'
import { resultOf } from './review.ts'

export const MAX_ASK = 64 << 10

const { literal, object, optional, string } = decode
const shape = object({
  reference: string({ min: 1, max: 1024 }),
  policy: optional(string({ max: 256 })),
  namespace: optional(string({ max: 256 })),
  name: optional(string({ min: 1, max: 256 })),
  kind: optional(literal('model', 'image')),
  reading: optional(literal('manifest-only', 'layers')),
})

export interface AskOptions {
  readonly decider: Decider
  readonly policies: Policies
  readonly metrics: Metrics
  /** True if layers may be read for those who ask for it. */
  readonly layers: boolean
}

/** The answer of `POST /v1/admit`. */
export interface Answer {
  readonly schema: 'zt4ai.admission/v1'
  /** What to do: a refusal is allowed to pass where the namespace's mode is not `enforce`. */
  readonly allowed: boolean
  readonly result: 'allow' | 'deny' | 'unavailable' | 'exempt' | 'not-a-model'
  readonly code: string
  readonly message: string
  readonly hint?: string
  readonly mode: string
  /** With the digest that was judged: deploy this and nothing else. */
  readonly reference: string
  readonly policy: { readonly name: string; readonly digest: string }
  readonly verdictDigest?: string
  readonly verdict?: Verdict
}

/** Answers one question. 200 for every decision, 503 where there is none. */
export async function ask(call: Call, options: AskOptions): Promise<Reply> {
  const asked = read(await call.json())
  const policy = options.policies.get(asked.policy)
  if (policy === undefined)
    throw new ZtError('REQUEST_INVALID', 'there is no policy of this name', {
      hint: `there are: ${options.policies
        .all()
        .map(({ name }) => name)
        .join(', ')}`,
    })
  const reading = asked.reading ?? 'manifest-only'
  if (reading === 'layers' && !options.layers)
    throw new ZtError('REQUEST_INVALID', 'this service does not read layers', {
      hint: 'start it with --read-layers, or use zt4ai admit',
    })
  const answer = await answerFor(asked, policy, reading, call, options)
  return { status: answer.result === 'unavailable' ? 503 : 200, body: answer }
}

/** What a registry's event and `ask` have in common. */
export async function answerFor(
  asked: {
    readonly reference: string
    readonly namespace?: string
    readonly name?: string
    readonly kind?: 'model' | 'image'
  },
  policy: ActivePolicy,
  reading: Reading,
  { left, log }: Pick<Call, 'left' | 'log'>,
  { decider, metrics }: Pick<AskOptions, 'decider' | 'metrics'>,
): Promise<Answer> {
  const rules = policy.loaded.resolved.policy
  const mode = modeOf(rules, asked.namespace ?? '')
  const about = { policy: { name: policy.name, digest: policy.digest }, mode }
  const base = { schema: 'zt4ai.admission/v1' as const, ...about, reference: asked.reference }
  let reference: Reference
  try {
    reference = readReference(asked.reference)
  } catch (error) {
    return finish(base, whyUnavailable(error))
  }
  if (asked.kind === 'image' && !namesModel(rules, reference))
    return {
      ...base,
      allowed: true,
      result: 'not-a-model',
      code: 'OK',
      message: 'no rule of the policy says that this image is a model',
    }
  if (mode === 'exempt') {
    metrics.verdict('exempt', 'OK', policy.name, mode)
    return {
      ...base,
      allowed: true,
      result: 'exempt',
      code: 'OK',
      message: 'the namespace is exempt',
    }
  }
  const question = {
    reference,
    policy,
    reading,
    ...(asked.name === undefined ? {} : { name: asked.name }),
  }
  const decision = await decider.decide(question, left())
  const answer = finish({ ...base, reference: formatReference(pinned(reference)) }, decision)
  metrics.verdict(resultOf(decision).result, answer.code, policy.name, mode)
  log.info(
    {
      reference: answer.reference,
      result: answer.result,
      code: answer.code,
      mode,
      policy: policy.name,
      policyDigest: policy.digest,
      ...(decision.kind === 'verdict'
        ? { verdict: `sha256:${decision.digest}`, from: decision.from }
        : { why: decision.message }),
    },
    'decided',
  )
  return answer
}

function finish(
  base: Pick<Answer, 'schema' | 'policy' | 'mode' | 'reference'>,
  decision: Decision,
): Answer {
  const { result, code } = resultOf(decision)
  const allowed = result === 'allow' || base.mode !== 'enforce'
  if (decision.kind === 'unavailable') {
    const { message, hint } = decision
    return { ...base, allowed, result, code, message, ...(hint === undefined ? {} : { hint }) }
  }
  const { verdict, digest, reference } = decision
  const failed = verdict.checks.find(({ status }) => status === 'fail')
  return {
    ...base,
    reference,
    allowed,
    result,
    code,
    message: failed?.message ?? 'allowed',
    ...(failed?.hint === undefined ? {} : { hint: failed.hint }),
    verdictDigest: `sha256:${digest}`,
    verdict,
  }
}

function readReference(text: string): Reference {
  return text.includes('://') ? storageReference(text) : imageReference(text)
}

function read(value: JsonValue): ReturnType<typeof shape> {
  try {
    return shape(value, '$')
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('REQUEST_INVALID', error.message, { cause: error })
  }
}
