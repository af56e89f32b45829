// The single owner of the product's version, as its package says it.
import { readFile } from 'node:fs/promises'

/** For example `1.2.3`. */
export async function version(): Promise<string> {
  const text = await readFile(new URL('../../../package.json', import.meta.url), 'utf8').catch(
    // run from the sources: one level less
    () => readFile(new URL('../../package.json', import.meta.url), 'utf8'),
  )
  return (JSON.parse(text) as { version: string }).version
}
