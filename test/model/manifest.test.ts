import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  makeManifest,
  parseShardName,
  rootDigest,
  type HashedFile,
  type Serialization,
} from '../../src/model/manifest.ts'

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')
const file = (name: string): HashedFile => ({
  name,
  size: 3,
  parts: [{ start: 0, end: 3, digest: digest(name) }],
})
const files: Serialization = { method: 'files', hashType: 'sha256', allowSymlinks: false }
const shards: Serialization = {
  method: 'shards',
  hashType: 'sha256',
  shardSize: 2,
  allowSymlinks: false,
}

describe('root', () => {
  it('is that of the specification for no, one and the appendix digests', () => {
    expect(rootDigest([])).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  })
  it('depends on the order', () => {
    const [a, b] = [{ digest: digest('a') }, { digest: digest('b') }]
    expect(rootDigest([a, b])).not.toBe(rootDigest([b, a]))
  })
})

describe('makeManifest', () => {
  it('is the same whatever order the files come in, sorted by UTF-8 bytes', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }), {
          minLength: 1,
          maxLength: 8,
        }),
        fc.nat(),
        (names, turn) => {
          const one = makeManifest(names.map(file), { name: 'm', serialization: files })
          const turned = names.map((_, i) => names[(i + turn) % names.length] ?? '')
          expect(makeManifest(turned.map(file), { name: 'm', serialization: files })).toEqual(one)
          const bytes = one.resources.map((r) => Buffer.from(r.name))
          expect([...bytes].sort((x, y) => Buffer.compare(x, y))).toEqual(bytes)
        },
      ),
    )
  })
  it('refuses two files of one name and no file at all', () => {
    expect(() => makeManifest([file('a'), file('a')], { name: 'm', serialization: files })).toThrow(
      expect.objectContaining({ code: 'NAME_DUPLICATE' }),
    )
    expect(() => makeManifest([], { name: 'm', serialization: files })).toThrow(
      expect.objectContaining({ code: 'MODEL_EMPTY' }),
    )
  })
  it('writes the form of the specification, and the reference form where asked', () => {
    const parts = [
      { start: 0, end: 2, digest: digest('x') },
      { start: 2, end: 3, digest: digest('y') },
    ]
    const sharded = { name: 'w.bin', size: 3, parts }
    const own = makeManifest([sharded], { name: 'm', serialization: shards, single: true })
    expect(own.resources.map(({ name, algorithm }) => [name, algorithm])).toEqual([
      ['w.bin:0:2', 'sha256'],
      ['w.bin:2:3', 'sha256'],
    ])
    const reference = makeManifest([sharded], {
      name: 'm',
      serialization: shards,
      single: true,
      compat: 'reference',
    })
    expect(reference.resources.map(({ name, algorithm }) => [name, algorithm])).toEqual([
      ['.:0:2', 'sha256-sharded-2'],
      ['.:2:3', 'sha256-sharded-2'],
    ])
    expect(reference.root).toBe(own.root)
    const single = makeManifest([file('w.bin')], {
      name: 'm',
      serialization: files,
      single: true,
      compat: 'reference',
    })
    expect(single.resources[0]?.name).toBe('.')
    const inFolder = makeManifest([file('w.bin')], {
      name: 'm',
      serialization: files,
      compat: 'reference',
    })
    expect(inFolder.resources[0]?.name).toBe('w.bin')
  })
})

describe('shard names', () => {
  it('are read by their last two colons', () => {
    expect(parseShardName('a:b:0:22')).toEqual({ path: 'a:b', start: 0, end: 22 })
    expect(parseShardName('a:1:2:3:4')).toEqual({ path: 'a:1:2', start: 3, end: 4 })
    for (const bad of [
      'a',
      'a:0',
      ':0:1',
      'a:01:2',
      'a:0:02',
      'a:2:1',
      'a:1:1',
      'a:-1:2',
      'a:0:1e3',
      'a:0:9999999999999999',
    ])
      expect(parseShardName(bad), bad).toBeNull()
  })
})
