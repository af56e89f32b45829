import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Service } from '../../src/service/service.ts'
import { imageVolume, inferenceService, pod, reviewOf } from './fixtures.ts'
import { policyText, stranger, world, type World } from './world.ts'

let at: World
let service: Service
let good: string
let unsigned: string
let foreign: string
let wrong: string
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
  service = await at.start()
})
afterAll(() => at.close())

async function asked(object: Record<string, unknown>, options = {}): Promise<any> {
  const { status, json } = await at.ask(`${service.url}/validate?timeout=10s`, {
    body: reviewOf(object, options),
  })
  expect(status).toBe(200)
  expect(json).toMatchObject({ kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1' })
  expect(json.response.uid).toBe('2f1d7a0e-9a3b-4e0c-8d0e-9f3f0f9b1c55')
  return json.response
}

describe('a pod', () => {
  it('without a model is nobody’s business', async () => {
    expect(await asked(pod())).toEqual({
      uid: expect.any(String),
      allowed: true,
      auditAnnotations: { decision: 'no-models' },
    })
  })

  it('with a signed model in an image volume is allowed, and says by which verdict', async () => {
    const { allowed, auditAnnotations } = await asked(pod({ volumes: [imageVolume(good)] }))
    expect(allowed).toBe(true)
    expect(auditAnnotations).toMatchObject({ decision: 'allow', mode: 'enforce' })
    expect(auditAnnotations.models).toMatch(/allow OK .*verdict sha256:[0-9a-f]{64}/)
  })

  it.each([
    ['unsigned', () => unsigned, 'SIGNERS'],
    ['signed by somebody else', () => foreign, 'SIGNERS'],
    ['other than what was signed', () => wrong, 'FILE_CHANGED'],
  ])(
    'with a model that is %s is refused with the reason and a way out',
    async (_, reference, code) => {
      const { allowed, status } = await asked(pod({ volumes: [imageVolume(reference())] }))
      expect(allowed).toBe(false)
      expect(status).toMatchObject({ code: 403, reason: 'Forbidden' })
      expect(status.message).toContain('zt4ai denies Pod serving/server: 1 of 1 models')
      expect(status.message).toContain(reference())
      expect(status.message).toContain('spec.volumes[0].image.reference')
      expect(status.message).toContain(code)
      expect(status.message).toContain('what to do:')
      expect(status.message).toMatch(/verdict sha256:[0-9a-f]{64}/)
    },
  )

  it('that names a tag is refused', async () => {
    const { allowed, status } = await asked(
      pod({ volumes: [imageVolume(`${at.registry.host}/models/good:v1`)] }),
    )
    expect(allowed).toBe(false)
    expect(status.message).toContain('DIGEST_REQUIRED')
  })
})
