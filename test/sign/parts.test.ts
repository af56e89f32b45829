// A model hashed in parts, each by a process of its own, signed to the same bytes as in one run; and everything that must not be joined.
import { execFile, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { hashPart, joinParts, type PartBytes, type PartOptions } from '../../src/sign/parts.ts'
import { unitsOf, unitsOfPart } from '../../src/sign/parts-split.ts'
import { party } from '../fakes/authority.ts'
import { ourSchema } from '../fakes/schemas.ts'
import { REPOSITORY } from '../shared.ts'

const MAIN = resolve(REPOSITORY, 'dist/src/cli/main.js')
const signer = party('signer')
let base = ''
let model = ''
const at = (name: string): string => join(base, name)
const payload = (file: string): string =>
  Buffer.from(decodeBundle(new Uint8Array(readFileSync(file))).envelope.payload).toString()

beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'zt4ai-parts-'))
  model = at('model')
  mkdirSync(join(model, 'sub'), { recursive: true })
  writeFileSync(at('key.pem'), signer.privatePem)
  writeFileSync(at('pub.pem'), signer.publicPem)
  for (const [i, size] of [100_000, 70_001, 3, 0, 256_000, 12].entries())
    writeFileSync(
      join(model, i % 2 === 0 ? `w${i}.bin` : `sub/w${i}.bin`),
      Buffer.alloc(size, i + 1),
    )
  writeFileSync(join(model, '.gitattributes'), 'left out')
})
afterAll(() => rmSync(base, { recursive: true, force: true }))

function run(...args: readonly string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'sign', ...args], {
    encoding: 'utf8',
  })
  return { code: status, out: stdout, err: stderr }
}

async function parts(n: number, options: Partial<PartOptions> = {}): Promise<PartBytes[]> {
  const all: PartBytes[] = []
  for (let part = 1; part <= n; part++) {
    const { bytes } = await hashPart(model, { hashType: 'sha256', ...options, part, parts: n })
    if (bytes === null) throw new Error('not hashed')
    all.push({ name: `part ${part}`, bytes })
  }
  return all
}

describe('zt4ai sign in parts', () => {
  it.each([
    ['files', []],
    ['shards, BLAKE3, sizes', ['--shard-size', '30000', '--hash', 'blake3', '--sizes']],
    ['fs-verity, an ignored path', ['--fsverity', '--ignore', 'sub/w1.bin']],
    ['the reference form of shards', ['--shard-size', '65536', '--compat', 'reference']],
  ])('gives the payload of a single run: %s', async (_, options) => {
    const whole = run(model, ...options, '--key', at('key.pem'), '--signature', at('whole.sig'))
    expect(whole.code).toBe(0)
    const started = [1, 2, 3].map((part) =>
      promisify(execFile)(process.execPath, [
        ...[MAIN, 'sign', model, ...options, '--part', `${part}/3`],
        ...['--part-output', at(`${part}.json`), '--signature', at('whole.sig')],
      ]),
    )
    for (const { stdout } of await Promise.all(started)) expect(stdout).toContain('of 3')
    const schema = ourSchema('part.v1')
    for (const part of [1, 2, 3])
      expect(schema(JSON.parse(readFileSync(at(`${part}.json`), 'utf8')))).toBeNull()
    const files = ['--from-parts', at('3.json'), at('1.json'), at('2.json')]
    const joined = run(model, ...files, '--key', at('key.pem'), '--signature', at('joined.sig'))
    expect(joined).toMatchObject({ code: 0 })
    expect(payload(at('joined.sig'))).toBe(payload(at('whole.sig')))
    const blind = run(
      ...files,
      '--key',
      at('key.pem'),
      '--signature',
      at('blind.sig'),
      '--name',
      'model',
    )
    expect(blind).toMatchObject({ code: 0 })
    expect(payload(at('blind.sig'))).toBe(payload(at('whole.sig')))
    const verify = spawnSync(process.execPath, [
      ...[MAIN, 'verify', model, '--key', at('pub.pem'), '--signature', at('joined.sig')],
    ])
    expect(verify.status).toBe(0)
  })

  it('says what is wrong with how it was called', () => {
    const refused = (...args: string[]): string => {
      const { code, err } = run(...args)
      expect(code).toBe(2)
      return err
    }
    expect(refused(model, '--part', '1/2')).toContain('--part-output')
    expect(refused(model, '--part', '0/2', '--part-output', at('x'))).toContain('i/n')
    expect(refused(model, '--part', '3/2', '--part-output', at('x'))).toContain('no part 3 of 2')
    expect(
      refused(model, '--part', '1/2', '--part-output', at('x'), '--key', at('key.pem')),
    ).toContain('the key belongs')
    expect(refused(model, '--part', '1/2', '--part-output', join(model, 'x'))).toContain('outside')
    expect(refused('--from-parts', at('1.json'), '--key', at('key.pem'))).toContain('--signature')
    expect(refused(model, '--name', 'x', '--key', at('key.pem'))).toContain('--from-parts')
  })
})

describe('joining parts', () => {
  const codes = (files: readonly PartBytes[], options = {}): string[] =>
    joinParts(files, options).checks.map(({ code, id }) => `${id} ${code}`)
  const change = (file: PartBytes | undefined, to: (json: Part) => void): PartBytes => {
    const json = JSON.parse(Buffer.from(file?.bytes ?? []).toString()) as Part
    to(json)
    return { name: file?.name ?? '', bytes: new TextEncoder().encode(JSON.stringify(json)) }
  }
  interface Part {
    [key: string]: unknown
    pieces: { name: string; size: number; start: number; end: number; digest?: string }[]
  }

  it('takes any number of parts, more than there are files among them', async () => {
    const [whole] = await parts(1)
    const one = joinParts([whole!]).manifest
    for (const n of [2, 5, 9]) expect(joinParts(await parts(n)).manifest).toEqual(one)
  })

  it('refuses a part that is missing, doubled, or of another model', async () => {
    const [a, b, c] = await parts(3)
    expect(codes([a!, b!])).toEqual(['parts:all PARTS_MISMATCH'])
    expect(codes([a!, b!, b!])).toEqual(['parts:all PARTS_MISMATCH'])
    expect(codes([a!, b!, c!, c!])).toEqual(['parts:all PARTS_MISMATCH'])
    expect(codes([a!, b!, (await parts(4))[2]!])).toContain('parts:part 3 PARTS_MISMATCH')
    expect(codes([a!, b!, (await parts(3, { sizes: true }))[2]!])).toEqual([
      'parts:part 3 PARTS_MISMATCH',
    ])
    expect(codes([a!, b!, (await parts(3, { ignorePaths: ['w2.bin'] }))[2]!])).toContain(
      'parts:part 3 PARTS_MISMATCH',
    )
    expect(codes([a!, b!, c!], { listing: 'ab'.repeat(32) })).toEqual([
      'parts:listing PARTS_MISMATCH',
    ])
    expect(codes([a!, b!, c!])).toEqual([])
  })

  it('refuses pieces that are missing, doubled or overlap', async () => {
    const all = await parts(2, { hashType: 'blake3', shardSize: 30_000 })
    const with0 = (to: (pieces: Part['pieces']) => void): string[] =>
      codes([change(all[0], ({ pieces }) => to(pieces)), all[1]!])
    expect(with0(() => undefined)).toEqual(['model.uncovered FILE_UNCOVERED'])
    expect(with0((pieces) => pieces.pop())[0]).toMatch(/PARTS_MISMATCH$/)
    expect(with0((pieces) => pieces.push(pieces[0]!))[0]).toMatch(/PARTS_MISMATCH$/)
    expect(with0((pieces) => (pieces[0]!.start += 1))[0]).toMatch(/PARTS_MISMATCH$/)
    expect(with0((pieces) => (pieces[0]!.digest = 'ab'.repeat(33)))[0]).toMatch(/PARTS_MISMATCH$/)
    expect(with0((pieces) => (pieces[0]!.size += 1))[0]).toMatch(/PARTS_MISMATCH$/)
    const gone = change(all[0], (json) => (json.pieces = []))
    expect(codes([gone, all[1]!]).length).toBeGreaterThan(0)
  })

  it('reads parts strictly', async () => {
    const [a] = await parts(1)
    const invalid = expect.objectContaining({ code: 'PART_INVALID' }) as Error
    const bad: ((json: Part) => void)[] = [
      (json) => (json['extra'] = 1),
      (json) => (json['schema'] = 'zt4ai.part/v2'),
      (json) => (json['part'] = 0),
      (json) => (json.pieces[0]!.digest = 'XYZ'),
      (json) => delete json['listing'],
    ]
    for (const to of bad) expect(() => joinParts([change(a, to)])).toThrow(invalid)
    const cut = { name: 'cut', bytes: a!.bytes.subarray(0, 100) }
    expect(() => joinParts([cut])).toThrow(invalid)
  })
})

describe('dividing', () => {
  it('gives every unit to exactly one part, and no part much more than another', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(10_000_000), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 12 }),
        fc.option(fc.integer({ min: 50_000, max: 5_000_000 }), { nil: undefined }),
        (sizes, n, shardSize) => {
          const units = unitsOf(
            sizes.map((size, i) => ({ name: `f${i}`, size })),
            shardSize,
          )
          const all = Array.from({ length: n }, (_, i) => unitsOfPart(units, i + 1, n))
          const key = (unit: (typeof units)[number]): string => `${unit.name}:${unit.start}`
          expect(all.flat().map(key).sort()).toEqual(units.map(key).sort())
          const cost = (list: typeof units): number =>
            list.reduce((sum, { start, end }) => sum + end - start + 32 * 1024, 0)
          const most = Math.max(...all.map(cost))
          const largest = Math.max(...units.map((unit) => cost([unit])))
          expect(most).toBeLessThanOrEqual(cost(units) / n + largest)
        },
      ),
      { numRuns: 200 },
    )
  })
})
