// The single owner of how a problem with one entry of a model is reported.
import type { Code } from '../codes.ts'
import type { Check } from '../verdict.ts'
import { shownName } from './name.ts'

type Compared = Required<Pick<Check, 'expected' | 'actual'>>

/** What is expected of an entry and what was found, where the finder knows no more. */
const USUAL: Readonly<Partial<Record<Code, Compared>>> = {
  FILE_LINK: { expected: 'a regular file', actual: 'a symbolic link' },
  FILE_UNREADABLE: { expected: 'a file that can be read', actual: 'an error' },
  FILE_UNSTABLE: { expected: 'a model that nobody changes', actual: 'a change' },
  LINK_BROKEN: { expected: 'a link to an entry of the model', actual: 'a link to nothing' },
  LINK_CYCLE: { expected: 'a link to an entry beside or below it', actual: 'a circle' },
  LINK_OUTSIDE: { expected: 'a link to an entry of the model', actual: 'a link out of it' },
  NAME_DUPLICATE: { expected: 'each name once', actual: 'a second entry' },
  NAME_NOT_UTF8: { expected: 'a name in UTF-8', actual: 'other bytes' },
  NAME_UNSAFE: {
    expected: 'a relative path without empty, "." or ".." parts',
    actual: 'another name',
  },
}

/** A failed check about one entry. `id` ends with the name as it is on disk, so that it is unique within one run. */
export function entryProblem(
  code: Code,
  name: string,
  message: string,
  more: { expected?: string; actual?: string; hint?: string } = {},
): Check {
  return {
    id: `model.entry:${name}`,
    status: 'fail',
    code,
    message: `${shownName(name)}: ${message}`,
    ...USUAL[code],
    ...more,
  }
}
