// The single owner of the keyless method's verification: a Sigstore bundle, offline, against the caller's trusted root and exact identity.
import { equalBytes, formatTime, parseCertificate } from '../../attestation/lib/index.ts'
import type { Certificate } from '../../attestation/lib/index.ts'
import type { Bundle } from '../bundle/bundle.ts'
import { pae } from '../bundle/dsse.ts'
import { guardLogEntries } from '../bundle/guard.ts'
import type { LogEntry } from '../bundle/guard.ts'
import { finding } from '../bundle/guard-entry.ts'
import type { Finding } from '../bundle/guard-entry.ts'
import { guardTimestamps } from '../bundle/guard-timestamp.ts'
import type { Timestamp } from '../bundle/guard-timestamp.ts'
import { describeKey, verifiesWith } from '../bundle/keys.ts'
import type { Check } from '../verdict.ts'
import { readIdentity } from './keyless-identity.ts'
import type { CertificateIdentity } from './keyless-identity.ts'
import { verifyWithLibrary } from './keyless-library.ts'
import type { Part } from './keyless-library.ts'
import { readTrustedRoot } from './keyless-root.ts'
import { wrongMaterial } from './material.ts'
import type { KeylessTrust, MaterialResult } from './material.ts'
import type { SigningTime } from './result.ts'
import type { TrustMaterial } from '@sigstore/verify'

const SCT_LIST = '1.3.6.1.4.1.11129.2.4.2'

/**
 * Verifies a keyless signature without any network: certificate chain and SCT at the proven time of signing, the signature, every
 * transparency log entry, every timestamp, then identity and issuer, compared exactly (Sigstore client specification §4).
 * One SCT, one log entry and one proven time are the least that is accepted; nothing lowers that.
 * @throws ZtError TRUST_INVALID if the trusted root can't be read
 */
export async function verifyKeyless(
  bundle: Bundle,
  _bytes: Uint8Array,
  trust: KeylessTrust,
  at: Date,
): Promise<MaterialResult> {
  const root = readTrustedRoot(trust.trustedRoot)
  const { material } = bundle
  if (material.kind !== 'certificates') return wrongMaterial('certificate', 'publicKey')
  const [der] = material.certificates
  if (der === undefined || material.form !== 'single' || material.certificates.length !== 1)
    return wrongMaterial('certificate', 'x509CertificateChain')

  const report = new Report()
  const leaf = readLeaf(der, report)
  if (leaf === null) return report.refused()
  await checkEnvelope(bundle, leaf.certificate, report)

  const logs = root.tlogs.map(({ baseURL, logID }) => ({ baseUrl: baseURL, logId: logID }))
  const { findings, entries } = guardLogEntries(bundle, der, logs)
  report.fail('log', ...findings)
  const tokens = guardTimestamps(bundle.timestamps)
  report.fail('time', ...tokens.findings)
  const times = provenTimes(entries, tokens.timestamps)
  if (findings.length === 0) checkTimes(times, leaf.certificate, at, report)

  if (!report.failed) {
    const failure = verifyWithLibrary(bundle, der, entries, tokens.timestamps, root)
    if (failure !== null) report.fail(failure.part, failure.finding)
    else report.fail('log', ...logPeriods(entries, times, root))
  }
  checkIdentity(leaf.identity, trust, report)
  if (report.failed) return report.refused()
  return {
    checks: report.passed(leaf.identity, times),
    signer: { kind: 'keyless', ...leaf.identity, leafSha256: leaf.certificate.sha256 },
    times,
    oldEncoding: false,
  }
}

/** Collects failures by part, and names the checks: one id a part, numbered where a part failed more than once. */
class Report {
  readonly #failures: (Finding & { readonly part: Part })[] = []

  get failed(): boolean {
    return this.#failures.length > 0
  }

  fail(part: Part, ...findings: readonly Finding[]): void {
    for (const found of findings) this.#failures.push({ ...found, part })
  }

  refused(): MaterialResult {
    const count = new Map<Part, number>()
    const checks = this.#failures.map(({ part, ...found }): Check => {
      const number = (count.get(part) ?? 0) + 1
      count.set(part, number)
      const id = number === 1 ? `signature.${part}` : `signature.${part}.${number}`
      return { id, status: 'fail', expected: EXPECTED[part], actual: 'something else', ...found }
    })
    return { checks, signer: null, times: [], oldEncoding: false }
  }

  passed(who: CertificateIdentity, times: readonly SigningTime[]): readonly Check[] {
    const pass = (part: Part, message: string): Check => ({
      id: `signature.${part}`,
      status: 'pass',
      code: 'OK',
      message,
    })
    return [
      pass('certificate', 'the certificate chains to the trusted root, and is logged (SCT)'),
      pass('envelope', "the signature is the certificate's key's (ecdsa-p256)"),
      pass('log', 'the transparency log holds this signature'),
      pass(
        'time',
        `signed at ${times.map(({ time, source }) => `${time} (${source})`).join(', ')}`,
      ),
      pass('identity', `signed by ${who.identity}`),
      pass('issuer', `the identity was vouched for by ${who.issuer}`),
    ]
  }
}

/** What is expected of each part, where the finding does not compare two values. */
const EXPECTED: Readonly<Record<Part, string>> = {
  certificate: 'a sound certificate for signing, issued by the trusted Sigstore instance',
  envelope: "a signature by the certificate's key over this payload",
  log: 'a proof that the trusted transparency log holds this signature',
  time: 'a proven time of signing',
  identity: 'the identity that was asked for',
  issuer: 'the issuer that was asked for',
}

function readLeaf(
  der: Uint8Array,
  report: Report,
): { readonly certificate: Certificate; readonly identity: CertificateIdentity } | null {
  try {
    const certificate = parseCertificate(der)
    const identity = readIdentity(certificate)
    describeKey(certificate.publicKey)
    if (!certificate.extensions.has(SCT_LIST))
      report.fail('certificate', {
        code: 'SCT_INVALID',
        message: 'the certificate carries no proof that it is in a certificate transparency log',
        expected: 'at least 1 signed certificate timestamp',
        actual: 'none',
      })
    return { certificate, identity }
  } catch (error) {
    const { message, ...rest } = finding(error)
    report.fail('certificate', { ...rest, message: `the signing certificate: ${message}` })
    return null
  }
}

async function checkEnvelope(
  { envelope }: Bundle,
  leaf: Certificate,
  report: Report,
): Promise<void> {
  const signed = pae(envelope.payloadType, envelope.payload)
  if (await verifiesWith(describeKey(leaf.publicKey), signed, envelope.signature)) return
  report.fail('envelope', {
    code: 'SIGNATURE_INVALID',
    message: "the signature is not the certificate's key's over this payload",
    hint: 'fetch the signature again: it, its payload or its certificate was changed',
  })
}

function provenTimes(
  entries: readonly LogEntry[],
  timestamps: readonly Timestamp[],
): readonly SigningTime[] {
  const times: SigningTime[] = []
  for (const { integratedTime } of entries)
    if (integratedTime !== undefined)
      times.push({ time: formatTime(integratedTime), source: 'transparency-log' })
  for (const { time } of timestamps)
    times.push({ time: formatTime(time), source: 'timestamp-authority' })
  return times
}

/** Judges certificate and caller's time by the times that will be proven. A failure here is one whatever the proofs say. */
function checkTimes(
  times: readonly SigningTime[],
  leaf: Certificate,
  at: Date,
  report: Report,
): void {
  if (times.length === 0)
    report.fail('time', {
      code: 'TIMESTAMP_MISSING',
      message:
        'neither a transparency log nor a timestamp authority vouches for the time of signing',
      expected: 'at least 1 proven time',
      actual: 'none',
      hint: 'entries of Rekor v2 carry no time: sign with a timestamp authority as well',
    })
  for (const { time, source } of times) {
    const moment = new Date(time)
    const period = `${formatTime(leaf.notBefore)} to ${formatTime(leaf.notAfter)}`
    if (moment < leaf.notBefore || moment > leaf.notAfter)
      report.fail('certificate', {
        code: moment < leaf.notBefore ? 'CERT_NOT_YET_VALID' : 'CERT_EXPIRED',
        message: `the certificate was not valid at the time of signing (${source})`,
        expected: period,
        actual: time,
      })
    if (moment > at)
      report.fail('time', {
        code: 'SIGNED_LATER',
        message: `the signature was made after the time at which it is judged (${source})`,
        expected: `at most ${formatTime(at)}`,
        actual: time,
        hint: "compare this machine's clock, or the time that was asked for, with the time of signing",
      })
  }
}

/** Each log must be trusted at each proven time: the library asks that for the log's promise only. */
function logPeriods(
  entries: readonly LogEntry[],
  times: readonly SigningTime[],
  root: TrustMaterial,
): readonly Finding[] {
  return entries.flatMap(({ logId }) =>
    times
      .map(({ time }) => new Date(time))
      .filter(
        (moment) =>
          !root.tlogs.some(
            ({ logID, validFor }) =>
              equalBytes(logID, logId) && validFor.start <= moment && moment <= validFor.end,
          ),
      )
      .map((moment) => ({
        code: 'LOG_UNKNOWN' as const,
        message: 'the trusted root does not trust the transparency log at the time of signing',
        actual: formatTime(moment),
      })),
  )
}

/** Exactly, on what the certificate says: the library's own policy is an unanchored regular expression, and is never used. */
function checkIdentity(who: CertificateIdentity, trust: KeylessTrust, report: Report): void {
  if (who.identity !== trust.identity)
    report.fail('identity', {
      code: 'IDENTITY_MISMATCH',
      message: 'the signer is another identity than the one asked for',
      expected: trust.identity,
      actual: who.identity,
    })
  if (who.issuer !== trust.issuer)
    report.fail('issuer', {
      code: 'ISSUER_MISMATCH',
      message: 'the identity was vouched for by another issuer than the one asked for',
      expected: trust.issuer,
      actual: who.issuer,
    })
}
