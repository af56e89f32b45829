import { createHash } from 'node:crypto'
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareModel } from '../../src/model/compare.ts'
import { identifyModel, type IdentifyOptions } from '../../src/model/identify.ts'
import { HASH_TYPES, type Manifest } from '../../src/model/manifest.ts'
import { haveShared, shared } from '../shared.ts'
import { folder, noise } from './folder.ts'

async function manifestOf(path: string, options?: IdentifyOptions): Promise<Manifest> {
  const { manifest, checks } = await identifyModel(path, options)
  if (manifest === null) throw new Error(JSON.stringify(checks))
  return manifest
}
const sha256 = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex')
const codes = (result: { checks: readonly { code: string }[] }): string[] =>
  result.checks.map(({ code }) => code)

describe('identifyModel', () => {
  it('records parameters, defaults and digests', async () => {
    const path = folder({ 'b/w.bin': 'abc', 'a.json': '{}', 'm.sig': 'old' })
    const manifest = await manifestOf(path, { ignorePaths: ['m.sig', 'm.sig'] })
    const digests = [sha256('{}'), sha256('abc')]
    expect(manifest).toEqual({
      name: path.split('/').at(-1),
      serialization: {
        method: 'files',
        hashType: 'sha256',
        allowSymlinks: false,
        ignorePaths: ['.git', '.gitattributes', '.github', '.gitignore', 'm.sig'],
      },
      resources: [
        { name: 'a.json', algorithm: 'sha256', digest: digests[0] },
        { name: 'b/w.bin', algorithm: 'sha256', digest: digests[1] },
      ],
      root: sha256(Buffer.from(digests.join(''), 'hex')),
    })
  })
  it.runIf(haveShared)('gives the roots of the reference vectors', async () => {
    const ignorePaths = ['model.sig', 'ignore-me']
    const key = await manifestOf(shared('vectors/oms/v1.1.0-certificate'), { ignorePaths })
    expect(key.root.slice(0, 16)).toBe('61d4849d9d90076d')
    expect(key.resources.map(({ digest }) => digest)).toEqual([
      'f6310066c7320497ea554260c32c43660bff648cb2a61194832cc086077085e1',
      '32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028',
    ])
    const dir = shared('vectors/oms/v0.3.1-elliptic-key')
    const [model = ''] = readdirSync(dir).filter((name) => !name.endsWith('.sig'))
    const single = await manifestOf(join(dir, model), { compat: 'reference' })
    expect(single.root.slice(0, 16)).toBe('afa48c8674afe334')
    expect(single.resources[0]?.name).toBe('.')
  })
  it('is the concatenation of its shards', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4000 }),
        fc.integer({ min: 1, max: 5000 }),
        async (size, shardSize) => {
          const bytes = noise(size)
          const path = folder({ 'w:1:2': bytes })
          const manifest = await manifestOf(path, {
            method: 'shards',
            shardSize: Math.max(shardSize, 100),
          })
          const ends = manifest.resources.map(({ name }) => name.split(':').slice(-2).map(Number))
          ends.sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0))
          expect(ends[0]?.[0]).toBe(0)
          expect(ends.at(-1)?.[1]).toBe(size)
          for (const [start = 0, end = 0] of ends) {
            const found = manifest.resources.find(({ name }) => name === `w:1:2:${start}:${end}`)
            expect(found?.digest).toBe(sha256(bytes.subarray(start, end)))
          }
        },
      ),
      { numRuns: 30 },
    )
  })
  it('warns of empty files that shards do not cover', async () => {
    const identity = await identifyModel(folder({ a: '1', empty: '' }), {
      method: 'shards',
      shardSize: 10,
    })
    expect(identity.manifest?.resources).toHaveLength(1)
    expect(identity.checks).toMatchObject([
      { code: 'FILE_UNCOVERED', status: 'warn', actual: 'empty' },
    ])
    await expect(identifyModel(folder({ empty: '' }), { method: 'shards' })).rejects.toMatchObject({
      code: 'MODEL_EMPTY',
    })
  })
  it('does not sign what it can not vouch for', async () => {
    const path = folder({ a: '1' })
    symlinkSync('a', join(path, 'l'))
    symlinkSync('a', join(path, 'k'))
    expect(await identifyModel(path)).toMatchObject({
      manifest: null,
      checks: [{ code: 'FILE_LINK' }, { code: 'FILE_LINK' }],
    })
  })
  it('refuses parameters without meaning', async () => {
    const path = folder({ a: '1' })
    for (const shardSize of [0, -1, 1.5, NaN])
      await expect(identifyModel(path, { method: 'shards', shardSize })).rejects.toMatchObject({
        code: 'USAGE',
      })
    await expect(identifyModel(path, { method: 'files', shardSize: 5 })).rejects.toMatchObject({
      code: 'USAGE',
    })
    await expect(identifyModel(path, { method: 'shards', fsverity: true })).rejects.toMatchObject({
      code: 'USAGE',
    })
  })
})

describe('compareModel', () => {
  it('compares what is signed under the default ignored paths, as releases before 1.1.0 did', async () => {
    const path = folder({ a: 'x', '.gitattributes': 'y', '.git/HEAD': 'z' })
    const manifest = await manifestOf(path, { defaultIgnores: false })
    expect(await compareModel(path, manifest)).toMatchObject({ files: 3, missing: [], extra: [] })
    writeFileSync(join(path, '.git/extra'), 'x')
    writeFileSync(join(path, '.gitignore'), 'x') // nothing of that name is signed
    writeFileSync(join(path, '.gitattributes'), 'Y')
    const result = await compareModel(path, manifest)
    expect(result).toMatchObject({ extra: ['.git/extra'], changed: [{ name: '.gitattributes' }] })
    expect(await compareModel(path, manifest, { ignorePaths: ['.git'] })).toMatchObject({
      missing: ['.git/HEAD'],
    })
    const shards = await manifestOf(path, { defaultIgnores: false, shardSize: 5 })
    expect(await compareModel(path, shards)).toMatchObject({ files: 5, missing: [], extra: [] })
  })

  it('accepts what it identified, for every hash and method, on threads and in place', async () => {
    const path = folder({ 'a/b': noise(300_000), 'c.bin': noise(1_200_000, 7), d: 'x', e: '' })
    for (const hashType of HASH_TYPES)
      for (const method of ['files', 'shards'] as const) {
        const manifest = await manifestOf(path, {
          hashType,
          ...(method === 'shards' ? { shardSize: 250_001 } : {}),
        })
        const result = await compareModel(path, manifest)
        expect(codes(result)).toEqual(method === 'files' ? ['OK'] : ['OK', 'FILE_UNCOVERED'])
        expect(result.bytes).toBe(1_500_001)
      }
  })
  it('lists everything missing, extra and changed, with expected and actual', async () => {
    const path = folder({ 'x/1': 'a', 'x/2': 'b', 'x/3': 'c', y: 'd' })
    const manifest = await manifestOf(path)
    rmSync(join(path, 'x/1'))
    rmSync(join(path, 'y'))
    writeFileSync(join(path, 'x/2'), 'B')
    writeFileSync(join(path, 'x/3'), 'C')
    writeFileSync(join(path, 'z'), '')
    writeFileSync(join(path, 'A'), '')
    const result = await compareModel(path, manifest)
    expect(result).toMatchObject({
      missing: ['x/1', 'y'],
      extra: ['A', 'z'],
      changed: [
        { name: 'x/2', expected: `sha256:${sha256('b')}`, actual: `sha256:${sha256('B')}` },
        { name: 'x/3', expected: `sha256:${sha256('c')}`, actual: `sha256:${sha256('C')}` },
      ],
      ignored: [],
    })
    expect(codes(result)).toEqual([
      'FILE_MISSING',
      'FILE_MISSING',
      'FILE_EXTRA',
      'FILE_EXTRA',
      'FILE_CHANGED',
      'FILE_CHANGED',
    ])
    expect(result.checks.every(({ status }) => status === 'fail')).toBe(true)
  })
  it('finds a change of any one byte and of the length, files and shards', async () => {
    for (const method of ['files', 'shards'] as const) {
      const bytes = noise(700)
      const path = folder({ w: bytes })
      const manifest = await manifestOf(path, method === 'shards' ? { shardSize: 256 } : {})
      for (let i = 0; i < bytes.length; i += 7) {
        const changed = Buffer.from(bytes)
        changed[i] = (changed[i] ?? 0) ^ 1
        writeFileSync(join(path, 'w'), changed)
        const name =
          method === 'files'
            ? 'w'
            : `w:${Math.floor(i / 256) * 256}:${Math.min(700, (Math.floor(i / 256) + 1) * 256)}`
        expect((await compareModel(path, manifest)).changed.map((c) => c.name)).toEqual([name])
      }
      writeFileSync(join(path, 'w'), bytes.subarray(0, 512))
      expect((await compareModel(path, manifest)).changed).toHaveLength(1)
      writeFileSync(join(path, 'w'), bytes)
      appendFileSync(join(path, 'w'), 'x')
      expect((await compareModel(path, manifest)).changed).toHaveLength(1)
    }
  })
  it('takes resources in any order', async () => {
    const path = folder({ 'tokenizer.json': '1', 'tokenizer/vocab.json': '2' })
    const manifest = await manifestOf(path)
    const turned = { ...manifest, resources: [...manifest.resources].reverse() }
    expect(codes(await compareModel(path, turned))).toEqual(['OK'])
  })
  it('takes a lone . and the basename for the file itself, and no other name', async () => {
    const path = folder({ 'w.bin': 'abc' })
    const single = join(path, 'w.bin')
    for (const how of [{}, { shardSize: 2 }]) {
      const dot = await manifestOf(single, { compat: 'reference', ...how })
      expect(codes(await compareModel(single, dot))).toEqual(['OK'])
      const named = await manifestOf(single, how)
      expect(codes(await compareModel(single, named))).toEqual(['OK'])
      expect(codes(await compareModel(path, dot))).toEqual(['FILE_MISSING', 'FILE_EXTRA'])
    }
    renameSync(single, join(path, 'v.bin'))
    const named = {
      ...(await manifestOf(path)),
      resources: [{ name: 'w.bin', algorithm: 'sha256', digest: sha256('abc') }],
    }
    expect(codes(await compareModel(join(path, 'v.bin'), named))).toEqual([
      'FILE_MISSING',
      'FILE_EXTRA',
    ])
  })
  it('ignores what the signer chose to ignore, and names what lies there', async () => {
    const path = folder({ a: '1', 'logs/run.txt': 'x', 'm.sig': 's' })
    const manifest = await manifestOf(path, { ignorePaths: ['logs', 'm.sig'] })
    const result = await compareModel(path, manifest, { ignorePaths: ['m.sig'] })
    expect(result.ignored).toEqual(['logs/run.txt'])
    expect(result.checks.map(({ status, code }) => [status, code])).toEqual([
      ['pass', 'OK'],
      ['warn', 'UNSIGNED_IGNORED'],
    ])
    expect((await compareModel(path, manifest)).ignored).toEqual(['logs/run.txt', 'm.sig'])
    const bare = { ...manifest, serialization: { ...manifest.serialization, ignorePaths: [] } }
    expect((await compareModel(path, bare)).extra).toEqual(['logs/run.txt', 'm.sig'])
  })
  it('follows the signed policy of links, not the wish of the directory', async () => {
    const path = folder({ 'real/a': '1' })
    symlinkSync('real', join(path, 'l'))
    const allowed = await manifestOf(path, { allowSymlinks: true })
    expect(allowed.resources.map(({ name }) => name)).toEqual(['l/a', 'real/a'])
    expect(codes(await compareModel(path, allowed))).toEqual(['OK'])
    expect(codes(await compareModel(path, allowed, { ignoreUnsigned: true }))).toEqual(['OK'])
    const not = { ...allowed, serialization: { ...allowed.serialization, allowSymlinks: false } }
    expect(codes(await compareModel(path, not)).sort()).toEqual(['FILE_LINK', 'FILE_MISSING'])
    expect(codes(await compareModel(path, not, { ignoreUnsigned: true }))).toEqual(['FILE_LINK'])
  })
  it('with ignoreUnsigned reads only signed files, and still refuses links on the way', async () => {
    const path = folder({ 'd/a': '1', b: '2' })
    const manifest = await manifestOf(path)
    writeFileSync(join(path, 'extra'), 'x')
    symlinkSync('nowhere', join(path, 'bad'))
    expect(codes(await compareModel(path, manifest, { ignoreUnsigned: true }))).toEqual(['OK'])
    renameSync(join(path, 'd'), join(path, 'e'))
    symlinkSync('e', join(path, 'd'))
    rmSync(join(path, 'b'))
    const result = await compareModel(path, manifest, { ignoreUnsigned: true })
    expect(codes(result)).toEqual(['FILE_LINK', 'FILE_MISSING'])
  })
  it('finds an empty directory in place of the model, and a directory in place of a file', async () => {
    const manifest = await manifestOf(folder({ a: '1' }))
    expect(codes(await compareModel(folder(), manifest))).toEqual(['FILE_MISSING'])
    const path = folder()
    mkdirSync(join(path, 'a'))
    expect(codes(await compareModel(path, manifest))).toEqual(['FILE_MISSING'])
    expect(codes(await compareModel(path, manifest, { ignoreUnsigned: true }))).toEqual([
      'FILE_MISSING',
    ])
  })
  it('reports empty files that shards leave open as a warning, not as extra', async () => {
    const path = folder({ a: '1' })
    const manifest = await manifestOf(path, { method: 'shards', shardSize: 10 })
    writeFileSync(join(path, 'empty'), '')
    expect(codes(await compareModel(path, manifest))).toEqual(['OK', 'FILE_UNCOVERED'])
  })
  it('compares recorded sizes and fs-verity digests where they are there', async () => {
    const path = folder({ a: 'abc' })
    const { manifest } = await identifyModel(path, { fsverity: true, sizes: true })
    if (manifest === null) throw new Error('no manifest')
    expect(manifest.resources[0]).toMatchObject({ size: 3 })
    expect(codes(await compareModel(path, manifest, { fsverity: true }))).toEqual(['OK'])
    const wrong = (more: object): Manifest => ({
      ...manifest,
      resources: manifest.resources.map((r) => ({ ...r, ...more })),
    })
    expect((await compareModel(path, wrong({ size: 4 }))).changed).toHaveLength(1)
    const verity = wrong({ fsverity: `sha256:${'0'.repeat(64)}` })
    expect((await compareModel(path, verity, { fsverity: true })).changed).toHaveLength(1)
  })
})
