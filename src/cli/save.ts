// The single owner of `--save`: a verdict as a signed bundle, its record, and its EAR token, each written whole or not at all.
import type { Command } from 'commander'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { Admission } from '../gate/question.ts'
import { writeAtomically } from '../model/atomic.ts'
import { certificateSigner } from '../sign/certificate.ts'
import { isEncrypted, keySigner, readPrivateKey, type PrivateKey } from '../sign/key.ts'
import type { Signer } from '../sign/signer.ts'
import { addKeylessSigning, readKeylessSigner, type KeylessSignOptions } from './keyless.ts'
import { readText, repeatable } from './options.ts'
import { askPassphrase } from './prompt.ts'
import { version } from './version.ts'

export interface SaveOptions extends KeylessSignOptions {
  readonly save?: string
  readonly signKey?: string
  readonly signCertificate?: string
  readonly signChain: readonly string[]
  readonly verifier?: string
}

/** The record beside a saved verdict. */
export function replayPath(save: string): string {
  return `${save}.replay.json`
}

/** Adds the options of saving. */
export function addSaving(to: Command): Command {
  to.option(
    '--save <file>',
    'write the verdict as a signed bundle, FILE.replay.json (everything that led to it) and, with a key, FILE.ear',
  ).option('--verifier <uri>', 'with --save: who verified, as a URI')
  return addVerdictSigning(to)
}

/** Adds the options that say how a verdict is signed. */
export function addVerdictSigning(to: Command): Command {
  to.option('--sign-key <pem>', 'private key that signs the verdict')
    .option('--sign-certificate <pem>', "with --sign-key: the key's certificate")
    .addOption(repeatable('--sign-chain <pem>', 'with --sign-certificate: its chain'))
  return addKeylessSigning(to)
}

/** Refuses options that have no meaning together, before anything is read. @throws ZtError USAGE */
export function checkSaving(options: SaveOptions): void {
  const { save, signKey, signCertificate, signChain, keyless, verifier } = options
  const signing = signKey !== undefined || keyless === true
  if (save === undefined && (signing || verifier !== undefined))
    throw new ZtError('USAGE', '--sign-key, --keyless and --verifier go with --save')
  if (save !== undefined && !signing)
    throw new ZtError('USAGE', 'nothing says how to sign the verdict', {
      hint: 'give --sign-key or --keyless',
    })
  if (signKey !== undefined && keyless === true)
    throw new ZtError('USAGE', '--sign-key and --keyless exclude each other')
  if (signCertificate !== undefined && signKey === undefined)
    throw new ZtError('USAGE', '--sign-certificate goes with --sign-key')
  if (signChain.length > 0 && signCertificate === undefined)
    throw new ZtError('USAGE', '--sign-chain goes with --sign-certificate')
}

/**
 * Writes what `--save` asks for; nothing without it. The bundle comes last: where it is, the rest is. A refusal about no digest has nothing that
 * a statement could be about; it is said, and only its record is written.
 */
export async function saveAdmission(admission: Admission, options: SaveOptions): Promise<void> {
  const { save } = options
  if (save === undefined) return
  const { saveVerdict, verdictEar } = await import('../gate/saved.ts')
  const { writeReplay } = await import('../gate/replay.ts')
  const { signer, key } = await readVerdictSigner(options)
  writeAtomically(replayPath(save), utf8Encode(writeReplay(admission)))
  if (key !== null && key.publicKey.algorithm !== 'ecdsa-p521')
    writeAtomically(
      `${save}.ear`,
      utf8Encode(`${verdictEar(admission, key.key, await version())}\n`),
    )
  if (admission.verdict.subject.digest === undefined) {
    process.stderr.write(
      'warning: no trusted signature gave the model a digest, so there is nothing to sign: only the record was saved\n',
    )
    return
  }
  const bundle = await saveVerdict(admission.verdict, {
    signer,
    ...(options.verifier === undefined ? {} : { verifier: options.verifier }),
  })
  writeAtomically(save, bundle)
}

/** The signer of verdicts that the options name. @throws ZtError USAGE, and what reading keys throws */
export async function readVerdictSigner(
  options: SaveOptions,
): Promise<{ readonly signer: Signer; readonly key: PrivateKey | null }> {
  const keyless = await readKeylessSigner(options)
  if (keyless !== undefined) return { signer: keyless, key: null }
  const { signKey = '', signCertificate, signChain } = options
  const key = await readKey(signKey)
  if (signCertificate === undefined) return { signer: keySigner(key), key }
  const chain = signChain.map(readText)
  return {
    signer: certificateSigner(key, { certificate: readText(signCertificate), chain }, new Date()),
    key,
  }
}

/** A private key; the passphrase of an encrypted one is in the environment, or asked for. */
export async function readKey(path: string): Promise<PrivateKey> {
  const pem = readText(path)
  return readPrivateKey(
    pem,
    isEncrypted(pem)
      ? (process.env['ZT4AI_KEY_PASSPHRASE'] ?? (await askPassphrase(`passphrase of ${path}`)))
      : undefined,
  )
}
