import { appendFileSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { DigestCache, RACY_NS, readCache, writeCache } from '../../src/model/cache.ts'
import { compareModel } from '../../src/model/compare.ts'
import { identifyModel } from '../../src/model/identify.ts'
import { hashReusing } from '../../src/model/reuse.ts'
import { walkModel } from '../../src/model/walk.ts'
import { folder } from './folder.ts'

const DIGEST = 'ab'.repeat(32)
const stamp = (more: { size?: number; mtime?: bigint; ctime?: bigint } = {}): string =>
  `1:2:${more.size ?? 3}:${more.mtime ?? 10n ** 18n}:${more.ctime ?? 10n ** 18n}`
const LATER = 10n ** 18n + RACY_NS
const key = { hashType: 'sha256' } as const
const parts = [{ start: 0, end: 3, digest: DIGEST }]
const names = (result: { checks: readonly { code: string }[] }): string[] =>
  result.checks.map(({ code }) => code)

describe('DigestCache', () => {
  it('gives digests for exactly the state and the parameters that were recorded', () => {
    const cache = new DigestCache()
    cache.set(stamp(), key, parts, LATER)
    expect(cache.get(stamp(), key)).toEqual(parts)
    for (const other of ['1:3:3', '2:2:3', '1:2:4'])
      expect(cache.get(stamp().replace('1:2:3', other), key)).toBeNull()
    expect(cache.get(stamp({ mtime: 10n ** 18n + 1n }), key)).toBeNull()
    expect(cache.get(stamp({ ctime: 10n ** 18n - 1n }), key)).toBeNull()
    expect(cache.get(stamp(), { hashType: 'blake3' })).toBeNull()
    expect(cache.get(stamp(), { ...key, shardSize: 3 })).toBeNull()
  })
  it('does not believe what was recorded too soon after a change', () => {
    const cache = new DigestCache()
    cache.set(stamp(), key, parts, LATER - 1n)
    expect(cache.get(stamp(), key)).toBeNull()
    cache.set(stamp({ mtime: 0n }), key, parts, LATER - 1n)
    expect(cache.get(stamp({ mtime: 0n }), key)).toBeNull()
  })
  it('is read strictly', () => {
    const cache = new DigestCache()
    cache.set(stamp(), key, parts, LATER)
    cache.set(
      stamp({ size: 5 }),
      { ...key, shardSize: 3 },
      [
        { start: 0, end: 3, digest: DIGEST },
        { start: 3, end: 5, digest: DIGEST },
      ],
      LATER,
    )
    cache.set(stamp({ size: 0 }), key, [{ start: 0, end: 0, digest: DIGEST }], LATER)
    cache.set(stamp({ size: 0 }), { ...key, shardSize: 3 }, [], LATER)
    const text = cache.serialize()
    const again = DigestCache.parse(Buffer.from(text))
    expect(again.serialize()).toBe(text)
    expect(again.get(stamp({ size: 5 }), { ...key, shardSize: 3 })).toHaveLength(2)
    const invalid = expect.objectContaining({ code: 'CACHE_INVALID' })
    for (let at = 0; at < text.length - 1; at++) {
      const changed = Buffer.from(text)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(() => DigestCache.parse(changed), `byte ${at}`).toThrow(invalid)
    }
    for (const bad of ['', '{}', '[]', text.slice(0, -3), text + text])
      expect(() => DigestCache.parse(Buffer.from(bad))).toThrow(invalid)
  })
  it('is written in one step, for its owner only', () => {
    const path = folder()
    const file = join(path, 'cache.json')
    expect(readCache(file).size).toBe(0)
    const cache = new DigestCache()
    cache.set(stamp(), key, parts, LATER)
    writeCache(file, cache)
    writeCache(file, cache)
    expect(readdirSync(path)).toEqual(['cache.json'])
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readCache(file).get(stamp(), key)).toEqual(parts)
    expect(() => writeCache(join(path, 'none/x'), cache)).toThrow(
      expect.objectContaining({ code: 'IO' }),
    )
  })
})

describe('reuse', () => {
  const old = (path: string, ...files: string[]): void => {
    for (const file of files) utimesSync(join(path, file), 1e9, 1e9)
  }
  it('of a cache reads only what changed, and says what was not read', async () => {
    const path = folder({ a: '1', 'b/c': '2' })
    old(path, 'a', 'b/c')
    const walk = await walkModel(path)
    const cache = new DigestCache()
    // The change time of a file can not be set back: the recording is moved instead.
    const later = BigInt(Date.now()) * 1_000_000n + 2n * RACY_NS
    const first = await hashReusing(walk.root, walk.files, key)
    for (const [i, file] of first.files.entries())
      cache.set(walk.files[i]?.stamp ?? '', key, file.parts, later)
    const { manifest } = await identifyModel(path)
    const again = await identifyModel(path, { reuse: { cache } })
    expect(again.manifest).toEqual(manifest)
    expect(again).toMatchObject({
      bytes: 0,
      checks: [{ code: 'DIGEST_REUSED', status: 'warn', actual: 'a\nb/c' }],
    })
    if (manifest === null) throw new Error('no manifest')
    expect(names(await compareModel(path, manifest, { cache }))).toEqual(
      ['DIGEST_REUSED', 'OK'].reverse(),
    )
    writeFileSync(join(path, 'a'), 'X')
    const changed = await compareModel(path, manifest, { cache })
    expect(changed).toMatchObject({ changed: [{ name: 'a' }], bytes: 1 })
    // What was just written is too new to be recorded, and its old state is forgotten.
    expect(cache.size).toBe(1)
    await expect(identifyModel(path, { reuse: { cache }, sniff: true })).rejects.toMatchObject({
      code: 'USAGE',
    })
  })
  it('of an earlier signature takes only files named unchanged, of the same parameters and size', async () => {
    const path = folder({ 'w/1': 'abc', 'w/2': 'def', x: 'ghi' })
    for (const how of [{}, { shardSize: 2 }]) {
      const { manifest: earlier } = await identifyModel(path, { ...how, sizes: true })
      if (earlier === null) throw new Error('no manifest')
      const again = await identifyModel(path, { ...how, reuse: { earlier, unchanged: ['w/'] } })
      expect(again.manifest?.root).toBe(earlier.root)
      expect(again).toMatchObject({
        bytes: 3,
        checks: [{ code: 'DIGEST_REUSED', actual: 'w/1\nw/2' }],
      })
      const none = await identifyModel(path, { ...how, reuse: { earlier } })
      expect(none).toMatchObject({ bytes: 9, checks: [] })
      const other = await identifyModel(path, {
        ...how,
        hashType: 'blake2b',
        reuse: { earlier, unchanged: ['w'] },
      })
      expect(other).toMatchObject({ bytes: 9, checks: [] })
      appendFileSync(join(path, 'w/1'), '!')
      const grown = await identifyModel(path, { ...how, reuse: { earlier, unchanged: ['w', 'x'] } })
      expect(grown).toMatchObject({ bytes: 4, checks: [{ actual: 'w/2\nx' }] })
      writeFileSync(join(path, 'w/1'), 'abc')
      await expect(
        identifyModel(path, { ...how, reuse: { earlier, unchanged: ['../w'] } }),
      ).rejects.toMatchObject({ code: 'USAGE' })
    }
  })
})
