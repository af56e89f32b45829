// Kill -9 at any moment of `admit --save`: nothing that is half a verdict is ever found in its place.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readReplay } from '../../src/gate/replay.ts'
import { verifyStatement } from '../../src/verify/statement.ts'
import { REPOSITORY } from '../shared.ts'
import { AT, PARTIES, scene, SOURCE, type Scene } from './scene.ts'

const MAIN = resolve(REPOSITORY, 'dist/src/cli/main.js')
let at: Scene
let args: string[] = []
let saved = ''

beforeAll(async () => {
  at = await scene()
  const file = (name: string, content: string | Uint8Array): string => {
    const path = join(at.folder, name)
    writeFileSync(path, content)
    return path
  }
  for (const [name, { publicPem }] of Object.entries(PARTIES)) file(`${name}.pub.pem`, publicPem)
  file('root.pem', at.rootPem)
  saved = join(at.folder, 'verdict')
  args = [
    MAIN,
    'admit',
    at.model,
    '--name',
    'acme/tiny',
    '--policy',
    file('policy.yaml', SOURCE),
    '--evidence',
    file('evidence.json', at.evidence.bytes),
    '--at',
    AT.toISOString(),
    '--nonce',
    '0c'.repeat(32),
    '--save',
    saved,
    '--sign-key',
    file('registry.pem', PARTIES.registry.privatePem),
  ]
})
afterAll(() => {
  at.close()
})

describe.skipIf(!existsSync(MAIN))('kill -9', () => {
  it('leaves a whole verdict or none, and the next run writes one', async () => {
    const start = performance.now()
    expect(spawnSync(process.execPath, args).status).toBe(0)
    const whole = performance.now() - start
    const trust = { kind: 'key', publicKey: PARTIES.registry.publicPem } as const
    for (let i = 0; i < 10; i++) {
      for (const name of [saved, `${saved}.replay.json`, `${saved}.ear`])
        rmSync(name, { force: true })
      const child = spawn(process.execPath, args, { stdio: 'ignore' })
      const gone = new Promise((done) => child.once('exit', done))
      setTimeout(() => child.kill('SIGKILL'), whole * (0.55 + i * 0.05))
      await gone
      if (existsSync(saved)) {
        const { authenticated } = await verifyStatement(readFileSync(saved), trust, AT)
        expect(authenticated).not.toBeNull()
        // the bundle comes last: where it is, the record is
        expect(existsSync(`${saved}.replay.json`)).toBe(true)
      }
      if (existsSync(`${saved}.replay.json`))
        expect(readReplay(readFileSync(`${saved}.replay.json`)).verdict.decision).toBe('allow')
    }
    expect(spawnSync(process.execPath, args).status).toBe(0)
    expect(existsSync(saved)).toBe(true)
  }, 60_000)
})
