import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { httpTransport } from '../../src/fetch/transport.ts'
import { proveTo } from '../../src/gate/verifier-client.ts'
import { parseReference } from '../../src/registry/reference.ts'
import { fetchReferrers } from '../../src/registry/referrers.ts'
import { readPrivateKey } from '../../src/sign/key.ts'
import { signModel } from '../../src/sign/model.ts'
import type { Party } from '../fakes/authority.ts'
import { imageVolume, pod, reviewOf } from './fixtures.ts'
import { GOOD, machine, safetensors, simulated } from './machine.ts'
import {
  certificate,
  policyText,
  pushTar,
  recorder,
  release,
  signerOf,
  stranger,
  world,
  type World,
} from './world.ts'

let at: World
beforeEach(async () => {
  at = await world()
})
afterEach(() => at.close())

const pem = ({ publicPem }: Party): string => `{key: {pem: ${JSON.stringify(publicPem)}}}`
const key = readPrivateKey(recorder.privatePem)

async function allowed(url: string, reference: string): Promise<string> {
  const { json } = await at.ask(`${url}/validate`, {
    body: reviewOf(pod({ volumes: [imageVolume(reference)] })),
  })
  return json.response.allowed === true ? 'allowed' : String(json.response.status.message)
}

describe('a name that whoever asks has chosen', () => {
  // Under its own name only the release's signature counts; what is called `lab-…` may be the stranger's.
  const text = (production = 'oci://127.0.0.1:*/models/*'): string => `schema: zt4ai.policy/v1
name: cluster
signers:
  release: ${pem(release)}
  stranger: ${pem(stranger)}
rules:
  production: {models: ['${production}'], signed-by: {any-of: [release]}, machine: not-required}
  lab: {models: ['lab-*'], signed-by: {any-of: [stranger]}, machine: not-required}
`

  it('selects rules for its own question alone: no recorded verdict carries it to others', async () => {
    at.policy(text())
    const model = await pushTar(at, 'models/tarred', { by: stranger })
    const reading = await at.start({ key, record: true, readLayers: true })
    const { json } = await at.ask(`${reading.url}/v1/admit`, {
      body: { reference: model, name: 'lab-1', reading: 'layers' },
    })
    expect(json).toMatchObject({ result: 'allow' })
    // Something else that is recorded afterwards: by then this one would have been as well.
    const own = await pushTar(at, 'models/own')
    await at.ask(`${reading.url}/v1/admit`, { body: { reference: own, reading: 'layers' } })
    const attached = async (one: string): Promise<number> => {
      const reference = parseReference(one)
      return (await fetchReferrers(at.repository(reference), reference.digest ?? '')).length
    }
    await expect.poll(() => attached(own)).toBe(2)
    expect(await attached(model)).toBe(1)
    const other = await at.start({ recorders: [recorder.publicPem] })
    expect(await allowed(other.url, model)).toContain('SIGNERS')
  })

  it('gets no verdict that was recorded for the model’s own name', async () => {
    at.policy(text('tarred'))
    const model = await pushTar(at, 'models/tarred')
    const reading = await at.start({ key, record: true, readLayers: true })
    await at.ask(`${reading.url}/v1/admit`, { body: { reference: model, reading: 'layers' } })
    const reference = parseReference(model)
    await expect
      .poll(
        async () => (await fetchReferrers(at.repository(reference), reference.digest ?? '')).length,
      )
      .toBe(2)
    const { url } = await at.start({ recorders: [recorder.publicPem] })
    const ask = async (name: string): Promise<unknown> =>
      (await at.ask(`${url}/v1/admit`, { body: { reference: model, name } })).json.result
    expect(await ask('tarred')).toBe('allow')
    expect(await ask('lab-1')).toBe('deny')
  })
})

describe('a machine that may not run the model', () => {
  it('is not believed about its files under a rule that asks for no machine', async () => {
    const model = join(at.folder, 'model')
    mkdirSync(model)
    writeFileSync(join(model, 'model.safetensors'), safetensors())
    const { manifest } = await signModel(model, { signer: signerOf(release) })
    writeFileSync(join(at.folder, 'root.pem'), simulated.rootPem)
    at.policy(`schema: zt4ai.policy/v1
name: machines
signers: {release: ${pem(release)}}
machines:
  prod: {platform: sev-snp, measurements: [${GOOD}], trust-root: {file: root.pem}, max-age: 5m}
rules:
  prod: {models: ['acme/*'], signed-by: {any-of: [release]}, machine: {any-of: [prod]}, manifest-only: [machine-asserted]}
  any: {models: ['acme/*'], signed-by: {any-of: [release]}, machine: not-required, manifest-only: [machine-asserted]}
`)
    const { url } = await at.start({ key })
    const transport = httpTransport({ plainHttp: true, attempts: 1 })
    const { result, verdict } = await proveTo(
      { url, transport },
      {
        digest: manifest?.root ?? '',
        name: 'acme/tiny',
        bundles: [
          { name: 'model.sig', bytes: new Uint8Array(readFileSync(join(model, 'model.sig'))) },
        ],
        evidence: (data, nonce) => Promise.resolve(machine(data, nonce, '6f'.repeat(48))),
      },
    )
    transport.close()
    expect(result).toBe('deny')
    expect(verdict.checks.filter(({ status }) => status === 'fail')).toContainEqual(
      expect.objectContaining({ code: 'EVIDENCE_REFUSED' }),
    )
  })
})

describe('what is broken', () => {
  const metric = async (url: string, what: string): Promise<string | undefined> =>
    new RegExp(`^zt4ai_broken\\{what="${what}"\\} (\\d)$`, 'm').exec(
      (await at.ask(`${url}/metrics`)).text,
    )?.[1]

  it('is said of the token too, until it is whole again', async () => {
    const tokenFile = join(at.folder, 'token')
    writeFileSync(tokenFile, 'a-token-of-good-length\n')
    const { url } = await at.start({ tokenFile, pollMs: 10 })
    expect(await metric(url, 'token')).toBe('0')
    writeFileSync(tokenFile, 'short\n')
    await expect.poll(() => metric(url, 'token')).toBe('1')
    const { json } = await at.ask(`${url}/readyz`)
    expect(json).toMatchObject({ ready: true, token: { broken: expect.stringContaining('16') } })
    expect(at.logs.filter((line) => line.includes('TOKEN BROKEN'))).toHaveLength(1)
    expect(at.logs.join('')).not.toContain('a-token-of-good-length')
    writeFileSync(tokenFile, 'a-token-of-good-length\n')
    await expect.poll(() => metric(url, 'token')).toBe('0')
  })

  it('stays broken while another policy is reloaded, and a certificate is whole when its files are', async () => {
    const [first, second] = [join(at.folder, 'first.yaml'), join(at.folder, 'second.yaml')]
    const named = (name: string, more = ''): string =>
      policyText(more).replace('name: cluster', `name: ${name}`)
    writeFileSync(first, named('first'))
    writeFileSync(second, named('second'))
    const { cert, key: tlsKey } = certificate()
    const files = { cert: join(at.folder, 'tls.crt'), key: join(at.folder, 'tls.key') }
    writeFileSync(files.cert, cert)
    writeFileSync(files.key, tlsKey)
    const { adminUrl = '' } = await at.start({
      policies: [first, second],
      certificate: files,
      admin: { host: '127.0.0.1', port: 0 },
      pollMs: 10,
    })
    writeFileSync(first, 'broken')
    await expect.poll(() => metric(adminUrl, 'policy')).toBe('1')
    writeFileSync(second, named('second', 'description: another\n'))
    await expect
      .poll(() => at.logs.filter((line) => line.includes('policy reloaded')).length)
      .toBe(1)
    expect(await metric(adminUrl, 'policy')).toBe('1')
    writeFileSync(files.key, 'broken')
    await expect.poll(() => metric(adminUrl, 'certificate')).toBe('1')
    writeFileSync(files.key, tlsKey)
    await expect.poll(() => metric(adminUrl, 'certificate')).toBe('0')
  })
})

describe('an update of what names more models than are asked about', () => {
  it('is asked about those that it adds, and may take away', async () => {
    const { url } = await at.start()
    const many = Array.from({ length: 70 }, (_, index) =>
      imageVolume(`${at.registry.host}/models/m${String(index)}:v1`, `v${String(index)}`),
    )
    const asked = async (volumes: readonly object[]): Promise<string> => {
      const body = reviewOf(pod({ volumes }), {
        operation: 'UPDATE',
        oldObject: pod({ volumes: many }),
      })
      const { json } = await at.ask(`${url}/validate`, { body })
      return json.response.allowed === true ? 'allowed' : String(json.response.status.message)
    }
    expect(await asked(many)).toBe('allowed')
    expect(await asked(many.slice(1))).toBe('allowed')
    const added = imageVolume(`${at.registry.host}/models/added:v1`, 'added')
    expect(await asked([...many, added])).toContain('models/added:v1')
    expect(await asked([added, ...many])).toContain('1 of 1 models')
  })
})

describe('a question that can not be answered', () => {
  it('about a policy that is not there is a denial that says so', async () => {
    const { url } = await at.start()
    const asked = await at.ask(`${url}/validate/gone`, { body: reviewOf(pod()) })
    expect(asked.status).toBe(200)
    expect(asked.json.response).toMatchObject({
      uid: '2f1d7a0e-9a3b-4e0c-8d0e-9f3f0f9b1c55',
      allowed: false,
    })
    expect(asked.json.response.status.message).toMatch(/no policy .*gone.*cluster/s)
  })

  it.each(['CREATE', 'UPDATE'])('about a %s of nothing is a denial', async (operation) => {
    const { url } = await at.start()
    const body = reviewOf(pod(), { operation })
    ;(body['request'] as Record<string, unknown>)['object'] = null
    const { status, json } = await at.ask(`${url}/validate`, { body })
    expect(status).toBe(200)
    expect(json.response.allowed).toBe(false)
    expect(json.response.status.message).toContain('object')
  })
})
