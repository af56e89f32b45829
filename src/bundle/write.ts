// The single owner of what we write: one payload for one model and one set of options, byte for byte, and the bundle around it.
import { Buffer } from 'node:buffer'
import { bytesToBase64, utf8Encode } from '../../attestation/lib/index.ts'
import type { Manifest, Resource } from '../model/manifest.ts'
import { compareNames } from '../model/name.ts'
import { MEDIA_TYPE } from './bundle.ts'
import { IN_TOTO } from './dsse.ts'
import { PREDICATE_TYPE, STATEMENT_TYPE } from './statement.ts'

/**
 * The in-toto statement of a manifest, as UTF-8 JSON (OMS v1.0 §5). Fixed order of keys, resources as in the manifest, ignored paths sorted
 * and once each, integers as integers: the same manifest gives the same bytes.
 */
export function writeStatement({ name, serialization, resources, root }: Manifest): Uint8Array {
  const { method, hashType, shardSize, allowSymlinks, ignorePaths } = serialization
  const text = JSON.stringify({
    _type: STATEMENT_TYPE,
    subject: [{ name, digest: { sha256: root } }],
    predicateType: PREDICATE_TYPE,
    predicate: {
      serialization: {
        method,
        hash_type: hashType,
        ...(shardSize === undefined ? {} : { shard_size: shardSize }),
        allow_symlinks: allowSymlinks,
        ...(ignorePaths === undefined
          ? {}
          : { ignore_paths: [...new Set(ignorePaths)].sort(compareNames) }),
      },
      resources: [],
    },
  })
  const end = ']}}'
  const bytes = new Text(resources.reduce((sum, resource) => sum + estimate(resource), text.length))
  bytes.add(text.slice(0, -end.length))
  for (let at = 0; at < resources.length; at += AT_ONCE) {
    const some = JSON.stringify(resources.slice(at, at + AT_ONCE).map(recorded))
    bytes.add(`${at === 0 ? '' : ','}${some.slice(1, -1)}`)
  }
  bytes.add(end)
  return bytes.done()
}

/** Resources that are written in one go, so that the list of a data set is never there as one text. */
const AT_ONCE = 256

function recorded({ name, algorithm, digest, size, fsverity }: Resource): object {
  return {
    name,
    algorithm,
    digest,
    ...(size === undefined ? {} : { size }),
    ...(fsverity === undefined ? {} : { fsverity }),
  }
}

/** Bytes that a resource takes where no character of its name needs more than one. */
function estimate({ name, algorithm, digest, size, fsverity }: Resource): number {
  const more = (size === undefined ? 0 : 25) + (fsverity === undefined ? 0 : 90)
  return 40 + name.length + algorithm.length + digest.length + more
}

/** UTF-8 that grows in one buffer. */
class Text {
  #bytes: Buffer
  #length = 0

  constructor(estimated: number) {
    this.#bytes = Buffer.allocUnsafeSlow(estimated + 64)
  }

  add(text: string): void {
    const length = Buffer.byteLength(text)
    if (this.#length + length > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(2 * (this.#length + length))
      this.#bytes.copy(larger, 0, 0, this.#length)
      this.#bytes = larger
    }
    this.#length += this.#bytes.write(text, this.#length)
  }

  done(): Uint8Array {
    return new Uint8Array(this.#bytes.buffer, 0, this.#length)
  }
}

/** The bundle around a signed in-toto payload, as UTF-8 JSON on one line (OMS v1.0 §4). */
export function writeBundle(
  payload: Uint8Array,
  signature: Uint8Array,
  verificationMaterial: Readonly<Record<string, unknown>>,
): Uint8Array {
  const text = JSON.stringify({
    mediaType: MEDIA_TYPE,
    verificationMaterial,
    dsseEnvelope: {
      payload: '',
      payloadType: IN_TOTO,
      signatures: [{ sig: bytesToBase64(signature), keyid: '' }],
    },
  })
  // The last one: whatever the material holds comes before it, and a signature in base64 holds no quote.
  const place = text.lastIndexOf('"payload":"') + '"payload":"'.length
  const before = utf8Encode(text.slice(0, place))
  const after = utf8Encode(`${text.slice(place)}\n`)
  const encoded = Math.ceil(payload.length / 3) * 4
  const bytes = Buffer.allocUnsafeSlow(before.length + encoded + after.length)
  bytes.set(before)
  let at = before.length
  for (let from = 0; from < payload.length; from += BASE64_STEP)
    at += bytes.write(bytesToBase64(payload.subarray(from, from + BASE64_STEP)), at, 'latin1')
  bytes.set(after, at)
  return new Uint8Array(bytes.buffer)
}

/** Bytes that are encoded in one go: a multiple of 3, so that only the last has padding. */
const BASE64_STEP = 48 * 1024
