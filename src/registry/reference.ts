// The single owner of OCI references: `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX]` (distribution-spec 1.1 §"Pulling manifests").
import { ZtError } from '../error.ts'

export interface Reference {
  /** Host and port as written, lower case. */
  readonly host: string
  readonly repository: string
  readonly tag?: string
  /** `sha256:<64 hex>`. */
  readonly digest?: string
}

const HOST =
  /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?$/
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const DIGEST = /^sha256:[0-9a-f]{64}$/
const LONGEST = 512

/** Reads a reference, with or without the `oci://`. Throws `REFERENCE_INVALID`. */
export function parseReference(text: string): Reference {
  const bad = (why: string, hint?: string): never => {
    throw new ZtError('REFERENCE_INVALID', why, {
      path: text.slice(0, LONGEST),
      hint: hint ?? 'write oci://HOST/REPOSITORY@sha256:DIGEST or oci://HOST/REPOSITORY:TAG',
    })
  }
  if (text.length > LONGEST) bad(`a reference is at most ${String(LONGEST)} characters`)
  let rest = text.startsWith('oci://') ? text.slice('oci://'.length) : text
  let digest: string | undefined
  const at = rest.indexOf('@')
  if (at >= 0) {
    digest = rest.slice(at + 1)
    rest = rest.slice(0, at)
    if (!DIGEST.test(digest)) bad('the digest is not sha256: and 64 lower-case hex digits')
  }
  const slash = rest.indexOf('/')
  if (slash <= 0) return bad('the reference names no registry and repository')
  const host = rest.slice(0, slash)
  let repository = rest.slice(slash + 1)
  let tag: string | undefined
  const colon = repository.indexOf(':')
  if (colon >= 0) {
    tag = repository.slice(colon + 1)
    repository = repository.slice(0, colon)
    if (!TAG.test(tag)) bad('the tag is not well-formed')
  }
  if (!HOST.test(host)) bad('the registry is not a host name with an optional port (lower case)')
  const port = /:([0-9]+)$/.exec(host.replace(/^\[.*\]/, 'v6'))?.[1]
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535))
    bad('the port is not between 1 and 65535')
  if (repository.length > 255 || !repository.split('/').every((part) => COMPONENT.test(part))) {
    bad('the repository is not well-formed (lower-case names separated by /)')
  }
  return {
    host,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  }
}

/** The one written form, `oci://` included. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`
  return `oci://${reference.host}/${reference.repository}${tag}${digest}`
}

/** What stands in a URL after `/manifests/`: the digest if there is one, else the tag. Throws where there is neither. */
export function manifestPart(reference: Reference): string {
  const part = reference.digest ?? reference.tag
  if (part === undefined) {
    throw new ZtError('REFERENCE_INVALID', 'the reference names neither a digest nor a tag', {
      path: formatReference(reference),
    })
  }
  return part
}

/** True for `sha256:` and 64 lower-case hex digits: the only digests that zt4ai follows. */
export function isDigest(text: unknown): text is string {
  return typeof text === 'string' && DIGEST.test(text)
}
