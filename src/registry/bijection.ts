// The single owner of deciding without the bytes: when a manifest's raw layers are, one to one, the files that a signature names.
import type { Manifest } from '../model/manifest.ts'
import { DEFAULT_IGNORES, nameProblem, shownName } from '../model/name.ts'
import type { Check } from '../verdict.ts'
import { layerForm, PATH_ANNOTATIONS, type Artifact } from './artifact.ts'
import type { Descriptor } from './client.ts'

/** Why the manifest alone can't decide about an artifact; undefined if it can. */
export function whyNotFromManifest(artifact: Artifact, model: Manifest): string | undefined {
  const { method, hashType } = model.serialization
  if (method !== 'files')
    return `the signature names shards, and a layer's digest is that of a whole file`
  if (hashType !== 'sha256')
    return `the signature's digests are ${hashType}, and layers have sha256`
  const other = artifact.layers.find((layer) => layerForm(layer.mediaType) !== 'file')
  return other === undefined
    ? undefined
    : `the layer ${other.digest} is not one plain file (${other.mediaType})`
}

/**
 * Checks that `{(path, sha256)}` of the layers and of the signed resources are the same set, under conditions that make this sound:
 * one path a layer, the same for every consumer, canonical, and unique also when letter case and Unicode forms are folded.
 * Descriptor sizes are claims of the registry and are not looked at.
 */
export function checkBijection(artifact: Artifact, model: Manifest): readonly Check[] {
  const paths = checkPaths(artifact.layers)
  const signed = new Map(model.resources.map((resource) => [resource.name, resource.digest]))
  const held = new Map<string, string>()
  for (const { path, digest } of paths.layers) held.set(path, digest.slice('sha256:'.length))
  const checks: Check[] = [...paths.checks]
  for (const [path, digest] of held) {
    const expected = signed.get(path)
    if (expected === undefined) {
      const ignored = (DEFAULT_IGNORES as readonly string[]).includes(path.split('/')[0] ?? '')
      if (!ignored)
        checks.push(
          fail(
            'registry.extra',
            'FILE_EXTRA',
            path,
            'a layer holds a file that the signature does not name',
            'absent',
            digest,
          ),
        )
    } else if (expected !== digest) {
      checks.push(
        fail(
          'registry.changed',
          'FILE_CHANGED',
          path,
          "a layer's digest is not the signed one",
          expected,
          digest,
        ),
      )
    }
  }
  for (const [path, digest] of signed) {
    if (!held.has(path))
      checks.push(
        fail(
          'registry.missing',
          'FILE_MISSING',
          path,
          'no layer holds a file that the signature names',
          digest,
          'absent',
        ),
      )
  }
  if (checks.length > 0) return checks
  return [
    {
      id: 'registry.layers',
      status: 'pass',
      code: 'OK',
      message: `${String(held.size)} layers are exactly the ${String(signed.size)} signed files, by path and sha256`,
    },
  ]
}

function checkPaths(layers: readonly Descriptor[]): {
  layers: { path: string; digest: string }[]
  checks: Check[]
} {
  const checks: Check[] = []
  const named: { path: string; digest: string }[] = []
  const folded = new Map<string, string>()
  for (const layer of layers) {
    const names = [...new Set(PATH_ANNOTATIONS.flatMap((key) => layer.annotations?.[key] ?? []))]
    const path = names[0]
    if (path === undefined || names.length > 1) {
      const actual = names.length === 0 ? 'none' : names.join(' and ')
      checks.push(
        fail(
          'registry.path',
          'LAYER_PATH',
          layer.digest,
          'a layer must have one path, the same for every consumer',
          'one path',
          actual,
        ),
      )
      continue
    }
    const wrong = nameProblem(path)
    if (wrong !== null) {
      checks.push(
        fail(
          'registry.path',
          'LAYER_PATH',
          layer.digest,
          `a layer's path is not one inside a model: ${wrong}`,
          'a canonical relative path',
          path,
        ),
      )
      continue
    }
    const key = path.normalize('NFC').toLowerCase()
    const twin = folded.get(key)
    if (twin !== undefined) {
      checks.push(
        fail(
          'registry.path',
          'LAYER_PATH',
          path,
          'two layers claim one path (letter case and Unicode forms folded)',
          'unique paths',
          twin,
        ),
      )
      continue
    }
    folded.set(key, path)
    named.push({ path, digest: layer.digest })
  }
  for (const { path } of named) {
    for (let slash = path.indexOf('/'); slash > 0; slash = path.indexOf('/', slash + 1)) {
      if (folded.has(path.slice(0, slash).normalize('NFC').toLowerCase())) {
        checks.push(
          fail(
            'registry.path',
            'LAYER_PATH',
            path,
            'a file is also a directory of another',
            'a file or a directory',
            path.slice(0, slash),
          ),
        )
      }
    }
  }
  return { layers: named, checks }
}

function fail(
  id: string,
  code: Check['code'],
  name: string,
  message: string,
  expected: string,
  actual: string,
): Check {
  return {
    id: `${id}:${name}`,
    status: 'fail',
    code,
    message: `${shownName(name)}: ${message}`,
    expected,
    actual,
    hint: 'push the model again with zt4ai push, from the directory that was signed',
  }
}
