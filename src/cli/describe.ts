// The single owner of saying in words what is in a file: told apart by content, parsed strictly, verified by nobody.
import {
  AttestationError,
  decodeTcb,
  describeTcb,
  parseQuote,
  parseReport,
  productOf,
  readEndorsements,
  readEvidence,
  type Endorsements,
  type Evidence,
} from '../../attestation/index.ts'
import {
  base64UrlToBytes,
  bytesToHex,
  decode,
  formatTime,
  isZero,
  parseCertificate,
  parseJson,
  utf8Decode,
  type Certificate,
  type JsonObject,
  type JsonValue,
} from '../../attestation/lib/index.ts'
import { decodeBundle, MAX_BUNDLE, type Bundle } from '../bundle/bundle.ts'
import { decodeManifest, decodeStatement } from '../bundle/statement.ts'
import { ZtError } from '../error.ts'
import { readReplay } from '../gate/replay.ts'
import { readVerdict } from '../gate/read-verdict.ts'
import { verdictIn, VERDICT_PREDICATE } from '../gate/saved.ts'
import { decodePolicy } from '../policy/decode.ts'
import { explainPolicy } from '../policy/explain.ts'
import { POLICY_SCHEMA } from '../policy/policy.ts'
import { REFERENCE_VALUES_TYPE } from '../policy/reference.ts'
import type { Verdict } from '../verdict.ts'

/** One thing that a file says. */
export type Row = readonly [name: string, value: string]

export interface Description {
  /** What the file is, for a person. */
  readonly kind: string
  readonly rows: readonly Row[]
  /** The verdict in it, if there is one. */
  readonly verdict?: Verdict
}

/** Files and shards that are listed by name. */
const MAX_LISTED = 50

/**
 * Says what is in a file. Nothing of it is verified.
 * @throws ZtError FORMAT_UNKNOWN if it is none of the known kinds, and what their readers throw
 */
export function describe(bytes: Uint8Array): Description {
  const text = textOf(bytes)
  const json = text === null ? null : jsonOf(text)
  if (json !== null && decode.isObject(json)) return describeJson(json, bytes)
  if (text !== null && new RegExp(`^schema:\\s*["']?${POLICY_SCHEMA}`, 'm').test(text))
    return describePolicy(bytes)
  if (text !== null && /^\s*[\w-]+\.[\w-]+\.[\w-]+\s*$/.test(text))
    return describeToken(text.trim())
  if (text?.includes('PUBLIC KEY-----') === true) return { kind: 'a public key', rows: [] }
  if (text?.includes('PRIVATE KEY-----') === true)
    return { kind: 'a private key', rows: [['keep it secret', 'nothing of it is shown']] }
  return describeBinary(bytes)
}

function textOf(bytes: Uint8Array): string | null {
  try {
    return utf8Decode(bytes)
  } catch {
    return null
  }
}

function jsonOf(text: string): JsonValue | null {
  if (!/^\s*[[{]/.test(text)) return null
  try {
    return parseJson(text, { maxBytes: MAX_BUNDLE })
  } catch {
    return null
  }
}

function describeJson(json: JsonObject, bytes: Uint8Array): Description {
  const schema = json['schema']
  if (schema === 'zt4ai.verdict/v1') {
    const verdict = readVerdict(bytes)
    return { kind: 'a verdict', rows: verdictRows(verdict), verdict }
  }
  if (schema === 'zt4ai.replay/v1') {
    const { verdict, recorded } = readReplay(bytes)
    const { bundles, evidence, endorsements } = recorded
    const rows: Row[] = [
      ['model', recorded.subject.reference ?? recorded.subject.name],
      [
        'judged at',
        `${recorded.at}, for ${recorded.now === recorded.at ? 'then' : `a time before ${recorded.now}`}`,
      ],
      [
        'holds',
        `${bundles.length} bundles, ${evidence.length} pieces of evidence, ${endorsements.length} files of endorsements, ${recorded.files.length} comparisons`,
      ],
      ['to compute it again', 'zt4ai admit --replay FILE'],
    ]
    return { kind: 'the record of a verdict', rows, verdict }
  }
  if ('dsseEnvelope' in json) return describeBundle(decodeBundle(bytes))
  if ('payload' in json && 'signatures' in json)
    return { kind: 'a DSSE envelope without a bundle around it', rows: [] }
  return describeBinary(bytes)
}

function verdictRows({ decision, subject, policy, at }: Verdict): Row[] {
  return [
    ['decision', decision],
    ['model', subject.name],
    ...(subject.digest === undefined
      ? []
      : [['digest', `sha256:${subject.digest.sha256}`] as const]),
    ['policy', policy === null ? 'none' : `${policy.name} sha256:${policy.digest.sha256}`],
    ['judged for', at],
  ]
}

function describeBundle(bundle: Bundle): Description {
  const { material, envelope } = bundle
  const rows: Row[] = [['media type', bundle.mediaType]]
  if (material.kind === 'key')
    rows.push([
      'signed with',
      `a key${material.hint === undefined ? '' : `, hint ${material.hint}`}`,
    ])
  else
    for (const [index, der] of material.certificates.entries())
      rows.push([index === 0 ? 'signed with' : 'issued by', certificateInWords(parse(der))])
  rows.push(
    ['transparency log', `${bundle.logEntries} entries`],
    ['timestamps', `${bundle.timestamps.length}`],
    ['payload type', envelope.payloadType],
  )
  const statement = decodeStatement(envelope.payload)
  rows.push(['statement about', statement.predicateType])
  for (const subject of statement.subjects.slice(0, MAX_LISTED))
    rows.push([
      'subject',
      `${subject.name} ${[...subject.digest].map(([name, value]) => `${name}:${value}`).join(' ')}`,
    ])
  if (statement.predicateType === VERDICT_PREDICATE) {
    const verdict = verdictIn(statement.json)
    return {
      kind: 'a saved verdict (a signed statement)',
      rows: [...rows, ...verdictRows(verdict)],
      verdict,
    }
  }
  if (statement.predicateType === REFERENCE_VALUES_TYPE) {
    const predicate = statement.json['predicate']
    return {
      kind: 'reference values of machines (a signed statement)',
      rows: [...rows, ['values', JSON.stringify(predicate)]],
    }
  }
  const { manifest, problems } = decodeManifest(statement)
  if (manifest === null) {
    const found = Object.values(problems).flat()
    if (found.some(({ code }) => code === 'PREDICATE_TYPE'))
      return { kind: 'a signed statement', rows }
    return {
      kind: 'the signature of a model, with a list that is not sound',
      rows: [...rows, ...found.map(({ message }): Row => ['problem', message])],
    }
  }
  const { serialization: how, resources } = manifest
  rows.push(
    ['model digest', `sha256:${manifest.root}`],
    [
      'hashed',
      `${how.method} with ${how.hashType}${how.shardSize === undefined ? '' : `, ranges of ${how.shardSize} bytes`}, links ${how.allowSymlinks ? 'followed' : 'refused'}`,
    ],
    ['left out', (how.ignorePaths ?? []).join(', ') || 'nothing'],
    ['entries', `${resources.length}`],
    ...resources
      .slice(0, MAX_LISTED)
      .map(({ name, algorithm, digest }): Row => ['file', `${name}  ${algorithm}:${digest}`]),
  )
  if (resources.length > MAX_LISTED) rows.push(['', `and ${resources.length - MAX_LISTED} more`])
  return { kind: 'the signature of a model', rows }
}

function describePolicy(bytes: Uint8Array): Description {
  const policy = decodePolicy(bytes)
  const rows = explainPolicy(policy).flatMap(({ title, sentences }) =>
    sentences.map((sentence, index): Row => [index === 0 ? title : '', sentence]),
  )
  return { kind: 'a policy', rows: [...rows, ['sha256', policy.sha256]] }
}

function describeToken(token: string): Description {
  const payload = readPart(token.split('.')[1] ?? '')
  const header = readPart(token.split('.')[0] ?? '')
  if (payload === null || header === null || !('submods' in payload))
    throw new ZtError('FORMAT_UNKNOWN', 'this is a token of an unknown kind')
  const rows: Row[] = [['signed with', asText(header['alg'])]]
  for (const [name, value] of Object.entries(payload)) {
    if (name === 'submods' && decode.isObject(value))
      for (const [submod, appraisal] of Object.entries(value))
        if (decode.isObject(appraisal)) {
          rows.push([submod, asText(appraisal['ear.status'])])
          rows.push(['', JSON.stringify(appraisal['ear.trustworthiness-vector'])])
        }
    if (name !== 'submods' && name !== 'ear.raw-evidence') rows.push([name, asText(value)])
  }
  return { kind: 'an attestation result (EAR token)', rows }
}

function asText(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null)
}

function readPart(part: string): JsonObject | null {
  try {
    const value = parseJson(base64UrlToBytes(part), { maxBytes: 32 << 20 })
    return decode.isObject(value) ? value : null
  } catch (error) {
    if (error instanceof AttestationError) return null
    throw error
  }
}

function describeBinary(bytes: Uint8Array): Description {
  const evidence = attempt(() => readEvidence(bytes))
  if (evidence !== null) return describeEvidence(evidence)
  const endorsements = attempt(() => readEndorsements([{ name: 'file', bytes }]))
  if (endorsements !== null)
    return {
      kind: 'a file of endorsements (certificates, revocation lists, collateral, event logs)',
      rows: endorsementRows(endorsements),
    }
  throw new ZtError('FORMAT_UNKNOWN', 'this is no file of a known kind', {
    hint: 'known are signatures and other bundles, verdicts and their records, policies, evidence, certificates, revocation lists, collateral and EAR tokens',
  })
}

function attempt<T>(read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    if (error instanceof AttestationError) return null
    throw error
  }
}

function describeEvidence(evidence: Evidence): Description {
  const rows: Row[] = [['form', evidence.form]]
  if (evidence.nonce !== undefined) rows.push(['nonce, it says', bytesToHex(evidence.nonce)])
  rows.push(...(evidence.platform === 'sev-snp' ? reportRows(evidence) : quoteRows(evidence)))
  return {
    kind: `evidence of ${NAMES[evidence.platform]}`,
    rows: [...rows, ...endorsementRows(evidence.endorsements)],
  }
}

const NAMES = {
  'sev-snp': 'an AMD SEV-SNP machine',
  tdx: 'an Intel TDX machine',
  sgx: 'an Intel SGX enclave',
} as const

function reportRows({ raw }: Evidence): Row[] {
  const report = parseReport(raw)
  const { cpuid, rawTcb, policy } = report
  const product = cpuid === null ? null : productOf(cpuid)
  const line = product === 'Venice' ? null : product
  const tcb = (value: Uint8Array): string => {
    const levels = line === null ? null : decodeTcb(value, line)
    return levels === null ? bytesToHex(value) : describeTcb(levels)
  }
  return [
    ['report version', `${report.version}`],
    ['product, it says', product ?? 'not said'],
    ['signing key', report.signingKey],
    ['measurement', bytesToHex(report.measurement)],
    ['report data', bytesToHex(report.reportData)],
    ['host data', shown(report.hostData)],
    ['chip id', shown(report.chipId)],
    ['VMPL', `${report.vmpl}`],
    ['guest SVN', `${report.guestSvn}`],
    [
      'guest policy',
      `0x${policy.toString(16)}${((policy >> 19n) & 1n) === 1n ? ', DEBUGGING ALLOWED' : ''}`,
    ],
    ['platform info', `0x${report.platformInfo.toString(16)}`],
    ['reported TCB', tcb(rawTcb.reported)],
    ['committed TCB', tcb(rawTcb.committed)],
    ['launch TCB', tcb(rawTcb.launch)],
  ]
}

function quoteRows({ raw }: Evidence): Row[] {
  const quote = parseQuote(raw)
  const { body } = quote
  const rows: Row[] = [['quote version', `${quote.version}`]]
  if (body.type === 'sgx')
    rows.push(
      ['MRENCLAVE', bytesToHex(body.report.mrEnclave)],
      ['MRSIGNER', bytesToHex(body.report.mrSigner)],
      ['ISVSVN', `${body.report.isvSvn}`],
    )
  else {
    const { report } = body
    rows.push(
      ['MRTD', bytesToHex(report.mrTd)],
      ...report.rtmrs.map((value, index): Row => [`RTMR${index}`, shown(value)]),
      [
        'attributes',
        `0x${report.tdAttributes.toString(16)}${(report.tdAttributes & 1n) === 1n ? ', DEBUGGING POSSIBLE' : ''}`,
      ],
      ['TEE_TCB_SVN', bytesToHex(report.teeTcbSvn)],
      ['MRCONFIGID', shown(report.mrConfigId)],
    )
  }
  rows.push(['report data', bytesToHex(body.report.reportData)])
  return rows
}

function shown(value: Uint8Array): string {
  return isZero(value) ? '0' : bytesToHex(value)
}

function endorsementRows(endorsements: Endorsements): Row[] {
  const { certificates, crls, tcbInfos, qeIdentities, eventLogs } = endorsements
  return [
    ...certificates.map((one): Row => ['certificate', certificateInWords(one)]),
    ...crls.map(({ issuer, thisUpdate, nextUpdate, revoked }): Row => [
      'revocation list',
      `of ${issuer.text}, ${formatTime(thisUpdate)} until ${formatTime(nextUpdate)}, ${revoked.size} revoked`,
    ]),
    ...(tcbInfos.length === 0 ? [] : [['TCB info', `${tcbInfos.length}`] as const]),
    ...(qeIdentities.length === 0 ? [] : [['QE identity', `${qeIdentities.length}`] as const]),
    ...eventLogs.map(({ kind }): Row => ['event log', kind]),
  ]
}

function parse(der: Uint8Array): Certificate {
  return parseCertificate(der)
}

function certificateInWords(certificate: Certificate): string {
  const { subject, issuer, notBefore, notAfter, sha256, subjectAltNames } = certificate
  const names = subjectAltNames.map(({ value }) => value).join(', ')
  return `${subject.text || names || 'without a name'}${names === '' || subject.text === '' ? '' : ` (${names})`}, by ${issuer.text}, ${formatTime(notBefore)} to ${formatTime(notAfter)}, sha256:${sha256}`
}
