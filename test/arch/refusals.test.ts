// Every refusal says what it is, in words, and how to get out of it: over all negatives that this project can make, each validly signed.
import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { attestTdx, NO_ENDORSEMENTS, userRoots } from '../../attestation/index.ts'
import { CODES as EVIDENCE_CODES } from '../../attestation/codes.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { STRICT_TDX_POLICY } from '../../attestation/tdx/policy.ts'
import { CODES } from '../../src/codes.ts'
import { LOG_NEGATIVES, SNP_NEGATIVES, TDX_NEGATIVES } from '../../src/simulate/index.ts'
import { IN_TOTO } from '../../src/bundle/dsse.ts'
import { writeBundle } from '../../src/bundle/write.ts'
import { rootDigest } from '../../src/model/manifest.ts'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signStatement } from '../../src/sign/model.ts'
import type { Check } from '../../src/verdict.ts'
import { joined } from '../../src/verify/model.ts'
import type { Trust } from '../../src/verify/result.ts'
import { verifySignature } from '../../src/verify/statement.ts'
import { issue, party, SERVER } from '../fakes/authority.ts'
import type { CertificateOptions } from '../fakes/authority.ts'
import { judgeSnp, judgeTdx } from '../simulate/judge.ts'

const KNOWN: ReadonlySet<string> = new Set([...Object.keys(CODES), ...Object.keys(EVIDENCE_CODES)])
const BROKEN = /undefined|\[object|NaN|\bnull\b|^$|\s{2}|^\s|\s$/

/** What is wrong with how refusals are told; empty if nothing is. */
function untold(checks: readonly Check[]): string[] {
  return checks
    .filter(({ status }) => status === 'fail')
    .flatMap(({ id, code, message, expected, actual, hint }) => {
      const texts = [message, expected, actual, hint].filter((text) => text !== undefined)
      const fault = !KNOWN.has(code)
        ? 'no known code'
        : texts.some((text) => BROKEN.test(text))
          ? 'a broken text'
          : hint === undefined
            ? 'no hint'
            : ''
      return fault === '' ? [] : [`${id} ${code} (${message}): ${fault}`]
    })
}

describe('refusals of evidence', () => {
  it.each(SNP_NEGATIVES.map((negative) => [negative.name, negative] as const))(
    'SNP: %s',
    (_, { record }) => {
      const { evidence, trustedRoot } = record()
      expect(untold(judgeSnp(evidence, trustedRoot).result?.checks ?? [])).toEqual([])
    },
  )

  it.each(TDX_NEGATIVES.map((negative) => [negative.name, negative] as const))(
    'TDX: %s',
    (_, { record }) => {
      const { evidence, trustedRoot } = record()
      expect(untold(judgeTdx(evidence, trustedRoot).result?.checks ?? [])).toEqual([])
    },
  )

  it.each(LOG_NEGATIVES.map((negative) => [negative.name, negative] as const))(
    'event logs: %s',
    (_, { record }) => {
      const { evidence, log } = record()
      const raw = { platform: 'tdx', raw: evidence.quote, form: 'quote' } as const
      const { checks, accepted } = attestTdx(
        { ...raw, endorsements: { ...NO_ENDORSEMENTS, eventLogs: [log] } },
        NO_ENDORSEMENTS,
        STRICT_TDX_POLICY,
        evidence.at,
        evidence.at,
        { trustRoots: userRoots(evidence.root) },
      )
      expect(accepted).toBe(false)
      expect(untold(checks)).toEqual([])
    },
  )
})

type Json = Record<string, unknown>
const AT = new Date('2026-06-01T00:00:00Z')
const signer = party('signer', 'P-384')
const key = keySigner(readPrivateKey(signer.privatePem))
const keyTrust: Trust = { kind: 'key', publicKey: signer.publicPem }
const hex = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Sound, until `change` changes it; the root follows the resources unless `change` sets it. */
function statement(change: (parts: Record<string, Json> & { resources: Json[] }) => void): Json {
  const resources: Json[] = [
    { name: 'a', algorithm: 'sha256', digest: hex('a') },
    { name: 'b/c', algorithm: 'sha256', digest: hex('c') },
  ]
  const serialization: Json = { method: 'files', hash_type: 'sha256', allow_symlinks: false }
  const predicate: Json = { serialization, resources }
  const digest: Json = { sha256: rootDigest(resources as { digest: string }[]) }
  const subject: Json = { name: 'model', digest }
  const whole: Json = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [subject],
    predicateType: 'https://model_signing/signature/v1.0',
    predicate,
  }
  change({ whole, subject, digest, predicate, serialization, resources } as never)
  return whole
}

const STATEMENTS: readonly [string, (parts: Record<string, Json>) => void][] = [
  ['another type', ({ whole }) => void (whole!['_type'] = 'x')],
  ['another predicate', ({ whole }) => void (whole!['predicateType'] = 'https://x/\u001b[31m')],
  ['two subjects', ({ whole, subject }) => void (whole!['subject'] = [subject, subject])],
  ['no subject', ({ whole }) => void (whole!['subject'] = [])],
  ['no name', ({ subject }) => void (subject!['name'] = '')],
  ['another root', ({ digest }) => void (digest!['sha256'] = hex('x'))],
  ['no root', ({ subject }) => void (subject!['digest'] = { sha512: 'ab' })],
  ['no resources', ({ predicate }) => void (predicate!['resources'] = [])],
  ['an unknown parameter', ({ serialization }) => void (serialization!['salt'] = 'x')],
  ['an unknown method', ({ serialization }) => void (serialization!['method'] = 'tree')],
  ['an unknown hash', ({ serialization }) => void (serialization!['hash_type'] = 'md5')],
  ['shards without a size', ({ serialization }) => void (serialization!['method'] = 'shards')],
  ['a pattern ignored', ({ serialization }) => void (serialization!['ignore_paths'] = ['*'])],
  ['everything ignored', ({ serialization }) => void (serialization!['ignore_paths'] = ['.'])],
  ['more in the predicate', ({ predicate }) => void (predicate!['more'] = 1)],
]
const RESOURCES: readonly [string, Json][] = [
  ['absolute', { name: '/etc/passwd' }],
  ['above', { name: '../x' }],
  ['a dot', { name: './x' }],
  ['an empty part', { name: 'x//y' }],
  ['NUL', { name: 'x\0' }],
  ['a control character', { name: '\u001b[2J/../x' }],
  ['twice', { name: 'a' }],
  ['a file that is a directory', { name: 'a/x' }],
  ['a short digest', { digest: 'ab' }],
  ['upper case', { digest: hex('x').toUpperCase() }],
  ['another algorithm', { algorithm: 'sha512' }],
  ['no name', { name: '' }],
]

async function refused(bytes: Uint8Array, trust: Trust): Promise<readonly Check[]> {
  const verdict = joined('model', AT, await verifySignature(bytes, trust, AT), null)
  expect(verdict.decision).toBe('deny')
  return verdict.checks
}

describe('refusals of signatures', () => {
  it.each(STATEMENTS)('a statement with %s', async (_, change) => {
    const bytes = await signStatement(utf8Encode(JSON.stringify(statement(change))), key)
    expect(untold(await refused(bytes, keyTrust))).toEqual([])
  })

  it.each(RESOURCES)('a file: %s', async (_, changes) => {
    const made = statement(({ resources, digest }) => {
      resources.push({ name: 'x', algorithm: 'sha256', digest: hex('x'), ...changes })
      digest!['sha256'] = rootDigest(resources as unknown as { digest: string }[])
    })
    const bytes = await signStatement(utf8Encode(JSON.stringify(made)), key)
    expect(untold(await refused(bytes, keyTrust))).toEqual([])
  })

  it.each<[string, (bundle: Json) => void]>([
    ['media type', (bundle) => (bundle['mediaType'] = 'application/json')],
    ['unknown member', (bundle) => (bundle['more'] = 1)],
    ['no material', (bundle) => (bundle['verificationMaterial'] = {})],
    ['another hint', (bundle) => (bundle['verificationMaterial'] = { publicKey: { hint: 'ab' } })],
    [
      'two signatures',
      (bundle) => {
        const envelope = bundle['dsseEnvelope'] as { signatures: unknown[] }
        envelope.signatures.push(envelope.signatures[0])
      },
    ],
    [
      'another payload',
      (bundle) => {
        const envelope = bundle['dsseEnvelope'] as Json
        envelope['payload'] = Buffer.from('{}').toString('base64')
      },
    ],
    [
      'base64 that is not canonical',
      (bundle) => {
        const envelope = bundle['dsseEnvelope'] as Json
        envelope['payload'] = `${String(envelope['payload'])}\n`
      },
    ],
  ])('a bundle with %s', async (_, change) => {
    const text = JSON.stringify(statement(() => undefined))
    const bundle = JSON.parse(
      Buffer.from(await signStatement(utf8Encode(text), key)).toString(),
    ) as Json
    change(bundle)
    expect(untold(await refused(utf8Encode(JSON.stringify(bundle)), keyTrust))).toEqual([])
  })

  it.each<[string, CertificateOptions | null]>([
    ['for servers', { extKeyUsage: [SERVER] }],
    ['for nothing that it says', { extKeyUsage: null, keyUsage: null }],
    ['that only signs certificates', { keyUsage: ['keyCertSign'] }],
    ['that expired', { notAfter: new Date('2026-01-01T00:00:00Z') }],
    ['that is not valid yet', { notBefore: new Date('2027-01-01T00:00:00Z') }],
    ['of somebody else', { emails: ['other@example.org'] }],
    ['of another authority', null],
  ])('a certificate %s', async (_, options) => {
    const root = party('root')
    const leaf = issue(signer, { issuer: options === null ? party('other') : root, ...options })
    const payload = utf8Encode(JSON.stringify(statement(() => undefined)))
    const { signature } = await key.sign(IN_TOTO, payload)
    const rawBytes = leaf.replace(/-----[^-]+-----|\s/g, '')
    const bytes = writeBundle(payload, signature, {
      x509CertificateChain: { certificates: [{ rawBytes }] },
    })
    const trust: Trust = {
      kind: 'certificate',
      roots: issue(root, { ca: true }),
      identity: 'release@example.org',
    }
    expect(untold(await refused(bytes, trust))).toEqual([])
  })
})
