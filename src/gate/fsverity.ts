// The single owner of the level fsverity: the kernel's own measurement of each file compared with the signed one, and the measured file itself shown.
import { spawnSync } from 'node:child_process'
import { closeSync, fstatSync } from 'node:fs'
import { ZtError } from '../error.ts'
import { openProblem } from '../model/hash.ts'
import type { HashedFile, Manifest } from '../model/manifest.ts'
import { Anchor, stampOf } from '../model/open.ts'
import type { HashOutcome } from '../model/pool.ts'
import { entryProblem } from '../model/problem.ts'
import type { ModelFile, Walk } from '../model/walk.ts'
import type { Check } from '../verdict.ts'
import type { Showroom } from './private-copy-mount.ts'
import { lookInto } from './source.ts'

/**
 * Measures each file (FS_IOC_MEASURE_VERITY, by `fsverity measure`) through the descriptor that is then bound into the private namespace. A file
 * that the kernel measures can't be written any more, and each page is checked against the measurement when it is read; so a measurement
 * that is the signed one stands for the file's signed digest, without reading the file.
 * @throws ZtError PROTECTION_UNAVAILABLE where the signature names no measurements, or the kernel has none
 */
export function bindMeasured(
  walk: Walk,
  files: readonly ModelFile[],
  manifest: Manifest,
  room: Pick<Showroom, 'bind'>,
  tool: string,
): HashOutcome {
  const signed = new Map(manifest.resources.map((resource) => [resource.name, resource]))
  const anchor = new Anchor(walk.root)
  const hashed: HashedFile[] = []
  const checks: Check[] = []
  try {
    for (const file of files) {
      const resource = signed.get(file.name) ?? signed.get('.')
      if (manifest.serialization.method !== 'files' || resource?.fsverity === undefined)
        throw new ZtError('PROTECTION_UNAVAILABLE', 'the signature names no fs-verity digests', {
          path: file.name,
          hint: 'sign with `zt4ai sign --fsverity`',
        })
      const one = measured(anchor, file, room, tool)
      if ('check' in one) checks.push(one.check)
      else
        hashed.push({
          ...one.file,
          parts: [
            // Nobody read it. What was signed with this measurement is what is there, or nothing is.
            {
              start: 0,
              end: file.size,
              digest: one.fsverity === resource.fsverity ? resource.digest : '',
            },
          ],
          fsverity: one.fsverity,
        })
    }
  } finally {
    anchor.close()
  }
  return { files: hashed, checks, bytes: hashed.reduce((sum, { size }) => sum + size, 0) }
}

function measured(
  anchor: Anchor,
  file: ModelFile,
  room: Pick<Showroom, 'bind'>,
  tool: string,
): { file: Omit<HashedFile, 'parts'>; fsverity: string } | { check: Check } {
  let fd: number
  try {
    fd = anchor.openFile(file.source)
  } catch (cause) {
    const { code, message } = openProblem(cause)
    return { check: entryProblem(code, file.name, message) }
  }
  try {
    const before = stampOf(fstatSync(fd, { bigint: true }))
    if (before !== file.stamp)
      return {
        check: entryProblem('FILE_UNSTABLE', file.name, 'changed while the model was being read', {
          expected: file.stamp,
          actual: before,
        }),
      }
    const fsverity = measure(fd, file.name, tool)
    room.bind(fd, file.name)
    const content = lookInto(fd, file.name)
    return { file: { name: file.name, size: file.size, content }, fsverity }
  } finally {
    closeSync(fd)
  }
}

/** `sha256:<hex>`, as the kernel says it. */
function measure(fd: number, name: string, tool: string): string {
  const { status, stdout, stderr } = spawnSync(tool, ['measure', '/proc/self/fd/3'], {
    stdio: ['ignore', 'pipe', 'pipe', fd],
    encoding: 'utf8',
    env: { LC_ALL: 'C' },
  })
  const digest = /^(sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})) /.exec(stdout)?.[1]
  if (status === 0 && digest !== undefined) return digest
  const why = stderr.trim().split('\n').at(-1) ?? ''
  throw new ZtError('PROTECTION_UNAVAILABLE', `the kernel has no measurement of a file (${why})`, {
    path: name,
    hint: 'seal each file on this disk with `fsverity enable FILE`, on a kernel and a file system that can',
  })
}
