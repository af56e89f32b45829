// The single owner of the TDX negatives that lie in certificates and revocation lists, each signed by the keys that its names claim.
import { integer, octets, oid, sequence } from './der.ts'
import { ecKey } from './keys.ts'
import { added, withExtensions, without } from './negative.ts'
import {
  certificate,
  daysFrom,
  RECORDED_AT,
  standard,
  type CertificateChange,
  type CrlChange,
} from './pki.ts'
import {
  intelKey,
  intelName,
  NAMES,
  pckCaFields,
  serialOf,
  SGX_EXTENSION,
  sgxExtension,
  tcbSignerFields,
  type IntelRole,
  type PckPlatform,
} from './tdx-certificates.ts'
import { LEVEL } from './tdx-collateral.ts'
import { tdxNegative as negative, type TdxNegative } from './tdx-negative.ts'
import { simulateTdx, type TdxRequest } from './tdx.ts'

const asPck = (pck: CertificateChange, more: TdxRequest = {}): TdxRequest => ({
  ...more,
  certificates: { pck },
})
const named =
  (commonName: string): CertificateChange =>
  (fields) => ({ ...fields, subject: intelName(commonName) })

// --- revocation ---

const revoking =
  (seed: string, role: IntelRole): CrlChange =>
  (fields) => ({
    ...fields,
    revoked: [...fields.revoked, { serial: serialOf(intelKey(seed, role)), at: fields.thisUpdate }],
  })
const past: CrlChange = (f) => ({
  ...f,
  thisUpdate: daysFrom(f.thisUpdate, -60),
  nextUpdate: f.thisUpdate,
})
const future: CrlChange = (f) => ({ ...f, thisUpdate: daysFrom(f.thisUpdate, 2) })

const revocation: readonly TdxNegative[] = [
  negative(
    'revoked-pck',
    ['REVOKED'],
    "the Platform CA's list names the PCK certificate",
    (seed) => ({
      pckCrl: revoking(seed, 'pck'),
    }),
  ),
  negative(
    'revoked-pck-processor',
    ['REVOKED'],
    "the Processor CA's list names the PCK certificate",
    (seed) => ({
      ca: 'processor',
      pckCrl: revoking(seed, 'pck'),
    }),
  ),
  negative('revoked-pck-ca', ['REVOKED'], "the root's list names the Platform CA", (seed) => ({
    rootCrl: revoking(seed, 'platform'),
  })),
  negative('revoked-tcb-signer', ['REVOKED'], "the root's list names the TCB signer", (seed) => ({
    rootCrl: revoking(seed, 'tcbSigner'),
  })),
  negative('root-crl-expired', ['CRL_EXPIRED'], "the root's list should have been renewed", {
    rootCrl: past,
  }),
  negative('pck-crl-expired', ['CRL_EXPIRED'], "the Platform CA's list should have been renewed", {
    pckCrl: past,
  }),
  negative('root-crl-not-yet-valid', ['CRL_EXPIRED'], "the root's list is issued tomorrow", {
    rootCrl: future,
  }),
  negative('pck-crl-not-yet-valid', ['CRL_EXPIRED'], "the Platform CA's list is issued tomorrow", {
    pckCrl: future,
  }),
  negative(
    'root-crl-signed-by-ca',
    ['CRL_INVALID'],
    "the root's list is signed by the Platform CA",
    (seed) => ({
      rootCrl: (f) => ({ ...f, signer: intelKey(seed, 'platform') }),
    }),
  ),
  negative(
    'pck-crl-signed-by-root',
    ['CRL_INVALID'],
    "the Platform CA's list is signed by the root",
    (seed) => ({
      pckCrl: (f) => ({ ...f, signer: intelKey(seed, 'root') }),
    }),
  ),
  negative(
    'pck-crl-of-the-other-ca',
    ['CRL_MISSING'],
    "the list is the Processor CA's, the PCK the Platform CA's",
    (seed) => ({
      pckCrl: (f) => ({
        ...f,
        issuer: intelName(NAMES.processor),
        signer: intelKey(seed, 'processor'),
      }),
    }),
  ),
]

// --- roles ---

const roles: readonly TdxNegative[] = [
  negative(
    'ca-as-pck',
    ['CERT_ROLE'],
    'the PCK certificate is a certificate authority',
    asPck(
      withExtensions((list) =>
        list.map((e) => (e.oid === '2.5.29.19' ? standard.basicConstraints(true, 0) : e)),
      ),
    ),
  ),
  negative('ca-as-tcb-signer', ['CERT_ROLE'], 'the TCB signer is a certificate authority', {
    certificates: {
      tcbSigner: withExtensions((list) =>
        list.map((e) => (e.oid === '2.5.29.19' ? standard.basicConstraints(true, 0) : e)),
      ),
    },
  }),
  negative('pck-ca-not-a-ca', ['CERT_ROLE'], 'the Platform CA has no basicConstraints', {
    certificates: { ca: without('2.5.29.19') },
  }),
  negative('pck-ca-may-not-sign', ['CERT_ROLE'], "the Platform CA's keyUsage has no keyCertSign", {
    certificates: {
      ca: withExtensions((list) =>
        list.map((e) => (e.oid === '2.5.29.15' ? standard.keyUsage('digitalSignature') : e)),
      ),
    },
  }),
  negative(
    'tcb-signer-as-pck',
    ['CERT_ROLE'],
    "the PCK certificate has the TCB signer's name",
    asPck(named(NAMES.tcbSigner)),
  ),
  negative(
    'pck-as-tcb-signer',
    ['CERT_MISSING'],
    "the collateral is signed by the PCK key, whose certificate stands in the signer's place",
    (seed) => {
      const { pck, root } = simulateTdx({ seed })
      return { collateralKey: intelKey(seed, 'pck'), signerChain: () => [pck, root] }
    },
  ),
  negative(
    'pck-named-tcb-signer',
    ['COLLATERAL_SIGNATURE'],
    "the collateral is signed by the PCK key under the real signer's certificate",
    (seed) => ({
      collateralKey: intelKey(seed, 'pck'),
    }),
  ),
  negative(
    'pck-ca-as-tcb-signer',
    ['CERT_ROLE'],
    "the Platform CA's key signs the collateral, certified by the root as TCB signer and authority at once",
    (seed) => ({
      collateralKey: intelKey(seed, 'platform'),
      signerChain: ([, root = new Uint8Array()]) => [
        certificate({ ...pckCaFields(seed, 'platform'), subject: intelName(NAMES.tcbSigner) }),
        root,
      ],
    }),
  ),
  negative(
    'tcb-signer-under-platform-ca',
    ['CHAIN_INVALID'],
    'the TCB signer was certified by the Platform CA, not by the root',
    (seed) => ({
      signerChain: () => [
        certificate({
          ...tcbSignerFields(seed, RECORDED_AT),
          issuer: intelName(NAMES.platform),
          signer: intelKey(seed, 'platform'),
        }),
        simulateTdx({ seed }).ca,
      ],
    }),
  ),
  negative('pck-issued-by-root', ['CHAIN_INVALID'], 'the root issued the PCK certificate', (seed) =>
    asPck((f) => ({ ...f, issuer: intelName(NAMES.root), signer: intelKey(seed, 'root') })),
  ),
  negative(
    'pck-issued-by-the-other-ca',
    ['CHAIN_INVALID'],
    "the Processor CA signed under the Platform CA's name",
    (seed) => asPck((f) => ({ ...f, signer: intelKey(seed, 'processor') })),
  ),
  negative(
    'pck-ca-misnamed',
    ['CERT_ROLE'],
    'the Platform CA is named Intel SGX PCK Platform CA 2',
    {
      certificates: {
        ca: named(`${NAMES.platform} 2`),
        pck: (f) => ({ ...f, issuer: intelName(`${NAMES.platform} 2`) }),
      },
      pckCrl: (f) => ({ ...f, issuer: intelName(`${NAMES.platform} 2`) }),
    },
  ),
  negative('chain-of-one', ['CHAIN_INVALID'], 'the PCK certificate alone', {
    chain: (c) => c.slice(0, 1),
  }),
  negative('chain-of-two', ['CHAIN_INVALID'], 'the PCK chain without its root', {
    chain: (c) => c.slice(0, 2),
  }),
  negative('chain-without-ca', ['CHAIN_INVALID'], 'the PCK chain without the Platform CA', {
    chain: (c) => c.filter((_, i) => i !== 1),
  }),
  negative('chain-of-four', ['TOO_LARGE'], 'the PCK chain with its root twice', {
    chain: (c) => [...c, ...c.slice(2)],
  }),
  negative('chain-reversed', ['CERT_ROLE'], 'root, Platform CA, PCK', {
    chain: (c) => [...c].reverse(),
  }),
  negative('signer-missing', ['CERT_MISSING'], 'the chain of the TCB signer is the root alone', {
    signerChain: (c) => c.slice(1),
  }),
]

// --- the SGX extension ---

const platformOf = (seed: string): PckPlatform => simulateTdx({ seed }).platform

/** The PCK certificate with another value of the SGX extension. */
const withSgx =
  (change: (value: Uint8Array, seed: string) => Uint8Array) =>
  (seed: string): TdxRequest =>
    asPck(
      withExtensions((list) =>
        list.map((e) => (e.oid === SGX_EXTENSION ? { ...e, value: change(e.value, seed) } : e)),
      ),
    )

/** The elements of the extension, with one more at the end. */
const oneMore = (value: Uint8Array, element: Uint8Array): Uint8Array =>
  // 4 bytes of header: the SEQUENCE is longer than 255 bytes.
  sequence(value.subarray(4), element)

const extension: readonly TdxNegative[] = [
  negative(
    'sgx-extension-missing',
    ['CERT_INVALID'],
    'a PCK certificate without the SGX extension',
    asPck(without(SGX_EXTENSION)),
  ),
  negative('sgx-extension-twice', ['FORMAT_INVALID'], 'the SGX extension twice', (seed) =>
    asPck(added(sgxExtension(platformOf(seed), 'platform'))),
  ),
  negative(
    'sgx-element-twice',
    ['CERT_INVALID'],
    'PPID twice',
    withSgx((value, seed) =>
      oneMore(value, sequence(oid(`${SGX_EXTENSION}.1`), octets(platformOf(seed).ppid))),
    ),
  ),
  negative(
    'sgx-element-unknown',
    ['CERT_INVALID'],
    'an element 8',
    withSgx((value) => oneMore(value, sequence(oid(`${SGX_EXTENSION}.8`), integer(1)))),
  ),
  negative(
    'platform-elements-under-processor-ca',
    ['CERT_INVALID'],
    'elements 6 and 7 under the Processor CA',
    (seed) =>
      asPck(
        withExtensions((list) =>
          list.map((e) =>
            e.oid === SGX_EXTENSION ? sgxExtension(platformOf(seed), 'platform') : e,
          ),
        ),
        { ca: 'processor' },
      ),
  ),
  negative(
    'platform-elements-missing',
    ['CERT_INVALID'],
    'no elements 6 and 7 under the Platform CA',
    (seed) =>
      asPck(
        withExtensions((list) =>
          list.map((e) =>
            e.oid === SGX_EXTENSION ? sgxExtension(platformOf(seed), 'processor') : e,
          ),
        ),
      ),
  ),
  negative(
    'cpusvn-contradicts-components',
    ['CERT_INVALID'],
    'CPUSVN is higher than the components',
    {
      pck: { cpuSvn: Uint8Array.from(LEVEL.components, (svn) => svn + 1) },
    },
  ),
  negative('component-256', ['CERT_INVALID'], 'a component SVN of 256', {
    pck: {
      components: LEVEL.components.map((svn, i) => (i === 0 ? 256 : svn)),
      cpuSvn: Uint8Array.from(LEVEL.components),
    },
  }),
  negative('component-missing', ['CERT_INVALID'], '15 components', {
    pck: { components: LEVEL.components.slice(0, 15), cpuSvn: Uint8Array.from(LEVEL.components) },
  }),
  negative('ppid-15-bytes', ['CERT_INVALID'], 'a PPID of 15 bytes', {
    pck: { ppid: new Uint8Array(15) },
  }),
  negative('sgx-type-3', ['CERT_INVALID'], 'SGX type 3 does not exist', { pck: { sgxType: 3 } }),
]

// --- keys ---

const keys: readonly TdxNegative[] = [
  negative('forged-root', ['ROOT_UNTRUSTED'], "all names right, all keys the forger's", (seed) => {
    const forger = ecKey('P-256', seed, 'forged root')
    const byForger: CertificateChange = (f) => ({ ...f, signer: forger })
    return {
      certificates: {
        root: (f) => ({ ...f, signer: forger, spki: forger.spki }),
        ca: byForger,
        tcbSigner: byForger,
      },
      rootCrl: (f) => ({ ...f, signer: forger }),
    }
  }),
  negative(
    'pck-of-another-key',
    ['SIGNATURE_INVALID'],
    "the quoting enclave's report is signed by another key than the PCK's",
    (seed) => asPck((f) => ({ ...f, spki: ecKey('P-256', seed, 'another PCK').spki })),
  ),
  negative('pck-key-p384', ['UNSUPPORTED_ALGORITHM'], 'the PCK key is on P-384', (seed) =>
    asPck((f) => ({ ...f, spki: ecKey('P-384', seed, 'another PCK').spki })),
  ),
  negative(
    'collateral-signed-by-a-stranger',
    ['COLLATERAL_SIGNATURE'],
    'TCB info and QE identity are signed by nobody known',
    (seed) => ({
      collateralKey: ecKey('P-256', seed, 'stranger'),
    }),
  ),
]

// --- validity at each level ---

const validity = (['root', 'ca', 'pck', 'tcbSigner'] as const).flatMap(
  (level): readonly TdxNegative[] => {
    const at = (change: CertificateChange): TdxRequest => ({ certificates: { [level]: change } })
    const now = RECORDED_AT
    return [
      negative(
        `${level}-expired`,
        ['CERT_EXPIRED'],
        `the certificate (${level}) ended a day before`,
        at((f) => ({ ...f, notBefore: daysFrom(now, -60), notAfter: daysFrom(now, -1) })),
        'own root',
      ),
      negative(
        `${level}-not-yet-valid`,
        ['CERT_NOT_YET_VALID'],
        `the certificate (${level}) begins a day later`,
        at((f) => ({ ...f, notBefore: daysFrom(now, 1) })),
        'own root',
      ),
    ]
  },
)

/** Everything that can be wrong with certificates and lists. */
export const TDX_CERTIFICATE_NEGATIVES: readonly TdxNegative[] = [
  ...revocation,
  ...roles,
  ...extension,
  ...keys,
  ...validity,
]
