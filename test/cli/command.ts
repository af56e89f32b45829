// The single owner of running a command in this process: what it wrote, and how it would have exited.
import type { Command } from 'commander'
import { vi } from 'vitest'

export interface Ran {
  readonly out: string
  readonly err: string
  readonly code: number | string | null | undefined
  /** What was thrown; `main` turns it into exit code 2 or 3. */
  readonly error: { readonly code?: string; readonly message: string } | null
}

/** Runs a command's action as `main` would. */
export async function ran(command: () => Command, ...args: string[]): Promise<Ran> {
  let out = ''
  let err = ''
  const sink = (keep: (text: string) => void) => (text: unknown) => {
    keep(String(text))
    return true
  }
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(sink((text) => (out += text))),
    vi.spyOn(process.stderr, 'write').mockImplementation(sink((text) => (err += text))),
  ]
  process.exitCode = undefined
  let error: Ran['error'] = null
  try {
    await command().exitOverride().parseAsync(args, { from: 'user' })
  } catch (thrown) {
    error = thrown as Ran['error']
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
  const code = process.exitCode
  process.exitCode = undefined
  return { out, err, code, error }
}
