// The single owner of simulated evidence as files: the evidence file of the product, and the vendors' own shapes.
import {
  NO_ENDORSEMENTS,
  writeEvidenceFile,
  type Endorsements,
  type EventLog,
} from '../../attestation/index.ts'
import { hexToBytes, parseCertificate, parseCrl, utf8Encode } from '../../attestation/lib/index.ts'
import { ccel, dstackLog, type LogEvent } from './eventlog.ts'
import { pem } from './pki.ts'
import type { SnpEvidence } from './snp.ts'
import type { TdxEvidence } from './tdx.ts'

/** Which event log goes with a TD's evidence. */
export type LogForm = 'ccel' | 'dstack' | 'none'

export interface FileOptions {
  /** The challenge, to be written into the evidence file. */
  readonly nonce?: Uint8Array
  /** TDX: default `ccel`. */
  readonly log?: LogForm
}

/** Name and content. */
export type Files = Readonly<Record<string, Uint8Array>>

/** Report, chain and revocation list as one evidence file. @throws AttestationError if a certificate is broken on purpose */
export function snpEvidenceFile(evidence: SnpEvidence, options: FileOptions = {}): string {
  const { report, leaf, ask, ark, crl } = evidence
  return writeEvidenceFile(
    { platform: 'sev-snp', raw: report, ...nonceOf(options) },
    {
      ...NO_ENDORSEMENTS,
      certificates: [leaf, ask, ark].map((der) => parseCertificate(der)),
      crls: [parseCrl(crl)],
    },
  )
}

/** Quote, collateral and event log as one evidence file. @throws AttestationError if a certificate is broken on purpose */
export function tdxEvidenceFile(evidence: TdxEvidence, options: FileOptions = {}): string {
  const { collateral, tcbSigner, root, rootCrl, pckCrl } = evidence
  const endorsements: Endorsements = {
    ...NO_ENDORSEMENTS,
    certificates: [tcbSigner, root].map((der) => parseCertificate(der)),
    crls: [rootCrl, pckCrl].map((crl) => parseCrl(crl)),
    tcbInfos: [
      {
        raw: utf8Encode(collateral.tcb_info),
        signature: hexToBytes(collateral.tcb_info_signature),
      },
    ],
    qeIdentities: [
      {
        raw: utf8Encode(collateral.qe_identity),
        signature: hexToBytes(collateral.qe_identity_signature),
      },
    ],
    eventLogs: evidence.kind === 'sgx' ? [] : eventLogs(evidence.events, options.log ?? 'ccel'),
  }
  return writeEvidenceFile(
    {
      platform: evidence.kind === 'sgx' ? 'sgx' : 'tdx',
      raw: evidence.quote,
      ...nonceOf(options),
    },
    endorsements,
  )
}

/** `root.pem`: what has to be named to be trusted. */
export function rootFile(root: Uint8Array): Files {
  return { 'root.pem': utf8Encode(pem('CERTIFICATE', root)) }
}

/** The vendor's own shapes: report, extended report, chain, revocation list. */
export function snpFiles(evidence: SnpEvidence): Files {
  return {
    ...rootFile(evidence.ark),
    'report.bin': evidence.report,
    'extended-report.bin': evidence.extended(),
    'chain.pem': utf8Encode(evidence.chain()),
    'crl.der': evidence.crl,
  }
}

/** The vendor's own shapes: quote, collateral, event log. */
export function tdxFiles(evidence: TdxEvidence, options: FileOptions = {}): Files {
  const log = evidence.kind === 'sgx' ? 'none' : (options.log ?? 'ccel')
  const { table, data } = ccel(evidence.events)
  return {
    ...rootFile(evidence.root),
    'quote.bin': evidence.quote,
    'collateral.json': utf8Encode(`${JSON.stringify(evidence.collateral, null, 2)}\n`),
    ...(log === 'ccel' ? { 'ccel-table.bin': table, 'ccel-log.bin': data } : {}),
    ...(log === 'dstack' ? { 'event-log.json': utf8Encode(dstackLog(evidence.events)) } : {}),
  }
}

function eventLogs(events: readonly LogEvent[], form: LogForm): readonly EventLog[] {
  switch (form) {
    case 'ccel':
      return [{ kind: 'ccel', ...ccel(events) }]
    case 'dstack':
      return [{ kind: 'dstack', text: dstackLog(events) }]
    case 'none':
      return []
  }
}

const nonceOf = ({ nonce }: FileOptions): { readonly nonce?: Uint8Array } =>
  nonce === undefined ? {} : { nonce }
