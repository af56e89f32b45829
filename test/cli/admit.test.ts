import { createPublicKey } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verifyEar } from '../../attestation/index.ts'
import { bytesToHex, utf8Encode } from '../../attestation/lib/index.ts'
import { command as admitCommand } from '../../src/cli/admit.ts'
import { command as bindingCommand } from '../../src/cli/binding.ts'
import { command as inspectCommand } from '../../src/cli/inspect.ts'
import { verifyStatement } from '../../src/verify/statement.ts'
import type { Verdict } from '../../src/verdict.ts'
import { issue, party } from '../fakes/authority.ts'
import { ourSchema } from '../fakes/schemas.ts'
import { AT, machine, NONCE, PARTIES, scene, SOURCE, type Scene } from '../gate/scene.ts'
import { ran, type Ran } from './command.ts'

let at: Scene
const file = (name: string): string => join(at.folder, name)
const admit = (...args: string[]): Promise<Ran> => ran(admitCommand, ...args)
const inspect = (...args: string[]): Promise<Ran> => ran(inspectCommand, ...args)
let question: string[] = []

beforeEach(async () => {
  at = await scene()
  for (const [name, { publicPem, privatePem }] of Object.entries(PARTIES)) {
    writeFileSync(file(`${name}.pub.pem`), publicPem)
    writeFileSync(file(`${name}.pem`), privatePem)
  }
  writeFileSync(file('root.pem'), at.rootPem)
  writeFileSync(file('policy.yaml'), SOURCE)
  writeFileSync(file('evidence.json'), at.evidence.bytes)
  question = [
    at.model,
    '--policy',
    file('policy.yaml'),
    '--name',
    'acme/tiny',
    '--evidence',
    file('evidence.json'),
    '--nonce',
    bytesToHex(NONCE),
    '--at',
    AT.toISOString(),
  ]
})
afterEach(() => {
  at.close()
})

describe('zt4ai admit', () => {
  it('allows, and says in a table what it rests on', async () => {
    const { out, code } = await admit(...question)
    expect(code).toBe(0)
    expect(out).toContain(`ALLOW  acme/tiny  sha256:${at.root}`)
    expect(out).toContain('SIMULATED hardware')
    expect(out).toMatch(/evidence\.snp +\d+ single steps passed/)
  })

  it('the JSON is the verdict: the published schema, and the same bytes each time', async () => {
    const { out } = await admit(...question, '--json')
    expect(ourSchema('verdict.v1')(JSON.parse(out))).toBeNull()
    expect((await admit(...question, '--json')).out).toBe(out)
  })

  it('refuses with exit code 1 and the reason', async () => {
    at.write('extra.py', 'import os\n')
    const { out, code } = await admit(...question)
    expect(code).toBe(1)
    expect(out).toContain('DENY')
    expect(out).toContain('FILE_EXTRA')
    expect(out).toContain('FORMAT_NOT_ALLOWED')
  })

  it('a refusal of the evidence shows the step that failed', async () => {
    writeFileSync(file('evidence.json'), machine(at.root, { policy: 0xb0000n }).evidence.bytes)
    const { out, code } = await admit(...question)
    expect(code).toBe(1)
    expect(out).toMatch(/✗ evidence\.snp\.debug/)
  })

  it('where no verdict can be reached there is none', async () => {
    const nowhere = await admit(join(at.folder, 'nothing'), '--policy', file('policy.yaml'))
    expect(nowhere.error?.code).toBe('MODEL_NOT_FOUND')
    expect((await admit(at.model)).error?.code).toBe('USAGE')
    expect((await admit()).error?.code).toBe('USAGE')
    for (const [args, code] of [
      [['--nonce', 'zz'], 'USAGE'],
      [['--save', file('v')], 'USAGE'],
      [['--sign-key', file('registry.pem')], 'USAGE'],
      [['--evidence', file('nothing')], 'IO'],
      [['--at', 'soon'], 'USAGE'],
      [['--tee-key', file('registry.pem')], 'KEY_INVALID'],
      [['--replay', file('v')], 'USAGE'],
    ] as const) {
      const { error, out } = await admit(...question, ...args)
      expect(error?.code, args.join(' ')).toBe(code)
      expect(out).toBe('')
    }
    writeFileSync(file('policy.yaml'), `${SOURCE}x: 1\n`)
    expect((await admit(...question)).error?.code).toBe('POLICY_INVALID')
  })
})

describe('--save and --replay', () => {
  const save = (...more: string[]): Promise<Ran> =>
    admit(...question, '--save', file('v'), '--sign-key', file('registry.pem'), ...more)

  it('writes a signed bundle, its record and an EAR token', async () => {
    const { out } = await save('--json')
    const trust = { kind: 'key', publicKey: PARTIES.registry.publicPem } as const
    const { authenticated } = await verifyStatement(readFileSync(file('v')), trust, AT)
    expect(authenticated?.predicateType).toBe('https://slsa.dev/verification_summary/v1')
    expect(
      ourSchema('replay.v1')(JSON.parse(readFileSync(file('v.replay.json'), 'utf8'))),
    ).toBeNull()
    const ear = verifyEar(
      readFileSync(file('v.ear'), 'utf8').trim(),
      createPublicKey(PARTIES.registry.publicPem),
    )
    expect([...ear.submods.keys()]).toEqual(['model0', 'cpu0'])
    const verdict = JSON.parse(out) as Verdict
    expect(ear.inputs.length).toBe(verdict.inputs.length)
    expect(readdirSync(at.folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  it('every byte comes out again, from the bundle or the record, without the model', async () => {
    await save()
    at.write('config.json', 'changed since\n')
    for (const name of ['v', 'v.replay.json']) {
      const { out, code } = await admit('--replay', file(name))
      expect(code).toBe(0)
      expect(out).toContain('agrees: every byte')
      expect(out).toContain('not computed again: the files themselves')
    }
    const { out } = await admit('--replay', file('v'), '--json')
    expect(JSON.parse(out)).toMatchObject({ agrees: true, differences: [] })
  })

  it('a record or a bundle that was changed is told', async () => {
    await save()
    const record = readFileSync(file('v.replay.json'), 'utf8')
    writeFileSync(file('v.replay.json'), record.replace('every byte was read', 'no byte was read'))
    const { out, code } = await admit('--replay', file('v'))
    expect(code).toBe(1)
    expect(out).toContain('DIFFERS from the verdict in the record')
    writeFileSync(file('v.replay.json'), record)
    await admit(
      ...question.slice(0, -2),
      '--at',
      '2026-11-20T12:00:01Z',
      '--save',
      file('w'),
      '--sign-key',
      file('registry.pem'),
    )
    writeFileSync(file('v'), readFileSync(file('w')))
    expect((await admit('--replay', file('v'))).out).toContain(
      'DIFFERS from the verdict in the signed bundle',
    )
  })

  it('a refusal is saved and replayed as well; about no digest only its record is', async () => {
    at.write('more.json', '{}')
    expect((await save()).code).toBe(1)
    expect((await admit('--replay', file('v'))).code).toBe(0)
    writeFileSync(join(at.model, 'model.sig'), 'nonsense')
    const nothing = await admit(
      ...question,
      '--save',
      file('n'),
      '--sign-key',
      file('registry.pem'),
    )
    expect(nothing.code).toBe(1)
    expect(nothing.err).toContain('only the record was saved')
    expect(existsSync(file('n'))).toBe(false)
    expect((await admit('--replay', file('n.replay.json'))).code).toBe(0)
  })

  it('a certificate can sign it too, and a policy can ask for its identity', async () => {
    const ca = party('ca')
    const leaf = party('gate')
    const root = issue(ca, { ca: true })
    writeFileSync(file('ca.pem'), root)
    writeFileSync(file('gate.crt'), issue(leaf, { issuer: ca, emails: ['gate@example.org'] }))
    writeFileSync(file('gate.pem'), leaf.privatePem)
    const signed = ['--sign-key', file('gate.pem'), '--sign-certificate', file('gate.crt')]
    const { code, error } = await admit(
      ...question,
      '--save',
      file('c'),
      ...signed,
      '--sign-chain',
      file('ca.pem'),
    )
    expect([code, error]).toEqual([0, null])
    const asks = (identity: string): string =>
      `${SOURCE.replace('machines:', `  gate: {certificate: {roots: {file: ca.pem}, identity: ${identity}}}\nmachines:`)}    admitted: {by: [gate], within: 7d, policy: {name: production}}\n`
    writeFileSync(file('policy.yaml'), asks('gate@example.org'))
    expect((await admit(...question, '--bundle', file('c'))).code).toBe(0)
    writeFileSync(file('policy.yaml'), asks('other@example.org'))
    expect((await admit(...question, '--bundle', file('c'))).code).toBe(1)
  })

  it('one proof is passed along: a saved verdict satisfies another policy', async () => {
    await save()
    writeFileSync(
      file('policy.yaml'),
      `${SOURCE}    admitted: {by: [registry], within: 7d, policy: {name: production}}\n`,
    )
    expect((await admit(...question)).code).toBe(1)
    expect((await admit(...question, '--bundle', file('v'))).code).toBe(0)
  })
})

describe('--html', () => {
  it('writes the page', async () => {
    await admit(...question, '--html', file('page.html'))
    const page = readFileSync(file('page.html'), 'utf8')
    expect(page).toContain('Allowed')
    expect(page).not.toContain('Nobody verified')
    await admit(...question, '--save', file('v'), '--sign-key', file('registry.pem'))
    await inspect(file('v'), '--html', file('shown.html'))
    expect(readFileSync(file('shown.html'), 'utf8')).toContain('Nobody verified this verdict')
    expect((await inspect(file('evidence.json'), '--html', file('x'))).error?.code).toBe('USAGE')
  })
})

describe('zt4ai binding', () => {
  it('prints the report data that admission asks for', async () => {
    const nonce = bytesToHex(NONCE)
    const { out } = await ran(bindingCommand, '--model', at.model, '--nonce', nonce, '--json')
    const answer = JSON.parse(out) as { reportData: string; model: unknown }
    expect(answer.model).toEqual({ sha256: at.root })
    const digest = await ran(bindingCommand, '--digest', at.root, '--nonce', nonce)
    expect(digest.out).toBe(`${answer.reportData}\n`)
    const held = await ran(
      bindingCommand,
      '--digest',
      at.root,
      '--nonce',
      nonce,
      '--key',
      file('registry.pub.pem'),
    )
    expect(held.out).not.toBe(digest.out)
    // and the evidence of the scene holds it
    expect((await inspect(file('evidence.json'))).out).toContain(answer.reportData)
  })

  it('needs one model and a nonce of 32 bytes', async () => {
    const nonce = bytesToHex(NONCE)
    for (const args of [
      ['--nonce', nonce],
      ['--nonce', nonce, '--model', at.model, '--digest', at.root],
      ['--nonce', '00', '--digest', at.root],
      ['--nonce', nonce, '--digest', 'zz'],
    ])
      expect((await ran(bindingCommand, ...args)).error?.code).toBe('USAGE')
  })
})

describe('zt4ai inspect', () => {
  it('says what each file is, and that nothing was verified', async () => {
    await admit(...question, '--save', file('v'), '--sign-key', file('registry.pem'))
    const { out: verdict } = await admit(...question, '--json')
    writeFileSync(file('verdict.json'), verdict)
    for (const [name, kind, ...texts] of [
      ['model/model.sig', 'the signature of a model', at.root, 'config.json'],
      ['v', 'a saved verdict', 'allow', at.root],
      ['v.replay.json', 'the record of a verdict', '--replay'],
      ['v.ear', 'an attestation result (EAR token)', 'model0', 'cpu0'],
      ['verdict.json', 'a verdict', 'ALLOW'],
      ['evidence.json', 'evidence of an AMD SEV-SNP machine', '5e5e', 'bootloader 10'],
      ['root.pem', 'a file of endorsements', 'ARK-Genoa', 'SIMULATED'],
      ['policy.yaml', 'a policy', 'production', 'acme/*'],
      ['registry.pub.pem', 'a public key'],
      ['registry.pem', 'a private key'],
    ] as const) {
      const { out, code } = await inspect(file(name))
      expect(out, name).toContain(`This is ${kind}`)
      expect(out).toContain('Nothing was verified')
      for (const text of texts) expect(out, name).toContain(text)
      expect(code).toBeUndefined()
    }
    expect((await inspect(join(at.model, 'config.json'))).error?.code).toBe('FORMAT_UNKNOWN')
    expect((await inspect(file('registry.pem'))).out).not.toContain('BEGIN')
  })

  it('a forged or broken file is shown as what it says, never as true; junk gives a typed error', async () => {
    const sig = readFileSync(join(at.model, 'model.sig'), 'utf8')
    const forged = JSON.parse(sig) as { dsseEnvelope: { signatures: { sig: string }[] } }
    for (const signature of forged.dsseEnvelope.signatures) signature.sig = 'AAAA'
    writeFileSync(file('forged'), JSON.stringify(forged))
    expect((await inspect(file('forged'))).out).toContain('anybody could have written it')
    for (const bytes of [
      new Uint8Array(0),
      utf8Encode('{}'),
      utf8Encode('a.b.c'),
      new Uint8Array(2000).fill(2),
    ]) {
      writeFileSync(file('junk'), bytes)
      const { error, out } = await inspect(file('junk'))
      expect(error?.code).toMatch(/^[A-Z_]+$/)
      expect(out).toBe('')
    }
  })
})
