// The single owner of EAR tokens (draft-ietf-rats-ear; names as veraison/ear writes them): attestation results as signed JWTs.
import { sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { AttestationError } from './error.ts'
import type { Decoded } from './lib/index.ts'
import {
  base64UrlToBytes,
  bytesToBase64Url,
  decode,
  formatTime,
  parseJson,
  parseTime,
  utf8Decode,
  utf8Encode,
} from './lib/index.ts'
import type { AttestationResult, InputDigest, TrustworthinessVector } from './result.ts'

export const EAR_PROFILE = 'tag:github.com,2023:veraison/ear'
const TIERS = ['none', 'affirming', 'warning', 'contraindicated'] as const
/** AR4SI trust tier, from best to worst (none makes no claim at all). */
export type TrustTier = (typeof TIERS)[number]

/** The appraisal of one attester within a token. */
export interface EarAppraisal {
  readonly status: TrustTier
  readonly vector: TrustworthinessVector
  /** Names the policy that was applied, for example by its digest. */
  readonly policyId?: string
}

/** The content of a token. */
export interface Ear {
  /** The time for which everything was judged; also `iat`, to the second. */
  readonly at: Date
  readonly verifier: { readonly developer: string; readonly build: string }
  /** `cpu0`, later `gpu0`, `model0` … */
  readonly submods: ReadonlyMap<string, EarAppraisal>
  /** Every input by digest: evidence, endorsements, policy. Claim `zt4ai.inputs`. */
  readonly inputs: readonly InputDigest[]
  /** True if `at` lies in the past of the moment of judging. Claim `zt4ai.historical`. */
  readonly historical: boolean
  /** True if anything rests on simulated hardware. Claim `zt4ai.simulated`. */
  readonly simulated: boolean
  /** The relying party's challenge, 8 to 64 bytes (RFC 9711 §4.1). */
  readonly nonce?: Uint8Array
  readonly rawEvidence?: Uint8Array
}

/** The tier of one AR4SI claim value (draft-ietf-rats-ar4si §2.3.2): -1, 0 and 1 say nothing; negative values mirror positive ones. */
export function tierOf(value: number): TrustTier {
  if (!Number.isInteger(value) || value < -128 || value > 127) return 'contraindicated'
  const size = value < 0 ? -value - 1 : value
  if (value >= -1 && value <= 1) return 'none'
  return size <= 31 ? 'affirming' : size <= 95 ? 'warning' : 'contraindicated'
}

function worst(tiers: readonly TrustTier[]): TrustTier {
  return TIERS[Math.max(0, ...tiers.map((tier) => TIERS.indexOf(tier)))] ?? 'contraindicated'
}

/** The appraisal of one attestation result: the worst tier of its vector, and contraindicated whenever it was not accepted. */
export function appraisalOf(result: AttestationResult, policyId?: string): EarAppraisal {
  const tiers = Object.values(result.vector).map((value: number) => tierOf(value))
  return {
    status: result.accepted ? worst(tiers) : 'contraindicated',
    vector: result.vector,
    ...(policyId === undefined ? {} : { policyId }),
  }
}

/** The token content for one attestation result, with the submodule `cpu0`. */
export function earOf(
  result: AttestationResult,
  more: Pick<Ear, 'verifier' | 'nonce' | 'rawEvidence'> & { readonly policyId?: string },
): Ear {
  const { policyId, ...rest } = more
  return {
    ...rest,
    at: parseTime(result.at),
    submods: new Map([['cpu0', appraisalOf(result, policyId)]]),
    inputs: result.inputs,
    historical: result.historical,
    simulated: result.simulated,
  }
}

const ALGORITHMS = {
  ES256: { curve: 'prime256v1', hash: 'sha256' },
  ES384: { curve: 'secp384r1', hash: 'sha384' },
} as const

function algorithmOf(key: KeyObject): 'ES256' | 'ES384' | 'EdDSA' {
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  const curve = key.asymmetricKeyType === 'ec' ? key.asymmetricKeyDetails?.namedCurve : undefined
  if (curve === ALGORITHMS.ES256.curve) return 'ES256'
  if (curve === ALGORITHMS.ES384.curve) return 'ES384'
  throw new AttestationError('UNSUPPORTED_ALGORITHM', 'this kind of key does not sign EAR tokens', {
    hint: 'use an Ed25519, P-256 or P-384 key',
  })
}

/**
 * Signs a token as a JWT in compact form: ES256, ES384 or EdDSA, as the key demands.
 * @param key a private key
 * @throws AttestationError UNSUPPORTED_ALGORITHM for any other key, FORMAT_INVALID for a nonce of the wrong size
 */
export function signEar(ear: Ear, key: KeyObject): string {
  const alg = algorithmOf(key)
  const { nonce, rawEvidence } = ear
  if (nonce !== undefined && (nonce.length < 8 || nonce.length > 64)) {
    throw new AttestationError('FORMAT_INVALID', 'eat_nonce must be 8 to 64 bytes', {
      path: 'nonce',
    })
  }
  const payload = {
    eat_profile: EAR_PROFILE,
    iat: Math.floor(ear.at.getTime() / 1000),
    'ear.verifier-id': { developer: ear.verifier.developer, build: ear.verifier.build },
    ...(nonce === undefined ? {} : { eat_nonce: bytesToBase64Url(nonce) }),
    ...(rawEvidence === undefined ? {} : { 'ear.raw-evidence': bytesToBase64Url(rawEvidence) }),
    submods: Object.fromEntries(
      [...ear.submods].map(([name, { status, vector, policyId }]) => [
        name,
        {
          'ear.status': status,
          'ear.trustworthiness-vector': vector,
          ...(policyId === undefined ? {} : { 'ear.appraisal-policy-id': policyId }),
        },
      ]),
    ),
    'zt4ai.at': formatTime(ear.at),
    'zt4ai.historical': ear.historical,
    'zt4ai.simulated': ear.simulated,
    'zt4ai.inputs': ear.inputs,
  }
  const part = (value: object): string => bytesToBase64Url(utf8Encode(JSON.stringify(value)))
  const signed = `${part({ alg, typ: 'JWT' })}.${part(payload)}`
  const data = utf8Encode(signed)
  const signature =
    alg === 'EdDSA'
      ? sign(null, data, key)
      : sign(ALGORITHMS[alg].hash, data, { key, dsaEncoding: 'ieee-p1363' })
  return `${signed}.${bytesToBase64Url(signature)}`
}

const claim = decode.integer({ min: -128, max: 127 })
const vectorShape = decode.object({
  'instance-identity': claim,
  configuration: claim,
  executables: claim,
  'file-system': claim,
  hardware: claim,
  'runtime-opaque': claim,
  'storage-opaque': claim,
  'sourced-data': claim,
})
const name = decode.string({ min: 1, max: 4096 })
const appraisalShape = decode.object({
  'ear.status': decode.literal(...TIERS),
  'ear.trustworthiness-vector': vectorShape,
  'ear.appraisal-policy-id': decode.optional(name),
})
const inputShape = decode.object({
  name: decode.string({ max: 4096 }),
  sha256: decode.string({ pattern: /^[0-9a-f]{64}$/ }),
})
const headerShape = decode.object({
  alg: decode.literal('ES256', 'ES384', 'EdDSA'),
  typ: decode.literal('JWT'),
})
const payloadShape = decode.object({
  eat_profile: decode.literal(EAR_PROFILE),
  iat: decode.integer({ min: 0 }),
  'ear.verifier-id': decode.object({ developer: name, build: name }),
  eat_nonce: decode.optional(decode.string({ min: 11, max: 86 })),
  'ear.raw-evidence': decode.optional(decode.string()),
  submods: decode.record(appraisalShape, { max: 64 }),
  'zt4ai.at': decode.time(),
  'zt4ai.historical': decode.boolean(),
  'zt4ai.simulated': decode.boolean(),
  'zt4ai.inputs': decode.array(inputShape, { max: 1024 }),
})

const MAX_TOKEN = 32 << 20

/**
 * Verifies a token that `signEar` made and gives its content. The signature is checked before the payload is looked at; the
 * algorithm must be the key's own; unknown members are refused, in the header too.
 * @param key the public key that the caller trusts
 * @throws AttestationError SIGNATURE_INVALID, FORMAT_INVALID, TOO_LARGE, UNSUPPORTED_ALGORITHM
 */
export function verifyEar(token: string, key: KeyObject): Ear {
  if (token.length > MAX_TOKEN) throw new AttestationError('TOO_LARGE', 'the token is too large')
  const [header, payload, signature, extra] = token.split('.', 4)
  if (
    header === undefined ||
    payload === undefined ||
    signature === undefined ||
    extra !== undefined
  ) {
    throw new AttestationError('FORMAT_INVALID', 'a token must have three parts')
  }
  const { alg } = headerShape(readPart(header), 'header')
  const data = utf8Encode(`${header}.${payload}`)
  if (alg !== algorithmOf(key) || !verifies(alg, data, key, base64UrlToBytes(signature))) {
    throw new AttestationError('SIGNATURE_INVALID', 'the token was not signed by this key')
  }
  return toEar(payloadShape(readPart(payload), 'payload'))
}

function readPart(part: string): ReturnType<typeof parseJson> {
  return parseJson(utf8Decode(base64UrlToBytes(part)), { maxBytes: MAX_TOKEN })
}

function verifies(
  alg: 'ES256' | 'ES384' | 'EdDSA',
  data: Uint8Array,
  key: KeyObject,
  signature: Uint8Array,
): boolean {
  return alg === 'EdDSA'
    ? verify(null, data, key, signature)
    : verify(ALGORITHMS[alg].hash, data, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

type Payload = ReturnType<typeof payloadShape>

function toEar(payload: Payload): Ear {
  const at = payload['zt4ai.at']
  if (Math.floor(at.getTime() / 1000) !== payload.iat) {
    throw new AttestationError('FORMAT_INVALID', 'iat and zt4ai.at differ', { path: 'payload.iat' })
  }
  const submods = new Map(
    [...payload.submods].map(([submod, appraisal]) => [submod, toAppraisal(submod, appraisal)]),
  )
  const nonce = payload.eat_nonce
  const evidence = payload['ear.raw-evidence']
  return {
    at,
    verifier: payload['ear.verifier-id'],
    submods,
    inputs: payload['zt4ai.inputs'],
    historical: payload['zt4ai.historical'],
    simulated: payload['zt4ai.simulated'],
    ...(nonce === undefined ? {} : { nonce: base64UrlToBytes(nonce) }),
    ...(evidence === undefined ? {} : { rawEvidence: base64UrlToBytes(evidence) }),
  }
}

function toAppraisal(submod: string, appraisal: ReturnType<typeof appraisalShape>): EarAppraisal {
  const vector: Decoded<Record<keyof TrustworthinessVector, typeof claim>> =
    appraisal['ear.trustworthiness-vector']
  const status = appraisal['ear.status']
  const tier = worst(Object.values(vector).map((value: number) => tierOf(value)))
  // a status may be worse than its vector (something else was refused), never better
  if (worst([status, tier]) !== status) {
    throw new AttestationError('FORMAT_INVALID', `${submod} claims more than its vector says`, {
      path: `payload.submods.${submod}`,
    })
  }
  const policyId = appraisal['ear.appraisal-policy-id']
  return { status, vector, ...(policyId === undefined ? {} : { policyId }) }
}
