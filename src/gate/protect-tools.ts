// The single owner of the system's programs that a protection needs: where they are, and what it means that one is missing.
import { accessSync, constants } from 'node:fs'
import { delimiter, isAbsolute, join } from 'node:path'
import { ZtError } from '../error.ts'

/** Programs of util-linux, which every distribution has, and of fsverity-utils. */
export type Tool = 'unshare' | 'setpriv' | 'mount' | 'flock' | 'fsverity'

/** Finds programs along one search path (`PATH`). */
export class Tools {
  readonly #directories: readonly string[]
  readonly #found = new Map<Tool, string | null>()

  constructor(searchPath: string) {
    this.#directories = searchPath.split(delimiter).filter(isAbsolute)
  }

  /** Absolute path; null if there is none. */
  find(tool: Tool): string | null {
    const known = this.#found.get(tool)
    if (known !== undefined) return known
    const path = this.#directories.map((one) => join(one, tool)).find(executable) ?? null
    this.#found.set(tool, path)
    return path
  }

  /** @throws ZtError PROTECTION_UNAVAILABLE */
  need(tool: Tool): string {
    const path = this.find(tool)
    if (path !== null) return path
    throw new ZtError('PROTECTION_UNAVAILABLE', `the program ${tool} is not installed`, {
      hint:
        tool === 'fsverity'
          ? 'install fsverity-utils (Debian: fsverity)'
          : 'install util-linux, or use an image that has it',
    })
  }
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
