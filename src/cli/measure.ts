// The single owner of `zt4ai attest measure`: reference values computed from what will be launched, without hardware.
import { Command, Option } from 'commander'
import { measureSnp, VCPU_TYPES, VMMS, type Vmm } from '../../attestation/index.ts'
import { bytesToHex, sha256 } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { readBytes, readCount } from './options.ts'

interface Options {
  readonly firmware: string
  readonly kernel?: string
  readonly initrd?: string
  readonly cmdline?: string
  readonly vcpus: number
  readonly vcpuType?: string
  readonly vmm: Vmm
  readonly guestFeatures?: string
}

const MAX_FIRMWARE = 64 << 20
const MAX_IMAGE = 1 << 30

const HELP = `
The 48 bytes are what the firmware will put into MEASUREMENT, for a policy's \`measurements:\`. Other hypervisors set registers differently and are not guessed.
\`qemu\` is QEMU on Linux 6.10 or newer; \`qemu-legacy\` is QEMU on the SNP host kernels that AMD published before, which left the floating point registers at zero.
\`ec2\` is EC2 as it is now; \`ec2-legacy\` as it was before 2026. \`gce\` is Google Compute Engine.

Examples:
  $ zt4ai attest measure snp --firmware OVMF.fd --vcpus 4 --vcpu-type EPYC-Genoa
  $ zt4ai attest measure snp --firmware OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img \\
      --cmdline 'console=ttyS0' --vcpus 4 --vcpu-type EPYC-Milan
  $ zt4ai attest measure snp --firmware ovmf_img.fd --vmm ec2 --vcpus 4
`

/** The command. */
export function measureCommand(): Command {
  return new Command('measure')
    .exitOverride()
    .description('Compute the launch measurement of a guest, so that a policy can name it.')
    .addCommand(
      new Command('snp')
        .exitOverride()
        .description('the MEASUREMENT of an AMD SEV-SNP guest')
        .requiredOption('--firmware <file>', 'the OVMF image')
        .requiredOption('--vcpus <n>', 'number of virtual processors', readCount)
        .addOption(
          new Option('--vcpu-type <model>', 'processor model of the guest (QEMU)').choices(
            Object.keys(VCPU_TYPES),
          ),
        )
        .addOption(new Option('--vmm <name>', 'hypervisor').choices(VMMS).default('qemu'))
        .option('--kernel <file>', 'kernel of a direct boot')
        .option('--initrd <file>', 'with --kernel: the initrd')
        .option('--cmdline <text>', 'with --kernel: the command line')
        .option('--guest-features <hex>', 'SEV_FEATURES of the guest (default: 0x1)')
        .addHelpText('after', HELP)
        .action(run),
    )
}

function run(options: Options): void {
  const { vmm, vcpus, vcpuType, kernel, initrd, cmdline } = options
  if (kernel === undefined && (initrd !== undefined || cmdline !== undefined))
    throw new ZtError('USAGE', '--initrd and --cmdline go with --kernel')
  if (vmm.startsWith('qemu') && vcpuType === undefined)
    throw new ZtError('USAGE', '--vcpu-type says which processor QEMU shows the guest')
  const features = options.guestFeatures
  if (features !== undefined && !/^0x[0-9a-fA-F]{1,16}$/.test(features))
    throw new ZtError('USAGE', '--guest-features is not a number like 0x1')
  const measurement = measureSnp({
    firmware: readBytes(options.firmware, MAX_FIRMWARE),
    vcpus,
    vmm,
    vcpuSignature: VCPU_TYPES[vcpuType ?? ''] ?? 0,
    ...(features === undefined ? {} : { guestFeatures: BigInt(features) }),
    ...(kernel === undefined
      ? {}
      : {
          kernel: {
            sha256: digestOf(kernel),
            ...(initrd === undefined ? {} : { initrdSha256: digestOf(initrd) }),
            ...(cmdline === undefined ? {} : { cmdline }),
          },
        }),
  })
  process.stdout.write(`${bytesToHex(measurement)}\n`)
}

function digestOf(path: string): Uint8Array {
  return sha256(readBytes(path, MAX_IMAGE))
}
