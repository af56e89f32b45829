import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync, chmodSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { locateFiles, walkModel } from '../../src/model/walk.ts'
import { folder } from './folder.ts'

const codes = (walk: { checks: readonly { code: string }[] }): string[] =>
  walk.checks.map(({ code }) => code).sort()

describe('walkModel', () => {
  it('lists all regular files in order, without the git files at the top', async () => {
    const path = folder({
      'b.bin': '1',
      'a/b': '2',
      'a-b': '3',
      '.git/config': 'x',
      '.gitignore': 'x',
      '.gitattributes': 'x',
      '.github/w.yml': 'x',
      '.gitmodules': '4',
      'sub/.git/config': '5',
    })
    const walk = await walkModel(path)
    expect(walk.files.map(({ name }) => name)).toEqual([
      '.gitmodules',
      'a-b',
      'a/b',
      'b.bin',
      'sub/.git/config',
    ])
    expect(walk.checks).toEqual([])
    const all = await walkModel(path, { defaultIgnores: false })
    expect(all.files).toHaveLength(9)
  })
  it('takes one file as a model', async () => {
    const path = folder({ 'm.gguf': 'abc' })
    const walk = await walkModel(join(path, 'm.gguf'))
    expect(walk).toMatchObject({
      name: 'm.gguf',
      single: true,
      files: [{ name: 'm.gguf', size: 3 }],
    })
  })
  it('names the model by its last component, also through a dot', async () => {
    const path = folder({ 'm/a': '1' })
    expect((await walkModel(`${path}/m/`)).name).toBe('m')
    expect((await walkModel(`${path}/m/.`)).name).toBe('m')
  })
  it('leaves out ignored paths, exact or as a directory, never as a prefix of a name', async () => {
    const path = folder({ 'logs/a': '1', 'logs/b/c': '1', logs2: '1', 'x/logs': '1', 'm.sig': '1' })
    const walk = await walkModel(path, { ignorePaths: ['logs/', './m.sig'] })
    expect(walk.files.map(({ name }) => name)).toEqual(['logs2', 'x/logs'])
    const told = await walkModel(path, {
      reportIgnored: ['logs', 'm.sig', '.git'],
      ignorePaths: ['m.sig'],
    })
    expect(told.ignored).toEqual(['logs/a', 'logs/b/c'])
    await expect(walkModel(path, { ignorePaths: ['*.py'] })).rejects.toMatchObject({
      code: 'USAGE',
    })
    await expect(walkModel(path, { ignorePaths: ['.'] })).rejects.toMatchObject({ code: 'USAGE' })
  })
  it('refuses an empty model', async () => {
    expect(codes(await walkModel(folder()))).toEqual(['MODEL_EMPTY'])
    expect(codes(await walkModel(folder({ '.git/x': '1' })))).toEqual(['MODEL_EMPTY'])
  })
  it('says that there is no model', async () => {
    await expect(walkModel(join(folder(), 'none'))).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
    })
  })
  it('refuses special files and names that are not UTF-8, all at once, and goes on', async () => {
    const path = folder({ good: '1' })
    execFileSync('mkfifo', [join(path, 'fifo')])
    writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0x61, 0xff])]), 'x')
    mkdirSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xed, 0xa0, 0x80])])) // a lone surrogate
    const server = createServer().listen(join(path, 'socket'))
    onTestFinished(() => void server.close())
    await new Promise((resolve) => server.once('listening', resolve))
    const walk = await walkModel(path)
    expect(codes(walk)).toEqual(['FILE_SPECIAL', 'FILE_SPECIAL', 'NAME_NOT_UTF8', 'NAME_NOT_UTF8'])
    expect(walk.files.map(({ name }) => name)).toEqual(['good'])
    expect(new Set(walk.checks.map(({ id }) => id)).size).toBe(4)
  })
  it('keeps NFC and NFD names as two files', async () => {
    const walk = await walkModel(folder({ '\u00e9': '1', 'e\u0301': '2', '\ufeffbom': '3' }))
    expect(walk.files.map(({ name }) => name)).toEqual(['e\u0301', '\u00e9', '\ufeffbom'])
  })
  it('stops at its limits', async () => {
    const path = folder({ 'a/b/c/d': '1', e: '1' })
    await expect(walkModel(path, { maxEntries: 3 })).rejects.toMatchObject({
      code: 'MODEL_TOO_LARGE',
    })
    expect(codes(await walkModel(path, { maxDepth: 2 }))).toEqual(['MODEL_TOO_LARGE'])
  })
  it.skipIf(process.getuid?.() === 0)('reports what can not be read', async () => {
    const path = folder({ 'a/b': '1', c: '1' })
    chmodSync(join(path, 'a'), 0)
    expect(codes(await walkModel(path))).toEqual(['FILE_UNREADABLE'])
    chmodSync(join(path, 'a'), 0o700)
  })
})

describe('symbolic links', () => {
  function linked(): string {
    const outside = folder({ secret: 's', 'd/x': 's' })
    const path = folder({ 'real/a': '1', 'real/deep/b': '2', c: '3' })
    symlinkSync('real/a', join(path, 'file-link'))
    symlinkSync('real', join(path, 'dir-link'))
    symlinkSync(join(outside, 'secret'), join(path, 'out-file'))
    symlinkSync(`../${outside.split('/').at(-1) ?? ''}/d`, join(path, 'out-dir'))
    symlinkSync('nowhere', join(path, 'broken'))
    symlinkSync('self', join(path, 'self'))
    symlinkSync('..', join(path, 'real/up'))
    return path
  }
  it('are all refused by default', async () => {
    const walk = await walkModel(linked())
    expect(codes(walk)).toEqual(Array<string>(7).fill('FILE_LINK'))
    expect(walk.files.map(({ name }) => name)).toEqual(['c', 'real/a', 'real/deep/b'])
  })
  it('are followed within the model where allowed; those that leave it, lead nowhere or in a circle are refused', async () => {
    const walk = await walkModel(linked(), { allowSymlinks: true })
    expect(walk.files.map(({ name, source }) => `${name}<${source}`)).toEqual([
      'c<c',
      'dir-link/a<real/a',
      'dir-link/deep/b<real/deep/b',
      'file-link<real/a',
      'real/a<real/a',
      'real/deep/b<real/deep/b',
    ])
    expect(codes(walk)).toEqual([
      'LINK_BROKEN',
      'LINK_CYCLE',
      'LINK_CYCLE',
      'LINK_CYCLE',
      'LINK_OUTSIDE',
      'LINK_OUTSIDE',
    ])
  })
  it('finds a cycle that no single link shows', async () => {
    const path = folder({ 'b/c/x': '1' })
    symlinkSync('b/c', join(path, 'l'))
    symlinkSync('..', join(path, 'b/c/up'))
    const walk = await walkModel(path, { allowSymlinks: true })
    expect(new Set(codes(walk))).toEqual(new Set(['LINK_CYCLE']))
  })
  it('bounds what links to directories can multiply', async () => {
    const path = folder({ 'd0/x': '1' })
    for (let i = 1; i < 30; i++) {
      mkdirSync(join(path, `d${i}`))
      symlinkSync(`../d${i - 1}`, join(path, `d${i}/p`))
      symlinkSync(`../d${i - 1}`, join(path, `d${i}/q`))
    }
    await expect(
      walkModel(path, { allowSymlinks: true, maxEntries: 10_000 }),
    ).rejects.toMatchObject({
      code: 'MODEL_TOO_LARGE',
    })
  })
  it('the path to the model itself may be one', async () => {
    const path = folder({ 'm/a': '1' })
    symlinkSync('m', join(path, 'alias'))
    expect(await walkModel(join(path, 'alias'))).toMatchObject({
      name: 'alias',
      files: [{ name: 'a' }],
    })
  })
})

describe('locateFiles', () => {
  it('finds only what is asked for, and never through a link', () => {
    const path = folder({ 'a/b': '1', c: '2', d: '3' })
    symlinkSync('a', join(path, 'l'))
    symlinkSync('c', join(path, 'k'))
    const found = locateFiles(path, ['a/b', 'c', 'none', 'l/b', 'k', 'a', '../x', 'c/x'])
    expect(found.files.map(({ name }) => name)).toEqual(['a/b', 'c'])
    expect(found.missing).toEqual(['none', 'a', '../x'])
    expect(codes(found)).toEqual(['FILE_LINK', 'FILE_LINK', 'FILE_LINK'])
  })
})
