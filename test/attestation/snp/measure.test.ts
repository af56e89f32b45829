// The launch measurement against published vectors. Their firmware is not at hand: an image with the same metadata, and the published digest of its pages, stand in for it.
import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import { bytesToHex, concatBytes, hexToBytes } from '../../../attestation/lib/bytes.ts'
import { measureSnp, VCPU_TYPES, vcpuSignature } from '../../../attestation/snp/measure.ts'
import type { LaunchRequest } from '../../../attestation/snp/measure.ts'
import { guid, parseOvmf } from '../../../attestation/snp/ovmf.ts'

function numbers(...values: number[]): Uint8Array {
  const out = Buffer.alloc(values.length * 4)
  values.forEach((value, i) => out.writeUInt32LE(value, i * 4))
  return new Uint8Array(out)
}

function entry(id: string, data: Uint8Array, size = data.length + 18): Uint8Array {
  return concatBytes(data, Uint8Array.of(size & 255, size >> 8), hexToBytes(guid(id)))
}

const SECTIONS = [
  [0x800000, 0x9000, 1],
  [0x80a000, 0x3000, 1],
  [0x80d000, 0x1000, 2],
  [0x80e000, 0x1000, 3],
  [0x80f000, 0x1000, 0x10],
  [0x810000, 0x10000, 1],
]

/** An image of one page that ends as OVMF does. */
function image(sections = SECTIONS, more: Uint8Array[] = [], hashes = 0x80fc00): Uint8Array {
  const metadata = concatBytes(
    new TextEncoder().encode('ASEV'),
    numbers(16 + sections.length * 12, 1, sections.length, ...sections.flat()),
  )
  const entries = concatBytes(
    ...more,
    entry('7255371f-3a3b-4b04-927b-1da6efa8d454', numbers(hashes, 0x400)),
    entry('00f771de-1a7e-4fcb-890e-68c77e2fb44e', numbers(0x80b004)),
    entry('dc886566-984a-4798-a75e-5585a7bf67cc', numbers(1024)),
  )
  const footer = entry(
    '96b582de-1fb2-45f7-baea-a366c55a082d',
    new Uint8Array(),
    entries.length + 18,
  )
  const bytes = new Uint8Array(4096)
  bytes.set(metadata, 4096 - 1024)
  bytes.set(concatBytes(entries, footer), 4096 - 32 - entries.length - 18)
  return bytes
}

const EMPTY = new Uint8Array(createHash('sha256').digest())
const DIGEST = hexToBytes(
  'edcf6d1c57ce868a167c990f58c8667c698269ef9e0803246419eea914186343054d557e1f17acd93b032c106bc70d25',
)
const OTHER = hexToBytes(
  'cab7e085874b3acfdbe2d96dcaa3125111f00c35c6fc9708464c2ae74bfdb048a198cb9a9ccae0b3e5e1a33f5f249819',
)
const EPYC = VCPU_TYPES['EPYC']!
const plain: LaunchRequest = {
  firmware: image(),
  vcpus: 1,
  vcpuSignature: EPYC,
  vmm: 'qemu-legacy',
}
const whole: LaunchRequest = { ...plain, kernel: { sha256: EMPTY } }
const withoutKernel: LaunchRequest = { ...plain, firmwareDigest: DIGEST }
const base: LaunchRequest = { ...whole, firmwareDigest: DIGEST }
const CONSOLE = { sha256: EMPTY, cmdline: 'console=ttyS0 loglevel=7' }

/** The firmware of the later vectors has a page for an SVSM's calling area before that of the hashes. */
const LATER = [
  ...SECTIONS.slice(0, 4),
  [0x80f000, 0x1000, 4],
  [0x810000, 0x1000, 0x10],
  [0x811000, 0xf000, 1],
]
const newerWithoutKernel: LaunchRequest = {
  firmware: image(LATER, [], 0x810c00),
  firmwareDigest: hexToBytes(
    '086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74',
  ),
  vcpus: 1,
  vcpuSignature: EPYC,
  vmm: 'qemu',
}
const newer: LaunchRequest = { ...newerWithoutKernel, kernel: { sha256: EMPTY } }

describe('measureSnp', () => {
  // published by the tests of virtee/sev (measurement) and sev-snp-measure: all for EPYC-v4, kernel and initrd empty
  const NEW: [string, LaunchRequest, string][] = [
    [
      'one vcpu',
      newer,
      'ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5',
    ],
    [
      'guest features 0x21',
      { ...newer, guestFeatures: 0x21n },
      '329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198',
    ],
    [
      'a command line',
      { ...newer, kernel: CONSOLE },
      '6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa',
    ],
    [
      'no kernel',
      newerWithoutKernel,
      '19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d',
    ],
    [
      'four vcpus',
      { ...newer, vcpus: 4 },
      '5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5',
    ],
    [
      'EC2',
      { ...newer, vmm: 'ec2' },
      '7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11cbf56ba5d25c9270fb69c0505c1cbe1c5c66c0e34c6ed3be',
    ],
  ]
  it.each(NEW)('on Linux 6.10 and later: %s', (_, request, expected) => {
    expect(bytesToHex(measureSnp(request))).toBe(expected)
  })

  const VECTORS: [string, LaunchRequest, string][] = [
    [
      'another firmware',
      { ...base, firmwareDigest: OTHER },
      'db06fb267824b1ccb56edbe2a9c2ce88841bca5090dc6dac91d9cd30f3c2c0bf42daccb30d55d6625bfbf0dae5c50c6d',
    ],
    [
      'another firmware, guest features 0x21',
      { ...base, firmwareDigest: OTHER, guestFeatures: 0x21n },
      'a076e1b0e6cf55fd94c82e2c25245f8c15f76690b941ba379b31527f82eafe7ad489777ff510d080bac9cd14d41bc205',
    ],
    [
      'a command line',
      { ...base, kernel: CONSOLE },
      'f07864303ad8243132029e8110b92805c78d1135a15da75f67abb9a711d78740347f24ee76f603e650ec4adf3611cc1e',
    ],
    [
      'a command line, guest features 0x21',
      { ...base, kernel: CONSOLE, guestFeatures: 0x21n },
      '314e4f0794187ffef05702a36546ea5fe02698041b7f7f17d9f418da2d5e4d5cff25256cef9d34888a0dd64dea438780',
    ],
    [
      'no kernel',
      withoutKernel,
      'e5e6be5a8fa6256f0245666bb237e2d028b7928148ce78d51b8a64dc9506c377709a5b5d7ab75554593bced304fcff93',
    ],
    [
      'no kernel, guest features 0x21',
      { ...withoutKernel, guestFeatures: 0x21n },
      '6d9054ed9872a64c968cfbcfa1247cafa792e3f9a395306d95c9937aaa081c643d25f369ccbd34409dafcae90bff55f3',
    ],
    [
      'four vcpus',
      { ...base, vcpus: 4 },
      '1c784beb8c49aa604b7fd57fbc73b36ec53a3f5fb48a2b895ad6cc2ea15d18ee7cc15e3e57c792766b45f944c3e81cfe',
    ],
    [
      'four vcpus, guest features 0x21',
      { ...base, vcpus: 4, guestFeatures: 0x21n },
      '3aa1bdf5a87fad15960f099e82a09e428901c590f2b68d71aa246c168db5e75daf4819d017a9530c56bed2da5c0cdbd7',
    ],
    [
      'EC2',
      { ...base, vmm: 'ec2' },
      '760b6e51039d2d6c1fc6d38ca5c387967d158e0294883e4522c36f89bd61bfc9cdb975cd1ceedffbe1b23b1daf4e3f42',
    ],
    [
      'EC2, guest features 0x21',
      { ...base, vmm: 'ec2', guestFeatures: 0x21n },
      'cd4a4690a1f679ac8f3d6e446aab8d0061d535cc94615d98c7d7dbe4b16dbceeaf7fc7944e7874b202e27041f179e7e6',
    ],
  ]
  it.each(VECTORS)('%s', (_, request, expected) => {
    expect(bytesToHex(measureSnp(request))).toBe(expected)
  })

  it('covers the firmware, the kernel, the initrd, the command line, the vcpus', () => {
    const changed: Partial<LaunchRequest>[] = [
      {},
      { firmware: image(SECTIONS.slice(0, 5)) },
      { kernel: { sha256: new Uint8Array(32) } },
      { kernel: { sha256: EMPTY, initrdSha256: new Uint8Array(32) } },
      { kernel: { sha256: EMPTY, cmdline: ' ' } },
      { vcpus: 2 },
      { vcpuSignature: VCPU_TYPES['EPYC-Milan']! },
      { vmm: 'ec2' },
      { vmm: 'qemu' },
    ]
    const results = changed.map((change) => bytesToHex(measureSnp({ ...whole, ...change })))
    expect(new Set(results).size).toBe(changed.length)
    const other = image()
    other[0] = 1
    expect(bytesToHex(measureSnp({ ...whole, firmware: other }))).not.toBe(results[0])
  })

  it('signatures of processors', () => {
    expect(vcpuSignature(23, 1, 2)).toBe(0x800f12)
    expect(vcpuSignature(25, 17, 0)).toBe(0xa10f10)
  })

  it('refuses what can’t be launched', () => {
    const bad: Partial<LaunchRequest>[] = [
      { vcpus: 0 },
      { vcpus: 1.5 },
      { vcpus: 513 },
      { firmware: new Uint8Array(0) },
      { firmware: new Uint8Array(4096) },
      { firmware: image().subarray(1) },
      { firmware: image([[0x800000, 0x1000, 7]]) },
      { firmware: image([[0x800001, 0x1000, 1]]) },
      { firmware: image([[0x80d000, 0x2000, 2]]) },
      { firmware: image(SECTIONS.filter(([, , kind]) => kind !== 0x10)) },
      { firmware: image(SECTIONS, [entry('00f771de-1a7e-4fcb-890e-68c77e2fb44e', numbers(1))]) },
      { firmwareDigest: new Uint8Array(32) },
      { kernel: { sha256: new Uint8Array(31) } },
      { kernel: { sha256: EMPTY, cmdline: 'a\0b' } },
    ]
    for (const change of bad) {
      expect(() => measureSnp({ ...base, ...change })).toThrow(AttestationError)
    }
  })

  it('an image damaged anywhere is read, or refused with the typed error', () => {
    const intact = image()
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 3000, max: 4095 }), fc.integer({ min: 0, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        }),
        (changes) => {
          const bytes = intact.slice()
          for (const [at, value] of changes) bytes[at] = value
          try {
            parseOvmf(bytes)
          } catch (error) {
            expect(error).toBeInstanceOf(AttestationError)
          }
        },
      ),
      { numRuns: 2000, seed: 1 },
    )
  })
})
