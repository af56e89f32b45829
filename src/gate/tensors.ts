// The single owner of safetensors files as a map of tensors: where each one is comes from verified bytes, and so do its own.
import { ZtError } from '../error.ts'
import { parseSafetensors, safetensorsHeaderLength, type Tensor } from '../model/safetensors.ts'
import type { VerifiedModel } from './open.ts'

/** Elements in the machine's own order, for the types that JavaScript has. */
export type TensorValues =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array

/** One tensor. Nothing of it is read before it is asked for. */
export interface VerifiedTensor {
  readonly name: string
  /** As in the file: `F32`, `BF16`, … */
  readonly dtype: string
  readonly shape: readonly number[]
  /** The signed file that holds it. */
  readonly file: string
  /** Its bytes, little-endian, in the caller's own memory. @throws ZtError as `VerifiedModel.read` */
  bytes(): Promise<Uint8Array<ArrayBuffer>>
  /**
   * Its elements. 16-bit and 8-bit floats come as their bits.
   * @throws ZtError as `bytes`
   */
  values(): Promise<TensorValues>
}

const VIEWS: Readonly<Record<string, new (buffer: ArrayBuffer) => TensorValues>> = {
  I8: Int8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  F32: Float32Array,
  F64: Float64Array,
}

/**
 * The tensors of one file, in the order of their bytes.
 * @throws ZtError SAFETENSORS_INVALID, and as `VerifiedModel.read`
 */
export async function openTensors(
  model: VerifiedModel,
  file: string,
): Promise<ReadonlyMap<string, VerifiedTensor>> {
  const size = model.files.get(file)?.size ?? 0
  const first = await model.read(file, 0, Math.min(8, size))
  const length = safetensorsHeaderLength(first, size)
  const { tensors } = parseSafetensors(await model.read(file, 8, 8 + length), size)
  return new Map(tensors.map((tensor) => [tensor.name, verified(model, file, tensor)]))
}

/**
 * The tensors of all `.safetensors` files of a model. No index file is needed or believed.
 * @throws ZtError as `openTensors`; SAFETENSORS_INVALID if two files hold a tensor of one name
 */
export async function openAllTensors(
  model: VerifiedModel,
): Promise<ReadonlyMap<string, VerifiedTensor>> {
  const all = new Map<string, VerifiedTensor>()
  for (const file of model.files.keys()) {
    if (!file.endsWith('.safetensors')) continue
    for (const [name, tensor] of await openTensors(model, file)) {
      const other = all.get(name)
      if (other !== undefined)
        throw new ZtError(
          'SAFETENSORS_INVALID',
          `${JSON.stringify(name)} is in ${other.file} and in ${file}`,
          { path: file },
        )
      all.set(name, tensor)
    }
  }
  return all
}

function verified(
  model: VerifiedModel,
  file: string,
  { name, dtype, shape, start, end }: Tensor,
): VerifiedTensor {
  const bytes = (): Promise<Uint8Array<ArrayBuffer>> => model.read(file, start, end)
  return {
    name,
    dtype,
    shape,
    file,
    bytes,
    values: async () => {
      // Memory of its own, so it is aligned whatever its place in the file.
      const own = await bytes()
      const view = VIEWS[dtype]
      return view === undefined ? own : new view(own.buffer)
    },
  }
}
