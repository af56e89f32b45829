import { describe, expect, it } from 'vitest'
import { evaluate } from '../../src/policy/evaluate.ts'
import type { Facts } from '../../src/policy/facts.ts'
import type { ResolvedPolicy } from '../../src/policy/policy.ts'
import { verdictJson, type Check, type Verdict } from '../../src/verdict.ts'
import type { Signer } from '../../src/verify/result.ts'
import {
  AT,
  GOOD,
  NONCE,
  ROOT,
  SOURCE,
  STATED,
  ago,
  attestation,
  badSignature,
  content,
  evidence,
  facts,
  files,
  manifest,
  policyOf,
  referenceStatement,
  refusedAttestation,
  resolved,
  savedVerdict,
  signature,
} from './example.ts'

const POLICY = resolved()

function failing(verdict: Verdict): readonly string[] {
  return verdict.checks.filter(({ status }) => status === 'fail').map(({ id }) => id)
}

function judged(changes: Partial<Facts>, source?: string): Verdict {
  return evaluate(source === undefined ? POLICY : resolved(source), facts(changes))
}

/** The example with one piece of text replaced; the piece must be there. */
function edited(...edits: readonly (readonly [string, string])[]): string {
  return edits.reduce((source, [from, to]) => {
    expect(source).toContain(from)
    return source.replace(from, to)
  }, SOURCE)
}

describe('the whole example', () => {
  it('is allowed, and says so with every check', () => {
    const verdict = judged({})
    expect(failing(verdict)).toEqual([])
    expect(verdict.decision).toBe('allow')
    expect(verdict.subject).toEqual({ name: 'acme/bert', digest: { sha256: ROOT } })
    expect(verdict.protection).toBe('private-copy')
    const ids = verdict.checks.map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toEqual([
      'policy.rule',
      'model.signed-by',
      'signature.release.key',
      'model.hashes',
      'model.signature-age',
      'model.route',
      'model.files',
      'model.extra-files',
      'model.formats',
      'model.admitted',
      'machine.evidence',
      'evidence.snp.signature',
      'evidence.snp.tcb',
      'machine.root',
      'machine.measurement',
      'machine.nonce',
      'machine.freshness',
      'machine.binding',
      'protection',
    ])
  })

  it('gives the same bytes for the same facts', () => {
    expect(verdictJson(judged({}))).toBe(verdictJson(evaluate(resolved(), facts())))
  })
})

describe('the decision matrix', () => {
  const signers = {
    release: { signatures: [signature()] },
    'bad signature': { signatures: [badSignature()], fails: 'model.signed-by' },
    'other signer': { signatures: [signature('registry')], fails: 'model.signed-by' },
    'other signer under the right name': {
      signatures: [signature('stranger', { as: 'release' })],
      fails: 'model.signed-by',
    },
    none: { signatures: [], fails: 'model.signed-by' },
  }
  const contents = {
    whole: { files: [files()] },
    changed: {
      files: [
        files({
          result: { changed: [{ name: 'config.json', expected: '01'.repeat(32), actual: 'ff' }] },
        }),
      ],
      fails: 'model.files',
    },
    missing: { files: [files({ result: { missing: ['config.json'] } })], fails: 'model.files' },
    extra: {
      files: [
        files({
          result: { extra: ['x.json'] },
          formats: [...files().formats, content('x.json')],
        }),
      ],
      fails: 'model.extra-files',
    },
    pickle: {
      files: [
        files({
          formats: [
            content('config.json'),
            content('model.safetensors', { format: 'pickle', executable: true }),
          ],
        }),
      ],
      fails: 'model.formats',
    },
    unread: { files: [], fails: 'model.files' },
  }
  const machines = {
    genuine: { result: attestation() },
    refused: { result: refusedAttestation('SIGNATURE_INVALID', false), fails: 'machine.evidence' },
    'other software': {
      result: attestation({
        claims: { ...claims(), measurement: 'ee'.repeat(48) },
      }),
      fails: 'machine.measurement',
    },
    'debug machine': {
      result: attestation({ claims: { ...claims(), debug: true } }),
      fails: 'machine.evidence',
    },
    simulated: { result: attestation({ simulated: true }), fails: 'machine.root' },
    none: { fails: 'machine.evidence' },
  }
  const bindings = {
    bound: { model: ROOT, actual: NONCE },
    'other model': { model: 'bb'.repeat(32), actual: NONCE, fails: 'machine.binding' },
    replayed: { model: ROOT, actual: 'dd'.repeat(32), fails: 'machine.nonce' },
    unbound: { model: null, actual: null, fails: 'machine.binding' },
  }
  const times = {
    fresh: { signed: ago(86_400), issued: ago(60) },
    'old signature': { signed: ago(91 * 86_400), issued: ago(60), fails: 'model.signature-age' },
    'old nonce': { signed: ago(86_400), issued: ago(301), fails: 'machine.freshness' },
    'nonce of the future': { signed: ago(86_400), issued: ago(-10), fails: 'machine.freshness' },
  }

  it('allows exactly the one cell in which everything is right', () => {
    let cells = 0
    let allowed = 0
    for (const [signerName, signer] of Object.entries(signers)) {
      for (const [contentName, content_] of Object.entries(contents)) {
        for (const [machineName, machine] of Object.entries(machines)) {
          for (const [bindingName, binding] of Object.entries(bindings)) {
            for (const [timeName, time] of Object.entries(times)) {
              cells += 1
              const { model, actual } = binding
              const verdict = judged({
                signatures: signer.signatures.map((fact) =>
                  fact.result.authenticated === null
                    ? fact
                    : {
                        ...fact,
                        result: {
                          ...fact.result,
                          authenticated: {
                            ...fact.result.authenticated,
                            times: [{ time: time.signed, source: 'transparency-log' as const }],
                          },
                        },
                      },
                ),
                files: content_.files,
                evidence:
                  'result' in machine
                    ? [
                        evidence({
                          result: machine.result,
                          binding: {
                            model,
                            nonce: { expected: NONCE, actual, issued: time.issued },
                          },
                        }),
                      ]
                    : [],
              })
              const label = [signerName, contentName, machineName, bindingName, timeName].join(
                ' · ',
              )
              const wrong = [signer, content_, machine, binding, time].flatMap((part) =>
                'fails' in part ? [part.fails] : [],
              )
              expect(verdict.decision, label).toBe(wrong.length === 0 ? 'allow' : 'deny')
              if (verdict.decision === 'allow') allowed += 1
              else expect(failing(verdict).length, label).toBeGreaterThan(0)
              // Every single fault is named by its own check.
              if (wrong.length === 1) expect(failing(verdict), label).toContain(wrong[0])
            }
          }
        }
      }
    }
    expect(cells).toBe(5 * 6 * 6 * 4 * 4)
    expect(allowed).toBe(1)
  })

  function claims(): NonNullable<ReturnType<typeof attestation>['claims']> {
    const found = attestation().claims
    if (found === null) throw new Error('the example has claims')
    return found
  }
})

describe('rules', () => {
  it('refuses what no rule matches, and lists the patterns', () => {
    const verdict = judged({ subject: { name: 'other/bert' } })
    expect(failing(verdict)).toEqual(['policy.rule'])
    expect(verdict.checks[0]).toMatchObject({ code: 'NO_RULE', actual: 'other/bert' })
    expect(verdict.checks[0]?.expected).toContain('acme/*')
    expect(verdict.subject).toEqual({ name: 'other/bert' })
  })

  it('finds a model by its reference, and never by a tag beside a digest', () => {
    const source = edited([
      "'oci://registry.example/models/*'",
      "'oci://registry.example/models/bert:v*'",
    ])
    const reference = 'oci://registry.example/models/bert:v1'
    const subject = { name: 'bert', reference }
    expect(judged({ subject }, source).decision).toBe('allow')
    const pinned = { name: 'bert', reference: `${reference}@sha256:${'9'.repeat(64)}` }
    expect(failing(judged({ subject: pinned }, source))).toEqual(['policy.rule'])
    expect(judged({ subject: pinned }).decision).toBe('allow')
  })

  it('does not take a name for a reference', () => {
    const subject = { name: 'oci://registry.example/models/bert' }
    expect(failing(judged({ subject }))).toEqual(['policy.rule'])
  })

  it('is satisfied by any one rule, and shows the nearest one otherwise', () => {
    const source = `${SOURCE}  lab:
    models: ['acme/bert']
    signed-by: {all-of: [registry]}
    machine: not-required
`
    expect(judged({}, source).decision).toBe('allow')
    expect(judged({ signatures: [signature('registry')], evidence: [] }, source).decision).toBe(
      'allow',
    )
    const verdict = judged({ signatures: [], evidence: [] }, source)
    expect(verdict.decision).toBe('deny')
    expect(verdict.checks[0]?.actual).toBe('lab is the nearest; no nearer: production')
  })
})

describe('signers', () => {
  const both = edited([
    '{any-of: [release, security]}',
    '{any-of: [release, security], threshold: 2}',
  ])

  it('counts people, not signatures', () => {
    expect(judged({}, both).decision).toBe('deny')
    expect(judged({ signatures: [signature(), signature()] }, both).decision).toBe('deny')
    expect(judged({ signatures: [signature(), signature('security')] }, both).decision).toBe(
      'allow',
    )
  })

  it('asks for all of all-of', () => {
    const source = edited(['{any-of: [release, security]}', '{all-of: [release, security]}'])
    expect(failing(judged({}, source))).toContain('model.signed-by')
    expect(judged({ signatures: [signature(), signature('security')] }, source).decision).toBe(
      'allow',
    )
  })

  it('says for each signer what is wrong', () => {
    const verdict = judged({ signatures: [badSignature('security')] })
    const check = verdict.checks.find(({ id }) => id === 'model.signed-by')
    expect(check).toMatchObject({ code: 'SIGNERS', expected: '1 of release, security' })
    expect(check?.actual).toBe(
      'release: no signature; security: the signature does not verify (SIGNATURE_INVALID)',
    )
    expect(failing(verdict)).toContain('signature.security.key')
  })

  it('does not pair a signature with another list that has the same root', () => {
    const swapped = manifest({
      resources: [
        { name: 'model.safetensors', algorithm: 'sha256', digest: '01'.repeat(32) },
        { name: 'config.json', algorithm: 'sha256', digest: '02'.repeat(32) },
      ],
    })
    const verdict = judged({ files: [files({ manifest: swapped })] })
    expect(failing(verdict)).toContain('model.signed-by')
    expect(verdict.subject.digest).toBeUndefined()
  })

  it('refuses a hash that the rule does not allow', () => {
    const source = edited(['    max-signature-age: 90d\n', '    hashes: [blake3]\n'])
    expect(failing(judged({}, source))).toEqual(['model.hashes', 'model.signature-age'].slice(0, 1))
  })

  it('takes no age from the signer alone', () => {
    const verdict = judged({ signatures: [signature('release', { times: [] })] })
    expect(failing(verdict)).toEqual(['model.signature-age'])
    expect(verdict.checks.find(({ id }) => id === 'model.signature-age')?.code).toBe(
      'SIGNATURE_TIME_UNKNOWN',
    )
  })

  it('takes no age from the future', () => {
    const verdict = judged({ signatures: [signature('release', { times: [ago(-60)] })] })
    expect(failing(verdict)).toEqual(['model.signature-age'])
  })
})

describe('signers by certificate and by identity', () => {
  const base = signature()
  const by = (signer: Signer): Facts['signatures'][number] => ({
    ...base,
    result: { ...base.result, authenticated: { ...base.result.authenticated!, signer } },
  })
  const policy = (entry: string): ResolvedPolicy => {
    const source = edited(['release: {key: {file: release.pub.pem}}', `release: ${entry}`])
    // No certificate is parsed here: the policy is put together by hand.
    return { ...POLICY, policy: policyOf(source) }
  }
  const decide = (entry: string, signer: Signer): string =>
    evaluate(policy(entry), facts({ signatures: [by(signer)] })).decision
  const leaf = {
    kind: 'certificate',
    rootSha256: 'a',
    leafSha256: 'b',
    spkiSha256: 'c',
    subject: 'CN=x',
    identities: ['x@acme'],
  } as const
  const person = {
    kind: 'keyless',
    identity: 'x@acme',
    issuer: 'https://i',
    leafSha256: 'b',
  } as const

  it('compares the identity again', () => {
    const roots = 'roots: {file: ca.pem}'
    expect(decide(`{certificate: {${roots}, identity: x@acme}}`, leaf)).toBe('allow')
    expect(decide(`{certificate: {${roots}, identity: y@acme}}`, leaf)).toBe('deny')
    expect(decide(`{certificate: {${roots}, any-identity: true}}`, leaf)).toBe('allow')
    expect(decide(`{certificate: {${roots}, identity: x@acme}}`, person)).toBe('deny')
    const keyless = (identity: string, issuer: string): string =>
      `{keyless: {identity: ${identity}, issuer: "${issuer}", trusted-root: {file: t}}}`
    expect(decide(keyless('x@acme', 'https://i'), person)).toBe('allow')
    expect(decide(keyless('y@acme', 'https://i'), person)).toBe('deny')
    expect(decide(keyless('x@acme', 'https://j'), person)).toBe('deny')
    expect(decide(keyless('x@acme', 'https://i'), leaf)).toBe('deny')
  })
})

describe('files', () => {
  const unsigned = [...files().formats, content('notes/a.json')]

  it('refuses unsigned files, ignored ones included, unless the rule names them', () => {
    const extra = files({ result: { extra: ['notes/a.json'] }, formats: unsigned })
    const ignored = files({ result: { ignored: ['notes/a.json'] }, formats: unsigned })
    expect(failing(judged({ files: [extra] }))).toEqual(['model.extra-files'])
    expect(failing(judged({ files: [ignored] }))).toEqual(['model.extra-files'])
    const named = edited([
      '    protection',
      "    extra-files: {allow: ['notes/*']}\n    protection",
    ])
    expect(judged({ files: [extra] }, named).decision).toBe('allow')
    expect(judged({ files: [ignored] }, named).decision).toBe('allow')
    const lenient = edited(['    protection', '    extra-files: {ignored: allow}\n    protection'])
    expect(judged({ files: [extra] }, lenient).decision).toBe('deny')
    expect(judged({ files: [ignored] }, lenient).decision).toBe('allow')
  })

  it('looks into allowed extra files as well', () => {
    const named = edited([
      '    protection',
      "    extra-files: {allow: ['notes/*']}\n    protection",
    ])
    const code = content('notes/a.json', { format: 'code', executable: true })
    const with_ = files({
      result: { extra: ['notes/a.json'] },
      formats: [...files().formats, code],
    })
    expect(failing(judged({ files: [with_] }, named))).toEqual(['model.formats'])
    const without = files({ result: { extra: ['notes/a.json'] } })
    expect(failing(judged({ files: [without] }, named))).toEqual(['model.formats'])
  })

  it('refuses a format by content, unknown ones and unread ones', () => {
    const one = (changes: Parameters<typeof content>[1]): Verdict =>
      judged({
        files: [
          files({ formats: [content('config.json'), content('model.safetensors', changes)] }),
        ],
      })
    expect(failing(one({ format: 'pytorch', executable: true }))).toEqual(['model.formats'])
    expect(failing(one({ format: 'unknown' }))).toEqual(['model.formats'])
    expect(failing(one({ basis: 'name' }))).toEqual(['model.formats'])
    expect(failing(judged({ files: [files({ formats: [content('config.json')] })] }))).toEqual([
      'model.formats',
    ])
  })

  it('allows and denies formats as the rule says', () => {
    const pickle = files({
      formats: [
        content('config.json'),
        content('model.safetensors', { format: 'pickle', executable: true }),
      ],
    })
    const rule = (formats: string): string =>
      edited(['    protection', `    formats: ${formats}\n    protection`])
    expect(judged({ files: [pickle] }, rule('{allow: [pickle]}')).decision).toBe('allow')
    expect(judged({ files: [pickle] }, rule('{only: [pickle, json]}')).decision).toBe('allow')
    expect(failing(judged({ files: [pickle] }, rule('{only: [json]}')))).toEqual(['model.formats'])
    expect(failing(judged({}, rule('{deny: [json]}')))).toEqual(['model.formats'])
    expect(failing(judged({}, rule('{only: [safetensors]}')))).toEqual(['model.formats'])
  })

  it('shows what could not be compared, and does not take it for compared', () => {
    const link: Check = {
      id: 'model.entry:model.safetensors',
      status: 'fail',
      code: 'FILE_LINK',
      message: 'model.safetensors: is a link',
    }
    const broken = judged({ files: [files({ result: { files: 1, checks: [link] } })] })
    expect(failing(broken)).toEqual(['model.files', 'model.entry:model.safetensors'])
    const silent = judged({ files: [files({ result: { files: 1 } })] })
    expect(failing(silent)).toEqual(['model.files'])
    expect(silent.checks.find(({ id }) => id === 'model.files')?.code).toBe('FILES_UNREAD')
  })

  it('accepts a route without reading only where the rule names it', () => {
    const fact = files({
      route: 'raw-bijection',
      formats: files().formats.map((one) => ({ ...one, basis: 'name' as const })),
    })
    expect(failing(judged({ files: [fact] }))).toEqual(['model.route'])
    const source = edited(['    protection', '    manifest-only: [raw-bijection]\n    protection'])
    expect(judged({ files: [fact] }, source).decision).toBe('allow')
  })

  it('accepts a signature over a registry’s manifest only on that route, over that digest', () => {
    const digest = 'c0'.repeat(32)
    const base = signature()
    const signed = (sha256: string): Facts['signatures'][number] => ({
      signer: 'release',
      result: {
        ...base.result,
        manifest: null,
        authenticated: {
          ...base.result.authenticated!,
          predicateType: 'https://sigstore.dev/cosign/sign/v1',
          statement: { subject: [{ digest: { sha256 } }] },
        },
      },
    })
    const fact = files({ root: digest, manifest: null, route: 'manifest-digest' })
    const source = edited(
      ['    protection', '    manifest-only: [manifest-digest]\n    protection'],
      ['machine: {any-of: [prod]}', 'machine: not-required'],
    )
    const allowed = judged({ files: [fact], signatures: [signed(digest)] }, source)
    expect(allowed.decision).toBe('allow')
    // what nobody looked at is never called passed
    for (const id of ['model.files', 'model.extra-files', 'model.formats'])
      expect(allowed.checks.find((check) => check.id === id)?.status).toBe('skip')
    expect(judged({ files: [fact], signatures: [signed(ROOT)] }, source).decision).toBe('deny')
    expect(
      judged({ files: [{ ...fact, route: 'files' }], signatures: [signed(digest)] }, source)
        .decision,
    ).toBe('deny')
    expect(judged({ files: [fact], signatures: [base] }, source).decision).toBe('deny')
  })
})

describe('machines', () => {
  it('takes measurements from a signed statement while it holds', () => {
    const claims = attestation().claims!
    const stated = [
      evidence({ result: attestation({ claims: { ...claims, measurement: STATED } }) }),
    ]
    expect(failing(judged({ evidence: stated }))).toEqual(['machine.measurement'])
    expect(judged({ evidence: stated, referenceValues: [referenceStatement()] }).decision).toBe(
      'allow',
    )
    const refused = [
      referenceStatement({ signer: 'stranger' }),
      referenceStatement({ image: 'other-vm' }),
      referenceStatement({ predicate: { expires: ago(0) } }),
      referenceStatement({ predicate: { issued: ago(-60) } }),
      referenceStatement({ predicate: { platform: 'tdx' } }),
      referenceStatement({ predicate: { surprise: 1 } }),
      referenceStatement({ predicate: { measurements: [{ measurement: 'short' }] } }),
      { ...referenceStatement(), signer: 'release' },
    ]
    for (const fact of refused) {
      const verdict = judged({ evidence: stated, referenceValues: [fact] })
      expect(failing(verdict)).toEqual(['machine.measurement'])
    }
  })

  it('refuses evidence of another platform, machine or time', () => {
    expect(
      failing(judged({ evidence: [evidence({ result: attestation({ platform: 'tdx' }) })] })),
    ).toContain('machine.evidence')
    expect(failing(judged({ evidence: [evidence({ machine: 'lab' })] }))).toEqual([
      'machine.evidence',
    ])
    expect(
      failing(judged({ evidence: [evidence({ result: attestation({ at: ago(3600) }) })] })),
    ).toContain('machine.evidence')
  })

  it('trusts simulated hardware only where the machine names its root, and says so', () => {
    const result = attestation({ simulated: true })
    const naming = (sha256: string): Verdict =>
      evaluate(
        {
          ...POLICY,
          trustRoots: new Map([
            ['prod', { name: 'lab', vendor: 'named by the user', sha256, simulated: true }],
          ]),
        },
        facts({ evidence: [evidence({ result })] }),
      )
    const verdict = naming('33'.repeat(32))
    expect(verdict.decision).toBe('allow')
    expect(verdict.checks.find(({ id }) => id === 'machine.root')).toMatchObject({
      status: 'warn',
      code: 'SIMULATED',
    })
    expect(failing(naming('34'.repeat(32)))).toEqual(['machine.root'])
  })

  it('chooses the evidence that fits among several', () => {
    const verdict = judged({
      evidence: [
        evidence({ result: refusedAttestation('CRL_MISSING') }),
        evidence(),
        evidence({ binding: null }),
      ],
    })
    expect(verdict.decision).toBe('allow')
  })

  it('refuses a nonce that nobody asked for', () => {
    const binding = { model: ROOT, nonce: { expected: null, actual: NONCE, issued: ago(60) } }
    expect(failing(judged({ evidence: [evidence({ binding })] }))).toEqual(['machine.nonce'])
  })
})

describe('admission and protection', () => {
  const source = edited([
    '    protection',
    '    admitted: {by: [registry], within: 7d, policy: {name: registry}}\n    protection',
  ])

  it('asks for a saved verdict', () => {
    expect(failing(judged({}, source))).toEqual(['model.admitted'])
    expect(judged({ saved: [savedVerdict()] }, source).decision).toBe('allow')
    const refused = [
      savedVerdict({ decision: 'deny' }),
      savedVerdict({ at: ago(8 * 86_400) }),
      savedVerdict({ at: ago(-60) }),
      savedVerdict({ subject: { name: 'acme/bert', digest: { sha256: 'ff'.repeat(32) } } }),
      savedVerdict({ subject: { name: 'acme/bert' } }),
      savedVerdict({ policy: { name: 'other', digest: { sha256: '88'.repeat(32) } } }),
      savedVerdict({ policy: null }),
      { ...savedVerdict(), verdict: null },
      { ...savedVerdict(), signer: 'release' },
      { ...savedVerdict(), result: signature('stranger').result },
    ]
    for (const fact of refused)
      expect(failing(judged({ saved: [fact] }, source))).toEqual(['model.admitted'])
  })

  it('compares the digest of the policy', () => {
    const pinned = source.replace('{name: registry}', `{sha256: ${'88'.repeat(32)}}`)
    expect(judged({ saved: [savedVerdict()] }, pinned).decision).toBe('allow')
    const other = source.replace('{name: registry}', `{sha256: ${'89'.repeat(32)}}`)
    expect(failing(judged({ saved: [savedVerdict()] }, other))).toEqual(['model.admitted'])
  })

  it('compares the protection where somebody loads', () => {
    expect(failing(judged({ protection: 'start' }))).toEqual(['protection'])
    expect(judged({ protection: 'in-memory' }).decision).toBe('allow')
    const { protection, ...rest } = facts()
    expect(protection).toBe('private-copy')
    expect(failing(evaluate(POLICY, rest))).toEqual(['protection'])
    expect(evaluate(POLICY, { ...rest, purpose: 'judge' }).decision).toBe('allow')
  })

  it('reaches no answer at no time', () => {
    expect(() => judged({ at: 'yesterday' })).toThrow(expect.objectContaining({ code: 'INTERNAL' }))
    expect(judged({ at: AT }).at).toBe(AT)
    expect(GOOD).toHaveLength(96)
  })
})

describe('exemptions', () => {
  const exempt = (
    checks: string,
    expires = '2026-12-31',
    models = 'acme/*',
  ): string => `${SOURCE}exemptions:
  legacy:
    models: ['${models}']
    checks: [${checks}]
    owner: jane@acme.example
    reason: old weights
    expires: ${expires}
`
  const pickle = [
    files({
      formats: [
        content('config.json'),
        content('model.safetensors', { format: 'pickle', executable: true }),
      ],
    }),
  ]

  it('turns a failing check into a warning with owner and end', () => {
    const verdict = judged({ files: pickle }, exempt('model.formats'))
    expect(verdict.decision).toBe('allow')
    const check = verdict.checks.find(({ id }) => id === 'model.formats')
    expect(check).toMatchObject({ status: 'warn', code: 'WAIVED' })
    expect(check?.message).toContain('waived until 2026-12-31T00:00:00Z by jane@acme.example')
  })

  it('holds no longer than it says, and for no other model', () => {
    const verdict = judged({ files: pickle }, exempt('model.formats', AT))
    expect(failing(verdict)).toEqual(['model.formats', 'exemption.legacy'])
    expect(judged({ files: pickle }, exempt('model.formats', ago(-1))).decision).toBe('allow')
    expect(
      failing(judged({ files: pickle }, exempt('model.formats', '2026-12-31', 'acme/gpt'))),
    ).toEqual(['model.formats'])
  })

  it('says when it is needed no more', () => {
    for (const expires of ['2026-12-31', '2026-01-01']) {
      const verdict = judged({}, exempt('model.formats', expires))
      expect(verdict.decision).toBe('allow')
      expect(verdict.checks.at(-1)).toMatchObject({
        id: 'exemption.legacy',
        status: 'warn',
        code: 'EXEMPTION_UNUSED',
      })
    }
  })

  it('waives a code of authentic evidence, and none of evidence that nobody signed', () => {
    const source = exempt('CRL_MISSING, SIGNATURE_INVALID')
    const authentic = judged(
      { evidence: [evidence({ result: refusedAttestation('CRL_MISSING') })] },
      source,
    )
    expect(failing(authentic)).toEqual([])
    expect(authentic.checks.find(({ id }) => id === 'machine.evidence')).toMatchObject({
      status: 'warn',
      code: 'WAIVED',
    })
    const forged = judged(
      { evidence: [evidence({ result: refusedAttestation('SIGNATURE_INVALID', false) })] },
      source,
    )
    expect(forged.decision).toBe('deny')
  })

  it('never excuses debugging or revocation, by whatever name', () => {
    for (const code of ['DEBUG', 'REVOKED', 'QE_DEBUG', 'TCB_STATUS_UNKNOWN'] as const) {
      const result = refusedAttestation(code)
      const ids = result.checks.map(({ id }) => `evidence.${id}`).join(', ')
      const verdict = judged({ evidence: [evidence({ result })] }, exempt(ids))
      expect(verdict.decision).toBe('deny')
    }
  })

  it('never makes evidence of another platform good', () => {
    const result = { ...refusedAttestation('TCB_BELOW_MINIMUM'), platform: 'tdx' } as const
    const verdict = judged({ evidence: [evidence({ result })] }, exempt('TCB_BELOW_MINIMUM'))
    expect(failing(verdict)).toEqual(['machine.platform'])
  })

  it('from bringing evidence does not excuse evidence that is refused, but evidence is not needed then', () => {
    const source = exempt('machine.evidence')
    expect(judged({ evidence: [] }, source).decision).toBe('allow')
    const verdict = judged(
      { evidence: [evidence({ result: refusedAttestation('CRL_MISSING') })] },
      source,
    )
    expect(verdict.decision).toBe('allow')
    expect(verdict.checks.some(({ id }) => id.startsWith('evidence.'))).toBe(false)
  })
})
