// What the READMEs of attestation/ show is true: the examples run and print what they say, tables and links are those of the code.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it, vi } from 'vitest'
import { parse } from 'yaml'
import * as attestation from '../../attestation/index.ts'
import { CODES } from '../../attestation/codes.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { VENDOR_ROOTS } from '../../attestation/roots.ts'
import { STRICT_SNP_POLICY } from '../../attestation/snp/policy.ts'
import {
  SGX_FLAGS,
  STRICT_SGX_POLICY,
  STRICT_TDX_POLICY,
  TD_ATTRIBUTES,
} from '../../attestation/tdx/policy.ts'
import { decodePolicy } from '../../src/policy/index.ts'
import { REPOSITORY } from '../shared.ts'

const PAGES = ['README.md', 'snp/README.md', 'tdx/README.md', 'eventlog/README.md'].map(
  (name) => `attestation/${name}`,
)
const page = (name: string): string => readFileSync(resolve(REPOSITORY, name), 'utf8')
const blocks = (name: string, language: string): readonly string[] =>
  [...page(name).matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter(([, found]) => found === language)
    .map(([, , code = '']) => code)

/** Runs an example as a module would run: its imports are answered here, what it prints is given back. */
async function run(code: string): Promise<readonly string[]> {
  const load = async (name: string): Promise<unknown> =>
    name === 'zt4ai/attestation' ? attestation : await import(name)
  const body = code.replace(
    /^import (\{[^}]*\}) from '([^']+)'$/gm,
    (_, names: string, from: string) => `const ${names} = await load('${from}')`,
  )
  const printed: string[] = []
  const log = vi.spyOn(console, 'log').mockImplementation((...values: readonly unknown[]) => {
    printed.push(values.map(String).join(' '))
  })
  try {
    // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the code is the project's own page
    const example = new Function('load', `return (async () => {\n${body}\n})()`) as (
      l: typeof load,
    ) => Promise<void>
    await example(load)
  } finally {
    log.mockRestore()
  }
  return printed
}

describe('examples', () => {
  const examples = PAGES.flatMap((name) =>
    blocks(name, 'js').map((code, index) => ({ name: `${name}, ${index + 1}`, code })),
  )

  it('are there', () => {
    expect(examples.length).toBeGreaterThanOrEqual(4)
  })

  it.each(examples)('$name prints what it says', async ({ code }) => {
    const said = [...code.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, text]) => text)
    expect(said.length).toBeGreaterThan(0)
    expect(await run(code)).toEqual(said)
  })

  it('of a policy are policies, for the decoder and for the schema', () => {
    const [machines = ''] = blocks('attestation/eventlog/README.md', 'yaml')
    const policy = `schema: zt4ai.policy/v1
name: example
signers:
  release: {key: {file: release.pem}}
${machines}
rules:
  all: {models: ['*'], signed-by: {any-of: [release]}, machine: {any-of: [trusted]}}
`
    const [machine] = decodePolicy(utf8Encode(policy), { file: 'example.yaml' }).machines.values()
    expect(machine).toMatchObject({ platform: 'tdx' })
    if (machine?.platform !== 'tdx') throw new Error('not for TDX')
    expect(machine.options.requiredEvents).toHaveLength(3)
    const schema = JSON.parse(page('schemas/policy.v1.schema.json')) as object
    const conforms = new Ajv2020({ strict: false }).compile(schema)
    expect(conforms(parse(policy)), JSON.stringify(conforms.errors)).toBe(true)
  })
})

describe('tables', () => {
  it('the roots are those that are pinned', () => {
    const rows = [...page('attestation/README.md').matchAll(/^\| (.+?) +\| `([0-9a-f]{64})` \|$/gm)]
    expect(rows.map(([, name, sha256]) => [name, sha256])).toEqual(
      VENDOR_ROOTS.map(({ name, sha256 }) => [name, sha256]),
    )
  })

  const names = (text: string): ReadonlySet<string> =>
    new Set([...text.matchAll(/`([A-Za-z0-9]+)`/g)].map(([, name = '']) => name))

  it.each([
    ['attestation/snp/README.md', Object.keys(STRICT_SNP_POLICY)],
    ['attestation/tdx/README.md', Object.keys(STRICT_TDX_POLICY)],
    ['attestation/tdx/README.md', Object.keys(STRICT_SGX_POLICY)],
  ])('%s names every option', (name, options) => {
    const named = names(page(name))
    expect(options.filter((option) => !named.has(option))).toEqual([])
  })

  it('attestation/tdx/README.md names the attributes that the default refuses or demands', () => {
    const text = page('attestation/tdx/README.md')
    const bits = [
      ...Object.keys(TD_ATTRIBUTES).filter((bit) => bit !== 'DEBUG'),
      ...Object.keys(SGX_FLAGS).filter(
        (bit) => STRICT_SGX_POLICY.flags[bit as keyof typeof SGX_FLAGS] !== 'allowed',
      ),
    ]
    expect(bits.filter((bit) => !text.includes(bit))).toEqual([])
  })

  it('attestation/tdx/README.md names every check of a TDX quote', () => {
    const { attest, NO_ENDORSEMENTS, readEvidence, userRoots } = attestation
    const file = (name: string) => readFileSync(resolve(REPOSITORY, 'testdata/tdx', name))
    const at = new Date('2026-06-01T00:00:00Z')
    const result = attest(
      readEvidence(file('v5-td15-dstack.evidence.json')),
      NO_ENDORSEMENTS,
      {},
      at,
      at,
      { trustRoots: userRoots(file('root.pem')) },
    )
    const text = page('attestation/tdx/README.md')
    const ids = result.checks.map(({ id }) => id.replace('tdx.', ''))
    expect(ids.filter((id) => !text.includes(`\`${id}\``))).toEqual([])
  })

  it('every code that a page names exists', () => {
    for (const name of PAGES)
      for (const [, code = ''] of page(name).matchAll(/code ([A-Z][A-Z_]+)\b/g))
        expect(Object.keys(CODES), name).toContain(code)
  })
})

describe('links', () => {
  it.each(PAGES)('%s', (name) => {
    for (const [, target = ''] of page(name).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g))
      if (!/^https?:/.test(target))
        expect(existsSync(resolve(REPOSITORY, dirname(name), target)), target).toBe(true)
  })
})
