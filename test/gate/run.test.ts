import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { safetensors } from './scene.ts'
import { CLI, stage, type Stage } from './stage.ts'
import { spawnSync } from 'node:child_process'

let s: Stage
beforeAll(async () => {
  s = await stage()
})
afterAll(() => {
  s.close()
})

const SAY = 'echo "$1|$ZT4AI_MODEL|$ZT4AI_PROTECTION"'

describe('zt4ai run, protection start', () => {
  it('runs the program with the path in its arguments and in the environment', () => {
    const { status, stdout, stderr } = s.run(['--', 'sh', '-c', SAY, 'x', '{model}'])
    expect(stdout).toBe(`${s.model}|${s.model}|start\n`)
    expect(stderr).toMatch(/^zt4ai: allowed model sha256:[0-9a-f]{64}, protection start\n$/)
    expect(status).toBe(0)
  })

  it('says nothing with --quiet, and leaves standard input to the program', () => {
    const { stdout, stderr } = s.run(['--quiet', '--', 'cat'], { input: 'from outside' } as object)
    expect({ stdout, stderr }).toEqual({ stdout: 'from outside', stderr: '' })
  })

  it.each([0, 1, 2, 3, 7, 255])('passes the status %i on', (status) => {
    expect(s.run(['--', 'sh', '-c', `exit ${String(status)}`]).status).toBe(status)
  })

  it('turns death by a signal into 128 and its number', () => {
    expect(s.run(['--', 'sh', '-c', 'kill -9 $$']).status).toBe(137)
    expect(s.run(['--', 'sh', '-c', 'kill -TERM $$']).status).toBe(143)
  })

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const)(
    'passes %s on',
    async (signal) => {
      const name = signal.slice(3)
      const script = `trap 'echo got ${name}; exit 9' ${name}; echo ready; while :; do sleep 0.05; done`
      const running = s.start(['--', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'pipe'] })
      await running.seen('ready')
      running.child.kill(signal)
      expect(await running.ended).toBe(9)
      expect(running.stdout()).toContain(`got ${name}`)
    },
  )

  it('leaves a program alone that ignores a signal', async () => {
    const script = `trap '' TERM; echo ready; sleep 0.4; echo still here`
    const running = s.start(['--', 'sh', '-c', script])
    await running.seen('ready')
    running.child.kill('SIGTERM')
    expect(await running.ended).toBe(0)
    expect(running.stdout()).toContain('still here')
  })

  it('does not start what is refused: status 1, the table on standard error, nothing on standard output', async () => {
    const other = await stage()
    other.write('weights.safetensors', safetensors(8))
    other.write('extra.json', '{}')
    const { status, stdout, stderr } = other.run(['--', 'sh', '-c', 'echo started'])
    expect(status).toBe(1)
    expect(stdout).toBe('')
    expect(stderr).toContain('DENY')
    expect(stderr).toContain('FILE_CHANGED')
    expect(stderr).toContain('FILE_EXTRA')
    other.close()
  })

  it('reaches no verdict, so does not start: status 3', () => {
    writeFileSync(s.path('broken.yaml'), 'schema: [')
    const broken = spawnSync(
      process.execPath,
      [CLI, 'run', '--policy', s.path('broken.yaml'), '--model', s.model, '--', 'echo', 'started'],
      { encoding: 'utf8' },
    )
    expect(broken.stdout).toBe('')
    expect(broken.status).toBe(3)
    const nowhere = spawnSync(
      process.execPath,
      [CLI, 'run', '--policy', s.policy, '--model', s.path('nowhere'), '--', 'echo', 'started'],
      { encoding: 'utf8' },
    )
    expect(nowhere.stderr).toContain('MODEL_NOT_FOUND')
    expect(nowhere.status).toBe(3)
  })

  it.each([
    ['no command', []],
    ['an unknown level', ['--protection', 'total', '--', 'true']],
    ['a level that only a library reaches', ['--protection', 'in-memory', '--', 'true']],
    ['a key to sign with, and nothing to save', ['--sign-key', 'k.pem', '--', 'true']],
  ])('is a usage error: %s', (_, words) => {
    const { status, stdout } = s.run(words)
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  })

  it('says so if the program is not there', () => {
    const { status, stderr } = s.run(['--', '/nowhere/program'])
    expect(status).toBe(3)
    expect(stderr).toContain("the program can't be started (ENOENT)")
  })

  it('takes no word of the command for its own, and no text for anything but text', () => {
    const words = ['--', 'printf', '%s\\n', '--policy', '$(id)', '; echo x', 'a{model}b', '$&']
    expect(s.run(words).stdout).toBe(`--policy\n$(id)\n; echo x\na${s.model}b\n$&\n`)
  })

  it('refuses what the level does not reach, and raises it where the policy says so', async () => {
    const other = await stage()
    other.rule('protection: private-copy')
    const low = other.run(['--protection', 'start', '--', 'echo', 'started'])
    expect(low.status).toBe(1)
    expect(low.stderr).toContain('PROTECTION_TOO_LOW')
    expect(low.stdout).toBe('')
    other.rule('protection: in-memory')
    const never = other.run(['--', 'echo', 'started'])
    expect(never.status).toBe(1)
    expect(never.stderr).toContain('PROTECTION_TOO_LOW')
    other.close()
  })
})
