// The genuine keyless signatures, whole and with every byte changed in turn, offline.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { base64ToBytes, derChildren, parseDer } from '../../attestation/lib/index.ts'
import type { Der } from '../../attestation/lib/index.ts'
import { decodeBundle } from '../../src/bundle/bundle.ts'
import { ZtError } from '../../src/error.ts'
import { verifyKeyless } from '../../src/verify/keyless.ts'
import type { MaterialResult } from '../../src/verify/material.ts'
import { haveShared, shared } from '../shared.ts'

/** Rekor v1 alone (two releases), and Rekor v1 with a timestamp of the public-good authority. */
const VECTORS = [
  { path: 'vectors/oms/v0.3.1-sigstore/model.sig', time: '2025-05-03T01:10:02Z', tokens: 0 },
  { path: 'vectors/oms/v1.0.0-sigstore/model.sig', time: '2025-05-03T01:34:46Z', tokens: 0 },
  {
    path: 'vectors/oms-spec/test-vectors/valid/sigstore.bundle.json',
    time: '2025-10-10T02:12:20Z',
    tokens: 1,
  },
] as const
const IDENTITY = 'stefanb@us.ibm.com'
const ISSUER = 'https://sigstore.verify.ibm.com/oauth2'
/** A full run takes a minute; `ZT4AI_EXHAUSTIVE=1` asks for it. The steps have no factor in common with base64's groups of four. */
const EXHAUSTIVE = process.env['ZT4AI_EXHAUSTIVE'] === '1'
const LATER = new Date('2026-01-01T00:00:00Z')

function read(path: string): Uint8Array {
  return new Uint8Array(readFileSync(shared(path)))
}

async function verify(
  bytes: Uint8Array,
  trust: { readonly identity?: string; readonly issuer?: string; readonly at?: Date } = {},
): Promise<MaterialResult> {
  const { identity = IDENTITY, issuer = ISSUER, at = LATER } = trust
  const trustedRoot = read('vectors/oms/trusted_root.json')
  const asked = { kind: 'keyless', identity, issuer, trustedRoot } as const
  return await verifyKeyless(decodeBundle(bytes), bytes, asked, at)
}

function failures(result: MaterialResult): readonly string[] {
  return result.checks.filter(({ status }) => status === 'fail').map(({ code }) => code)
}

describe.skipIf(!haveShared)('genuine keyless signatures', () => {
  it.each(VECTORS)('$path verifies', async ({ path, time, tokens }) => {
    const result = await verify(read(path))
    expect(failures(result)).toEqual([])
    expect(result.signer).toMatchObject({ kind: 'keyless', identity: IDENTITY, issuer: ISSUER })
    expect(result.times).toEqual([
      { time, source: 'transparency-log' },
      ...Array.from({ length: tokens }, () => ({ time, source: 'timestamp-authority' })),
    ])
    expect(result.checks.map(({ id }) => id)).toEqual([
      'signature.certificate',
      'signature.envelope',
      'signature.log',
      'signature.time',
      'signature.identity',
      'signature.issuer',
    ])
  })

  it.each([
    'stefanb@us.ibm.co',
    'tefanb@us.ibm.com',
    'stefanb@us.ibm.com.example',
    'stefanb@us\\.ibm\\.com',
    'stefanb.us.ibm.com',
    '.*',
    '.',
    '',
    'STEFANB@US.IBM.COM',
    ' stefanb@us.ibm.com',
    'email:stefanb@us.ibm.com',
  ])('the identity %j is another one', async (identity) => {
    const result = await verify(read(VECTORS[1].path), { identity })
    expect(failures(result)).toEqual(['IDENTITY_MISMATCH'])
    expect(result.signer).toBeNull()
    expect(result.checks[0]).toMatchObject({ expected: identity, actual: IDENTITY })
  })

  it.each([
    'https://sigstore.verify.ibm.com/oauth',
    'https://sigstore.verify.ibm.com/oauth22',
    'https://sigstore.verify.ibm.com/oauth2/',
    'http://sigstore.verify.ibm.com/oauth2',
    'https://sigstore.verify.ibm.com/.*',
    '',
  ])('the issuer %j is another one', async (issuer) => {
    const result = await verify(read(VECTORS[1].path), { issuer, identity: IDENTITY })
    expect(failures(result)).toEqual(['ISSUER_MISMATCH'])
    expect(result.signer).toBeNull()
  })

  it('names both when both are wrong', async () => {
    const result = await verify(read(VECTORS[1].path), { identity: 'a', issuer: 'b' })
    expect(failures(result)).toEqual(['IDENTITY_MISMATCH', 'ISSUER_MISMATCH'])
  })

  it('is not judged before it was made', async () => {
    const [, { path, time }] = VECTORS
    expect(failures(await verify(read(path), { at: new Date(time) }))).toEqual([])
    const before = new Date(new Date(time).getTime() - 1000)
    expect(failures(await verify(read(path), { at: before }))).toEqual(['SIGNED_LATER'])
  })

  it('a missing entry list of the specification is refused', async () => {
    const path = 'vectors/oms-spec/test-vectors/invalid/missing-tlog-entries.bundle.json'
    expect(failures(await verify(read(path)))).toContain('LOG_ENTRY_MISSING')
  })
})

describe.skipIf(!haveShared)('every byte of a genuine keyless signature', () => {
  it('of Rekor v1 means something: any change is refused', async () => {
    expect(await accepted(read(VECTORS[1].path), EXHAUSTIVE ? 1 : 7)).toEqual([])
  }, 300_000)

  it('with a timestamp: only what RFC 3161 leaves unsigned may change', async () => {
    const bytes = read(VECTORS[2].path)
    const places = unsignedPlaces(bytes)
    // the response's status (0 and 1 both mean granted), and certificates beside the token: the trusted root's are used instead
    expect(places.map(({ name }) => name)).toEqual(['status', 'certificates'])
    const positions = await accepted(bytes, EXHAUSTIVE ? 1 : 17)
    const elsewhere = positions.filter(
      (at) => !places.some(({ from, until }) => from <= at && at < until),
    )
    expect(elsewhere).toEqual([])
  }, 300_000)
})

/** Where the bundle is still accepted after the byte at every `step`th position was changed, in turn in one of three ways. */
async function accepted(bytes: Uint8Array, step: number): Promise<readonly number[]> {
  const positions: number[] = []
  for (let at = 0; at < bytes.length; at += step) {
    const changed = Uint8Array.from(bytes)
    changed[at] = another(bytes[at] ?? 0, at)
    try {
      const result = await verify(changed)
      if (result.signer !== null) positions.push(at)
      else expect(failures(result)).not.toEqual([])
    } catch (error) {
      if (!(error instanceof ZtError)) throw error
    }
  }
  return positions
}

/** Another byte, most often one that keeps hex, base64 and numbers readable, so that the change gets past the first reader. */
function another(byte: number, at: number): number {
  const char = String.fromCharCode(byte)
  if (at % 5 === 0 || !/[0-9A-Za-z]/.test(char)) return byte ^ (1 << (at % 7))
  if (/[0-9]/.test(char)) return 0x30 + ((byte - 0x30 + 1 + (at % 8)) % 10)
  const base = byte & 0x60
  return base + 1 + ((byte - base - 1 + 1 + (at % 24)) % 26)
}

/** The parts of the first timestamp that no signature covers, as places in the text of the bundle. */
function unsignedPlaces(
  bytes: Uint8Array,
): readonly { readonly name: string; readonly from: number; readonly until: number }[] {
  const text = Buffer.from(bytes).toString('latin1')
  const match = /"signedTimestamp":\s*"([^"]+)"/.exec(text)
  const token = match?.[1] ?? ''
  const start = text.indexOf(token)
  const response = parseDer(base64ToBytes(token))
  const [status, content] = response.children
  const signedData = content?.children[1]?.children[0]
  const certificates = signedData?.children.find((node) => node.tag === 0xa0)
  const place = (name: string, node: Der | undefined) => {
    const from = (node?.der.byteOffset ?? 0) - response.der.byteOffset
    const until = from + (node?.der.length ?? 0)
    return {
      name,
      from: start + Math.floor((from * 4) / 3),
      until: start + Math.ceil((until * 4) / 3),
    }
  }
  return [
    place('status', status === undefined ? undefined : derChildren(status)[0]),
    place('certificates', certificates),
  ]
}
