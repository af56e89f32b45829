// The single owner of containerd's image-verifier contract (io.containerd.image-verifier.v1.bindir): arguments and a descriptor in, exit 0 or 1 and a reason out.
import { Command } from 'commander'
import { AttestationError } from '../../attestation/index.ts'
import { decode, parseJson } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { isDigest, type Reference } from '../registry/reference.ts'
import { readText } from './options.ts'
import { addRegistry, type RegistryOptions } from './registry-options.ts'
import { EXIT } from './exit.ts'

interface Options extends RegistryOptions {
  readonly policy?: string
  readonly service?: string
  readonly serviceCa?: string
  readonly tokenFile?: string
  readonly all?: boolean
}

/** containerd kills a verifier after 10 seconds, and then nobody reads why. */
const DEADLINE_MS = 8_000
const MAX_STDIN = 64 << 10

const HELP = `
containerd runs every program in its bin_dir as PROGRAM -name REF -digest DIGEST -stdin-media-type TYPE, with the image's
descriptor on standard input, and pulls the image only if all of them exit 0. Put this script there and make it executable:

  #!/bin/sh
  exec zt4ai image-verifier --policy /etc/zt4ai/policy.yaml "$@"

An image that no rule of the policy names by its reference (oci://…) is not a model, and passes; with --all it is refused.
What can't be decided within 8 seconds is refused. The answer is one line on standard output.

Exit codes: 0 pull it, 1 do not.

Examples:
  $ zt4ai image-verifier --policy policy.yaml -name registry.example/models/m:v1 -digest sha256:…
  $ zt4ai image-verifier --service https://zt4ai.example:8443 --service-ca ca.pem -name … -digest sha256:…
`

/** The command. */
export function command(): Command {
  const verifying = new Command('image-verifier')
    .summary('decide for containerd whether an image may be pulled')
    .description('The entry point for containerd’s image verifier plugin.')
    .argument(
      '[containerd...]',
      'what containerd gives: -name REF -digest DIGEST -stdin-media-type TYPE',
    )
    .option('--policy <file>', 'decide here, under this policy')
    .option('--service <url>', 'ask this service instead (zt4ai serve)')
    .option('--service-ca <pem>', "certificate to trust for the service's TLS")
    .option('--token-file <file>', 'the token that the service asks for')
    .option('--all', 'refuse images that no rule names as well')
    .allowUnknownOption()
  return addRegistry(verifying).addHelpText('after', HELP).action(run)
}

async function run(words: readonly string[], options: Options): Promise<void> {
  // Whatever ends this process early must not look like a yes.
  process.exitCode = EXIT.refused
  const answer = await decided(words, options).catch((error: unknown) => {
    if (error instanceof ZtError && error.code === 'USAGE') throw error
    return { allowed: false, reason: reasonOf(error) }
  })
  process.stdout.write(`zt4ai: ${answer.reason.replace(/[\p{Cc}\p{Cf}]/gu, ' ').slice(0, 4000)}\n`)
  process.exitCode = answer.allowed ? EXIT.allowed : EXIT.refused
}

interface Decided {
  readonly allowed: boolean
  readonly reason: string
}

async function decided(words: readonly string[], options: Options): Promise<Decided> {
  const { imageReference } = await import('../service/image.ts')
  const name = flag(words, 'name')
  const digest = flag(words, 'digest')
  if (name === undefined || digest === undefined)
    throw new ZtError('USAGE', 'containerd gives -name and -digest')
  if ((options.policy === undefined) === (options.service === undefined))
    throw new ZtError('USAGE', 'give either --policy or --service')
  if (!isDigest(digest)) throw new ZtError('DIGEST_REQUIRED', 'the digest is not a sha256 digest')
  if (flag(words, 'stdin-media-type') !== undefined) await checkDescriptor(digest)
  // The tag is what somebody wrote; the digest is what is pulled.
  const { host, repository } = imageReference(name)
  const reference = { host, repository, digest }
  return options.service === undefined
    ? decideHere(reference, options)
    : askService(reference, options.service, options)
}

async function decideHere(
  reference: Reference & { digest: string },
  options: Options,
): Promise<Decided> {
  const { namesModel } = await import('../service/image.ts')
  const { readPolicy } = await import('../gate/policy.ts')
  const { admit } = await import('../gate/admit.ts')
  const { registrySource } = await import('../gate/oci.ts')
  const { connect } = await import('./registry.ts')
  const { modeOf } = await import('../policy/mode.ts')
  const policy = readPolicy(options.policy ?? '')
  if (options.all !== true && !namesModel(policy.resolved.policy, reference))
    return { allowed: true, reason: 'not a model: no rule of the policy names it' }
  const connection = connect(options, AbortSignal.timeout(DEADLINE_MS))
  try {
    const repository = connection.repository(reference)
    const now = new Date()
    const model = await registrySource(repository, reference, { manifestOnly: true })
    const { verdict } = await admit({ model, policy, at: now, now })
    if (verdict.decision === 'allow')
      return { allowed: true, reason: `allowed by the policy ${policy.resolved.policy.name}` }
    const failed = verdict.checks.filter(({ status }) => status === 'fail')
    // A node knows no namespace: the policy's default mode says what a refusal means.
    const mode = modeOf(policy.resolved.policy, '')
    const reason = failed
      .map(
        ({ code, message, hint }) => `${code}: ${message}${hint === undefined ? '' : ` (${hint})`}`,
      )
      .join('; ')
    return {
      allowed: mode !== 'enforce',
      reason: mode === 'enforce' ? reason : `would be refused (mode ${mode}): ${reason}`,
    }
  } finally {
    connection.transport.close()
  }
}

const { boolean, object, optional, string } = decode
const answerShape = object(
  {
    allowed: boolean(),
    code: string({ max: 64 }),
    message: string({ max: 65_536 }),
    hint: optional(string({ max: 65_536 })),
  },
  { unknown: 'ignore' },
)

async function askService(
  reference: Reference,
  service: string,
  options: Options,
): Promise<Decided> {
  const { httpTransport } = await import('../fetch/transport.ts')
  const { formatReference } = await import('../registry/reference.ts')
  const transport = httpTransport({
    attempts: 1,
    plainHttp: options.plainHttp === true,
    signal: AbortSignal.timeout(DEADLINE_MS),
    ...(options.serviceCa === undefined ? {} : { ca: readText(options.serviceCa) }),
  })
  try {
    const kind = options.all === true ? 'model' : 'image'
    const response = await transport.request({
      method: 'POST',
      url: new URL(`/v1/admit?timeout=${String(DEADLINE_MS - 500)}ms`, service).href,
      headers: {
        'content-type': 'application/json',
        ...(options.tokenFile === undefined
          ? {}
          : { authorization: `Bearer ${readText(options.tokenFile).trim()}` }),
      },
      body: new TextEncoder().encode(
        JSON.stringify({ reference: formatReference(reference), kind }),
      ),
    })
    const body = parseJson(await response.bytes(16 << 20), { maxBytes: 16 << 20 })
    if (response.status !== 200 && response.status !== 503)
      throw new ZtError('NETWORK', `the service answered ${String(response.status)}`, {
        path: service,
      })
    const { allowed, code, message, hint } = answerShape(body, '$')
    return { allowed, reason: `${code}: ${message}${hint === undefined ? '' : ` (${hint})`}` }
  } finally {
    transport.close()
  }
}

/** Go's flags: `-name value`, `-name=value`, with one dash or two. */
function flag(words: readonly string[], name: string): string | undefined {
  for (const [index, word] of words.entries()) {
    const bare = word.replace(/^--?/, '')
    if (bare === word) continue
    if (bare === name) return words[index + 1]
    if (bare.startsWith(`${name}=`)) return bare.slice(name.length + 1)
  }
  return undefined
}

/** The descriptor on standard input is about the same digest, or something is wrong. */
async function checkDescriptor(digest: string): Promise<void> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > MAX_STDIN) throw new ZtError('TOO_LARGE', 'the descriptor is too large')
    chunks.push(chunk)
  }
  const descriptor = parseJson(Buffer.concat(chunks), { maxBytes: MAX_STDIN })
  const given = object({ digest: string({ max: 256 }) }, { unknown: 'ignore' })(descriptor, '$')
  if (given.digest !== digest)
    throw new ZtError('REGISTRY_DIGEST', 'the descriptor is about another image than the arguments')
}

function reasonOf(error: unknown): string {
  if (error instanceof ZtError || error instanceof AttestationError)
    return `EVIDENCE_UNAVAILABLE: nothing was decided: ${error.code}: ${error.message}`
  return 'INTERNAL: nothing was decided: the verifier failed'
}
