import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { STRICT_SNP_POLICY, STRICT_TDX_POLICY } from '../../attestation/index.ts'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../../src/error.ts'
import { FORMATS as MODEL_FORMATS } from '../../src/model/sniff.ts'
import { WAIVABLE } from '../../src/policy/decode-limits.ts'
import { FORMATS } from '../../src/policy/decode-rule.ts'
import { decodePolicy } from '../../src/policy/decode.ts'
import { MANIFEST_ROUTES, MODES } from '../../src/policy/policy.ts'
import { PROTECTIONS } from '../../src/verdict.ts'
import { REPOSITORY } from '../shared.ts'
import { SOURCE, policyOf } from './example.ts'

const SCHEMA = JSON.parse(
  readFileSync(join(REPOSITORY, 'schemas/policy.v1.schema.json'), 'utf8'),
) as Record<string, never>
const conforms = new Ajv2020({
  allErrors: true,
  strict: true,
  strictRequired: false,
  allowUnionTypes: true,
  strictTypes: false,
}).compile(SCHEMA)

function refusal(source: string): ZtError {
  try {
    policyOf(source)
  } catch (error) {
    if (error instanceof ZtError) return error
    throw error
  }
  throw new Error(`not refused:\n${source}`)
}

const FULL = `# yaml-language-server: $schema=https://zt4ai.dev/schemas/policy.v1.schema.json
schema: zt4ai.policy/v1
name: everything
description: |
  Every key of the language
  once.
signers:
  release: {key: {file: release.pub.pem}}
  inline:
    key:
      pem: |
        -----BEGIN PUBLIC KEY-----
        AAAA
        -----END PUBLIC KEY-----
  vendor: {certificate: {roots: {file: ca.pem}, identity: models@vendor.example}}
  anybody: {certificate: {roots: {file: ca.pem}, any-identity: true}}
  ci:
    keyless:
      identity: https://github.com/acme/models/.github/workflows/release.yml@refs/heads/main
      issuer: https://token.actions.githubusercontent.com
      trusted-root: {file: trusted_root.json}
machines:
  prod:
    platform: sev-snp
    measurements:
      - ${'Ab'.repeat(48)}
      - {from: reference-values, signer: release, image: vm, file: values.sigstore.json}
    nonce: required
    binding: required
    max-age: 5m
    snp:
      products: {deny: [Milan]}
      minimum-tcb: {reported: {Genoa: {snp: 27}}}
      platform-info: {SMT_EN: refused}
      provisional-firmware: true
      unknown-platform-info: 0x40
  lab:
    platform: tdx
    any-measurement: true
    nonce: not-required
    binding: not-required
    trust-root: {file: simulated-root.pem}
    tdx:
      tcb-statuses: [UpToDate, SWHardeningNeeded]
      minimum-evaluation-numbers: {tcb-info: 20}
      fmspcs: [00906e000000]
rules:
  production:
    models: ['acme/*', 'oci://registry.example/models/*']
    signed-by: {any-of: [release, ci], all-of: [vendor], threshold: 2}
    hashes: [sha256, blake3]
    formats: {allow: [unknown], deny: [onnx]}
    extra-files: {allow: ['*.md'], ignored: refuse}
    max-signature-age: 90d
    machine: {any-of: [prod]}
    protection: private-copy
    admitted: {by: [release], within: 7d, policy: {name: registry, sha256: ${'ab'.repeat(32)}}}
    manifest-only: [raw-bijection]
  lab: {models: [lab/x], signed-by: {all-of: [release]}, machine: not-required, formats: {only: [json]}}
exemptions:
  legacy:
    models: ['acme/old-*']
    checks: [model.formats, evidence.snp.tcb, CRL_MISSING]
    owner: jane@acme.example
    reason: being converted
    expires: 2027-01-31
modes:
  default: enforce
  namespaces: {staging: warn, 'sandbox-*': audit}
  exempt: [kube-system]
`

describe('decodePolicy', () => {
  it('reads every key', () => {
    const policy = policyOf(FULL)
    expect(policy.files).toEqual([
      'release.pub.pem',
      'ca.pem',
      'trusted_root.json',
      'values.sigstore.json',
      'simulated-root.pem',
    ])
    expect(policy.rules.get('production')).toEqual({
      models: ['acme/*', 'oci://registry.example/models/*'],
      signedBy: { anyOf: ['release', 'ci'], allOf: ['vendor'], threshold: 2 },
      hashes: ['sha256', 'blake3'],
      formatsOnly: null,
      formatsAllowed: ['unknown'],
      formatsDenied: ['onnx'],
      extraAllowed: ['*.md'],
      ignoredAllowed: false,
      maxSignatureAge: 90 * 86_400,
      machines: ['prod'],
      protection: 'private-copy',
      admitted: {
        by: ['release'],
        within: 7 * 86_400,
        policy: { name: 'registry', sha256: 'ab'.repeat(32) },
      },
      manifestOnly: ['raw-bijection'],
    })
    expect(policy.machines.get('prod')).toMatchObject({
      maxAge: 300,
      nonce: true,
      binding: true,
      measurements: [
        { kind: 'literal', value: 'ab'.repeat(48) },
        { kind: 'reference-values', signer: 'release', image: 'vm', file: 'values.sigstore.json' },
      ],
      options: {
        provisionalFirmware: true,
        unknownPlatformInfo: 0x40n,
        products: { deny: ['Milan'] },
        minimumTcb: { reported: { Genoa: { snp: 27 } } },
      },
    })
    // A platform family that YAML takes for the number 906.
    expect(policy.machines.get('lab')?.options).toMatchObject({
      fmspcs: [new Uint8Array([0, 0x90, 0x6e, 0, 0, 0])],
      minimumEvaluationNumbers: { tcbInfo: 20 },
    })
    expect(policy.exemptions.get('legacy')?.expires).toBe('2027-01-31T00:00:00Z')
    expect(policy.sha256).toMatch(/^[0-9a-f]{64}$/)
  })

  it('fills in what is strict where a key is absent', () => {
    const policy = policyOf(SOURCE)
    expect(policy.machines.get('prod')).toMatchObject({
      nonce: true,
      binding: true,
      trustRoot: null,
      options: STRICT_SNP_POLICY,
    })
    expect(
      policyOf(SOURCE.replace('    protection: private-copy\n', '')).rules.get('production')
        ?.protection,
    ).toBe('start')
    expect(policy.modes).toEqual({ default: 'enforce', namespaces: new Map(), exempt: [] })
  })

  it('says line, column and a way out', () => {
    const misspelt = refusal(FULL.replace('max-signature-age', 'max-signatur-age'))
    expect(misspelt).toMatchObject({
      code: 'POLICY_INVALID',
      message: 'rules.production: unknown key `max-signatur-age`',
      hint: 'did you mean `max-signature-age`?',
    })
    const line = FULL.split('\n').findIndex((text) => text.includes('max-signature-age')) + 1
    expect(misspelt.path).toBe(`policy.yaml:${line}:5`)
  })

  it('places what attestation refuses', () => {
    const error = refusal(FULL.replace('Genoa: {snp: 27}', 'Genoa: {snp: 400}'))
    const line = FULL.split('\n').findIndex((text) => text.includes('minimum-tcb')) + 1
    const column = (FULL.split('\n')[line - 1] ?? '').indexOf('27') + 1
    expect(error.path).toBe(`policy.yaml:${line}:${column}`)
    expect(refusal(FULL.replace('provisional-firmware', 'provisionalFirmware')).hint).toBe(
      'write `provisional-firmware`',
    )
    expect(refusal(FULL.replace('fmspcs: [00906e000000]', 'fmspcs: [123456789012]')).hint).toBe(
      'put the value in quotes',
    )
  })
})

/** Policies that both the decoder and the schema must refuse: [what is written, what is written instead]. */
const BOTH: readonly (readonly [string, string])[] = [
  ['schema: zt4ai.policy/v1', 'schema: zt4ai.policy/v2'],
  ['name: everything', 'nam: everything'],
  ['name: everything\n', ''],
  ['name: everything', 'name: 12'],
  ['name: everything', 'name: ""'],
  ['{key: {file: release.pub.pem}}', '{key: {file: release.pub.pem}, keyless: {}}'],
  ['{key: {file: release.pub.pem}}', '{}'],
  ['{key: {file: release.pub.pem}}', '{key: {file: a, pem: "-----BEGIN PUBLIC KEY-----"}}'],
  ['{key: {file: release.pub.pem}}', '{key: {pem: AAAA}}'],
  ['{key: {file: release.pub.pem}}', '{key: release.pub.pem}'],
  ['roots: {file: ca.pem}, identity: models@vendor.example', 'roots: {file: ca.pem}'],
  ['roots: {file: ca.pem}, identity: models@vendor.example', 'identity: models@vendor.example'],
  ['identity: models@vendor.example', 'identity: "*@vendor.example"'],
  ['identity: models@vendor.example', 'identity: a, any-identity: true'],
  ['      issuer: https://token.actions.githubusercontent.com\n', ''],
  ['platform: sev-snp', 'platform: snp'],
  ['platform: sev-snp', 'platform: tdx'],
  ['Ab'.repeat(48), 'Ab'.repeat(47)],
  ['from: reference-values', 'from: somewhere'],
  ['signer: release, image: vm', 'image: vm'],
  ['    any-measurement: true\n', ''],
  ['    any-measurement: true\n', '    any-measurement: false\n'],
  [
    '    any-measurement: true\n',
    `    any-measurement: true\n    measurements: [${'ab'.repeat(48)}]\n`,
  ],
  ['nonce: required', 'nonce: optional'],
  ['nonce: required', 'nonce: true'],
  ['nonce: required', 'nonce: not-required'],
  ['max-age: 5m', 'max-age: 5 minutes'],
  ['max-age: 5m', 'max-age: 300'],
  ['max-age: 5m', 'max-age: 0s'],
  ['trust-root: {file: simulated-root.pem}', 'trust-root: {digest: abc}'],
  ['provisional-firmware: true', 'provisional-firmwares: true'],
  ['provisional-firmware: true', 'measurements: []'],
  ['tcb-statuses: [UpToDate, SWHardeningNeeded]', `mr-td: [${'ab'.repeat(48)}]`],
  ["models: ['acme/*', 'oci://registry.example/models/*']", 'models: []'],
  ["models: ['acme/*', 'oci://registry.example/models/*']", 'models: acme/x'],
  ["models: ['acme/*', 'oci://registry.example/models/*']", "models: ['acme/**']"],
  ["models: ['acme/*', 'oci://registry.example/models/*']", "models: ['acme/?']"],
  ["models: ['acme/*', 'oci://registry.example/models/*']", "models: ['!acme/x']"],
  ["models: ['acme/*', 'oci://registry.example/models/*']", "models: ['a', 'a']"],
  ["models: ['acme/*', 'oci://registry.example/models/*']\n", '\n'],
  ['signed-by: {all-of: [release]}', 'signed-by: {}'],
  ['signed-by: {all-of: [release]}', 'signed-by: {all-of: [release], threshold: 1}'],
  ['signed-by: {all-of: [release]}', 'signed-by: [release]'],
  ['signed-by: {all-of: [release]}', 'signed-by: {any-of: [release], threshold: 0}'],
  ['signed-by: {all-of: [release]}, ', ''],
  ['hashes: [sha256, blake3]', 'hashes: [md5]'],
  ['formats: {only: [json]}', 'formats: {only: [json], allow: [text]}'],
  ['formats: {only: [json]}', 'formats: {only: [exe]}'],
  ['ignored: refuse', 'ignored: maybe'],
  ['machine: not-required', 'machine: none'],
  [', machine: not-required', ''],
  ['protection: private-copy', 'protection: strong'],
  ['within: 7d, ', ''],
  [`policy: {name: registry, sha256: ${'ab'.repeat(32)}}`, 'policy: {}'],
  ['manifest-only: [raw-bijection]', 'manifest-only: [files]'],
  ['checks: [model.formats', 'checks: [model.signed-by'],
  ['checks: [model.formats', 'checks: [model.files'],
  ['    owner: jane@acme.example\n', ''],
  ['    reason: being converted\n', ''],
  ['    expires: 2027-01-31\n', ''],
  ['expires: 2027-01-31', 'expires: soon'],
  ['default: enforce', 'default: block'],
  ['exempt: [kube-system]', "exempt: ['kube-*']"],
  ['{staging: warn', '{Staging: warn'],
  ['rules:', 'rule:'],
  ['  legacy:', '  leg.acy:'],
]

/** What only the decoder sees: names, contradictions across keys, and YAML itself. */
const DECODER: readonly (readonly [string, string, string])[] = [
  ['any-of: [release, ci]', 'any-of: [relase, ci]', 'did you mean `release`?'],
  ['threshold: 2', 'threshold: 3', ''],
  ['all-of: [vendor]', 'all-of: [ci]', 'keep it in one of the two'],
  ['machine: {any-of: [prod]}', 'machine: {any-of: [prodd]}', 'did you mean `prod`?'],
  ['signer: release, image: vm', 'signer: nobody, image: vm', ''],
  ['allow: [unknown], deny: [onnx]', 'allow: [onnx], deny: [onnx]', ''],
  ['CRL_MISSING', 'CRL_MISSNG', 'did you mean `CRL_MISSING`?'],
  ['expires: 2027-01-31', 'expires: 2027-02-30', 'write 2027-01-31 or 2027-01-31T12:00:00Z'],
  ['exempt: [kube-system]', 'exempt: [staging]', 'keep it in one of the two'],
  ['name: everything', 'name: everything\nname: twice', 'keep one of the two'],
  ['name: everything', 'name: &a everything', 'write the value out'],
  ['name: everything', 'name: !!str everything', 'write the value without `!`'],
  ['name: everything', 'name: !x everything', 'write the value without `!`'],
  ['  lab: {models', '  12: {models: [a]}\n  ? [a]\n  : {models', ''],
  [
    'exempt: [kube-system]',
    'exempt: [kube-system]\n---\nname: second',
    'one file holds one policy',
  ],
  ['CRL_MISSING', 'DEBUG', 'nothing that the evidence says'],
  ['CRL_MISSING', 'REVOKED', 'nothing that the evidence says'],
]

describe('the schema and the decoder agree', () => {
  it('on the whole language', () => {
    expect(conforms(parse(FULL)), JSON.stringify(conforms.errors)).toBe(true)
    expect(conforms(parse(SOURCE)), JSON.stringify(conforms.errors)).toBe(true)
  })

  it.each(BOTH)('both refuse %j → %j', (from, to) => {
    expect(FULL).toContain(from)
    const source = FULL.replace(from, to)
    expect(refusal(source).path).toMatch(/^policy\.yaml:\d+:\d+$/)
    expect(conforms(parse(source))).toBe(false)
  })

  it.each(DECODER.filter(([from, to]) => from !== to))(
    'the decoder refuses %j → %j',
    (from, to, hint) => {
      expect(FULL).toContain(from)
      const error = refusal(FULL.replace(from, to))
      expect(error.path).toMatch(/^policy\.yaml:\d+:\d+$/)
      if (hint !== '') expect(error.hint).toContain(hint)
    },
  )

  it('on every closed list', () => {
    const text = JSON.stringify(SCHEMA)
    expect([...FORMATS]).toEqual([...MODEL_FORMATS])
    for (const list of [FORMATS, MANIFEST_ROUTES, MODES, PROTECTIONS, WAIVABLE])
      expect(text).toContain(JSON.stringify(list))
  })

  it('on the options of machines', () => {
    const defs = SCHEMA['$defs'] as unknown as Record<
      string,
      { properties: Record<string, unknown> }
    >
    const options = (policy: object): string[] =>
      Object.keys(policy)
        .map((key) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`))
        .filter((key) => !['measurements', 'mr-td', 'report-data'].includes(key))
        .sort()
    expect(Object.keys(defs['snp']?.properties ?? {}).sort()).toEqual(options(STRICT_SNP_POLICY))
    expect(Object.keys(defs['tdx']?.properties ?? {}).sort()).toEqual(options(STRICT_TDX_POLICY))
  })
})

describe('decoding is total', () => {
  const bytes = (input: Uint8Array): void => {
    try {
      decodePolicy(input)
    } catch (error) {
      expect(error).toBeInstanceOf(ZtError)
      expect((error as ZtError).code).not.toBe('INTERNAL')
    }
  }

  it('for any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), bytes), { numRuns: 300 })
  })

  it('for text that is nearly YAML', () => {
    const pieces = fc.constantFrom(
      ...[
        'schema: zt4ai.policy/v1',
        '\n',
        '  ',
        '- ',
        ': ',
        '&a ',
        '*a',
        '!!set ',
        '!x',
        '<<: ',
        '? ',
        '{',
        '}',
        '[',
        ']',
        '"',
        "'",
        '|',
        '>',
        '#',
        '---',
        '...',
        '%YAML 1.1\n',
        '\t',
        '\u0000',
        '\ud800',
        'rules:',
        'name: x',
        '__proto__:',
        '0x',
        '.inf',
        '~',
      ],
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 60 }), (parts) =>
        bytes(utf8Encode(parts.join(''))),
      ),
      { numRuns: 600 },
    )
  })

  it('for the example, cut or changed anywhere', () => {
    for (let end = 0; end < FULL.length; end += 31) bytes(utf8Encode(FULL.slice(0, end)))
    fc.assert(
      fc.property(fc.nat(FULL.length), fc.nat(12), fc.string({ maxLength: 5 }), (at, cut, text) =>
        bytes(utf8Encode(FULL.slice(0, at) + text + FULL.slice(at + cut))),
      ),
      { numRuns: 150 },
    )
  })

  it('for what is too deep, too wide or too long', () => {
    for (const source of [
      '['.repeat(100_000),
      '] '.repeat(50_000) + '['.repeat(50_000),
      '? '.repeat(50_000),
      Array.from({ length: 700 }, (_, index) => `${' '.repeat(index)}-`).join('\n'),
      Array.from({ length: 170 }, (_, index) => `${' '.repeat(8 * index)}- - - -`).join('\n'),
      '{a: '.repeat(50_000),
      '- '.repeat(50_000),
      `a: ${'[1, '.repeat(30)}${']'.repeat(30)}`,
      Array.from({ length: 25_000 }, (_, index) => `k${index}: 1`).join('\n'),
      'x'.repeat(300_000),
    ])
      bytes(utf8Encode(source))
  })
})
