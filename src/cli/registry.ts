// The single owner of how commands reach a registry: Docker's credentials, and one connection for all of a command.
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { httpTransport, type Transport } from '../fetch/transport.ts'
import { registrySource, type RegistrySource, type RegistrySourceOptions } from '../gate/oci.ts'
import { dockerCredentials, type CredentialSource } from '../registry/auth.ts'
import { openRepository, type Repository } from '../registry/client.ts'
import { parseReference, type Reference } from '../registry/reference.ts'
import { readBytes, readText } from './options.ts'
import type { RegistryOptions } from './registry-options.ts'

export interface Connection {
  readonly transport: Transport
  repository(reference: Reference): Repository
}

/** One connection for all repositories of a command. Nothing is sent yet. */
export function connect(options: RegistryOptions, signal?: AbortSignal): Connection {
  const plainHttp = options.plainHttp === true
  const transport = httpTransport({
    plainHttp,
    ...(options.registryCa === undefined ? {} : { ca: readText(options.registryCa) }),
    ...(signal === undefined ? {} : { signal }),
  })
  const credentials = dockerConfig()
  return {
    transport,
    repository: ({ host, repository }) =>
      openRepository(host, repository, {
        transport,
        plainHttp,
        ...(credentials === undefined ? {} : { credentials }),
      }),
  }
}

/** The model behind a reference. */
export function openReference(
  text: string,
  connection: Connection,
  options: RegistrySourceOptions = {},
): Promise<RegistrySource> {
  const reference = parseReference(text)
  return registrySource(connection.repository(reference), reference, options)
}

/** Credentials as `docker login` left them; undefined where there are none. */
export function dockerConfig(): CredentialSource | undefined {
  const folder = process.env['DOCKER_CONFIG'] ?? join(homedir(), '.docker')
  const file = join(folder, 'config.json')
  return existsSync(file) ? dockerCredentials(readBytes(file)) : undefined
}
