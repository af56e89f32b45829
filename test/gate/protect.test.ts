import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { claimPlace, sweepPlaces } from '../../src/gate/protect-place.ts'
import { Tools } from '../../src/gate/protect-tools.ts'
import { levelsToTry } from '../../src/gate/protect.ts'
import { policyFrom } from '../../src/gate/policy.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { PARTIES, safetensors } from './scene.ts'
import { CLI, largeTensor, noNamespaces, policyText, stage, type Stage } from './stage.ts'

const tools = new Tools(process.env['PATH'] ?? '')
const COPY = ['--protection', 'private-copy'] as const
let s: Stage
beforeEach(async () => {
  s = await stage()
})
afterEach(() => {
  expect(s.left()).toEqual([])
  s.close()
})

/** Standard directories with this one before them. */
const pathWith = (folder: string): Record<string, string | undefined> => ({
  ...process.env,
  TMPDIR: s.temporary,
  PATH: `${folder}:${process.env['PATH'] ?? ''}`,
})

describe.skipIf(noNamespaces() !== null)('private-copy', () => {
  it('shows the signed files alone, read-only, with no privilege and no way to gain one', () => {
    const script = `
      cd "$1" && find . -type f | sort
      echo x > new 2>/dev/null || echo read-only
      echo x >> config.json 2>/dev/null || echo unwritable
      umount "$1/.." 2>/dev/null || echo mounted
      mount -o remount,rw "$1/.." 2>/dev/null || echo closed
      grep -E '^(CapEff|CapBnd|CapPrm|NoNewPrivs)' /proc/self/status
      ls /proc/self/fd | tr '\\n' ' '`
    const { stdout, status } = s.run([...COPY, '--', 'sh', '-c', script, 'x', '{model}'])
    expect(status).toBe(0)
    const lines = stdout.trim().split('\n')
    expect(lines.slice(0, 7)).toEqual([
      './config.json',
      './sub/vocab.json',
      './weights.safetensors',
      'read-only',
      'unwritable',
      'mounted',
      'closed',
    ])
    const zero = '0'.repeat(16)
    expect(lines.slice(7, 11).map((line) => line.split(/\s+/))).toEqual([
      ['CapPrm:', zero],
      ['CapEff:', zero],
      ['CapBnd:', zero],
      ['NoNewPrivs:', '1'],
    ])
  })

  it('is not visible outside, and the original is what it was', async () => {
    const running = s.start([...COPY, '--', 'sh', '-c', 'echo "$1"; read x', 'x', '{model}'])
    await running.seen('\n')
    const [place = ''] = s.left()
    expect(running.stdout()).toBe(`${join(s.temporary, place, 'model')}\n`)
    expect(readdirSync(join(s.temporary, place))).toEqual([])
    running.child.stdin?.end('\n')
    await running.ended
  })

  it('passes streams, signals and the status on', async () => {
    expect(s.run([...COPY, '--', 'cat'], { input: 'in' } as object).stdout).toBe('in')
    expect(s.run([...COPY, '--', 'sh', '-c', 'exit 5']).status).toBe(5)
    expect(s.run([...COPY, '--', 'sh', '-c', 'kill -KILL $$']).status).toBe(137)
    expect(s.run([...COPY, '--', '/nowhere']).status).toBe(127)
    const script = `trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done`
    const running = s.start([...COPY, '--', 'sh', '-c', script])
    await running.seen('ready')
    running.child.kill('SIGTERM')
    expect(await running.ended).toBe(9)
    expect(running.stdout()).toContain('got it')
  })

  it('starts nothing if a file differs, and names every one that does', () => {
    s.write('config.json', '{"good": nope}\n')
    s.write('sub/vocab.json', '{"a": 2}\n')
    s.write('run.py', 'print(1)')
    const { status, stdout, stderr } = s.run([...COPY, '--', 'echo', 'started'])
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toContain('config.json: not as signed')
    expect(stderr).toContain('sub/vocab.json: not as signed')
    expect(stderr).toContain('run.py')
  })

  it('reads as the policy asks: by itself, in memory or on a disk', () => {
    s.rule('protection: private-copy')
    for (const where of [[], ['--scratch', s.temporary]]) {
      const { stdout, status } = s.run([
        ...where,
        ...['--', 'sh', '-c', 'echo $ZT4AI_PROTECTION; cat "$1/config.json"', 'x', '{model}'],
      ])
      expect({ stdout, status }).toEqual({ stdout: 'private-copy\n{"good": true}\n', status: 0 })
    }
  })

  it.each([
    ['whole', {}],
    ['in shards', { shardSize: 7_000_000 }],
    ['with BLAKE2b', { hashType: 'blake2b' as const }],
  ])('copies large files on all cores, %s', async (_, signing) => {
    s.close()
    s = await stage(signing, {
      'a.safetensors': largeTensor(30_000_000),
      'b.safetensors': largeTensor(5_000_000, 4),
    })
    const compare =
      'cmp "$1/a.safetensors" "$2/a.safetensors" && cmp "$1/b.safetensors" "$2/b.safetensors" && echo same'
    for (const where of [[], ['--scratch', s.temporary]])
      expect(
        s.run([...COPY, ...where, '--', 'sh', '-c', compare, 'x', '{model}', s.model]).stdout,
      ).toBe('same\n')
    const changed = largeTensor(30_000_000)
    changed[29_000_000] = 9
    s.write('a.safetensors', changed)
    const { status, stderr } = s.run([...COPY, '--', 'true'])
    expect(status).toBe(1)
    expect(stderr).toContain('a.safetensors')
    expect(stderr).not.toContain('b.safetensors')
  })

  it('shows a model that is one file under its own name', async () => {
    const { signModel } = await import('../../src/sign/model.ts')
    const { signerOf } = await import('./scene.ts')
    const file = s.path('one.safetensors')
    writeFileSync(file, safetensors())
    await signModel(file, { signer: signerOf('release') })
    const { stdout, status } = spawnSync(
      process.execPath,
      [CLI, 'run', '--policy', s.policy, '--model', file, ...COPY, '--', 'cksum', '{model}'],
      { encoding: 'utf8', env: { ...process.env, TMPDIR: s.temporary } },
    )
    expect(status).toBe(0)
    expect(stdout).toMatch(/zt4ai-run-[^/]+\/one\.safetensors\n$/)
  })

  it.skipIf(process.getuid?.() !== 0)('needs no privilege: a plain user makes one too', () => {
    const { status, stdout, stderr } = spawnSync(
      'setpriv',
      [
        ...['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, CLI, 'run'],
        ...['--policy', s.policy, '--model', s.model, ...COPY],
        ...[
          '--',
          'sh',
          '-c',
          'id -u; id -g; cat "$1/config.json"; echo x > "$1/x"',
          'x',
          '{model}',
        ],
      ],
      { encoding: 'utf8', env: { ...process.env, TMPDIR: s.temporary } },
    )
    expect(stdout).toBe('65534\n65534\n{"good": true}\n')
    expect(stderr).toContain('Read-only file system')
    expect(status).not.toBe(0)
  })

  it('refuses, with the reason, where the machine allows no namespace', () => {
    const folder = s.path('bin')
    mkdirSync(folder)
    writeFileSync(
      join(folder, 'unshare'),
      '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\nexit 1\n',
      { mode: 0o755 },
    )
    const { status, stdout, stderr } = s.run([...COPY, '--', 'echo', 'started'], {
      env: pathWith(folder),
    })
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toContain('PROTECTION_UNAVAILABLE')
    expect(stderr).toContain('unshare failed: Operation not permitted')
  })

  it('refuses a place where others can rename what is in it', () => {
    const open = s.path('open')
    mkdirSync(open)
    chmodSync(open, 0o777)
    const { status, stderr } = s.run([...COPY, '--scratch', open, '--', 'echo', 'started'])
    expect(status).toBe(1)
    expect(stderr).toContain('others can rename what is in it')
  })

  it('refuses if the copy does not fit', () => {
    const folder = s.path('bin')
    mkdirSync(folder)
    // a mount that gives less room than was asked for
    writeFileSync(
      join(folder, 'mount'),
      `#!/bin/sh\nfor a; do shift; set -- "$@" "$(printf %s "$a" | sed 's/size=[0-9]*/size=4096/')"; done\nexec /bin/mount "$@"\n`,
      { mode: 0o755 },
    )
    const { status, stdout, stderr } = s.run([...COPY, '--', 'echo', 'started'], {
      env: pathWith(folder),
    })
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toMatch(/ENOSPC|No space/)
  })
})

describe.skipIf(noNamespaces() !== null)('fsverity', () => {
  const FSVERITY = (): string => `#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { FsVerity } from '${fileURLToPath(new URL('../../dist/src/model/fsverity.js', import.meta.url))}'
const path = process.argv[3]
const measurement = new FsVerity()
measurement.update(readFileSync(path))
console.log(\`\${measurement.digest()} \${path}\`)
`
  function double(text: string): Record<string, string | undefined> {
    const folder = s.path('bin')
    mkdirSync(folder)
    writeFileSync(join(folder, 'package.json'), '{"type": "module"}')
    writeFileSync(join(folder, 'fsverity'), text, { mode: 0o755 })
    return pathWith(folder)
  }
  const SAY = ['--', 'sh', '-c', 'echo $ZT4AI_PROTECTION; cat "$1/config.json"', 'x', '{model}']
  const MEASURED = ['--protection', 'fsverity', ...SAY]
  beforeEach(async () => {
    s.close()
    s = await stage({ fsverity: true })
  })

  it('starts on files that the kernel measures as signed, and says that it did not read them', () => {
    s.rule('protection: fsverity')
    const { status, stdout, stderr } = s.run(SAY, { env: double(FSVERITY()) })
    expect(stderr).toMatch(/^zt4ai: allowed .* protection fsverity\n$/)
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'fsverity\n{"good": true}\n' })
  })

  it('refuses a file with another measurement', () => {
    s.write('config.json', '{"good": nope}\n')
    const { status, stdout, stderr } = s.run(MEASURED, { env: double(FSVERITY()) })
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toContain('config.json: not as signed')
  })

  const UNSEALED = '#!/bin/sh\necho "ERROR: FS_IOC_MEASURE_VERITY: No data available" >&2\nexit 1\n'
  it('falls back to a private copy where the kernel has no measurement and the policy takes that', () => {
    const { status, stdout, stderr } = s.run(MEASURED, { env: double(UNSEALED) })
    expect(stderr).toContain('No data available')
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'private-copy\n{"good": true}\n' })
  })

  it('refuses instead where the policy does not', () => {
    s.rule('protection: fsverity')
    const { status, stdout, stderr } = s.run(MEASURED, { env: double(UNSEALED) })
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toContain('PROTECTION_UNAVAILABLE')
    expect(stderr).toContain('No data available')
  })

  it('refuses a signature that names no measurements', async () => {
    s.close()
    s = await stage()
    s.rule('protection: fsverity')
    const { status, stderr } = s.run(MEASURED, { env: double(FSVERITY()) })
    expect(status).toBe(1)
    expect(stderr).toContain('the signature names no fs-verity digests')
  })

  it('believes no program but one that says a digest', () => {
    s.rule('protection: fsverity')
    const { status, stderr } = s.run(MEASURED, { env: double('#!/bin/sh\nexit 0\n') })
    expect(status).toBe(1)
    expect(stderr).toContain('the kernel has no measurement of a file')
  })
})

describe('the place', () => {
  it('is removed with what is in it, and its lock keeps a sweep away until then', () => {
    const place = claimPlace(s.temporary, tools)
    writeFileSync(join(place.path, 'copy'), 'x')
    sweepPlaces(s.temporary, tools)
    expect(existsSync(join(place.path, 'copy'))).toBe(true)
    place.release()
    expect(existsSync(place.path)).toBe(false)
  })

  it('is swept if nobody holds it, and nothing else is', () => {
    const stale = join(s.temporary, 'zt4ai-run-abcdef')
    mkdirSync(stale)
    writeFileSync(join(stale, 'copy'), 'x')
    const outside = s.path('outside')
    mkdirSync(outside)
    symlinkSync(outside, join(s.temporary, 'zt4ai-run-link'))
    mkdirSync(join(s.temporary, 'mine'))
    sweepPlaces(s.temporary, tools)
    expect(readdirSync(s.temporary).sort()).toEqual(['mine', 'zt4ai-run-link'])
    expect(existsSync(outside)).toBe(true)
    rmSync(join(s.temporary, 'zt4ai-run-link'))
  })

  it('of somebody else is left alone', () => {
    const held = join(s.temporary, 'zt4ai-run-held')
    mkdirSync(held)
    const fd = openSync(held, 'r')
    spawnSync(tools.need('flock'), ['-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] })
    sweepPlaces(s.temporary, tools)
    expect(existsSync(held)).toBe(true)
    closeSync(fd)
    sweepPlaces(s.temporary, tools)
    expect(existsSync(held)).toBe(false)
  })
})

describe('the levels that are tried', () => {
  const levels = (rule: string, asked?: 'start' | 'private-copy' | 'fsverity') =>
    levelsToTry(
      policyFrom(utf8Encode(policyText(rule)), () => utf8Encode(PARTIES.release.publicPem))
        .resolved,
      { name: 'model' },
      asked,
    )
  it.each([
    ['', ['start']],
    ['protection: none', ['start']],
    ['protection: private-copy', ['private-copy']],
    ['protection: fsverity', ['fsverity']],
    ['protection: in-memory', ['start']],
  ])('follow the rule: %s', (rule, expected) => {
    expect(levels(rule)).toEqual(expected)
  })
  it('are the one that was asked for', () => {
    expect(levels('protection: private-copy', 'start')).toEqual(['start'])
  })
})
