import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { openSigned, openVerified } from '../../src/gate/open-verified.ts'
import type { VerifiedModel } from '../../src/gate/open.ts'
import { policyFrom } from '../../src/gate/policy.ts'
import { openAllTensors, openTensors } from '../../src/gate/tensors.ts'
import { identifyModel } from '../../src/model/identify.ts'
import type { Manifest } from '../../src/model/manifest.ts'
import { signModel, type SignModelOptions } from '../../src/sign/model.ts'
import { AT, PARTIES, safetensors, signerOf } from './scene.ts'
import { largeTensor, policyText, stage, type Stage } from './stage.ts'

const MB = 1024 * 1024
let s: Stage
let model: VerifiedModel | null = null
afterEach(() => {
  model?.close()
  model = null
  s.close()
})

async function manifestOf(signing: Partial<SignModelOptions> = {}): Promise<Manifest> {
  const { manifest } = await signModel(s.model, { signer: signerOf('release'), ...signing })
  if (manifest === null) throw new Error('not signed')
  return manifest
}

async function opened(
  signing: Partial<SignModelOptions> = {},
  files: Record<string, Uint8Array> = {},
  memory?: number,
): Promise<VerifiedModel> {
  s = await stage(signing, files)
  model = await openSigned(
    s.model,
    await manifestOf(signing),
    memory === undefined ? {} : { memory },
  )
  return model
}

/** Bytes that differ everywhere. */
function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) * 17 + (i >> 16)) & 0xff
  return bytes
}

async function whole(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0
const policy = (rule?: string) =>
  policyFrom(utf8Encode(policyText(rule)), () => utf8Encode(PARTIES.release.publicPem))

describe('openVerified, under a policy', () => {
  it('gives the verdict with the level in-memory, and a reader of the signed files alone', async () => {
    s = await stage()
    const result = await openVerified(s.model, {
      policy: policy('protection: in-memory'),
      at: AT,
      now: AT,
    })
    model = result.model
    expect(result.verdict).toMatchObject({ decision: 'allow', protection: 'in-memory' })
    expect([...(model?.files.keys() ?? [])]).toEqual([
      'config.json',
      'sub/vocab.json',
      'weights.safetensors',
    ])
    const bytes = await model?.readFile('config.json')
    expect(new TextDecoder().decode(bytes)).toBe('{"good": true}\n')
  })

  it('gives no reader if it is refused', async () => {
    s = await stage()
    s.write('config.json', '{"good": nope}\n')
    const result = await openVerified(s.model, { policy: policy(), at: AT, now: AT })
    expect(result.verdict.decision).toBe('deny')
    expect(result.model).toBeNull()
  })
})

const WAYS: readonly (readonly [string, Partial<SignModelOptions>, number | undefined])[] = [
  ['whole, small enough to keep', {}, undefined],
  ['whole, larger than may be kept', {}, MB],
  ['in shards', { shardSize: 300_000 }, undefined],
  ['in shards larger than may be kept', { shardSize: 2_500_000 }, MB],
  ['whole, with BLAKE2b', { hashType: 'blake2b' }, undefined],
  ['in shards, with BLAKE3', { shardSize: 1_000_000, hashType: 'blake3' }, undefined],
]

describe.each(WAYS)('a file signed %s', (_, signing, memory) => {
  const bytes = pattern(3_300_001)

  it('is read whole, in parts and as a stream: always the signed bytes', async () => {
    const reader = await opened(signing, { 'data.bin': bytes }, memory)
    expect(same(await reader.readFile('data.bin'), bytes)).toBe(true)
    expect(same(await whole(reader.stream('data.bin')), bytes)).toBe(true)
    for (let i = 0; i < 2; i++) {
      let at = 0
      for await (const part of reader.stream('data.bin', { reuse: true })) {
        expect(same(part, bytes.subarray(at, at + part.length))).toBe(true)
        at += part.length
      }
      expect(at).toBe(bytes.length)
    }
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length), fc.nat(bytes.length), async (a, b) => {
        const [start, end] = a < b ? [a, b] : [b, a]
        return same(await reader.read('data.bin', start, end), bytes.subarray(start, end))
      }),
      { numRuns: 25, seed: 1 },
    )
  })

  it('never gives a byte that was changed, wherever that is', async () => {
    const reader = await opened(signing, { 'data.bin': bytes }, memory)
    for (const at of [0, 299_999, 1_700_000, bytes.length - 1]) {
      const changed = bytes.slice()
      changed[at] = (changed[at] ?? 0) ^ 1
      s.write('data.bin', changed)
      const fresh = await openSigned(
        s.model,
        reader.manifest,
        memory === undefined ? {} : { memory },
      )
      await expect(fresh.readFile('data.bin')).rejects.toMatchObject({ code: 'FILE_CHANGED' })
      await expect(fresh.read('data.bin', at, at + 1)).rejects.toMatchObject({
        code: 'FILE_CHANGED',
      })
      const given: Uint8Array[] = []
      const reading = (async () => {
        for await (const part of fresh.stream('data.bin')) given.push(part)
      })()
      await expect(reading).rejects.toMatchObject({ code: 'FILE_CHANGED' })
      const got = Buffer.concat(given)
      expect(got.length).toBeLessThanOrEqual(at)
      expect(same(got, bytes.subarray(0, got.length))).toBe(true)
      fresh.close()
    }
  })

  it('is refused if it became shorter or longer', async () => {
    const reader = await opened(signing, { 'data.bin': bytes }, memory)
    s.write('data.bin', bytes.subarray(0, bytes.length - 1))
    await expect(reader.readFile('data.bin')).rejects.toMatchObject({ code: 'FILE_CHANGED' })
    await expect(whole(reader.stream('data.bin'))).rejects.toMatchObject({ code: 'FILE_CHANGED' })
    s.write('data.bin', pattern(bytes.length + 1))
    // What was signed is still there, and nothing behind it is ever given.
    expect(same(await reader.readFile('data.bin'), bytes)).toBe(true)
  })
})

describe('reading in parts', () => {
  it('reads just the shards that are asked for', async () => {
    const bytes = pattern(1_000_000)
    const reader = await opened({ shardSize: 100_000 }, { 'data.bin': bytes })
    const changed = bytes.slice()
    changed[950_000] = 0
    changed[950_001] = 0
    s.write('data.bin', changed)
    expect(
      same(await reader.read('data.bin', 100_050, 300_010), bytes.subarray(100_050, 300_010)),
    ).toBe(true)
    await expect(reader.read('data.bin', 0, 1_000_000)).rejects.toMatchObject({
      code: 'FILE_CHANGED',
    })
  })

  it('gives memory that is nobody else’s: what a caller writes into it, no other one sees', async () => {
    const bytes = pattern(50_000)
    const reader = await opened({}, { 'data.bin': bytes })
    const first = await reader.read('data.bin', 10, 20)
    first.fill(0xff)
    expect(same(await reader.read('data.bin', 10, 20), bytes.subarray(10, 20))).toBe(true)
    const all = await reader.readFile('data.bin')
    all.fill(0xff)
    expect(same(await reader.readFile('data.bin'), bytes)).toBe(true)
  })

  it('notices a change between two readings of a file too large to keep', async () => {
    const bytes = pattern(3_000_000)
    const reader = await opened({}, { 'data.bin': bytes }, MB)
    await reader.read('data.bin', 0, 10)
    const changed = bytes.slice()
    changed[2_999_999] = 0x55
    s.write('data.bin', changed)
    expect(
      same(
        await reader.read('data.bin', 2_000_000, 2_000_010),
        bytes.subarray(2_000_000, 2_000_010),
      ),
    ).toBe(true)
    await expect(reader.read('data.bin', 2_999_990, 3_000_000)).rejects.toMatchObject({
      code: 'FILE_CHANGED',
    })
  })

  it.each([
    [-1, 5],
    [5, 4],
    [0, 1_000_000],
    [Number.NaN, 5],
  ])('refuses the range %s to %s', async (start, end) => {
    const reader = await opened()
    await expect(reader.read('config.json', start, end)).rejects.toMatchObject({ code: 'USAGE' })
  })

  it('streams many shards on all cores, in order', async () => {
    const bytes = pattern(70 * MB)
    const reader = await opened({ shardSize: 8 * MB + 5 }, { 'data.bin': bytes })
    let at = 0
    for await (const part of reader.stream('data.bin')) {
      expect(same(part, bytes.subarray(at, at + part.length))).toBe(true)
      at += part.length
    }
    expect(at).toBe(bytes.length)
    at = 0
    for await (const part of reader.stream('data.bin', { reuse: true })) {
      expect(same(part, bytes.subarray(at, at + part.length))).toBe(true)
      at += part.length
    }
    expect(at).toBe(bytes.length)
    // and given up early
    for await (const part of reader.stream('data.bin')) {
      expect(part.length).toBe(8 * MB + 5)
      break
    }
    const changed = bytes.slice()
    changed[40 * MB] = (changed[40 * MB] ?? 0) ^ 1
    s.write('data.bin', changed)
    let given = 0
    const reading = (async () => {
      for await (const part of reader.stream('data.bin')) given += part.length
    })()
    await expect(reading).rejects.toMatchObject({ code: 'FILE_CHANGED' })
    expect(given).toBeLessThanOrEqual(40 * MB)
  })
})

describe('what another process does after the verdict', () => {
  const EVIL = '{"evil": true}\n'

  it('a rename over a file: FILE_CHANGED', async () => {
    const reader = await opened()
    writeFileSync(s.path('evil'), EVIL)
    renameSync(s.path('evil'), join(s.model, 'config.json'))
    await expect(reader.readFile('config.json')).rejects.toMatchObject({ code: 'FILE_CHANGED' })
  })

  it('an overwrite in place: FILE_CHANGED', async () => {
    const reader = await opened()
    s.write('config.json', EVIL)
    await expect(reader.readFile('config.json')).rejects.toMatchObject({ code: 'FILE_CHANGED' })
  })

  it('a symbolic link, as a file or on the way: FILE_UNSTABLE', async () => {
    const reader = await opened()
    writeFileSync(s.path('evil'), EVIL)
    rmSync(join(s.model, 'config.json'))
    symlinkSync(s.path('evil'), join(s.model, 'config.json'))
    await expect(reader.readFile('config.json')).rejects.toMatchObject({ code: 'FILE_UNSTABLE' })
    renameSync(join(s.model, 'sub'), s.path('sub'))
    symlinkSync(s.path('sub'), join(s.model, 'sub'))
    await expect(reader.readFile('sub/vocab.json')).rejects.toMatchObject({ code: 'FILE_UNSTABLE' })
  })

  it('an added file: it does not exist', async () => {
    const reader = await opened()
    s.write('extra.json', EVIL)
    await expect(reader.readFile('extra.json')).rejects.toMatchObject({ code: 'FILE_MISSING' })
  })

  it('another directory in its place: the signed bytes, since the first is held open', async () => {
    const reader = await opened()
    renameSync(s.model, s.path('old'))
    s.write('config.json', EVIL)
    expect(new TextDecoder().decode(await reader.readFile('config.json'))).toBe('{"good": true}\n')
  })
})

describe('opening', () => {
  it('refuses a model without a signed file, or with one of another size', async () => {
    s = await stage({ shardSize: 5 })
    const manifest = await manifestOf({ shardSize: 5 })
    s.write('config.json', '{}')
    await expect(openSigned(s.model, manifest)).rejects.toMatchObject({ code: 'FILE_CHANGED' })
    rmSync(join(s.model, 'config.json'))
    await expect(openSigned(s.model, manifest)).rejects.toMatchObject({ code: 'FILE_MISSING' })
  })

  it('reads a model that is one file, under both names that signers use', async () => {
    s = await stage()
    const file = s.path('one.safetensors')
    writeFileSync(file, safetensors())
    for (const compat of [{}, { compat: 'reference' as const }]) {
      const { manifest } = await identifyModel(file, compat)
      if (manifest === null) throw new Error('not identified')
      const reader = await openSigned(file, manifest)
      expect(same(await reader.readFile('one.safetensors'), safetensors())).toBe(true)
      reader.close()
    }
  })

  it('gives nothing after it was closed', async () => {
    const reader = await opened()
    reader.close()
    reader.close()
    await expect(reader.readFile('config.json')).rejects.toMatchObject({ code: 'INTERRUPTED' })
  })
})

describe('tensors', () => {
  /** A file of named F32 and BF16 tensors. */
  function file(names: readonly string[]): Uint8Array {
    const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
    names.forEach((name, i) => {
      header[name] =
        i % 2 === 0
          ? { dtype: 'F32', shape: [2, 2], data_offsets: [i * 16, i * 16 + 16] }
          : { dtype: 'BF16', shape: [8], data_offsets: [i * 16, i * 16 + 16] }
    })
    const json = Buffer.from(JSON.stringify(header))
    const bytes = Buffer.alloc(8 + json.length + names.length * 16)
    bytes.writeBigUInt64LE(BigInt(json.length))
    json.copy(bytes, 8)
    names.forEach((_, i) => {
      for (let k = 0; k < 4; k++) bytes.writeFloatLE(i + k / 4, 8 + json.length + i * 16 + k * 4)
    })
    return bytes
  }

  it.each([{}, { shardSize: 40 }])(
    'come with their own values, however they were signed',
    async (signing) => {
      const reader = await opened(signing, { 'a.safetensors': file(['x', 'y', 'z']) })
      const tensors = await openTensors(reader, 'a.safetensors')
      expect([...tensors.keys()]).toEqual(['x', 'y', 'z'])
      expect(await tensors.get('x')?.values()).toEqual(new Float32Array([0, 0.25, 0.5, 0.75]))
      expect(await tensors.get('z')?.values()).toEqual(new Float32Array([2, 2.25, 2.5, 2.75]))
      expect(await tensors.get('y')?.values()).toBeInstanceOf(Uint16Array)
      expect(tensors.get('y')).toMatchObject({ dtype: 'BF16', shape: [8], file: 'a.safetensors' })
    },
  )

  it('of all files together, each name once', async () => {
    const reader = await opened(
      {},
      { 'a.safetensors': file(['x']), 'b.safetensors': file(['y', 'z']) },
    )
    expect([...(await openAllTensors(reader)).keys()].sort()).toEqual(['weight', 'x', 'y', 'z'])
    const twice = await opened({}, { 'a.safetensors': file(['x']), 'b.safetensors': file(['x']) })
    await expect(openAllTensors(twice)).rejects.toMatchObject({ code: 'SAFETENSORS_INVALID' })
  })

  it('of a header that lies are refused, even if it was signed', async () => {
    const long = Buffer.from(largeTensor(100))
    long.writeBigUInt64LE(1n << 40n)
    const reader = await opened(
      {},
      { 'a.safetensors': long, 'short.safetensors': new Uint8Array(5) },
    )
    for (const name of ['a.safetensors', 'short.safetensors'])
      await expect(openTensors(reader, name)).rejects.toMatchObject({ code: 'SAFETENSORS_INVALID' })
  })

  it('that were changed are refused when they are read, in shards only they', async () => {
    const bytes = file(['x', 'y', 'z'])
    const reader = await opened({ shardSize: 16 }, { 'a.safetensors': bytes })
    const changed = Buffer.from(bytes)
    changed[bytes.length - 1] = (changed[bytes.length - 1] ?? 0) ^ 1
    s.write('a.safetensors', changed)
    const tensors = await openTensors(reader, 'a.safetensors')
    expect(await tensors.get('x')?.values()).toEqual(new Float32Array([0, 0.25, 0.5, 0.75]))
    await expect(tensors.get('z')?.bytes()).rejects.toMatchObject({ code: 'FILE_CHANGED' })
  })
})
