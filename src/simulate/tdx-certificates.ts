// The single owner of the simulated Intel-like vendor: root, PCK CAs, PCK certificates with their SGX extension, the TCB signer, and the CRLs.
import { bytesToHex } from '../../attestation/lib/index.ts'
import { boolean, enumerated, integer, octets, oid, sequence } from './der.ts'
import { ecKey, seededBytes, type EcKey } from './keys.ts'
import {
  daysFrom,
  standard,
  type CertificateFields,
  type CrlFields,
  type Extension,
  type NameParts,
} from './pki.ts'

export type PckCa = 'platform' | 'processor'

/** What every subject of the simulated vendor says, so that nobody takes it for the vendor. */
export const SIMULATED_INTEL = 'SIMULATED (zt4ai), not Intel Corporation'

/** Intel's order of attributes, with the genuine common name: verifiers compare that one. */
export function intelName(commonName: string): NameParts {
  return [
    ['CN', commonName],
    ['O', SIMULATED_INTEL],
    ['L', 'Santa Clara'],
    ['ST', 'CA'],
    ['C', 'US'],
  ]
}

export const NAMES = {
  root: 'Intel SGX Root CA',
  platform: 'Intel SGX PCK Platform CA',
  processor: 'Intel SGX PCK Processor CA',
  pck: 'Intel SGX PCK Certificate',
  tcbSigner: 'Intel SGX TCB Signing',
} as const

export type IntelRole = keyof typeof NAMES

/** The key of a role; PCK keys differ by machine. */
export function intelKey(seed: string, role: IntelRole, machine = ''): EcKey {
  return ecKey('P-256', seed, `${NAMES[role]} ${machine}`)
}

/** Serial numbers are the first 20 bytes of the key's identifier, as Intel does it. */
export const serialOf = (key: EcKey): bigint => BigInt(`0x${bytesToHex(key.keyId)}`)

const ROOT_CRL_URL = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der'
const pckCrlUrl = (ca: PckCa): string =>
  `https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`

const FROM = new Date('2018-05-21T10:45:10Z')
const TO = new Date('2049-12-31T23:59:59Z')

/** What the SGX extension of a PCK certificate says of the platform. */
export interface PckPlatform {
  /** 16 bytes. */
  readonly ppid: Uint8Array
  /** The SVNs of the 16 components. */
  readonly components: readonly number[]
  readonly pceSvn: number
  /** 16 bytes; the components, unless given. */
  readonly cpuSvn?: Uint8Array
  /** 2 and 6 bytes. */
  readonly pceId: Uint8Array
  readonly fmspc: Uint8Array
  /** 0 standard, 1 scalable, 2 scalable with integrity. */
  readonly sgxType: number
  /** 16 bytes; under the Platform CA alone. */
  readonly platformInstanceId: Uint8Array
  readonly configuration: {
    readonly dynamicPlatform: boolean
    readonly cachedKeys: boolean
    readonly smtEnabled: boolean
  }
}

export const SGX_EXTENSION = '1.2.840.113741.1.13.1'

/** The SGX extension (Intel SGX PCK Certificate and CRL Profile Specification, §1.3.5). Elements 6 and 7 come under the Platform CA alone. */
export function sgxExtension(platform: PckPlatform, ca: PckCa): Extension {
  const element = (suffix: string, value: Uint8Array): Uint8Array =>
    sequence(oid(`${SGX_EXTENSION}.${suffix}`), value)
  const { configuration: flags } = platform
  return {
    oid: SGX_EXTENSION,
    value: sequence(
      element('1', octets(platform.ppid)),
      element(
        '2',
        sequence(
          ...platform.components.map((svn, i) => element(`2.${i + 1}`, integer(svn))),
          element('2.17', integer(platform.pceSvn)),
          element('2.18', octets(platform.cpuSvn ?? Uint8Array.from(platform.components))),
        ),
      ),
      element('3', octets(platform.pceId)),
      element('4', octets(platform.fmspc)),
      element('5', enumerated(platform.sgxType)),
      ...(ca === 'processor'
        ? []
        : [
            element('6', octets(platform.platformInstanceId)),
            element(
              '7',
              sequence(
                element('7.1', boolean(flags.dynamicPlatform)),
                element('7.2', boolean(flags.cachedKeys)),
                element('7.3', boolean(flags.smtEnabled)),
              ),
            ),
          ]),
    ),
  }
}

const caUsage = standard.keyUsage('keyCertSign', 'cRLSign')
const signerUsage = standard.keyUsage('digitalSignature', 'nonRepudiation')

function fields(
  seed: string,
  role: IntelRole,
  issuer: 'root' | PckCa,
  more: Pick<CertificateFields, 'extensions'> & Partial<CertificateFields> & { url: string },
  machine = '',
): CertificateFields {
  const key = intelKey(seed, role, machine)
  const signer = intelKey(seed, issuer)
  const { url, ...rest } = more
  return {
    serial: serialOf(key),
    issuer: intelName(NAMES[issuer]),
    subject: intelName(NAMES[role]),
    notBefore: FROM,
    notAfter: TO,
    spki: key.spki,
    signer,
    ...rest,
    extensions: [
      standard.authorityKeyId(signer.keyId),
      standard.crlDistributionPoint(url),
      standard.subjectKeyId(key.keyId),
      ...rest.extensions,
    ],
  }
}

/** The self-signed root. */
export function rootFields(seed: string): CertificateFields {
  return fields(seed, 'root', 'root', {
    url: ROOT_CRL_URL,
    extensions: [caUsage, standard.basicConstraints(true, 1)],
  })
}

/** The Platform CA or the Processor CA. */
export function pckCaFields(seed: string, ca: PckCa): CertificateFields {
  return fields(seed, ca, 'root', {
    url: ROOT_CRL_URL,
    extensions: [caUsage, standard.basicConstraints(true, 0)],
  })
}

/** The PCK certificate of a machine, issued 30 days before `at` for 7 years. */
export function pckFields(
  seed: string,
  ca: PckCa,
  machine: string,
  platform: PckPlatform,
  at: Date,
): CertificateFields {
  return fields(
    seed,
    'pck',
    ca,
    {
      url: pckCrlUrl(ca),
      notBefore: daysFrom(at, -30),
      notAfter: daysFrom(at, 7 * 365),
      extensions: [signerUsage, standard.basicConstraints(false), sgxExtension(platform, ca)],
    },
    machine,
  )
}

/** The certificate that signs TCB info and enclave identities. */
export function tcbSignerFields(seed: string, at: Date): CertificateFields {
  return fields(seed, 'tcbSigner', 'root', {
    url: ROOT_CRL_URL,
    notBefore: daysFrom(at, -365),
    notAfter: daysFrom(at, 6 * 365),
    extensions: [signerUsage, standard.basicConstraints(false)],
  })
}

/** The revocation list of the root (a year) or of a PCK CA (a month) around `at`. Both name a certificate that nobody uses. */
export function crlFields(seed: string, issuer: 'root' | PckCa, at: Date): CrlFields {
  const signer = intelKey(seed, issuer)
  const stranger = BigInt(`0x${bytesToHex(seededBytes(seed, `revoked by ${issuer}`, 20))}`)
  const thisUpdate = daysFrom(at, -1)
  return {
    issuer: intelName(NAMES[issuer]),
    thisUpdate,
    nextUpdate: daysFrom(at, issuer === 'root' ? 364 : 29),
    revoked: [{ serial: stranger, at: thisUpdate }],
    number: 1n,
    authorityKeyId: signer.keyId,
    signer,
  }
}
