import { createPublicKey } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { modelBinding, verifyEar } from '../../attestation/index.ts'
import { hexToBytes } from '../../attestation/lib/index.ts'
import { command } from '../../src/cli/attest.ts'
import {
  rootFile,
  simulateSnp,
  simulateTdx,
  snpEvidenceFile,
  tdxEvidenceFile,
} from '../../src/simulate/index.ts'
import { party } from '../fakes/authority.ts'
import { fakeKds } from '../fakes/kds.ts'
import { ourSchema } from '../fakes/schemas.ts'
import { referenceValues, PARTIES } from '../gate/scene.ts'
import { haveShared, shared } from '../shared.ts'
import { ran, type Ran } from './command.ts'

const AT = new Date('2026-10-01T12:00:00Z')
const NONCE = '5a'.repeat(32)
const MODEL = 'c3'.repeat(32)
const GOOD = '5e'.repeat(48)
let folder = ''
const at = (name: string): string => join(folder, name)
const attest = (...args: string[]): Promise<Ran> => ran(command, ...args)
const simulated = simulateSnp({
  at: AT,
  report: {
    measurement: hexToBytes(GOOD),
    reportData: modelBinding({ nonce: hexToBytes(NONCE), modelDigest: hexToBytes(MODEL) }),
  },
})

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'zt4ai-attest-'))
  writeFileSync(at('evidence.json'), snpEvidenceFile(simulated))
  writeFileSync(at('report.bin'), simulated.report)
  writeFileSync(at('chain.pem'), simulated.chain())
  writeFileSync(at('crl.der'), simulated.crl)
  writeFileSync(at('root.pem'), rootFile(simulated.ark)['root.pem'] ?? '')
  const td = simulateTdx({ at: AT })
  writeFileSync(at('td.json'), tdxEvidenceFile(td))
  writeFileSync(at('intel.pem'), rootFile(td.root)['root.pem'] ?? '')
  const verifier = party('verifier')
  writeFileSync(at('verifier.pem'), verifier.privatePem)
  writeFileSync(at('verifier.pub.pem'), verifier.publicPem)
  writeFileSync(at('platform.pub.pem'), PARTIES.platform.publicPem)
  writeFileSync(
    at('policy.yaml'),
    `schema: zt4ai.policy/v1
name: machines
signers:
  release: {key: {file: platform.pub.pem}}
machines:
  good: {platform: sev-snp, measurements: [${GOOD}], trust-root: {file: root.pem}}
  other: {platform: sev-snp, measurements: [${'00'.repeat(48)}], trust-root: {file: root.pem}}
  stated: {platform: sev-snp, measurements: [{from: reference-values, signer: release}], trust-root: {file: root.pem}}
  td: {platform: tdx, any-measurement: true, trust-root: {file: intel.pem}}
rules:
  one: {models: ['*'], signed-by: {any-of: [release]}, machine: {any-of: [good]}}
`,
  )
})
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

const simulatedAt = (...more: string[]): string[] => [
  at('evidence.json'),
  '--trust-root',
  at('root.pem'),
  '--at',
  AT.toISOString(),
  '--offline',
  ...more,
]

describe('zt4ai attest', () => {
  it('accepts genuine evidence under a root that was named, and says SIMULATED and not now', async () => {
    const { out, code } = await attest(...simulatedAt())
    expect(code).toBe(0)
    for (const text of [
      'ACCEPTED  evidence.json  AMD SEV-SNP report',
      'SIMULATED hardware',
      'Judged for 2026-10-01T12:00:00Z, not for now',
      'Genoa',
      'bootloader 10, TEE 0, SNP 27, microcode 88',
      'hyper-threading allowed',
      'memory aliases checked',
      'snp.tcb.reported',
      'at least bootloader 10, SNP 23, microcode 84',
    ])
      expect(out).toContain(text)
  })

  it('refuses simulated evidence where no root was named', async () => {
    const { out, code } = await attest(at('evidence.json'), '--offline')
    expect(code).toBe(1)
    expect(out).toContain('REFUSED')
    expect(out).toContain('nothing: no field of it was believed')
    expect(out).toContain('ROOT_UNTRUSTED')
  })

  it.each([
    ['evidence.json', 'root.pem', 0],
    ['td.json', 'intel.pem', 0],
    ['evidence.json', 'intel.pem', 1],
  ])('%s under %s as JSON fits the published schema', async (evidence, root, expected) => {
    const { out, code } = await attest(
      at(evidence),
      '--trust-root',
      at(root),
      '--at',
      AT.toISOString(),
      '--offline',
      '--json',
    )
    expect(code).toBe(expected)
    const result = JSON.parse(out) as { accepted: boolean; historical: boolean }
    expect(ourSchema('attestation.v1')(result)).toBeNull()
    expect(result).toMatchObject({ accepted: expected === 0, historical: true })
  })

  it('puts parts together, and saves them as one evidence file', async () => {
    const parts = ['--endorsements', at('chain.pem'), '--endorsements', at('crl.der')]
    const trust = ['--trust-root', at('root.pem'), '--at', AT.toISOString(), '--offline']
    expect((await attest(at('report.bin'), ...trust)).code).toBe(1)
    const saved = at('saved.json')
    expect((await attest(at('report.bin'), ...parts, ...trust, '--save', saved)).code).toBe(0)
    expect((await attest(saved, ...trust)).code).toBe(0)
    expect(ourSchema('evidence.v1')(JSON.parse(readFileSync(saved, 'utf8')))).toBeNull()
  })

  it('asks for the nonce, and for the binding to a model', async () => {
    const asked = async (...args: string[]): Promise<unknown> =>
      (await attest(...simulatedAt(...args))).code
    expect(await asked('--nonce', NONCE, '--model-digest', MODEL)).toBe(0)
    expect(await asked('--nonce', NONCE)).toBe(1)
    expect(await asked('--nonce', NONCE, '--model-digest', 'c4'.repeat(32))).toBe(1)
    expect(await asked('--nonce', '5b'.repeat(32), '--model-digest', MODEL)).toBe(1)
  })

  it('judges as a machine of a policy, with signed reference values', async () => {
    writeFileSync(
      at('values.bundle'),
      await referenceValues('platform', GOOD, { issued: '2026-09-01T00:00:00Z' }),
    )
    const as = async (machine: string, ...more: string[]): Promise<Ran> =>
      attest(
        at('evidence.json'),
        '--policy',
        at('policy.yaml'),
        '--machine',
        machine,
        '--at',
        AT.toISOString(),
        '--offline',
        ...more,
      )
    expect((await as('good')).code).toBe(0)
    expect(await as('other')).toMatchObject({ code: 1 })
    expect((await as('stated')).code).toBe(1)
    expect((await as('stated', '--bundle', at('values.bundle'))).code).toBe(0)
    expect((await as('nobody')).error?.code).toBe('USAGE')
    const td = await attest(
      at('td.json'),
      '--policy',
      at('policy.yaml'),
      '--at',
      AT.toISOString(),
      '--offline',
    )
    expect(td.code).toBe(0)
  })

  it('signs the result as an EAR token', async () => {
    const { out, code } = await attest(
      ...simulatedAt(
        '--ear',
        '--key',
        at('verifier.pem'),
        '--nonce',
        NONCE,
        '--model-digest',
        MODEL,
      ),
    )
    expect(code).toBe(0)
    const ear = verifyEar(out.trim(), createPublicKey(readFileSync(at('verifier.pub.pem'))))
    expect(ear.submods.get('cpu0')?.status).toBe('affirming')
    expect(ear).toMatchObject({ simulated: true, historical: true })
  })

  it('fetches what is missing, keeps it on disk, and needs no network then', async () => {
    const kds = await fakeKds([simulated])
    const cache = at('cache')
    const args = [
      at('report.bin'),
      '--trust-root',
      at('root.pem'),
      '--at',
      AT.toISOString(),
      '--kds',
      kds.base,
      '--plain-http',
      '--cache',
      cache,
    ]
    try {
      const first = await attest(...args)
      expect(first.err).toBe('')
      expect(first.code).toBe(0)
      expect(kds.requests.length).toBe(3)
      expect(readdirSync(cache).length).toBe(3)
      expect((await attest(...args)).code).toBe(0)
      expect(kds.requests.length).toBe(3)
    } finally {
      await kds.close()
    }
    expect((await attest(...args)).code).toBe(0)
    rmSync(cache, { recursive: true })
    const alone = await attest(...args)
    expect(alone.code).toBe(1)
    expect(alone.err).toContain('warning: nothing was fetched')
  }, 30_000)

  it('a command line without meaning is one, and what is no evidence gives no answer', async () => {
    for (const args of [
      [at('evidence.json'), '--ear'],
      [at('evidence.json'), '--key', at('verifier.pem')],
      [at('evidence.json'), '--machine', 'good'],
      [at('evidence.json'), '--nonce', 'zz'],
      [at('evidence.json'), '--model-digest', MODEL],
      [at('evidence.json'), '--policy', at('policy.yaml')],
      [
        at('evidence.json'),
        '--policy',
        at('policy.yaml'),
        '--machine',
        'good',
        '--trust-root',
        at('root.pem'),
      ],
    ])
      expect((await attest(...args, '--offline')).error?.code, args.join(' ')).toBe('USAGE')
    expect((await attest(at('root.pem'), '--offline')).error?.code).toBe('FORMAT_UNKNOWN')
    expect((await attest(at('nothing'), '--offline')).error?.code).toBe('IO')
  })

  it.skipIf(!haveShared)('genuine evidence, as recorded', async () => {
    const base = shared('recorded/snp/genoa-v3')
    const files = readdirSync(base)
    const report = files.find((name) => name.startsWith('report')) ?? ''
    const endorsements = [
      ...files.filter((name) => /\.(?:pem|der|crt)$/.test(name)).map((name) => join(base, name)),
      ...readdirSync(shared('recorded/snp/ca'))
        .filter((name) => /genoa/i.test(name))
        .map((name) => shared(`recorded/snp/ca/${name}`)),
    ].flatMap((path) => ['--endorsements', path])
    const { out, code } = await attest(
      join(base, report),
      ...endorsements,
      '--at',
      '2026-06-01T00:00:00Z',
      '--offline',
    )
    expect(out).toContain('ACCEPTED')
    expect(out).not.toContain('SIMULATED')
    expect(code).toBe(0)
  })
})
