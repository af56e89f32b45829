// The single owner of simulated TDX (and SGX) machines: a platform, a quoting enclave and a TD that record evidence and collateral in the genuine formats.
import { bytesToHex, hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { bootLog, replay, type LogEvent } from './eventlog.ts'
import { ecKey, seededBytes, WELL_KNOWN_SEED, type EcKey } from './keys.ts'
import {
  certificate,
  pem,
  RECORDED_AT,
  revocationList,
  type CertificateChange,
  type CertificateFields,
  type CrlChange,
} from './pki.ts'
import {
  crlFields,
  intelKey,
  pckCaFields,
  pckFields,
  rootFields,
  tcbSignerFields,
  type PckCa,
  type PckPlatform,
} from './tdx-certificates.ts'
import {
  LEVEL,
  qeIdentityJson,
  signJson,
  tcbInfoJson,
  type QeIdentityJson,
  type SignedJson,
  type TcbInfoJson,
} from './tdx-collateral.ts'
import {
  quote,
  quoteForm,
  sgxReport,
  tdReport,
  type QuoteForm,
  type QuoteKind,
  type SgxReportFields,
  type TdReportFields,
} from './tdx-quote.ts'

/** What is asked of the simulated machine. Everything has a default that a strict verifier accepts. */
export interface TdxRequest {
  /** Decides every key and every id. Machines of one seed share their vendor; default `zt4ai`. */
  readonly seed?: string
  /** Tells machines of one vendor apart: another PPID, PCK and attestation key. */
  readonly machine?: string
  /** The body: `td15` (quote version 5) unless told, `td10` (4), `sgx` (3). */
  readonly kind?: QuoteKind
  readonly at?: Date
  /** The CA of the PCK certificate; default `platform`. */
  readonly ca?: PckCa
  readonly form?: Partial<QuoteForm>
  readonly td?: Partial<TdReportFields>
  /** The body of an SGX quote. */
  readonly enclave?: Partial<SgxReportFields>
  /** The quoting enclave. `reportData` replaces the binding of the attestation key. */
  readonly qe?: Partial<SgxReportFields>
  readonly pck?: Partial<PckPlatform>
  /** What was measured into the RTMRs; a plain boot unless given. */
  readonly events?: readonly LogEvent[]
  readonly tcbInfo?: (info: TcbInfoJson) => object
  readonly qeIdentity?: (identity: QeIdentityJson) => object
  /** Who signs TCB info and QE identity; the TCB signer unless given. */
  readonly collateralKey?: EcKey
  readonly certificates?: {
    readonly root?: CertificateChange
    readonly ca?: CertificateChange
    readonly pck?: CertificateChange
    readonly tcbSigner?: CertificateChange
  }
  /** The PCK chain as it stands in the quote, leaf first, as DER. */
  readonly chain?: (chain: readonly Uint8Array[]) => readonly Uint8Array[]
  /** The chain of the TCB signer, leaf first, as DER. */
  readonly signerChain?: (chain: readonly Uint8Array[]) => readonly Uint8Array[]
  readonly rootCrl?: CrlChange
  readonly pckCrl?: CrlChange
}

/** Collateral under the field names that PCCS clients share; CRLs and signatures in hex, chains in PEM. */
export interface Collateral {
  readonly pck_crl_issuer_chain: string
  readonly root_ca_crl: string
  readonly pck_crl: string
  readonly tcb_info_issuer_chain: string
  readonly tcb_info: string
  readonly tcb_info_signature: string
  readonly qe_identity_issuer_chain: string
  readonly qe_identity: string
  readonly qe_identity_signature: string
}

/** One response of the collateral service: a body, and where it has one its issuer chain, URL-encoded, under the header's name. */
export interface ServedResponse {
  readonly path: string
  readonly header?: { readonly name: string; readonly value: string }
  readonly body: Uint8Array
}

/** What the simulated machine recorded. Certificates are DER. */
export interface TdxEvidence {
  readonly kind: QuoteKind
  readonly at: Date
  readonly td: TdReportFields
  readonly enclave: SgxReportFields
  readonly platform: PckPlatform
  readonly quote: Uint8Array
  readonly root: Uint8Array
  readonly ca: Uint8Array
  readonly pck: Uint8Array
  readonly tcbSigner: Uint8Array
  readonly rootCrl: Uint8Array
  readonly pckCrl: Uint8Array
  readonly tcbInfo: SignedJson
  readonly qeIdentity: SignedJson
  readonly collateral: Collateral
  readonly events: readonly LogEvent[]
  /** The same collateral as Intel's service version 4 would serve it. */
  readonly served: () => readonly ServedResponse[]
}

/** TDX attributes: SEPT_VE_DISABLE alone. */
export const TD_ATTRIBUTES = 0x10000000n
/** x87, SSE, AVX, AVX-512, PKRU, AMX and what the two fixed bits demand. */
export const XFAM = 0x0602e7n

/** Records evidence and collateral on the machine asked for. The same request gives the same bytes. */
export function simulateTdx(request: TdxRequest = {}): TdxEvidence {
  const {
    seed = WELL_KNOWN_SEED,
    machine = '',
    kind = 'td15',
    at = RECORDED_AT,
    ca = 'platform',
  } = request
  const own = (label: string, length: number): Uint8Array =>
    seededBytes(seed, `${machine} ${label}`, length)
  const tdx = kind !== 'sgx'
  const events = request.events ?? bootLog(seed)
  const platform: PckPlatform = {
    ppid: own('PPID', 16),
    components: LEVEL.components,
    pceSvn: LEVEL.pceSvn,
    pceId: Uint8Array.of(0, 0),
    fmspc: hexToBytes('00906ed50000'),
    sgxType: 1,
    platformInstanceId: own('platform instance', 16),
    configuration: { dynamicPlatform: true, cachedKeys: true, smtEnabled: true },
    ...request.pck,
  }
  const made = vendor(request, seed, machine, platform, ca, at)
  const td: TdReportFields = { ...tdDefaults(seed), rtmrs: replay(events), ...request.td }
  const enclave = { ...sgxDefaults(seed, 'enclave'), ...request.enclave }
  const qe: SgxReportFields = {
    ...sgxDefaults(seed, 'quoting enclave'),
    attributes: hexToBytes('1100000000000000e700000000000000'),
    isvProdId: tdx ? 2 : 1,
    isvSvn: LEVEL.qe,
    ...request.qe,
  }
  const chain = [made.pck, made.ca, made.root]
  const tcbInfo = tcbInfoJson(tdx ? 'TDX' : 'SGX', platform, at)
  const qeIdentity = qeIdentityJson(
    tdx ? 'TD_QE' : 'QE',
    sgxDefaults(seed, 'quoting enclave').mrSigner,
    at,
  )
  const signer = request.collateralKey ?? intelKey(seed, 'tcbSigner')
  const signed = {
    tcbInfo: signJson(request.tcbInfo?.(tcbInfo) ?? tcbInfo, signer),
    qeIdentity: signJson(request.qeIdentity?.(qeIdentity) ?? qeIdentity, signer),
  }
  const signerChain = pems(
    request.signerChain?.([made.tcbSigner, made.root]) ?? [made.tcbSigner, made.root],
  )
  const collateral: Collateral = {
    pck_crl_issuer_chain: pems([made.ca, made.root]),
    root_ca_crl: bytesToHex(made.rootCrl),
    pck_crl: bytesToHex(made.pckCrl),
    tcb_info_issuer_chain: signerChain,
    tcb_info: signed.tcbInfo.text,
    tcb_info_signature: signed.tcbInfo.signature,
    qe_identity_issuer_chain: signerChain,
    qe_identity: signed.qeIdentity.text,
    qe_identity_signature: signed.qeIdentity.signature,
  }
  return {
    kind,
    at,
    td,
    enclave,
    platform,
    quote: quote({
      form: { ...quoteForm(kind), ...request.form },
      body: kind === 'sgx' ? sgxReport(enclave) : tdReport(kind, td),
      attestationKey: ecKey('P-256', seed, `attestation key ${machine}`),
      qe,
      keepReportData: request.qe?.reportData !== undefined,
      pckKey: intelKey(seed, 'pck', machine),
      certificationData: utf8Encode(pems(request.chain?.(chain) ?? chain)),
    }),
    ...made,
    ...signed,
    collateral,
    events,
    served: () => served(collateral, made, tdx, platform, ca),
  }
}

type Vendor = Pick<TdxEvidence, 'root' | 'ca' | 'pck' | 'tcbSigner' | 'rootCrl' | 'pckCrl'>

function vendor(
  request: TdxRequest,
  seed: string,
  machine: string,
  platform: PckPlatform,
  ca: PckCa,
  at: Date,
): Vendor {
  const changes = request.certificates ?? {}
  const issue = (fields: CertificateFields, change: CertificateChange | undefined): Uint8Array =>
    certificate(change?.(fields) ?? fields)
  const list = (issuer: 'root' | PckCa, change: CrlChange | undefined): Uint8Array => {
    const fields = crlFields(seed, issuer, at)
    return revocationList(change?.(fields) ?? fields)
  }
  return {
    root: issue(rootFields(seed), changes.root),
    ca: issue(pckCaFields(seed, ca), changes.ca),
    pck: issue(pckFields(seed, ca, machine, platform, at), changes.pck),
    tcbSigner: issue(tcbSignerFields(seed, at), changes.tcbSigner),
    rootCrl: list('root', request.rootCrl),
    pckCrl: list(ca, request.pckCrl),
  }
}

function tdDefaults(seed: string): Omit<TdReportFields, 'rtmrs'> {
  const zeros = new Uint8Array(48)
  return {
    // TDX_01, module SVN 5 and SEAM loader SVN 6: the UpToDate level.
    teeTcbSvn: Uint8Array.from(LEVEL.tdx).fill(1, 1, 2),
    mrSeam: seededBytes(seed, 'MRSEAM', 48),
    mrSignerSeam: zeros,
    seamAttributes: new Uint8Array(8),
    tdAttributes: TD_ATTRIBUTES,
    xfam: XFAM,
    mrTd: seededBytes(seed, 'measurement', 48),
    mrConfigId: zeros,
    mrOwner: zeros,
    mrOwnerConfig: zeros,
    reportData: new Uint8Array(64),
    teeTcbSvn2: Uint8Array.from(LEVEL.tdx).fill(1, 1, 2),
    mrServiceTd: zeros,
  }
}

function sgxDefaults(seed: string, which: string): SgxReportFields {
  return {
    cpuSvn: Uint8Array.from(LEVEL.components),
    miscSelect: 0,
    // INIT and MODE64BIT; XFRM x87, SSE, AVX, AVX-512, PKRU.
    attributes: hexToBytes('0500000000000000e700000000000000'),
    mrEnclave: seededBytes(seed, `${which} MRENCLAVE`, 32),
    mrSigner: seededBytes(seed, `${which} MRSIGNER`, 32),
    isvProdId: 0,
    isvSvn: 0,
    reportData: new Uint8Array(64),
  }
}

const pems = (chain: readonly Uint8Array[]): string =>
  chain.map((der) => pem('CERTIFICATE', der)).join('')

/** Intel PCS version 4: paths, and the headers that carry the issuer chains. */
function served(
  collateral: Collateral,
  made: Vendor,
  tdx: boolean,
  platform: PckPlatform,
  ca: PckCa,
): readonly ServedResponse[] {
  const tee = tdx ? 'tdx' : 'sgx'
  const header = (name: string, chain: string): { name: string; value: string } => ({
    name,
    value: encodeURIComponent(chain),
  })
  const json = (member: string, text: string, signature: string): Uint8Array =>
    utf8Encode(`{"${member}":${text},"signature":"${signature}"}`)
  return [
    {
      path: `/${tee}/certification/v4/tcb?fmspc=${bytesToHex(platform.fmspc)}`,
      header: header('TCB-Info-Issuer-Chain', collateral.tcb_info_issuer_chain),
      body: json('tcbInfo', collateral.tcb_info, collateral.tcb_info_signature),
    },
    {
      path: `/${tee}/certification/v4/qe/identity`,
      header: header('SGX-Enclave-Identity-Issuer-Chain', collateral.qe_identity_issuer_chain),
      body: json('enclaveIdentity', collateral.qe_identity, collateral.qe_identity_signature),
    },
    {
      path: `/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`,
      header: header('SGX-PCK-CRL-Issuer-Chain', collateral.pck_crl_issuer_chain),
      body: made.pckCrl,
    },
    { path: '/IntelSGXRootCA.der', body: made.rootCrl },
  ]
}
