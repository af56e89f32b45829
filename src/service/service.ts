// The single owner of the service as a whole: what is behind each route, what is looked at again and again, and how it ends.
import { createPublicKey } from 'node:crypto'
import type { DestinationStream } from 'pino'
import { SnpTrust, TdxTrust } from '../../attestation/index.ts'
import type { Repository } from '../registry/client.ts'
import type { Reference } from '../registry/reference.ts'
import { keySigner, type PrivateKey } from '../sign/key.ts'
import { ask, MAX_ASK } from './ask.ts'
import { Decider, type Reading } from './decide.ts'
import { Events, MAX_EVENTS } from './events.ts'
import { busy, refusal, type Route } from './http.ts'
import { openLog, type Level, type Log } from './log.ts'
import { Metrics } from './metrics.ts'
import { Nonces } from './nonces.ts'
import { Policies, type ActivePolicy } from './policies.ts'
import { MAX_REVIEW, review, unread, withoutPolicy } from './review.ts'
import { listen, type Address, type Listening } from './server.ts'
import { ServerCertificate, type CertificateFiles } from './tls.ts'
import { Token } from './token.ts'
import { appraise, challenge, MAX_APPRAISAL, type VerifierOptions } from './verifier.ts'

export interface ServiceOptions {
  readonly policies: readonly string[]
  readonly listen: Address
  /** Undefined: plain HTTP on a loopback address. */
  readonly certificate?: CertificateFiles
  /** A second address for health and metrics alone, in plain HTTP. */
  readonly admin?: Address
  /** What registries and CI must show; without it events are not taken. */
  readonly tokenFile?: string
  readonly repository: (reference: Reference, reading: Reading) => Repository
  readonly hosts?: ReadonlySet<string>
  /** Reads layers for `POST /v1/admit` and events. */
  readonly readLayers?: boolean
  /** Signs what the verifier says, and what is recorded. */
  readonly key?: PrivateKey
  readonly record?: boolean
  /** PEM of further keys whose recorded verdicts are used. */
  readonly recorders?: readonly string[]
  readonly savedMaxAgeMs?: number
  readonly allowMaxAgeMs?: number
  readonly denyMaxAgeMs?: number
  readonly running?: number
  readonly waiting?: number
  /** Challenges that may wait at one time, and for how long. */
  readonly nonces?: number
  readonly nonceLifetimeMs?: number
  readonly pollMs?: number
  readonly drainDelayMs?: number
  readonly graceMs?: number
  readonly logTo: DestinationStream
  readonly logLevel?: Level
  readonly build: string
  readonly now?: () => Date
  readonly monotonic?: () => number
}

export interface Service {
  readonly url: string
  readonly adminUrl: string | undefined
  readonly log: Log
  /** Says that it is leaving, waits until nobody is sent here any more, ends what runs, and stops. */
  close(): Promise<void>
}

/** Starts the service. @throws ZtError where it can't: a broken policy, certificate or token, an address that is taken */
export async function startService(options: ServiceOptions): Promise<Service> {
  const now = options.now ?? (() => new Date())
  const monotonic = options.monotonic ?? (() => performance.now())
  const metrics = new Metrics()
  const log = openLog(options.logTo, options.logLevel ?? 'info')
  const policies = new Policies(options.policies, now, {
    onReload: ({ path, name, digest }) => {
      metrics.reload('policy', 'ok')
      log.info({ path, policy: name, policyDigest: digest }, 'policy reloaded')
    },
    onBroken: (path, error) => {
      metrics.reload('policy', 'broken')
      log.error(
        { err: error, path },
        'POLICY BROKEN: the file is not used, the policy read before stays in force',
      )
    },
  })
  const certificate =
    options.certificate === undefined ? undefined : new ServerCertificate(options.certificate)
  const token = options.tokenFile === undefined ? undefined : new Token(options.tokenFile)
  const recorders = [
    ...(options.key === undefined ? [] : [publicPem(options.key)]),
    ...(options.recorders ?? []),
  ]
  const trust = { snp: new SnpTrust(), tdx: new TdxTrust() }
  const decider = new Decider({
    repository: options.repository,
    now,
    monotonic,
    metrics,
    log,
    allowMaxAgeMs: options.allowMaxAgeMs ?? 600_000,
    denyMaxAgeMs: options.denyMaxAgeMs ?? 15_000,
    cache: { entries: 20_000, bytes: 64 << 20 },
    queue: { running: options.running ?? 64, waiting: options.waiting ?? 1024 },
    trust,
    ...(options.hosts === undefined ? {} : { hosts: options.hosts }),
    ...(recorders.length === 0
      ? {}
      : { shared: { recorders, maxAgeMs: options.savedMaxAgeMs ?? 86_400_000 } }),
    ...(options.record === true && options.key !== undefined
      ? { recorder: keySigner(options.key) }
      : {}),
  })
  let draining = false
  const common = {
    metrics,
    log,
    monotonic,
    draining: () => draining,
    maxConnections: 20_000,
    maxHeld: 128 << 20,
  }
  const askOptions = { decider, policies, metrics, layers: options.readLayers === true }
  const nonces = new Nonces({
    most: options.nonces ?? 10_000,
    lifetimeMs: options.nonceLifetimeMs ?? 120_000,
    now,
    monotonic,
  })
  metrics.watch('zt4ai_nonces_waiting', 'Challenges without an answer', () => nonces.size)
  const watched = watchedRoutes({ metrics, policies, certificate, token }, () => draining)
  const routes: Route[] = [
    {
      method: 'POST',
      path: '/validate/*',
      maxBody: MAX_REVIEW,
      unread: (head, error) => {
        const body = unread(head, error, metrics)
        return body === null ? undefined : { status: 200, body }
      },
      handle: async (call) => {
        const body = await call.json()
        const policy = policyOf(policies, call.rest)
        if (policy === undefined) {
          const names = policies.all().map(({ name }) => encodeURIComponent(name))
          const denial = withoutPolicy(body, call.rest, names, metrics)
          return denial === null
            ? refusal(404, 'REQUEST_INVALID', 'there is no policy of this name')
            : { status: 200, body: denial }
        }
        return {
          status: 200,
          body: await review(body, policy, { decider, metrics }, () => call.left(), call.log),
        }
      },
    },
    {
      method: 'POST',
      path: '/v1/admit',
      maxBody: MAX_ASK,
      timeoutMs: 30_000,
      handle: (call) => {
        token?.require(call)
        return ask(call, askOptions)
      },
    },
    ...(token === undefined ? [] : eventRoutes(new Events(askOptions), token, metrics)),
    ...(options.key === undefined
      ? []
      : verifierRoutes(
          { nonces, policies, metrics, now, key: options.key, build: options.build, trust },
          token,
        )),
    ...watched,
  ]
  const main = await listen({
    ...common,
    address: options.listen,
    routes,
    maxRequests: 4096,
    ...(certificate === undefined ? {} : { certificate }),
  })
  let admin: Listening | undefined
  if (options.admin !== undefined)
    admin = await listen({
      ...common,
      address: options.admin,
      routes: watched,
      maxRequests: 64,
      admin: true,
      maxConnections: 256,
    })
  policies.watch(options.pollMs ?? 5_000)
  const timer = setInterval(() => {
    if (token !== undefined) reread(token, metrics, log)
    if (certificate !== undefined) renew(certificate, main, metrics, log)
  }, options.pollMs ?? 5_000)
  timer.unref()
  log.info({ url: main.url, policies: policies.status() }, 'serving')
  return {
    url: main.url,
    adminUrl: admin?.url,
    log,
    close: async () => {
      draining = true
      log.info('draining')
      await new Promise((resolve) => setTimeout(resolve, options.drainDelayMs ?? 5_000))
      await main.close(options.graceMs ?? 25_000)
      await admin?.close(1_000)
      clearInterval(timer)
      policies.close()
      log.info('stopped')
    },
  }
}

/** The policy that a path names; the first where it names none. */
function policyOf(policies: Policies, rest: string): ActivePolicy | undefined {
  if (rest === '') return policies.get()
  return policies.all().find(({ name }) => encodeURIComponent(name) === rest)
}

/** Registries' events: only with a token, because each of them is work. */
function eventRoutes(events: Events, token: Token, metrics: Metrics): Route[] {
  metrics.watch('zt4ai_events_waiting', 'Events being decided', () => events.waiting)
  const route = (path: string, handle: Route['handle']): Route => ({
    method: 'POST',
    path,
    maxBody: MAX_EVENTS,
    handle: (call) => {
      token.require(call)
      return handle(call)
    },
  })
  return [
    route('/v1/events/distribution', (call) => events.distribution(call)),
    route('/v1/events/harbor', (call) => events.harbor(call)),
  ]
}

/** The verifier service: only with a key, because its answers are signed. */
function verifierRoutes(options: VerifierOptions, token: Token | undefined): Route[] {
  return [
    {
      method: 'POST',
      path: '/v1/challenge',
      maxBody: 1024,
      handle: (call) => {
        token?.require(call)
        return challenge(options)
      },
    },
    {
      method: 'POST',
      path: '/v1/appraise',
      maxBody: MAX_APPRAISAL,
      handle: (call) => {
        token?.require(call)
        return appraise(call, options)
      },
    },
  ]
}

function publicPem({ key }: PrivateKey): string {
  return createPublicKey(key).export({ type: 'spki', format: 'pem' }) as string
}

function renew(certificate: ServerCertificate, main: Listening, metrics: Metrics, log: Log): void {
  try {
    if (certificate.check() === undefined) return
    main.renew(certificate)
    metrics.reload('certificate', 'ok')
    log.info({ expires: certificate.expires }, 'certificate reloaded')
  } catch (error) {
    metrics.reload('certificate', 'broken')
    log.error({ err: error }, 'CERTIFICATE BROKEN: the one read before stays in use')
  }
}

function reread(token: Token, metrics: Metrics, log: Log): void {
  try {
    if (!token.check()) return
    metrics.reload('token', 'ok')
    log.info('token reloaded')
  } catch (error) {
    metrics.reload('token', 'broken')
    log.error({ err: error }, 'TOKEN BROKEN: the one read before stays in use')
  }
}

interface Watched {
  readonly metrics: Metrics
  readonly policies: Policies
  readonly certificate: ServerCertificate | undefined
  readonly token: Token | undefined
}

/** Health, readiness and metrics. */
function watchedRoutes(
  { metrics, policies, certificate, token }: Watched,
  draining: () => boolean,
): Route[] {
  metrics.watch(
    'zt4ai_policies_broken',
    'Policies whose file is broken',
    () => policies.status().filter(({ broken }) => broken !== null).length,
  )
  metrics.watchBroken('policy', () => policies.status().some(({ broken }) => broken !== null))
  metrics.watchBroken('certificate', () => (certificate?.broken ?? null) !== null)
  metrics.watchBroken('token', () => (token?.broken ?? null) !== null)
  if (certificate !== undefined)
    metrics.watch(
      'zt4ai_certificate_expiry_seconds',
      'When the certificate ends, Unix time',
      () => certificate.expires.getTime() / 1000,
    )
  return [
    { method: 'GET', path: '/healthz', handle: () => ({ status: 200, body: { alive: true } }) },
    {
      method: 'GET',
      path: '/readyz',
      handle: () => {
        const ready = !draining()
        const body = {
          ready,
          draining: !ready,
          policies: policies.status(),
          certificate:
            certificate === undefined
              ? null
              : { expires: certificate.expires.toISOString(), broken: certificate.broken },
          token: token === undefined ? null : { broken: token.broken },
        }
        return ready ? { status: 200, body } : { ...busy(), body }
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      handle: async () => ({
        status: 200,
        body: await metrics.text(),
        type: 'text/plain; version=0.0.4; charset=utf-8',
      }),
    },
  ]
}
