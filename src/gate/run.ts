// The single owner of running a program on a model: admitted first, protected as the policy asks, and not started at all if refused.
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { resolve } from 'node:path'
import type { NamedBytes } from '../../attestation/index.ts'
import { ZtError } from '../error.ts'
import type { Verdict } from '../verdict.ts'
import { decide } from './admit.ts'
import { gather } from './gather.ts'
import type { Admission, AdmitRequest } from './question.ts'
import { PrivateCopy } from './private-copy.ts'
import {
  levelsToTry,
  unavailable,
  type ProtectRequest,
  type RunLevel,
  type Surroundings,
} from './protect.ts'
import { pathSource, type PathSourceOptions } from './source.ts'

/** What a verifier asked and what the machine answered. */
export type LiveEvidence = Pick<AdmitRequest, 'challenge' | 'evidence' | 'endorsements'>

export interface RunRequest {
  /** The question without its model, which is `path`. */
  readonly question: Omit<AdmitRequest, 'model'>
  /** A directory or a file. */
  readonly path: string
  readonly source?: PathSourceOptions
  /** The program and its arguments. `{model}` in an argument becomes the path to use. */
  readonly command: readonly [string, ...string[]]
  /** The level that must be reached. Default: what the policy asks for. */
  readonly protection?: RunLevel
  /** The program's environment. `ZT4AI_MODEL` (the path to use) and `ZT4AI_PROTECTION` (the level) are added. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly surroundings: Surroundings
  /** Told of the verdict that allows, before the program starts; an error of its own stops it. */
  readonly decided?: (admission: Admission, level: RunLevel) => Promise<void>
  /** Told why a level that was asked for could not be reached, before the next one is tried. */
  readonly fellBack?: (verdict: Verdict) => void
  /** Asks a verifier for a challenge and this machine for its evidence, before anything is judged. Gets the bundles found beside the model. */
  readonly live?: (bundles: readonly NamedBytes[]) => Promise<LiveEvidence>
}

/** How a program ended: its status, or 128 and the number of the signal that ended it. */
export interface Ended {
  readonly status: number
  readonly signal: NodeJS.Signals | null
}

/** A program that runs. */
export interface Running {
  readonly pid: number
  /** Sends it a signal; false if it has ended. */
  kill(signal: NodeJS.Signals): boolean
  /** Settles when it has ended and nothing of the protection is left. */
  readonly ended: Promise<Ended>
}

export type RunOutcome =
  /** Nothing was started. */
  | { readonly started: false; readonly verdict: Verdict; readonly admission: Admission | null }
  | {
      readonly started: true
      readonly admission: Admission
      /** The level that was reached. */
      readonly level: RunLevel
      /** The path that the program was given. */
      readonly model: string
      readonly running: Running
    }

/**
 * Admits a model, protects it, and starts a program on it, with this process's standard streams. The verdict is made with the level that was
 * reached, before the program starts.
 * @throws ZtError as `admit`; IO if the program can't be started
 */
export async function runModel(request: RunRequest): Promise<RunOutcome> {
  const { path, protection } = request
  const source = pathSource(path, request.source)
  const live = await request.live?.(await source.bundles({}))
  const question = { ...request.question, ...live }
  const subject = subjectOf(request, question)
  const levels = levelsToTry(question.policy.resolved, subject, protection)
  let refused: RunOutcome | undefined
  for (const level of levels) {
    const outcome = await attempt(request, question, level)
    if (outcome.started) return outcome
    refused = outcome
    // A stronger level helps only where the level was what failed.
    if (!failed(outcome.verdict, 'PROTECTION_TOO_LOW')) break
  }
  if (refused === undefined) throw new ZtError('INTERNAL', 'no level was tried')
  return refused
}

async function attempt(
  request: RunRequest,
  question: RunRequest['question'],
  level: RunLevel,
): Promise<RunOutcome> {
  if (level === 'start') return runAtStart(request, question)
  const outcome = await runProtected(request, question, level)
  if (level !== 'fsverity' || !('verdict' in outcome)) return outcome
  if (!failed(outcome.verdict, 'PROTECTION_UNAVAILABLE')) return outcome
  const name = subjectOf(request, question)
  const accepted = levelsToTry(question.policy.resolved, name, undefined)
  if (!accepted.includes('start') && !accepted.includes('private-copy')) return outcome
  // What the kernel can't measure may still be copied, where the policy takes that.
  request.fellBack?.(outcome.verdict)
  return runProtected(request, question, 'private-copy')
}

function subjectOf(
  { path, source }: RunRequest,
  { name }: RunRequest['question'],
): { readonly name: string } {
  return { name: name ?? pathSource(path, source).subject.name }
}

async function runAtStart(
  request: RunRequest,
  question: RunRequest['question'],
): Promise<RunOutcome> {
  const model = resolve(request.path)
  const admission = decide(
    await gather({ ...question, model: pathSource(request.path, request.source) }),
    'start',
  )
  const { verdict } = admission
  if (verdict.decision === 'deny') return { started: false, verdict, admission }
  await request.decided?.(admission, 'start')
  const [program, ...rest] = commandFor(request, model)
  const child = spawn(program, rest, { stdio: 'inherit', env: envFor(request, model, 'start') })
  const running = await runningChild(child, () => undefined)
  return { started: true, admission, level: 'start', model, running }
}

async function runProtected(
  request: RunRequest,
  question: RunRequest['question'],
  level: 'private-copy' | 'fsverity',
): Promise<RunOutcome> {
  const protect: ProtectRequest = {
    path: request.path,
    options: request.source ?? {},
    command: (model) => commandFor(request, model),
    env: (model) => envFor(request, model, level),
    surroundings: request.surroundings,
  }
  let prefer: string | undefined
  for (;;) {
    let copy: PrivateCopy
    try {
      copy = PrivateCopy.prepare(protect, level, prefer)
    } catch (error) {
      if (!(error instanceof ZtError) || error.code !== 'PROTECTION_UNAVAILABLE') throw error
      const { name } = subjectOf(request, question)
      return { started: false, verdict: unavailable(question, name, level, error), admission: null }
    }
    try {
      const admission = decide(await gather({ ...question, model: copy.source }), level)
      const { verdict, manifest } = admission
      const failure = copy.failure
      if (failure !== null)
        return {
          started: false,
          verdict: unavailable(question, verdict.subject.name, level, failure),
          admission: null,
        }
      if (verdict.decision === 'deny') {
        copy.abandon()
        return { started: false, verdict, admission }
      }
      const other = copy.otherThan(manifest)
      if (other !== null && prefer === undefined) {
        // Several lists were signed, and the one that counts is not the one that was copied.
        copy.abandon()
        prefer = other
        continue
      }
      if (other !== null) throw new ZtError('INTERNAL', 'the list that was admitted was not copied')
      // No policy lets changed files pass; one that did would find a copy that has holes.
      if (!copy.whole) throw new ZtError('INTERNAL', 'the copy is not whole')
      await request.decided?.(admission, level)
      const child = copy.release()
      const running = await runningChild(child, () => {
        copy.abandon()
      })
      return { started: true, admission, level, model: copy.model, running }
    } catch (error) {
      copy.abandon()
      throw error
    }
  }
}

function failed({ checks }: Verdict, code: string): boolean {
  return checks.some((check) => check.status === 'fail' && check.code === code)
}

function commandFor({ command }: RunRequest, model: string): readonly [string, ...string[]] {
  const [program, ...rest] = command
  return [program, ...rest.map((argument) => argument.replaceAll('{model}', () => model))]
}

function envFor(
  { env }: RunRequest,
  model: string,
  level: RunLevel,
): Readonly<Record<string, string | undefined>> {
  return { ...env, ZT4AI_MODEL: model, ZT4AI_PROTECTION: level }
}

/** Waits until the program runs. @throws ZtError IO */
function runningChild(child: ChildProcess, after: () => void): Promise<Running> {
  const ended = new Promise<Ended>((settle) => {
    child.once('exit', (code, signal) => {
      after()
      settle({ status: code ?? 128 + constants.signals[signal ?? 'SIGKILL'], signal })
    })
  })
  return new Promise((take, reject) => {
    const started = (): void => {
      const { pid } = child
      if (pid !== undefined) take({ pid, kill: (signal) => child.kill(signal), ended })
    }
    child.once('error', (cause) => {
      after()
      const code = String((cause as { code?: unknown }).code)
      reject(new ZtError('IO', `the program can't be started (${code})`, { cause }))
    })
    if (child.pid === undefined) child.once('spawn', started)
    else started()
  })
}
