// The single owner of signing a model: hash, statement, signature, bundle, file, in this order, all or nothing.
import { MAX_BUNDLE } from '../bundle/bundle.ts'
import { IN_TOTO } from '../bundle/dsse.ts'
import { checkPlace, defaultSignature, inModel, SIGNATURE_NAME } from '../bundle/location.ts'
import { writeBundle, writeStatement } from '../bundle/write.ts'
import { ZtError } from '../error.ts'
import { identifyModel } from '../model/identify.ts'
import type { Identity, IdentifyOptions } from '../model/identify.ts'
import type { Manifest } from '../model/manifest.ts'
import type { Check } from '../verdict.ts'
import { removeLeftovers, writeAtomically } from '../model/atomic.ts'
import type { Signer } from './signer.ts'

export interface SignModelOptions extends IdentifyOptions {
  readonly signer: Signer
  /** Where the signature goes. Default: `MODEL/model.sig` for a directory, `MODEL.sig` for a file. */
  readonly signature?: string
}

export interface SignedModel {
  /** Null if the model can't be signed: `checks` says why, and nothing was written. */
  readonly manifest: Manifest | null
  /** Every problem and warning. */
  readonly checks: readonly Check[]
  /** Where the signature is. */
  readonly signature: string
  readonly files: number
  readonly bytes: number
}

/**
 * Signs a model and writes its signature. The signature's own path is left out of what is signed, and recorded as left out
 * (OMS v1.0 §6.2). The same model, options and name give the same payload, byte for byte.
 * @throws ZtError where nothing can be signed: the model or the signature's place can't be used, no signature could be made
 */
export async function signModel(path: string, options: SignModelOptions): Promise<SignedModel> {
  const signature = options.signature ?? defaultSignature(path)
  checkPlace(signature)
  removeLeftovers(signature)
  const own = inModel(path, signature)
  const ignorePaths = [...(options.ignorePaths ?? []), ...(own === null ? [] : [own])]
  const identity = await identifyModel(path, { ...options, ignorePaths })
  return { ...identity, signature, ...(await seal(identity, options.signer, signature)) }
}

export interface SignTarOptions extends Omit<IdentifyOptions, 'onProgress' | 'reuse'> {
  readonly signer: Signer
  /** The model's name. */
  readonly name: string
  /** Where the signature goes. */
  readonly signature: string
  /** Leading parts of every name to drop, as `tar --strip-components`. */
  readonly stripComponents?: number
  readonly onProgress?: (progress: { readonly bytes: number }) => void
}

/**
 * Signs a model that comes as a tar or tar.gz stream, without unpacking it: the same payload as the unpacked directory of that name, whose
 * signature lies at its default place.
 * @throws ZtError as `signModel`; TAR_INVALID, TAR_TOO_LARGE
 */
export async function signTar(
  stream: AsyncIterable<Uint8Array>,
  options: SignTarOptions,
): Promise<SignedModel> {
  checkPlace(options.signature)
  const { identifyTar } = await import('../model/tar.ts')
  const ignorePaths = [...(options.ignorePaths ?? []), SIGNATURE_NAME]
  const identity = await identifyTar(stream, { ...options, ignorePaths })
  const { signature } = options
  return { ...identity, signature, ...(await seal(identity, options.signer, signature)) }
}

/** Signs what was hashed and writes the bundle; nothing if the model has problems. */
export async function seal(
  { manifest }: Pick<Identity, 'manifest'>,
  signer: Signer,
  signature: string,
): Promise<{ readonly bundle?: Uint8Array }> {
  if (manifest === null) return {}
  const bundle = await signStatement(writeStatement(manifest), signer)
  writeAtomically(signature, bundle)
  return { bundle }
}

/**
 * Signs any in-toto statement (UTF-8 JSON) and gives the bundle. What is in it is the caller's affair.
 * @throws ZtError TOO_LARGE, and what the signer throws
 */
export async function signStatement(statement: Uint8Array, signer: Signer): Promise<Uint8Array> {
  const { signature, verificationMaterial } = await signer.sign(IN_TOTO, statement)
  const bundle = writeBundle(statement, signature, verificationMaterial)
  if (bundle.length > MAX_BUNDLE)
    throw new ZtError('TOO_LARGE', `the bundle is larger than ${MAX_BUNDLE} bytes`, {
      hint: 'sign parts of the model on their own, or use larger shards',
    })
  return bundle
}
