// The genuine keyless signatures, whole and mutated, offline.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { verifyKeyless } from '../../src/verify/keyless.ts'
import { haveShared, shared } from '../shared.ts'

const VECTORS = [
  'vectors/oms/v0.3.1-sigstore/model.sig',
  'vectors/oms/v1.0.0-sigstore/model.sig',
  'vectors/oms-spec/test-vectors/valid/sigstore.bundle.json',
]
const IDENTITY = 'stefanb@us.ibm.com'
const ISSUER = 'https://sigstore.verify.ibm.com/oauth2'
const at = new Date('2026-01-01T00:00:00Z')

describe.skipIf(!haveShared)('genuine keyless signatures', () => {
  it.each(VECTORS)('%s verifies offline', async (path) => {
    const bytes = readFileSync(shared(path))
    const trustedRoot = readFileSync(shared('vectors/oms/trusted_root.json'))
    const result = await verifyKeyless(
      decodeBundle(bytes),
      bytes,
      { kind: 'keyless', identity: IDENTITY, issuer: ISSUER, trustedRoot },
      at,
    )
    console.log(JSON.stringify(result, null, 1))
    expect(result.checks.every((check) => check.status === 'pass')).toBe(true)
  })
})
