// The Python package sev-snp-measure as an oracle of launch measurements: its newest release for what hosts do now, an older one for what they did before.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { bytesToHex } from '../../attestation/lib/bytes.ts'
import { measureSnp, VCPU_TYPES, VMMS, type Vmm } from '../../attestation/snp/measure.ts'
import { image, SECTIONS } from '../attestation/snp/ovmf-image.ts'
import { OLD_MEASURE, PYTHON } from './setup.ts'

const folder = mkdtempSync(join(tmpdir(), 'zt4ai-measure-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})
function file(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name)
  writeFileSync(path, bytes)
  return path
}

const LARGE = new Uint8Array(3 * 4096).map((_, i) => i * 7)
LARGE.set(image(), 2 * 4096)
/** With the page for an SVSM's calling area that newer images have. */
const CALLING: number[][] = [
  ...SECTIONS.slice(0, 4),
  [0x80f000, 0x1000, 4],
  [0x810000, 0x1000, 0x10],
]
const FIRMWARE = {
  plain: file('plain.fd', image()),
  large: file('large.fd', LARGE),
  calling: file('calling.fd', image(CALLING, [], 0x810c00)),
}
const KERNEL = file('vmlinuz', 'a kernel')
const INITRD = file('initrd', 'an initrd')

interface Case {
  readonly vmm: Vmm
  readonly firmware: string
  readonly vcpus: number
  readonly signature: number
  readonly features: number
  readonly kernel: string | null
  readonly initrd: string | null
  readonly append: string | null
}

const CASES: Case[] = VMMS.flatMap((vmm) =>
  Object.values(FIRMWARE).flatMap((firmware) =>
    Object.values(VCPU_TYPES).flatMap((signature, i): Case[] => {
      const features = i % 2 === 0 ? 1 : 0x21
      const base = { vmm, firmware, signature, features, vcpus: 1 + i }
      return [
        { ...base, kernel: null, initrd: null, append: null },
        { ...base, kernel: KERNEL, initrd: null, append: null },
        { ...base, kernel: KERNEL, initrd: INITRD, append: 'console=ttyS0 quiet' },
      ]
    }),
  ),
)

/** What the release that lies in `path` says; the one of the environment without a path. */
function oracle(cases: readonly Case[], path = ''): readonly string[] {
  const script = `import json, sys
if sys.argv[1]: sys.path.insert(0, sys.argv[1])
from sevsnpmeasure import guest
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType
print(json.dumps([guest.calc_launch_digest(SevMode.SEV_SNP, c['vcpus'], c['signature'], c['firmware'], c['kernel'],
  c['initrd'], c['append'], c['features'], '', VMMType[c['name']]).hex() for c in json.load(sys.stdin)]))`
  const names: Record<Vmm, string> = {
    qemu: 'QEMU',
    'qemu-legacy': 'QEMU',
    ec2: 'ec2',
    'ec2-legacy': 'ec2',
    gce: 'gce',
  }
  const input = JSON.stringify(cases.map((one) => ({ ...one, name: names[one.vmm] })))
  const answer = execFileSync(PYTHON, ['-c', script, path], { input, encoding: 'utf8' })
  return JSON.parse(answer) as string[]
}

function ours({ vmm, firmware, vcpus, signature, features, kernel, initrd, append }: Case): string {
  const sha256 = (path: string): Uint8Array =>
    new Uint8Array(createHash('sha256').update(readFileSync(path)).digest())
  return bytesToHex(
    measureSnp({
      vmm,
      vcpus,
      firmware: new Uint8Array(readFileSync(firmware)),
      vcpuSignature: signature,
      guestFeatures: BigInt(features),
      ...(kernel === null
        ? {}
        : {
            kernel: {
              sha256: sha256(kernel),
              ...(initrd === null ? {} : { initrdSha256: sha256(initrd) }),
              ...(append === null ? {} : { cmdline: append }),
            },
          }),
    }),
  )
}

describe('launch measurements agree with sev-snp-measure', () => {
  it.each([
    ['as it is now', false, ''],
    ['for older hosts', true, OLD_MEASURE],
  ])('%s', (_, legacy, path) => {
    // the older release does not know that page
    const cases = CASES.filter(
      ({ vmm, firmware }) =>
        vmm.endsWith('-legacy') === legacy && !(legacy && firmware === FIRMWARE.calling),
    )
    expect(cases.length).toBeGreaterThan(50)
    expect(cases.map(ours)).toEqual(oracle(cases, path))
  })
})
