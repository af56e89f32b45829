// The single owner of the SNP negatives that lie in the extensions of certificates: twice, unknown, missing, in another form, about another chip.
import { ia5, integer, octets } from './der.ts'
import { added, without } from './negative.ts'
import { simulateSnp, SNP_DEFAULTS } from './snp.ts'
import { AMD_ARC } from './snp-certificates.ts'
import {
  amd,
  asAsk,
  asLeaf,
  replaced,
  snpNegative as negative,
  type SnpNegative,
} from './snp-negative.ts'

const blSpl = amd('3.1', integer(SNP_DEFAULTS.Genoa.tcb.bootLoader))

/** Everything that can be wrong with extensions, and with what they say of the chip. */
export const SNP_EXTENSION_NEGATIVES: readonly SnpNegative[] = [
  negative(
    'duplicate-extension',
    ['FORMAT_INVALID'],
    'blSPL twice, with the same value',
    asLeaf(added(blSpl)),
  ),
  negative(
    'contradicting-extension',
    ['FORMAT_INVALID'],
    'blSPL twice, the second higher',
    asLeaf(added(amd('3.1', integer(100)))),
  ),
  negative(
    'unknown-extension',
    ['CERT_INVALID'],
    "an unknown extension in AMD's arc",
    asLeaf(added(amd('3.99', integer(1)))),
  ),
  negative(
    'unknown-critical-extension',
    ['CERT_INVALID'],
    'an unknown critical extension in the leaf',
    asLeaf(added({ oid: '1.3.6.1.4.1.99999.1', critical: true, value: integer(1) })),
  ),
  negative(
    'ask-unknown-critical-extension',
    ['CERT_INVALID'],
    'an unknown critical extension in the ASK',
    asAsk(added({ oid: '1.3.6.1.4.1.99999.1', critical: true, value: integer(1) })),
  ),
  negative(
    'missing-extension',
    ['CERT_INVALID'],
    'the leaf has no snpSPL',
    asLeaf(without(`${AMD_ARC}.3.3`)),
  ),
  negative(
    'fmc-on-genoa',
    ['CERT_INVALID'],
    'a Genoa leaf with fmcSPL, which Turin alone has',
    asLeaf(added(amd('3.9', integer(1)))),
  ),
  negative(
    'no-fmc-on-turin',
    ['CERT_INVALID'],
    'a Turin leaf without fmcSPL',
    asLeaf(without(`${AMD_ARC}.3.9`), { product: 'Turin' }),
  ),
  negative(
    'extension-trailing-bytes',
    ['CERT_INVALID'],
    'blSPL is an INTEGER with a byte behind it',
    asLeaf(replaced('3.1', Uint8Array.of(...integer(10), 0))),
  ),
  ...([0, 8, 63, 65] as const).map((length) =>
    negative(
      `hwid-${length}-bytes`,
      ['CERT_INVALID'],
      `a hwID of ${length} bytes`,
      asLeaf(replaced('4', new Uint8Array(length).fill(7))),
    ),
  ),
  negative(
    'hwid-wrapped-short',
    ['CERT_INVALID'],
    'an OCTET STRING of 63 bytes as hwID',
    asLeaf(replaced('4', octets(new Uint8Array(63).fill(7)))),
  ),
  negative(
    'hwid-64-bytes-on-turin',
    ['CERT_INVALID', 'HWID_MISMATCH'],
    'Turin ids have 8 bytes',
    (seed) =>
      asLeaf(replaced('4', simulateSnp({ seed, product: 'Turin' }).fields.chipId), {
        product: 'Turin',
      }),
  ),
  negative('hwid-of-another-chip', ['HWID_MISMATCH'], "the leaf's hwID is another chip's", {
    hardwareId: new Uint8Array(64).fill(7),
  }),
  negative(
    'hwid-missing',
    ['CERT_INVALID'],
    'a VCEK without hwID',
    asLeaf(without(`${AMD_ARC}.4`)),
  ),
  negative(
    'hwid-in-vlek',
    ['CERT_INVALID'],
    'a VLEK with a hwID',
    asLeaf(added(amd('4', new Uint8Array(64))), { role: 'vlek' }),
  ),
  negative(
    'csp-id-in-vcek',
    ['CERT_INVALID'],
    'a VCEK with a cspID',
    asLeaf(added(amd('5', ia5('CN=simulated-region.example')))),
  ),
  negative(
    'csp-id-missing',
    ['CERT_INVALID'],
    'a VLEK without cspID',
    asLeaf(without(`${AMD_ARC}.5`), { role: 'vlek' }),
  ),
  negative('chip-id-zero', ['CHIP_ID'], 'the report of a VCEK says nothing of the chip', {
    report: { chipId: new Uint8Array(64) },
  }),
  negative('chip-key-masked', ['CHIP_ID'], 'MASK_CHIP_KEY: the host hides the chip', {
    report: { keyInfo: 2, chipId: new Uint8Array(64) },
  }),
]
