// Measures what verifying a TDX quote costs, against the bare node:crypto calls that it can't do without, side by side with @phala/dcap-qvl. Run: npx tsx test/bench/tdx.ts
import { createHash, createPublicKey, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { createRequire } from 'node:module'
import type * as BuiltEndorsements from '../../attestation/endorsements.ts'
import type * as BuiltLibX509 from '../../attestation/lib/x509.ts'
import type * as BuiltLibPem from '../../attestation/lib/pem.ts'
import type * as BuiltLibCrl from '../../attestation/lib/crl.ts'
import type * as BuiltLibBytes from '../../attestation/lib/bytes.ts'
import type * as BuiltRoots from '../../attestation/roots.ts'
import type * as BuiltTdxIndex from '../../attestation/tdx/index.ts'
import type * as BuiltSimulateTdx from '../../src/simulate/tdx.ts'
import type { TdxTrust } from '../../attestation/tdx/trust.ts'

/** Measured is what ships: the compiled files. A loader that transpiles on the way costs several times as much in small functions. */
async function built<T>(path: string): Promise<T> {
  return (await import(new URL(`../../dist/${path}`, import.meta.url).href)) as T
}
const { NO_ENDORSEMENTS } = await built<typeof BuiltEndorsements>('attestation/endorsements.js')
const { parseCertificate } = await built<typeof BuiltLibX509>('attestation/lib/x509.js')
const { parsePem } = await built<typeof BuiltLibPem>('attestation/lib/pem.js')
const { parseCrl } = await built<typeof BuiltLibCrl>('attestation/lib/crl.js')
const { hexToBytes, utf8Encode } = await built<typeof BuiltLibBytes>('attestation/lib/bytes.js')
const { userRoots } = await built<typeof BuiltRoots>('attestation/roots.js')
const tdx = await built<typeof BuiltTdxIndex>('attestation/tdx/index.js')
const { simulateTdx } = await built<typeof BuiltSimulateTdx>('src/simulate/tdx.js')

interface Qvl {
  readonly QuoteVerifier: {
    readonly newWithRootCa: (der: Buffer) => {
      readonly verify: (quote: Buffer, collateral: object, seconds: number) => { status: string }
    }
  }
}
const qvl = createRequire(import.meta.url)('@phala/dcap-qvl') as Qvl

const ROUNDS = 120
const PER_ROUND = 25
const COLD_BOUND = 1.3
const WARM_BOUND = 1.5

const recorded = simulateTdx()
const { at, collateral } = recorded
const quote = tdx.parseQuote(recorded.quote)
const trustRoots = userRoots(recorded.root)
const evidence = {
  platform: 'tdx',
  raw: recorded.quote,
  form: 'quote',
  endorsements: NO_ENDORSEMENTS,
} as const

// --- ours ---

const certificates = [recorded.tcbSigner, recorded.root]
const lists = [recorded.rootCrl, recorded.pckCrl]
const statement = (text: string, signature: string) => ({
  raw: utf8Encode(text),
  signature: hexToBytes(signature),
})
const read = () => ({
  ...NO_ENDORSEMENTS,
  certificates: certificates.map(parseCertificate),
  crls: lists.map(parseCrl),
  tcbInfos: [statement(collateral.tcb_info, collateral.tcb_info_signature)],
  qeIdentities: [statement(collateral.qe_identity, collateral.qe_identity_signature)],
})

function attest(endorsements: ReturnType<typeof read>, trust?: TdxTrust): boolean {
  const options = trust === undefined ? { trustRoots } : { trustRoots, trust }
  return tdx.attestTdx(evidence, endorsements, tdx.STRICT_TDX_POLICY, at, at, options).accepted
}

const known = read()
const trust = new tdx.TdxTrust()
/** Certificates, lists and statements are read anew each time, so that nothing is known from before. */
const cold = (): boolean => attest(read())
const warm = (): boolean => attest(known, trust)

// --- bare: the signatures, the digests, and the keys as certificates carry them; nothing else ---

const chain = parsePem(new TextDecoder().decode(quote.certificationData), 'CERTIFICATE').map(
  parseCertificate,
)
const [leaf, ca, root] = chain
const signer = parseCertificate(recorded.tcbSigner)
if (leaf === undefined || ca === undefined || root === undefined) throw new Error('unreachable')
const [rootCrl, pckCrl] = known.crls
const [tcbInfo] = known.tcbInfos
const [identity] = known.qeIdentities
if (!rootCrl || !pckCrl || !tcbInfo || !identity) throw new Error('unreachable')

const importKey = (spki: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
const coordinate = (from: number): string =>
  Buffer.from(quote.attestationKey.subarray(from, from + 32)).toString('base64url')
const importPoint = (): KeyObject =>
  createPublicKey({
    key: { kty: 'EC', crv: 'P-256', x: coordinate(0), y: coordinate(32) },
    format: 'jwk',
  })
const plain = (data: Uint8Array, key: KeyObject, signature: Uint8Array): boolean =>
  verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, signature)
const der = (data: Uint8Array, key: KeyObject, signature: Uint8Array): boolean =>
  verify('sha256', data, { key, dsaEncoding: 'der' }, signature)
const digested = [
  quote.bytes,
  ...[...chain, signer, root].map((cert) => cert.der),
  rootCrl.der,
  pckCrl.der,
  tcbInfo.raw,
  identity.raw,
]

function bareCold(): boolean {
  if (leaf === undefined || ca === undefined || root === undefined) return false
  if (!rootCrl || !pckCrl || !tcbInfo || !identity) return false
  for (const bytes of digested) createHash('sha256').update(bytes).digest('hex')
  const [leafKey, caKey, rootKey] = [importKey(leaf.spki), importKey(ca.spki), importKey(root.spki)]
  const signerKey = importKey(signer.spki)
  return (
    der(leaf.tbs, caKey, leaf.signature) &&
    der(ca.tbs, rootKey, ca.signature) &&
    der(signer.tbs, rootKey, signer.signature) &&
    der(rootCrl.tbs, rootKey, rootCrl.signature) &&
    der(pckCrl.tbs, caKey, pckCrl.signature) &&
    plain(tcbInfo.raw, signerKey, tcbInfo.signature) &&
    plain(identity.raw, signerKey, identity.signature) &&
    plain(quote.qeReport.bytes, leafKey, quote.qeReportSignature) &&
    plain(quote.signed, importPoint(), quote.signature)
  )
}

const attestationKey = importPoint()
const bareWarm = (): boolean =>
  plain(quote.qeReport.bytes, leaf.publicKey, quote.qeReportSignature) &&
  plain(quote.signed, attestationKey, quote.signature)

// --- theirs: cold only, it keeps nothing between calls ---

const verifier = qvl.QuoteVerifier.newWithRootCa(Buffer.from(recorded.root))
const theirs = (): boolean =>
  verifier.verify(Buffer.from(recorded.quote), collateral, at.getTime() / 1000).status ===
  'UpToDate'

/**
 * Microseconds of processor time per call of each. Rounds take turns, and the least of each counts: whatever else the machine does only ever adds to it.
 */
function measure(runs: Readonly<Record<string, () => boolean>>): Map<string, number> {
  const least = new Map<string, number>()
  for (let round = -3; round < ROUNDS; round++) {
    for (const [name, run] of Object.entries(runs)) {
      const start = process.cpuUsage()
      for (let i = 0; i < PER_ROUND; i++) if (!run()) throw new Error(`${name} does not verify`)
      const { user, system } = process.cpuUsage(start)
      if (round < 0) continue
      least.set(name, Math.min(least.get(name) ?? Infinity, (user + system) / PER_ROUND))
    }
  }
  return least
}

const result = measure({ bareCold, cold, bareWarm, warm, theirs })
const time = (name: string): number => result.get(name) ?? NaN
const rows = [
  ['cold: quote, chain, collateral, appraisal', time('cold'), time('bareCold'), COLD_BOUND],
  ['warm: platform known by digest', time('warm'), time('bareWarm'), WARM_BOUND],
  ['@phala/dcap-qvl, which is always cold', time('theirs'), time('bareCold'), null],
] as const
console.log(
  'Intel TDX verification'.padEnd(42),
  'µs',
  '   bare µs',
  '  ratio',
  '   quotes/s',
  '  bound',
)
let met = true
for (const [name, own, bare, bound] of rows) {
  const ratio = own / bare
  met &&= bound === null || ratio <= bound
  const cells = [own.toFixed(0), bare.toFixed(0), ratio.toFixed(2), (1e6 / own).toFixed(0)]
  console.log(
    name.padEnd(42),
    ...cells.map((cell) => cell.padStart(8)),
    bound === null ? '' : `   ${bound}`,
  )
}
console.log(met ? 'bounds met' : 'bounds NOT MET')
if (!met) process.exitCode = 1
