import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Service } from '../../src/service/service.ts'
import { imageVolume, inferenceService, pod, reviewOf, type ReviewChoice } from './fixtures.ts'
import { policyText, stranger, world, type World } from './world.ts'

let at: World
let service: Service
let good: string
let unsigned: string
let foreign: string
let wrong: string
let missing: string
beforeAll(async () => {
  at = await world()
  at.policy(
    policyText(`modes:
  namespaces: {lab: warn, 'audit-*': audit}
  exempt: [kube-system]
`),
  )
  good = await at.push('models/good', { tag: 'v1' })
  unsigned = await at.push('models/unsigned', { by: null })
  foreign = await at.push('models/foreign', { by: stranger })
  wrong = await at.push('models/wrong', { wrong: true })
  missing = `${at.registry.host}/models/missing@sha256:${'ab'.repeat(32)}`
  service = await at.start()
})
afterAll(() => at.close())

interface Response {
  readonly allowed: boolean
  readonly status: { readonly code: number; readonly reason: string; readonly message: string }
  readonly warnings: readonly string[]
  readonly auditAnnotations: Readonly<Record<string, string>>
}

async function asked(
  object: Record<string, unknown> | null,
  options: ReviewChoice = {},
): Promise<Response> {
  const { status, json } = await at.ask(`${service.url}/validate?timeout=10s`, {
    body: reviewOf(object, options),
  })
  expect(status).toBe(200)
  expect(json).toMatchObject({ kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1' })
  expect(json.response.uid).toBe('2f1d7a0e-9a3b-4e0c-8d0e-9f3f0f9b1c55')
  return json.response as Response
}

const volumes = (reference: string): { volumes: object[] } => ({
  volumes: [imageVolume(reference)],
})

describe('a pod', () => {
  it('without a model is nobody’s business', async () => {
    expect(await asked(pod())).toEqual({
      uid: expect.any(String),
      allowed: true,
      auditAnnotations: { decision: 'no-models' },
    })
  })

  it('with a signed model in an image volume is allowed, and says by which verdict', async () => {
    const { allowed, auditAnnotations } = await asked(pod(volumes(good)))
    expect(allowed).toBe(true)
    expect(auditAnnotations).toMatchObject({ decision: 'allow', mode: 'enforce' })
    expect(auditAnnotations['models']).toMatch(/allow OK .*verdict sha256:[0-9a-f]{64}/)
  })

  it.each([
    ['unsigned', () => unsigned, 'SIGNERS'],
    ['signed by somebody else', () => foreign, 'SIGNERS'],
    ['other than what was signed', () => wrong, 'FILE_CHANGED'],
    ['not there', () => missing, 'REGISTRY_NOT_FOUND'],
  ])(
    'with a model that is %s is refused with the reason and a way out',
    async (_, reference, code) => {
      const { allowed, status } = await asked(pod(volumes(reference())))
      expect(allowed).toBe(false)
      expect(status).toMatchObject({ code: 403, reason: 'Forbidden' })
      expect(status.message).toContain('zt4ai denies Pod serving/server: 1 of 1 models')
      expect(status.message).toContain(reference())
      expect(status.message).toContain('spec.volumes[0].image.reference')
      expect(status.message).toContain(code)
      expect(status.message).toMatch(/what to do:|nothing was decided/)
    },
  )

  it('names every model that is refused, each once', async () => {
    const both = [imageVolume(unsigned, 'a'), imageVolume(good, 'b'), imageVolume(unsigned, 'c')]
    const { allowed, status } = await asked(pod({ volumes: both }))
    expect(allowed).toBe(false)
    expect(status.message).toContain('1 of 2 models')
    expect(status.message.split(unsigned)).toHaveLength(2)
  })

  it('is refused where no rule is about the model, without asking its registry', async () => {
    const before = at.registry.log.length
    const { allowed, status } = await asked(
      pod(volumes(`${at.registry.host}/other/x@sha256:${'11'.repeat(32)}`)),
    )
    expect(allowed).toBe(false)
    expect(status.message).toContain('NO_RULE')
    expect(at.registry.log).toHaveLength(before)
  })
})

describe('a model is found', () => {
  const tag = (): string => `${at.registry.host}/models/good:v1`
  const container = (image: string, name = 'server', more: object = {}): object => ({
    name,
    image,
    ...more,
  })

  it.each<[string, (model: string) => Record<string, unknown>, string]>([
    ['an image volume', (m) => pod(volumes(m)), 'spec.volumes[0].image.reference'],
    [
      'a container image that a rule names',
      (m) => pod({ containers: [container(m)] }),
      'spec.containers[0].image',
    ],
    [
      'an init container',
      (m) => pod({ initContainers: [container(m)] }),
      'spec.initContainers[0].image',
    ],
    [
      'an ephemeral container',
      (m) => pod({ ephemeralContainers: [container(m)] }),
      'spec.ephemeralContainers[0].image',
    ],
    [
      'the template of a deployment',
      (m) => {
        const { metadata, spec } = pod(volumes(m)) as { metadata: object; spec: object }
        return {
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          metadata,
          spec: { replicas: 1, template: { metadata, spec } },
        }
      },
      'spec.template.spec.volumes[0].image.reference',
    ],
    [
      'KServe’s oci://',
      (m) => inferenceService({ storageUri: `oci://${m}` }),
      'spec.predictor.model.storageUri',
    ],
    [
      'KServe’s oci+native://',
      (m) => inferenceService({ storageUri: `oci+native://${m}` }),
      'spec.predictor.model.storageUri',
    ],
    [
      'KServe’s oci+fetch://',
      (m) => inferenceService({ storageUri: `oci+fetch://${m}` }),
      'spec.predictor.model.storageUri',
    ],
    [
      'KServe’s storageUris',
      (m) => inferenceService({ storageUris: [{ uri: `oci://${m}` }] }),
      'spec.predictor.model.storageUris[0].uri',
    ],
    [
      'an LLMInferenceService',
      (m) => ({
        apiVersion: 'serving.kserve.io/v1alpha1',
        kind: 'LLMInferenceService',
        metadata: { name: 'x', namespace: 'serving' },
        spec: { model: { uri: `oci://${m}`, name: 'x' } },
      }),
      'spec.model.uri',
    ],
    [
      'an adapter of an LLMInferenceService',
      (m) => ({
        apiVersion: 'serving.kserve.io/v1alpha1',
        kind: 'LLMInferenceService',
        metadata: { name: 'x', namespace: 'serving' },
        spec: { model: { uri: `oci://${good}`, lora: { adapters: [{ uri: `oci://${m}` }] } } },
      }),
      'spec.model.lora.adapters[0].uri',
    ],
    [
      'KServe’s storage initializer',
      (m) =>
        pod({
          initContainers: [
            container('docker.io/kserve/storage-initializer:v0.16', 'storage-initializer', {
              args: [`oci://${m}`, '/mnt/models'],
            }),
          ],
        }),
      'spec.initContainers[0].args[0]',
    ],
    [
      'a renamed storage initializer',
      (m) =>
        pod({
          initContainers: [
            container(
              'internal.example/mirror/storage-initializer@sha256:' + '22'.repeat(32),
              'fetch',
              { args: [`oci://${m}`, '/mnt/models'] },
            ),
          ],
        }),
      'spec.initContainers[0].args[0]',
    ],
    [
      'KServe’s ModelCar',
      (m) => pod({ containers: [container(m, 'modelcar')] }),
      'spec.containers[0].image',
    ],
    [
      'KServe’s annotation',
      (m) =>
        pod({
          annotations: { 'internal.serving.kserve.io/storage-initializer-sourceuri': `oci://${m}` },
        }),
      'metadata.annotations[internal.serving.kserve.io/storage-initializer-sourceuri]',
    ],
    [
      'our annotation',
      (m) => pod({ annotations: { 'zt4ai.dev/models': `oci://${m}` } }),
      'metadata.annotations[zt4ai.dev/models]',
    ],
  ])('in %s', async (_, make, where) => {
    expect((await asked(make(good))).allowed).toBe(true)
    const refused = await asked(make(unsigned))
    expect(refused.allowed).toBe(false)
    expect(refused.status.message).toContain(unsigned)
    expect(refused.status.message).toContain(where)
    const tagged = await asked(make(tag()))
    expect(tagged.allowed).toBe(false)
    expect(tagged.status.message).toContain('DIGEST_REQUIRED')
    expect(tagged.status.message).toContain('what to do:')
  })

  it('in a container that the annotation names, whatever the rules say of its image', async () => {
    const annotations = { 'zt4ai.dev/models': 'container:weights' }
    const image = `${at.registry.host}/elsewhere/weights@sha256:${'33'.repeat(32)}`
    const { allowed, status } = await asked(
      pod({ annotations, containers: [container(image, 'weights')] }),
    )
    expect(allowed).toBe(false)
    expect(status.message).toContain('NO_RULE')
    expect((await asked(pod({ containers: [container(image, 'weights')] }))).allowed).toBe(true)
  })

  it.each([
    ['an upper-case host', (m: string) => m.replace('127.0.0.1', 'LOCALHOST')],
    ['a tag beside the digest', (m: string) => m.replace('@', ':v9@')],
  ])('under %s as well', async (_, write) => {
    const host = at.registry.host.replace('127.0.0.1', 'localhost')
    const path = join(at.folder, 'other.yaml')
    const both = `models: ['oci://${at.registry.host}/models/*', 'oci://${host}`
    writeFileSync(path, policyText().replace("models: ['oci://127.0.0.1:*", both))
    const other = await at.start({ policies: [path] })
    const { json } = await at.ask(`${other.url}/validate`, {
      body: reviewOf(pod({ containers: [container(write(unsigned))] })),
    })
    expect(json.response.allowed).toBe(false)
  })

  it('where its digest is of a kind that nobody checks here', async () => {
    const image = `${at.registry.host}/models/good@sha512:${'ab'.repeat(64)}`
    const { allowed, status } = await asked(pod({ containers: [container(image)] }))
    expect(allowed).toBe(false)
    expect(status.message).toContain('REFERENCE_INVALID')
  })

  it.each([
    'hf://org/model',
    's3://bucket/model',
    'pvc://claim/model',
    'gs://b/m',
    'https://example.org/m.tar',
    'model-registry://x',
  ])('at %s, which nothing names by its content', async (storageUri) => {
    const { allowed, status } = await asked(inferenceService({ storageUri }))
    expect(allowed).toBe(false)
    expect(status.message).toContain('SOURCE_UNDECIDABLE')
    expect(status.message).toContain('oci://')
  })

  it('in KServe’s storage section, which nothing names by its content', async () => {
    const { allowed, status } = await asked(
      inferenceService({ storage: { key: 'minio', path: 'm' } }),
    )
    expect(allowed).toBe(false)
    expect(status.message).toContain('SOURCE_UNDECIDABLE')
  })

  it('or what is written in the annotation is refused', async () => {
    const { allowed, status } = await asked(pod({ annotations: { 'zt4ai.dev/models': 'model-a' } }))
    expect(allowed).toBe(false)
    expect(status.message).toContain('ANNOTATION_INVALID')
  })

  it('more often than anybody looks', async () => {
    const many = Array.from({ length: 80 }, (_, index) =>
      imageVolume(`${at.registry.host}/other/m${String(index)}@sha256:${'44'.repeat(32)}`),
    )
    const { allowed, status } = await asked(pod({ volumes: many }))
    expect(allowed).toBe(false)
    expect(status.message.length).toBeLessThanOrEqual(8192)
  })
})

describe('an operation', () => {
  it('that deletes is allowed without asking', async () => {
    expect(
      (await asked(null, { operation: 'DELETE', oldObject: pod(volumes(unsigned)) })).allowed,
    ).toBe(true)
  })

  it('that updates is asked about its new models alone', async () => {
    const old = pod(volumes(unsigned))
    const cleaned = { ...old, metadata: { ...(old['metadata'] as object), finalizers: [] } }
    expect((await asked(cleaned, { operation: 'UPDATE', oldObject: old })).allowed).toBe(true)
    const added = pod({
      ...volumes(unsigned),
      ephemeralContainers: [{ name: 'debug', image: foreign }],
    })
    const { allowed, status } = await asked(added, {
      operation: 'UPDATE',
      oldObject: old,
      subResource: 'ephemeralcontainers',
    })
    expect(allowed).toBe(false)
    expect(status.message).toContain(foreign)
    expect(status.message).not.toContain(unsigned)
  })

  it('that is a dry run gets the same answer', async () => {
    expect((await asked(pod(volumes(unsigned)), { dryRun: true })).allowed).toBe(false)
  })
})

describe('a namespace', () => {
  it('in mode warn is warned in pieces that kubectl shows whole', async () => {
    const long = `${at.registry.host}/models/${'x'.repeat(200)}@sha256:${'55'.repeat(32)}`
    const { allowed, warnings, status } = await asked(
      pod({ namespace: 'lab', volumes: [imageVolume(unsigned), imageVolume(long, 'b')] }),
    )
    expect(allowed).toBe(true)
    expect(status).toBeUndefined()
    expect(warnings[0]).toContain('would deny')
    expect(warnings).toHaveLength(3)
    for (const warning of warnings) {
      expect(Array.from(warning).length).toBeLessThanOrEqual(256)
      expect(warning).not.toContain('\n')
    }
  })

  it('in mode audit says it to the audit log alone', async () => {
    const response = await asked(pod({ namespace: 'audit-a', ...volumes(unsigned) }))
    expect(response).not.toHaveProperty('warnings')
    expect(response).toMatchObject({
      allowed: true,
      auditAnnotations: { decision: 'audit: would be denied' },
    })
  })

  it('that is exempt is not asked about at all', async () => {
    const before = at.registry.log.length
    const { allowed, auditAnnotations } = await asked(
      pod({ namespace: 'kube-system', ...volumes(missing) }),
    )
    expect([allowed, auditAnnotations['decision']]).toEqual([true, 'exempt'])
    expect(at.registry.log).toHaveLength(before)
  })

  it('is known by the request, not by what the object says', async () => {
    const review = reviewOf(pod(volumes(unsigned))) as {
      request: { object: { metadata: { namespace: string } } }
    }
    review.request.object.metadata.namespace = 'kube-system'
    const { json } = await at.ask(`${service.url}/validate`, { body: review })
    expect(json.response.allowed).toBe(false)
  })
})

describe('a body', () => {
  const post = (body: unknown, headers: Record<string, string> = {}): ReturnType<World['ask']> =>
    at.ask(`${service.url}/validate?timeout=5s`, { body, headers })
  const review = (change: (request: Record<string, unknown>) => void): Record<string, unknown> => {
    const made = reviewOf(pod(volumes(good)))
    change(made['request'] as Record<string, unknown>)
    return made
  }

  it.each<[string, unknown, string]>([
    ['is not JSON', '{"kind":', 'REQUEST_INVALID'],
    ['has a key twice', '{"kind":"AdmissionReview","kind":"AdmissionReview"}', 'REQUEST_INVALID'],
    ['is nested without end', '['.repeat(10_000), 'REQUEST_INVALID'],
    ['is a list', '[]', 'REVIEW_INVALID'],
    ['is of another kind', { ...reviewOf(pod()), kind: 'TokenReview' }, 'REVIEW_INVALID'],
    [
      'is of the version before',
      { ...reviewOf(pod()), apiVersion: 'admission.k8s.io/v1beta1' },
      'REVIEW_INVALID',
    ],
    [
      'has no request',
      { kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1' },
      'REVIEW_INVALID',
    ],
    ['has no uid', review((request) => delete request['uid']), 'REVIEW_INVALID'],
    ['has an empty uid', review((request) => (request['uid'] = '')), 'REVIEW_INVALID'],
    ['has a uid that is no text', review((request) => (request['uid'] = 7)), 'REVIEW_INVALID'],
    ['has a uid of two lines', review((request) => (request['uid'] = 'a\nb')), 'REVIEW_INVALID'],
  ])('that %s has no uid to answer to', async (_, body, code) => {
    const { status, json } = await post(body)
    expect(status).toBe(400)
    expect(json).toMatchObject({ code, message: expect.any(String) })
  })

  it.each<[string, (request: Record<string, unknown>) => void]>([
    ['no kind', (request) => delete request['kind']],
    ['an unknown operation', (request) => (request['operation'] = 'PATCH')],
    ['a namespace that is no text', (request) => (request['namespace'] = ['kube-system'])],
  ])('with a uid and %s is refused properly', async (_, change) => {
    const { status, json } = await post(review(change))
    expect(status).toBe(200)
    expect(json.response).toMatchObject({
      uid: '2f1d7a0e-9a3b-4e0c-8d0e-9f3f0f9b1c55',
      allowed: false,
    })
    expect(json.response.status.message).toContain("can't read")
  })

  it('may have fields that nobody knows yet', async () => {
    const body = review((request) => (request['future'] = { a: [1] }))
    expect((await post({ ...body, future: 1 })).json.response.allowed).toBe(true)
  })

  it('that is too large, packed or not, is denied with the reason, and the service goes on', async () => {
    const huge = JSON.stringify({ ...reviewOf(pod()), padding: 'x'.repeat(5 << 20) })
    for (const gzip of [false, true]) {
      const { status, json } = await at.ask(`${service.url}/validate`, { body: huge, gzip })
      expect(status).toBe(200)
      expect(json.response).toMatchObject({
        uid: '2f1d7a0e-9a3b-4e0c-8d0e-9f3f0f9b1c55',
        allowed: false,
        status: { message: expect.stringMatching(/TOO_LARGE.*\n {2}what to do: make/) as string },
      })
    }
    const nobody = JSON.stringify({ padding: 'x'.repeat(5 << 20) })
    for (const gzip of [false, true]) {
      const { status, json } = await at.ask(`${service.url}/validate`, { body: nobody, gzip })
      expect([status, json.code]).toEqual([413, 'TOO_LARGE'])
    }
    expect((await post(reviewOf(pod()))).status).toBe(200)
  })

  it('that is not called JSON, or packed strangely, is refused', async () => {
    expect((await post(reviewOf(pod()), { 'content-type': 'text/plain' })).status).toBe(400)
    expect((await post(reviewOf(pod()), { 'content-encoding': 'br' })).status).toBe(400)
    expect((await post('not gzip', { 'content-encoding': 'gzip' })).status).toBe(400)
  })

  it('with names that would move a terminal’s cursor does not', async () => {
    const evil = `${at.registry.host}/models/x\u001b[2J\nallowed@sha256:${'11'.repeat(32)}`
    const { json } = await post(reviewOf(pod(volumes(evil))))
    expect(json.response.allowed).toBe(false)
    expect(json.response.status.message).not.toMatch(/\u001b|^allowed/m)
  })
})

describe('what is written down', () => {
  it('has the verdict of every decision, and of the service', async () => {
    const { auditAnnotations } = await asked(pod(volumes(good)))
    const digest = /sha256:[0-9a-f]{64}$/.exec(auditAnnotations['models'] ?? '')?.[0]
    const line = at.logs
      .map((text) => JSON.parse(text) as Record<string, unknown>)
      .findLast(({ msg }) => msg === 'decided')
    expect(line).toMatchObject({
      verdict: digest,
      result: 'allow',
      code: 'OK',
      mode: 'enforce',
      policy: 'cluster',
      namespace: 'serving',
      request: expect.any(String),
    })
    const { text } = await at.ask(`${service.url}/metrics`)
    expect(text).toMatch(
      /^zt4ai_verdict_total\{result="allow",code="OK",policy="cluster",mode="enforce"\} \d+$/m,
    )
    expect(text).toMatch(
      /^zt4ai_verdict_total\{result="deny",code="SIGNERS",policy="cluster",mode="enforce"\} \d+$/m,
    )
    expect(text).toMatch(/^zt4ai_verdict_total\{result="exempt"/m)
    expect(text).toMatch(/^zt4ai_decision_seconds_count\{phase="registry"\} \d+$/m)
    expect(text).not.toContain('models/good')
  })
})
