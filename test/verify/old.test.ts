// Release 0.2.0's signatures, made anew with our own certificate: what goes with its encoding, and what does not.
import { sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { IN_TOTO, paeCompat } from '../../src/bundle/dsse.ts'
import { OLD_PREDICATE_TYPE } from '../../src/bundle/statement.ts'
import { writeBundle } from '../../src/bundle/write.ts'
import { rootDigest } from '../../src/model/manifest.ts'
import { keylessSigner } from '../../src/sign/keyless.ts'
import { signStatement } from '../../src/sign/model.ts'
import type { SignatureResult } from '../../src/verify/result.ts'
import { verifySignature, verifyStatement } from '../../src/verify/statement.ts'
import { issue, party } from '../fakes/authority.ts'
import { FAKE_ISSUER, FAKE_SUBJECT, startFakeSigstore } from '../fakes/sigstore.ts'

type Json = Record<string, unknown>
const AT = new Date('2026-01-01T00:00:00Z')
const root = party('root')
const roots = issue(root, { ca: true })
const signer = party('signer', 'P-384')
const leaf = issue(signer, { issuer: root })

const file = (name: string): Json => ({
  name,
  digest: { sha256: 'ab'.repeat(32) },
  annotations: { actual_hash_algorithm: 'file-sha256' },
})
const old = (...subject: Json[]): Json => ({
  _type: 'https://in-toto.io/Statement/v1',
  subject,
  predicateType: OLD_PREDICATE_TYPE,
  predicate: { unused: 'Unused, just passed due to API requirements' },
})

/** The failures of a statement in the old encoding, always with SHA-256 whatever the curve. */
async function failures(
  statement: Json,
  method: 'certificate' | 'key' = 'certificate',
  hash = 'sha256',
  keyDetails = 'PKIX_ECDSA_P256_SHA_256',
): Promise<string[]> {
  const payload = utf8Encode(JSON.stringify(statement))
  const signature = sign(hash, paeCompat(IN_TOTO, payload), signer.privateKey)
  const rawBytes = leaf.replace(/-----[^-]+-----|\s/g, '')
  const bundle =
    method === 'certificate'
      ? writeBundle(payload, signature, { x509CertificateChain: { certificates: [{ rawBytes }] } })
      : writeBundle(payload, signature, {
          publicKey: { rawBytes: Buffer.from(signer.publicPem).toString('base64'), keyDetails },
        })
  const result = await verifySignature(
    bundle,
    method === 'certificate'
      ? { kind: 'certificate', roots }
      : { kind: 'key', publicKey: signer.publicPem },
    AT,
  )
  expect(result.manifest === null).toBe(result.checks.some(({ status }) => status === 'fail'))
  return result.checks
    .filter(({ status }) => status === 'fail')
    .map(({ id, code }) => `${id} ${code}`)
}

describe("release 0.2.0's encoding", () => {
  it('goes with its predicate', async () => {
    expect(await failures(old(file('a'), file('b/c')))).toEqual([])
  })

  it('not with the current one', async () => {
    const resources = [{ name: 'a', algorithm: 'sha256', digest: 'ab'.repeat(32) }]
    const current = {
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'm', digest: { sha256: rootDigest(resources) } }],
      predicateType: 'https://model_signing/signature/v1.0',
      predicate: {
        serialization: { method: 'files', hash_type: 'sha256', allow_symlinks: false },
        resources,
      },
    }
    expect(await failures(current)).toEqual(['signature.predicate PREDICATE_TYPE'])
  })

  it("with keys as well, which it all calls P-256's, and not with the hash of the curve", async () => {
    expect(await failures(old(file('a')), 'key')).toEqual([])
    expect(await failures(old(file('a')), 'key', 'sha384')).toEqual([
      'signature.envelope SIGNATURE_INVALID',
    ])
    expect(await failures(old(file('a')), 'key', 'sha256', 'PKIX_ECDSA_P521_SHA_512')).toEqual([
      'signature.hint KEY_HINT',
    ])
    expect(await failures(old(file('a')), 'certificate', 'sha384')).toEqual([
      'signature.envelope SIGNATURE_INVALID',
    ])
  })

  it('with BLAKE2b, and with shards', async () => {
    const as = (algorithm: string, name: string, digits = 64): Json => ({
      name,
      digest: { sha256: 'a'.repeat(digits) },
      annotations: { actual_hash_algorithm: algorithm },
    })
    const shards = (...subject: Json[]): Json => ({
      ...old(...subject),
      predicateType: 'https://model_signing/ShardDigests/v0.1',
    })
    const sound = [as('file-sha256-10', 'a:0:10'), as('file-sha256-10', 'a:10:15')]
    expect(await failures(old(as('file-blake2b', 'a', 128)))).toEqual([])
    expect(await failures(shards(...sound), 'key')).toEqual([])
    expect(await failures(shards(as('file-blake2b-10', 'a:0:4', 128)))).toEqual([])
    const invalid = ['signature.resources MANIFEST_INVALID']
    expect(await failures(old(...sound))).toEqual(invalid)
    expect(await failures(shards(file('a')))).toEqual(invalid)
    expect(await failures(old(file('b'), as('file-blake2b', 'a', 128)))).toEqual(invalid)
    expect(await failures(shards(...sound, as('file-sha256-11', 'b:0:11')))).toEqual(invalid)
    expect(await failures(shards(...sound.slice(1)))).toEqual([
      'signature.resources SHARDS_INVALID',
    ])
  })

  it.each<[string, Json[], string]>([
    ['a name above the model', [file('../a')], 'NAME_UNSAFE'],
    ['a name twice', [file('a'), file('a')], 'NAME_DUPLICATE'],
    [
      'another algorithm',
      [{ ...file('a'), annotations: { actual_hash_algorithm: 'file-sha1' } }],
      'MANIFEST_INVALID',
    ],
    [
      'no word on the algorithm',
      [{ name: 'a', digest: { sha256: 'ab'.repeat(32) } }],
      'MANIFEST_INVALID',
    ],
    ['a short digest', [{ ...file('a'), digest: { sha256: 'ab' } }], 'DIGEST_INVALID'],
    [
      'two digests',
      [{ ...file('a'), digest: { sha256: 'ab'.repeat(32), sha1: 'ab' } }],
      'MANIFEST_INVALID',
    ],
  ])('not with %s', async (_, subjects, code) => {
    expect(await failures(old(...subjects))).toEqual([`signature.resources ${code}`])
  })
})

it('no other statement counts in the old encoding', async () => {
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'm', digest: { sha256: 'ab'.repeat(32) } }],
    predicateType: 'https://slsa.dev/verification_summary/v1',
    predicate: {},
  }
  const payload = utf8Encode(JSON.stringify(statement))
  const rawBytes = leaf.replace(/-----[^-]+-----|\s/g, '')
  const result = await verifyStatement(
    writeBundle(payload, sign('sha256', paeCompat(IN_TOTO, payload), signer.privateKey), {
      x509CertificateChain: { certificates: [{ rawBytes }] },
    }),
    { kind: 'certificate', roots },
    AT,
  )
  expect(result.authenticated).toBeNull()
  expect(result.checks.at(-1)).toMatchObject({ status: 'fail', code: 'PREDICATE_TYPE' })
})

it("a keyless signature of release 0.2.0 has that release's statement in the modern encoding", async () => {
  const fake = await startFakeSigstore()
  try {
    const { trustedRoot } = fake
    const trust = {
      kind: 'keyless',
      identity: FAKE_SUBJECT,
      issuer: FAKE_ISSUER,
      trustedRoot,
    } as const
    const method = keylessSigner({
      token: { kind: 'token', token: fake.token() },
      services: { fulcio: fake.url, rekor: fake.url },
    })
    const judge = async (statement: Json): Promise<SignatureResult> =>
      verifySignature(
        await signStatement(utf8Encode(JSON.stringify(statement)), method),
        trust,
        new Date(),
      )
    const { manifest, checks } = await judge(old(file('a'), file('b/c')))
    expect(manifest?.resources.map(({ name }) => name)).toEqual(['a', 'b/c'])
    expect(checks.filter(({ status }) => status !== 'pass').map(({ id }) => id)).toEqual([
      'signature.serialization',
      'signature.root',
    ])
    const doubled = await judge(old(file('a'), file('a')))
    expect(doubled.manifest).toBeNull()
  } finally {
    await fake.close()
  }
})
