// The single owner of the service's sockets: TLS with certificates that change under way, limits against those who hold connections, and a graceful end.
import { createServer as createHttp, type Server } from 'node:http'
import { createServer as createHttps, type Server as SecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { ZtError } from '../error.ts'
import { handler, type HandlerOptions, type Route } from './http.ts'
import type { ServerCertificate } from './tls.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface ListenOptions extends HandlerOptions {
  readonly address: Address
  readonly routes: readonly Route[]
  /** Undefined: plain HTTP, which only a loopback address may speak unless it is `admin`. */
  readonly certificate?: ServerCertificate
  /** Health and metrics alone: no decision and no secret passes here. */
  readonly admin?: boolean
  readonly maxConnections: number
}

export interface Listening {
  readonly url: string
  readonly port: number
  connections(): Promise<number>
  /** Uses new certificates for the connections from now on. */
  renew(certificate: ServerCertificate): void
  /** Takes no new connection, lets what runs end within `graceMs`, and closes the rest. */
  close(graceMs: number): Promise<void>
}

/** Go's client keeps idle connections for 90 s: a server that ends them earlier makes its requests fail at random. */
const KEEP_ALIVE_MS = 125_000
const LIMITS = {
  maxHeaderSize: 16 << 10,
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  keepAliveTimeout: KEEP_ALIVE_MS,
  connectionsCheckingInterval: 2_000,
} as const

/** Starts to listen. @throws ZtError USAGE, IO */
export async function listen(options: ListenOptions): Promise<Listening> {
  const { address, certificate, admin } = options
  if (certificate === undefined && admin !== true && !isLoopback(address.host))
    throw new ZtError('USAGE', 'plain HTTP is only spoken on a loopback address', {
      path: address.host,
      hint: 'give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy',
    })
  const listener = handler(options.routes, options)
  const server: Server | SecureServer =
    certificate === undefined
      ? createHttp(LIMITS, listener)
      : createHttps(
          {
            ...LIMITS,
            ...certificate.material,
            minVersion: 'TLSv1.2',
            handshakeTimeout: 10_000,
            ...(certificate.material.ca === undefined
              ? {}
              : { requestCert: true, rejectUnauthorized: true }),
          },
          listener,
        )
  server.maxConnections = options.maxConnections
  server.maxHeadersCount = 64
  server.on('clientError', (_, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n')
    else socket.destroy()
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new ZtError('IO', `can't listen: ${cause.message}`, {
          path: `${address.host}:${String(address.port)}`,
          cause,
        }),
      )
    })
    // Many may knock at the same moment: the system's default queue of 511 is too short for them.
    server.listen({ host: address.host, port: address.port, backlog: 4096 }, resolve)
  })
  const { port } = server.address() as AddressInfo
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  return {
    url: `${certificate === undefined ? 'http' : 'https'}://${host}:${String(port)}`,
    port,
    connections: () =>
      new Promise((resolve) => {
        server.getConnections((_, count) => resolve(count))
      }),
    renew: (fresh) => {
      if ('setSecureContext' in server) server.setSecureContext(fresh.material)
    },
    close: (graceMs) =>
      new Promise((resolve) => {
        const kill = setTimeout(() => server.closeAllConnections(), graceMs)
        server.close(() => {
          clearTimeout(kill)
          resolve()
        })
        server.closeIdleConnections()
      }),
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)
}
