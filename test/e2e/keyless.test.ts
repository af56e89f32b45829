// Keyless signing and verifying as a user calls them.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { REPOSITORY } from '../shared.ts'
import { FAKE_ISSUER, FAKE_SUBJECT, startFakeSigstore } from '../fakes/sigstore.ts'
import type { FakeSigstore } from '../fakes/sigstore.ts'

const CLI = join(REPOSITORY, 'dist/src/cli/main.js')
let fake: FakeSigstore
let directory: string
let model: string
let root: string
beforeAll(async () => {
  fake = await startFakeSigstore()
  directory = mkdtempSync(join(tmpdir(), 'zt4ai-keyless-'))
  model = join(directory, 'model')
  root = join(directory, 'trusted_root.json')
  mkdirSync(model)
  writeFileSync(join(model, 'weights.bin'), 'weights')
  writeFileSync(root, fake.trustedRoot)
})
afterAll(async () => {
  await fake.close()
  rmSync(directory, { recursive: true, force: true })
})

function zt4ai(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [CLI, ...args],
      { env: { ...env }, timeout: 30_000 },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
        resolve({ status, stdout, stderr })
      },
    )
  })
}

const services = (): readonly string[] => ['--fulcio', fake.url, '--rekor', fake.url]
const signer = ['--identity', FAKE_SUBJECT, '--issuer', FAKE_ISSUER]

describe('zt4ai sign --keyless and zt4ai verify', () => {
  it('sign with the token of the environment, and verify offline', async () => {
    const token = fake.token()
    const signed = await zt4ai(['sign', model, '--keyless', ...services()], {
      SIGSTORE_ID_TOKEN: token,
    })
    expect(signed).toMatchObject({ status: 0 })
    expect(signed.stderr).toMatch(/warning: a keyless signature is public/)
    expect(`${signed.stdout}${signed.stderr}`).not.toContain(token)
    const verified = await zt4ai(['verify', model, ...signer, '--trusted-root', root, '--json'])
    expect(verified.status).toBe(0)
    const { checks } = JSON.parse(verified.stdout) as {
      checks: { id: string; status: string; message: string }[]
    }
    for (const id of ['certificate', 'envelope', 'log', 'time', 'identity', 'issuer'])
      expect(checks).toContainEqual(
        expect.objectContaining({ id: `signature.${id}`, status: 'pass' }),
      )
    const other = await zt4ai([
      'verify',
      model,
      '--identity',
      '.*',
      '--issuer',
      FAKE_ISSUER,
      '--trusted-root',
      root,
    ])
    expect(other.status).toBe(1)
    expect(other.stdout).toContain('IDENTITY_MISMATCH')
  })

  it.each<[string, readonly string[], number, string]>([
    [
      'a service without --keyless',
      ['--key', 'x', '--fulcio', 'https://x'],
      2,
      '--fulcio goes with --keyless',
    ],
    [
      'a token without --keyless',
      ['--key', 'x', '--identity-token', 'x'],
      2,
      '--identity-token goes with',
    ],
    ['a key as well', ['--keyless', '--key', 'x'], 2, 'cannot be used with'],
    ['an unknown version', ['--keyless', '--rekor-version', '3'], 2, 'Allowed choices'],
    ['version 2 alone', ['--keyless', '--rekor-version', '2', '--identity-token', 'x'], 2, 'USAGE'],
    [
      'http elsewhere',
      ['--keyless', '--fulcio', 'http://x.example', '--identity-token', 'x'],
      2,
      'https',
    ],
    ['no token', ['--keyless'], 3, 'TOKEN_MISSING'],
  ])('refuses to sign with %s', async (_name, args, status, message) => {
    const empty = join(directory, 'unsigned')
    mkdirSync(empty, { recursive: true })
    writeFileSync(join(empty, 'weights.bin'), 'weights')
    const ran = await zt4ai(['sign', empty, ...args])
    expect(ran.status).toBe(status)
    expect(ran.stderr).toContain(message)
    expect(existsSync(join(empty, 'model.sig'))).toBe(false)
  })

  it.each<[string, readonly string[], number, string]>([
    ['no root', signer, 2, '--fetch-trusted-root'],
    ['an identity alone', ['--identity', FAKE_SUBJECT], 2, 'go together'],
    ['a root alone', ['--key', 'x', '--fetch-trusted-root'], 2, 'a trusted root goes with'],
    ['a root that is none', [...signer, '--trusted-root', CLI], 3, 'TRUST_INVALID'],
  ])('gives no verdict with %s', async (_name, args, status, message) => {
    const ran = await zt4ai(['verify', model, ...args])
    expect(ran.status).toBe(status)
    expect(ran.stderr).toContain(message)
  })
})
