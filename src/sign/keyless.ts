// The single owner of keyless signing: an identity token to a short-lived certificate, a signature, and its entry in a public log.
import {
  AttestationError,
  bytesToBase64,
  equalBytes,
  parseCertificate,
  utf8Encode,
} from '../../attestation/lib/index.ts'
import type { Certificate, JsonValue } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../bundle/bundle.ts'
import type { Bundle } from '../bundle/bundle.ts'
import { pae } from '../bundle/dsse.ts'
import { readLogEntries } from '../bundle/guard.ts'
import { describeKey, verifiesWith } from '../bundle/keys.ts'
import { ZtError } from '../error.ts'
import { readToken, redact, serviceUrl } from './keyless-token.ts'
import type { TokenSource } from './keyless-token.ts'
import type { SignedPieces, Signer } from './signer.ts'

/** The services of one Sigstore instance. */
export interface KeylessServices {
  /** Certificate authority. */
  readonly fulcio: string
  /** Transparency log. */
  readonly rekor: string
  /** Version of the log's API. Version 2 proves no time, so it needs a timestamp authority. */
  readonly rekorVersion: 1 | 2
  /** Timestamp authority (RFC 3161). */
  readonly tsa?: string
}

/** The public-good instance of the Sigstore project. */
export const PUBLIC_GOOD: KeylessServices = {
  fulcio: 'https://fulcio.sigstore.dev',
  rekor: 'https://rekor.sigstore.dev',
  rekorVersion: 1,
}

export interface KeylessOptions {
  readonly token: TokenSource
  /** The public-good instance unless told. */
  readonly services?: Partial<KeylessServices>
  /** Of each request; 20 seconds unless told, because a Rekor v2 answers only when the entry is in the log. */
  readonly timeoutMs?: number
  /** Further attempts after a failure that may pass; 2 unless told. */
  readonly retries?: number
  /** Before the second attempt, then doubled; 1 second unless told. */
  readonly retryDelayMs?: number
}

/** A signer and what a person must know before it is used. */
export interface KeylessSigner extends Signer {
  readonly kind: 'keyless'
  readonly warning: string
}

/**
 * Signs with a certificate that Fulcio issues for the token's identity; the key lives in memory for this one signature. What comes back
 * was decoded strictly, and its signature and log entry were compared with what was to be signed.
 * @throws ZtError USAGE for addresses that can't be used; signing throws TOKEN_MISSING, TOKEN_INVALID, SIGNING_SERVICE
 */
export function keylessSigner(options: KeylessOptions): KeylessSigner {
  const services = readServices({ ...PUBLIC_GOOD, ...options.services })
  if (services.rekorVersion === 2 && services.tsa === undefined)
    throw new ZtError('USAGE', 'Rekor v2 proves no time of signing', {
      hint: 'name a timestamp authority as well',
    })
  const { timeoutMs = 20_000, retries = 2, retryDelayMs = 1000 } = options
  const limits = { timeoutMs, retries, retryDelayMs }
  return {
    kind: 'keyless',
    warning: `a keyless signature is public: your identity, and the list of all files with their digests, go to ${services.fulcio} and ${services.rekor}, where they can be read and are not deleted`,
    async sign(payloadType, payload) {
      const token = await readToken(options.token, limits)
      let json: unknown
      try {
        json = await request(payloadType, payload, token, services, limits)
      } catch (error) {
        throw serviceError(error, token)
      }
      return await checked(json, payloadType, payload)
    },
  }
}

/** Addresses without a slash at the end, because the library appends paths. @throws ZtError USAGE */
function readServices({ fulcio, rekor, rekorVersion, tsa }: KeylessServices): KeylessServices {
  const read = (name: string, address: string): string => {
    serviceUrl(name, address)
    return address.replace(/\/+$/, '')
  }
  return {
    fulcio: read('fulcio', fulcio),
    rekor: read('rekor', rekor),
    rekorVersion,
    ...(tsa === undefined ? {} : { tsa: read('tsa', tsa) }),
  }
}

type Limits = Required<Pick<KeylessOptions, 'timeoutMs' | 'retries' | 'retryDelayMs'>>

/** Asks the services. Rekor v1 through the client's front door, which knows no v2; v2 out of the same parts. */
async function request(
  payloadType: string,
  payload: Uint8Array,
  token: string,
  { fulcio, rekor, rekorVersion, tsa }: KeylessServices,
  { timeoutMs, retries, retryDelayMs }: Limits,
): Promise<unknown> {
  const data = Buffer.from(payload)
  const identityProvider = { getToken: () => Promise.resolve(token) }
  const calls = { timeout: timeoutMs, retry: { retries, minTimeout: retryDelayMs } }
  if (rekorVersion === 1) {
    const { attest } = await import('sigstore')
    return await attest(data, payloadType, {
      ...calls,
      identityProvider,
      fulcioURL: fulcio,
      rekorURL: rekor,
      ...(tsa === undefined ? {} : { tsaServerURL: tsa }),
    })
  }
  const [{ bundleToJSON }, { DSSEBundleBuilder, FulcioSigner, RekorWitness, TSAWitness }] =
    await Promise.all([import('@sigstore/bundle'), import('@sigstore/sign')])
  const builder = new DSSEBundleBuilder({
    signer: new FulcioSigner({ ...calls, fulcioBaseURL: fulcio, identityProvider }),
    witnesses: [
      new RekorWitness({ ...calls, rekorBaseURL: rekor, majorApiVersion: 2 }),
      ...(tsa === undefined ? [] : [new TSAWitness({ ...calls, tsaBaseURL: tsa })]),
    ],
  })
  return bundleToJSON(await builder.create({ data, type: payloadType }))
}

/** Reads back what the services made, as strictly as a verifier would, and takes out the pieces. */
async function checked(
  json: unknown,
  payloadType: string,
  payload: Uint8Array,
): Promise<SignedPieces> {
  const wrong = (message: string): ZtError =>
    new ZtError('SIGNING_SERVICE', `what the signing services made does not verify: ${message}`)
  let bundle: Bundle
  let leaf: Certificate
  try {
    bundle = decodeBundle(utf8Encode(JSON.stringify(json)))
    const [der] = bundle.material.kind === 'certificates' ? bundle.material.certificates : []
    leaf = parseCertificate(der ?? new Uint8Array())
  } catch (error) {
    if (error instanceof ZtError || error instanceof AttestationError) throw wrong(error.message)
    throw error
  }
  const { envelope, timestamps } = bundle
  const { findings } = readLogEntries(bundle, leaf.der)
  if (findings[0] !== undefined) throw wrong(findings[0].message)
  const key = describeKey(leaf.publicKey)
  if (
    !equalBytes(envelope.payload, payload) ||
    !(await verifiesWith(key, pae(payloadType, payload), envelope.signature))
  )
    throw wrong("the signature is not the certificate's key's over this payload")
  const { tlogEntries } = bundle.json['verificationMaterial'] as Readonly<Record<string, JsonValue>>
  return {
    signature: envelope.signature,
    verificationMaterial: {
      certificate: { rawBytes: bytesToBase64(leaf.der) },
      tlogEntries,
      ...(timestamps.length === 0
        ? {}
        : {
            timestampVerificationData: {
              rfc3161Timestamps: timestamps.map((token) => ({
                signedTimestamp: bytesToBase64(token),
              })),
            },
          }),
    },
  }
}

const STEPS: Readonly<Record<string, string | undefined>> = {
  IDENTITY_TOKEN_PARSE_ERROR: 'reading the identity token',
  CA_CREATE_SIGNING_CERTIFICATE_ERROR: 'asking for a certificate',
  TLOG_CREATE_ENTRY_ERROR: 'writing to the transparency log',
  TLOG_FETCH_ENTRY_ERROR: 'reading the transparency log',
  TSA_CREATE_TIMESTAMP_ERROR: 'asking for a timestamp',
}

/** The library prints a token that it can't read, so nothing of its errors is passed on but cleaned text. */
function serviceError(error: unknown, token: string): ZtError {
  const { code, message, cause } = error as {
    readonly code?: unknown
    readonly message?: unknown
    readonly cause?: { readonly message?: unknown; readonly statusCode?: unknown }
  }
  const step = STEPS[String(code)] ?? 'signing'
  const reason = redact(String(cause?.message ?? message), [token]).slice(0, 500)
  const refused =
    cause?.statusCode === 400 || cause?.statusCode === 401 || cause?.statusCode === 403
  if (code === 'IDENTITY_TOKEN_PARSE_ERROR')
    return new ZtError('TOKEN_INVALID', 'the identity token names no subject that was verified')
  return new ZtError('SIGNING_SERVICE', `${step} failed: ${reason}`, {
    hint:
      cause?.statusCode === 413
        ? 'the list of files is too large for this service: sign with a key, or with fewer files'
        : refused
          ? 'the service refused: is the token fresh, and from an issuer that this instance knows?'
          : 'the service may be out of order: try again, or raise the time-out',
  })
}
