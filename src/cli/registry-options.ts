// The single owner of the options by which commands reach a registry; apart from the connection, so that other commands load no network code.
import type { Command } from 'commander'

export interface RegistryOptions {
  readonly plainHttp?: boolean
  readonly registryCa?: string
}

/** Adds the options. */
export function addRegistry(command: Command): Command {
  return command
    .option('--plain-http', 'speak http to the registry (for one on this machine)')
    .option('--registry-ca <pem>', "certificate to trust for the registry's TLS")
}
