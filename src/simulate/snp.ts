// The single owner of simulated SNP machines: a product, a chip and a guest that record evidence in the genuine formats.
import { concatBytes } from '../../attestation/lib/index.ts'
import { seededBytes, WELL_KNOWN_SEED } from './keys.ts'
import { certificate, pem, RECORDED_AT, type CertificateChange, type CrlChange } from './pki.ts'
import { arkCrl, caCertificate, leafFields, snpKeys, type SnpRole } from './snp-certificates.ts'
import {
  certificateTable,
  ioctlResponse,
  snpReport,
  type SnpFirmware,
  type SnpProduct,
  type SnpReportFields,
  type SnpTcb,
} from './snp-report.ts'

export type { SnpRole } from './snp-certificates.ts'
export type { SnpProduct, SnpTcb } from './snp-report.ts'

/** What is asked of the simulated machine. Everything has a default that a strict verifier accepts (Milan apart, which it flags). */
export interface SnpRequest {
  /** Decides every key and every id. Machines of one seed and product share their vendor; default `zt4ai`. */
  readonly seed?: string
  /** Tells machines of one vendor apart: another chip id, other report ids. */
  readonly machine?: string
  readonly product?: SnpProduct
  /** Default: `vcek`. */
  readonly role?: SnpRole
  /** The moment of recording. Certificates and list are valid around it. */
  readonly at?: Date
  /** All four TCB fields of the report and the leaf's, where those are not given one by one. */
  readonly tcb?: SnpTcb
  /** Fields of the report; `version` is 5 unless given. */
  readonly report?: Partial<SnpReportFields>
  /** What the leaf says, where it should differ from the report. */
  readonly leafTcb?: SnpTcb
  readonly hardwareId?: Uint8Array
  readonly cspId?: string
  /** Changes to the certificates that would have been issued. */
  readonly certificates?: {
    readonly ark?: CertificateChange
    /** ASK, or ASVK for a VLEK. */
    readonly ask?: CertificateChange
    readonly leaf?: CertificateChange
  }
  readonly crl?: CrlChange
}

/** What the simulated machine recorded. Certificates and list are DER. */
export interface SnpEvidence {
  readonly product: SnpProduct
  readonly role: SnpRole
  readonly at: Date
  readonly fields: SnpReportFields
  readonly report: Uint8Array
  readonly leaf: Uint8Array
  readonly ask: Uint8Array
  readonly ark: Uint8Array
  readonly crl: Uint8Array
  /** The report followed by its certificate table: leaf, ASK, ARK, and the list where asked for. */
  readonly extended: (more?: { readonly crl: boolean }) => Uint8Array
  /** KDS's cert_chain: ASK (or ASVK), then ARK, as PEM. */
  readonly kdsChain: () => string
  /** Leaf, ASK, ARK, as PEM. */
  readonly chain: () => string
  readonly ioctlResponse: () => Uint8Array
}

interface ProductDefaults {
  readonly cpuid: SnpReportFields['cpuid']
  readonly tcb: SnpTcb
  readonly firmware: SnpFirmware
  readonly mitigations: bigint
}

/** Levels at or above those of genuine machines patched by 2026. */
export const SNP_DEFAULTS: Readonly<Record<SnpProduct, ProductDefaults>> = {
  Milan: {
    cpuid: { family: 0x19, model: 0x01, stepping: 0x01 },
    tcb: { bootLoader: 4, tee: 0, snp: 27, microcode: 222 },
    firmware: { major: 1, minor: 55, build: 41 },
    mitigations: 0x0bn,
  },
  Genoa: {
    cpuid: { family: 0x19, model: 0x11, stepping: 0x01 },
    tcb: { bootLoader: 10, tee: 0, snp: 27, microcode: 88 },
    firmware: { major: 1, minor: 55, build: 54 },
    mitigations: 0x0bn,
  },
  Turin: {
    cpuid: { family: 0x1a, model: 0x02, stepping: 0x01 },
    tcb: { fmc: 1, bootLoader: 1, tee: 1, snp: 4, microcode: 81 },
    firmware: { major: 1, minor: 58, build: 16 },
    mitigations: 0x3fn,
  },
}

/** CPUID of the Bergamo and Siena range, which AMD endorses as Genoa. */
export const GENOA_A0 = { family: 0x19, model: 0xa0, stepping: 0x02 } as const

/** SMT allowed, and bit 17, which is always set. No debugging, no migration. */
export const GUEST_POLICY = 0x30000n
/** SMT_EN, ECC_EN, ALIAS_CHECK_COMPLETE. */
export const PLATFORM_INFO = 0x25n

/** KEY_INFO of a role. */
export const keyInfo = (role: SnpRole): number => (role === 'vcek' ? 0 : 1 << 2)

/** Records evidence on the machine asked for. The same request gives the same bytes. */
export function simulateSnp(request: SnpRequest = {}): SnpEvidence {
  const { seed = WELL_KNOWN_SEED, product = 'Genoa', role = 'vcek', at = RECORDED_AT } = request
  const fields = reportFields(request, seed, product, role)
  const leafTcb = request.leafTcb ?? fields.reportedTcb
  const leafFieldsMade = leafFields(seed, {
    product,
    role,
    tcb: leafTcb,
    hardwareId: request.hardwareId ?? chipId(request, seed, product),
    cspId: request.cspId ?? 'CN=simulated-region.example',
    at,
  })
  const changes = request.certificates ?? {}
  const report = snpReport(product, fields, snpKeys(seed, product).leaf(role, leafTcb))
  const leaf = certificate(changes.leaf?.(leafFieldsMade) ?? leafFieldsMade)
  const ask = caCertificate(seed, product, role, changes.ask)
  const ark = caCertificate(seed, product, 'ark', changes.ark)
  const crl = arkCrl(seed, product, at, request.crl)
  const extended: SnpEvidence['extended'] = (more) => {
    const table = certificateTable([
      [role, leaf],
      ['ask', ask],
      ['ark', ark],
      ...(more?.crl === true ? ([['crl', crl]] as const) : []),
    ])
    return concatBytes(report, table)
  }
  const kdsChain = (): string => pem('CERTIFICATE', ask) + pem('CERTIFICATE', ark)
  return {
    product,
    role,
    at,
    fields,
    report,
    leaf,
    ask,
    ark,
    crl,
    extended,
    kdsChain,
    chain: () => pem('CERTIFICATE', leaf) + kdsChain(),
    ioctlResponse: () => ioctlResponse(report),
  }
}

function reportFields(
  request: SnpRequest,
  seed: string,
  product: SnpProduct,
  role: SnpRole,
): SnpReportFields {
  const defaults = SNP_DEFAULTS[product]
  const tcb = request.tcb ?? defaults.tcb
  const zeros = (length: number): Uint8Array => new Uint8Array(length)
  const own = (label: string, length: number): Uint8Array =>
    seededBytes(seed, `${product} ${request.machine ?? ''} ${label}`, length)
  return {
    version: 5,
    guestSvn: 0,
    policy: GUEST_POLICY,
    familyId: zeros(16),
    imageId: zeros(16),
    vmpl: 0,
    signatureAlgorithm: 1,
    platformInfo: PLATFORM_INFO,
    keyInfo: keyInfo(role),
    reportData: zeros(64),
    measurement: seededBytes(seed, 'measurement', 48),
    hostData: zeros(32),
    idKeyDigest: zeros(48),
    authorKeyDigest: zeros(48),
    reportId: own('report id', 32),
    reportIdMa: zeros(32).fill(0xff),
    cpuid: defaults.cpuid,
    // A VLEK says nothing of the chip.
    chipId: role === 'vcek' ? chipId(request, seed, product) : zeros(64),
    currentTcb: tcb,
    reportedTcb: tcb,
    committedTcb: tcb,
    launchTcb: tcb,
    currentFirmware: defaults.firmware,
    committedFirmware: defaults.firmware,
    launchMitigations: defaults.mitigations,
    currentMitigations: defaults.mitigations,
    ...request.report,
  }
}

/** 64 bytes; on Turin 8 and then zeros. */
function chipId(request: SnpRequest, seed: string, product: SnpProduct): Uint8Array {
  const id = seededBytes(seed, `${product} ${request.machine ?? ''} chip`, 64)
  return product === 'Turin' ? id.fill(0, 8) : id
}
