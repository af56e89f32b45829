import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import type { Certificate } from '../../../attestation/lib/index.ts'
import {
  bytesToBase64,
  equalBytes,
  parseCertificate,
  parseCertificates,
  parseCrl,
  parsePem,
  parsePemBlocks,
  utf8Encode,
  verifiedBy,
} from '../../../attestation/lib/index.ts'
import { haveShared, shared } from '../../shared.ts'
import { readFileSync } from 'node:fs'
import {
  bits,
  bool,
  ca,
  CERT_SIGN,
  ecKey,
  ECDSA256,
  edKey,
  extension,
  int,
  makeCertificate,
  name,
  octets,
  oid,
  pss,
  rsaKey,
  seq,
  text,
  time,
  tlv,
  usage,
} from './make.ts'
import { genuine } from './samples.ts'

const { certificates, crls } = genuine()
const key = ecKey()
const base = { subject: 'a', issuer: 'a', key, signer: key }
const make = (parts: Partial<Parameters<typeof makeCertificate>[0]>): Uint8Array =>
  makeCertificate({ ...base, ...parts })
const coded = (code: string): Error =>
  expect.objectContaining({ name: 'AttestationError', code }) as Error

describe.runIf(haveShared)('genuine certificates', () => {
  it('are all there', () => {
    expect(certificates.length).toBeGreaterThanOrEqual(40)
    expect(crls.length).toBeGreaterThanOrEqual(10)
  })

  it('parse, and agree with node about names, serial, dates and key', () => {
    for (const { der } of certificates) {
      const cert = parseCertificate(der)
      const node = new X509Certificate(der)
      expect(BigInt(`0x${node.serialNumber}`)).toBe(cert.serial)
      expect(new Date(node.validFrom)).toEqual(cert.notBefore)
      expect(new Date(node.validTo)).toEqual(cert.notAfter)
      expect(node.fingerprint256.replaceAll(':', '').toLowerCase()).toBe(cert.sha256)
      expect(node.publicKey.equals(cert.publicKey)).toBe(true)
      // node also wants keyCertSign: the leaf of the model-signing vectors is CA:TRUE without it
      expect(node.ca).toBe(
        cert.basicConstraints?.ca === true && (cert.keyUsage?.has('keyCertSign') ?? true),
      )
      for (const { value } of cert.subject.attributes) expect(node.subject).toContain(value)
    }
  })

  it('verify among each other exactly where node says so', () => {
    const all = certificates.map(({ der }) => ({
      ours: parseCertificate(der),
      node: new X509Certificate(der),
    }))
    let links = 0
    for (const a of all) {
      for (const b of all) {
        if (!equalBytes(a.ours.issuer.der, b.ours.subject.der)) continue
        const verified = verifiedBy(a.ours, b.ours)
        expect(verified).toBe(a.node.verify(b.node.publicKey))
        if (verified) links++
      }
    }
    expect(links).toBeGreaterThan(30)
  })

  it('have the decoded RSA-PSS parameters in both encodings of AMD', () => {
    const milan = parseCertificates(readFileSync(shared('recorded/snp/ca/milan-ask-ark-asvk.pem')))
    const vcek = parseCertificates(readFileSync(shared('recorded/snp/genoa-v3/vcek.pem')))[0]!
    const lengths = new Set<boolean>()
    for (const cert of [...milan, vcek]) {
      expect(cert.signatureAlgorithm).toEqual({ kind: 'rsa-pss', hash: 'sha384', saltLength: 48 })
      lengths.add(Buffer.from(cert.tbs).includes(Buffer.from('a303020101', 'hex')))
    }
    expect(milan[0]!.basicConstraints).toEqual({ ca: true, pathLen: 0 })
    expect([...milan[1]!.keyUsage!]).toEqual(['keyCertSign', 'cRLSign'])
    expect(milan[1]!.crlDistributionPoints).toEqual(['https://kdsintf.amd.com/vcek/v1/Milan/crl'])
    expect(milan[1]!.key).toEqual({ type: 'rsa', bits: 4096, exponent: 65537n })
    expect(vcek.serial).toBe(0n)
    expect(vcek.basicConstraints).toBeUndefined()
    expect(vcek.key).toEqual({ type: 'ec', curve: 'P-384' })
    expect(vcek.subject.commonName).toBe('SEV-VCEK')
    expect([...vcek.extensions.keys()].every((id) => id.startsWith('1.3.6.1.4.1.3704.1.'))).toBe(
      true,
    )
  })

  it('of Fulcio show their identity', () => {
    const bundle = readFileSync(shared('vectors/oms/v1.0.0-sigstore/model.sig'), 'utf8')
    const der = Buffer.from(/"rawBytes":\s*"([^"]+)"/.exec(bundle)![1]!, 'base64')
    const cert = parseCertificate(der)
    expect(cert.subjectAltNames).toEqual([{ type: 'email', value: 'stefanb@us.ibm.com' }])
    expect(cert.extKeyUsage).toEqual(['1.3.6.1.5.5.7.3.3'])
    expect(cert.subject.attributes).toEqual([])
  })

  it('are refused when cut at any length, and when a byte follows', () => {
    for (const [samples, parse] of [
      [certificates, parseCertificate],
      [crls, parseCrl],
    ] as const) {
      for (const { der } of samples) {
        for (let length = 0; length < der.length; length++) {
          expect(() => parse(der.subarray(0, length))).toThrow(AttestationError)
        }
        for (const extra of [1, 2, 64]) {
          expect(() => parse(Buffer.concat([der, new Uint8Array(extra)]))).toThrow(
            coded('TRAILING_DATA'),
          )
        }
      }
    }
  })

  it('never verify once a bit of them changed, and throw nothing but the typed error', () => {
    const byHash = new Map(
      certificates.map(({ der }) => [parseCertificate(der).sha256, parseCertificate(der)]),
    )
    const issuerOf = (cert: Certificate): Certificate | undefined =>
      [...byHash.values()].find(
        (other) => equalBytes(cert.issuer.der, other.subject.der) && verifiedBy(cert, other),
      )
    for (const { der } of certificates.slice(0, 12)) {
      const issuer = issuerOf(parseCertificate(der))
      if (issuer === undefined) continue
      for (let bit = 0; bit < der.length * 8; bit += 29) {
        const changed = Uint8Array.from(der)
        changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7))
        try {
          expect(verifiedBy(parseCertificate(changed), issuer)).toBe(false)
        } catch (error) {
          if (!(error instanceof AttestationError)) throw error
        }
      }
    }
  })
})

describe('parseCertificate', () => {
  it('reads what was made', () => {
    const cert = parseCertificate(
      make({
        serial: int(77),
        extensions: [ca(1), usage(CERT_SIGN), extension('2.5.29.14', octets(Uint8Array.of(1, 2)))],
      }),
    )
    expect(cert).toMatchObject({
      serial: 77n,
      version: 3,
      basicConstraints: { ca: true, pathLen: 1 },
    })
    expect(cert.subjectKeyId).toEqual(Uint8Array.of(1, 2))
    expect(verifiedBy(cert, cert)).toBe(true)
  })

  const duplicate = extension('1.2.3', octets(new Uint8Array()))
  it.each([
    ['an extension twice', { extensions: [duplicate, duplicate] }],
    [
      'critical spelled out as FALSE',
      { extensions: [seq(oid('1.2.3'), bool(false), octets(tlv(5)))] },
    ],
    ['an empty key usage', { extensions: [extension('2.5.29.15', bits(new Uint8Array()))] }],
    [
      'an unknown key usage bit',
      { extensions: [extension('2.5.29.15', bits(Uint8Array.of(0, 0x40), 6))] },
    ],
    ['a path length without CA', { extensions: [extension('2.5.29.19', seq(int(1)))] }],
    [
      'a negative path length',
      { extensions: [extension('2.5.29.19', seq(bool(true), tlv(2, Uint8Array.of(0xff))))] },
    ],
    [
      'bytes after a known extension',
      { extensions: [extension('2.5.29.19', Buffer.concat([seq(bool(true)), tlv(5)]))] },
    ],
    [
      'a NUL in a DNS name',
      { extensions: [extension('2.5.29.17', seq(tlv(0x82, Buffer.from('a.example\0.b'))))] },
    ],
    ['an empty subjectAltName', { extensions: [extension('2.5.29.17', seq())] }],
    [
      'an IP address of five bytes',
      { extensions: [extension('2.5.29.17', seq(tlv(0x87, new Uint8Array(5))))] },
    ],
    ['inner and outer algorithm that differ', { inner: seq(oid('1.2.840.10045.4.3.3')) }],
    ['a negative serial number', { serial: tlv(2, Uint8Array.of(0xff)) }],
    ['a serial number of 21 bytes', { serial: int(1n << 160n) }],
    ['validity that ends first', { from: '2031-01-01T00:00:00Z' }],
    ['version 2', { version: tlv(0xa0, int(1)) }],
    ['version 1 spelled out', { version: tlv(0xa0, int(0)) }],
    ['extensions in version 1', { version: new Uint8Array(), extensions: [ca()] }],
    ['a unique id', { more: [tlv(0x82, Uint8Array.of(0, 1))] }],
    ['a part after the extensions', { more: [tlv(0xa3, seq(ca())), tlv(0xa3, seq(ca()))] }],
    ['ECDSA with parameters', { inner: seq(oid('1.2.840.10045.4.3.2'), tlv(5)) }],
    ['SHA-1', { algorithm: seq(oid('1.2.840.10045.4.1')), inner: seq(oid('1.2.840.10045.4.1')) }],
    [
      'explicit curve parameters',
      { spki: seq(seq(oid('1.2.840.10045.2.1'), seq(int(1))), bits(new Uint8Array(65))) },
    ],
    [
      'a compressed point',
      {
        spki: seq(
          seq(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')),
          bits(Buffer.concat([Uint8Array.of(2), new Uint8Array(32)])),
        ),
      },
    ],
    [
      'an RSA key of 1024 bits',
      { spki: rsaKey(1024).publicKey.export({ type: 'spki', format: 'der' }) },
    ],
  ])('refuses %s, although it is validly signed', (_, parts) => {
    expect(() => parseCertificate(make(parts))).toThrow(AttestationError)
  })

  it('takes a point that is not on its curve for a key that verifies nothing', () => {
    const spki = seq(
      seq(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')),
      bits(Buffer.concat([Uint8Array.of(4), new Uint8Array(64).fill(1)])),
    )
    const cert = parseCertificate(make({ spki }))
    expect(() => cert.publicKey).toThrow(coded('CERT_INVALID'))
    expect(verifiedBy(cert, cert)).toBe(false)
  })

  it('verifies with the parameters of the certificate: both PSS encodings, another salt refused', () => {
    const rsa = rsaKey()
    for (const trailer of [true, false]) {
      for (const mixed of [true, false]) {
        const der = makeCertificate({
          ...base,
          key: rsa,
          signer: rsa,
          algorithm: pss(trailer),
          inner: pss(trailer !== mixed),
        })
        const cert = parseCertificate(der)
        expect(cert.signatureAlgorithm.saltLength).toBe(48)
        expect(verifiedBy(cert, cert)).toBe(true)
      }
    }
    // signed with salt 48, but says 32
    const other = parseCertificate(
      makeCertificate({ ...base, key: rsa, signer: rsa, algorithm: pss(true, 32) }),
    )
    expect(verifiedBy(other, other)).toBe(false)
    // inner salt differs from the outer one
    expect(() =>
      parseCertificate(
        makeCertificate({
          ...base,
          key: rsa,
          signer: rsa,
          algorithm: pss(true),
          inner: pss(true, 32),
        }),
      ),
    ).toThrow('differ')
  })

  it('knows Ed25519, P-521 and RSA PKCS #1, and never mixes key and algorithm', () => {
    const keys = [edKey(), ecKey('P-521'), rsaKey()]
    const certs = keys.map((pair) => parseCertificate(make({ key: pair, signer: pair })))
    expect(certs.map((cert) => cert.key.type)).toEqual(['ed25519', 'ec', 'rsa'])
    for (const a of certs) for (const b of certs) expect(verifiedBy(a, b)).toBe(a === b)
    const secp256k1 = ecKey('secp256k1')
    expect(parseCertificate(make({ key: secp256k1 })).key).toEqual({ type: 'other' })
  })

  it('refuses RSASSA-PSS with SHA-1 by default, another mask hash, an unknown trailer or parts out of order', () => {
    const sha384 = seq(oid('2.16.840.1.101.3.4.2.2'), tlv(5))
    const sha256 = seq(oid('2.16.840.1.101.3.4.2.1'), tlv(5))
    const mgf = (hash: Uint8Array): Uint8Array => tlv(0xa1, seq(oid('1.2.840.113549.1.1.8'), hash))
    for (const parts of [
      [],
      [tlv(0xa0, sha384)],
      [tlv(0xa0, sha384), mgf(sha256)],
      [tlv(0xa0, sha384), mgf(sha384), tlv(0xa3, int(2))],
      [mgf(sha384), tlv(0xa0, sha384)],
      [tlv(0xa0, sha384), mgf(sha384), tlv(0xa2, int(65))],
      [tlv(0xa0, sha384), mgf(sha384), tlv(0xa2, tlv(2, Uint8Array.of(0xff)))],
      [tlv(0xa0, sha384), mgf(sha384), tlv(0xa4, int(1))],
    ]) {
      const algorithm = seq(oid('1.2.840.113549.1.1.10'), seq(...parts))
      expect(() => parseCertificate(make({ algorithm: ECDSA256, inner: algorithm }))).toThrow(
        AttestationError,
      )
    }
  })

  it('reads every kind of alternative name', () => {
    const cert = parseCertificate(
      make({
        extensions: [
          extension(
            '2.5.29.17',
            seq(
              tlv(0x81, Buffer.from('a@example.com')),
              tlv(0x82, Buffer.from('example.com')),
              tlv(0x86, Buffer.from('https://example.com/x')),
              tlv(0x87, Uint8Array.of(127, 0, 0, 1)),
              tlv(0xa0, oid('1.3.6.1.4.1.57264.1.7'), tlv(0xa0, text('bob'))),
              tlv(0x88, Uint8Array.of(0x2a)),
            ),
          ),
        ],
      }),
    )
    expect(cert.subjectAltNames).toEqual([
      { type: 'email', value: 'a@example.com' },
      { type: 'dns', value: 'example.com' },
      { type: 'uri', value: 'https://example.com/x' },
      { type: 'ip', value: '7f000001' },
      { type: 'otherName', value: '1.3.6.1.4.1.57264.1.7#0c03626f62' },
      { type: 'other', value: '88012a' },
    ])
  })

  it('shows a name in which nothing can pretend to be another attribute', () => {
    const cert = parseCertificate(make({ subject: 'x, O=Advanced Micro Devices\n\u202e' }))
    expect(cert.subject.text).toBe('CN=x\\, O\\=Advanced Micro Devices\\u{a}\\u{202e}')
    expect(cert.subject.commonName).toBe('x, O=Advanced Micro Devices\n\u202e')
  })

  it('has no common name where there are two', () => {
    const cn = (value: string): Uint8Array => tlv(0x31, seq(oid('2.5.4.3'), text(value)))
    const der = make({})
    const tbs = seq(
      tlv(0xa0, int(2)),
      int(1),
      ECDSA256,
      name('a'),
      seq(time('2025-01-01'), time('2030-01-01')),
      seq(cn('a'), cn('b')),
      key.publicKey.export({ type: 'spki', format: 'der' }),
    )
    const cert = parseCertificate(seq(tbs, ECDSA256, bits(parseCertificate(der).signature)))
    expect(cert.subject.commonName).toBeUndefined()
    expect(cert.subject.text).toBe('CN=a, CN=b')
  })

  it('throws nothing but the typed error when its bytes are changed', () => {
    const der = make({
      extensions: [
        ca(1),
        usage(CERT_SIGN),
        extension('2.5.29.17', seq(tlv(0x82, Buffer.from('a.b')))),
      ],
    })
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(der.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (changes) => {
          const changed = Uint8Array.from(der)
          for (const [at, value] of changes) changed[at] = value
          if (equalBytes(changed, der)) return
          try {
            const cert = parseCertificate(changed)
            verifiedBy(cert, cert)
          } catch (error) {
            if (!(error instanceof AttestationError)) throw error
          }
        },
      ),
      { numRuns: 3000 },
    )
  })
})

describe('PEM', () => {
  const der = make({})
  const body = bytesToBase64(der).replace(/.{64}/g, '$&\n').trimEnd()
  const pem = (content = body, label = 'CERTIFICATE'): string =>
    `-----BEGIN ${label}-----\n${content}\n-----END ${label}-----\n`

  it('reads bundles, either line end, any fixed width', () => {
    expect(parseCertificates(utf8Encode(pem() + pem())).map((cert) => cert.der)).toEqual([der, der])
    expect(parseCertificates(utf8Encode(pem().replaceAll('\n', '\r\n')))).toHaveLength(1)
    expect(parseCertificates(utf8Encode(pem(bytesToBase64(der))))).toHaveLength(1)
    expect(parseCertificates(utf8Encode(`${pem()}\n\n${pem()}`))).toHaveLength(2)
    expect(parseCertificates(der)).toHaveLength(1)
    expect(parsePemBlocks(pem() + pem('AAAA', 'X509 CRL')).map(({ label }) => label)).toEqual([
      'CERTIFICATE',
      'X509 CRL',
    ])
    expect(parsePemBlocks('')).toEqual([])
  })

  it.each([
    ['nothing', ''],
    ['text before', `hello\n${pem()}`],
    ['text after', `${pem()}hello`],
    ['a NUL after', `${pem()}\0`],
    ['another label', pem(body, 'PRIVATE KEY')],
    ['no end', pem().replace(/-----END.*\n/, '')],
    ['the wrong end', pem().replace('END CERT', 'END X')],
    ['uneven lines', pem(body.replace('\n', ''))],
    ['blanks in a line', pem(body.replace('A', ' '))],
    ['an empty line', pem(body.replace('\n', '\n\n'))],
    ['an empty body', pem('')],
    ['padding that is missing', pem('AAA')],
    ['a header', pem(`Proc-Type: 4\n\n${body}`)],
    ['a begin inside', pem(`-----BEGIN CERTIFICATE-----\n${body}`)],
    ['more than allowed', pem().repeat(17)],
  ])('refuses %s', (_, content) => {
    expect(() => parseCertificates(utf8Encode(content))).toThrow(AttestationError)
  })

  it('allows a preamble only where it is asked for', () => {
    expect(parsePem(`Subject: x\n${pem()}`, 'CERTIFICATE', { preamble: true })).toEqual([der])
    expect(() => parsePem(`-----BEGIN x\n${pem()}`, 'CERTIFICATE', { preamble: true })).toThrow(
      AttestationError,
    )
    expect(() => parsePem('just text', 'CERTIFICATE', { preamble: true })).toThrow(AttestationError)
  })

  it('throws nothing but the typed error', () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.constantFrom(
            '-----BEGIN A-----',
            '-----END A-----',
            '\n',
            'AAAA',
            '=',
            '\r',
            ' ',
          ),
          maxLength: 12,
        }),
        (content) => {
          try {
            parsePemBlocks(content)
          } catch (error) {
            if (!(error instanceof AttestationError)) throw error
          }
        },
      ),
      { numRuns: 3000 },
    )
  })
})
