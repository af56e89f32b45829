// The single owner of the registries that one suite of tests runs against: the double in this process, and Debian's docker-registry where it is installed.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../fakes/port.ts'
import { startRegistry, type RegistrySwitches } from '../fakes/registry.ts'

export interface Backend {
  readonly host: string
  close(): Promise<void>
}

export const haveDockerRegistry = spawnSync('docker-registry', ['--version']).status === 0

/** Where CI must have what a developer may lack. */
export const inCi = process.env['CI'] === 'true'

/** By name: how each is started. */
export const BACKENDS: readonly (readonly [string, () => Promise<Backend>])[] = [
  ['the double with the referrers API', () => startRegistry()],
  ['the double without it', () => startRegistry({ referrers: 'none' })],
  ['the double that demands tokens', () => startRegistry({ auth: ROBOT })],
  ['the double with every harmless quirk', () => startRegistry(QUIRKS)],
  ...(haveDockerRegistry || inCi
    ? [["Debian's docker-registry", startDockerRegistry] as const]
    : []),
]

export const ROBOT = { username: 'robot', password: 's3cret' } as const
const QUIRKS: RegistrySwitches = {
  noSubjectHeader: true,
  wrongArtifactType: 'application/vnd.oci.empty.v1+json',
  pageSize: 1,
  missingHeaders: true,
  noRanges: true,
  noMount: true,
  danglingReferrer: `sha256:${'cd'.repeat(32)}`,
}

/** A process of its own on a free port of this machine, with an empty folder. */
export async function startDockerRegistry(): Promise<Backend> {
  const folder = mkdtempSync(join(tmpdir(), 'zt4ai-registry-'))
  const host = `127.0.0.1:${String(await freePort())}`
  const config = join(folder, 'config.yml')
  writeFileSync(
    config,
    `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: ${join(folder, 'data')}}}
http: {addr: '${host}'}
`,
  )
  const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' })
  const ended = new Promise<void>((resolve) => {
    child.on('close', () => resolve())
    child.on('error', () => resolve())
  })
  for (let attempt = 0; ; attempt++) {
    const up = await fetch(`http://${host}/v2/`).then(
      ({ ok }) => ok,
      () => false,
    )
    if (up) break
    if (attempt > 600) throw new Error('docker-registry does not start')
    await pause(50)
  }
  return {
    host,
    async close() {
      child.kill()
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
