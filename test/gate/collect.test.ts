import { describe, expect, it } from 'vitest'
import { spawnSync } from 'node:child_process'
import { modelBinding, readEvidence, readEvidenceFile } from '../../attestation/index.ts'
import { bytesToHex, equalBytes } from '../../attestation/lib/index.ts'
import { collectEvidence, TSM_REPORTS, type TsmFiles } from '../../src/gate/collect.ts'
import { ccel, bootLog, simulateSnp, simulateTdx, snpFiles } from '../../src/simulate/index.ts'
import { AT } from './scene.ts'
import { CLI } from './stage.ts'

const NONCE = new Uint8Array(32).fill(0x0c)
const DATA = modelBinding({ nonce: NONCE, modelDigest: new Uint8Array(32).fill(0xaa) })

interface Report {
  readonly outblob: Uint8Array
  readonly auxblob?: Uint8Array
}

/**
 * A directory that behaves as the kernel's (drivers/virt/coco/guest/report.c): instances by mkdir, attributes with one direction each, a count
 * of writes, a report made when outblob is read and kept until something is written.
 */
class Kernel implements TsmFiles {
  readonly instances = new Map<string, Map<string, Uint8Array>>()
  readonly provider: string
  readonly #make: (data: Uint8Array, level: number | null) => Report
  readonly others = new Map<string, Uint8Array>()
  /** Called at each reading of outblob: what another program does then. */
  meanwhile: (instance: string) => void = () => undefined
  reports = 0
  #generation = 41

  constructor(provider: string, make: (data: Uint8Array, level: number | null) => Report) {
    this.provider = provider
    this.#make = make
  }

  mkdir(path: string): void {
    if (this.instances.has(path)) throw failure('EEXIST')
    if (!path.startsWith(`${TSM_REPORTS}/`)) throw failure('ENOENT')
    this.instances.set(path, new Map())
  }

  rmdir(path: string): void {
    if (!this.instances.delete(path)) throw failure('ENOENT')
  }

  write(path: string, bytes: Uint8Array): void {
    const [instance, name] = this.#find(path)
    if (name === 'inblob') {
      if (bytes.length === 0 || bytes.length > 64) throw failure('EINVAL')
    } else if (name !== 'privlevel') throw failure('EACCES')
    else if (Number(Buffer.from(bytes).toString()) > 3) throw failure('EINVAL')
    instance.set(name, bytes)
    instance.delete('report')
    this.#generation++
  }

  read(path: string): Uint8Array {
    const other = this.others.get(path)
    if (other !== undefined) return other
    const [instance, name] = this.#find(path)
    if (name === 'generation') return Buffer.from(`${String(this.#generation)}\n`)
    if (name === 'provider') return Buffer.from(`${this.provider}\n`)
    if (name === 'inblob') throw failure('EACCES')
    if (name !== 'outblob' && name !== 'auxblob') throw failure('ENOENT')
    const data = instance.get('inblob')
    if (data === undefined) throw failure('EINVAL')
    if (name === 'outblob') this.meanwhile(path.slice(0, path.lastIndexOf('/')))
    const level = instance.get('privlevel')
    const asked = instance.get('inblob') ?? data
    const report = this.#make(asked, level === undefined ? null : Number(Buffer.from(level)))
    this.reports++
    if (name === 'outblob') return report.outblob
    if (report.auxblob === undefined) throw failure('ENOENT')
    return report.auxblob
  }

  #find(path: string): [Map<string, Uint8Array>, string] {
    const cut = path.lastIndexOf('/')
    const instance = this.instances.get(path.slice(0, cut))
    if (instance === undefined) throw failure('ENOENT')
    return [instance, path.slice(cut + 1)]
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code })
}

/** The report of a simulated machine, in the parts in which the kernel gives it. */
function snp(data: Uint8Array, level: number | null, certificates = true): Report {
  const recorded = simulateSnp({
    at: AT,
    report: { reportData: data, ...(level === null ? {} : { vmpl: level }) },
  })
  const extended = Object.entries(snpFiles(recorded)).find(
    ([, bytes]) => bytes.length > 1184 && readable(bytes) === 'extended SNP report',
  )?.[1]
  const table = extended?.subarray(1184) ?? new Uint8Array(4096)
  return { outblob: recorded.report, auxblob: certificates ? table : new Uint8Array(4096) }
}

function readable(bytes: Uint8Array): string {
  try {
    return readEvidence(bytes).form
  } catch {
    return ''
  }
}

describe('collecting from a machine with SEV-SNP', () => {
  it('writes an evidence file that answers the nonce, with the certificates that came along, and leaves no instance', () => {
    const kernel = new Kernel('sev_guest', (data, level) => snp(data, level))
    const { provider, file } = collectEvidence({ reportData: DATA, nonce: NONCE }, kernel)
    expect(provider).toBe('sev_guest')
    const evidence = readEvidenceFile(file)
    expect(evidence.platform).toBe('sev-snp')
    expect(equalBytes(evidence.raw.subarray(0x50, 0x90), DATA)).toBe(true)
    expect(bytesToHex(evidence.nonce ?? new Uint8Array())).toBe(bytesToHex(NONCE))
    expect(kernel.instances.size).toBe(0)
  })

  it('takes a table without entries, and no table at all', () => {
    for (const make of [
      (data: Uint8Array, level: number | null) => snp(data, level, false),
      (data: Uint8Array, level: number | null) => ({ outblob: snp(data, level).outblob }),
    ]) {
      const kernel = new Kernel('sev_guest', make)
      const { evidence } = collectEvidence({ reportData: DATA }, kernel)
      expect(evidence.endorsements.certificates).toEqual([])
    }
  })

  it('asks for the privilege level', () => {
    const kernel = new Kernel('sev_guest', (data, level) => snp(data, level))
    const { evidence } = collectEvidence({ reportData: DATA, privilegeLevel: 2 }, kernel)
    expect(evidence.raw[0x30]).toBe(2)
  })

  it('asks again if another program wrote meanwhile, and takes no report over what that one asked', () => {
    const kernel = new Kernel('sev_guest', (data, level) => snp(data, level))
    let times = 2
    kernel.meanwhile = (instance) => {
      if (times-- > 0) kernel.write(`${instance}/inblob`, new Uint8Array(64).fill(0xee))
    }
    const { evidence } = collectEvidence({ reportData: DATA }, kernel)
    expect(equalBytes(evidence.raw.subarray(0x50, 0x90), DATA)).toBe(true)
    expect(times).toBeLessThan(0)
  })

  it('gives up if that goes on', () => {
    const kernel = new Kernel('sev_guest', (data, level) => snp(data, level))
    kernel.meanwhile = (instance) => {
      kernel.write(`${instance}/inblob`, DATA)
    }
    expect(() => collectEvidence({ reportData: DATA }, kernel)).toThrow(
      expect.objectContaining({ code: 'TSM_CONFLICT' }) as Error,
    )
    expect(kernel.instances.size).toBe(0)
  })
})

describe('collecting from a machine with TDX', () => {
  it('writes quote and boot event log', () => {
    const log = ccel(bootLog('zt4ai'))
    const kernel = new Kernel('tdx_guest', (data) => ({
      outblob: simulateTdx({ at: AT, td: { reportData: data } }).quote,
    }))
    kernel.others.set('/sys/firmware/acpi/tables/CCEL', log.table)
    kernel.others.set('/sys/firmware/acpi/tables/data/CCEL', log.data)
    const { provider, file } = collectEvidence({ reportData: DATA, nonce: NONCE }, kernel)
    expect(provider).toBe('tdx_guest')
    const evidence = readEvidenceFile(file)
    expect(evidence.platform).toBe('tdx')
    expect(evidence.endorsements.eventLogs).toHaveLength(1)
    const without = collectEvidence({ reportData: DATA, eventLog: false }, kernel)
    expect(readEvidenceFile(without.file).endorsements.eventLogs).toEqual([])
  })
})

describe('what goes wrong', () => {
  it.each(['ENOENT', 'EACCES', 'ENXIO', 'EBUSY', 'ETIMEDOUT'])('%s: no answer, and why', (code) => {
    const kernel = new Kernel('sev_guest', () => {
      throw failure(code)
    })
    expect(() => collectEvidence({ reportData: DATA }, kernel)).toThrow(
      expect.objectContaining({
        code: 'TSM_UNAVAILABLE',
        hint: expect.any(String) as string,
      }) as Error,
    )
    expect(kernel.instances.size).toBe(0)
  })

  it.each([
    ['other data', () => snp(new Uint8Array(64).fill(9), null)],
    ['a cut report', (data: Uint8Array) => ({ outblob: snp(data, null).outblob.subarray(0, 500) })],
    ['nothing', () => ({ outblob: new Uint8Array() })],
    ['something else', () => ({ outblob: new Uint8Array(2000).fill(1) })],
  ])('refuses %s', (_, make) => {
    const kernel = new Kernel('sev_guest', make)
    expect(() => collectEvidence({ reportData: DATA }, kernel)).toThrow(
      expect.objectContaining({ code: 'TSM_ANSWER' }) as Error,
    )
  })

  it('wants 64 bytes', () => {
    const kernel = new Kernel('sev_guest', (data, level) => snp(data, level))
    expect(() => collectEvidence({ reportData: NONCE }, kernel)).toThrow(/64 bytes/)
  })

  it('on a machine without such hardware the command reaches no answer, and says what is missing', () => {
    const ran = (words: readonly string[]) =>
      spawnSync(process.execPath, [CLI, 'collect', ...words], { encoding: 'utf8' })
    const { status, stdout, stderr } = ran([
      '--nonce',
      bytesToHex(NONCE),
      '--digest',
      'aa'.repeat(32),
    ])
    expect({ status, stdout }).toEqual({ status: 3, stdout: '' })
    expect(stderr).toContain('TSM_UNAVAILABLE')
    expect(stderr).toContain('hint:')
    expect(ran(['--nonce', '00', '--digest', 'aa'.repeat(32)]).status).toBe(2)
    expect(ran(['--nonce', '00', '--key', 'x']).status).toBe(2)
    expect(ran([]).status).toBe(2)
  })
})
