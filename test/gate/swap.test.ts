// Another process changes the model between the check and the use, in four ways, at every level: what is documented in src/gate/protect.ts happens.
import { chmodSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { noNamespaces, stage, type Stage } from './stage.ts'

const EVIL = '{"evil": true}\n'
const GOOD = '{"good": true}\n'

const ATTACKS: Readonly<Record<string, (s: Stage) => void>> = {
  'a rename over a file': (s) => {
    writeFileSync(s.path('evil'), EVIL)
    renameSync(s.path('evil'), join(s.model, 'config.json'))
  },
  'an overwrite in place': (s) => {
    writeFileSync(join(s.model, 'config.json'), EVIL)
  },
  'a symbolic link': (s) => {
    writeFileSync(s.path('evil'), EVIL)
    rmSync(join(s.model, 'config.json'))
    symlinkSync(s.path('evil'), join(s.model, 'config.json'))
  },
  'an added file': (s) => {
    writeFileSync(join(s.model, 'consolidated.safetensors'), EVIL)
  },
  'another directory in its place': (s) => {
    renameSync(s.model, s.path('old'))
    s.write('config.json', EVIL)
    s.write('consolidated.safetensors', EVIL)
  },
}

/** A program like a loader: says that it is there, waits for the attack, then reads. */
const LOADER = `echo ready; while [ ! -e "$2" ]; do sleep 0.02; done; cat "$1/config.json"; ls "$1"`

/** A double that measures as the kernel would, if it could: it answers for sealed files, and only for those. */
const FSVERITY = `#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { FsVerity } from '${fileURLToPath(new URL('../../dist/src/model/fsverity.js', import.meta.url))}'
const [action, path] = process.argv.slice(2)
if (action !== 'measure') process.exit(2)
const measurement = new FsVerity()
measurement.update(readFileSync(path))
console.log(\`\${measurement.digest()} \${path}\`)
`

async function loaded(
  s: Stage,
  level: readonly string[],
  attack: (s: Stage) => void,
  env: Record<string, string> = {},
): Promise<{ config: string; names: string[]; status: number | null; stderr: string }> {
  const go = s.path('go')
  const running = s.start([...level, '--', 'sh', '-c', LOADER, 'x', '{model}', go], {
    env: { ...process.env, TMPDIR: s.temporary, ...env },
  })
  await running.seen('ready\n')
  attack(s)
  writeFileSync(go, '')
  const status = await running.ended
  const [config = '', ...names] = running.stdout().slice('ready\n'.length).trim().split('\n')
  return { config: `${config}\n`, names, status, stderr: running.stderr() }
}

let s: Stage
afterEach(() => {
  expect(s.left()).toEqual([])
  s.close()
})

describe('start: what happens after the start is not seen', () => {
  it.each(Object.keys(ATTACKS))('%s reaches the program', async (attack) => {
    s = await stage()
    const result = await loaded(s, ['--protection', 'start'], ATTACKS[attack] ?? (() => undefined))
    if (attack === 'an added file') expect(result.names).toContain('consolidated.safetensors')
    else expect(result.config).toBe(EVIL)
  })
})

describe.skipIf(noNamespaces() !== null)('private-copy: nothing of it reaches the program', () => {
  const SIGNED = ['config.json', 'sub', 'weights.safetensors']
  it.each(Object.keys(ATTACKS))('%s, the copy in memory', async (attack) => {
    s = await stage()
    const level = ['--protection', 'private-copy']
    const result = await loaded(s, level, ATTACKS[attack] ?? (() => undefined))
    expect(result).toMatchObject({ config: GOOD, names: SIGNED, status: 0 })
  })
  it.each(Object.keys(ATTACKS))('%s, the copy on a disk', async (attack) => {
    s = await stage()
    const level = ['--protection', 'private-copy', '--scratch', s.temporary]
    const result = await loaded(s, level, ATTACKS[attack] ?? (() => undefined))
    expect(result).toMatchObject({ config: GOOD, names: SIGNED, status: 0 })
  })
})

describe.skipIf(noNamespaces() !== null)('fsverity, with a double that measures', () => {
  // The kernel is what refuses an overwrite of a sealed file; this machine's can't.
  const others = Object.keys(ATTACKS).filter((attack) => attack !== 'an overwrite in place')
  it.each(others)('%s does not reach the program', async (attack) => {
    s = await stage({ fsverity: true })
    writeFileSync(s.path('fsverity'), FSVERITY)
    chmodSync(s.path('fsverity'), 0o755)
    writeFileSync(s.path('package.json'), '{"type": "module"}')
    const result = await loaded(
      s,
      ['--protection', 'fsverity'],
      ATTACKS[attack] ?? (() => undefined),
      { PATH: `${s.folder}:${process.env['PATH'] ?? ''}` },
    )
    expect(result.stderr).toContain('protection fsverity')
    expect(result).toMatchObject({
      config: GOOD,
      names: ['config.json', 'sub', 'weights.safetensors'],
      status: 0,
    })
  })
})
