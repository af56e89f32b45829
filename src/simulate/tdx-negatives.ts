// The single owner of the list of TDX negatives: signed by the right keys throughout, to be refused all the same, each with the codes that must show.
import { hexToBytes } from '../../attestation/lib/index.ts'
import { TDX_CERTIFICATE_NEGATIVES } from './tdx-certificate-negatives.ts'
import { LEVEL } from './tdx-collateral.ts'
import { TDX_COLLATERAL_NEGATIVES } from './tdx-collateral-negatives.ts'
import {
  running,
  set,
  TEE_TCB_SVN,
  tdxNegative as negative,
  type TdxNegative,
} from './tdx-negative.ts'
import { TD_ATTRIBUTES, XFAM, type TdxRequest } from './tdx.ts'

// --- quoting enclave ---

const flags = (low: number): Uint8Array =>
  set(hexToBytes('1100000000000000e700000000000000'), 0, low)

const quotingEnclave: readonly TdxNegative[] = [
  negative('qe-mrsigner', ['QE_IDENTITY_MRSIGNER'], "another signer's quoting enclave", {
    qe: { mrSigner: new Uint8Array(32).fill(9) },
  }),
  negative('qe-miscselect', ['QE_IDENTITY_MISCSELECT'], 'MISCSELECT is set', {
    qe: { miscSelect: 1 },
  }),
  negative(
    'qe-attributes',
    ['QE_IDENTITY_ATTRIBUTES'],
    'the quoting enclave has no provision key',
    {
      qe: { attributes: flags(0x01) },
    },
  ),
  negative('qe-debug', ['QE_DEBUG'], 'the quoting enclave may be debugged', {
    qe: { attributes: flags(0x13) },
  }),
  negative(
    'qe-debug-identified',
    ['QE_DEBUG'],
    'the identity itself asks for a quoting enclave that may be debugged',
    {
      qe: { attributes: flags(0x13) },
      qeIdentity: (json) => ({ ...json, attributes: '13000000000000000000000000000000' }),
    },
  ),
  negative('qe-isvprodid', ['QE_IDENTITY_ISVPRODID'], 'the SGX quoting enclave speaks for a TD', {
    qe: { isvProdId: 1 },
  }),
  negative('qe-vendor', ['QE_VENDOR'], "another vendor's quoting enclave", {
    form: { vendorId: new Uint8Array(16).fill(1) },
  }),
  negative('qe-binding', ['QE_BINDING'], 'the quoting enclave vouches for another key', {
    qe: { reportData: new Uint8Array(64).fill(3) },
  }),
  negative('qe-binding-tail', ['QE_BINDING'], 'the second half of the binding is not zero', {
    form: { bindingTail: new Uint8Array(32).fill(1) },
  }),
]

// --- quote and TD ---

const attributes = (bit: bigint): TdxRequest => ({
  td: { tdAttributes: TD_ATTRIBUTES | (1n << bit) },
})

const quoteForm: readonly TdxNegative[] = [
  ...([1, 2, 3, 4, 6, 7] as const).map((innerType) =>
    negative(
      `certification-type-${innerType}`,
      ['FORMAT_INVALID'],
      `certification data of type ${innerType} inside`,
      { form: { innerType } },
    ),
  ),
  ...([1, 5, 7] as const).map((outerType) =>
    negative(
      `outer-certification-type-${outerType}`,
      ['FORMAT_INVALID'],
      `certification data of type ${outerType} outside`,
      { form: { outerType } },
    ),
  ),
  ...([2, 6, 0xffff] as const).map((version) =>
    negative(`quote-version-${version}`, ['UNSUPPORTED_VERSION'], `quote version ${version}`, {
      form: { version },
    }),
  ),
  negative('key-type-p384', ['UNSUPPORTED_ALGORITHM'], 'attestation key type 3', {
    form: { keyType: 3 },
  }),
  negative('tee-type-unknown', ['FORMAT_INVALID'], 'TEE type 0x82', { form: { teeType: 0x82 } }),
  negative('tee-type-sgx-with-td', ['FORMAT_INVALID'], 'TEE type SGX with the body of a TD', {
    form: { teeType: 0 },
  }),
  negative('body-type-unknown', ['UNSUPPORTED_VERSION'], 'body type 5', { form: { bodyType: 5 } }),
  negative('body-type-td10-with-td15', ['FORMAT_INVALID'], 'body type 2 with 648 bytes', {
    form: { bodyType: 2 },
  }),
  negative('trailing-data', ['TRAILING_DATA'], 'a byte that is not zero after the quote', {
    form: { padding: Uint8Array.of(0, 0, 1) },
  }),
]

const td: readonly TdxNegative[] = [
  negative('debug', ['DEBUG'], 'the TD may be debugged', attributes(0n)),
  ...([1n, 4n, 5n, 6n, 7n] as const).map((bit) =>
    negative(
      `tud-bit-${bit}`,
      ['ATTRIBUTES'],
      `bit ${bit} of the group "TD under debug"`,
      attributes(bit),
    ),
  ),
  ...([8n, 26n, 32n, 61n] as const).map((bit) =>
    negative(
      `attributes-reserved-${bit}`,
      ['ATTRIBUTES'],
      `reserved bit ${bit} of TDATTRIBUTES`,
      attributes(bit),
    ),
  ),
  negative('migratable', ['ATTRIBUTES'], 'the TD may be migrated', attributes(29n)),
  negative('perfmon', ['ATTRIBUTES'], 'the TD uses performance counters', attributes(63n)),
  negative('sept-ve-enabled', ['ATTRIBUTES'], 'SEPT_VE_DISABLE is not set', {
    td: { tdAttributes: 0n },
  }),
  negative('xfam-fixed-bit-clear', ['XFAM'], 'XFAM without SSE', { td: { xfam: XFAM & ~2n } }),
  negative('xfam-reserved-bit', ['XFAM'], 'XFAM bit 3', { td: { xfam: XFAM | 8n } }),
  negative('seam-attributes', ['MODULE_MISMATCH'], 'SEAMATTRIBUTES is not zero', {
    td: { seamAttributes: set(new Uint8Array(8), 0, 1) },
  }),
  negative('seam-signer', ['MODULE_MISMATCH'], "the TDX module is another signer's", {
    td: { mrSignerSeam: new Uint8Array(48).fill(1) },
  }),
  negative(
    'module-identity-missing',
    ['MODULE_MISMATCH'],
    'TDX module version 2 has no identity',
    running(set(TEE_TCB_SVN, 1, 2)),
  ),
  negative(
    'module-identity-mismatch',
    ['MODULE_MISMATCH'],
    'the identity of TDX_01 names another signer',
    {
      tcbInfo: (json) => ({
        ...json,
        tdxModuleIdentities: json.tdxModuleIdentities?.map((each) =>
          each.id === 'TDX_01' ? { ...each, mrsigner: '01'.repeat(48) } : each,
        ),
      }),
    },
  ),
]

const sgx: readonly TdxNegative[] = [
  negative('sgx-debug', ['DEBUG'], 'the enclave may be debugged', {
    kind: 'sgx',
    enclave: { attributes: hexToBytes('0700000000000000e700000000000000') },
  }),
  negative(
    'sgx-with-td-qe',
    ['COLLATERAL_MISMATCH'],
    'an SGX quote with the identity of the TD quoting enclave',
    {
      kind: 'sgx',
      qeIdentity: (json) => ({ ...json, id: 'TD_QE' }),
    },
  ),
  negative(
    'sgx-component-out-of-date',
    ['TCB_STATUS'],
    'PCK component 0 is one below the UpToDate level',
    {
      kind: 'sgx',
      pck: { components: LEVEL.components.map((svn, i) => (i === 0 ? svn - 1 : svn)) },
    },
  ),
  negative('sgx-revoked-status', ['TCB_STATUS'], "the platform's level says Revoked", {
    kind: 'sgx',
    tcbInfo: (json) => ({
      ...json,
      tcbLevels: json.tcbLevels.map((level) => ({ ...level, tcbStatus: 'Revoked' })),
    }),
  }),
]

/** Every TDX and SGX negative. Those named `rolled-back` need a policy whose minimum evaluation numbers are 20. */
export const TDX_NEGATIVES: readonly TdxNegative[] = [
  ...TDX_CERTIFICATE_NEGATIVES,
  ...TDX_COLLATERAL_NEGATIVES,
  ...quotingEnclave,
  ...quoteForm,
  ...td,
  ...sgx,
]
