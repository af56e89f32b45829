import { afterEach, describe, expect, it } from 'vitest'
import { onnxSession, serveTransformers, type TransformersEnv } from '../../src/gate/adapters.ts'
import { openSigned } from '../../src/gate/open-verified.ts'
import type { VerifiedModel } from '../../src/gate/open.ts'
import { signModel } from '../../src/sign/model.ts'
import { doubling } from './onnx.ts'
import { signerOf } from './scene.ts'
import { stage, type Stage } from './stage.ts'

let s: Stage
afterEach(() => {
  s.close()
})

async function opened(): Promise<VerifiedModel> {
  s = await stage({}, { 'model.onnx': doubling() })
  const { manifest } = await signModel(s.model, { signer: signerOf('release') })
  if (manifest === null) throw new Error('not signed')
  return openSigned(s.model, manifest)
}

/** As `onnxruntime-node`: takes a path or bytes; a path would be read behind our back. */
const runtime = {
  InferenceSession: {
    create: (model: Uint8Array, options?: { readonly threads: number }) => {
      if (typeof model === 'string') throw new Error('a path')
      return Promise.resolve({ bytes: model, options })
    },
  },
}

describe('onnxruntime', () => {
  it('gets the verified bytes and the options', async () => {
    const model = await opened()
    const session = await onnxSession(runtime, model, 'model.onnx', { threads: 1 })
    expect(Buffer.from(session.bytes).equals(Buffer.from(doubling()))).toBe(true)
    expect(session.options).toEqual({ threads: 1 })
    model.close()
  })

  it('gets nothing if a byte was changed', async () => {
    const model = await opened()
    const bytes = doubling()
    bytes[20] = (bytes[20] ?? 0) ^ 1
    s.write('model.onnx', bytes)
    await expect(onnxSession(runtime, model, 'model.onnx')).rejects.toMatchObject({
      code: 'FILE_CHANGED',
    })
    model.close()
  })
})

interface Cache {
  match(name: string): Promise<Response | undefined>
  put(): Promise<void>
}

/** As transformers.js' `env`, and as its hub.js asks: first the cache by two names, then `fetch`. */
class Library implements TransformersEnv {
  allowLocalModels = true
  allowRemoteModels = false
  remoteHost = 'https://huggingface.co/'
  remotePathTemplate = '{model}/resolve/{revision}/'
  useBrowserCache = true
  useFSCache = true
  useCustomCache = false
  customCache: unknown = null
  fetch: unknown = () => Promise.reject(new Error('the network'))

  async file(id: string, name: string): Promise<string> {
    if (this.allowLocalModels || this.useFSCache) throw new Error('the file system')
    const url = `${this.remoteHost}${this.remotePathTemplate.replace('{model}', id)}${name}`
    const cache = this.customCache as Cache
    for (const key of [`/models/${id}/${name}`, url]) {
      const hit = await cache.match(key).catch(() => undefined)
      if (hit !== undefined) return hit.text()
    }
    const response = await (this.fetch as (url: string) => Promise<Response>)(url)
    return response.ok ? response.text() : `status ${String(response.status)}`
  }
}

describe('transformers.js', () => {
  it('finds signed files alone, whatever it looks for', async () => {
    const model = await opened()
    const library = new Library()
    const before = Object.entries(library)
    const restore = serveTransformers(library, new Map([['acme/tiny', model]]))
    expect(await library.file('acme/tiny', 'config.json')).toBe('{"good": true}\n')
    expect(await library.file('acme/tiny', '/sub/vocab.json')).toBe('{"a": 1}\n')
    for (const [id, name] of [
      ['acme/tiny', 'tokenizer.json'],
      ['acme/tiny', '../release.pub.pem'],
      ['acme/tiny', 'model.sig'],
      ['acme/other', 'config.json'],
    ] as const)
      expect(await library.file(id, name)).toBe('status 404')
    restore()
    expect(Object.entries(library)).toEqual(before)
    model.close()
  })

  it('gets an error, not another file, if a byte was changed', async () => {
    const model = await opened()
    const library = new Library()
    serveTransformers(library, new Map([['acme/tiny', model]]))
    s.write('config.json', '{"good": nope}\n')
    await expect(library.file('acme/tiny', 'config.json')).rejects.toMatchObject({
      code: 'FILE_CHANGED',
    })
    model.close()
  })
})
