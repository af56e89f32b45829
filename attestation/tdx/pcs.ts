// The single owner of asking Intel's provisioning certification service (PCS, API version 4) or a PCCS for the collateral of a quote.
import type { Endorsements, Fetcher, NamedBytes } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import { mergeEndorsements, readEndorsements, readIssuerChain } from '../evidence/collect.ts'
import { bytesToHex } from '../lib/bytes.ts'
import { examinePck } from './chain.ts'
import { decodeQeIdentity, decodeTcbInfo } from './collateral.ts'
import type { Quote } from './quote.ts'

export const INTEL_PCS = 'https://api.trustedservices.intel.com'
const INTEL_ROOT_CRL = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der'

export interface PcsOptions {
  /** Scheme and host, and a path if the service has one; Intel's own unless told. A PCCS serves the root's list too, Intel serves it elsewhere. */
  readonly baseUrl?: string
  /** Intel publishes an evaluation early and applies it as standard some months later. */
  readonly update?: 'standard' | 'early'
  /** Asks for one evaluation. Wins over `update`. */
  readonly evaluationNumber?: number
  /** Answers are taken from here while they last. */
  readonly cache?: PcsCache
  /** The moment at which a cached answer must still hold; needed with `cache`. */
  readonly now?: Date
}

export interface FetchedCollateral {
  readonly endorsements: Endorsements
  /** When the first of its parts runs out, by its own `nextUpdate`. */
  readonly expires: Date
}

interface Answer {
  readonly endorsements: Endorsements
  readonly expires: Date
}

/** A bounded memory of answers by URL, each until its own `nextUpdate`. */
export class PcsCache {
  readonly #answers = new Map<string, Answer>()
  readonly #limit: number

  /** @param limit most answers that are kept; a quote needs four */
  constructor(limit = 256) {
    this.#limit = limit
  }

  get(url: string, now: Date): Answer | undefined {
    const found = this.#answers.get(url)
    return found !== undefined && now < found.expires ? found : undefined
  }

  set(url: string, answer: Answer): void {
    this.#answers.delete(url)
    this.#answers.set(url, answer)
    const [oldest] = this.#answers.keys()
    if (this.#answers.size > this.#limit && oldest !== undefined) this.#answers.delete(oldest)
  }
}

type Kind = 'tcbInfo' | 'qeIdentity' | 'pckCrl' | 'rootCrl'
interface Resource {
  readonly kind: Kind
  readonly url: string
  /** Response header that carries the issuer chain, lower case; null if there is none. */
  readonly chainHeader: string | null
}

/**
 * The four URLs that serve the collateral of a quote.
 * @throws {AttestationError} CERT_INVALID if the quote does not say whose platform it is from; FORMAT_INVALID for a base URL that is none
 */
export function pcsResources(quote: Quote, options: PcsOptions = {}): readonly Resource[] {
  const { facts, issuer } = examinePck(quote.certificationData, [], [])
  if (facts === null || issuer === null)
    throw new AttestationError(
      'CERT_INVALID',
      'the PCK certificate of the quote does not say which platform it is for',
    )
  const base = baseOf(options.baseUrl ?? INTEL_PCS)
  const tee = quote.teeType
  const evaluation = evaluationOf(options)
  const sgx = `${base}/sgx/certification/v4`
  return [
    {
      kind: 'tcbInfo',
      url: `${base}/${tee}/certification/v4/tcb?fmspc=${bytesToHex(facts.fmspc)}${evaluation === '' ? '' : `&${evaluation}`}`,
      chainHeader: 'tcb-info-issuer-chain',
    },
    {
      kind: 'qeIdentity',
      url: `${base}/${tee}/certification/v4/qe/identity${evaluation === '' ? '' : `?${evaluation}`}`,
      chainHeader: 'sgx-enclave-identity-issuer-chain',
    },
    {
      kind: 'pckCrl',
      url: `${sgx}/pckcrl?ca=${issuer}&encoding=der`,
      chainHeader: 'sgx-pck-crl-issuer-chain',
    },
    {
      kind: 'rootCrl',
      url: base === INTEL_PCS ? INTEL_ROOT_CRL : `${sgx}/rootcacrl`,
      chainHeader: null,
    },
  ]
}

function baseOf(text: string): string {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return refuseBase(text)
  }
  const { protocol, username, password, search, hash } = url
  const plain = username === '' && password === '' && search === '' && hash === ''
  if ((protocol !== 'https:' && protocol !== 'http:') || !plain) return refuseBase(text)
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
}

function refuseBase(text: string): never {
  throw new AttestationError('FORMAT_INVALID', `${text} is not the address of a PCS or PCCS`, {
    path: 'baseUrl',
  })
}

function evaluationOf({ evaluationNumber, update }: PcsOptions): string {
  if (evaluationNumber === undefined) return update === undefined ? '' : `update=${update}`
  if (!Number.isSafeInteger(evaluationNumber) || evaluationNumber < 0)
    throw new AttestationError('FORMAT_INVALID', 'an evaluation number is a whole number', {
      path: 'evaluationNumber',
    })
  return `tcbEvaluationDataNumber=${evaluationNumber}`
}

/** The size and time that one answer may take. Intel's largest is a revocation list. */
const LIMIT = { maxBytes: 8 << 20, timeoutMs: 15_000 }

/**
 * Fetches TCB info, identity of the quoting enclave and both revocation lists, with the chains of their issuers. Nothing is verified: what comes is a candidate
 * like every other endorsement.
 * @throws {AttestationError} ENDORSEMENT_UNAVAILABLE if a part is not served; what the readers throw, if it can't be read
 */
export async function fetchTdxCollateral(
  quote: Quote,
  fetcher: Fetcher,
  options: PcsOptions = {},
): Promise<FetchedCollateral> {
  const answers = await Promise.all(
    pcsResources(quote, options).map(async (resource) => {
      const known = options.now && options.cache?.get(resource.url, options.now)
      if (known !== undefined) return known
      const answer = await ask(resource, fetcher)
      options.cache?.set(resource.url, answer)
      return answer
    }),
  )
  return {
    endorsements: mergeEndorsements(...answers.map(({ endorsements }) => endorsements)),
    expires: new Date(Math.min(...answers.map(({ expires }) => expires.getTime()))),
  }
}

async function ask({ kind, url, chainHeader }: Resource, fetcher: Fetcher): Promise<Answer> {
  const { status, headers, body } = await fetcher.fetch(url, LIMIT)
  if (status !== 200)
    throw new AttestationError('ENDORSEMENT_UNAVAILABLE', `${url} answered ${status}`, {
      path: url,
      ...(status === 404 ? { hint: 'the service does not know this platform' } : {}),
    })
  if (body.length > LIMIT.maxBytes)
    throw new AttestationError('TOO_LARGE', `${url} answered ${body.length} bytes`, { path: url })
  const file: NamedBytes = { name: url, bytes: body }
  const endorsements = only(kind, readEndorsements([file]), url)
  const chain = chainHeader === null ? [] : chainOf(headers.get(chainHeader), chainHeader, url)
  return {
    endorsements: { ...endorsements, certificates: chain },
    expires: expiryOf(endorsements),
  }
}

/** The answer holds the one thing that was asked for. */
function only(kind: Kind, found: Endorsements, url: string): Endorsements {
  const counts = {
    tcbInfo: found.tcbInfos.length,
    qeIdentity: found.qeIdentities.length,
    pckCrl: found.crls.length,
    rootCrl: found.crls.length,
  }
  const all =
    found.tcbInfos.length +
    found.qeIdentities.length +
    found.crls.length +
    found.certificates.length +
    found.eventLogs.length
  if (counts[kind] === 1 && all === 1) return found
  throw new AttestationError('FORMAT_INVALID', `${url} answered something else`, { path: url })
}

function chainOf(
  value: string | undefined,
  header: string,
  url: string,
): Endorsements['certificates'] {
  if (value === undefined)
    throw new AttestationError('CERT_MISSING', `${url} answered without the header ${header}`, {
      path: url,
    })
  return readIssuerChain(value)
}

/**
 * When the first of these statements and lists runs out, by its own `nextUpdate`; not a date (NaN) if there are none.
 * @throws {AttestationError} what the readers of statements throw
 */
export function expiryOf({
  tcbInfos,
  qeIdentities,
  crls,
}: Pick<Endorsements, 'tcbInfos' | 'qeIdentities' | 'crls'>): Date {
  const dates = [
    ...tcbInfos.map(({ raw }) => decodeTcbInfo(raw).nextUpdate),
    ...qeIdentities.map(({ raw }) => decodeQeIdentity(raw).nextUpdate),
    ...crls.map(({ nextUpdate }) => nextUpdate),
  ]
  return new Date(Math.min(...dates.map((date) => date.getTime())))
}
