// The single owner of `zt4ai promote`: what a policy admits goes from a staging repository to a production one, and nothing else does.
import { Command } from 'commander'
import { ZtError } from '../error.ts'
import { admit } from '../gate/admit.ts'
import { promoteModel } from '../gate/promote.ts'
import { saveVerdict, VERDICT_PREDICATE } from '../gate/saved.ts'
import { formatReference, parseReference } from '../registry/reference.ts'
import { addQuestion, readQuestion, type QuestionOptions } from './admit.ts'
import { EXIT } from './exit.ts'
import { interruptible } from './options.ts'
import { connect, openReference } from './registry.ts'
import { writeVerdict } from './render.ts'
import { addVerdictSigning, readVerdictSigner, type SaveOptions } from './save.ts'

interface Options extends QuestionOptions, SaveOptions {
  readonly json?: boolean
}

const HELP = `
Blobs are mounted across repositories of one registry and copied between two. What is attached goes first, the manifest last.
With --sign-key or --keyless the verdict is signed and travels along, so that later gates can require it.
Exit codes: 0 promoted, 1 refused, 2 usage error, 3 no verdict could be reached.

Examples:
  $ zt4ai promote oci://registry.example/staging/model:v1 oci://registry.example/prod/model:v1 \\
      --policy policy.yaml --sign-key gate.pem
`

/** The command. */
export function command(): Command {
  const promote = new Command('promote')
    .summary('admit a model, then move it to a production repository')
    .description(
      'Admit a model under a policy and, only then, put it into another repository with its signatures and the saved verdict.',
    )
    .argument('<from>', 'oci://HOST/STAGING[:TAG][@sha256:DIGEST]')
    .argument('<to>', 'oci://HOST/PRODUCTION[:TAG]')
    .option('--json', 'write the verdict as JSON')
  return addVerdictSigning(addQuestion(promote)).addHelpText('after', HELP).action(run)
}

async function run(fromText: string, toText: string, options: Options): Promise<void> {
  const to = parseReference(toText)
  if (to.digest !== undefined)
    throw new ZtError('USAGE', 'promote to a tag: the digest stays what it is')
  const { verdict, reference } = await interruptible(async (signal) => {
    const connection = connect(options, signal)
    try {
      const source = await openReference(fromText, connection)
      const admission = await admit({ ...(await readQuestion(source, options)), signal })
      if (admission.verdict.decision !== 'allow')
        return { verdict: admission.verdict, reference: null }
      const signing = options.signKey !== undefined || options.keyless === true
      const saved = signing
        ? await saveVerdict(admission.verdict, {
            signer: (await readVerdictSigner(options)).signer,
          })
        : undefined
      const { digest } = await promoteModel({
        from: connection.repository(source.pinned),
        to: connection.repository(to),
        source,
        now: new Date(),
        ...(saved === undefined ? {} : { verdict: saved, verdictType: VERDICT_PREDICATE }),
        ...(to.tag === undefined ? {} : { tag: to.tag }),
      })
      return { verdict: admission.verdict, reference: formatReference({ ...to, digest }) }
    } finally {
      connection.transport.close()
    }
  })
  writeVerdict(verdict, options.json === true)
  if (reference !== null) process.stderr.write(`promoted to ${reference}\n`)
  process.exitCode = verdict.decision === 'allow' ? EXIT.allowed : EXIT.refused
}
