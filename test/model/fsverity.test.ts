import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FsVerity } from '../../src/model/fsverity.ts'
import { folder, noise } from './folder.ts'

function digest(bytes: Uint8Array, portion = bytes.length || 1): string {
  const verity = new FsVerity()
  for (let at = 0; at < bytes.length; at += portion) verity.update(bytes.subarray(at, at + portion))
  return verity.digest()
}
const SIZES = [
  0,
  1,
  3,
  4095,
  4096,
  4097,
  8192,
  128 * 4096,
  128 * 4096 + 1,
  129 * 4096,
  16384 * 4096,
  16384 * 4096 + 5,
]

describe('the fs-verity digest', () => {
  // Computed once with `fsverity digest` of fsverity-utils 1.5.
  it.each([
    [Buffer.alloc(0), '3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95'],
    [Buffer.from('abc'), '700b6bd8510f0b4f9bac8b9cf0459151a1c4a99f467892bb4bd289a67df8e19c'],
    [
      Buffer.alloc(600_000, 0x5a),
      'd3c57d3a0187df9449b92a4ca0c46d3f6181d2d489b23dd94b0b95dfc77ce272',
    ],
  ])('of known bytes is known', (bytes, expected) => {
    expect(digest(bytes)).toBe(`sha256:${expected}`)
  })
  it('does not depend on the portions', () => {
    const bytes = noise(1_000_003)
    const whole = digest(bytes)
    for (const portion of [1000, 4096, 4097, 65536, 262144])
      expect(digest(bytes, portion)).toBe(whole)
  })
  it.skipIf(spawnSync('fsverity', ['--version']).error !== undefined)(
    'is what the fsverity tool prints',
    () => {
      const path = folder()
      for (const size of SIZES) {
        const bytes = noise(size)
        writeFileSync(join(path, 'f'), bytes)
        const [printed] = execFileSync('fsverity', ['digest', join(path, 'f')], {
          encoding: 'utf8',
        }).split(' ')
        expect(digest(bytes, 262144), `${size}`).toBe(printed)
      }
    },
  )
})
