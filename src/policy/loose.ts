// The single owner of what is loose in a policy: everything that a careful owner would want to have decided knowingly.
import { snpWaivers } from '../../attestation/index.ts'
import { instant } from './check.ts'
import type { Exemption, Machine, Policy, Rule } from './policy.ts'

export interface LooseEnd {
  /** Where, for example `rules.production.machine`. */
  readonly path: string
  readonly message: string
  readonly hint: string
}

const YEAR = 366 * 86_400_000

/** Formats whose files can run code when they are loaded, whatever is in them. */
const EXECUTABLE = ['pickle', 'pytorch', 'keras', 'code', 'jar', 'unknown'] as const

/** What is loose, in the order of the policy. `at` decides about exemptions. */
export function looseEnds(policy: Policy, at: Date): readonly LooseEnd[] {
  const found: LooseEnd[] = []
  for (const [name, signer] of policy.signers) {
    if (signer.kind === 'certificate' && signer.identity === null)
      found.push({
        path: `signers.${name}.certificate.any-identity`,
        message: 'anybody with a certificate under these roots is this signer',
        hint: 'name the exact `identity`',
      })
  }
  for (const [name, machine] of policy.machines)
    found.push(...ofMachine(`machines.${name}`, machine, at.getTime()))
  for (const [name, rule] of policy.rules) found.push(...ofRule(`rules.${name}`, rule))
  for (const [name, exemption] of policy.exemptions)
    found.push(...ofExemption(`exemptions.${name}`, exemption, at.getTime()))
  found.push(...ofModes(policy), ...unused(policy))
  return found
}

function ofMachine(path: string, machine: Machine, at: number): readonly LooseEnd[] {
  const found: LooseEnd[] = []
  const say = (key: string, message: string, hint: string): void => {
    found.push({ path: `${path}.${key}`, message, hint })
  }
  if (machine.trustRoot !== null)
    say(
      'trust-root',
      'a root beside the vendors’ is trusted: simulated hardware proves nothing about a real machine',
      'keep it out of production',
    )
  if (machine.measurements === null)
    say('any-measurement', 'any software may run there', 'name the good `measurements`')
  if (!machine.nonce)
    say(
      'nonce',
      'evidence can be replayed',
      'remove `nonce: not-required` where machines are asked live',
    )
  else if (machine.maxAge === null)
    say('max-age', 'a nonce never gets too old', 'say `max-age: 5m`')
  if (!machine.binding)
    say(
      'binding',
      'evidence of another model’s machine is good for this one',
      'remove `binding: not-required`',
    )
  if (machine.platform === 'sev-snp') {
    const { products, chipIds } = machine.options
    if (
      products.allow.includes('Milan') &&
      !products.deny.includes('Milan') &&
      chipIds === undefined
    )
      say(
        'snp.products',
        'Milan is accepted: a software attack that forges its reports is published (arXiv 2605.12990)',
        'say `products: {deny: [Milan]}`; `chip-ids` lists the chips that you trust all the same',
      )
    for (const option of snpWaivers(machine.options))
      say(
        `snp.${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
        'looser than the strict default',
        'remove it if your machines do without',
      )
    return found
  }
  const { tcbStatuses, advisoryExceptions, minimumEvaluationNumbers } = machine.options
  const statuses = tcbStatuses.filter((status) => status !== 'UpToDate')
  if (statuses.length > 0)
    say('tdx.tcb-statuses', `a TCB may be ${statuses.join(', ')}`, 'accept UpToDate alone')
  for (const { advisory, expires } of advisoryExceptions) {
    if (expires.getTime() <= at)
      say('tdx.advisory-exceptions', `the exception for ${advisory} has expired`, 'remove it')
  }
  if (minimumEvaluationNumbers.tcbInfo === undefined)
    say(
      'tdx.minimum-evaluation-numbers',
      'old collateral that knows less is accepted while it is valid',
      'say `minimum-evaluation-numbers: {tcb-info: N, qe-identity: N}`',
    )
  return found
}

function ofRule(path: string, rule: Rule): readonly LooseEnd[] {
  const found: LooseEnd[] = []
  const say = (key: string, message: string, hint: string): void => {
    found.push({ path: `${path}.${key}`, message, hint })
  }
  for (const pattern of rule.models)
    if (isWide(pattern))
      say('models', `\`${pattern}\` matches whatever there is`, 'name the owner: `acme/*`')
  if (rule.machines === null)
    say('machine', 'any machine may load the model', 'name an attested machine: `{any-of: [NAME]}`')
  if (rule.maxSignatureAge === null)
    say('max-signature-age', 'a signature never gets too old', 'say `max-signature-age: 180d`')
  const runs = (rule.formatsOnly ?? rule.formatsAllowed).filter((format) =>
    EXECUTABLE.some((one) => one === format),
  )
  if (runs.length > 0)
    say(
      'formats',
      `${runs.join(', ')} may be loaded, which can run code or is not known`,
      'convert the files to safetensors or gguf',
    )
  if (rule.ignoredAllowed)
    say(
      'extra-files.ignored',
      'the signer decides where unsigned files may lie',
      'remove it, and have the model signed without ignored paths',
    )
  for (const pattern of rule.extraAllowed)
    if (isWide(pattern) || pattern.startsWith('*'))
      say('extra-files.allow', `\`${pattern}\` allows many unsigned files`, 'name them one by one')
  if (rule.protection === 'none' || rule.protection === 'start')
    say(
      'protection',
      'files can be changed between the check and their use',
      'say `protection: private-copy`',
    )
  if (rule.manifestOnly.length > 0)
    say(
      'manifest-only',
      `${rule.manifestOnly.join(', ')}: nobody reads the files where this decides`,
      'keep it to registries and clusters, and let the loader use a policy without it',
    )
  if (rule.admitted?.policy.sha256 === null)
    say(
      'admitted.policy',
      'the policy of the saved verdict is known by its name alone, whatever it says',
      'add its `sha256`',
    )
  return found
}

/** A pattern of nothing but stars, or of a whole registry or more. */
function isWide(pattern: string): boolean {
  return (
    /^[*/]+$/.test(pattern) ||
    /^oci:\/\/[^/]*\*/.test(pattern) ||
    /^oci:\/\/[^/]+\/[*/]+$/.test(pattern)
  )
}

function ofExemption(path: string, exemption: Exemption, at: number): readonly LooseEnd[] {
  const found: LooseEnd[] = []
  const ends = instant(exemption.expires)
  if (ends <= at)
    found.push({
      path: `${path}.expires`,
      message: `expired at ${exemption.expires}`,
      hint: 'remove it, or decide again',
    })
  else if (ends - at > YEAR)
    found.push({
      path: `${path}.expires`,
      message: 'holds for more than a year',
      hint: 'an exemption is for a while: choose an end within the year',
    })
  if (exemption.models.some(isWide))
    found.push({
      path: `${path}.models`,
      message: 'is about whatever model there is',
      hint: 'name the models',
    })
  return found
}

function ofModes({ modes }: Policy): readonly LooseEnd[] {
  const lax = [...modes.namespaces].filter(([, mode]) => mode !== 'enforce')
  return [
    ...(modes.default === 'enforce'
      ? []
      : [
          {
            path: 'modes.default',
            message: `refusals are not enforced (${modes.default})`,
            hint: 'say `default: enforce` once the warnings are gone',
          },
        ]),
    ...lax
      .filter(([namespace]) => namespace.includes('*'))
      .map(([namespace, mode]) => ({
        path: `modes.namespaces.${namespace}`,
        message: `refusals are not enforced (${mode}) in every namespace of this pattern`,
        hint: 'name the namespaces',
      })),
  ]
}

function unused(policy: Policy): readonly LooseEnd[] {
  const rules = [...policy.rules.values()]
  const machines = new Set(rules.flatMap(({ machines: names }) => names ?? []))
  const signers = new Set([
    ...rules.flatMap(({ signedBy, admitted }) => [
      ...signedBy.allOf,
      ...signedBy.anyOf,
      ...(admitted?.by ?? []),
    ]),
    ...[...policy.machines.values()].flatMap(({ measurements }) =>
      (measurements ?? []).flatMap((one) => (one.kind === 'literal' ? [] : [one.signer])),
    ),
  ])
  const message = 'no rule uses it'
  const hint = 'remove it, or the rule that should use it says too little'
  return [
    ...[...policy.signers.keys()]
      .filter((name) => !signers.has(name))
      .map((name) => ({ path: `signers.${name}`, message, hint })),
    ...[...policy.machines.keys()]
      .filter((name) => !machines.has(name))
      .map((name) => ({ path: `machines.${name}`, message, hint })),
  ]
}
