// The single owner of a PCCS on loopback: serves what a simulated machine's vendor serves, with one fault at a time.
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Fetcher } from '../../attestation/endorsements.ts'
import { AttestationError } from '../../attestation/error.ts'
import type { ServedResponse, TdxEvidence } from '../../src/simulate/index.ts'

export interface FakePcs {
  readonly baseUrl: string
  /** Path and query of every request, in order. */
  readonly requests: readonly string[]
  readonly close: () => Promise<void>
}

/** Where a PCCS serves the root's list. */
const ROOT_CRL = '/sgx/certification/v4/rootcacrl'

/** @param change what is served in place of the sound answer; undefined answers 404 */
export async function fakePcs(
  evidence: TdxEvidence,
  change: (response: ServedResponse) => ServedResponse | undefined = (response) => response,
): Promise<FakePcs> {
  const answers = new Map<string, ServedResponse>()
  for (const response of evidence.served()) {
    const served = change(response)
    const path = response.path === '/IntelSGXRootCA.der' ? ROOT_CRL : response.path
    if (served !== undefined) answers.set(path, served)
  }
  const requests: string[] = []
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const path = request.url ?? ''
    requests.push(path)
    const answer = answers.get(path.replace(/[?&](update|tcbEvaluationDataNumber)=[^&]*/, ''))
    if (answer === undefined) {
      response.writeHead(404).end()
      return
    }
    if (answer.header !== undefined) response.setHeader(answer.header.name, answer.header.value)
    response.writeHead(200).end(answer.body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    baseUrl: `http://127.0.0.1:${port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

/** The port over node's own fetch, for tests on loopback. */
export const loopbackFetcher: Fetcher = {
  fetch: async (url, { maxBytes, timeoutMs }) => {
    let answer: Response
    try {
      answer = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: 'error' })
    } catch (cause) {
      throw new AttestationError('ENDORSEMENT_UNAVAILABLE', `${url} did not answer`, { cause })
    }
    const body = new Uint8Array(await answer.arrayBuffer())
    if (body.length > maxBytes) throw new AttestationError('TOO_LARGE', `${url} is too large`)
    return { status: answer.status, headers: new Map(answer.headers), body }
  },
}
