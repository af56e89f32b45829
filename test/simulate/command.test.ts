import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  attest,
  modelBinding,
  NO_ENDORSEMENTS,
  readEndorsements,
  readEvidence,
  userRoots,
  type AttestOptions,
} from '../../attestation/index.ts'
import { bytesToHex, sha256 } from '../../attestation/lib/index.ts'
import { command } from '../../src/cli/simulate.ts'

const AT = '2026-10-01T12:00:00Z'
const NONCE = '5a'.repeat(32)
const MODEL = 'c3'.repeat(32)
let folder = ''
let written = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'zt4ai-simulate-'))
  written = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    written += String(text)
    return true
  })
})
afterEach(() => {
  vi.restoreAllMocks()
  process.exitCode = undefined
  rmSync(folder, { recursive: true })
})

async function simulate(...args: string[]): Promise<void> {
  await command().exitOverride().parseAsync(args, { from: 'user' })
}
const read = (name: string) => new Uint8Array(readFileSync(join(folder, name)))

function judge(options: AttestOptions = {}) {
  const at = new Date(AT)
  return attest(readEvidence(read('evidence.json')), NO_ENDORSEMENTS, {}, at, at, {
    trustRoots: userRoots(read('root.pem')),
    ...options,
  })
}

describe('zt4ai simulate', () => {
  it('snp: records a machine as asked for, and says SIMULATED', async () => {
    await simulate(
      ...['snp', '--out', folder, '--at', AT, '--product', 'Turin', '--report-version', '3'],
      ...['--measurement', '11'.repeat(48), '--report-data', 'abcd', '--tcb', 'microcode=90'],
    )
    const result = judge()
    expect(result).toMatchObject({ accepted: true, simulated: true, historical: false })
    expect(result.claims).toMatchObject({
      product: 'Turin',
      measurement: '11'.repeat(48),
      reportData: `abcd${'00'.repeat(62)}`,
    })
    expect(result.claims?.tcb).toContain('90')
    expect(written).toMatch(/^SIMULATED AMD SEV-SNP \(Turin, report version 3, VCEK\)/)
    expect(written).toContain('--trust-root')
    expect(readdirSync(folder).sort()).toEqual([
      'chain.pem',
      'crl.der',
      'evidence.json',
      'extended-report.bin',
      'report.bin',
      'root.pem',
    ])
  })

  it.each(['snp', 'tdx'])('%s: binds a model, a nonce and a key', async (tee) => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const pem = join(folder, 'key.pem')
    writeFileSync(pem, publicKey.export({ type: 'spki', format: 'pem' }))
    await simulate(
      ...[tee, '--out', folder, '--at', AT, '--nonce', NONCE, '--model-digest', MODEL],
      ...['--key', pem],
    )
    const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))
    const binding = {
      nonce: bytes(NONCE),
      modelDigest: bytes(MODEL),
      keyDigest: sha256(publicKey.export({ type: 'spki', format: 'der' })),
    }
    expect(judge({ binding }).accepted).toBe(true)
    expect(judge().claims?.reportData).toBe(bytesToHex(modelBinding(binding)))
    expect(judge({ binding: { ...binding, modelDigest: bytes(NONCE) } }).accepted).toBe(false)
    expect(bytesToHex(readEvidence(read('evidence.json')).nonce!)).toBe(NONCE)
  })

  it('tdx: the files in the vendor’s shapes say the same as the evidence file', async () => {
    await simulate('tdx', '--out', folder, '--at', AT, '--event', 'model-digest=aabb')
    const names = ['collateral.json', 'ccel-table.bin', 'ccel-log.bin']
    const endorsements = readEndorsements(names.map((name) => ({ name, bytes: read(name) })))
    const at = new Date(AT)
    const trustRoots = userRoots(read('root.pem'))
    const quote = readEvidence(read('quote.bin'))
    const result = attest(quote, endorsements, {}, at, at, { trustRoots })
    expect(result).toMatchObject({ accepted: true, simulated: true })
    expect(result.claims).toEqual(judge().claims)
  })

  it.each(['snp', 'tdx'])('%s --debug is refused', async (tee) => {
    await simulate(tee, '--out', folder, '--at', AT, '--debug')
    const failed = judge().checks.filter(({ status }) => status === 'fail')
    expect(failed.map(({ code }) => code)).toContain('DEBUG')
  })

  it('the same options give the same bytes, another machine others', async () => {
    const digest = async (machine: string) => {
      await simulate('snp', '--out', folder, '--at', AT, '--machine', machine, '--force')
      return bytesToHex(sha256(read('evidence.json')))
    }
    const first = await digest('a')
    expect(await digest('b')).not.toBe(first)
    expect(await digest('a')).toBe(first)
  })

  it('records negatives, under the root that refuses them', async () => {
    await simulate('snp', '--out', folder, '--negative', 'forged-ark')
    expect(judge().accepted).toBe(false)
    await simulate('negatives')
    expect(written).toContain('snp\tforged-ark\tROOT_UNTRUSTED\t')
    expect(written).toContain('tdx\trelaunch-advised\tTCB_STATUS\t')
  })

  it.each([
    [['--negative', 'nonsense']],
    [['--report-data', 'xyz']],
    [['--report-data', '00'.repeat(65)]],
    [['--measurement', '00']],
    [['--model-digest', MODEL]],
    [['--nonce', '00', '--model-digest', MODEL]],
    [['--nonce', NONCE, '--report-data', '00']],
    [['--key', 'nowhere.pem']],
    [['--tcb', 'fmc=1']],
    [['--tcb', 'snp=1000']],
    [['--policy', '30000']],
    [['--vmpl', '-1']],
    [['--at', 'yesterday']],
  ])('%j has no meaning', async (args) => {
    await expect(simulate('snp', '--out', folder, ...args)).rejects.toMatchObject({ code: 'USAGE' })
  })

  it('does not overwrite unless told', async () => {
    await simulate('snp', '--out', folder)
    await expect(simulate('snp', '--out', folder)).rejects.toMatchObject({ code: 'IO' })
  })
})
