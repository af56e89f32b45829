// README's commands, run as they are printed: in an empty folder, with `zt4ai` on the path, and what they print is what the page shows.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodePolicy } from '../../src/policy/index.ts'
import { REPOSITORY } from '../shared.ts'

const README = readFileSync(resolve(REPOSITORY, 'README.md'), 'utf8')

interface Step {
  readonly command: string
  /** Lines that must come in this order; `…` stands for the rest of a line. */
  readonly shown: readonly string[]
}

/** The console blocks: each `$ command` with its continued lines, and what it is said to print. */
function steps(page: string): Step[] {
  const blocks = [...page.matchAll(/^```console\n(.*?)^```$/gms)].map(([, text = '']) => text)
  return blocks
    .flatMap((text) => text.split(/^(?=\$ )/m))
    .filter((text) => text !== '')
    .map((text) => {
      const [, command = '', rest = ''] = /^\$ ((?:[^\n]*\\\n)*[^\n]*)\n([^]*)$/.exec(text) ?? []
      return { command, shown: rest.split('\n').filter((line) => line !== '') }
    })
}

/** What needs a network, or a whole new clone: .ci/run and other tests do these. */
const ELSEWHERE = /^(git clone|npm run demo)|--trusted-root/

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'zt4ai-readme-'))
  mkdirSync(join(folder, '.bin'))
  const main = resolve(REPOSITORY, 'dist/src/cli/main.js')
  const script = `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`
  writeFileSync(join(folder, '.bin', 'zt4ai'), script, { mode: 0o755 })
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('the commands of README', () => {
  const all = steps(README)

  it('are found', () => {
    expect(all.filter(({ command }) => command.startsWith('zt4ai')).length).toBeGreaterThan(4)
    expect(all.filter(({ shown }) => shown.length > 0).length).toBeGreaterThan(3)
  })

  it.each(all.filter(({ command }) => !ELSEWHERE.test(command)))(
    '$command',
    ({ command, shown }) => {
      const { PATH = '' } = process.env
      const { status, stdout, stderr } = spawnSync('sh', ['-c', command], {
        cwd: folder,
        encoding: 'utf8',
        env: { PATH: `${join(folder, '.bin')}${delimiter}${PATH}` },
      })
      const denied = shown.some((line) => line.startsWith('DENY'))
      expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({
        status: denied ? 1 : 0,
        stderr: '',
      })
      let at = 0
      for (const line of shown) {
        const found = stdout.indexOf(line.replace(/….*$/, ''), at)
        expect(found, `${line}\n—— in ——\n${stdout}`).toBeGreaterThanOrEqual(at)
        at = found + 1
      }
    },
  )
})

describe('the rest of README', () => {
  it('shows a policy that is one', () => {
    const [, text = ''] = /^ *```yaml\n( *schema: .*?)^ *```$/ms.exec(README) ?? []
    const policy = text.replace(/^ {3}/gm, '').replace('[c0c0…]', `['${'c0'.repeat(48)}']`)
    expect(() => decodePolicy(Buffer.from(policy))).not.toThrow()
  })

  it('links to files that are there, and names commands that exist', () => {
    for (const [, link = ''] of README.matchAll(/\]\((?!https?:)([^)#]+)/g))
      expect(existsSync(resolve(REPOSITORY, link)), link).toBe(true)
    const names = new Set([...README.matchAll(/`zt4ai ([a-z-]+)/g)].map(([, name = '']) => name))
    expect(names.size).toBeGreaterThan(10)
    for (const name of names)
      expect(existsSync(resolve(REPOSITORY, 'src/cli', `${name}.ts`)), name).toBe(true)
  })

  it('names npm scripts that exist', () => {
    const { scripts } = JSON.parse(readFileSync(resolve(REPOSITORY, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>
    }
    for (const [, name = ''] of README.matchAll(/`npm run ([a-z:]+)`/g))
      expect(Object.keys(scripts)).toContain(name)
  })
})
