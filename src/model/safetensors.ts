// The single owner of reading a safetensors header: which tensors a file holds, with every bound checked.
import { AttestationError, decode, parseJson } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'

/** Bits of one element (safetensors 0.6, `Dtype`). */
const DTYPE_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
  C64: 64,
}

/** Bytes: the limit of the format's own reader. */
export const MAX_SAFETENSORS_HEADER = 100_000_000

export interface Tensor {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  /** Bytes, from the start of the file. */
  readonly start: number
  readonly end: number
}

export interface Safetensors {
  /** In the order of their place in the file. */
  readonly tensors: readonly Tensor[]
  readonly metadata: ReadonlyMap<string, string>
  /** Where the tensors' bytes begin. */
  readonly dataStart: number
}

function invalid(message: string, cause?: unknown): ZtError {
  return new ZtError('SAFETENSORS_INVALID', message, { cause })
}

/**
 * Bytes of the JSON header, from the file's first 8 bytes.
 * @throws ZtError SAFETENSORS_INVALID
 */
export function safetensorsHeaderLength(first8: Uint8Array, fileSize: number): number {
  if (first8.length < 8 || fileSize < 8) throw invalid('the file is shorter than 8 bytes')
  const view = new DataView(first8.buffer, first8.byteOffset, 8)
  const length = view.getBigUint64(0, true)
  if (length > BigInt(MAX_SAFETENSORS_HEADER))
    throw invalid(`the header says it is ${length.toString()} bytes, more than 100 MB`)
  if (8 + Number(length) > fileSize) throw invalid('the header is longer than the file')
  return Number(length)
}

const HEADER = decode.record(decode.any())
const METADATA = decode.record(decode.string())
const OFFSET = decode.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const TENSOR = decode.object({
  dtype: decode.string(),
  shape: decode.array(OFFSET, { max: 64 }),
  data_offsets: decode.array(OFFSET, { min: 2, max: 2 }),
})

/**
 * Reads a header strictly: JSON without duplicate keys, known element types, sizes that follow from the shapes, ranges that follow each
 * other without gap or overlap and end exactly where the file does.
 * @param header the JSON bytes, without the 8 bytes of length before them
 * @param fileSize bytes of the whole file
 * @throws ZtError SAFETENSORS_INVALID
 */
export function parseSafetensors(header: Uint8Array, fileSize: number): Safetensors {
  if (header[0] !== 0x7b) throw invalid('the header does not start with {')
  const dataStart = 8 + header.length
  let metadata: ReadonlyMap<string, string> = new Map()
  const tensors: Tensor[] = []
  try {
    const json = parseJson(header, { maxBytes: MAX_SAFETENSORS_HEADER, maxDepth: 8 })
    for (const [name, value] of HEADER(json, '$')) {
      if (name === '__metadata__') metadata = METADATA(value, '$.__metadata__')
      else tensors.push(tensor(name, TENSOR(value, `$[${JSON.stringify(name)}]`), dataStart))
    }
  } catch (error) {
    if (error instanceof AttestationError) throw invalid(error.message, error)
    throw error
  }
  tensors.sort((a, b) => a.start - b.start || a.end - b.end)
  let at = dataStart
  for (const { name, start, end } of tensors) {
    if (start !== at) throw invalid(`${JSON.stringify(name)}: a gap or an overlap before its bytes`)
    at = end
  }
  if (at !== fileSize) throw invalid(`the tensors end at ${at}, the file at ${fileSize}`)
  return { tensors, metadata, dataStart }
}

function tensor(
  name: string,
  entry: { dtype: string; shape: readonly number[]; data_offsets: readonly number[] },
  dataStart: number,
): Tensor {
  const { dtype, shape } = entry
  const [from = 0, to = 0] = entry.data_offsets
  const bits = Object.hasOwn(DTYPE_BITS, dtype) ? DTYPE_BITS[dtype] : undefined
  if (bits === undefined) throw invalid(`${JSON.stringify(name)}: unknown element type`)
  const size = shape.reduce((product, n) => product * BigInt(n), BigInt(bits))
  if (to < from || BigInt(to - from) * 8n !== size)
    throw invalid(`${JSON.stringify(name)}: its range is not the size of its shape`)
  return { name, dtype, shape, start: dataStart + from, end: dataStart + to }
}
