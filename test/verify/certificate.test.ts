// The certificate method against authorities of our own: whom it trusts, when, and for what.
import { describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { writeBundle } from '../../src/bundle/write.ts'
import { IN_TOTO } from '../../src/bundle/dsse.ts'
import { ZtError } from '../../src/error.ts'
import { certificateSigner } from '../../src/sign/certificate.ts'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signStatement } from '../../src/sign/model.ts'
import type { StatementResult, Trust } from '../../src/verify/result.ts'
import { verifyStatement } from '../../src/verify/statement.ts'
import { CODE_SIGNING, issue, party, SERVER } from '../fakes/authority.ts'
import type { CertificateOptions, Party } from '../fakes/authority.ts'

const AT = new Date('2026-06-01T00:00:00Z')
const STATEMENT = utf8Encode(
  JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'x', digest: { sha256: 'ab'.repeat(32) } }],
    predicateType: 'https://example.org/p/v1',
    predicate: {},
  }),
)

const root = party('root')
const middle = party('middle', 'P-384')
const leaf = party('signer', 'P-521')
const rootPem = issue(root, { ca: true })
const middlePem = issue(middle, { issuer: root, ca: true })
const leafPem = issue(leaf, {
  issuer: middle,
  emails: ['release@example.org'],
  uris: ['https://example.org/ci'],
  dns: ['example.org'],
})

/** A bundle as a tool would write it that checks nothing. */
async function signed(by: Party, ...chain: string[]): Promise<Uint8Array> {
  const { signature } = await keySigner(readPrivateKey(by.privatePem)).sign(IN_TOTO, STATEMENT)
  const certificates = chain.map((pem) => ({
    rawBytes: pem.replace(/-----[^-]+-----|\s/g, ''),
  }))
  return writeBundle(STATEMENT, signature, {
    x509CertificateChain: { certificates },
    tlogEntries: [],
  })
}

async function verify(
  bundle: Uint8Array,
  roots: string,
  identity?: string,
  at = AT,
): Promise<StatementResult> {
  const trust: Trust = {
    kind: 'certificate',
    roots,
    ...(identity === undefined ? {} : { identity }),
  }
  return verifyStatement(bundle, trust, at)
}

const failures = (result: StatementResult): string[] =>
  result.checks.filter(({ status }) => status === 'fail').map(({ id, code }) => `${id} ${code}`)

/** The codes with which a leaf under the root is refused. */
async function leafFailures(options: CertificateOptions, at = AT): Promise<string[]> {
  const signer = party('leaf')
  const pem = issue(signer, { issuer: root, ...options })
  return failures(await verify(await signed(signer, pem), rootPem, undefined, at))
}

describe('whom it trusts', () => {
  it('a chain to the root that was given', async () => {
    const bundle = await signStatement(
      STATEMENT,
      certificateSigner(
        readPrivateKey(leaf.privatePem),
        { certificate: leafPem, chain: [middlePem] },
        AT,
      ),
    )
    const result = await verify(bundle, rootPem)
    expect(failures(result)).toEqual([])
    expect(result.authenticated?.signer).toMatchObject({
      kind: 'certificate',
      subject: 'CN=signer',
      identities: ['release@example.org', 'example.org', 'https://example.org/ci'],
    })
    expect(result.checks.find(({ id }) => id === 'signature.identity')?.status).toBe('skip')
  })

  it.each([
    ['another root of the same name', () => issue(party('root'), { ca: true })],
    ['a root that is the bundle’s own, but not given', () => issue(party('else'), { ca: true })],
  ])('not %s', async (_, roots) => {
    const bundle = await signed(leaf, leafPem, middlePem, rootPem)
    expect(failures(await verify(bundle, roots()))).toEqual(['signature.chain ROOT_UNTRUSTED'])
  })

  it('nothing without the certificate between', async () => {
    expect(failures(await verify(await signed(leaf, leafPem), rootPem))).toEqual([
      'signature.chain ROOT_UNTRUSTED',
    ])
  })

  it('the certificate between may come from the caller', async () => {
    expect(failures(await verify(await signed(leaf, leafPem), rootPem + middlePem))).toEqual([])
  })

  it('a certificate between as the anchor, if the caller chose it alone', async () => {
    expect(failures(await verify(await signed(leaf, leafPem), middlePem))).toEqual([])
  })

  it('a certificate given beside a root is no anchor', async () => {
    const elsewhere = issue(party('elsewhere'), { ca: true })
    expect(failures(await verify(await signed(leaf, leafPem), elsewhere + middlePem))).toEqual([
      'signature.chain ROOT_UNTRUSTED',
    ])
  })

  it('a self-signed leaf that is the anchor itself, listed twice', async () => {
    const own = party('own')
    const pem = issue(own, { ca: true, keyUsage: ['digitalSignature', 'keyCertSign'] })
    expect(failures(await verify(await signed(own, pem, pem), pem))).toEqual([])
  })

  it('a leaf whose subject is its issuer’s, and which is a CA', async () => {
    const twin = party('twin')
    const pem = issue(twin, {
      issuer: middle,
      subject: 'middle',
      ca: true,
      keyUsage: ['digitalSignature'],
    })
    // its name is its issuer's; only signatures tell who issued whom
    expect(failures(await verify(await signed(twin, pem, middlePem), rootPem))).toEqual([])
  })

  it('nobody if the anchors are none', async () => {
    for (const roots of [
      '',
      'x',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      leaf.publicPem,
    ])
      await expect(verify(await signed(leaf, leafPem, middlePem), roots)).rejects.toThrow(ZtError)
  })

  it('not an intermediate that is no CA', async () => {
    const fake = party('fake')
    const fakePem = issue(fake, { issuer: root })
    const victim = party('victim')
    const bundle = await signed(victim, issue(victim, { issuer: fake }), fakePem)
    expect(failures(await verify(bundle, rootPem))).toContain('signature.chain CERT_ROLE')
  })

  it('not a key bundle', async () => {
    const bundle = await signStatement(STATEMENT, keySigner(readPrivateKey(leaf.privatePem)))
    expect(failures(await verify(bundle, rootPem))).toEqual(['signature.material MATERIAL_KIND'])
  })

  it('and a certificate bundle is nothing to a caller who trusts a key', async () => {
    const bundle = await signed(leaf, leafPem, middlePem)
    const result = await verifyStatement(bundle, { kind: 'key', publicKey: leaf.publicPem }, AT)
    expect(failures(result)).toEqual(['signature.material MATERIAL_KIND'])
  })

  it('a single certificate, as other tools write it', async () => {
    const direct = party('direct')
    const pem = issue(direct, { issuer: root })
    const text = Buffer.from(await signed(direct, pem)).toString()
    const { verificationMaterial, ...rest } = JSON.parse(text)
    const certificate = verificationMaterial.x509CertificateChain.certificates[0]
    const bundle = utf8Encode(JSON.stringify({ ...rest, verificationMaterial: { certificate } }))
    expect(failures(await verify(bundle, rootPem))).toEqual([])
  })

  it('not a signature by another key than the leaf’s', async () => {
    expect(failures(await verify(await signed(middle, leafPem, middlePem), rootPem))).toEqual([
      'signature.envelope SIGNATURE_INVALID',
    ])
  })

  it('not a certificate that can’t be read', async () => {
    const text = Buffer.from(await signed(leaf, leafPem, middlePem)).toString()
    const broken = text.replace(/"rawBytes":"MII./, '"rawBytes":"MIIZ')
    const [check] = (await verify(utf8Encode(broken), rootPem)).checks.filter(
      ({ status }) => status === 'fail',
    )
    expect(check?.id).toBe('signature.chain')
  })
})

describe('when', () => {
  const day = (text: string): Date => new Date(`${text}T00:00:00Z`)

  it('an expired leaf under a root that is older and still valid', async () => {
    const expired = { notBefore: day('2025-06-01'), notAfter: day('2025-07-01') }
    expect(await leafFailures(expired)).toEqual(['signature.chain CERT_EXPIRED'])
    expect(await leafFailures(expired, day('2025-06-15'))).toEqual([])
  })

  it('a leaf that is not valid yet', async () => {
    expect(await leafFailures({ notBefore: day('2027-01-01') })).toEqual([
      'signature.chain CERT_NOT_YET_VALID',
    ])
  })

  it('a root that expired', async () => {
    const old = party('old')
    const oldPem = issue(old, { ca: true, notAfter: day('2026-01-01') })
    const signer = party('signer')
    const bundle = await signed(signer, issue(signer, { issuer: old }))
    expect(failures(await verify(bundle, oldPem))).toEqual(['signature.chain CERT_EXPIRED'])
  })
})

describe('for what', () => {
  it.each<[string, CertificateOptions]>([
    ['digital signatures alone', { extKeyUsage: null }],
    ['code signing alone', { keyUsage: null }],
    ['any purpose', { extKeyUsage: ['2.5.29.37.0'] }],
    ['code signing among others', { extKeyUsage: [SERVER, '1.3.6.1.5.5.7.3.3'] }],
  ])('%s: accepted', async (_, options) => {
    expect(await leafFailures(options)).toEqual([])
  })

  it.each<[string, CertificateOptions]>([
    ['a web server', { extKeyUsage: [SERVER] }],
    ['e-mail', { extKeyUsage: ['1.3.6.1.5.5.7.3.4'] }],
    ['nothing stated', { keyUsage: null, extKeyUsage: null }],
    ['certificates only', { keyUsage: ['keyCertSign'] }],
    ['non-repudiation only', { keyUsage: ['nonRepudiation'], extKeyUsage: null }],
  ])('%s: refused', async (_, options) => {
    expect(await leafFailures(options)).toEqual(['signature.purpose CERT_ROLE'])
  })
})

describe('which identity', () => {
  const bundle = signed(leaf, leafPem, middlePem)

  it.each(['release@example.org', 'https://example.org/ci', 'example.org'])('%s', async (name) => {
    expect(failures(await verify(await bundle, rootPem, name))).toEqual([])
  })

  it.each([
    'release@example.or',
    'elease@example.org',
    'Release@example.org',
    'release@example.org ',
    '.*',
    'signer',
    'CN=signer',
    '',
  ])('not %j', async (name) => {
    expect(failures(await verify(await bundle, rootPem, name))).toEqual([
      'signature.identity IDENTITY_MISMATCH',
    ])
  })

  it('the common name where there is no alternative one', async () => {
    const plain = party('plain signer')
    const pem = issue(plain, { issuer: root })
    expect(failures(await verify(await signed(plain, pem), rootPem, 'plain signer'))).toEqual([])
    expect(
      failures(await verify(await signed(plain, pem), rootPem, 'CN=plain signer')),
    ).toHaveLength(1)
  })
})

it('all of several faults are listed', async () => {
  const signer = party('leaf')
  const pem = issue(signer, { issuer: party('nobody'), extKeyUsage: [SERVER] })
  const result = await verify(await signed(middle, pem), rootPem, 'me')
  expect(failures(result)).toEqual([
    'signature.chain ROOT_UNTRUSTED',
    'signature.purpose CERT_ROLE',
    'signature.identity IDENTITY_MISMATCH',
    'signature.envelope SIGNATURE_INVALID',
  ])
  for (const check of result.checks.filter(({ status }) => status === 'fail')) {
    expect(check.expected).toBeDefined()
    expect(check.actual).toBeDefined()
    expect(check.hint).toBeDefined()
  }
})

describe('signing refuses what no verifier would accept', () => {
  const key = readPrivateKey(leaf.privatePem)
  const refusal = (certificate: string, chain: string[] = [], at = AT): string => {
    try {
      certificateSigner(key, { certificate, chain }, at)
      return 'accepted'
    } catch (error) {
      return (error as ZtError).code
    }
  }

  it('accepts a chain in any order, and in one file', () => {
    expect(refusal(leafPem, [middlePem, rootPem])).toBe('accepted')
    expect(refusal(leafPem, [rootPem, middlePem])).toBe('accepted')
    expect(refusal(leafPem + middlePem)).toBe('accepted')
  })

  it.each([
    [
      'the certificate of another key',
      'KEY_MISMATCH',
      () => refusal(issue(party('x', 'P-521'), { issuer: middle }), []),
    ],
    [
      'a web server’s',
      'CERT_ROLE',
      () => refusal(issue(leaf, { issuer: middle, extKeyUsage: [SERVER] }), []),
    ],
    [
      'one of an authority for web servers',
      'CERT_ROLE',
      () => refusal(leafPem, [issue(middle, { issuer: root, ca: true, extKeyUsage: [SERVER] })]),
    ],
    [
      'an expired one',
      'CERT_EXPIRED',
      () => refusal(leafPem, [middlePem], new Date('2050-01-01T00:00:00Z')),
    ],
    [
      'a stranger in the chain',
      'CHAIN_INVALID',
      () => refusal(leafPem, [middlePem, issue(party('y'), { ca: true })]),
    ],
    ['no certificate at all', 'TRUST_INVALID', () => refusal('', [])],
  ])('%s', (_, code, run) => {
    expect(run()).toBe(code)
  })
})

it('an authority for web servers, below a root that was given, makes no signers', async () => {
  const servers = issue(middle, { issuer: root, ca: true, extKeyUsage: [SERVER] })
  const code = issue(middle, { issuer: root, ca: true, extKeyUsage: [SERVER, CODE_SIGNING] })
  const refused = await verify(await signed(leaf, leafPem, servers), rootPem)
  expect(failures(refused)).toEqual(['signature.chain CERT_ROLE'])
  expect(refused.checks.find(({ id }) => id === 'signature.chain')?.hint).toContain('authority')
  expect(failures(await verify(await signed(leaf, leafPem, code), rootPem))).toEqual([])
  // the one that says no more than it must is found beside the other, in any order
  expect(failures(await verify(await signed(leaf, leafPem, servers, code), rootPem))).toEqual([])
  // whom the caller chose as the anchor, the caller chose
  expect(failures(await verify(await signed(leaf, leafPem), servers))).toEqual([])
})
