// The single owner of what the service writes down: one line of JSON for each event, and nothing that is secret.
import { pino, type DestinationStream, type Logger } from 'pino'

export type Log = Logger

export const LEVELS = ['debug', 'info', 'warn', 'error'] as const
export type Level = (typeof LEVELS)[number]

/** The service's log. Errors are written by code, message and place; request headers and bodies are never handed to it. */
export function openLog(destination: DestinationStream, level: Level): Log {
  return pino(
    {
      level,
      base: { service: 'zt4ai' },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: described },
      redact: {
        paths: ['authorization', '*.authorization', 'token', '*.token', 'password', '*.password'],
        censor: '[secret]',
      },
    },
    destination,
  )
}

/** An error without the objects that hang on it: a request or a socket may hold credentials. */
function described(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) }
  const { code, path } = error as { readonly code?: unknown; readonly path?: unknown }
  const internal = typeof code !== 'string'
  return {
    message: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof path === 'string' ? { path } : {}),
    ...(internal && error.stack !== undefined ? { stack: error.stack } : {}),
  }
}
