// The single owner of the service's decisions: one question about one reference, answered from memory, from a shared verdict, or anew, and never twice at once.
import type { SnpTrust, TdxTrust } from '../../attestation/index.ts'
import { AttestationError } from '../../attestation/index.ts'
import { sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'
import type { Code } from '../codes.ts'
import { ZtError } from '../error.ts'
import { admit, decide } from '../gate/admit.ts'
import { gather } from '../gate/gather.ts'
import type { Admission } from '../gate/question.ts'
import { registrySource, type RegistrySource } from '../gate/oci.ts'
import { rulesFor } from '../policy/evaluate.ts'
import type { Repository } from '../registry/client.ts'
import { formatReference, type Reference } from '../registry/reference.ts'
import type { Signer } from '../sign/signer.ts'
import { verdictJson, type Verdict } from '../verdict.ts'
import { Cache } from './cache.ts'
import { pinned } from './image.ts'
import type { Log } from './log.ts'
import type { CacheOutcome, Metrics } from './metrics.ts'
import { ANCHORS, type ActivePolicy } from './policies.ts'
import { WorkQueue } from './queue.ts'
import { recordVerdict, restsOnMachine, sharedVerdict, type SharedVerdicts } from './record.ts'

/** `manifest-only` never reads a layer: for what must be answered in milliseconds. */
export type Reading = 'manifest-only' | 'layers'

export interface Question {
  readonly reference: Reference
  readonly policy: ActivePolicy
  readonly reading: Reading
  /** What the model is called, where that is not the last part of its repository. Selects rules. */
  readonly name?: string
}

/** A decision. `unavailable` is no verdict: nothing was proved either way, and nothing is remembered. */
export type Decision =
  | {
      readonly kind: 'verdict'
      readonly verdict: Verdict
      /** SHA-256 of the verdict's JSON. */
      readonly digest: string
      /** With the digest that was judged. */
      readonly reference: string
      readonly from: CacheOutcome
    }
  | {
      readonly kind: 'unavailable'
      readonly code: Code
      readonly message: string
      readonly hint?: string
    }

export interface DeciderOptions {
  /** Opens a repository. Every call of it must end by itself within some seconds. */
  readonly repository: (reference: Reference, reading: Reading) => Repository
  readonly now: () => Date
  /** Milliseconds that only grow. */
  readonly monotonic: () => number
  readonly metrics: Metrics
  readonly log: Log
  /** How long a proven answer is used again, milliseconds. */
  readonly allowMaxAgeMs: number
  readonly denyMaxAgeMs: number
  readonly cache: { readonly entries: number; readonly bytes: number }
  readonly queue: { readonly running: number; readonly waiting: number }
  /** Hosts that may be asked; undefined: those that a rule of the policy matches. */
  readonly hosts?: ReadonlySet<string>
  readonly shared?: SharedVerdicts
  /** Signs what is written to the registry. */
  readonly recorder?: Signer
  readonly trust?: { readonly snp: SnpTrust; readonly tdx: TdxTrust }
}

type Proven = Extract<Decision, { kind: 'verdict' }>

export class Decider {
  readonly #options: DeciderOptions
  readonly #cache: Cache<Proven>
  readonly #flights = new Map<string, Promise<Decision>>()
  readonly #queues: Readonly<Record<Reading, WorkQueue>>

  constructor(options: DeciderOptions) {
    this.#options = options
    this.#cache = new Cache(options.cache, options.monotonic)
    this.#queues = {
      'manifest-only': new WorkQueue(options.queue),
      // Reading layers is long work: a few at a time, so that it never stands in the way of the others.
      layers: new WorkQueue({ running: 2, waiting: options.queue.waiting }),
    }
    const { metrics } = options
    metrics.watch('zt4ai_cache_entries', 'Remembered decisions', () => this.#cache.size)
    metrics.watch('zt4ai_cache_bytes', 'Bytes of remembered decisions', () => this.#cache.bytes)
    const [manifests, layers] = [this.#queues['manifest-only'], this.#queues.layers]
    metrics.watch(
      'zt4ai_queue_running',
      'Decisions being made',
      () => manifests.running + layers.running,
    )
    metrics.watch(
      'zt4ai_queue_waiting',
      'Decisions waiting',
      () => manifests.waiting + layers.waiting,
    )
  }

  /**
   * Decides, or says within `deadlineMs` that there is no answer yet. The work goes on for those who ask again.
   * Never throws: what can't be decided is `unavailable`.
   */
  async decide(question: Question, deadlineMs: number): Promise<Decision> {
    const known = this.#known(question)
    if (known !== undefined) {
      this.#options.metrics.cache('hit')
      return { ...known, from: 'hit' }
    }
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<Decision>((resolve) => {
      timer = setTimeout(
        () =>
          resolve({
            kind: 'unavailable',
            code: 'EVIDENCE_UNAVAILABLE',
            message: `there was no answer from ${question.reference.host} within ${String(Math.max(0, Math.round(deadlineMs)))} ms`,
            hint: 'try again: the answer is kept when it comes; if it lasts, look after the registry',
          }),
        Math.max(0, deadlineMs),
      )
    })
    try {
      return await Promise.race([this.#flight(question), late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** What is remembered. An answer that rests on the layers stands for one that does not read them. */
  #known(question: Question): Proven | undefined {
    if (question.reference.digest === undefined) return undefined
    const thorough = this.#cache.get(keyOf({ ...question, reading: 'layers' }))
    return question.reading === 'layers' ? thorough : (thorough ?? this.#cache.get(keyOf(question)))
  }

  #flight(question: Question): Promise<Decision> {
    const key = keyOf(question)
    const flying = this.#flights.get(key)
    if (flying !== undefined) {
      this.#options.metrics.cache('joined')
      return flying.then((decision) =>
        decision.kind === 'verdict' ? { ...decision, from: 'joined' } : decision,
      )
    }
    const flight = this.#answer(question).finally(() => this.#flights.delete(key))
    this.#flights.set(key, flight)
    return flight
  }

  async #answer(question: Question): Promise<Decision> {
    const { metrics, monotonic, log } = this.#options
    const start = monotonic()
    try {
      return await this.#queues[question.reading].run(() => {
        metrics.phase('queue', (monotonic() - start) / 1000)
        return this.#fresh(question)
      })
    } catch (error) {
      const why = whyUnavailable(error)
      if (why.code === 'OVERLOADED') metrics.shed('decision')
      else if (why.code === 'INTERNAL') log.error({ err: error }, 'a decision failed')
      return why
    }
  }

  async #fresh(question: Question): Promise<Decision> {
    const { reference, policy, reading, name } = question
    const { metrics, monotonic, now, shared, trust } = this.#options
    const refused = await this.#mayAsk(question)
    if (refused !== undefined) return refused
    let registryMs = 0
    const timed = async <T>(work: Promise<T>): Promise<T> => {
      const start = monotonic()
      try {
        return await work
      } finally {
        registryMs += monotonic() - start
      }
    }
    const began = monotonic()
    const repository = this.#options.repository(reference, reading)
    const options = {
      manifestOnly: reading === 'manifest-only',
      ...(name === undefined ? {} : { name }),
    }
    const source = await timed(registrySource(repository, pinned(reference), options))
    const bundles = await timed(source.bundles({}))
    const at = now()
    const gathered = await gather({
      model: {
        subject: source.subject,
        bundles: () => Promise.resolve(bundles),
        compare: (manifest, request) => timed(source.compare(manifest, request)),
        evidence: (request) => timed(source.evidence(request)),
        ...(source.whole === undefined ? {} : { whole: source.whole.bind(source) }),
      },
      policy: policy.loaded,
      at,
      now: at,
      ...(trust === undefined ? {} : { caches: trust }),
    })
    const gatheredAt = monotonic()
    const admission = decide(gathered)
    metrics.phase('registry', registryMs / 1000)
    metrics.phase('verify', Math.max(0, gatheredAt - began - registryMs) / 1000)
    metrics.phase('policy', (monotonic() - gatheredAt) / 1000)
    // A saved verdict says nothing of the name by which rules were selected, so it stands for the model's own name alone.
    const own = name === undefined || name === ownName(reference)
    if (shared === undefined || !own) return this.#keep(question, source, admission.verdict, 'miss')
    const saved = await sharedVerdict(bundles, source, policy, shared, at)
    if (admission.verdict.decision === 'deny' && saved.verdict !== null)
      return this.#keep(question, source, saved.verdict, 'saved')
    if (saved.verdict === null) this.#record(repository, source, admission, saved.attached)
    return this.#keep(question, source, admission.verdict, 'miss')
  }

  /** A refusal without asking anybody: no rule is about it, or the host is not one that may be asked. */
  async #mayAsk({ reference, policy, name }: Question): Promise<Decision | undefined> {
    const { hosts, now } = this.#options
    if (hosts !== undefined && !hosts.has(reference.host))
      return {
        kind: 'unavailable',
        code: 'REGISTRY_NOT_NAMED',
        message: `the service does not ask ${reference.host}`,
        hint: 'name it with --registry, or move the model to one that is named',
      }
    const written = formatReference(pinned(reference))
    const subject = { name: name ?? ownName(reference), reference: written }
    if (rulesFor(policy.loaded.resolved.policy, subject).length > 0) return undefined
    const at = now()
    const nowhere = {
      subject,
      bundles: () => Promise.resolve([]),
      compare: () => Promise.resolve(null),
    }
    const { verdict } = await admit({ model: nowhere, policy: policy.loaded, at, now: at })
    return proven(verdict, written, 'miss').decision
  }

  #keep(
    question: Question,
    source: RegistrySource,
    verdict: Verdict,
    from: 'miss' | 'saved',
  ): Proven {
    const { allowMaxAgeMs, denyMaxAgeMs, metrics, now } = this.#options
    metrics.cache(from)
    const { decision, bytes } = proven(verdict, formatReference(pinned(source.pinned)), from)
    const age = verdict.decision === 'allow' ? allowMaxAgeMs : denyMaxAgeMs
    const lifetime = Math.min(age, untilExemptionEnds(question.policy, now()))
    // A tag may name another model a moment later: what is remembered is about the digest.
    const exact = { ...question, reference: source.pinned }
    this.#cache.set(keyOf(exact), decision, bytes, lifetime)
    return decision
  }

  /** In the background: nobody waits for it, and what comes of it changes no decision. */
  #record(
    repository: Repository,
    source: RegistrySource,
    { verdict, files }: Admission,
    attached: number,
  ): void {
    const { recorder, metrics, log } = this.#options
    // What a manifest decides is decided as fast as a saved verdict is read: only what was read is worth keeping.
    if (recorder === undefined || verdict.decision !== 'allow' || files?.route !== 'streamed')
      return
    // No replica would use it, so that every new one would only fill the registry.
    if (restsOnMachine(verdict)) return
    recordVerdict(repository, source, verdict, attached, recorder).then(
      (written) => {
        if (written) metrics.record('written')
      },
      (error: unknown) => {
        metrics.record('failed')
        log.warn({ err: error, reference: verdict.subject.name }, 'a verdict was not recorded')
      },
    )
  }
}

/** What a model is called where nobody says: the last part of its repository, as the registry's source has it. */
function ownName({ repository }: Reference): string {
  return repository.slice(repository.lastIndexOf('/') + 1)
}

/** Subject digest, policy digest and anchors say everything that a decision rests on but the time; the name and the repository select rules. */
function keyOf({ reference, policy, reading, name }: Question): string {
  return JSON.stringify([
    formatReference(pinned(reference)),
    name ?? '',
    policy.digest,
    ANCHORS,
    reading,
  ])
}

function proven(
  verdict: Verdict,
  reference: string,
  from: CacheOutcome,
): { readonly decision: Proven; readonly bytes: number } {
  const json = utf8Encode(verdictJson(verdict))
  const decision: Proven = { kind: 'verdict', verdict, digest: sha256Hex(json), reference, from }
  return { decision, bytes: json.length }
}

function untilExemptionEnds({ loaded }: ActivePolicy, now: Date): number {
  const ends = [...loaded.resolved.policy.exemptions.values()]
    .map(({ expires }) => Date.parse(expires) - now.getTime())
    .filter((left) => left > 0)
  return Math.min(Number.MAX_SAFE_INTEGER, ...ends)
}

/** Everything that is thrown means that there is no answer. */
export function whyUnavailable(error: unknown): Extract<Decision, { kind: 'unavailable' }> {
  if (error instanceof ZtError || error instanceof AttestationError) {
    const { code, message, hint, path } = error
    const where = path === undefined ? '' : ` (${path})`
    return {
      kind: 'unavailable',
      code,
      message: `${message}${where}`,
      ...(hint === undefined ? {} : { hint }),
    }
  }
  return {
    kind: 'unavailable',
    code: 'INTERNAL',
    message: 'the decision failed inside the service',
    hint: 'its log says more; please report it',
  }
}
