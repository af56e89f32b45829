// Signing and verifying whole models: every method, hash, serialization and curve, both ways; and what must never happen on the way.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { decodeStatement } from '../../src/bundle/statement.ts'
import { ZtError } from '../../src/error.ts'
import { HASH_TYPES } from '../../src/model/manifest.ts'
import { certificateSigner } from '../../src/sign/certificate.ts'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signModel } from '../../src/sign/model.ts'
import type { SignModelOptions } from '../../src/sign/model.ts'
import type { Signer } from '../../src/sign/signer.ts'
import { examineModel, verifyModel } from '../../src/verify/model.ts'
import type { Trust } from '../../src/verify/result.ts'
import { issue, party } from '../fakes/authority.ts'
import { omsSchemas } from '../fakes/schemas.ts'
import { haveShared } from '../shared.ts'

const AT = new Date('2026-06-01T00:00:00Z')
const FILES: Readonly<Record<string, string>> = {
  'config.json': '{"a":1}',
  'tokenizer.json': 'x'.repeat(100),
  'tokenizer/vocab.json': 'y'.repeat(30),
  'weights/a b.bin': 'z'.repeat(1000),
  'weights/c:0:5.bin': 'colon',
  '漢字/\u{1f600}': 'astral',
  '\ue000': 'private use',
  empty: '',
}
const root = party('root')
const rootPem = issue(root, { ca: true })

const METHODS: Record<string, { signer: Signer; trust: Trust }> = {}
for (const curve of ['P-256', 'P-384', 'P-521'] as const) {
  const signer = party('signer', curve)
  const key = readPrivateKey(signer.privatePem)
  METHODS[`key ${curve}`] = {
    signer: keySigner(key),
    trust: { kind: 'key', publicKey: signer.publicPem },
  }
  const certificate = issue(signer, { issuer: root, emails: ['me@example.org'] })
  METHODS[`certificate ${curve}`] = {
    signer: certificateSigner(key, { certificate }, AT),
    trust: { kind: 'certificate', roots: rootPem, identity: 'me@example.org' },
  }
}
const { signer, trust } = METHODS['key P-256']!

let base = ''
let counter = 0
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'zt4ai-model-'))
})
afterAll(() => rmSync(base, { recursive: true, force: true }))

function model(files: Readonly<Record<string, string>> = FILES): string {
  const path = join(base, `m${counter++}`, 'model')
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true })
    writeFileSync(join(path, name), content)
  }
  return path
}

const failed = async (path: string, more: object = {}): Promise<string[]> =>
  (await verifyModel(path, { trust, at: AT, ...more })).checks
    .filter(({ status }) => status === 'fail')
    .map(({ id, code }) => `${id} ${code}`)

const payload = (path: string): Uint8Array =>
  decodeBundle(new Uint8Array(readFileSync(path))).envelope.payload

describe('round trips', () => {
  const ways: { name: string; options: Partial<SignModelOptions> }[] = HASH_TYPES.flatMap(
    (hashType) => [
      { name: `${hashType} files`, options: { hashType } },
      { name: `${hashType} shards`, options: { hashType, method: 'shards', shardSize: 64 } },
      {
        name: `${hashType} shards, reference form`,
        options: { hashType, method: 'shards', shardSize: 64, compat: 'reference' },
      },
    ],
  )

  describe.each(Object.entries(METHODS))('%s', (_, method) => {
    it.each(ways)('$name', async ({ options }) => {
      const path = model()
      const signed = await signModel(path, { ...options, signer: method.signer })
      expect(signed.checks.filter(({ status }) => status === 'fail')).toEqual([])
      const { verdict, files } = await examineModel(path, { trust: method.trust, at: AT })
      expect(verdict.checks.filter(({ status }) => status === 'fail')).toEqual([])
      expect(verdict.decision).toBe('allow')
      expect(verdict.subject).toEqual({ name: 'model', digest: { sha256: signed.manifest?.root } })
      expect(files?.files).toBe(Object.keys(FILES).length - (options.method === 'shards' ? 1 : 0))
      if (haveShared && options.compat === undefined)
        omsSchemas().check(readFileSync(signed.signature))
    })
  })

  it.each([undefined, 'reference'] as const)('a single file, form %s', async (compat) => {
    const path = join(model({ 'w.bin': 'weights' }), 'w.bin')
    const signed = await signModel(path, { signer, ...(compat === undefined ? {} : { compat }) })
    expect(signed.signature).toBe(`${path}.sig`)
    expect(signed.manifest?.resources.map(({ name }) => name)).toEqual([
      compat === undefined ? 'w.bin' : '.',
    ])
    expect(await failed(path)).toEqual([])
    writeFileSync(path, 'weightz')
    expect(await failed(path)).toHaveLength(1)
  })

  it('links that stay inside, where they are allowed', async () => {
    const path = model({ 'a/x': '1' })
    symlinkSync('a', join(path, 'b'))
    symlinkSync('a/x', join(path, 'c'))
    expect((await signModel(path, { signer })).manifest).toBeNull()
    const signed = await signModel(path, { signer, allowSymlinks: true })
    expect(signed.manifest?.resources.map(({ name }) => name)).toEqual(['a/x', 'b/x', 'c'])
    expect(await failed(path)).toEqual([])
  })

  it('resources stand in the order of their UTF-8 bytes', async () => {
    const { manifest } = await signModel(model(), { signer })
    const names = manifest!.resources.map(({ name }) => name)
    expect(names).toEqual([...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))))
  })
})

describe('what is written', () => {
  it('is the same payload, byte for byte, for the same model and options', async () => {
    const [a, b] = [model(), model()]
    const first = await signModel(a, { signer, ignorePaths: ['y', 'x'] })
    const second = await signModel(b, { signer, ignorePaths: ['x', 'y', 'x'] })
    expect(payload(first.signature)).toEqual(payload(second.signature))
  })

  it('never includes its own output, wherever in the model that is', async () => {
    const path = model()
    const signature = join(path, 'weights', 'own.sig')
    for (let round = 0; round < 2; round++) {
      const { manifest } = await signModel(path, { signer, signature })
      expect(manifest?.resources.map(({ name }) => name)).not.toContain('weights/own.sig')
      expect(manifest?.serialization.ignorePaths).toContain('weights/own.sig')
      expect(await failed(path, { signature })).toEqual([])
    }
  })

  it('records nothing of a signature that lies elsewhere', async () => {
    const path = model()
    const signature = join(base, 'elsewhere.sig')
    const { manifest } = await signModel(path, { signer, signature })
    expect(manifest?.serialization.ignorePaths).toEqual([
      '.git',
      '.gitattributes',
      '.github',
      '.gitignore',
    ])
    expect(await failed(path, { signature })).toEqual([])
  })

  it('is found through a link to the model', async () => {
    const path = model()
    const link = join(base, 'link')
    symlinkSync(path, link)
    await signModel(link, { signer })
    expect(await failed(link)).toEqual([])
    expect(await failed(path)).toEqual([])
  })

  it('names the default ignored paths and its own', async () => {
    const { signature } = await signModel(model(), { signer })
    const { json } = decodeStatement(payload(signature))
    expect(json).toMatchObject({
      predicate: {
        serialization: {
          ignore_paths: ['.git', '.gitattributes', '.github', '.gitignore', 'model.sig'],
        },
      },
    })
  })

  it('sizes and fs-verity digests only where they are asked for', async () => {
    const plain = await signModel(model(), { signer })
    expect(plain.manifest?.resources[0]).not.toHaveProperty('size')
    const path = model()
    const { manifest, signature } = await signModel(path, { signer, sizes: true, fsverity: true })
    expect(manifest?.resources[0]).toMatchObject({ name: 'config.json', size: 7 })
    expect(manifest?.resources[0]?.fsverity).toMatch(/^sha256:[0-9a-f]{64}$/)
    if (haveShared) omsSchemas().check(readFileSync(signature))
    expect(await failed(path, { fsverity: true })).toEqual([])
  })

  it('nothing, if the model can not be signed: an older signature stays', async () => {
    const path = model({ a: '1' })
    const signature = join(path, 'model.sig')
    writeFileSync(signature, '{"dsseEnvelope":"the older one"}')
    symlinkSync('/etc/passwd', join(path, 'out'))
    const signed = await signModel(path, { signer })
    expect(signed.manifest).toBeNull()
    expect(signed.checks.map(({ code }) => code)).toEqual(['FILE_LINK'])
    expect(readFileSync(signature, 'utf8')).toBe('{"dsseEnvelope":"the older one"}')
    expect(readdirSync(path).sort()).toEqual(['a', 'model.sig', 'out'])
  })

  it('nothing, if the signer fails, and nothing half, if the place can’t be written', async () => {
    const path = model({ a: '1' })
    const broken: Signer = {
      kind: 'key',
      sign: () => Promise.reject(new ZtError('INTERNAL', 'no')),
    }
    await expect(signModel(path, { signer: broken })).rejects.toThrow('no')
    const signature = join(path, 'nowhere', 'a.sig')
    await expect(signModel(path, { signer, signature })).rejects.toMatchObject({ code: 'IO' })
    expect(readdirSync(path).sort()).toEqual(['a'])
  })

  it('never over a file of the model, a key, or whatever else is no signature', async () => {
    const path = model({ a: '1', 'config.json': '{}' })
    const aside = model({ 'key.pem': '-----BEGIN PRIVATE KEY-----' })
    const one = join(aside, 'key.pem')
    mkdirSync(join(path, 'model.sig'))
    for (const signature of [join(path, 'config.json'), one, join(path, 'model.sig'), '/dev/null'])
      await expect(signModel(path, { signer, signature })).rejects.toMatchObject({ code: 'USAGE' })
    await expect(signModel(one, { signer, signature: one })).rejects.toThrow('no signature')
    expect(readFileSync(join(path, 'config.json'), 'utf8')).toBe('{}')
    expect(readFileSync(one, 'utf8')).toBe('-----BEGIN PRIVATE KEY-----')
    writeFileSync(join(aside, 'held.sig'), '')
    for (let again = 0; again < 2; again++) {
      const signed = await signModel(path, { signer, signature: join(aside, 'held.sig') })
      expect(signed.manifest).not.toBeNull()
    }
  })

  it('nothing, if it is interrupted', async () => {
    const path = model({ a: '1' })
    const signal = AbortSignal.abort()
    await expect(signModel(path, { signer, signal })).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(readdirSync(path)).toEqual(['a'])
  })

  it('an empty model is refused', async () => {
    const path = join(model({ a: '1' }), '..', 'empty')
    mkdirSync(path)
    const signed = await signModel(path, { signer })
    expect(signed.manifest).toBeNull()
    expect(signed.checks.map(({ code }) => code)).toEqual(['MODEL_EMPTY'])
    expect(existsSync(join(path, 'model.sig'))).toBe(false)
  })
})

describe('what differs on disk', () => {
  async function signedModel(options: Partial<SignModelOptions> = {}): Promise<string> {
    const path = model()
    await signModel(path, { signer, ...options })
    return path
  }

  it('everything missing, extra and changed is listed', async () => {
    const path = await signedModel()
    rmSync(join(path, 'config.json'))
    rmSync(join(path, 'tokenizer'), { recursive: true })
    writeFileSync(join(path, 'tokenizer.json'), 'changed')
    writeFileSync(join(path, 'new'), '')
    writeFileSync(join(path, 'empty'), 'no more')
    const verdict = await verifyModel(path, { trust, at: AT })
    expect(verdict.decision).toBe('deny')
    expect(await failed(path)).toEqual([
      'model.missing:config.json FILE_MISSING',
      'model.missing:tokenizer/vocab.json FILE_MISSING',
      'model.extra:new FILE_EXTRA',
      'model.changed:empty FILE_CHANGED',
      'model.changed:tokenizer.json FILE_CHANGED',
    ])
    const changed = verdict.checks.find(({ id }) => id === 'model.changed:empty')
    expect(changed?.expected).toBe(
      'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    )
    expect(changed?.actual).toMatch(/^sha256:[0-9a-f]{64}$/)
  })

  it('unsigned files are let be only where the caller says so', async () => {
    const path = await signedModel()
    writeFileSync(join(path, 'new'), '')
    expect(await failed(path)).toEqual(['model.extra:new FILE_EXTRA'])
    expect(await failed(path, { ignoreUnsigned: true })).toEqual([])
    expect(await failed(path, { ignorePaths: ['new'] })).toEqual([])
  })

  it('a renamed file is missing and extra', async () => {
    const path = await signedModel()
    cpSync(join(path, 'config.json'), join(path, 'config2.json'))
    rmSync(join(path, 'config.json'))
    expect(await failed(path)).toEqual([
      'model.missing:config.json FILE_MISSING',
      'model.extra:config2.json FILE_EXTRA',
    ])
  })

  it('a link in the place of a file is refused, with or without unsigned files', async () => {
    const path = await signedModel()
    const copy = join(base, 'copy')
    cpSync(join(path, 'config.json'), copy)
    rmSync(join(path, 'config.json'))
    symlinkSync(copy, join(path, 'config.json'))
    expect(await failed(path)).toEqual(['model.entry:config.json FILE_LINK'])
    expect(await failed(path, { ignoreUnsigned: true })).toEqual([
      'model.entry:config.json FILE_LINK',
    ])
  })

  it('what lies under paths that the signer left out is named', async () => {
    const path = model()
    mkdirSync(join(path, 'cache/deep'), { recursive: true })
    writeFileSync(join(path, 'cache/deep/evil.py'), '')
    await signModel(path, { signer, ignorePaths: ['cache'] })
    const verdict = await verifyModel(path, { trust, at: AT })
    expect(verdict.decision).toBe('allow')
    expect(verdict.checks.find(({ status }) => status === 'warn')).toMatchObject({
      id: 'model.ignored',
      code: 'UNSIGNED_IGNORED',
      actual: 'cache/deep/evil.py',
    })
  })

  it('an unsigned model is denied, and a model that is not there has no verdict', async () => {
    expect(await failed(model())).toEqual(['signature.bundle SIGNATURE_NOT_FOUND'])
    await expect(verifyModel(join(base, 'nowhere'), { trust, at: AT })).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
    })
  })

  it('no file is read if the signature is refused', async () => {
    const path = await signedModel()
    const other = party('other').publicPem
    const { verdict, files } = await examineModel(path, {
      trust: { kind: 'key', publicKey: other },
      at: AT,
    })
    expect(files).toBeNull()
    expect(verdict.decision).toBe('deny')
    expect(verdict.subject).toEqual({ name: 'model' })
    expect(verdict.checks.at(-1)).toMatchObject({ id: 'model.files', status: 'skip' })
  })

  it('the same inputs and time give the same verdict', async () => {
    const path = await signedModel()
    writeFileSync(join(path, 'new'), '')
    const once = await verifyModel(path, { trust, at: AT })
    expect(await verifyModel(path, { trust, at: AT })).toEqual(once)
    expect(once.at).toBe('2026-06-01T00:00:00Z')
    expect(once.inputs.map(({ name }) => name)).toEqual(['signature', 'trust'])
  })

  it('the ids of all checks are unique', async () => {
    const path = await signedModel()
    for (const name of Object.keys(FILES)) rmSync(join(path, name))
    for (let i = 0; i < 5; i++) writeFileSync(join(path, `new${i}`), '')
    const ids = (await verifyModel(path, { trust, at: AT })).checks.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
  })
})
