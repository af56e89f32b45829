// The single owner of `zt4ai inspect`: what a file says of itself, with the plain word that nobody verified it.
import { Command } from 'commander'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { MAX_BUNDLE } from '../bundle/bundle.ts'
import { ZtError } from '../error.ts'
import { shownName } from '../model/name.ts'
import { writeAtomically } from '../model/atomic.ts'
import { describe, type Description } from './describe.ts'
import { readBytes } from './options.ts'
import { coloured, renderVerdict } from './render.ts'

interface Options {
  readonly html?: string
  readonly json?: boolean
}

const NOTHING_VERIFIED =
  'Nothing was verified: this is what the file says of itself, and anybody could have written it.'

const HELP = `
Exit codes: 0 shown, 2 usage error, 3 the file could not be read.

Examples:
  $ zt4ai inspect my-model/model.sig
  $ zt4ai inspect evidence.json
  $ zt4ai inspect verdict.bundle --html verdict.html
`

/** The command. */
export function command(): Command {
  return new Command('inspect')
    .summary('show what is in a file, without verifying it')
    .description(
      'Show in words what is in a signature or another bundle, evidence, a policy, a verdict or its record, an EAR token, a certificate, a revocation list or collateral. Nothing is verified.',
    )
    .argument('<file>', 'the file')
    .option('--html <file>', 'write the verdict in it as a page')
    .option('--json', 'write what was found as JSON')
    .addHelpText('after', HELP)
    .action(run)
}

async function run(file: string, options: Options): Promise<void> {
  const found = describe(readBytes(file, MAX_BUNDLE))
  if (options.html !== undefined) {
    if (found.verdict === undefined)
      throw new ZtError('USAGE', '--html goes with a verdict, and there is none in this file')
    const { verdictPage } = await import('../gate/page.ts')
    writeAtomically(options.html, utf8Encode(verdictPage(found.verdict, 'not verified')))
  }
  process.stdout.write(
    options.json === true
      ? `${JSON.stringify({ verified: false, ...found }, null, 2)}\n`
      : inWords(found),
  )
}

function inWords({ kind, rows, verdict }: Description): string {
  const width = Math.min(24, Math.max(0, ...rows.map(([name]) => name.length)))
  const lines = rows.map(
    ([name, value]) => `  ${shownName(name).padEnd(width)}  ${shownName(value)}`,
  )
  const text = `This is ${kind}.\n${NOTHING_VERIFIED}\n\n${lines.map((line) => `${line}\n`).join('')}`
  return verdict === undefined
    ? text
    : `${text}\n${renderVerdict(verdict, coloured(process.stdout))}`
}
