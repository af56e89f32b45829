// The single owner of registries' events: what was pushed is decided in the background, so that its answer is there when a cluster asks.
import { decode, type JsonValue } from '../../attestation/lib/index.ts'
import { AttestationError } from '../../attestation/index.ts'
import { ZtError } from '../error.ts'
import { answerFor, type AskOptions } from './ask.ts'
import type { Call, Reply } from './http.ts'

/** An event of a whole push carries its manifest's references. */
export const MAX_EVENTS = 4 << 20
const MOST = 1_000
const LONGEST_MS = 600_000

const { any, array, object, optional, string } = decode
const loose = { unknown: 'ignore' } as const
const text = string({ max: 2048 })

/** distribution's notifications (its documentation, "Notifications"). */
const distribution = object(
  {
    events: array(
      object(
        {
          action: text,
          target: optional(
            object(
              {
                mediaType: optional(text),
                digest: optional(text),
                repository: optional(text),
                tag: optional(text),
                url: optional(text),
              },
              loose,
            ),
          ),
          request: optional(object({ host: optional(text) }, loose)),
        },
        loose,
      ),
      { max: 1000 },
    ),
  },
  loose,
)

const harborData = object(
  {
    resources: array(
      object({ digest: optional(text), tag: optional(text), resource_url: optional(text) }, loose),
      { max: 1000 },
    ),
  },
  loose,
)
/** Harbor's own payload, and the same in a CloudEvent (its documentation, "Configure Webhook Notifications"). */
const harbor = object({ type: text, event_data: optional(any()), data: optional(any()) }, loose)

const MANIFESTS = /^application\/vnd\.(?:oci\.image\.manifest|docker\.distribution\.manifest\.v2)/
const HARBOR_PUSHES = new Set(['PUSH_ARTIFACT', 'harbor.artifact.pushed'])

export class Events {
  readonly #options: AskOptions
  #waiting = 0

  constructor(options: AskOptions) {
    this.#options = options
  }

  get waiting(): number {
    return this.#waiting
  }

  /** `POST /v1/events/distribution` */
  async distribution(call: Call): Promise<Reply> {
    const { events } = read(await call.json(), distribution)
    const pushed = events.flatMap(({ action, target, request }) => {
      const { mediaType = '', digest, repository, url } = target ?? {}
      if (action !== 'push' || !MANIFESTS.test(mediaType)) return []
      const host = hostOf(url) ?? request?.host
      return digest === undefined || repository === undefined || host === undefined
        ? []
        : [`${host}/${repository}@${digest}`]
    })
    return this.#take(call, events.length, pushed)
  }

  /** `POST /v1/events/harbor` */
  async harbor(call: Call): Promise<Reply> {
    const { type, event_data: plain, data } = read(await call.json(), harbor)
    if (!HARBOR_PUSHES.has(type)) return this.#take(call, 1, [])
    const { resources } = read(plain ?? data ?? null, harborData)
    const pushed = resources.flatMap(({ digest, resource_url: url }) => {
      const place = url?.replace(/@.*$/, '').replace(/:[^/:]*$/, '')
      return digest === undefined || place === undefined ? [] : [`${place}@${digest}`]
    })
    return this.#take(call, resources.length, pushed)
  }

  /** Registries send an event again until it is taken, so it is taken only if there is room for all of it. */
  #take(call: Call, events: number, pushed: readonly string[]): Reply {
    const { decider, metrics, policies, layers } = this.#options
    if (this.#waiting + pushed.length > MOST) {
      metrics.shed('request')
      throw new ZtError('OVERLOADED', 'too many events wait')
    }
    const until = performance.now() + LONGEST_MS
    const left = (): number => until - performance.now()
    for (const reference of new Set(pushed)) {
      for (const policy of policies.all()) {
        this.#waiting += 1
        const reading = layers ? 'layers' : 'manifest-only'
        answerFor(
          { reference, kind: 'image' },
          policy,
          reading,
          { left, log: call.log },
          { decider, metrics },
        )
          .catch((error: unknown) => call.log.error({ err: error }, 'an event was not decided'))
          .finally(() => (this.#waiting -= 1))
      }
    }
    return { status: 202, body: { events, decided: pushed.length } }
  }
}

function hostOf(url: string | undefined): string | undefined {
  return url !== undefined && URL.canParse(url) ? new URL(url).host : undefined
}

function read<T>(value: JsonValue, shape: decode.Decoder<T>): T {
  try {
    return shape(value, '$')
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('REQUEST_INVALID', error.message, { cause: error })
  }
}
