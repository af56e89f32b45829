// `zt4ai sign` and `zt4ai verify` as a person runs them: exit codes, streams, help, and which code gets loaded.
import { spawn, spawnSync } from 'node:child_process'
import { setTimeout as pause } from 'node:timers/promises'
import {
  closeSync,
  existsSync,
  readlinkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { generateKeyPairSync } from 'node:crypto'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signModel } from '../../src/sign/model.ts'
import { issue, party } from '../fakes/authority.ts'
import { ourSchema } from '../fakes/schemas.ts'
import { haveShared, REPOSITORY, shared } from '../shared.ts'

const MAIN = resolve(REPOSITORY, 'dist/src/cli/main.js')
const signer = party('signer')
let base = ''
let path = ''
let key = ''
let pub = ''
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'zt4ai-cli-'))
  path = join(base, 'model')
  key = join(base, 'key.pem')
  pub = join(base, 'pub.pem')
  mkdirSync(path)
  writeFileSync(join(path, 'weights.bin'), 'weights')
  writeFileSync(key, signer.privatePem)
  writeFileSync(pub, signer.publicPem)
})
afterAll(() => rmSync(base, { recursive: true, force: true }))

interface Run {
  readonly code: number | null
  readonly out: string
  readonly err: string
}
function run(
  args: readonly string[],
  more: { env?: Record<string, string>; input?: string; node?: string[] } = {},
): Run {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...(more.node ?? []), MAIN, ...args],
    {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] ?? '', ...more.env },
      input: more.input ?? '',
      timeout: 60_000,
    },
  )
  return { code: status, out: stdout, err: stderr }
}

it('signs, verifies, and refuses after one byte changed', () => {
  const signed = run(['sign', path, '--key', key])
  expect(signed).toMatchObject({ code: 0, err: '' })
  expect(signed.out).toMatch(/^signed 1 file, 7 B\nsha256:[0-9a-f]{64}\n.*model\.sig\n$/)
  const allowed = run(['verify', path, '--key', pub])
  expect(allowed).toMatchObject({ code: 0, err: '' })
  expect(allowed.out).toMatch(/^ALLOW {2}model {2}sha256:/)
  writeFileSync(join(path, 'weights.bin'), 'weightz')
  const denied = run(['verify', path, '--key', pub, '--json'])
  expect(denied).toMatchObject({ code: 1, err: '' })
  const verdict = JSON.parse(denied.out)
  expect(ourSchema('verdict.v1')(verdict)).toBeNull()
  expect(verdict.decision).toBe('deny')
  expect(verdict.checks.filter(({ status }: { status: string }) => status === 'fail')).toEqual([
    {
      id: 'model.changed:weights.bin',
      status: 'fail',
      code: 'FILE_CHANGED',
      message: 'weights.bin: not as signed',
      expected: expect.stringMatching(/^sha256:/) as unknown,
      actual: expect.stringMatching(/^sha256:/) as unknown,
      hint: expect.any(String) as unknown,
    },
  ])
  writeFileSync(join(path, 'weights.bin'), 'weights')
})

it('says what it signed as JSON', () => {
  const { code, out } = run(['sign', path, '--key', key, '--json'])
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({
    signed: true,
    name: 'model',
    files: 1,
    bytes: 7,
    checks: [],
  })
})

describe('exit codes', () => {
  it.each<[number, string, () => readonly string[]]>([
    [2, 'no command’s option', () => ['verify', path, '--key', pub, '--what']],
    [2, 'no trust', () => ['verify', path]],
    [2, 'two kinds of trust', () => ['verify', path, '--key', pub, '--ca', pub]],
    [2, 'an identity without an issuer', () => ['verify', path, '--identity', 'me']],
    [
      2,
      'an identity of a certificate without a root',
      () => ['verify', path, '--key', pub, '--certificate-identity', 'me'],
    ],
    [2, 'a time that is none', () => ['verify', path, '--key', pub, '--at', 'yesterday']],
    [2, 'an ignored path outside', () => ['verify', path, '--key', pub, '--ignore', '/etc']],
    [2, 'no key to sign', () => ['sign', path]],
    [2, 'a chain without a certificate', () => ['sign', path, '--key', key, '--chain', pub]],
    [2, 'a hash that is none', () => ['sign', path, '--key', key, '--hash', 'md5']],
    [2, 'a shard size that is none', () => ['sign', path, '--key', key, '--shard-size', '-1']],
    [2, 'standard input without a signature', () => ['sign', '-', '--key', key]],
    [
      2,
      'unchanged paths without an earlier signature',
      () => ['sign', path, '--key', key, '--unchanged', 'x'],
    ],
    [3, 'no model', () => ['verify', join(base, 'nowhere'), '--key', pub]],
    [3, 'no key file', () => ['verify', path, '--key', join(base, 'nowhere')]],
    [3, 'a key that is none', () => ['verify', path, '--key', join(path, 'weights.bin')]],
    [3, 'a private key as the public one', () => ['verify', path, '--key', key]],
    [1, 'no signature', () => ['verify', path, '--key', pub, '--signature', join(base, 'nowhere')]],
    [
      1,
      'an archive that is none',
      () => ['verify', path, '--key', pub, '--at', '2026-01-01T00:00:00Z', '--signature', pub],
    ],
  ])('%i: %s', (expected, _, args) => {
    const { code, err, out } = run(args())
    expect(code).toBe(expected)
    if (expected === 1) expect(out).toMatch(/^DENY/)
    else {
      expect(err).not.toBe('')
      expect(out).toBe('')
    }
  })

  it('a model that can’t be signed', () => {
    const empty = join(base, 'empty')
    mkdirSync(empty)
    const { code, out, err } = run(['sign', empty, '--key', key])
    expect({ code, out }).toEqual({ code: 1, out: 'not signed\n' })
    expect(err).toContain('MODEL_EMPTY')
    expect(readdirSync(empty)).toEqual([])
  })
})

it('an encrypted key takes its passphrase from the environment, and is asked for on a terminal alone', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const encrypted = join(base, 'encrypted.pem')
  writeFileSync(
    encrypted,
    privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'open' }),
  )
  const sign = ['sign', path, '--key', encrypted, '--signature', join(base, 'e.sig')]
  expect(run(sign, { env: { ZT4AI_KEY_PASSPHRASE: 'open' } }).code).toBe(0)
  expect(run(sign, { env: { ZT4AI_KEY_PASSPHRASE: 'wrong' } }).err).toContain('KEY_PASSPHRASE')
  expect(run(sign, { input: 'open\n' })).toMatchObject({ code: 3 })
})

it('a certificate, with the identity pinned', () => {
  const root = party('root')
  const [ca, leaf] = [join(base, 'ca.pem'), join(base, 'leaf.pem')]
  writeFileSync(ca, issue(root, { ca: true }))
  writeFileSync(leaf, issue(signer, { issuer: root, emails: ['me@example.org'] }))
  const signature = join(base, 'certificate.sig')
  expect(
    run(['sign', path, '--key', key, '--certificate', leaf, '--signature', signature]).code,
  ).toBe(0)
  const verify = ['verify', path, '--signature', signature, '--ca', ca, '--certificate-identity']
  expect(run([...verify, 'me@example.org']).code).toBe(0)
  expect(run([...verify, 'you@example.org']).code).toBe(1)
})

it('archives and standard input have the identity of the directory', () => {
  const archive = join(base, 'model.tar.gz')
  expect(spawnSync('tar', ['czf', archive, '-C', path, '.']).status).toBe(0)
  expect(run(['sign', archive, '--key', key]).code).toBe(0)
  expect(run(['verify', archive, '--key', pub]).code).toBe(0)
  expect(run(['sign', path, '--key', key]).code).toBe(0)
  const payload = (file: string): string =>
    JSON.parse(readFileSync(file, 'utf8')).dsseEnvelope.payload
  expect(payload(`${archive}.sig`)).toBe(payload(join(path, 'model.sig')))
  const bytes = readFileSync(archive)
  const piped = spawnSync(
    process.execPath,
    [MAIN, 'verify', '-', '--signature', `${archive}.sig`, '--key', pub],
    { input: bytes },
  )
  expect(piped.status).toBe(0)
})

it.each(['reference', undefined] as const)(
  'an archive that was signed as the one file of a model is compared as that file (%s)',
  async (compat) => {
    const archive = join(base, 'one.tar')
    expect(spawnSync('tar', ['cf', archive, '-C', path, '.']).status).toBe(0)
    const signature = `${archive}.sig`
    const method = keySigner(readPrivateKey(signer.privatePem))
    await signModel(archive, { signer: method, ...(compat === undefined ? {} : { compat }) })
    expect(run(['verify', archive, '--key', pub])).toMatchObject({ code: 0, err: '' })
    expect(run(['verify', archive, '--key', pub, '--strip-components', '1']).code).toBe(1)
    const other = join(base, 'other.tar')
    writeFileSync(other, Buffer.concat([readFileSync(archive), Buffer.alloc(512)]))
    const args = ['verify', other, '--signature', signature, '--key', pub, '--json']
    const { code, out } = run(args)
    expect(code).toBe(1)
    expect(out).toContain(compat === undefined ? 'FILE_MISSING' : 'FILE_CHANGED')
    rmSync(signature)
  },
)

it('digests are reused only from a signature that verifies, and that is said', () => {
  const signature = join(base, 'first.sig')
  expect(run(['sign', path, '--key', key, '--signature', signature]).code).toBe(0)
  const again = ['sign', path, '--key', key, '--reuse', signature, '--unchanged', 'weights.bin']
  const good = run([...again, '--reuse-key', pub])
  expect(good).toMatchObject({ code: 0 })
  expect(good.err).toContain('DIGEST_REUSED')
  const nowhere = run([...again, '--reuse-key', pub, '--unchanged', 'weights.bn'])
  expect(nowhere).toMatchObject({ code: 2, out: '' })
  expect(nowhere.err).toMatch(/USAGE: no file of the model.*weights\.bn[^]*hint: /)
  const other = join(base, 'other.pem')
  writeFileSync(other, party('other').publicPem)
  expect(run([...again, '--reuse-key', other])).toMatchObject({ code: 3, out: '' })
  expect(run(again).code).toBe(2)
  const cache = join(base, 'digests.cache')
  expect(run(['verify', path, '--key', pub, '--digest-cache', cache]).code).toBe(0)
  expect(run(['sign', path, '--key', key, '--digest-cache', cache]).code).toBe(0)
})

/** True once a process has the file open, where that can be seen. */
function reads(pid: number | undefined, file: string): boolean {
  const open = `/proc/${pid ?? 0}/fd`
  if (!existsSync(open)) return true
  return readdirSync(open).some((fd) => {
    try {
      return readlinkSync(join(open, fd)) === file
    } catch {
      return false
    }
  })
}

it('Ctrl-C while hashing leaves nothing behind, and an older signature as it was', async () => {
  const big = join(base, 'big')
  mkdirSync(big)
  writeFileSync(join(big, 'model.sig'), '{"dsseEnvelope":"the older one"}')
  writeFileSync(join(big, 'weights'), '')
  truncateSync(join(big, 'weights'), 64e9) // a hole: takes no room, and half a minute to hash
  const child = spawn(process.execPath, [MAIN, 'sign', big, '--key', key])
  let err = ''
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const ended = new Promise<number | null>((resolveCode) => child.on('exit', resolveCode))
  while (child.exitCode === null && !reads(child.pid, join(big, 'weights'))) await pause(20)
  child.kill('SIGINT')
  const code = await ended
  expect(code).toBe(3)
  expect(err).toContain('INTERRUPTED')
  expect(readdirSync(big).sort()).toEqual(['model.sig', 'weights'])
  expect(readFileSync(join(big, 'model.sig'), 'utf8')).toContain('the older one')
})

it.runIf(existsSync('/dev/full'))('an answer that can not be written is no verdict', () => {
  expect(run(['sign', path, '--key', key]).code).toBe(0)
  const full = openSync('/dev/full', 'w')
  const args = [MAIN, 'verify', path, '--key', pub]
  const { status, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', full, 'pipe'],
  })
  closeSync(full)
  expect(status).toBe(3)
  expect(stderr).toMatch(/^zt4ai: IO: the answer can't be written \(ENOSPC\)\n {2}hint: .*space\n$/)
})

it.each(['sign', 'verify'])('%s --help has examples', (command) => {
  const { code, out } = run([command, '--help'])
  expect(code).toBe(0)
  expect(out).toContain('Examples:\n  $ ')
  expect(out).toContain('Exit codes:')
})

it.runIf(haveShared)('what release 0.2.0 signed is shown and bound as a model too', () => {
  const signature = shared('vectors/oms/v0.2.0-certificate/model.sig')
  const root = '61d4849d9d90076d'
  const shown = run(['inspect', signature])
  expect(shown.out).toMatch(/^This is the signature of a model\./)
  expect(shown.out).toContain(root)
  const bound = ['binding', '--model', path, '--signature', signature, '--nonce', '00'.repeat(32)]
  expect(JSON.parse(run([...bound, '--json']).out).model.sha256).toContain(root)
})

it('every refusal says what was expected, what was found and what can be done', () => {
  const odd = join(base, 'odd')
  mkdirSync(join(odd, 'd'), { recursive: true })
  writeFileSync(join(odd, 'a'), 'a')
  expect(run(['sign', odd, '--key', key, '--allow-symlinks']).code).toBe(0)
  rmSync(join(odd, 'a'))
  for (const [target, name] of [
    ['..', 'd/up'],
    ['self', 'self'],
    ['nothing', 'broken'],
    ['/etc', 'out'],
  ] as const)
    symlinkSync(target, join(odd, name))
  writeFileSync(join(odd, 'more'), 'x')
  const complete = (answer: string, codes: string[]): void => {
    const { checks } = JSON.parse(answer) as { checks: Record<string, string>[] }
    const failed = checks.filter(({ status }) => status === 'fail')
    for (const check of failed)
      for (const field of ['code', 'message', 'expected', 'actual', 'hint'])
        expect(`${check['id'] ?? ''} ${field}: ${check[field] ?? ''}`).toMatch(/: .+/)
    expect(new Set(failed.map(({ code }) => code))).toEqual(new Set(codes))
  }
  const links = ['LINK_CYCLE', 'LINK_BROKEN', 'LINK_OUTSIDE']
  complete(run(['verify', odd, '--key', pub, '--json']).out, [
    'FILE_MISSING',
    'FILE_EXTRA',
    ...links,
  ])
  complete(run(['sign', odd, '--key', key, '--allow-symlinks', '--json']).out, links)
  complete(run(['sign', odd, '--key', key, '--json']).out, ['FILE_LINK'])
  const signature = join(odd, 'model.sig')
  const signed = readFileSync(signature, 'utf8')
  for (const [from, to, code] of [
    ['{', '', 'BUNDLE_INVALID'],
    ['bundle.v0.3', 'bundle.v0.9', 'MEDIA_TYPE_UNKNOWN'],
    ['"keyid"', '"key"', 'BUNDLE_INVALID'],
    ['"payload":"', '"payload":"AAAA', 'SIGNATURE_INVALID'],
    ['publicKey', 'x509CertificateChain', 'BUNDLE_INVALID'],
  ] as const) {
    writeFileSync(signature, signed.replace(from, to))
    complete(run(['verify', odd, '--key', pub, '--json']).out, [code])
  }
  const torn = join(base, 'torn.tar')
  expect(spawnSync('tar', ['cf', torn, '-C', path, '.']).status).toBe(0)
  truncateSync(torn, 1000)
  expect(run(['sign', torn, '--key', key]).err).toMatch(/TAR_INVALID[^]*hint: /)
})

describe('what verification loads', () => {
  const loaded = (args: readonly string[]): { modules: string[]; code: number | null } => {
    const hook = join(base, 'hook.mjs')
    const list = join(base, 'loaded.txt')
    rmSync(list, { force: true })
    const load = `import { appendFileSync } from 'node:fs'
      export async function load(url, context, next) { appendFileSync(${JSON.stringify(list)}, url + '\\n'); return next(url, context) }`
    writeFileSync(
      hook,
      `import { register } from 'node:module'; register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(load)}))`,
    )
    const { code } = run(args, { node: ['--import', hook] })
    const modules = readFileSync(list, 'utf8')
      .trim()
      .split('\n')
      .map((url) => url.replace(/^.*\/(dist|node_modules)\//, ''))
    return { modules, code }
  }

  it('with a key: no signing, no Sigstore, no TUF, no archives, no network', () => {
    expect(run(['sign', path, '--key', key]).code).toBe(0)
    const { modules, code } = loaded(['verify', path, '--key', pub])
    expect(code).toBe(0)
    expect(modules).toContain('src/verify/key.js')
    const unwanted =
      /^src\/(sign|gate|registry|service|policy|simulate|fetch)\/|verify\/(keyless|certificate)|model\/(tar|cache)|attestation\/(snp|tdx)|sigstore|tar-stream|noble|yaml|^node:(https?|net|tls|http2)$/
    expect(modules.filter((name) => unwanted.test(name))).toEqual([])
  })

  it.skipIf(!haveShared)('keyless: the verifier alone', () => {
    const model = shared('vectors/oms/v1.0.0-sigstore')
    const { modules, code } = loaded([
      'verify',
      model,
      '--identity',
      'stefanb@us.ibm.com',
      '--issuer',
      'https://sigstore.verify.ibm.com/oauth2',
      '--trusted-root',
      shared('vectors/oms/trusted_root.json'),
    ])
    expect(code).toBe(0)
    expect(modules).toContain('src/verify/keyless.js')
    expect(
      modules.filter((name) =>
        /^src\/sign\/|@sigstore\/(sign|tuf)|sigstore\/dist|tuf-js/.test(name),
      ),
    ).toEqual([])
  })
})
