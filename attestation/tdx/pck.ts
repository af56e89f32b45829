// The single owner of Intel's SGX extension in PCK certificates (OID 1.2.840.113741.1.13.1).
import { AttestationError } from '../error.ts'
import { bytesToHex, equalBytes } from '../lib/bytes.ts'
import {
  derBoolean,
  derEnumerated,
  derInteger,
  derOctets,
  derOid,
  derSequence,
  parseDer,
  type Der,
} from '../lib/der.ts'

export const SGX_EXTENSION = '1.2.840.113741.1.13.1'

/** What Intel certified about the platform that the PCK certificate was made for. */
export interface PckFacts {
  /** Platform identity, 16 bytes. */
  readonly ppid: Uint8Array
  /** The 16 component SVNs; `cpuSvn` holds the same bytes. */
  readonly components: readonly number[]
  readonly pceSvn: number
  readonly cpuSvn: Uint8Array
  /** 2 bytes. */
  readonly pceId: Uint8Array
  /** Family, model, stepping, platform and custom SKU: 6 bytes. */
  readonly fmspc: Uint8Array
  readonly sgxType: 'standard' | 'scalable' | 'scalable with integrity'
  /** Only under the Platform CA: 16 bytes. */
  readonly platformInstanceId: Uint8Array | null
  /** Only under the Platform CA. */
  readonly configuration: {
    readonly dynamicPlatform: boolean
    readonly cachedKeys: boolean
    readonly smtEnabled: boolean
  } | null
}

const SGX_TYPES = ['standard', 'scalable', 'scalable with integrity'] as const

/**
 * Reads the extension strictly: every element exactly once, no others, exact lengths, CPUSVN equal to the components.
 * Elements 6 and 7 (platform instance, configuration) come under the Platform CA and only there.
 * Source: Intel SGX PCK Certificate and CRL Profile Specification, §1.3.5.
 * @throws {AttestationError} CERT_INVALID, or what the DER reader says
 */
export function parsePckExtension(value: Uint8Array, issuer: 'platform' | 'processor'): PckFacts {
  const top = elements(parseDer(value), SGX_EXTENSION, issuer === 'platform' ? 7 : 5)
  const tcb = elements(at(top, 2), `${SGX_EXTENSION}.2`, 18)
  const components = Array.from({ length: 16 }, (_, index) => small(at(tcb, index + 1), 255))
  const cpuSvn = octets(at(tcb, 18), 16, 'CPUSVN')
  if (!equalBytes(cpuSvn, Uint8Array.from(components)))
    throw invalid(`CPUSVN ${bytesToHex(cpuSvn)} differs from its components`)
  return {
    ppid: octets(at(top, 1), 16, 'PPID'),
    components,
    pceSvn: small(at(tcb, 17), 65_535),
    cpuSvn,
    pceId: octets(at(top, 3), 2, 'PCE id'),
    fmspc: octets(at(top, 4), 6, 'FMSPC'),
    sgxType: sgxType(at(top, 5)),
    platformInstanceId:
      issuer === 'platform' ? octets(at(top, 6), 16, 'platform instance id') : null,
    configuration: issuer === 'platform' ? configuration(at(top, 7)) : null,
  }
}

function invalid(message: string): AttestationError {
  return new AttestationError('CERT_INVALID', `PCK certificate: ${message}`, {
    path: 'pck.sgxExtension',
  })
}

/** Reads `SEQUENCE OF { OID prefix.n, value }` with exactly the elements 1 to `count`, in any order. */
function elements(node: Der, prefix: string, count: number): readonly Der[] {
  const found = new Array<Der | undefined>(count + 1)
  let number = 0
  for (const pair of derSequence(node)) {
    const [name, value, extra] = derSequence(pair)
    if (name === undefined || value === undefined || extra !== undefined)
      throw invalid(`an element under ${prefix} is not a pair`)
    const oid = derOid(name)
    const last = Number(oid.slice(prefix.length + 1))
    if (oid !== `${prefix}.${last}` || last < 1 || last > count)
      throw invalid(`element ${oid} does not belong here`)
    if (found[last] !== undefined) throw invalid(`element ${oid} occurs twice`)
    found[last] = value
    number++
  }
  if (number !== count) throw invalid(`${count - number} elements under ${prefix} are missing`)
  return found as Der[]
}

function at(found: readonly Der[], name: number): Der {
  const node = found[name]
  if (node === undefined) throw invalid(`element ${name} is missing`)
  return node
}

function octets(node: Der, length: number, name: string): Uint8Array {
  const bytes = derOctets(node)
  if (bytes.length !== length) throw invalid(`${name} has ${bytes.length} bytes, not ${length}`)
  return bytes
}

function small(node: Der, max: number): number {
  const value = derInteger(node)
  if (value < 0n || value > BigInt(max)) throw invalid(`SVN ${String(value)} is out of range`)
  return Number(value)
}

function sgxType(node: Der): PckFacts['sgxType'] {
  const type = SGX_TYPES[Number(derEnumerated(node))]
  if (type === undefined) throw invalid('the SGX type is not one that is known')
  return type
}

function configuration(node: Der): NonNullable<PckFacts['configuration']> {
  const flags = elements(node, `${SGX_EXTENSION}.7`, 3)
  return {
    dynamicPlatform: derBoolean(at(flags, 1)),
    cachedKeys: derBoolean(at(flags, 2)),
    smtEnabled: derBoolean(at(flags, 3)),
  }
}
