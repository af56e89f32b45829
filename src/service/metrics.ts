// The single owner of what the service counts: every series with its labels, all of them from closed lists.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import { CODES as EVIDENCE_CODES } from '../../attestation/index.ts'
import { CODES } from '../codes.ts'

export type Result = 'allow' | 'deny' | 'unavailable' | 'exempt'
export type Phase = 'queue' | 'registry' | 'verify' | 'policy'
export type CacheOutcome = 'hit' | 'joined' | 'miss' | 'saved'

const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** What is read again from files when they change. */
export type Reloaded = 'policy' | 'certificate' | 'token'

/** What can be counted. Labels are closed lists, names of loaded policies and routes of the service: an attacker adds no series. */
export class Metrics {
  readonly registry = new Registry()
  readonly #verdicts = this.#counter('zt4ai_verdict_total', 'Decisions about models', [
    'result',
    'code',
    'policy',
    'mode',
  ])
  readonly #phases = new Histogram({
    name: 'zt4ai_decision_seconds',
    help: 'Time of a decision that was not cached, by phase',
    labelNames: ['phase'],
    buckets: SECONDS,
    registers: [this.registry],
  })
  readonly #requests = new Histogram({
    name: 'zt4ai_http_request_seconds',
    help: 'Time from the last byte of the request head to the answer',
    labelNames: ['route', 'status'],
    buckets: SECONDS,
    registers: [this.registry],
  })
  readonly #cache = this.#counter('zt4ai_cache_total', 'Where decisions came from', ['outcome'])
  readonly #shed = this.#counter('zt4ai_shed_total', 'Work that was refused for want of room', [
    'what',
  ])
  readonly #reloads = this.#counter('zt4ai_reload_total', 'Reloads of what is read from files', [
    'what',
    'result',
  ])
  readonly #records = this.#counter('zt4ai_record_total', 'Verdicts written to a registry', [
    'result',
  ])
  readonly #nonces = this.#counter('zt4ai_nonce_total', 'Nonces of the verifier service', [
    'outcome',
  ])
  readonly #broken = new Map<Reloaded, () => boolean>()
  readonly #exemptions = this.#counter(
    'zt4ai_waived_total',
    'Decisions that rest on an exemption of the policy',
    ['policy'],
  )

  constructor() {
    collectDefaultMetrics({ register: this.registry })
    const broken = this.#broken
    new Gauge({
      name: 'zt4ai_broken',
      help: '1 while a file is broken and what was read before is still in use',
      labelNames: ['what'],
      registers: [this.registry],
      collect() {
        for (const [what, read] of broken) this.set({ what }, read() ? 1 : 0)
      },
    })
  }

  #counter<L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> {
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.registry] })
  }

  /** A gauge that is read when it is scraped. */
  watch(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(read())
      },
    })
  }

  verdict(result: Result, code: string, policy: string, mode: string): void {
    // A saved verdict may be of a later version, with codes that this one does not know.
    const known = Object.hasOwn(CODES, code) || Object.hasOwn(EVIDENCE_CODES, code)
    this.#verdicts.inc({ result, code: known ? code : 'OTHER', policy, mode })
    if (code === 'WAIVED') this.#exemptions.inc({ policy })
  }

  phase(phase: Phase, seconds: number): void {
    this.#phases.observe({ phase }, seconds)
  }

  request(route: string, status: number, seconds: number): void {
    this.#requests.observe({ route, status: String(status) }, seconds)
  }

  cache(outcome: CacheOutcome): void {
    this.#cache.inc({ outcome })
  }

  shed(what: 'decision' | 'request' | 'nonce'): void {
    this.#shed.inc({ what })
  }

  reload(what: Reloaded, result: 'ok' | 'broken'): void {
    this.#reloads.inc({ what, result })
  }

  /** Whether a file of this kind is broken now, asked when it is scraped. */
  watchBroken(what: Reloaded, read: () => boolean): void {
    this.#broken.set(what, read)
  }

  record(result: 'written' | 'failed'): void {
    this.#records.inc({ result })
  }

  nonce(outcome: 'given' | 'used' | 'unknown' | 'full'): void {
    this.#nonces.inc({ outcome })
  }

  /** The text format of Prometheus. */
  async text(): Promise<string> {
    return this.registry.metrics()
  }
}
