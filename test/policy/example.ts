// The single owner of the policy that this room's tests start from, and of synthetic facts that satisfy it.
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto'
import type { AttestationResult } from '../../attestation/index.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'
import type { Manifest } from '../../src/model/manifest.ts'
import { decodePolicy } from '../../src/policy/decode.ts'
import type {
  EvidenceFact,
  Facts,
  FileFormat,
  FilesFact,
  SavedVerdictFact,
  SignatureFact,
  StatementFact,
} from '../../src/policy/facts.ts'
import type { Policy, ResolvedPolicy } from '../../src/policy/policy.ts'
import { REFERENCE_VALUES_TYPE } from '../../src/policy/reference.ts'
import { resolve } from '../../src/policy/resolve.ts'
import type { Signer } from '../../src/verify/result.ts'

export const AT = '2026-11-20T12:00:00Z'
export const ROOT = 'a1'.repeat(32)
export const NONCE = '0c'.repeat(32)
export const GOOD = '5e'.repeat(48)
export const STATED = '7b'.repeat(48)

/** A time some seconds before (or after, negative) `AT`. */
export function ago(seconds: number): string {
  return new Date(Date.parse(AT) - seconds * 1000).toISOString().replace('.000Z', 'Z')
}

function makeKey(): { pem: string; spki: string } {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
  const der = createPublicKey(pem).export({ type: 'spki', format: 'der' })
  return { pem, spki: createHash('sha256').update(der).digest('hex') }
}

/** Keys by signer. */
export const KEYS = {
  release: makeKey(),
  security: makeKey(),
  registry: makeKey(),
  platform: makeKey(),
  stranger: makeKey(),
} as const
export type KeyName = keyof typeof KEYS

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
    measurements:
      - ${GOOD}
      - {from: reference-values, signer: platform, image: inference-vm}
    max-age: 5m
rules:
  production:
    models: ['acme/*', 'oci://registry.example/models/*']
    signed-by: {any-of: [release, security]}
    max-signature-age: 90d
    machine: {any-of: [prod]}
    protection: private-copy
`

export const FILES: ReadonlyMap<string, Uint8Array> = new Map(
  Object.entries(KEYS).map(([name, { pem }]) => [`${name}.pub.pem`, utf8Encode(pem)]),
)

export function policyOf(source = SOURCE): Policy {
  return decodePolicy(utf8Encode(source), { file: 'policy.yaml' })
}

export function resolved(source = SOURCE): ResolvedPolicy {
  return resolve(policyOf(source), FILES)
}

export function signerOf(name: KeyName): Signer {
  return { kind: 'key', algorithm: 'ecdsa-p256', spkiSha256: KEYS[name].spki }
}

export function manifest(changes: Partial<Manifest> = {}): Manifest {
  return {
    name: 'bert',
    serialization: { method: 'files', hashType: 'sha256', allowSymlinks: false },
    resources: [
      { name: 'config.json', algorithm: 'sha256', digest: '01'.repeat(32) },
      { name: 'model.safetensors', algorithm: 'sha256', digest: '02'.repeat(32) },
    ],
    root: ROOT,
    ...changes,
  }
}

export function signature(
  name: KeyName = 'release',
  changes: { manifest?: Manifest; times?: readonly string[]; as?: KeyName } = {},
): SignatureFact {
  return {
    signer: changes.as ?? name,
    result: {
      checks: [{ id: 'signature.key', status: 'pass', code: 'OK', message: 'the key signed it' }],
      inputs: [{ name: `signature:${name}`, digest: { sha256: '11'.repeat(32) } }],
      manifest: changes.manifest ?? manifest(),
      authenticated: {
        signer: signerOf(name),
        times: (changes.times ?? [ago(86_400)]).map((time) => ({
          time,
          source: 'transparency-log' as const,
        })),
        predicateType: 'https://model_signing/signature/v1.0',
        statement: {},
        payloadSha256: '22'.repeat(32),
      },
    },
  }
}

export function badSignature(name: KeyName = 'release'): SignatureFact {
  return {
    signer: name,
    result: {
      checks: [
        {
          id: 'signature.key',
          status: 'fail',
          code: 'SIGNATURE_INVALID',
          message: 'the signature does not verify',
        },
      ],
      inputs: [],
      manifest: null,
      authenticated: null,
    },
  }
}

export function content(name: string, changes: Partial<FileFormat> = {}): FileFormat {
  const format = name.endsWith('.json') ? 'json' : 'safetensors'
  return { name, format, executable: false, why: 'seen', basis: 'content', ...changes }
}

export function files(
  changes: Partial<Omit<FilesFact, 'result'>> & { result?: Partial<FilesFact['result']> } = {},
): FilesFact {
  const { result, ...rest } = changes
  return {
    root: ROOT,
    manifest: manifest(),
    route: 'files',
    formats: [content('config.json'), content('model.safetensors')],
    ...rest,
    result: {
      missing: [],
      extra: [],
      changed: [],
      ignored: [],
      files: 2,
      bytes: 1000,
      checks: [],
      ...result,
    },
  }
}

export function attestation(changes: Partial<AttestationResult> = {}): AttestationResult {
  return {
    schema: 'zt4ai.attestation/v1',
    platform: 'sev-snp',
    accepted: true,
    at: AT,
    historical: false,
    simulated: false,
    root: { name: 'ARK-Genoa', sha256: '33'.repeat(32) },
    claims: {
      platform: 'sev-snp',
      product: 'Genoa',
      measurement: GOOD,
      reportData: '44'.repeat(64),
      debug: false,
      instanceId: null,
      tcb: 'bootloader 10, snp 23',
      fields: [],
    },
    checks: [
      { id: 'snp.signature', status: 'pass', code: 'OK', message: 'the report is signed' },
      { id: 'snp.tcb', status: 'pass', code: 'OK', message: 'the TCB is new enough' },
    ],
    vector: {
      'instance-identity': 0,
      configuration: 2,
      executables: 3,
      'file-system': 0,
      hardware: 2,
      'runtime-opaque': 2,
      'storage-opaque': 0,
      'sourced-data': 0,
    },
    inputs: [{ name: 'evidence', sha256: '55'.repeat(32) }],
    ...changes,
  }
}

export function refusedAttestation(
  code: AttestationResult['checks'][number]['code'],
  authentic = true,
): AttestationResult {
  const whole = attestation()
  return attestation({
    accepted: false,
    claims: authentic ? whole.claims : null,
    checks: [{ id: 'snp.revocation', status: 'fail', code, message: 'refused on purpose' }],
  })
}

export function evidence(changes: Partial<EvidenceFact> = {}): EvidenceFact {
  return {
    machine: 'prod',
    result: attestation(),
    binding: { model: ROOT, nonce: { expected: NONCE, actual: NONCE, issued: ago(60) } },
    ...changes,
  }
}

export function referenceStatement(
  changes: { signer?: KeyName; predicate?: Record<string, unknown>; image?: string } = {},
): StatementFact {
  return {
    signer: 'platform',
    result: {
      checks: [],
      inputs: [],
      authenticated: {
        signer: signerOf(changes.signer ?? 'platform'),
        times: [],
        predicateType: REFERENCE_VALUES_TYPE,
        payloadSha256: '66'.repeat(32),
        statement: {
          _type: 'https://in-toto.io/Statement/v1',
          subject: [{ name: changes.image ?? 'inference-vm', digest: { sha256: '77'.repeat(32) } }],
          predicateType: REFERENCE_VALUES_TYPE,
          predicate: {
            platform: 'sev-snp',
            measurements: [{ measurement: STATED, name: 'release 12' }],
            issued: ago(86_400),
            expires: ago(-86_400),
            ...changes.predicate,
          },
        },
      },
    },
  }
}

export function savedVerdict(
  changes: Partial<SavedVerdictFact['verdict'] & object> = {},
): SavedVerdictFact {
  const fact = signature('registry')
  return {
    signer: 'registry',
    result: fact.result,
    verdict: {
      schema: 'zt4ai.verdict/v1',
      decision: 'allow',
      at: ago(3600),
      subject: { name: 'acme/bert', digest: { sha256: ROOT } },
      policy: { name: 'registry', digest: { sha256: '88'.repeat(32) } },
      checks: [],
      inputs: [],
      ...changes,
    },
  }
}

/** Facts that the example policy allows. */
export function facts(changes: Partial<Facts> = {}): Facts {
  return {
    at: AT,
    purpose: 'load',
    subject: { name: 'acme/bert' },
    signatures: [signature()],
    files: [files()],
    evidence: [evidence()],
    referenceValues: [],
    saved: [],
    protection: 'private-copy',
    inputs: [],
    ...changes,
  }
}
