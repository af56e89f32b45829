// The genuine signatures of every release, admitted under a policy that names the genuine key and certificate files as they are.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { admit } from '../../src/gate/admit.ts'
import { policyFrom } from '../../src/gate/policy.ts'
import { haveShared, shared } from '../shared.ts'

const POLICY = `schema: zt4ai.policy/v1
name: vectors
signers:
  key: {key: {file: keys/certificate/signing-key-pub.pem}}
  certificate: {certificate: {roots: {file: keys/certificate/ca-cert.pem}, identity: intermediate-ca}}
  keyless:
    keyless:
      identity: stefanb@us.ibm.com
      issuer: https://sigstore.verify.ibm.com/oauth2
      trusted-root: {file: trusted_root.json}
rules:
  all:
    models: ['*']
    signed-by: {any-of: [key, certificate, keyless]}
    formats: {allow: [unknown]}
    extra-files: {ignored: allow}
    machine: not-required
`
const at = new Date('2026-06-01T00:00:00Z')

describe.skipIf(!haveShared)('every genuine signature is admitted under a policy', () => {
  const folder = haveShared ? shared('vectors/oms') : ''
  const read = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)))
  const names = haveShared ? readdirSync(folder).filter((name) => name.startsWith('v')) : []

  it.each(names)('%s', async (name) => {
    const model = join(folder, name)
    // the only vector that is one file, whose signature lies beside it
    const single = name === 'v0.3.1-elliptic-key'
    const { verdict } = await admit({
      model: single ? join(model, 'signme-1') : model,
      policy: policyFrom(utf8Encode(POLICY), read),
      at,
      now: at,
      ...(single ? { bundles: [{ name: 'model.sig', bytes: read(join(name, 'model.sig')) }] } : {}),
    })
    expect(verdict.checks.filter(({ status }) => status === 'fail')).toEqual([])
    expect(verdict.decision).toBe('allow')
  })

  it('all of them were there', () => {
    expect(names.length).toBeGreaterThanOrEqual(8)
  })
})
