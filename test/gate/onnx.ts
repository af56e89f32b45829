// The single owner of a tiny ONNX model made byte by byte: y = x + x, protobuf by hand (onnx.proto, IR version 8).

type Field = readonly [number, number | string | Uint8Array]

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest & 0x7f) | 0x80)
  return [...bytes, rest]
}

/** A message of these fields: numbers as varints, the rest with a length. */
function message(...fields: readonly Field[]): Uint8Array {
  return Uint8Array.from(
    fields.flatMap(([number, value]) => {
      if (typeof value === 'number') return [...varint(number << 3), ...varint(value)]
      const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value
      return [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes]
    }),
  )
}

const FLOAT = 1
const INT64 = 7

/** TypeProto.Tensor of these named or fixed dimensions. */
function value(name: string, type: number, dimensions: readonly (number | string)[]): Uint8Array {
  const shape = message(
    ...dimensions.map((one): Field => [1, message(typeof one === 'number' ? [1, one] : [2, one])]),
  )
  return message([1, name], [2, message([1, message([1, type], [2, shape])])])
}

function model(graph: Uint8Array): Uint8Array {
  const opset = message([1, ''], [2, 13])
  return message([1, 8], [2, 'zt4ai-test'], [7, graph], [8, opset])
}

/** `y = x + x` over four floats. */
export function doubling(): Uint8Array {
  const node = message([1, 'x'], [1, 'x'], [2, 'y'], [3, 'double'], [4, 'Add'])
  return model(
    message([1, node], [2, 'g'], [11, value('x', FLOAT, [4])], [12, value('y', FLOAT, [4])]),
  )
}

/** An encoder that gives each token's id back, as a float: what transformers.js calls a model of type bert. */
export function echoing(): Uint8Array {
  const to = message([1, 'to'], [3, FLOAT], [20, 2])
  const cast = message([1, 'input_ids'], [2, 'last_hidden_state'], [3, 'c'], [4, 'Cast'], [5, to])
  return model(
    message(
      [1, cast],
      [2, 'g'],
      [11, value('input_ids', INT64, ['batch', 'tokens'])],
      [12, value('last_hidden_state', FLOAT, ['batch', 'tokens'])],
    ),
  )
}
