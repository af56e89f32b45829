// kill -9 at any moment: no partial file that verifies, no mount, no program that goes on alone, and nothing left after the next start.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PARTIES } from './scene.ts'
import { CLI, largeTensor, noNamespaces, stage, type Stage } from './stage.ts'

let s: Stage
let key: string
beforeAll(async () => {
  s = await stage({}, { 'large.safetensors': largeTensor(20_000_000) })
  key = s.path('release.pem')
  writeFileSync(key, PARTIES.release.privatePem)
})
afterAll(() => {
  s.close()
})

const environment = (): NodeJS.ProcessEnv => ({ ...process.env, TMPDIR: s.temporary })

/** Starts the command and kills it after so many milliseconds; true if it was killed. */
async function killed(words: readonly string[], after: number): Promise<boolean> {
  const child = spawn(process.execPath, [CLI, ...words], { stdio: 'ignore', env: environment() })
  const ended = new Promise<boolean>((resolve) => {
    child.once('exit', (_, signal) => {
      resolve(signal === 'SIGKILL')
    })
  })
  await wait(after)
  child.kill('SIGKILL')
  return ended
}

const ran = (words: readonly string[]): number | null =>
  spawnSync(process.execPath, [CLI, ...words], { stdio: 'ignore', env: environment() }).status

/** How long an undisturbed call takes, in milliseconds. */
function duration(words: readonly string[]): number {
  const start = performance.now()
  ran(words)
  return performance.now() - start
}

/** Moments over the whole of a call, most of them in its later part, where it writes. */
const moments = (whole: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => whole * (0.2 + (0.85 * i) / count))

interface Process {
  readonly pid: number
  readonly parent: number
  readonly command: string
}

function processes(): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
        const command = readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ')
        const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
        return command === '' ? [] : [{ pid: Number(name), parent, command }]
      } catch {
        return []
      }
    })
}

/** Everything below a process, nearest first. */
function below(pid: number): Process[] {
  const all = processes()
  const found: Process[] = []
  let parents = [pid]
  while (parents.length > 0) {
    const children = all.filter(({ parent }) => parents.includes(parent))
    found.push(...children)
    parents = children.map((child) => child.pid)
  }
  return found
}

async function until(what: () => boolean): Promise<boolean> {
  for (let i = 0; i < 3000; i++) {
    if (what()) return true
    await wait(10)
  }
  return false
}

const mounted = (): boolean => readFileSync('/proc/self/mountinfo', 'utf8').includes(s.temporary)

describe('sign', () => {
  it('leaves no signature or a whole one, and no other file after the next start', async () => {
    const place = join(s.model, 'model.sig')
    const words = ['sign', s.model, '--key', key]
    for (const after of moments(duration(words), 6)) {
      rmSync(place)
      await killed(words, after)
      if (existsSync(place))
        expect(ran(['verify', s.model, '--key', s.path('release.pub.pem')])).toBe(0)
      // what a kill between writing and renaming leaves
      writeFileSync(join(s.model, '.model.sig.999999999-1-0123456789ab.tmp'), 'half')
      expect(ran(words)).toBe(0)
      expect(readdirSync(s.model).filter((name) => name.includes('.tmp'))).toEqual([])
    }
    expect(ran(['verify', s.model, '--key', s.path('release.pub.pem')])).toBe(0)
  }, 60_000)
})

describe('admit --save', () => {
  it('leaves no saved verdict or a whole one', async () => {
    const place = s.path('verdict.bundle')
    const words = ['admit', s.model, '--policy', s.policy, '--save', place, '--sign-key', key]
    for (const after of moments(duration(words), 4)) {
      rmSync(place, { force: true })
      await killed(words, after)
      if (existsSync(place)) expect(ran(['admit', '--replay', place])).toBe(0)
    }
    expect(ran(words)).toBe(0)
    expect(ran(['admit', '--replay', place])).toBe(0)
    expect(readdirSync(s.folder).filter((name) => name.includes('.tmp'))).toEqual([])
  }, 60_000)
})

describe.skipIf(noNamespaces() !== null)('run', () => {
  const words = (where: readonly string[], program: readonly string[]): string[] => [
    ...['run', '--policy', s.policy, '--model', s.model],
    ...['--protection', 'private-copy', ...where, '--', ...program],
  ]

  it.each(['in memory', 'on a disk'])(
    'killed at any moment, its copy %s: nothing is mounted, and nothing left after the next start',
    async (where) => {
      const scratch = where === 'on a disk' ? ['--scratch', s.temporary] : []
      const mark = `${String(process.pid)}.${scratch.length === 0 ? '1' : '2'}`
      const whole = duration(words(scratch, ['true']))
      for (const after of moments(whole * 1.2, 5)) {
        await killed(words(scratch, ['sleep', `1000${mark}`]), after)
        expect(mounted()).toBe(false)
        const gone = (): boolean => !processes().some(({ command }) => command.includes(mark))
        expect(await until(gone)).toBe(true)
      }
      expect(ran(words(scratch, ['true']))).toBe(0)
      expect(s.left()).toEqual([])
    },
    60_000,
  )

  it('ends with whatever of its chain is killed, and leaves nothing', async () => {
    const long = words([], ['sh', '-c', 'sleep 1000; true'])
    const PROGRAM = /^sh -c sleep/
    /** Kills the first process below a new run that one of the patterns fits; which one, and how the run ended. */
    const ends = async (...patterns: readonly RegExp[]): Promise<[RegExp | undefined, unknown]> => {
      const child = spawn(process.execPath, [CLI, ...long], { stdio: 'ignore', env: environment() })
      const ended = new Promise((resolve) => child.once('exit', resolve))
      let which: RegExp | undefined
      await until(() =>
        below(child.pid ?? 0).some(({ pid, command }) => {
          which = patterns.find((pattern) => pattern.test(command))
          if (which !== undefined) process.kill(pid, 'SIGKILL')
          return which !== undefined
        }),
      )
      return [which, await ended]
    }
    // the copier, while it copies: where it was done before it was seen, once more
    const COPIER = new RegExp(`^${process.execPath} \\S*private-copy-stage`)
    let [which, status] = await ends(COPIER, PROGRAM)
    for (let i = 0; i < 20 && which !== COPIER; i++) [which, status] = await ends(COPIER, PROGRAM)
    expect([which, status]).toEqual([COPIER, 1])
    expect(s.left()).toEqual([])
    // the program
    expect(await ends(PROGRAM)).toEqual([PROGRAM, 137])
    for (const { pid: rest, command } of processes())
      if (command === 'sleep 1000 ') process.kill(rest, 'SIGKILL')
    expect(s.left()).toEqual([])
    expect(mounted()).toBe(false)
  })
})
