import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import type { Certificate } from '../../../attestation/lib/index.ts'
import {
  buildPath,
  checkCrl,
  checkPath,
  isRevoked,
  parseCertificate,
  parseCertificates,
  parseCrl,
} from '../../../attestation/lib/index.ts'
import { haveShared, shared } from '../../shared.ts'
import {
  ca,
  CERT_SIGN,
  CRL_SIGN,
  ecKey,
  edKey,
  entry,
  extension,
  int,
  makeCertificate,
  makeCrl,
  octets,
  oid,
  seq,
  tlv,
  usage,
} from './make.ts'
import { genuine } from './samples.ts'

const AT = new Date('2026-01-15T00:00:00Z')
const [rootKey, middleKey, leafKey, otherKey] = [ecKey(), ecKey(), ecKey(), ecKey()]
const authority = [ca(), usage(CERT_SIGN | CRL_SIGN)]

type Parts = Partial<Parameters<typeof makeCertificate>[0]>
const root = (parts: Parts = {}): Certificate =>
  parseCertificate(
    makeCertificate({
      subject: 'root',
      issuer: 'root',
      key: rootKey,
      signer: rootKey,
      extensions: authority,
      ...parts,
    }),
  )
const middle = (parts: Parts = {}): Certificate =>
  parseCertificate(
    makeCertificate({
      subject: 'middle',
      issuer: 'root',
      key: middleKey,
      signer: rootKey,
      extensions: authority,
      ...parts,
    }),
  )
const leaf = (parts: Parts = {}): Certificate =>
  parseCertificate(
    makeCertificate({
      subject: 'leaf',
      issuer: 'middle',
      key: leafKey,
      signer: middleKey,
      serial: int(9),
      ...parts,
    }),
  )
const codes = (path: readonly Certificate[], at = AT, options = {}): string[] =>
  checkPath(path, at, options).map((problem) => `${problem.code}: ${problem.message}`)

describe('checkPath', () => {
  it('finds nothing wrong with a good path', () => {
    expect(codes([leaf(), middle(), root()], AT, { selfSignedRoot: true })).toEqual([])
    expect(codes([leaf()])).toEqual([])
    expect(codes([])).toEqual(['CERT_MISSING: the path has no certificate'])
  })

  it.each<[string, () => Certificate[], string]>([
    [
      'an issuer with another name',
      () => [leaf({ issuer: 'muddle' }), middle(), root()],
      'CHAIN_INVALID: CN=leaf names another issuer',
    ],
    [
      'a signature by another key',
      () => [leaf({ signer: otherKey }), middle(), root()],
      'CHAIN_INVALID: the signature on CN=leaf was not made by CN=middle',
    ],
    [
      'an issuer that is no authority',
      () => [leaf(), middle({ extensions: [usage(CERT_SIGN)] }), root()],
      'CERT_ROLE: CN=middle is not a certificate authority',
    ],
    [
      'CA:FALSE',
      () => [leaf(), middle({ extensions: [extension('2.5.29.19', seq(), true)] }), root()],
      'CERT_ROLE: CN=middle is not a certificate authority',
    ],
    [
      'an issuer that must not sign certificates',
      () => [leaf(), middle({ extensions: [ca(), usage(CRL_SIGN)] }), root()],
      'CERT_ROLE: CN=middle must not sign certificates',
    ],
    [
      'a path length that is passed',
      () => [leaf(), middle(), root({ extensions: [ca(0), usage(CERT_SIGN)] })],
      'CERT_ROLE: CN=root stands too far above the leaf',
    ],
    [
      'an unknown critical extension',
      () => [leaf({ extensions: [extension('1.2.3', tlv(5), true)] }), middle(), root()],
      'CERT_INVALID: CN=leaf has an extension that is not understood',
    ],
    [
      'name constraints',
      () => [leaf(), middle({ extensions: [...authority, extension('2.5.29.30', seq())] }), root()],
      'CERT_INVALID: CN=middle has an extension that is not understood',
    ],
    [
      'an expired leaf',
      () => [leaf({ until: '2026-01-01T00:00:00Z' }), middle(), root()],
      'CERT_EXPIRED: CN=leaf has expired',
    ],
    [
      'an expired intermediate',
      () => [leaf(), middle({ until: '2026-01-01T00:00:00Z' }), root()],
      'CERT_EXPIRED: CN=middle has expired',
    ],
    [
      'an expired root',
      () => [leaf(), middle(), root({ until: '2026-01-01T00:00:00Z' })],
      'CERT_EXPIRED: CN=root has expired',
    ],
    [
      'a leaf of tomorrow',
      () => [leaf({ from: '2027-01-01T00:00:00Z' }), middle(), root()],
      'CERT_NOT_YET_VALID: CN=leaf is not valid yet',
    ],
    [
      'a root of tomorrow',
      () => [leaf(), middle(), root({ from: '2027-01-01T00:00:00Z' })],
      'CERT_NOT_YET_VALID: CN=root is not valid yet',
    ],
  ])('reports %s, and that alone', (_, path, expected) => {
    expect(codes(path())).toEqual([expected])
  })

  it('lists everything at once', () => {
    const bad = [
      leaf({ signer: otherKey, issuer: 'x', until: '2026-01-01T00:00:00Z' }),
      middle({ extensions: [] }),
    ]
    expect(
      checkPath(bad, AT)
        .map(({ code }) => code)
        .sort(),
    ).toEqual(['CERT_EXPIRED', 'CERT_ROLE', 'CHAIN_INVALID', 'CHAIN_INVALID'])
  })

  it('does not let a root pass that did not sign itself, where that is demanded', () => {
    const fake = root({ signer: otherKey })
    expect(codes([middle(), fake])).toEqual([])
    expect(codes([middle(), fake], AT, { selfSignedRoot: true })).toEqual([
      'CHAIN_INVALID: the signature on CN=root was not made by CN=root',
    ])
  })

  it('holds a window to the second, both ends included', () => {
    const path = [
      leaf({ from: '2026-01-01T00:00:00Z', until: '2026-01-02T00:00:00Z' }),
      middle(),
      root(),
    ]
    const at = (text: string): string[] => checkPath(path, new Date(text)).map(({ code }) => code)
    expect(at('2025-12-31T23:59:59Z')).toEqual(['CERT_NOT_YET_VALID'])
    expect(at('2026-01-01T00:00:00Z')).toEqual([])
    expect(at('2026-01-02T00:00:00Z')).toEqual([])
    expect(at('2026-01-02T00:00:00.001Z')).toEqual(['CERT_EXPIRED'])
    expect(at('nonsense').length).toBeGreaterThan(0)
  })

  it('does not count certificates that an authority issued to itself', () => {
    const self = parseCertificate(
      makeCertificate({
        subject: 'root',
        issuer: 'root',
        key: middleKey,
        signer: rootKey,
        extensions: authority,
      }),
    )
    const top = root({ extensions: [ca(0), usage(CERT_SIGN)] })
    expect(codes([leaf({ issuer: 'root' }), self, top])).toEqual([])
  })

  it('lets the caller handle a critical extension', () => {
    const path = [leaf({ extensions: [extension('1.2.3', tlv(5), true)] }), middle(), root()]
    expect(codes(path, AT, { knownCritical: ['1.2.3'] })).toEqual([])
  })
})

describe('buildPath', () => {
  it('finds the way by signature, in whatever order', () => {
    const [l, m, r] = [leaf(), middle(), root()]
    const decoy = middle({ key: otherKey })
    expect(buildPath(l, [decoy, m, l], [r])).toEqual([l, m, r])
    expect(buildPath(l, [], [m])).toEqual([l, m])
    expect(buildPath(l, [decoy], [r])).toBeUndefined()
    expect(buildPath(l, [m], [])).toBeUndefined()
    expect(buildPath(l, [m, r], [root({ signer: otherKey, key: otherKey })])).toBeUndefined()
  })

  it('never takes a certificate of the evidence for an anchor', () => {
    const evil = ecKey()
    const fake = root({ key: evil, signer: evil })
    const forged = leaf({ issuer: 'root', signer: evil })
    expect(buildPath(forged, [fake], [root()])).toBeUndefined()
  })

  it('takes a leaf that is an anchor, listed twice, as a path of one', () => {
    const self = parseCertificate(
      makeCertificate({
        subject: 's',
        issuer: 's',
        key: leafKey,
        signer: leafKey,
        extensions: [ca()],
      }),
    )
    expect(buildPath(self, [self, self], [self])).toEqual([self])
  })

  it('gets past a leaf whose subject is its issuer and that did not sign itself', () => {
    const odd = leaf({ subject: 'middle', extensions: [ca()] })
    const path = buildPath(odd, [odd, middle()], [root()])
    expect(path).toHaveLength(3)
    expect(checkPath(path!, AT)).toEqual([])
  })

  it('finds a path also where a name is wrong, so that checkPath can say so', () => {
    const odd = leaf({ issuer: 'x' })
    expect(checkPath(buildPath(odd, [middle()], [root()])!, AT).map(({ code }) => code)).toEqual([
      'CHAIN_INVALID',
    ])
  })

  it('prefers a path that pleases, and gives the first one if none does', () => {
    const old = middle({ until: '2026-01-01T00:00:00Z' })
    const fresh = middle()
    const accept = (path: readonly Certificate[]): boolean => checkPath(path, AT).length === 0
    const r = root()
    expect(buildPath(leaf(), [old, fresh], [r], { accept })?.[1]).toBe(fresh)
    expect(buildPath(leaf(), [old], [r], { accept })?.[1]).toBe(old)
  })

  it('stays within its steps, whatever is thrown at it', () => {
    // twelve certificates of one key and name, each of which signed each: 12! paths without a bound
    const mesh = Array.from({ length: 12 }, (_, i) =>
      root({ serial: int(i + 1), subject: 'mesh', issuer: 'mesh' }),
    )
    let steps = 0
    const counted = mesh.map((cert) => ({
      ...cert,
      get publicKey() {
        steps++
        return cert.publicKey
      },
    }))
    expect(buildPath(counted[0]!, counted, [middle({ key: otherKey })])).toBeUndefined()
    expect(steps).toBeLessThanOrEqual(64)
    expect(
      buildPath(counted[0]!, counted, [middle()], { maxLength: 2, maxSteps: 5 }),
    ).toBeUndefined()
  })
})

describe('revocation lists', () => {
  const issuer = root()
  const crl = (parts: Partial<Parameters<typeof makeCrl>[0]> = {}): ReturnType<typeof parseCrl> =>
    parseCrl(makeCrl({ issuer: 'root', signer: rootKey, entries: [entry(5), entry(6)], ...parts }))
  const found = (list: ReturnType<typeof crl>, by = issuer, at = AT): string[] =>
    checkCrl(list, by, at).map(({ code }) => code)

  it('name what they revoke, for their own issuer alone', () => {
    const list = crl({ extensions: [extension('2.5.29.20', int(7))] })
    expect(list.number).toBe(7n)
    expect(found(list)).toEqual([])
    expect(isRevoked(list, middle({ serial: int(5) }))).toBe(true)
    expect(isRevoked(list, middle({ serial: int(7) }))).toBe(false)
    expect(isRevoked(list, leaf({ serial: int(5) }))).toBe(false)
  })

  it.each<[string, () => string[], string[]]>([
    ['another issuer', () => found(crl({ issuer: 'x' })), ['CRL_INVALID']],
    ['another key', () => found(crl({ signer: otherKey })), ['CRL_INVALID']],
    [
      'an issuer without cRLSign',
      () => found(crl(), root({ extensions: [ca(), usage(CERT_SIGN)] })),
      ['CRL_INVALID'],
    ],
    [
      'a key identifier that is not the issuer’s',
      () =>
        found(
          crl({ extensions: [extension('2.5.29.35', seq(tlv(0x80, Uint8Array.of(1))))] }),
          root({ extensions: [...authority, extension('2.5.29.14', octets(Uint8Array.of(2)))] }),
        ),
      ['CRL_INVALID'],
    ],
    [
      'a list of the past',
      () => found(crl(), issuer, new Date('2026-02-01T00:00:01Z')),
      ['CRL_EXPIRED'],
    ],
    [
      'a list of the future',
      () => found(crl(), issuer, new Date('2025-12-31T23:59:59Z')),
      ['CRL_EXPIRED'],
    ],
    ['no time at all', () => found(crl(), issuer, new Date(Number.NaN)), ['CRL_EXPIRED']],
    [
      'everything at once',
      () => found(crl({ issuer: 'x', signer: otherKey }), issuer, new Date('2027-01-01')),
      ['CRL_INVALID', 'CRL_INVALID', 'CRL_EXPIRED'],
    ],
  ])('report %s', (_, run, expected) => expect(run()).toEqual(expected))

  it('hold their window to the second, both ends included', () => {
    for (const at of ['2026-01-01T00:00:00Z', '2026-02-01T00:00:00Z'])
      expect(found(crl(), issuer, new Date(at))).toEqual([])
  })

  it.each<[string, Partial<Parameters<typeof makeCrl>[0]>]>([
    ['no nextUpdate', { until: null }],
    ['version 1', { version: int(0) }],
    ['no version', { version: new Uint8Array() }],
    ['a serial number twice', { entries: [entry(5), entry(5)] }],
    ['a window that ends first', { until: '2025-01-01T00:00:00Z' }],
    ['a delta list', { extensions: [extension('2.5.29.27', int(1), true)] }],
    [
      'an issuing distribution point',
      { extensions: [extension('2.5.29.28', seq(tlv(0x84, Uint8Array.of(0xff))), true)] },
    ],
    ['the same, not critical', { extensions: [extension('2.5.29.28', seq())] }],
    ['an unknown critical extension', { extensions: [extension('1.2.3', tlv(5), true)] }],
    [
      'an extension twice',
      { extensions: [extension('2.5.29.20', int(1)), extension('2.5.29.20', int(1))] },
    ],
    ['an indirect entry', { entries: [entry(5, extension('2.5.29.29', seq(), true))] }],
    [
      'an entry with an unknown critical extension',
      { entries: [entry(5, extension('1.2.3', tlv(5), true))] },
    ],
    ['an entry that is not one', { entries: [seq(int(5))] }],
    [
      'a negative serial number',
      { entries: [seq(tlv(2, Uint8Array.of(0xff)), tlv(0x17, Buffer.from('250101000000Z')))] },
    ],
    ['a negative number', { extensions: [extension('2.5.29.20', tlv(2, Uint8Array.of(0xff)))] }],
    ['SHA-1', { algorithm: seq(oid('1.2.840.10045.4.1')) }],
  ])('are refused with %s, although validly signed', (_, parts) => {
    expect(() => crl(parts)).toThrow(AttestationError)
  })

  it('may be empty, and may have entries with reasons', () => {
    expect(crl({ entries: [] }).revoked.size).toBe(0)
    const reason = extension('2.5.29.21', tlv(10, Uint8Array.of(1)))
    expect(crl({ entries: [entry(1n << 159n, reason)] }).revoked.size).toBe(1)
  })

  it('verify with Ed25519 as well', () => {
    const key = edKey()
    const by = root({ key, signer: key })
    const list = parseCrl(
      makeCrl({ issuer: 'root', signer: key, algorithm: seq(oid('1.3.101.112')) }),
    )
    expect(checkCrl(list, by, AT)).toEqual([])
  })
})

describe.runIf(haveShared)('genuine paths and lists', () => {
  const pem = (path: string): readonly Certificate[] =>
    parseCertificates(readFileSync(shared(path)))

  it.each(['milan', 'genoa', 'turin'])('of AMD: %s, VCEK and VLEK authority', (product) => {
    const [ask, ark] = pem(`recorded/snp/ca/${product}-ask-ark-asvk.pem`)
    const [asvk] = pem(`recorded/snp/ca/${product}-asvk.der`)
    for (const cert of [ask!, asvk!]) {
      expect(checkPath([cert, ark!], AT, { selfSignedRoot: true })).toEqual([])
      expect(buildPath(cert, [], [ark!])).toHaveLength(2)
    }
  })

  it('of AMD: a leaf that was altered is not signed by its issuer', () => {
    const [ask, ark] = pem('recorded/snp/ca/milan-ask-ark-asvk.pem')
    const at = new Date('2024-01-01T00:00:00Z')
    const good = pem('recorded/snp/milan-v2-azure-provisional/vcek.der')[0]!
    expect(checkPath([good, ask!, ark!], at)).toEqual([])
    for (const name of ['legacy', 'new']) {
      const bad = pem(`recorded/snp/milan-v2-azure-provisional/test-vcek-invalid-${name}.der`)[0]!
      expect(checkPath([bad, ask!, ark!], at).map(({ code }) => code)).toContain('CHAIN_INVALID')
      expect(buildPath(bad, [ask!], [ark!])).toBeUndefined()
    }
  })

  it('of the model-signing vectors: the three traps', () => {
    const [anchor] = pem('vectors/oms/keys/certificate/ca-cert.pem')
    const [between] = pem('vectors/oms/keys/certificate/int-ca-cert.pem')
    const [signer] = pem('vectors/oms/keys/certificate/signing-key-cert.pem')
    const path = buildPath(signer!, [signer!, between!], [anchor!])
    expect(path?.map((cert) => cert.subject.text)).toEqual([
      'CN=intermediate-ca',
      'CN=intermediate-ca',
      'CN=root-ca',
    ])
    expect(checkPath(path!, AT)).toEqual([])
  })

  it('of Intel: every list verifies under its issuer within its window', () => {
    const { certificates, crls } = genuine()
    const issuers = certificates.map(({ der }) => parseCertificate(der))
    for (const { der } of crls) {
      const list = parseCrl(der)
      const makers = issuers.filter((cert) => checkCrl(list, cert, list.thisUpdate).length === 0)
      expect(makers.length).toBeGreaterThan(0)
      expect(list.number).toBe(1n)
      expect(list.authorityKeyId).toBeDefined()
      expect(
        checkCrl(list, makers[0]!, new Date(list.nextUpdate.getTime() + 1000)).map(
          ({ code }) => code,
        ),
      ).toEqual(['CRL_EXPIRED'])
      const changed = Uint8Array.from(der)
      changed[der.length - 60] = changed[der.length - 60]! ^ 1
      try {
        expect(checkCrl(parseCrl(changed), makers[0]!, list.thisUpdate).length).toBeGreaterThan(0)
      } catch (error) {
        expect(error).toBeInstanceOf(AttestationError)
      }
    }
  })
})
