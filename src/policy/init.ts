// The single owner of the first policy: a commented text, made from what is at hand.

/** What is at hand. Nothing of it was verified, and the text says so. */
export interface AtHand {
  /** The policy's name. */
  readonly name: string
  /** Patterns of models. */
  readonly models: readonly string[]
  /** Files with public keys, as the policy will name them. */
  readonly keys: readonly string[]
  readonly signature?: SignatureAtHand
  readonly evidence?: EvidenceAtHand
}

/** What a bundle says of itself. */
export interface SignatureAtHand {
  readonly file: string
  readonly hash: string
  readonly root: string
  readonly signer:
    | { readonly kind: 'key'; readonly hint: string | null }
    | { readonly kind: 'certificate'; readonly identity: string | null; readonly root: string }
    | { readonly kind: 'keyless'; readonly identity: string; readonly issuer: string }
}

/** What evidence says of itself. */
export interface EvidenceAtHand {
  readonly file: string
  readonly platform: 'sev-snp' | 'tdx'
  /** Lower-case hex. */
  readonly measurement: string
  readonly product: string | null
  /** The file of the root that the user names, for simulated hardware. */
  readonly trustRoot: string | null
}

const TRUSTED_ROOT = 'trusted_root.json'

/** The text. It decodes as it is; what it names may still have to be put in place. */
export function initialPolicy(hand: AtHand): string {
  const signers = signersOf(hand)
  const machine = hand.evidence === undefined ? null : machineOf(hand.evidence)
  return [
    '# yaml-language-server: $schema=https://zt4ai.dev/schemas/policy.v1.schema.json',
    '# Which models may be loaded, from whom, and where. What no rule allows is refused.',
    '# This is a starting point: nothing in it was verified. Read it, then run `zt4ai policy check` on it.',
    'schema: zt4ai.policy/v1',
    `name: ${quoted(hand.name)}`,
    '',
    '# Who may sign. A key, a certificate under your own root, or a keyless identity.',
    'signers:',
    ...signers.lines,
    ...(machine === null
      ? []
      : [
          '',
          '# Where a model may run. Unset means refused, so every choice here is a choice.',
          'machines:',
          ...machine,
        ]),
    '',
    'rules:',
    '  first:',
    '    # Names as the caller gives them, or references (oci://HOST/REPO). `*` is anything but `/`.',
    `    models: [${hand.models.map(quoted).join(', ')}]`,
    `    signed-by: {any-of: [${signers.names.join(', ')}]}`,
    ...(signers.names.length > 1
      ? ['    # `threshold: 2` beside any-of asks for two different signers.']
      : []),
    ...(hand.signature === undefined
      ? ['    # hashes: [sha256]']
      : [
          `    hashes: [${hand.signature.hash}]`,
          `    # The signature at hand is over the root ${hand.signature.root}.`,
        ]),
    ...(hand.signature?.signer.kind === 'keyless'
      ? [
          '    # A keyless signature brings a time that somebody else vouches for.',
          '    max-signature-age: 180d',
        ]
      : ['    # max-signature-age: 180d   # needs a timestamp authority or a transparency log']),
    '    # Formats that can run code (pickle, source code) and unknown ones are refused by content. To add one: {allow: [onnx]}',
    '    # formats: {only: [safetensors, json, text, markdown]}',
    '    # Unsigned files are refused. To let some lie there: {allow: [README.md]}',
    '    # extra-files: {allow: []}',
    ...(machine === null
      ? [
          '    # No evidence was at hand. To ask for a confidential machine, define one under `machines:` and name it: {any-of: [NAME]}',
          '    machine: not-required',
        ]
      : ['    machine: {any-of: [first]}']),
    '    # none, start, private-copy, fsverity, in-memory',
    `    protection: ${machine === null ? 'start' : 'private-copy'}`,
    '',
    '# What must be let pass for a while has an owner, a reason and an end:',
    '# exemptions:',
    '#   legacy-weights:',
    `#     models: [${quoted('acme/legacy')}]`,
    '#     checks: [model.formats]',
    '#     owner: somebody@example.org',
    '#     reason: being converted to safetensors',
    '#     expires: 2027-01-31',
    '',
  ].join('\n')
}

function signersOf(hand: AtHand): {
  readonly names: readonly string[]
  readonly lines: readonly string[]
} {
  const names: string[] = []
  const lines: string[] = []
  const add = (wanted: string, more: (name: string) => readonly string[]): void => {
    const name = unusedName(wanted, names)
    names.push(name)
    lines.push(...more(name))
  }
  for (const file of hand.keys)
    add(nameFor(file), (name) => [`  ${name}:`, `    key: {file: ${quoted(file)}}`])
  const { signature } = hand
  if (signature !== undefined) {
    const { signer, file } = signature
    const says = `  # From ${comment(file)}, as it says of itself; nothing was verified.`
    if (signer.kind === 'keyless')
      add('keyless', (name) => [
        says,
        `  ${name}:`,
        '    keyless:',
        `      identity: ${quoted(signer.identity)}`,
        `      issuer: ${quoted(signer.issuer)}`,
        `      trusted-root: {file: ${TRUSTED_ROOT}}   # the Sigstore trusted root that you trust`,
      ])
    else if (signer.kind === 'certificate')
      add('certificate', (name) => [
        says,
        `  # Its chain names the root ${comment(signer.root)}: put the root that you trust here, from its owner and not from the bundle.`,
        `  ${name}:`,
        '    certificate:',
        '      roots: {file: root.pem}',
        signer.identity === null
          ? '      any-identity: true   # the leaf carries no name that could be asked for'
          : `      identity: ${quoted(signer.identity)}`,
      ])
    else {
      lines.push(
        `  # ${comment(file)} was signed by a key${signer.hint === null ? '' : ` whose hint is ${comment(signer.hint)}`}: get its public key from its owner.`,
      )
      if (hand.keys.length === 0)
        add('release', (name) => [`  ${name}:`, '    key: {file: release.pub.pem}'])
    }
  }
  if (names.length === 0)
    add('release', (name) => [
      `  ${name}:`,
      '    key: {file: release.pub.pem}   # put the public key there',
    ])
  return { names, lines }
}

function machineOf(evidence: EvidenceAtHand): readonly string[] {
  const snp = evidence.platform === 'sev-snp'
  return [
    '  first:',
    `    platform: ${evidence.platform}`,
    `    # From ${comment(evidence.file)}${evidence.product === null ? '' : ` (${comment(evidence.product)})`}, as it says of itself. Compare it with what you built before you trust it.`,
    '    measurements:',
    `      - ${quoted(evidence.measurement)}`,
    '      # - {from: reference-values, signer: NAME}   # or whatever a signer states',
    '    # Evidence answers a fresh nonce and is bound to the model. For recordings: `nonce: not-required`',
    '    max-age: 5m',
    ...(evidence.trustRoot === null
      ? []
      : [
          '    # Only this root is trusted here. Simulated hardware proves nothing about a real machine.',
          `    trust-root: {file: ${quoted(evidence.trustRoot)}}`,
        ]),
    ...(snp
      ? [
          '    snp:',
          evidence.product === 'Milan'
            ? '      # A software attack forges reports of Milan (arXiv 2605.12990): list the chips that you trust under chip-ids.'
            : '      products: {deny: [Milan]}   # its reports can be forged by software (arXiv 2605.12990)',
          ...(evidence.product === 'Milan' ? ['      products: {allow: [Milan]}'] : []),
        ]
      : ['    # tdx: {minimum-evaluation-numbers: {tcb-info: 20}}']),
  ]
}

/** The name of a file without its directory and endings, as a name of a signer. */
function nameFor(file: string): string {
  const base = file.slice(file.lastIndexOf('/') + 1).replace(/(\.pub)?(\.pem)?$/, '')
  const name = base
    .replace(/[^A-Za-z0-9_-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 60)
  return name === '' ? 'signer' : name
}

function unusedName(wanted: string, used: readonly string[]): string {
  let name = wanted
  for (let index = 2; used.includes(name); index += 1) name = `${wanted}-${String(index)}`
  return name
}

/** Text inside a comment: one line, whatever a bundle wrote. */
function comment(text: string): string {
  return text.replace(CONTROL, '?').slice(0, 300)
}

/** A double-quoted scalar: JSON's strings are YAML's. */
function quoted(text: string): string {
  return /^[A-Za-z][A-Za-z0-9._/@-]*$/.test(text) && !RESERVED.test(text)
    ? text
    : JSON.stringify(text)
}

const RESERVED = /^(?:null|true|false)$/i
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g
