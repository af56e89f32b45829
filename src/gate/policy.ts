// The single owner of reading a policy for the gate: with the bytes of everything that it names, so that a verdict can be computed again.
import { readFileSync, statSync } from 'node:fs'
import { dirname, resolve as resolvePath } from 'node:path'
import { ZtError } from '../error.ts'
import { loadPolicy, MAX_FILE } from '../policy/resolve.ts'
import type { LoadedPolicy } from './question.ts'

/**
 * Reads a policy; files that it names are looked for beside it.
 * @throws ZtError IO, TOO_LARGE, POLICY_SYNTAX, POLICY_INVALID, POLICY_FILE
 */
export function readPolicy(path: string): LoadedPolicy {
  const beside = (name: string): Uint8Array => readSmall(resolvePath(dirname(path), name))
  return policyFrom(readSmall(path), beside, path)
}

/** The same from bytes; `read` gives each file that the policy names. `file` is the policy's name in messages. */
export function policyFrom(
  bytes: Uint8Array,
  read: (name: string) => Uint8Array,
  file = 'policy',
): LoadedPolicy {
  const files = new Map<string, Uint8Array>()
  const kept = (name: string): Uint8Array => {
    const found = files.get(name) ?? read(name)
    files.set(name, found)
    return found
  }
  return { resolved: loadPolicy(bytes, { file, read: kept }), bytes, files }
}

function readSmall(path: string): Uint8Array {
  try {
    const stats = statSync(path)
    if (!stats.isFile()) throw new ZtError('IO', 'this is not a file', { path })
    if (stats.size > MAX_FILE)
      throw new ZtError('TOO_LARGE', `the file is larger than ${MAX_FILE} bytes`, { path })
    return new Uint8Array(readFileSync(path))
  } catch (cause) {
    if (cause instanceof ZtError) throw cause
    const code = String((cause as { code?: unknown }).code)
    throw new ZtError('IO', `the file can't be read (${code})`, { path, cause })
  }
}
