// The single owner of `zt4ai binding`: what to ask the hardware for, so that its evidence is about this model and this nonce.
import { Command } from 'commander'
import { modelBinding } from '../../attestation/index.ts'
import { bytesToBase64, bytesToHex, hexToBytes } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../bundle/bundle.ts'
import { defaultSignature, readSignature } from '../bundle/location.ts'
import { decodeManifest, decodeStatement } from '../bundle/statement.ts'
import { ZtError } from '../error.ts'
import { readNonce, spkiDigest } from './admit.ts'
import { readText } from './options.ts'

interface Options {
  readonly model?: string
  readonly signature?: string
  readonly digest?: string
  readonly nonce: string
  readonly key?: string
  readonly json?: boolean
}

const HELP = `
The report data is SHA-512("zt4ai-binding/v1" || 0x00 || nonce[32] || model digest[32] || SHA-256(public key)[32] or zeros).
With --model the digest is read from the signature beside the model, which is not verified here: admission does that.

Examples:
  $ zt4ai binding --model ./my-model --nonce $(openssl rand -hex 32)
  $ zt4ai binding --digest $ROOT --nonce $NONCE --key tee.pub.pem
`

/** The command. */
export function command(): Command {
  return new Command('binding')
    .summary('the report data that binds a machine to a model')
    .description('Print the 64 bytes of report data that a machine must put into its evidence.')
    .option('--model <path>', 'the signed model')
    .option('--signature <file>', 'its signature, where it is not in its usual place')
    .option('--digest <hex>', "or the model's root digest itself")
    .requiredOption('--nonce <hex>', 'the challenge: 32 bytes')
    .option('--key <pem>', "public key of the machine's own key")
    .option('--json', 'write the parts as JSON')
    .addHelpText('after', HELP)
    .action(run)
}

function run(options: Options): void {
  const digest = readDigest(options)
  const nonce = readNonce(options.nonce)
  if (nonce.length !== 32)
    throw new ZtError('USAGE', `the nonce of a binding has 32 bytes, not ${nonce.length}`)
  const keyDigest = options.key === undefined ? undefined : spkiDigest(readText(options.key))
  const data = modelBinding({
    nonce,
    modelDigest: hexToBytes(digest),
    ...(keyDigest === undefined ? {} : { keyDigest }),
  })
  if (options.json !== true) {
    process.stdout.write(`${bytesToHex(data)}\n`)
    return
  }
  const answer = {
    reportData: bytesToHex(data),
    base64: bytesToBase64(data),
    model: { sha256: digest },
    nonce: bytesToHex(nonce),
    ...(keyDigest === undefined ? {} : { key: { sha256: bytesToHex(keyDigest) } }),
  }
  process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`)
}

/** The root digest that `--model` or `--digest` gives. @throws ZtError USAGE, SIGNATURE_NOT_FOUND, MANIFEST_INVALID */
export function readDigest({
  model,
  signature,
  digest,
}: Pick<Options, 'model' | 'signature' | 'digest'>): string {
  if ((model === undefined) === (digest === undefined))
    throw new ZtError('USAGE', 'exactly one of --model and --digest is needed')
  if (digest !== undefined) {
    if (/^[0-9a-fA-F]{64}$/.test(digest)) return digest.toLowerCase()
    throw new ZtError('USAGE', '--digest is not a SHA-256 digest as 64 hex digits')
  }
  const place = signature ?? defaultSignature(model ?? '')
  const bytes = readSignature(place)
  if (bytes === null)
    throw new ZtError('SIGNATURE_NOT_FOUND', 'there is no signature here', { path: place })
  const statement = decodeStatement(decodeBundle(bytes).envelope.payload)
  const { manifest } = decodeManifest(statement)
  if (manifest !== null) return manifest.root
  throw new ZtError('MANIFEST_INVALID', 'the signature does not list files soundly', {
    path: place,
    hint: 'give the digest with --digest',
  })
}
