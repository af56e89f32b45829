// The single owner of the order in which a bundle is verified: form, method, signature, signer, and only then what was signed (OMS v1.0 §8).
import { sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../bundle/bundle.ts'
import type { Bundle } from '../bundle/bundle.ts'
import { IN_TOTO } from '../bundle/dsse.ts'
import { quote } from '../bundle/names.ts'
import type { Problem } from '../bundle/names.ts'
import {
  decodeManifest,
  decodeStatement,
  isOldForm,
  OLD_PREDICATE_TYPE,
  PARTS,
} from '../bundle/statement.ts'
import type { Part, Statement } from '../bundle/statement.ts'
import { ZtError } from '../error.ts'
import type { Manifest } from '../model/manifest.ts'
import type { Check, VerdictInput } from '../verdict.ts'
import type { MaterialResult } from './material.ts'
import type {
  AuthenticatedStatement,
  SignatureResult,
  Signer,
  SigningTime,
  StatementResult,
  Trust,
} from './result.ts'

/**
 * Verifies a bundle over an in-toto statement with any predicate: whether the signer is the trusted one, at `at`, and what was signed.
 * Nothing of the payload is read before its signature verified. A refusal is a failed check with `authenticated` null.
 * @throws ZtError only where no answer can be reached: what `trust` holds can't be read
 */
export async function verifyStatement(
  bytes: Uint8Array,
  trust: Trust,
  at: Date,
): Promise<StatementResult> {
  const { checks, authenticated, inputs } = await authenticate(bytes, trust, at)
  if (authenticated === null) return { checks, authenticated: null, inputs }
  const { facts, oldEncoding } = authenticated
  if (!oldEncoding || isOldForm(facts.predicateType))
    return { checks, authenticated: facts, inputs }
  const wrong: Check = {
    id: 'signature.predicate',
    status: 'fail',
    code: 'PREDICATE_TYPE',
    message: "the encoding of release 0.2.0 counts for that release's signatures of models alone",
    expected: OLD_PREDICATE_TYPE,
    actual: quote(facts.predicateType),
    hint: 'have it signed again: no current tool writes this encoding',
  }
  return { checks: [...checks, wrong], authenticated: null, inputs }
}

/**
 * The same for the signature of a model: the statement must be OMS's, and its manifest sound. No file of the model is read.
 * `manifest` is null if any check failed.
 * @throws ZtError only where no answer can be reached: what `trust` holds can't be read
 */
export async function verifySignature(
  bytes: Uint8Array,
  trust: Trust,
  at: Date,
): Promise<SignatureResult> {
  const { checks, authenticated, inputs } = await authenticate(bytes, trust, at)
  if (authenticated === null) return { checks, authenticated: null, manifest: null, inputs }
  const { statement, facts, oldEncoding } = authenticated
  // Release 0.2.0 left keyless signing to Sigstore's library, which never had the old encoding.
  const oldForm = oldEncoding || (facts.signer.kind === 'keyless' && isOldForm(facts.predicateType))
  const { manifest, problems } = decodeManifest(statement, oldForm)
  const all = [
    ...checks,
    ...PARTS.flatMap((part) =>
      oldForm && UNSIGNED_BEFORE.has(part) && manifest !== null
        ? [notSigned(part, manifest)]
        : partChecks(part, problems[part], manifest),
    ),
  ]
  return {
    checks: all,
    authenticated: manifest === null ? null : facts,
    manifest,
    inputs,
  }
}

interface Authenticated {
  readonly facts: AuthenticatedStatement
  readonly statement: Statement
  readonly oldEncoding: boolean
}

async function authenticate(
  bytes: Uint8Array,
  trust: Trust,
  at: Date,
): Promise<Omit<StatementResult, 'authenticated'> & { authenticated: Authenticated | null }> {
  const inputs: VerdictInput[] = [
    { name: 'signature', digest: { sha256: sha256Hex(bytes) } },
    { name: 'trust', digest: { sha256: sha256Hex(trustBytes(trust)) } },
  ]
  const { checks, signed } = await checkSigned(bytes, trust, at)
  if (signed === null) return { checks, authenticated: null, inputs }
  const payloadSha256 = sha256Hex(signed.payload)
  const statement = attempt('signature.statement', () => decodeStatement(signed.payload))
  checks.push(statement.check)
  if (statement.value === null) return { checks, authenticated: null, inputs }
  const { predicateType, text } = statement.value
  return {
    checks,
    authenticated: {
      facts: factsOf(signed, predicateType, text, payloadSha256),
      statement: statement.value,
      oldEncoding: signed.oldEncoding,
    },
    inputs,
  }
}

interface Signed {
  readonly signer: Signer
  readonly times: readonly SigningTime[]
  readonly oldEncoding: boolean
  /** The signed bytes. */
  readonly payload: Uint8Array
}

/** Everything up to the payload. A function of its own, so that the bundle, which is larger than the payload in it, is gone when the payload is read. */
async function checkSigned(
  bytes: Uint8Array,
  trust: Trust,
  at: Date,
): Promise<{ readonly checks: Check[]; readonly signed: Signed | null }> {
  const bundle = attempt('signature.bundle', () => decodeBundle(bytes))
  if (bundle.value === null) return { checks: [bundle.check], signed: null }
  const { signer, times, oldEncoding, ...result } = await verifyMaterial(
    bundle.value,
    bytes,
    trust,
    at,
  )
  const checks = [bundle.check, ...result.checks]
  if (signer === null || result.checks.some((check) => check.status === 'fail'))
    return { checks: refused(checks), signed: null }
  const { payload, payloadType } = bundle.value.envelope
  if (payloadType === IN_TOTO) return { checks, signed: { signer, times, oldEncoding, payload } }
  checks.push({
    id: 'signature.statement',
    status: 'fail',
    code: 'PAYLOAD_TYPE',
    message: 'what was signed is not an in-toto statement',
    expected: IN_TOTO,
    actual: quote(payloadType),
  })
  return { checks, signed: null }
}

function factsOf(
  { signer, times }: Pick<Signed, 'signer' | 'times'>,
  predicateType: string,
  text: string,
  payloadSha256: string,
): AuthenticatedStatement {
  return {
    signer,
    times,
    predicateType,
    // Read again where it is asked for: a data set's statement is large, and its manifest, whose names and digests are parts of the text, is
    // all that most callers need.
    get statement() {
      return decodeStatement(text).json
    },
    payloadSha256,
  }
}

/** What the trust rests on, so that a verdict is tied to it. */
function trustBytes(trust: Trust): Uint8Array {
  switch (trust.kind) {
    case 'key':
      return utf8Encode(trust.publicKey)
    case 'certificate':
      return utf8Encode(trust.roots)
    case 'keyless':
      return trust.trustedRoot
  }
}

/** The caller's method, never the bundle's. Each is loaded only where it is asked for. */
async function verifyMaterial(
  bundle: Bundle,
  bytes: Uint8Array,
  trust: Trust,
  at: Date,
): Promise<MaterialResult> {
  switch (trust.kind) {
    case 'key':
      return (await import('./key.ts')).verifyKey(bundle, bytes, trust)
    case 'certificate':
      return (await import('./certificate.ts')).verifyCertificate(bundle, bytes, trust, at)
    case 'keyless':
      return (await import('./keyless.ts')).verifyKeyless(bundle, bytes, trust, at)
  }
}

/** A method that gives no signer must say why; if it did not, that is a refusal too. */
function refused(checks: readonly Check[]): Check[] {
  if (checks.some((check) => check.status === 'fail')) return [...checks]
  return [
    ...checks,
    {
      id: 'signature.signer',
      status: 'fail',
      code: 'SIGNATURE_INVALID',
      message: 'the signer could not be established',
      expected: 'a signer',
      actual: 'none',
    },
  ]
}

const TITLES: Readonly<Record<Part, string>> = {
  statement: 'the statement is the signature of a model',
  serialization: 'the parameters of hashing are known',
  resources: 'the listed files can lie in one model',
  root: 'the root is the one of the listed files',
}

/** What release 0.2.0 did not sign. */
const UNSIGNED_BEFORE: ReadonlySet<Part> = new Set(['serialization', 'root'])

function notSigned(part: Part, manifest: Manifest): Check {
  return {
    id: `signature.${part}`,
    status: 'skip',
    code: 'NOT_GIVEN',
    message: `release 0.2.0 signed no ${part === 'root' ? 'root: this one is computed from the signed files' : 'parameters: those that its digests tell of are taken'}`,
    ...(part === 'root' ? { actual: manifest.root } : {}),
  }
}

function partChecks(part: Part, problems: readonly Problem[], manifest: Manifest | null): Check[] {
  const id = part === 'statement' ? 'signature.predicate' : `signature.${part}`
  if (problems.length === 0)
    // what could not be looked at, because an earlier part failed, did not pass
    return manifest === null
      ? []
      : [
          {
            id,
            status: 'pass',
            code: 'OK',
            message: TITLES[part],
            ...(part === 'root' ? { actual: manifest.root } : {}),
          },
        ]
  return problems.map((problem, index) => ({
    id: index === 0 ? id : `${id}.${index + 1}`,
    status: 'fail' as const,
    ...problem,
  }))
}

function attempt<T>(id: string, run: () => T): { value: T | null; check: Check } {
  try {
    const value = run()
    return { value, check: { id, status: 'pass', code: 'OK', message: FORM[id] ?? '' } }
  } catch (error) {
    if (!(error instanceof ZtError)) throw error
    const { code, message, hint, path } = error
    return {
      value: null,
      check: {
        id,
        status: 'fail',
        code,
        message,
        expected: EXPECTED[id] ?? 'the form of the specification',
        actual: path === undefined ? 'another form' : `another form at ${path}`,
        ...(hint === undefined ? {} : { hint }),
      },
    }
  }
}

const EXPECTED: Readonly<Record<string, string | undefined>> = {
  'signature.bundle': 'a Sigstore bundle v0.3 with one DSSE signature (OMS v1.0)',
  'signature.statement': 'an in-toto statement v1',
}

const FORM: Readonly<Record<string, string | undefined>> = {
  'signature.bundle': 'the bundle is well-formed',
  'signature.statement': 'what was signed is an in-toto statement',
}
