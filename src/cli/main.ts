#!/usr/bin/env node
// The entry point: finds the command, loads only that command's code, and turns what comes back into streams and an exit code.
import { Command, CommanderError } from 'commander'
import { ZtError } from '../error.ts'
import { shownName } from '../model/name.ts'
import { EXIT } from './exit.ts'
import { version } from './version.ts'

/** What a command's module exports: `command()` makes its commander command; its action sets `process.exitCode`. */
interface CommandModule {
  command(): Command
}

const COMMANDS: Readonly<Record<string, { summary: string; load: () => Promise<CommandModule> }>> =
  {
    sign: { summary: 'sign a model', load: () => import('./sign.ts') },
    verify: {
      summary: "verify a model's signature and every file",
      load: () => import('./verify.ts'),
    },
    admit: {
      summary: 'one verdict for one model under a policy',
      load: () => import('./admit.ts'),
    },
    run: {
      summary: 'run a program on a model, if its evidence says that it may',
      load: () => import('./run.ts'),
    },
    attest: {
      summary: 'judge the evidence of a confidential machine',
      load: () => import('./attest.ts'),
    },
    binding: {
      summary: 'the report data that binds a machine to a model',
      load: () => import('./binding.ts'),
    },
    collect: {
      summary: "ask this machine's hardware for evidence",
      load: () => import('./collect.ts'),
    },
    inspect: {
      summary: 'show what is in a file, without verifying it',
      load: () => import('./inspect.ts'),
    },
    push: { summary: 'put a signed model into a registry', load: () => import('./push.ts') },
    attach: {
      summary: 'attach a signature, saved verdict or evidence to a model in a registry',
      load: () => import('./attach.ts'),
    },
    promote: {
      summary: 'admit a model, then move it to a production repository',
      load: () => import('./promote.ts'),
    },
    pull: {
      summary: 'write a model from a registry to disk, if it verifies',
      load: () => import('./pull.ts'),
    },
    serve: {
      summary: 'admission webhook and verifier service',
      load: () => import('./serve.ts'),
    },
    'image-verifier': {
      summary: 'decide for containerd whether an image may be pulled',
      load: () => import('./image-verifier.ts'),
    },
    policy: {
      summary: 'write a first policy, or explain one',
      load: () => import('./policy.ts'),
    },
    demo: {
      summary: 'the whole story on a small model and a simulated machine',
      load: () => import('./demo.ts'),
    },
    simulate: {
      summary: 'simulated hardware: record evidence without a confidential machine',
      load: () => import('./simulate.ts'),
    },
  }

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('zt4ai')
    .description(
      'Verifiable model identity: only signed, untampered models run, and only on machines that prove what they are.',
    )
    .version(await version(), '-V, --version')
    .exitOverride()
    .showSuggestionAfterError()
    .addHelpText('after', HELP)
  const named = argv[0] ?? ''
  const known = Object.hasOwn(COMMANDS, named) ? COMMANDS[named] : undefined
  if (known !== undefined) program.addCommand((await known.load()).command().exitOverride())
  else
    for (const [name, { summary }] of Object.entries(COMMANDS))
      program.command(name).summary(summary).description(summary)
  await program.parseAsync(argv, { from: 'user' })
}

const HELP = `
Exit codes: 0 allowed, 1 refused, 2 usage error, 3 no verdict could be reached (so nothing is allowed).

Examples:
  $ zt4ai sign ./my-model --key release.pem
  $ zt4ai verify ./my-model --key release.pub.pem
  $ zt4ai COMMAND --help          each command's options, with examples
`

function fail(error: unknown): void {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : EXIT.usage
    return
  }
  const known = error as { code?: unknown; message?: unknown; hint?: unknown; path?: unknown }
  const code = typeof known.code === 'string' ? known.code : 'INTERNAL'
  // What is told here may quote a file, a registry or a name on disk: none of them writes to the terminal.
  const where = typeof known.path === 'string' ? ` (${shownName(known.path)})` : ''
  process.stderr.write(`zt4ai: ${code}: ${shownName(String(known.message ?? error))}${where}\n`)
  if (typeof known.hint === 'string') process.stderr.write(`  hint: ${shownName(known.hint)}\n`)
  process.exitCode = code === 'USAGE' ? EXIT.usage : EXIT.noVerdict
}

function giveUp(error: unknown): never {
  fail(error)
  process.exit()
}

// Whoever reads the answer may stop reading (`| head`); what was not decided by then is not allowed.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? EXIT.noVerdict)
  giveUp(new ZtError('IO', `the answer can't be written (${String(error.code)})`))
})
// Node.js itself would exit with 1, which means that a verdict was reached.
process.on('uncaughtException', giveUp)

// It would exit with 13 where nothing is left that could still bring the answer.
let answered = false
process.on('exit', (code) => {
  if (!answered && code === 13) fail(new ZtError('INTERNAL', 'the work ended without an answer'))
})

await main(process.argv.slice(2)).catch(fail)
answered = true
