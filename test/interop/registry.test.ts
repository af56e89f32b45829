// skopeo copies our artifacts and what is attached to them, from registry to registry and by way of a directory; the copy verifies.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fallbackTag, fetchReferrers } from '../../src/registry/referrers.ts'
import { inCi, startDockerRegistry, haveDockerRegistry, type Backend } from '../registry/backend.ts'
import { push, routeOf, Shelf, verify, type SignedFolder } from '../registry/shelf.ts'

const haveSkopeo = spawnSync('skopeo', ['--version']).status === 0
const have = haveSkopeo && haveDockerRegistry
if (!have)
  console.warn("skopeo or docker-registry is not installed (Debian's packages): not compared")

it.runIf(inCi)('has skopeo and docker-registry', () =>
  expect([haveSkopeo, haveDockerRegistry]).toEqual([true, true]),
)

describe.runIf(have)('skopeo', () => {
  const shelf = new Shelf()
  let from: Backend
  let to: Backend
  let model: SignedFolder
  beforeAll(async () => {
    ;[from, to] = await Promise.all([startDockerRegistry(), startDockerRegistry()])
    model = await shelf.model()
  })
  afterAll(async () => {
    shelf.close()
    await Promise.all([from.close(), to.close()])
  })
  const skopeo = (...args: readonly string[]): string =>
    execFileSync('skopeo', ['--insecure-policy', ...args], { encoding: 'utf8', stdio: 'pipe' })
  const copy = (source: string, target: string, ...more: readonly string[]): void => {
    skopeo('copy', '--src-tls-verify=false', '--dest-tls-verify=false', ...more, source, target)
  }

  it.each([
    ['raw layers', false, 'raw-bijection'],
    ['a tar layer', true, 'streamed'],
  ])(
    'copies a model of %s between registries, its signatures by their tag',
    async (_, tar, route) => {
      const name = tar ? 'team/tar' : 'team/raw'
      const { digest } = await push(shelf.repository(from.host, name), model, { tar, tag: 'v1' })
      copy(`docker://${from.host}/${name}:v1`, `docker://${to.host}/${name}:v1`)
      const copied = shelf.repository(to.host, name)
      expect((await copied.manifest('v1'))?.digest).toBe(digest)
      expect((await verify(copied, digest)).checks.map(({ code }) => code)).toContain(
        'SIGNATURE_NOT_FOUND',
      )
      const list = fallbackTag(digest)
      copy(`docker://${from.host}/${name}:${list}`, `docker://${to.host}/${name}:${list}`, '--all')
      const verdict = await verify(copied, digest)
      expect([verdict.decision, routeOf(verdict)]).toEqual(['allow', route])
      expect(await fetchReferrers(copied, digest)).toHaveLength(1)
    },
  )

  it('carries it through a directory, across a gap', async () => {
    const { digest } = await push(shelf.repository(from.host, 'team/gap'), model, { tag: 'v1' })
    const list = fallbackTag(digest)
    const folder = join(shelf.folder, 'carried')
    mkdirSync(folder)
    for (const tag of ['v1', list]) {
      copy(`docker://${from.host}/team/gap:${tag}`, `dir:${join(folder, tag)}`, '--all')
      copy(`dir:${join(folder, tag)}`, `docker://${to.host}/team/gap:${tag}`, '--all')
    }
    const copied = shelf.repository(to.host, 'team/gap')
    expect((await verify(copied, digest)).decision).toBe('allow')
    const oci = join(folder, 'oci')
    copy(`docker://${from.host}/team/gap:v1`, `oci:${oci}:v1`)
    const index = JSON.parse(readFileSync(join(oci, 'index.json'), 'utf8')) as {
      manifests: { digest: string }[]
    }
    expect(index.manifests[0]?.digest).toBe(digest)
    copy(`oci:${oci}:v1`, `docker://${to.host}/team/gap:oci`)
    expect((await verify(copied, 'oci')).decision).toBe('allow')
  })

  it('reads the manifest that we write as it is', async () => {
    const { digest } = await push(shelf.repository(from.host, 'team/read'), model, { tag: 'v1' })
    const raw = skopeo(
      'inspect',
      '--raw',
      '--tls-verify=false',
      `docker://${from.host}/team/read@${digest}`,
    )
    expect(JSON.parse(raw)).toMatchObject({
      artifactType: 'application/vnd.cncf.model.manifest.v1+json',
      config: { mediaType: 'application/vnd.cncf.model.config.v1+json' },
    })
  })
})
