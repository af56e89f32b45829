// The single owner of fetching a Sigstore trusted root through TUF. Only who asks for it loads this; verification itself has no network.
import { utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'

export interface FetchRootOptions {
  /** Directory of the TUF client's state, which protects against roll-back; the library's own in the user's home unless told. */
  readonly cachePath?: string
  /** Another instance's TUF repository, together with its first root (a file), which the caller trusts. */
  readonly mirror?: { readonly url: string; readonly rootPath: string }
  /** Of each request; 20 seconds unless told. */
  readonly timeoutMs?: number
  /** Further attempts; 2 unless told. */
  readonly retries?: number
}

/**
 * Fetches the trusted root of the public-good instance (or of `mirror`) with The Update Framework. Keep the bytes, and later
 * verifications need no network.
 * @throws ZtError TRUSTED_ROOT_FETCH
 */
export async function fetchTrustedRoot(options: FetchRootOptions = {}): Promise<Uint8Array> {
  const { cachePath, mirror, timeoutMs = 20_000, retries = 2 } = options
  const { initTUF } = await import('@sigstore/tuf')
  try {
    const client = await initTUF({
      timeout: timeoutMs,
      retry: retries,
      ...(cachePath === undefined ? {} : { cachePath }),
      ...(mirror === undefined ? {} : { mirrorURL: mirror.url, rootPath: mirror.rootPath }),
    })
    return utf8Encode(await client.getTarget('trusted_root.json'))
  } catch (error) {
    const { message, cause } = error as { readonly message?: unknown; readonly cause?: unknown }
    const reason = cause instanceof Error ? cause.message : String(message)
    throw new ZtError('TRUSTED_ROOT_FETCH', `the trusted root can not be fetched: ${reason}`, {
      cause: error,
      hint: 'without a network, give the trusted root as a file: --trusted-root',
    })
  }
}
