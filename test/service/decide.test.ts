import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { saveVerdict } from '../../src/gate/saved.ts'
import { parseReference } from '../../src/registry/reference.ts'
import { attach, BUNDLE_TYPE, fetchBundles, fetchReferrers } from '../../src/registry/referrers.ts'
import { Cache } from '../../src/service/cache.ts'
import { repositories } from '../../src/service/repositories.ts'
import type { Verdict } from '../../src/verdict.ts'
import { readPrivateKey } from '../../src/sign/key.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'
import type { RegistrySwitches } from '../fakes/registry.ts'
import { imageVolume, pod, reviewOf } from './fixtures.ts'
import type { Party } from '../fakes/authority.ts'
import { policyText, pushTar, recorder, signerOf, stranger, world, type World } from './world.ts'

let at: World
beforeEach(async () => {
  at = await world()
})
afterEach(() => at.close())

const review = (reference: string): object => reviewOf(pod({ volumes: [imageVolume(reference)] }))
const requests = (): number => at.registry.log.length

async function allowed(url: string, reference: string, timeout = '10s'): Promise<string> {
  const { status, json } = await at.ask(`${url}/validate?timeout=${timeout}`, {
    body: review(reference),
  })
  expect(status).toBe(200)
  return json.response.allowed === true ? 'allowed' : String(json.response.status.message)
}

describe('a decision', () => {
  it('is asked of the registry once, however many ask at the same time', async () => {
    const model = await at.push('models/good')
    at.registry.switches.delayMs = 30
    const before = requests()
    const { url } = await at.start()
    const answers = await Promise.all(Array.from({ length: 50 }, () => allowed(url, model)))
    expect(new Set(answers)).toEqual(new Set(['allowed']))
    const first = requests() - before
    expect(first).toBeLessThan(10)
    expect(await allowed(url, model)).toBe('allowed')
    expect(requests() - before).toBe(first)
  })

  it('that was proven is kept for its time and no longer, whatever the clock on the wall says', async () => {
    const model = await at.push('models/good')
    let mono = 0
    let wall = Date.now()
    const { url } = await at.start({
      monotonic: () => mono,
      now: () => new Date(wall),
      allowMaxAgeMs: 60_000,
    })
    expect(await allowed(url, model)).toBe('allowed')
    at.registry.manifests.get('models/good')?.clear()
    wall -= 365 * 86_400_000
    mono += 59_000
    expect(await allowed(url, model)).toBe('allowed')
    mono += 2_000
    expect(await allowed(url, model)).toContain('REGISTRY_NOT_FOUND')
  })

  it('that refuses is kept shortly, so that a signature that comes later is seen', async () => {
    const model = await at.push('models/late', { by: null })
    let mono = 0
    const { url } = await at.start({ monotonic: () => mono, denyMaxAgeMs: 5_000 })
    expect(await allowed(url, model)).toContain('SIGNERS')
    await at.push('models/late')
    expect(await allowed(url, model)).toContain('SIGNERS')
    mono += 5_001
    expect(await allowed(url, model)).toBe('allowed')
  })

  it('under a policy that changed is made anew, and a broken policy changes nothing but says so loudly', async () => {
    const model = await at.push('models/good')
    const foreign = await at.push('models/foreign', { by: stranger })
    const { url } = await at.start()
    const metrics = async (): Promise<string> => (await at.ask(`${url}/metrics`)).text
    expect(await allowed(url, model)).toBe('allowed')
    const second = policyText().replace(/BEGIN PUBLIC KEY[\s\S]*END PUBLIC KEY/, (pem) =>
      pem.replace(/ {8}[A-Za-z0-9+/=]+\n/g, '').replace(
        'KEY-----\n',
        `KEY-----\n${stranger.publicPem
          .trim()
          .split('\n')
          .slice(1, -1)
          .map((line) => `        ${line}\n`)
          .join('')}`,
      ),
    )
    at.policy(second)
    await expect.poll(() => allowed(url, model)).toContain('SIGNERS')
    expect(await allowed(url, foreign)).toBe('allowed')
    at.policy(second.replace('signed-by', 'signedby'))
    await expect.poll(metrics).toMatch(/^zt4ai_broken\{what="policy"\} 1$/m)
    expect(await allowed(url, model)).toContain('SIGNERS')
    expect(await allowed(url, foreign)).toBe('allowed')
    const ready = await at.ask(`${url}/readyz`)
    expect(ready.status).toBe(200)
    expect(ready.json.policies[0].broken).toContain('signedby')
    expect(at.logs.some((line) => line.includes('"error"') && line.includes('POLICY BROKEN'))).toBe(
      true,
    )
    rmSync(join(at.folder, 'policy.yaml'))
    await expect
      .poll(async () => (await at.ask(`${url}/readyz`)).json.policies[0].broken)
      .toContain('ENOENT')
    expect(await allowed(url, foreign)).toBe('allowed')
    at.policy(policyText())
    await expect.poll(() => allowed(url, model)).toBe('allowed')
    expect(await metrics()).toMatch(/^zt4ai_broken\{what="policy"\} 0$/m)
  })

  it('rests on an exemption only until that ends', async () => {
    let wall = Date.parse('2026-11-20T12:00:00Z')
    let mono = 0
    at.policy(`${policyText().replace('    manifest-only', '    max-signature-age: 1d\n    manifest-only')}exemptions:
  untimed: {models: ['oci://127.0.0.1:*/models/*'], checks: [model.signature-age], owner: ops, reason: no log yet, expires: 2026-11-20T12:00:30Z}
`)
    const model = await at.push('models/good')
    const { url } = await at.start({ now: () => new Date(wall), monotonic: () => mono })
    expect(await allowed(url, model)).toBe('allowed')
    expect((await at.ask(`${url}/metrics`)).text).toMatch(
      /^zt4ai_waived_total\{policy="cluster"\} 1$/m,
    )
    wall += 31_000
    mono += 31_000
    expect(await allowed(url, model)).toContain('EXEMPTION_EXPIRED')
  })
})

describe('a registry that fails allows nothing', () => {
  it.each<[string, RegistrySwitches, RegExp]>([
    ['is slow', { delayMs: 4_000 }, /EVIDENCE_UNAVAILABLE: there was no answer/],
    ['lies about a manifest', { lie: 'manifest' }, /EVIDENCE_UNAVAILABLE.*REGISTRY_DIGEST/],
    ['lies about a bundle', { lie: 'blob' }, /EVIDENCE_UNAVAILABLE/],
    ['cuts its answers off', { cutBlobs: 1_000 }, /EVIDENCE_UNAVAILABLE/],
    ['is overloaded', { unavailable: 100 }, /EVIDENCE_UNAVAILABLE/],
    ['throttles', { tooMany: 100 }, /EVIDENCE_UNAVAILABLE/],
    [
      'refuses the credentials',
      { auth: { username: 'u', password: 'p' } },
      /EVIDENCE_UNAVAILABLE.*REGISTRY_AUTH/,
    ],
  ])('and says so if it %s', async (_, failing, message) => {
    const model = await at.push('models/good')
    const { url } = await at.start()
    Object.assign(at.registry.switches, failing)
    // The slow one is not waited for: the answer comes within the time of whoever asks.
    const limit = failing.delayMs === undefined ? '10s' : '1s'
    expect(await allowed(url, model, limit)).toMatch(message)
    // Nothing of the failure is remembered.
    for (const name of Object.keys(failing))
      Object.assign(at.registry.switches, { [name]: undefined })
    await expect.poll(() => allowed(url, model)).toBe('allowed')
  })

  it('nor one that is gone', async () => {
    const model = await at.push('models/good')
    const { url } = await at.start()
    await at.registry.close()
    expect(await allowed(url, model)).toMatch(/EVIDENCE_UNAVAILABLE.*NETWORK/)
  })

  it('nor one that sends a byte now and then: the request itself ends', async () => {
    const { createServer } = await import('node:http')
    const drip = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' })
      const timer = setInterval(() => response.write(' '), 50)
      response.on('close', () => clearInterval(timer))
    })
    await new Promise<void>((resolve) => drip.listen(0, '127.0.0.1', resolve))
    const host = `127.0.0.1:${String((drip.address() as { port: number }).port)}`
    const pool = repositories({ plainHttp: true, requestMs: 300 })
    const { url } = await at.start({
      repository: (reference, reading) => pool.open(reference, reading),
    })
    const model = `${host}/models/x@sha256:${'aa'.repeat(32)}`
    expect(await allowed(url, model, '5s')).toMatch(/EVIDENCE_UNAVAILABLE.*INTERRUPTED/)
    pool.close()
    drip.closeAllConnections()
    drip.close()
  })

  it('and is not asked where the service was not told to', async () => {
    const { url } = await at.start({ hosts: new Set(['registry.example']) })
    const model = await at.push('models/good')
    const before = requests()
    expect(await allowed(url, model)).toContain('REGISTRY_NOT_NAMED')
    expect(requests()).toBe(before)
  })
})

describe('more work than there is room for', () => {
  it('is refused at once, with a proper answer', async () => {
    const models = await Promise.all(
      Array.from({ length: 8 }, (_, index) => at.push(`models/m${String(index)}`)),
    )
    let open = (): void => undefined
    const gate = new Promise<void>((resolve) => (open = resolve))
    const { url } = await at.start({
      running: 1,
      waiting: 2,
      repository: (reference) => {
        const repository = at.repository(reference)
        return {
          ...repository,
          manifest: async (...asked) => {
            await gate
            return repository.manifest(...asked)
          },
        }
      },
    })
    const asked = models.map((model) => allowed(url, model))
    await expect
      .poll(async () => (await at.ask(`${url}/metrics`)).text)
      .toMatch(/^zt4ai_shed_total\{what="decision"\} 5$/m)
    open()
    const answers = await Promise.all(asked)
    expect(answers.filter((answer) => answer === 'allowed')).toHaveLength(3)
    expect(answers.filter((answer) => answer.includes('OVERLOADED'))).toHaveLength(5)
  })
})

describe('a verdict in the registry', () => {
  const key = readPrivateKey(recorder.privatePem)
  const tarPolicy = policyText().replace('    manifest-only: [raw-bijection]\n', '')
  const bundles = async (model: string): Promise<number> => {
    const reference = parseReference(model)
    return (await fetchReferrers(at.repository(reference), reference.digest ?? '')).length
  }
  const admit = (url: string, reference: string, reading: string): ReturnType<World['ask']> =>
    at.ask(`${url}/v1/admit`, { body: { reference, reading } })

  it('that one replica made by reading is used by another that does not read', async () => {
    at.policy(tarPolicy)
    const model = await pushTar(at, 'models/tarred')
    const first = await at.start({ key, record: true, readLayers: true })
    const second = await at.start({ recorders: [recorder.publicPem] })
    expect(await allowed(second.url, model)).toContain('SIGNERS')
    const read = await admit(first.url, model, 'layers')
    expect(read.json).toMatchObject({ result: 'allow', allowed: true })
    await expect.poll(() => bundles(model)).toBe(2)
    const third = await at.start({ recorders: [recorder.publicPem] })
    expect(await allowed(third.url, model)).toBe('allowed')
    expect((await at.ask(`${third.url}/metrics`)).text).toMatch(
      /^zt4ai_cache_total\{outcome="saved"\} 1$/m,
    )
    const { json } = await admit(third.url, model, 'manifest-only')
    expect(json.verdictDigest).toBe(read.json.verdictDigest)
    // Nobody who trusts other recorders, or none, is impressed.
    const other = await at.start({ recorders: [stranger.publicPem] })
    expect(await allowed(other.url, model)).toContain('SIGNERS')
    expect(await allowed((await at.start()).url, model)).toContain('SIGNERS')
  })

  it('is used only for its time, from the past, and under the same policy', async () => {
    at.policy(tarPolicy)
    const model = await pushTar(at, 'models/tarred')
    const first = await at.start({ key, record: true, readLayers: true })
    await admit(first.url, model, 'layers')
    await expect.poll(() => bundles(model)).toBe(2)
    const later = (ms: number): Promise<string> =>
      at
        .start({
          recorders: [recorder.publicPem],
          savedMaxAgeMs: 60_000,
          now: () => new Date(Date.now() + ms),
        })
        .then(({ url }) => allowed(url, model))
    expect(await later(30_000)).toBe('allowed')
    expect(await later(62_000)).toContain('SIGNERS')
    expect(await later(-60_000)).toContain('SIGNERS')
    const path = join(at.folder, 'other.yaml')
    writeFileSync(path, tarPolicy.replace('name: cluster', 'name: other'))
    const other = await at.start({ policies: [path], recorders: [recorder.publicPem] })
    expect(await allowed(other.url, model)).toContain('SIGNERS')
  })

  it('is about its own manifest: moved to another model it says nothing', async () => {
    at.policy(tarPolicy)
    const good = await pushTar(at, 'models/tarred')
    const first = await at.start({ key, record: true, readLayers: true })
    await admit(first.url, good, 'layers')
    await expect.poll(() => bundles(good)).toBe(2)
    const bad = await pushTar(at, 'models/other', { by: null })
    const from = parseReference(good)
    const to = parseReference(bad)
    const manifest = await at.repository(to).manifest(to.digest ?? '')
    for (const { bytes } of await fetchBundles(at.repository(from), from.digest ?? ''))
      await attach(at.repository(to), {
        subject: {
          mediaType: manifest?.mediaType ?? '',
          digest: to.digest ?? '',
          size: manifest?.bytes.length ?? 0,
        },
        mediaType: BUNDLE_TYPE,
        content: bytes,
        annotations: {},
      })
    const second = await at.start({ recorders: [recorder.publicPem] })
    expect(await allowed(second.url, bad)).toContain('SIGNERS')
    expect(await allowed(second.url, good)).toBe('allowed')
  })

  it('that can not be written changes no decision', async () => {
    at.policy(tarPolicy)
    const model = await pushTar(at, 'models/tarred')
    const first = await at.start({
      key,
      record: true,
      readLayers: true,
      repository: (reference) => ({
        ...at.repository(reference),
        uploadBlob: () => Promise.reject(new Error('no space left on device')),
      }),
    })
    expect((await admit(first.url, model, 'layers')).json).toMatchObject({ result: 'allow' })
    await expect
      .poll(async () => (await at.ask(`${first.url}/metrics`)).text)
      .toMatch(/^zt4ai_record_total\{result="failed"\} 1$/m)
    expect(await allowed(first.url, model)).toBe('allowed')
  })

  it('is not written for what its manifest decides', async () => {
    const model = await at.push('models/good')
    const { url } = await at.start({ key, record: true, readLayers: true })
    expect(await allowed(url, model)).toBe('allowed')
    expect((await admit(url, model, 'layers')).json).toMatchObject({ result: 'allow' })
    expect(await bundles(model)).toBe(1)
  })
})

describe('a rule that asks for the verdict of somebody else', () => {
  it('finds it among what is attached to the model', async () => {
    const model = await at.push('models/good')
    const first = await at.start()
    const { json } = await at.ask(`${first.url}/v1/admit`, { body: { reference: model } })
    const path = join(at.folder, 'second.yaml')
    writeFileSync(join(at.folder, 'ci.pem'), recorder.publicPem)
    writeFileSync(
      path,
      policyText()
        .replace('name: cluster', 'name: second')
        .replace('rules:', '  ci: {key: {file: ci.pem}}\nrules:')
        .replace(
          '    manifest-only',
          '    admitted: {by: [ci], within: 1h, policy: {name: cluster}}\n    manifest-only',
        ),
    )
    const { url } = await at.start({ policies: [path], denyMaxAgeMs: 0 })
    expect(await allowed(url, model)).toContain('NOT_ADMITTED')
    const reference = parseReference(model)
    const to = at.repository(reference)
    const manifest = await to.manifest(reference.digest ?? '')
    const attachVerdict = async (by: Party): Promise<void> => {
      await attach(to, {
        subject: {
          mediaType: manifest?.mediaType ?? '',
          digest: reference.digest ?? '',
          size: manifest?.bytes.length ?? 0,
        },
        mediaType: BUNDLE_TYPE,
        content: await saveVerdict(json.verdict as Verdict, { signer: signerOf(by) }),
        annotations: {},
      })
    }
    await attachVerdict(stranger)
    expect(await allowed(url, model)).toContain('NOT_ADMITTED')
    await attachVerdict(recorder)
    expect(await allowed(url, model)).toBe('allowed')
  })
})

describe('the cache', () => {
  it('is bounded in number and bytes, and forgets what was used longest ago', () => {
    const cache = new Cache<number>({ entries: 3, bytes: 100 }, () => 0)
    for (let index = 0; index < 4; index += 1) {
      cache.set(String(index), index, 10, 1000)
      cache.get('0')
    }
    expect(['0', '1', '2', '3'].map((key) => cache.get(key))).toEqual([0, undefined, 2, 3])
    cache.set('big', 9, 95, 1000)
    expect([cache.size, cache.bytes]).toEqual([1, 95])
    cache.set('huge', 9, 101, 1000)
    expect([cache.size, cache.bytes]).toEqual([1, 95])
    cache.set('big', 9, 5, 0)
    expect([cache.size, cache.bytes]).toEqual([0, 0])
  })
})

describe('a log that can not be written', () => {
  it('changes no decision', async () => {
    const model = await at.push('models/good')
    const { openSync } = await import('node:fs')
    const { writeSync } = await import('node:fs')
    const full = openSync('/dev/full', 'w')
    const { url } = await at.start({
      logTo: {
        write: (line: string) => {
          try {
            writeSync(full, utf8Encode(line))
          } catch {
            // as the command does
          }
        },
      },
    })
    expect(await allowed(url, model)).toBe('allowed')
  })
})
