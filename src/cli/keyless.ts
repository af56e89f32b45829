// The single owner of the options for keyless signatures: what `sign` and `verify` take from the command line and the environment.
import { Option } from 'commander'
import type { Command } from 'commander'
import { ZtError } from '../error.ts'
import type { TokenSource } from '../sign/keyless-token.ts'
import type { Signer } from '../sign/signer.ts'
import { readBytes } from './options.ts'

export interface KeylessSignOptions {
  readonly keyless?: boolean
  readonly identityToken?: string
  readonly fulcio?: string
  readonly rekor?: string
  readonly rekorVersion?: '1' | '2'
  readonly tsa?: string
}

/** Adds the options of keyless signing. */
export function addKeylessSigning(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--keyless',
        'sign with a short-lived certificate for your identity (Sigstore); the file list becomes public',
      ).conflicts(['key', 'certificate']),
    )
    .option(
      '--identity-token <jwt>',
      'identity token (other users can see it here: prefer SIGSTORE_ID_TOKEN; GitHub Actions needs neither)',
    )
    .option('--fulcio <url>', 'certificate authority of a private Sigstore instance')
    .option('--rekor <url>', 'transparency log of a private Sigstore instance')
    .addOption(new Option('--rekor-version <n>', "version of the log's API").choices(['1', '2']))
    .option('--tsa <url>', 'timestamp authority (RFC 3161); Rekor version 2 needs one')
}

/** A signer for `--keyless`, after the warning on stderr; undefined where it was not asked for. @throws ZtError USAGE, TOKEN_MISSING */
export async function readKeylessSigner(options: KeylessSignOptions): Promise<Signer | undefined> {
  const { keyless, identityToken, fulcio, rekor, rekorVersion, tsa } = options
  const given = { identityToken, fulcio, rekor, rekorVersion, tsa }
  if (keyless !== true) {
    const [name] = Object.entries(given).find(([, value]) => value !== undefined) ?? []
    if (name === undefined) return undefined
    const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    throw new ZtError('USAGE', `--${flag} goes with --keyless`)
  }
  const [{ keylessSigner }, { ambientToken }] = await Promise.all([
    import('../sign/keyless.ts'),
    import('../sign/keyless-token.ts'),
  ])
  const token: TokenSource | null =
    identityToken === undefined
      ? ambientToken(process.env)
      : { kind: 'token', token: identityToken }
  if (token === null)
    throw new ZtError('TOKEN_MISSING', 'there is no identity token to sign with', {
      hint: 'in GitHub Actions add "permissions: id-token: write", in GitLab an id_tokens entry SIGSTORE_ID_TOKEN, elsewhere set SIGSTORE_ID_TOKEN',
    })
  const signer = keylessSigner({
    token,
    services: {
      ...(fulcio === undefined ? {} : { fulcio }),
      ...(rekor === undefined ? {} : { rekor }),
      ...(rekorVersion === undefined ? {} : { rekorVersion: rekorVersion === '1' ? 1 : 2 }),
      ...(tsa === undefined ? {} : { tsa }),
    },
  })
  process.stderr.write(`warning: ${signer.warning}\n`)
  return signer
}

export interface KeylessRootOptions {
  readonly trustedRoot?: string
  readonly fetchTrustedRoot?: boolean
}

/** Adds the option that fetches the trusted root. */
export function addTrustedRoot(command: Command): Command {
  return command
    .option('--trusted-root <file>', 'keyless: Sigstore trusted root (JSON), for use offline')
    .addOption(
      new Option(
        '--fetch-trusted-root',
        "keyless: fetch the public instance's trusted root through TUF (needs the network)",
      ).conflicts('trustedRoot'),
    )
}

/** The bytes of the trusted root that was asked for. @throws ZtError USAGE, TRUSTED_ROOT_FETCH */
export async function readTrustedRootOption(options: KeylessRootOptions): Promise<Uint8Array> {
  if (options.trustedRoot !== undefined) return readBytes(options.trustedRoot)
  if (options.fetchTrustedRoot === true)
    return await (await import('../verify/keyless-tuf.ts')).fetchTrustedRoot()
  throw new ZtError('USAGE', 'keyless verification needs a trusted root', {
    hint: 'give --trusted-root FILE, or --fetch-trusted-root for the public instance',
  })
}
