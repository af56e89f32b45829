import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { policyText, stranger, world, type Asked, type World } from './world.ts'

const CLI = new URL('../../dist/src/cli/main.js', import.meta.url).pathname
const TOKEN = 'a-token-of-good-length'
let at: World
let url: string
beforeEach(async () => {
  at = await world()
  const tokenFile = join(at.folder, 'token')
  writeFileSync(tokenFile, `${TOKEN}\n`)
  url = (await at.start({ tokenFile })).url
})
afterEach(() => at.close())

const post = (
  path: string,
  body: unknown,
  headers: Record<string, string> = { authorization: `Bearer ${TOKEN}` },
): Promise<Asked> => at.ask(`${url}${path}`, { body, headers })
const decided = (): Record<string, unknown>[] =>
  at.logs
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => msg === 'decided')
const parts = (model: string): { host: string; repository: string; digest: string } => {
  const [, host = '', repository = '', digest = ''] = /^([^/]+)\/(.+)@(.+)$/.exec(model) ?? []
  return { host, repository, digest }
}

describe('POST /v1/admit', () => {
  it('answers with the verdict, by digest or tag, and pins what was asked by tag', async () => {
    const model = await at.push('models/good', { tag: 'v1' })
    const { status, json } = await post('/v1/admit', { reference: model })
    expect(status).toBe(200)
    expect(json).toMatchObject({
      schema: 'zt4ai.admission/v1',
      result: 'allow',
      allowed: true,
      code: 'OK',
      mode: 'enforce',
      reference: `oci://${model}`,
      policy: { name: 'cluster' },
      verdictDigest: expect.stringMatching(/^sha256:/),
      verdict: { schema: 'zt4ai.verdict/v1', decision: 'allow' },
    })
    const byTag = await post('/v1/admit', { reference: `oci://${at.registry.host}/models/good:v1` })
    expect(byTag.json).toMatchObject({ result: 'allow', reference: `oci://${model}` })
  })

  it('says why not, and lets a namespace in mode audit go on', async () => {
    at.policy(policyText('modes: {namespaces: {lab: audit}, exempt: [infra]}\n'))
    const model = await at.push('models/foreign', { by: stranger })
    await expect
      .poll(async () => (await post('/v1/admit', { reference: model, namespace: 'lab' })).json.mode)
      .toBe('audit')
    expect((await post('/v1/admit', { reference: model })).json).toMatchObject({
      result: 'deny',
      allowed: false,
      code: 'SIGNERS',
    })
    expect((await post('/v1/admit', { reference: model, namespace: 'lab' })).json).toMatchObject({
      result: 'deny',
      allowed: true,
    })
    expect((await post('/v1/admit', { reference: model, namespace: 'infra' })).json).toMatchObject({
      result: 'exempt',
      allowed: true,
    })
  })

  it('is 503 where there is no answer, and never allows then', async () => {
    const model = await at.push('models/good')
    at.registry.switches.unavailable = 1_000
    const { status, json } = await post('/v1/admit?timeout=1s', { reference: model })
    expect(status).toBe(503)
    expect(json).toMatchObject({ result: 'unavailable', allowed: false })
  })

  it('asks for the token, and for a body that it knows', async () => {
    const reference = `${at.registry.host}/models/x@sha256:${'11'.repeat(32)}`
    for (const authorization of ['', 'Bearer wrong', `Basic ${TOKEN}`]) {
      const { status, json } = await post('/v1/admit', { reference }, { authorization })
      expect([status, json.code]).toEqual([401, 'REQUEST_UNAUTHORIZED'])
    }
    for (const body of [
      {},
      { reference, extra: 1 },
      { reference: 7 },
      { reference, policy: 'nobody' },
      { reference, reading: 'layers' },
    ])
      expect((await post('/v1/admit', body)).status).toBe(400)
    expect((await post('/v1/admit', { reference: 'UPPER/case@x' })).json).toMatchObject({
      result: 'deny',
      code: 'REFERENCE_INVALID',
      allowed: false,
    })
    expect(at.logs.join('')).not.toContain(TOKEN)
  })
})

describe('an event of a Docker registry', () => {
  const event = (model: string, more: object = {}): object => {
    const { host, repository, digest } = parts(model)
    return {
      events: [
        {
          id: '320678d8-ca14-430f-8bb6-4ca139cd83f7',
          timestamp: '2026-11-20T12:00:00.000000000Z',
          action: 'push',
          target: {
            mediaType: 'application/vnd.oci.image.manifest.v1+json',
            size: 708,
            digest,
            length: 708,
            repository,
            url: `http://${host}/v2/${repository}/manifests/${digest}`,
            tag: 'v1',
          },
          request: {
            id: '6df24a34-0959-4923-81ca-14f09767db19',
            addr: '192.0.2.64:42961',
            host,
            method: 'PUT',
            useragent: 'zt4ai',
          },
          actor: {},
          source: { addr: 'xtal.local:5000', instanceID: 'a53db899' },
          ...more,
        },
      ],
    }
  }
  const type = {
    authorization: `Bearer ${TOKEN}`,
    'content-type': 'application/vnd.docker.distribution.events.v2+json',
  }

  it('is taken at once and decided in the background', async () => {
    const model = await at.push('models/good')
    const { status, json } = await post('/v1/events/distribution', event(model), type)
    expect([status, json]).toEqual([202, { events: 1, decided: 1 }])
    await expect.poll(decided).toMatchObject([{ reference: `oci://${model}`, result: 'allow' }])
    const before = at.registry.log.length
    expect((await post('/v1/admit', { reference: model })).json.result).toBe('allow')
    expect(at.registry.log).toHaveLength(before)
  })

  it('of another kind, or about an image that is no model, is taken and let be', async () => {
    const model = await at.push('models/good')
    const requests = at.registry.log.length
    expect(
      (await post('/v1/events/distribution', event(model, { action: 'pull' }), type)).json,
    ).toEqual({ events: 1, decided: 0 })
    expect(
      (
        await post(
          '/v1/events/distribution',
          event(`${at.registry.host}/apps/web@sha256:${'11'.repeat(32)}`),
          type,
        )
      ).status,
    ).toBe(202)
    expect(at.registry.log).toHaveLength(requests)
    expect(decided()).toEqual([])
  })

  it('without the token, or that is none, is refused', async () => {
    expect(
      (
        await post('/v1/events/distribution', event('a/b@c'), {
          'content-type': 'application/json',
        })
      ).status,
    ).toBe(401)
    expect((await post('/v1/events/distribution', { events: 'x' }, type)).status).toBe(400)
  })
})

describe('an event of a Harbor', () => {
  const resources = (model: string): object[] => {
    const { host, repository, digest } = parts(model)
    return [{ digest, tag: 'v1', resource_url: `${host}/${repository}:v1` }]
  }
  const repository = {
    date_created: 1_763_600_000,
    name: 'good',
    namespace: 'models',
    repo_full_name: 'models/good',
    repo_type: 'private',
  }

  it('in its own form, with its header as it sends it', async () => {
    const model = await at.push('models/good')
    const body = {
      type: 'PUSH_ARTIFACT',
      occur_at: 1_763_640_000,
      operator: 'robot$ci',
      event_data: { resources: resources(model), repository },
    }
    const { status, json } = await post('/v1/events/harbor', body, { authorization: TOKEN })
    expect([status, json]).toEqual([202, { events: 1, decided: 1 }])
    await expect.poll(decided).toMatchObject([{ reference: `oci://${model}`, result: 'allow' }])
  })

  it('as a CloudEvent', async () => {
    const model = await at.push('models/foreign', { by: stranger })
    const body = {
      specversion: '1.0',
      id: '66d5cf75-a1d9-4b61-8d2b-2b5f1c9f5a1d',
      requestid: '6f8e0b1a',
      source: '/projects/1/webhook/policies/1',
      type: 'harbor.artifact.pushed',
      datacontenttype: 'application/json',
      time: '2026-11-20T12:00:00Z',
      data: { resources: resources(model), repository },
      operator: 'robot$ci',
    }
    expect(
      (
        await post('/v1/events/harbor', body, {
          authorization: TOKEN,
          'content-type': 'application/cloudevents+json',
        })
      ).status,
    ).toBe(202)
    await expect
      .poll(decided)
      .toMatchObject([{ reference: `oci://${model}`, result: 'deny', code: 'SIGNERS' }])
  })

  it('about something else is let be', async () => {
    expect(
      (await post('/v1/events/harbor', { type: 'SCANNING_COMPLETED', event_data: {} })).json,
    ).toEqual({ events: 1, decided: 0 })
  })
})

describe('the worker for JFrog', () => {
  interface Worker {
    default(context: object, request: object): Promise<{ status: number; message: string }>
  }
  const run = async (
    path: string,
    user = 'dev',
    service = url,
  ): Promise<{ status: number; message: string }> => {
    const place = new URL('../../deploy/recipes/jfrog/worker.ts', import.meta.url).href
    const worker = (await import(place)) as Worker
    const secrets: Record<string, string> = {
      ZT4AI_URL: service,
      ZT4AI_TOKEN: TOKEN,
      ZT4AI_REGISTRY: at.registry.host,
      ZT4AI_USER: 'zt4ai',
    }
    const axios = {
      post: async (
        to: string,
        body: object,
        {
          headers,
          validateStatus,
        }: { headers: Record<string, string>; validateStatus: (status: number) => boolean },
      ) => {
        const { status, json } = await at.ask(to, { body, headers })
        if (!validateStatus(status)) throw new Error(`status ${String(status)}`)
        return { status, data: json }
      },
    }
    const context = { secrets: { get: (name: string) => secrets[name] }, clients: { axios } }
    return worker.default(context, {
      metadata: {
        repoPath: { key: 'models', path, id: `models:${path}`, isRoot: false, isFolder: false },
        repoType: 'LOCAL',
      },
      userContext: { id: user, isToken: false, realm: 'internal' },
    })
  }

  it('gives out what is allowed, and stops what is not', async () => {
    await at.push('models/good', { tag: 'v1' })
    const foreign = parts(await at.push('models/foreign', { by: stranger })).digest
    expect(await run('good/v1/manifest.json')).toMatchObject({ status: 1 })
    expect(await run(`foreign/${foreign.replace(':', '__')}/manifest.json`)).toMatchObject({
      status: 2,
      message: expect.stringContaining('SIGNERS'),
    })
    expect(await run('good/v1/sha256__00')).toMatchObject({ status: 1 })
    expect(await run(`foreign/${foreign}/manifest.json`, 'zt4ai')).toMatchObject({ status: 1 })
  })

  it('stops everything while the service gives no answer', async () => {
    await at.push('models/good', { tag: 'v1' })
    expect(await run('good/v1/manifest.json', 'dev', 'http://127.0.0.1:1')).toMatchObject({
      status: 2,
      message: expect.stringContaining('EVIDENCE_UNAVAILABLE'),
    })
  })
})

describe('the verifier for containerd', () => {
  let bin = ''
  beforeEach(() => {
    bin = join(at.folder, 'bin')
    mkdirSync(bin)
    writeFileSync(
      join(bin, 'zt4ai'),
      `#!/bin/sh\nexec ${process.execPath} ${CLI} "$@" --plain-http\n`,
    )
    chmodSync(join(bin, 'zt4ai'), 0o755)
  })
  /** The script of the recipe, with a `zt4ai` on its path. */
  const verify = (
    words: readonly string[],
    input: string,
  ): Promise<{ status: number | null; stdout: string }> => {
    const script = new URL('../../deploy/recipes/containerd/zt4ai-verifier', import.meta.url)
      .pathname
    return new Promise((resolve) => {
      const child = spawn(script, words, {
        env: {
          PATH: `${bin}:/usr/bin:/bin`,
          ZT4AI_POLICY: join(at.folder, 'policy.yaml'),
          HOME: at.folder,
        },
        cwd: new URL('../../', import.meta.url).pathname,
        stdio: ['pipe', 'pipe', 'inherit'],
        timeout: 30_000,
      })
      let stdout = ''
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
      child.on('close', (status) => resolve({ status, stdout }))
      child.stdin.on('error', () => undefined)
      child.stdin.end(input)
    })
  }
  const words = (model: string, name = model.split('@')[0] ?? ''): string[] => [
    '-name',
    `${name}:v1`,
    '-digest',
    parts(model).digest,
    '-stdin-media-type',
    'application/vnd.oci.descriptor.v1+json',
  ]
  const descriptor = (model: string): string =>
    JSON.stringify({
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: parts(model).digest,
      size: 500,
    })

  it('decides by itself, as containerd asks, with exit 0 or 1 and one line', async () => {
    const good = await at.push('models/good')
    const foreign = await at.push('models/foreign', { by: stranger })
    const other = `docker.io/library/nginx@sha256:${'22'.repeat(32)}`
    const [allowed, refused, noModel, mixed] = await Promise.all([
      verify(words(good), descriptor(good)),
      verify(words(foreign), descriptor(foreign)),
      verify(words(other), descriptor(other)),
      verify(words(good), descriptor(foreign)),
    ])
    expect(allowed).toEqual({ status: 0, stdout: 'zt4ai: allowed by the policy cluster\n' })
    expect(refused).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/^zt4ai: SIGNERS: .*\n$/),
    })
    expect(noModel).toMatchObject({ status: 0, stdout: expect.stringContaining('not a model') })
    expect(mixed).toMatchObject({ status: 1, stdout: expect.stringContaining('another image') })
  })

  it('refuses what can not be decided', async () => {
    const model = await at.push('models/good')
    const before = at.registry.switches
    before.lie = 'manifest'
    expect(await verify(words(model), descriptor(model))).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('EVIDENCE_UNAVAILABLE'),
    })
  })
})

describe('the verifier for containerd, with a service', () => {
  it('asks it', async () => {
    const good = await at.push('models/good')
    const foreign = await at.push('models/foreign', { by: stranger })
    const asked = (
      model: string,
      service = url,
    ): Promise<{ status: number | null; stdout: string }> =>
      new Promise((resolve) => {
        const words = [
          '--service',
          service,
          '--token-file',
          join(at.folder, 'token'),
          '--plain-http',
        ]
        const child = spawn(
          process.execPath,
          [
            CLI,
            'image-verifier',
            ...words,
            '-name',
            model.split('@')[0] ?? '',
            '-digest',
            parts(model).digest,
          ],
          {
            cwd: new URL('../../', import.meta.url).pathname,
            stdio: ['ignore', 'pipe', 'inherit'],
            timeout: 30_000,
          },
        )
        let stdout = ''
        child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
        child.on('close', (status) => resolve({ status, stdout }))
      })
    const [first, second, third] = await Promise.all([
      asked(good),
      asked(foreign),
      asked(good, 'http://127.0.0.1:1'),
    ])
    expect(first).toEqual({ status: 0, stdout: 'zt4ai: OK: allowed\n' })
    expect(second).toMatchObject({ status: 1, stdout: expect.stringContaining('SIGNERS') })
    expect(third).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('EVIDENCE_UNAVAILABLE'),
    })
  })
})
