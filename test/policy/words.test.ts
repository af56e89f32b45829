import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { command } from '../../src/cli/policy.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { decodePolicy } from '../../src/policy/decode.ts'
import { explainPolicy } from '../../src/policy/explain.ts'
import { initialPolicy, type AtHand } from '../../src/policy/init.ts'
import { looseEnds } from '../../src/policy/loose.ts'
import { haveShared, shared } from '../shared.ts'
import { AT, GOOD, SOURCE, policyOf } from './example.ts'

function paths(source: string): readonly string[] {
  return looseEnds(policyOf(source), new Date(AT)).map(({ path }) => path)
}

/** A policy in which nothing is loose. */
const TIGHT = SOURCE.replace('  security: {key: {file: security.pub.pem}}\n', '')
  .replace('  registry: {key: {file: registry.pub.pem}}\n', '')
  .replace('[release, security]', '[release]')
  .replace('    max-age: 5m', '    max-age: 5m\n    snp: {products: {deny: [Milan]}}')

describe('looseEnds', () => {
  it('finds nothing in a tight policy', () => {
    expect(paths(TIGHT)).toEqual([])
  })

  it.each([
    ['    max-age: 5m', '    max-age: 5m\n    nonce: required\n', []],
    ['    max-age: 5m\n', '', ['machines.prod.max-age']],
    ['    max-age: 5m', '    nonce: not-required', ['machines.prod.nonce']],
    ['    max-age: 5m', '    max-age: 5m\n    binding: not-required', ['machines.prod.binding']],
    ['    max-age: 5m', '    max-age: 5m\n    trust-root: {file: x}', ['machines.prod.trust-root']],
    ['deny: [Milan]', 'deny: []', ['machines.prod.snp.products']],
    [
      'deny: [Milan]}',
      'deny: []}, provisional-firmware: true',
      ['machines.prod.snp.products', 'machines.prod.snp.provisional-firmware'],
    ],
    ['    max-signature-age: 90d\n', '', ['rules.production.max-signature-age']],
    ['private-copy', 'start', ['rules.production.protection']],
    ["'acme/*'", "'*'", ['rules.production.models']],
    [
      "'oci://registry.example/models/*'",
      "'oci://registry.example/*/*'",
      ['rules.production.models'],
    ],
    [
      '    protection',
      '    formats: {allow: [pickle]}\n    protection',
      ['rules.production.formats'],
    ],
    [
      '    protection',
      '    extra-files: {ignored: allow}\n    protection',
      ['rules.production.extra-files.ignored'],
    ],
    [
      '    protection',
      "    extra-files: {allow: ['*']}\n    protection",
      ['rules.production.extra-files.allow'],
    ],
    [
      '    protection',
      '    manifest-only: [raw-bijection]\n    protection',
      ['rules.production.manifest-only'],
    ],
    [
      '    protection',
      '    admitted: {by: [release], within: 1d, policy: {name: x}}\n    protection',
      ['rules.production.admitted.policy'],
    ],
    [
      '{any-of: [prod]}',
      'not-required',
      ['rules.production.machine', 'signers.platform', 'machines.prod'].filter(
        (path) => path !== 'signers.platform',
      ),
    ],
  ])('%j → %j', (from, to, expected) => {
    expect(TIGHT).toContain(from)
    expect(paths(TIGHT.replace(from, to))).toEqual(expected)
  })

  it('watches exemptions and modes', () => {
    const exemption = (models: string, expires: string): string =>
      `${TIGHT}exemptions:\n  x: {models: ['${models}'], checks: [protection], owner: o, reason: r, expires: ${expires}}\n`
    expect(paths(exemption('acme/x', '2027-01-01'))).toEqual([])
    expect(paths(exemption('acme/x', '2026-11-20T12:00:00Z'))).toEqual(['exemptions.x.expires'])
    expect(paths(exemption('acme/x', '2029-01-01'))).toEqual(['exemptions.x.expires'])
    expect(paths(exemption('*', '2027-01-01'))).toEqual(['exemptions.x.models'])
    expect(paths(`${TIGHT}modes: {default: warn}\n`)).toEqual(['modes.default'])
    expect(paths(`${TIGHT}modes: {namespaces: {'*-dev': audit, team: warn}}\n`)).toEqual([
      'modes.namespaces.*-dev',
    ])
  })

  it('names what no rule uses', () => {
    expect(paths(TIGHT.replace('{any-of: [prod]}', 'not-required'))).toContain('machines.prod')
    expect(paths(TIGHT.replace('signers:', 'signers:\n  extra: {key: {file: x}}'))).toEqual([
      'signers.extra',
    ])
  })
})

describe('explainPolicy', () => {
  it('says every rule, machine and signer in sentences', () => {
    const paragraphs = explainPolicy(policyOf(TIGHT))
    expect(paragraphs.map(({ title }) => title)).toEqual([
      'Policy production',
      'Rule production',
      'Machine prod',
      'Signer release',
      'Signer platform',
      'Admission service',
    ])
    const all = paragraphs.flatMap(({ sentences }) => sentences)
    expect(all).toContain('They run only on prod, proved by evidence.')
    expect(all).toContain('The evidence must answer a nonce that was made at most 5m before.')
    expect(all.every((sentence) => /[.:]$/.test(sentence))).toBe(true)
  })
})

describe('initialPolicy', () => {
  const bare: AtHand = { name: 'first', models: ['acme/*'], keys: [] }
  const bundle = { file: 'model.sig', hash: 'sha256', root: 'aa'.repeat(32) }
  const evil = 'x"\n# \u2028- &a *b: [{'

  it.each<[string, AtHand]>([
    ['nothing', bare],
    ['keys of one name', { ...bare, keys: ['a/k.pub.pem', 'b/k.pub.pem', '../.pem'] }],
    ['a key signature', { ...bare, signature: { ...bundle, signer: { kind: 'key', hint: evil } } }],
    [
      'a certificate',
      {
        ...bare,
        signature: { ...bundle, signer: { kind: 'certificate', identity: null, root: evil } },
      },
    ],
    [
      'hostile names',
      {
        name: 'true',
        models: ['null', '12', 'oci://h/r'],
        keys: ['it\'s "a" key.pem'],
        signature: {
          ...bundle,
          file: evil,
          signer: { kind: 'keyless', identity: 'a@b"\\', issuer: 'https://i' },
        },
        evidence: {
          file: evil,
          platform: 'tdx',
          measurement: GOOD,
          product: evil,
          trustRoot: 'r.pem',
        },
      },
    ],
    [
      'SNP evidence',
      {
        ...bare,
        evidence: {
          file: 'e',
          platform: 'sev-snp',
          measurement: '1'.repeat(96),
          product: 'Milan',
          trustRoot: null,
        },
      },
    ],
  ])('from %s is a policy', (_, hand) => {
    const text = initialPolicy(hand)
    const policy = decodePolicy(utf8Encode(text))
    expect(policy.name).toBe(hand.name)
    expect(policy.rules.get('first')?.models).toEqual(hand.models)
    expect(text.split('\n').filter((line) => line.startsWith('#')).length).toBeGreaterThan(5)
    if (hand.evidence !== undefined)
      expect(policy.machines.get('first')?.measurements).toEqual([
        { kind: 'literal', value: hand.evidence.measurement },
      ])
  })
})

describe('zt4ai policy', () => {
  let folder: string
  let written: string

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'zt4ai-policy-'))
    written = ''
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      written += String(text)
      return true
    })
  })
  afterEach(() => {
    vi.restoreAllMocks()
    rmSync(folder, { recursive: true })
    process.exitCode = 0
  })

  async function run(...argv: string[]): Promise<number> {
    written = ''
    await command().parseAsync(argv, { from: 'user' })
    return Number(process.exitCode)
  }

  it('writes a policy, explains it, and refuses a broken one', async () => {
    const key = join(folder, 'release.pub.pem')
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    writeFileSync(key, publicKey.export({ type: 'spki', format: 'pem' }))
    const file = join(folder, 'policy.yaml')
    expect(await run('init', '--key', key, '--output', file)).toBe(0)
    const text = readFileSync(file, 'utf8')
    expect(text).toContain('key: {file: release.pub.pem}')
    await expect(run('init', '--output', file)).rejects.toMatchObject({ code: 'USAGE' })
    expect(readFileSync(file, 'utf8')).toBe(text)

    expect(await run('check', file)).toBe(0)
    expect(written).toContain('rules.first.machine: any machine may load the model')
    expect(await run('check', file, '--strict', '--json')).toBe(1)
    expect(JSON.parse(written)).toMatchObject({ name: 'first', digest: {} })

    writeFileSync(file, text.replace('release.pub.pem', 'gone.pem'))
    expect(await run('check', file)).toBe(1)
    expect(written).toContain('Rule first')
    expect(written).toContain('gone.pem')
    writeFileSync(file, text.replace('machine:', 'machin:'))
    expect(await run('check', file)).toBe(1)
    expect(written).toMatch(
      /policy\.yaml:\d+:5: rules\.first: unknown key `machin` \(POLICY_INVALID\)\n {2}hint: did you mean `machine`\?/,
    )
    await expect(run('check', join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'IO' })
  })

  it.runIf(haveShared)('reads genuine signatures and evidence', async () => {
    expect(await run('init', '--signature', shared('vectors/oms/v1.0.0-sigstore/model.sig'))).toBe(
      0,
    )
    expect(written).toContain('identity: stefanb@us.ibm.com')
    for (const evidence of ['snp/genoa-v3/report.bin', 'tdx/v4-uptodate/quote.bin']) {
      expect(await run('init', '--evidence', shared(`recorded/${evidence}`))).toBe(0)
      expect(written).toMatch(/ {4}measurements:\n {6}- "[0-9a-f]{96}"/)
    }
    expect(existsSync(join(folder, 'policy.yaml'))).toBe(false)
  })
})
