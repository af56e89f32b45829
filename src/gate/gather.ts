// The single owner of gathering facts: every bundle verified, files compared once for each list, evidence appraised for each machine.
import type { NamedBytes } from '../../attestation/index.ts'
import { formatTime, sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { Manifest } from '../model/manifest.ts'
import { rulesFor } from '../policy/evaluate.ts'
import type { FilesFact, SignatureFact } from '../policy/facts.ts'
import type { Rule } from '../policy/policy.ts'
import type { VerdictInput } from '../verdict.ts'
import type { AdmitRequest, CompareRequest, Gathered, ModelSource, Recorded } from './question.ts'
import { appraiseEvidence } from './appraise.ts'
import { examineBundles } from './bundles.ts'
import { pathSource } from './source.ts'

const MAX_BUNDLES = 256

/**
 * Gathers and authenticates everything that the matching rules ask about. One more input never makes an allow into a deny. Where no rule
 * matches, no file is read.
 * @throws ZtError where a fact can't be established either way: see `admit`
 */
export async function gather(request: AdmitRequest): Promise<Gathered> {
  const { policy, endorsements = [], challenge, keyDigest } = request
  const { resolved } = policy
  const source = typeof request.model === 'string' ? pathSource(request.model) : request.model
  const subject =
    request.name === undefined ? source.subject : { ...source.subject, name: request.name }
  const at = wholeSeconds(request.at)
  const now = wholeSeconds(request.now)
  const watch: CompareRequest = {
    ...(request.signal === undefined ? {} : { signal: request.signal }),
    ...(request.onProgress === undefined ? {} : { onProgress: request.onProgress }),
  }
  const rules = rulesFor(resolved.policy, subject).map(([, rule]) => rule)
  const bundles = distinct([...(await source.bundles(watch)), ...(request.bundles ?? [])])
  const examined = await examineBundles(policy, rules, bundles, at)
  const evidence = await evidenceFor(request.evidence ?? [], source, rules, watch)
  const files =
    rules.length === 0 ? [] : await compareAll(source, listsOf(examined.signatures), rules, watch)
  const appraised = appraiseEvidence(
    {
      policy: resolved,
      rules,
      evidence,
      endorsements,
      statements: examined.referenceValues,
      roots: [...new Set([...files.map(({ root }) => root), ...rootsOf(examined.signatures)])],
      ...(challenge === undefined ? {} : { challenge }),
      ...(keyDigest === undefined ? {} : { keyDigest }),
      ...(request.caches === undefined ? {} : { caches: request.caches }),
    },
    at,
    now,
  )
  const recorded: Recorded = {
    subject,
    at: formatTime(at),
    now: formatTime(now),
    policy: { bytes: policy.bytes, files: policy.files },
    bundles,
    evidence,
    endorsements,
    files,
    ...(challenge === undefined ? {} : { challenge }),
    ...(keyDigest === undefined ? {} : { keyDigest }),
  }
  return {
    policy: resolved,
    facts: {
      at: recorded.at,
      purpose: 'judge',
      subject,
      ...examined,
      files,
      evidence: appraised,
      inputs: inputsOf(recorded),
    },
    recorded,
  }
}

/** Verdicts are about whole seconds, so everything is judged for one. */
function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000)
}

/**
 * The caller's evidence. Without any, what lies beside the model, if a rule asks for a machine: recorded evidence, which answers no nonce that
 * is made now, so that it counts only where the policy takes recordings.
 */
async function evidenceFor(
  given: readonly NamedBytes[],
  source: ModelSource,
  rules: readonly Rule[],
  watch: CompareRequest,
): Promise<readonly NamedBytes[]> {
  if (given.length > 0 || source.evidence === undefined) return given
  return rules.some(({ machines }) => machines !== null) ? source.evidence(watch) : []
}

/** Each bundle once, whatever it is called. */
function distinct(bundles: readonly NamedBytes[]): NamedBytes[] {
  const once = new Map<string, NamedBytes>()
  for (const bundle of bundles) {
    const digest = sha256Hex(bundle.bytes)
    if (!once.has(digest)) once.set(digest, bundle)
  }
  if (once.size > MAX_BUNDLES)
    throw new ZtError('TOO_LARGE', `more than ${MAX_BUNDLES} bundles`, {
      hint: 'give only those that the policy asks for',
    })
  return [...once.values()]
}

/** The lists that a signer of the policy signed, each once. */
function listsOf(signatures: readonly SignatureFact[]): Manifest[] {
  const manifests = signatures.flatMap(({ result: { manifest } }) => manifest ?? [])
  const [only, second] = manifests
  if (only === undefined || second === undefined) return manifests
  return [...new Map(manifests.map((manifest) => [listKey(manifest), manifest])).values()]
}

/** Names one list with the parameters under which it is compared. Who signed it, and under what name, makes no difference. */
export function listKey({ serialization, resources, root }: Manifest): string {
  const { method, hashType, shardSize, allowSymlinks, ignorePaths } = serialization
  return digestOf([
    [method, hashType, shardSize ?? null, allowSymlinks, ignorePaths ?? null],
    root,
    resources.map(({ name, algorithm, digest, fsverity, size }) => [
      name,
      algorithm,
      digest,
      fsverity ?? null,
      size ?? null,
    ]),
  ])
}

function rootsOf(signatures: readonly SignatureFact[]): string[] {
  return signatures.flatMap(({ result: { manifest } }) => manifest?.root ?? [])
}

async function compareAll(
  source: ModelSource,
  lists: readonly Manifest[],
  rules: readonly Rule[],
  watch: CompareRequest,
): Promise<FilesFact[]> {
  const found: FilesFact[] = []
  for (const manifest of lists) {
    const fact = await source.compare(manifest, watch)
    if (fact !== null) found.push(fact)
  }
  // Where no rule accepts that route, its refusal would only hide what is really wrong.
  const asked = rules.some(({ manifestOnly }) => manifestOnly.includes('manifest-digest'))
  const whole = asked && source.whole !== undefined ? await source.whole(watch) : []
  return [...found, ...whole]
}

/** What was read besides policy and signatures, by digest. The comparisons are among them: a replay takes them as they were found. */
function inputsOf(recorded: Recorded): VerdictInput[] {
  const { bundles, evidence, endorsements, files, challenge, keyDigest } = recorded
  const named = (kind: string, list: readonly NamedBytes[]): VerdictInput[] =>
    list.map(({ name, bytes }) => ({
      name: `${kind}:${name}`,
      digest: { sha256: sha256Hex(bytes) },
    }))
  const plain: VerdictInput[] = files.map((fact) => ({
    name: 'files',
    digest: { sha256: comparisonKey(fact) },
  }))
  if (challenge !== undefined)
    plain.push({ name: 'nonce', digest: { sha256: sha256Hex(challenge.nonce) } })
  if (keyDigest !== undefined)
    plain.push({ name: 'key-digest', digest: { sha256: sha256Hex(keyDigest) } })
  return [
    ...named('bundle', bundles),
    ...named('evidence', evidence),
    ...named('endorsements', endorsements),
    ...plain,
  ]
}

/** Names one comparison with everything that was found. */
function comparisonKey({ manifest, root, route, result, formats }: FilesFact): string {
  const { missing, extra, changed, ignored, files, bytes, checks } = result
  return digestOf([
    manifest === null ? null : listKey(manifest),
    [root, route, missing, extra, ignored, files, bytes],
    changed.map(({ name, expected, actual }) => [name, expected, actual]),
    checks.map((one) => [
      one.id,
      one.status,
      one.code,
      one.message,
      one.expected,
      one.actual,
      one.hint,
    ]),
    formats.map(({ name, format, executable, why, basis }) => [
      name,
      format,
      executable,
      why,
      basis,
    ]),
  ])
}

/** SHA-256 over the JSON of lists in lists: equal values have one text, because no member has a name. */
function digestOf(value: readonly unknown[]): string {
  return sha256Hex(utf8Encode(JSON.stringify(value)))
}
