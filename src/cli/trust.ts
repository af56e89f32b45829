// The single owner of the options that say whom to trust, where no policy says it.
import { Option, type Command } from 'commander'
import { ZtError } from '../error.ts'
import type { Trust } from '../verify/result.ts'
import { addTrustedRoot, readTrustedRootOption, type KeylessRootOptions } from './keyless.ts'
import { readText, repeatable } from './options.ts'

export interface TrustOptions extends KeylessRootOptions {
  readonly key?: string
  readonly ca: readonly string[]
  readonly certificateIdentity?: string
  readonly identity?: string
  readonly issuer?: string
}

/** Adds the options: one kind of trust, chosen by the caller. */
export function addTrust(command: Command): Command {
  command
    .addOption(
      new Option('--key <pem>', "the signer's public key").conflicts(['ca', 'identity', 'issuer']),
    )
    .addOption(
      repeatable(
        '--ca <pem>',
        'root certificate that you trust to issue signers; there is no default',
      ).conflicts(['identity', 'issuer']),
    )
    .option(
      '--certificate-identity <name>',
      'with --ca: the email, URI or DNS name that the signer must have, exactly',
    )
    .option('--identity <name>', 'keyless: the identity that the signer must have, exactly')
    .option('--issuer <url>', 'keyless: who must have vouched for the identity, exactly')
  return addTrustedRoot(command)
}

/** True if any of the options was given. */
export function asksForTrust({ key, ca, identity, issuer }: TrustOptions): boolean {
  return key !== undefined || ca.length > 0 || identity !== undefined || issuer !== undefined
}

/** The one kind of trust that the options name. @throws ZtError USAGE */
export async function readTrust(options: TrustOptions): Promise<Trust> {
  const { key, ca, certificateIdentity, identity, issuer } = options
  const keyless = identity !== undefined || issuer !== undefined
  if (certificateIdentity !== undefined && ca.length === 0)
    throw new ZtError('USAGE', '--certificate-identity goes with --ca')
  if ((options.trustedRoot !== undefined || options.fetchTrustedRoot === true) && !keyless)
    throw new ZtError('USAGE', 'a trusted root goes with --identity and --issuer')
  if (key !== undefined) return { kind: 'key', publicKey: readText(key) }
  if (ca.length > 0)
    return {
      kind: 'certificate',
      roots: ca.map(readText).join('\n'),
      ...(certificateIdentity === undefined ? {} : { identity: certificateIdentity }),
    }
  if (!keyless)
    throw new ZtError('USAGE', 'nothing says whom to trust', {
      hint: 'give --key, or --ca, or --identity with --issuer',
    })
  if (identity === undefined || issuer === undefined)
    throw new ZtError('USAGE', '--identity and --issuer go together', {
      hint: 'an identity means nothing without the one who vouches for it',
    })
  return { kind: 'keyless', identity, issuer, trustedRoot: await readTrustedRootOption(options) }
}
