// The single owner of the exit codes.

export const EXIT = {
  /** The verdict is allow, or the command did what it was asked. */
  allowed: 0,
  /** The verdict is deny. */
  refused: 1,
  /** The command line has no meaning. */
  usage: 2,
  /** No verdict could be reached, so nothing is allowed. */
  noVerdict: 3,
} as const
