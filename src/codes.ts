// The single owner of the codes of everything outside attestation/. A closed list: docs and tests are made from it.
import type { Code as AttestationCode } from '../attestation/index.ts'

/** Every stable code with its meaning. A code never changes its meaning; a new situation gets a new code. */
export const CODES = {
  USAGE: 'the command was called in a way that has no meaning',
  IO: 'a file could not be read or written',
  INTERNAL: 'zt4ai itself failed: please report it',
} as const

export type Code = keyof typeof CODES | AttestationCode
