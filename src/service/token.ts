// The single owner of the token that registries and CI show: read from a file, and compared without telling how much of it was right.
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ZtError } from '../error.ts'
import type { Call } from './http.ts'

export class Token {
  readonly #path: string
  #digest: Buffer
  #broken: string | null = null

  /** @throws ZtError IO, or USAGE for one that is too short to be one */
  constructor(path: string) {
    this.#path = path
    this.#digest = read(path)
  }

  /** Why the file as it is now is not in use; null if it is. */
  get broken(): string | null {
    return this.#broken
  }

  /** Reads the file again; gives whether there is another token now. A broken one changes nothing. @throws ZtError once for each new fault */
  check(): boolean {
    try {
      const fresh = read(this.#path)
      this.#broken = null
      const changed = !timingSafeEqual(fresh, this.#digest)
      this.#digest = fresh
      return changed
    } catch (error) {
      if (!(error instanceof ZtError)) throw error
      if (this.#broken === error.message) return false
      this.#broken = error.message
      throw error
    }
  }

  /** `Authorization: Bearer TOKEN`; the bare token as well, because Harbor sends its header verbatim. @throws ZtError REQUEST_UNAUTHORIZED */
  require({ headers }: Pick<Call, 'headers'>): void {
    const given = (headers.authorization ?? '').replace(/^Bearer +/i, '')
    if (timingSafeEqual(digestOf(given), this.#digest)) return
    throw new ZtError('REQUEST_UNAUTHORIZED', 'the token is missing or wrong', {
      hint: 'send Authorization: Bearer TOKEN',
    })
  }
}

function read(path: string): Buffer {
  let text: string
  try {
    text = readFileSync(path, 'utf8').trim()
  } catch (cause) {
    throw new ZtError('IO', "the token can't be read", { path, cause })
  }
  if (!/^[\x21-\x7e]{16,4096}$/.test(text))
    throw new ZtError('USAGE', 'a token is 16 or more plain characters', {
      path,
      hint: 'make one with: openssl rand -hex 32',
    })
  return digestOf(text)
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
