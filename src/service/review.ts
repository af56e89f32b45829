// The single owner of Kubernetes' AdmissionReview v1: what is asked, and one answer that says why and what to do.
import { decode, type JsonObject, type JsonValue } from '../../attestation/lib/index.ts'
import { AttestationError } from '../../attestation/index.ts'
import { ZtError } from '../error.ts'
import { modeOf } from '../policy/mode.ts'
import type { Mode } from '../policy/policy.ts'
import type { Reference } from '../registry/reference.ts'
import type { Check } from '../verdict.ts'
import { whyUnavailable, type Decider, type Decision } from './decide.ts'
import { findModels, keyOf, type FoundModel } from './find.ts'
import { namesModel } from './image.ts'
import type { Log } from './log.ts'
import type { Metrics, Result } from './metrics.ts'
import type { ActivePolicy } from './policies.ts'

/** etcd takes 1.5 MB for one object; an update carries two, and managed fields. */
export const MAX_REVIEW = 4 << 20
const API_VERSION = 'admission.k8s.io/v1'
const MAX_MESSAGE = 8192
/** The API server cuts longer ones once there are 4096 in all. */
const MAX_WARNING = 256
const MAX_WARNINGS = 16

const { any, boolean, literal, object, optional, string } = decode
const short = string({ max: 256 })
const gvk = object({ kind: short }, { unknown: 'ignore' })
const orNull =
  <T>(inner: decode.Decoder<T>): decode.Decoder<T | null> =>
  (value, path) =>
    value === null ? null : inner(value, path)
const envelope = object(
  {
    apiVersion: literal(API_VERSION),
    kind: literal('AdmissionReview'),
    request: object(
      { uid: string({ min: 1, max: 256, pattern: /^[\x21-\x7e]+$/ }) },
      { unknown: 'ignore' },
    ),
  },
  { unknown: 'ignore' },
)
const request = object(
  {
    kind: gvk,
    name: optional(short),
    namespace: optional(short),
    operation: literal('CREATE', 'UPDATE', 'DELETE', 'CONNECT'),
    object: optional(any()),
    oldObject: optional(any()),
    dryRun: optional(orNull(boolean())),
  },
  { unknown: 'ignore' },
)

export interface ReviewOptions {
  readonly decider: Decider
  readonly metrics: Metrics
}

/** What the API server gets back. */
export interface ReviewResponse {
  readonly apiVersion: typeof API_VERSION
  readonly kind: 'AdmissionReview'
  readonly response: {
    readonly uid: string
    readonly allowed: boolean
    readonly status?: object
    readonly warnings?: readonly string[]
    readonly auditAnnotations?: Readonly<Record<string, string>>
  }
}

/** One model of the object, and what came of it. */
interface Outcome {
  readonly model: FoundModel
  readonly decision: Decision
}

/**
 * Answers one review. Only what has no uid to answer to is an error; everything else, what can't be read included, is an answer that
 * refuses in the policy's mode.
 * @throws ZtError REVIEW_INVALID
 */
export async function review(
  body: JsonValue,
  policy: ActivePolicy,
  options: ReviewOptions,
  left: () => number,
  log: Log,
): Promise<ReviewResponse> {
  const { uid } = read(() => envelope(body, '$').request)
  let asked: ReturnType<typeof request>
  try {
    asked = read(() => request((body as JsonObject)['request'] ?? null, '$.request'))
  } catch (error) {
    if (!(error instanceof ZtError)) throw error
    options.metrics.verdict('deny', error.code, policy.name, 'enforce')
    return reply(uid, false, { message: `zt4ai can't read this request: ${error.message}` })
  }
  if (asked.operation === 'CREATE' || asked.operation === 'UPDATE') {
    if (!isObject(asked.object)) {
      options.metrics.verdict('deny', 'REVIEW_INVALID', policy.name, 'enforce')
      const message = `zt4ai can't read this request: a ${asked.operation} without an object`
      return reply(uid, false, { message })
    }
  }
  const { policy: rules } = policy.loaded.resolved
  const namespace = asked.namespace ?? ''
  const mode = modeOf(rules, namespace)
  const what =
    `${asked.kind.kind} ${[namespace, asked.name ?? ''].filter((part) => part !== '').join('/')}`.trim()
  const about = {
    uid,
    namespace,
    object: what,
    operation: asked.operation,
    dryRun: asked.dryRun === true,
  }
  const models = modelsOf(asked, policy)
  if (models.length === 0) return reply(uid, true, { annotations: { decision: 'no-models' } })
  if (mode === 'exempt') {
    options.metrics.verdict('exempt', 'OK', policy.name, mode)
    log.info({ ...about, policy: policy.name, models: models.length }, 'namespace is exempt')
    return reply(uid, true, { annotations: { decision: 'exempt', policy: policy.digest } })
  }
  const outcomes = await Promise.all(
    models.map(async (model) => ({ model, decision: await judge(model, policy, options, left) })),
  )
  for (const outcome of outcomes) account(outcome, mode, policy, about, options.metrics, log)
  return answer(uid, what, outcomes, mode, policy)
}

/**
 * The denial where the policy that the webhook's path names is not there: a bare 404 would reach people as "the server could not find the
 * requested resource".
 * @throws ZtError REVIEW_INVALID
 */
export function withoutPolicy(
  body: JsonValue,
  wanted: string,
  there: readonly string[],
  metrics: Metrics,
): ReviewResponse | null {
  let uid: string
  try {
    uid = envelope(body, '$').request.uid
  } catch (error) {
    if (error instanceof AttestationError) return null
    throw error
  }
  metrics.verdict('deny', 'REQUEST_INVALID', 'none', 'enforce')
  const message = `zt4ai denies: there is no policy of the name ${wanted.slice(0, 256)}\n  what to do: let the webhook's path end in /validate or in one of: ${there.join(', ')}`
  return reply(uid, false, { message: message.split('\n').map(clean).join('\n') })
}

/** Where the API server writes the uid: the first member of the request, which follows the type. */
const UID = /^\s*\{[^{}]{0,200}"request"\s*:\s*\{\s*"uid"\s*:\s*"([\x21\x23-\x5b\x5d-\x7e]{1,256})"/

/** The denial of what there was no room to read, known by its beginning; null where that is not as the API server writes it. */
export function unread(head: Uint8Array, error: ZtError, metrics: Metrics): ReviewResponse | null {
  const uid = UID.exec(Buffer.from(head.subarray(0, 4096)).toString('latin1'))?.[1]
  if (uid === undefined) return null
  metrics.verdict('deny', error.code, 'none', 'enforce')
  const todo =
    error.code === 'OVERLOADED' ? 'try again in a second' : 'make the object smaller than 4 MiB'
  const message = `zt4ai denies: ${error.code}: ${error.message}, so this request was not judged\n  what to do: ${todo}`
  return reply(uid, false, { message })
}

/** The models that are new: what an update leaves as it was is not asked about again, so that an object can always be cleaned up. */
function modelsOf(asked: ReturnType<typeof request>, policy: ActivePolicy): readonly FoundModel[] {
  const { object: fresh, oldObject, operation } = asked
  if (operation === 'DELETE' || !isObject(fresh)) return []
  const isModel = (reference: Reference): boolean =>
    namesModel(policy.loaded.resolved.policy, reference)
  if (operation !== 'UPDATE' || !isObject(oldObject)) return findModels(fresh, isModel)
  // All of them: one that was not remembered would be asked about again, one too many would hide those that are new.
  const before = findModels(oldObject, isModel, { most: Number.POSITIVE_INFINITY })
  return findModels(fresh, isModel, { except: new Set(before.map(keyOf)) })
}

async function judge(
  { found }: FoundModel,
  policy: ActivePolicy,
  { decider }: ReviewOptions,
  left: () => number,
): Promise<Decision> {
  if (!('reference' in found))
    return whyUnavailable(
      new ZtError(found.code, found.message, found.hint === undefined ? {} : { hint: found.hint }),
    )
  return decider.decide({ reference: found.reference, policy, reading: 'manifest-only' }, left())
}

/** Result and code for those who count: the code of the first thing that failed. */
export function resultOf(decision: Decision): { readonly result: Result; readonly code: string } {
  if (decision.kind === 'unavailable')
    return { result: REFUSED.has(decision.code) ? 'deny' : 'unavailable', code: decision.code }
  const { decision: result, checks } = decision.verdict
  const failed = checks.find(({ status }) => status === 'fail')
  const waived = checks.find(({ code }) => code === 'WAIVED')
  return { result, code: failed?.code ?? waived?.code ?? 'OK' }
}

/** Refusals that need no registry: what was written can't be decided by digest. */
const REFUSED = new Set<string>([
  'DIGEST_REQUIRED',
  'SOURCE_UNDECIDABLE',
  'ANNOTATION_INVALID',
  'REFERENCE_INVALID',
  'MODELS_TOO_MANY',
  'REGISTRY_NOT_NAMED',
])

function account(
  { model, decision }: Outcome,
  mode: Mode,
  policy: ActivePolicy,
  about: object,
  metrics: Metrics,
  log: Log,
): void {
  const { result, code } = resultOf(decision)
  metrics.verdict(result, code, policy.name, mode)
  const more =
    decision.kind === 'verdict'
      ? { reference: decision.reference, verdict: `sha256:${decision.digest}`, from: decision.from }
      : { reference: model.text.slice(0, 512), why: decision.message }
  log.info(
    {
      ...about,
      where: model.where,
      result,
      code,
      mode,
      policy: policy.name,
      policyDigest: policy.digest,
      ...more,
    },
    'decided',
  )
}

function answer(
  uid: string,
  what: string,
  outcomes: readonly Outcome[],
  mode: Mode,
  policy: ActivePolicy,
): ReviewResponse {
  const refused = outcomes.filter(({ decision }) => resultOf(decision).result !== 'allow')
  const annotations = {
    decision:
      refused.length === 0 ? 'allow' : mode === 'enforce' ? 'deny' : `${mode}: would be denied`,
    mode,
    policy: `${policy.name} sha256:${policy.digest}`,
    models: outcomes.map(summary).join('; ').slice(0, 4096),
  }
  if (refused.length === 0) return reply(uid, true, { annotations })
  const head = `zt4ai ${mode === 'enforce' ? 'denies' : 'would deny'} ${clean(what)}: ${String(refused.length)} of ${String(outcomes.length)} models may not be used here (policy ${policy.name}, mode ${mode})`
  if (mode === 'enforce')
    return reply(uid, false, { annotations, message: [head, ...refused.map(inFull)].join('\n') })
  if (mode === 'audit') return reply(uid, true, { annotations })
  const warnings = [head, ...refused.map((outcome) => `zt4ai: ${summary(outcome)}`)]
  return reply(uid, true, { annotations, warnings })
}

function summary({ model, decision }: Outcome): string {
  const { result, code } = resultOf(decision)
  const message =
    decision.kind === 'verdict'
      ? (firstFailure(decision.verdict.checks)?.message ?? 'allowed')
      : decision.message
  const digest = decision.kind === 'verdict' ? ` verdict sha256:${decision.digest}` : ''
  return clean(`${result} ${code} ${model.text.slice(0, 300)}: ${message}${digest}`)
}

function firstFailure(checks: readonly Check[]): Check | undefined {
  return checks.find(({ status }) => status === 'fail')
}

/** One refused model for a person at a terminal: what, where, why, and what to do. */
function inFull({ model, decision }: Outcome): string {
  const lines = [`${model.text.slice(0, 300)} (${model.where})`]
  if (decision.kind === 'unavailable') {
    const { code, message } = decision
    const nothing = resultOf(decision).result === 'unavailable' && code !== 'EVIDENCE_UNAVAILABLE'
    lines.push(
      nothing
        ? `  EVIDENCE_UNAVAILABLE: nothing was decided: ${message} (${code})`
        : `  ${code}: ${message}`,
    )
    if (decision.hint !== undefined) lines.push(`    what to do: ${decision.hint}`)
  } else {
    const failing = decision.verdict.checks.filter(({ status }) => status === 'fail')
    for (const { code, message, expected, actual, hint } of failing.slice(0, 8)) {
      lines.push(`  ${code}: ${message}`)
      if (expected !== undefined) lines.push(`    expected: ${expected.slice(0, 300)}`)
      if (actual !== undefined) lines.push(`    found: ${actual.slice(0, 300)}`)
      if (hint !== undefined) lines.push(`    what to do: ${hint.slice(0, 300)}`)
    }
    if (failing.length > 8) lines.push(`  and ${String(failing.length - 8)} more`)
    lines.push(`  verdict sha256:${decision.digest}`)
  }
  return lines.map(clean).join('\n')
}

/** Names come from whoever asks: nothing in them may move a terminal's cursor or begin a line of its own. */
function clean(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\ufffd')
}

function reply(
  uid: string,
  allowed: boolean,
  more: {
    readonly message?: string
    readonly warnings?: readonly string[]
    readonly annotations?: Readonly<Record<string, string>>
  },
): ReviewResponse {
  const { message, warnings, annotations } = more
  return {
    apiVersion: API_VERSION,
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed,
      ...(message === undefined
        ? {}
        : {
            status: {
              status: 'Failure',
              reason: 'Forbidden',
              code: 403,
              message:
                message.length <= MAX_MESSAGE ? message : `${message.slice(0, MAX_MESSAGE - 1)}…`,
            },
          }),
      ...(warnings === undefined ? {} : { warnings: warnings.slice(0, MAX_WARNINGS).map(cut) }),
      ...(annotations === undefined ? {} : { auditAnnotations: annotations }),
    },
  }
}

function cut(text: string): string {
  // Runes, as the API server counts them.
  const runes = Array.from(text)
  return runes.length <= MAX_WARNING ? text : `${runes.slice(0, MAX_WARNING - 1).join('')}…`
}

function read<T>(decoded: () => T): T {
  try {
    return decoded()
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('REVIEW_INVALID', error.message, {
      hint: `send an AdmissionReview of ${API_VERSION}`,
      cause: error,
    })
  }
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
