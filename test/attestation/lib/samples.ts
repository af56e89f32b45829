// The single owner of the genuine certificates and revocation lists that the tests of the readers run over.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { haveShared, SHARED } from '../../shared.ts'

export interface Sample {
  readonly name: string
  readonly der: Uint8Array
}

const PEM = /-----BEGIN (CERTIFICATE|X509 CRL)-----([A-Za-z0-9+/=\s]+?)-----END \1-----/g
const RAW = /"rawBytes":\s*"(MII[A-Za-z0-9+/=]+)"/g
const HEX = /"(?:root_ca_crl|pck_crl)":\s*"([0-9a-f]+)"/g

/** Every certificate and CRL below the shared folder, found by deliberately simple means that share no code with the readers. */
export function genuine(): { certificates: readonly Sample[]; crls: readonly Sample[] } {
  const certificates = new Map<string, Sample>()
  const crls = new Map<string, Sample>()
  const add = (to: Map<string, Sample>, name: string, der: Buffer): void => {
    to.set(der.toString('hex'), { name, der: new Uint8Array(der) })
  }
  if (haveShared) {
    for (const folder of ['recorded', 'vectors']) {
      const root = join(SHARED, folder)
      for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue
        const path = join(entry.parentPath, entry.name)
        const bytes = readFileSync(path)
        if (entry.name.endsWith('.der')) {
          add(/crl/i.test(entry.name) ? crls : certificates, path, bytes)
          continue
        }
        if (bytes.length > 200_000) continue
        let text = bytes.toString('latin1').replaceAll('\\n', '\n')
        if (entry.name.endsWith('-response.json')) text = decodeURIComponent(text)
        for (const [, label, body = ''] of text.matchAll(PEM)) {
          add(label === 'CERTIFICATE' ? certificates : crls, path, Buffer.from(body, 'base64'))
        }
        for (const [, body = ''] of text.matchAll(RAW)) {
          const der = Buffer.from(body, 'base64')
          if (der.length > 400) add(certificates, path, der)
        }
        for (const [, body = ''] of text.matchAll(HEX)) add(crls, path, Buffer.from(body, 'hex'))
      }
    }
  }
  return { certificates: [...certificates.values()], crls: [...crls.values()] }
}
