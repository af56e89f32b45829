// Evidence as clouds, kernels and services hand it over, made by simulated hardware and judged by `zt4ai attest`: every form under a misleading name.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { AttestationResult } from '../../attestation/index.ts'
import { concatBytes, formatTime, hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { command } from '../../src/cli/attest.ts'
import {
  rootFile,
  simulateSnp,
  simulateTdx,
  snpEvidenceFile,
  tdxEvidenceFile,
} from '../../src/simulate/index.ts'
import type { SnpEvidence, SnpRequest, TdxEvidence, TdxRequest } from '../../src/simulate/index.ts'
import { ran, type Ran } from '../cli/command.ts'
import { fakePcs } from '../fakes/pcs.ts'

const AT = new Date('2026-06-01T00:00:00Z')
let folder = ''
let count = 0
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'zt4ai-forms-'))
})
beforeEach(() => {
  count = 0
})
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** Names say nothing: each file gets that of another format. */
const NAMES = ['chain.pem', 'report.json', 'quote.txt', 'crl.bin', 'log.der', 'a', 'evidence.yaml']
function file(content: Uint8Array | string): string {
  const name = NAMES[count % NAMES.length] ?? ''
  count++
  const path = join(folder, `${count}-${name}`)
  writeFileSync(path, content)
  return path
}

interface Given {
  readonly evidence: Uint8Array | string
  readonly endorsements?: readonly (Uint8Array | string)[]
  readonly root: Uint8Array
  readonly more?: readonly string[]
  readonly at?: Date
}
async function attest({ evidence, endorsements = [], root, more, at = AT }: Given): Promise<Ran> {
  const given = endorsements.flatMap((one) => ['--endorsements', file(one)])
  const trust = ['--trust-root', file(rootFile(root)['root.pem'] ?? '')]
  const time = ['--at', formatTime(at)]
  return ran(
    command,
    file(evidence),
    ...given,
    ...trust,
    ...time,
    '--json',
    ...(more ?? ['--offline']),
  )
}

/** `id CODE` of each failing check; the code of the error where the evidence can't be read. */
async function failing(given: Given): Promise<string[]> {
  const { out, code, error } = await attest(given)
  if (error !== null) return [error.code ?? error.message]
  const { checks, accepted } = JSON.parse(out) as AttestationResult
  const fails = checks.filter(({ status }) => status === 'fail')
  expect(accepted).toBe(fails.length === 0)
  expect(code).toBe(accepted ? 0 : 1)
  return fails.map((check) => `${check.id} ${check.code}`)
}

const snp = (request: SnpRequest = {}): SnpEvidence => simulateSnp({ at: AT, ...request })
const tdx = (request: TdxRequest = {}): TdxEvidence => simulateTdx({ at: AT, ...request })
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const wrapped = (text: string): string => `${text.match(/.{1,76}/g)?.join('\n') ?? ''}\n`

/** Forms in which any report or quote arrives. */
const TEXTS: readonly (readonly [string, (bytes: Uint8Array) => Uint8Array | string])[] = [
  ['binary', (bytes) => bytes],
  ['hex', hex],
  ['hex with 0x', (bytes) => `0x${hex(bytes).toUpperCase()}\n`],
  ['base64', base64],
  ['base64 in lines', (bytes) => wrapped(base64(bytes))],
  ['hex in lines', (bytes) => wrapped(hex(bytes))],
  ['JSON array', (bytes) => JSON.stringify([...bytes])],
]

describe('SNP reports in every form', () => {
  const machine = snp()
  const root = machine.ark
  it.each(TEXTS)('%s, with a PEM chain and a list', async (_, form) => {
    const endorsements = [machine.chain(), machine.crl]
    expect(await failing({ evidence: form(machine.report), endorsements, root })).toEqual([])
  })

  it.each<[string, Given]>([
    [
      'three certificates in DER',
      { evidence: machine.report, endorsements: [machine.ark, machine.leaf, machine.ask], root },
    ],
    [
      'the leaf and the cert_chain of KDS',
      { evidence: machine.report, endorsements: [machine.kdsChain(), machine.leaf], root },
    ],
    ['extended report with its table', { evidence: machine.extended(), root }],
    [
      'extended report with a list in its table',
      { evidence: machine.extended({ crl: true }), root },
    ],
    [
      'outblob and auxblob of configfs-tsm',
      { evidence: machine.report, endorsements: [machine.extended().subarray(1184)], root },
    ],
    [
      'response of the ioctl',
      { evidence: machine.ioctlResponse(), endorsements: [machine.chain()], root },
    ],
    ['evidence file', { evidence: snpEvidenceFile(machine), root }],
  ])('%s', async (_, given) => {
    expect(await failing(given)).toEqual([])
  })
})

/** A table as Google's hosts write it: an entry of their own first, blobs on their own pages, zeros up to a page. */
function cloudTable(machine: SnpEvidence): Uint8Array {
  const entries: [string, Uint8Array][] = [
    ['ecae0c0f950243b1afa20ae2e0d565b6', Uint8Array.of(8, 0, 0, 0, 0x11, 0x0f, 0xa0, 0)],
    ['4ab7b379bbac4fe4a02f05aef327c782', machine.ask],
    ['63da758de6644564adc5f4b93be8accd', machine.leaf],
    ['c0b406a4a803495297433fb6014cd0ae', machine.ark],
  ]
  const out = Buffer.alloc(0x4000)
  let offset = 0x100
  for (const [index, [guid, blob]] of entries.entries()) {
    out.set(hexToBytes(guid), index * 24)
    out.writeUInt32LE(offset, index * 24 + 16)
    out.writeUInt32LE(blob.length, index * 24 + 20)
    out.set(blob, offset)
    offset += Math.ceil(blob.length / 0x100) * 0x100
  }
  return new Uint8Array(out)
}

describe('SNP reports as clouds make them', () => {
  const bytes = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)
  const azure = {
    policy: 0x3001fn,
    guestSvn: 65_547,
    idKeyDigest: bytes(48, 0x33),
    hostData: bytes(32, 0x11),
    reportData: concatBytes(bytes(32, 0x77), bytes(32, 0)),
  }
  const behind = { committedFirmware: { major: 1, minor: 55, build: 39 } }
  it.each<[string, SnpRequest, readonly string[]]>([
    ['Milan v5 of Google, with its table', { product: 'Milan' }, []],
    ['Genoa v4', { report: { version: 4 } }, []],
    [
      'Turin v5 with PLATFORM_INFO bit 6',
      { product: 'Turin', report: { platformInfo: 0x65n } },
      [],
    ],
    ['Turin v3', { product: 'Turin', report: { version: 3 } }, []],
    ['Milan v3 of Azure', { product: 'Milan', report: { ...azure, version: 3 } }, []],
    [
      'Genoa v2 of Azure, firmware not committed',
      { report: { ...azure, ...behind, version: 2 } },
      ['snp.provisional PROVISIONAL_FIRMWARE', 'snp.firmware FIRMWARE_BELOW_MINIMUM'],
    ],
    [
      'Milan VLEK v2, which names no product and no chip',
      { product: 'Milan', role: 'vlek', report: { version: 2 } },
      ['snp.chip CHIP_ID'],
    ],
    [
      'Milan VLEK v3 of AWS at VMPL 1',
      { product: 'Milan', role: 'vlek', report: { version: 3, vmpl: 1 } },
      ['snp.vmpl VMPL', 'snp.chip CHIP_ID'],
    ],
    ['Genoa v5 of a debugged guest', { report: { policy: 0xb0000n } }, ['snp.debug DEBUG']],
    [
      'Genoa v3 of an unpatched host',
      { report: { version: 3, platformInfo: 0x5n } },
      ['snp.platform-info PLATFORM_INFO'],
    ],
  ])('%s', async (_, request, fails) => {
    const machine = snp(request)
    const endorsements = [machine.chain()]
    expect(await failing({ evidence: machine.report, endorsements, root: machine.ark })).toEqual(
      fails,
    )
    if (machine.role === 'vlek') return
    const evidence = concatBytes(machine.report, cloudTable(machine))
    expect(await failing({ evidence, root: machine.ark })).toEqual(fails)
    const aux = [cloudTable(machine)]
    expect(
      await failing({ evidence: machine.report, endorsements: aux, root: machine.ark }),
    ).toEqual(fails)
  })
})

const collateral = (machine: TdxEvidence): string => JSON.stringify(machine.collateral)
/** What Intel's service answers, bodies as they come and the chains of the headers as files of their own. */
const served = (machine: TdxEvidence): (Uint8Array | string)[] =>
  machine
    .served()
    .flatMap(({ body, header }) => (header === undefined ? [body] : [body, header.value]))

describe('TDX and SGX quotes in every form', () => {
  const machine = tdx()
  const { root } = machine
  it.each(TEXTS)('%s, with collateral in the PCCS field names', async (_, form) => {
    const endorsements = [collateral(machine)]
    expect(await failing({ evidence: form(machine.quote), endorsements, root })).toEqual([])
  })

  it('collateral as served, chains from the headers', async () => {
    expect(await failing({ evidence: machine.quote, endorsements: served(machine), root })).toEqual(
      [],
    )
  })

  it('answers with their headers, as curl writes them', async () => {
    const answers = machine.served().map(({ body, header }) => {
      const lines = header === undefined ? [] : [`${header.name}: ${header.value}`]
      const head = ['HTTP/1.1 200 OK', 'Request-ID: 1', ...lines, '', ''].join('\r\n')
      return concatBytes(utf8Encode(`HTTP/1.1 200 Connection established\r\n\r\n${head}`), body)
    })
    expect(await failing({ evidence: machine.quote, endorsements: answers, root })).toEqual([])
    for (const bad of [
      'HTTP/1.1 200 OK',
      'HTTP/1.1 200 OK\r\nTCB-Info-Issuer-Chain: -----BEGIN%20X\r\n\r\n',
    ])
      expect(await failing({ evidence: machine.quote, endorsements: [bad], root })).toEqual([
        expect.stringMatching(/^FORMAT_/),
      ])
  })

  it('all of it in one evidence file', async () => {
    expect(await failing({ evidence: tdxEvidenceFile(machine), root })).toEqual([])
  })

  const padded = (request: TdxRequest): TdxRequest => {
    const { quote } = tdx(request)
    return { ...request, form: { ...request.form, padding: new Uint8Array(8000 - quote.length) } }
  }
  const attributes = (tdAttributes: bigint): TdxRequest => ({ td: { tdAttributes } })
  it.each<[string, TdxRequest, readonly string[]]>([
    ['v4 padded to 8,000 bytes', padded({ kind: 'td10' }), []],
    ['v5 padded to 8,000 bytes', padded({ kind: 'td15' }), []],
    ['v4 of the Processor CA', { kind: 'td10', ca: 'processor' }, []],
    ['SGX v3', { kind: 'sgx' }, []],
    ['v5 with an SGX body', { kind: 'sgx', form: { version: 5 } }, []],
    ['v4 with an SGX body', { kind: 'sgx', form: { version: 4 } }, []],
    ['a TD of 2023, no attribute set', attributes(0n), ['tdx.attributes ATTRIBUTES']],
    ['PKS alone', attributes(1n << 30n), ['tdx.attributes ATTRIBUTES']],
    ['PERFMON', attributes((1n << 63n) | (1n << 28n)), ['tdx.attributes ATTRIBUTES']],
    ['DEBUG', attributes(0x10000001n), ['tdx.debug DEBUG', 'tdx.attributes ATTRIBUTES']],
    ['an attestation key on P-384', { form: { keyType: 3 } }, ['UNSUPPORTED_ALGORITHM']],
    ['a body of TD 1.5Ex', { form: { bodyType: 4 } }, ['UNSUPPORTED_VERSION']],
    ['version 6', { form: { version: 6 } }, ['UNSUPPORTED_VERSION']],
    ['certification data of type 3', { form: { innerType: 3 } }, ['FORMAT_INVALID']],
  ])('%s', async (_, request, fails) => {
    const made = tdx(request)
    const given = { evidence: made.quote, endorsements: [collateral(made)], root: made.root }
    expect(await failing(given)).toEqual(fails)
  })

  it.each([14, 15, 16, 17, 18, 19, 20])('evaluation %i is taken, and shown', async (number) => {
    const made = tdx({
      tcbInfo: (info) => ({ ...info, tcbEvaluationDataNumber: number }),
      qeIdentity: (identity) => ({ ...identity, tcbEvaluationDataNumber: number - 1 }),
    })
    const given = { evidence: made.quote, endorsements: [collateral(made)], root: made.root }
    expect(await failing(given)).toEqual([])
    const { claims } = JSON.parse((await attest(given)).out) as AttestationResult
    const shown = claims?.fields
      .filter(({ name }) => / number$/.test(name))
      .map(({ value }) => value)
    expect(shown).toEqual([`${number}`, `${number - 1}`])
  })
})

describe('collateral from a PCCS', () => {
  const machine = tdx({ at: new Date() })
  const given = (more: readonly string[]): Given => ({
    evidence: machine.quote,
    root: machine.root,
    at: new Date(),
    more,
  })

  it('is fetched once, kept on disk, and found there offline', async () => {
    const pcs = await fakePcs(machine)
    const cache = join(folder, 'kept')
    const from = ['--pcs', pcs.baseUrl, '--plain-http', '--cache', cache]
    try {
      expect(await failing(given(from))).toEqual([])
      expect(readdirSync(cache)).toHaveLength(4)
      const { length } = pcs.requests
      expect(await failing(given(from))).toEqual([])
      expect(pcs.requests).toHaveLength(length)
    } finally {
      await pcs.close()
    }
    expect(await failing(given([...from, '--offline']))).toEqual([])
    expect(await failing(given(['--offline']))).toContain('tdx.crl.root CRL_MISSING')
  })

  it('what runs out within the day is asked for again then, and a page in place of an answer is not kept', async () => {
    const old = tdx({ at: new Date(Date.now() - 30 * 86_400_000) })
    const expired = await fakePcs(old)
    const page = await fakePcs(machine, (response) => ({ ...response, body: utf8Encode('<html>') }))
    const cache = join(folder, 'short')
    try {
      for (const { baseUrl } of [expired, page]) {
        const from = ['--pcs', baseUrl, '--plain-http', '--cache', cache]
        expect((await attest({ ...given(from), evidence: old.quote })).code).toBe(1)
      }
      // of all answers only the list of the root, which lives longer, may stay
      for (const name of readdirSync(cache, { recursive: true })) expect(name).toMatch(/\.cache$/)
      const before = expired.requests.length
      const from = ['--pcs', expired.baseUrl, '--plain-http', '--cache', cache]
      await attest({ ...given(from), evidence: old.quote })
      expect(expired.requests.length).toBeGreaterThan(before)
    } finally {
      await expired.close()
      await page.close()
    }
  })
})
