// The single owner of opening a model under a policy: admitted first, then readable, each byte verified again in the memory that is handed out.
import type { Manifest } from '../model/manifest.ts'
import type { Verdict } from '../verdict.ts'
import { decide } from './admit.ts'
import { gather } from './gather.ts'
import type { AdmitRequest } from './question.ts'
import { VerifiedModel, type OpenOptions } from './open.ts'
import { pathSource, type PathSourceOptions } from './source.ts'

export interface OpenQuestion extends Omit<AdmitRequest, 'model'> {
  /** Where signatures lie beside the default place, and what is left out. */
  readonly source?: PathSourceOptions
}

/** `model` is null if the verdict is deny. */
export interface Opened {
  readonly verdict: Verdict
  readonly model: VerifiedModel | null
}

/**
 * Opens a model for verified reading. With a policy it is admitted first, with the protection `in-memory`: what every later reading hands
 * out was hashed in the very memory that it is handed out in, so nothing that happens to the files after the verdict is ever seen.
 *
 * | another process …                     | a later reading gives            |
 * |---------------------------------------|----------------------------------|
 * | renames a file over another           | FILE_CHANGED, or the signed bytes |
 * | overwrites a file in place            | FILE_CHANGED, or the signed bytes |
 * | swaps in a symbolic link              | FILE_UNSTABLE                    |
 * | adds a file                           | not visible: FILE_MISSING         |
 * | renames the directory                 | the signed bytes: it is held open |
 *
 * @throws ZtError as `admit`, and as `VerifiedModel.open`
 */
export async function openVerified(
  path: string,
  question: OpenQuestion,
  options: OpenOptions = {},
): Promise<Opened> {
  const { source, ...request } = question
  const gathered = await gather({ ...request, model: pathSource(path, source) })
  const { verdict, manifest } = decide(gathered, 'in-memory')
  if (verdict.decision === 'deny' || manifest === null) return { verdict, model: null }
  return { verdict, model: await VerifiedModel.open(path, manifest, options) }
}

/**
 * The same by a list of files whose signature the caller has verified. Nothing is judged, and no file is read yet.
 * @throws ZtError as `VerifiedModel.open`
 */
export function openSigned(
  path: string,
  manifest: Manifest,
  options: OpenOptions = {},
): Promise<VerifiedModel> {
  return VerifiedModel.open(path, manifest, options)
}
