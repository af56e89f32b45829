// The runtimes themselves, with tiny models made here: onnxruntime-node and transformers.js load verified bytes and nothing else.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  onnxSession,
  serveTransformers,
  type OnnxRuntime,
  type TransformersEnv,
} from '../../src/gate/adapters.ts'
import { openSigned } from '../../src/gate/open-verified.ts'
import type { VerifiedModel } from '../../src/gate/open.ts'
import { signModel } from '../../src/sign/model.ts'
import { doubling, echoing } from '../gate/onnx.ts'
import { signerOf } from '../gate/scene.ts'
import { stage, type Stage } from '../gate/stage.ts'

/** No dependencies of ours: put where npm's own cache of things that can be made again is. */
const FOLDER = fileURLToPath(new URL('../../node_modules/.cache/zt4ai-adapters/', import.meta.url))
const PACKAGES = ['onnxruntime-node@1.30.0', '@huggingface/transformers@4.3.0'] as const

beforeAll(() => {
  if (existsSync(join(FOLDER, 'node_modules/@huggingface/transformers/package.json'))) return
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(join(FOLDER, 'package.json'), '{"private": true}\n')
  const { status } = spawnSync(
    'npm',
    ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--prefix']
      .concat(FOLDER)
      .concat(PACKAGES),
    { stdio: ['ignore', 2, 2] },
  )
  if (status !== 0) throw new Error('the runtimes could not be installed')
}, 300_000)

async function load(name: string): Promise<unknown> {
  const require = createRequire(join(FOLDER, 'package.json'))
  return import(pathToFileURL(require.resolve(name)).href)
}

let s: Stage
let model: VerifiedModel
afterEach(() => {
  model.close()
  s.close()
})

async function opened(files: Record<string, Uint8Array>, shardSize?: number): Promise<void> {
  const signing = shardSize === undefined ? {} : { shardSize }
  s = await stage(signing, files)
  const { manifest } = await signModel(s.model, { signer: signerOf('release'), ...signing })
  if (manifest === null) throw new Error('not signed')
  model = await openSigned(s.model, manifest)
}

interface Tensor {
  readonly data: ArrayLike<number | bigint>
}
type TensorClass = new (type: string, data: unknown, dims: readonly number[]) => Tensor

describe('onnxruntime-node', () => {
  interface Session {
    run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>
  }
  type Runtime = OnnxRuntime<Session, object> & { readonly Tensor: TensorClass }
  const runtime = async (): Promise<Runtime> => {
    const loaded = (await load('onnxruntime-node')) as Runtime & { readonly default?: Runtime }
    return loaded.default ?? loaded
  }

  it.each([undefined, 16])('runs a model from verified bytes (shards: %s)', async (shardSize) => {
    await opened({ 'model.onnx': doubling() }, shardSize)
    const ort = await runtime()
    const session = await onnxSession(ort, model, 'model.onnx')
    const x = new ort.Tensor('float32', new Float32Array([1, 2, 3, 4.5]), [4])
    const { y } = await session.run({ x })
    expect(Array.from(y?.data ?? [])).toEqual([2, 4, 6, 9])
  })

  it('never sees a model that was changed', async () => {
    await opened({ 'model.onnx': doubling() })
    s.write('model.onnx', echoing())
    const ort = await runtime()
    await expect(onnxSession(ort, model, 'model.onnx')).rejects.toMatchObject({
      code: 'FILE_CHANGED',
    })
  })
})

describe('transformers.js', () => {
  interface Library {
    readonly env: TransformersEnv
    readonly Tensor: TensorClass
    readonly AutoModel: {
      from_pretrained(
        id: string,
        options: object,
      ): Promise<(inputs: object) => Promise<{ readonly last_hidden_state: Tensor }>>
    }
  }
  const CONFIG = new TextEncoder().encode(
    JSON.stringify({ model_type: 'bert', architectures: ['BertModel'] }),
  )
  const FILES = { 'config.json': CONFIG, 'model.onnx': echoing() }
  const OPTIONS = { dtype: 'fp32', subfolder: '', device: 'cpu' }

  it('loads and runs a model from verified files', async () => {
    await opened(FILES)
    const library = (await load('@huggingface/transformers')) as Library
    const restore = serveTransformers(library.env, new Map([['acme/tiny', model]]))
    const tiny = await library.AutoModel.from_pretrained('acme/tiny', OPTIONS)
    const ids = new library.Tensor('int64', BigInt64Array.from([5n, 6n, 7n]), [1, 3])
    const ones = new library.Tensor('int64', BigInt64Array.from([1n, 1n, 1n]), [1, 3])
    const output = await tiny({ input_ids: ids, attention_mask: ones })
    expect(Array.from(output.last_hidden_state.data)).toEqual([5, 6, 7])
    restore()
  })

  it('loads nothing that was changed, and nothing that is not signed', async () => {
    await opened(FILES)
    const library = (await load('@huggingface/transformers')) as Library
    const restore = serveTransformers(library.env, new Map([['acme/changed', model]]))
    s.write('model.onnx', doubling())
    await expect(library.AutoModel.from_pretrained('acme/changed', OPTIONS)).rejects.toThrow(
      /what was signed|not as signed/,
    )
    await expect(library.AutoModel.from_pretrained('acme/other', OPTIONS)).rejects.toThrow()
    restore()
  })
})
