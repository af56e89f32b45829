// The single owner of the cache of endorsements on disk: one file for each URL, written whole or not at all, believed only if it is intact.
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Fetcher } from '../../attestation/index.ts'
import { AttestationError } from '../../attestation/index.ts'
import { decode, parseJson, sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'

export interface CacheOptions {
  /** Made if it is missing, readable by its owner alone. */
  readonly directory: string
  /** For how many milliseconds from its arrival on an answer may be used again; 0 or less: not at all. */
  readonly lifetimeMs: (url: string, body: Uint8Array, arrived: Date) => number
  readonly now: () => Date
  /** Never ask the network: what is in the cache is used whatever its age (verification judges dates itself), the rest is missing. */
  readonly offline?: boolean
}

type Answer = Awaited<ReturnType<Fetcher['fetch']>>

const MAGIC = 'zt4ai.cache/v1'
/** Node caps all headers of an answer at 16 KiB. */
const MAX_HEAD = 128 * 1024

const headShape = decode.object({
  schema: decode.literal(MAGIC),
  url: decode.string(),
  storedAt: decode.time(),
  status: decode.integer({ min: 200, max: 200 }),
  headers: decode.record(decode.string()),
  sha256: decode.string({ pattern: /^[0-9a-f]{64}$/ }),
})

/**
 * Puts a cache before a fetcher. Only answers with status 200 are kept. A cached file that is damaged, too old or of another URL
 * counts as missing. A cache that can't be written does not fail the fetch.
 */
export function cachedFetcher(inner: Fetcher, options: CacheOptions): Fetcher {
  const { directory, lifetimeMs, now, offline = false } = options
  return {
    async fetch(url, limit) {
      const file = join(directory, `${createHash('sha256').update(url).digest('hex')}.cache`)
      const found = await read(file, url, limit.maxBytes)
      if (found !== undefined) {
        const { answer, storedAt } = found
        const age = now().getTime() - storedAt.getTime()
        if (offline || (age >= 0 && age < lifetimeMs(url, answer.body, storedAt))) return answer
      }
      if (offline) {
        throw new AttestationError('ENDORSEMENT_UNAVAILABLE', `not in the cache: ${url}`, {
          hint: 'fetch it once without --offline, or give it as a file',
          path: url,
        })
      }
      const answer = await inner.fetch(url, limit)
      const arrived = now()
      if (answer.status === 200 && lifetimeMs(url, answer.body, arrived) > 0) {
        await write(directory, file, url, answer, arrived).catch(() => undefined)
      }
      return answer
    },
  }
}

async function read(
  file: string,
  url: string,
  maxBytes: number,
): Promise<{ readonly storedAt: Date; readonly answer: Answer } | undefined> {
  try {
    const { size } = await stat(file)
    if (size > maxBytes + MAX_HEAD) return undefined
    const bytes = new Uint8Array(await readFile(file))
    const end = bytes.indexOf(0x0a)
    if (end === -1) return undefined
    const head = headShape(parseJson(bytes.subarray(0, end), { maxBytes: MAX_HEAD }), '$')
    const body = bytes.subarray(end + 1)
    if (head.url !== url || body.length > maxBytes || sha256Hex(body) !== head.sha256) {
      return undefined
    }
    return {
      storedAt: head.storedAt,
      answer: { status: head.status, headers: head.headers, body },
    }
  } catch {
    // missing, unreadable or damaged: all the same to the caller, who fetches again
    return undefined
  }
}

async function write(
  directory: string,
  file: string,
  url: string,
  answer: Answer,
  now: Date,
): Promise<void> {
  const head = {
    schema: MAGIC,
    url,
    storedAt: now.toISOString(),
    status: answer.status,
    headers: Object.fromEntries(answer.headers),
    sha256: sha256Hex(answer.body),
  }
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const temporary = join(directory, `.${randomUUID()}.tmp`)
  try {
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(Buffer.concat([utf8Encode(`${JSON.stringify(head)}\n`), answer.body]))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } finally {
    await rm(temporary, { force: true })
  }
}
