// The single owner of the service's certificate: read from files, read again when they change, and a broken pair never replaces a good one.
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { sha256Hex } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'

export interface CertificateFiles {
  readonly cert: string
  readonly key: string
  /** Authority of the clients that may connect at all; undefined: everybody. */
  readonly clientCa?: string
}

/** What `https.createServer` and `setSecureContext` take. */
export interface Material {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca?: Buffer
}

export class ServerCertificate {
  readonly #files: CertificateFiles
  #digest: string
  #material: Material
  #expires: Date
  #broken: string | null = null

  /** @throws ZtError CERTIFICATE_INVALID */
  constructor(files: CertificateFiles) {
    this.#files = files
    const read = load(files)
    this.#digest = read.digest
    this.#material = read.material
    this.#expires = read.expires
  }

  get material(): Material {
    return this.#material
  }

  get expires(): Date {
    return this.#expires
  }

  /** Why the files as they are now are not in use; null if they are. */
  get broken(): string | null {
    return this.#broken
  }

  /** Looks at the files now; gives the new material if there is a good one. @throws ZtError CERTIFICATE_INVALID, once for each new fault */
  check(): Material | undefined {
    try {
      const read = load(this.#files)
      this.#broken = null
      if (read.digest === this.#digest) return undefined
      this.#digest = read.digest
      this.#material = read.material
      this.#expires = read.expires
      return read.material
    } catch (error) {
      if (!(error instanceof ZtError)) throw error
      if (this.#broken === error.message) return undefined
      this.#broken = error.message
      throw error
    }
  }
}

function load({ cert, key, clientCa }: CertificateFiles): {
  material: Material
  digest: string
  expires: Date
} {
  try {
    const material = {
      cert: readFileSync(cert),
      key: readFileSync(key),
      ...(clientCa === undefined ? {} : { ca: readFileSync(clientCa) }),
    }
    // A certificate and a key that do not belong together are refused here and not at the next handshake.
    createSecureContext(material)
    const expires = new Date(new X509Certificate(material.cert).validTo)
    const digest = sha256Hex(Buffer.concat(Object.values(material)))
    return { material, digest, expires }
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause)
    throw new ZtError('CERTIFICATE_INVALID', `the certificate can't be used: ${said}`, {
      path: cert,
      hint: 'the certificate and the key must be PEM and belong together',
      cause,
    })
  }
}
