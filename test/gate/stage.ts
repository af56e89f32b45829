// The single owner of the stage on which the loader is tried: a signed model, a policy that wants no machine, and the real command in a real process.
import { spawn, spawnSync, type ChildProcess, type SpawnOptions } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
  chmodSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as wait } from 'node:timers/promises'
import { signModel, type SignModelOptions } from '../../src/sign/model.ts'
import { PARTIES, safetensors, signerOf } from './scene.ts'

export const CLI = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url))

/** The policy: signed by release, no machine, and whatever else the rule says. */
export const policyText = (rule = ''): string => `schema: zt4ai.policy/v1
name: loader
signers:
  release: {key: {file: release.pub.pem}}
rules:
  all:
    models: ['*']
    signed-by: {any-of: [release]}
    machine: not-required
${rule === '' ? '' : `    ${rule}\n`}`

export interface Stage {
  readonly folder: string
  readonly model: string
  readonly policy: string
  /** Its own temporary directory, so that what is left behind can be seen. */
  readonly temporary: string
  write(name: string, bytes: Uint8Array | string): void
  path(name: string): string
  /** Another policy in the place of the first. */
  rule(text: string): void
  /** Runs the command to its end. */
  run(words: readonly string[], options?: SpawnOptions): Ran
  /** Starts it, and goes on. */
  start(words: readonly string[], options?: SpawnOptions): Started
  /** What runs have left behind. */
  left(): string[]
  close(): void
}

export interface Ran {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Started {
  readonly child: ChildProcess
  stdout(): string
  stderr(): string
  /** Until the output has this text. */
  seen(text: string): Promise<void>
  readonly ended: Promise<number | null>
}

/** A signed model in a folder that every user may look into. */
export async function stage(
  signing: Partial<SignModelOptions> = {},
  files: Readonly<Record<string, Uint8Array>> = {},
): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'zt4ai-loader-'))
  chmodSync(folder, 0o755)
  const model = join(folder, 'model')
  const temporary = join(folder, 'tmp')
  mkdirSync(join(model, 'sub'), { recursive: true })
  mkdirSync(temporary)
  chmodSync(temporary, 0o1777)
  writeFileSync(join(model, 'weights.safetensors'), safetensors(7))
  writeFileSync(join(model, 'config.json'), '{"good": true}\n')
  writeFileSync(join(model, 'sub', 'vocab.json'), '{"a": 1}\n')
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(model, name), bytes)
  await signModel(model, { signer: signerOf('release'), ...signing })
  writeFileSync(join(folder, 'release.pub.pem'), PARTIES.release.publicPem)
  const policy = join(folder, 'policy.yaml')
  writeFileSync(policy, policyText())
  const words = (rest: readonly string[]): string[] => [
    CLI,
    'run',
    ...['--policy', policy, '--model', model],
    ...rest,
  ]
  const env = { ...process.env, TMPDIR: temporary, NO_COLOR: '1' }
  return {
    folder,
    model,
    policy,
    temporary,
    path: (name) => join(folder, name),
    write: (name, bytes) => {
      mkdirSync(dirname(join(model, name)), { recursive: true })
      writeFileSync(join(model, name), bytes)
    },
    rule: (text) => {
      writeFileSync(policy, policyText(text))
    },
    run: (rest, options = {}) => {
      const { status, stdout, stderr } = spawnSync(process.execPath, words(rest), {
        env,
        stdio: 'pipe',
        ...options,
        encoding: 'utf8',
      })
      return { status, stdout, stderr }
    },
    start: (rest, options = {}) =>
      started(spawn(process.execPath, words(rest), { env, ...options })),
    left: () => readdirSync(temporary).filter((name) => name.startsWith('zt4ai-run-')),
    close: () => {
      if (existsSync(folder)) rmSync(folder, { recursive: true, force: true })
    },
  }
}

function started(child: ChildProcess): Started {
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (text: Buffer) => (stdout += text.toString()))
  child.stderr?.on('data', (text: Buffer) => (stderr += text.toString()))
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    seen: async (text) => {
      for (let i = 0; i < 5000; i++) {
        if (stdout.includes(text)) return
        if (child.exitCode !== null) break
        await wait(10)
      }
      throw new Error(`never said ${text}: ${stdout}${stderr}`)
    },
    ended: new Promise((resolve) => {
      child.once('close', (code) => {
        resolve(code)
      })
    }),
  }
}

/** A tensor file of this many bytes of data. */
export function largeTensor(bytes: number, fill = 3): Uint8Array {
  const header = Buffer.from(
    JSON.stringify({ w: { dtype: 'U8', shape: [bytes], data_offsets: [0, bytes] } }),
  )
  const file = Buffer.alloc(8 + header.length + bytes, fill)
  file.writeBigUInt64LE(BigInt(header.length))
  header.copy(file, 8)
  return file
}

/** Why this machine can't make private copies; null if it can. */
export function noNamespaces(): string | null {
  const { status, stderr } = spawnSync('unshare', ['-Urm', 'true'], { encoding: 'utf8' })
  return status === 0 ? null : stderr
}
