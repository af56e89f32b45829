// The single owner of `zt4ai pull`: a model from a registry to disk, if and only if it verifies.
import { Command } from 'commander'
import { ZtError } from '../error.ts'
import { decodeBundle } from '../bundle/bundle.ts'
import { decodeManifest, decodeStatement } from '../bundle/statement.ts'
import { admit } from '../gate/admit.ts'
import type { ModelSource } from '../gate/question.ts'
import type { RegistrySource } from '../gate/oci.ts'
import { pullModel } from '../gate/pull.ts'
import { pathSource } from '../gate/source.ts'
import { verifyReference } from '../gate/verify-oci.ts'
import type { Manifest } from '../model/manifest.ts'
import type { Verdict } from '../verdict.ts'
import { examineModel } from '../verify/model.ts'
import { addQuestion, readQuestion, type QuestionOptions } from './admit.ts'
import { EXIT } from './exit.ts'
import { interruptible, readAt } from './options.ts'
import { progressLine } from './progress.ts'
import { connect, openReference } from './registry.ts'
import { writeVerdict } from './render.ts'
import { addTrust, asksForTrust, readTrust, type TrustOptions } from './trust.ts'

interface Options extends QuestionOptions, TrustOptions {
  readonly json?: boolean
}

const HELP = `
The model is written beside its place first, verified there, and put in its place only then.
Exit codes: 0 pulled, 1 refused (nothing was written), 2 usage error, 3 no verdict could be reached.

Examples:
  $ zt4ai pull oci://registry.example/team/my-model@sha256:DIGEST ./my-model --key release.pub.pem
  $ zt4ai pull oci://registry.example/team/my-model:v1 ./my-model --policy policy.yaml
`

/** The command. */
export function command(): Command {
  const pull = new Command('pull')
    .summary('write a model from a registry to disk, if it verifies')
    .description(
      'Pull a model from a registry. Only what verifies is written: under a policy, or against the signer that you trust.',
    )
    .argument('<reference>', 'oci://HOST/REPOSITORY[:TAG][@sha256:DIGEST]')
    .argument('<directory>', 'where it goes: must not exist, or be empty')
    .option('--json', 'write the verdict as JSON')
  return addTrust(addQuestion(pull)).addHelpText('after', HELP).action(run)
}

/** What must be known before and after the bytes came. */
interface Judge {
  readonly before: {
    readonly verdict: Verdict
    readonly manifest: Manifest | null
    readonly bundle: Uint8Array | null
  }
  onDisk(path: string): Promise<Verdict>
}

async function run(from: string, directory: string, options: Options): Promise<void> {
  const line = progressLine('pulling')
  const verdict = await interruptible(async (signal) => {
    const connection = connect(options, signal)
    try {
      const source = await openReference(from, connection)
      const judge = await judgeOf(source, options, signal)
      const { manifest, bundle } = judge.before
      if (judge.before.verdict.decision !== 'allow' || manifest === null || bundle === null)
        return judge.before.verdict
      let last = judge.before.verdict
      await pullModel({
        repository: connection.repository(source.pinned),
        artifact: source.artifact,
        manifest,
        target: directory,
        signature: bundle,
        signal,
        verify: async (path) => {
          // Said of the reference: the folder in which it was judged is gone at once.
          const { subject, ...judged } = await judge.onDisk(path)
          last = { ...judged, subject: { ...subject, name: judge.before.verdict.subject.name } }
          return last.decision === 'allow'
        },
        ...(line.onProgress === undefined
          ? {}
          : { onBytes: (bytes, totalBytes) => line.onProgress?.({ bytes, totalBytes }) }),
      })
      return last
    } finally {
      connection.transport.close()
    }
  }).finally(() => {
    line.done()
  })
  writeVerdict(verdict, options.json === true)
  process.exitCode = verdict.decision === 'allow' ? EXIT.allowed : EXIT.refused
}

async function judgeOf(
  source: RegistrySource,
  options: Options,
  signal: AbortSignal,
): Promise<Judge> {
  if (options.policy !== undefined) {
    if (asksForTrust(options))
      throw new ZtError(
        'USAGE',
        'the policy says whom to trust: --policy excludes --key, --ca and --identity',
      )
    const question = { ...(await readQuestion(source, options)), signal }
    const { verdict, manifest, recorded } = await admit(question)
    const bundle =
      manifest === null ? undefined : recorded.bundles.find(({ bytes }) => signs(bytes, manifest))
    return {
      before: { verdict, manifest, bundle: bundle?.bytes ?? null },
      async onDisk(path) {
        const model: ModelSource = { ...pathSource(path), subject: source.subject }
        const bundles = [...recorded.bundles, ...(question.bundles ?? [])]
        const { evidence } = recorded
        return (await admit({ ...question, model, bundles, evidence })).verdict
      },
    }
  }
  const trust = await readTrust(options)
  const at = readAt(options.at)
  const { verdict, signature, bundle } = await verifyReference(source, trust, at, { signal })
  return {
    before: { verdict, manifest: signature?.manifest ?? null, bundle },
    onDisk: async (path) => (await examineModel(path, { trust, at, signal })).verdict,
  }
}

/** True if the bundle is over exactly this list. That its signature holds was found out before. */
function signs(bundle: Uint8Array, manifest: Manifest): boolean {
  try {
    const found = decodeManifest(decodeStatement(decodeBundle(bundle).envelope.payload)).manifest
    return JSON.stringify(found) === JSON.stringify(manifest)
  } catch {
    return false // a bundle over something else
  }
}
