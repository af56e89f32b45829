// What verification loads: no network client, no signer, no TUF; and nothing of Sigstore at all where the caller trusts a key.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { REPOSITORY } from '../shared.ts'

/** The packages of which a built module loads CommonJS files (all of Sigstore is CommonJS). */
function packagesOf(...modules: readonly string[]): readonly string[] {
  const urls = modules.map((path) => pathToFileURL(join(REPOSITORY, 'dist/src', path)).href)
  const script = `
    import { createRequire } from 'node:module'
    for (const url of ${JSON.stringify(urls)}) await import(url)
    console.log(JSON.stringify(Object.keys(createRequire(import.meta.url).cache)))`
  const args = ['--input-type=module', '-e', script]
  const paths = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as string[]
  const names = paths.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? path)
  return [...new Set(names)].sort()
}

describe('verification', () => {
  it('with a key or a certificate loads nothing of Sigstore', () => {
    const packages = packagesOf(
      'verify/model.js',
      'verify/key.js',
      'verify/certificate.js',
      'cli/verify.js',
    )
    expect(packages.filter((name) => name.includes('sigstore'))).toEqual([])
  })

  it('of a keyless signature loads the verifier alone', () => {
    expect(packagesOf('verify/keyless.js')).toEqual([
      '@sigstore/bundle',
      '@sigstore/core',
      '@sigstore/protobuf-specs',
      '@sigstore/verify',
    ])
  })
})

describe('signing with a key', () => {
  it('loads nothing of Sigstore', () => {
    const packages = packagesOf('sign/model.js', 'sign/key.js', 'cli/sign.js')
    expect(packages.filter((name) => name.includes('sigstore'))).toEqual([])
  })
})
