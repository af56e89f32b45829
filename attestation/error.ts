// The single owner of the error that this island throws: "no answer could be reached", with a stable code.
import type { Code } from './codes.ts'

/**
 * The only exception that leaves `attestation/`. Input that can't be read, a limit that was passed, a fetch that failed.
 * What was read and then refused is never an exception: it is a failed check in the result.
 */
export class AttestationError extends Error {
  override readonly name = 'AttestationError'
  readonly code: Code
  /** The way out, for a person. */
  readonly hint: string | undefined
  /** Where in the input: a field name, an offset, a JSON path. */
  readonly path: string | undefined

  constructor(
    code: Code,
    message: string,
    more: { hint?: string; path?: string; cause?: unknown } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause })
    this.code = code
    this.hint = more.hint
    this.path = more.path
  }
}
