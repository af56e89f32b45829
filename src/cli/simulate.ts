// The single owner of `zt4ai simulate`: a simulated machine as asked for, recorded into a directory.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { AttestationError } from '../../attestation/index.ts'
import { hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import {
  bootLog,
  simulateSnp,
  simulateTdx,
  SNP_DEFAULTS,
  SNP_NEGATIVES,
  snpEvidenceFile,
  snpFiles,
  TDX_NEGATIVES,
  tdxEvidenceFile,
  tdxFiles,
  WELL_KNOWN_SEED,
  rootFile,
  type Files,
  type LogForm,
  type SnpNegative,
  type SnpProduct,
  type SnpRole,
  type TdxNegative,
  type TdxRequest,
} from '../simulate/index.ts'
import { EXIT } from './exit.ts'
import { readAt, repeatable } from './options.ts'
import {
  optional,
  readEvent,
  readHex,
  readMask,
  readNumber,
  readReportData,
  readTcb,
  snpPolicy,
  wholeSecond,
} from './simulate-values.ts'

interface CommonOptions {
  readonly out: string
  readonly force?: boolean
  readonly seed: string
  readonly machine: string
  readonly at?: string
  readonly measurement?: string
  readonly reportData?: string
  readonly nonce?: string
  readonly modelDigest?: string
  readonly key?: string
  readonly debug?: boolean
  readonly negative?: string
}

interface SnpOptions extends CommonOptions {
  readonly product: SnpProduct
  readonly role: SnpRole
  readonly reportVersion: string
  readonly hostData?: string
  readonly vmpl: string
  readonly tcb?: string
  readonly policy?: string
  readonly platformInfo?: string
}

interface TdxOptions extends CommonOptions {
  readonly body: 'td10' | 'td15' | 'sgx'
  readonly ca: 'platform' | 'processor'
  readonly log: LogForm
  readonly event: readonly string[]
  readonly commandLine?: string
}

const HELP = `
What is recorded is SIMULATED: its vendor exists nowhere else, and nothing trusts it unless its root is named.
The same seed, machine, time and options give the same bytes.

Examples:
  $ zt4ai simulate snp --out ./snp --product Genoa --nonce 00112233445566778899aabbccddeeff
  $ zt4ai attest ./snp/evidence.json --trust-root ./snp/root.pem
  $ zt4ai simulate tdx --out ./tdx --nonce $(openssl rand -hex 32) --model-digest $(cat model.digest)
  $ zt4ai simulate negatives                every kind of evidence that must be refused, with the codes
  $ zt4ai simulate snp --out ./revoked --negative revoked-ask
`

/** The command. */
export function command(): Command {
  return new Command('simulate')
    .summary('simulated hardware: record evidence without a confidential machine')
    .description(
      'Record evidence of simulated hardware, in the genuine formats, under a vendor root of its own.',
    )
    .addHelpText('after', HELP)
    .addCommand(snpCommand())
    .addCommand(tdxCommand())
    .addCommand(negativesCommand())
}

function common(name: string, description: string): Command {
  return new Command(name)
    .exitOverride()
    .description(description)
    .requiredOption('--out <dir>', 'where the files go')
    .option('--force', 'overwrite files that are there')
    .option('--seed <text>', 'decides every key of the simulated vendor', WELL_KNOWN_SEED)
    .option('--machine <name>', 'tells machines of one vendor apart', '')
    .option('--at <time>', 'the moment of recording, RFC 3339 (default: now)')
    .option('--measurement <hex>', 'launch measurement, 48 bytes (SGX: MRENCLAVE, 32 bytes)')
    .option('--report-data <hex>', 'report data, up to 64 bytes')
    .option('--nonce <hex>', 'the challenge: the report data answers it')
    .option(
      '--model-digest <hex>',
      'bind the evidence to this model (its OMS root digest) and the nonce',
    )
    .option('--key <pem>', 'with --model-digest: the key that the machine holds')
    .option('--debug', 'a guest that can be debugged')
    .option(
      '--negative <name>',
      'record this negative instead; only --seed, --out and --force count',
    )
    .addHelpText('after', HELP)
}

function snpCommand(): Command {
  return common('snp', 'a simulated AMD SEV-SNP machine')
    .addOption(
      new Option('--product <line>', 'product line')
        .choices(Object.keys(SNP_DEFAULTS))
        .default('Genoa'),
    )
    .addOption(
      new Option('--role <key>', 'which key signs').choices(['vcek', 'vlek']).default('vcek'),
    )
    .addOption(
      new Option('--report-version <n>', 'version of the report')
        .choices(['2', '3', '4', '5'])
        .default('5'),
    )
    .option('--host-data <hex>', 'host data, 32 bytes')
    .option('--vmpl <n>', 'privilege level that asks', '0')
    .option('--tcb <levels>', 'for example snp=24,microcode=219; the rest stays at its default')
    .option('--policy <hex>', 'guest policy, for example 0x30000')
    .option('--platform-info <hex>', 'platform info, for example 0x25')
    .action(recordSnp)
}

function tdxCommand(): Command {
  return common('tdx', 'a simulated Intel TDX (or SGX) machine')
    .addOption(
      new Option('--body <kind>', 'TDX 1.0 or 1.5, or an SGX enclave')
        .choices(['td10', 'td15', 'sgx'])
        .default('td15'),
    )
    .addOption(
      new Option('--ca <name>', 'the CA of the PCK certificate')
        .choices(['platform', 'processor'])
        .default('platform'),
    )
    .addOption(
      new Option('--log <form>', 'the event log')
        .choices(['ccel', 'dstack', 'none'])
        .default('ccel'),
    )
    .addOption(repeatable('--event <name=hex>', 'measure into RTMR3'))
    .option('--command-line <text>', "the kernel's command line, measured into RTMR2")
    .action(recordTdx)
}

interface Listed {
  readonly name: string
  readonly why: string
  readonly codes: readonly string[]
}

function negativesCommand(): Command {
  return new Command('negatives')
    .exitOverride()
    .description('list the negatives: validly signed, to be refused all the same')
    .action(() => {
      const lines = [
        ...SNP_NEGATIVES.map((negative) => ['snp', negative] as const),
        ...TDX_NEGATIVES.map((negative) => ['tdx', negative] as const),
      ].map(([tee, { name, why, codes }]) => `${tee}\t${name}\t${codes.join(' ')}\t${why}\n`)
      process.stdout.write(lines.join(''))
      process.exitCode = EXIT.allowed
    })
}

function recordSnp(options: SnpOptions): void {
  const { evidence, trustedRoot } = snpRecording(options)
  const nonce = optional('nonce', readHex('--nonce', options.nonce))
  write(
    options,
    `AMD SEV-SNP (${evidence.product}, report version ${evidence.fields.version}, ${evidence.role.toUpperCase()})`,
    evidence.at,
    () => snpEvidenceFile(evidence, nonce),
    { ...snpFiles(evidence), ...rootFile(trustedRoot) },
  )
}

function snpRecording(options: SnpOptions): ReturnType<SnpNegative['record']> {
  if (options.negative !== undefined)
    return find(SNP_NEGATIVES, options.negative).record(options.seed)
  const evidence = simulateSnp({
    seed: options.seed,
    machine: options.machine,
    product: options.product,
    role: options.role,
    at: wholeSecond(readAt(options.at)),
    ...(options.tcb === undefined ? {} : { tcb: readTcb(options.product, options.tcb) }),
    report: {
      version: Number(options.reportVersion),
      vmpl: readNumber('--vmpl', options.vmpl, 0xffffffff),
      reportData: readReportData(options),
      ...optional('measurement', readHex('--measurement', options.measurement, 48)),
      ...optional('hostData', readHex('--host-data', options.hostData, 32)),
      ...optional('policy', snpPolicy(options)),
      ...optional('platformInfo', readMask('--platform-info', options.platformInfo)),
    },
  })
  return { evidence, trustedRoot: evidence.ark }
}

function recordTdx(options: TdxOptions): void {
  const { evidence, trustedRoot } = tdxRecording(options)
  const more = {
    log: options.log,
    ...optional('nonce', readHex('--nonce', options.nonce)),
  }
  write(
    options,
    evidence.kind === 'sgx' ? 'Intel SGX' : `Intel TDX ${evidence.kind === 'td10' ? '1.0' : '1.5'}`,
    evidence.at,
    () => tdxEvidenceFile(evidence, more),
    { ...tdxFiles(evidence, more), ...rootFile(trustedRoot) },
  )
}

function tdxRecording(options: TdxOptions): ReturnType<TdxNegative['record']> {
  if (options.negative !== undefined)
    return find(TDX_NEGATIVES, options.negative).record(options.seed)
  const evidence = simulateTdx(tdxRequest(options))
  return { evidence, trustedRoot: evidence.root }
}

function tdxRequest(options: TdxOptions): TdxRequest {
  const { seed, machine, body, ca } = options
  const sgx = body === 'sgx'
  const reportData = readReportData(options)
  const measurement = readHex('--measurement', options.measurement, sgx ? 32 : 48)
  const events = [...bootLog(seed, options.commandLine), ...options.event.map(readEvent)]
  return {
    seed,
    machine,
    kind: body,
    ca,
    at: wholeSecond(readAt(options.at)),
    events,
    td: {
      reportData,
      ...optional('mrTd', measurement),
      ...(options.debug === true ? { tdAttributes: 0x10000001n } : {}),
    },
    enclave: {
      reportData,
      ...optional('mrEnclave', measurement),
      ...(options.debug === true
        ? { attributes: hexToBytes('0700000000000000e700000000000000') }
        : {}),
    },
  }
}

function find<T extends Listed>(list: readonly T[], name: string): T {
  const found = list.find((each) => each.name === name)
  if (found !== undefined) return found
  throw new ZtError('USAGE', `there is no negative named ${name}`, {
    hint: 'zt4ai simulate negatives lists them',
  })
}

/** Writes the files, and says what they are. */
function write(
  { out, force }: CommonOptions,
  machine: string,
  at: Date,
  evidenceFile: () => string,
  files: Files,
): void {
  let evidence: Files = {}
  try {
    evidence = { 'evidence.json': utf8Encode(evidenceFile()) }
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    process.stderr.write(`no evidence.json: what is wrong with this can't be written into one\n`)
  }
  const all = Object.entries({ ...evidence, ...files })
  try {
    mkdirSync(out, { recursive: true })
    for (const [name, bytes] of all)
      writeFileSync(join(out, name), bytes, { flag: force === true ? 'w' : 'wx' })
  } catch (cause) {
    const code = String((cause as { code?: unknown }).code)
    throw new ZtError('IO', `the files can't be written (${code})`, {
      path: out,
      cause,
      ...(code === 'EEXIST' ? { hint: 'choose another directory, or give --force' } : {}),
    })
  }
  const time = at.toISOString().replace('.000Z', 'Z')
  process.stdout.write(`SIMULATED ${machine}, recorded at ${time}\n`)
  for (const [name] of all) process.stdout.write(`  ${join(out, name)}\n`)
  process.stdout.write(
    `It proves nothing about any machine, and is trusted only where its root is named: --trust-root ${join(out, 'root.pem')}\n`,
  )
  process.exitCode = EXIT.allowed
}
