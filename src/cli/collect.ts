// The single owner of `zt4ai collect`: one question to this machine's hardware, one evidence file.
import { Command } from 'commander'
import { modelBinding } from '../../attestation/index.ts'
import { hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { collectEvidence } from '../gate/collect.ts'
import { writeAtomically } from '../model/atomic.ts'
import { readNonce, spkiDigest } from './admit.ts'
import { readDigest } from './binding.ts'
import { readText } from './options.ts'

interface Options {
  readonly nonce: string
  readonly model?: string
  readonly signature?: string
  readonly digest?: string
  readonly key?: string
  readonly privilegeLevel?: string
  readonly eventLog: boolean
  readonly output?: string
}

const HELP = `
Works on a confidential machine (AMD SEV-SNP, Intel TDX) with Linux 6.7 or newer, through /sys/kernel/config/tsm/report; mostly as root.
With --model or --digest the evidence is bound to that model and the nonce (see \`zt4ai binding\`); without, it carries the nonce alone.
Nothing is verified here: whoever asked does that, with \`zt4ai attest\` or \`zt4ai admit\`.

Examples:
  $ zt4ai collect --nonce $NONCE --model ./my-model --output evidence.json
  $ zt4ai collect --nonce $NONCE --digest $ROOT --key tee.pub.pem > evidence.json
`

/** The command. */
export function command(): Command {
  return new Command('collect')
    .summary("ask this machine's hardware for evidence")
    .description(
      "Ask this machine's hardware for evidence that answers a nonce, and write an evidence file.",
    )
    .requiredOption('--nonce <hex>', 'the challenge: 32 bytes for a model, else 1 to 64')
    .option('--model <path>', 'the signed model that the evidence is about')
    .option('--signature <file>', 'its signature, where it is not in its usual place')
    .option('--digest <hex>', "or the model's root digest itself")
    .option('--key <pem>', "public key of the machine's own key, bound as well")
    .option('--privilege-level <n>', 'SEV-SNP: the VMPL to report for, 0 to 3')
    .option('--no-event-log', 'leave the boot event log out')
    .option('--output <file>', 'where to write it (default: standard output)')
    .addHelpText('after', HELP)
    .action(run)
}

function run(options: Options): void {
  const nonce = readNonce(options.nonce)
  const { privilegeLevel } = options
  if (privilegeLevel !== undefined && !/^[0-3]$/.test(privilegeLevel))
    throw new ZtError('USAGE', '--privilege-level is not 0 to 3')
  const { file, provider } = collectEvidence({
    reportData: reportData(options, nonce),
    nonce,
    eventLog: options.eventLog,
    ...(privilegeLevel === undefined ? {} : { privilegeLevel: Number(privilegeLevel) }),
  })
  if (options.output === undefined) process.stdout.write(file)
  else {
    writeAtomically(options.output, utf8Encode(file))
    process.stderr.write(`evidence of ${provider} is in ${options.output}\n`)
  }
}

function reportData(options: Options, nonce: Uint8Array): Uint8Array {
  if (options.model === undefined && options.digest === undefined) {
    if (options.key !== undefined)
      throw new ZtError('USAGE', '--key is bound together with a model: give --model or --digest')
    const data = new Uint8Array(64)
    data.set(nonce)
    return data
  }
  if (nonce.length !== 32)
    throw new ZtError('USAGE', `the nonce of a binding has 32 bytes, not ${nonce.length}`)
  return modelBinding({
    nonce,
    modelDigest: hexToBytes(readDigest(options)),
    ...(options.key === undefined ? {} : { keyDigest: spkiDigest(readText(options.key)) }),
  })
}
