// The single owner of fetching endorsements over HTTP: the fetcher port of attestation/, on the one transport.
import type { Fetcher } from '../../attestation/index.ts'
import { AttestationError } from '../../attestation/index.ts'
import { ZtError } from '../error.ts'
import type { Transport } from './transport.ts'

/**
 * A fetcher over a transport, which brings the redirect limit, the retries with back-off and `Retry-After`, and the refusal of
 * plain HTTP. `timeoutMs` covers everything, from the first attempt to the last byte. Every HTTP status is an answer.
 */
export function httpFetcher(transport: Transport): Fetcher {
  return {
    async fetch(url, limit) {
      try {
        const signal = AbortSignal.timeout(limit.timeoutMs)
        const response = await transport.request({ method: 'GET', url, signal })
        const body = await response.bytes(limit.maxBytes)
        return { status: response.status, headers: new Map(Object.entries(response.headers)), body }
      } catch (error) {
        if (!(error instanceof ZtError)) throw error
        throw new AttestationError(
          'ENDORSEMENT_UNAVAILABLE',
          `nothing from ${url.slice(0, 200)}: ${reason(error, limit)}`,
          { hint: error.hint ?? 'give the endorsements as files instead', path: url, cause: error },
        )
      }
    },
  }
}

function reason(error: ZtError, limit: { readonly timeoutMs: number }): string {
  return error.code === 'INTERRUPTED' ? `no answer within ${limit.timeoutMs} ms` : error.message
}
