// The single owner of what the tests of registries have in common: signed models, how they are pushed, and how a reference is asked about.
import { createHash } from 'node:crypto'
import {
  createReadStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { decodeManifest, decodeStatement, PREDICATE_TYPE } from '../../src/bundle/statement.ts'
import { httpTransport, type Transport } from '../../src/fetch/transport.ts'
import { admit } from '../../src/gate/admit.ts'
import type { Admission, LoadedPolicy } from '../../src/gate/question.ts'
import { registrySource, type RegistrySource } from '../../src/gate/oci.ts'
import { policyFrom } from '../../src/gate/policy.ts'
import { verifyReference } from '../../src/gate/verify-oci.ts'
import type { Manifest } from '../../src/model/manifest.ts'
import { packTar } from '../../src/model/pack.ts'
import { openRepository, type Repository } from '../../src/registry/client.ts'
import { pushModel, type Pushed, type PushedFile } from '../../src/registry/push.ts'
import { BUNDLE_TYPE, bundleAnnotations } from '../../src/registry/referrers.ts'
import { signModel, type SignModelOptions } from '../../src/sign/model.ts'
import type { Verdict } from '../../src/verdict.ts'
import { PARTIES, signerOf, type PartyName } from '../gate/scene.ts'
import { ROBOT } from './backend.ts'

export const NOW = new Date('2026-11-20T12:00:00Z')
export const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export const FILES: Readonly<Record<string, string>> = {
  'config.json': '{"architectures": ["Tiny"]}\n',
  'README.md': '# tiny\n',
  'weights/a.txt': 'a'.repeat(150_000),
  'weights/b.txt': 'b'.repeat(1000),
  'weights/empty.txt': '',
}

export interface SignedFolder {
  readonly path: string
  readonly signature: Uint8Array
  readonly manifest: Manifest
}

/** A folder for everything that a file of tests writes, and the connections that it opened. */
export class Shelf {
  readonly folder = mkdtempSync(join(tmpdir(), 'zt4ai-shelf-'))
  readonly #transports: Transport[] = []
  #count = 0

  place(): string {
    return join(this.folder, `m${String(++this.#count)}`)
  }

  /** Writes files and signs them. */
  async model(
    files: Readonly<Record<string, string>> = FILES,
    options: Partial<SignModelOptions> = {},
  ): Promise<SignedFolder> {
    const path = this.place()
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(path, name)), { recursive: true })
      writeFileSync(join(path, name), text)
    }
    const signature = `${path}.sig`
    const { manifest } = await signModel(path, {
      signer: signerOf('release'),
      signature,
      ...options,
    })
    if (manifest === null) throw new Error('not signed')
    return { path, signature: new Uint8Array(readFileSync(signature)), manifest }
  }

  repository(
    host: string,
    name: string,
    more: { chunkSize?: number; idleTimeoutMs?: number } = {},
  ): Repository {
    const transport = httpTransport({
      plainHttp: true,
      sleep: () => Promise.resolve(),
      idleTimeoutMs: more.idleTimeoutMs ?? 20_000,
    })
    this.#transports.push(transport)
    return openRepository(host, name, {
      transport,
      plainHttp: true,
      credentials: () => Promise.resolve(ROBOT),
      ...more,
    })
  }

  close(): void {
    for (const transport of this.#transports) transport.close()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export function filesOf(model: SignedFolder, names: readonly string[]): PushedFile[] {
  return names.map((name) => {
    const path = join(model.path, name)
    const bytes = readFileSync(path)
    return {
      path: name,
      size: bytes.length,
      sha256: sha(bytes),
      open: (offset) => createReadStream(path, { start: offset }),
    }
  })
}

/** Pushes a signed folder as raw layers, or as one tar. */
export async function push(
  repository: Repository,
  model: SignedFolder,
  options: { tag?: string; tar?: boolean; names?: readonly string[] } = {},
): Promise<Pushed> {
  const names = options.names ?? Object.keys(FILES)
  return pushModel(repository, {
    name: 'tiny',
    content:
      options.tar === true ? { tar: await tarOf(model, names) } : { files: filesOf(model, names) },
    attachments: [
      {
        mediaType: BUNDLE_TYPE,
        content: model.signature,
        annotations: bundleAnnotations(PREDICATE_TYPE, NOW),
      },
    ],
    ...(options.tag === undefined ? {} : { tag: options.tag }),
  })
}

async function tarOf(model: SignedFolder, names: readonly string[]): Promise<PushedFile> {
  const chunks: Uint8Array[] = []
  const entries = filesOf(model, names).map(({ path, size }) => ({
    name: path,
    size,
    path: join(model.path, path),
  }))
  for await (const chunk of packTar(entries)) chunks.push(chunk)
  const bytes = new Uint8Array(Buffer.concat(chunks))
  return {
    path: '',
    size: bytes.length,
    sha256: sha(bytes),
    async *open(offset) {
      await Promise.resolve()
      yield bytes.subarray(offset)
    },
  }
}

export function source(repository: Repository, reference: string): Promise<RegistrySource> {
  const at = reference.startsWith('sha256:') ? { digest: reference } : { tag: reference }
  return registrySource(repository, { host: repository.host, repository: repository.name, ...at })
}

/** The verdict over a reference, judged by one signer. */
export async function verify(
  repository: Repository,
  reference: string,
  by: PartyName = 'release',
): Promise<Verdict> {
  const trust = { kind: 'key', publicKey: PARTIES[by].publicPem } as const
  return (await verifyReference(await source(repository, reference), trust, NOW)).verdict
}

export const POLICY = `schema: zt4ai.policy/v1
name: production
signers:
  release: {key: {file: release.pub.pem}}
  registry: {key: {file: registry.pub.pem}}
rules:
  production:
    models: ['*']
    signed-by: {any-of: [release]}
    machine: not-required
    manifest-only: [raw-bijection]
`

export function policy(text = POLICY): LoadedPolicy {
  return policyFrom(utf8Encode(text), (name) =>
    utf8Encode(PARTIES[name.replace('.pub.pem', '') as PartyName].publicPem),
  )
}

export async function ask(
  repository: Repository,
  reference: string,
  text?: string,
): Promise<Admission> {
  return admit({
    model: await source(repository, reference),
    policy: policy(text),
    at: NOW,
    now: NOW,
  })
}

/** `id code` of every check that failed. */
export const failures = ({ checks }: Verdict): string[] =>
  checks.flatMap(({ id, status, code }) =>
    status === 'fail' ? [`${id.split(':', 1)[0] ?? ''} ${code}`] : [],
  )

export const routeOf = ({ checks }: Verdict): string | undefined =>
  checks.find(({ id }) => id === 'model.route')?.actual

export const listOf = (bundle: Uint8Array): Manifest | null =>
  decodeManifest(decodeStatement(decodeBundle(bundle).envelope.payload), false).manifest
