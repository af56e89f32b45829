// Copying while hashing, range by range, and the room that is made for the copies.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256Hex } from '../../attestation/lib/index.ts'
import { RangeCopier } from '../../src/gate/private-copy-range.ts'
import { loadHash } from '../../src/model/hash.ts'
import { noNamespaces, stage } from './stage.ts'

const bytes = Uint8Array.from({ length: 400_001 }, (_, i) => (i * i) % 251)

describe('copying a range', () => {
  let folder: string
  let [source, copy] = [0, 0]
  let stop: Int32Array
  let copier: RangeCopier
  const copied = (): Buffer => readFileSync(join(folder, 'copy'))
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'zt4ai-range-'))
    writeFileSync(join(folder, 'source'), bytes)
    source = openSync(join(folder, 'source'), 'r')
    copy = openSync(join(folder, 'copy'), 'wx+')
    stop = new Int32Array(new SharedArrayBuffer(4))
    copier = new RangeCopier(await loadHash('sha256'), stop)
  })
  afterEach(() => {
    closeSync(source)
    closeSync(copy)
    rmSync(folder, { recursive: true })
  })

  it('gives the digest of the bytes that it wrote, each range in its place', () => {
    const cuts = [0, 131_072, 131_073, 400_001]
    for (const [i, start] of cuts.slice(0, -1).entries()) {
      const end = cuts[i + 1] ?? 0
      const digest = sha256Hex(bytes.subarray(start, end))
      expect(copier.copy({ source, copy, start, end })).toEqual({ digest })
    }
    expect(copied().equals(bytes)).toBe(true)
  })

  it('hashes on and writes nothing more once it was stopped', () => {
    copier.copy({ source, copy, start: 0, end: 10 })
    Atomics.store(stop, 0, 1)
    const { digest } = copier.copy({ source, copy, start: 10, end: bytes.length })
    expect(digest).toBe(sha256Hex(bytes.subarray(10)))
    expect(copied().length).toBe(10)
  })

  it('has no digest for a file that ended too early', () => {
    const end = bytes.length + 1
    expect(copier.copy({ source, copy, start: 0, end })).toEqual({ digest: null })
  })

  it('tells what could not be read from what could not be written', () => {
    const range = { start: 0, end: 10 }
    expect(copier.copy({ source, copy: source, ...range })).toEqual({
      digest: null,
      error: { code: 'EBADF', writing: true },
    })
    const closed = openSync(folder, 'r')
    expect(copier.copy({ source: closed, copy, ...range })).toEqual({
      digest: null,
      error: { code: 'EISDIR', writing: false },
    })
    closeSync(closed)
  })
})

describe.skipIf(noNamespaces() !== null)('the room for the copies', () => {
  it('is enough for many files of any size', async () => {
    const sizes = Array.from({ length: 250 }, (_, i) => (i * 7919) % 150_001)
    const files = sizes.map((size, i) => [`f${String(i)}.txt`, Buffer.alloc(size, 0x61)] as const)
    const s = await stage({}, Object.fromEntries(files))
    const same = 'rm "$2/model.sig" && diff -r "$1" "$2" && echo same'
    const words = ['--protection', 'private-copy', '--', 'sh', '-c', same, 'x', '{model}', s.model]
    const { stdout, stderr } = s.run(words)
    expect({ stdout, left: s.left() }, stderr).toEqual({ stdout: 'same\n', left: [] })
    s.close()
  })
})
