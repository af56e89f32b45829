import { createPrivateKey, createPublicKey } from 'node:crypto'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verifyEar } from '../../attestation/index.ts'
import { parseJson, utf8Decode, utf8Encode } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { ZtError } from '../../src/error.ts'
import { decodeVerdict, readVerdict } from '../../src/gate/read-verdict.ts'
import {
  saveVerdict,
  savedVerdict,
  verdictEar,
  verdictIn,
  verdictStatement,
  VERDICT_PREDICATE,
} from '../../src/gate/saved.ts'
import { signStatement } from '../../src/sign/model.ts'
import { verdictJson, type Verdict } from '../../src/verdict.ts'
import { verifyStatement } from '../../src/verify/statement.ts'
import {
  AT,
  failing,
  NONCE,
  PARTIES,
  scene,
  signerOf,
  SOURCE,
  type PartyName,
  type Scene,
} from './scene.ts'

let at: Scene
beforeEach(async () => {
  at = await scene()
})
afterEach(() => {
  at.close()
})

const ADMITTED = `${SOURCE}    admitted: {by: [registry], within: 7d, policy: {name: production}}\n`
const trust = (name: PartyName): { kind: 'key'; publicKey: string } => ({
  kind: 'key',
  publicKey: PARTIES[name].publicPem,
})

describe('a saved verdict', () => {
  it('is an in-toto statement with a SLSA Verification Summary about the model’s root', async () => {
    const { verdict } = await at.ask()
    const bundle = await saveVerdict(verdict, { signer: signerOf('registry') })
    const statement = JSON.parse(utf8Decode(decodeBundle(bundle).envelope.payload)) as {
      subject: unknown
      predicateType: string
      predicate: Record<string, unknown>
    }
    expect(statement.subject).toEqual([{ name: 'acme/tiny', digest: { sha256: at.root } }])
    expect(statement.predicateType).toBe(VERDICT_PREDICATE)
    expect(statement.predicate).toMatchObject({
      verifier: { id: 'https://zt4ai.dev/verifier' },
      timeVerified: '2026-11-20T12:00:00Z',
      resourceUri: 'urn:zt4ai:model:acme%2Ftiny',
      policy: { digest: verdict.policy?.digest },
      verificationResult: 'PASSED',
      verifiedLevels: ['SLSA_BUILD_LEVEL_UNEVALUATED'],
    })
    expect(statement.predicate['zt4ai_verdict']).toEqual(JSON.parse(verdictJson(verdict)))
  })

  it('comes back as it was, by its signer alone', async () => {
    const { verdict } = await at.ask()
    const bundle = await saveVerdict(verdict, { signer: signerOf('registry') })
    const read = await verifyStatement(bundle, trust('registry'), AT)
    expect(savedVerdict(read.authenticated)).toEqual(JSON.parse(verdictJson(verdict)))
    const strange = await verifyStatement(bundle, trust('stranger'), AT)
    expect(savedVerdict(strange.authenticated)).toBeNull()
  })

  it('passes one proof along: what the registry admitted is required by the loader', async () => {
    const policy = at.policy(ADMITTED)
    const { verdict } = await at.ask()
    const given = async (bytes: Promise<Uint8Array>, later = 0): Promise<string[]> =>
      failing(
        await at.ask({
          policy,
          bundles: [{ name: 'verdict', bytes: await bytes }],
          at: new Date(AT.getTime() + later),
          now: new Date(AT.getTime() + later),
        }),
      )
    const registry = { signer: signerOf('registry') }
    expect(failing(await at.ask({ policy }))).toEqual(['model.admitted NOT_ADMITTED'])
    expect(await given(saveVerdict(verdict, registry))).toEqual([])
    const refused = ['model.admitted NOT_ADMITTED']
    expect(await given(saveVerdict(verdict, { signer: signerOf('stranger') }))).toEqual(refused)
    expect(await given(saveVerdict(verdict, registry), 8 * 86_400_000)).toContain(refused[0])
    const other: Verdict = {
      ...verdict,
      subject: { name: 'x', digest: { sha256: 'ab'.repeat(32) } },
    }
    expect(await given(saveVerdict(other, registry))).toEqual(refused)
    const denied = (await at.ask({ evidence: [] })).verdict
    expect(denied.decision).toBe('deny')
    expect(await given(saveVerdict(denied, registry))).toEqual(refused)
  })

  it('that contradicts the statement around it is none', async () => {
    const { verdict } = await at.ask()
    const whole = JSON.parse(utf8Decode(verdictStatement(verdict))) as Record<string, never>
    const changed = (path: string, value: unknown): Uint8Array => {
      const copy = structuredClone(whole) as Record<string, unknown>
      let place = copy
      const steps = path.split('.')
      for (const step of steps.slice(0, -1)) place = place[step] as Record<string, unknown>
      place[steps.at(-1) ?? ''] = value
      return utf8Encode(JSON.stringify(copy))
    }
    const read = async (statement: Uint8Array): Promise<Verdict | null> =>
      savedVerdict(
        (
          await verifyStatement(
            await signStatement(statement, signerOf('registry')),
            trust('registry'),
            AT,
          )
        ).authenticated,
      )
    expect(await read(utf8Encode(JSON.stringify(whole)))).not.toBeNull()
    for (const [path, value] of [
      ['subject.0.digest.sha256', 'ab'.repeat(32)],
      ['predicate.timeVerified', '2026-11-20T12:00:01Z'],
      ['predicate.verificationResult', 'FAILED'],
      ['predicate.zt4ai_verdict.decision', 'deny'],
      ['predicate.zt4ai_verdict.checks', []],
      ['predicate.zt4ai_verdict.more', 1],
      ['predicate.zt4ai_verdict', null],
      ['predicateType', 'https://slsa.dev/verification_summary/v2'],
    ] as const)
      expect(await read(changed(path, value)), path).toBeNull()
    // what a later version of the summary may add is no harm
    expect(await read(changed('predicate.later', 1))).not.toBeNull()
  })

  it('about no digest can’t be signed', async () => {
    const { verdict } = await at.ask({ name: 'nobody/knows' })
    expect(verdict.subject.digest).toBeUndefined()
    expect(() => verdictStatement(verdict)).toThrow(ZtError)
  })
})

describe('reading a verdict', () => {
  it('the decision must be the one of its checks', async () => {
    const { verdict } = await at.ask({ evidence: [] })
    const text = verdictJson(verdict)
    expect(verdictJson(readVerdict(utf8Encode(text)))).toBe(text)
    const forged = text.replace('"decision": "deny"', '"decision": "allow"')
    expect(() => readVerdict(utf8Encode(forged))).toThrow(/not what the checks give/)
  })

  it('any change of a byte is read as something else or refused, and nothing but ZtError comes out', async () => {
    const text = utf8Encode(verdictJson((await at.ask()).verdict))
    fc.assert(
      fc.property(
        fc.nat({ max: text.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (place, change) => {
          const bytes = Uint8Array.from(text, (byte, i) => (i === place ? byte ^ change : byte))
          try {
            readVerdict(bytes)
          } catch (error) {
            expect(error).toBeInstanceOf(ZtError)
            expect((error as ZtError).code).toBe('VERDICT_INVALID')
          }
        },
      ),
      { numRuns: 300, seed: 3 },
    )
    fc.assert(
      fc.property(fc.json(), (json) => {
        const value = parseJson(json, { maxBytes: 1 << 20 })
        for (const read of [decodeVerdict, verdictIn]) expect(() => read(value)).toThrow(ZtError)
      }),
      { numRuns: 100 },
    )
  })
})

describe('the EAR token', () => {
  const key = createPrivateKey(PARTIES.registry.privatePem)
  const pub = createPublicKey(PARTIES.registry.publicPem)

  it('says what the verdict says, of the model and of the machine', async () => {
    const admission = await at.ask()
    const ear = verifyEar(verdictEar(admission, key, '1.2.3'), pub)
    expect([...ear.submods.keys()]).toEqual(['model0', 'cpu0'])
    const model = ear.submods.get('model0')
    // simulated hardware is a warning, so nothing here is better than one
    expect(model).toMatchObject({
      status: 'warning',
      policyId: admission.verdict.policy?.digest.sha256,
    })
    expect(model?.vector['file-system']).toBe(2)
    expect(ear.simulated).toBe(true)
    expect(ear.historical).toBe(false)
    expect(ear.nonce).toEqual(NONCE)
    expect(ear.inputs.length).toBe(admission.verdict.inputs.length)
  })

  it('a refusal is contraindicated, and a machine that was refused too', async () => {
    const denied = await at.ask({ evidence: [], at: AT, now: new Date(AT.getTime() + 1000) })
    const ear = verifyEar(verdictEar(denied, key, '1.2.3'), pub)
    expect([...ear.submods]).toMatchObject([['model0', { status: 'contraindicated' }]])
    expect(ear.historical).toBe(true)
  })
})
