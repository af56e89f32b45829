// The single owner of asking this machine's hardware for evidence: the kernel's one interface for all of it, configfs-tsm (Linux 6.7).
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  AttestationError,
  mergeEndorsements,
  NO_ENDORSEMENTS,
  parseQuote,
  parseReport,
  readEvidence,
  writeEvidenceFile,
  type EventLog,
  type Evidence,
} from '../../attestation/index.ts'
import { concatBytes, equalBytes, isZero } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'

/** What configfs-tsm takes of a file system. Errors are the system's, with `code`. */
export interface TsmFiles {
  mkdir(path: string): void
  rmdir(path: string): void
  read(path: string): Uint8Array
  /** The whole value at once: the kernel takes an attribute when it is closed. */
  write(path: string, bytes: Uint8Array): void
}

export const TSM_REPORTS = '/sys/kernel/config/tsm/report'
const CCEL_TABLE = '/sys/firmware/acpi/tables/CCEL'
const CCEL_DATA = '/sys/firmware/acpi/tables/data/CCEL'

/** The machine's own. */
export const systemFiles: TsmFiles = {
  mkdir: (path) => {
    mkdirSync(path)
  },
  rmdir: (path) => {
    rmdirSync(path)
  },
  read: (path) => readFileSync(path),
  write: (path, bytes) => {
    writeFileSync(path, bytes)
  },
}

export interface CollectRequest {
  /** What the report must carry: 64 bytes, for a model `modelBinding(…)`. */
  readonly reportData: Uint8Array
  /** The relying party's challenge, for the evidence file. */
  readonly nonce?: Uint8Array
  /** SNP: the VMPL to report for, 0 to 3. Default: the kernel's own. */
  readonly privilegeLevel?: number
  /** Also the boot event log, where the machine has one (TDX). Default true. */
  readonly eventLog?: boolean
}

export interface Collected {
  /** `sev_guest`, `tdx_guest`, … as the kernel names it. */
  readonly provider: string
  readonly evidence: Evidence
  /** An evidence file (`zt4ai.evidence/v1`). */
  readonly file: string
}

const ATTEMPTS = 4

/**
 * Asks the hardware for a report over `reportData`, in an instance of its own, and watches the kernel's count of writes: if anybody else wrote
 * into the instance meanwhile, the report may be about something else, and it is asked for again (Documentation/ABI/testing/configfs-tsm-report).
 * The report is not verified here: that is the relying party's affair. Only that it answers the question is looked at.
 * @throws ZtError TSM_UNAVAILABLE, TSM_CONFLICT, TSM_ANSWER
 */
export function collectEvidence(
  request: CollectRequest,
  files: TsmFiles = systemFiles,
  reports = TSM_REPORTS,
): Collected {
  if (request.reportData.length !== 64)
    throw new ZtError('USAGE', 'the report data has exactly 64 bytes')
  const instance = join(reports, `zt4ai-${randomBytes(8).toString('hex')}`)
  attempt(reports, () => {
    files.mkdir(instance)
  })
  try {
    const { provider, outblob, auxblob } = attempt(reports, () => ask(request, instance, files))
    const evidence = answered(request, outblob, auxblob)
    const log = request.eventLog === false ? null : bootLog(files)
    const logs =
      log === null ? NO_ENDORSEMENTS : { ...NO_ENDORSEMENTS, eventLogs: [log] satisfies EventLog[] }
    const { platform, raw } = evidence
    const { nonce } = request
    const file = writeEvidenceFile(
      { platform, raw, ...(nonce === undefined ? {} : { nonce }) },
      mergeEndorsements(evidence.endorsements, logs),
    )
    return { provider, evidence, file }
  } finally {
    try {
      files.rmdir(instance)
    } catch {
      // It holds nothing secret, and a machine that forbids this has told us so before.
    }
  }
}

interface Answer {
  readonly provider: string
  readonly outblob: Uint8Array
  readonly auxblob: Uint8Array
}

function ask(request: CollectRequest, instance: string, files: TsmFiles): Answer {
  const { reportData, privilegeLevel } = request
  for (let i = 0; i < ATTEMPTS; i++) {
    const before = generation(instance, files)
    let writes = 0
    const write = (name: string, bytes: Uint8Array): void => {
      files.write(join(instance, name), bytes)
      writes++
    }
    if (privilegeLevel !== undefined) write('privlevel', Buffer.from(String(privilegeLevel)))
    write('inblob', reportData)
    const outblob = files.read(join(instance, 'outblob'))
    // Optional, and after outblob: both are of the report that reading outblob made.
    const auxblob = optional(() => files.read(join(instance, 'auxblob')))
    const provider = text(files.read(join(instance, 'provider')))
    if (generation(instance, files) === before + writes) return { provider, outblob, auxblob }
  }
  throw new ZtError(
    'TSM_CONFLICT',
    `the report instance was written to by others, ${ATTEMPTS} times`,
    {
      path: instance,
      hint: 'find out which program writes into report instances that are not its own',
    },
  )
}

/** The count of writes; it starts anywhere. */
function generation(instance: string, files: TsmFiles): number {
  const value = text(files.read(join(instance, 'generation')))
  if (!/^\d{1,15}$/.test(value))
    throw new ZtError('TSM_ANSWER', 'the kernel’s count of writes is no number', { path: instance })
  return Number(value)
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1').trim()
}

function optional(read: () => Uint8Array): Uint8Array {
  try {
    return read()
  } catch (error) {
    const { code } = error as { code?: unknown }
    if (code === 'ENOENT' || code === 'ENXIO' || code === 'ENODATA') return new Uint8Array()
    throw error
  }
}

/** Errors of the system in words. */
function attempt<T>(reports: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    if (error instanceof ZtError) throw error
    const code = String((error as { code?: unknown }).code)
    const hint = HINTS[code]
    throw new ZtError('TSM_UNAVAILABLE', `the kernel gives no report (${code})`, {
      path: reports,
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    })
  }
}

const HINTS: Readonly<Record<string, string>> = {
  ENOENT:
    'is this a confidential machine with Linux 6.7 or newer, configfs mounted at /sys/kernel/config, and the module tsm with sev-guest or tdx-guest loaded?',
  EACCES: 'only root may ask, unless the directory was given to somebody else',
  EPERM: 'only root may ask, unless the directory was given to somebody else',
  ENXIO: 'no hardware offers reports here: load sev-guest or tdx-guest',
  EINVAL: 'the privilege level must not be below the machine’s own (privlevel_floor)',
  EBUSY: 'the hardware is making another report: try again',
  ETIMEDOUT: 'the quoting service on the host did not answer: ask its operator',
}

/** What came, if it answers what was asked. */
function answered(
  { reportData }: CollectRequest,
  outblob: Uint8Array,
  auxblob: Uint8Array,
): Evidence {
  let evidence: Evidence
  let actual: Uint8Array
  try {
    // A host without certificates gives a table without entries.
    const table = isZero(auxblob.subarray(0, 24)) ? new Uint8Array() : auxblob
    evidence = readEvidence(concatBytes(outblob, table))
    actual =
      evidence.platform === 'sev-snp'
        ? parseReport(evidence.raw).reportData
        : parseQuote(evidence.raw).body.report.reportData
  } catch (cause) {
    if (!(cause instanceof AttestationError)) throw cause
    throw new ZtError('TSM_ANSWER', `the kernel's answer can't be read: ${cause.message}`, {
      cause,
    })
  }
  if (equalBytes(actual, reportData)) return evidence
  throw new ZtError('TSM_ANSWER', 'the report carries other data than was asked for')
}

/** The Confidential Computing Event Log of the firmware (ACPI, CCEL), where there is one. */
function bootLog(files: TsmFiles): EventLog | null {
  try {
    const table = new Uint8Array(files.read(CCEL_TABLE))
    return { kind: 'ccel', table, data: new Uint8Array(files.read(CCEL_DATA)) }
  } catch {
    return null
  }
}
