// The single owner of the SNP negatives that lie in certificates and revocation lists, each signed by the keys that its names claim.
import { ecKey, PSS, rsaKey, type RsaKey, type SigningKey } from './keys.ts'
import { added, without, withExtensions } from './negative.ts'
import { asAsk, asLeaf, named, snpNegative as negative, type SnpNegative } from './snp-negative.ts'
import {
  daysFrom,
  RECORDED_AT,
  standard,
  type CertificateChange,
  type CertificateFields,
  type CrlChange,
} from './pki.ts'
import { SNP_EXTENSION_NEGATIVES } from './snp-extension-negatives.ts'
import { keyInfo, type SnpRequest, type SnpRole } from './snp.ts'
import { amdName, caCertificate, snpKeys } from './snp-certificates.ts'

// --- revocation ---

const revoking =
  (serial: bigint): CrlChange =>
  (fields) => ({
    ...fields,
    revoked: [{ serial, at: fields.thisUpdate }],
  })

const revocation: readonly SnpNegative[] = [
  negative('revoked-ask', ['REVOKED'], "the ARK's list, properly signed, names the ASK", {
    crl: revoking(0x20001n),
  }),
  negative('revoked-asvk', ['REVOKED'], "the ARK's list, properly signed, names the ASVK", {
    role: 'vlek',
    crl: revoking(0x20101n),
  }),
  negative('crl-expired', ['CRL_EXPIRED'], 'the list should have been renewed the day before', {
    crl: (f) => ({ ...f, thisUpdate: daysFrom(f.thisUpdate, -60), nextUpdate: f.thisUpdate }),
  }),
  negative('crl-not-yet-valid', ['CRL_EXPIRED'], 'the list is issued tomorrow', {
    crl: (f) => ({ ...f, thisUpdate: daysFrom(f.thisUpdate, 2) }),
  }),
  negative(
    'crl-signed-by-ask',
    ['CRL_INVALID'],
    "the list bears the ARK's name and the ASK's signature",
    (seed) => ({
      crl: (f) => ({ ...f, signer: snpKeys(seed, 'Genoa').issuer('vcek') }),
    }),
  ),
  negative(
    'crl-of-another-issuer',
    ['CRL_MISSING'],
    "the list is the ASK's, under its own name: a policy that requires a list has none",
    (seed) => ({
      crl: (f) => ({
        ...f,
        issuer: amdName('SEV-Genoa'),
        signer: snpKeys(seed, 'Genoa').issuer('vcek'),
      }),
    }),
  ),
]

// --- roles ---

const asvkIssues = (seed: string): CertificateChange => {
  const asvk = snpKeys(seed, 'Genoa').issuer('vlek')
  return (fields) => ({ ...fields, issuer: amdName('SEV-VLEK-Genoa'), signer: asvk })
}

/** The VCEK's own key as a certificate authority in the ASK's place. */
function leafAsCa(seed: string): SnpRequest {
  const key = ecKey('P-384', seed, 'leaf as CA')
  return {
    certificates: {
      ask: (fields) => ({
        ...fields,
        serial: 0n,
        issuer: amdName('SEV-Genoa'),
        subject: amdName('SEV-VCEK'),
        spki: key.spki,
        signer: snpKeys(seed, 'Genoa').issuer('vcek'),
        extensions: [],
      }),
      leaf: (fields) => ({
        ...fields,
        issuer: amdName('SEV-VCEK'),
        signer: key,
        algorithm: key.algorithm,
      }),
    },
  }
}

const roles: readonly SnpNegative[] = [
  negative('vcek-says-vlek', ['CERT_ROLE'], 'SIGNING_KEY says VLEK, the leaf is a VCEK', {
    report: { keyInfo: keyInfo('vlek') },
  }),
  negative('vlek-says-vcek', ['CERT_ROLE'], 'SIGNING_KEY says VCEK, the leaf is a VLEK', {
    role: 'vlek',
    report: { keyInfo: keyInfo('vcek') },
  }),
  negative('vcek-issued-by-asvk', ['CERT_ROLE'], 'a VCEK under the issuer of VLEKs', (seed) => ({
    certificates: {
      leaf: asvkIssues(seed),
      ask: () => caFields(seed, 'vlek'),
    },
  })),
  negative('vlek-issued-by-ask', ['CERT_ROLE'], 'a VLEK under the issuer of VCEKs', (seed) => ({
    role: 'vlek',
    certificates: {
      leaf: (fields) => ({
        ...fields,
        issuer: amdName('SEV-Genoa'),
        signer: snpKeys(seed, 'Genoa').issuer('vcek'),
      }),
      ask: () => caFields(seed, 'vcek'),
    },
  })),
  negative('signing-key-none', ['FORMAT_INVALID'], 'SIGNING_KEY 7 means that nothing signed', {
    report: { keyInfo: 7 << 2 },
  }),
  negative('signing-key-reserved', ['FORMAT_INVALID'], 'SIGNING_KEY 2 is reserved', {
    report: { keyInfo: 2 << 2 },
  }),
  negative(
    'ca-as-leaf',
    ['CERT_INVALID'],
    'the leaf is a certificate authority',
    asLeaf(added(standard.basicConstraints(true), standard.keyUsage('keyCertSign'))),
  ),
  negative(
    'ask-as-leaf',
    ['CERT_MISSING'],
    "the ASK's certificate in the leaf's place",
    (seed) => ({
      certificates: { leaf: () => caFields(seed, 'vcek') },
    }),
  ),
  negative('leaf-as-ca', ['CERT_ROLE'], 'a VCEK issued the VCEK', leafAsCa),
  negative(
    'ask-not-a-ca',
    ['CERT_ROLE'],
    'the ASK has no basicConstraints',
    asAsk(without('2.5.29.19')),
  ),
  negative(
    'ask-may-not-sign',
    ['CERT_ROLE'],
    "the ASK's keyUsage has no keyCertSign",
    asAsk(
      withExtensions((list) =>
        list.map((e) => (e.oid === '2.5.29.15' ? standard.keyUsage('digitalSignature') : e)),
      ),
    ),
  ),
  negative(
    'leaf-named-vcek',
    ['CERT_MISSING'],
    'the common name is VCEK, not SEV-VCEK',
    asLeaf(named('subject', 'VCEK')),
  ),
  negative('ask-misnamed', ['CERT_ROLE'], 'the ASK is named SEV-Genoa-2', {
    certificates: {
      ask: named('subject', 'SEV-Genoa-2'),
      leaf: named('issuer', 'SEV-Genoa-2'),
    },
  }),
]

/** The certificate that Genoa's ASK or ASVK would have, to put it where another belongs. */
function caFields(seed: string, role: SnpRole): CertificateFields {
  let seen: CertificateFields | undefined
  caCertificate(seed, 'Genoa', role, (fields) => (seen = fields))
  if (seen === undefined) throw new Error('unreachable: the change is always called')
  return seen
}

// --- keys and signatures ---

const issuerOf = (seed: string): RsaKey => snpKeys(seed, 'Genoa').issuer('vcek')

/** A chain with the right names throughout and keys of the forger's. */
function forged(seed: string): SnpRequest {
  const ark = rsaKey(seed, 'forged ARK')
  const ask = rsaKey(seed, 'forged ASK')
  return {
    certificates: {
      ark: (f) => ({ ...f, spki: ark.spki, signer: ark }),
      ask: (f) => ({ ...f, spki: ask.spki, signer: ark }),
      leaf: (f) => ({ ...f, signer: ask }),
    },
    crl: (f) => ({ ...f, signer: ark }),
  }
}

const keyed =
  (key: (seed: string) => SigningKey) =>
  (seed: string): SnpRequest => ({
    certificates: { leaf: (fields) => ({ ...fields, spki: key(seed).spki }) },
  })

const keys: readonly SnpNegative[] = [
  negative('forged-ark', ['ROOT_UNTRUSTED'], "all names right, all keys the forger's", forged),
  negative(
    'ask-signed-by-asvk',
    ['CHAIN_INVALID'],
    "the ASK's signature is not the ARK's",
    (seed) => asAsk((f) => ({ ...f, signer: snpKeys(seed, 'Genoa').issuer('vlek') })),
  ),
  negative(
    'leaf-signed-by-ark',
    ['CHAIN_INVALID'],
    "the leaf's signature is the ARK's, its issuer the ASK",
    (seed) => asLeaf((f) => ({ ...f, signer: snpKeys(seed, 'Genoa').ark })),
  ),
  negative(
    'leaf-key-p256',
    ['UNSUPPORTED_ALGORITHM'],
    "the leaf's key is on P-256",
    keyed((seed) => ecKey('P-256', seed, 'leaf')),
  ),
  negative(
    'leaf-key-rsa',
    ['UNSUPPORTED_ALGORITHM'],
    "the leaf's key is RSA",
    keyed((seed) => snpKeys(seed, 'Genoa').ark),
  ),
  negative(
    'report-signed-by-another-key',
    ['SIGNATURE_INVALID'],
    'the leaf is for another key',
    keyed((seed) => ecKey('P-384', seed, 'another')),
  ),
  negative(
    'leaf-signed-by-ec',
    ['CHAIN_INVALID'],
    'the leaf says RSASSA-PSS and carries an ECDSA signature',
    (seed) =>
      asLeaf((f) => ({ ...f, signer: ecKey('P-384', seed, 'not RSA'), algorithm: PSS.plain })),
  ),
  negative(
    'leaf-salt-32',
    ['UNSUPPORTED_ALGORITHM'],
    'a leaf signed with a salt of 32 bytes',
    (seed) =>
      asLeaf((f) => ({
        ...f,
        signer: issuerOf(seed).withSalt(32),
        algorithm: issuerOf(seed).withSalt(32).algorithm,
      })),
  ),
  negative(
    'leaf-salt-contradicts',
    ['CHAIN_INVALID'],
    'the leaf says a salt of 48 bytes, its signature has 32',
    (seed) => asLeaf((f) => ({ ...f, signer: issuerOf(seed).withSalt(32, 48) })),
  ),
  negative(
    'ask-salt-20',
    ['UNSUPPORTED_ALGORITHM'],
    "an ASK signed with RFC 4055's default salt of 20 bytes",
    (seed) => asAsk((f) => ({ ...f, signer: snpKeys(seed, 'Genoa').ark.withSalt(20) })),
  ),
  negative('ask-key-2048', ['UNSUPPORTED_ALGORITHM'], 'an ASK of 2048 bits', (seed) => {
    const short = rsaKey(seed, 'short ASK', 2048)
    return {
      certificates: {
        ask: (f) => ({ ...f, spki: short.spki }),
        leaf: (f) => ({ ...f, signer: short }),
      },
    }
  }),
]

// --- validity at each level ---

const validity = (['ark', 'ask', 'leaf'] as const).flatMap((level): readonly SnpNegative[] => {
  const at = (change: CertificateChange): SnpRequest => ({ certificates: { [level]: change } })
  const now = RECORDED_AT
  return [
    negative(
      `${level}-expired`,
      ['CERT_EXPIRED'],
      `the ${level} ended a day before`,
      at((f) => ({ ...f, notBefore: daysFrom(now, -60), notAfter: daysFrom(now, -1) })),
      'own root',
    ),
    negative(
      `${level}-not-yet-valid`,
      ['CERT_NOT_YET_VALID'],
      `the ${level} begins a day later`,
      at((f) => ({ ...f, notBefore: daysFrom(now, 1) })),
      'own root',
    ),
  ]
})

/** Everything that can be wrong with certificates and lists. */
export const SNP_CERTIFICATE_NEGATIVES: readonly SnpNegative[] = [
  ...revocation,
  ...roles,
  ...SNP_EXTENSION_NEGATIVES,
  ...keys,
  ...validity,
]
