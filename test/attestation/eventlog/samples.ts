// The single owner of the recorded event logs, and of simulated logs with one thing changed, for tests.
import { readFileSync } from 'node:fs'
import type { EventLog } from '../../../attestation/endorsements.ts'
import { readEndorsements } from '../../../attestation/evidence/collect.ts'
import { readEvidence } from '../../../attestation/evidence/detect.ts'
import { appraiseLogs } from '../../../attestation/eventlog/index.ts'
import type { LogAppraisal } from '../../../attestation/eventlog/index.ts'
import { requiredEvent } from '../../../attestation/eventlog/required.ts'
import type { JsonValue } from '../../../attestation/lib/index.ts'
import { parseQuote } from '../../../attestation/tdx/quote.ts'
import { shared } from '../../shared.ts'

export const bytesOf = (path: string): Uint8Array =>
  new Uint8Array(readFileSync(shared(`recorded/${path}`)))

/** RTMR0 to RTMR3 of a recorded quote. */
export function rtmrsOf(path: string): readonly Uint8Array[] {
  const { body } = parseQuote(readEvidence(bytesOf(path)).raw)
  if (body.type === 'sgx') throw new Error('an SGX quote has no RTMRs')
  return body.report.rtmrs
}

const logsOf = (...paths: readonly string[]): readonly EventLog[] =>
  readEndorsements(paths.map((name) => ({ name, bytes: bytesOf(name) }))).eventLogs

export const RECORDED_LOGS = {
  /** 43 events of a TD of Google's cloud, with the table. */
  ccel: () => ({
    logs: logsOf('tdx/v4-ccel/ccel_data.dat', 'tdx/v4-ccel/ccel_table.dat'),
    rtmrs: rtmrsOf('tdx/v4-ccel/quote.bin'),
  }),
  /** 29 events of a TD of dstack. */
  dstack: () => ({
    logs: logsOf('tdx/v4-uptodate-eval20/tcb_info.json'),
    rtmrs: rtmrsOf('tdx/v4-uptodate-eval20/quote.json'),
  }),
} as const

export const DUPLICATED_SEPARATOR = 'eventlog/cos-113-intel-tdx-dupe-separator.bin'

/** The checks that failed, as `id:CODE` without the common start. */
export const failuresOf = ({ checks }: LogAppraisal): readonly string[] =>
  checks
    .filter(({ status }) => status === 'fail')
    .map(({ id, code }) => `${id.replace('tdx.event-log', '')}:${code}`)

/** Judges logs, with required events as a policy file would give them. */
export const judgeLogs = (
  logs: readonly EventLog[],
  rtmrs: readonly Uint8Array[],
  required?: readonly JsonValue[],
): LogAppraisal =>
  appraiseLogs(
    logs,
    rtmrs,
    required?.map((one, index) => requiredEvent(one, `$[${index}]`)),
  )
