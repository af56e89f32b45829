// The single owner of the list of SNP negatives: signed by the right keys throughout, to be refused all the same, each with the codes that must show.
import { ia5, integer } from './der.ts'
import { rsaKey } from './keys.ts'
import {
  GENOA_A0,
  GUEST_POLICY,
  PLATFORM_INFO,
  SNP_DEFAULTS,
  type SnpProduct,
  type SnpTcb,
} from './snp.ts'
import { amdName } from './snp-certificates.ts'
import { SNP_CERTIFICATE_NEGATIVES } from './snp-certificate-negatives.ts'
import { asLeaf, replaced, snpNegative as negative, type SnpNegative } from './snp-negative.ts'

// --- TCB: every component at its boundaries ---

const COMPONENTS = ['bootLoader', 'tee', 'snp', 'microcode', 'fmc'] as const

const tcbBoundaries = COMPONENTS.flatMap((component): readonly SnpNegative[] => {
  const product: SnpProduct = component === 'fmc' ? 'Turin' : 'Genoa'
  const { tcb } = SNP_DEFAULTS[product]
  const at = (change: number): SnpTcb => ({ ...tcb, [component]: (tcb[component] ?? 0) + change })
  const top = component === 'microcode' ? 255 : 127
  const beyond: SnpTcb = { ...tcb, [component]: top + 1 }
  const suffix = { fmc: '3.9', bootLoader: '3.1', tee: '3.2', snp: '3.3', microcode: '3.8' }[
    component
  ]
  return [
    negative(
      `leaf-${component}-above-report`,
      ['CERT_TCB_MISMATCH'],
      `the leaf is for ${component} + 1`,
      {
        product,
        leafTcb: at(1),
      },
    ),
    negative(
      `report-${component}-above-leaf`,
      ['CERT_TCB_MISMATCH'],
      `the report has ${component} + 1`,
      {
        product,
        tcb: at(1),
        leafTcb: tcb,
      },
    ),
    negative(
      `reported-${component}-above-current`,
      ['TCB_INCONSISTENT'],
      `${component}: REPORTED exceeds CURRENT`,
      {
        product,
        report: { reportedTcb: at(1) },
      },
    ),
    negative(
      `committed-${component}-above-current`,
      ['TCB_INCONSISTENT'],
      `${component}: COMMITTED exceeds CURRENT`,
      {
        product,
        report: { committedTcb: at(1) },
      },
    ),
    negative(
      `${component}-beyond-range`,
      ['CERT_INVALID'],
      `${component} is ${top + 1} in the leaf`,
      asLeaf(replaced(suffix, integer(beyond[component] ?? 0)), { product }),
    ),
    ...(component === 'microcode'
      ? []
      : [
          negative(
            `report-${component}-beyond-range`,
            ['RESERVED_NOT_ZERO'],
            `${component} is 128 in report and leaf`,
            {
              product,
              tcb: beyond,
            },
          ),
        ]),
  ]
})

// --- product ---

const product: readonly SnpNegative[] = [
  negative(
    'product-name-of-milan',
    ['PRODUCT_MISMATCH'],
    'a Genoa leaf that names Milan',
    asLeaf(replaced('2', ia5('Milan-B0'))),
  ),
  negative(
    'product-name-unknown',
    ['CERT_INVALID'],
    'a leaf for a product that nobody knows',
    asLeaf(replaced('2', ia5('Genoam'))),
  ),
  negative('cpuid-of-milan', ['PRODUCT_MISMATCH'], 'CPUID says Milan, the chain Genoa', {
    report: { cpuid: SNP_DEFAULTS.Milan.cpuid },
  }),
  negative('cpuid-of-turin', ['PRODUCT_MISMATCH'], 'CPUID says Turin, the chain Genoa', {
    report: { cpuid: SNP_DEFAULTS.Turin.cpuid },
  }),
  negative('cpuid-unknown', ['PRODUCT_UNKNOWN'], 'CPUID of a family before SNP', {
    report: { cpuid: { family: 0x17, model: 0x31, stepping: 0 } },
  }),
  negative('cpuid-beyond-a0', ['PRODUCT_UNKNOWN'], 'model B0h follows the range A0h to AFh', {
    report: { cpuid: { ...GENOA_A0, model: 0xb0 } },
  }),
  negative(
    'turin-vlek-under-milan',
    ['CERT_MISSING'],
    "a Turin VLEK in a chain with Milan's ASVK",
    (seed) => ({
      product: 'Turin',
      role: 'vlek',
      certificates: {
        ask: (fields) => {
          const own = rsaKey(seed, 'SEV-VLEK-Milan')
          return { ...fields, subject: amdName('SEV-VLEK-Milan'), spki: own.spki }
        },
      },
    }),
  ),
  negative(
    'turin-vlek-named-milan',
    ['CERT_INVALID'],
    'a Turin VLEK that names Milan, as genuine VLEKs of Milan do',
    asLeaf(replaced('2', ia5('Milan')), { product: 'Turin', role: 'vlek' }),
  ),
]

// --- the report's own fields ---

const patched = (offset: number, byte: number) => ({
  patch: (signed: Uint8Array) => {
    signed[offset] = byte
  },
})
/** One byte inside each range that must be zero, for report version 5 unless said otherwise. */
const RESERVED = [
  [0x04c, 5],
  [0x18b, 5],
  [0x19f, 5],
  [0x188, 2],
  [0x1eb, 5],
  [0x1ef, 5],
  [0x1f8, 3],
  [0x208, 5],
  [0x29f, 5],
] as const

const fields: readonly SnpNegative[] = [
  ...([0, 1, 6, 0xffffffff] as const).map((version) =>
    negative(`version-${version}`, ['UNSUPPORTED_VERSION'], `report version ${version}`, {
      report: { version },
    }),
  ),
  ...([0, 2] as const).map((signatureAlgorithm) =>
    negative(
      `signature-algorithm-${signatureAlgorithm}`,
      ['UNSUPPORTED_ALGORITHM'],
      'only 1 exists',
      {
        report: { signatureAlgorithm },
      },
    ),
  ),
  ...RESERVED.map(([offset, version]) =>
    negative(
      `reserved-${offset.toString(16)}-v${version}`,
      ['RESERVED_NOT_ZERO'],
      `a reserved byte at 0x${offset.toString(16)} of version ${version}`,
      {
        report: { version, ...patched(offset, 1) },
      },
    ),
  ),
  negative('key-info-reserved', ['RESERVED_NOT_ZERO'], 'bit 5 of KEY_INFO', {
    report: { keyInfo: 1 << 5 },
  }),
  negative('policy-bit-17-clear', ['FORMAT_INVALID'], 'bit 17 of POLICY is always one', {
    report: { policy: 0x10000n },
  }),
  negative('policy-reserved', ['RESERVED_NOT_ZERO'], 'bit 26 of POLICY', {
    report: { policy: GUEST_POLICY | (1n << 26n) },
  }),
  negative(
    'author-key-unannounced',
    ['RESERVED_NOT_ZERO'],
    'AUTHOR_KEY_DIGEST without AUTHOR_KEY_EN',
    {
      report: { authorKeyDigest: new Uint8Array(48).fill(1) },
    },
  ),
  negative('tcb-reserved', ['RESERVED_NOT_ZERO'], 'a reserved byte of CURRENT_TCB', {
    report: patched(0x38 + 2, 1),
  }),
  negative('debug', ['DEBUG'], 'the guest may be debugged', {
    report: { policy: GUEST_POLICY | (1n << 19n) },
  }),
  negative('migration', ['POLICY_BITS'], 'the guest may be migrated', {
    report: { policy: GUEST_POLICY | (1n << 18n) },
  }),
  negative('cxl', ['POLICY_BITS'], 'the guest may use CXL memory', {
    report: { policy: GUEST_POLICY | (1n << 21n) },
  }),
  ...([1, 2, 3] as const).map((vmpl) =>
    negative(`vmpl-${vmpl}`, ['VMPL'], `asked for from VMPL ${vmpl}`, { report: { vmpl } }),
  ),
  negative(
    'requested-by-host',
    ['VMPL'],
    'VMPL all ones: the host asked for the report, not the guest',
    { report: { vmpl: 0xffffffff } },
  ),
  negative('vmpl-4', ['VMPL'], 'VMPL 4 does not exist', { report: { vmpl: 4 } }),
  negative(
    'alias-check-missing',
    ['PLATFORM_INFO'],
    'the memory alias check (BadRAM) was not done',
    {
      report: { platformInfo: PLATFORM_INFO & ~(1n << 5n) },
    },
  ),
  negative('platform-info-unknown', ['PLATFORM_INFO'], 'a bit of PLATFORM_INFO that nobody knows', {
    report: { platformInfo: PLATFORM_INFO | (1n << 40n) },
  }),
  negative(
    'provisional-firmware',
    ['PROVISIONAL_FIRMWARE'],
    'the committed SNP level is below the current one',
    {
      report: {
        committedTcb: { ...SNP_DEFAULTS.Genoa.tcb, snp: SNP_DEFAULTS.Genoa.tcb.snp - 1 },
        reportedTcb: { ...SNP_DEFAULTS.Genoa.tcb, snp: SNP_DEFAULTS.Genoa.tcb.snp - 1 },
      },
    },
  ),
  ...(['Milan', 'Genoa', 'Turin'] as const).map((line) =>
    negative(
      `${line.toLowerCase()}-old-tcb`,
      ['TCB_BELOW_MINIMUM'],
      'firmware and microcode of the first days',
      {
        product: line,
        tcb: {
          ...(line === 'Turin' ? { fmc: 0 } : {}),
          bootLoader: 0,
          tee: 0,
          snp: 0,
          microcode: 1,
        },
      },
    ),
  ),
  negative(
    'launched-on-old-tcb',
    ['TCB_BELOW_MINIMUM'],
    'launched before the firmware was updated',
    {
      report: { launchTcb: { ...SNP_DEFAULTS.Genoa.tcb, snp: 5 } },
    },
  ),
]

/** Every SNP negative. */
export const SNP_NEGATIVES: readonly SnpNegative[] = [
  ...SNP_CERTIFICATE_NEGATIVES,
  ...tcbBoundaries,
  ...product,
  ...fields,
]
