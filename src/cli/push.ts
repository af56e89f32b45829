// The single owner of `zt4ai push`: a signed model into a registry, its signature before its manifest.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { basename, resolve } from 'node:path'
import { Command } from 'commander'
import { decodeBundle } from '../bundle/bundle.ts'
import { defaultSignature, inModel, readSignature } from '../bundle/location.ts'
import { decodeManifest, decodeStatement, PREDICATE_TYPE } from '../bundle/statement.ts'
import { ZtError } from '../error.ts'
import { compareModel, unsignedDefaults } from '../model/compare.ts'
import type { Manifest } from '../model/manifest.ts'
import { packTar } from '../model/pack.ts'
import { hashFiles } from '../model/pool.ts'
import { walkModel, type Walk } from '../model/walk.ts'
import { pushModel, type PushedFile } from '../registry/push.ts'
import { BUNDLE_TYPE, bundleAnnotations } from '../registry/referrers.ts'
import { formatReference, parseReference } from '../registry/reference.ts'
import { EXIT } from './exit.ts'
import { interruptible, readCount } from './options.ts'
import { progressLine } from './progress.ts'
import { addRegistry, type RegistryOptions } from './registry-options.ts'
import { connect } from './registry.ts'
import { coloured, renderChecks } from './render.ts'

interface Options extends RegistryOptions {
  readonly signature?: string
  readonly tar?: boolean
  readonly parallel: number
  readonly json?: boolean
}

const HELP = `
The signature is attached first and the model's manifest is written last, so the registry never shows the model unsigned.
Only the signed files are pushed. Credentials are taken from Docker's config (docker login).
Exit codes: 0 pushed, 1 the files are not the signed ones, 2 usage error, 3 failed.

Examples:
  $ zt4ai push ./my-model oci://registry.example/team/my-model:v1
  $ zt4ai push ./my-model oci://localhost:5000/my-model:v1 --plain-http --json
`

/** The command. */
export function command(): Command {
  const push = new Command('push')
    .summary('put a signed model into a registry')
    .description(
      'Push a signed model to an OCI registry as a CNCF ModelPack artifact, each file a raw layer.',
    )
    .argument('<model>', 'the directory or file')
    .argument('<reference>', 'oci://HOST/REPOSITORY[:TAG]')
    .option(
      '--signature <file>',
      'the signature (default: MODEL/model.sig for a directory, MODEL.sig for a file)',
    )
    .option(
      '--tar',
      'one tar layer instead of a raw layer for each file (then admission must read it)',
    )
    .option('--parallel <n>', 'blobs uploaded at the same time', readCount, 4)
    .option('--json', 'write what was pushed as JSON')
    .addHelpText('after', HELP)
    .action(run)
  return addRegistry(push)
}

async function run(model: string, to: string, options: Options): Promise<void> {
  const reference = parseReference(to)
  if (reference.digest !== undefined)
    throw new ZtError('USAGE', 'push to a tag: the digest is what comes out')
  const place = options.signature ?? defaultSignature(model)
  const bundle = readSignature(place)
  if (bundle === null) {
    throw new ZtError('SIGNATURE_NOT_FOUND', 'the model has no signature here', {
      path: place,
      hint: 'sign it first: zt4ai sign',
    })
  }
  const manifest = readManifest(bundle)
  const own = inModel(model, place)
  const ignorePaths = own === null ? [] : [own]
  const comparing = progressLine('comparing')
  const { checks } = await interruptible((signal) =>
    compareModel(model, manifest, {
      ignorePaths,
      signal,
      ...(comparing.onProgress === undefined ? {} : { onProgress: comparing.onProgress }),
    }),
  ).finally(() => {
    comparing.done()
  })
  if (checks.some(({ status }) => status === 'fail')) {
    process.stderr.write(renderChecks(checks, coloured(process.stderr)))
    process.stderr.write('not pushed: the files are not the signed ones\n')
    process.exitCode = EXIT.refused
    return
  }
  const line = progressLine('pushing')
  const pushed = await interruptible(async (signal) => {
    const connection = connect(options, signal)
    const files = await signedFiles(model, manifest, ignorePaths)
    const content =
      options.tar === true ? { tar: await packed(files) } : { files: files.map(({ file }) => file) }
    return pushModel(connection.repository(reference), {
      name: basename(resolve(model)),
      content,
      attachments: [
        {
          mediaType: BUNDLE_TYPE,
          content: bundle,
          annotations: bundleAnnotations(PREDICATE_TYPE, new Date()),
        },
      ],
      parallel: options.parallel,
      ...(reference.tag === undefined ? {} : { tag: reference.tag }),
      ...(line.onProgress === undefined
        ? {}
        : { progress: (bytes, totalBytes) => line.onProgress?.({ bytes, totalBytes }) }),
    }).finally(() => connection.transport.close())
  }).finally(() => {
    line.done()
  })
  const pinned = formatReference({ ...reference, digest: pushed.digest })
  process.stdout.write(
    options.json === true
      ? `${JSON.stringify({ reference: pinned, ...pushed }, null, 2)}\n`
      : `${pinned}\n`,
  )
}

/** The list that the signature names. Nothing is decided by it here: it says which files to push, and they are compared with it. */
function readManifest(bundle: Uint8Array): Manifest {
  const { manifest } = decodeManifest(decodeStatement(decodeBundle(bundle).envelope.payload))
  if (manifest === null)
    throw new ZtError('MANIFEST_INVALID', 'the signature is not one over a model')
  return manifest
}

async function signedFiles(
  model: string,
  manifest: Manifest,
  ignorePaths: readonly string[],
): Promise<{ file: PushedFile; path: string }[]> {
  const { allowSymlinks, ignorePaths: left = [] } = manifest.serialization
  const walk = await walkModel(model, {
    allowSymlinks,
    defaultIgnores: false,
    ignorePaths: [...unsignedDefaults(manifest), ...ignorePaths, ...left],
  })
  const digests = await layerDigests(walk, manifest)
  return walk.files.map((found) => {
    const path = resolve(walk.root, found.source)
    const file: PushedFile = {
      path: nameIn(walk, found.name),
      size: found.size,
      sha256: digests.get(found.name) ?? '',
      open: (offset) => createReadStream(path, { start: offset, highWaterMark: 1024 * 1024 }),
    }
    return { file, path }
  })
}

/** What a layer is called in a registry: the SHA-256 of the file, which the signed list often has already. */
async function layerDigests(walk: Walk, manifest: Manifest): Promise<Map<string, string>> {
  const { method, hashType } = manifest.serialization
  const known = new Map(manifest.resources.map(({ name, digest }) => [name, digest]))
  const [only] = walk.files
  if (method === 'files' && hashType === 'sha256')
    return walk.single && only !== undefined
      ? new Map([[only.name, known.get(only.name) ?? known.get('.') ?? '']])
      : known
  const { files } = await hashFiles(walk.root, walk.files, { hashType: 'sha256' })
  return new Map(files.map(({ name, parts }) => [name, parts[0]?.digest ?? '']))
}

/** A single file that old signers called `.` has its own name in a registry. */
function nameIn(walk: Walk, name: string): string {
  return walk.single && name === '.' ? walk.name : name
}

async function packed(files: readonly { file: PushedFile; path: string }[]): Promise<PushedFile> {
  const entries = files.map(({ file, path }) => ({ name: file.path, size: file.size, path }))
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of packTar(entries)) {
    hash.update(chunk)
    size += chunk.length
  }
  return {
    path: '',
    size,
    sha256: hash.digest('hex'),
    open: (offset) => from(packTar(entries), offset),
  }
}

async function* from(stream: AsyncIterable<Uint8Array>, offset: number): AsyncIterable<Uint8Array> {
  let at = 0
  for await (const chunk of stream) {
    if (at + chunk.length > offset) yield chunk.subarray(Math.max(0, offset - at))
    at += chunk.length
  }
}
