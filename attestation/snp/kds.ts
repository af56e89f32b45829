// The single owner of AMD's key distribution service: its URLs, and fetching what an SNP report lacks (AMD document 57230, §4).
import type { Endorsements, Fetcher } from '../endorsements.ts'
import { NO_ENDORSEMENTS } from '../endorsements.ts'
import { AttestationError } from '../error.ts'
import { bytesToHex, isZero, sha256Hex, utf8Decode } from '../lib/bytes.ts'
import { parseCrl } from '../lib/crl.ts'
import { parsePem } from '../lib/pem.ts'
import { parseCertificate } from '../lib/x509.ts'
import type { Certificate } from '../lib/x509.ts'
import type { InputDigest } from '../result.ts'
import { parseLeaf, snpRole } from './certificate.ts'
import type { LeafKind } from './certificate.ts'
import { describeCpuid, productOf } from './product.ts'
import type { ProductLine } from './product.ts'
import type { SnpReport } from './report.ts'
import { TCB_COMPONENTS, decodeTcb, hasFmc } from './tcb.ts'
import type { Tcb } from './tcb.ts'

const KDS = 'https://kdsintf.amd.com'
const LIMIT = { maxBytes: 64 * 1024, timeoutMs: 20_000 } as const
const CRL_LIMIT = { maxBytes: 8 << 20, timeoutMs: 20_000 } as const

const QUERY: Readonly<Record<keyof Tcb, string>> = {
  fmc: 'fmcSPL',
  bootloader: 'blSPL',
  tee: 'teeSPL',
  snp: 'snpSPL',
  microcode: 'ucodeSPL',
}

/** Where KDS serves the VCEK of a chip (CHIP_ID, 64 bytes) for a TCB: levels as decimals of at least two digits, Turin's chip id cut to 8 bytes. */
export function vcekUrl(
  product: ProductLine,
  chipId: Uint8Array,
  tcb: Tcb,
  base: string = KDS,
): string {
  const hwid = bytesToHex(hasFmc(product) ? chipId.subarray(0, 8) : chipId)
  const levels = TCB_COMPONENTS.flatMap((component) => {
    const level = tcb[component]
    return level === undefined ? [] : [`${QUERY[component]}=${`${level}`.padStart(2, '0')}`]
  })
  return `${base}/vcek/v1/${product}/${hwid}?${levels.join('&')}`
}

/** Where KDS serves the issuers of a kind of leaf: ASK or ASVK, then ARK, as PEM. */
export function chainUrl(product: ProductLine, kind: LeafKind, base: string = KDS): string {
  return `${base}/${kind.toLowerCase()}/v1/${product}/cert_chain`
}

/** Where KDS serves the ARK's revocation list, in DER. */
export function crlUrl(product: ProductLine, kind: LeafKind, base: string = KDS): string {
  return `${base}/${kind.toLowerCase()}/v1/${product}/crl`
}

export interface KdsOptions {
  /** What is there already. A leaf of the report's kind among it is not fetched again; a VLEK must be among it, because KDS gives it to cloud providers alone. */
  readonly have?: Pick<Endorsements, 'certificates'>
  /** Another service with the same paths, for example a mirror. */
  readonly base?: string
}

/**
 * Fetches leaf, issuers and revocation list of a report. What comes back is parsed strictly and must be what was asked for; whether any of it is genuine, `authenticate` finds out.
 *
 * A version 2 report does not name its product: then Milan and Genoa are tried in turn, or Turin where the form of the chip id shows it.
 *
 * @throws AttestationError ENDORSEMENT_UNAVAILABLE if the service does not have it or does not answer; PRODUCT_UNKNOWN; FORMAT_INVALID and its kin for an answer in another form
 */
export async function fetchSnpEndorsements(
  report: SnpReport,
  fetcher: Fetcher,
  options: KdsOptions = {},
): Promise<Endorsements> {
  const { base = KDS, have = NO_ENDORSEMENTS } = options
  const kind = report.signingKey
  const inputs: InputDigest[] = []
  const get = async (url: string, limit: typeof LIMIT | typeof CRL_LIMIT): Promise<Uint8Array> => {
    const { status, body } = await fetcher.fetch(url, limit)
    if (status !== 200) {
      throw new AttestationError('ENDORSEMENT_UNAVAILABLE', `${url} answered ${status}`, {
        path: url,
        ...(status === 429 ? { hint: 'KDS throttles; try again later' } : {}),
      })
    }
    if (body.length > limit.maxBytes) {
      throw new AttestationError('TOO_LARGE', `${url} sent more than was asked for`, { path: url })
    }
    inputs.push({ name: url, sha256: sha256Hex(body) })
    return body
  }

  const own = have.certificates.find((cert) => snpRole(cert)?.kind === kind)
  const { leaf, product } =
    own === undefined
      ? await fetchLeaf(report, get, base)
      : { leaf: own, product: parseLeaf(own, kind).product }
  const chain = readChain(await get(chainUrl(product, kind, base), LIMIT), product, kind)
  const crl = parseCrl(await get(crlUrl(product, kind, base), CRL_LIMIT))
  return {
    ...NO_ENDORSEMENTS,
    certificates: own === undefined ? [leaf, ...chain] : chain,
    crls: [crl],
    inputs,
  }
}

async function fetchLeaf(
  report: SnpReport,
  get: (url: string, limit: typeof LIMIT) => Promise<Uint8Array>,
  base: string,
): Promise<{ readonly leaf: Certificate; readonly product: ProductLine }> {
  if (report.signingKey === 'VLEK') {
    throw new AttestationError(
      'ENDORSEMENT_UNAVAILABLE',
      'AMD gives a VLEK to the cloud provider alone',
      { hint: 'take it from the certificate table of the extended report' },
    )
  }
  if (isZero(report.chipId)) {
    throw new AttestationError(
      'ENDORSEMENT_UNAVAILABLE',
      'the report names no chip, so its certificate can’t be asked for',
    )
  }
  let unavailable: AttestationError | undefined
  for (const product of candidates(report)) {
    const tcb = decodeTcb(report.rawTcb.reported, product)
    if (tcb === null) {
      throw new AttestationError(
        'RESERVED_NOT_ZERO',
        `REPORTED_TCB is not in the layout of ${product}`,
      )
    }
    const url = vcekUrl(product, report.chipId, tcb, base)
    let body: Uint8Array
    try {
      body = await get(url, LIMIT)
    } catch (error) {
      if (!(error instanceof AttestationError) || error.code !== 'ENDORSEMENT_UNAVAILABLE')
        throw error
      unavailable = error
      continue
    }
    const leaf = parseCertificate(body)
    if (snpRole(leaf)?.kind !== 'VCEK') {
      throw new AttestationError('CERT_ROLE', `${url} did not send a VCEK`, { path: url })
    }
    return { leaf, product }
  }
  throw unavailable ?? new AttestationError('ENDORSEMENT_UNAVAILABLE', 'no product to ask for')
}

/** The products to ask KDS for, in order. */
function candidates({ cpuid, chipId }: SnpReport): readonly ProductLine[] {
  if (cpuid === null) return isZero(chipId.subarray(8)) ? ['Turin'] : ['Milan', 'Genoa']
  const product = productOf(cpuid)
  if (product === null || product === 'Venice') {
    throw new AttestationError(
      'PRODUCT_UNKNOWN',
      `KDS is not known to serve ${describeCpuid(cpuid)}`,
    )
  }
  return [product]
}

/** Exactly two certificates: the issuer of this kind of leaf, then the root, both of this product. */
function readChain(body: Uint8Array, product: ProductLine, kind: LeafKind): readonly Certificate[] {
  const chain = parsePem(utf8Decode(body), 'CERTIFICATE', { max: 2 }).map(parseCertificate)
  const roles = chain.map((cert) => snpRole(cert))
  const wanted = [kind === 'VCEK' ? 'ASK' : 'ASVK', 'ARK']
  const fits = wanted.every((name, index) => {
    const role = roles[index]
    return role?.kind === name && 'product' in role && role.product === product
  })
  if (chain.length !== 2 || !fits) {
    throw new AttestationError(
      'CERT_ROLE',
      `KDS did not send the ${wanted.join(' and ')} of ${product}, in this order`,
    )
  }
  return chain
}
