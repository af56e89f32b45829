// The single owner of protecting a model that was admitted: which level is tried, what is reached, and what it means that a level can't be.
import { tmpdir } from 'node:os'
import type { ZtError } from '../error.ts'
import { rulesFor } from '../policy/evaluate.ts'
import { makeVerdict, PROTECTIONS, type Check, type Protection, type Verdict } from '../verdict.ts'
import type { AdmitRequest, LoadedPolicy } from './question.ts'
import type { PathSourceOptions } from './source.ts'

/**
 * The levels that a loader that starts another program can reach, weakest first. What each one stands against, between the check and the
 * program's own reading:
 *
 * | another process …            | `start`         | `private-copy`   | `fsverity`                     |
 * |------------------------------|-----------------|------------------|--------------------------------|
 * | renames a file over another  | is read         | is not seen      | is not seen                    |
 * | overwrites a file in place   | is read         | is not seen      | the kernel refuses the write   |
 * | swaps in a symbolic link     | is followed     | is not seen      | is not seen                    |
 * | adds a file                  | is seen         | is not seen      | is not seen                    |
 *
 * `start` finds what was wrong before the program started. None of them stands against the same user (who can enter the namespace or the
 * program itself), or the machine's administrator: that is what attested hardware is for.
 */
export const RUN_LEVELS = ['start', 'private-copy', 'fsverity'] as const satisfies Protection[]
export type RunLevel = (typeof RUN_LEVELS)[number]

/** What a protection takes from its surroundings. */
export interface Surroundings {
  /** Where the system's programs are looked for (`PATH`). */
  readonly searchPath: string
  /** Where the directory is made in which the model is shown. Default: the system's temporary directory. */
  readonly temporary?: string
  /** Keep the private copy on this disk, in files without names. Default: in memory. */
  readonly scratch?: string
}

/** Where the model is and what the program is. */
export interface ProtectRequest {
  readonly path: string
  readonly options: PathSourceOptions
  /** The program and its arguments, once the path to use is known. */
  readonly command: (model: string) => readonly [string, ...string[]]
  /** Its environment, once the path to use is known. */
  readonly env: (model: string) => Readonly<Record<string, string | undefined>>
  readonly surroundings: Surroundings
}

/** The directory in which protected models are shown. */
export function showingIn({ scratch, temporary }: Surroundings): string {
  return scratch ?? temporary ?? tmpdir()
}

/**
 * The levels to try, one after the other, until one is enough: the one that was asked for, or else those that the matching rules ask for.
 * `none` asks for no more than a check at the start; what only a library can reach is asked for in vain, and the verdict says so.
 */
export function levelsToTry(
  policy: LoadedPolicy['resolved'],
  subject: { readonly name: string; readonly reference?: string },
  asked: RunLevel | undefined,
): readonly RunLevel[] {
  if (asked !== undefined) return [asked]
  const wanted = rulesFor(policy.policy, subject).map(([, { protection }]) =>
    Math.max(PROTECTIONS.indexOf(protection), PROTECTIONS.indexOf('start')),
  )
  const levels = RUN_LEVELS.filter((level) => wanted.includes(PROTECTIONS.indexOf(level)))
  return levels.length === 0 ? ['start'] : levels
}

/** The refusal where a level can't be reached: nothing else was judged. */
export function unavailable(
  { policy: { resolved }, at }: Pick<AdmitRequest, 'policy' | 'at'>,
  subject: string,
  level: RunLevel,
  error: ZtError,
): Verdict {
  return makeVerdict({
    at: `${at.toISOString().slice(0, 19)}Z`,
    subject: { name: subject },
    policy: { name: resolved.policy.name, digest: { sha256: resolved.digest } },
    checks: [unreachable(level, error), notJudged()],
    inputs: resolved.inputs,
  })
}

/** The check that says why a level was not reached. */
export function unreachable(level: RunLevel, error: ZtError): Check {
  return {
    id: 'protection',
    status: 'fail',
    code: 'PROTECTION_UNAVAILABLE',
    message: `${level} can't be reached: ${error.message}`,
    expected: level,
    ...(error.path === undefined ? {} : { actual: error.path }),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  }
}

function notJudged(): Check {
  return {
    id: 'model.files',
    status: 'skip',
    code: 'FILES_UNREAD',
    message: 'not judged: without the protection nothing would be started',
  }
}
