import { spawnSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verifyEar, type NamedBytes } from '../../attestation/index.ts'
import { bytesToBase64, bytesToHex, hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { httpTransport, type Transport } from '../../src/fetch/transport.ts'
import { admit } from '../../src/gate/admit.ts'
import { policyFrom } from '../../src/gate/policy.ts'
import { askVerifier } from '../../src/gate/proved.ts'
import type { AdmitRequest, LoadedPolicy } from '../../src/gate/question.ts'
import { savedVerdict } from '../../src/gate/saved.ts'
import { proveTo, type Appraisal, type Proof } from '../../src/gate/verifier-client.ts'
import { Nonces } from '../../src/service/nonces.ts'
import { readPrivateKey } from '../../src/sign/key.ts'
import { signModel } from '../../src/sign/model.ts'
import { verifyStatement } from '../../src/verify/statement.ts'
import { party } from '../fakes/authority.ts'
import { machine, GOOD, safetensors, simulated } from './machine.ts'
import { release, signerOf, stranger, world, type World } from './world.ts'

const verifier = party('verifier')
const teeKey = party('tee')
const spki = new Uint8Array(
  createPublicKey(teeKey.publicPem).export({ type: 'spki', format: 'der' }),
)

let at: World
let transport: Transport
let root: string
let signature: NamedBytes
let url: string

const text = (): string => `schema: zt4ai.policy/v1
name: machines
signers:
  release: {key: {file: release.pem}}
machines:
  prod:
    platform: sev-snp
    measurements: [${GOOD}]
    trust-root: {file: root.pem}
    max-age: 5m
rules:
  models:
    models: ['acme/*']
    signed-by: {any-of: [release]}
    machine: {any-of: [prod]}
    manifest-only: [machine-asserted]
`

beforeEach(async () => {
  at = await world()
  transport = httpTransport({ plainHttp: true, attempts: 1 })
  const model = join(at.folder, 'model')
  mkdirSync(model)
  writeFileSync(join(model, 'model.safetensors'), safetensors())
  const { manifest } = await signModel(model, { signer: signerOf(release) })
  root = manifest?.root ?? ''
  signature = { name: 'model.sig', bytes: new Uint8Array(readFileSync(join(model, 'model.sig'))) }
  writeFileSync(join(at.folder, 'release.pem'), release.publicPem)
  writeFileSync(join(at.folder, 'root.pem'), simulated.rootPem)
  at.policy(text())
  url = (await at.start({ key: readPrivateKey(verifier.privatePem) })).url
})
afterEach(async () => {
  transport.close()
  await at.close()
})

const prove = (changes: Partial<Proof> = {}): Promise<Appraisal> =>
  proveTo(
    { url, transport },
    {
      digest: root,
      name: 'acme/tiny',
      bundles: [signature],
      evidence: (reportData, nonce) => Promise.resolve(machine(reportData, nonce)),
      ...changes,
    },
  )

describe('a machine that proves itself', () => {
  it('gets a signed verdict and an EAR token about its model', async () => {
    const { result, verdict, ear, bundle, challenge } = await prove()
    expect(verdict.checks.filter(({ status }) => status === 'fail')).toEqual([])
    expect(result).toBe('allow')
    expect(verdict.subject).toEqual({ name: 'acme/tiny', digest: { sha256: root } })
    expect(verdict.checks).toContainEqual(
      expect.objectContaining({ id: 'model.route', actual: 'machine-asserted' }),
    )
    const read = verifyEar(ear, createPublicKey(verifier.publicPem))
    expect(read.nonce).toEqual(challenge.nonce)
    expect([...read.submods].map(([name, { status }]) => [name, status])).toEqual([
      // A simulated machine is a warning.
      ['model0', 'warning'],
      ['cpu0', expect.stringMatching(/affirming|warning/)],
    ])
    expect(read.simulated).toBe(true)
    const trust = { kind: 'key', publicKey: verifier.publicPem } as const
    const { authenticated } = await verifyStatement(bundle ?? new Uint8Array(), trust, new Date())
    expect(savedVerdict(authenticated)).toEqual(JSON.parse(JSON.stringify(verdict)))
  })

  it('may bind its key', async () => {
    const { verdict } = await prove({ key: { pem: teeKey.publicPem, spki } })
    expect(verdict.checks.filter(({ status }) => status === 'fail')).toEqual([])
  })
})

describe('refused is', () => {
  it.each<[string, () => Partial<Proof>, string]>([
    [
      'another model than the evidence is bound to',
      () => ({
        evidence: (_, nonce) => Promise.resolve(machine(new Uint8Array(64).fill(7), nonce)),
      }),
      'BINDING_MISMATCH',
    ],
    [
      'another software',
      () => ({ evidence: (data, nonce) => Promise.resolve(machine(data, nonce, '6f'.repeat(48))) }),
      'EVIDENCE_REFUSED',
    ],
    ['a model that nobody signed', () => ({ bundles: [] }), 'SIGNERS'],
    ['a model that no rule is about', () => ({ name: 'other/tiny' }), 'NO_RULE'],
    [
      'evidence that is none',
      () => ({ evidence: () => Promise.resolve({ name: 'x', bytes: utf8Encode('nothing') }) }),
      '',
    ],
  ])('%s', async (_, changes, code) => {
    const { result, verdict, ear, bundle } = await prove(changes())
    expect(result).toBe('deny')
    expect(
      verdict.checks.filter(({ status }) => status === 'fail').map((check) => check.code as string),
    ).toContainEqual(expect.stringContaining(code))
    expect(verifyEar(ear, createPublicKey(verifier.publicPem)).submods.get('model0')?.status).toBe(
      'contraindicated',
    )
    if (bundle === null) return
    const { authenticated } = await verifyStatement(
      bundle,
      { kind: 'key', publicKey: verifier.publicPem },
      new Date(),
    )
    expect(savedVerdict(authenticated)?.decision).toBe('deny')
  })

  it('a key that the evidence does not hold, and a binding without the key', async () => {
    const other = party('other')
    const pem = other.publicPem
    const spkiOfOther = new Uint8Array(createPublicKey(pem).export({ type: 'spki', format: 'der' }))
    // The evidence holds the one, the request names the other.
    const swapped = { key: { pem: teeKey.publicPem, spki: spkiOfOther } }
    expect((await prove(swapped)).result).toBe('deny')
  })

  it('a signature of somebody else', async () => {
    const place = join(at.folder, 'other.sig')
    await signModel(join(at.folder, 'model'), {
      signer: signerOf(stranger),
      signature: place,
      ignorePaths: ['model.sig'],
    })
    const bundles = [{ name: 'other.sig', bytes: new Uint8Array(readFileSync(place)) }]
    expect((await prove({ bundles })).result).toBe('deny')
  })

  it('what is not bound, even by a policy that asks for no machine', async () => {
    at.policy(text().replace('machine: {any-of: [prod]}', 'machine: not-required'))
    await expect.poll(async () => (await at.ask(`${url}/readyz`)).text).toContain('machines')
    const fresh = await at.start({ key: readPrivateKey(verifier.privatePem) })
    url = fresh.url
    expect((await prove()).result).toBe('deny')
  })
})

describe('a nonce', () => {
  const post = (path: string, body: object): ReturnType<World['ask']> =>
    at.ask(`${url}/${path}`, { body })
  const nonce = async (): Promise<string> => String((await post('v1/challenge', {})).json.nonce)
  const answer = (given: string, digest = root): object => {
    const evidence = machine(simulated.binding(hexToBytes(given), digest), hexToBytes(given))
    return {
      nonce: given,
      evidence: bytesToBase64(evidence.bytes),
      bundles: [{ name: 's', bytes: bytesToBase64(signature.bytes) }],
      model: { digest: root, name: 'acme/tiny' },
    }
  }

  it('is good once', async () => {
    const given = await nonce()
    const body = answer(given)
    expect((await post('v1/appraise', body)).json.result).toBe('allow')
    const again = await post('v1/appraise', body)
    expect([again.status, again.json.code]).toEqual([400, 'NONCE_UNKNOWN'])
  })

  it('is used up by a refusal, and by a body that can not be read', async () => {
    const first = await nonce()
    expect((await post('v1/appraise', answer(first, '00'.repeat(32)))).json.result).toBe('deny')
    expect((await post('v1/appraise', answer(first))).json.code).toBe('NONCE_UNKNOWN')
    const second = await nonce()
    expect((await post('v1/appraise', { nonce: second })).json.code).toBe('REQUEST_INVALID')
    expect((await post('v1/appraise', answer(second))).json.code).toBe('NONCE_UNKNOWN')
  })

  it('of our own making is none', async () => {
    const own = bytesToHex(new Uint8Array(32).fill(5))
    expect((await post('v1/appraise', answer(own))).json.code).toBe('NONCE_UNKNOWN')
  })

  it('lives shortly, and only so many wait at one time', () => {
    let mono = 0
    const nonces = new Nonces({
      most: 3,
      lifetimeMs: 1000,
      now: () => new Date(0),
      monotonic: () => mono,
    })
    const given = [nonces.give(), nonces.give(), nonces.give()].map(({ nonce: bytes }) =>
      bytesToHex(bytes),
    )
    expect(new Set(given).size).toBe(3)
    expect(() => nonces.give()).toThrow(expect.objectContaining({ code: 'OVERLOADED' }))
    expect(nonces.take(given[0] ?? '')?.issued).toEqual(new Date(0))
    expect(nonces.take(given[0] ?? '')).toBeUndefined()
    nonces.give()
    mono = 1001
    expect(nonces.take(given[1] ?? '')).toBeUndefined()
    nonces.give()
    expect(nonces.size).toBe(1)
  })

  it('is refused where too many wait, with a time to come again', async () => {
    const small = await at.start({ key: readPrivateKey(verifier.privatePem), nonces: 1 })
    await at.ask(`${small.url}/v1/challenge`, { body: {} })
    const { status, json } = await at.ask(`${small.url}/v1/challenge`, { body: {} })
    expect([status, json.code]).toEqual([503, 'OVERLOADED'])
  })
})

describe('a loader that asks a verifier', () => {
  const loader = (): LoadedPolicy =>
    policyFrom(
      utf8Encode(`schema: zt4ai.policy/v1
name: loader
signers:
  release: {key: {file: release.pem}}
  verifier: {key: {file: verifier.pem}}
rules:
  models:
    models: ['acme/*']
    signed-by: {any-of: [release]}
    machine: not-required
    admitted: {by: [verifier], within: 5m, policy: {name: machines}}
`),
      (name) => utf8Encode(name === 'release.pem' ? release.publicPem : verifier.publicPem),
    )
  const question = (): AdmitRequest => ({
    model: join(at.folder, 'model'),
    name: 'acme/tiny',
    policy: loader(),
    at: new Date(),
    now: new Date(),
  })
  const evidence = (data: Uint8Array, nonce: Uint8Array): Promise<NamedBytes> =>
    Promise.resolve(machine(data, nonce))

  it('is admitted by its answer, and by nothing less', async () => {
    expect((await admit(question())).verdict.decision).toBe('deny')
    const proved = await askVerifier(question(), root, { url, transport }, { evidence })
    const { verdict } = await admit(proved.question)
    expect(verdict.checks.filter(({ status }) => status === 'fail')).toEqual([])
    expect(verdict.checks).toContainEqual(
      expect.objectContaining({ id: 'model.admitted', status: 'pass' }),
    )
    writeFileSync(join(at.folder, 'model', 'extra.py'), 'print()\n')
    expect((await admit(proved.question)).verdict.decision).toBe('deny')
  })

  it('is not admitted by a refusal, or by the answer of another verifier', async () => {
    const wrong = (data: Uint8Array, nonce: Uint8Array): Promise<NamedBytes> =>
      Promise.resolve(machine(data, nonce, '6f'.repeat(48)))
    const refused = await askVerifier(question(), root, { url, transport }, { evidence: wrong })
    expect(refused.appraisal.result).toBe('deny')
    expect((await admit(refused.question)).verdict.decision).toBe('deny')
    const other = await at.start({ key: readPrivateKey(stranger.privatePem) })
    const foreign = await askVerifier(question(), root, { url: other.url, transport }, { evidence })
    expect(foreign.appraisal.result).toBe('allow')
    expect((await admit(foreign.question)).verdict.decision).toBe('deny')
  })

  it('does not use a verdict from the future', async () => {
    const ahead = await at.start({
      key: readPrivateKey(verifier.privatePem),
      now: () => new Date(Date.now() + 60_000),
    })
    const asked = askVerifier(question(), root, { url: ahead.url, transport }, { evidence })
    await expect(asked).rejects.toMatchObject({ message: expect.stringContaining('ahead') })
  })

  it('starts nothing where the machine has no hardware to ask, or the verifier is not there', () => {
    writeFileSync(join(at.folder, 'verifier.pem'), verifier.publicPem)
    const run = (service: string): { status: number | null; stdout: string; stderr: string } => {
      const words = [
        'run',
        '--policy',
        join(at.folder, 'policy.yaml'),
        '--model',
        join(at.folder, 'model'),
      ]
      const cli = new URL('../../dist/src/cli/main.js', import.meta.url).pathname
      return spawnSync(
        process.execPath,
        [cli, ...words, '--name', 'acme/tiny', '--verifier', service, '--', 'echo', 'started'],
        { encoding: 'utf8', timeout: 30_000 },
      )
    }
    const gone = run('http://127.0.0.1:1')
    expect([gone.status, gone.stdout]).toEqual([3, ''])
    expect(gone.stderr).toContain('zt4ai: NETWORK')
  })
})

describe('the client', () => {
  it('says what a verifier that refuses the question said', async () => {
    await expect(prove({ policy: 'nobody' })).rejects.toMatchObject({
      code: 'EVIDENCE_UNAVAILABLE',
      message: expect.stringContaining('no policy of this name'),
    })
  })

  it('brings the token that the service asks for', async () => {
    const tokenFile = join(at.folder, 'token')
    writeFileSync(tokenFile, 'a-token-of-good-length\n')
    const guarded = await at.start({ key: readPrivateKey(verifier.privatePem), tokenFile })
    url = guarded.url
    await expect(prove()).rejects.toMatchObject({
      message: expect.stringContaining('REQUEST_UNAUTHORIZED'),
    })
    const proof = {
      digest: root,
      name: 'acme/tiny',
      bundles: [signature],
      evidence: (data: Uint8Array, nonce: Uint8Array) => Promise.resolve(machine(data, nonce)),
    }
    expect((await proveTo({ url, transport, token: 'a-token-of-good-length' }, proof)).result).toBe(
      'allow',
    )
  })
})
