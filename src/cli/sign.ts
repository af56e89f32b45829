// The single owner of `zt4ai sign`: options to a signer, a model to a signature.
import { statSync } from 'node:fs'
import { Command, Option } from 'commander'
import { ZtError } from '../error.ts'
import { HASH_TYPES } from '../model/manifest.ts'
import type { HashType } from '../model/manifest.ts'
import { certificateSigner } from '../sign/certificate.ts'
import { isEncrypted, keySigner, readPrivateKey } from '../sign/key.ts'
import { signModel, signTar } from '../sign/model.ts'
import type { SignedModel, SignModelOptions } from '../sign/model.ts'
import type { Signer } from '../sign/signer.ts'
import { hinted } from '../verdict.ts'
import { archiveProgress, openArchive } from './archive.ts'
import type { Archive } from './archive.ts'
import { EXIT } from './exit.ts'
import { addKeylessSigning, readKeylessSigner } from './keyless.ts'
import type { KeylessSignOptions } from './keyless.ts'
import { saveMemory } from './memory.ts'
import { interruptible, readCount, readIgnores, readText, repeatable } from './options.ts'
import { progressLine, size } from './progress.ts'
import type { ProgressLine } from './progress.ts'
import { askPassphrase } from './prompt.ts'
import { coloured, renderChecks } from './render.ts'
import { joinFiles, readPart, runPart, type PartNumber } from './sign-parts.ts'
import { addReuse, asksForReuse, readReuse } from './reuse.ts'
import type { ReuseOptions } from './reuse.ts'

interface Options extends KeylessSignOptions, ReuseOptions {
  readonly signature?: string
  readonly key?: string
  readonly certificate?: string
  readonly chain: readonly string[]
  readonly hash: HashType
  readonly shardSize?: number
  readonly ignore: readonly string[]
  readonly allowSymlinks?: boolean
  readonly compat?: 'reference'
  readonly sizes?: boolean
  readonly fsverity?: boolean
  readonly stripComponents?: number
  readonly part?: PartNumber
  readonly partOutput?: string
  readonly fromParts?: readonly string[]
  readonly name?: string
  readonly json?: boolean
}

const HELP = `
An encrypted key's passphrase is taken from ZT4AI_KEY_PASSPHRASE, or asked for on the terminal.
Exit codes: 0 signed, 1 the model can't be signed, 2 usage error, 3 failed.

Examples:
  $ openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out release.pem
  $ openssl pkey -in release.pem -pubout -out release.pub.pem
  $ zt4ai sign ./my-model --key release.pem
  $ zt4ai sign ./my-model --key release.pem --certificate release.crt --chain intermediate.crt
  $ zt4ai sign ./my-model --keyless                     in GitHub Actions, with "permissions: id-token: write"
  $ zt4ai sign weights.safetensors --key release.pem --signature weights.sig
  $ zt4ai sign ./my-model --key release.pem --ignore logs --hash blake3
  $ zt4ai sign my-model.tar.gz --key release.pem
  $ curl -s https://example.org/m.tar | zt4ai sign - --signature m.sig --key release.pem
  $ zt4ai sign ./my-model --key release.pem --reuse old.sig --reuse-key release.pub.pem --unchanged weights
  $ zt4ai sign ./my-model --part 1/2 --part-output 1.json          on one machine, without a key
  $ zt4ai sign ./my-model --part 2/2 --part-output 2.json          on another
  $ zt4ai sign ./my-model --from-parts 1.json 2.json --key release.pem
`

/** The command. */
export function command(): Command {
  const sign = new Command('sign')
    .summary('sign a model')
    .description(
      'Sign a model (a directory or one file): a signature over every file by name and digest.',
    )
    .argument('[model]', 'the directory, the file, a tar or tar.gz, or - for one on standard input')
    .option(
      '--signature <file>',
      'where the signature goes (default: MODEL/model.sig for a directory, MODEL.sig for a file)',
    )
    .option('--key <pem>', 'private key: P-256, P-384 or P-521 (or Ed25519, our extension)')
    .option('--certificate <pem>', "the key's certificate (its chain may follow in the same file)")
    .addOption(repeatable('--chain <pem>', 'a further certificate of the chain'))
    .addOption(
      new Option('--hash <type>', 'how files are hashed').choices(HASH_TYPES).default('sha256'),
    )
    .addOption(
      new Option(
        '--shard-size <bytes>',
        'hash ranges of this size instead of whole files (few other tools can verify that)',
      ).argParser(readCount),
    )
    .addOption(
      repeatable(
        '--ignore <path>',
        'leave out this path, relative to the model (recorded, and shown to verifiers)',
      ),
    )
    .option('--allow-symlinks', 'follow symbolic links that stay inside the model')
    .addOption(
      new Option(
        '--compat <form>',
        'the form of the reference implementation where it differs from the specification: single files, shards',
      ).choices(['reference']),
    )
    .option('--sizes', "record each file's size")
    .option('--fsverity', "record each file's fs-verity digest, for loaders that check it")
    .addOption(
      new Option(
        '--strip-components <n>',
        'of an archive: drop this many leading parts of every name',
      ).argParser(readCount),
    )
    .addOption(
      new Option('--part <i/n>', 'only hash part i of n, for a machine of its own').argParser(
        readPart,
      ),
    )
    .option('--part-output <file>', 'where the part goes')
    .option('--from-parts <file...>', 'sign what the parts hashed, without reading the model')
    .option(
      '--name <name>',
      'with --from-parts: what the model is called (default: as the parts say)',
    )
    .option('--json', 'write what was signed as JSON')
    .addHelpText('after', HELP)
    .action(run)
  return addReuse(addKeylessSigning(sign))
}

async function run(model: string | undefined, options: Options): Promise<void> {
  saveMemory()
  if (options.part !== undefined || options.partOutput !== undefined) {
    await runPart(model, options)
    return
  }
  if (options.fromParts !== undefined) {
    const files = options.fromParts
    report(await joinFiles(files, model, options, await readSigner(options)), options.json === true)
    return
  }
  if (options.name !== undefined) throw new ZtError('USAGE', '--name goes with --from-parts')
  if (model === undefined) throw new ZtError('USAGE', 'nothing says which model')
  await runWhole(model, options)
}

async function runWhole(model: string, options: Options): Promise<void> {
  const signer = await readSigner(options)
  const archive = await openArchive(model, options.signature)
  const line = progressLine('hashing')
  const signed = await interruptible((signal) => {
    const common = {
      signer,
      signal,
      hashType: options.hash,
      ...(options.shardSize === undefined ? {} : { shardSize: options.shardSize }),
      ...(options.allowSymlinks === true ? { allowSymlinks: true } : {}),
      ...(options.compat === undefined ? {} : { compat: options.compat }),
      ...(options.sizes === true ? { sizes: true } : {}),
      ...(options.fsverity === true ? { fsverity: true } : {}),
    }
    return archive === null
      ? signPath(model, options, {
          ...common,
          ...(line.onProgress === undefined ? {} : { onProgress: line.onProgress }),
        })
      : signArchive(archive, options, common, line.onProgress)
  }).finally(() => {
    line.done()
  })
  if (signed.manifest !== null && archive === null) noteForm(model, options)
  report(signed, options.json === true)
}

/** Where the specification's form is one that the reference implementation can't verify, whoever signs should hear it now. */
function noteForm(model: string, { compat, shardSize }: Options): void {
  if (compat !== undefined) return
  const what =
    shardSize !== undefined ? 'shards' : statSync(model).isFile() ? 'a single file' : undefined
  if (what !== undefined)
    process.stderr.write(
      `note: the Python package model-signing verifies ${what} only with --compat reference\n`,
    )
}

async function signPath(
  model: string,
  options: Options,
  common: SignModelOptions,
): Promise<SignedModel> {
  if (options.stripComponents !== undefined)
    throw new ZtError('USAGE', '--strip-components goes with archives')
  const { reuse, save } = await readReuse(options)
  const signed = await signModel(model, {
    ...common,
    ignorePaths: readIgnores(model, options.ignore),
    ...(options.signature === undefined ? {} : { signature: options.signature }),
    ...(reuse === undefined ? {} : { reuse }),
  })
  save()
  return signed
}

function signArchive(
  archive: Archive,
  options: Options,
  common: Omit<SignModelOptions, 'onProgress'>,
  onProgress: ProgressLine['onProgress'],
): Promise<SignedModel> {
  if (asksForReuse(options))
    throw new ZtError('USAGE', 'an archive is read whole: digests can only be reused on disk')
  const { stream, name, signature } = archive
  return signTar(stream, {
    ...common,
    name,
    signature,
    ignorePaths: options.ignore,
    ...(options.stripComponents === undefined ? {} : { stripComponents: options.stripComponents }),
    ...archiveProgress(archive, onProgress),
  })
}

function report(signed: SignedModel, json: boolean): void {
  const { manifest, signature, files, bytes } = signed
  const checks = signed.checks.map(hinted)
  process.exitCode = manifest === null ? EXIT.refused : EXIT.allowed
  if (json) {
    const answer = {
      signed: manifest !== null,
      ...(manifest === null
        ? {}
        : { signature, name: manifest.name, digest: { sha256: manifest.root }, files, bytes }),
      checks,
    }
    process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`)
    return
  }
  process.stderr.write(renderChecks(checks, coloured(process.stderr)))
  process.stdout.write(
    manifest === null
      ? 'not signed\n'
      : `signed ${files} ${files === 1 ? 'file' : 'files'}, ${size(bytes)}\nsha256:${manifest.root}\n${signature}\n`,
  )
}

async function readSigner(options: Options): Promise<Signer> {
  const { key, certificate, chain } = options
  const keyless = await readKeylessSigner(options)
  if (keyless !== undefined) return keyless
  if (key === undefined)
    throw new ZtError('USAGE', 'nothing says how to sign', { hint: 'give --key or --keyless' })
  if (certificate === undefined && chain.length > 0)
    throw new ZtError('USAGE', '--chain goes with --certificate')
  const pem = readText(key)
  const privateKey = readPrivateKey(
    pem,
    isEncrypted(pem)
      ? (process.env['ZT4AI_KEY_PASSPHRASE'] ?? (await askPassphrase(`passphrase of ${key}`)))
      : undefined,
  )
  if (privateKey.publicKey.algorithm === 'ed25519')
    process.stderr.write('note: Ed25519 is an extension of zt4ai, which few other tools verify\n')
  return certificate === undefined
    ? keySigner(privateKey)
    : certificateSigner(
        privateKey,
        { certificate: readText(certificate), chain: chain.map(readText) },
        new Date(),
      )
}
