// The single owner of image references as clusters write them: short names, tags beside digests, and the scheme prefixes of KServe.
import { ZtError } from '../error.ts'
import { matches, namesOf } from '../policy/match.ts'
import type { Policy } from '../policy/policy.ts'
import { formatReference, parseReference, type Reference } from '../registry/reference.ts'

const HUB = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io'])

/**
 * Reads an image reference as a container runtime does: `nginx` is `docker.io/library/nginx:latest`, letter case of the host is of no
 * meaning.
 * @throws ZtError REFERENCE_INVALID
 */
export function imageReference(text: string): Reference {
  const slash = text.indexOf('/')
  const first = slash < 0 ? '' : text.slice(0, slash)
  const isHost = /[.:\[A-Z]/.test(first) || first === 'localhost'
  const rest = isHost ? text.slice(slash + 1) : text
  // The port that HTTPS has anyway is no other registry.
  const host = isHost ? first.toLowerCase().replace(/:443$/, '') : 'docker.io'
  const hub = HUB.has(host)
  const path = hub && !rest.includes('/') ? `library/${rest}` : rest
  const reference = parseReference(`${hub ? 'docker.io' : host}/${path}`)
  return reference.tag === undefined && reference.digest === undefined
    ? { ...reference, tag: 'latest' }
    : reference
}

/** The reference that is asked for: by digest alone where there is one, because nobody checked the tag beside it. */
export function pinned(reference: Reference): Reference {
  const { host, repository, tag, digest } = reference
  if (digest !== undefined) return { host, repository, digest }
  return { host, repository, ...(tag === undefined ? {} : { tag }) }
}

/** True if a rule of the policy is about references (`oci://…`) and names this one: then an image is a model. */
export function namesModel(policy: Policy, reference: Reference): boolean {
  const names = namesOf({ name: '', reference: formatReference(pinned(reference)) }).filter(
    (name) => name !== '',
  )
  for (const { models } of policy.rules.values()) {
    for (const pattern of models)
      if (pattern.startsWith('oci://') && names.some((name) => matches(pattern, name))) return true
  }
  return false
}

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\//i
const OCI = new Set(['oci', 'oci+native', 'oci+fetch'])

/**
 * The reference in a storage URI.
 * @throws ZtError SOURCE_UNDECIDABLE for places where nothing names the content by digest, REFERENCE_INVALID
 */
export function storageReference(uri: string): Reference {
  const scheme = SCHEME.exec(uri)?.[1]?.toLowerCase()
  if (scheme !== undefined && OCI.has(scheme))
    return imageReference(uri.slice(uri.indexOf('://') + '://'.length))
  throw new ZtError(
    'SOURCE_UNDECIDABLE',
    `nothing in ${scheme === undefined ? 'this source' : `a ${scheme}:// source`} names the model by its content`,
    { hint: 'push the model to a registry (zt4ai push) and name it oci://…@sha256:…' },
  )
}
