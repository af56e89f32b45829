// The single owner of the scene that the gate's tests play in: a signed model, a policy, a simulated machine, and the question of whether it may be loaded.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { modelBinding, type NamedBytes } from '../../attestation/index.ts'
import { hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { admit } from '../../src/gate/admit.ts'
import type { Admission, AdmitRequest, LoadedPolicy } from '../../src/gate/question.ts'
import { policyFrom } from '../../src/gate/policy.ts'
import { REFERENCE_VALUES_TYPE } from '../../src/policy/reference.ts'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signModel, signStatement } from '../../src/sign/model.ts'
import {
  rootFile,
  simulateSnp,
  snpEvidenceFile,
  type SnpRequest,
} from '../../src/simulate/index.ts'
import { party } from '../fakes/authority.ts'

export const AT = new Date('2026-11-20T12:00:00Z')
export const NONCE = new Uint8Array(32).fill(0x0c)
export const OTHER_NONCE = new Uint8Array(32).fill(0x0d)
export const GOOD = '5e'.repeat(48)

export const PARTIES = {
  release: party('release'),
  security: party('security'),
  registry: party('registry'),
  platform: party('platform'),
  stranger: party('stranger'),
} as const
export type PartyName = keyof typeof PARTIES

export const signerOf = (name: PartyName): ReturnType<typeof keySigner> =>
  keySigner(readPrivateKey(PARTIES[name].privatePem))

export const SOURCE = `schema: zt4ai.policy/v1
name: production
signers:
  release: {key: {file: release.pub.pem}}
  security: {key: {file: security.pub.pem}}
  registry: {key: {file: registry.pub.pem}}
  platform: {key: {file: platform.pub.pem}}
machines:
  prod:
    platform: sev-snp
    measurements: [${GOOD}]
    trust-root: {file: root.pem}
    snp: {require-crl: true}
rules:
  production:
    models: ['acme/*']
    signed-by: {any-of: [release]}
    machine: {any-of: [prod]}
`

/** A tensor file with one tensor of four zeros, changed at will. */
export function safetensors(fill = 0): Uint8Array {
  const header = utf8Encode(
    JSON.stringify({ weight: { dtype: 'F32', shape: [4], data_offsets: [0, 16] } }),
  )
  const bytes = new Uint8Array(8 + header.length + 16).fill(fill)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true)
  bytes.set(header, 8)
  return bytes
}

/** Evidence of the simulated machine, bound to a model unless told otherwise. */
export function machine(
  root: string,
  more: {
    nonce?: Uint8Array
    request?: SnpRequest
    reportData?: Uint8Array
    measurement?: string
    keyDigest?: Uint8Array
    policy?: bigint
  } = {},
): { evidence: NamedBytes; rootPem: Uint8Array } {
  const nonce = more.nonce ?? NONCE
  const binding = {
    nonce,
    modelDigest: hexToBytes(root),
    ...(more.keyDigest === undefined ? {} : { keyDigest: more.keyDigest }),
  }
  const recorded = simulateSnp({
    at: AT,
    ...more.request,
    report: {
      reportData: more.reportData ?? modelBinding(binding),
      measurement: hexToBytes(more.measurement ?? GOOD),
      ...(more.policy === undefined ? {} : { policy: more.policy }),
      ...more.request?.report,
    },
  })
  return {
    evidence: { name: 'evidence.json', bytes: utf8Encode(snpEvidenceFile(recorded, { nonce })) },
    rootPem: rootFile(recorded.ark)['root.pem'] ?? new Uint8Array(),
  }
}

export interface Scene {
  readonly folder: string
  readonly model: string
  readonly root: string
  readonly rootPem: Uint8Array
  readonly evidence: NamedBytes
  policy(source?: string): LoadedPolicy
  ask(changes?: Partial<AdmitRequest>, nonce?: 'without a nonce'): Promise<Admission>
  write(name: string, bytes: Uint8Array | string): void
  /** A signature of another party over the files as they are now. */
  signature(name: PartyName): Promise<NamedBytes>
  close(): void
}

/** A model signed by `release`, in a folder of its own. */
export async function scene(): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'zt4ai-gate-'))
  const model = join(folder, 'model')
  mkdirSync(model)
  writeFileSync(join(model, 'model.safetensors'), safetensors())
  writeFileSync(join(model, 'config.json'), '{"architectures": ["Tiny"]}\n')
  const { manifest } = await signModel(model, { signer: signerOf('release') })
  const root = manifest?.root ?? ''
  const { evidence, rootPem } = machine(root)
  const files = new Map<string, Uint8Array>([
    ['root.pem', rootPem],
    ...Object.entries(PARTIES).map(
      ([name, { publicPem }]) => [`${name}.pub.pem`, utf8Encode(publicPem)] as const,
    ),
  ])
  const policy = (source = SOURCE): LoadedPolicy =>
    policyFrom(utf8Encode(source), (name) => files.get(name) ?? new Uint8Array())
  return {
    folder,
    model,
    root,
    rootPem,
    evidence,
    policy,
    ask: (changes = {}, nonce?: 'without a nonce') =>
      admit({
        model,
        name: 'acme/tiny',
        policy: policy(),
        at: AT,
        now: AT,
        evidence: [evidence],
        ...(nonce === undefined ? { challenge: { nonce: NONCE } } : {}),
        ...changes,
      }),
    write: (name, bytes) => {
      writeFileSync(join(model, name), bytes)
    },
    signature: async (name) => {
      const place = join(folder, `${name}.sig`)
      await signModel(model, {
        signer: signerOf(name),
        signature: place,
        ignorePaths: ['model.sig'],
      })
      return { name: `${name}.sig`, bytes: new Uint8Array(readFileSync(place)) }
    },
    close: () => {
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A bundle over reference values. */
export function referenceValues(
  by: PartyName,
  measurement: string,
  changes: Record<string, unknown> = {},
): Promise<Uint8Array> {
  return signStatement(
    utf8Encode(
      JSON.stringify({
        _type: 'https://in-toto.io/Statement/v1',
        subject: [{ name: 'vm', digest: { sha256: '11'.repeat(32) } }],
        predicateType: REFERENCE_VALUES_TYPE,
        predicate: {
          platform: 'sev-snp',
          measurements: [{ measurement }],
          issued: '2026-11-01T00:00:00Z',
          expires: '2026-12-01T00:00:00Z',
          ...changes,
        },
      }),
    ),
    signerOf(by),
  )
}

/** Ids of the failing checks of this room (those of the evidence have their own tests) with their codes. */
export function failing({ verdict }: Pick<Admission, 'verdict'>): string[] {
  return verdict.checks
    .filter(({ status }) => status === 'fail')
    .map(({ id, code }) => `${id.split(':', 1)[0] ?? ''} ${code}`)
}
