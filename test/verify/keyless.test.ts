// Keyless verification against the fake Sigstore: what it accepts, and every refusal with a proof that is valid but for the one fault.
import { generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesToBase64, utf8Encode } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { IN_TOTO, pae } from '../../src/bundle/dsse.ts'
import { guardLogEntries } from '../../src/bundle/guard.ts'
import { checkArc, guardTimestamps } from '../../src/bundle/guard-timestamp.ts'
import { writeBundle } from '../../src/bundle/write.ts'
import { ZtError } from '../../src/error.ts'
import { verifyKeyless } from '../../src/verify/keyless.ts'
import type { MaterialResult } from '../../src/verify/material.ts'
import { dsseV1, hashedV2 } from '../fakes/rekor.ts'
import { FAKE_ISSUER, FAKE_SUBJECT, startFakeSigstore } from '../fakes/sigstore.ts'
import type { FakeSigstore } from '../fakes/sigstore.ts'

const PAYLOAD = utf8Encode('{"_type":"https://in-toto.io/Statement/v1"}')
/** Later than every clock of a fake. */
const LATER = new Date(Date.now() + 3_600_000)
const ISSUER_V1 = '1.3.6.1.4.1.57264.1.1'
const ISSUER_V2 = '1.3.6.1.4.1.57264.1.8'

type Json = Record<string, any> // eslint-disable-line @typescript-eslint/no-explicit-any -- tests reach into JSON freely

interface Made {
  readonly signature: Uint8Array
  readonly certificate: Uint8Array
  /** The bundle's verification material, without log entries and timestamps. */
  readonly material: Json
}

/** A signature over PAYLOAD with a certificate of the fake; what else goes into the bundle is the test's affair. */
async function make(
  fake: FakeSigstore,
  options: {
    readonly identity?: string
    readonly extensions?: Parameters<FakeSigstore['certificate']>[2]
  } = {},
): Promise<Made> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const certificate = await fake.certificate(
    publicKey.export({ type: 'spki', format: 'der' }),
    options.identity ?? FAKE_SUBJECT,
    options.extensions ?? [
      { oid: ISSUER_V1, value: FAKE_ISSUER, legacy: true },
      { oid: ISSUER_V2, value: FAKE_ISSUER },
    ],
  )
  const signature = new Uint8Array(sign('sha256', pae(IN_TOTO, PAYLOAD), privateKey))
  return {
    signature,
    certificate,
    material: { certificate: { rawBytes: bytesToBase64(certificate) } },
  }
}

function pem(certificate: Uint8Array): string {
  const lines = bytesToBase64(certificate).match(/.{1,64}/g) ?? []
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

function bodyV1({ signature, certificate }: Made, payload = PAYLOAD): object {
  const verifier = bytesToBase64(utf8Encode(pem(certificate)))
  return dsseV1(payload, bytesToBase64(signature), '{}', verifier)
}

/** The usual bundle: one entry of Rekor v1. */
async function bundleV1(fake: FakeSigstore, made?: Made): Promise<{ made: Made; material: Json }> {
  const it = made ?? (await make(fake))
  const entry = structuredClone(await fake.logEntry(bodyV1(it), 1)) as Json
  return { made: it, material: { ...it.material, tlogEntries: [entry] } }
}

/** A bundle of Rekor v2: an entry without time, and a timestamp. */
async function bundleV2(
  fake: FakeSigstore,
  body?: (made: Made) => object,
): Promise<{ made: Made; material: Json }> {
  const made = await make(fake)
  const { signature, certificate } = made
  const hashed = hashedV2(
    pae(IN_TOTO, PAYLOAD),
    bytesToBase64(signature),
    bytesToBase64(certificate),
  )
  const entry = (await fake.logEntry(body?.(made) ?? hashed, 2)) as Json
  return {
    made,
    material: { ...made.material, tlogEntries: [entry], ...(await timestamps(fake, made)) },
  }
}

async function timestamps(fake: FakeSigstore, { signature }: Made): Promise<Json> {
  const signedTimestamp = bytesToBase64(await fake.timestamp(signature))
  return { timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp }] } }
}

interface Asked {
  readonly identity?: string
  readonly issuer?: string
  readonly root?: Uint8Array
  readonly at?: Date
}

async function verify(
  fake: FakeSigstore,
  { made, material }: { made: Made; material: Json },
  { identity = FAKE_SUBJECT, issuer = FAKE_ISSUER, root = fake.trustedRoot, at }: Asked = {},
): Promise<MaterialResult> {
  const bytes = writeBundle(PAYLOAD, made.signature, material)
  const trust = { kind: 'keyless', identity, issuer, trustedRoot: root } as const
  return await verifyKeyless(decodeBundle(bytes), bytes, trust, at ?? new Date())
}

async function refusal(...args: Parameters<typeof verify>): Promise<readonly string[]> {
  const result = await verify(...args)
  expect(result.signer).toBeNull()
  expect(result.times).toEqual([])
  const ids = result.checks.map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
  return result.checks.filter(({ status }) => status === 'fail').map(({ code }) => code)
}

/** The trusted root after a change. */
function changedRoot(fake: FakeSigstore, change: (root: Json) => void): Uint8Array {
  const root = JSON.parse(new TextDecoder().decode(fake.trustedRoot)) as Json
  change(root)
  return utf8Encode(JSON.stringify(root))
}
const rootOf = (fake: FakeSigstore): Json =>
  JSON.parse(new TextDecoder().decode(fake.trustedRoot)) as Json

let fake: FakeSigstore
let other: FakeSigstore
beforeAll(async () => {
  ;[fake, other] = await Promise.all([startFakeSigstore(), startFakeSigstore()])
})
afterAll(async () => {
  await Promise.all([fake.close(), other.close()])
})

describe('a keyless signature', () => {
  it('in Rekor v1 verifies', async () => {
    const result = await verify(fake, await bundleV1(fake))
    expect(result.checks.map(({ status }) => status)).toEqual(Array(6).fill('pass'))
    expect(result.signer).toMatchObject({ identity: FAKE_SUBJECT, issuer: FAKE_ISSUER })
    expect(result.times.map(({ source }) => source)).toEqual(['transparency-log'])
  })

  it('in Rekor v1 with a timestamp as well verifies, and both times are named', async () => {
    const { made, material } = await bundleV1(fake)
    Object.assign(material, await timestamps(fake, made))
    const { times } = await verify(fake, { made, material })
    expect(times.map(({ source }) => source)).toEqual(['transparency-log', 'timestamp-authority'])
  })

  it('in Rekor v2 by the digest of the signed bytes (hashedrekord) verifies', async () => {
    const result = await verify(fake, await bundleV2(fake))
    expect(result.signer).not.toBeNull()
    expect(result.times.map(({ source }) => source)).toEqual(['timestamp-authority'])
  })

  it.each([1, 20, 500, 999])('with a time of %i ms past the second verifies', async (fraction) => {
    const own = await startFakeSigstore({ tsaFraction: fraction })
    try {
      const { times, signer } = await verify(own, await bundleV2(own), { at: LATER })
      expect(signer).not.toBeNull()
      expect(times[0]?.time).toMatch(new RegExp(`\\.${String(fraction).padStart(3, '0')}Z$`))
    } finally {
      await own.close()
    }
  })

  it('with a witness beside the log on its checkpoint verifies', async () => {
    const bundle = await bundleV1(fake)
    const { checkpoint } = bundle.material['tlogEntries'][0].inclusionProof
    checkpoint.envelope = `${checkpoint.envelope}\u2014 witness.example/w1 ${bytesToBase64(new Uint8Array(68))}\n`
    expect((await verify(fake, bundle)).signer).not.toBeNull()
  })
})

it('accepts a certificate with bytes that look like ASN.1 and are none', async () => {
  // These are C2 81 01 41: a tag, and a length that DER would write as 01. A key identifier holds such bytes by chance.
  const look = { oid: '1.3.6.1.4.1.57264.1.99', value: '\u0081\u0001A', legacy: true }
  const made = await make(fake, {
    extensions: [
      { oid: ISSUER_V1, value: FAKE_ISSUER, legacy: true },
      { oid: ISSUER_V2, value: FAKE_ISSUER },
      look,
    ],
  })
  const { checks, signer } = await verify(fake, await bundleV1(fake, made))
  expect(checks.filter(({ status }) => status === 'fail')).toEqual([])
  expect(signer).not.toBeNull()
})

describe('identity and issuer are compared exactly', () => {
  const escaped = FAKE_SUBJECT.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
  it.each([
    FAKE_SUBJECT.slice(0, -1),
    FAKE_SUBJECT.slice(1),
    `${FAKE_SUBJECT}x`,
    FAKE_SUBJECT.replaceAll('.', 'x'),
    FAKE_SUBJECT.toUpperCase(),
    `^${escaped}$`,
    escaped,
    '.*',
    '.',
    '',
    `${FAKE_SUBJECT}\0`,
  ])('not %j', async (identity) => {
    expect(await refusal(fake, await bundleV1(fake), { identity })).toEqual(['IDENTITY_MISMATCH'])
  })

  it.each(['https://token.zt4ai.tes', `${FAKE_ISSUER}/`, 'https://token.zt4ai_test', '.*', ''])(
    'not issued by %j',
    async (issuer) => {
      expect(await refusal(fake, await bundleV1(fake), { issuer })).toEqual(['ISSUER_MISMATCH'])
    },
  )

  it('a name that is a pattern matches only itself', async () => {
    const made = await make(fake, { identity: 'https://ci.example/.*' })
    const bundle = await bundleV1(fake, made)
    expect(await refusal(fake, bundle, { identity: 'https://ci.example/zt4ai' })).toEqual([
      'IDENTITY_MISMATCH',
    ])
    expect(
      (await verify(fake, bundle, { identity: 'https://ci.example/.*' })).signer,
    ).not.toBeNull()
  })

  it('a certificate with two issuers, or none, is refused', async () => {
    const evil = 'https://evil.example'
    const two = [
      { oid: ISSUER_V1, value: FAKE_ISSUER, legacy: true },
      { oid: ISSUER_V2, value: evil },
    ]
    for (const extensions of [two, []]) {
      const bundle = await bundleV1(fake, await make(fake, { extensions }))
      for (const issuer of [FAKE_ISSUER, evil])
        expect(await refusal(fake, bundle, { issuer })).toEqual(['CERT_INVALID'])
    }
  })

  it.each([
    [{ oid: ISSUER_V1, value: FAKE_ISSUER, legacy: true }],
    [{ oid: ISSUER_V2, value: FAKE_ISSUER }],
  ])('one of the two extensions is enough: %o', async (extension) => {
    const made = await make(fake, { extensions: [extension] })
    expect((await verify(fake, await bundleV1(fake, made))).signer).not.toBeNull()
  })
})

describe('the trusted root decides', () => {
  it("another instance's root refuses", async () => {
    const { trustedRoot: root } = other
    expect(await refusal(fake, await bundleV1(fake), { root })).toEqual(['LOG_UNKNOWN'])
  })

  it.each([
    ['certificateAuthorities', 'CHAIN_INVALID'],
    ['ctlogs', 'SCT_INVALID'],
    ['tlogs', 'LOG_UNKNOWN'],
    ['timestampAuthorities', 'TIMESTAMP_INVALID'],
  ])('another %s alone: %s', async (part, code) => {
    const root = changedRoot(fake, (json) => (json[part] = rootOf(other)[part]))
    expect(await refusal(fake, await bundleV2(fake), { root })).toEqual([code])
  })

  it.each([
    ['certificateAuthorities', 'CHAIN_INVALID'],
    ['timestampAuthorities', 'TIMESTAMP_INVALID'],
  ])('%s whose time is over: %s', async (part, code) => {
    const root = changedRoot(fake, (json) => (json[part][0].validFor.end = '2020-01-01T00:00:00Z'))
    expect(await refusal(fake, await bundleV2(fake), { root })).toEqual([code])
  })

  it.each([1, 2])('a log (of Rekor v%i) that was retired before', async (version) => {
    const root = changedRoot(fake, (json) => {
      json['tlogs'][0].publicKey.validFor.end = '2020-01-01T00:00:00Z'
    })
    const bundle = version === 1 ? await bundleV1(fake) : await bundleV2(fake)
    expect(await refusal(fake, bundle, { root })).toEqual([
      version === 1 ? 'LOG_UNVERIFIED' : 'LOG_UNKNOWN',
    ])
  })

  it.each([
    ['not JSON', () => utf8Encode('{')],
    ['an empty object', () => utf8Encode('{}')],
    ['a bundle', () => utf8Encode('{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}')],
    [
      'a key that is none',
      () => changedRoot(fake, (j) => (j['tlogs'][0].publicKey.rawBytes = 'AAAA')),
    ],
    [
      'a certificate that is none',
      () =>
        changedRoot(
          fake,
          (j) => (j['certificateAuthorities'][0].certChain.certificates[0].rawBytes = 'AAAA'),
        ),
    ],
    [
      'no certificates',
      () => changedRoot(fake, (j) => (j['certificateAuthorities'][0].certChain = {})),
    ],
    ['a log without address', () => changedRoot(fake, (j) => delete j['tlogs'][0].baseUrl)],
    [
      'a key twice',
      () => utf8Encode(new TextDecoder().decode(fake.trustedRoot).replace('{', '{"tlogs":[],')),
    ],
  ])('that is %s gives no answer', async (_name, root) => {
    const bundle = await bundleV1(fake)
    await expect(verify(fake, bundle, { root: root() })).rejects.toThrow(
      expect.objectContaining({ name: 'ZtError', code: 'TRUST_INVALID' }),
    )
  })
})

describe('log entries', () => {
  const entryOf = (material: Json): Json => material['tlogEntries'][0] as Json

  it('none is refused', async () => {
    const { made, material } = await bundleV1(fake)
    Object.assign(material, await timestamps(fake, made))
    for (const entries of [[], undefined])
      expect(
        await refusal(fake, { made, material: { ...material, tlogEntries: entries } }),
      ).toContain('LOG_ENTRY_MISSING')
  })

  it('one repeated is refused', async () => {
    const { made, material } = await bundleV1(fake)
    const entry = entryOf(material)
    expect(
      await refusal(fake, { made, material: { ...material, tlogEntries: [entry, entry] } }),
    ).toEqual(['LOG_ENTRY_DUPLICATE'])
  })

  it('more than any signer makes are refused', async () => {
    const { made, material } = await bundleV1(fake)
    const entries = Array.from({ length: 9 }, () => entryOf(material))
    expect(
      await refusal(fake, { made, material: { ...material, tlogEntries: entries } }),
    ).toContain('TOO_LARGE')
  })

  const tampered: readonly (readonly [string, (entry: Json) => void, string])[] = [
    ['index', (e) => (e['logIndex'] = String(Number(e['logIndex']) + 1)), 'LOG_UNVERIFIED'],
    [
      'time',
      (e) => (e['integratedTime'] = String(Number(e['integratedTime']) + 1)),
      'LOG_UNVERIFIED',
    ],
    ['time that is none', (e) => (e['integratedTime'] = '0'), 'LOG_ENTRY_INVALID'],
    ['promise removed', (e) => delete e['inclusionPromise'], 'LOG_ENTRY_INVALID'],
    [
      'promise',
      (e) => (e['inclusionPromise'].signedEntryTimestamp = bytesToBase64(new Uint8Array(70))),
      'LOG_UNVERIFIED',
    ],
    ['proof removed', (e) => delete e['inclusionProof'], 'FORMAT_INVALID'],
    ['proof index', (e) => (e['inclusionProof'].logIndex = '1'), 'LOG_UNVERIFIED'],
    ['tree size', (e) => (e['inclusionProof'].treeSize = '2'), 'LOG_ENTRY_INVALID'],
    [
      'root',
      (e) => (e['inclusionProof'].rootHash = bytesToBase64(new Uint8Array(32))),
      'LOG_ENTRY_INVALID',
    ],
    [
      'hashes',
      (e) => (e['inclusionProof'].hashes = [bytesToBase64(new Uint8Array(32))]),
      'LOG_UNVERIFIED',
    ],
    ['short hash', (e) => (e['inclusionProof'].hashes = ['AAAA']), 'LOG_ENTRY_INVALID'],
    ['log id', (e) => (e['logId'].keyId = bytesToBase64(new Uint8Array(32))), 'LOG_UNKNOWN'],
    ['kind', (e) => (e['kindVersion'].kind = 'intoto'), 'FORMAT_INVALID'],
    ['version', (e) => (e['kindVersion'].version = '0.0.2'), 'FORMAT_INVALID'],
    ['an unknown member', (e) => (e['extra'] = 1), 'FORMAT_INVALID'],
    ['a number for a count', (e) => (e['logIndex'] = 5), 'FORMAT_INVALID'],
    ['a count beyond a double', (e) => (e['logIndex'] = '9'.repeat(16)), 'FORMAT_INVALID'],
    ['a body that is not JSON', (e) => (e['canonicalizedBody'] = 'AAAA'), 'FORMAT_INVALID'],
    [
      'a note without end',
      (e) => (e['inclusionProof'].checkpoint.envelope = 'a\nb'),
      'LOG_ENTRY_INVALID',
    ],
    [
      'a size that is no number',
      (e) =>
        (e['inclusionProof'].checkpoint.envelope = (
          e['inclusionProof'].checkpoint.envelope as string
        ).replace('\n1\n', '\n0x1\n')),
      'FORMAT_INVALID',
    ],
  ]
  it.each(tampered)('tampered: %s', async (_name, change, code) => {
    const { made, material } = await bundleV1(fake)
    change(entryOf(material))
    expect(await refusal(fake, { made, material }, { at: LATER })).toEqual([code])
  })

  it.each<[string, (entry: Json) => void]>([
    ['an index that no proof covers', (e) => (e['logIndex'] = '7')],
    ['a time that no promise covers', (e) => (e['integratedTime'] = '1700000000')],
    [
      'a promise',
      (e) =>
        Object.assign(e, {
          integratedTime: '1',
          inclusionPromise: { signedEntryTimestamp: 'AAAA' },
        }),
    ],
  ])('of Rekor v2 with %s is refused', async (_name, change) => {
    const { made, material } = await bundleV2(fake)
    change(entryOf(material))
    expect(await refusal(fake, { made, material })).toEqual(['LOG_ENTRY_INVALID'])
  })

  it('a checkpoint by another trusted log than the entry names is refused', async () => {
    const root = changedRoot(fake, (json) => json['tlogs'].push(rootOf(other)['tlogs'][0]))
    const { made, material } = await bundleV1(fake)
    const { checkpoint } = entryOf(material)['inclusionProof']
    const [note] = (checkpoint.envelope as string).split('\n\n')
    checkpoint.envelope = `${note}\n\n${other.signNote(`${note}\n`)}`
    expect(await refusal(fake, { made, material }, { root })).toEqual(['LOG_UNVERIFIED'])
  })

  it('a signer name that is a pathological pattern is refused at once', async () => {
    const { made, material } = await bundleV1(fake)
    const { checkpoint } = entryOf(material)['inclusionProof']
    const good = checkpoint.envelope as string
    const [note, line] = good.split('\n\n')
    const key = line?.split(' ')[2] ?? ''
    for (const name of [
      '(.*.*.*.*.*.*.*)*!',
      '(a+)+$',
      `(${'.*'.repeat(40)})*x`,
      '[',
      '.',
      'rekor',
    ]) {
      checkpoint.envelope = `${note}\n\n\u2014 ${name} ${key}`
      // As a pattern the longest of them would never end.
      expect(await refusal(fake, { made, material })).toEqual(['LOG_UNVERIFIED'])
    }
  })

  it('that truly recorded something else is refused', async () => {
    const made = await make(fake)
    const thief = await make(fake)
    const cases: readonly (readonly [object, string])[] = [
      [bodyV1(made, utf8Encode('another payload')), 'LOG_MISMATCH'],
      [bodyV1({ ...made, signature: thief.signature }), 'LOG_MISMATCH'],
      [bodyV1({ ...made, certificate: thief.certificate }), 'LOG_MISMATCH'],
      [{ apiVersion: '0.0.1', kind: 'dsse', spec: {} }, 'FORMAT_INVALID'],
      [{ apiVersion: '0.0.2', kind: 'intoto', spec: {} }, 'FORMAT_INVALID'],
      [{ apiVersion: '0.0.1', kind: 'hashedrekord', spec: {} }, 'LOG_ENTRY_INVALID'],
    ]
    for (const [body, code] of cases) {
      const material = { ...made.material, tlogEntries: [await fake.logEntry(body, 1)] }
      expect(await refusal(fake, { made, material })).toEqual([code])
    }
  })

  it('hashedrekord over the payload, not over the signed bytes, is refused', async () => {
    const bundle = await bundleV2(fake, ({ signature, certificate }) =>
      hashedV2(PAYLOAD, bytesToBase64(signature), bytesToBase64(certificate)),
    )
    expect(await refusal(fake, bundle)).toEqual(['LOG_MISMATCH'])
  })
})

describe('certificate and signature', () => {
  it('a certificate for another key is refused, also where the log recorded it', async () => {
    const made = await make(fake)
    const { certificate, material } = await make(fake)
    const swapped = { ...made, certificate, material }
    expect(await refusal(fake, await bundleV1(fake, swapped))).toEqual(['SIGNATURE_INVALID'])
    const { material: good } = await bundleV1(fake, made)
    const half = { made, material: { ...good, ...material } }
    expect(await refusal(fake, half)).toEqual(['SIGNATURE_INVALID', 'LOG_MISMATCH'])
  })

  it('a certificate without SCT is refused', async () => {
    const own = await startFakeSigstore({ ct: false })
    try {
      expect(await refusal(own, await bundleV1(own))).toEqual(['SCT_INVALID'])
    } finally {
      await own.close()
    }
  })

  it.each([
    [1800, 'CERT_EXPIRED'],
    [-1800, 'CERT_NOT_YET_VALID'],
  ])('not valid at the time of the log (%i s off): %s', async (logClock, code) => {
    const own = await startFakeSigstore({ logClock })
    try {
      expect(await refusal(own, await bundleV1(own), { at: LATER })).toEqual([code])
    } finally {
      await own.close()
    }
  })

  it.each([
    [1800, 'CERT_EXPIRED'],
    [-1800, 'CERT_NOT_YET_VALID'],
  ])('not valid at the time of the authority (%i s off): %s', async (tsaClock, code) => {
    const own = await startFakeSigstore({ tsaClock })
    try {
      expect(await refusal(own, await bundleV2(own), { at: LATER })).toEqual([code])
      // also where a log vouches for a good time
      const { made, material } = await bundleV1(own)
      Object.assign(material, await timestamps(own, made))
      expect(await refusal(own, { made, material }, { at: LATER })).toEqual([code])
    } finally {
      await own.close()
    }
  })

  it('no proven time is refused', async () => {
    const { made, material } = await bundleV2(fake)
    delete material['timestampVerificationData']
    expect(await refusal(fake, { made, material })).toEqual(['TIMESTAMP_MISSING'])
  })

  it('a timestamp of another signature is refused', async () => {
    const { made, material } = await bundleV2(fake)
    Object.assign(material, await timestamps(fake, await make(fake)))
    expect(await refusal(fake, { made, material })).toEqual(['TIMESTAMP_INVALID'])
  })

  it('a timestamp repeated, or more than any signer makes, is refused', async () => {
    const { made, material } = await bundleV2(fake)
    const { rfc3161Timestamps: tokens } = material['timestampVerificationData']
    tokens.push(tokens[0])
    expect(await refusal(fake, { made, material })).toEqual(['TIMESTAMP_INVALID'])
    tokens.push(...Array.from({ length: 7 }, () => tokens[0]))
    expect(await refusal(fake, { made, material })).toContain('TOO_LARGE')
  })

  it('what was signed later than asked is refused', async () => {
    const at = new Date(Date.now() - 3_600_000)
    expect(await refusal(fake, await bundleV1(fake), { at })).toEqual(['SIGNED_LATER'])
  })

  it('material of another method is refused', async () => {
    const made = await make(fake)
    const { rawBytes } = made.material['certificate']
    for (const material of [
      { publicKey: { hint: '00'.repeat(32) }, tlogEntries: [] },
      { x509CertificateChain: { certificates: [{ rawBytes }] }, tlogEntries: [] },
    ])
      expect(await refusal(fake, { made, material })).toEqual(['MATERIAL_KIND'])
  })

  it('lists all that is wrong', async () => {
    const { made, material } = await bundleV1(fake)
    material['certificate'] = (await make(fake)).material['certificate']
    const asked = { identity: 'a', issuer: 'b', at: new Date(0) }
    expect(await refusal(fake, { made, material }, asked)).toEqual(
      expect.arrayContaining([
        'SIGNATURE_INVALID',
        'LOG_MISMATCH',
        'IDENTITY_MISMATCH',
        'ISSUER_MISMATCH',
      ]),
    )
  })
})

describe('the guard', () => {
  it('never throws, whatever the bytes of a timestamp', async () => {
    const token = await fake.timestamp(new Uint8Array(70))
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(token.length), (bytes, at) => {
        const changed = Uint8Array.from(token)
        changed.set(bytes.subarray(0, token.length - at), at)
        guardTimestamps([bytes, changed, token.subarray(0, at)])
      }),
    )
    expect(guardTimestamps([token]).findings).toEqual([])
    expect(guardTimestamps([token.subarray(1), new Uint8Array()]).findings).toHaveLength(2)
  })

  it('never throws, whatever the JSON of the entries', async () => {
    const { made, material } = await bundleV1(fake)
    const bundle = decodeBundle(writeBundle(PAYLOAD, made.signature, material))
    const logs = [{ baseUrl: 'https://rekor.zt4ai.test', logId: new Uint8Array(32) }]
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), (tlogEntries) => {
        const json = { verificationMaterial: { tlogEntries } }
        const { findings } = guardLogEntries({ ...bundle, json } as never, made.certificate, logs)
        expect(findings.length).toBeGreaterThan(0)
      }),
    )
  })

  it('refuses object identifiers that the library would read as others', () => {
    checkArc('1.3.6.1.4.1.57264.1.8')
    checkArc('2.16.840.1.101.3.4.2.1')
    expect(() => {
      checkArc(`1.3.6.1.4.1.57264.1.${2n ** 32n + 8n}`)
    }).toThrow('31 bits')
  })

  it('throws nothing but a ZtError for a bundle that is cut anywhere', async () => {
    const { made, material } = await bundleV2(fake)
    const bytes = writeBundle(PAYLOAD, made.signature, material)
    for (let length = 0; length < bytes.length - 1; length += 7)
      expect(() => decodeBundle(bytes.subarray(0, length))).toThrow(ZtError)
  })
})
