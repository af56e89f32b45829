// The single owner of authenticating what Intel says of a platform: TCB info and enclave identity with their signer, and both revocation lists.
import { verify } from 'node:crypto'
import { AttestationError } from '../error.ts'
import { describeAlgorithm } from '../lib/algorithm.ts'
import { bytesToHex, equalBytes, sha256Hex } from '../lib/bytes.ts'
import { checkPath } from '../lib/chain.ts'
import type { Problem } from '../lib/chain.ts'
import { checkCrl, isRevoked } from '../lib/crl.ts'
import type { Crl } from '../lib/crl.ts'
import type { Certificate } from '../lib/x509.ts'
import type { Endorsements, SignedJson } from '../endorsements.ts'
import type { Comparison } from '../result.ts'
import { checkAlgorithms, checkSigner, INTEL_SIGNATURE, roleOf, timeless } from './chain.ts'
import type { PckFindings } from './chain.ts'
import { decodeQeIdentity, decodeTcbInfo } from './collateral.ts'
import type { QeIdentity, TcbInfo } from './collateral.ts'
import type { TeeType } from './quote.ts'

/** One signed statement of Intel. `content` is there only if its signature and its signer hold and it is about this platform. */
export interface Statement<T> {
  readonly content: T | null
  readonly signer: Certificate | null
  /** SHA-256 of the statement, hex. */
  readonly sha256: string
  /** Form, signature, and the signer's role and chain. */
  readonly problems: readonly Problem[]
  /** About another platform or enclave. */
  readonly mismatches: readonly Problem[]
  /** What it is about, against what it should be about. */
  readonly about: Comparison
}

/** One revocation list, and what is wrong with it besides its dates. */
export interface ListFindings {
  readonly crl: Crl
  readonly problems: readonly Problem[]
}

/** Nothing of it depends on the time. Several candidates of each kind may be there; which one counts is decided at a moment. */
export interface CollateralFindings {
  readonly tcbInfos: readonly Statement<TcbInfo>[]
  readonly qeIdentities: readonly Statement<QeIdentity>[]
  readonly rootLists: readonly ListFindings[]
  readonly pckLists: readonly ListFindings[]
  /** The certificates, of the PCK chain and of the signers, that a sound list names, whatever its date. */
  readonly revoked: readonly Certificate[]
}

/** How many candidates of one kind are looked at. */
const MAX_CANDIDATES = 32
/** How many TCB signers are tried on one statement. Intel has one. */
const MAX_SIGNERS = 4

/** Checks everything about the collateral but its dates and what it means for the platform. */
export function examineCollateral(
  endorsements: Pick<Endorsements, 'certificates' | 'crls' | 'tcbInfos' | 'qeIdentities'>,
  pck: PckFindings,
  teeType: TeeType,
): CollateralFindings {
  const { root, intermediate } = pck
  const signers = root === null ? [] : findSigners(endorsements.certificates, pck)
  const lists = (issuer: Certificate | null): readonly ListFindings[] =>
    issuer === null
      ? []
      : endorsements.crls
          .filter((crl) => equalBytes(crl.issuer.der, issuer.subject.der))
          .slice(0, MAX_CANDIDATES)
          .map((crl) => ({ crl, problems: checkList(crl, issuer) }))
  const tcbInfos = endorsements.tcbInfos
    .slice(0, MAX_CANDIDATES)
    .map((signed) =>
      examine(signed, decodeTcbInfo, (tcbInfo) => platformsOf(tcbInfo, pck, teeType), signers),
    )
  const qeIdentities = endorsements.qeIdentities
    .slice(0, MAX_CANDIDATES)
    .map((signed) =>
      examine(signed, decodeQeIdentity, (identity) => enclavesOf(identity, teeType), signers),
    )
  const rootLists = lists(root)
  const pckLists = lists(intermediate)
  const sound = [...rootLists, ...pckLists].filter(({ problems }) => problems.length === 0)
  const revoked = [pck.leaf, intermediate, ...signers.map(({ cert }) => cert)]
    .filter((cert) => cert !== null)
    .filter((cert) => sound.some(({ crl }) => isRevoked(crl, cert)))
  return { tcbInfos, qeIdentities, rootLists, pckLists, revoked }
}

interface Signer {
  readonly cert: Certificate
  readonly problems: readonly Problem[]
}

function findSigners(certificates: readonly Certificate[], pck: PckFindings): readonly Signer[] {
  const { root } = pck
  if (root === null) return []
  return certificates
    .filter((cert) => roleOf(cert) === 'tcb-signer')
    .slice(0, MAX_SIGNERS)
    .map((cert) => ({
      cert,
      problems: [
        ...checkSigner(cert, 'the TCB signer'),
        ...checkAlgorithms(cert),
        ...timeless(checkPath([cert, root], cert.notBefore)),
      ],
    }))
}

function examine<T>(
  signed: SignedJson,
  decode: (raw: Uint8Array) => T,
  aboutOf: (content: T) => readonly About[],
  signers: readonly Signer[],
): Statement<T> {
  const sha256 = sha256Hex(signed.raw)
  let content: T
  try {
    content = decode(signed.raw)
  } catch (error) {
    if (!(error instanceof AttestationError)) throw error
    const about = {
      expected: 'a statement in the form that Intel gives it',
      actual: 'another form',
    }
    const problems = [{ code: error.code, message: error.message, ...about }]
    return { content: null, signer: null, sha256, problems, mismatches: [], about }
  }
  const compared = aboutOf(content)
  const mismatches = compared
    .filter(({ expected, actual }) => expected !== actual)
    .map(({ message, what, expected, actual }): Problem => ({
      code: 'COLLATERAL_MISMATCH',
      message,
      expected: `${what}${expected}`,
      actual: `${what}${actual}`,
    }))
  const found = signers.find(({ cert }) => isSignedBy(signed, cert))
  const problems: readonly Problem[] =
    found?.problems ??
    (signers.length === 0
      ? [
          {
            code: 'CERT_MISSING',
            message: 'the certificate of the TCB signer was not given',
            expected: 'CN=Intel SGX TCB Signing',
            actual: 'no such certificate',
          },
        ]
      : [
          {
            code: 'COLLATERAL_SIGNATURE',
            message: 'the signature does not verify',
            expected: 'a signature by the TCB signer: ECDSA on P-256 with SHA-256',
            actual: 'another key, or a statement that was changed',
          },
        ])
  const sound = problems.length === 0 && mismatches.length === 0
  return {
    content: sound ? content : null,
    signer: found?.cert ?? null,
    sha256,
    problems,
    mismatches,
    about: {
      expected: compared.map(({ what, expected }) => `${what}${expected}`).join(', '),
      actual: compared.map(({ what, actual }) => `${what}${actual}`).join(', '),
    },
  }
}

/** ECDSA P-256 and SHA-256 over exactly the bytes that were sent. */
function isSignedBy(signed: SignedJson, cert: Certificate): boolean {
  if (cert.key.type !== 'ec' || cert.key.curve !== 'P-256') return false
  try {
    const key = { key: cert.publicKey, dsaEncoding: 'ieee-p1363' } as const
    return verify('sha256', signed.raw, key, signed.signature)
  } catch {
    return false
  }
}

/** One thing that a statement is about: the message if it is another, its name before the value, the value that it should have. */
interface About extends Comparison {
  readonly message: string
  readonly what: string
}

/** Intel QVL 4.1.2.5.10 and 11: for this kind of TEE, this FMSPC and this PCE. */
function platformsOf(tcbInfo: TcbInfo, pck: PckFindings, teeType: TeeType): readonly About[] {
  const one = (name: string, what: string, expected: string, actual: string): About => ({
    message: `the TCB info is for another ${name}`,
    what,
    expected,
    actual,
  })
  const kind = one('kind of TEE', '', teeType.toUpperCase(), tcbInfo.id)
  if (pck.facts === null) return [kind]
  const { fmspc, pceId } = pck.facts
  return [
    kind,
    one('FMSPC', 'FMSPC ', bytesToHex(fmspc), bytesToHex(tcbInfo.fmspc)),
    one('PCE', 'PCE ', bytesToHex(pceId), bytesToHex(tcbInfo.pceId)),
  ]
}

function enclavesOf(identity: QeIdentity, teeType: TeeType): readonly About[] {
  const message = 'the identity is for another kind of quoting enclave'
  return [{ message, what: '', expected: teeType === 'tdx' ? 'TD_QE' : 'QE', actual: identity.id }]
}

/** Everything but the window. Intel's lists carry a number and name the key of their issuer; one that does not is not Intel's. */
function checkList(crl: Crl, issuer: Certificate): readonly Problem[] {
  const problems = checkCrl(crl, issuer, crl.thisUpdate).filter(
    ({ code }) => code !== 'CRL_EXPIRED',
  )
  const add = (text: string, expected: string, actual: string): void => {
    problems.push({ code: 'CRL_INVALID', message: `the revocation list ${text}`, expected, actual })
  }
  if (crl.number === undefined) add('has no number', 'a CRL number', 'none')
  if (crl.authorityKeyId === undefined)
    add('does not name the key of its issuer', 'an authority key identifier', 'none')
  const { kind, hash } = crl.signatureAlgorithm
  if (kind !== 'ecdsa' || hash !== 'sha256')
    add(
      'is not signed with ECDSA and SHA-256',
      INTEL_SIGNATURE,
      describeAlgorithm(crl.signatureAlgorithm),
    )
  return problems
}
