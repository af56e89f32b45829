import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Environment } from '@marcbachmann/cel-js'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { policyFrom } from '../../src/gate/policy.ts'
import { findModels } from '../../src/service/find.ts'
import { namesModel } from '../../src/service/image.ts'
import { utf8Encode, type JsonObject } from '../../attestation/lib/index.ts'
import { imageVolume, inferenceService, pod } from './fixtures.ts'
import { SCHEMAS } from './kubernetes.ts'
import { release } from './world.ts'

const folder = new URL('../../deploy/', import.meta.url).pathname
const read = (path: string): string => readFileSync(join(folder, path), 'utf8')

interface Resource {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- a manifest is looked at, not used
  readonly [key: string]: any
}

type Loose = Resource['spec']

function load(path: string): Resource[] {
  return parseAllDocuments(read(path), { uniqueKeys: true }).map((document) => {
    expect(document.errors).toEqual([])
    return document.toJS() as Resource
  })
}

const manifests = (readdirSync(folder, { recursive: true }) as string[]).filter(
  (path) => path.endsWith('.yaml') && path !== 'policy.yaml',
)
const all = manifests.flatMap((path) => load(path).map((resource) => ({ path, resource })))
const named = (kind: string): Resource =>
  all.find(({ resource }) => resource.kind === kind)!.resource

describe('every manifest', () => {
  const ajv = new Ajv2020({ allErrors: true, strict: true })
  it.each(all.map(({ path, resource }) => [`${path}: ${resource.kind}`, resource] as const))(
    '%s has the form of its kind, with no field that the kind does not have',
    (_, resource) => {
      const schema = SCHEMAS[`${resource.apiVersion}/${resource.kind}`]
      expect(schema, `${resource.apiVersion}/${resource.kind}`).toBeDefined()
      const validate = ajv.compile(schema!)
      validate(resource)
      expect(validate.errors ?? []).toEqual([])
    },
  )

  it('is named by its kustomization, and nothing else is', () => {
    for (const path of manifests.filter((name) => name.endsWith('kustomization.yaml'))) {
      const here = path.slice(0, -'kustomization.yaml'.length)
      const { resources, configMapGenerator = [] } = load(path)[0] as unknown as {
        resources: string[]
        configMapGenerator?: { files: string[] }[]
      }
      const files = readdirSync(join(folder, here)).filter(
        (name) => name.endsWith('.yaml') && name !== 'kustomization.yaml' && name !== 'policy.yaml',
      )
      expect(resources.filter((name) => name !== '..').sort()).toEqual(files.sort())
      for (const { files: names } of configMapGenerator)
        for (const name of names) expect(read(join(here, name))).not.toBe('')
    }
  })
})

describe('the deployment', () => {
  const { spec } = named('Deployment')
  const { template } = spec as {
    template: { metadata: { labels: object }; spec: Loose }
  }
  const [container] = template.spec['containers'] as Loose[]

  it('has no rights that it does not need', () => {
    expect(all.some(({ resource }) => /Role/.test(resource.kind))).toBe(false)
    expect(template.spec['automountServiceAccountToken']).toBe(false)
    expect(named('ServiceAccount')['automountServiceAccountToken']).toBe(false)
    expect(template.spec['securityContext']).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    })
    expect(container!['securityContext']).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
    for (const key of ['hostNetwork', 'hostPID', 'hostIPC'])
      expect(template.spec).not.toHaveProperty(key)
    for (const mount of container!['volumeMounts'] as { readOnly?: boolean }[])
      expect(mount.readOnly).toBe(true)
  })

  it('is found by the service, the budget and the network policy, and keeps a replica to spare', () => {
    expect(spec.selector.matchLabels).toEqual(template.metadata.labels)
    expect(named('Service')['spec'].selector).toEqual(template.metadata.labels)
    expect(named('PodDisruptionBudget')['spec'].selector.matchLabels).toEqual(
      template.metadata.labels,
    )
    expect(named('NetworkPolicy')['spec'].podSelector.matchLabels).toEqual(template.metadata.labels)
    expect(named('PodDisruptionBudget')['spec'].minAvailable).toBeLessThan(spec.replicas as number)
  })

  it('gives arguments that the command has', async () => {
    const { command } = await import('../../src/cli/serve.ts')
    const known = command().options.map(({ long }) => long)
    const [first, ...args] = container!['args'] as string[]
    expect(first).toBe('serve')
    for (const arg of args) expect(known).toContain(arg.split('=')[0])
    const ports = (container!['ports'] as { containerPort: number }[]).map(
      ({ containerPort }) => containerPort,
    )
    expect(args.join(' ')).toContain(`:${String(ports[0])} `)
  })

  it('has time to drain', async () => {
    const { command } = await import('../../src/cli/serve.ts')
    const seconds = (name: string): number =>
      Number.parseInt(String(command().options.find(({ long }) => long === name)?.defaultValue), 10)
    expect(template.spec['terminationGracePeriodSeconds']).toBeGreaterThan(
      seconds('--drain-delay') + seconds('--grace'),
    )
  })
})

describe('the job for bulk hashing', () => {
  it('hashes as many parts as it has pods, with options that the command has', async () => {
    const { spec } = named('Job')
    const text = (spec.template.spec.containers[0].command as string[])[2]!
    expect(spec.completionMode).toBe('Indexed')
    expect(spec.parallelism).toBe(spec.completions)
    expect(text).toContain(`/${String(spec.completions)}"`)
    const { command } = await import('../../src/cli/sign.ts')
    const known = command().options.map(({ long }) => long)
    for (const [option] of text.matchAll(/--[a-z-]+/g)) expect(known).toContain(option)
  })
})

describe('the example policy', () => {
  it('is one', () => {
    const { resolved } = policyFrom(utf8Encode(read('policy.yaml')), () =>
      utf8Encode(release.publicPem),
    )
    expect(resolved.policy.name).toBe('cluster')
  })
})

const digest = `sha256:${'ab'.repeat(32)}`
const model = `registry.example/models/m@${digest}`
const container = (image: string, name = 'c', more: object = {}): object => ({
  name,
  image,
  ...more,
})

/** Pods with their models, and whether a model in them is named by a tag. */
const PODS: readonly (readonly [string, Record<string, unknown>, boolean, 'digest' | 'tag'])[] = [
  ['nothing', pod(), false, 'digest'],
  [
    'an init container and an ephemeral one',
    pod({ initContainers: [container('busybox')], ephemeralContainers: [container('busybox')] }),
    false,
    'digest',
  ],
  ['annotations of others', pod({ annotations: { a: 'b' } }), false, 'digest'],
  ['an image volume', pod({ volumes: [imageVolume(model)] }), true, 'digest'],
  [
    'an image volume by tag',
    pod({ volumes: [imageVolume('registry.example/models/m:v1')] }),
    true,
    'tag',
  ],
  [
    'an image volume by tag after one by digest',
    pod({ volumes: [imageVolume(model), imageVolume('x', 'b')] }),
    true,
    'tag',
  ],
  [
    'the annotation',
    pod({ annotations: { 'zt4ai.dev/models': `oci://${model}, container:c` } }),
    true,
    'digest',
  ],
  [
    'the annotation with a tag',
    pod({ annotations: { 'zt4ai.dev/models': 'oci://registry.example/models/m:v1' } }),
    true,
    'tag',
  ],
  [
    'KServe’s annotation',
    pod({
      annotations: { 'internal.serving.kserve.io/storage-initializer-sourceuri': 's3://b/m' },
    }),
    true,
    'digest',
  ],
  [
    'KServe’s storage initializer',
    pod({
      initContainers: [
        container('kserve/storage-initializer:v1', 'storage-initializer', {
          args: ['s3://b/m', '/mnt'],
        }),
      ],
    }),
    true,
    'digest',
  ],
  [
    'a storage initializer under another name',
    pod({
      initContainers: [
        container('mirror/storage-initializer:v1', 'x', { args: ['s3://b/m', '/mnt'] }),
      ],
    }),
    true,
    'digest',
  ],
  [
    'ModelCar',
    pod({ containers: [container(`registry.example/any@${digest}`, 'modelcar')] }),
    true,
    'digest',
  ],
  [
    'ModelCar by tag',
    pod({ containers: [container('registry.example/any:v1', 'modelcar')] }),
    true,
    'tag',
  ],
  ['an image that a rule names', pod({ containers: [container(model)] }), true, 'digest'],
  ['an init image that a rule names', pod({ initContainers: [container(model)] }), true, 'digest'],
  [
    'an ephemeral image that a rule names',
    pod({ ephemeralContainers: [container(model)] }),
    true,
    'digest',
  ],
  ...(['containers', 'initContainers', 'ephemeralContainers'] as const).flatMap((list) =>
    [
      container('registry.example/models/m:v1'),
      container('registry.example/any:v1', 'modelcar'),
      container('registry.example/any:v1', 'modelcar-init'),
    ].map(
      (one) => [`${JSON.stringify(one)} in ${list}`, pod({ [list]: [one] }), true, 'tag'] as const,
    ),
  ),
  ...(['containers', 'initContainers', 'ephemeralContainers'] as const).flatMap((list) =>
    [
      container('mirror/storage-initializer:v1', 'x', { args: ['s3://b/m', '/mnt'] }),
      container('mirror/any:v1', 'storage-initializer', { args: ['s3://b/m', '/mnt'] }),
    ].map(
      (one) =>
        [`${JSON.stringify(one)} in ${list}`, pod({ [list]: [one] }), true, 'digest'] as const,
    ),
  ),
]

const cel = new Environment().registerVariable('object', 'dyn')
const holds = (expression: string, object: unknown): boolean => {
  const value: unknown = cel.parse(expression)({ object })
  expect(typeof value).toBe('boolean')
  return value === true
}
const matched = (
  conditions: readonly { readonly expression: string }[],
  object: unknown,
): boolean => conditions.every(({ expression }) => holds(expression, object))

describe('the conditions of the webhook', () => {
  const [pods, kserve] = named('ValidatingWebhookConfiguration')['webhooks'] as {
    matchConditions: { name: string; expression: string }[]
    failurePolicy: string
    sideEffects: string
    timeoutSeconds: number
  }[]
  const { resolved } = policyFrom(utf8Encode(read('policy.yaml')), () =>
    utf8Encode(release.publicPem),
  )

  it.each(PODS)('for a pod with %s', (_, object, expected) => {
    expect(matched(pods!.matchConditions, object)).toBe(expected)
    // What they keep out has no model that the service would find.
    const found = findModels(object as JsonObject, (reference) =>
      namesModel(resolved.policy, reference),
    )
    expect(found.length > 0).toBe(expected)
  })

  it('leave what is being deleted alone', () => {
    const object = pod({ volumes: [imageVolume(model)] }) as { metadata: object }
    const going = {
      ...object,
      metadata: { ...object.metadata, deletionTimestamp: '2026-11-20T12:00:00Z' },
    }
    expect(matched(pods!.matchConditions, going)).toBe(false)
    expect(matched(kserve!.matchConditions, going)).toBe(false)
    expect(matched(kserve!.matchConditions, inferenceService({ storageUri: 's3://b/m' }))).toBe(
      true,
    )
  })

  it('are few, and the webhook refuses what it can not ask about', () => {
    for (const { matchConditions, failurePolicy, sideEffects, timeoutSeconds } of [
      pods!,
      kserve!,
    ]) {
      expect(matchConditions.length).toBeLessThanOrEqual(64)
      expect([failurePolicy, sideEffects]).toEqual(['Fail', 'None'])
      expect(timeoutSeconds).toBeLessThanOrEqual(10)
    }
  })
})

describe('the companion that demands digests', () => {
  const { spec } = named('ValidatingAdmissionPolicy')
  const validations = spec.validations as { expression: string; message: string }[]

  it.each(PODS)('for a pod with %s', (_, object, __, form) => {
    const failing = validations.filter(({ expression }) => !holds(expression, object))
    expect(failing).toHaveLength(form === 'tag' ? 1 : 0)
  })

  it('is bound, and denies', () => {
    const binding = named('ValidatingAdmissionPolicyBinding')
    expect(binding['spec'].policyName).toBe(named('ValidatingAdmissionPolicy').metadata.name)
    expect(binding['spec'].validationActions).toContain('Deny')
  })
})
