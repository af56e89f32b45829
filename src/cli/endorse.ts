// The single owner of fetching what evidence lacks: from the vendor's service, through a cache on disk.
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Option, type Command } from 'commander'
import {
  AttestationError,
  expiryOf,
  fetchSnpEndorsements,
  fetchTdxCollateral,
  mergeEndorsements,
  parseQuote,
  parseReport,
  readEndorsements,
  type Endorsements,
  type Evidence,
  type Fetcher,
} from '../../attestation/index.ts'
import { cachedFetcher } from '../fetch/cache.ts'
import { httpFetcher } from '../fetch/http.ts'
import { httpTransport } from '../fetch/transport.ts'

export interface FetchOptions {
  readonly offline?: boolean
  readonly cache?: string
  readonly kds?: string
  readonly pcs?: string
  readonly plainHttp?: boolean
}

/** Adds the options of fetching. */
export function addFetching(to: Command): Command {
  return to
    .option('--offline', 'fetch nothing: what was not given, and is not in --cache, is missing')
    .option(
      '--cache <dir>',
      'where fetched endorsements are kept (default: in your cache directory)',
    )
    .addOption(new Option('--kds <url>', 'a mirror of AMD’s key distribution service'))
    .addOption(new Option('--pcs <url>', 'a PCCS instead of Intel’s own service'))
    .option('--plain-http', 'allow http:// for --kds and --pcs')
}

/**
 * What the vendor's service has for a piece of evidence; null, with a warning on stderr, if nothing could be fetched.
 * @throws AttestationError if the evidence can't be read
 */
export async function fetchMissing(
  evidence: Evidence,
  given: Endorsements,
  options: FetchOptions,
  now: Date,
): Promise<Endorsements | null> {
  const transport = httpTransport({ plainHttp: options.plainHttp === true, attempts: 2 })
  const fetcher = cachedFetcher(httpFetcher(transport), {
    directory: options.cache ?? cacheDirectory(),
    lifetimeMs,
    now: () => now,
    offline: options.offline === true,
  })
  try {
    return await fetchFor(evidence, given, fetcher, options)
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    process.stderr.write(`warning: nothing was fetched: ${error.message}\n`)
    return null
  } finally {
    transport.close()
  }
}

async function fetchFor(
  evidence: Evidence,
  given: Endorsements,
  fetcher: Fetcher,
  { kds, pcs }: FetchOptions,
): Promise<Endorsements> {
  if (evidence.platform === 'sev-snp')
    return fetchSnpEndorsements(parseReport(evidence.raw), fetcher, {
      have: mergeEndorsements(given, evidence.endorsements),
      ...(kds === undefined ? {} : { base: kds }),
    })
  const { endorsements } = await fetchTdxCollateral(parseQuote(evidence.raw), fetcher, {
    ...(pcs === undefined ? {} : { baseUrl: pcs }),
  })
  return endorsements
}

const DAY = 86_400_000

/**
 * Certificates of a chip never change; lists and collateral are asked for again each day, and once they have run out by their own
 * `nextUpdate`. An answer that is none (a page of a proxy, say) is not kept at all.
 */
function lifetimeMs(url: string, body: Uint8Array, arrived: Date): number {
  if (/\/(?:vcek|vlek)\/v1\/[^/]+\/(?!crl)/.test(url)) return readable(url, body) ? 30 * DAY : 0
  const found = readable(url, body)
  const expires = found === null ? NaN : expiryOf(found).getTime()
  return Number.isNaN(expires) ? 0 : Math.min(DAY, expires - arrived.getTime())
}

function readable(url: string, body: Uint8Array): Endorsements | null {
  try {
    const found = readEndorsements([{ name: url, bytes: body }])
    expiryOf(found)
    return found
  } catch (error) {
    if (error instanceof AttestationError) return null
    throw error
  }
}

function cacheDirectory(): string {
  const base = process.env['XDG_CACHE_HOME'] ?? ''
  return join(base === '' ? join(homedir(), '.cache') : base, 'zt4ai', 'endorsements')
}
