// The single owner of the fake Sigstore: Fulcio with a CT log, Rekor v1 and v2, a timestamp authority and GitHub's token service, on loopback.
//
// The cryptography is that of @sigstore/mock; its two Rekor handlers log something else than a real Rekor does, so they are replaced here.
// Clocks have whole seconds, because the mock authority writes a fraction that its own library reads only with three digits.
import 'reflect-metadata'
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  fulcioHandler,
  initializeCA,
  initializeCTLog,
  initializeTLog,
  initializeTSA,
  tsaHandler,
} from '@sigstore/mock'
import { entryJson, rekorV1Body, rekorV2Body } from './rekor.ts'
import type { Logged } from './rekor.ts'

export interface FakeOptions {
  /** False: Fulcio issues certificates without an SCT. */
  readonly ct?: boolean
  /** Seconds by which a clock is ahead of now. */
  readonly caClock?: number
  readonly logClock?: number
  readonly tsaClock?: number
  /** Milliseconds of the authority's clock, for times with a fraction. */
  readonly tsaFraction?: number
}

/** What a service is made to do with the next requests. Status 0 means that it never answers. */
export interface Fault {
  readonly path: string
  readonly status: number
  readonly body?: string
  readonly times: number
}

export interface FakeRequest {
  readonly method: string
  readonly path: string
  readonly authorization: string | undefined
  readonly body: string
}

export interface FakeSigstore {
  /** Base address of all services. */
  readonly url: string
  readonly trustedRoot: Uint8Array
  readonly requests: FakeRequest[]
  /** A token with these claims, signed by nobody: the fake Fulcio believes every token. */
  token(claims?: Readonly<Record<string, unknown>>): string
  /** GitHub's two variables. */
  readonly github: { readonly requestUrl: string; readonly requestToken: string }
  fail(fault: Fault): void
  /** Logs any body, as Rekor v1 or v2 would, and gives the entry in the bundle's JSON. */
  logEntry(body: object, version: 1 | 2): Promise<object>
  /** A certificate for this key (DER of the SPKI), with a URI as its name and any extensions in Fulcio's way. */
  certificate(
    publicKey: Uint8Array,
    identity: string,
    extensions: readonly {
      readonly oid: string
      readonly value: string
      readonly legacy?: boolean
    }[],
  ): Promise<Uint8Array>
  /** Signs any checkpoint text with the log's key: `— <name> <key id and signature>`. */
  signNote(note: string, name?: string): string
  /** A timestamp response over these bytes. */
  timestamp(signature: Uint8Array): Promise<Uint8Array>
  close(): Promise<void>
}

export const FAKE_ISSUER = 'https://token.zt4ai.test'
export const FAKE_SUBJECT =
  'https://github.com/example/model/.github/workflows/sign.yml@refs/heads/main'
const LOG_NAME = 'rekor.zt4ai.test'

interface Keys {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}
interface Answer {
  readonly statusCode: number
  readonly response: string | ArrayBufferView
  readonly contentType?: string
}
const json = (value: unknown): Answer => ({
  statusCode: 201,
  response: JSON.stringify(value),
  contentType: 'application/json',
})
const newKeys = (): Keys => generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

export async function startFakeSigstore(options: FakeOptions = {}): Promise<FakeSigstore> {
  const { ct = true, caClock = 0, logClock = 0, tsaClock = 0, tsaFraction = 0 } = options
  // The clocks are set when all authorities exist: none of them may be younger than what it signs.
  const clocks: { readonly date: Date; readonly ahead: number }[] = []
  const clock = (ahead: number, fraction = 0): Date => {
    const date = new Date()
    clocks.push({ date, ahead: ahead * 1000 + fraction })
    return date
  }
  const logKeys = newKeys()
  const ctLog = await initializeCTLog(newKeys(), clock(caClock))
  const ca = await initializeCA(newKeys(), ct ? ctLog : undefined, clock(caClock))
  const log = await initializeTLog(`https://${LOG_NAME}`, logKeys, clock(logClock))
  const tsa = await initializeTSA(newKeys(), clock(tsaClock, tsaFraction))
  const start = Math.floor(Date.now() / 1000) * 1000
  for (const { date, ahead } of clocks) date.setTime(start + ahead)
  const logId = sha256(log.publicKey)
  const requests: FakeRequest[] = []
  const faults: { fault: Fault; left: number }[] = []
  const requestToken = randomBytes(16).toString('hex')

  const token = (claims: Readonly<Record<string, unknown>> = {}): string => {
    const part = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString('base64url')
    const all = { iss: FAKE_ISSUER, sub: FAKE_SUBJECT, aud: 'sigstore', ...claims }
    return `${part({ alg: 'none' })}.${part(all)}.${randomBytes(16).toString('base64url')}`
  }

  const logBody = async (body: object): Promise<Readonly<Record<string, Logged>>> =>
    (await log.log(body)) as Readonly<Record<string, Logged>>
  const entry = async (body: object, version: 1 | 2): Promise<object> => {
    const [logged] = Object.values(await logBody(body))
    return entryJson(logged!, logId, version)
  }

  const services: Record<string, (body: string) => Promise<Answer>> = {
    '/api/v2/signingCert': fulcioHandler(ca).fn,
    '/api/v1/timestamp': tsaHandler(tsa).fn,
    '/api/v1/log/entries': async (body) => json(await logBody(rekorV1Body(JSON.parse(body)))),
    '/api/v2/log/entries': async (body) => json(await entry(rekorV2Body(JSON.parse(body)), 2)),
  }
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    const body = await text(request)
    const { authorization } = request.headers
    requests.push({
      method: request.method ?? '',
      path: url.pathname + url.search,
      authorization,
      body,
    })
    const fault = faults.find(({ fault: { path }, left }) => path === url.pathname && left > 0)
    let answer: Answer = { statusCode: 404, response: 'not found' }
    if (fault !== undefined) {
      fault.left -= 1
      if (fault.fault.status === 0) return
      answer = {
        statusCode: fault.fault.status,
        response: fault.fault.body ?? '{"message":"out of order"}',
        contentType: 'application/json',
      }
    } else if (url.pathname === '/github/token') {
      answer =
        authorization === `bearer ${requestToken}`
          ? json({ value: token({ aud: url.searchParams.get('audience') }) })
          : { statusCode: 401, response: 'no' }
    } else answer = (await services[url.pathname]?.(body)) ?? answer
    response.writeHead(answer.statusCode, { 'content-type': answer.contentType ?? 'text/plain' })
    response.end(answer.response)
  }
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      response.writeHead(500).end(String(error))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const validFor = { start: new Date(start - 3_600_000).toISOString() }
  const ecKey = (rawBytes: Uint8Array) => ({
    rawBytes: base64(rawBytes),
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
    validFor,
  })
  const bytesOf = (view: ArrayBufferView): Uint8Array =>
    new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
  const authority = (...chain: readonly ArrayBufferView[]) => ({
    subject: { organization: 'zt4ai.test', commonName: 'fake' },
    uri: url,
    certChain: { certificates: chain.map((der) => ({ rawBytes: base64(bytesOf(der)) })) },
    validFor,
  })
  const trustedRoot = {
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: [
      {
        baseUrl: `https://${LOG_NAME}`,
        hashAlgorithm: 'SHA2_256',
        publicKey: ecKey(log.publicKey),
        logId: { keyId: base64(logId) },
      },
    ],
    certificateAuthorities: [authority(ca.rootCertificate)],
    ctlogs: [
      {
        baseUrl: 'https://ctfe.zt4ai.test',
        hashAlgorithm: 'SHA2_256',
        publicKey: ecKey(ctLog.publicKey),
        logId: { keyId: base64(bytesOf(ctLog.logID)) },
      },
    ],
    timestampAuthorities: [authority(tsa.intCertificate, tsa.rootCertificate)],
  }
  return {
    url,
    trustedRoot: new TextEncoder().encode(JSON.stringify(trustedRoot)),
    requests,
    token,
    github: { requestUrl: `${url}/github/token?api-version=2`, requestToken },
    fail: (fault) => faults.push({ fault, left: fault.times }),
    logEntry: entry,
    certificate: async (publicKey, subjectAltName, extensions) =>
      bytesOf(
        await ca.issueCertificate({
          publicKey: Buffer.from(publicKey),
          subjectAltName,
          extensions: [...extensions],
        }),
      ),
    signNote(note, name = LOG_NAME) {
      const signature = sign('sha256', Buffer.from(note), logKeys.privateKey)
      return `\u2014 ${name} ${base64(Buffer.concat([logId.subarray(0, 4), signature]))}\n`
    },
    async timestamp(signature) {
      const request = { artifactHash: base64(sha256(signature)), hashAlgorithm: 'sha256' }
      const answer = await tsaHandler(tsa).fn(JSON.stringify({ ...request, certificates: true }))
      return bytesOf(answer.response as Buffer)
    },
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function text(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
