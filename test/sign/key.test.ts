import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { describeKey, readPublicKey, verifiesWith } from '../../src/bundle/keys.ts'
import { ZtError } from '../../src/error.ts'
import { isEncrypted, readPrivateKey, signBytes } from '../../src/sign/key.ts'
import { party } from '../fakes/authority.ts'

const message = new TextEncoder().encode('the bytes that are signed')
const pkcs8 = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string
const spki = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }) as string

function code(run: () => unknown): string {
  try {
    run()
    return 'accepted'
  } catch (error) {
    expect(error).toBeInstanceOf(ZtError)
    return (error as ZtError).code
  }
}

describe.each([
  ['P-256', 'sha256', 'ecdsa-p256'],
  ['P-384', 'sha384', 'ecdsa-p384'],
  ['P-521', 'sha512', 'ecdsa-p521'],
] as const)('%s', (curve, hash, algorithm) => {
  const { privateKey, privatePem, publicPem } = party('x', curve)

  it('signs with the hash of the curve', async () => {
    const key = readPrivateKey(privatePem)
    expect(key.publicKey.algorithm).toBe(algorithm)
    const signature = await signBytes(key, message)
    expect(verify(hash, message, { key: publicPem, dsaEncoding: 'der' }, signature)).toBe(true)
    expect(await verifiesWith(readPublicKey(publicPem), message, signature)).toBe(true)
  })

  it('no bit of a signature can be changed', async () => {
    const key = readPublicKey(publicPem)
    const signature = await signBytes(readPrivateKey(privatePem), message)
    for (let bit = 0; bit < signature.length * 8; bit++) {
      const changed = Uint8Array.from(signature)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      expect(await verifiesWith(key, message, changed)).toBe(false)
    }
    expect(await verifiesWith(key, message, Uint8Array.of(...signature, 0))).toBe(false)
    expect(await verifiesWith(key, message, new Uint8Array(0))).toBe(false)
  })

  it('reads the older form of OpenSSL, with its parameters before it', () => {
    const sec1 = privateKey.export({ type: 'sec1', format: 'pem' }) as string
    const parameters =
      '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n'
    expect(readPrivateKey(parameters + sec1).publicKey.algorithm).toBe(algorithm)
  })

  it('reads encrypted keys with the passphrase, and only with it', () => {
    const options = { format: 'pem', cipher: 'aes-256-cbc', passphrase: 'correct horse' } as const
    const forms = [
      privateKey.export({ ...options, type: 'pkcs8' }) as string,
      privateKey.export({ ...options, type: 'sec1' }) as string,
    ]
    for (const pem of forms) {
      expect(isEncrypted(pem)).toBe(true)
      expect(readPrivateKey(pem, 'correct horse').publicKey.algorithm).toBe(algorithm)
      expect(code(() => readPrivateKey(pem))).toBe('KEY_PASSPHRASE')
      expect(code(() => readPrivateKey(pem, ''))).toBe('KEY_PASSPHRASE')
      expect(code(() => readPrivateKey(pem, 'wrong'))).toBe('KEY_PASSPHRASE')
    }
    expect(isEncrypted(privatePem)).toBe(false)
  })
})

describe('the hint', () => {
  const pem = party('x').publicPem
  const { hint } = readPublicKey(pem)

  it('is over the canonical text, whatever stands around the key', () => {
    expect(readPublicKey(`Public Key Info:\n\tsome text\n\n${pem}\n`).hint).toBe(hint)
    expect(readPublicKey(pem.replaceAll('\n', '\r\n')).hint).toBe(hint)
    expect(describeKey(createPublicKey(pem)).hint).toBe(hint)
  })
})

describe('keys that are refused', () => {
  const keys = {
    rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ed448: generateKeyPairSync('ed448'),
    x25519: generateKeyPairSync('x25519'),
    secp256k1: generateKeyPairSync('ec', { namedCurve: 'secp256k1' }),
  }

  it.each(Object.entries(keys))('%s', (_, { privateKey, publicKey }) => {
    expect(code(() => readPrivateKey(pkcs8(privateKey)))).toBe('KEY_UNSUPPORTED')
    expect(code(() => readPublicKey(spki(publicKey)))).toBe('KEY_UNSUPPORTED')
  })

  const { privatePem, publicPem } = party('x')
  it.each([
    ['nothing', ''],
    ['a private key', privatePem],
    ['two keys', publicPem + publicPem],
    ['broken base64', publicPem.replace('M', '!')],
    ['half a key', publicPem.slice(0, 60)],
    ['a certificate', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'],
  ])('%s as a public key', (_, pem) => {
    expect(code(() => readPublicKey(pem))).toBe('KEY_INVALID')
  })

  it.each([
    ['nothing', ''],
    ['a public key', publicPem],
    ['two keys', privatePem + privatePem],
    ['broken base64', privatePem.replace('\nM', '\n!')],
  ])('%s as a private key', (_, pem) => {
    expect(code(() => readPrivateKey(pem))).toBe('KEY_INVALID')
  })

  it('and no message shows anything of the key', () => {
    const broken = privatePem.replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA')
    try {
      readPrivateKey(broken)
      expect.unreachable()
    } catch (error) {
      const shown = JSON.stringify([String(error), (error as ZtError).hint, (error as Error).cause])
      for (const line of broken.split('\n').slice(1, -2))
        expect(shown).not.toContain(line.slice(0, 12))
    }
  })
})

describe('Ed25519, our extension', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const ours = readPrivateKey(pkcs8(privateKey))
  const theirs = readPublicKey(spki(publicKey))

  it('gives the signatures of node:crypto, and accepts them', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const signature = await signBytes(ours, bytes)
        expect(Buffer.from(signature)).toEqual(sign(null, bytes, privateKey))
        expect(verify(null, bytes, publicKey, signature)).toBe(true)
        expect(await verifiesWith(theirs, bytes, signature)).toBe(true)
      }),
      { numRuns: 25 },
    )
  })

  it('refuses what node:crypto refuses, for every changed bit', async () => {
    const signature = await signBytes(ours, message)
    for (let bit = 0; bit < 512; bit += 3) {
      const changed = Uint8Array.from(signature)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      expect(verify(null, message, publicKey, changed)).toBe(false)
      expect(await verifiesWith(theirs, message, changed)).toBe(false)
    }
    expect(await verifiesWith(theirs, message, signature.subarray(0, 63))).toBe(false)
  })

  it('is strict: a key of small order signs nothing', async () => {
    // the neutral point as key and R, zero as s: "valid" for any message where small orders are let through
    const point = Uint8Array.of(1, ...new Uint8Array(31))
    const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), point])
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
    const signature = Uint8Array.of(...point, ...new Uint8Array(32))
    expect(await verifiesWith(describeKey(key), message, signature)).toBe(false)
  })

  it('takes RFC 8032 test 1', async () => {
    const seed = Buffer.from(
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      'hex',
    )
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
    const key = readPrivateKey(pkcs8(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })))
    expect(Buffer.from(await signBytes(key, new Uint8Array(0))).toString('hex')).toBe(
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    )
  })
})

it('a key is the same in every form: compressed points and spelled-out curves', () => {
  // openssl ec -pubin -conv_form compressed, and -param_enc explicit, of one key made for this test
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const plain = readPublicKey(spki(publicKey))
  const { x, y } = publicKey.export({ format: 'jwk' })
  const point = Buffer.from(x ?? '', 'base64url')
  const odd = (Buffer.from(y ?? '', 'base64url').at(-1) ?? 0) & 1
  const der = Buffer.concat([
    Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex'),
    Buffer.from([2 + odd]),
    point,
  ])
  const pem = `-----BEGIN PUBLIC KEY-----\n${der.toString('base64')}\n-----END PUBLIC KEY-----\n`
  expect(createPublicKey(pem).equals(publicKey)).toBe(true)
  const { hint, spkiSha256, keyDetails } = readPublicKey(pem)
  expect({ hint, spkiSha256, keyDetails }).toEqual({
    hint: plain.hint,
    spkiSha256: plain.spkiSha256,
    keyDetails: plain.keyDetails,
  })
})

it.each([
  ['-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n', 'RSA'],
  ['-----BEGIN OPENSSH PRIVATE KEY-----\nAA==\n-----END OPENSSH PRIVATE KEY-----\n', 'OpenSSH'],
  ['ecdsa-sha2-nistp256 AAAA', 'OpenSSH'],
  ['-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA==\n', 'cosign'],
  ['0Y0\u0013\u0006\u0000', 'DER'],
  ['', 'BEGIN PUBLIC KEY|openssl genpkey'],
])('says what a key in another form is: %j', (text, said) => {
  const read = [() => readPublicKey(text), () => readPrivateKey(text)]
  for (const run of read) {
    let hint: string | undefined
    try {
      run()
    } catch (error) {
      hint = (error as ZtError).hint
    }
    expect(hint).toMatch(new RegExp(said))
  }
})
