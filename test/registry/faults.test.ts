// What registries do to those who push and log in: uploads that break, requests in the wrong order, credentials in the wrong hands.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { httpTransport } from '../../src/fetch/transport.ts'
import { openRepository } from '../../src/registry/client.ts'
import { startRegistry, type RegistryDouble, type RegistrySwitches } from '../fakes/registry.ts'
import { PARTIES } from '../gate/scene.ts'
import { REPOSITORY } from '../shared.ts'
import { ROBOT } from './backend.ts'
import { FILES, push, sha, Shelf, source } from './shelf.ts'

const shelf = new Shelf()
afterAll(() => shelf.close())
const doubles: RegistryDouble[] = []
async function start(switches: RegistrySwitches = {}): Promise<RegistryDouble> {
  const double = await startRegistry(switches)
  doubles.push(double)
  return double
}
afterEach(async () => {
  for (const double of doubles.splice(0)) await double.close()
})

async function upload(switches: RegistrySwitches, chunkSize: number): Promise<RegistryDouble> {
  const double = await start(switches)
  const bytes = new Uint8Array(randomBytes(1_000_000))
  const digest = `sha256:${sha(bytes)}`
  await shelf
    .repository(double.host, 'up/load', { chunkSize })
    .uploadBlob(digest, bytes.length, async function* (offset) {
      for (let at = offset; at < bytes.length; at += 65_536) {
        await Promise.resolve()
        yield bytes.subarray(at, at + 65_536)
      }
    })
  expect(sha(double.blobs.get(digest) ?? new Uint8Array())).toBe(sha(bytes))
  return double
}

describe('an upload', () => {
  it.each<[string, RegistrySwitches]>([
    ['breaks twice', { cutUploads: 2 }],
    ['breaks, and the registry forgot it', { cutUploads: 1, loseUploads: true }],
    ['meets 503 and 429', { failUploads: 2, tooMany: 2 }],
    ['needs a token', { auth: ROBOT, cutUploads: 1 }],
    ['needs a password', { auth: { ...ROBOT, scheme: 'basic' }, cutUploads: 1 }],
  ])('that %s ends well', async (_, switches) => {
    await upload(switches, 300_000)
  })

  it('is given up where the registry keeps next to nothing, or never answers', async () => {
    await expect(upload({ forgetful: true }, 300_000)).rejects.toMatchObject({ code: 'NETWORK' })
    await expect(upload({ failUploads: 99 }, 300_000)).rejects.toMatchObject({ code: 'NETWORK' })
  })

  it('of a file that shrank is refused', async () => {
    const double = await start()
    const sending = shelf
      .repository(double.host, 'up/load')
      .uploadBlob(`sha256:${'ab'.repeat(32)}`, 1000, async function* () {
        await Promise.resolve()
        yield new Uint8Array(10)
      })
    await expect(sending).rejects.toMatchObject({ code: 'FILE_UNSTABLE' })
  })

  it('of many blobs at once logs in once, with a password too', async () => {
    const double = await start({ auth: { ...ROBOT, scheme: 'basic' } })
    const model = await shelf.model()
    await push(shelf.repository(double.host, 'up/load'), model)
    const withToken = await start({ auth: ROBOT })
    await push(shelf.repository(withToken.host, 'up/load'), model)
    const tokens = withToken.log.filter(({ path }) => path.startsWith('/token'))
    expect(tokens).toHaveLength(2) // to pull, to push
  })
})

it('is pushed with its signature before its manifest', async () => {
  const double = await start({ referrers: 'none' })
  const { digest } = await push(shelf.repository(double.host, 'or/der'), await shelf.model(), {
    tag: 'v1',
  })
  const written = double.log.flatMap(({ method, path }) =>
    method === 'PUT' ? [path.replace(/^\/v2\/or\/der\//, '').replace(/uploads.*/, 'uploads')] : [],
  )
  const manifest = written.indexOf(`manifests/${digest}`)
  const list = written.indexOf(`manifests/${digest.replace(':', '-')}`)
  expect(list).toBeGreaterThan(0)
  expect(manifest).toBe(list + 1)
  expect(written.slice(manifest)).toEqual([`manifests/${digest}`, 'manifests/v1'])
  expect(written.slice(0, list).filter((path) => path.startsWith('manifests'))).toHaveLength(1)
})

describe('credentials', () => {
  it('are not given to a host that a redirect leads to, even if it asks', async () => {
    const asked: (string | undefined)[] = []
    const thief = createServer((request, response) => {
      asked.push(request.headers.authorization)
      const realm = `http://127.0.0.1:${String((thief.address() as AddressInfo).port)}/token`
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}"` }).end()
    })
    await new Promise<void>((done) => thief.listen(0, '127.0.0.1', done))
    const double = await start({ auth: ROBOT })
    const repository = shelf.repository(double.host, 'red/irect')
    const { digest } = await push(repository, await shelf.model())
    const { artifact } = await source(repository, digest)
    double.switches.redirectBlobsTo = `http://127.0.0.1:${String((thief.address() as AddressInfo).port)}`
    const reading = repository.blob(artifact.config.digest, 1 << 20)
    await expect(reading).rejects.toMatchObject({ code: 'REGISTRY_AUTH' })
    expect(asked).toEqual([undefined])
    thief.closeAllConnections()
    thief.close()
  })

  it('are not asked for in vain where the token service is down', async () => {
    const service = createServer((_, response) => response.writeHead(503).end())
    await new Promise<void>((done) => service.listen(0, '127.0.0.1', done))
    const port = (service.address() as AddressInfo).port
    const registry = createServer((_, response) => {
      const realm = `Bearer realm="http://127.0.0.1:${String(port)}/token"`
      response.writeHead(401, { 'www-authenticate': realm }).end()
    })
    await new Promise<void>((done) => registry.listen(0, '127.0.0.1', done))
    const host = `127.0.0.1:${String((registry.address() as AddressInfo).port)}`
    await expect(shelf.repository(host, 'a/b').manifest('v1')).rejects.toMatchObject({
      code: 'REGISTRY_ANSWER',
    })
    for (const server of [service, registry]) {
      server.closeAllConnections()
      server.close()
    }
  })

  it('does not take a page for people for a manifest', async () => {
    const double = await start({ html: true })
    const repository = shelf.repository(double.host, 'red/irect')
    await push(repository, await shelf.model(), { tag: 'v1' }).catch(() => undefined)
    await expect(repository.manifest('v1')).rejects.toMatchObject({
      code: expect.stringMatching(/REGISTRY_(?:ANSWER|NOT_FOUND)/) as string,
    })
  })
})

describe('a registry that crawls', () => {
  it('is given up, and an interruption ends the wait', async () => {
    const server = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const timer = setInterval(() => response.write(' '), 20)
      response.on('close', () => clearInterval(timer))
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const host = `127.0.0.1:${String((server.address() as AddressInfo).port)}`
    const controller = new AbortController()
    const transport = httpTransport({ plainHttp: true, crawlTimeoutMs: 300, attempts: 1 })
    const slow = openRepository(host, 'a/b', { transport, plainHttp: true })
    await expect(slow.manifest('v1')).rejects.toMatchObject({ code: 'NETWORK' })
    const patient = httpTransport({ plainHttp: true, signal: controller.signal })
    const waiting = openRepository(host, 'a/b', { transport: patient, plainHttp: true }).manifest(
      'v1',
    )
    setTimeout(() => controller.abort(), 100)
    await expect(waiting).rejects.toMatchObject({ code: 'INTERRUPTED' })
    transport.close()
    patient.close()
    server.closeAllConnections()
    server.close()
  })
})

describe('on the command line', () => {
  const MAIN = resolve(REPOSITORY, 'dist/src/cli/main.js')
  const at = (name: string): string => join(shelf.folder, name)
  interface Run {
    code: number | null
    out: string
    err: string
  }
  function run(args: readonly string[], env: Record<string, string> = {}): Promise<Run> {
    const child = spawn(process.execPath, [MAIN, ...args, '--plain-http'], {
      env: { PATH: process.env['PATH'] ?? '', HOME: shelf.folder, ...env },
    })
    let out = ''
    let err = ''
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    return new Promise((done) => child.on('close', (code) => done({ code, out, err })))
  }

  it('pushes, verifies, pulls and promotes, with credentials from a helper', async () => {
    const double = await start({ auth: ROBOT })
    const model = await shelf.model(FILES, {})
    mkdirSync(at('bin'), { recursive: true })
    mkdirSync(at('docker'), { recursive: true })
    writeFileSync(
      at('bin/docker-credential-fake'),
      `#!/bin/sh\ncat >"${at('asked')}"\necho '{"ServerURL":"x","Username":"${ROBOT.username}","Secret":"${ROBOT.password}"}'\n`,
    )
    chmodSync(at('bin/docker-credential-fake'), 0o755)
    writeFileSync(
      at('docker/config.json'),
      JSON.stringify({ credHelpers: { [double.host]: 'fake' } }),
    )
    writeFileSync(at('pub.pem'), PARTIES.release.publicPem)
    writeFileSync(at('release.pub.pem'), PARTIES.release.publicPem)
    writeFileSync(at('registry.pub.pem'), PARTIES.registry.publicPem)
    const { POLICY } = await import('./shelf.ts')
    writeFileSync(at('policy.yaml'), POLICY)
    const env = { DOCKER_CONFIG: at('docker'), PATH: `${at('bin')}:${process.env['PATH'] ?? ''}` }
    const to = `oci://${double.host}/team/tiny`
    const pushed = await run(
      ['push', model.path, `${to}:v1`, '--signature', `${model.path}.sig`],
      env,
    )
    expect(pushed).toMatchObject({ code: 0, err: '' })
    expect(readFileSync(at('asked'), 'utf8')).toBe(double.host)
    const reference = pushed.out.trim()
    const verified = await run(['verify', reference, '--key', at('pub.pem')], env)
    expect(verified.code).toBe(0)
    const pulled = await run(
      ['pull', reference, at('pulled'), '--key', at('pub.pem'), '--json'],
      env,
    )
    expect(pulled).toMatchObject({ code: 0 })
    const verdict = JSON.parse(pulled.out) as { decision: string; subject: { name: string } }
    expect(verdict).toMatchObject({ decision: 'allow', subject: { name: reference } })
    expect(pulled.out).not.toContain('.zt4ai-pull-')
    expect(readdirSync(at('pulled'))).toContain('model.sig')
    const prod = `oci://${double.host}/prod/tiny:v1`
    const promoted = await run(['promote', reference, prod, '--policy', at('policy.yaml')], env)
    expect(promoted.code).toBe(0)
    expect((await run(['verify', prod, '--key', at('pub.pem')], env)).code).toBe(0)
    const anonymous = await run(['verify', prod, '--key', at('pub.pem')])
    expect([anonymous.code, anonymous.err.includes('REGISTRY_AUTH')]).toEqual([3, true])
    writeFileSync(join(model.path, 'config.json'), 'changed')
    const changed = await run(
      ['push', model.path, `${to}:v2`, '--signature', `${model.path}.sig`],
      env,
    )
    expect([changed.code, changed.err.includes('not pushed')]).toEqual([1, true])
  }, 60_000)

  it('leaves nothing of a pull that Ctrl-C ends, or that is refused', async () => {
    const double = await start()
    const model = await shelf.model({ 'big.txt': 'x'.repeat(3_000_000) })
    const repository = shelf.repository(double.host, 'team/big')
    const { digest } = await push(repository, model, { names: ['big.txt'] })
    writeFileSync(at('pub.pem'), PARTIES.release.publicPem)
    writeFileSync(at('other.pem'), PARTIES.stranger.publicPem)
    const reference = `oci://${double.host}/team/big@${digest}`
    mkdirSync(at('into'), { recursive: true })
    const refused = await run(['pull', reference, at('into/model'), '--key', at('other.pem')])
    expect([refused.code, readdirSync(at('into'))]).toEqual([1, []])
    double.switches.stalledAbove = 1_000_000
    const child = spawn(process.execPath, [
      MAIN,
      'pull',
      reference,
      at('into/model'),
      '--key',
      at('pub.pem'),
      '--plain-http',
    ])
    while (readdirSync(at('into')).length === 0) await pause(10)
    child.kill('SIGINT')
    const code = await new Promise((done) => child.on('close', done))
    expect([code, readdirSync(at('into'))]).toEqual([3, []])
  }, 60_000)
})
