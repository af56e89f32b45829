// The single owner of the ids of checks: `tdx.` or `sgx.` and a name.
import type { TeeType } from './quote.ts'

const ids: Readonly<Record<TeeType, Map<string, string>>> = { sgx: new Map(), tdx: new Map() }

/** The same string each time, not a new one: it is a key when the result is made. `name` is always a literal, so the tables stay small. */
export function checkId(tee: TeeType, name: string): string {
  let id = ids[tee].get(name)
  if (id === undefined) {
    id = `${tee}.${name}`
    ids[tee].set(name, id)
  }
  return id
}
