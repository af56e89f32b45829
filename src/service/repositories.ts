// The single owner of the service's connections to registries: kept, bounded in number, and every request of a decision ends by itself.
import { httpTransport, type Transport } from '../fetch/transport.ts'
import type { CredentialSource } from '../registry/auth.ts'
import { openRepository, type Repository } from '../registry/client.ts'
import type { Reference } from '../registry/reference.ts'
import type { Reading } from './decide.ts'

export interface RepositoriesOptions {
  readonly plainHttp: boolean
  /** PEM to trust beside the system's. */
  readonly ca?: string
  readonly credentials?: CredentialSource
  /** A request for a manifest or a bundle is given up after this. */
  readonly requestMs?: number
}

export interface Repositories {
  open(reference: Pick<Reference, 'host' | 'repository'>, reading: Reading): Repository
  close(): void
}

/** Repositories remember their tokens, so they are kept; an attacker who names thousands pushes out only tokens. */
const MOST = 256

/** Opens repositories. Nothing is sent before it is asked for. */
export function repositories(options: RepositoriesOptions): Repositories {
  const { plainHttp, requestMs = 10_000 } = options
  const common = { plainHttp, ...(options.ca === undefined ? {} : { ca: options.ca }) }
  const quick = httpTransport({
    ...common,
    attempts: 2,
    idleTimeoutMs: Math.min(requestMs, 5_000),
    connections: 32,
  })
  const transports: Readonly<Record<Reading, Transport>> = {
    'manifest-only': {
      ...quick,
      // A byte now and then keeps an idle time-out away for ever.
      request: (request) => quick.request({ signal: AbortSignal.timeout(requestMs), ...request }),
    },
    layers: httpTransport({ ...common, connections: 8 }),
  }
  const open = new Map<string, Repository>()
  return {
    open: ({ host, repository }, reading) => {
      const key = `${reading} ${host}/${repository}`
      const found =
        open.get(key) ??
        openRepository(host, repository, {
          transport: transports[reading],
          plainHttp,
          ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
        })
      open.delete(key)
      open.set(key, found)
      const [oldest] = open.keys()
      if (open.size > MOST && oldest !== undefined) open.delete(oldest)
      return found
    },
    close: () => {
      for (const transport of Object.values(transports)) transport.close()
    },
  }
}
