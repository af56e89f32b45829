// The single owner of the product's exception: "no answer could be reached", with a stable code and a way out.
import type { Code } from './codes.ts'
import { ERROR_HINTS } from './hints.ts'

/**
 * The only exception that zt4ai's own code throws outside `attestation/`. A refusal is never an exception: it is a failed check in a verdict.
 */
export class ZtError extends Error {
  override readonly name = 'ZtError'
  readonly code: Code
  readonly hint: string | undefined
  /** Where: a file, a JSON path, a line and column. */
  readonly path: string | undefined

  constructor(
    code: Code,
    message: string,
    more: { hint?: string; path?: string; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause })
    this.code = code
    this.hint = more.hint ?? ERROR_HINTS[code]
    this.path = more.path
  }
}
