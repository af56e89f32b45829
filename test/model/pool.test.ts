import { execFile } from 'node:child_process'
import {
  closeSync,
  openSync,
  readdirSync,
  renameSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { loadHash, portableBlake3 } from '../../src/model/hash.ts'
import { HASH_TYPES } from '../../src/model/manifest.ts'
import { hashFiles, type Progress } from '../../src/model/pool.ts'
import { walkModel } from '../../src/model/walk.ts'
import { folder, noise } from './folder.ts'

const MIB = 1024 * 1024

/** A model of this many bytes in one file, made of a hole: nothing is written. */
function hole(size: number): string {
  const path = folder()
  const fd = openSync(join(path, 'w.bin'), 'w')
  writeSync(fd, 'x', size - 1)
  closeSync(fd)
  return path
}
const descriptors = (): number => readdirSync('/proc/self/fd').length

describe('loadHash', () => {
  it('gives the known answers', async () => {
    // FIPS 180-4, RFC 7693 appendix A, BLAKE3 test vectors.
    const expected = {
      sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
      blake2b:
        'ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923',
      blake3: '6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85',
    }
    for (const type of HASH_TYPES) {
      const kit = await loadHash(type)
      expect(kit.once(Buffer.from('abc'))).toBe(expected[type])
      const hasher = kit.create()
      hasher.update(Buffer.from('a'))
      hasher.update(Buffer.from('bc'))
      expect(hasher.hex()).toBe(expected[type])
    }
  })
  it('has a portable BLAKE3 that agrees with the native one', async () => {
    const [native, portable] = [await loadHash('blake3'), await portableBlake3()]
    for (const size of [0, 1, 1023, 1024, 1025, 5000, 70_000]) {
      const bytes = noise(size)
      expect(portable.once(bytes)).toBe(native.once(bytes))
    }
  })
})

describe('hashFiles', () => {
  it('gives the same digests on threads as in place', async () => {
    const path = folder({ a: noise(9 * MIB), 'b/c': noise(MIB, 3), ...many(700) })
    const walk = await walkModel(path)
    for (const extra of [{}, { shardSize: 3 * MIB }]) {
      const options = { hashType: 'blake2b' as const, sniff: true, ...extra }
      const kit = await loadHash('blake2b')
      const threads = await hashFiles(walk.root, walk.files, {
        ...options,
        threads: 3,
        inPlaceSeconds: 0,
      })
      const inPlace = await hashFiles(walk.root, walk.files, { ...options, inPlaceSeconds: 1e9 })
      expect(threads).toEqual(inPlace)
      expect(threads.files.find(({ name }) => name === 'f7')?.parts[0]?.digest).toBe(
        kit.once(Buffer.from('content 7')),
      )
      expect(threads.bytes).toBe(walk.files.reduce((sum, { size }) => sum + size, 0))
    }
  })
  it('reports progress up to the end', async () => {
    const path = hole(300 * MIB)
    const walk = await walkModel(path)
    const seen: Progress[] = []
    await hashFiles(walk.root, walk.files, {
      hashType: 'sha256',
      onProgress: (p) => void seen.push(p),
    })
    const total = { totalBytes: 300 * MIB, totalPieces: 1 }
    expect(seen.at(-1)).toEqual({ bytes: 300 * MIB, pieces: 1, ...total })
    expect(seen.length).toBeGreaterThan(1)
    for (const [i, { bytes }] of seen.entries())
      expect(bytes).toBeGreaterThanOrEqual(seen[i - 1]?.bytes ?? 0)
  })
  it('stops when it is told to, soon, and leaves no thread and no descriptor behind', async () => {
    const path = hole(64 * 1024 * MIB)
    const walk = await walkModel(path)
    const before = descriptors()
    const controller = new AbortController()
    let hashed = 0
    const options = {
      hashType: 'sha256' as const,
      signal: controller.signal,
      shardSize: 1024 * MIB,
      onProgress: ({ bytes }: Progress) => {
        hashed = bytes
        if (bytes > 0) controller.abort()
      },
    }
    await expect(hashFiles(walk.root, walk.files, options)).rejects.toMatchObject({
      code: 'INTERRUPTED',
    })
    expect(hashed).toBeLessThan(32 * 1024 * MIB)
    expect(descriptors()).toBe(before)
    await expect(hashFiles(walk.root, walk.files, options)).rejects.toMatchObject({
      code: 'INTERRUPTED',
    })
  })
  it('refuses a file that changed after the walk, in any way', async () => {
    const path = folder({
      size: 'abc',
      bytes: 'abc',
      times: 'abc',
      gone: 'abc',
      link: 'abc',
      same: 'abc',
      swapped: 'abc',
    })
    const walk = await walkModel(path)
    writeFileSync(join(path, 'size'), 'abcd')
    writeFileSync(join(path, 'bytes'), 'abd')
    utimesSync(join(path, 'times'), 1, 1)
    renameSync(join(path, 'gone'), join(path, 'gone2'))
    renameSync(join(path, 'link'), join(path, 'link2'))
    symlinkSync('link2', join(path, 'link'))
    writeFileSync(join(path, 'other'), 'abc')
    renameSync(join(path, 'other'), join(path, 'swapped'))
    const { files, checks } = await hashFiles(walk.root, walk.files, { hashType: 'sha256' })
    expect(files.map(({ name }) => name)).toEqual(['same'])
    expect(checks.map(({ code }) => code)).toEqual(Array<string>(6).fill('FILE_UNSTABLE'))
  })
  it('does not follow a directory that became a link after the walk', async () => {
    const path = folder({ 'd/e/a': 'abc' })
    const walk = await walkModel(path)
    renameSync(join(path, 'd'), join(path, 'real'))
    symlinkSync('real', join(path, 'd'))
    const { checks } = await hashFiles(walk.root, walk.files, { hashType: 'sha256' })
    expect(checks).toMatchObject([{ code: 'FILE_UNSTABLE', id: 'model.entry:d/e/a' }])
  })
  it('refuses a file that is written to while it is read', async () => {
    const path = hole(1024 * MIB)
    const walk = await walkModel(path)
    const fd = openSync(join(path, 'w.bin'), 'r+')
    let written = false
    const { checks } = await hashFiles(walk.root, walk.files, {
      hashType: 'sha256',
      onProgress: ({ pieces }) => {
        if (pieces === 0 && !written) written = writeSync(fd, 'y', 5) === 1
      },
    })
    expect(written).toBe(true)
    closeSync(fd)
    expect(checks).toMatchObject([{ code: 'FILE_UNSTABLE' }])
  })
  it.runIf(process.platform === 'linux')(
    'needs the same memory for a large model as for a small one',
    async () => {
      const path = hole(512 * MIB)
      // Not `maxRSS`: that of a new process begins with the one that started it.
      const script = `
      import { readFileSync } from 'node:fs'
      const { identifyModel } = await import(process.argv[1])
      await identifyModel(process.argv[2], { method: 'shards', shardSize: 64 * 1024 * 1024, threads: 8 })
      console.log(/^VmHWM:\\s*(\\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))[1])`
      const module = new URL('../../dist/src/model/identify.js', import.meta.url).href
      const { stdout } = await promisify(execFile)(process.execPath, [
        '--input-type=module',
        '-e',
        script,
        module,
        path,
      ])
      expect(Number(stdout) / 1024).toBeLessThan(200)
    },
  )
})

function many(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`f${i}`, `content ${i}`]))
}
