// Statements that are validly signed and must still be refused, and those that must not be.
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { writeBundle, writeStatement } from '../../src/bundle/write.ts'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signStatement } from '../../src/sign/model.ts'
import { rootDigest } from '../../src/model/manifest.ts'
import type { SignatureResult } from '../../src/verify/result.ts'
import { verifySignature, verifyStatement } from '../../src/verify/statement.ts'
import { party } from '../fakes/authority.ts'

type Json = Record<string, unknown>
const AT = new Date('2026-01-01T00:00:00Z')
const signer = party('signer', 'P-384')
const key = readPrivateKey(signer.privatePem)
const trust = { kind: 'key', publicKey: signer.publicPem } as const
const hex = (text: string): string => createHash('sha256').update(text).digest('hex')

interface Parts {
  statement: Json
  subject: Json
  predicate: Json
  serialization: Json
  resources: Json[]
}

/** A sound statement, changed; the root follows the resources unless `keepRoot`. */
function make(change: (parts: Parts) => unknown, keepRoot = false): Json {
  const resources: Json[] = [
    { name: 'a', algorithm: 'sha256', digest: hex('a') },
    { name: 'b/c', algorithm: 'sha256', digest: hex('c') },
  ]
  const serialization: Json = { method: 'files', hash_type: 'sha256', allow_symlinks: false }
  const predicate: Json = { serialization, resources }
  const subject: Json = { name: 'model', digest: { sha256: '' } }
  const statement: Json = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [subject],
    predicateType: 'https://model_signing/signature/v1.0',
    predicate,
  }
  const parts = { statement, subject, predicate, serialization, resources }
  const digest = subject['digest'] as Json
  digest['sha256'] = rootDigest(resources as { digest: string }[])
  change(parts)
  if (!keepRoot)
    try {
      const list = predicate['resources'] as { digest: string }[]
      if (digest['sha256'] !== undefined) digest['sha256'] = rootDigest(list)
    } catch {
      // not a list of digests: the root can't follow
    }
  return statement
}

async function verify(statement: unknown): Promise<SignatureResult> {
  const text = typeof statement === 'string' ? statement : JSON.stringify(statement)
  return verifySignature(await signStatement(utf8Encode(text), keySigner(key)), trust, AT)
}

const failures = (result: { checks: SignatureResult['checks'] }): string[] =>
  result.checks.filter(({ status }) => status === 'fail').map(({ id, code }) => `${id} ${code}`)

describe('validly signed statements that must be accepted', () => {
  it.each<[string, (parts: Parts) => unknown]>([
    ['as it is', () => 0],
    [
      'a later minor version',
      ({ statement }) => (statement['predicateType'] = 'https://model_signing/signature/v1.1'),
    ],
    [
      'a later minor version with more in the predicate',
      ({ statement, predicate }) => {
        statement['predicateType'] = 'https://model_signing/signature/v1.27'
        predicate['licence'] = 'Apache-2.0'
      },
    ],
    [
      'in the order of path components',
      ({ resources }) => {
        resources[0]!['name'] = 'tokenizer/vocab.json'
        resources[1]!['name'] = 'tokenizer.json'
      },
    ],
    [
      'in UTF-16 order, with astral names',
      ({ resources }) => {
        resources[0]!['name'] = '\u{1f600}'
        resources[1]!['name'] = '\uffee'
      },
    ],
    ['in no order', ({ resources }) => resources.reverse()],
    [
      'unknown members of a resource',
      ({ resources }) =>
        Object.assign(resources[0]!, { mediaType: 'x', size: 'large', annotations: {} }),
    ],
    [
      'unknown members of the subject',
      ({ subject }) => Object.assign(subject, { uri: 'x', annotations: { a: 1 } }),
    ],
    [
      'more digests of the subject',
      ({ subject }) =>
        Object.assign(subject['digest'] as Json, { gitCommit: 'abcd', blake3: '00' }),
    ],
    ['any name of the subject', ({ subject }) => (subject['name'] = '/some/where/../else')],
    [
      'ignored paths',
      ({ serialization }) => (serialization['ignore_paths'] = ['.git', 'model.sig', 'a/b c']),
    ],
    ['no ignored paths at all', ({ serialization }) => (serialization['ignore_paths'] = [])],
    [
      'shards with their algorithm',
      ({ serialization, resources }) => {
        Object.assign(serialization, { method: 'shards', shard_size: 10 })
        resources[0]!['name'] = 'a:0:10'
        resources[1]!['name'] = 'a:10:12'
      },
    ],
    [
      "shards with the reference implementation's algorithm",
      ({ serialization, resources }) => {
        Object.assign(serialization, { method: 'shards', shard_size: 10 })
        Object.assign(resources[0]!, { name: 'x:y:0:10', algorithm: 'sha256-sharded-10' })
        Object.assign(resources[1]!, { name: 'x:y:10:12', algorithm: 'sha256-sharded-10' })
      },
    ],
    [
      "shards whose parameters have their algorithm's name, as releases 0.3.0 and 0.3.1 wrote",
      ({ serialization, resources }) => {
        Object.assign(serialization, {
          method: 'shards',
          shard_size: 10,
          hash_type: 'sha256-sharded-10',
        })
        Object.assign(resources[0]!, { name: 'x:0:10', algorithm: 'sha256-sharded-10' })
        Object.assign(resources[1]!, { name: 'x:10:12', algorithm: 'sha256-sharded-10' })
      },
    ],
    [
      'blake2b',
      ({ serialization, resources }) => {
        serialization['hash_type'] = 'blake2b'
        for (const resource of resources)
          Object.assign(resource, { algorithm: 'blake2b', digest: 'ab'.repeat(64) })
      },
    ],
    [
      'blake3',
      ({ serialization, resources }) => {
        serialization['hash_type'] = 'blake3'
        for (const resource of resources) resource['algorithm'] = 'blake3'
      },
    ],
    [
      'the lone dot of old releases',
      ({ predicate }) =>
        (predicate['resources'] = [{ name: '.', algorithm: 'sha256', digest: hex('x') }]),
    ],
  ])('%s', async (_, change) => {
    const result = await verify(make(change))
    expect(failures(result)).toEqual([])
    expect(result.manifest?.root).toMatch(/^[0-9a-f]{64}$/)
    expect(result.authenticated?.signer.kind).toBe('key')
  })

  it("the reference implementation's numbers", async () => {
    const text = JSON.stringify(
      make(({ serialization, resources }) => {
        Object.assign(serialization, { method: 'shards', shard_size: 77 })
        resources[0]!['name'] = 'a:0:77'
        resources[1]!['name'] = 'b:0:77'
      }),
    )
    for (const form of ['77.0', '7.7e1', '77'])
      expect(
        failures(await verify(text.replace('"shard_size":77', `"shard_size":${form}`))),
      ).toEqual([])
    expect(
      failures(await verify(text.replace('"shard_size":77', '"shard_size":77.5'))),
    ).not.toEqual([])
  })
})

describe('validly signed statements that must be refused', () => {
  it.each<[string, string, (parts: Parts) => unknown]>([
    [
      'another type of statement',
      'signature.statement STATEMENT_INVALID',
      ({ statement }) => (statement['_type'] = 'https://in-toto.io/Statement/v0.1'),
    ],
    [
      'an unknown member of the statement',
      'signature.statement STATEMENT_INVALID',
      ({ statement }) => (statement['more'] = 1),
    ],
    [
      'another predicate',
      'signature.predicate PREDICATE_TYPE',
      ({ statement }) => (statement['predicateType'] = 'https://slsa.dev/provenance/v1'),
    ],
    [
      'version 2',
      'signature.predicate PREDICATE_TYPE',
      ({ statement }) => (statement['predicateType'] = 'https://model_signing/signature/v2.0'),
    ],
    [
      'almost version 1',
      'signature.predicate PREDICATE_TYPE',
      ({ statement }) => (statement['predicateType'] = 'https://model_signing/signature/v1.0x'),
    ],
    [
      "release 0.2.0's predicate in the modern encoding",
      'signature.predicate PREDICATE_TYPE',
      ({ statement }) => (statement['predicateType'] = 'https://model_signing/Digests/v0.1'),
    ],
    [
      'no subject',
      'signature.statement STATEMENT_INVALID',
      ({ statement }) => (statement['subject'] = []),
    ],
    [
      'two subjects',
      'signature.predicate STATEMENT_INVALID',
      ({ statement, subject }) => (statement['subject'] = [subject, subject]),
    ],
    [
      'a subject without a name',
      'signature.predicate STATEMENT_INVALID',
      ({ subject }) => (subject['name'] = ''),
    ],
    [
      'a subject without SHA-256',
      'signature.root DIGEST_INVALID',
      ({ subject }) => (subject['digest'] = { sha512: 'ab'.repeat(64) }),
    ],
    [
      'no predicate',
      'signature.predicate STATEMENT_INVALID',
      ({ statement }) => delete statement['predicate'],
    ],
    [
      'an unknown member of the predicate',
      'signature.predicate STATEMENT_INVALID',
      ({ predicate }) => (predicate['more'] = 1),
    ],
    [
      'no resources',
      'signature.predicate STATEMENT_INVALID',
      ({ predicate }) => delete predicate['resources'],
    ],
    [
      'an empty list',
      'signature.resources MANIFEST_EMPTY',
      ({ predicate }) => (predicate['resources'] = []),
    ],
    [
      'an unknown parameter',
      'signature.serialization SERIALIZATION_UNKNOWN',
      ({ serialization }) => (serialization['salt'] = 'x'),
    ],
    [
      'an unknown method',
      'signature.serialization SERIALIZATION_UNKNOWN',
      ({ serialization }) => (serialization['method'] = 'dirs'),
    ],
    [
      'an unknown hash',
      'signature.serialization SERIALIZATION_UNKNOWN',
      ({ serialization }) => (serialization['hash_type'] = 'md5'),
    ],
    [
      'a shard size without shards',
      'signature.serialization SERIALIZATION_UNKNOWN',
      ({ serialization }) => (serialization['shard_size'] = 10),
    ],
    [
      'shards without a size',
      'signature.serialization SERIALIZATION_UNKNOWN',
      ({ serialization }) => (serialization['method'] = 'shards'),
    ],
    [
      'shards of no bytes',
      'signature.serialization SERIALIZATION_UNKNOWN',
      ({ serialization }) => Object.assign(serialization, { method: 'shards', shard_size: 0 }),
    ],
    [
      'no word on links',
      'signature.serialization SERIALIZATION_UNKNOWN',
      ({ serialization }) => delete serialization['allow_symlinks'],
    ],
    [
      'links as text',
      'signature.serialization SERIALIZATION_UNKNOWN',
      ({ serialization }) => (serialization['allow_symlinks'] = 'false'),
    ],
    [
      'the whole model ignored',
      'signature.serialization NAME_UNSAFE',
      ({ serialization }) => (serialization['ignore_paths'] = ['.']),
    ],
    [
      'a parent ignored',
      'signature.serialization NAME_UNSAFE',
      ({ serialization }) => (serialization['ignore_paths'] = ['../x']),
    ],
    [
      'a pattern ignored',
      'signature.serialization NAME_UNSAFE',
      ({ serialization }) => (serialization['ignore_paths'] = ['*.bin']),
    ],
    [
      'an absolute path ignored',
      'signature.serialization NAME_UNSAFE',
      ({ serialization }) => (serialization['ignore_paths'] = ['/tmp']),
    ],
    [
      'a duplicate name',
      'signature.resources NAME_DUPLICATE',
      ({ resources }) => (resources[1]!['name'] = 'a'),
    ],
    [
      'a name above the model',
      'signature.resources NAME_UNSAFE',
      ({ resources }) => (resources[0]!['name'] = '../a'),
    ],
    [
      'an absolute name',
      'signature.resources NAME_UNSAFE',
      ({ resources }) => (resources[0]!['name'] = '/a'),
    ],
    [
      'a name with NUL',
      'signature.resources NAME_UNSAFE',
      ({ resources }) => (resources[0]!['name'] = 'a\0'),
    ],
    [
      'a file that is a directory',
      'signature.resources NAME_DUPLICATE',
      ({ resources }) => (resources[0]!['name'] = 'b'),
    ],
    [
      'an empty name',
      'signature.resources MANIFEST_INVALID',
      ({ resources }) => (resources[0]!['name'] = ''),
    ],
    [
      'an upper-case digest',
      'signature.resources DIGEST_INVALID',
      ({ resources }) => (resources[0]!['digest'] = hex('a').toUpperCase()),
    ],
    [
      'a short digest',
      'signature.resources DIGEST_INVALID',
      ({ resources }) => (resources[0]!['digest'] = 'ab'),
    ],
    [
      'no digest',
      'signature.resources MANIFEST_INVALID',
      ({ resources }) => delete resources[0]!['digest'],
    ],
    [
      'another algorithm than the parameters say',
      'signature.resources MANIFEST_INVALID',
      ({ resources }) => (resources[0]!['algorithm'] = 'blake3'),
    ],
    [
      "the reference implementation's shards with another size",
      'signature.resources MANIFEST_INVALID',
      ({ serialization, resources }) => {
        Object.assign(serialization, { method: 'shards', shard_size: 10 })
        Object.assign(resources[0]!, { name: 'a:0:10', algorithm: 'sha256-sharded-11' })
        Object.assign(resources[1]!, { name: 'b:0:10' })
      },
    ],
    [
      'shards with a gap',
      'signature.resources SHARDS_INVALID',
      ({ serialization, resources }) => {
        Object.assign(serialization, { method: 'shards', shard_size: 10 })
        resources[0]!['name'] = 'a:0:10'
        resources[1]!['name'] = 'a:20:22'
      },
    ],
  ])('%s', async (_, expected, change) => {
    const result = await verify(make(change))
    expect(failures(result)).toContain(expected)
    expect(result.manifest).toBeNull()
    expect(result.authenticated).toBeNull()
    for (const check of result.checks.filter(({ status }) => status === 'fail'))
      expect(check.message).not.toBe('')
  })

  it('another root', async () => {
    const result = await verify(make(({ resources }) => resources.reverse(), true))
    expect(failures(result)).toEqual(['signature.root ROOT_MISMATCH'])
    const check = result.checks.find(({ status }) => status === 'fail')
    expect(check?.expected).toMatch(/^[0-9a-f]{64}$/)
    expect(check?.actual).toMatch(/^[0-9a-f]{64}$/)
  })

  it('all of several faults are listed', async () => {
    const result = await verify(
      make(({ serialization, resources }) => {
        serialization['ignore_paths'] = ['.']
        resources[0]!['name'] = '../a'
        resources[1]!['digest'] = 'zz'
      }),
    )
    expect(failures(result).sort()).toEqual([
      'signature.resources DIGEST_INVALID',
      'signature.resources.2 NAME_UNSAFE',
      'signature.serialization NAME_UNSAFE',
    ])
  })

  it.each([
    [
      'a duplicate key',
      (text: string) => text.replace('"method":"files"', '"method":"shards","method":"files"'),
    ],
    ['text after the end', (text: string) => `${text}x`],
    ['not JSON', () => 'hello'],
    ['no object', () => '[]'],
  ])('%s', async (_, change) => {
    expect(failures(await verify(change(JSON.stringify(make(() => 0)))))).toEqual([
      'signature.statement STATEMENT_INVALID',
    ])
  })

  it('another payload, where the bundle does not name the key', async () => {
    const signed = JSON.parse(
      Buffer.from(
        await signStatement(utf8Encode(JSON.stringify(make(() => 0))), keySigner(key)),
      ).toString(),
    )
    signed.verificationMaterial.publicKey = {}
    const bytes = (): Uint8Array => utf8Encode(JSON.stringify(signed))
    const sound = await verifySignature(bytes(), trust, AT)
    expect(sound.checks[1]).toMatchObject({ id: 'signature.hint', status: 'skip' })
    expect(sound.manifest).not.toBeNull()
    signed.dsseEnvelope.payload = Buffer.from('{}').toString('base64')
    expect(failures(await verifySignature(bytes(), trust, AT))).toEqual([
      'signature.envelope SIGNATURE_INVALID',
    ])
  })

  it('another payload type', async () => {
    const payload = utf8Encode(JSON.stringify(make(() => 0)))
    const { signature, verificationMaterial } = await keySigner(key).sign('text/plain', payload)
    const bundle = Buffer.from(writeBundle(payload, signature, verificationMaterial)).toString()
    const result = await verifySignature(
      utf8Encode(bundle.replace('application/vnd.in-toto+json', 'text/plain')),
      trust,
      AT,
    )
    expect(failures(result)).toEqual(['signature.statement PAYLOAD_TYPE'])
  })
})

describe('any predicate', () => {
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ digest: { sha256: hex('x') } }],
    predicateType: 'https://example.org/reference-values/v1',
    predicate: { measurement: 'ab' },
  }

  it('is given back once its signature verified', async () => {
    const bundle = await signStatement(utf8Encode(JSON.stringify(statement)), keySigner(key))
    const result = await verifyStatement(bundle, trust, AT)
    expect(failures(result)).toEqual([])
    expect(result.authenticated?.predicateType).toBe(statement.predicateType)
    expect(result.authenticated?.statement['predicate']).toEqual(
      Object.assign(Object.create(null), statement.predicate),
    )
    expect(result.authenticated?.payloadSha256).toBe(hex(JSON.stringify(statement)))
  })

  it('is not given to somebody else', async () => {
    const other = readPrivateKey(party('other', 'P-384').privatePem)
    const bundle = await signStatement(utf8Encode(JSON.stringify(statement)), keySigner(other))
    const result = await verifyStatement(bundle, trust, AT)
    expect(failures(result)).toEqual([
      'signature.hint KEY_HINT',
      'signature.envelope SIGNATURE_INVALID',
    ])
    expect(result.authenticated).toBeNull()
  })
})

describe('what we write', () => {
  const name = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
    .filter((text) => !/[/\0]|^\.{1,2}$/.test(text))

  it('is read back as it was, whatever the names', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(name, { minLength: 1, maxLength: 8 }),
        name,
        async (names, model) => {
          const resources = names.map((file) => ({
            name: file,
            algorithm: 'sha256',
            digest: hex(file),
          }))
          const manifest = {
            name: model,
            serialization: {
              method: 'files',
              hashType: 'sha256',
              allowSymlinks: false,
              ignorePaths: [],
            } as const,
            resources,
            root: rootDigest(resources),
          }
          const result = await verify(new TextDecoder().decode(writeStatement(manifest)))
          expect(failures(result)).toEqual([])
          expect(result.manifest).toEqual(manifest)
        },
      ),
      { numRuns: 60 },
    )
  })
})

it('a data set of 100,000 files passes the limits, in the longest form that tools write', async () => {
  const resources = Array.from({ length: 100_000 }, (_, i) => ({
    digest: 'ab'.repeat(64),
    name: `data/train/shard-${String(i % 1000).padStart(5, '0')}/a long name of an image ${i}.jpeg`,
    algorithm: 'blake2b',
  }))
  const statement = make(({ predicate, serialization }) => {
    serialization['hash_type'] = 'blake2b'
    predicate['resources'] = resources
  })
  const result = await verify(JSON.stringify(statement, null, 2))
  expect(failures(result)).toEqual([])
  expect(result.manifest?.resources).toHaveLength(100_000)
})
