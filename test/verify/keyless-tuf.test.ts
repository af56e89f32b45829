import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { fetchTrustedRoot } from '../../src/verify/keyless-tuf.ts'
import { startFakeTuf } from '../fakes/tuf.ts'
import type { FakeTuf } from '../fakes/tuf.ts'

const TARGET = utf8Encode(
  '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}',
)
let directory: string
let count = 0
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'zt4ai-tuf-'))
})
afterAll(() => {
  rmSync(directory, { recursive: true, force: true })
})

async function fetchFrom(tuf: FakeTuf, root = tuf.root): Promise<Uint8Array> {
  count += 1
  const rootPath = join(directory, `root-${count}.json`)
  writeFileSync(rootPath, root)
  return await fetchTrustedRoot({
    cachePath: join(directory, `cache-${count}`),
    mirror: { url: tuf.url, rootPath },
    retries: 0,
    timeoutMs: 20_000,
  })
}

const refused = expect.objectContaining({ name: 'ZtError', code: 'TRUSTED_ROOT_FETCH' })

describe('the trusted root through TUF', () => {
  it('arrives as it was published', async () => {
    const tuf = await startFakeTuf(TARGET)
    try {
      expect(await fetchFrom(tuf)).toEqual(TARGET)
    } finally {
      await tuf.close()
    }
  })

  it('is refused when another one lies there, when its time is over, or when another root signs', async () => {
    const [changed, expired, other] = await Promise.all([
      startFakeTuf(TARGET),
      startFakeTuf(TARGET, '2020-01-01T00:00:00Z'),
      startFakeTuf(TARGET),
    ])
    changed.files.set('/targets/trusted_root.json', utf8Encode('{"mediaType":"another"}'))
    try {
      await expect(fetchFrom(changed)).rejects.toThrow(refused)
      await expect(fetchFrom(expired)).rejects.toThrow(refused)
      await expect(fetchFrom(other, changed.root)).rejects.toThrow(refused)
    } finally {
      await Promise.all([changed.close(), expired.close(), other.close()])
    }
  })

  it('says how to go on where there is no network', async () => {
    const tuf = await startFakeTuf(TARGET)
    await tuf.close()
    await expect(fetchFrom(tuf)).rejects.toThrow(
      expect.objectContaining({ hint: expect.stringContaining('--trusted-root') }),
    )
  })
})
