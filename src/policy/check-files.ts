// The single owner of the question what lies there: signed files as signed, nothing else, and no format that runs code.
import type { Manifest } from '../model/manifest.ts'
import type { Check } from '../verdict.ts'
import { fail, pass, skip, some } from './check.ts'
import type { FileFormat, FilesFact } from './facts.ts'
import { matches } from './match.ts'
import { MANIFEST_ROUTES, type ManifestRoute, type Route, type Rule } from './policy.ts'

/** Judges what was found against one signed list. */
export function checkFiles(rule: Rule, fact: FilesFact | null): readonly Check[] {
  if (fact === null) {
    return [
      fail('model.files', 'FILES_UNREAD', 'no file was compared with a signed list', {
        hint: 'the comparison needs a signature that verifies: see model.signed-by',
      }),
      skip('model.extra-files', 'not judged: nothing was compared'),
      skip('model.formats', 'not judged: nothing was compared'),
    ]
  }
  if (fact.route === 'manifest-digest') {
    const why = 'not judged: the registry’s manifest was signed, and no list of files'
    return [
      route(rule, fact),
      skip('model.files', why),
      skip('model.extra-files', why),
      skip('model.formats', why),
    ]
  }
  return [route(rule, fact), ...signedFiles(fact), extraFiles(rule, fact), formats(rule, fact)]
}

function route(rule: Rule, { route }: FilesFact): Check {
  return isManifestRoute(route) && !rule.manifestOnly.includes(route)
    ? fail('model.route', 'ROUTE_NOT_ALLOWED', `the files were not read: the route was ${route}`, {
        expected: ['files', 'streamed', ...rule.manifestOnly].join(' or '),
        actual: route,
        hint: `\`manifest-only: [${route}]\` in the rule accepts it; the loader must then check the bytes`,
      })
    : pass('model.route', ROUTE_WORDS[route], { actual: route })
}

function signedFiles(fact: FilesFact): readonly Check[] {
  const { result } = fact
  const checks: Check[] = []
  const problems = result.checks.filter(({ id }) => !OWN.test(id))
  const broken = problems.filter(({ status }) => status === 'fail').length
  const { missing, changed } = result
  const signed = signedNames(fact.manifest).size
  const uncompared = signed - result.files - missing.length - changed.length - broken
  const actual = `${String(result.files)} files and ${String(result.bytes)} bytes compared; ${String(changed.length)} changed, ${String(missing.length)} missing`
  if (missing.length + changed.length + broken > 0)
    checks.push(
      fail('model.files', 'FILE_CHANGED', 'the files are not the signed ones', {
        expected: 'every signed file, unchanged',
        actual,
        hint: 'restore the files that were signed, or have the new ones signed',
      }),
    )
  else if (uncompared > 0)
    checks.push(
      fail('model.files', 'FILES_UNREAD', 'not every signed file was compared', {
        expected: `${String(signed)} files`,
        actual,
      }),
    )
  else
    checks.push(
      pass('model.files', `all ${String(result.files)} files are the signed ones`, { actual }),
    )
  checks.push(...problems)
  return checks
}

/** Checks of the comparison that this room makes itself, because the policy has a say in them. */
const OWN = /^model\.(?:files$|ignored$|extra:)/

const ROUTE_WORDS: Readonly<Record<Route, string>> = {
  files: 'every byte was read and hashed',
  streamed: 'every byte was hashed while it was streamed',
  'fs-verity': 'the kernel measured every file, and checks each page when it is read',
  'raw-bijection': 'compared by the digests in the registry’s manifest; no byte was read here',
  'signed-layer-map': 'compared by layer digests that the signer recorded; no byte was read here',
  'manifest-digest': 'the registry’s manifest was signed; no byte was read here',
  'hub-asserted': 'compared by digests that a hub asserts; no byte was read here',
  'machine-asserted':
    'the attested machine says so, and its evidence is bound to this list; no byte was read here',
}

function isManifestRoute(route: Route): route is ManifestRoute {
  return MANIFEST_ROUTES.some((one) => one === route)
}

function extraFiles(rule: Rule, { result }: FilesFact): Check {
  const allowed = (name: string): boolean =>
    rule.extraAllowed.some((pattern) => matches(pattern, name))
  const extra = result.extra.filter((name) => !allowed(name))
  const ignored = rule.ignoredAllowed ? [] : result.ignored.filter((name) => !allowed(name))
  const refused = [...extra, ...ignored]
  const expected =
    rule.extraAllowed.length === 0
      ? 'only signed files'
      : `only signed files, or ${rule.extraAllowed.join(', ')}`
  if (refused.length === 0) {
    const unsigned = result.extra.length + result.ignored.length
    return pass(
      'model.extra-files',
      unsigned === 0
        ? 'no file is there that nobody signed'
        : `${String(unsigned)} unsigned files are allowed by the rule`,
      { expected, actual: unsigned === 0 ? 'none' : some([...result.extra, ...result.ignored]) },
    )
  }
  return fail('model.extra-files', 'FILE_EXTRA', `not signed: ${some(refused)}`, {
    expected,
    actual: `${String(extra.length)} extra, ${String(ignored.length)} under paths that the signer ignored`,
    hint:
      extra.length === 0
        ? 'remove them, sign without --ignore, or write `extra-files: {ignored: allow}` in the rule'
        : 'remove them, sign again, or name them under `extra-files: {allow: […]}` in the rule',
  })
}

function formats(rule: Rule, fact: FilesFact): Check {
  const id = 'model.formats'
  const known = new Map<string, FileFormat[]>()
  for (const format of fact.formats)
    known.set(format.name, [...(known.get(format.name) ?? []), format])
  const names = new Set([
    ...signedNames(fact.manifest),
    ...fact.result.extra,
    ...fact.result.ignored,
  ])
  for (const missing of fact.result.missing) names.delete(missing)
  const byName = !isManifestRoute(fact.route)
  const unread = [...names].filter((name) => !known.has(name))
  const named = byName ? fact.formats.filter(({ basis }) => basis === 'name') : []
  const uncounted = Math.max(0, fact.result.files - known.size)

  const refused = fact.formats.flatMap((file) => {
    const why = refusal(rule, file)
    return why === null ? [] : [`${file.name} (${why})`]
  })
  const expected = inWords(rule)
  if (refused.length > 0) {
    const first = fact.formats.find((file) => refusal(rule, file) !== null)
    return fail(id, 'FORMAT_NOT_ALLOWED', `not to be loaded: ${some(refused)}`, {
      expected,
      actual: [...new Set(fact.formats.map(({ format }) => format))].sort().join(', '),
      hint: hintFor(rule, first),
    })
  }
  if (unread.length + named.length + uncounted > 0) {
    const files = [...unread, ...named.map(({ name }) => name)]
    return fail(id, 'FORMAT_UNREAD', 'the content of some files was not looked at', {
      expected: 'the format of every file, by its content',
      actual: files.length === 0 ? `${String(uncounted)} files without one` : some(files),
    })
  }
  return pass(id, 'every file has a format that the rule allows', {
    expected,
    actual: [...new Set(fact.formats.map(({ format }) => format))].sort().join(', '),
  })
}

function hintFor(rule: Rule, file: FileFormat | undefined): string {
  const format = file?.format ?? 'unknown'
  if (rule.formatsDenied.includes(format))
    return 'remove the file, or have the model signed without it'
  const how = `\`formats: {${rule.formatsOnly === null ? 'allow' : 'only'}: [${format}]}\` in the rule accepts it`
  return file?.executable === true ? `convert it to safetensors or gguf; ${how}, code and all` : how
}

function refusal(rule: Rule, file: FileFormat): string | null {
  const { format, executable, why } = file
  if (rule.formatsDenied.includes(format)) return `${format} is denied`
  if (rule.formatsOnly !== null)
    return rule.formatsOnly.includes(format) ? null : `${format} is not allowed: ${why}`
  if (rule.formatsAllowed.includes(format)) return null
  if (executable) return `${format} can run code: ${why}`
  return format === 'unknown' ? `the format is not known: ${why}` : null
}

function inWords(rule: Rule): string {
  const allowed =
    rule.formatsOnly?.join(', ') ??
    ['known formats that cannot run code', ...rule.formatsAllowed].join(', ')
  return rule.formatsDenied.length === 0
    ? allowed
    : `${allowed}, without ${rule.formatsDenied.join(', ')}`
}

/** The files of a list; the shards of one file are one file (`path:start:end`). */
function signedNames(manifest: Manifest | null): ReadonlySet<string> {
  if (manifest === null) return new Set()
  const sharded = manifest.serialization.method === 'shards'
  return new Set(
    manifest.resources.map(({ name }) => (sharded ? name.replace(/:[0-9]+:[0-9]+$/, '') : name)),
  )
}
