// The single owner of asking a verifier service (RATS background check): its challenge, evidence made for it, and the signed answer.
import { AttestationError, modelBinding, type NamedBytes } from '../../attestation/index.ts'
import {
  base64ToBytes,
  bytesToBase64,
  bytesToHex,
  decode,
  hexToBytes,
  parseJson,
  sha256,
  utf8Encode,
  type JsonValue,
} from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { Transport } from '../fetch/transport.ts'
import type { Verdict } from '../verdict.ts'
import { decodeVerdict, MAX_VERDICT } from './read-verdict.ts'

/** A verifier service, by its address. */
export interface VerifierOptions {
  /** `https://…`; plain HTTP only where the transport allows it. */
  readonly url: string
  readonly transport: Transport
  /** What the service asks for, if it does. */
  readonly token?: string
}

export interface Challenged {
  /** 32 bytes. */
  readonly nonce: Uint8Array
  readonly issued: Date
  readonly expires: Date
}

export interface Proof {
  /** The OMS root that the loader computed or is about to load, 32 bytes as lower-case hex. */
  readonly digest: string
  /** What the model is called: selects the verifier's rules. */
  readonly name: string
  /** The model's signatures, which the verifier verifies itself. */
  readonly bundles: readonly NamedBytes[]
  /** Asks the hardware for evidence with exactly this report data (64 bytes). */
  readonly evidence: (reportData: Uint8Array, nonce: Uint8Array) => Promise<NamedBytes>
  readonly endorsements?: readonly NamedBytes[]
  /** Public key (PEM, SPKI) that only this machine holds, to be bound with the model. */
  readonly key?: { readonly pem: string; /** DER. */ readonly spki: Uint8Array }
  /** Which of the verifier's policies; its first unless told. */
  readonly policy?: string
}

/** What the verifier answered. Nothing of it is believed here: whoever relies on it verifies `bundle` or `ear` with the verifier's key. */
export interface Appraisal {
  readonly result: 'allow' | 'deny'
  readonly code: string
  readonly verdict: Verdict
  /** EAR token (JWT). */
  readonly ear: string
  /** The signed verdict, for `admitted:` in a policy; null where it is about no model. */
  readonly bundle: Uint8Array | null
  readonly challenge: Challenged
}

const { literal, object, string, time } = decode
const challengeShape = object(
  {
    schema: literal('zt4ai.challenge/v1'),
    nonce: decode.hex({ length: 32 }),
    issued: time(),
    expires: time(),
  },
  { unknown: 'ignore' },
)
const appraisalShape = object(
  {
    schema: literal('zt4ai.appraisal/v1'),
    result: literal('allow', 'deny'),
    code: string({ max: 64 }),
    verdict: decode.any(),
    ear: string({ max: 1 << 20 }),
    bundle: (value, path) =>
      value === null ? null : base64ToBytes(string({ max: 64 << 20 })(value, path)),
  },
  { unknown: 'ignore' },
)

/**
 * Proves this machine and its model to a verifier: asks for a nonce, has evidence made that is bound to it, the model and the key, and gives
 * the verifier's answer. Asked once: a nonce is used up whatever comes of it.
 * @throws ZtError NETWORK where the verifier can't be reached, its own code where it refuses the request, VERDICT_INVALID
 */
export async function proveTo(options: VerifierOptions, proof: Proof): Promise<Appraisal> {
  const challenge = await post(options, 'v1/challenge', {}, challengeShape)
  const reportData = modelBinding({
    nonce: challenge.nonce,
    modelDigest: hexToBytes(proof.digest),
    ...(proof.key === undefined ? {} : { keyDigest: sha256(proof.key.spki) }),
  })
  const evidence = await proof.evidence(reportData, challenge.nonce)
  const named = (list: readonly NamedBytes[]): object[] =>
    list.map(({ name, bytes }) => ({ name: name.slice(0, 256), bytes: bytesToBase64(bytes) }))
  const answer = await post(
    options,
    'v1/appraise',
    {
      nonce: bytesToHex(challenge.nonce),
      evidence: bytesToBase64(evidence.bytes),
      endorsements: named(proof.endorsements ?? []),
      bundles: named(proof.bundles),
      model: { digest: proof.digest, name: proof.name },
      ...(proof.key === undefined ? {} : { key: proof.key.pem }),
      ...(proof.policy === undefined ? {} : { policy: proof.policy }),
    },
    appraisalShape,
  )
  const verdict = decodeVerdict(answer.verdict, '$.verdict')
  if (verdict.decision !== answer.result)
    throw new ZtError('VERDICT_INVALID', 'the answer and its verdict contradict each other')
  return {
    result: answer.result,
    code: answer.code,
    verdict,
    ear: answer.ear,
    bundle: answer.bundle,
    challenge,
  }
}

async function post<T>(
  { url, transport, token }: VerifierOptions,
  path: string,
  body: object,
  shape: decode.Decoder<T>,
): Promise<T> {
  const response = await transport.request({
    method: 'POST',
    url: new URL(path, url.endsWith('/') ? url : `${url}/`).href,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: utf8Encode(JSON.stringify(body)),
  })
  const bytes = await response.bytes(MAX_VERDICT)
  try {
    const answer = parseJson(bytes, { maxBytes: MAX_VERDICT })
    if (response.status === 200) return shape(answer, '$')
    throw refused(response.status, answer, url)
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw new ZtError('NETWORK', `the verifier's answer can't be read: ${error.message}`, {
      path: url,
      cause: error,
    })
  }
}

const refusalShape = object(
  { code: string({ max: 64 }), message: string({ max: 4096 }) },
  { unknown: 'ignore' },
)

function refused(status: number, answer: JsonValue, url: string): ZtError {
  const { code, message } = refusalShape(answer, '$')
  // Its code is its own: only its words are taken over.
  return new ZtError(
    'EVIDENCE_UNAVAILABLE',
    `the verifier answered ${String(status)} ${code}: ${message}`,
    {
      path: url,
      hint: 'nothing was decided; see the log of the verifier',
    },
  )
}
