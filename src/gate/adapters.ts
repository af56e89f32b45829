// The single owner of handing verified bytes to runtimes: onnxruntime-node and transformers.js, known by their shape and never imported.
import type { VerifiedModel } from './open.ts'

/** The part of `onnxruntime-node` (or `-web`) that is used. */
export interface OnnxRuntime<Session, Options> {
  readonly InferenceSession: {
    create(model: Uint8Array, options?: Options): Promise<Session>
  }
}

/**
 * An inference session over a verified `.onnx` file. The runtime gets the bytes, never a path. A model that keeps weights in further files
 * (external data) makes the runtime open those itself, unverified: run such a model with `zt4ai run --protection private-copy`. The runtime
 * refuses it here, since bytes without a path have no place to look beside.
 * @throws ZtError as `VerifiedModel.readFile`; what the runtime throws
 */
export async function onnxSession<Session, Options>(
  runtime: OnnxRuntime<Session, Options>,
  model: VerifiedModel,
  file: string,
  options?: Options,
): Promise<Session> {
  const bytes = await model.readFile(file)
  return options === undefined
    ? runtime.InferenceSession.create(bytes)
    : runtime.InferenceSession.create(bytes, options)
}

/** The part of transformers.js' `env` (version 3 and 4) that is used. */
export interface TransformersEnv {
  allowLocalModels: boolean
  allowRemoteModels: boolean
  remoteHost: string
  remotePathTemplate: string
  useBrowserCache: boolean
  useFSCache: boolean
  useCustomCache: boolean
  customCache: unknown
  fetch?: unknown
}

/** Where verified models are said to be. The name can't exist (RFC 6761 §6.4), so nothing else ever answers for it. */
const HOST = 'https://verified.invalid/'

const HOOKS = [
  'allowLocalModels',
  'allowRemoteModels',
  'remoteHost',
  'remotePathTemplate',
  'useBrowserCache',
  'useFSCache',
  'useCustomCache',
  'customCache',
  'fetch',
] as const satisfies readonly (keyof TransformersEnv)[]

/**
 * Makes transformers.js load from verified models alone: `pipeline(task, id)` and `from_pretrained(id)` find the signed files of the model
 * of that id, and nothing else: no file system, no cache, no network. A file that is not signed is not found; one that was changed is
 * an error.
 * @param env the library's `env`
 * @param models by the id that the program uses, for example `acme/tiny`
 * @returns puts back what was there before
 */
export function serveTransformers(
  env: TransformersEnv,
  models: ReadonlyMap<string, VerifiedModel>,
): () => void {
  const before = Object.fromEntries(HOOKS.map((key) => [key, env[key]]))
  const answer = (url: unknown): Promise<Response | undefined> => respond(models, String(url))
  env.allowLocalModels = false
  // What is called remote here is only what the two hooks below give.
  env.allowRemoteModels = true
  env.remoteHost = HOST
  env.remotePathTemplate = '{model}/'
  env.useBrowserCache = false
  env.useFSCache = false
  env.useCustomCache = true
  env.customCache = { match: answer, put: () => Promise.resolve() }
  env.fetch = async (url: unknown): Promise<Response> =>
    (await answer(url)) ?? new Response(null, { status: 404 })
  return () => {
    Object.assign(env, before)
  }
}

/** Undefined for what is no signed file. */
async function respond(
  models: ReadonlyMap<string, VerifiedModel>,
  url: string,
): Promise<Response | undefined> {
  if (!url.startsWith(HOST)) return undefined
  const path = url.slice(HOST.length).replace(/\/{2,}/g, '/')
  for (const [id, model] of models) {
    if (!path.startsWith(`${id}/`)) continue
    const name = path.slice(id.length + 1)
    const file = model.files.get(name)
    if (file === undefined) continue
    const bytes = await model.readFile(name)
    return new Response(bytes, {
      headers: {
        'content-length': String(bytes.length),
        'content-type': name.endsWith('.json') ? 'application/json' : 'application/octet-stream',
      },
    })
  }
  return undefined
}
