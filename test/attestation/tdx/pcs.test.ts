// Collateral fetched from a PCCS on loopback: the URLs, the chains in headers, what is missing or wrong, and the memory of answers.
import { afterEach, describe, expect, it } from 'vitest'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { utf8Encode } from '../../../attestation/lib/bytes.ts'
import {
  fetchTdxCollateral,
  parseQuote,
  PcsCache,
  pcsResources,
} from '../../../attestation/tdx/index.ts'
import type { PcsOptions } from '../../../attestation/tdx/index.ts'
import { simulateTdx } from '../../../src/simulate/index.ts'
import type { ServedResponse, TdxRequest } from '../../../src/simulate/index.ts'
import { fakePcs, loopbackFetcher } from '../../fakes/pcs.ts'
import type { FakePcs } from '../../fakes/pcs.ts'
import { haveShared } from '../../shared.ts'
import { failures, judge, RECORDED, simulated } from './samples.ts'

const running: FakePcs[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map((pcs) => pcs.close()))
})

async function serve(
  request: TdxRequest = {},
  change?: (response: ServedResponse) => ServedResponse | undefined,
) {
  const evidence = simulateTdx(request)
  const pcs = await fakePcs(evidence, change)
  running.push(pcs)
  const quote = parseQuote(evidence.quote)
  const get = (options: PcsOptions = {}) =>
    fetchTdxCollateral(quote, loopbackFetcher, { baseUrl: pcs.baseUrl, ...options })
  return { evidence, pcs, get }
}

describe('fetching collateral', () => {
  it.each([
    ['td15', 'platform'],
    ['td10', 'processor'],
    ['sgx', 'platform'],
  ] as const)('of a %s quote under the %s CA accepts the quote', async (kind, ca) => {
    const { evidence, pcs, get } = await serve({ kind, ca })
    const { endorsements, expires } = await get()
    expect(failures(judge({ ...simulated(evidence), endorsements }))).toEqual([])
    const bare = judge({ ...simulated(evidence), endorsements: NO_ENDORSEMENTS })
    expect(bare.accepted).toBe(false)
    const tee = kind === 'sgx' ? 'sgx' : 'tdx'
    expect([...pcs.requests].sort()).toEqual(
      [
        `/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`,
        '/sgx/certification/v4/rootcacrl',
        `/${tee}/certification/v4/qe/identity`,
        `/${tee}/certification/v4/tcb?fmspc=00906ed50000`,
      ].sort(),
    )
    expect(expires > evidence.at).toBe(true)
    expect(endorsements.inputs).toHaveLength(4)
  })

  it('asks again only when an answer has run out', async () => {
    const { evidence, pcs, get } = await serve()
    const cache = new PcsCache()
    const { expires } = await get({ cache, now: evidence.at })
    await get({ cache, now: evidence.at })
    await get({ cache, now: new Date(expires.getTime() - 1) })
    expect(pcs.requests).toHaveLength(4)
    await get({ cache, now: expires })
    expect(pcs.requests.length).toBeGreaterThan(4)
    await get()
    expect(pcs.requests.length).toBeGreaterThanOrEqual(9)
  })

  it('forgets the oldest answer beyond its limit', async () => {
    const { evidence, pcs, get } = await serve()
    const cache = new PcsCache(1)
    await get({ cache, now: evidence.at })
    await get({ cache, now: evidence.at })
    expect(pcs.requests).toHaveLength(7)
  })

  const fault = (path: string, change: Partial<ServedResponse>) => (response: ServedResponse) =>
    response.path.includes(path) ? { ...response, ...change } : response

  it.each([
    ['a part that is not served', () => undefined, 'ENDORSEMENT_UNAVAILABLE'],
    ['a missing chain', ({ path, body }: ServedResponse) => ({ path, body }), 'CERT_MISSING'],
    [
      'a chain that is not URL-encoded',
      fault('/tcb', { header: { name: 'TCB-Info-Issuer-Chain', value: '%E0%A4%A' } }),
      'FORMAT_INVALID',
    ],
    [
      'a chain that is no chain',
      fault('/qe/', { header: { name: 'SGX-Enclave-Identity-Issuer-Chain', value: 'chain' } }),
      'FORMAT_INVALID',
    ],
    ['a page in place of JSON', fault('/tcb', { body: utf8Encode('<html>') }), 'FORMAT_UNKNOWN'],
    ['an empty answer', fault('/pckcrl', { body: new Uint8Array() }), 'FORMAT_UNKNOWN'],
  ] as const)('%s is no answer', async (_, change, code) => {
    const { get } = await serve({}, change)
    await expect(get()).rejects.toMatchObject({ name: 'AttestationError', code })
  })

  it('one thing served in place of another is no answer', async () => {
    const evidence = simulateTdx()
    const [tcb] = evidence.served()
    const { get } = await serve({}, fault('/qe/', { body: tcb?.body ?? new Uint8Array() }))
    await expect(get()).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })

  it('a service that is not there is no answer', async () => {
    const { pcs, get } = await serve()
    await pcs.close()
    await expect(get()).rejects.toMatchObject({ code: 'ENDORSEMENT_UNAVAILABLE' })
  })

  it('a wrong answer is fetched, and then refused by the verifier', async () => {
    const { evidence, get } = await serve({ seed: 'another vendor' })
    const { endorsements } = await get()
    const own = simulated(simulateTdx())
    expect(judge({ ...own, endorsements }).accepted).toBe(false)
    expect(judge({ ...simulated(evidence), endorsements }).accepted).toBe(true)
  })
})

describe('addresses', () => {
  const quote = parseQuote(simulateTdx().quote)
  const urls = (options: PcsOptions) => pcsResources(quote, options).map(({ url }) => url)

  it('Intel serves the list of its root elsewhere', () => {
    expect(urls({})).toEqual([
      'https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=00906ed50000',
      'https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity',
      'https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der',
      'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der',
    ])
  })

  it('a PCCS may lie under a path, and an evaluation may be asked for', () => {
    expect(urls({ baseUrl: 'https://pccs.example/intel/', update: 'early' }).slice(0, 2)).toEqual([
      'https://pccs.example/intel/tdx/certification/v4/tcb?fmspc=00906ed50000&update=early',
      'https://pccs.example/intel/tdx/certification/v4/qe/identity?update=early',
    ])
    const [tcb] = urls({ update: 'early', evaluationNumber: 20 })
    expect(tcb).toContain('fmspc=00906ed50000&tcbEvaluationDataNumber=20')
  })

  it.each(['pccs.example', 'file:///etc', 'https://u:p@pccs.example', 'https://pccs.example/?a=b'])(
    '%s is no address of a service',
    (baseUrl) => {
      expect(() => urls({ baseUrl })).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
    },
  )

  it('an evaluation number is a whole number', () => {
    expect(() => urls({ evaluationNumber: 1.5 })).toThrow()
  })

  it('a quote without a PCK chain names no platform', () => {
    const bare = { ...quote, certificationData: new Uint8Array() }
    expect(() => pcsResources(bare)).toThrow(expect.objectContaining({ code: 'CERT_INVALID' }))
  })

  it.skipIf(!haveShared)('a genuine quote names its platform', () => {
    const genuine = parseQuote(RECORDED.v4UpToDate().evidence.raw)
    expect(pcsResources(genuine)[0]?.url).toContain('fmspc=b0c06f000000')
  })
})
