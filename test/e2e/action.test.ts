// The GitHub Action: its steps are run as GitHub runs them, with a key and (against the fake Sigstore) keyless.
import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { REPOSITORY } from '../shared.ts'
import { FAKE_ISSUER, FAKE_SUBJECT, startFakeSigstore } from '../fakes/sigstore.ts'
import type { FakeSigstore } from '../fakes/sigstore.ts'

interface Step {
  readonly id: string
  readonly shell: string
  readonly env: Readonly<Record<string, string>>
  readonly run: string
}
interface Action {
  readonly inputs: Readonly<
    Record<string, { readonly default?: string; readonly required?: boolean }>
  >
  readonly outputs: Readonly<Record<string, { readonly value: string }>>
  readonly runs: { readonly using: string; readonly steps: readonly Step[] }
}
const ACTION = parse(readFileSync(join(REPOSITORY, 'action.yml'), 'utf8')) as Action
const EXPRESSION = /\$\{\{\s*([\w.-]+)\s*\}\}/g
const CLI = join(REPOSITORY, 'dist/src/cli/main.js')

interface Ran {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
  /** The action's outputs. */
  readonly outputs: Readonly<Record<string, string>>
}

let directory: string
/** The action's checkout: this tree as it is built, with a `ready.mjs` that writes down how it was called (`npm test` ran the real one). */
let action: string
let temp: string
let model: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'zt4ai-action-'))
  action = join(directory, 'the action')
  mkdirSync(join(action, 'scripts'), { recursive: true })
  symlinkSync(join(REPOSITORY, 'dist'), join(action, 'dist'))
  const ready = `import { writeFileSync } from 'node:fs'
writeFileSync(new URL('called', import.meta.url), process.argv.slice(2).join(' '))`
  writeFileSync(join(action, 'scripts', 'ready.mjs'), ready)
})
afterAll(() => {
  rmSync(directory, { recursive: true, force: true })
})
beforeEach(() => {
  temp = mkdtempSync(join(directory, 'run-'))
  model = join(temp, 'model')
  mkdirSync(join(model, 'logs'), { recursive: true })
  writeFileSync(join(model, 'weights.bin'), 'weights')
  writeFileSync(join(model, 'logs', 'run.txt'), 'not signed')
  writeFileSync(join(model, 'notes'), 'not signed')
})

function spawn(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<Omit<Ran, 'outputs'>> {
  return new Promise((resolve) => {
    const child = execFile(
      command,
      args,
      { cwd: temp, env, timeout: 30_000 },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
        resolve({ status, stdout, stderr })
      },
    )
    child.stdin?.end()
  })
}

const verify = (...args: readonly string[]): Promise<Omit<Ran, 'outputs'>> =>
  spawn(process.execPath, [CLI, 'verify', model, '--json', ...args], { PATH: process.env['PATH'] })

/** Runs the steps in order, as GitHub does: expressions only where the file has them, one file for each step's outputs. */
async function run(
  given: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>> = {},
  steps: readonly string[] = ['install', 'sign'],
): Promise<Ran> {
  const context = new Map<string, string>([
    ['github.action_path', action],
    ['runner.temp', temp],
  ])
  for (const [name, input] of Object.entries(ACTION.inputs))
    context.set(`inputs.${name}`, given[name] ?? input.default ?? '')
  const fill = (text: string): string =>
    text.replace(EXPRESSION, (_all, name: string) => context.get(name) ?? '')
  let last: Omit<Ran, 'outputs'> = { status: -1, stdout: '', stderr: '' }
  for (const step of ACTION.runs.steps.filter(({ id }) => steps.includes(id))) {
    const script = join(temp, `${step.id}.sh`)
    const output = join(temp, `${step.id}.output`)
    writeFileSync(script, step.run)
    writeFileSync(output, '')
    const own = Object.fromEntries(Object.entries(step.env).map(([name, v]) => [name, fill(v)]))
    const base = { PATH: process.env['PATH'], HOME: temp, GITHUB_OUTPUT: output, ...env }
    last = await spawn('bash', ['--noprofile', '--norc', '-eo', 'pipefail', script], {
      ...base,
      ...own,
    })
    for (const [name, value] of readOutputs(readFileSync(output, 'utf8')))
      context.set(`steps.${step.id}.outputs.${name}`, value)
    if (last.status !== 0) break
  }
  const outputs = Object.entries(ACTION.outputs).map(([name, { value }]) => [name, fill(value)])
  return { ...last, outputs: Object.fromEntries(outputs) as Record<string, string> }
}

/** GitHub's grammar of the output file: `name=value`, or `name<<DELIMITER`, lines, `DELIMITER`. */
function readOutputs(text: string): Map<string, string> {
  const outputs = new Map<string, string>()
  const lines = text.split('\n')
  while (lines.length > 0) {
    const line = lines.shift() ?? ''
    const [, name = '', end = ''] = /^([^=<]+)<<(.+)$/.exec(line) ?? []
    if (name !== '') {
      outputs.set(name, lines.splice(0, lines.indexOf(end)).join('\n'))
      lines.shift()
    } else if (line.includes('=')) {
      outputs.set(line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1))
    }
  }
  return outputs
}

function newKey(passphrase?: string): { readonly key: string; readonly publicKey: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const cipher = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase }
  const path = join(temp, 'key.pub.pem')
  writeFileSync(path, publicKey.export({ type: 'spki', format: 'pem' }))
  const key = privateKey.export({ type: 'pkcs8', format: 'pem', ...cipher }) as string
  return { key, publicKey: path }
}

describe('action.yml', () => {
  it('has bash steps only, and no expression inside a script', () => {
    expect(ACTION.runs.using).toBe('composite')
    expect(ACTION.runs.steps.map(({ id }) => id)).toEqual(['install', 'sign'])
    for (const { shell, run: script } of ACTION.runs.steps) {
      expect(shell).toBe('bash')
      expect(script).not.toContain('${{')
    }
  })

  it('uses every input, and names no other', () => {
    const texts = ACTION.runs.steps.flatMap(({ env }) => Object.values(env)).join('\n')
    const used = new Set([...texts.matchAll(EXPRESSION)].map(([, name]) => name))
    const known = Object.keys(ACTION.inputs).map((name) => `inputs.${name}`)
    expect([...used].filter((name) => name?.startsWith('inputs.')).sort()).toEqual(known.sort())
  })
})

describe('the action with a key', () => {
  it('installs itself, signs, and says where and what', async () => {
    const { key, publicKey } = newKey()
    const ran = await run({ model, key })
    expect(ran).toMatchObject({ status: 0, outputs: { signature: join(model, 'model.sig') } })
    expect(ran.outputs['digest']).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(readFileSync(join(action, 'scripts', 'called'), 'utf8')).toBe('src')
    const verdict = await verify('--key', publicKey)
    expect(verdict.status).toBe(0)
    const { subject } = JSON.parse(verdict.stdout) as { subject: { digest: { sha256: string } } }
    expect(`sha256:${subject.digest.sha256}`).toBe(ran.outputs['digest'])
    writeFileSync(join(model, 'weights.bin'), 'Weights')
    expect((await verify('--key', publicKey)).status).toBe(1)
  })

  it('takes an encrypted key, and leaves no key behind', async () => {
    const { key, publicKey } = newKey('open sesame')
    const signed = await run({ model, key, 'key-passphrase': 'open sesame' })
    expect(signed.status).toBe(0)
    expect((await verify('--key', publicKey)).status).toBe(0)
    const wrong = await run({ model, key, 'key-passphrase': 'wrong' })
    expect(wrong.status).toBe(3)
    expect(readdirSync(temp).filter((name) => name.startsWith('zt4ai-key'))).toEqual([])
    expect(`${signed.stdout}${signed.stderr}${wrong.stderr}`).not.toMatch(/sesame|PRIVATE KEY/)
  })

  it('leaves out what is listed, line by line', async () => {
    const { key, publicKey } = newKey()
    const signature = join(temp, 'out', 'the model.sig')
    mkdirSync(dirname(signature))
    const ran = await run({ model, key, signature, ignore: 'logs\r\n\nnotes\n', hash: 'blake2b' })
    expect(ran).toMatchObject({ status: 0, outputs: { signature } })
    rmSync(join(model, 'logs'), { recursive: true })
    rmSync(join(model, 'notes'))
    expect((await verify('--key', publicKey, '--signature', signature)).status).toBe(0)
  })

  it('fails where the model can not be signed, and says why', async () => {
    const { key } = newKey()
    const ran = await run({ model: join(temp, 'nothing'), key })
    expect(ran.status).not.toBe(0)
    expect(ran.stderr).toContain('nothing')
    expect(ran.outputs).toEqual({ signature: '', digest: '' })
  })

  it.each([
    '$(touch PWNED)',
    '`touch PWNED`',
    '"; touch PWNED; "',
    "'; touch PWNED; '",
    '--help',
    '-V',
    '* ? [a]',
    'a\nsignature=PWNED',
    '${{ github.token }}',
  ])('takes %j as a name and nothing else', async (name) => {
    const { key, publicKey } = newKey()
    const odd = join(temp, name)
    mkdirSync(odd)
    writeFileSync(join(odd, 'weights.bin'), 'weights')
    const ran = await run({ model: name, key, ignore: name })
    expect(existsSync(join(temp, 'PWNED'))).toBe(false)
    const signature = join(name, 'model.sig')
    if (ran.status === 0) {
      expect(ran.outputs['signature']).toBe(signature)
      const args = [CLI, 'verify', '--json', '--key', publicKey, '--', name]
      expect((await spawn(process.execPath, args, { PATH: process.env['PATH'] })).status).toBe(0)
    } else {
      // the name is refused as an ignored path (patterns, line ends), not run
      expect(ran.stderr).toMatch(/zt4ai: [A-Z_]+:|"signed": false/)
      expect(await run({ model: name, key })).toMatchObject({ status: 0, outputs: { signature } })
    }
  })
})

describe('the action without a key', () => {
  let fake: FakeSigstore
  let root: string
  beforeAll(async () => {
    fake = await startFakeSigstore()
    root = join(directory, 'trusted_root.json')
    writeFileSync(root, fake.trustedRoot)
  })
  afterAll(() => fake.close())

  const services = (): Readonly<Record<string, string>> => ({
    'fulcio-url': fake.url,
    'rekor-url': fake.url,
  })
  const keyless = (): readonly string[] => [
    '--identity',
    FAKE_SUBJECT,
    '--issuer',
    FAKE_ISSUER,
    '--trusted-root',
    root,
  ]

  it("signs with the workflow's identity, and warns that this is public", async () => {
    const { requestUrl, requestToken } = fake.github
    const ran = await run(
      { model, ...services() },
      {
        ACTIONS_ID_TOKEN_REQUEST_URL: requestUrl,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken,
      },
    )
    expect(ran.status).toBe(0)
    expect(ran.stderr).toMatch(/warning: a keyless signature is public/)
    expect(ran.stderr).not.toContain(requestToken)
    expect((await verify(...keyless())).status).toBe(0)
    expect((await verify(...keyless(), '--issuer', `${FAKE_ISSUER}/`)).status).toBe(1)
  })

  it('signs with a given token, in Rekor v2 with a timestamp', async () => {
    const token = fake.token()
    const more = { 'identity-token': token, 'rekor-version': '2', 'tsa-url': fake.url }
    const ran = await run({ model, ...services(), ...more })
    expect(ran.status).toBe(0)
    expect(`${ran.stdout}${ran.stderr}`).not.toContain(token)
    expect((await verify(...keyless())).status).toBe(0)
  })

  it('says what is missing where there is no identity', async () => {
    const ran = await run({ model, ...services() })
    expect(ran.status).toBe(3)
    expect(ran.stderr).toMatch(/TOKEN_MISSING[^]*id-token: write/)
    expect(existsSync(join(model, 'model.sig'))).toBe(false)
  })
})

describe('the install step', () => {
  /** An npm that writes down what it was asked, and installs nothing. */
  function fakeNpm(): { readonly path: string; readonly asked: () => string } {
    const bin = join(temp, 'bin')
    const log = join(temp, 'npm.log')
    mkdirSync(bin)
    writeFileSync(join(bin, 'npm'), `#!/bin/sh\nprintf '%s\\n' "$@" > '${log}'\n`)
    chmodSync(join(bin, 'npm'), 0o755)
    return {
      path: `${bin}${delimiter}${process.env['PATH'] ?? ''}`,
      asked: () => (existsSync(log) ? readFileSync(log, 'utf8') : ''),
    }
  }

  it('takes a released version from npm, without running its scripts', async () => {
    const { path, asked } = fakeNpm()
    const ran = await run({ model, version: '0.1.0' }, { PATH: path }, ['install'])
    expect(ran.status).toBe(0)
    expect(asked().split('\n')).toEqual(
      expect.arrayContaining(['install', `${temp}/zt4ai`, '--ignore-scripts', 'zt4ai@0.1.0']),
    )
  })

  it.each([
    'latest',
    'file:/tmp/x',
    '1.0.0 evil',
    '1.0.0\nevil',
    'git+https://x',
    '^1.0.0',
    '$(id)',
  ])('takes %j for no version', async (version) => {
    const { path, asked } = fakeNpm()
    const ran = await run({ model, version }, { PATH: path }, ['install'])
    expect(ran.status).toBe(1)
    expect(ran.stdout).toContain('::error::')
    expect(asked()).toBe('')
  })
})
