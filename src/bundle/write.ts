// The single owner of what we write: one payload for one model and one set of options, byte for byte, and the bundle around it.
import { bytesToBase64, utf8Encode } from '../../attestation/lib/index.ts'
import type { Manifest } from '../model/manifest.ts'
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
  return utf8Encode(
    JSON.stringify({
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
        resources: resources.map((resource) => ({
          name: resource.name,
          algorithm: resource.algorithm,
          digest: resource.digest,
          ...(resource.size === undefined ? {} : { size: resource.size }),
          ...(resource.fsverity === undefined ? {} : { fsverity: resource.fsverity }),
        })),
      },
    }),
  )
}

/** The bundle around a signed in-toto payload, as UTF-8 JSON on one line (OMS v1.0 §4). */
export function writeBundle(
  payload: Uint8Array,
  signature: Uint8Array,
  verificationMaterial: Readonly<Record<string, unknown>>,
): Uint8Array {
  return utf8Encode(
    `${JSON.stringify({
      mediaType: MEDIA_TYPE,
      verificationMaterial,
      dsseEnvelope: {
        payload: bytesToBase64(payload),
        payloadType: IN_TOTO,
        signatures: [{ sig: bytesToBase64(signature), keyid: '' }],
      },
    })}\n`,
  )
}
