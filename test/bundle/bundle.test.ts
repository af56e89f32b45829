import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { decodeBundle, MEDIA_TYPE } from '../../src/bundle/bundle.ts'
import { ZtError } from '../../src/error.ts'

type Json = Record<string, unknown>
const B64 = 'AAAA'

function sample(change: (bundle: Json, material: Json, envelope: Json) => unknown = () => 0): Json {
  const material: Json = { publicKey: { hint: 'ab' }, tlogEntries: [] }
  const envelope: Json = {
    payload: B64,
    payloadType: 'application/vnd.in-toto+json',
    signatures: [{ sig: B64, keyid: '' }],
  }
  const bundle: Json = {
    mediaType: MEDIA_TYPE,
    verificationMaterial: material,
    dsseEnvelope: envelope,
  }
  change(bundle, material, envelope)
  return bundle
}

function code(bundle: unknown): string {
  try {
    decodeBundle(utf8Encode(typeof bundle === 'string' ? bundle : JSON.stringify(bundle)))
    return 'accepted'
  } catch (error) {
    expect(error).toBeInstanceOf(ZtError)
    return (error as ZtError).code
  }
}

describe('what releases since 0.2.0 and other tools wrote is accepted', () => {
  it.each<[string, (b: Json, m: Json, e: Json) => unknown]>([
    ['the current form', () => 0],
    ['no log entries at all', (_, m) => delete m['tlogEntries']],
    ['no key id', (_, __, e) => (e['signatures'] = [{ sig: B64 }])],
    ['a null key id', (_, __, e) => (e['signatures'] = [{ sig: B64, keyid: null }])],
    ['a key id', (_, __, e) => (e['signatures'] = [{ sig: B64, keyid: 'any' }])],
    [
      'a raw key',
      (_, m) => (m['publicKey'] = { rawBytes: B64, keyDetails: 'PKIX_ECDSA_P384_SHA_384' }),
    ],
    [
      'log entries and timestamps on a key bundle',
      (_, m) => {
        m['tlogEntries'] = [{ anything: { goes: true } }]
        m['timestampVerificationData'] = { rfc3161Timestamps: [{ signedTimestamp: B64 }] }
      },
    ],
    ['no word on the key', (_, m) => (m['publicKey'] = {})],
    ['an empty hint', (_, m) => (m['publicKey'] = { hint: '' })],
    [
      'null for what is missing',
      (_, m) => {
        Object.assign(m, { certificate: null, x509CertificateChain: null, tlogEntries: null })
        m['timestampVerificationData'] = null
      },
    ],
    [
      "the form's first name",
      (b) => (b['mediaType'] = 'application/vnd.dev.sigstore.bundle+json;version=0.3'),
    ],
    ['empty timestamp data', (_, m) => (m['timestampVerificationData'] = {})],
    [
      'a chain',
      (_, m) => {
        delete m['publicKey']
        m['x509CertificateChain'] = { certificates: [{ rawBytes: B64 }, { rawBytes: B64 }] }
      },
    ],
    [
      'a single certificate',
      (_, m) => {
        delete m['publicKey']
        m['certificate'] = { rawBytes: B64 }
      },
    ],
  ])('%s', (_, change) => {
    expect(code(sample(change))).toBe('accepted')
  })
})

describe('what is refused, with its code', () => {
  it.each<[string, string, (b: Json, m: Json, e: Json) => unknown]>([
    ['another media type', 'MEDIA_TYPE_UNKNOWN', (b) => (b['mediaType'] = `${MEDIA_TYPE}x`)],
    [
      'an older media type',
      'MEDIA_TYPE_UNKNOWN',
      (b) => (b['mediaType'] = 'application/vnd.dev.sigstore.bundle+json;version=0.2'),
    ],
    ['an unknown member at the top', 'BUNDLE_INVALID', (b) => (b['more'] = 1)],
    ['an unknown material', 'BUNDLE_INVALID', (_, m) => (m['other'] = {})],
    [
      'an unknown member of the key',
      'BUNDLE_INVALID',
      (_, m) => (m['publicKey'] = { hint: 'a', x: 1 }),
    ],
    ['an unknown member of the envelope', 'BUNDLE_INVALID', (_, __, e) => (e['x'] = 1)],
    [
      'an unknown member of the signature',
      'BUNDLE_INVALID',
      (_, __, e) => (e['signatures'] = [{ sig: B64, cert: '' }]),
    ],
    ['two materials', 'BUNDLE_INVALID', (_, m) => (m['certificate'] = { rawBytes: B64 })],
    ['no material', 'BUNDLE_INVALID', (_, m) => delete m['publicKey']],
    [
      'an empty chain',
      'BUNDLE_INVALID',
      (_, m) => {
        delete m['publicKey']
        m['x509CertificateChain'] = { certificates: [] }
      },
    ],
    ['no envelope', 'BUNDLE_INVALID', (b) => delete b['dsseEnvelope']],
    ['no signature', 'SIGNATURE_COUNT', (_, __, e) => (e['signatures'] = [])],
    [
      'two signatures',
      'SIGNATURE_COUNT',
      (_, __, e) => (e['signatures'] = [{ sig: B64 }, { sig: B64 }]),
    ],
    ['an empty payload', 'BUNDLE_INVALID', (_, __, e) => (e['payload'] = '')],
    ['base64 without its padding', 'BUNDLE_INVALID', (_, __, e) => (e['payload'] = 'AA')],
    ['base64 with loose bits', 'BUNDLE_INVALID', (_, __, e) => (e['payload'] = 'AB==')],
    ['base64 with a line end', 'BUNDLE_INVALID', (_, __, e) => (e['payload'] = 'AAAA\n')],
    ['base64url', 'BUNDLE_INVALID', (_, __, e) => (e['payload'] = '__8=')],
    [
      'a key id that is a number',
      'BUNDLE_INVALID',
      (_, __, e) => (e['signatures'] = [{ sig: B64, keyid: 1 }]),
    ],
    ['log entries that are no list', 'BUNDLE_INVALID', (_, m) => (m['tlogEntries'] = {})],
    ['a log entry that is no object', 'BUNDLE_INVALID', (_, m) => (m['tlogEntries'] = ['x'])],
    [
      'a hundred certificates',
      'BUNDLE_INVALID',
      (_, m) => {
        delete m['publicKey']
        m['x509CertificateChain'] = {
          certificates: Array.from({ length: 100 }, () => ({ rawBytes: B64 })),
        }
      },
    ],
  ])('%s', (_, expected, change) => {
    expect(code(sample(change))).toBe(expected)
  })

  it.each([
    ['nothing', ''],
    ['an array', '[]'],
    ['text after the end', `${JSON.stringify(sample())} {}`],
    [
      'a duplicate key',
      JSON.stringify(sample()).replace('{"mediaType"', '{"mediaType":"x","mediaType"'),
    ],
    [
      'a duplicate key written with an escape',
      JSON.stringify(sample()).replace('{"mediaType"', '{"media\\u0054ype":"x","mediaType"'),
    ],
    [
      'a key __proto__',
      JSON.stringify(sample()).replace('{"mediaType"', '{"__proto__":{},"mediaType"'),
    ],
  ])('%s', (_, text) => {
    expect(code(text)).toBe('BUNDLE_INVALID')
  })

  it('anything at all, without throwing anything else', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        expect(code(text)).not.toBe('accepted')
      }),
    )
  })
})
