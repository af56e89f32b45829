// The single owner of gathering facts: every bundle verified, files compared once for each list, evidence appraised for each machine.
import type { AdmitRequest, Gathered } from './admit.ts'

/**
 * Gathers and authenticates everything that the matching rules ask about. One more input never makes an allow into a deny.
 * @throws ZtError where a fact can't be established either way: see `admit`
 */
export function gather(request: AdmitRequest): Promise<Gathered> {
  return Promise.reject(new Error(`not here yet: ${request.at.toISOString()}`))
}
