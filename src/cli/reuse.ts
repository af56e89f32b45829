// The single owner of incremental signing on the command line: an earlier signature, verified first, and the digest cache.
import type { Command } from 'commander'
import { readSignature } from '../bundle/location.ts'
import { readPublicKey } from '../bundle/keys.ts'
import { ZtError } from '../error.ts'
import type { Manifest } from '../model/manifest.ts'
import type { Reuse } from '../model/reuse.ts'
import type { Trust } from '../verify/result.ts'
import { readText, repeatable } from './options.ts'

export interface ReuseOptions {
  readonly reuse?: string
  readonly reuseKey?: string
  readonly unchanged: readonly string[]
  readonly digestCache?: string
  readonly certificate?: string
}

/** Adds the options. */
export function addReuse(command: Command): Command {
  return command
    .option(
      '--reuse <file>',
      'an earlier signature of this model: take its digests for --unchanged paths, without reading them',
    )
    .option('--reuse-key <pem>', "with --reuse: its signer's public key (default: --certificate)")
    .addOption(
      repeatable(
        '--unchanged <path>',
        'with --reuse: a file or directory that you vouch is as it was',
      ),
    )
    .option(
      '--digest-cache <file>',
      'do not read files that are in a recorded state (same inode, size and times), and record the others',
    )
}

/** True if any digest is to come from elsewhere than the bytes. */
export function asksForReuse({ reuse, unchanged, digestCache }: ReuseOptions): boolean {
  return reuse !== undefined || unchanged.length > 0 || digestCache !== undefined
}

/** What need not be read, and how to save what was learnt. @throws ZtError USAGE, and what reading or verifying throws */
export async function readReuse(
  options: ReuseOptions,
): Promise<{ readonly reuse?: Reuse; readonly save: () => void }> {
  const { reuse: file, unchanged, digestCache } = options
  if ((file === undefined) !== (unchanged.length === 0))
    throw new ZtError('USAGE', '--reuse and --unchanged go together', {
      hint: 'an earlier signature alone does not say which files are as they were',
    })
  if (!asksForReuse(options)) return { save: () => undefined }
  const earlier = file === undefined ? undefined : await readEarlier(file, options)
  const cacheModule = digestCache === undefined ? undefined : await import('../model/cache.ts')
  const cache = digestCache === undefined ? undefined : cacheModule?.readCache(digestCache)
  return {
    reuse: {
      ...(earlier === undefined ? {} : { earlier, unchanged }),
      ...(cache === undefined ? {} : { cache }),
    },
    save: () => {
      if (digestCache !== undefined && cache !== undefined)
        cacheModule?.writeCache(digestCache, cache)
    },
  }
}

/** The manifest of the earlier signature, which must verify. */
async function readEarlier(path: string, options: ReuseOptions): Promise<Manifest> {
  const bytes = readSignature(path)
  if (bytes === null)
    throw new ZtError('SIGNATURE_NOT_FOUND', 'there is no earlier signature here', { path })
  const { verifySignature } = await import('../verify/statement.ts')
  const { manifest, checks } = await verifySignature(bytes, readTrust(options), new Date())
  if (manifest !== null) return manifest
  const [failed] = checks.filter(({ status }) => status === 'fail')
  throw new ZtError(
    failed?.code ?? 'SIGNATURE_INVALID',
    `the earlier signature does not verify: ${failed?.message ?? ''}`,
    { path, hint: 'digests are only taken from a signature that verifies (--reuse-key)' },
  )
}

function readTrust({ reuseKey, certificate }: ReuseOptions): Trust {
  if (reuseKey !== undefined) {
    const publicKey = readText(reuseKey)
    readPublicKey(publicKey)
    return { kind: 'key', publicKey }
  }
  // the signer's own certificate, as the only anchor: whatever it signed before was signed by the same signer
  if (certificate !== undefined) return { kind: 'certificate', roots: readText(certificate) }
  throw new ZtError('USAGE', '--reuse needs --reuse-key', {
    hint: 'give the public key with which the earlier signature verifies',
  })
}
