// The single owner of a policy in words: what it allows, sentence by sentence.
import { snpWaivers } from '../../attestation/index.ts'
import { requirement } from './check-signers.ts'
import { formatDuration } from './match.ts'
import type {
  Exemption,
  Machine,
  Measurement,
  Policy,
  PolicySigner,
  Rule,
  Source,
} from './policy.ts'

/** One paragraph: what it is about, and sentences. */
export interface Paragraph {
  readonly title: string
  readonly sentences: readonly string[]
}

/** Explains a policy. Nothing is judged here: what is loose is said by `looseEnds`. */
export function explainPolicy(policy: Policy): readonly Paragraph[] {
  return [
    {
      title: `Policy ${policy.name}`,
      sentences: [
        `A model is loaded only if ${policy.rules.size === 1 ? 'the one rule' : `one of ${String(policy.rules.size)} rules`} matches it and is satisfied in full; anything else is refused.`,
        ...(policy.description === null ? [] : [policy.description.trim()]),
      ],
    },
    ...[...policy.rules].map(([name, rule]) => ({
      title: `Rule ${name}`,
      sentences: ruleSentences(rule),
    })),
    ...[...policy.machines].map(([name, machine]) => ({
      title: `Machine ${name}`,
      sentences: machineSentences(machine),
    })),
    ...[...policy.signers].map(([name, signer]) => ({
      title: `Signer ${name}`,
      sentences: [signerSentence(signer)],
    })),
    ...[...policy.exemptions].map(([name, exemption]) => ({
      title: `Exemption ${name}`,
      sentences: exemptionSentences(exemption),
    })),
    { title: 'Admission service', sentences: modeSentences(policy) },
  ]
}

function ruleSentences(rule: Rule): readonly string[] {
  const { machines, admitted, formatsOnly, formatsAllowed, formatsDenied } = rule
  return [
    `It is about models called ${list(rule.models, 'or')}.`,
    `They must be signed by ${requirement(rule)}, over hashes of ${list(rule.hashes, 'or')}${
      rule.maxSignatureAge === null
        ? '; a signature may be of any age.'
        : `, at most ${formatDuration(rule.maxSignatureAge)} ago by a time that somebody other than the signer vouches for.`
    }`,
    rule.extraAllowed.length === 0
      ? 'Every signed file must be there unchanged, and no other file.'
      : `Every signed file must be there unchanged; unsigned files may be there if they are called ${list(rule.extraAllowed, 'or')}.`,
    ...(rule.ignoredAllowed
      ? ['Unsigned files under paths that the signer chose to ignore may be there.']
      : []),
    formatsOnly === null
      ? `By content, files may have any known format that cannot run code${formatsAllowed.length === 0 ? '' : `, and ${list(formatsAllowed, 'and')}`}${formatsDenied.length === 0 ? '' : `, but not ${list(formatsDenied, 'or')}`}.`
      : `By content, files may be ${list(formatsOnly, 'or')}, and nothing else.`,
    machines === null
      ? 'They may run on any machine: no evidence is asked for.'
      : `They run only on ${list(machines, 'or')}, proved by evidence.`,
    `A loader must reach the protection ${rule.protection}${PROTECTION_WORDS[rule.protection]}`,
    ...(admitted === null
      ? []
      : [
          `A saved verdict of ${list(admitted.by, 'or')} must be there that allows this model, at most ${formatDuration(admitted.within)} old, under the policy ${[admitted.policy.name, admitted.policy.sha256].filter((one) => one !== null).join(' ')}.`,
        ]),
    ...(rule.manifestOnly.length === 0
      ? []
      : [
          `A registry or a cluster may decide without reading the files, by ${list(rule.manifestOnly, 'or')}.`,
        ]),
  ]
}

const PROTECTION_WORDS: Readonly<Record<Rule['protection'], string>> = {
  none: ': nothing keeps the files from changing after the check.',
  start: ': the files are checked once, when it starts.',
  'private-copy': ': it reads a private copy that was hashed while it was made.',
  fsverity: ': the kernel checks every page that is read.',
  'in-memory': ': it gets the very bytes that were hashed.',
}

function machineSentences(machine: Machine): readonly string[] {
  const name = machine.platform === 'sev-snp' ? 'AMD SEV-SNP' : 'Intel TDX'
  return [
    machine.trustRoot === null
      ? `A genuine ${name} machine, by the vendor's own root.`
      : `An ${name} machine by the root in ${sourceName(machine.trustRoot)}, and by no vendor's.`,
    machine.measurements === null
      ? 'It may run any software.'
      : `Its software must have ${list(machine.measurements.map(measurementName), 'or')}.`,
    machine.nonce
      ? `The evidence must answer a nonce${machine.maxAge === null ? '.' : ` that was made at most ${formatDuration(machine.maxAge)} before.`}`
      : 'The evidence may be a recording: no nonce is asked for.',
    machine.binding
      ? 'The evidence must be bound to exactly the model that is loaded.'
      : 'The evidence need not be about the model.',
    strictness(machine),
  ]
}

function strictness(machine: Machine): string {
  const looser =
    machine.platform === 'sev-snp'
      ? [...snpWaivers(machine.options)]
      : machine.options.tcbStatuses.filter((status) => status !== 'UpToDate')
  if (looser.length === 0) return 'Its TCB and its attributes must meet the strict defaults.'
  return machine.platform === 'sev-snp'
    ? `Looser than the strict defaults: ${looser.join(', ')}.`
    : `Besides UpToDate, the TCB may be ${list(looser, 'or')}.`
}

function measurementName(one: Measurement): string {
  if (one.kind === 'literal') return `the measurement ${one.value.slice(0, 16)}…`
  return `a measurement that ${one.signer} states${one.image === null ? '' : ` for ${one.image}`}`
}

function signerSentence(signer: PolicySigner): string {
  if (signer.kind === 'key') return `The holder of the key to ${sourceName(signer.key)}.`
  if (signer.kind === 'keyless')
    return `${signer.identity}, as ${signer.issuer} vouches, under the Sigstore root in ${sourceName(signer.trustedRoot)}.`
  return signer.identity === null
    ? `Anybody with a certificate under ${sourceName(signer.roots)}.`
    : `${signer.identity}, with a certificate under ${sourceName(signer.roots)}.`
}

function sourceName(source: Source): string {
  return source.kind === 'file' ? source.path : 'the policy itself'
}

function exemptionSentences(exemption: Exemption): readonly string[] {
  return [
    `Until ${exemption.expires}, ${list(exemption.checks, 'and')} only warn for models called ${list(exemption.models, 'or')}.`,
    `${exemption.owner} answers for it: ${exemption.reason}`,
  ]
}

function modeSentences({ modes }: Policy): readonly string[] {
  return [
    `A refusal is ${MODE_WORDS[modes.default]}.`,
    ...[...modes.namespaces].map(
      ([namespace, mode]) => `In the namespace ${namespace} it is ${MODE_WORDS[mode]}.`,
    ),
    ...(modes.exempt.length === 0
      ? []
      : [
          `The ${modes.exempt.length === 1 ? 'namespace' : 'namespaces'} ${list(modes.exempt, 'and')} ${modes.exempt.length === 1 ? 'is' : 'are'} not asked about.`,
        ]),
  ]
}

const MODE_WORDS = {
  audit: 'only logged',
  warn: 'shown as a warning',
  enforce: 'enforced',
} as const

function list(items: readonly string[], word: 'and' | 'or'): string {
  if (items.length <= 1) return items[0] ?? 'nothing'
  return `${items.slice(0, -1).join(', ')} ${word} ${items.at(-1) ?? ''}`
}
