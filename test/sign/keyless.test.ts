import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keylessSigner } from '../../src/sign/keyless.ts'
import { startFakeSigstore, FAKE_ISSUER, FAKE_SUBJECT } from '../fakes/sigstore.ts'
import type { FakeSigstore } from '../fakes/sigstore.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { writeBundle } from '../../src/bundle/write.ts'
import { verifyKeyless } from '../../src/verify/keyless.ts'
let fake: FakeSigstore
beforeAll(async () => { fake = await startFakeSigstore() })
afterAll(() => fake.close())
const payload = new TextEncoder().encode('{"_type":"x"}')
describe('x', () => {
  it.each([{ v: 1, tsa: false }, { v: 1, tsa: true }, { v: 2, tsa: true }] as const)('%o', async ({ v, tsa }) => {
    const signer = keylessSigner({ token: { kind: 'token', token: fake.token() }, services: { fulcio: fake.url, rekor: fake.url, rekorVersion: v, ...(tsa ? { tsa: fake.url } : {}) } })
    const pieces = await signer.sign('application/vnd.in-toto+json', payload)
    const bytes = writeBundle(payload, pieces.signature, pieces.verificationMaterial)
    const r = await verifyKeyless(decodeBundle(bytes), bytes, { kind: 'keyless', identity: FAKE_SUBJECT, issuer: FAKE_ISSUER, trustedRoot: fake.trustedRoot }, new Date())
    console.log(JSON.stringify(r, null, 1))
    expect(r.signer).not.toBeNull()
  })
})
