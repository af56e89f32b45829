// The single owner of `zt4ai policy`: a first policy from what is at hand, and a policy in words with what is loose in it.
import { existsSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve, sep } from 'node:path'
import { Command } from 'commander'
import {
  parseQuote,
  parseReport,
  productOf,
  readEvidence,
  userRoots,
} from '../../attestation/index.ts'
import { bytesToHex, parseCertificate, utf8Encode } from '../../attestation/lib/index.ts'
import { shownName } from '../model/name.ts'
import { decodeBundle } from '../bundle/bundle.ts'
import { decodeManifest, decodeStatement } from '../bundle/statement.ts'
import { ZtError } from '../error.ts'
import { decodePolicy } from '../policy/decode.ts'
import { explainPolicy, type Paragraph } from '../policy/explain.ts'
import { initialPolicy, type EvidenceAtHand, type SignatureAtHand } from '../policy/init.ts'
import { looseEnds, type LooseEnd } from '../policy/loose.ts'
import { loadPolicy } from '../policy/resolve.ts'
import type { ResolvedPolicy } from '../policy/policy.ts'
import { readIdentity } from '../verify/keyless-identity.ts'
import { EXIT } from './exit.ts'
import { readAt, readBytes, repeatable } from './options.ts'

interface InitOptions {
  readonly signature?: string
  readonly evidence?: string
  readonly trustRoot?: string
  readonly key: readonly string[]
  readonly model: readonly string[]
  readonly name: string
  readonly output?: string
}

interface CheckOptions {
  readonly at?: string
  readonly json?: boolean
  readonly strict?: boolean
}

const HELP = `
Examples:
  $ zt4ai policy init --key release.pub.pem --output policy.yaml
  $ zt4ai policy check policy.yaml
`

const INIT_HELP = `
The text goes to standard output, or into a new file with --output. Nothing in it was verified: it is a starting point to read.

Examples:
  $ zt4ai policy init --key release.pub.pem --output policy.yaml
  $ zt4ai policy init --signature my-model/model.sig --evidence evidence.json --model 'acme/*' > policy.yaml
`

const CHECK_HELP = `
Exit codes: 0 well-formed, 1 not well-formed (or, with --strict, loose), 2 usage error, 3 the file could not be read.

Examples:
  $ zt4ai policy check policy.yaml
  $ zt4ai policy check policy.yaml --strict --json        in a pipeline
`

/** The command. */
export function command(): Command {
  // Before the subcommands are made: they inherit it.
  const policy = new Command('policy')
    .exitOverride()
    .summary('write a first policy, or explain one')
    .description(
      'A policy says which models may be loaded, from whom, and where. What no rule allows is refused.',
    )
  policy
    .command('init')
    .summary('write a commented starting point')
    .description('Write a commented policy from what is at hand: keys, a signature, evidence.')
    .addOption(repeatable('--key <pem>', 'public key of a signer'))
    .option('--signature <file>', 'a signature, to take the signer from')
    .option('--evidence <file>', 'evidence of a machine, to take its measurement from')
    .option('--trust-root <pem>', 'root of simulated hardware that the machine may end at')
    .addOption(repeatable('--model <pattern>', 'name, reference or pattern of models'))
    .option('--name <text>', "the policy's name", 'first')
    .option('--output <file>', 'write a new file and not standard output')
    .addHelpText('after', INIT_HELP)
    .action(runInit)
  policy
    .command('check')
    .summary('explain a policy, and warn of what is loose')
    .description(
      'Read a policy strictly, say in sentences what it allows, and warn of what is loose.',
    )
    .argument('<file>', 'the policy')
    .option('--at <time>', 'judge exemptions as of this time (RFC 3339; default: now)')
    .option('--strict', 'exit 1 if anything is loose')
    .option('--json', 'write the answer as JSON')
    .addHelpText('after', CHECK_HELP)
    .action(runCheck)
  policy.addHelpText('after', HELP)
  return policy
}

/** Reads a policy and the files that it names, which lie relative to it. @throws ZtError */
export function readPolicy(path: string): ResolvedPolicy {
  return loadPolicy(readBytes(path), {
    file: path,
    read: (name) => readBytes(resolve(dirname(path), name)),
  })
}

function runCheck(file: string, options: CheckOptions): void {
  const at = readAt(options.at)
  const bytes = readBytes(file)
  const answer = examine(bytes, file, at)
  process.stdout.write(
    options.json === true ? `${JSON.stringify(answer, null, 2)}\n` : inWords(answer),
  )
  const good = answer.problem === undefined && !(options.strict === true && answer.loose.length > 0)
  process.exitCode = good ? EXIT.allowed : EXIT.refused
}

interface Answer {
  readonly name?: string
  /** Absent where there is a problem. */
  readonly digest?: { readonly sha256: string }
  readonly problem?: Pick<ZtError, 'code' | 'message' | 'hint' | 'path'>
  readonly paragraphs: readonly Paragraph[]
  readonly loose: readonly LooseEnd[]
}

/** A policy that is well-formed is explained even if a file that it names is missing. */
function examine(bytes: Uint8Array, file: string, at: Date): Answer {
  let explained: Answer = { paragraphs: [], loose: [] }
  try {
    const policy = decodePolicy(bytes, { file })
    explained = {
      name: policy.name,
      paragraphs: explainPolicy(policy),
      loose: looseEnds(policy, at),
    }
    return { ...explained, digest: { sha256: readPolicy(file).digest } }
  } catch (error) {
    if (!(error instanceof ZtError)) throw error
    const { code, message, hint, path } = error
    return { problem: { code, message, hint, path: path ?? file }, ...explained }
  }
}

function inWords({ paragraphs, loose, digest, problem }: Answer): string {
  const lines = paragraphs.flatMap(({ title, sentences }) => [
    title,
    ...sentences.map((sentence) => `  ${shown(sentence)}`),
    '',
  ])
  if (paragraphs.length > 0)
    lines.push(
      loose.length === 0
        ? 'Nothing is loose.'
        : `${String(loose.length)} loose ${loose.length === 1 ? 'end' : 'ends'}:`,
    )
  for (const { path, message, hint } of loose)
    lines.push(`  ! ${shown(path)}: ${shown(message)}`, `      hint: ${shown(hint)}`)
  if (digest !== undefined) lines.push('', `sha256:${digest.sha256}`)
  if (problem !== undefined) {
    if (paragraphs.length > 0) lines.push('')
    lines.push(`${shown(problem.path ?? '')}: ${shown(problem.message)} (${problem.code})`)
    if (problem.hint !== undefined) lines.push(`  hint: ${shown(problem.hint)}`)
  }
  return `${lines.join('\n')}\n`
}

/** Lines are kept, whatever else could steer a terminal is not. */
function shown(text: string): string {
  return text.split('\n').map(shownName).join('\n  ')
}

function runInit(options: InitOptions): void {
  const { output } = options
  if (output !== undefined && existsSync(output))
    throw new ZtError('USAGE', 'the file is there already', {
      path: output,
      hint: 'choose another name: an existing policy is never overwritten',
    })
  const place = output === undefined ? '.' : dirname(output)
  const beside = (path: string): string => relative(place, path).split(sep).join('/')
  for (const key of options.key) readBytes(key)
  const text = initialPolicy({
    name: options.name,
    models: options.model.length === 0 ? ['acme/*'] : options.model,
    keys: options.key.map(beside),
    ...(options.signature === undefined ? {} : { signature: readSignature(options.signature) }),
    ...(options.evidence === undefined
      ? {}
      : { evidence: readMachine(options.evidence, options.trustRoot, beside) }),
  })
  // What is written must be a policy, whatever was at hand.
  decodePolicy(utf8Encode(text), { file: output ?? 'policy' })
  if (output === undefined) process.stdout.write(text)
  else {
    writeFileSync(output, text, { flag: 'wx' })
    process.stdout.write(`${output}\n`)
  }
  process.exitCode = EXIT.allowed
}

/** What a bundle says of itself. Nothing is verified. */
function readSignature(file: string): SignatureAtHand {
  const bundle = decodeBundle(readBytes(file))
  const statement = decodeStatement(bundle.envelope.payload)
  const { manifest } = decodeManifest(statement)
  if (manifest === null)
    throw new ZtError('MANIFEST_INVALID', 'this is not the signature of a model', { path: file })
  const { material } = bundle
  return {
    file,
    hash: manifest.serialization.hashType,
    root: manifest.root,
    signer:
      material.kind === 'key'
        ? { kind: 'key', hint: material.hint ?? null }
        : certificateSigner(material.certificates),
  }
}

function certificateSigner(certificates: readonly Uint8Array[]): SignatureAtHand['signer'] {
  const chain = certificates.map((der) => parseCertificate(der))
  const [leaf] = chain
  if (leaf === undefined) throw new ZtError('BUNDLE_INVALID', 'the bundle has no certificate')
  try {
    return { kind: 'keyless', ...readIdentity(leaf) }
  } catch {
    // Not one of Fulcio's: a certificate of the signer's own.
    return {
      kind: 'certificate',
      identity: leaf.subjectAltNames[0]?.value ?? leaf.subject.commonName ?? null,
      root: chain.at(-1)?.issuer.text ?? '',
    }
  }
}

/** What evidence says of itself. Nothing is verified. */
function readMachine(
  file: string,
  trustRoot: string | undefined,
  beside: (path: string) => string,
): EvidenceAtHand {
  const { platform, raw } = readEvidence(readBytes(file))
  if (trustRoot !== undefined) userRoots(readBytes(trustRoot))
  const shared = { file, trustRoot: trustRoot === undefined ? null : beside(trustRoot) }
  if (platform === 'sev-snp') {
    const { measurement, cpuid } = parseReport(raw)
    const product = cpuid === null ? null : productOf(cpuid)
    return { ...shared, platform, measurement: bytesToHex(measurement), product }
  }
  const { body } = parseQuote(raw)
  if (platform === 'sgx' || body.type === 'sgx')
    throw new ZtError('USAGE', 'a policy names SEV-SNP and TDX machines; this is an SGX quote', {
      path: file,
    })
  return { ...shared, platform, measurement: bytesToHex(body.report.mrTd), product: null }
}
