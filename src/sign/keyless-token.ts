// The single owner of the identity token that keyless signing needs: where it comes from, and that it never shows in a message.
import {
  AttestationError,
  base64UrlToBytes,
  decode,
  parseJson,
} from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'

const { any, object, optional, string } = decode

/** A token as it is, or GitHub's service that gives one (OpenID Connect in GitHub Actions). */
export type TokenSource =
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'github'; readonly requestUrl: string; readonly requestToken: string }

const MAX_TOKEN = 16 * 1024
/** The audience that Fulcio asks for, in every identity provider. */
const AUDIENCE = 'sigstore'
const TOKEN = /^[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*$/
const CLAIMS = object({ exp: optional(any()) }, { unknown: 'ignore' })
const ANSWER = object({ value: string({ min: 1, max: MAX_TOKEN }) }, { unknown: 'ignore' })

/**
 * The token source that a CI offers, out of its environment, which the caller hands in as data: `SIGSTORE_ID_TOKEN` (GitLab's
 * `id_tokens`, and anything else that sets it), else GitHub's `ACTIONS_ID_TOKEN_REQUEST_URL` and `_TOKEN`. Null if there is none.
 */
export function ambientToken(
  environment: Readonly<Record<string, string | undefined>>,
): TokenSource | null {
  const token = environment['SIGSTORE_ID_TOKEN']
  if (token !== undefined && token !== '') return { kind: 'token', token }
  const requestUrl = environment['ACTIONS_ID_TOKEN_REQUEST_URL']
  const requestToken = environment['ACTIONS_ID_TOKEN_REQUEST_TOKEN']
  return requestUrl === undefined || requestToken === undefined
    ? null
    : { kind: 'github', requestUrl, requestToken }
}

export interface TokenOptions {
  readonly timeoutMs: number
  readonly retries: number
  readonly retryDelayMs: number
}

/**
 * The token itself, fetched where it must be. It is not verified here: the certificate authority does that.
 * @throws ZtError TOKEN_MISSING, TOKEN_INVALID
 */
export async function readToken(source: TokenSource, options: TokenOptions): Promise<string> {
  const token =
    source.kind === 'token' ? source.token.trim() : await fetchGitHubToken(source, options)
  checkToken(token)
  return token
}

/** The form of a JSON Web Token (RFC 7519) that has not expired. */
function checkToken(token: string): void {
  const [, payload] = token.length <= MAX_TOKEN ? (TOKEN.exec(token) ?? []) : []
  const invalid = (message: string): ZtError =>
    new ZtError('TOKEN_INVALID', message, {
      hint: 'give a fresh token of an identity provider that the certificate authority knows, for the audience "sigstore"',
    })
  if (payload === undefined) throw invalid('the identity token is not a JSON Web Token')
  let expires: unknown
  try {
    expires = CLAIMS(parseJson(base64UrlToBytes(payload), { maxBytes: MAX_TOKEN }), '$').exp
  } catch (error) {
    // the reader's message says where, and holds nothing of the token
    if (!(error instanceof AttestationError)) throw error
    throw invalid('the claims of the identity token can not be read')
  }
  if (typeof expires === 'number' && expires * 1000 <= Date.now())
    throw invalid('the identity token has expired')
}

async function fetchGitHubToken(
  { requestUrl, requestToken }: Extract<TokenSource, { kind: 'github' }>,
  { timeoutMs, retries, retryDelayMs }: TokenOptions,
): Promise<string> {
  const url = serviceUrl('ACTIONS_ID_TOKEN_REQUEST_URL', requestUrl)
  url.searchParams.set('audience', AUDIENCE)
  for (let attempt = 0; ; attempt++) {
    const again = attempt < retries
    let answer: Response
    let body: string
    try {
      answer = await fetch(url, {
        headers: { authorization: `bearer ${requestToken}`, accept: 'application/json' },
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      })
      body = await answer.text()
    } catch (error) {
      if (again) {
        await pause(retryDelayMs * 2 ** attempt)
        continue
      }
      const reason = error instanceof Error ? error.name : 'unknown'
      throw missing(`GitHub's token service can not be reached (${reason})`)
    }
    if (answer.ok) return readAnswer(body)
    if (!again || (answer.status < 500 && answer.status !== 429))
      throw missing(`GitHub's token service refused (HTTP ${answer.status})`)
    await pause(retryDelayMs * 2 ** attempt)
  }
}

function readAnswer(body: string): string {
  try {
    return ANSWER(parseJson(body, { maxBytes: 2 * MAX_TOKEN }), '$').value
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    throw missing("GitHub's token service gave no token")
  }
}

function missing(message: string): ZtError {
  return new ZtError('TOKEN_MISSING', message, {
    hint: 'the job needs "permissions: id-token: write"',
  })
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

/**
 * The address of a service that a token goes to: https, or http on this machine.
 * @throws ZtError USAGE
 */
export function serviceUrl(name: string, address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : null
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(url?.hostname ?? '')
  if (url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && local))) return url
  throw new ZtError('USAGE', `the address of ${name} must be an https URL`, {
    path: address.slice(0, 200),
    hint: 'an identity token must not travel in the clear (http is accepted on this machine only)',
  })
}

/** Takes the secrets out of a foreign message, also where only a part of a token is quoted. */
export function redact(text: string, secrets: readonly string[]): string {
  return secrets
    .flatMap((secret) => [secret, ...secret.split('.')])
    .filter((secret) => secret.length >= 8)
    .reduce((clean, secret) => clean.replaceAll(secret, '[token]'), text)
}
