// The single owner of a double of AMD's key distribution service: the genuine paths on loopback, serving what simulated machines recorded.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AttestationError } from '../../attestation/error.ts'
import type { Fetcher } from '../../attestation/endorsements.ts'
import type { SnpEvidence } from '../../src/simulate/index.ts'

export interface FakeKds {
  readonly base: string
  /** Path and query of every request, in order. */
  readonly requests: string[]
  readonly fetcher: Fetcher
  /** Answers this path (without query) with something else. */
  readonly answer: (path: string, status: number, body?: Uint8Array | string) => void
  readonly close: () => Promise<void>
}

/** Serves leaf, chain and list of these machines. The leaf is found by chip and TCB, as KDS does. */
export async function fakeKds(machines: readonly SnpEvidence[]): Promise<FakeKds> {
  const bodies = new Map<string, Uint8Array | string>()
  for (const machine of machines) {
    const { product, role, fields } = machine
    const root = `/${role}/v1/${product}`
    bodies.set(`${root}/cert_chain`, machine.kdsChain())
    bodies.set(`${root}/crl`, machine.crl)
    const turin = product === 'Turin'
    const { fmc = 0, bootLoader, tee, snp, microcode } = fields.reportedTcb
    const two = (level: number): string => String(level).padStart(2, '0')
    const query = [
      ...(turin ? [`fmcSPL=${two(fmc)}`] : []),
      `blSPL=${two(bootLoader)}`,
      `teeSPL=${two(tee)}`,
      `snpSPL=${two(snp)}`,
      `ucodeSPL=${two(microcode)}`,
    ].join('&')
    const hwid = Buffer.from(fields.chipId.subarray(0, turin ? 8 : 64)).toString('hex')
    if (role === 'vcek') bodies.set(`${root}/${hwid}?${query}`, machine.leaf)
  }
  const overrides = new Map<string, { status: number; body: Uint8Array | string }>()
  const requests: string[] = []
  const server = createServer((request, response) => {
    const target = request.url ?? ''
    requests.push(target)
    const override = overrides.get(target.split('?')[0] ?? '')
    const body = override?.body ?? bodies.get(target)
    response.statusCode = override?.status ?? (body === undefined ? 404 : 200)
    response.end(body ?? '')
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  return {
    base: `http://127.0.0.1:${port}`,
    requests,
    fetcher: {
      async fetch(url) {
        try {
          const response = await fetch(url)
          const body = new Uint8Array(await response.arrayBuffer())
          return { status: response.status, headers: new Map(response.headers), body }
        } catch (cause) {
          throw new AttestationError('ENDORSEMENT_UNAVAILABLE', 'no answer', { cause })
        }
      },
    },
    answer: (path, status, body = '') => overrides.set(path, { status, body }),
    close: () =>
      new Promise((done) => {
        server.closeAllConnections()
        server.close(() => done())
      }),
  }
}
