// The single owner of `zt4ai verify`: options to trust, a model to a verdict.
import { Command, Option } from 'commander'
import { ZtError } from '../error.ts'
import { examineModel, examineTar } from '../verify/model.ts'
import type { ModelResult, VerifyModelOptions } from '../verify/model.ts'
import type { Trust } from '../verify/result.ts'
import { archiveProgress, openArchive } from './archive.ts'
import type { Archive } from './archive.ts'
import { EXIT } from './exit.ts'
import { saveMemory } from './memory.ts'
import { interruptible, readAt, readCount, readIgnores, repeatable } from './options.ts'
import { progressLine } from './progress.ts'
import type { ProgressLine } from './progress.ts'
import { addRegistry, type RegistryOptions } from './registry-options.ts'
import { writeVerdict } from './render.ts'
import { addTrust, readTrust, type TrustOptions } from './trust.ts'

interface Options extends TrustOptions, RegistryOptions {
  readonly signature?: string
  readonly ignore: readonly string[]
  readonly ignoreUnsigned?: boolean
  readonly fsverity?: boolean
  readonly digestCache?: string
  readonly stripComponents?: number
  readonly at?: string
  readonly json?: boolean
}

const HELP = `
Exit codes: 0 allowed, 1 refused, 2 usage error, 3 no verdict could be reached.

Examples:
  $ zt4ai verify ./my-model --key release.pub.pem
  $ zt4ai verify ./my-model --ca root.pem --certificate-identity release@example.org
  $ zt4ai verify ./my-model --identity release@example.org --issuer https://accounts.example.org \\
      --trusted-root trusted_root.json
  $ zt4ai verify weights.safetensors --signature weights.sig --key release.pub.pem --json
  $ zt4ai verify oci://registry.example/team/my-model@sha256:DIGEST --key release.pub.pem
  $ zt4ai verify my-model.tar.gz --key release.pub.pem
  $ zt4ai verify ./my-model --key release.pub.pem --ignore logs --at 2026-01-31T12:00:00Z
`

/** The command. */
export function command(): Command {
  const verify = new Command('verify')
    .summary("verify a model's signature and every file")
    .description(
      'Verify a model (a directory or one file): that the signer you trust signed exactly these files. You choose the method of trust; the signature never does.',
    )
    .argument(
      '<model>',
      'the directory, the file, a tar or tar.gz, - for one on standard input, or oci://HOST/REPOSITORY@sha256:DIGEST',
    )
    .option(
      '--signature <file>',
      'the signature (default: MODEL/model.sig for a directory, MODEL.sig for a file)',
    )
    .addOption(repeatable('--ignore <path>', 'leave out this path, relative to the model'))
    .option('--ignore-unsigned', 'verify only the files that were signed, whatever else lies there')
    .option('--fsverity', 'also compare the fs-verity digests that the signer recorded')
    .option(
      '--digest-cache <file>',
      'believe the digests of files that are in a recorded state, without reading them (the verdict says so)',
    )
    .addOption(
      new Option(
        '--strip-components <n>',
        'of an archive: drop this many leading parts of every name',
      ).argParser(readCount),
    )
    .option('--at <time>', 'judge as of this time (RFC 3339; default: now)')
    .option('--json', 'write the verdict as JSON')
    .addHelpText('after', HELP)
    .action(run)
  return addRegistry(addTrust(verify))
}

async function run(model: string, options: Options): Promise<void> {
  saveMemory()
  const trust = await readTrust(options)
  const at = readAt(options.at)
  if (model.startsWith('oci://')) {
    await runReference(model, options, trust, at)
    return
  }
  const archive = await openArchive(model, options.signature)
  const line = progressLine('verifying')
  const { verdict } = await interruptible((signal) => {
    const common = {
      trust,
      at,
      signal,
      ...(options.ignoreUnsigned === true ? { ignoreUnsigned: true } : {}),
      ...(options.fsverity === true ? { fsverity: true } : {}),
    }
    return archive === null
      ? verifyPath(model, options, {
          ...common,
          ...(line.onProgress === undefined ? {} : { onProgress: line.onProgress }),
        })
      : verifyArchive(archive, options, common, line.onProgress)
  }).finally(() => {
    line.done()
  })
  writeVerdict(verdict, options.json === true)
  process.exitCode = verdict.decision === 'allow' ? EXIT.allowed : EXIT.refused
}

async function runReference(
  reference: string,
  options: Options,
  trust: Trust,
  at: Date,
): Promise<void> {
  const [{ connect, openReference }, { verifyReference }] = await Promise.all([
    import('./registry.ts'),
    import('../gate/verify-oci.ts'),
  ])
  const line = progressLine('verifying')
  const { verdict } = await interruptible(async (signal) => {
    const connection = connect(options, signal)
    try {
      const source = await openReference(reference, connection)
      const watch = line.onProgress === undefined ? {} : { onProgress: line.onProgress }
      return await verifyReference(source, trust, at, { signal, ...watch })
    } finally {
      connection.transport.close()
    }
  }).finally(() => {
    line.done()
  })
  writeVerdict(verdict, options.json === true)
  process.exitCode = verdict.decision === 'allow' ? EXIT.allowed : EXIT.refused
}

async function verifyPath(
  model: string,
  options: Options,
  common: VerifyModelOptions,
): Promise<ModelResult> {
  if (options.stripComponents !== undefined)
    throw new ZtError('USAGE', '--strip-components goes with archives')
  const { digestCache } = options
  const { readCache, writeCache } =
    digestCache === undefined ? {} : await import('../model/cache.ts')
  const cache = digestCache === undefined ? undefined : readCache?.(digestCache)
  const result = await examineModel(model, {
    ...common,
    ignorePaths: readIgnores(model, options.ignore),
    ...(options.signature === undefined ? {} : { signature: options.signature }),
    ...(cache === undefined ? {} : { cache }),
  })
  if (digestCache !== undefined && cache !== undefined) writeCache?.(digestCache, cache)
  return result
}

function verifyArchive(
  archive: Archive,
  options: Options,
  common: Omit<VerifyModelOptions, 'onProgress'>,
  onProgress: ProgressLine['onProgress'],
): Promise<ModelResult> {
  if (options.digestCache !== undefined)
    throw new ZtError('USAGE', 'an archive is read whole: --digest-cache is for models on disk')
  const { stream, file, name, signature } = archive
  return examineTar(stream, {
    ...common,
    name,
    ...(file === undefined || options.stripComponents !== undefined ? {} : { file }),
    signature,
    ignorePaths: options.ignore,
    ...(options.stripComponents === undefined ? {} : { stripComponents: options.stripComponents }),
    ...archiveProgress(archive, onProgress),
  })
}
