// The single owner of what a file seems to be by its name alone, for where nobody can look into it. A guess: the loader looks.
import { classify, type Content, type Format } from './sniff.ts'

const BY_ENDING: readonly (readonly [RegExp, Format, boolean])[] = [
  [/\.safetensors$/i, 'safetensors', false],
  [/\.gguf$/i, 'gguf', false],
  [/\.ggml$/i, 'ggml', false],
  [/\.(?:onnx|onnx_data)$/i, 'onnx', false],
  [/\.tflite$/i, 'tflite', false],
  [/\.(?:pt|pth|ckpt|bin)$/i, 'pytorch', true],
  [/\.(?:pkl|pickle|joblib|dill)$/i, 'pickle', true],
  [/\.npy$/i, 'numpy', false],
  [/\.npz$/i, 'npz', true],
  [/\.(?:h5|hdf5)$/i, 'hdf5', true],
  [/\.keras$/i, 'keras', true],
  [/\.zip$/i, 'zip', true],
  [/\.(?:tar|tgz)$/i, 'tar', true],
  [/\.(?:gz|xz|bz2|zst|lz4)$/i, 'compressed', true],
  [/\.jsonl?$/i, 'json', false],
  [/\.(?:md|markdown)$/i, 'markdown', false],
  [/\.(?:txt|ya?ml|toml|csv|tsv|vocab|merges|jinja)$|^(?:license|notice|readme)$/i, 'text', false],
]
const NOTHING = new Uint8Array(0)

/** The format that a name promises; `unknown` where it promises none. Source code is told as `classify` does. */
export function guessFormat(name: string): Content {
  const content = classify({ name, size: 1, head: NOTHING, tail: NOTHING })
  if (content.format === 'code') return content
  const base = name.slice(name.lastIndexOf('/') + 1)
  const found = BY_ENDING.find(([ending]) => ending.test(base))
  if (found === undefined)
    return { format: 'unknown', executable: false, why: 'its name promises no known format' }
  return { format: found[1], executable: found[2], why: 'by its name alone' }
}
