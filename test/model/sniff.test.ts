import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { deflateRawSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { identifyModel } from '../../src/model/identify.ts'
import { walkPickle } from '../../src/model/pickle.ts'
import {
  classify,
  HEAD_BYTES,
  TAIL_BYTES,
  tailWanted,
  type Content,
} from '../../src/model/sniff.ts'
import { folder, noise } from './folder.ts'

function sniff(bytes: Uint8Array | string, name = 'model.bin'): Content {
  const all = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes)
  let tail = all.subarray(-Math.min(all.length, TAIL_BYTES))
  const wanted = tailWanted(tail, all.length)
  if (wanted > tail.length) tail = all.subarray(all.length - wanted)
  return classify({ name, size: all.length, head: all.subarray(0, HEAD_BYTES), tail })
}
const is = (bytes: Uint8Array | string, name?: string): [string, boolean] => {
  const { format, executable } = sniff(bytes, name)
  return [format, executable]
}

/** A zip archive with these names and contents. */
function zip(files: Readonly<Record<string, string>>, comment = ''): Buffer {
  const local: Buffer[] = []
  const central: Buffer[] = []
  let at = 0
  for (const [name, text] of Object.entries(files)) {
    const data = deflateRawSync(text)
    const head = Buffer.alloc(30)
    head.writeUInt32LE(0x04034b50, 0)
    head.writeUInt16LE(8, 8)
    head.writeUInt32LE(data.length, 18)
    head.writeUInt32LE(text.length, 22)
    head.writeUInt16LE(name.length, 26)
    const entry = Buffer.alloc(46)
    entry.writeUInt32LE(0x02014b50, 0)
    entry.writeUInt16LE(8, 10)
    entry.writeUInt32LE(data.length, 20)
    entry.writeUInt16LE(name.length, 28)
    entry.writeUInt32LE(at, 42)
    local.push(head, Buffer.from(name), data)
    central.push(entry, Buffer.from(name))
    at += 30 + name.length + data.length
  }
  const directory = Buffer.concat(central)
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt32LE(directory.length, 12)
  end.writeUInt32LE(at, 16)
  end.writeUInt16LE(comment.length, 20)
  return Buffer.concat([...local, directory, end, Buffer.from(comment)])
}
function safetensors(data: Uint8Array = Buffer.alloc(8)): Buffer {
  const json = Buffer.from(
    `{"w":{"dtype":"U8","shape":[${data.length}],"data_offsets":[0,${data.length}]}}`,
  )
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([length, json, data])
}

describe('classify', () => {
  it('knows formats that only hold data', () => {
    expect(is(safetensors())).toEqual(['safetensors', false])
    expect(is(`GGUF\x03\0\0\0${'\0'.repeat(16)}`)).toEqual(['gguf', false])
    expect(is('\x08\x07\x12\x07pytorch\x1a\x052.0.0:\x10')).toEqual(['onnx', false])
    expect(is('\x1c\0\0\0TFL3\0\0')).toEqual(['tflite', false])
    expect(
      is("\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n"),
    ).toEqual(['numpy', false])
    expect(is('{"a": 1}', 'config.json')).toEqual(['json', false])
    expect(is('# Title\n', 'README.md')).toEqual(['markdown', false])
    expect(is('hello\n', 'merges.txt')).toEqual(['text', false])
    expect(is('', 'x.py')).toEqual(['empty', false])
    expect(is(noise(1000).fill(0, 0, 4))).toEqual(['unknown', false])
  })
  it('knows what can run code when it is loaded', () => {
    expect(
      is("\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n"),
    ).toEqual(['numpy', true])
    expect(is("\x93NUMPY\x01\0v\0{'descr': [('a', '<f4'), ('b', '|O')], }\n")).toEqual([
      'numpy',
      true,
    ])
    expect(is('\x89HDF\r\n\x1a\n\0')).toEqual(['hdf5', true])
    expect(is(`${'\0'.repeat(512)}\x89HDF\r\n\x1a\n\0`)).toEqual(['hdf5', true])
    expect(is('\x08\x01\x12\xb5\x03\x0a\x0e')).toEqual(['tensorflow', true])
    for (const magic of [
      '\x7fELF',
      'MZ\x90',
      '\xcf\xfa\xed\xfe',
      '\xca\xfe\xba\xbe',
      '\0asm',
      '#!/bin/sh\n',
      'BC\xc0\xde',
    ])
      expect(is(magic)).toEqual(['code', true])
    for (const name of [
      'modeling_x.py',
      'a/run.sh',
      'lib.so',
      'lib.so.1',
      'x.ipynb',
      'x.pyc',
      'X.PY',
    ])
      expect(is('GGUF = 1\n', name)).toEqual(['code', true])
    expect(is(gzipSync('x'))).toEqual(['compressed', true])
    expect(is('\x28\xb5\x2f\xfd\0')).toEqual(['compressed', true])
    expect(is('a: !!python/object/apply:os.system ["id"]\n', 'c.yaml')).toEqual(['text', true])
  })
  it('reads the list of names of a zip', () => {
    expect(is(zip({ 'archive/data.pkl': 'x', 'archive/data/0': 'y' }))).toEqual(['pytorch', true])
    expect(is(zip({ 'META-INF/MANIFEST.MF': 'x', 'A.class': 'x' }))).toEqual(['jar', true])
    expect(is(zip({ 'config.json': '{}', 'model.weights.h5': 'x' }))).toEqual(['keras', true])
    expect(is(zip({ 'arr_0.npy': 'x' }))).toEqual(['npz', true])
    expect(is(zip({ 'a.txt': 'x', 'b/run.py': 'x' }))).toEqual(['zip', true])
    expect(is(zip({ 'a.txt': 'x', 'inner.zip': 'x' }))).toEqual(['zip', true])
    expect(is(zip({ 'a.txt': 'x' }))).toEqual(['zip', false])
    expect(is(zip({ 'a.txt': 'x', 'data.pkl': 'x' }, 'a comment'))).toEqual(['pytorch', true])
    expect(is(zip({ 'a.txt': 'x' }).subarray(0, -30))).toEqual(['zip', true])
    const large = Object.fromEntries(
      Array.from({ length: 3000 }, (_, i) => [`archive/data/${i}`, 'x']),
    )
    expect(is(zip({ 'archive/data.pkl': 'x', ...large }))).toEqual(['pytorch', true])
  })
  it('sees a zip behind any other format', () => {
    expect(is(Buffer.concat([safetensors(), zip({ 'data.pkl': 'x' })]))).toEqual([
      'safetensors',
      true,
    ])
    expect(is(safetensors(zip({ 'data.pkl': 'x' })))).toEqual(['safetensors', true])
    expect(
      is(Buffer.concat([Buffer.from('GGUF\x03\0\0\0'), noise(200_000), zip({ 'x/y.pkl': 'x' })])),
    ).toEqual(['gguf', true])
  })
  it('knows pickles of every protocol whatever their name', () => {
    const protocol0 = "cos\nsystem\n(S'id'\ntR."
    expect(is(protocol0, 'model.safetensors')).toEqual(['pickle', true])
    expect(is(`${protocol0}\ntrailing text`, 'notes.txt')).toEqual(['pickle', true])
    expect(
      is(
        '\x80\x04\x95\x1b\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.',
      ),
    ).toEqual(['pickle', true])
    expect(is('\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.')).toEqual([
      'pytorch',
      true,
    ])
    expect(is('\x80\x03]q\0.')).toEqual(['pickle', true])
    // Cut off by the sample.
    expect(is(Buffer.concat([Buffer.from('\x80\x04cos\nsystem\n', 'latin1'), noise(9)]))[1]).toBe(
      true,
    )
  })
  it('does not take plain text for a pickle', () => {
    for (const text of [
      '.',
      'Hello.',
      'a.b.c',
      '(see below).',
      'classic\nmusic\nis good.',
      'I like it.\nVery much.\n',
      'test\nset\n.',
      '0.1 0.2 0.3\n',
      '[PAD]\n[UNK]\n.\n',
    ])
      expect(is(text, 'vocab.txt')[0], text).toBe('text')
  })
  it.skipIf(spawnSync('python3', ['--version']).status !== 0)(
    'walks what Python itself writes',
    () => {
      const path = folder()
      execFileSync('python3', [
        '-c',
        `
import pickle, os, collections, sys
class E:
    def __reduce__(self): return (os.system, ('true',))
for p in range(6):
    for name, value in [('exec', E()), ('data', {'a': [1, 2.5, None, b'x' * 300, 'y' * 300, 10**30, {1}, (1, 2, 3, 4)]}), ('od', collections.OrderedDict(a=1))]:
        open(f'{sys.argv[1]}/{name}{p}', 'wb').write(pickle.dumps(value, protocol=p))
`,
        path,
      ])
      for (const file of readdirSync(path)) {
        const walked = walkPickle(readFileSync(join(path, file)))
        expect(walked, file).toMatchObject({ complete: true })
        if (!file.startsWith('data')) expect(walked?.calls, file).toBe(true)
        if (!file.startsWith('data') || !/[01]$/.test(file))
          expect(is(readFileSync(join(path, file)), file)).toEqual(['pickle', true])
      }
    },
  )
  it('answers on any bytes', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.constantFrom(
          '',
          'PK\x05\x06',
          '\x80\x04',
          'GGUF',
          '\x93NUMPY',
          '\x08\x01\x12',
          'PK\x03\x04',
        ),
        fc.boolean(),
        (bytes, magic, atEnd) => {
          const extra = Buffer.from(magic, 'latin1')
          expect(
            sniff(
              atEnd
                ? Buffer.concat([bytes, extra, Buffer.alloc(18)])
                : Buffer.concat([extra, bytes]),
            ).why,
          ).not.toBe('')
        },
      ),
      { numRuns: 500 },
    )
  })
  it('is done over the same bytes that are hashed', async () => {
    const path = folder({
      'a.py': 'x',
      'w.safetensors': safetensors(),
      'big.bin': Buffer.concat([noise(400_000), zip({ 'data.pkl': 'x' })]),
    })
    for (const how of [{}, { shardSize: 100_000 }]) {
      const { contents } = await identifyModel(path, { sniff: true, ...how })
      expect(
        [...contents].map(([name, { format, executable }]) => [name, format, executable]),
      ).toEqual([
        ['a.py', 'code', true],
        ['big.bin', 'pytorch', true],
        ['w.safetensors', 'safetensors', false],
      ])
    }
    writeFileSync(join(path, 'x'), '')
    expect((await identifyModel(path)).contents.size).toBe(0)
  })
})
