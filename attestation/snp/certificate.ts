// The single owner of what AMD writes into the certificates of a chip (VCEK) and of a cloud provider (VLEK): names, extensions, TCB, hardware id
// (AMD document 57230, "Versioned Chip Endorsement Key Certificate and KDS Interface Specification", §3).
import { AttestationError } from '../error.ts'
import { TAG, derInteger, derOctets, derText, parseDer } from '../lib/der.ts'
import type { Certificate } from '../lib/x509.ts'
import { PRODUCT_LINES, productOfName } from './product.ts'
import type { ProductLine } from './product.ts'
import { hasFmc, highestLevel } from './tcb.ts'
import type { Tcb, TcbComponent } from './tcb.ts'

export type LeafKind = 'VCEK' | 'VLEK'

/** What a certificate is by its exact common name. Nothing is ever recognised by a part of a name. */
export type SnpRole =
  | { readonly kind: LeafKind }
  | { readonly kind: 'ASK' | 'ASVK' | 'ARK'; readonly product: ProductLine }

/** The facts in a VCEK or VLEK certificate. */
export interface SnpLeaf {
  readonly product: ProductLine
  /** As written, with a stepping where there is one: `Milan-B0`. */
  readonly productName: string
  readonly tcb: Tcb
  /** VCEK only: 64 bytes, or 8 for Turin. */
  readonly hwid: Uint8Array | null
  /** VLEK only: the cloud provider that AMD issued it to. */
  readonly cspId: string | null
}

const ARC = '1.3.6.1.4.1.3704.1.'
const STRUCT_VERSION = `${ARC}1`
const PRODUCT_NAME = `${ARC}2`
const HWID = `${ARC}4`
const CSP_ID = `${ARC}5`
const LEVELS: Readonly<Record<TcbComponent, string>> = {
  bootloader: `${ARC}3.1`,
  tee: `${ARC}3.2`,
  snp: `${ARC}3.3`,
  microcode: `${ARC}3.8`,
  fmc: `${ARC}3.9`,
}
/** spl4 to spl7: reserved, always zero. Turin has no spl4. */
const SPL4 = `${ARC}3.4`
const RESERVED_LEVELS = [`${ARC}3.5`, `${ARC}3.6`, `${ARC}3.7`]

const ROLES = new Map<string, SnpRole>([
  ['SEV-VCEK', { kind: 'VCEK' }],
  ['SEV-VLEK', { kind: 'VLEK' }],
  ...PRODUCT_LINES.flatMap((product): [string, SnpRole][] => [
    [`ARK-${product}`, { kind: 'ARK', product }],
    [`SEV-${product}`, { kind: 'ASK', product }],
    [`SEV-VLEK-${product}`, { kind: 'ASVK', product }],
  ]),
])

/** The role that a certificate's subject names, or null if it is none of AMD's SNP certificates. */
export function snpRole(certificate: Certificate): SnpRole | null {
  const name = certificate.subject.commonName
  return (name === undefined ? undefined : ROLES.get(name)) ?? null
}

function refuse(message: string): never {
  throw new AttestationError('CERT_INVALID', message)
}

/**
 * Reads the extensions of a VCEK or VLEK. Each must be there exactly once, in its exact form, and there must be no others: genuine ones carry none.
 *
 * @throws AttestationError CERT_INVALID, FORMAT_INVALID
 */
export function parseLeaf(certificate: Certificate, kind: LeafKind): SnpLeaf {
  const left = new Map(certificate.extensions)
  const take = (oid: string, name: string): Uint8Array => {
    const extension = left.get(oid)
    if (extension === undefined) refuse(`extension ${name} (${oid}) is missing`)
    left.delete(oid)
    return extension.value
  }
  const productName = ia5(take(PRODUCT_NAME, 'productName'), 'productName')
  const product = productOfName(productName)
  if (product === null) refuse(`productName "${productName.slice(0, 32)}" is not known`)
  const turin = hasFmc(product)
  if (integer(take(STRUCT_VERSION, 'structVersion')) !== (turin ? 1n : 0n)) {
    refuse(`structVersion does not fit ${product}`)
  }
  const level = (component: TcbComponent): number => {
    const value = integer(take(LEVELS[component], `${component} SPL`))
    if (value < 0n || value > BigInt(highestLevel(component))) {
      refuse(`${component} SPL ${value.toString()} is out of range`)
    }
    return Number(value)
  }
  const tcb: Tcb = {
    ...(turin ? { fmc: level('fmc') } : {}),
    bootloader: level('bootloader'),
    tee: level('tee'),
    snp: level('snp'),
    microcode: level('microcode'),
  }
  for (const oid of turin ? RESERVED_LEVELS : [SPL4, ...RESERVED_LEVELS]) {
    if (integer(take(oid, 'reserved SPL')) !== 0n) refuse(`reserved SPL ${oid} is not zero`)
  }
  const hwid = kind === 'VCEK' ? hardwareId(take(HWID, 'hwID'), turin ? 8 : 64) : null
  const cspId = kind === 'VLEK' ? ia5(take(CSP_ID, 'cspID'), 'cspID') : null
  const [unknown] = left.keys()
  if (unknown !== undefined) refuse(`a ${kind} must not have extension ${unknown}`)
  return { product, productName, tcb, hwid, cspId }
}

function integer(value: Uint8Array): bigint {
  return derInteger(parseDer(value, { maxBytes: 16 }))
}

function ia5(value: Uint8Array, name: string): string {
  const node = parseDer(value, { maxBytes: 512 })
  if (node.tag !== TAG.ia5String) refuse(`${name} is not an IA5String`)
  const text = derText(node)
  if (text === '') refuse(`${name} is empty`)
  return text
}

/** Raw bytes, as AMD issues them, or the same wrapped in an OCTET STRING; no other shape. */
function hardwareId(value: Uint8Array, length: number): Uint8Array {
  if (value.length === length) return value
  if (value.length === length + 2) {
    const inner = derOctets(parseDer(value))
    if (inner.length === length) return inner
  }
  return refuse(`hwID has ${value.length} bytes instead of ${length}`)
}
