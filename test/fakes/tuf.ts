// The single owner of the fake TUF repository: one key for all roles, one target, on loopback.
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface FakeTuf {
  readonly url: string
  /** The first root, as a client is given it. */
  readonly root: Uint8Array
  readonly files: Map<string, Uint8Array>
  close(): Promise<void>
}

/** Serves `trusted_root.json` with this content, signed as TUF 1.0 wants it (without consistent snapshots). */
export async function startFakeTuf(
  target: Uint8Array,
  expires = '2100-01-01T00:00:00Z',
): Promise<FakeTuf> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const key = {
    keytype: 'ecdsa',
    scheme: 'ecdsa-sha2-nistp256',
    keyval: { public: publicKey.export({ type: 'spki', format: 'pem' }) },
  }
  const keyid = sha256(Buffer.from(canonical(key)))
  const role = { keyids: [keyid], threshold: 1 }
  const signed = (type: string, more: object): Uint8Array => {
    const body = { _type: type, spec_version: '1.0.31', version: 1, expires, ...more }
    const sig = sign('sha256', Buffer.from(canonical(body)), privateKey).toString('hex')
    return Buffer.from(JSON.stringify({ signed: body, signatures: [{ keyid, sig }] }))
  }
  const roles = { root: role, timestamp: role, snapshot: role, targets: role }
  const root = signed('root', { consistent_snapshot: false, keys: { [keyid]: key }, roles })
  const hashes = { sha256: sha256(target) }
  const files = new Map<string, Uint8Array>([
    ['/timestamp.json', signed('timestamp', { meta: { 'snapshot.json': { version: 1 } } })],
    ['/snapshot.json', signed('snapshot', { meta: { 'targets.json': { version: 1 } } })],
    [
      '/targets.json',
      signed('targets', { targets: { 'trusted_root.json': { length: target.length, hashes } } }),
    ],
    ['/targets/trusted_root.json', target],
  ])
  const server = createServer((request, response) => {
    const file = files.get(request.url ?? '')
    response.writeHead(file === undefined ? 404 : 200).end(file)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    root,
    files,
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Canonical JSON as TUF signs it: sorted keys, no blanks, only quote and backslash escaped (so a line end stays one). */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${members.map(([name, member]) => `${canonical(name)}:${canonical(member)}`).join(',')}}`
  }
  return typeof value === 'string' ? `"${value.replace(/[\\"]/g, '\\$&')}"` : JSON.stringify(value)
}
