// The single owner of what a file is by its content, and of whether loading it can run code that is inside it.
import { isUtf8 } from 'node:buffer'
import { walkPickle } from './pickle.ts'

export const FORMATS = [
  'safetensors',
  'gguf',
  'ggml',
  'onnx',
  'tflite',
  'tensorflow',
  'pickle',
  'pytorch',
  'numpy',
  'npz',
  'hdf5',
  'keras',
  'zip',
  'jar',
  'compressed',
  'tar',
  'code',
  'json',
  'markdown',
  'text',
  'empty',
  'unknown',
] as const
export type Format = (typeof FORMATS)[number]

/** What a file is. `executable`: loading it as its kind of model can run code that the file carries. Never by its name alone, save for source code. */
export interface Content {
  readonly format: Format
  readonly executable: boolean
  /** For a person: what was found. */
  readonly why: string
}

/** Parts of a file. `head` and `tail` overlap, or are the whole file, where it is small. */
export interface Sample {
  /** Its name in the model. */
  readonly name: string
  readonly size: number
  readonly head: Uint8Array
  readonly tail: Uint8Array
}

export const HEAD_BYTES = 64 * 1024
/** Enough for the end record of a zip with its longest comment. */
export const TAIL_BYTES = 66 * 1024
/** A zip's list of names is read up to this size: 100,000 entries of a large model. */
export const MAX_DIRECTORY = 16 * 1024 * 1024

/**
 * Bytes from the end that `classify` wants to see, given the last TAIL_BYTES: a zip's list of names can be longer than that.
 */
export function tailWanted(tail: Uint8Array, size: number): number {
  const end = zipEnd(tail, size)
  if (end === null) return tail.length
  const wanted = size - end.start
  return wanted > tail.length && wanted <= MAX_DIRECTORY ? wanted : tail.length
}

/** Says what a file is. Total: any bytes give an answer. What is not recognised is `unknown`, which is not the same as harmless. */
export function classify(sample: Sample): Content {
  const { name, size, head } = sample
  const base = name.slice(name.lastIndexOf('/') + 1)
  const script = CODE_NAME.exec(base)
  if (size === 0) return answer('empty', false, 'the file is empty')
  if (script !== null)
    return answer('code', true, `source or machine code by its name (${script[0]})`)
  const native = NATIVE.find(({ at, magic }) => starts(head, magic, at))
  if (native !== undefined) return answer('code', true, native.what)
  const zip = zipEnd(sample.tail, size)
  const main = byMagic(sample)
  if (zip !== null) {
    const archive = classifyZip(sample, zip)
    if (main === null || main.format === 'zip') return archive
    return answer(
      main.format,
      true,
      `${main.why}, and also a zip archive at its end: ${archive.why}`,
    )
  }
  return main ?? byText(sample, base)
}

const CODE_NAME =
  /\.(?:py[cdowix]?|pyx|ipynb|sh|bash|zsh|fish|[cm]?js|ts|rb|pl|lua|php|ps1|bat|cmd|vbs|exe|dll|so(?:\.\d+)*|dylib|class|jar|war|wasm|whl|egg|deb|rpm|r|jl|go|rs|c|cc|cpp|cu|cuh|h|hpp|ptx|cubin|metallib)$/i

interface Magic {
  readonly at: number
  readonly magic: string
  readonly what: string
}
const NATIVE: readonly Magic[] = [
  { at: 0, magic: '\x7fELF', what: 'an ELF program or library' },
  { at: 0, magic: 'MZ', what: 'a Windows program or library' },
  { at: 0, magic: '\xfe\xed\xfa\xce', what: 'a Mach-O program or library' },
  { at: 0, magic: '\xfe\xed\xfa\xcf', what: 'a Mach-O program or library' },
  { at: 0, magic: '\xce\xfa\xed\xfe', what: 'a Mach-O program or library' },
  { at: 0, magic: '\xcf\xfa\xed\xfe', what: 'a Mach-O program or library' },
  { at: 0, magic: '\xca\xfe\xba\xbe', what: 'a Java class or a Mach-O library' },
  { at: 0, magic: '\0asm', what: 'a WebAssembly module' },
  { at: 0, magic: 'BC\xc0\xde', what: 'LLVM bitcode' },
  { at: 0, magic: '\x1bLua', what: 'compiled Lua' },
  { at: 0, magic: 'dex\n', what: 'compiled Android code' },
  { at: 0, magic: '#!', what: 'a script' },
]

const COMPRESSED: readonly Magic[] = [
  { at: 0, magic: '\x1f\x8b', what: 'gzip' },
  { at: 0, magic: 'BZh', what: 'bzip2' },
  { at: 0, magic: '\xfd7zXZ\0', what: 'xz' },
  { at: 0, magic: '\x28\xb5\x2f\xfd', what: 'zstd' },
  { at: 0, magic: '\x04\x22\x4d\x18', what: 'lz4' },
  { at: 0, magic: '7z\xbc\xaf\x27\x1c', what: '7z' },
  { at: 0, magic: 'Rar!\x1a\x07', what: 'rar' },
  { at: 0, magic: '\x78\x01', what: 'zlib' },
  { at: 0, magic: '\x78\x5e', what: 'zlib' },
  { at: 0, magic: '\x78\x9c', what: 'zlib' },
  { at: 0, magic: '\x78\xda', what: 'zlib' },
  { at: 0, magic: 'ZF', what: 'joblib zfile' },
]

function byMagic({ head, size }: Sample): Content | null {
  if (starts(head, 'GGUF')) return answer('gguf', false, 'GGUF magic')
  for (const magic of ['lmgg', 'tjgg', 'fmgg', 'algg'])
    if (starts(head, magic)) return answer('ggml', false, 'GGML magic of an older llama.cpp')
  if (isSafetensors(head, size)) return answer('safetensors', false, 'a safetensors header')
  for (const at of [0, 512, 1024, 2048, 4096, 8192, 16384, 32768])
    if (starts(head, '\x89HDF\r\n\x1a\n', at))
      return answer(
        'hdf5',
        true,
        'HDF5: a Keras model in it can carry Lambda layers, which are code',
      )
  if (starts(head, '\x93NUMPY')) return numpy(head)
  // Before the others: nothing else starts with a pickle that names code.
  const pickle = walkPickle(head)
  if (pickle !== null && (head[0] === 0x80 || pickle.calls)) {
    if (starts(head, TORCH_LEGACY)) return answer('pytorch', true, 'PyTorch before 1.6: pickles')
    const why = pickle.calls ? 'a pickle that names or calls code' : 'a pickle'
    return answer('pickle', true, why)
  }
  if (starts(head, 'PK\x03\x04') || starts(head, 'PK\x05\x06'))
    return answer('zip', true, 'a zip archive whose list of names is not at its end')
  if (starts(head, 'ustar', 257))
    return answer('tar', true, 'a tar archive: what is in it was not looked at')
  const packed = COMPRESSED.find(({ at, magic }) => starts(head, magic, at))
  if (packed !== undefined && !(packed.what === 'joblib zfile' && isText(head, size)))
    return answer('compressed', true, `${packed.what}: may hold a pickle, was not looked at`)
  if (starts(head, 'TFL3', 4)) return answer('tflite', false, 'TensorFlow Lite magic')
  return protobuf(head)
}

/** The pickled number 0x1950a86a20f9469cfc6c, `torch.serialization.MAGIC_NUMBER`. */
const TORCH_LEGACY = '\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'

/** 8 bytes of length, then `{`: the strict check of the whole header is safetensors.ts. */
function isSafetensors(head: Uint8Array, size: number): boolean {
  if (head.length < 10) return false
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true)
  const next = head[9]
  return (
    length >= 2n &&
    length <= 100_000_000n &&
    8 + Number(length) <= size &&
    head[8] === 0x7b &&
    (next === 0x22 || next === 0x7d || next === 0x20 || next === 0x0a)
  )
}

function numpy(head: Uint8Array): Content {
  const text = latin1(head.subarray(0, 4096))
  const descr = /'descr':\s*('[^']*'|\[[^\]]*\])/.exec(text)?.[1]
  if (descr === undefined)
    return answer('numpy', true, 'a numpy array whose element type could not be read')
  return /[|<>=]?O/.test(descr)
    ? answer('numpy', true, 'a numpy array of pickled objects')
    : answer('numpy', false, `a numpy array of ${descr.slice(0, 64)}`)
}

/** ModelProto starts with ir_version (field 1), then producer_name (field 2, short text); SavedModel's field 2 is a graph. */
function protobuf(head: Uint8Array): Content | null {
  const [tag, version = 0, second, length = 0, third = 0] = head
  if (tag !== 0x08 || version === 0 || version > 64) return null
  const producer = latin1(head.subarray(4, 4 + length))
  if (second === 0x12 && length < 128 && third !== 0x0a && /^[\x20-\x7e]*$/.test(producer))
    return answer('onnx', false, `an ONNX model (producer ${JSON.stringify(producer)})`)
  if (second === 0x12)
    return answer('tensorflow', true, 'a TensorFlow SavedModel: its graph can read and write files')
  return second === 0x3a || second === 0x42 ? answer('onnx', false, 'an ONNX model') : null
}

interface ZipEnd {
  /** Offset of the central directory in the file. */
  readonly start: number
  readonly end: number
}

/** The end record of a zip (APPNOTE 4.3.16), found as readers find it: the last one whose comment ends with the file, or simply the last one. */
function zipEnd(tail: Uint8Array, size: number): ZipEnd | null {
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength)
  for (let at = tail.length - 22; at >= 0; at--) {
    if (tail[at] !== 0x50 || view.getUint32(at, true) !== 0x06054b50) continue
    const length = view.getUint32(at + 12, true)
    const place = size - tail.length + at
    // Zip64 and archives behind other bytes: the directory ends where its end record begins.
    if (length === 0xffffffff) return { start: Math.max(0, place - MAX_DIRECTORY), end: place }
    if (length <= place) return { start: place - length, end: place }
  }
  return null
}

function classifyZip({ tail, size }: Sample, { start, end }: ZipEnd): Content {
  const from = size - tail.length
  const names = start < from ? null : zipNames(tail.subarray(start - from, end - from))
  if (names === null)
    return answer('zip', true, 'a zip archive whose list of names can not be read')
  const has = (pattern: RegExp): string | undefined => names.find((name) => pattern.test(name))
  const pickled = has(/\.(?:pkl|pickle)$/i)
  if (pickled !== undefined)
    return answer('pytorch', true, `a zip archive with the pickle ${pickled}`)
  if (names.includes('META-INF/MANIFEST.MF')) return answer('jar', true, 'a Java archive')
  const code = has(CODE_NAME)
  if (code !== undefined) return answer('zip', true, `a zip archive with the code ${code}`)
  if (has(/(?:^|\/)model\.weights\.h5$/) !== undefined)
    return answer('keras', true, 'a Keras archive: it can carry Lambda layers, which are code')
  if (names.length > 0 && names.every((name) => name.endsWith('.npy')))
    return answer('npz', true, 'numpy arrays in a zip archive: they may hold pickled objects')
  const inner = has(/\.(?:zip|npy|npz|bin|pt|pth|ckpt|h5|hdf5|joblib|tar|gz|tgz|bz2|xz|zst|7z)$/i)
  if (inner !== undefined) return answer('zip', true, `a zip archive with ${inner}, not looked at`)
  return answer('zip', false, `a zip archive of ${names.length} entries`)
}

/** The names in a central directory (APPNOTE 4.3.12), null if it is not well-formed. */
function zipNames(directory: Uint8Array): string[] | null {
  const view = new DataView(directory.buffer, directory.byteOffset, directory.byteLength)
  const names: string[] = []
  let at = 0
  while (at + 46 <= directory.length) {
    if (view.getUint32(at, true) !== 0x02014b50) return null
    const name = view.getUint16(at + 28, true)
    const after = at + 46 + name + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
    if (after > directory.length) return null
    names.push(latin1(directory.subarray(at + 46, at + 46 + name)))
    at = after
  }
  return at === directory.length ? names : null
}

function byText({ head, size }: Sample, base: string): Content {
  if (!isText(head, size)) return answer('unknown', false, 'of no format that is known')
  const text = latin1(head)
  if (/!!python\/|!!java|tag:yaml\.org,2002:python\//.test(text))
    return answer('text', true, 'YAML with tags that call code')
  if (/\.jsonl?$/i.test(base) || /^\s*(?:\{|\[\s*["[{\]\d-])/.test(text))
    return answer('json', false, 'JSON text')
  return /\.(?:md|markdown)$/i.test(base)
    ? answer('markdown', false, 'Markdown text')
    : answer('text', false, 'text')
}

function isText(head: Uint8Array, size: number): boolean {
  if (head.includes(0)) return false
  if (isUtf8(head)) return true
  if (size === head.length) return false
  // The sample may end within a character.
  for (let cut = 1; cut <= 3; cut++) if (isUtf8(head.subarray(0, head.length - cut))) return true
  return false
}

function starts(bytes: Uint8Array, magic: string, at = 0): boolean {
  if (bytes.length < at + magic.length) return false
  for (let i = 0; i < magic.length; i++) if (bytes[at + i] !== magic.charCodeAt(i)) return false
  return true
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

function answer(format: Format, executable: boolean, why: string): Content {
  return { format, executable, why }
}
