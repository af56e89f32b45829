import { spawn, type ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import * as http from 'node:http'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { freePort } from '../fakes/port.ts'
import { imageVolume, pod, reviewOf } from './fixtures.ts'
import { ask, certificate, stranger, world, type World } from './world.ts'

const CLI = new URL('../../dist/src/cli/main.js', import.meta.url).pathname
const root = new URL('../../', import.meta.url).pathname

let at: World
const children: ChildProcess[] = []
beforeEach(async () => {
  at = await world()
})
afterEach(async () => {
  for (const child of children.splice(0)) if (child.exitCode === null) child.kill('SIGKILL')
  await at.close()
})

interface Started {
  readonly child: ChildProcess
  readonly url: string
  readonly ended: Promise<{ status: number | null; stderr: string }>
}

function serve(words: readonly string[]): Promise<Started> {
  const child = spawn(process.execPath, [CLI, 'serve', ...words], {
    cwd: root,
    env: { ...process.env, DOCKER_CONFIG: at.folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const ended = new Promise<{ status: number | null; stderr: string }>((resolve) => {
    child.on('close', (status) => resolve({ status, stderr }))
  })
  return new Promise((resolve, reject) => {
    child.stdout.once('data', (chunk: Buffer) =>
      resolve({ child, url: chunk.toString().trim(), ended }),
    )
    void ended.then(({ status }) => reject(new Error(`exit ${String(status)}: ${stderr}`)))
  })
}

const policy = (): string => join(at.folder, 'policy.yaml')
const review = (reference: string): object => reviewOf(pod({ volumes: [imageVolume(reference)] }))

describe('zt4ai serve', () => {
  it('serves over HTTPS, says where, and ends cleanly on SIGTERM', async () => {
    const model = await at.push('models/good')
    const { cert, key, ca } = certificate()
    writeFileSync(join(at.folder, 'tls.crt'), cert)
    writeFileSync(join(at.folder, 'tls.key'), key)
    const { child, url, ended } = await serve([
      '--policy',
      policy(),
      '--listen',
      '127.0.0.1:0',
      '--plain-http',
      '--drain-delay',
      '0s',
      '--tls-cert',
      join(at.folder, 'tls.crt'),
      '--tls-key',
      join(at.folder, 'tls.key'),
    ])
    expect(url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/)
    const { json } = await ask(`${url}/validate?timeout=10s`, { body: review(model), ca })
    expect(json.response.allowed).toBe(true)
    child.kill('SIGTERM')
    const { status, stderr } = await ended
    expect(status).toBe(0)
    expect(
      stderr
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { msg: string }).msg),
    ).toEqual(['serving', 'decided', 'draining', 'stopped'])
  })

  it('killed under load allows nothing that should not be, and is there again after a start', async () => {
    const good = await at.push('models/good')
    const bad = await at.push('models/foreign', { by: stranger })
    const port = await freePort()
    const words = [
      '--policy',
      policy(),
      '--listen',
      `127.0.0.1:${String(port)}`,
      '--plain-http',
      '--max-age',
      '1s',
      '--deny-max-age',
      '0s',
    ]
    const url = `http://127.0.0.1:${String(port)}/validate?timeout=10s`
    const first = await serve(words)
    const answers = { good: 0, bad: 0, none: 0, wrong: 0 }
    let going = true
    const load = Array.from({ length: 8 }, async (_, index) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      for (let turn = index; going; turn += 1) {
        const right = turn % 2 === 0
        try {
          const { json } = await ask(url, { body: review(right ? good : bad), agent })
          const allowed = json.response.allowed as boolean
          // A good one may be refused for want of time, never a bad one allowed.
          if (right === allowed) answers[right ? 'good' : 'bad'] += 1
          else if (allowed) answers.wrong += 1
        } catch {
          answers.none += 1
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
      agent.destroy()
    })
    await expect
      .poll(() => Math.min(answers.good, answers.bad), { timeout: 50_000 })
      .toBeGreaterThan(50)
    first.child.kill('SIGKILL')
    await first.ended
    const before = { ...answers }
    const second = await serve(words)
    await expect
      .poll(() => Math.min(answers.good - before.good, answers.bad - before.bad), {
        timeout: 50_000,
      })
      .toBeGreaterThan(50)
    going = false
    await Promise.all(load)
    expect(answers.wrong).toBe(0)
    expect(answers.none).toBeGreaterThan(0)
    second.child.kill('SIGKILL')
    await second.ended
  })

  it.each([
    ['no policy', [], 2, 'USAGE'],
    ['a key without a certificate', ['--policy', 'P', '--tls-key', 'x'], 2, 'USAGE'],
    ['plain HTTP for everybody', ['--policy', 'P', '--listen', '0.0.0.0:0'], 2, 'USAGE'],
    ['a time that is none', ['--policy', 'P', '--max-age', 'soon'], 2, 'USAGE'],
    [
      'a policy that is not there',
      ['--policy', '/nowhere/policy.yaml', '--listen', '127.0.0.1:0'],
      3,
      'IO',
    ],
    ['records and no key', ['--policy', 'P', '--record'], 2, 'USAGE'],
  ])('does not start with %s', async (_, words, status, code) => {
    const failed = await serve(words.map((word) => (word === 'P' ? policy() : word))).catch(
      (error: unknown) => String(error),
    )
    expect(failed).toContain(`exit ${String(status)}:`)
    expect(failed).toContain(`zt4ai: ${code}: `)
  })
})
