// The single owner of registry credentials: Docker's config file, its helpers, and the token flow (distribution-spec's token authentication).
import { spawn } from 'node:child_process'
import {
  base64ToBytes,
  bytesToBase64,
  parseJson,
  utf8Decode,
  utf8Encode,
} from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { Transport } from '../fetch/transport.ts'

export interface Credentials {
  readonly username: string
  readonly password: string
  /** An identity token (OAuth2 refresh token) in place of a password. */
  readonly identityToken?: string
}

/** Finds credentials for a host; undefined means anonymous. */
export type CredentialSource = (host: string) => Promise<Credentials | undefined>

/** Runs `docker-credential-NAME get` with `host` on its standard input and gives its standard output. */
export type RunHelper = (name: string, host: string) => Promise<string>

const MAX_CONFIG = 1 << 20
const DOCKER_HUB = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io'])

/** Reads Docker's `config.json` (`auths`, `credHelpers`, `credsStore`). Throws `FORMAT_INVALID` when it isn't one. */
export function dockerCredentials(
  config: Uint8Array,
  runHelper: RunHelper = runDockerHelper,
): CredentialSource {
  const root = readObject(config, () => {
    return new ZtError('FORMAT_INVALID', "Docker's config file is not a JSON object", {
      hint: 'log in again (docker login), or name another folder with DOCKER_CONFIG',
    })
  })
  const helpers = record(root['credHelpers'])
  const store = root['credsStore']
  const auths = record(root['auths'])
  return async (host) => {
    const names = DOCKER_HUB.has(host)
      ? ['https://index.docker.io/v1/', ...DOCKER_HUB]
      : [host, `https://${host}`]
    for (const name of names) {
      const helper = helpers?.[name] ?? undefined
      if (typeof helper === 'string') return fromHelper(helper, name, runHelper)
    }
    for (const [name, value] of Object.entries(auths ?? {})) {
      if (!names.includes(name) && hostOf(name) !== host) continue
      const entry = record(value)
      const found = entry === undefined ? undefined : fromEntry(entry)
      if (found !== undefined) return found
    }
    if (typeof store === 'string' && store !== '') {
      for (const name of names) {
        const found = await fromHelper(store, name, runHelper)
        if (found !== undefined) return found
      }
    }
    return undefined
  }
}

/** Old clients wrote `https://HOST/v1/` where newer ones write the host alone. */
function hostOf(name: string): string {
  return name.replace(/^https?:\/\//, '').replace(/\/v[12]\/?$|\/$/, '')
}

function fromEntry(entry: Readonly<Record<string, unknown>>): Credentials | undefined {
  const identityToken = entry['identitytoken']
  const token = typeof identityToken === 'string' && identityToken !== '' ? { identityToken } : {}
  if (typeof entry['auth'] === 'string' && entry['auth'] !== '') {
    const pair = readAuth(entry['auth'])
    const colon = pair.indexOf(':')
    if (colon > 0)
      return { username: pair.slice(0, colon), password: pair.slice(colon + 1), ...token }
  }
  if (typeof entry['username'] === 'string' && typeof entry['password'] === 'string') {
    return { username: entry['username'], password: entry['password'], ...token }
  }
  return 'identityToken' in token ? { username: '', password: '', ...token } : undefined
}

function readAuth(text: string): string {
  try {
    return utf8Decode(base64ToBytes(text))
  } catch (cause) {
    throw new ZtError('REGISTRY_AUTH', "an entry of Docker's config is not base64", { cause })
  }
}

async function fromHelper(
  name: string,
  host: string,
  run: RunHelper,
): Promise<Credentials | undefined> {
  // The name becomes part of a program's name, so nothing but a plain word is taken.
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name)) {
    throw new ZtError(
      'REGISTRY_AUTH',
      "Docker's config names a credential helper that is not a plain word",
    )
  }
  const output = await run(name, host)
  if (output.trim() === '') return undefined
  const answer = readObject(utf8Encode(output), () => {
    return new ZtError('REGISTRY_AUTH', `docker-credential-${name} did not answer with JSON`)
  })
  const username = answer['Username']
  const secret = answer['Secret']
  if (typeof username !== 'string' || typeof secret !== 'string') return undefined
  return username === '<token>'
    ? { username: '', password: '', identityToken: secret }
    : { username, password: secret }
}

/** The helper protocol of docker-credential-helpers; an exit other than 0 means "none stored". */
function runDockerHelper(name: string, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(`docker-credential-${name}`, ['get'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: 20_000,
    })
    let output = ''
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (text: string) => {
      output += text
      if (output.length > MAX_CONFIG) child.kill()
    })
    child.on('error', (cause) => {
      reject(new ZtError('REGISTRY_AUTH', `docker-credential-${name} could not be run`, { cause }))
    })
    child.on('close', (status, killedBy) => {
      if (killedBy === null) resolve(status === 0 ? output : '')
      else
        reject(
          new ZtError('REGISTRY_AUTH', `docker-credential-${name} gave no answer that can be used`),
        )
    })
    child.stdin.on('error', () => undefined)
    child.stdin.end(host)
  })
}

/** One challenge of `WWW-Authenticate`, for example `Bearer realm="…",service="…",scope="…"`. Only the first that we speak. */
export function parseChallenge(
  header: string,
): { scheme: 'bearer' | 'basic'; parameters: ReadonlyMap<string, string> } | undefined {
  const start = /(?:^|,\s*)(bearer|basic)(?:\s+|$)/i.exec(header.slice(0, 4096))
  if (start === null) return undefined
  const parameters = new Map<string, string>()
  const pattern = /\s*,?\s*([A-Za-z_-]+)=(?:"([^"]*)"|([^\s,"]+))/y
  pattern.lastIndex = start.index + start[0].length
  for (let match = pattern.exec(header); match !== null; match = pattern.exec(header)) {
    parameters.set((match[1] ?? '').toLowerCase(), match[2] ?? match[3] ?? '')
  }
  return { scheme: start[1]?.toLowerCase() === 'bearer' ? 'bearer' : 'basic', parameters }
}

/** Keeps the `Authorization` header of each scope of one registry. */
export interface Authorizer {
  /** The header to send at once, if the scope was authorised before. */
  header(scope: string): string | undefined
  /** Answers a 401 to a request that carried `used`; false if there is nothing (new) to answer with. */
  answer(challenge: string, scope: string, used: string | undefined): Promise<boolean>
}

export function authorizer(
  host: string,
  transport: Transport,
  source: CredentialSource,
): Authorizer {
  const headers = new Map<string, { value: string; until: number }>()
  const asking = new Map<string, Promise<boolean>>()
  const known = (scope: string): string | undefined => {
    const found = headers.get(scope)
    return found !== undefined && found.until > performance.now() ? found.value : undefined
  }

  async function ask(
    challenge: NonNullable<ReturnType<typeof parseChallenge>>,
    scope: string,
    used: string | undefined,
  ): Promise<boolean> {
    const credentials = await source(host)
    if (challenge.scheme === 'basic') {
      const value = credentials === undefined ? undefined : basic(credentials)
      if (value === undefined || value === used) return false
      headers.set(scope, { value, until: Infinity })
      return true
    }
    const token = await fetchToken(challenge.parameters, scope, credentials, transport)
    if (token === undefined) return false
    const until = performance.now() + token.seconds * 1000
    headers.set(scope, { value: `Bearer ${token.value}`, until })
    return true
  }

  return {
    header: known,
    answer(header, scope, used) {
      // Another request was refused at the same moment and has asked already.
      const current = known(scope)
      if (current !== undefined && current !== used) return Promise.resolve(true)
      const challenge = parseChallenge(header)
      if (challenge === undefined) return Promise.resolve(false)
      const before = asking.get(scope)
      if (before !== undefined) return before
      const answer = ask(challenge, scope, used).finally(() => asking.delete(scope))
      asking.set(scope, answer)
      return answer
    },
  }
}

async function fetchToken(
  parameters: ReadonlyMap<string, string>,
  scope: string,
  credentials: Credentials | undefined,
  transport: Transport,
): Promise<{ value: string; seconds: number } | undefined> {
  const realm = parameters.get('realm')
  if (realm === undefined || !URL.canParse(realm))
    throw new ZtError('REGISTRY_AUTH', 'the registry asks for a token and does not say where')
  const url = new URL(realm)
  const service = parameters.get('service')
  const fields = {
    ...(service === undefined ? {} : { service }),
    scope: parameters.get('scope') ?? scope,
  }
  let response
  if (credentials?.identityToken !== undefined) {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: 'zt4ai',
      refresh_token: credentials.identityToken,
      ...fields,
    })
    response = await transport.request({
      method: 'POST',
      url: url.href,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: utf8Encode(form.toString()),
    })
  } else {
    if (service !== undefined) url.searchParams.set('service', service)
    // Several scopes stand apart by spaces in a challenge, and are several parameters of the request.
    for (const each of fields.scope.split(' ')) url.searchParams.append('scope', each)
    const headers = credentials === undefined ? {} : { authorization: basic(credentials) }
    response = await transport.request({ method: 'GET', url: url.href, headers })
  }
  const body = await response.bytes(1 << 20)
  if (response.status === 400 || response.status === 401 || response.status === 403)
    return undefined
  if (response.status !== 200) {
    throw new ZtError('REGISTRY_ANSWER', `the token service answered ${response.status}`, {
      path: url.host,
    })
  }
  const answer = readObject(body, () => {
    return new ZtError('REGISTRY_ANSWER', 'the token service did not answer with JSON', {
      path: url.host,
    })
  })
  const value = answer['token'] ?? answer['access_token']
  if (typeof value !== 'string' || !/^[\x21-\x7e]{1,65536}$/.test(value)) {
    throw new ZtError('REGISTRY_AUTH', 'the token service answered without a token', {
      path: url.host,
    })
  }
  const lifetime = answer['expires_in']
  // A margin, so that a token does not run out on its way; 60 s is the specification's default.
  const seconds = Math.max((typeof lifetime === 'number' ? Math.min(lifetime, 3600) : 60) - 5, 1)
  return { value, seconds }
}

function basic(credentials: Credentials): string {
  return `Basic ${bytesToBase64(utf8Encode(`${credentials.username}:${credentials.password}`))}`
}

function readObject(bytes: Uint8Array, error: () => ZtError): Readonly<Record<string, unknown>> {
  try {
    const found = record(parseJson(bytes, { maxBytes: MAX_CONFIG }))
    if (found !== undefined) return found
  } catch {
    // said below
  }
  throw error()
}

function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}
