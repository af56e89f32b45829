// Measures what verifying an SNP report costs, against the bare node:crypto calls that it can't do without. Run: npx tsx test/bench/snp.ts
import { constants, createHash, createPublicKey, verify } from 'node:crypto'
import type * as EndorsementTypes from '../../attestation/endorsements.ts'
import type * as X509 from '../../attestation/lib/x509.ts'
import type * as Roots from '../../attestation/roots.ts'
import type * as Snp from '../../attestation/snp/index.ts'
import type * as Simulated from '../../src/simulate/snp.ts'

/** Measured is what ships: the compiled files. A loader that transpiles on the way costs several times as much in small functions. */
async function built<T>(path: string): Promise<T> {
  return (await import(new URL(`../../dist/${path}`, import.meta.url).href)) as T
}
const { NO_ENDORSEMENTS } = await built<typeof EndorsementTypes>('attestation/endorsements.js')
const { parseCertificate } = await built<typeof X509>('attestation/lib/x509.js')
const { userRoots } = await built<typeof Roots>('attestation/roots.js')
const { attestSnp, parseReport, SnpTrust, STRICT_SNP_POLICY } = await built<typeof Snp>(
  'attestation/snp/index.js',
)
const { simulateSnp } = await built<typeof Simulated>('src/simulate/snp.js')

const WARM_UP = 20
const ROUNDS = 150
const PER_ROUND = 20
const BOUND = 1.3

const recorded = simulateSnp()
const ders = [recorded.leaf, recorded.ask, recorded.ark]
const [leaf, ask, ark] = ders.map(parseCertificate)
if (leaf === undefined || ask === undefined || ark === undefined) throw new Error('unreachable')
const [root] = userRoots(recorded.ark)
if (root === undefined) throw new Error('unreachable')
// as with a vendor's root: pinned by digest, the certificate comes with the evidence
const { name, vendor, sha256, simulated } = root
const trustRoots = [{ name, vendor, sha256, simulated }]
const { signed, signature } = parseReport(recorded.report)
const evidence = {
  platform: 'sev-snp',
  raw: recorded.report,
  form: 'report',
  endorsements: NO_ENDORSEMENTS,
} as const

const importKey = (spki: Uint8Array) =>
  createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 }

/** Key imports, digests for the pin and the result, three RSA-PSS verifications, one ECDSA verification: nothing else. */
function bareCold(): boolean {
  if (leaf === undefined || ask === undefined || ark === undefined) return false
  for (const bytes of [...ders, signed]) createHash('sha256').update(bytes).digest('hex')
  const keys = [leaf, ask, ark].map((cert) => importKey(cert.spki))
  const [leafKey, askKey, arkKey] = keys
  if (leafKey === undefined || askKey === undefined || arkKey === undefined) return false
  return (
    verify('sha384', leaf.tbs, { key: askKey, ...pss }, leaf.signature) &&
    verify('sha384', ask.tbs, { key: arkKey, ...pss }, ask.signature) &&
    verify('sha384', ark.tbs, { key: arkKey, ...pss }, ark.signature) &&
    verify('sha384', signed, { key: leafKey, dsaEncoding: 'ieee-p1363' }, signature)
  )
}

function bareWarm(): boolean {
  const key = leaf?.publicKey
  return (
    key !== undefined && verify('sha384', signed, { key, dsaEncoding: 'ieee-p1363' }, signature)
  )
}

function attest(endorsements: EndorsementTypes.Endorsements, trust?: Snp.SnpTrust): boolean {
  const { at } = recorded
  const options = trust === undefined ? { trustRoots } : { trustRoots, trust }
  return attestSnp(evidence, endorsements, STRICT_SNP_POLICY, at, at, options).accepted
}

function cold(): boolean {
  return attest({ ...NO_ENDORSEMENTS, certificates: ders.map(parseCertificate) })
}

const trust = new SnpTrust()
const known: EndorsementTypes.Endorsements = { ...NO_ENDORSEMENTS, certificates: [leaf, ask, ark] }
function warm(): boolean {
  return attest(known, trust)
}

/**
 * Microseconds of processor time per call of each. Rounds take turns, and the least of each counts: whatever else the machine does only ever adds to it.
 */
function measure(runs: Readonly<Record<string, () => boolean>>): Map<string, number> {
  const least = new Map<string, number>()
  for (let round = -WARM_UP; round < ROUNDS; round++) {
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

const result = measure({ bareCold, cold, bareWarm, warm })
const time = (name: string): number => result.get(name) ?? NaN
const rows = [
  ['cold: parse, chain, report, appraisal', time('cold'), time('bareCold')],
  ['warm: chain known by digest', time('warm'), time('bareWarm')],
] as const
console.log('SEV-SNP verification'.padEnd(40), 'µs', '   bare µs', '  ratio', '  reports/s')
let met = true
for (const [name, own, bare] of rows) {
  const ratio = own / bare
  met &&= ratio <= BOUND
  const cells = [own.toFixed(0), bare.toFixed(0), ratio.toFixed(2), (1e6 / own).toFixed(0)]
  console.log(name.padEnd(38), ...cells.map((cell) => cell.padStart(8)))
}
console.log(`bound ${BOUND}: ${met ? 'met' : 'NOT MET'}`)
if (!met) process.exitCode = 1
