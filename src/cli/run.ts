// The single owner of `zt4ai run`: options to one admitted, protected start, and a program whose streams, signals and status pass through.
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { Command, Option } from 'commander'
import { ZtError } from '../error.ts'
import type { Admission } from '../gate/question.ts'
import { RUN_LEVELS, type RunLevel } from '../gate/protect.ts'
import { runModel, type Running } from '../gate/run.ts'
import { pathSource } from '../gate/source.ts'
import { shownName } from '../model/name.ts'
import { addQuestion, readQuestion, type QuestionOptions } from './admit.ts'
import { EXIT } from './exit.ts'
import { readIgnores } from './options.ts'
import { progressLine } from './progress.ts'
import { writeVerdict } from './render.ts'
import { addVerdictSigning, checkSaving, saveAdmission, type SaveOptions } from './save.ts'
import { addVerifier, proved, type VerifierOptions } from './verifier.ts'

interface Options extends QuestionOptions, Omit<SaveOptions, 'verifier'>, VerifierOptions {
  readonly model: string
  readonly protection?: RunLevel
  readonly scratch?: string
  readonly quiet?: boolean
}

const HELP = `
{model} in the command is replaced by the path to use. The command also gets it as ZT4AI_MODEL, and the
protection that was reached as ZT4AI_PROTECTION. Its standard streams, signals and exit status pass through
(128 and the signal's number if a signal ended it); what zt4ai says goes to standard error.

Protection, between the check and the program's own reading (default: what the policy asks for):
  start         checked once, before the start. Later changes are not seen.
  private-copy  copied while it is hashed, into a read-only mount that only this program sees. Only signed
                files are in it. In memory, or on a disk with --scratch. Privileges are dropped.
  fsverity      no copy: files that the kernel itself measures (fsverity enable) and that were signed with
                \`zt4ai sign --fsverity\`. Where the kernel can't, private-copy if the policy accepts that.
What this machine can't reach is refused.

Exit codes of zt4ai itself: 1 refused and not started, 2 usage error, 3 no verdict could be reached, so not started.

Examples:
  $ zt4ai run --policy policy.yaml --model ./my-model -- vllm serve {model}
  $ zt4ai run --policy policy.yaml --model ./my-model --protection private-copy --scratch /nvme -- llama-server -m {model}/model.gguf
  $ zt4ai run --policy policy.yaml --model ./my-model --verifier https://verifier.example -- vllm serve {model}
  $ zt4ai run --policy policy.yaml --model ./my-model --evidence evidence.json --nonce $NONCE -- python serve.py
`

/** Passed on to the program. A terminal sends the first three to it by itself. */
const FROM_TERMINAL = ['SIGINT', 'SIGQUIT', 'SIGWINCH'] as const
const FORWARDED = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const

/** The command. */
export function command(): Command {
  const running = new Command('run')
    .summary('run a program on a model, if its evidence says that it may')
    .description(
      'Admit a model under a policy, then run a program on it. Refused means not started. The model stays protected as far as the policy asks.',
    )
    .argument('<command...>', 'the program and its arguments, after --')
    .requiredOption('--model <path>', 'the directory or file')
  addQuestion(running)
    .addOption(
      new Option(
        '--protection <level>',
        'the protection that must be reached (default: what the policy asks for)',
      ).choices(RUN_LEVELS),
    )
    .option('--scratch <dir>', 'keep the private copy on this disk instead of in memory')
    .option('--save <file>', 'write the verdict as a signed bundle before the start')
    .option('--quiet', 'say nothing if it is allowed')
  addVerifier(addVerdictSigning(running))
    .addHelpText('after', HELP)
    .action((words: readonly string[], options: Options) => run(words, options))
  return running
}

async function run(words: readonly string[], options: Options): Promise<void> {
  const [program, ...rest] = words
  if (program === undefined) throw new ZtError('USAGE', 'nothing says what to run')
  // Who signs a saved verdict is another question than which service is asked.
  const { verifier, ...saving } = options
  checkSaving(saving)
  const path = options.model
  if (path.startsWith('oci://'))
    throw new ZtError('USAGE', 'a program needs its model on disk', {
      hint: 'fetch it first: zt4ai pull',
    })
  if (!existsSync(path))
    throw new ZtError('MODEL_NOT_FOUND', 'there is nothing at this path', { path })
  const source = {
    signatures: options.signature,
    ignorePaths: readIgnores(path, options.ignore),
  }
  const asked = await readQuestion(pathSource(path, source), options)
  const remote = await proved(asked, path, verifier, options)
  if (remote?.appraisal.result === 'deny') {
    process.stderr.write('zt4ai: the verifier refuses\n')
    writeVerdict(remote.appraisal.verdict, false, process.stderr)
    process.exitCode = EXIT.refused
    return
  }
  const question = remote?.question ?? asked
  const signals = new Signals()
  const line = progressLine('admitting')
  const outcome = await runModel({
    question: {
      ...question,
      signal: signals.aborted,
      ...(line.onProgress === undefined ? {} : { onProgress: line.onProgress }),
    },
    path,
    source,
    command: [program, ...rest],
    env: process.env,
    surroundings: {
      searchPath: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
      ...(options.scratch === undefined ? {} : { scratch: options.scratch }),
    },
    ...(options.protection === undefined ? {} : { protection: options.protection }),
    fellBack: ({ checks }) => {
      const check = checks.find(({ id }) => id === 'protection')
      process.stderr.write(`warning: ${check?.message ?? ''}; trying private-copy\n`)
    },
    decided: async (admission, level) => {
      line.done()
      await saveAdmission(admission, saving)
      if (options.quiet !== true) process.stderr.write(allowed(admission, level))
    },
  }).finally(() => {
    line.done()
  })
  if (!outcome.started) {
    if (outcome.admission !== null) await saveAdmission(outcome.admission, saving)
    writeVerdict(outcome.verdict, false, process.stderr)
    signals.close()
    process.exitCode = EXIT.refused
    return
  }
  signals.forwardTo(outcome.running)
  const { status } = await outcome.running.ended
  signals.close()
  process.exitCode = status
}

function allowed({ verdict: { subject } }: Admission, level: RunLevel): string {
  const digest = subject.digest === undefined ? '' : ` sha256:${subject.digest.sha256}`
  return `zt4ai: allowed ${shownName(subject.name)}${digest}, protection ${level}\n`
}

/** Signals to this process: until the program runs they end the admitting, then they are the program's. */
class Signals {
  readonly aborted: AbortSignal
  readonly #controller = new AbortController()
  readonly #handlers = new Map<NodeJS.Signals, () => void>()
  readonly #early: NodeJS.Signals[] = []
  #running: Running | null = null

  constructor() {
    this.aborted = this.#controller.signal
    // On a terminal these come from it, to the whole group: passed on as well, they would come twice.
    const terminal = process.stdin.isTTY
    for (const signal of FROM_TERMINAL) this.#on(signal, !terminal)
    for (const signal of FORWARDED) this.#on(signal, true)
  }

  forwardTo(running: Running): void {
    this.#running = running
    // What came too late to stop the admitting was meant for the program.
    for (const signal of this.#early) running.kill(signal)
  }

  close(): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler)
  }

  #on(signal: NodeJS.Signals, forward: boolean): void {
    if (!(signal in constants.signals)) return
    const handler = (): void => {
      if (this.#running !== null) {
        if (forward) this.#running.kill(signal)
      } else if (signal !== 'SIGWINCH') {
        if (forward) this.#early.push(signal)
        this.#controller.abort()
      }
    }
    process.on(signal, handler)
    this.#handlers.set(signal, handler)
  }
}
