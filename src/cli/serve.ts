// The single owner of `zt4ai serve`: options to a running service, and signals to its end.
import { Command, Option } from 'commander'
import { ZtError } from '../error.ts'
import { durationSeconds } from '../policy/match.ts'
import type { CredentialSource } from '../registry/auth.ts'
import type { Address } from '../service/server.ts'
import { EXIT } from './exit.ts'
import { readCount, readText, repeatable } from './options.ts'
import { addRegistry, type RegistryOptions } from './registry-options.ts'
import { version } from './version.ts'

interface Options extends RegistryOptions {
  readonly policy: readonly string[]
  readonly listen: string
  readonly admin?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly clientCa?: string
  readonly tokenFile?: string
  readonly registry: readonly string[]
  readonly readLayers?: boolean
  readonly key?: string
  readonly record?: boolean
  readonly recorder: readonly string[]
  readonly maxAge: string
  readonly denyMaxAge: string
  readonly savedMaxAge: string
  readonly nonceLifetime: string
  readonly nonces: number
  readonly concurrency: number
  readonly queue: number
  readonly drainDelay: string
  readonly grace: string
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
}

const HELP = `
Routes
  POST /validate[/POLICY]       Kubernetes AdmissionReview v1; the first policy unless one is named
  POST /v1/admit                one decision: {"reference", "policy"?, "namespace"?, "kind"?, "reading"?}
  POST /v1/events/distribution  pushes of a Docker registry   (with --token-file)
  POST /v1/events/harbor        pushes of a Harbor            (with --token-file)
  POST /v1/challenge            a single-use nonce            (with --key)
  POST /v1/appraise             evidence to EAR and verdict   (with --key)
  GET  /healthz /readyz /metrics

Policies, certificates and the token are read again when they change; what is broken changes nothing and is said in
the log, the metrics and /readyz. Registry credentials are Docker's (docker login, DOCKER_CONFIG).
SIGTERM drains: not ready, --drain-delay until nobody is sent here, then up to --grace for what still runs.
Exit codes: 0 stopped by a signal, 2 usage error, 3 could not start.

Examples:
  $ zt4ai serve --policy policy.yaml --tls-cert tls.crt --tls-key tls.key
  $ zt4ai serve --policy policy.yaml --listen 127.0.0.1:8080
  $ zt4ai serve --policy policy.yaml --tls-cert tls.crt --tls-key tls.key --registry registry.example \\
      --token-file token --read-layers --key verifier.pem --record
`

/** The command. */
export function command(): Command {
  const serving = new Command('serve')
    .summary('admission webhook and verifier service')
    .description(
      'Decide about models for a cluster, for registries and CI, and appraise the evidence of machines: one service over HTTPS.',
    )
    .addOption(repeatable('--policy <file>', 'a policy; the first is meant where nobody names one'))
    .option('--listen <address>', 'where to listen, as HOST:PORT', '0.0.0.0:8443')
    .option('--tls-cert <pem>', 'certificate (chain); without it plain HTTP on a loopback address')
    .option('--tls-key <pem>', 'its private key')
    .option('--client-ca <pem>', 'only clients with a certificate of this authority may connect')
    .option(
      '--admin <address>',
      'a second address for /healthz, /readyz and /metrics in plain HTTP',
    )
    .option('--token-file <file>', 'the token that /v1 asks for')
    .addOption(
      repeatable(
        '--registry <host>',
        'a registry that may be asked (default: those that rules match)',
      ),
    )
    .option(
      '--read-layers',
      'read layers where /v1/admit and events ask about what a manifest can not decide',
    )
    .option('--key <pem>', 'private key: signs recorded verdicts and what the verifier says')
    .option('--record', 'attach verdicts that took reading to their models in the registry')
    .addOption(
      repeatable('--recorder <pem>', 'public key of others whose recorded verdicts are used'),
    )
    .option('--max-age <time>', 'how long an allow is used again', '10m')
    .option('--deny-max-age <time>', 'how long a proven refusal is used again', '15s')
    .option('--saved-max-age <time>', 'how long a recorded verdict is used', '1d')
    .option('--nonces <n>', 'challenges that may wait at one time', readCount, 10_000)
    .option('--nonce-lifetime <time>', 'how long a challenge is good', '2m')
    .option('--concurrency <n>', 'decisions made at the same time', readCount, 64)
    .option('--queue <n>', 'decisions that may wait', readCount, 1024)
    .option('--drain-delay <time>', 'from SIGTERM until connections are refused', '5s')
    .option('--grace <time>', 'from then until what still runs is cut off', '25s')
    .addOption(
      new Option('--log-level <level>', 'least important log line')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    )
  return addRegistry(serving).addHelpText('after', HELP).action(run)
}

async function run(options: Options): Promise<void> {
  check(options)
  const { startService } = await import('../service/service.ts')
  const { repositories } = await import('../service/repositories.ts')
  const { dockerConfig } = await import('./registry.ts')
  // Read again for each token: a mounted secret changes under way.
  const credentials: CredentialSource = async (host) => dockerConfig()?.(host)
  const registries = repositories({
    plainHttp: options.plainHttp === true,
    credentials,
    ...(options.registryCa === undefined ? {} : { ca: readText(options.registryCa) }),
  })
  const { tlsCert, tlsKey, clientCa, admin, tokenFile, key } = options
  const privateKey = key === undefined ? undefined : await (await import('./save.ts')).readKey(key)
  const service = await startService({
    policies: options.policy,
    listen: addressOf(options.listen),
    repository: (reference, reading) => registries.open(reference, reading),
    readLayers: options.readLayers === true,
    record: options.record === true,
    recorders: options.recorder.map(readText),
    allowMaxAgeMs: milliseconds(options.maxAge, '--max-age'),
    denyMaxAgeMs: milliseconds(options.denyMaxAge, '--deny-max-age'),
    savedMaxAgeMs: milliseconds(options.savedMaxAge, '--saved-max-age'),
    nonceLifetimeMs: milliseconds(options.nonceLifetime, '--nonce-lifetime'),
    nonces: options.nonces,
    running: options.concurrency,
    waiting: options.queue,
    drainDelayMs: milliseconds(options.drainDelay, '--drain-delay'),
    graceMs: milliseconds(options.grace, '--grace'),
    logTo: { write: writeLog },
    logLevel: options.logLevel,
    build: await version(),
    ...(tlsCert === undefined || tlsKey === undefined
      ? {}
      : {
          certificate: {
            cert: tlsCert,
            key: tlsKey,
            ...(clientCa === undefined ? {} : { clientCa }),
          },
        }),
    ...(admin === undefined ? {} : { admin: addressOf(admin) }),
    ...(tokenFile === undefined ? {} : { tokenFile }),
    ...(options.registry.length === 0 ? {} : { hosts: new Set(options.registry) }),
    ...(privateKey === undefined ? {} : { key: privateKey }),
  })
  process.stdout.write(`${service.url}\n`)
  if (service.adminUrl !== undefined) process.stdout.write(`${service.adminUrl}\n`)
  await asked()
  await service.close()
  registries.close()
  process.exitCode = EXIT.allowed
}

function check({ policy, tlsCert, tlsKey, clientCa, record, key }: Options): void {
  if (policy.length === 0)
    throw new ZtError('USAGE', 'nothing says what is allowed', {
      hint: 'give --policy FILE; `zt4ai policy init` writes a first one',
    })
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new ZtError('USAGE', '--tls-cert and --tls-key go together')
  if (clientCa !== undefined && tlsCert === undefined)
    throw new ZtError('USAGE', '--client-ca goes with --tls-cert')
  if (record === true && key === undefined) throw new ZtError('USAGE', '--record goes with --key')
}

/** Until SIGTERM or SIGINT; a second one ends it at once. */
function asked(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', resolve)
    process.once('SIGINT', resolve)
  })
}

/** A log that can't be written (a full disk, a closed pipe) changes no decision and ends nothing. */
function writeLog(line: string): void {
  try {
    process.stderr.write(line)
  } catch {
    // There is nowhere left to say it.
  }
}

/** HOST:PORT; an IPv6 host stands in brackets. */
function addressOf(text: string): Address {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text)
  const port = Number(found?.[3])
  if (found === null || port > 65_535)
    throw new ZtError('USAGE', `not an address: ${text}`, { hint: 'write HOST:PORT' })
  return { host: found[1] ?? found[2] ?? '', port }
}

function milliseconds(text: string, option: string): number {
  const seconds = text === '0s' ? 0 : durationSeconds(text)
  if (seconds !== null) return seconds * 1000
  throw new ZtError('USAGE', `${option} is not a duration: ${text}`, {
    hint: 'write for example 30s, 10m, 12h or 7d',
  })
}
