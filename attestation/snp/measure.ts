// The single owner of computing an SNP launch measurement in advance, from firmware, kernel, initrd and command line (firmware ABI, SNP_LAUNCH_UPDATE and PAGE_INFO).
import { createHash } from 'node:crypto'
import { AttestationError } from '../error.ts'
import { concatBytes, hexToBytes, sha256, utf8Encode } from '../lib/bytes.ts'
import { PAGE, guid, parseOvmf } from './ovmf.ts'
import type { OvmfImage, OvmfSection } from './ovmf.ts'

/**
 * Which hypervisor starts the guest: they set the first registers differently. `qemu` is QEMU on the KVM of Linux 6.10 and later, which writes the floating point control
 * registers too (KVM_SEV_INIT2); `qemu-legacy` is QEMU on the SNP host kernels that AMD published before that; `ec2` and `gce` are the clouds' own, `ec2-legacy` is EC2 as it
 * was before 2026 (it cleared RDX). Others are not known here, and are not guessed.
 */
export const VMMS = ['qemu', 'qemu-legacy', 'ec2', 'ec2-legacy', 'gce'] as const
export type Vmm = (typeof VMMS)[number]

export interface LaunchRequest {
  /** The OVMF image. */
  readonly firmware: Uint8Array
  /** The launch digest after the image's pages alone (48 bytes), where that is known; then only the image's last pages are needed. */
  readonly firmwareDigest?: Uint8Array
  readonly vcpus: number
  /** CPUID leaf 1, EAX, of the virtual processor (`vcpuSignature`, `VCPU_TYPES`). The clouds do not show it. */
  readonly vcpuSignature: number
  readonly vmm: Vmm
  /** SEV_FEATURES. 1 (SNP active) unless told; a host that swaps debug registers has 0x21. */
  readonly guestFeatures?: bigint
  /** Direct boot of a kernel whose hash the firmware checks. Without it the hash page is measured as zeros. */
  readonly kernel?: {
    readonly sha256: Uint8Array
    /** Of the empty string unless told. */
    readonly initrdSha256?: Uint8Array
    readonly cmdline?: string
  }
}

/** CPUID leaf 1, EAX, from family, model and stepping (AMD document 25481). */
export function vcpuSignature(family: number, model: number, stepping: number): number {
  const extended = family > 15 ? family - 15 : 0
  return (
    (extended << 20) |
    ((model >> 4) << 16) |
    (Math.min(family, 15) << 8) |
    ((model & 15) << 4) |
    stepping
  )
}

/** QEMU's processor models for EPYC; their versions (`-v1` …) share a signature. */
export const VCPU_TYPES: Readonly<Record<string, number>> = {
  EPYC: vcpuSignature(23, 1, 2),
  'EPYC-Rome': vcpuSignature(23, 49, 0),
  'EPYC-Milan': vcpuSignature(25, 1, 1),
  'EPYC-Genoa': vcpuSignature(25, 17, 0),
  'EPYC-Turin': vcpuSignature(26, 0, 0),
}

/** Page types of PAGE_INFO. */
const NORMAL = 1
const VMSA = 2
const ZERO = 3
const UNMEASURED = 4
const SECRETS = 5
const CPUID = 6

const NO_CONTENT = new Uint8Array(48)
const VMSA_GPA = 0xfffffffff000n
const RESET_EIP = 0xfffffff0
const MAX_VCPUS = 512

function sha384(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha384')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

/** One page more: LD ← SHA-384(PAGE_INFO), of which the digest so far is the beginning. */
function extend(digest: Uint8Array, type: number, gpa: bigint, content: Uint8Array): Uint8Array {
  const info = Buffer.alloc(0x70)
  info.set(digest, 0)
  info.set(content, 48)
  info.writeUInt16LE(0x70, 96)
  info.writeUInt8(type, 98)
  info.writeBigUInt64LE(gpa, 104)
  return sha384(info)
}

/**
 * Computes the MEASUREMENT of a launch, 48 bytes.
 *
 * @throws AttestationError FORMAT_INVALID if the image can't be launched that way, or a number or digest has no sensible value
 */
export function measureSnp(request: LaunchRequest): Uint8Array {
  const { vcpus, firmwareDigest, kernel } = request
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
    throw new AttestationError('FORMAT_INVALID', `vcpus must be 1 to ${MAX_VCPUS}`)
  }
  const image = parseOvmf(request.firmware)
  let digest = firmwareDigest ?? measureFirmware(image)
  if (digest.length !== 48)
    throw new AttestationError('FORMAT_INVALID', 'a digest of 48 bytes is needed')
  if (kernel !== undefined && !image.sections.some(({ kind }) => kind === 'kernel-hashes')) {
    throw new AttestationError('FORMAT_INVALID', 'this firmware does not check a kernel', {
      hint: 'use an image with a page for kernel hashes (OvmfPkg/AmdSev)',
    })
  }
  for (const section of inOrder(image.sections, request.vmm)) {
    digest = measureSection(digest, section, image, request)
  }
  const first = sha384(vmsa(RESET_EIP, request))
  digest = extend(digest, VMSA, VMSA_GPA, first)
  if (vcpus === 1) return digest
  if (image.resetAddress === undefined) {
    throw new AttestationError(
      'FORMAT_INVALID',
      'this firmware does not say where further vcpus start',
    )
  }
  const further = sha384(vmsa(image.resetAddress, request))
  for (let i = 1; i < vcpus; i++) digest = extend(digest, VMSA, VMSA_GPA, further)
  return digest
}

function measureFirmware({ bytes, gpa }: OvmfImage): Uint8Array {
  let digest: Uint8Array = NO_CONTENT
  for (let at = 0; at < bytes.length; at += PAGE) {
    digest = extend(digest, NORMAL, BigInt(gpa + at), sha384(bytes.subarray(at, at + PAGE)))
  }
  return digest
}

/** EC2 adds the CPUID page last. */
function inOrder(sections: readonly OvmfSection[], vmm: Vmm): readonly OvmfSection[] {
  if (vmm !== 'ec2' && vmm !== 'ec2-legacy') return sections
  const isCpuid = ({ kind }: OvmfSection): boolean => kind === 'cpuid'
  return [...sections.filter((section) => !isCpuid(section)), ...sections.filter(isCpuid)]
}

function measureSection(
  digest: Uint8Array,
  { kind, gpa, size }: OvmfSection,
  image: OvmfImage,
  { kernel, vmm }: LaunchRequest,
): Uint8Array {
  const address = BigInt(gpa)
  if (kind === 'secrets') return extend(digest, SECRETS, address, NO_CONTENT)
  if (kind === 'cpuid') return extend(digest, CPUID, address, NO_CONTENT)
  if (kind === 'kernel-hashes' && kernel !== undefined) {
    return extend(digest, NORMAL, address, sha384(hashPage(gpa, image.hashTable, kernel)))
  }
  // Google's hypervisor leaves the content of plain memory out; that there is such a page is measured.
  const type = kind === 'memory' && vmm === 'gce' ? UNMEASURED : ZERO
  let result = digest
  for (let at = 0; at < size; at += PAGE) {
    result = extend(result, type, BigInt(gpa + at), NO_CONTENT)
  }
  return result
}

/** The page with the table of hashes that QEMU gives to the firmware: header, then command line (with its NUL), initrd and kernel, padded to 16 bytes. */
function hashPage(
  gpa: number,
  table: number | undefined,
  kernel: NonNullable<LaunchRequest['kernel']>,
): Uint8Array {
  const { sha256: kernelHash, initrdSha256 = sha256(new Uint8Array()), cmdline = '' } = kernel
  const entry = (id: string, hash: Uint8Array): Uint8Array => {
    if (hash.length !== 32) throw new AttestationError('FORMAT_INVALID', 'a SHA-256 has 32 bytes')
    return concatBytes(hexToBytes(guid(id)), Uint8Array.of(50, 0), hash)
  }
  if (cmdline.includes('\0')) {
    throw new AttestationError('FORMAT_INVALID', 'a command line has no NUL')
  }
  const entries = concatBytes(
    hexToBytes(guid('9438d606-4f22-4cc9-b479-a793d411fd21')),
    Uint8Array.of(168, 0),
    entry('97d02dd8-bd20-4c94-aa78-e7714d36ab2a', sha256(utf8Encode(`${cmdline}\0`))),
    entry('44baf731-3a2f-4bd7-9af1-41e29169781d', initrdSha256),
    entry('4de79437-abd2-427f-b835-d5b172d2045b', kernelHash),
  )
  const offset = (table ?? 0) - gpa
  if (table === undefined || offset < 0 || offset + 176 > PAGE) {
    throw new AttestationError('FORMAT_INVALID', 'the table of hashes does not lie in its page')
  }
  const page = new Uint8Array(PAGE)
  page.set(entries, offset)
  return page
}

/** What hypervisors set differently: access rights of segments, the page attribute table, RDX (null: the processor's signature), MXCSR and the x87 control word. */
const RESET_PAT = 0x7040600070406n
const QEMU = {
  firstCs: 0x9b,
  ss: 0x93,
  tr: 0x8b,
  pat: RESET_PAT,
  rdx: null,
  mxcsr: 0x1f80,
  fcw: 0x37f,
}
const EC2 = { firstCs: 0x9a, ss: 0x92, tr: 0x83, pat: RESET_PAT, rdx: 0x600, mxcsr: 0, fcw: 0 }
const REGISTERS = {
  qemu: QEMU,
  'qemu-legacy': { ...QEMU, mxcsr: 0, fcw: 0 },
  ec2: EC2,
  'ec2-legacy': { ...EC2, rdx: 0 },
  gce: { ...QEMU, pat: 0x70106n, rdx: 0x600, mxcsr: 0, fcw: 0 },
} as const

/** A processor's registers when it starts (AMD APM volume 2, table B-4; the values after reset, and what KVM adds to them). */
function vmsa(
  eip: number,
  { vmm, vcpuSignature: signature, guestFeatures = 1n }: LaunchRequest,
): Uint8Array {
  const page = Buffer.alloc(PAGE)
  const segment = (at: number, selector: number, rights: number, base = 0): void => {
    page.writeUInt16LE(selector, at)
    page.writeUInt16LE(rights, at + 2)
    page.writeUInt32LE(0xffff, at + 4)
    page.writeBigUInt64LE(BigInt(base), at + 8)
  }
  const register = (at: number, value: number | bigint): void => {
    page.writeBigUInt64LE(BigInt(value), at)
  }
  const { firstCs, ss, tr, pat, rdx, mxcsr, fcw } = REGISTERS[vmm]
  segment(0x00, 0, 0x93) // ES
  segment(0x10, 0xf000, eip === RESET_EIP ? firstCs : 0x9b, eip - (eip % 0x10000)) // CS
  segment(0x20, 0, ss) // SS
  for (const at of [0x30, 0x40, 0x50]) segment(at, 0, 0x93) // DS, FS, GS
  segment(0x60, 0, 0) // GDTR
  segment(0x70, 0, 0x82) // LDTR
  segment(0x80, 0, 0) // IDTR
  segment(0x90, 0, tr) // TR
  register(0x0d0, 0x1000) // EFER: SVME
  register(0x148, 0x40) // CR4: MCE
  register(0x158, 0x10) // CR0: ET
  register(0x160, 0x400) // DR7
  register(0x168, 0xffff0ff0) // DR6
  register(0x170, 0x2) // RFLAGS
  register(0x178, eip % 0x10000) // RIP
  register(0x268, pat) // G_PAT
  register(0x310, rdx ?? signature) // RDX
  register(0x3b0, guestFeatures) // SEV_FEATURES
  register(0x3e8, 0x1) // XCR0
  page.writeUInt32LE(mxcsr, 0x408) // MXCSR
  page.writeUInt16LE(fcw, 0x410) // x87 FCW
  return page
}
