// The single owner of verifying a model: its signature, then every file, joined into one verdict.
import { basename, resolve } from 'node:path'
import { formatTime } from '../../attestation/lib/index.ts'
import { defaultSignature, inModel, readSignature, SIGNATURE_NAME } from '../bundle/location.ts'
import { compareModel } from '../model/compare.ts'
import type { CompareOptions, Comparison } from '../model/compare.ts'
import { parseShardName } from '../model/manifest.ts'
import type { Manifest } from '../model/manifest.ts'
import { makeVerdict } from '../verdict.ts'
import type { Check, Verdict } from '../verdict.ts'
import type { SignatureResult, Trust } from './result.ts'
import { verifySignature } from './statement.ts'

export interface VerifyModelOptions extends CompareOptions {
  readonly trust: Trust
  /** The time at which everything is judged. */
  readonly at: Date
  /** Where the signature is. Default: `MODEL/model.sig` for a directory, `MODEL.sig` for a file. */
  readonly signature?: string
}

/** A verdict with the facts behind it. `files` is null if the signature was refused: no file was read then. */
export interface ModelResult {
  readonly verdict: Verdict
  readonly signature: SignatureResult
  readonly files: Comparison | null
}

/**
 * Verifies a model: `allow` only if the trusted signer signed exactly these files.
 * @throws ZtError where no verdict can be reached: the model or the trust can't be read, or it was interrupted
 */
export async function verifyModel(path: string, options: VerifyModelOptions): Promise<Verdict> {
  return (await examineModel(path, options)).verdict
}

/** The same, with the authenticated facts and the differences. */
export async function examineModel(
  path: string,
  options: VerifyModelOptions,
): Promise<ModelResult> {
  const place = options.signature ?? defaultSignature(path)
  const bytes = readSignature(place)
  const signature =
    bytes === null ? unsigned(place) : await verifySignature(bytes, options.trust, options.at)
  const { manifest } = signature
  let files: Comparison | null = null
  if (manifest !== null) {
    const own = inModel(path, place)
    files = await compareModel(path, manifest, {
      ...options,
      ignorePaths: [...(options.ignorePaths ?? []), ...(own === null ? [] : [own])],
    })
  }
  return {
    verdict: joined(basename(resolve(path)), options.at, signature, files),
    signature,
    files,
  }
}

export interface VerifyTarOptions {
  readonly trust: Trust
  readonly at: Date
  /** Where the signature is. */
  readonly signature: string
  /** What the model is called in the verdict. */
  readonly name: string
  /** The archive's own path, where it is a file: other tools sign an archive as the one file of a model, and then that is compared. */
  readonly file?: string
  readonly ignorePaths?: readonly string[]
  readonly ignoreUnsigned?: boolean
  /** Leading parts of every name to drop, as `tar --strip-components`. */
  readonly stripComponents?: number
  readonly fsverity?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly bytes: number }) => void
}

/**
 * The same for a model that comes as a tar or tar.gz stream, without unpacking it. A signature inside of it is passed over.
 * @throws ZtError as `examineModel`; TAR_INVALID, TAR_TOO_LARGE
 */
export async function examineTar(
  stream: AsyncIterable<Uint8Array>,
  options: VerifyTarOptions,
): Promise<ModelResult> {
  const bytes = readSignature(options.signature)
  const signature =
    bytes === null
      ? unsigned(options.signature)
      : await verifySignature(bytes, options.trust, options.at)
  let files: Comparison | null = null
  const { manifest } = signature
  if (manifest !== null && options.file !== undefined && namesItself(manifest, options.file))
    files = await compareModel(options.file, manifest, options)
  else if (manifest !== null) {
    const { compareTar } = await import('../model/tar.ts')
    files = await compareTar(stream, manifest, { ...options, ownSignature: SIGNATURE_NAME })
  }
  return { verdict: joined(options.name, options.at, signature, files), signature, files }
}

/** True if what was signed is one file: this one, whatever is in it. */
function namesItself({ serialization, resources }: Manifest, file: string): boolean {
  const paths = new Set(
    resources.map(({ name }) =>
      serialization.method === 'files' ? name : (parseShardName(name)?.path ?? ''),
    ),
  )
  const [only = ''] = paths
  return paths.size === 1 && (only === '.' || only === basename(file))
}

/** The verdict over a signature and the files that were compared with it. */
export function joined(
  name: string,
  at: Date,
  signature: SignatureResult,
  files: Pick<Comparison, 'checks'> | null,
): Verdict {
  const { manifest } = signature
  return makeVerdict({
    at: formatTime(wholeSeconds(at)),
    subject: {
      name,
      ...(manifest === null ? {} : { digest: { sha256: manifest.root } }),
    },
    policy: null,
    checks: [...signature.checks, ...(files === null ? [notRead()] : files.checks)],
    inputs: signature.inputs,
  })
}

function wholeSeconds(at: Date): Date {
  return new Date(Math.floor(at.getTime() / 1000) * 1000)
}

function notRead(): Check {
  return {
    id: 'model.files',
    status: 'skip',
    code: 'FILES_UNREAD',
    message: 'no file was read: without a valid signature there is nothing to compare with',
  }
}

function unsigned(place: string): SignatureResult {
  return {
    checks: [
      {
        id: 'signature.bundle',
        status: 'fail',
        code: 'SIGNATURE_NOT_FOUND',
        message: 'the model has no signature here',
        expected: place,
        actual: 'nothing',
        hint: 'say where it is with --signature, or have the model signed',
      },
    ],
    authenticated: null,
    manifest: null,
    inputs: [],
  }
}
