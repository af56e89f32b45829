// The single owner of how a problem with one entry of a model is reported.
import type { Code } from '../codes.ts'
import type { Check } from '../verdict.ts'
import { shownName } from './name.ts'

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
    ...more,
  }
}
