// The single owner of the guard in front of the sigstore library: only well-formed, bound transparency log entries reach it.
//
// The library's Node 20 line (verify 3.1.1) feeds the checkpoint signer's name into a regular expression before any signature is
// checked, counts a repeated entry twice, does not bind a checkpoint to the log that the entry names, and lets fields through that no
// signature covers. All of that is closed here, before the library sees a byte: it is given a document built anew from what was read.
import {
  base64ToBytes,
  bytesToBase64,
  bytesToHex,
  equalBytes,
} from '../../attestation/lib/index.ts'
import type { JsonObject, JsonValue } from '../../attestation/lib/index.ts'
import type { Bundle } from './bundle.ts'
import { checkLogBody } from './guard-body.ts'
import { COUNT, ENTRY, finding, Refusal } from './guard-entry.ts'
import type { Finding, RawEntry } from './guard-entry.ts'

export type { Finding }

/** What the guard must know of a log that the caller trusts. */
export interface TrustedLog {
  readonly baseUrl: string
  readonly logId: Uint8Array
}

/** A log entry that has the right form and speaks of this bundle. Its proofs are not verified yet. */
export interface LogEntry {
  readonly logId: Uint8Array
  /** Present only together with a promise, whose signature covers it. */
  readonly integratedTime: Date | undefined
  /** The entry in the JSON form of the Sigstore protobuf, built anew: nothing in it is unread. */
  readonly json: Readonly<Record<string, unknown>>
}

const MAX_ENTRIES = 8

/** Entries that have the right form and speak of this bundle, with their places in it. */
type Read = readonly { readonly entry: RawEntry; readonly path: string }[]

/**
 * Reads the bundle's transparency log entries strictly and compares what they recorded with this signature and certificate (DER).
 * OMS demands at least one entry for the keyless method (OMS v1.0 §4.1).
 */
export function readLogEntries(
  bundle: Bundle,
  leaf: Uint8Array,
): { readonly findings: readonly Finding[]; readonly read: Read } {
  const raw = rawEntries(bundle)
  if (raw.length === 0 || raw.length > MAX_ENTRIES) {
    const none = raw.length === 0
    const found: Finding = {
      code: none ? 'LOG_ENTRY_MISSING' : 'TOO_LARGE',
      message: none
        ? 'the bundle has no transparency log entry, which a keyless signature must have'
        : 'the bundle has more transparency log entries than any signer makes',
      expected: none ? 'at least 1 entry' : `at most ${MAX_ENTRIES}`,
      actual: String(raw.length),
    }
    return { findings: [found], read: [] }
  }
  const findings: Finding[] = []
  const read: { entry: RawEntry; path: string }[] = []
  const seen = new Set<string>()
  raw.forEach((value, index) => {
    const path = `$.verificationMaterial.tlogEntries[${index}]`
    try {
      const entry = ENTRY(value, path)
      const identity = `${bytesToHex(entry.logId.keyId)}:${bytesToBase64(entry.canonicalizedBody)}`
      if (seen.has(identity)) {
        findings.push({
          code: 'LOG_ENTRY_DUPLICATE',
          message: `the transparency log entry ${path} repeats an earlier one`,
        })
      }
      seen.add(identity)
      findings.push(...checkLogBody(entry, bundle.envelope, leaf, path))
      read.push({ entry, path })
    } catch (error) {
      findings.push(finding(error))
    }
  })
  return { findings, read }
}

/**
 * Reads the entries and binds each to a log that the caller trusts. `entries` is meaningful only if there are no findings.
 * What is left for the library is to verify signatures and hashes.
 */
export function guardLogEntries(
  bundle: Bundle,
  leaf: Uint8Array,
  logs: readonly TrustedLog[],
): { readonly findings: readonly Finding[]; readonly entries: readonly LogEntry[] } {
  const { findings: first, read } = readLogEntries(bundle, leaf)
  const findings = [...first]
  const entries: LogEntry[] = []
  for (const { entry, path } of read) {
    try {
      entries.push(bind(entry, logs, path))
    } catch (error) {
      findings.push(finding(error))
    }
  }
  return { findings, entries }
}

function rawEntries(bundle: Bundle): readonly JsonValue[] {
  // the bundle's reader has seen to the form
  const material = bundle.json['verificationMaterial'] as JsonObject
  return (material['tlogEntries'] ?? []) as readonly JsonValue[]
}

/** Binds every field that no proof covers, and leaves of the checkpoint only the line of the log that the entry names. */
function bind(entry: RawEntry, logs: readonly TrustedLog[], path: string): LogEntry {
  const { inclusionProof: proof, inclusionPromise: promise } = entry
  const logIndex = entry.logIndex ?? '0'
  const proofIndex = proof.logIndex ?? '0'
  const time = Number(entry.integratedTime ?? '0')
  if ((promise !== undefined) !== time > 0) {
    throw new Refusal({
      code: 'LOG_ENTRY_INVALID',
      message: `${path}: an integration time counts only together with the log's promise that covers it, and the other way round`,
    })
  }
  if (promise !== undefined && entry.kindVersion.version !== '0.0.1') {
    throw new Refusal({
      code: 'LOG_ENTRY_INVALID',
      message: `${path}: entries of Rekor v2 carry no inclusion promise`,
    })
  }
  if (promise === undefined && logIndex !== proofIndex) {
    throw new Refusal({
      code: 'LOG_ENTRY_INVALID',
      message: `${path}: the log index is not the one that the proof is for`,
      expected: proofIndex,
      actual: logIndex,
    })
  }
  const log = logs.find((known) => equalBytes(known.logId, entry.logId.keyId))
  if (log === undefined) {
    throw new Refusal({
      code: 'LOG_UNKNOWN',
      message: `${path}: the trusted root names no such transparency log`,
      expected: logs.map((known) => `${known.baseUrl} ${bytesToHex(known.logId)}`).join(', '),
      actual: bytesToHex(entry.logId.keyId),
      hint: 'a private Sigstore instance needs its own trusted root file: --trusted-root',
    })
  }
  const checkpoint = readCheckpoint(proof.checkpoint.envelope, log, `${path}.inclusionProof`)
  if (
    checkpoint.size !== proof.treeSize ||
    !equalBytes(checkpoint.root, proof.rootHash) ||
    (proof.hashes ?? []).some((hash) => hash.length !== 32)
  ) {
    throw new Refusal({
      code: 'LOG_ENTRY_INVALID',
      message: `${path}: the inclusion proof is for another tree than its checkpoint`,
    })
  }
  return {
    logId: entry.logId.keyId,
    integratedTime: promise === undefined ? undefined : new Date(time * 1000),
    json: {
      logIndex,
      logId: { keyId: bytesToBase64(entry.logId.keyId) },
      kindVersion: { kind: entry.kindVersion.kind, version: entry.kindVersion.version },
      integratedTime: String(time),
      ...(promise === undefined
        ? {}
        : {
            inclusionPromise: {
              signedEntryTimestamp: bytesToBase64(promise.signedEntryTimestamp),
            },
          }),
      inclusionProof: {
        logIndex: proofIndex,
        rootHash: bytesToBase64(proof.rootHash),
        treeSize: proof.treeSize,
        hashes: (proof.hashes ?? []).map((hash) => bytesToBase64(hash)),
        checkpoint: { envelope: checkpoint.envelope },
      },
      canonicalizedBody: bytesToBase64(entry.canonicalizedBody),
    },
  }
}

/** `— <name> <base64 of 4 bytes of key id and the signature>` (C2SP signed-note). */
const SIGNATURE_LINE = /^\u2014 ([^\s]{1,255}) ([A-Za-z0-9+/]{8,2048}={0,2})$/
/** Only these may reach the library, which reads a name as a pattern. All of them but the dot are literal there. */
const PLAIN_NAME = /^[A-Za-z0-9._:/-]+$/

/**
 * Reads a checkpoint (C2SP tlog-checkpoint and signed-note) and keeps the one signature line of this log: its name literally, and the
 * first four bytes of its id. Witnesses' lines are dropped; they prove nothing that is asked for here.
 */
function readCheckpoint(
  envelope: string,
  log: TrustedLog,
  path: string,
): { readonly size: string; readonly root: Uint8Array; readonly envelope: string } {
  const invalid = (message: string): never => {
    throw new Refusal({ code: 'LOG_ENTRY_INVALID', message: `${path}.checkpoint: ${message}` })
  }
  const separator = envelope.indexOf('\n\n')
  if (separator < 0 || !envelope.endsWith('\n')) return invalid('this is not a signed note')
  const [origin, size, root, ...extensions] = envelope.slice(0, separator).split('\n')
  if (origin === undefined || origin === '' || size === undefined || root === undefined) {
    return invalid('origin, size or root hash is missing')
  }

  if (/[\u0000-\u0009\u000b-\u001f\u007f]/.test(envelope) || extensions.includes('')) {
    return invalid('it has control characters or empty lines')
  }
  COUNT(size, `${path}.checkpoint.size`)
  const hash = base64ToBytes(root)
  if (hash.length !== 32) return invalid('the root hash does not have 32 bytes')
  const names = checkpointNames(log.baseUrl)
  const own = envelope
    .slice(separator + 2, -1)
    .split('\n')
    .filter((line) => {
      const [, name, signature] = SIGNATURE_LINE.exec(line) ?? []
      if (name === undefined || signature === undefined) return invalid('a bad signature line')
      const keyId = base64ToBytes(signature).subarray(0, 4)
      return names.includes(name) && equalBytes(keyId, log.logId.subarray(0, 4))
    })
  if (own.length !== 1) {
    throw new Refusal({
      code: 'LOG_UNVERIFIED',
      message: `${path}.checkpoint: exactly one signature must be by the log that the entry names`,
      expected: names.join(' or '),
      actual: `${own.length} such signatures`,
    })
  }
  return { size, root: hash, envelope: `${envelope.slice(0, separator)}\n\n${own[0] ?? ''}\n` }
}

/** The names under which a log may sign: its host, with or without port or path. */
function checkpointNames(baseUrl: string): readonly string[] {
  if (!URL.canParse(baseUrl)) return []
  const url = new URL(baseUrl)
  const names = [url.hostname, url.host, `${url.host}${url.pathname.replace(/\/+$/, '')}`]
  return [...new Set(names)].filter((name) => PLAIN_NAME.test(name))
}
