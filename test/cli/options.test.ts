// What options name is read without believing what it says of itself.
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { readBytes } from '../../src/cli/options.ts'
import { ZtError } from '../../src/error.ts'
import { looksLikeTar } from '../../src/model/tar.ts'
import { folder } from '../model/folder.ts'

const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof ZtError) return error.code
    throw error
  }
  return 'OK'
}

it('a device without an end is refused at the limit, a file beyond it too', () => {
  const path = folder({ small: 'x'.repeat(1000) })
  expect(codeOf(() => readBytes('/dev/zero', 100_000))).toBe('TOO_LARGE')
  expect(codeOf(() => readBytes(join(path, 'small'), 999))).toBe('TOO_LARGE')
  expect(readBytes(join(path, 'small'), 1000)).toHaveLength(1000)
  expect(readBytes('/dev/null')).toHaveLength(0)
})

it('a directory and nothing at all are typed refusals', () => {
  const path = folder()
  mkdirSync(join(path, 'directory'))
  expect(codeOf(() => readBytes(join(path, 'directory')))).toBe('IO')
  expect(codeOf(() => readBytes(join(path, 'nothing')))).toBe('IO')
  expect(codeOf(() => readBytes('a\0b'))).toBe('IO')
})

it('a pipe that is named as an archive does not hold the command up', () => {
  const path = join(folder(), 'model.tar')
  execFileSync('mkfifo', [path])
  expect(looksLikeTar(path)).toBe(false)
})
