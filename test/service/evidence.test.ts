// The service and evidence that is attached to models: found where a rule asks for a machine, kept as long as any answer, never in place of one.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256Hex } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { decodeManifest, decodeStatement } from '../../src/bundle/statement.ts'
import { parseReference } from '../../src/registry/reference.ts'
import {
  attach,
  EVIDENCE_TYPE,
  fetchBundles,
  IMAGE_MANIFEST,
} from '../../src/registry/referrers.ts'
import { readPrivateKey } from '../../src/sign/key.ts'
import { imageVolume, pod, reviewOf } from './fixtures.ts'
import { GOOD, machine, simulated } from './machine.ts'
import { policyText, pushTar, recorder, world, type Asked, type World } from './world.ts'

const NONCE = new Uint8Array(32).fill(7)
const MACHINES = `machines:
  prod:
    platform: sev-snp
    measurements: [${GOOD}]
    trust-root: {file: root.pem}
    nonce: not-required
rules:`
/** Models need a machine; those under free/ do not. */
const POLICY = policyText(`  free:
    models: ['oci://127.0.0.1:*/free/*']
    signed-by: {any-of: [release]}
    machine: not-required
    manifest-only: [raw-bijection]
`)
  .replace('rules:', MACHINES)
  .replace('machine: not-required', 'machine: {any-of: [prod]}')

let at: World
beforeEach(async () => {
  at = await world()
  writeFileSync(join(at.folder, 'root.pem'), simulated.rootPem)
  at.policy(POLICY)
})
afterEach(() => at.close())

const admit = (url: string, reference: string, reading = 'manifest-only'): Promise<Asked> =>
  at.ask(`${url}/v1/admit?timeout=30s`, { body: { reference, reading } })

async function webhook(url: string, reference: string): Promise<string> {
  const body = reviewOf(pod({ volumes: [imageVolume(reference)] }))
  const { json } = await at.ask(`${url}/validate?timeout=30s`, { body })
  return json.response.allowed === true ? 'allowed' : String(json.response.status.message)
}

/** Attaches evidence that is bound to the model, or to another one. Gives the digests of its referrer and of its content. */
async function prove(model: string, root?: string): Promise<{ referrer: string; blob: string }> {
  const { digest = '', ...where } = parseReference(model)
  const repository = at.repository(where)
  const [signature] = await fetchBundles(repository, digest)
  const { payload } = decodeBundle(signature?.bytes ?? new Uint8Array()).envelope
  const own = decodeManifest(decodeStatement(payload)).manifest?.root ?? ''
  const { bytes } = machine(simulated.binding(NONCE, root ?? own), NONCE)
  const subject = { mediaType: IMAGE_MANIFEST, digest, size: 1 }
  const mediaType = EVIDENCE_TYPE
  const referrer = await attach(repository, { subject, mediaType, content: bytes, annotations: {} })
  return { referrer, blob: `sha256:${sha256Hex(bytes)}` }
}

describe('attached evidence', () => {
  it('counts for the webhook and for who asks, and what is decided is kept for its time', async () => {
    const model = await at.push('models/proved')
    let mono = 0
    const { url } = await at.start({
      monotonic: () => mono,
      denyMaxAgeMs: 5_000,
      allowMaxAgeMs: 60_000,
    })
    expect((await admit(url, model)).json).toMatchObject({
      result: 'deny',
      code: 'EVIDENCE_MISSING',
    })
    const { referrer, blob } = await prove(model)
    expect(await webhook(url, model)).toContain('EVIDENCE_MISSING')
    mono += 5_001
    const { json } = await admit(url, model)
    expect(json).toMatchObject({ result: 'allow' })
    expect(json.verdict.inputs).toContainEqual({
      name: `evidence:${blob}`,
      digest: { sha256: blob.slice('sha256:'.length) },
    })
    expect(await webhook(url, model)).toBe('allowed')
    at.registry.manifests.get('models/proved')?.delete(referrer)
    mono += 59_000
    expect(await webhook(url, model)).toBe('allowed')
    mono += 1_001
    expect(await webhook(url, model)).toContain('EVIDENCE_MISSING')
  })

  it('of another model, or where a nonce is asked for, is refused', async () => {
    const other = await at.push('models/other')
    await prove(other, '77'.repeat(32))
    const model = await at.push('models/proved')
    await prove(model)
    const { url } = await at.start()
    expect(await webhook(url, other)).toContain('BINDING_MISMATCH')
    const path = join(at.folder, 'strict.yaml')
    writeFileSync(path, POLICY.replace('nonce: not-required', 'nonce: required'))
    const strict = await at.start({ policies: [path] })
    expect(await webhook(strict.url, model)).toContain('NONCE_MISMATCH')
  })

  it('that the registry does not send decides nothing, and nothing is remembered of it', async () => {
    const model = await at.push('models/proved')
    const { blob } = await prove(model)
    const kept = at.registry.blobs.get(blob) ?? new Uint8Array()
    at.registry.blobs.set(
      blob,
      kept.map((byte) => byte ^ 1),
    )
    const { url } = await at.start({ monotonic: () => 0 })
    const failed = await admit(url, model)
    expect(failed.status).toBe(503)
    expect(failed.json).toMatchObject({ result: 'unavailable', code: 'EVIDENCE_UNAVAILABLE' })
    expect(failed.json.message).toContain('REGISTRY_DIGEST')
    expect(await webhook(url, model)).toContain('EVIDENCE_UNAVAILABLE')
    at.registry.blobs.set(blob, kept)
    expect(await webhook(url, model)).toBe('allowed')
  })

  it('is not asked for where the rule wants no machine', async () => {
    const model = await at.push('free/model')
    const { blob } = await prove(model)
    const { url } = await at.start()
    expect(await webhook(url, model)).toBe('allowed')
    expect(
      at.registry.log.filter(({ method, path }) => method === 'GET' && path.endsWith(blob)),
    ).toEqual([])
  })

  it('makes no verdict that others use: none is recorded', async () => {
    const [model, free] = [await pushTar(at, 'models/tar'), await pushTar(at, 'free/tar')]
    await prove(model)
    const { url } = await at.start({
      readLayers: true,
      key: readPrivateKey(recorder.privatePem),
      record: true,
    })
    expect((await admit(url, model, 'layers')).json).toMatchObject({ result: 'allow' })
    expect((await admit(url, free, 'layers')).json).toMatchObject({ result: 'allow' })
    const bundles = async (name: string): Promise<number> => {
      const { digest = '', ...where } = parseReference(name)
      return (await fetchBundles(at.repository(where), digest)).length
    }
    await expect.poll(() => bundles(free)).toBe(2)
    expect(await bundles(model)).toBe(1)
  })
})
