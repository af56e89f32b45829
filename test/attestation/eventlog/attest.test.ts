// Event logs in the result: used by themselves, required by the policy, shown as claims.
import { describe, expect, it } from 'vitest'
import type { EventLog } from '../../../attestation/endorsements.ts'
import { attest } from '../../../attestation/attest.ts'
import { mergeEndorsements, readEndorsements } from '../../../attestation/evidence/collect.ts'
import { readEvidence } from '../../../attestation/evidence/detect.ts'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { bytesToHex, utf8Encode } from '../../../attestation/lib/index.ts'
import { userRoots } from '../../../attestation/roots.ts'
import { decodeTdxPolicy } from '../../../attestation/tdx/index.ts'
import {
  bootLog,
  ccel,
  dstackLog,
  LOG_NEGATIVES,
  runtimeEvent,
  simulateTdx,
  tdxEvidenceFile,
} from '../../../src/simulate/index.ts'
import type { TdxEvidence } from '../../../src/simulate/index.ts'
import { haveShared } from '../../shared.ts'
import { bytesOf, checkOf, failures, judge, RECORDED, simulated } from '../tdx/samples.ts'
import type { Sample } from '../tdx/samples.ts'

const MODEL = new Uint8Array(32).fill(0xaa)
const events = [...bootLog('zt4ai'), runtimeEvent('zt4ai-model', MODEL)]
const evidence = simulateTdx({ events })
const firmware: EventLog = { kind: 'ccel', ...ccel(events.slice(0, -1)) }
const whole: EventLog = { kind: 'ccel', ...ccel(events) }
const atRunTime: EventLog = { kind: 'dstack', text: dstackLog(events.slice(-1)) }
const dstack: EventLog = { kind: 'dstack', text: dstackLog(events) }

function under(machine: TdxEvidence, logs: readonly EventLog[], policy: object = {}) {
  const sample = simulated(machine)
  const endorsements = mergeEndorsements(sample.endorsements, {
    ...NO_ENDORSEMENTS,
    eventLogs: logs,
  })
  return judge({ ...sample, endorsements }, { tdx: decodeTdxPolicy(policy) })
}
const LOG_CHECKS = ['', '.replay', '.events', '.required'].map((end) => `tdx.event-log${end}`)

describe('a log', () => {
  it('that nobody gave: four skips', () => {
    const result = under(evidence, [])
    expect(failures(result)).toEqual([])
    for (const id of LOG_CHECKS)
      expect(checkOf(result, id)).toMatchObject({ status: 'skip', code: 'NOT_GIVEN' })
  })

  it.each([
    ['CCEL', [whole]],
    ['dstack', [dstack]],
    ['CCEL for the firmware, dstack for run time', [firmware, atRunTime]],
    ['the same twice', [whole, whole]],
  ])('that holds: %s', (_, logs) => {
    const result = under(evidence, logs)
    expect(failures(result)).toEqual([])
    for (const id of LOG_CHECKS.slice(0, 3)) expect(checkOf(result, id).status).toBe('pass')
    expect(result.inputs.filter(({ name }) => name.startsWith('event log'))).toHaveLength(
      logs.length,
    )
  })

  it('of the firmware alone does not account for RTMR3', () => {
    const check = checkOf(under(evidence, [firmware]), 'tdx.event-log.replay')
    expect(check).toMatchObject({ status: 'fail', code: 'RTMR_REPLAY' })
    expect(check.message).toBe('no log replays into RTMR3')
  })

  it('of another machine beside one that holds', () => {
    const other: EventLog = { kind: 'ccel', ...ccel(bootLog('another')) }
    expect(failures(under(evidence, [whole, other]))).toEqual(['tdx.event-log.replay:RTMR_REPLAY'])
  })

  it('beyond the limit', () => {
    const logs = Array.from({ length: 9 }, () => whole)
    expect(failures(under(evidence, logs))).toEqual(['tdx.event-log:TOO_LARGE'])
  })

  it('shows what was measured among the claims, and nothing where it does not hold', () => {
    const shown = (logs: readonly EventLog[]) =>
      (under(evidence, logs).claims?.fields ?? []).filter(({ name }) => /^RTMR[0-3] /.test(name))
    const fields = shown([firmware, atRunTime])
    expect(fields).toHaveLength(events.length)
    expect(fields).toContainEqual({
      name: 'RTMR2 EV_IPL kernel_cmdline',
      value: '/boot/vmlinuz root=/dev/vda ro quiet',
    })
    expect(fields).toContainEqual({
      name: 'RTMR3 DSTACK_RUNTIME zt4ai-model',
      value: bytesToHex(MODEL),
      meaning: 'in hex',
    })
    expect(shown([firmware])).toEqual([])
  })

  it('that does not hold makes the executables unrecognized', () => {
    expect(under(evidence, [firmware]).vector.executables).toBe(33)
  })

  it.each(['ccel', 'dstack'] as const)('comes with the evidence file: %s', (log) => {
    const file = readEvidence(utf8Encode(tdxEvidenceFile(evidence, { log })))
    const options = { trustRoots: userRoots(evidence.root) }
    const judged = (policy: object) =>
      attest(
        file,
        NO_ENDORSEMENTS,
        { tdx: decodeTdxPolicy(policy) },
        evidence.at,
        evidence.at,
        options,
      )
    const result = judged({})
    expect(checkOf(result, 'tdx.event-log.replay').status).toBe('pass')
    expect(result.accepted).toBe(true)
  })
})

describe('required events', () => {
  const line = '/boot/vmlinuz root=/dev/vda ro quiet'
  const kernel = { register: 2, name: 'kernel_cmdline', text: [line] }
  const model = { register: 3, name: 'zt4ai-model', hex: [bytesToHex(MODEL)] }
  const image = events.find(({ data }) => Buffer.from(data).toString().startsWith('/boot/vmlinuz'))
  const digest = { register: 2, digest: [bytesToHex(image?.digest ?? new Uint8Array())] }
  const required = (...requiredEvents: readonly object[]) => ({ requiredEvents })
  const missing = ['tdx.event-log.required:EVENT_MISSING']

  it.each<[string, readonly object[]]>([
    ['the command line', [kernel]],
    ['one of several command lines', [{ ...kernel, text: ['x', line] }]],
    ['the digest of an opaque event', [digest]],
    ['all of them, and a model', [kernel, digest, model]],
  ])('that were measured: %s', (_, list) => {
    const logs = [firmware, atRunTime]
    expect(failures(under(evidence, logs, required(...list)))).toEqual([])
  })

  it.each<[string, object]>([
    ['another command line', { ...kernel, text: [`${line} `] }],
    ['the beginning of the command line', { ...kernel, text: [line.slice(0, -1)] }],
    ['the command line in another register', { ...kernel, register: 1 }],
    ['another model', { ...model, hex: ['bb'.repeat(32)] }],
    ['an event that was not measured', { ...model, name: 'zt4ai-model2' }],
    ['a digest that was not measured', { ...digest, digest: ['00'.repeat(48)] }],
    ['a digest in another register', { ...digest, register: 0 }],
  ])('that were not: %s', (_, one) => {
    expect(failures(under(evidence, [firmware, atRunTime], required(one)))).toEqual(missing)
  })

  it('are all listed where they are missing', () => {
    const policy = required({ ...kernel, text: ['x'] }, { ...model, register: 1 })
    const check = checkOf(under(evidence, [firmware, atRunTime], policy), 'tdx.event-log.required')
    expect(check.message).toBe(
      'the event "kernel_cmdline" of RTMR2 is not what is required; the event "zt4ai-model" of RTMR1 was not measured',
    )
  })

  it('without a log are missing', () => {
    expect(failures(under(evidence, [], required(kernel)))).toEqual(missing)
  })

  it('of a log that does not hold are missing', () => {
    expect(failures(under(evidence, [firmware], required(kernel)))).toEqual([
      'tdx.event-log.replay:RTMR_REPLAY',
      ...missing,
    ])
  })

  it('in a log that leaves the data out are missing', () => {
    // dstack drops the data of what the firmware measured, so its command line can't be read from this log.
    expect(failures(under(evidence, [dstack], required(kernel)))).toEqual(missing)
  })

  it('an event of the same name that was measured again', () => {
    const again = [...events, runtimeEvent('zt4ai-model', new Uint8Array(32).fill(0xbb))]
    const machine = simulateTdx({ events: again })
    const log: EventLog = { kind: 'dstack', text: dstackLog(again) }
    expect(failures(under(machine, [log], required(model)))).toEqual(missing)
  })

  it.each<[string, object, string]>([
    ['no value', { register: 2, name: 'x' }, '$.requiredEvents[0]'],
    ['a value without a name', { register: 2, text: ['x'] }, '$.requiredEvents[0]'],
    ['two kinds of value', { ...kernel, hex: ['00'] }, '$.requiredEvents[0]'],
    ['a digest with a name', { ...digest, name: 'x' }, '$.requiredEvents[0]'],
    ['register 4', { ...kernel, register: 4 }, '$.requiredEvents[0].register'],
    ['a short digest', { register: 2, digest: ['00'] }, '$.requiredEvents[0].digest[0]'],
    ['no values', { ...kernel, text: [] }, '$.requiredEvents[0].text'],
    ['an unknown member', { ...kernel, regex: 'x' }, '$.requiredEvents[0]'],
  ])('that a policy can’t have: %s', (_, one, path) => {
    expect(() => decodeTdxPolicy(required(one))).toThrow(
      expect.objectContaining({ code: 'POLICY_INVALID', path }) as Error,
    )
  })

  it('none at all', () => {
    expect(() => decodeTdxPolicy({ requiredEvents: [] })).toThrow()
  })
})

describe.skipIf(!haveShared)('recorded', () => {
  const withLogs = (sample: Sample, ...paths: readonly string[]): Sample => ({
    ...sample,
    endorsements: mergeEndorsements(
      sample.endorsements,
      readEndorsements(paths.map((name) => ({ name, bytes: bytesOf(name) }))),
    ),
  })

  it('tdx/v4-uptodate-eval20 with its log is accepted, and names what dstack measured', () => {
    const folder = 'tdx/v4-uptodate-eval20'
    const result = judge(withLogs(RECORDED.v4Eval20(), `${folder}/tcb_info.json`))
    expect(failures(result)).toEqual([])
    expect(checkOf(result, 'tdx.event-log.replay').status).toBe('pass')
    expect(result.claims?.fields).toContainEqual({
      name: 'RTMR3 DSTACK_RUNTIME compose-hash',
      value: '2911e1f733466216dedb862d6d669e11256ee7a34ce4dbc66c4b807ba7a9c895',
      meaning: 'in hex',
    })
  })

  it('tdx/v4-ccel: the log holds, and the nonce is answered', () => {
    const sample = withLogs(
      RECORDED.v4Ccel(),
      'tdx/v4-ccel/ccel_data.dat',
      'tdx/v4-ccel/ccel_table.dat',
    )
    const result = judge(sample, { nonce: bytesOf('tdx/v4-ccel/nonce.dat') })
    expect(failures(result).filter((failure) => /event-log|nonce|rtmr/.test(failure))).toEqual([])
    expect(checkOf(result, 'tdx.event-log.replay').status).toBe('pass')
    expect(checkOf(result, 'tdx.nonce').status).toBe('pass')
  })

  it('a log of another recorded machine is refused', () => {
    const result = judge(withLogs(RECORDED.v4UpToDate(), 'tdx/v4-uptodate-eval20/tcb_info.json'))
    expect(failures(result)).toEqual(['tdx.event-log.replay:RTMR_REPLAY'])
  })
})

describe('simulated negatives', () => {
  it.each(LOG_NEGATIVES)('$name', ({ codes, record }) => {
    const { evidence: machine, log } = record()
    const found = failures(under(machine, [log])).map((failure) => failure.split(':')[1])
    expect(found).toEqual(expect.arrayContaining([...codes]))
  })
})
