// The launch measurement against what another tool computes of the same images.
import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AttestationError } from '../../../attestation/error.ts'
import { bytesToHex } from '../../../attestation/lib/bytes.ts'
import { measureSnp, VCPU_TYPES, vcpuSignature } from '../../../attestation/snp/measure.ts'
import type { LaunchRequest } from '../../../attestation/snp/measure.ts'
import { parseOvmf } from '../../../attestation/snp/ovmf.ts'
import { entry, image, numbers, SECTIONS } from './ovmf-image.ts'

const EMPTY = new Uint8Array(createHash('sha256').digest())
const EPYC = VCPU_TYPES['EPYC']!
const plain: LaunchRequest = { firmware: image(), vcpus: 1, vcpuSignature: EPYC, vmm: 'qemu' }
const whole: LaunchRequest = { ...plain, kernel: { sha256: EMPTY } }

describe('measureSnp', () => {
  // Images of our own, measured by sev-snp-measure 0.0.13, and 0.0.9 for older hosts. test:interop asks it about more.
  const KNOWN: [string, LaunchRequest, string][] = [
    [
      'one vcpu, no kernel',
      plain,
      'f4ffbf9fa52331f7109320f67202df6cf40abe5823b5682e5bf523e6f2b7ddbf39432eef037906bec59ed9f0c2773831',
    ],
    [
      'a kernel, four vcpus, guest features 0x21',
      { ...whole, vcpus: 4, guestFeatures: 0x21n },
      '5dd96cf7b0dbe5fd0a26335cf0df38450070fe5722cab0dd3973c711c9c2b1652b018ee5c6cc3f998c7c5422e7dccf66',
    ],
    [
      'a command line',
      { ...plain, kernel: { sha256: EMPTY, cmdline: 'console=ttyS0' } },
      '393b1a9634fe41a38d4943e4f6ec25310f6bd1498296b912731fd777b990ff38cefd5493afbe72c813cf1039f9078145',
    ],
    [
      'an older host',
      { ...whole, vmm: 'qemu-legacy', vcpus: 2 },
      '67af8652990c5571b636b9f6e2b9cb5fea32662fff3acb6bd1723a5b592b7ea85eef9b4c22c43d9c4eea32a3060d4e67',
    ],
    [
      'EC2',
      { ...whole, vmm: 'ec2', vcpus: 2 },
      '9e5820b236c8ef75f40b94174013bc706d77d30c5ca647ae5db9170f7a0229cb02ddaa114bb02e7047a4ce43c3ee84c4',
    ],
    [
      'EC2 before 2026',
      { ...whole, vmm: 'ec2-legacy', vcpus: 2 },
      'ab27cc11f10322060fcb67d752a041f06f6701f16d14c942bafd3f8ef090b12e7476d8086f0d2e8435f0de8eae63a409',
    ],
    [
      'Google',
      { ...whole, vmm: 'gce', vcpus: 2 },
      '6a73946ca626f781552f527c65508eb76453039f40fd018771012af0f5493f3d7d2728f9f22822a0676f0c3ae74e6d30',
    ],
  ]
  it.each(KNOWN)('%s', (_, request, expected) => {
    expect(bytesToHex(measureSnp(request))).toBe(expected)
  })

  it('goes on from the digest of the firmware, where that is known', () => {
    const firmwareDigest = new Uint8Array(48).fill(1)
    const other = image()
    other[0] = 1
    const known = { ...whole, firmwareDigest }
    expect(measureSnp(known)).toEqual(measureSnp({ ...known, firmware: other }))
    expect(measureSnp(known)).not.toEqual(measureSnp(whole))
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
      { vmm: 'ec2-legacy' },
      { vmm: 'gce' },
      { vmm: 'qemu-legacy' },
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
      expect(() => measureSnp({ ...whole, ...change })).toThrow(AttestationError)
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
