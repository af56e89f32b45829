import { createHash, createPublicKey, verify, X509Certificate, type KeyObject } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { parseCertificate, parseCrl } from '../../attestation/lib/index.ts'
import { parsePckExtension, SGX_EXTENSION } from '../../attestation/tdx/pck.ts'
import { parseQuote } from '../../attestation/tdx/quote.ts'
import { simulateTdx, TDX_NEGATIVES, type TdxEvidence } from '../../src/simulate/index.ts'
import { judgeTdx } from './judge.ts'

const KINDS = (['td15', 'td10', 'sgx'] as const).flatMap((kind) =>
  (['platform', 'processor'] as const).map((ca) => [kind, ca] as const),
)

/** ECDSA P-256 with SHA-256, r ‖ s, by node alone. */
function p256(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

/** The two signatures of a quote, found by the layout alone. */
function quoteSignatures({ quote, kind }: TdxEvidence, pck: KeyObject) {
  const bytes = Buffer.from(quote)
  const version = bytes.readUInt16LE(0)
  const auth = (version >= 5 ? 54 : 48) + { sgx: 384, td10: 584, td15: 648 }[kind] + 4
  const [x, y] = [auth + 64, auth + 96].map((at) =>
    bytes.subarray(at, at + 32).toString('base64url'),
  )
  const jwk = { kty: 'EC', crv: 'P-256', x: x!, y: y! }
  const qe = auth + 128 + (version >= 4 ? 6 : 0)
  return {
    quote: p256(
      createPublicKey({ key: jwk, format: 'jwk' }),
      bytes.subarray(0, auth - 4),
      bytes.subarray(auth, auth + 64),
    ),
    qeReport: p256(pck, bytes.subarray(qe, qe + 384), bytes.subarray(qe + 384, qe + 448)),
  }
}

describe('simulated TDX machines', () => {
  it.each(KINDS)('%s under the %s CA: node verifies the chain', (kind, ca) => {
    const evidence = simulateTdx({ kind, ca })
    const [pck, authority, root, signer] = [
      evidence.pck,
      evidence.ca,
      evidence.root,
      evidence.tcbSigner,
    ].map((der) => new X509Certificate(der))
    expect(root!.verify(root!.publicKey)).toBe(true)
    expect(authority!.verify(root!.publicKey)).toBe(true)
    expect(pck!.verify(authority!.publicKey)).toBe(true)
    expect(signer!.verify(root!.publicKey)).toBe(true)
    expect(pck!.checkIssued(authority!)).toBe(true)
    for (const cert of [pck, authority, root, signer]) expect(cert!.subject).toContain('SIMULATED')
  })

  it.each(KINDS)(
    '%s under the %s CA: the strict verifier accepts it under the named root alone',
    (kind, ca) => {
      const evidence = simulateTdx({ kind, ca })
      const { accepted, codes, result } = judgeTdx(evidence, evidence.root)
      expect({ accepted, codes, simulated: result?.simulated }).toEqual({
        accepted: true,
        codes: [],
        simulated: true,
      })
      const stranger = simulateTdx({ seed: 'another vendor' })
      expect(judgeTdx(evidence, stranger.root).codes).toContain('ROOT_UNTRUSTED')
    },
  )

  it('quotes of version 4 and 5 carry TDX 1.0 and 1.5 bodies', () => {
    for (const [version, kind] of [
      [4, 'td10'],
      [5, 'td10'],
      [5, 'td15'],
    ] as const) {
      const evidence = simulateTdx({ kind, form: { version } })
      expect(parseQuote(evidence.quote)).toMatchObject({ version, body: { type: kind } })
      expect(judgeTdx(evidence, evidence.root).codes).toEqual([])
    }
    for (const version of [3, 4, 5]) {
      const evidence = simulateTdx({ kind: 'sgx', form: { version } })
      expect(judgeTdx(evidence, evidence.root).codes).toEqual([])
    }
  })

  it('the fields asked for are the fields recorded', () => {
    const fill = (length: number, byte: number) => new Uint8Array(length).fill(byte)
    const td = {
      mrSeam: fill(48, 1),
      xfam: 0x0602e7n,
      mrTd: fill(48, 2),
      mrConfigId: fill(48, 3),
      mrOwner: fill(48, 4),
      mrOwnerConfig: fill(48, 5),
      rtmrs: [6, 7, 8, 9].map((byte) => fill(48, byte)),
      reportData: fill(64, 10),
      mrServiceTd: fill(48, 11),
    }
    const { quote, pck, platform } = simulateTdx({ td, form: { padding: new Uint8Array(70) } })
    const parsed = parseQuote(quote)
    expect(parsed.body.report).toMatchObject(td)
    expect(parsed.padding).toBe(70)
    const extension = parseCertificate(pck).extensions.get(SGX_EXTENSION)
    expect(parsePckExtension(extension!.value, 'platform')).toMatchObject({
      ppid: platform.ppid,
      components: platform.components,
      pceSvn: platform.pceSvn,
      fmspc: platform.fmspc,
    })
  })

  it('a TDX 1.0 module is compared from component 0, a later one from component 2', () => {
    // TDX_01 with module SVN 5, where component 0 of every platform level asks for more.
    const tcbInfo: NonNullable<Parameters<typeof simulateTdx>[0]>['tcbInfo'] = (info) => ({
      ...info,
      tcbLevels: info.tcbLevels.map((level, i) => ({
        ...level,
        tcb: {
          ...level.tcb,
          tdxtcbcomponents: level.tcb.tdxtcbcomponents?.map(({ svn }, at) => ({
            svn: at === 0 ? 9 - i : svn,
          })),
        },
      })),
    })
    const evidence = simulateTdx({ tcbInfo })
    expect(judgeTdx(evidence, evidence.root).codes).toEqual([])
    const teeTcbSvn = Uint8Array.of(5, 0, 6, ...new Uint8Array(13))
    const old = simulateTdx({ tcbInfo, td: { teeTcbSvn, teeTcbSvn2: teeTcbSvn } })
    expect(judgeTdx(old, old.root).codes).toContain('TCB_NOT_SUPPORTED')
  })

  it('the same request gives the same bytes; machines of one seed share their vendor', () => {
    const digest = (machine: string) => {
      const { quote, collateral } = simulateTdx({ machine })
      return createHash('sha256').update(quote).update(JSON.stringify(collateral)).digest('hex')
    }
    expect(digest('a')).toBe(digest('a'))
    expect(digest('a')).not.toBe(digest('b'))
    expect(simulateTdx({ machine: 'a' }).root).toEqual(simulateTdx({ machine: 'b' }).root)
  })

  it('serves the collateral as the service does', () => {
    const { served, collateral, rootCrl, pckCrl } = simulateTdx()
    const [tcb, qe, pck, root] = served()
    const body = JSON.parse(Buffer.from(tcb!.body).toString()) as { tcbInfo: { fmspc: string } }
    expect(tcb!.path).toContain(`fmspc=${body.tcbInfo.fmspc.toLowerCase()}`)
    expect(decodeURIComponent(tcb!.header!.value)).toBe(collateral.tcb_info_issuer_chain)
    expect(qe!.header!.name).toBe('SGX-Enclave-Identity-Issuer-Chain')
    expect([pck!.body, root!.body]).toEqual([pckCrl, rootCrl])
    expect(parseCrl(pckCrl).revoked.size).toBe(1)
  })
})

describe('TDX negatives', () => {
  it('have distinct names', () => {
    expect(new Set(TDX_NEGATIVES.map(({ name }) => name)).size).toBe(TDX_NEGATIVES.length)
  })

  // That the verifier refuses each with its codes is test/attestation/tdx/simulated.test.ts. Here: that nothing but the stated fault is wrong.
  const OTHER_PCK_ISSUER = new Set(['pck-issued-by-root', 'pck-issued-by-the-other-ca'])
  const OTHER_PCK_KEY = new Set(['pck-of-another-key', 'pck-key-p384'])
  const OTHER_SIGNER_KEY = new Set([
    'pck-as-tcb-signer',
    'pck-named-tcb-signer',
    'pck-ca-as-tcb-signer',
    'collateral-signed-by-a-stranger',
  ])

  it.each(TDX_NEGATIVES)('$name is signed by the keys that its names claim', ({ name, record }) => {
    const { evidence } = record()
    const [pck, authority, root, signer] = [
      evidence.pck,
      evidence.ca,
      evidence.root,
      evidence.tcbSigner,
    ].map((der) => new X509Certificate(der))
    const { collateral } = evidence
    const signed = (text: string, hex: string) =>
      p256(signer!.publicKey, Buffer.from(text), Buffer.from(hex, 'hex'))
    expect({
      root: root!.verify(root!.publicKey),
      ca: authority!.verify(root!.publicKey),
      signer: signer!.verify(root!.publicKey),
      pck: pck!.verify(authority!.publicKey),
      tcbInfo: signed(collateral.tcb_info, collateral.tcb_info_signature),
      qeIdentity: signed(collateral.qe_identity, collateral.qe_identity_signature),
      ...quoteSignatures(evidence, pck!.publicKey),
    }).toEqual({
      root: true,
      ca: true,
      signer: true,
      pck: !OTHER_PCK_ISSUER.has(name),
      tcbInfo: !OTHER_SIGNER_KEY.has(name),
      qeIdentity: !OTHER_SIGNER_KEY.has(name),
      quote: true,
      qeReport: !OTHER_PCK_KEY.has(name),
    })
  })
})
