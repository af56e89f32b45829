// The Python package model-signing as a peer: it verifies what we sign and we verify what it signs. Every difference stands here with its reason.
import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { certificateSigner } from '../../src/sign/certificate.ts'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signModel, signStatement } from '../../src/sign/model.ts'
import type { SignModelOptions } from '../../src/sign/model.ts'
import { verifyModel } from '../../src/verify/model.ts'
import type { VerifyModelOptions } from '../../src/verify/model.ts'
import type { Trust } from '../../src/verify/result.ts'
import { issue, party, SERVER } from '../fakes/authority.ts'
import type { CertificateOptions, Curve } from '../fakes/authority.ts'
import { PYTHON } from './setup.ts'

const AT = new Date('2026-06-01T00:00:00Z')
const CURVES: readonly Curve[] = ['P-256', 'P-384', 'P-521']
type Json = Readonly<Record<string, unknown>>
interface Answer {
  readonly ok: boolean
  readonly error?: string
}

class Reference {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #answers: AsyncIterator<string>

  constructor() {
    const script = fileURLToPath(new URL('reference.py', import.meta.url))
    this.#process = spawn(PYTHON, [script])
    this.#process.stderr.resume()
    this.#answers = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]()
  }

  async do(job: Json): Promise<Answer> {
    this.#process.stdin.write(`${JSON.stringify(job)}\n`)
    const { value, done } = await this.#answers.next()
    if (done === true) throw new Error('the reference implementation ended')
    return JSON.parse(value) as Answer
  }

  end(): void {
    this.#process.stdin.end()
  }
}

let base = ''
let reference: Reference
let counter = 0
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'zt4ai-interop-'))
  reference = new Reference()
})
afterAll(() => {
  reference.end()
  rmSync(base, { recursive: true, force: true })
})

function write(name: string, content: string): string {
  const path = join(base, `${counter++}-${name}`)
  writeFileSync(path, content)
  return path
}

const FILES: Readonly<Record<string, string>> = {
  'config.json': '{}',
  'tokenizer/vocab.json': 'v',
  'tokenizer.json': 't'.repeat(200),
  'weights/model.bin': 'w'.repeat(1000),
  'ünïcode/漢字-\u{1f600}': 'u',
  '\ue000': 'private use sorts before the astral ones',
  '.git/config': 'ignored',
  'sub/.git/config': 'not ignored',
  empty: '',
}

function model(files: Readonly<Record<string, string>> = FILES): string {
  const path = join(base, `m${counter++}`, 'model')
  mkdirSync(path, { recursive: true })
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true })
    writeFileSync(join(path, name), content)
  }
  return path
}

const root = party('root')
const rootPem = issue(root, { ca: true })
const middle = party('middle', 'P-384')
const middlePem = issue(middle, { issuer: root, ca: true })

/** One signer as both sides take it. */
function identity(method: 'key' | 'certificate', curve: Curve, options: CertificateOptions = {}) {
  const signer = party('signer', curve)
  const certificate = issue(signer, { issuer: middle, ...options })
  const key = readPrivateKey(signer.privatePem)
  const trust: Trust =
    method === 'key'
      ? { kind: 'key', publicKey: signer.publicPem }
      : { kind: 'certificate', roots: rootPem }
  return {
    trust,
    signer: () =>
      method === 'key'
        ? keySigner(key)
        : certificateSigner(key, { certificate, chain: [middlePem] }, AT),
    signs: {
      method,
      private_key: write('key.pem', signer.privatePem),
      certificate: write('leaf.pem', certificate),
      chain: [write('middle.pem', middlePem)],
    },
    verifies:
      method === 'key'
        ? { method, public_key: write('key.pub', signer.publicPem) }
        : { method, chain: [write('root.pem', rootPem)] },
  }
}
type Identity = ReturnType<typeof identity>

const signature = (path: string): string => join(path, 'model.sig')

async function weSign(
  path: string,
  who: Identity,
  options: Partial<SignModelOptions> = {},
): Promise<void> {
  const signed = await signModel(path, {
    signer: who.signer(),
    signature: signature(path),
    ...options,
  })
  expect(signed.manifest).not.toBeNull()
}
async function weVerify(
  path: string,
  who: Identity,
  options: Partial<VerifyModelOptions> = {},
): Promise<string[]> {
  const verdict = await verifyModel(path, {
    trust: who.trust,
    at: AT,
    signature: signature(path),
    ...options,
  })
  return verdict.checks.filter(({ status }) => status === 'fail').map(({ code }) => code)
}
const theySign = (path: string, who: Identity, hashing: Json = {}): Promise<Answer> =>
  reference.do({
    do: 'sign',
    model: path,
    signature: signature(path),
    ...who.signs,
    hashing: { ignore: [signature(path)], ...hashing },
  })
const theyVerify = (
  path: string,
  who: Identity,
  hashing?: Json,
  more: Json = {},
): Promise<Answer> =>
  reference.do({
    do: 'verify',
    model: path,
    signature: signature(path),
    ...who.verifies,
    ...(hashing === undefined ? {} : { hashing: { ignore: [signature(path)], ...hashing } }),
    ...more,
  })
const OK: Answer = { ok: true }

describe.each(['key', 'certificate'] as const)('%s', (method) => {
  describe.each(CURVES)('%s', (curve) => {
    const made = (): Identity => identity(method, curve)

    it('it verifies what we sign, without being told how', async () => {
      const [path, who] = [model(), made()]
      await weSign(path, who)
      expect(await theyVerify(path, who)).toEqual(OK)
      writeFileSync(join(path, 'config.json'), '[]')
      expect((await theyVerify(path, who)).ok).toBe(false)
    })

    it('we verify what it signs', async () => {
      const [path, who] = [model(), made()]
      expect(await theySign(path, who)).toEqual(OK)
      expect(await weVerify(path, who)).toEqual([])
      writeFileSync(join(path, 'config.json'), '[]')
      expect(await weVerify(path, who)).toEqual(['FILE_CHANGED'])
    })

    it('neither accepts the other signer’s', async () => {
      const [path, who] = [model(), made()]
      await weSign(path, who)
      const other =
        method === 'key'
          ? made()
          : {
              ...made(),
              verifies: { method, chain: [write('x.pem', issue(party('x'), { ca: true }))] },
            }
      expect((await theyVerify(path, other)).ok).toBe(false)
    })
  })

  const made = (): Identity => identity(method, 'P-256')

  it.each([
    ['sha256', 'sha256'],
    ['blake2b', 'blake2'],
    ['blake3', 'blake3'],
  ] as const)('%s, both ways', async (hashType, algorithm) => {
    const [ours, theirs, who] = [model(), model(), made()]
    await weSign(ours, who, { hashType })
    expect(await theyVerify(ours, who, { algorithm })).toEqual(OK)
    expect(await theySign(theirs, who, { algorithm })).toEqual(OK)
    expect(await weVerify(theirs, who)).toEqual([])
  })

  it.each([
    ['sha256', 'sha256'],
    ['blake2b', 'blake2'],
  ] as const)(
    'shards of %s, both ways: ours in the reference form',
    async (hashType, algorithm) => {
      const [ours, theirs, who] = [model(), model(), made()]
      await weSign(ours, who, { hashType, method: 'shards', shardSize: 64, compat: 'reference' })
      expect(await theyVerify(ours, who, { algorithm, shard_size: 64 })).toEqual(OK)
      expect(await theySign(theirs, who, { algorithm, shard_size: 64 })).toEqual(OK)
      expect(await weVerify(theirs, who)).toEqual([])
    },
  )

  it('ignored paths, both ways', async () => {
    const [ours, theirs, who] = [model(), model(), made()]
    await weSign(ours, who, { ignorePaths: ['weights', 'config.json'] })
    writeFileSync(join(ours, 'weights/more'), '')
    expect(await theyVerify(ours, who)).toEqual(OK)
    const ignore = [signature(theirs), join(theirs, 'weights'), join(theirs, 'config.json')]
    expect(await theySign(theirs, who, { ignore })).toEqual(OK)
    writeFileSync(join(theirs, 'weights/more'), '')
    expect(await weVerify(theirs, who)).toEqual([])
  })

  it('unsigned files let be, both ways', async () => {
    const [path, who] = [model(), made()]
    await weSign(path, who)
    writeFileSync(join(path, 'more'), '')
    expect((await theyVerify(path, who)).ok).toBe(false)
    expect(await weVerify(path, who)).toEqual(['FILE_EXTRA'])
    expect(await theyVerify(path, who, undefined, { ignore_unsigned: true })).toEqual(OK)
    expect(await weVerify(path, who, { ignoreUnsigned: true })).toEqual([])
  })

  it('links to files inside the model, both ways', async () => {
    const [ours, theirs, who] = [model(), model(), made()]
    for (const path of [ours, theirs]) symlinkSync('config.json', join(path, 'link'))
    await weSign(ours, who, { allowSymlinks: true })
    expect(await theyVerify(ours, who, { allow_symlinks: true })).toEqual(OK)
    expect((await theySign(theirs, who)).ok).toBe(false)
    expect(await theySign(theirs, who, { allow_symlinks: true })).toEqual(OK)
    expect(await weVerify(theirs, who)).toEqual([])
  })

  it('a single file, both ways: ours in the reference form', async () => {
    const who = made()
    const [ours, theirs] = [model({ w: 'weights' }), model({ w: 'weights' })].map((path) =>
      join(path, 'w'),
    )
    const beside = (path: string): string => join(dirname(path), '..', 'w.sig')
    await signModel(ours!, { signer: who.signer(), signature: beside(ours!), compat: 'reference' })
    expect(
      await reference.do({ do: 'verify', model: ours!, signature: beside(ours!), ...who.verifies }),
    ).toEqual(OK)
    expect(
      await reference.do({
        do: 'sign',
        model: theirs!,
        signature: beside(theirs!),
        ...who.signs,
        hashing: {},
      }),
    ).toEqual(OK)
    expect(await weVerify(theirs!, who, { signature: beside(theirs!) })).toEqual([])
  })
})

it('encrypted keys', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = privateKey.export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: 'secret',
  }) as string
  const publicPem = publicKey.export({ type: 'spki', format: 'pem' }) as string
  const path = model()
  const place = signature(path)
  const job = {
    do: 'sign',
    model: path,
    signature: place,
    method: 'key',
    private_key: write('key.pem', pem),
    password: 'secret',
    hashing: { ignore: [place] },
  }
  expect(await reference.do(job)).toEqual(OK)
  const verdict = await verifyModel(path, { trust: { kind: 'key', publicKey: publicPem }, at: AT })
  expect(verdict.decision).toBe('allow')
  await signModel(path, { signer: keySigner(readPrivateKey(pem, 'secret')) })
  expect(
    await reference.do({
      do: 'verify',
      model: path,
      signature: place,
      method: 'key',
      public_key: write('key.pub', publicPem),
    }),
  ).toEqual(OK)
})

it('the same files have the same root on both sides where the order of names is the same', async () => {
  const files = { a: '1', b: '2', 'c/d': '3' }
  const [ours, theirs, who] = [model(files), model(files), identity('key', 'P-256')]
  await weSign(ours, who)
  await theySign(theirs, who)
  const digest = async (path: string): Promise<string | undefined> =>
    (await verifyModel(path, { trust: who.trust, at: AT })).subject.digest?.sha256
  expect(await digest(ours)).toBe(await digest(theirs))
})

describe('differences, each with its reason', () => {
  const who = (): Identity => identity('key', 'P-256')

  it('it orders names by path components, the specification and we by code points: roots differ, both verify', async () => {
    const files = { 'tokenizer/vocab.json': '1', 'tokenizer.json': '2' }
    const [ours, theirs, me] = [model(files), model(files), who()]
    await weSign(ours, me)
    await theySign(theirs, me)
    const digest = async (path: string): Promise<string | undefined> =>
      (await verifyModel(path, { trust: me.trust, at: AT })).subject.digest?.sha256
    expect(await digest(ours)).not.toBe(await digest(theirs))
    expect(await theyVerify(ours, me)).toEqual(OK)
  })

  it('a single file in the specification’s form (its name): it knows only "."', async () => {
    const me = who()
    const path = join(model({ w: 'weights' }), 'w')
    await signModel(path, { signer: me.signer() })
    const answer = await reference.do({
      do: 'verify',
      model: path,
      signature: `${path}.sig`,
      ...me.verifies,
    })
    expect(answer.error).toContain('Missing files')
    expect(await weVerify(path, me, { signature: `${path}.sig` })).toEqual([])
  })

  it('shards in the specification’s form (plain algorithm): it compares its own name of the algorithm', async () => {
    const [path, me] = [model(), who()]
    await weSign(path, me, { method: 'shards', shardSize: 64 })
    expect((await theyVerify(path, me, { shard_size: 64 })).ok).toBe(false)
    expect(await weVerify(path, me)).toEqual([])
  })

  it('its own shards without being told how: it wrote the size as 64.0 and can’t use that', async () => {
    const [path, me] = [model(), who()]
    await theySign(path, me, { shard_size: 64 })
    expect((await theyVerify(path, me)).ok).toBe(false)
    expect(await weVerify(path, me)).toEqual([])
  })

  it('blake2b without being told how: it records another name than it takes', async () => {
    const [path, me] = [model(), who()]
    await theySign(path, me, { algorithm: 'blake2' })
    expect((await theyVerify(path, me)).error).toContain('blake2b')
    expect(await weVerify(path, me)).toEqual([])
  })

  it('shards of a file with a colon in its name: it splits at every colon', async () => {
    const [path, me] = [model({ 'a:b': 'x'.repeat(100) }), who()]
    await weSign(path, me, { method: 'shards', shardSize: 64, compat: 'reference' })
    expect((await theyVerify(path, me, { shard_size: 64 })).ok).toBe(false)
    expect(await weVerify(path, me)).toEqual([])
  })

  it('an empty model: it signs nothing, and verifies that; the specification refuses both', async () => {
    const [path, me] = [model({}), who()]
    expect(await theySign(path, me)).toEqual(OK)
    expect(await theyVerify(path, me)).toEqual(OK)
    expect(await weVerify(path, me)).toEqual(['MANIFEST_EMPTY'])
  })

  it('links to directories, where links are allowed: it leaves their content unsigned without a word', async () => {
    const [path, me] = [model({ 'd/a': '1' }), who()]
    symlinkSync('d', join(path, 'link'))
    expect(await theySign(path, me, { allow_symlinks: true })).toEqual(OK)
    expect(await weVerify(path, me)).toEqual(['FILE_EXTRA'])
    await weSign(path, me, { allowSymlinks: true })
    expect((await theyVerify(path, me, { allow_symlinks: true })).ok).toBe(false)
  })

  it('a later minor version of the predicate: every v1 must be accepted, and it refuses', async () => {
    const [path, me] = [model({ a: '1' }), who()]
    await weSign(path, me)
    const { readFileSync } = await import('node:fs')
    const { payload } = decodeBundle(new Uint8Array(readFileSync(signature(path)))).envelope
    const later = new TextDecoder().decode(payload).replace('signature/v1.0', 'signature/v1.1')
    writeFileSync(signature(path), await signStatement(utf8Encode(later), me.signer()))
    expect((await theyVerify(path, me)).error).toContain('Predicate type mismatch')
    expect(await weVerify(path, me)).toEqual([])
  })

  it.each<[string, CertificateOptions, string]>([
    [
      'an expired certificate: it judges at the first moment of the leaf',
      { notBefore: new Date('2025-02-01T00:00:00Z'), notAfter: new Date('2025-03-01T00:00:00Z') },
      'CERT_EXPIRED',
    ],
    [
      'a certificate of a web server: it looks at extended usage only where key usage is missing',
      { extKeyUsage: [SERVER] },
      'CERT_ROLE',
    ],
  ])('%s', async (_, options, code) => {
    const [path, me] = [model(), identity('certificate', 'P-256', options)]
    expect(await theySign(path, me)).toEqual(OK)
    expect(await theyVerify(path, me)).toEqual(OK)
    expect(await weVerify(path, me)).toEqual([code])
  })

  it('Ed25519: our extension; the format’s registry has elliptic curves only', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    const path = model()
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
    const publicPem = publicKey.export({ type: 'spki', format: 'pem' }) as string
    await signModel(path, { signer: keySigner(readPrivateKey(pem)) })
    const job = {
      do: 'verify',
      model: path,
      signature: signature(path),
      method: 'key',
      public_key: write('k', publicPem),
    }
    expect((await reference.do(job)).ok).toBe(false)
    const verdict = await verifyModel(path, {
      trust: { kind: 'key', publicKey: publicPem },
      at: AT,
    })
    expect(verdict.decision).toBe('allow')
  })
})
