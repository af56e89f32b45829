// The single owner of the form of Intel's TCB info (version 3) and enclave identity (version 2): bytes to structure, without any cryptography.
import { AttestationError } from '../error.ts'
import * as decode from '../lib/decode.ts'
import { parseJson } from '../lib/json.ts'
import type { JsonValue } from '../lib/json.ts'
import { compareKeys, descending } from './order.ts'

/** Larger collateral is refused unread. Genuine TCB info has up to 12 KB. */
export const MAX_COLLATERAL_JSON_BYTES = 1_048_576
const MAX_LEVELS = 512

/** One level of a platform, as TCB info lists it. */
export interface PlatformLevel {
  readonly sgxComponents: readonly number[]
  readonly pceSvn: number
  /** Null in TCB info for SGX. */
  readonly tdxComponents: readonly number[] | null
  readonly status: string
  readonly tcbDate: Date
  readonly advisoryIds: readonly string[]
}

/** One level of an enclave or a TDX module. */
export interface IsvLevel {
  readonly isvSvn: number
  readonly status: string
  readonly tcbDate: Date
  readonly advisoryIds: readonly string[]
}

/** What MRSIGNERSEAM and SEAMATTRIBUTES must be. */
export interface TdxModule {
  /** 48 bytes. */
  readonly mrSigner: Uint8Array
  /** 8 bytes each. */
  readonly attributes: Uint8Array
  readonly attributesMask: Uint8Array
}

export interface TdxModuleIdentity extends TdxModule {
  /** `TDX_` and two hex digits, upper case: the module's major version. */
  readonly id: string
  /** Descending. */
  readonly levels: readonly IsvLevel[]
}

export interface TcbInfo {
  readonly id: 'SGX' | 'TDX'
  readonly issueDate: Date
  readonly nextUpdate: Date
  readonly fmspc: Uint8Array
  readonly pceId: Uint8Array
  readonly evaluationNumber: number
  /** Present exactly for TDX. */
  readonly tdxModule: TdxModule | null
  readonly tdxModuleIdentities: readonly TdxModuleIdentity[]
  /** Descending. */
  readonly levels: readonly PlatformLevel[]
}

export interface QeIdentity {
  readonly id: 'QE' | 'TD_QE'
  readonly issueDate: Date
  readonly nextUpdate: Date
  readonly evaluationNumber: number
  readonly miscSelect: number
  readonly miscSelectMask: number
  /** 16 bytes each. */
  readonly attributes: Uint8Array
  readonly attributesMask: Uint8Array
  /** 32 bytes. */
  readonly mrSigner: Uint8Array
  readonly isvProdId: number
  /** Descending. */
  readonly levels: readonly IsvLevel[]
}

const u16 = decode.integer({ min: 0, max: 65_535 })
const number = decode.integer({ min: 0, max: 0xffff_ffff })
const advisories = decode.optional(
  decode.array(decode.string({ min: 1, max: 64, pattern: /^[A-Za-z0-9._-]+$/ }), { max: 1024 }),
)
const status = decode.string({ max: 64 })
const MEMBERS: ReadonlySet<string> = new Set(['svn', 'category', 'type'])

/** The SVNs of 16 components. TCB info has hundreds of these objects, so they are read without making paths that are needed for errors alone. */
const components: decode.Decoder<readonly number[]> = (value, path) => {
  const items = sixteen(value, path)
  return items.map((item, index) => {
    if (!decode.isObject(item)) throw malformed(`${path}[${index}]`, 'expected an object')
    for (const name of Object.keys(item)) {
      if (!MEMBERS.has(name)) throw malformed(`${path}[${index}]`, `unknown member "${name}"`)
      const text = item[name]
      if (name !== 'svn' && (typeof text !== 'string' || text.length > 128))
        throw malformed(`${path}[${index}].${name}`, 'expected a short text')
    }
    const svn = item['svn']
    if (typeof svn !== 'number' || !Number.isInteger(svn) || svn < 0 || svn > 65_535)
      throw malformed(`${path}[${index}].svn`, 'expected a number from 0 to 65535')
    return svn
  })
}
const sixteen = decode.array(decode.any(), { min: 16, max: 16 })

const platformLevel = decode.object({
  tcb: decode.object({
    sgxtcbcomponents: components,
    pcesvn: u16,
    tdxtcbcomponents: decode.optional(components),
  }),
  tcbDate: decode.time(),
  tcbStatus: status,
  advisoryIDs: advisories,
})
const isvLevel = decode.object({
  tcb: decode.object({ isvsvn: u16 }),
  tcbDate: decode.time(),
  tcbStatus: status,
  advisoryIDs: advisories,
})
const isvLevels = decode.array(isvLevel, { min: 1, max: MAX_LEVELS })
const moduleShape = {
  mrsigner: decode.hex({ length: 48 }),
  attributes: decode.hex({ length: 8 }),
  attributesMask: decode.hex({ length: 8 }),
}
const tcbInfo = decode.object({
  id: decode.literal('SGX', 'TDX'),
  version: decode.integer(),
  issueDate: decode.time(),
  nextUpdate: decode.time(),
  fmspc: decode.hex({ length: 6 }),
  pceId: decode.hex({ length: 2 }),
  tcbType: decode.integer({ min: 0, max: 0 }),
  tcbEvaluationDataNumber: number,
  tdxModule: decode.optional(decode.object(moduleShape)),
  tdxModuleIdentities: decode.optional(
    decode.array(
      decode.object({
        id: decode.string({ pattern: /^TDX_[0-9A-Fa-f]{2}$/ }),
        ...moduleShape,
        tcbLevels: isvLevels,
      }),
      { max: 256 },
    ),
  ),
  tcbLevels: decode.array(platformLevel, { min: 1, max: MAX_LEVELS }),
})
const enclaveIdentity = decode.object({
  id: decode.literal('QE', 'TD_QE'),
  version: decode.integer(),
  issueDate: decode.time(),
  nextUpdate: decode.time(),
  tcbEvaluationDataNumber: number,
  miscselect: decode.hex({ length: 4 }),
  miscselectMask: decode.hex({ length: 4 }),
  attributes: decode.hex({ length: 16 }),
  attributesMask: decode.hex({ length: 16 }),
  mrsigner: decode.hex({ length: 32 }),
  isvprodid: u16,
  tcbLevels: isvLevels,
})

/**
 * Reads the inner object of TCB info, version 3. Unknown members and duplicate levels are refused; levels come out in descending order.
 * Source: Intel PCS API version 4, "Get TCB Info".
 * @throws {AttestationError}
 */
export function decodeTcbInfo(bytes: Uint8Array): TcbInfo {
  const value = parseJson(bytes, { maxBytes: MAX_COLLATERAL_JSON_BYTES })
  checkVersion(value, 3, 'tcbInfo')
  const json = tcbInfo(value, '$.tcbInfo')
  const levels = descending(
    json.tcbLevels.map((level) => ({
      sgxComponents: level.tcb.sgxtcbcomponents,
      pceSvn: level.tcb.pcesvn,
      tdxComponents: level.tcb.tdxtcbcomponents ?? null,
      status: level.tcbStatus,
      tcbDate: level.tcbDate,
      advisoryIds: level.advisoryIDs ?? [],
    })),
    platformKey,
  )
  refuseDuplicates(levels.map(platformKey), '$.tcbInfo.tcbLevels')
  const tdx = json.id === 'TDX'
  if (
    tdx !== (json.tdxModule !== undefined) ||
    levels.some((l) => tdx !== (l.tdxComponents !== null))
  )
    throw malformed('$.tcbInfo', `the TDX members do not fit a TCB info for ${json.id}`)
  const identities = (json.tdxModuleIdentities ?? []).map((identity) => ({
    id: identity.id.toUpperCase(),
    ...module(identity),
    levels: orderIsvLevels(identity.tcbLevels, '$.tcbInfo.tdxModuleIdentities.tcbLevels'),
  }))
  if (new Set(identities.map(({ id }) => id)).size !== identities.length)
    throw malformed('$.tcbInfo.tdxModuleIdentities', 'an identity occurs twice')
  return {
    id: json.id,
    issueDate: json.issueDate,
    nextUpdate: json.nextUpdate,
    fmspc: json.fmspc,
    pceId: json.pceId,
    evaluationNumber: json.tcbEvaluationDataNumber,
    tdxModule: json.tdxModule === undefined ? null : module(json.tdxModule),
    tdxModuleIdentities: identities,
    levels,
  }
}

/**
 * Reads the inner object of an enclave identity, version 2, of a quoting enclave.
 * Source: Intel PCS API version 4, "Get Quoting Enclave Identity".
 * @throws {AttestationError}
 */
export function decodeQeIdentity(bytes: Uint8Array): QeIdentity {
  const value = parseJson(bytes, { maxBytes: MAX_COLLATERAL_JSON_BYTES })
  checkVersion(value, 2, 'enclaveIdentity')
  const json = enclaveIdentity(value, '$.enclaveIdentity')
  return {
    id: json.id,
    issueDate: json.issueDate,
    nextUpdate: json.nextUpdate,
    evaluationNumber: json.tcbEvaluationDataNumber,
    miscSelect: fromMemory32(json.miscselect),
    miscSelectMask: fromMemory32(json.miscselectMask),
    attributes: json.attributes,
    attributesMask: json.attributesMask,
    mrSigner: json.mrsigner,
    isvProdId: json.isvprodid,
    levels: orderIsvLevels(json.tcbLevels, '$.enclaveIdentity.tcbLevels'),
  }
}

const platformKey = (level: PlatformLevel): readonly number[] => [
  ...level.sgxComponents,
  ...(level.tdxComponents ?? []),
  level.pceSvn,
]

function orderIsvLevels(levels: readonly IsvLevelJson[], path: string): readonly IsvLevel[] {
  const key = (level: IsvLevel): readonly number[] => [level.isvSvn]
  const ordered = descending(
    levels.map((level) => ({
      isvSvn: level.tcb.isvsvn,
      status: level.tcbStatus,
      tcbDate: level.tcbDate,
      advisoryIds: level.advisoryIDs ?? [],
    })),
    key,
  )
  refuseDuplicates(ordered.map(key), path)
  return ordered
}
type IsvLevelJson = ReturnType<typeof isvLevel>

/** `keys` are in order, so equal ones are neighbours. */
function refuseDuplicates(keys: readonly (readonly number[])[], path: string): void {
  const twice = keys.some((key, index) => {
    const next = keys[index + 1]
    return next !== undefined && compareKeys(key, next) === 0
  })
  if (twice) throw malformed(path, 'a TCB level occurs twice')
}

function module(json: {
  readonly mrsigner: Uint8Array
  readonly attributes: Uint8Array
  readonly attributesMask: Uint8Array
}): TdxModule {
  return {
    mrSigner: json.mrsigner,
    attributes: json.attributes,
    attributesMask: json.attributesMask,
  }
}

const versioned = decode.object({ version: decode.integer() }, { unknown: 'ignore' })

/** Before anything else, because another version has other members. */
function checkVersion(value: JsonValue, wanted: number, name: string): void {
  const { version } = versioned(value, `$.${name}`)
  if (version !== wanted)
    throw new AttestationError(
      'UNSUPPORTED_VERSION',
      `${name} of version ${version}, where ${wanted} is needed`,
      { path: `$.${name}.version` },
    )
}

/** Intel writes the bytes as they lie in a report, so the number is little-endian. Production identities have zero; Intel's test identity shows the order. */
function fromMemory32(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true)
}

function malformed(path: string, message: string): AttestationError {
  return new AttestationError('FORMAT_INVALID', `${path}: ${message}`, { path })
}
