// Every call of the public conformance suite, made on the adapter as the suite makes it: absolute paths, repeated flags, the exit code alone.
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { issue, party } from '../fakes/authority.ts'
import type { Curve } from '../fakes/authority.ts'
import { omsSchemas } from '../fakes/schemas.ts'
import { haveShared, REPOSITORY, shared } from '../shared.ts'

const ADAPTER = resolve(REPOSITORY, 'test/conformance/adapter.mjs')
let base = ''
let counter = 0
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'zt4ai-conformance-'))
})
afterAll(() => rmSync(base, { recursive: true, force: true }))

function call(
  operation: string,
  options: Record<string, string | readonly string[] | true>,
): number {
  const args = Object.entries(options).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : [value].flat().flatMap((one) => [`--${name}`, one]),
  )
  const env = {
    ...process.env,
    ZT4AI_TRUSTED_ROOT: shared('vectors/oms/trusted_root.json'),
    SIGSTORE_ID_TOKEN: '',
  }
  return spawnSync(ADAPTER, [operation, ...args], { env, timeout: 60_000 }).status ?? -1
}

function write(name: string, content: string): string {
  const path = join(base, `${counter++}-${name}`)
  writeFileSync(path, content)
  return path
}

function model(
  files: Record<string, string> = {
    'config.json': '{}',
    'sub/weights.bin': 'w',
    '.git/x': '',
    'ignore-me': '',
  },
): string {
  const path = join(base, `m${counter++}`)
  mkdirSync(path)
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(path, name, '..'), { recursive: true })
    writeFileSync(join(path, name), content)
  }
  return path
}

const resources = (bundle: string): string[] => {
  const payload = JSON.parse(readFileSync(bundle, 'utf8')).dsseEnvelope.payload
  const { predicate } = JSON.parse(Buffer.from(payload, 'base64').toString())
  return predicate.resources.map(({ name }: { name: string }) => name)
}

describe.each<Curve>(['P-256', 'P-384', 'P-521'])('key %s', (curve) => {
  const signer = party('signer', curve)

  it('signs and verifies', () => {
    const [privateKey, publicKey] = [
      write('key', signer.privatePem),
      write('pub', signer.publicPem),
    ]
    const path = model()
    const bundle = join(base, `${counter++}.sig`)
    const ignore = join(path, 'ignore-me')
    expect(
      call('sign-model', {
        method: 'key',
        'model-path': path,
        'output-bundle': bundle,
        'private-key': privateKey,
        'ignore-paths': [ignore],
      }),
    ).toBe(0)
    expect(resources(bundle)).toEqual(['config.json', 'sub/weights.bin'])
    if (haveShared) omsSchemas().check(readFileSync(bundle))
    const verify = { method: 'key', 'model-path': path, bundle, 'public-key': publicKey }
    expect(call('verify-model', { ...verify, 'ignore-paths': [ignore] })).toBe(0)
    if (curve !== 'P-256') return
    writeFileSync(join(path, 'more'), '')
    expect(call('verify-model', verify)).not.toBe(0)
    expect(call('verify-model', { ...verify, 'ignore-unsigned-files': true })).toBe(0)
    expect(
      call('verify-model', { ...verify, 'public-key': write('pub', party('x', curve).publicPem) }),
    ).not.toBe(0)
  })
})

it('certificate: signs and verifies, with a chain, self-signed, and not under another root', () => {
  const [root, middle, signer] = [party('root'), party('middle'), party('signer')]
  const rootPem = write('root', issue(root, { ca: true }))
  const middlePem = write('middle', issue(middle, { issuer: root, ca: true }))
  const path = model()
  const bundle = join(path, 'bundle.sig')
  const sign = {
    method: 'certificate',
    'model-path': path,
    'output-bundle': bundle,
    'private-key': write('key', signer.privatePem),
  }
  const verify = { method: 'certificate', 'model-path': path, bundle }
  const leaf = write('leaf', issue(signer, { issuer: middle }))
  expect(
    call('sign-model', { ...sign, 'signing-cert': leaf, 'cert-chain': [middlePem, rootPem] }),
  ).toBe(0)
  expect(resources(bundle)).not.toContain('bundle.sig')
  expect(call('verify-model', { ...verify, 'cert-chain': [rootPem] })).toBe(0)
  expect(call('verify-model', { ...verify, 'cert-chain': [middlePem, rootPem] })).toBe(0)
  expect(
    call('verify-model', {
      ...verify,
      'cert-chain': [write('x', issue(party('x'), { ca: true }))],
    }),
  ).not.toBe(0)
  expect(
    call('verify-model', { ...verify, method: 'key', 'public-key': write('p', signer.publicPem) }),
  ).not.toBe(0)
  const own = write(
    'own',
    issue(signer, { ca: true, keyUsage: ['digitalSignature', 'keyCertSign'] }),
  )
  expect(call('sign-model', { ...sign, 'signing-cert': own, 'cert-chain': [own] })).toBe(0)
  expect(call('verify-model', { ...verify, 'cert-chain': [own] })).toBe(0)
})

it('refuses what must not be signed: an empty model, links, links that lead out, links in a circle', () => {
  const key = write('key', party('x').privatePem)
  const sign = (path: string): number =>
    call('sign-model', {
      method: 'key',
      'model-path': path,
      'output-bundle': join(base, 'no.sig'),
      'private-key': key,
    })
  expect(sign(model({}))).not.toBe(0)
  for (const target of ['config.json', '/etc/passwd', '.']) {
    const path = model()
    symlinkSync(target, join(path, 'link'))
    expect(sign(path)).not.toBe(0)
  }
  expect(existsSync(join(base, 'no.sig'))).toBe(false)
})

describe.skipIf(!haveShared)('historical bundles', () => {
  const vectors = (path: string): string => shared(`vectors/oms/${path}`)
  const copy = (name: string): string => {
    const path = join(base, `v${counter++}`)
    cpSync(vectors(name), path, { recursive: true })
    return path
  }

  it('a key’s, with ignored paths beside a model of one file', () => {
    const path = copy('v0.3.1-elliptic-key')
    const options = {
      method: 'key',
      bundle: join(path, 'model.sig'),
      'public-key': vectors('keys/certificate/signing-key-pub.pem'),
    }
    expect(
      call('verify-model', {
        ...options,
        'model-path': join(path, 'signme-1'),
        'ignore-paths': [join(path, 'ignore-me')],
      }),
    ).toBe(0)
  })

  it('a certificate’s', () => {
    const path = copy('v0.2.0-certificate')
    expect(
      call('verify-model', {
        method: 'certificate',
        'model-path': path,
        bundle: join(path, 'model.sig'),
        'cert-chain': [vectors('keys/certificate/ca-cert.pem')],
      }),
    ).toBe(0)
  })

  it('a keyless one’s', () => {
    const path = copy('v1.0.0-sigstore')
    const options = {
      method: 'sigstore',
      'model-path': path,
      bundle: join(path, 'model.sig'),
      identity: 'stefanb@us.ibm.com',
      'identity-provider': 'https://sigstore.verify.ibm.com/oauth2',
    }
    expect(call('verify-model', options)).toBe(0)
    expect(call('verify-model', { ...options, identity: 'tefanb@us.ibm.com' })).not.toBe(0)
    expect(
      call('verify-model', { ...options, 'identity-provider': 'https://example.org' }),
    ).not.toBe(0)
  })
})

it('keyless signing without a token, the staging instance and unknown calls fail', () => {
  const path = model()
  const bundle = join(base, 'no.sig')
  const keyless = { method: 'sigstore', 'model-path': path, 'output-bundle': bundle }
  expect(call('sign-model', keyless)).not.toBe(0)
  expect(call('sign-model', { ...keyless, 'identity-token': 'x' })).not.toBe(0)
  expect(call('sign-model', { ...keyless, 'use-staging': true })).not.toBe(0)
  expect(call('sign-model', {})).not.toBe(0)
  expect(call('what', {})).not.toBe(0)
  expect(existsSync(bundle)).toBe(false)
})

it('says what it can do', () => {
  const { stdout, status } = spawnSync(ADAPTER, ['capabilities'], { encoding: 'utf8' })
  expect(status).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({ hash_algorithms: ['sha256', 'blake2b', 'blake3'] })
})
