// Keyless signing against the fake Sigstore, end to end, and what happens where a service or a token is bad.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { IN_TOTO } from '../../src/bundle/dsse.ts'
import { writeBundle } from '../../src/bundle/write.ts'
import { ZtError } from '../../src/error.ts'
import { ambientToken, redact } from '../../src/sign/keyless-token.ts'
import type { TokenSource } from '../../src/sign/keyless-token.ts'
import { keylessSigner } from '../../src/sign/keyless.ts'
import type { KeylessServices } from '../../src/sign/keyless.ts'
import { verifyKeyless } from '../../src/verify/keyless.ts'
import type { MaterialResult } from '../../src/verify/material.ts'
import { FAKE_ISSUER, FAKE_SUBJECT, startFakeSigstore } from '../fakes/sigstore.ts'
import type { FakeSigstore } from '../fakes/sigstore.ts'

const PAYLOAD = utf8Encode('{"_type":"https://in-toto.io/Statement/v1"}')
const FULCIO = '/api/v2/signingCert'
const REKOR = '/api/v1/log/entries'
const TSA = '/api/v1/timestamp'

let fake: FakeSigstore
beforeAll(async () => {
  fake = await startFakeSigstore()
})
afterAll(() => fake.close())
beforeEach(() => {
  fake.requests.length = 0
})

interface Choice {
  readonly services?: Partial<KeylessServices>
  readonly token?: TokenSource
  readonly timeoutMs?: number
}

async function sign({ services = {}, token, timeoutMs = 5000 }: Choice = {}): Promise<Uint8Array> {
  const signer = keylessSigner({
    token: token ?? { kind: 'token', token: fake.token() },
    services: { fulcio: fake.url, rekor: `${fake.url}/`, ...services },
    timeoutMs,
    retryDelayMs: 1,
  })
  const { signature, verificationMaterial } = await signer.sign(IN_TOTO, PAYLOAD)
  return writeBundle(PAYLOAD, signature, verificationMaterial)
}

async function verify(bytes: Uint8Array, identity = FAKE_SUBJECT): Promise<MaterialResult> {
  const { trustedRoot } = fake
  const trust = { kind: 'keyless', identity, issuer: FAKE_ISSUER, trustedRoot } as const
  return await verifyKeyless(decodeBundle(bytes), bytes, trust, new Date())
}

async function failure(choice: Choice): Promise<ZtError> {
  try {
    await sign(choice)
  } catch (error) {
    if (error instanceof ZtError) return error
    throw error
  }
  throw new Error('it was signed')
}

describe('a keyless signer', () => {
  const tsa = (): string => fake.url
  it.each<[string, () => Partial<KeylessServices>, readonly string[]]>([
    ['Rekor v1', () => ({}), ['transparency-log']],
    [
      'Rekor v1 and a timestamp',
      () => ({ tsa: tsa() }),
      ['transparency-log', 'timestamp-authority'],
    ],
    ['Rekor v2 and a timestamp', () => ({ rekorVersion: 2, tsa: tsa() }), ['timestamp-authority']],
  ])('with %s makes what verifies', async (_name, services, sources) => {
    const bytes = await sign({ services: services() })
    const { signer, times } = await verify(bytes)
    expect(signer).toMatchObject({ kind: 'keyless', identity: FAKE_SUBJECT, issuer: FAKE_ISSUER })
    expect(times.map(({ source }) => source)).toEqual(sources)
    const { verificationMaterial } = JSON.parse(new TextDecoder().decode(bytes))
    expect(Object.keys(verificationMaterial).slice(0, 2)).toEqual(['certificate', 'tlogEntries'])
  })

  it('uses a key of its own each time', async () => {
    const [a, b] = [await verify(await sign()), await verify(await sign())]
    expect(a.signer).not.toEqual(b.signer)
  })

  it('says before it signs that the file list becomes public', () => {
    const { warning } = keylessSigner({ token: { kind: 'token', token: 'x' } })
    expect(warning).toMatch(
      /public.*list of all files.*fulcio\.sigstore\.dev.*rekor\.sigstore\.dev/,
    )
  })

  it('tries again after a failure that may pass', async () => {
    fake.fail({ path: FULCIO, status: 503, times: 1 })
    fake.fail({ path: REKOR, status: 429, times: 2 })
    expect((await verify(await sign())).signer).not.toBeNull()
    expect(fake.requests.map(({ path }) => path)).toEqual([FULCIO, FULCIO, REKOR, REKOR, REKOR])
  })

  it.each<[string, string, Partial<KeylessServices>, string]>([
    ['the authority', FULCIO, {}, 'asking for a certificate failed: (503) out of order'],
    ['the log', REKOR, {}, 'writing to the transparency log failed: (503) out of order'],
  ])('names %s that stays out of order', async (_name, path, services, message) => {
    fake.fail({ path, status: 503, times: 3 })
    const error = await failure({ services })
    expect(error).toMatchObject({ code: 'SIGNING_SERVICE', message })
    expect(fake.requests.filter((request) => request.path === path)).toHaveLength(3)
  })

  it('names the timestamp authority that stays out of order', async () => {
    fake.fail({ path: TSA, status: 500, times: 3 })
    const error = await failure({ services: { tsa: fake.url } })
    expect(error.message).toMatch(/^asking for a timestamp failed/)
  })

  it('does not try again where it was refused', async () => {
    fake.fail({ path: FULCIO, status: 400, body: '{"message":"bad token"}', times: 1 })
    const error = await failure({})
    expect(error.message).toBe('asking for a certificate failed: (400) bad token')
    expect(error.hint).toMatch(/fresh/)
    expect(fake.requests).toHaveLength(1)
  })

  it('gives up after its time', async () => {
    fake.fail({ path: FULCIO, status: 0, times: 3 })
    const error = await failure({ timeoutMs: 50 })
    expect(error).toMatchObject({ code: 'SIGNING_SERVICE' })
    expect(error.message).toMatch(/^asking for a certificate failed: .*timeout/i)
  })

  it('refuses a certificate for another key', async () => {
    const other = await startFakeSigstore()
    try {
      const spki = Buffer.from(
        'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==',
        'base64',
      )
      const der = Buffer.from(await other.certificate(spki, FAKE_SUBJECT, []))
      const lines = der.toString('base64').match(/.{1,64}/g) ?? []
      const pem = `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
      const body = { signedCertificateEmbeddedSct: { chain: { certificates: [pem] } } }
      fake.fail({ path: FULCIO, status: 201, body: JSON.stringify(body), times: 1 })
      const error = await failure({})
      expect(error.code).toBe('SIGNING_SERVICE')
      expect(error.message).toMatch(/does not verify: the signature is not the certificate's key's/)
    } finally {
      await other.close()
    }
  })

  it('refuses a log entry about something else', async () => {
    await sign()
    const before = fake.requests.find(({ path }) => path === REKOR)
    const entry = await fetch(`${fake.url}${REKOR}`, { method: 'POST', body: before?.body ?? '' })
    fake.fail({ path: REKOR, status: 201, body: await entry.text(), times: 1 })
    const error = await failure({})
    expect(error.message).toMatch(/the transparency log recorded another signature/)
  })

  it.each(['{}', '[]', '{"a":{}}', 'null', '"x"'])(
    'refuses the answer %s in place of an entry',
    async (body) => {
      fake.fail({ path: REKOR, status: 201, body, times: 1 })
      expect((await failure({})).code).toBe('SIGNING_SERVICE')
    },
  )

  it.each(['http://fulcio.example', 'ftp://127.0.0.1', 'fulcio', ''])(
    'does not send a token to %j',
    (fulcio) => {
      const token = { kind: 'token', token: 'x' } as const
      expect(() => keylessSigner({ token, services: { fulcio } })).toThrow(
        expect.objectContaining({ code: 'USAGE' }),
      )
    },
  )

  it('wants a timestamp authority for Rekor v2', () => {
    const token = { kind: 'token', token: 'x' } as const
    expect(() => keylessSigner({ token, services: { rekorVersion: 2 } })).toThrow(
      expect.objectContaining({ code: 'USAGE' }),
    )
  })
})

describe('identity tokens', () => {
  it("GitHub's service is asked for one, for the audience of Sigstore", async () => {
    const { requestUrl, requestToken } = fake.github
    const source = ambientToken({
      ACTIONS_ID_TOKEN_REQUEST_URL: requestUrl,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken,
    })
    expect(source).toEqual({ kind: 'github', requestUrl, requestToken })
    expect((await verify(await sign({ token: source! }))).signer).not.toBeNull()
    expect(fake.requests[0]).toMatchObject({
      method: 'GET',
      path: '/github/token?api-version=2&audience=sigstore',
      authorization: `bearer ${requestToken}`,
    })
  })

  it('GitHub out of order for a moment does not matter; a refusal does, and is not repeated', async () => {
    const { github } = fake
    fake.fail({ path: '/github/token', status: 502, times: 2 })
    await sign({ token: { kind: 'github', ...github } })
    fake.requests.length = 0
    const error = await failure({
      token: { kind: 'github', ...github, requestToken: 'secret-one' },
    })
    expect(error.code).toBe('TOKEN_MISSING')
    expect(error.hint).toMatch(/id-token: write/)
    expect(JSON.stringify([error.message, error.hint])).not.toContain('secret-one')
    expect(fake.requests).toHaveLength(1)
  })

  it.each(['{}', '{"value":5}', 'no', '{"value":""}'])(
    'GitHub answering %s gives none',
    async (body) => {
      fake.fail({ path: '/github/token', status: 200, body, times: 1 })
      expect((await failure({ token: { kind: 'github', ...fake.github } })).code).toBe(
        'TOKEN_MISSING',
      )
    },
  )

  it('GitHub that can not be reached gives none', async () => {
    const token = { kind: 'github', requestUrl: 'http://127.0.0.1:9/x', requestToken: 't' } as const
    expect((await failure({ token })).code).toBe('TOKEN_MISSING')
  })

  it("GitLab's variable comes first, and nothing gives nothing", () => {
    const github = {
      ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x',
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'y',
    }
    expect(ambientToken({ SIGSTORE_ID_TOKEN: 'a.b.c', ...github })).toEqual({
      kind: 'token',
      token: 'a.b.c',
    })
    expect(ambientToken({ SIGSTORE_ID_TOKEN: '' })).toBeNull()
    expect(ambientToken({ ACTIONS_ID_TOKEN_REQUEST_URL: 'https://x' })).toBeNull()
    expect(ambientToken({})).toBeNull()
  })

  it.each([
    'not-a-token',
    'aaaaaaaa.bbbbbbbb',
    'aaaaaaaa.!!!!!!!!.cccccccc',
    'aaaaaaaa.bbbbbbbb.cccccccc',
    `aaaaaaaa.${Buffer.from('[]').toString('base64url')}.cccccccc`,
    `aaaaaaaa.${Buffer.from('{"sub":"a","sub":"b"}').toString('base64url')}.cccccccc`,
    `aaaaaaaa.${Buffer.from('{"sub":"a","exp":1}').toString('base64url')}.cccccccc`,
    `aaaaaaaa.${Buffer.from('{"nosub":"very-secret"}').toString('base64url')}.cccccccc`,
    `aaaaaaaa.${Buffer.from('{"email":"a@b","email_verified":false}').toString('base64url')}.cccccccc`,
    'x'.repeat(20_000),
  ])('%.40s is refused, and shown to nobody', async (token) => {
    const error = await failure({ token: { kind: 'token', token } })
    expect(error.code).toBe('TOKEN_INVALID')
    const shown = JSON.stringify([error.message, error.hint, error.path, String(error.cause)])
    for (const part of token.split('.')) expect(shown).not.toContain(part)
    expect(fake.requests).toEqual([])
  })

  it('is not shown where a service repeats it', async () => {
    const token = fake.token()
    fake.fail({
      path: FULCIO,
      status: 400,
      body: JSON.stringify({ message: `bad token ${token}, that is ${token.split('.')[1] ?? ''}` }),
      times: 1,
    })
    const error = await failure({ token: { kind: 'token', token } })
    expect(error.message).toBe(
      'asking for a certificate failed: (400) bad token [token], that is [token]',
    )
    expect(error.cause).toBeUndefined()
  })

  it('is cut out whole before its parts', () => {
    expect(redact('a 12345678.abcdefgh.ABCDEFGH b abcdefgh', ['12345678.abcdefgh.ABCDEFGH'])).toBe(
      'a [token] b [token]',
    )
  })
})
