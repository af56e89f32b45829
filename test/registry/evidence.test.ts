// Evidence that is attached to a model in a registry: read where a rule asks for a machine and nobody gave any, judged as a recording, never believed for being there.
import { spawn } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import type { Code } from '../../src/codes.ts'
import { ZtError } from '../../src/error.ts'
import { admit } from '../../src/gate/admit.ts'
import { policyFrom } from '../../src/gate/policy.ts'
import { promoteModel } from '../../src/gate/promote.ts'
import type { Admission, AdmitRequest } from '../../src/gate/question.ts'
import { readReplay, replay, writeReplay } from '../../src/gate/replay.ts'
import type { Repository } from '../../src/registry/client.ts'
import {
  attach,
  EMPTY_DIGEST,
  EMPTY_TYPE,
  EVIDENCE_TYPE,
  fallbackTag,
  fetchReferrers,
  IMAGE_MANIFEST,
  once,
  putReferrer,
} from '../../src/registry/referrers.ts'
import { verdictJson } from '../../src/verdict.ts'
import { startRegistry, type RegistryDouble, type RegistrySwitches } from '../fakes/registry.ts'
import { failing, GOOD, machine, NONCE, OTHER_NONCE, PARTIES } from '../gate/scene.ts'
import { REPOSITORY } from '../shared.ts'
import { BACKENDS } from './backend.ts'
import { NOW, push, sha, Shelf, source, type SignedFolder } from './shelf.ts'

const RECORDED = 'nonce: not-required'
const policyText = (
  machineSays = RECORDED,
  rule = '{any-of: [prod]}',
): string => `schema: zt4ai.policy/v1
name: production
signers:
  release: {key: {file: release.pub.pem}}
machines:
  prod:
    platform: sev-snp
    measurements: [${GOOD}]
    trust-root: {file: root.pem}
    ${machineSays}
rules:
  production:
    models: ['*']
    signed-by: {any-of: [release]}
    machine: ${rule}
    manifest-only: [raw-bijection]
`
const { rootPem } = machine('00'.repeat(32))
const policy = (text: string): AdmitRequest['policy'] =>
  policyFrom(utf8Encode(text), (name) =>
    name === 'root.pem' ? rootPem : utf8Encode(PARTIES.release.publicPem),
  )

const shelf = new Shelf()
const model: SignedFolder = await shelf.model()
const { root } = model.manifest
const good = machine(root).evidence.bytes
afterAll(() => shelf.close())

async function ask(
  repository: Repository,
  digest: string,
  text = policyText(),
  more: Partial<AdmitRequest> = {},
): Promise<Admission> {
  const from = await source(repository, digest)
  return admit({ model: from, policy: policy(text), at: NOW, now: NOW, ...more })
}

async function addEvidence(
  repository: Repository,
  digest: string,
  content: Uint8Array,
  mediaType = EVIDENCE_TYPE,
): Promise<string> {
  const size = (await repository.manifest(digest))?.bytes.length ?? 0
  const subject = { mediaType: IMAGE_MANIFEST, digest, size }
  return attach(repository, { subject, mediaType, content, annotations: {} })
}

/** Many pieces in one referrer. */
async function attachMany(
  repository: Repository,
  digest: string,
  pieces: readonly Uint8Array[],
): Promise<void> {
  const layers = []
  for (const piece of pieces) {
    const layer = { mediaType: EVIDENCE_TYPE, digest: `sha256:${sha(piece)}`, size: piece.length }
    await repository.uploadBlob(layer.digest, layer.size, (from) => once(piece.subarray(from)))
    layers.push(layer)
  }
  await repository.uploadBlob(EMPTY_DIGEST, 2, () => once(utf8Encode('{}')))
  const manifest = {
    schemaVersion: 2,
    mediaType: IMAGE_MANIFEST,
    config: { mediaType: EMPTY_TYPE, digest: EMPTY_DIGEST, size: 2 },
    layers,
    subject: { mediaType: IMAGE_MANIFEST, digest, size: 1 },
  }
  const bytes = utf8Encode(JSON.stringify(manifest))
  await putReferrer(repository, digest, { mediaType: IMAGE_MANIFEST, bytes, annotations: {} })
}

describe.each(BACKENDS)('%s', (_, start) => {
  it('keeps evidence at its model, where a gate finds it', async () => {
    const backend = await start()
    try {
      const repository = shelf.repository(backend.host, 'team/proved')
      const { digest } = await push(repository, model)
      const before = await ask(repository, digest)
      expect(failing(before)).toEqual(['machine.evidence EVIDENCE_MISSING'])
      await addEvidence(repository, digest, good)
      const found = await ask(repository, digest)
      expect(found.verdict.decision).toBe('allow')
      const name = `sha256:${sha(good)}`
      expect(found.recorded.evidence).toEqual([{ name, bytes: good }])
      expect(found.verdict.inputs).toContainEqual({
        name: `evidence:${name}`,
        digest: { sha256: sha(good) },
      })
      const given = await ask(repository, digest, policyText(), {
        evidence: [{ name, bytes: good }],
      })
      expect(verdictJson(found.verdict)).toBe(verdictJson(given.verdict))
      const again = await replay(readReplay(utf8Encode(writeReplay(found))))
      expect(verdictJson(again.verdict)).toBe(verdictJson(found.verdict))
    } finally {
      await backend.close()
    }
  })
})

describe('evidence in a registry', () => {
  const doubles: RegistryDouble[] = []
  let double: RegistryDouble
  let repository: Repository
  let digest: string
  async function start(switches: RegistrySwitches = {}): Promise<void> {
    double = await startRegistry(switches)
    doubles.push(double)
    repository = shelf.repository(double.host, 'team/tiny')
    ;({ digest } = await push(repository, model))
  }
  beforeEach(() => start())
  afterEach(async () => {
    for (const one of doubles.splice(0)) await one.close()
  })
  const requests = async (work: () => Promise<unknown>): Promise<string[]> => {
    const before = double.log.length
    await work()
    return double.log.slice(before).map(({ path }) => path)
  }
  const asked = (paths: readonly string[], bytes = good): boolean =>
    paths.some((path) => path.endsWith(sha(bytes)))

  it('is read only where a rule asks for a machine, and the list of what is attached once', async () => {
    await addEvidence(repository, digest, good)
    const needed = await requests(() => ask(repository, digest))
    const notNeeded = await requests(() =>
      ask(repository, digest, policyText(RECORDED, 'not-required')),
    )
    const given = await requests(() =>
      ask(repository, digest, policyText(), { evidence: [{ name: 'mine', bytes: good }] }),
    )
    const nobody = await requests(() =>
      ask(repository, digest, policyText().replace("'*'", "'acme/*'")),
    )
    expect([needed, notNeeded, given, nobody].map((paths) => asked(paths))).toEqual([
      true,
      false,
      false,
      false,
    ])
    expect(needed).toHaveLength(notNeeded.length + 1)
    expect(given).toHaveLength(notNeeded.length)
  })

  it('does not stand in for evidence that the caller gave', async () => {
    await addEvidence(repository, digest, good)
    const evidence = [{ name: 'mine', bytes: utf8Encode('{}') }]
    const { verdict, recorded } = await ask(repository, digest, policyText(), { evidence })
    expect(verdict.decision).toBe('deny')
    expect(recorded.evidence).toEqual(evidence)
  })

  it('answers no nonce, whoever asks with which', async () => {
    await addEvidence(repository, digest, machine(root, { nonce: OTHER_NONCE }).evidence.bytes)
    const strict = policyText('nonce: required')
    const silent = await ask(repository, digest, strict)
    expect(failing(silent)).toEqual(['machine.nonce NONCE_MISMATCH'])
    const { hint = '' } = silent.verdict.checks.find(({ id }) => id === 'machine.nonce') ?? {}
    expect(hint).toContain('--evidence FILE')
    expect(hint).toContain('attached to a model')
    const replayed = await ask(repository, digest, strict, { challenge: { nonce: NONCE } })
    expect(failing(replayed)).toContain('machine.nonce NONCE_MISMATCH')
    const aged = await ask(repository, digest, policyText('max-age: 5m'))
    expect(failing(aged)).toEqual([
      'machine.nonce NONCE_MISMATCH',
      'machine.freshness EVIDENCE_OLD',
    ])
    const late = await ask(repository, digest, policyText('max-age: 5m'), {
      challenge: { nonce: OTHER_NONCE, issued: new Date(NOW.getTime() - 301_000) },
    })
    expect(failing(late)).toEqual(['machine.freshness EVIDENCE_OLD'])
  })

  const text = utf8Encode(JSON.stringify({ schema: 'zt4ai.evidence/v1', kind: 'sev-snp' }))
  it.each<[string, Uint8Array, string, string]>([
    [
      'about another model',
      machine('77'.repeat(32)).evidence.bytes,
      '',
      'machine.binding BINDING_MISMATCH',
    ],
    [
      'of other software',
      machine(root, { measurement: '66'.repeat(48) }).evidence.bytes,
      '',
      'machine.measurement MEASUREMENT_UNKNOWN',
    ],
    [
      'of a machine that can be debugged',
      machine(root, { policy: 0xb0000n }).evidence.bytes,
      '',
      'machine.evidence EVIDENCE_REFUSED',
    ],
    [
      'of a vendor that nobody named',
      good,
      '    trust-root: {file: root.pem}\n',
      'machine.root ROOT_UNTRUSTED',
    ],
    [
      'with a bit flipped',
      good.map((byte, at) => (at === good.length >> 1 ? byte ^ 1 : byte)),
      '',
      'machine.evidence EVIDENCE_REFUSED',
    ],
    ['of the right schema alone', text, '', 'machine.evidence EVIDENCE_REFUSED'],
    ['that is a signature', model.signature, '', 'machine.evidence EVIDENCE_REFUSED'],
    ['that is empty', new Uint8Array(), '', 'machine.evidence EVIDENCE_REFUSED'],
  ])('%s is refused with its reason', async (_, bytes, without, expected) => {
    await addEvidence(repository, digest, bytes)
    const admission = await ask(repository, digest, policyText().replace(without, ''))
    expect(admission.verdict.decision).toBe('deny')
    expect(failing(admission)).toContain(expected)
  })

  it('is judged by its content, whatever it is said to be; what is no evidence can not hide what is', async () => {
    await addEvidence(repository, digest, text)
    await addEvidence(repository, digest, model.signature)
    await addEvidence(repository, digest, good)
    expect((await ask(repository, digest)).verdict.decision).toBe('allow')
  })

  it('is bounded in number and bytes: too much of it is no answer', async () => {
    const junk = Array.from({ length: 100 }, (_, index) => utf8Encode(`{"${String(index)}": 1}`))
    await attachMany(repository, digest, [...junk.slice(0, 63), good])
    expect((await ask(repository, digest)).verdict.decision).toBe('allow')
    await attachMany(repository, digest, junk)
    await expect(ask(repository, digest)).rejects.toMatchObject({
      code: 'TOO_LARGE',
      message: 'more than 64 pieces of evidence',
    })
    expect(
      (await ask(repository, digest, policyText(RECORDED, 'not-required'))).verdict.decision,
    ).toBe('allow')
    const large = await push(repository, await shelf.model(), { tar: true })
    await addEvidence(repository, large.digest, new Uint8Array(17 << 20))
    await addEvidence(repository, large.digest, new Uint8Array(17 << 20).fill(1))
    await expect(ask(repository, large.digest)).rejects.toMatchObject({
      code: 'TOO_LARGE',
      message: expect.stringContaining('bytes of pieces of evidence') as unknown,
    })
  })

  it('is found, and only what is there, where the list of what is attached lies', async () => {
    await start({ referrers: 'none' })
    const other = await push(repository, model, { names: ['config.json'] })
    const elsewhere = await addEvidence(repository, other.digest, good)
    const own = await addEvidence(repository, digest, text)
    const entries = double.manifests.get(repository.name)
    const tag = entries?.get(fallbackTag(digest))
    const lie = (manifests: readonly object[]): void => {
      entries?.set(fallbackTag(digest), {
        type: tag?.type ?? '',
        bytes: utf8Encode(JSON.stringify({ schemaVersion: 2, manifests })),
      })
    }
    const signed = (await fetchReferrers(repository, digest)).map(({ manifest }) => manifest.digest)
    const claims = {
      mediaType: 'text/html',
      artifactType: 'application/vnd.oci.empty.v1+json',
      size: 0,
      annotations: { 'dev.sigstore.bundle.content': 'dsse-envelope' },
    }
    // what is attached to another model, a blob that is no manifest, what does not exist
    lie(
      [...signed, elsewhere, `sha256:${sha(good)}`, `sha256:${'ab'.repeat(32)}`].map((listed) => ({
        ...claims,
        digest: listed,
      })),
    )
    expect(signed).toContain(own)
    const { verdict, recorded } = await ask(repository, digest)
    expect([verdict.decision, recorded.evidence]).toEqual([
      'deny',
      [{ name: `sha256:${sha(text)}`, bytes: text }],
    ])
    lie(
      [...signed, await addEvidence(repository, digest, good)].map((listed) => ({
        ...claims,
        digest: listed,
      })),
    )
    expect((await ask(repository, digest)).verdict.decision).toBe('allow')
  })

  it('that the registry does not send is no answer: neither a refusal nor an allow', async () => {
    await addEvidence(repository, digest, good)
    const blob = `sha256:${sha(good)}`
    const failed = (code: Code): Promise<Admission> => {
      async function* broken(): AsyncIterable<Uint8Array> {
        await Promise.resolve()
        yield good.subarray(0, 10)
        throw new ZtError(code, 'it broke', { path: 'somewhere' })
      }
      const blobStream: Repository['blobStream'] = (wanted, max, offset) =>
        wanted === blob ? broken() : repository.blobStream(wanted, max, offset)
      return ask({ ...repository, blobStream }, digest)
    }
    for (const code of ['NETWORK', 'REGISTRY_AUTH', 'REGISTRY_ANSWER', 'REGISTRY_DIGEST'] as const)
      await expect(failed(code)).rejects.toMatchObject({
        code: 'EVIDENCE_UNAVAILABLE',
        message: `the evidence attached to the model can't be read: ${code}: it broke (somewhere)`,
      })
    await expect(failed('INTERRUPTED')).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await expect(failed('TOO_LARGE')).rejects.toMatchObject({ code: 'TOO_LARGE' })
    expect(failing(await failed('REGISTRY_NOT_FOUND'))).toEqual([
      'machine.evidence EVIDENCE_MISSING',
    ])
    double.blobs.set(blob, machine(root, { nonce: OTHER_NONCE }).evidence.bytes)
    await expect(ask(repository, digest)).rejects.toMatchObject({
      code: 'EVIDENCE_UNAVAILABLE',
      message: expect.stringContaining('REGISTRY_DIGEST') as unknown,
    })
  })

  it('travels along when its model is promoted; what is no evidence and no bundle stays', async () => {
    await addEvidence(repository, digest, good)
    await addEvidence(
      repository,
      digest,
      utf8Encode('{"spdxVersion": "SPDX-2.3"}'),
      'application/spdx+json',
    )
    const to = shelf.repository(double.host, 'prod/tiny')
    const from = await source(repository, digest)
    const promoted = await promoteModel({ from: repository, to, source: from, tag: 'v1' })
    expect(promoted.attached).toBe(2)
    expect((await ask(to, digest)).verdict.decision).toBe('allow')
  })
})

describe('on the command line', () => {
  const MAIN = resolve(REPOSITORY, 'dist/src/cli/main.js')
  const at = (name: string): string => join(shelf.folder, name)
  function run(...args: readonly string[]): Promise<{ code: number | null; said: string }> {
    const child = spawn(process.execPath, [MAIN, ...args, '--plain-http'], {
      env: { PATH: process.env['PATH'] ?? '', HOME: shelf.folder },
    })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
    return new Promise((done) => child.on('close', (code) => done({ code, said })))
  }

  it('evidence is attached once, and admit, promote and pull find it', async () => {
    const double = await startRegistry()
    try {
      const { digest } = await push(shelf.repository(double.host, 'team/tiny'), model)
      const reference = `oci://${double.host}/team/tiny@${digest}`
      writeFileSync(at('evidence.json'), good)
      writeFileSync(at('root.pem'), rootPem)
      writeFileSync(at('release.pub.pem'), PARTIES.release.publicPem)
      writeFileSync(at('policy.yaml'), policyText())
      const question = ['--policy', at('policy.yaml'), '--at', NOW.toISOString()]
      expect((await run('admit', reference, ...question)).said).toContain('EVIDENCE_MISSING')
      expect((await run('pull', reference, at('pulled'), ...question)).code).toBe(1)
      expect((await run('attach', at('evidence.json'), reference)).code).toBe(0)
      expect(await run('admit', reference, ...question)).toMatchObject({ code: 0 })
      const prod = `oci://${double.host}/prod/tiny:v1`
      expect(await run('promote', reference, prod, ...question)).toMatchObject({ code: 0 })
      expect(await run('pull', prod, at('pulled'), ...question)).toMatchObject({ code: 0 })
      expect(readdirSync(at('pulled'))).toContain('model.sig')
      // what was recorded is no answer to who asks now
      writeFileSync(at('policy.yaml'), policyText('nonce: required'))
      const strict = await run('admit', prod, ...question, '--nonce', '0e'.repeat(32))
      expect([strict.code, strict.said.includes('NONCE_MISMATCH')]).toEqual([1, true])
    } finally {
      await double.close()
    }
  })
})
