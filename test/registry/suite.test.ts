// A model's way through a registry, end to end, against every registry at hand: pushed, verified, admitted, attached to, pulled, promoted.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pullModel, type PullOptions } from '../../src/gate/pull.ts'
import { promoteModel } from '../../src/gate/promote.ts'
import { saveVerdict, VERDICT_PREDICATE } from '../../src/gate/saved.ts'
import type { Repository } from '../../src/registry/client.ts'
import {
  attach,
  BUNDLE_TYPE,
  bundleAnnotations,
  fallbackTag,
  fetchReferrers,
} from '../../src/registry/referrers.ts'
import { examineModel } from '../../src/verify/model.ts'
import { PARTIES, signerOf } from '../gate/scene.ts'
import { BACKENDS, haveDockerRegistry, inCi, type Backend } from './backend.ts'
import {
  ask,
  failures,
  FILES,
  NOW,
  POLICY,
  push,
  routeOf,
  sha,
  Shelf,
  source,
  verify,
  type SignedFolder,
} from './shelf.ts'

const shelf = new Shelf()
let model: SignedFolder
beforeAll(async () => {
  model = await shelf.model()
})
afterAll(() => shelf.close())

const trust = { kind: 'key', publicKey: PARTIES.release.publicPem } as const

async function pull(
  repository: Repository,
  digest: string,
  from: SignedFolder,
  more: Partial<PullOptions> = {},
): Promise<{ placed: boolean; target: string }> {
  const target = more.target ?? shelf.place()
  const { artifact } = await source(repository, digest)
  const placed = await pullModel({
    repository,
    artifact,
    manifest: from.manifest,
    signature: from.signature,
    target,
    verify: async (path) =>
      (await examineModel(path, { trust, at: NOW })).verdict.decision === 'allow',
    ...more,
  })
  return { placed, target }
}
const leftovers = (): string[] =>
  readdirSync(shelf.folder).filter((name) => name.startsWith('.zt4ai'))

it.runIf(inCi)("has Debian's docker-registry", () => expect(haveDockerRegistry).toBe(true))

describe.each(BACKENDS)('%s', (_, start) => {
  let registry: Backend
  let staging: Repository
  let production: Repository
  beforeAll(async () => {
    registry = await start()
    staging = shelf.repository(registry.host, 'staging/tiny', { chunkSize: 50_000 })
    production = shelf.repository(registry.host, 'prod/tiny')
  })
  afterAll(() => registry.close())

  it('takes a model and decides about it from its manifest', async () => {
    const { digest, uploaded, present } = await push(staging, model, { tag: 'v1' })
    expect([uploaded, present]).toEqual([5, 0])
    expect((await staging.manifest('v1'))?.digest).toBe(digest)
    const verdict = await verify(staging, digest)
    expect([verdict.decision, routeOf(verdict)]).toEqual(['allow', 'raw-bijection'])
    expect(verdict.subject.name).toBe(`oci://${registry.host}/staging/tiny@${digest}`)
    expect(failures(await verify(staging, digest, 'stranger'))).toContain('signature.hint KEY_HINT')
    const { verdict: admitted, files } = await ask(staging, 'v1')
    expect([admitted.decision, files?.route]).toEqual(['allow', 'raw-bijection'])
    expect(admitted.subject.digest).toEqual({ sha256: model.manifest.root })
    const again = await push(staging, model, { tag: 'v1' })
    expect(again).toMatchObject({ digest, uploaded: 0, present: 5 })
    expect(await fetchReferrers(staging, digest)).toHaveLength(1)
  })

  it('takes one as a tar, or hashed in shards by BLAKE3, and reads it to decide', async () => {
    const tar = await push(shelf.repository(registry.host, 'tar/tiny'), model, { tar: true })
    const verdict = await verify(shelf.repository(registry.host, 'tar/tiny'), tar.digest)
    expect([verdict.decision, routeOf(verdict)]).toEqual(['allow', 'streamed'])
    const sharded = await shelf.model(FILES, { hashType: 'blake3', shardSize: 40_000 })
    const repository = shelf.repository(registry.host, 'sharded/tiny')
    const { digest } = await push(repository, sharded)
    expect(routeOf(await verify(repository, digest))).toBe('streamed')
    const { verdict: admitted, files } = await ask(repository, digest)
    expect([admitted.decision, files?.route]).toEqual(['allow', 'streamed'])
    const { placed, target } = await pull(repository, digest, sharded)
    expect(placed).toBe(true)
    // An empty file has no shard, so nothing vouches for it, and it is not written.
    for (const [name, text] of Object.entries(FILES).filter(([, content]) => content !== ''))
      expect(readFileSync(join(target, name), 'utf8')).toBe(text)
    expect(existsSync(join(target, 'weights/empty.txt'))).toBe(false)
  })

  it('refuses a model that is not the signed one, and one that nobody signed', async () => {
    const other = await shelf.model({ ...FILES, 'weights/a.txt': 'changed' })
    const swapped = { ...other, signature: model.signature }
    const repository = shelf.repository(registry.host, 'swapped/tiny')
    const { digest } = await push(repository, swapped)
    expect(failures(await verify(repository, digest))).toEqual(['model.changed FILE_CHANGED'])
    const { digest: less } = await push(repository, model, { names: Object.keys(FILES).slice(1) })
    expect(failures(await verify(repository, less))).toEqual(['model.missing FILE_MISSING'])
    expect((await ask(repository, digest)).verdict.decision).toBe('deny')
    await expect(verify(repository, `sha256:${'00'.repeat(32)}`)).rejects.toMatchObject({
      code: 'REGISTRY_NOT_FOUND',
    })
    const { digest: bare } = await push(
      repository,
      { ...model, signature: utf8('{}') },
      { tar: true },
    )
    expect(failures(await verify(repository, bare))).toContain('signature.bundle BUNDLE_INVALID')
  })

  it('keeps what is attached: a second signature, a saved verdict that a later gate demands', async () => {
    const repository = shelf.repository(registry.host, 'attached/tiny')
    const { digest } = await push(repository, model)
    const { manifest } = await source(repository, digest)
    const subject = { mediaType: manifest.mediaType, digest, size: manifest.bytes.length }
    const demanding = `${POLICY}    admitted: {by: [registry], within: 7d, policy: {name: production}}\n`
    expect(failures((await ask(repository, digest, demanding)).verdict)).toEqual([
      'model.admitted NOT_ADMITTED',
    ])
    const { verdict } = await ask(repository, digest)
    const content = await saveVerdict(verdict, { signer: signerOf('registry') })
    const annotations = bundleAnnotations(VERDICT_PREDICATE, NOW)
    const first = await attach(repository, {
      subject,
      mediaType: BUNDLE_TYPE,
      content,
      annotations,
    })
    const again = await attach(repository, {
      subject,
      mediaType: BUNDLE_TYPE,
      content,
      annotations,
    })
    expect(again).toBe(first)
    expect((await ask(repository, digest, demanding)).verdict.decision).toBe('allow')
    const [referrer] = (await fetchReferrers(repository, digest)).filter(
      (one) => one.manifest.digest === first,
    )
    expect(referrer?.manifest.json).toMatchObject({
      artifactType: BUNDLE_TYPE,
      config: {
        mediaType: 'application/vnd.oci.empty.v1+json',
        artifactType: BUNDLE_TYPE,
        size: 2,
      },
      layers: [{ mediaType: BUNDLE_TYPE, digest: `sha256:${sha(content)}`, size: content.length }],
      subject,
      annotations: {
        'dev.sigstore.bundle.content': 'dsse-envelope',
        'dev.sigstore.bundle.predicateType': VERDICT_PREDICATE,
        'org.opencontainers.image.created': '2026-11-20T12:00:00Z',
      },
    })
  })

  it('gives back what verifies, and nothing else', async () => {
    const { digest } = await push(staging, model)
    const { placed, target } = await pull(staging, digest, model)
    expect(placed).toBe(true)
    expect(readdirSync(target).sort()).toEqual(['README.md', 'config.json', 'model.sig', 'weights'])
    expect((await examineModel(target, { trust, at: NOW })).verdict.decision).toBe('allow')
    const refused = await pull(staging, digest, model, { verify: () => Promise.resolve(false) })
    expect([refused.placed, existsSync(refused.target)]).toEqual([false, false])
    await expect(pull(staging, digest, model, { target })).rejects.toMatchObject({ code: 'IO' })
    await expect(
      pull(staging, digest, model, { target: join(target, 'config.json') }),
    ).rejects.toMatchObject({ code: 'IO' })
    expect(leftovers()).toEqual([])
  })

  it('promotes within the registry by mounting, with all that is attached, byte for byte', async () => {
    const { digest } = await push(staging, model)
    const admission = await ask(staging, digest)
    const verdict = await saveVerdict(admission.verdict, { signer: signerOf('registry') })
    const promoted = await promoteModel({
      from: staging,
      to: production,
      source: await source(staging, digest),
      verdict,
      verdictType: VERDICT_PREDICATE,
      tag: 'v1',
      now: NOW,
    })
    expect(promoted).toMatchObject({ digest, attached: 2 })
    const found = await fetchReferrers(production, digest)
    const before = await fetchReferrers(staging, digest)
    const digests = found.map((one) => one.manifest.digest)
    for (const { manifest } of before) expect(digests).toContain(manifest.digest)
    expect((await verify(production, 'v1')).decision).toBe('allow')
    const demanding = `${POLICY}    admitted: {by: [registry], within: 7d, policy: {name: production}}\n`
    expect((await ask(production, digest, demanding)).verdict.decision).toBe('allow')
  })

  it('promotes to another registry by copying', async () => {
    const { digest } = await push(staging, model)
    const other = await (BACKENDS[1]?.[1] ?? start)()
    const to = shelf.repository(other.host, 'prod/tiny', { chunkSize: 30_000 })
    const promoted = await promoteModel({
      from: staging,
      to,
      source: await source(staging, digest),
    })
    expect(promoted).toMatchObject({ digest, mounted: 0, attached: 1 })
    expect((await verify(to, digest)).decision).toBe('allow')
    expect(await to.manifest(fallbackTag(digest))).toBeDefined()
    await other.close()
  })
})

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

describe('pulling', () => {
  let registry: Backend
  beforeAll(async () => {
    registry = await (BACKENDS[0]?.[1] ?? never)()
  })
  afterAll(() => registry.close())

  it.each([
    ['its own name', {}],
    ['no name, as older signers did', { compat: 'reference' as const }],
  ])('brings back a single file that was signed under %s', async (_, options) => {
    const folder = shelf.place()
    mkdirSync(folder)
    const file = join(folder, 'weights.bin')
    writeFileSync(file, 'weights')
    const { signModel } = await import('../../src/sign/model.ts')
    const signed = await signModel(file, { signer: signerOf('release'), ...options })
    const single = {
      path: folder,
      signature: new Uint8Array(readFileSync(`${file}.sig`)),
      manifest: signed.manifest!,
    }
    const repository = shelf.repository(registry.host, 'single/file')
    for (const tar of [false, true]) {
      const { digest } = await push(repository, single, { names: ['weights.bin'], tar })
      expect((await verify(repository, digest)).decision).toBe('allow')
      const { placed, target } = await pull(repository, digest, single)
      expect(placed).toBe(true)
      expect(readFileSync(join(target, 'weights.bin'), 'utf8')).toBe('weights')
    }
  })

  it('removes what a killed pull left, and not what one at work is writing', async () => {
    const repository = shelf.repository(registry.host, 'left/over')
    const { digest } = await push(repository, model)
    const parent = shelf.place()
    for (const [name, age] of [
      ['.zt4ai-pull-oldold', 3600],
      ['.zt4ai-pull-newnew', 60],
      ['.zt4ai-pull-mine.txt', 3600],
    ] as const) {
      mkdirSync(join(parent, name, 'model'), { recursive: true })
      const then = new Date(Date.now() - age * 1000)
      utimesSync(join(parent, name), then, then)
    }
    const { placed } = await pull(repository, digest, model, { target: join(parent, 'model') })
    expect(placed).toBe(true)
    expect(readdirSync(parent).sort()).toEqual([
      '.zt4ai-pull-mine.txt',
      '.zt4ai-pull-newnew',
      'model',
    ])
  })

  it('leaves nothing when it is interrupted, cut off, or the disk can not be written', async () => {
    const repository = shelf.repository(registry.host, 'cut/off')
    const { digest } = await push(repository, model)
    const controller = new AbortController()
    const interrupted = pull(repository, digest, model, {
      signal: controller.signal,
      onBytes: () => {
        controller.abort()
      },
    })
    await expect(interrupted).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await expect(
      pull(repository, digest, model, { target: '/dev/null/zt4ai/model' }),
    ).rejects.toMatchObject({ code: 'IO' })
    expect(leftovers()).toEqual([])
  })
})

function never(): Promise<Backend> {
  throw new Error('no registry')
}
