// The single owner of `zt4ai admit`: options to one question about one model, and the answer in every form.
import { createPublicKey } from 'node:crypto'
import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { Command } from 'commander'
import type { NamedBytes } from '../../attestation/index.ts'
import { hexToBytes, sha256, utf8Encode } from '../../attestation/lib/index.ts'
import { MAX_BUNDLE } from '../bundle/bundle.ts'
import { ZtError } from '../error.ts'
import { admit } from '../gate/admit.ts'
import type { Admission, AdmitRequest, Challenge, ModelSource } from '../gate/question.ts'
import { readPolicy } from '../gate/policy.ts'
import { writeAtomically } from '../model/atomic.ts'
import type { Verdict } from '../verdict.ts'
import { EXIT } from './exit.ts'
import { interruptible, readAt, readBytes, readIgnores, readText, repeatable } from './options.ts'
import { progressLine } from './progress.ts'
import { addRegistry, type RegistryOptions } from './registry-options.ts'
import { runReplay } from './replay.ts'
import { writeVerdict } from './render.ts'
import { addSaving, checkSaving, saveAdmission, type SaveOptions } from './save.ts'

/** What `run`, `admit` and others ask in the same way. */
export interface QuestionOptions extends RegistryOptions {
  readonly policy?: string
  readonly name?: string
  readonly signature: readonly string[]
  readonly bundle: readonly string[]
  readonly ignore: readonly string[]
  readonly evidence: readonly string[]
  readonly endorsements: readonly string[]
  readonly nonce?: string
  readonly nonceTime?: string
  readonly teeKey?: string
  readonly at?: string
}

interface Options extends QuestionOptions, SaveOptions {
  readonly replay?: string
  readonly html?: string
  readonly json?: boolean
}

const HELP = `
No endorsements are fetched: evidence must bring its own (zt4ai attest EVIDENCE --save FILE puts both into one file).
Of a model in a registry, what is attached to it is read: signatures, saved verdicts and, without --evidence, evidence.
Exit codes: 0 allowed, 1 refused, 2 usage error, 3 no verdict could be reached (so nothing is allowed).

Examples:
  $ zt4ai admit ./my-model --policy policy.yaml
  $ zt4ai admit ./my-model --policy policy.yaml --name acme/my-model \\
      --evidence evidence.json --nonce $NONCE
  $ zt4ai admit ./my-model --policy policy.yaml --html verdict.html
  $ zt4ai admit ./my-model --policy policy.yaml --save verdict.bundle --sign-key gate.pem
  $ zt4ai admit --replay verdict.bundle
`

/** The command. */
export function command(): Command {
  const admitting = new Command('admit')
    .summary('one verdict for one model under a policy')
    .description(
      'Decide whether a model may be used: who signed exactly these files, what they are, and which attested machine would run them, judged by one policy. What no rule allows is refused.',
    )
    .argument('[model]', 'the directory, file, tar archive, or oci:// reference')
  addQuestion(admitting)
    .option('--json', 'write the verdict as JSON')
    .option('--html <file>', 'also write the verdict as a page for people')
  addSaving(admitting)
    .option(
      '--replay <file>',
      'compute a saved verdict again from its record, and compare every byte',
    )
    .addHelpText('after', HELP)
    .action(run)
  return admitting
}

/** Adds the options of the question. */
export function addQuestion(to: Command): Command {
  return addRegistry(to)
    .option('--policy <file>', 'the policy')
    .option(
      '--name <name>',
      'what the model is called: selects rules (default: the last part of its path)',
    )
    .addOption(
      repeatable('--signature <file>', 'a further signature beside MODEL/model.sig or MODEL.sig'),
    )
    .addOption(repeatable('--bundle <file>', 'a saved verdict or a statement of reference values'))
    .addOption(repeatable('--ignore <path>', 'leave out this path, relative to the model'))
    .addOption(repeatable('--evidence <file>', 'evidence of the machine that would run it'))
    .addOption(
      repeatable(
        '--endorsements <file>',
        'certificates, lists or collateral that the evidence needs',
      ),
    )
    .option('--nonce <hex>', 'the nonce that the evidence must answer')
    .option('--nonce-time <time>', 'when the nonce was made (RFC 3339)')
    .option('--tee-key <pem>', "public key of the machine that the evidence's binding must hold")
    .option('--at <time>', 'judge as of this time (RFC 3339; default: now)')
}

async function run(model: string | undefined, options: Options): Promise<void> {
  if (options.replay !== undefined) {
    const { policy, evidence, save, at } = options
    if ([model, policy, evidence[0], save, at].some((one) => one !== undefined))
      throw new ZtError('USAGE', '--replay brings its own question: model, policy, evidence, time')
    await writePage(await runReplay(options.replay, options.json === true), options.html)
    return
  }
  if (model === undefined) throw new ZtError('USAGE', 'nothing says which model')
  checkSaving(options)
  const line = progressLine('admitting')
  const admission = await interruptible(async (signal) =>
    admit({
      ...(await readQuestion(model, options, signal)),
      signal,
      ...(line.onProgress === undefined ? {} : { onProgress: line.onProgress }),
    }),
  ).finally(() => {
    line.done()
  })
  await writeAdmission(admission, options)
}

async function writeAdmission(admission: Admission, options: Options): Promise<void> {
  const { verdict } = admission
  await writePage(verdict, options.html)
  await saveAdmission(admission, options)
  writeVerdict(verdict, options.json === true)
  process.exitCode = verdict.decision === 'allow' ? EXIT.allowed : EXIT.refused
}

async function writePage(verdict: Verdict, file: string | undefined): Promise<void> {
  if (file === undefined) return
  const { verdictPage } = await import('../gate/page.ts')
  writeAtomically(file, utf8Encode(verdictPage(verdict)))
}

/** The request that the options ask, with every file read. @throws ZtError USAGE, and what reading throws */
export async function readQuestion(
  model: string | ModelSource,
  options: QuestionOptions,
  signal?: AbortSignal,
): Promise<AdmitRequest> {
  if (options.policy === undefined)
    throw new ZtError('USAGE', 'nothing says what is allowed', {
      hint: 'give --policy FILE; `zt4ai policy init` writes a first one',
    })
  const policy = readPolicy(options.policy)
  const challenge = readChallenge(options)
  const now = new Date()
  return {
    model: typeof model === 'string' ? await openModel(model, options, signal) : model,
    policy,
    at: options.at === undefined ? now : readAt(options.at),
    now,
    bundles: readNamed([...options.bundle, ...beside(model, options)], MAX_BUNDLE),
    evidence: readNamed(options.evidence),
    endorsements: readNamed(options.endorsements),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(challenge === undefined ? {} : { challenge }),
    ...(options.teeKey === undefined ? {} : { keyDigest: spkiDigest(readText(options.teeKey)) }),
  }
}

/** Signatures that no folder can leave out: those of a model that is not on this disk. */
function beside(model: string | ModelSource, { signature }: QuestionOptions): readonly string[] {
  return typeof model === 'string' && !model.startsWith('oci://') ? [] : signature
}

async function openModel(
  model: string,
  options: QuestionOptions,
  signal: AbortSignal | undefined,
): Promise<ModelSource> {
  if (model.startsWith('oci://')) {
    const { connect, openReference } = await import('./registry.ts')
    return openReference(model, connect(options, signal))
  }
  if (!existsSync(model))
    throw new ZtError('MODEL_NOT_FOUND', 'there is nothing at this path', { path: model })
  const { pathSource } = await import('../gate/source.ts')
  return pathSource(model, {
    signatures: options.signature,
    ignorePaths: readIgnores(model, options.ignore),
  })
}

/** Files by the last part of their names: the same files give the same verdict wherever they lie. */
export function readNamed(paths: readonly string[], maxBytes = MAX_EVIDENCE): NamedBytes[] {
  return paths.map((path) => ({ name: basename(path), bytes: readBytes(path, maxBytes) }))
}

/** What attestation takes at most; an event log is the largest part of it. */
const MAX_EVIDENCE = 16 << 20

/** A nonce as hex. @throws ZtError USAGE */
export function readNonce(text: string): Uint8Array {
  if (!/^(?:[0-9a-fA-F]{2}){1,64}$/.test(text))
    throw new ZtError('USAGE', '--nonce is not 1 to 64 bytes as hex', {
      hint: 'make one with: openssl rand -hex 32',
    })
  return hexToBytes(text)
}

function readChallenge({ nonce, nonceTime }: QuestionOptions): Challenge | undefined {
  if (nonce === undefined) {
    if (nonceTime === undefined) return undefined
    throw new ZtError('USAGE', '--nonce-time goes with --nonce')
  }
  return {
    nonce: readNonce(nonce),
    ...(nonceTime === undefined ? {} : { issued: readAt(nonceTime) }),
  }
}

/** SHA-256 of a public key's SubjectPublicKeyInfo. @throws ZtError KEY_INVALID */
export function spkiDigest(pem: string): Uint8Array {
  try {
    if (!pem.includes('-----BEGIN PUBLIC KEY-----')) throw new Error('no public key')
    const der = createPublicKey(pem).export({ type: 'spki', format: 'der' })
    return sha256(new Uint8Array(der))
  } catch {
    throw new ZtError('KEY_INVALID', 'this is not a public key in PEM')
  }
}
