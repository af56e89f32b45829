// The genuine signatures of every release of the reference implementation, whole and mutated.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { bytesToBase64 } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { decodeStatement } from '../../src/bundle/statement.ts'
import { writeStatement } from '../../src/bundle/write.ts'
import { ZtError } from '../../src/error.ts'
import { compareModel } from '../../src/model/compare.ts'
import { rootDigest } from '../../src/model/manifest.ts'
import { certificateSigner } from '../../src/sign/certificate.ts'
import { keySigner, readPrivateKey } from '../../src/sign/key.ts'
import { signStatement } from '../../src/sign/model.ts'
import { verifyModel } from '../../src/verify/model.ts'
import type { Trust } from '../../src/verify/result.ts'
import { verifySignature } from '../../src/verify/statement.ts'
import { issue, party } from '../fakes/authority.ts'
import { omsSchemas } from '../fakes/schemas.ts'
import { haveShared, shared } from '../shared.ts'

const AT = new Date('2026-06-01T00:00:00Z')
const bytes = (path: string): Uint8Array => new Uint8Array(readFileSync(shared(path)))
const text = (path: string): string => readFileSync(shared(path), 'utf8')

function trusts(): Record<'key' | 'certificate' | 'keyless', Trust> {
  return {
    key: { kind: 'key', publicKey: text('vectors/oms/keys/certificate/signing-key-pub.pem') },
    certificate: {
      kind: 'certificate',
      roots: text('vectors/oms/keys/certificate/ca-cert.pem'),
      identity: 'intermediate-ca',
    },
    keyless: {
      kind: 'keyless',
      identity: 'stefanb@us.ibm.com',
      issuer: 'https://sigstore.verify.ibm.com/oauth2',
      trustedRoot: bytes('vectors/oms/trusted_root.json'),
    },
  }
}

const ROOT = '61d4849d9d90076d6215f4d525f13d6574af8e3f67aef3e6f36fc40a14fdd226'
const VECTORS = [
  { name: 'v0.2.0-certificate', method: 'certificate', root: ROOT },
  { name: 'v0.3.1-certificate', method: 'certificate', root: ROOT },
  { name: 'v1.0.0-certificate', method: 'certificate', root: ROOT },
  { name: 'v1.1.0-certificate', method: 'certificate', root: ROOT },
  {
    name: 'v0.3.1-elliptic-key',
    file: 'signme-1',
    method: 'key',
    root: 'afa48c8674afe334b8a7dea34f7b46ab256e9255edf8da2132792341b667a45b',
  },
  {
    name: 'v1.1.0-elliptic-key',
    method: 'key',
    root: '92745110b1ab4368471cbe31664e10174e954b113a3df333db860317b2c6dec4',
  },
  { name: 'v0.3.1-sigstore', method: 'keyless', root: ROOT },
  { name: 'v1.0.0-sigstore', method: 'keyless', root: ROOT },
] as const

const temporary: string[] = []
afterAll(() => temporary.forEach((path) => rmSync(path, { recursive: true, force: true })))

/** A copy that can be changed: the model's path and its signature's. */
function copy(vector: (typeof VECTORS)[number]): { path: string; signature: string } {
  const base = mkdtempSync(join(tmpdir(), 'zt4ai-vector-'))
  temporary.push(base)
  cpSync(shared(`vectors/oms/${vector.name}`), base, { recursive: true })
  return {
    path: 'file' in vector ? join(base, vector.file) : base,
    signature: join(base, 'model.sig'),
  }
}

describe.skipIf(!haveShared)('every vector gives the answer that its index says', () => {
  it('and none is left out', () => {
    const listed = readdirSync(shared('vectors/oms')).filter((name) => name.startsWith('v'))
    expect(listed.sort()).toEqual(VECTORS.map(({ name }) => name).sort())
  })

  it.each(VECTORS)('$name', async (vector) => {
    const { path, signature } = copy(vector)
    const verdict = await verifyModel(path, { trust: trusts()[vector.method], at: AT, signature })
    expect(verdict.checks.filter(({ status }) => status === 'fail')).toEqual([])
    expect(verdict.decision).toBe('allow')
    expect(verdict.subject.digest?.sha256).toBe(vector.root)
    const ignored = verdict.checks.find(({ code }) => code === 'UNSIGNED_IGNORED')
    expect(ignored?.actual).toBe(vector.name.startsWith('v1.1.0') ? 'ignore-me' : undefined)
  })

  it.each(VECTORS)(
    '$name: not by another method, nor by another signer of the same',
    async (vector) => {
      const { path, signature } = copy(vector)
      const all = trusts()
      for (const [method, trust] of Object.entries(all)) {
        if (method === vector.method) continue
        const verdict = await verifyModel(path, { trust, at: AT, signature })
        expect(verdict.decision).toBe('deny')
      }
    },
  )

  it.each(VECTORS)('$name: every byte of every file changed in turn is refused', async (vector) => {
    const { path, signature } = copy(vector)
    const trust = trusts()[vector.method]
    const { manifest } = await verifySignature(new Uint8Array(readFileSync(signature)), trust, AT)
    const options = 'file' in vector ? {} : { ignorePaths: ['model.sig'] }
    const base = join(signature, '..')
    const files = 'file' in vector ? [vector.file] : ['signme-1', 'signme-2']
    for (const file of files) {
      const place = join(base, file)
      const original = readFileSync(place)
      expect(original.length).toBeGreaterThan(0)
      for (let at = 0; at <= original.length; at++) {
        const changed =
          at < original.length ? Buffer.from(original) : Buffer.concat([original, Buffer.alloc(1)])
        if (at < original.length) changed[at]! ^= 1 << (at % 8)
        writeFileSync(place, changed)
        const { checks } = await compareModel(path, manifest!, options)
        const failed = checks.filter(({ status }) => status === 'fail')
        expect(failed).toHaveLength(1)
        expect(failed[0]).toMatchObject({ code: 'FILE_CHANGED' })
      }
      expect((await verifyModel(path, { trust, at: AT, signature })).decision).toBe('deny')
      writeFileSync(place, original)
    }
    expect((await verifyModel(path, { trust, at: AT, signature })).decision).toBe('allow')
  })
})

/**
 * The places of a bundle that carry no meaning. Outside of strings only blanks do not count. Inside: a key id is never used (DSSE §3);
 * `keyDetails`, `hint` and raw keys are compared, so they are not here.
 */
function meaningless(json: string): boolean[] {
  const free = new Array<boolean>(json.length).fill(false)
  let inside = false
  for (let at = 0; at < json.length; at++) {
    if (json[at] === '"' && json[at - 1] !== '\\') inside = !inside
    else if (!inside && /\s/.test(json[at]!)) free[at] = true
  }
  const keyid = /"keyid":\s*"([^"]*)"/.exec(json)
  if (keyid !== null)
    free.fill(
      true,
      keyid.index + keyid[0].length - 1 - keyid[1]!.length,
      keyid.index + keyid[0].length - 1,
    )
  return free
}

/** What of a bundle is signed, compared or verified; null if its form is refused. */
function counted(bundle: Uint8Array): string | null {
  try {
    const { material, envelope } = decodeBundle(bundle)
    return JSON.stringify({ material, envelope }, (_, value: unknown) =>
      value instanceof Uint8Array ? bytesToBase64(value) : value,
    )
  } catch (error) {
    expect(error).toBeInstanceOf(ZtError)
    return null
  }
}

/**
 * Changes every byte in turn. Where the bundle then still has its form and nothing that counts differs, the byte must be one of those that
 * carry no meaning. Every `step`th change (coprime to the width of base64) goes through the whole verification.
 */
async function mutate(original: Uint8Array, trust: Trust, step: number): Promise<number> {
  const free = meaningless(Buffer.from(original).toString('latin1'))
  const before = counted(original)
  let verified = 0
  for (let at = 0; at < original.length; at++)
    for (const [turn, change] of [0x01, 0x20, 0x80].entries()) {
      const changed = Uint8Array.from(original)
      changed[at]! ^= change
      const after = counted(changed)
      const where = `${at}: ${Buffer.from(original.subarray(at - 20, at + 1)).toString()} ^ ${change}`
      if (after === before) expect(free[at], where).toBe(true)
      else if (after !== null && (at + turn) % step === 0) {
        expect((await verifySignature(changed, trust, AT)).manifest, where).toBeNull()
        verified++
      }
    }
  return verified
}

const OFFLINE = VECTORS.filter(({ method }) => method !== 'keyless')

describe('every byte of a bundle changed in turn', () => {
  // the genuine keyless ones: test/verify/keyless-vectors.test.ts
  it.skipIf(!haveShared).each(OFFLINE)('$name', async ({ name, method, root }) => {
    const original = bytes(`vectors/oms/${name}/model.sig`)
    const trust = trusts()[method]
    expect((await verifySignature(original, trust, AT)).manifest?.root).toBe(root)
    expect(await mutate(original, trust, 61)).toBeGreaterThan(20)
  })

  it.each(['key', 'certificate'] as const)(
    'our own %s bundle, each change verified whole',
    async (method) => {
      const signer = party('signer')
      const root = party('root')
      const key = readPrivateKey(signer.privatePem)
      const port =
        method === 'key'
          ? keySigner(key)
          : certificateSigner(key, { certificate: issue(signer, { issuer: root }) }, AT)
      const trust: Trust =
        method === 'key'
          ? { kind: 'key', publicKey: signer.publicPem }
          : { kind: 'certificate', roots: issue(root, { ca: true }) }
      const resources = [{ name: 'a', algorithm: 'sha256', digest: 'ab'.repeat(32) }]
      const statement = writeStatement({
        name: 'm',
        serialization: { method: 'files', hashType: 'sha256', allowSymlinks: false },
        resources,
        root: rootDigest(resources),
      })
      const original = await signStatement(statement, port)
      expect((await verifySignature(original, trust, AT)).manifest).not.toBeNull()
      expect(await mutate(original, trust, 1)).toBeGreaterThan(500)
    },
  )

  it.skipIf(!haveShared).each(OFFLINE)('$name, cut or with more after its end', async (vector) => {
    const trust = trusts()[vector.method]
    const original = bytes(`vectors/oms/${vector.name}/model.sig`)
    const end = Buffer.from(original).toString('latin1').trimEnd().length
    for (let length = 0; length < end; length++)
      expect(counted(original.subarray(0, length))).toBeNull()
    for (const more of ['x', '{}', '\0', ',']) {
      const longer = Buffer.concat([original, Buffer.from(more)])
      expect((await verifySignature(longer, trust, AT)).manifest).toBeNull()
    }
  })
})

describe.skipIf(!haveShared)("the specification's own vectors", () => {
  const folder = 'vectors/oms-spec/test-vectors'

  it.each([
    ['key', 'key'],
    ['certificate', 'certificate'],
    ['sigstore', 'keyless'],
  ] as const)('valid %s: signature and root', async (name, method) => {
    const bundle = bytes(`${folder}/valid/${name}.bundle.json`)
    const result = await verifySignature(bundle, trusts()[method], AT)
    expect(result.checks.filter(({ status }) => status === 'fail')).toEqual([])
    expect(result.manifest).not.toBeNull()
  })

  it.each(['empty', 'missing-envelope', 'missing-tlog-entries', 'missing-verification-material'])(
    'invalid %s',
    async (name) => {
      const bundle = bytes(`${folder}/invalid/${name}.bundle.json`)
      if (bundle.length > 0)
        expect(omsSchemas().valid(JSON.parse(Buffer.from(bundle).toString()))).toBe(false)
      for (const trust of Object.values(trusts()))
        expect((await verifySignature(bundle, trust, AT)).manifest).toBeNull()
    },
  )

  it('invalid payload: another predicate', async () => {
    const bundle = bytes(`${folder}/invalid-payload/wrong-predicate.bundle.json`)
    const { json } = decodeStatement(decodeBundle(bundle).envelope.payload)
    expect(omsSchemas().validStatement(JSON.parse(JSON.stringify(json)))).toBe(false)
    for (const trust of Object.values(trusts()))
      expect((await verifySignature(bundle, trust, AT)).manifest).toBeNull()
  })
})
