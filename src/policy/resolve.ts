// The single owner of putting the bytes of files into a policy, and of the digest that names the policy with all of them.
import { AttestationError, userRoots, type TrustRoot } from '../../attestation/index.ts'
import {
  parseCertificates,
  parsePemBlocks,
  sha256Hex,
  utf8Decode,
  utf8Encode,
} from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { Trust } from '../verify/result.ts'
import type { VerdictInput } from '../verdict.ts'
import { decodePolicy } from './decode.ts'
import type { Policy, PolicySigner, ResolvedPolicy, Source } from './policy.ts'

/** Largest file that a policy may name (a Sigstore trusted root has some tens of kilobytes). */
export const MAX_FILE = 4 << 20

/**
 * Puts in the files that `policy.files` names, by exactly those names. Keys and roots are read here, so that a policy with a broken one
 * never gets as far as a verdict; one key under two names is refused, because it would count for two people.
 * Throws only `ZtError` `POLICY_FILE`; `path` is the file or the place in the policy.
 */
export function resolve(policy: Policy, files: ReadonlyMap<string, Uint8Array>): ResolvedPolicy {
  const bytesOf = (source: Source, path: string): Uint8Array => {
    if (source.kind === 'inline') return utf8Encode(source.text)
    const bytes = files.get(source.path)
    if (bytes === undefined) throw broken(source.path, `${path}: the file was not given`)
    if (bytes.length > MAX_FILE) throw broken(source.path, `${path}: the file is too large`)
    return bytes
  }
  const trust = new Map<string, Trust>()
  const keys = new Map<string, string>()
  for (const [name, signer] of policy.signers) {
    const path = `signers.${name}`
    const bytes = bytesOf(sourceOf(signer), path)
    const where = placeOf(sourceOf(signer), path)
    const read = reading(where, path)
    if (signer.kind === 'key') {
      const publicKey = read(() => utf8Decode(bytes))
      const [spki, second] = read(() =>
        parsePemBlocks(publicKey, { preamble: true }).filter(({ label }) => label === 'PUBLIC KEY'),
      )
      if (spki === undefined || second !== undefined)
        throw broken(
          where,
          `${path}: there must be exactly one public key`,
          'in PEM: it starts with -----BEGIN PUBLIC KEY-----',
        )
      const digest = sha256Hex(spki.bytes)
      for (const [other, known] of keys) {
        if (known === digest)
          throw broken(where, `${path}: the same key as \`${other}\``, 'keep one name for one key')
      }
      keys.set(name, digest)
      trust.set(name, { kind: 'key', publicKey })
    } else if (signer.kind === 'certificate') {
      const roots = read(() => utf8Decode(bytes))
      read(() => parseCertificates(bytes, { max: 64, preamble: true }))
      trust.set(name, {
        kind: 'certificate',
        roots,
        ...(signer.identity === null ? {} : { identity: signer.identity }),
      })
    } else {
      const { identity, issuer } = signer
      trust.set(name, { kind: 'keyless', identity, issuer, trustedRoot: bytes })
    }
  }
  const trustRoots = new Map<string, TrustRoot>()
  for (const [name, { trustRoot }] of policy.machines) {
    if (trustRoot === null) continue
    const path = `machines.${name}.trust-root`
    const where = placeOf(trustRoot, path)
    const [root, second] = reading(where, path)(() => userRoots(bytesOf(trustRoot, path)))
    if (root === undefined || second !== undefined)
      throw broken(where, `${path}: there must be exactly one certificate`)
    trustRoots.set(name, root)
  }
  const named = new Map(
    policy.files.map((path) => [path, bytesOf({ kind: 'file', path }, 'policy')]),
  )
  return { policy, trust, keys, trustRoots, files: named, ...identityOf(policy, named) }
}

function sourceOf(signer: PolicySigner): Source {
  if (signer.kind === 'key') return signer.key
  return signer.kind === 'certificate' ? signer.roots : signer.trustedRoot
}

function placeOf(source: Source, path: string): string {
  return source.kind === 'file' ? source.path : path
}

function reading(where: string, path: string): <T>(read: () => T) => T {
  return (read) => {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof AttestationError)) throw error
      throw broken(where, `${path}: ${error.message}`, error.hint, error)
    }
  }
}

function broken(where: string, message: string, hint?: string, cause?: unknown): ZtError {
  return new ZtError('POLICY_FILE', message, {
    path: where,
    ...(hint === undefined ? {} : { hint }),
    ...(cause === undefined ? {} : { cause }),
  })
}

/**
 * A policy that names no file is identified by the SHA-256 of its bytes, as `sha256sum` prints it. With files it is the SHA-256 over the
 * text `SHA256 policy\n` and a line `SHA256 NAME\n` for each file, sorted by name (the name as a JSON string).
 */
function identityOf(
  policy: Policy,
  files: ReadonlyMap<string, Uint8Array>,
): { digest: string; inputs: readonly VerdictInput[] } {
  const lines = [...policy.files]
    .sort()
    .map((name) => ({ name, sha256: sha256Hex(files.get(name) ?? new Uint8Array()) }))
  const inputs = [
    { name: 'policy', sha256: policy.sha256 },
    ...lines.map(({ name, sha256 }) => ({ name: `policy:${name}`, sha256 })),
  ]
  const text = [
    `${policy.sha256} policy\n`,
    ...lines.map(({ name, sha256 }) => `${sha256} ${JSON.stringify(name)}\n`),
  ].join('')
  return {
    digest: lines.length === 0 ? policy.sha256 : sha256Hex(utf8Encode(text)),
    inputs: inputs.map(({ name, sha256 }) => ({ name, digest: { sha256 } })),
  }
}

/**
 * Decodes and resolves in one: `read` gives the bytes of a file that the policy names, relative to the policy's own place.
 * Throws only `ZtError`: what `decodePolicy` and `resolve` throw, and `POLICY_FILE` for a file that `read` throws a `ZtError` about.
 */
export function loadPolicy(
  input: Uint8Array,
  options: { readonly file: string; readonly read: (name: string) => Uint8Array },
): ResolvedPolicy {
  const policy = decodePolicy(input, { file: options.file })
  const read = (name: string): Uint8Array => {
    try {
      return options.read(name)
    } catch (error) {
      if (!(error instanceof ZtError)) throw error
      throw broken(
        error.path ?? name,
        `the policy names \`${name}\`: ${error.message}`,
        'put the file there; its name is relative to the policy',
        error,
      )
    }
  }
  return resolve(policy, new Map(policy.files.map((name) => [name, read(name)])))
}
