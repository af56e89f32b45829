import { createHash, randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { httpTransport, pauseFor, type Transport } from '../../src/fetch/transport.ts'
import { dockerCredentials, parseChallenge } from '../../src/registry/auth.ts'
import { openRepository, type Repository } from '../../src/registry/client.ts'
import {
  attach,
  BUNDLE_TYPE,
  fallbackTag,
  fetchBundles,
  listReferrers,
} from '../../src/registry/referrers.ts'
import { rawArtifact } from '../../src/registry/artifact.ts'
import { startRegistry, type RegistryDouble, type RegistrySwitches } from '../fakes/registry.ts'

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
async function* stream(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) {
    await Promise.resolve()
    yield bytes.subarray(at, at + 65_536)
  }
}

const open: { double: RegistryDouble; transport: Transport }[] = []
async function registry(
  switches: RegistrySwitches = {},
  more: Partial<Parameters<typeof openRepository>[2]> = {},
): Promise<{ double: RegistryDouble; repository: Repository }> {
  const double = await startRegistry(switches)
  const transport = httpTransport({
    plainHttp: true,
    sleep: () => Promise.resolve(),
    idleTimeoutMs: 20_000,
  })
  open.push({ double, transport })
  return {
    double,
    repository: openRepository(double.host, 'team/model', { transport, plainHttp: true, ...more }),
  }
}
afterEach(async () => {
  for (const { double, transport } of open.splice(0)) {
    transport.close()
    await double.close()
  }
})

async function pushModel(
  repository: Repository,
): Promise<{ digest: string; weights: Uint8Array; size: number }> {
  const weights = new Uint8Array(randomBytes(200_000))
  const { manifest, digest, config, configDigest } = rawArtifact('model', [
    { path: 'weights.bin', size: weights.length, sha256: sha(weights) },
  ])
  await repository.uploadBlob(`sha256:${sha(weights)}`, weights.length, (offset) =>
    stream(weights.subarray(offset)),
  )
  await repository.uploadBlob(configDigest, config.length, (offset) =>
    stream(config.subarray(offset)),
  )
  await repository.putManifest('v1', 'application/vnd.oci.image.manifest.v1+json', manifest)
  return { digest, weights, size: manifest.length }
}

describe('manifests and blobs', () => {
  it('writes and reads back, by tag and by digest', async () => {
    const { repository } = await registry()
    const { digest, weights } = await pushModel(repository)
    expect((await repository.manifest('v1'))?.digest).toBe(digest)
    expect((await repository.manifest(digest))?.digest).toBe(digest)
    expect(sha(await repository.blob(`sha256:${sha(weights)}`, 1 << 20))).toBe(sha(weights))
    expect(await repository.manifest('v2')).toBeUndefined()
  })

  it.each(['manifest', 'blob'] as const)(
    'refuses a %s whose bytes do not have the digest',
    async (lie) => {
      const { double, repository } = await registry()
      const { digest, weights } = await pushModel(repository)
      double.switches.lie = lie
      const read =
        lie === 'manifest'
          ? repository.manifest(digest)
          : repository.blob(`sha256:${sha(weights)}`, 1 << 20)
      await expect(read).rejects.toMatchObject({ code: 'REGISTRY_DIGEST' })
    },
  )

  it('refuses a manifest that the header calls something else', async () => {
    const { double, repository } = await registry()
    const { digest } = await pushModel(repository)
    double.switches.wrongContentType = 'application/vnd.oci.image.index.v1+json'
    await expect(repository.manifest(digest)).rejects.toMatchObject({ code: 'REGISTRY_ANSWER' })
  })

  it('reads a manifest that comes without headers', async () => {
    const { double, repository } = await registry()
    const { digest } = await pushModel(repository)
    double.switches.missingHeaders = true
    expect((await repository.manifest(digest))?.mediaType).toBe(
      'application/vnd.oci.image.manifest.v1+json',
    )
  })

  it('caps a blob that is larger than allowed, and says when one was cut off', async () => {
    const { double, repository } = await registry()
    const { weights } = await pushModel(repository)
    await expect(repository.blob(`sha256:${sha(weights)}`, 1000)).rejects.toMatchObject({
      code: 'TOO_LARGE',
    })
    double.switches.cutBlobs = 99
    await expect(repository.blob(`sha256:${sha(weights)}`, 1 << 20)).rejects.toMatchObject({
      code: 'NETWORK',
    })
  })

  it('resumes a broken upload where the registry stopped', async () => {
    const { double, repository } = await registry({ cutUploads: 2 }, { chunkSize: 300_000 })
    const bytes = new Uint8Array(randomBytes(1_000_000))
    expect(
      await repository.uploadBlob(`sha256:${sha(bytes)}`, bytes.length, (offset) =>
        stream(bytes.subarray(offset)),
      ),
    ).toBe('uploaded')
    expect(sha(double.blobs.get(`sha256:${sha(bytes)}`) ?? bytes.subarray(1))).toBe(sha(bytes))
    expect(
      await repository.uploadBlob(`sha256:${sha(bytes)}`, bytes.length, () => stream(bytes)),
    ).toBe('present')
  })

  it('tries again after 429 and 503, and gives up with a code', async () => {
    const { double, repository } = await registry({ tooMany: 2, unavailable: 1 })
    const { digest } = await pushModel(repository)
    double.switches.tooMany = 1
    expect((await repository.manifest(digest))?.digest).toBe(digest)
    double.switches.unavailable = 99
    await expect(repository.manifest(digest)).rejects.toMatchObject({ code: 'REGISTRY_ANSWER' })
  })

  it('says that nobody answers', async () => {
    const { double, repository } = await registry()
    await double.close()
    await expect(repository.manifest('v1')).rejects.toMatchObject({ code: 'NETWORK' })
  })
})

describe('credentials', () => {
  const auth = { username: 'robot', password: 'secret' }
  const config = (entry: unknown, host: string): Uint8Array =>
    encode(JSON.stringify({ auths: { [host]: entry } }))

  it.each(['bearer', 'basic'] as const)(
    'answers a %s challenge from the Docker config',
    async (scheme) => {
      const { double } = await registry({ auth: { ...auth, scheme } })
      const transport = httpTransport({ plainHttp: true })
      const credentials = dockerCredentials(
        config({ auth: Buffer.from('robot:secret').toString('base64') }, double.host),
      )
      const repository = openRepository(double.host, 'team/model', {
        transport,
        plainHttp: true,
        credentials,
      })
      const { digest } = await pushModel(repository)
      expect((await repository.manifest(digest))?.digest).toBe(digest)
      transport.close()
    },
  )

  it('refuses with a code and a hint when the credentials are wrong or missing', async () => {
    const { repository } = await registry({ auth })
    await expect(repository.manifest('v1')).rejects.toMatchObject({ code: 'REGISTRY_AUTH' })
  })

  it('asks a credential helper, and takes no name that is not a plain word', async () => {
    const asked: string[] = []
    const helper = (name: string, host: string): Promise<string> => {
      asked.push(`${name} ${host}`)
      return Promise.resolve(
        JSON.stringify({ ServerURL: host, Username: 'robot', Secret: 'secret' }),
      )
    }
    const source = dockerCredentials(
      encode('{"credHelpers":{"a.example":"vault"},"credsStore":"desktop"}'),
      helper,
    )
    expect(await source('a.example')).toEqual({ username: 'robot', password: 'secret' })
    expect(await source('b.example')).toEqual({ username: 'robot', password: 'secret' })
    expect(asked).toEqual(['vault a.example', 'desktop b.example'])
    const evil = dockerCredentials(encode('{"credsStore":"x/../../bin/sh"}'), helper)
    await expect(evil('a.example')).rejects.toMatchObject({ code: 'REGISTRY_AUTH' })
  })

  it('does not send credentials to another host on a redirect', async () => {
    const other = await registry()
    const { double } = await registry({ auth })
    const transport = httpTransport({ plainHttp: true })
    const credentials = (): Promise<{ username: string; password: string }> => Promise.resolve(auth)
    const repository = openRepository(double.host, 'team/model', {
      transport,
      plainHttp: true,
      credentials,
    })
    const { weights } = await pushModel(repository)
    await other.repository.uploadBlob(`sha256:${sha(weights)}`, weights.length, () =>
      stream(weights),
    )
    double.switches.redirectBlobsTo = other.double.origin
    other.double.log.length = 0
    expect(sha(await repository.blob(`sha256:${sha(weights)}`, 1 << 20))).toBe(sha(weights))
    expect(other.double.log.map((entry) => entry.authorization)).toEqual([undefined])
    transport.close()
  })

  it('reads challenges and nothing else', () => {
    const challenge = parseChallenge(
      'Bearer realm="https://a/t",service="b c",scope="repository:x:pull,push"',
    )
    expect(challenge?.parameters.get('scope')).toBe('repository:x:pull,push')
    expect(challenge?.parameters.get('service')).toBe('b c')
    expect(parseChallenge('Negotiate')).toBeUndefined()
    expect(parseChallenge('Basic realm="r"')?.scheme).toBe('basic')
  })
})

describe('referrers', () => {
  const bundle = encode('{"not":"verified here"}')
  const subject = (
    digest: string,
    size: number,
  ): { mediaType: string; digest: string; size: number } => ({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest,
    size,
  })

  it.each([
    ['the referrers API', {}],
    ['the fallback tag', { referrers: 'none' as const }],
    ['an API without OCI-Subject', { noSubjectHeader: true }],
    [
      'an API with a wrong artifactType and no annotations',
      { wrongArtifactType: 'application/vnd.oci.empty.v1+json' },
    ],
    ['an API in pages', { pageSize: 1 }],
  ])('attaches and finds bundles through %s', async (_, switches) => {
    const { double, repository } = await registry(switches)
    const { digest, size } = await pushModel(repository)
    for (const content of [bundle, encode('{"second":1}'), encode('{"third":1}')]) {
      await attach(repository, {
        subject: subject(digest, size),
        mediaType: BUNDLE_TYPE,
        content,
        annotations: {},
      })
    }
    expect(
      (await fetchBundles(repository, digest))
        .map(({ bytes }) => Buffer.from(bytes).toString())
        .sort(),
    ).toEqual(['{"not":"verified here"}', '{"second":1}', '{"third":1}'].sort())
    expect(double.manifests.get('team/model')?.has(fallbackTag(digest))).toBe(
      double.switches.referrers === 'none',
    )
  })

  it('can be attached before the subject exists', async () => {
    const { repository } = await registry()
    const digest = `sha256:${'ab'.repeat(32)}`
    await attach(repository, {
      subject: subject(digest, 10),
      mediaType: BUNDLE_TYPE,
      content: bundle,
      annotations: {},
    })
    expect(await fetchBundles(repository, digest)).toHaveLength(1)
  })

  it('passes over a listed referrer that is gone, and one whose subject is another', async () => {
    const { double, repository } = await registry({ danglingReferrer: `sha256:${'cd'.repeat(32)}` })
    const { digest, size } = await pushModel(repository)
    await attach(repository, {
      subject: subject(digest, size),
      mediaType: BUNDLE_TYPE,
      content: bundle,
      annotations: {},
    })
    expect(await fetchBundles(repository, digest)).toHaveLength(1)
    double.switches.referrers = 'none'
    const foreign = await attach(repository, {
      subject: subject(`sha256:${'ef'.repeat(32)}`, 1),
      mediaType: BUNDLE_TYPE,
      content: encode('{"f":1}'),
      annotations: {},
    })
    const index = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [
        { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: foreign, size: 1 },
      ],
    }
    await repository.putManifest(
      fallbackTag(digest),
      index.mediaType,
      encode(JSON.stringify(index)),
    )
    expect(await fetchBundles(repository, digest)).toHaveLength(0)
  })

  it('refuses more referrers than it is willing to read', async () => {
    const { repository } = await registry({ referrers: 'none' })
    const digest = `sha256:${'aa'.repeat(32)}`
    const manifests = Array.from({ length: 300 }, (_, i) => ({
      mediaType: 'x',
      digest: `sha256:${i.toString(16).padStart(64, '0')}`,
      size: 1,
    }))
    await repository.putManifest(
      fallbackTag(digest),
      'application/vnd.oci.image.index.v1+json',
      encode(JSON.stringify({ schemaVersion: 2, manifests })),
    )
    await expect(listReferrers(repository, digest)).rejects.toMatchObject({ code: 'TOO_LARGE' })
  })

  it('does not take an error for an empty list', async () => {
    const { double, repository } = await registry()
    const { digest } = await pushModel(repository)
    double.switches.unavailable = 99
    await expect(fetchBundles(repository, digest)).rejects.toMatchObject({
      code: 'REGISTRY_ANSWER',
    })
  })
})

it('waits as long as the server asks within reason, else exponentially', () => {
  expect(pauseFor(1, '2')).toBe(2000)
  expect(pauseFor(1, '999999')).toBe(30_000)
  expect(pauseFor(1, 'soon')).toBe(200)
  expect(pauseFor(3, undefined)).toBe(3200)
})
