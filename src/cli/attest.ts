// The single owner of `zt4ai attest`: evidence of a machine to an attestation result, for a person or a program.
import { basename } from 'node:path'
import { Command, Option } from 'commander'
import {
  attest,
  earOf,
  mergeEndorsements,
  readEndorsements,
  readEvidence,
  signEar,
  userRoots,
  writeEvidenceFile,
  type AttestationPolicy,
  type AttestationResult,
  type Endorsements,
  type Evidence,
  type TrustRoot,
} from '../../attestation/index.ts'
import { hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { readPolicy } from '../gate/policy.ts'
import { VERIFIER } from '../gate/saved.ts'
import { statementsFor } from '../gate/bundles.ts'
import { expectationOf } from '../policy/expect.ts'
import type { Machine } from '../policy/policy.ts'
import { writeAtomically } from '../model/atomic.ts'
import { readNamed, readNonce } from './admit.ts'
import { EXIT } from './exit.ts'
import { addFetching, fetchMissing, type FetchOptions } from './endorse.ts'
import { measureCommand } from './measure.ts'
import { readAt, readBytes, repeatable } from './options.ts'
import { coloured } from './render.ts'
import { renderAttestation } from './render-attestation.ts'
import { readKey } from './save.ts'
import { version } from './version.ts'

interface Options extends FetchOptions {
  readonly endorsements: readonly string[]
  readonly eventLog: readonly string[]
  readonly policy?: string
  readonly machine?: string
  readonly bundle: readonly string[]
  readonly nonce?: string
  readonly modelDigest?: string
  readonly at?: string
  readonly trustRoot: readonly string[]
  readonly json?: boolean
  readonly ear?: boolean
  readonly key?: string
  readonly save?: string
}

const HELP = `
Without --policy the strict defaults hold; reference values that nobody gave are shown as skipped, never as passed.
What the evidence lacks is fetched from the vendor (AMD KDS, Intel PCS) unless --offline is given.
Exit codes: 0 accepted, 1 refused, 2 usage error, 3 the evidence could not be read.

Examples:
  $ zt4ai attest evidence.json
  $ zt4ai attest report.bin --endorsements chain.pem --endorsements crl.der --offline
  $ zt4ai attest quote.bin --endorsements collateral.json --at 2026-01-31T12:00:00Z
  $ zt4ai attest evidence.json --policy policy.yaml --machine prod --nonce $NONCE --json
  $ zt4ai attest evidence.json --ear --key verifier.pem > result.jwt
`

/** The command. */
export function command(): Command {
  const attesting = new Command('attest')
    .summary('judge the evidence of a confidential machine')
    .description(
      'Judge evidence of a confidential machine (an AMD SEV-SNP report, an Intel TDX or SGX quote): is it genuine, is its machine up to date, and is it the machine that you expect?',
    )
    .argument('<evidence>', 'the evidence, in any known form')
    .addOption(
      repeatable(
        '--endorsements <file>',
        'certificates, chains, revocation lists, collateral or event logs',
      ),
    )
    .addOption(repeatable('--event-log <file>', 'an event log'))
    .option('--policy <file>', 'judge as a machine of this policy')
    .option('--machine <name>', "which of the policy's machines")
    .addOption(
      repeatable('--bundle <file>', "a statement of reference values for the policy's machine"),
    )
    .option('--nonce <hex>', 'the nonce that the evidence must answer')
    .option('--model-digest <hex>', 'with --nonce: the model that the evidence must be bound to')
    .option('--at <time>', 'judge as of this time (RFC 3339; default: now)')
    .addOption(repeatable('--trust-root <pem>', 'trust this root instead of the vendors’ own'))
    .addOption(new Option('--json', 'write the result as JSON').conflicts('ear'))
    .option('--ear', 'write the result as a signed EAR token')
    .option('--key <pem>', 'with --ear: the private key that signs it')
    .option('--save <file>', 'write evidence and endorsements as one evidence file')
  addFetching(attesting).addHelpText('after', HELP).action(run).addCommand(measureCommand())
  return attesting
}

async function run(path: string, options: Options): Promise<void> {
  if ((options.ear === true) !== (options.key !== undefined))
    throw new ZtError('USAGE', '--ear and --key go together')
  if (options.modelDigest !== undefined && options.nonce === undefined)
    throw new ZtError('USAGE', '--model-digest goes with --nonce')
  if (options.machine !== undefined && options.policy === undefined)
    throw new ZtError('USAGE', '--machine goes with --policy')
  const key = options.key === undefined ? null : await readKey(options.key)
  const now = wholeSeconds(new Date())
  const at = options.at === undefined ? now : wholeSeconds(readAt(options.at))
  const [file] = readNamed([path])
  const evidence = readEvidence(file?.bytes ?? new Uint8Array())
  const given = readEndorsements(readNamed([...options.endorsements, ...options.eventLog]))
  const question = await readQuestion(evidence, options, at)
  const judge = (endorsements: Endorsements): AttestationResult =>
    attest(evidence, endorsements, question.policy, at, now, {
      ...expectedOf(options),
      ...(question.trustRoots === undefined ? {} : { trustRoots: question.trustRoots }),
    })
  let endorsements = given
  let result = judge(given)
  const served = options.kds !== undefined || options.pcs !== undefined
  if (
    lacks(result) &&
    (options.offline !== true || options.cache !== undefined) &&
    (served || !simulatedOnly(question.trustRoots))
  ) {
    const fetched = await fetchMissing(evidence, given, options, now)
    if (fetched !== null) {
      endorsements = mergeEndorsements(given, fetched)
      result = judge(endorsements)
    }
  }
  if (options.save !== undefined) {
    const all = mergeEndorsements(endorsements, evidence.endorsements)
    writeAtomically(options.save, utf8Encode(writeEvidenceFile(evidence, all)))
  }
  if (key !== null) {
    const verifier = { developer: VERIFIER, build: await version() }
    const nonce = options.nonce === undefined ? undefined : readNonce(options.nonce)
    const fits = nonce !== undefined && nonce.length >= 8
    const ear = earOf(result, { verifier, ...(fits ? { nonce } : {}) })
    process.stdout.write(`${signEar(ear, key.key)}\n`)
  } else if (options.json === true) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  else process.stdout.write(renderAttestation(result, basename(path), coloured(process.stdout)))
  process.exitCode = result.accepted ? EXIT.allowed : EXIT.refused
}

interface Question {
  readonly policy: AttestationPolicy
  readonly trustRoots?: readonly TrustRoot[]
}

async function readQuestion(evidence: Evidence, options: Options, at: Date): Promise<Question> {
  const roots = options.trustRoot.flatMap((path) => userRoots(readBytes(path)))
  const named = roots.length === 0 ? {} : { trustRoots: roots }
  if (options.policy === undefined) return { policy: {}, ...named }
  const policy = readPolicy(options.policy)
  const { machines } = policy.resolved.policy
  const fitting = [...machines].filter(([, { platform }]) => platform === evidence.platform)
  const names = fitting.map(([name]) => name)
  const machine = options.machine ?? (names.length === 1 ? names[0] : undefined)
  if (machine === undefined || !machines.has(machine))
    throw new ZtError(
      'USAGE',
      machine === undefined
        ? `the policy has ${names.length} machines of the platform ${evidence.platform}`
        : `the policy has no machine ${machine}`,
      { hint: `choose with --machine: ${[...machines.keys()].join(', ') || 'there is none'}` },
    )
  if (roots.length > 0)
    throw new ZtError('USAGE', 'the policy says which root a machine ends at, not --trust-root')
  const statements = await statementsFor(policy, [machine], readNamed(options.bundle), at)
  warnOfQuestions(machines.get(machine), options)
  return expectationOf(policy.resolved, machine, statements, at)
}

/** The policy's own question is put when a model is admitted; here it is the caller who puts it. */
function warnOfQuestions(machine: Machine | undefined, { nonce, modelDigest }: Options): void {
  const unasked = [
    ...(machine?.nonce === true && nonce === undefined ? ['a nonce (--nonce)'] : []),
    ...(machine?.binding === true && modelDigest === undefined
      ? ['a binding to the model (--model-digest)']
      : []),
  ]
  if (unasked.length > 0)
    process.stderr.write(
      `warning: the policy requires ${unasked.join(' and ')} of this machine; none was given, so none was checked\n`,
    )
}

function expectedOf({ nonce, modelDigest }: Options): Parameters<typeof attest>[5] {
  if (nonce === undefined) return {}
  const bytes = readNonce(nonce)
  if (modelDigest === undefined) return { nonce: bytes }
  if (!/^[0-9a-fA-F]{64}$/.test(modelDigest) || bytes.length !== 32)
    throw new ZtError('USAGE', 'a binding needs a nonce of 32 bytes and a SHA-256 digest')
  return { nonce: bytes, binding: { nonce: bytes, modelDigest: hexToBytes(modelDigest) } }
}

function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000)
}

const LACKING = new Set(['CERT_MISSING', 'CRL_MISSING', 'COLLATERAL_MISSING'])

function lacks({ checks }: AttestationResult): boolean {
  return checks.some(({ status, code }) => status !== 'pass' && LACKING.has(code))
}

/** A simulated vendor has no service. */
function simulatedOnly(roots: readonly TrustRoot[] | undefined): boolean {
  return roots !== undefined && roots.length > 0 && roots.every(({ simulated }) => simulated)
}
