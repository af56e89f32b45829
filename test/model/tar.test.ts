import { execFileSync } from 'node:child_process'
import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { identifyModel } from '../../src/model/identify.ts'
import type { Manifest } from '../../src/model/manifest.ts'
import {
  compareTar,
  hashTar,
  identifyTar,
  looksLikeTar,
  readTar,
  type TarOptions,
} from '../../src/model/tar.ts'
import { folder, noise } from './folder.ts'

async function* portions(bytes: Uint8Array, size = 777): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size)
    yield await Promise.resolve(bytes.subarray(at, at + size))
}
const sha = { hashType: 'sha256' } as const
const run = (
  bytes: Uint8Array,
  options: Partial<TarOptions> = {},
  size?: number,
): ReturnType<typeof hashTar> => hashTar(portions(bytes, size), { ...sha, ...options })
const pack = (path: string, ...more: string[]): Buffer =>
  execFileSync('tar', [...more, '-C', path, '-cf', '-', '.'], { maxBuffer: 1e9 })

interface Raw {
  name?: string | Buffer
  type?: string
  size?: number | string
  data?: Uint8Array
  link?: string
  magic?: string
}
/** One entry, byte by byte, as no honest tool would write it. */
function entry({
  name = 'a',
  type = '0',
  data = Buffer.alloc(0),
  size = data.length,
  link = '',
  magic = 'ustar\x0000',
}: Raw): Buffer {
  const header = Buffer.alloc(512)
  Buffer.from(name).copy(header, 0)
  header.write('0000644\0', 100, 'latin1')
  header.write('0000000\0', 108, 'latin1')
  header.write('0000000\0', 116, 'latin1')
  header.write(
    typeof size === 'string' ? size : `${size.toString(8).padStart(11, '0')}\0`,
    124,
    'latin1',
  )
  header.write('00000000000\0', 136, 'latin1')
  header.write(' '.repeat(8), 148, 'latin1')
  header.write(type, 156, 'latin1')
  header.write(link, 157)
  header.write(magic, 257, 'latin1')
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)])
}
const record = (text: string): Buffer => {
  let length = text.length + 3
  while (`${length} ${text}\n`.length !== length) length = `${length} ${text}\n`.length
  return Buffer.from(`${length} ${text}\n`)
}
const END = Buffer.alloc(1024)
const tar = (...entries: Raw[]): Buffer => Buffer.concat([...entries.map(entry), END])

describe('hashTar', () => {
  it('gives the identity of the unpacked directory: every format of tar, gzip or not, files and shards, any portions', async () => {
    const path = folder({
      'b/w.bin': noise(100_000),
      'a-b': '1',
      'a/b': '2',
      'é\u{1f600}/NFD e\u0301': '3',
      empty: '',
      '.git/config': 'x',
      [`${'long/'.repeat(40)}name`]: '4',
      ['n'.repeat(200)]: '5',
    })
    mkdirSync(join(path, 'nothing'))
    linkSync(join(path, 'a/b'), join(path, 'zz-hard'))
    for (const options of [
      {},
      { shardSize: 3001 },
      { hashType: 'blake3' as const, fsverity: true, sniff: true },
    ]) {
      const direct = await identifyModel(path, options)
      expect(direct.manifest).not.toBeNull()
      for (const format of ['gnu', 'pax', 'oldgnu']) {
        const bytes = pack(path, `--format=${format}`)
        const name = direct.manifest?.name ?? ''
        expect(await identifyTar(portions(bytes), { ...options, name })).toEqual(direct)
        expect(await identifyTar(portions(gzipSync(bytes), 100), { ...options, name })).toEqual(
          direct,
        )
      }
    }
  })
  it('gives the identity of the unpacked directory with links, allowed or not', async () => {
    const path = folder({ 'real/a': '1', 'real/deep/b': '2', c: '3' })
    symlinkSync('real/a', join(path, 'file-link'))
    symlinkSync('real', join(path, 'dir-link'))
    symlinkSync('../dir-link/deep', join(path, 'real/second'))
    const name = 'm'
    const bytes = pack(path)
    const direct = await identifyModel(path, { allowSymlinks: true })
    const streamed = await identifyTar(portions(bytes), { allowSymlinks: true, name })
    expect(streamed.manifest?.resources).toEqual(direct.manifest?.resources)
    const refused = await identifyTar(portions(bytes), { name })
    expect(refused.manifest).toBeNull()
    expect(refused.checks.map(({ code }) => code)).toEqual(['FILE_LINK', 'FILE_LINK', 'FILE_LINK'])
  })
  it('is the identity of the unpacked directory for any tree', async () => {
    const part = fc.stringMatching(/^[a-c\u{e9}\u{1f600}]{1,2}$/u)
    const tree = fc.dictionary(
      fc.array(part, { minLength: 1, maxLength: 3 }).map((p) => p.join('/')),
      fc.string({ maxLength: 9 }),
      { minKeys: 1, maxKeys: 6 },
    )
    await fc.assert(
      fc.asyncProperty(tree, fc.integer({ min: 1, max: 2000 }), async (files, size) => {
        const names = Object.keys(files)
        fc.pre(!names.some((a) => names.some((b) => b.startsWith(`${a}/`))))
        const path = folder(files)
        const direct = await identifyModel(path)
        const streamed = await identifyTar(portions(pack(path), size), {
          name: direct.manifest?.name ?? '',
        })
        expect(streamed).toEqual(direct)
      }),
      { numRuns: 15 },
    )
  })
  it('drops leading parts where asked, and only then', async () => {
    const bytes = tar({ name: 'model/', type: '5' }, { name: 'model/a', data: Buffer.from('1') })
    expect((await run(bytes)).files.map(({ name }) => name)).toEqual(['model/a'])
    expect((await run(bytes, { stripComponents: 1 })).files.map(({ name }) => name)).toEqual(['a'])
    expect((await run(bytes, { stripComponents: 2 })).checks.map(({ code }) => code)).toEqual([
      'NAME_UNSAFE',
    ])
  })
  it('refuses names that point outside, are doubled, or are a file and a directory, all at once', async () => {
    const names = ['/abs', '../up', 'a/../b', './a/./b', 'a//b', '']
    const outcome = await run(
      tar(
        { name: 'ok' },
        ...names.map((name) => ({ name })),
        { name: 'ok' },
        { name: './ok' },
        { name: 'ok/under' },
        { name: 'd/x' },
        { name: 'd' },
        { name: 'l', type: '2', link: 'd' },
        { name: 'l/through' },
        { name: Buffer.from([0x61, 0xff]) },
      ),
      { allowSymlinks: true },
    )
    expect(outcome.checks.map(({ code }) => code)).toEqual(
      [
        ...Array<string>(names.length).fill('NAME_UNSAFE'),
        ...Array<string>(5).fill('NAME_DUPLICATE'),
        'NAME_UNSAFE',
      ].map((code, i, all) => (i === all.length - 1 ? 'NAME_NOT_UTF8' : code)),
    )
  })
  it('refuses every type but files, directories and links that may be followed', async () => {
    for (const type of ['3', '4', '6', '7'])
      expect(
        (await run(tar({ name: 'x', type }))).checks.map(({ code }) => code),
        type,
      ).toEqual(['FILE_SPECIAL'])
    for (const type of ['S', 'N', 'V', 'M', 'D', 'A', 'X', 'Z', '8'])
      await expect(run(tar({ name: 'x', type })), type).rejects.toMatchObject({
        code: 'TAR_INVALID',
      })
  })
  it('follows hard links only to files that came before, and links only within the archive', async () => {
    const outcome = await run(
      tar(
        { name: 'h0', type: '1', link: 'later' },
        { name: 'later', data: Buffer.from('x') },
        { name: 'h1', type: '1', link: './later' },
        { name: 'h2', type: '1', link: '../later' },
        { name: 's1', type: '2', link: '/etc/passwd' },
        { name: 's2', type: '2', link: '../etc' },
        { name: 's3', type: '2', link: 's4' },
        { name: 's4', type: '2', link: 's3' },
        { name: 's5', type: '2', link: 'none' },
        { name: 'd/up', type: '2', link: '..' },
      ),
      { allowSymlinks: true },
    )
    expect(outcome.files.map(({ name }) => name)).toEqual(['h1', 'later'])
    expect(outcome.checks.map(({ code }) => code).sort()).toEqual([
      'LINK_BROKEN',
      'LINK_BROKEN',
      'LINK_BROKEN',
      'LINK_CYCLE',
      'LINK_CYCLE',
      'LINK_CYCLE',
      'LINK_OUTSIDE',
      'LINK_OUTSIDE',
    ])
  })
  it('refuses an archive that two readers could read differently', async () => {
    const x = (...records: string[]): Raw => ({
      name: 'pax',
      type: 'x',
      data: Buffer.concat(records.map(record)),
    })
    const g = (...records: string[]): Raw => ({ ...x(...records), type: 'g' })
    const long = (name: string): Raw => ({
      name: '././@LongLink',
      type: 'L',
      data: Buffer.from(`${name}\0`),
      magic: 'ustar  \0',
    })
    const a: Raw = { name: 'a', data: Buffer.from('hello') }
    const bad: Record<string, Buffer> = {
      'no end': Buffer.concat([entry(a)]),
      nothing: Buffer.alloc(0),
      'cut in a header': tar(a).subarray(0, 300),
      'cut in data': tar(a).subarray(0, 514),
      'an entry after the end': Buffer.concat([tar(a), entry(a), END]),
      'garbage after the end': Buffer.concat([tar(a), Buffer.from('x')]),
      'size that is no number': tar({ ...a, size: 'zzz' }),
      'size with a sign': tar({ ...a, size: '-0000000005\0' }),
      'size in negative base 256': tar({ ...a, size: '\xff'.repeat(12) }),
      'size beyond the archive': tar({ ...a, size: 5000 }),
      'size on a directory': tar({ name: 'd/', type: '5', data: Buffer.from('x') }),
      'size on a link': tar({ name: 'l', type: '2', link: 'a', data: Buffer.from('x') }),
      'file with the name of a directory': tar({ name: 'a/', data: Buffer.from('x') }),
      'old magic': tar({ ...a, magic: '' }),
      'bad checksum': tar(a).fill(0x62, 0, 1),
      'sparse pax': tar(x('GNU.sparse.major=1', 'GNU.sparse.name=b'), a),
      'sparse star': tar(x('SCHILY.realsize=9'), a),
      'binary pax': tar(x('hdrcharset=BINARY'), a),
      'a redirect of the overlay': tar(x('SCHILY.xattr.trusted.overlay.redirect=/b'), a),
      'an opaque directory of a rootless overlay': tar(x('SCHILY.xattr.user.overlay.opaque=y'), a),
      'the same as bsdtar writes it': tar(x('LIBARCHIVE.xattr.user.overlay.opaque=eQ=='), a),
      'pax size with a sign': tar(x('size=+5'), a),
      'pax size in hex': tar(x('size=0x5'), a),
      'pax path with a NUL': tar(x('path=a\0b'), a),
      'pax path twice': tar(x('path=a', 'path=b'), a),
      'pax without an end of line': tar({ ...x(), data: Buffer.from('9 path=a') }, a),
      'pax with a wrong length': tar({ ...x(), data: Buffer.from('99 path=a\n') }, a),
      'pax that is not UTF-8': tar({ ...x(), data: Buffer.from('9 path=\xff\n', 'latin1') }, a),
      'pax twice': tar(x('path=a'), x('path=b'), a),
      'pax for nothing': tar(a, x('path=b')),
      'pax and a GNU name': tar(x('path=a'), long('b'), a),
      'a GNU name and pax': tar(long('b'), x('path=a'), a),
      'a GNU name twice': tar(long('b'), long('c'), a),
      'a GNU name with a NUL': tar({ ...long('b'), data: Buffer.from('b\0c\0') }, a),
      'a path for all entries': tar(g('path=b'), a),
      'a size for all entries': tar(g('size=1'), a),
    }
    for (const [what, bytes] of Object.entries(bad))
      await expect(run(bytes), what).rejects.toMatchObject({ code: 'TAR_INVALID' })
    const good = tar(g('comment=x'), x('path=b', 'size=5', 'mtime=1.5'), a, long('é'), {
      ...a,
      magic: 'ustar  \0',
    })
    expect((await run(good)).files.map(({ name }) => name)).toEqual(['b', 'é'])
  })
  it('never trusts a size: every cut of an archive is refused, every flipped bit changes the answer or is refused', async () => {
    const bytes = tar({ name: 'a', data: Buffer.from('hello') }, { name: 'b', data: noise(600) })
    const whole = JSON.stringify((await run(bytes)).files)
    const end = bytes.length - END.length
    for (let cut = 0; cut <= end; cut += 61)
      await expect(run(bytes.subarray(0, cut)), `cut ${cut}`).rejects.toMatchObject({
        code: 'TAR_INVALID',
      })
    for (let at = 512; at < 517; at++) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(JSON.stringify((await run(changed)).files)).not.toBe(whole)
    }
    for (let at = 0; at < 512; at += 5) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      // The checksum covers the whole header.
      await expect(run(changed), `byte ${at}`).rejects.toMatchObject({ code: 'TAR_INVALID' })
    }
  })
  it('refuses gzip data that is cut, changed or followed by something', async () => {
    const packed = gzipSync(tar({ name: 'a', data: noise(5000) }))
    await expect(run(packed.subarray(0, -20))).rejects.toMatchObject({ code: 'TAR_INVALID' })
    await expect(run(Buffer.concat([packed, Buffer.from('garbage')]))).rejects.toMatchObject({
      code: 'TAR_INVALID',
    })
    await expect(
      run(Buffer.concat([packed, Buffer.from('garbage')]), {}, 1e6),
    ).rejects.toMatchObject({ code: 'TAR_INVALID' })
    const changed = Buffer.from(packed)
    changed[1000] = (changed[1000] ?? 0) ^ 1
    await expect(run(changed)).rejects.toMatchObject({ code: 'TAR_INVALID' })
  })
  it('stops a decompression bomb, by size and by ratio', async () => {
    const zeros = gzipSync(tar({ name: 'a', data: Buffer.alloc(80 * 2 ** 20) }))
    await expect(run(zeros, {}, 65536)).rejects.toMatchObject({ code: 'TAR_TOO_LARGE' })
    await expect(run(zeros, { maxRatio: 5000, maxBytes: 2 ** 20 }, 65536)).rejects.toMatchObject({
      code: 'TAR_TOO_LARGE',
    })
    expect((await run(zeros, { maxRatio: 5000 }, 65536)).bytes).toBe(80 * 2 ** 20)
    const many = tar(...Array.from({ length: 20 }, (_, i) => ({ name: `f${i}` })))
    await expect(run(many, { maxEntries: 10 })).rejects.toMatchObject({ code: 'MODEL_TOO_LARGE' })
  })
  it('passes on the errors of its source, and stops when it is told to', async () => {
    async function* broken(): AsyncIterable<Uint8Array> {
      yield await Promise.resolve(tar({}).subarray(0, 512))
      throw Object.assign(new Error('gone'), { code: 'ECONNRESET' })
    }
    await expect(hashTar(broken(), sha)).rejects.toMatchObject({ code: 'ECONNRESET' })
    await expect(run(tar({}), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    })
  })
  it('refuses an archive without files', async () => {
    expect((await run(END)).checks.map(({ code }) => code)).toEqual(['MODEL_EMPTY'])
  })
})

describe('compareTar', () => {
  it('compares what is signed under the default ignored paths', async () => {
    const path = folder({ a: 'x', '.gitattributes': 'y', '.github/x': 'z' })
    const { manifest } = await identifyModel(path, { defaultIgnores: false })
    if (manifest === null) throw new Error('no manifest')
    expect(await compareTar(portions(pack(path)), manifest)).toMatchObject({ files: 3 })
    writeFileSync(join(path, '.gitattributes'), 'Y')
    writeFileSync(join(path, '.github/more'), 'Y')
    expect(await compareTar(portions(pack(path)), manifest)).toMatchObject({
      changed: [{ name: '.gitattributes' }],
      extra: ['.github/more'],
    })
  })

  it('compares as with the unpacked directory', async () => {
    const path = folder({ 'a/b': '1', c: '2', 'logs/x': '3', '.gitignore': 'x' })
    const { manifest } = await identifyModel(path, { ignorePaths: ['logs'] })
    if (manifest === null) throw new Error('no manifest')
    const same = await compareTar(portions(pack(path)), manifest)
    expect(same.checks.map(({ code }) => code)).toEqual(['OK', 'UNSIGNED_IGNORED'])
    expect(same.ignored).toEqual(['logs/x'])
    writeFileSync(join(path, 'a/b'), 'X')
    writeFileSync(join(path, 'extra'), 'X')
    const other = await compareTar(portions(pack(path, '--exclude=./c')), manifest)
    expect(other).toMatchObject({ missing: ['c'], extra: ['extra'], changed: [{ name: 'a/b' }] })
    const only = await compareTar(portions(pack(path)), manifest, { ignoreUnsigned: true })
    expect(only).toMatchObject({ missing: [], extra: [], changed: [{ name: 'a/b' }] })
  })
})

describe('readTar', () => {
  it('knows a tar file by its content', async () => {
    const path = folder({ 'm/a': '1' })
    const file = join(path, 'm.tar')
    writeFileSync(file, pack(join(path, 'm')))
    writeFileSync(join(path, 'm.tgz'), gzipSync(readFileSync(file)))
    expect(looksLikeTar(file)).toBe(true)
    expect(looksLikeTar(join(path, 'm.tgz'))).toBe(true)
    expect(looksLikeTar(join(path, 'm/a'))).toBe(false)
    expect(looksLikeTar(join(path, 'm'))).toBe(false)
    expect(looksLikeTar(join(path, 'none'))).toBe(false)
    expect((await hashTar(readTar(join(path, 'm.tgz')), sha)).files).toHaveLength(1)
  })
})

it('the name of the signature excuses one file, never a directory of that name', async () => {
  const made = folder({ 'config.json': '{}', 'model.sig': 'a signature' })
  const { manifest } = await identifyTar(portions(pack(made)), {
    name: 'model',
    ignorePaths: ['model.sig'],
  })
  if (manifest === null) throw new Error('not hashed')
  const plain = { ...manifest, serialization: { ...manifest.serialization, ignorePaths: [] } }
  const codes = async (path: string, list: Manifest = plain): Promise<string[]> => {
    const found = await compareTar(portions(pack(path)), list, { ownSignature: 'model.sig' })
    return found.checks.map(({ id, code }) => `${id} ${code}`)
  }
  const hidden = folder({ 'config.json': '{}', 'model.sig/evil.py': 'import os' })
  expect(await codes(made)).toEqual(['model.files OK'])
  expect(await codes(made, manifest)).toEqual(['model.files OK'])
  expect(await codes(hidden)).toEqual(['model.extra:model.sig/evil.py FILE_EXTRA'])
  expect(await codes(hidden, manifest)).toContain('model.ignored UNSIGNED_IGNORED')
})
