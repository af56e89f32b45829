import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { attest, NO_ENDORSEMENTS, readEvidence, userRoots } from '../../attestation/index.ts'
import { decodeSnpPolicy } from '../../attestation/snp/policy.ts'
import { RECORDED_AT } from '../../src/simulate/index.ts'
import { REPOSITORY } from '../shared.ts'
import { CSP } from './judge.ts'
import { recordings } from './recordings.ts'

const TESTDATA = join(REPOSITORY, 'testdata')

function below(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
}

const files = [...below(join(TESTDATA, 'snp')), ...below(join(TESTDATA, 'tdx'))]
const recorded = recordings()

describe('testdata', () => {
  it('is what the simulated hardware records, byte for byte', () => {
    const onDisk = Object.fromEntries(
      files.map((path) => [
        relative(TESTDATA, path).replaceAll('\\', '/'),
        readFileSync(path).toString('base64'),
      ]),
    )
    const anew = Object.fromEntries(
      Object.entries(recorded).map(([path, bytes]) => [
        path,
        Buffer.from(bytes).toString('base64'),
      ]),
    )
    expect(Object.keys(onDisk).sort()).toEqual(Object.keys(anew).sort())
    for (const [path, bytes] of Object.entries(anew))
      expect({ path, bytes: onDisk[path] }).toEqual({ path, bytes })
  })

  it('is small', () => {
    const total = Object.values(recorded).reduce((sum, bytes) => sum + bytes.length, 0)
    expect(total).toBeLessThan(300_000)
  })

  const evidence = Object.keys(recorded).filter((path) => path.endsWith('.evidence.json'))
  it.each(evidence)('%s gets its verdict', (path) => {
    const roots = Object.entries(recorded)
      .filter(([name]) => name.endsWith('root.pem'))
      .flatMap(([, bytes]) => userRoots(bytes))
    const policy = path.includes('vlek') ? { snp: decodeSnpPolicy({ cspIds: [CSP] }) } : {}
    const given = readEvidence(recorded[path]!)
    const options = { trustRoots: roots }
    const result = attest(given, NO_ENDORSEMENTS, policy, RECORDED_AT, RECORDED_AT, options)
    expect(result.accepted).toBe(!path.includes('/refused/'))
    expect(attest(given, NO_ENDORSEMENTS, policy, RECORDED_AT, RECORDED_AT).accepted).toBe(false)
  })
})
