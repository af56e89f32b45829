// The single owner of the world that the service's tests play in: a registry with signed models, a policy on disk, the service, and a client that asks as the API server does.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import * as http from 'node:http'
import * as https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { httpTransport, type Transport } from '../../src/fetch/transport.ts'
import { bundleAnnotations } from '../../src/gate/promote.ts'
import { openRepository, type Repository } from '../../src/registry/client.ts'
import { pushModel } from '../../src/registry/push.ts'
import type { Reference } from '../../src/registry/reference.ts'
import { BUNDLE_TYPE, once } from '../../src/registry/referrers.ts'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signStatement } from '../../src/sign/model.ts'
import { startService, type Service, type ServiceOptions } from '../../src/service/service.ts'
import { sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'
import { hexToBytes, concatBytes } from '../../attestation/lib/index.ts'
import { issue, party, SERVER, type Party } from '../fakes/authority.ts'
import { startRegistry, type RegistryDouble, type RegistrySwitches } from '../fakes/registry.ts'

export const release = party('release')
export const stranger = party('stranger')
export const recorder = party('recorder')
const authority = party('authority')
const server = party('server')

export const signerOf = (who: Party): ReturnType<typeof keySigner> =>
  keySigner(readPrivateKey(who.privatePem))

/** Extended key usage of TLS clients. */
export const CLIENT = '1.3.6.1.5.5.7.3.2'

/** A certificate for 127.0.0.1 by a throw-away authority. */
export function certificate(
  subject: Party = server,
  usage = SERVER,
): { cert: string; key: string; ca: string } {
  const ca = issue(authority, { ca: true })
  const cert = issue(subject, { issuer: authority, dns: ['localhost'], extKeyUsage: [usage] })
  return { cert: `${cert}${ca}`, key: subject.privatePem, ca }
}

export function policyText(more = '', host = '127.0.0.1:*'): string {
  return `schema: zt4ai.policy/v1
name: cluster
signers:
  release:
    key:
      pem: |
${release.publicPem
  .trim()
  .split('\n')
  .map((line) => `        ${line}`)
  .join('\n')}
rules:
  models:
    models: ['oci://${host}/models/*']
    signed-by: {any-of: [release]}
    machine: not-required
    manifest-only: [raw-bijection]
${more}`
}

export interface Asked {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly text: string
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- an answer is looked at, not used
  readonly json: any
}

export interface World {
  readonly folder: string
  readonly registry: RegistryDouble
  readonly transport: Transport
  readonly logs: string[]
  policy(text: string): void
  /** Pushes a model of some files, signed unless told otherwise; gives its pinned reference without the scheme. */
  push(name: string, options?: PushChoice): Promise<string>
  repository(reference: Pick<Reference, 'host' | 'repository'>): Repository
  start(options?: Partial<ServiceOptions>): Promise<Service>
  ask(
    url: string,
    options?: {
      body?: unknown
      headers?: Record<string, string>
      method?: string
      agent?: http.Agent
      gzip?: boolean
      ca?: string
    },
  ): Promise<Asked>
  close(): Promise<void>
}

export interface PushChoice {
  readonly files?: number
  readonly by?: Party | null
  readonly tag?: string
  /** Signs other digests than those of the files. */
  readonly wrong?: boolean
}

/** The statement of OpenSSF Model Signing over some files. */
export function omsStatement(files: readonly { path: string; sha256: string }[]): Uint8Array {
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1))
  const root = sha256Hex(concatBytes(...sorted.map(({ sha256 }) => hexToBytes(sha256))))
  return utf8Encode(
    JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'model', digest: { sha256: root } }],
      predicateType: 'https://model_signing/signature/v1.0',
      predicate: {
        serialization: {
          method: 'files',
          hash_type: 'sha256',
          allow_symlinks: false,
          ignore_paths: [],
        },
        resources: sorted.map(({ path, sha256 }) => ({
          name: path,
          algorithm: 'sha256',
          digest: sha256,
        })),
      },
    }),
  )
}

export async function world(switches: RegistrySwitches = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'zt4ai-service-'))
  const registry = await startRegistry(switches)
  const transport = httpTransport({ plainHttp: true, attempts: 1, idleTimeoutMs: 20_000 })
  const repository = ({
    host,
    repository: name,
  }: Pick<Reference, 'host' | 'repository'>): Repository =>
    openRepository(host, name, { transport, plainHttp: true })
  const services: Service[] = []
  const logs: string[] = []
  const policyFile = join(folder, 'policy.yaml')
  writeFileSync(policyFile, policyText())
  return {
    folder,
    registry,
    transport,
    logs,
    repository,
    policy: (text) => {
      writeFileSync(policyFile, text)
    },
    push: (name, options) =>
      pushSigned(repository({ host: registry.host, repository: name }), options),
    start: async (options = {}) => {
      const service = await startService({
        policies: [policyFile],
        listen: { host: '127.0.0.1', port: 0 },
        repository,
        logTo: { write: (line: string) => void logs.push(line) },
        build: 'test',
        drainDelayMs: 0,
        graceMs: 500,
        pollMs: 100,
        ...options,
      })
      services.push(service)
      return service
    },
    ask,
    close: async () => {
      await Promise.all(services.map((service) => service.close()))
      transport.close()
      await registry.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export async function pushSigned(
  repository: Repository,
  options: PushChoice = {},
): Promise<string> {
  const { by = release, wrong } = options
  const files = Array.from({ length: options.files ?? 3 }, (_, index) => {
    const bytes = utf8Encode(`{"part": ${String(index)}, "of": "${repository.name}"}`)
    const path = `part-${String(index)}.json`
    return {
      path,
      size: bytes.length,
      sha256: sha256Hex(bytes),
      open: (offset: number) => once(bytes.subarray(offset)),
    }
  })
  const signed =
    wrong === true
      ? files.map((file) => ({ ...file, sha256: sha256Hex(utf8Encode(file.sha256)) }))
      : files
  const attachments =
    by === null
      ? []
      : [
          {
            mediaType: BUNDLE_TYPE,
            content: await signStatement(omsStatement(signed), signerOf(by)),
            annotations: bundleAnnotations('https://model_signing/signature/v1.0'),
          },
        ]
  const { digest } = await pushModel(repository, {
    name: 'model',
    content: { files },
    attachments,
    ...(options.tag === undefined ? {} : { tag: options.tag }),
  })
  return `${repository.host}/${repository.name}@${digest}`
}

/** One request, as whoever asks would make it. */
export function ask(url: string, options: Parameters<World['ask']>[1] = {}): Promise<Asked> {
  const { body, headers = {}, agent, ca } = options
  const raw =
    body === undefined
      ? undefined
      : typeof body === 'string' || body instanceof Uint8Array
        ? body
        : JSON.stringify(body)
  const sent =
    raw === undefined ? undefined : options.gzip === true ? gzipSync(raw) : Buffer.from(raw)
  const secure = url.startsWith('https:')
  return new Promise((resolve, reject) => {
    const request = (secure ? https : http).request(
      url,
      {
        method: options.method ?? (sent === undefined ? 'GET' : 'POST'),
        headers: {
          'user-agent': 'kube-apiserver-admission',
          'accept-encoding': 'gzip',
          accept: 'application/json, */*',
          ...(sent === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': String(sent.length) }),
          ...(options.gzip === true ? { 'content-encoding': 'gzip' } : {}),
          ...headers,
        },
        ...(agent === undefined ? {} : { agent }),
        ...(ca === undefined ? {} : { ca, servername: 'localhost' }),
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          let json: unknown
          try {
            json = JSON.parse(text)
          } catch {
            json = undefined
          }
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json })
        })
      },
    )
    request.on('error', reject)
    request.end(sent)
  })
}

/** A signed model as one tar layer, which its manifest alone does not decide. */
export async function pushTar(
  { repository, registry }: Pick<World, 'repository' | 'registry'>,
  name: string,
  options: Pick<PushChoice, 'by'> = {},
): Promise<string> {
  const { by = release } = options
  const content = utf8Encode(JSON.stringify({ name }))
  const tar = await tarOf('config.json', content)
  const signed = omsStatement([{ path: 'config.json', sha256: sha256Hex(content) }])
  const attachments =
    by === null
      ? []
      : [
          {
            mediaType: BUNDLE_TYPE,
            content: await signStatement(signed, signerOf(by)),
            annotations: {},
          },
        ]
  const to = repository({ host: registry.host, repository: name })
  const { digest } = await pushModel(to, {
    name,
    content: {
      tar: {
        path: '',
        size: tar.length,
        sha256: sha256Hex(tar),
        open: (offset) => once(tar.subarray(offset)),
      },
    },
    attachments,
  })
  return `${registry.host}/${name}@${digest}`
}

async function tarOf(name: string, bytes: Uint8Array): Promise<Uint8Array> {
  const archive = pack()
  archive.entry({ name, size: bytes.length, mtime: new Date(0) }, Buffer.from(bytes))
  archive.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of archive as AsyncIterable<Uint8Array>) chunks.push(chunk)
  return new Uint8Array(Buffer.concat(chunks))
}
