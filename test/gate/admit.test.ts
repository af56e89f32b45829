import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SnpTrust, type NamedBytes } from '../../attestation/index.ts'
import { sha256, utf8Encode } from '../../attestation/lib/index.ts'
import { decide } from '../../src/gate/admit.ts'
import { gather } from '../../src/gate/gather.ts'
import type { AdmitRequest, ModelSource } from '../../src/gate/question.ts'
import { pathSource } from '../../src/gate/source.ts'
import type { FilesFact } from '../../src/policy/facts.ts'
import { saveVerdict } from '../../src/gate/saved.ts'
import { signModel, signStatement } from '../../src/sign/model.ts'
import {
  AT,
  failing,
  GOOD,
  machine,
  NONCE,
  OTHER_NONCE,
  referenceValues,
  safetensors,
  scene,
  signerOf,
  SOURCE,
  type Scene,
} from './scene.ts'

let at: Scene
beforeEach(async () => {
  at = await scene()
})
afterEach(() => {
  at.close()
})

describe('a model that may be loaded', () => {
  it('is allowed, with everything that led to it', async () => {
    const admission = await at.ask()
    expect(failing(admission)).toEqual([])
    expect(admission.verdict.decision).toBe('allow')
    expect(admission.verdict.subject).toEqual({ name: 'acme/tiny', digest: { sha256: at.root } })
    expect(admission.manifest?.resources.map(({ name }) => name)).toEqual([
      'config.json',
      'model.safetensors',
    ])
    const names = admission.verdict.inputs.map(({ name }) => name)
    for (const name of ['bundle:model.sig', 'evidence:evidence.json', 'files', 'nonce', 'policy'])
      expect(names).toContain(name)
  })

  it('gets the same bytes each time, whatever was cached', async () => {
    const caches = { snp: new SnpTrust() }
    const texts = new Set<string>()
    for (let i = 0; i < 3; i++)
      texts.add(JSON.stringify((await at.ask(i === 0 ? {} : { caches })).verdict))
    expect(texts.size).toBe(1)
    expect(caches.snp.size).toBe(1)
  })

  it('says that its hardware is simulated', async () => {
    const { verdict } = await at.ask()
    expect(verdict.checks.find(({ code }) => code === 'SIMULATED')).toMatchObject({
      id: 'machine.root',
      status: 'warn',
    })
  })

  it('the question decides, not the order of what is given', async () => {
    const evidence = [machine(at.root, { nonce: OTHER_NONCE }).evidence, at.evidence]
    const { verdict } = await at.ask({ evidence })
    expect(verdict.decision).toBe('allow')
    expect((await at.ask({ evidence: evidence.reverse() })).verdict.checks).toEqual(verdict.checks)
  })
})

interface Attack {
  readonly name: string
  readonly prepare: () => Promise<Partial<AdmitRequest>> | Partial<AdmitRequest>
  readonly asked?: 'without a nonce'
  readonly codes: readonly string[]
}

const attacks: readonly Attack[] = [
  {
    name: 'one byte changed',
    prepare: () => {
      at.write('model.safetensors', safetensors().with(-1, 1))
      return {}
    },
    codes: ['model.files FILE_CHANGED', 'model.changed FILE_CHANGED'],
  },
  {
    name: 'a file added',
    prepare: () => {
      at.write('tokenizer.json', '{}')
      return {}
    },
    codes: ['model.extra-files FILE_EXTRA'],
  },
  {
    name: 'a program added',
    prepare: () => {
      at.write('modeling.py', 'import os\n')
      return {}
    },
    codes: ['model.extra-files FILE_EXTRA', 'model.formats FORMAT_NOT_ALLOWED'],
  },
  {
    name: 'a file removed',
    prepare: () => {
      rmSync(join(at.model, 'config.json'))
      return {}
    },
    codes: ['model.files FILE_CHANGED', 'model.missing FILE_MISSING'],
  },
  {
    name: 'another signer',
    prepare: async () => {
      await signModel(at.model, { signer: signerOf('stranger') })
      return {}
    },
    codes: [
      'model.signed-by SIGNERS',
      'signature.release.hint KEY_HINT',
      'model.files FILES_UNREAD',
    ],
  },
  {
    name: 'no signature',
    prepare: () => {
      rmSync(join(at.model, 'model.sig'))
      return {}
    },
    codes: ['model.signed-by SIGNERS', 'model.files FILES_UNREAD'],
  },
  {
    name: 'a machine that can be debugged',
    prepare: () => ({ evidence: [machine(at.root, { policy: 0xb0000n }).evidence] }),
    codes: ['machine.evidence EVIDENCE_REFUSED', 'evidence.snp.debug DEBUG'],
  },
  {
    name: 'a replayed nonce',
    prepare: () => ({ evidence: [machine(at.root, { nonce: OTHER_NONCE }).evidence] }),
    codes: ['machine.nonce NONCE_MISMATCH'],
  },
  {
    name: 'evidence for another model',
    prepare: () => ({ evidence: [machine('ab'.repeat(32)).evidence] }),
    codes: ['machine.nonce NONCE_MISMATCH', 'machine.binding BINDING_MISMATCH'],
  },
  {
    name: 'evidence that answers the nonce and names no model',
    prepare: () => {
      const reportData = new Uint8Array(64)
      reportData.set(NONCE)
      return { evidence: [machine(at.root, { reportData }).evidence] }
    },
    codes: ['machine.binding BINDING_MISMATCH'],
  },
  {
    name: 'an old TCB',
    prepare: () => ({
      evidence: [
        machine(at.root, { request: { tcb: { bootLoader: 10, tee: 0, snp: 22, microcode: 88 } } })
          .evidence,
      ],
    }),
    codes: [
      'evidence.snp.tcb.reported TCB_BELOW_MINIMUM',
      'evidence.snp.tcb.committed TCB_BELOW_MINIMUM',
    ],
  },
  {
    name: 'unknown software on the machine',
    prepare: () => ({ evidence: [machine(at.root, { measurement: '6f'.repeat(48) }).evidence] }),
    codes: ['evidence.snp.measurement MEASUREMENT', 'machine.measurement MEASUREMENT_UNKNOWN'],
  },
  {
    name: 'a machine of another vendor',
    prepare: () => ({ evidence: [machine(at.root, { request: { seed: 'other' } }).evidence] }),
    codes: ['machine.evidence EVIDENCE_REFUSED', 'machine.root ROOT_UNTRUSTED'],
  },
  {
    name: 'no evidence',
    prepare: () => ({ evidence: [] }),
    codes: ['machine.evidence EVIDENCE_MISSING'],
  },
  {
    name: 'evidence that is none',
    prepare: () => ({ evidence: [{ name: 'x', bytes: new Uint8Array(100).fill(7) }] }),
    codes: ['machine.evidence EVIDENCE_REFUSED', 'evidence.form FORMAT_UNKNOWN'],
  },
  {
    name: 'nobody asked with a nonce',
    prepare: () => ({}),
    asked: 'without a nonce',
    codes: ['machine.nonce NONCE_MISMATCH'],
  },
  {
    name: 'a key that the machine does not hold',
    prepare: () => ({ keyDigest: sha256(new Uint8Array(1)) }),
    codes: ['machine.binding BINDING_MISMATCH'],
  },
  {
    name: 'certificates that are not valid yet',
    prepare: () => ({ at: new Date('2001-01-01T00:00:00Z') }),
    codes: ['machine.evidence EVIDENCE_REFUSED', 'evidence.snp.validity.leaf CERT_NOT_YET_VALID'],
  },
  {
    name: 'a name that no rule knows',
    prepare: () => ({ name: 'other/tiny' }),
    codes: ['policy.rule NO_RULE'],
  },
]

describe('an attack is refused with its code', () => {
  it.each(attacks.map((attack) => [attack.name, attack] as const))('%s', async (_, attack) => {
    const changes = await attack.prepare()
    const admission = await at.ask(changes, attack.asked)
    expect(admission.verdict.decision).toBe('deny')
    expect(admission.manifest).toBeNull()
    expect(failing(admission)).toEqual(expect.arrayContaining([...attack.codes]))
  })
})

describe('the decision matrix', () => {
  const signers = { good: true, stranger: false, none: false }
  const files = { same: true, changed: false, added: false }
  const evidences = { good: true, debug: false, none: false }
  const bindings = { bound: true, replayed: false, unbound: false }
  const times = { inside: true, before: false }
  type Choice = readonly [
    keyof typeof signers,
    keyof typeof files,
    keyof typeof evidences,
    keyof typeof bindings,
    keyof typeof times,
  ]
  const keys = <K extends string>(of: Record<K, boolean>): K[] => Object.keys(of) as K[]
  const all: Choice[] = keys(signers).flatMap((signer) =>
    keys(files).flatMap((file) =>
      keys(evidences).flatMap((evidence) =>
        keys(bindings).flatMap((binding) =>
          keys(times).map((time): Choice => [signer, file, evidence, binding, time]),
        ),
      ),
    ),
  )

  it('allows exactly where every column is right', async () => {
    const recorded = new Map<string, NamedBytes>()
    const record = (evidence: string, binding: string): NamedBytes => {
      const known = recorded.get(evidence + binding)
      if (known !== undefined) return known
      const made = machine(at.root, {
        ...(evidence === 'debug' ? { policy: 0xb0000n } : {}),
        ...(binding === 'replayed' ? { nonce: OTHER_NONCE } : {}),
        ...(binding === 'unbound' ? { reportData: new Uint8Array(64).fill(9) } : {}),
      }).evidence
      recorded.set(evidence + binding, made)
      return made
    }
    const own = readFileSync(join(at.model, 'model.sig'))
    await signModel(at.model, { signer: signerOf('stranger') })
    const strange = readFileSync(join(at.model, 'model.sig'))
    const caches = { snp: new SnpTrust() }
    const wrong: string[] = []
    for (const choice of all) {
      const [signer, file, evidence, binding, time] = choice
      rmSync(at.model, { recursive: true })
      mkdirSync(at.model)
      at.write('model.safetensors', safetensors())
      at.write('config.json', file === 'changed' ? '{}\n' : '{"architectures": ["Tiny"]}\n')
      if (file === 'added') at.write('more.json', '{}')
      if (signer !== 'none') at.write('model.sig', signer === 'good' ? own : strange)
      const { verdict } = await at.ask({
        evidence: evidence === 'none' ? [] : [record(evidence, binding)],
        at: time === 'inside' ? AT : new Date('2001-01-01T00:00:00Z'),
        caches,
      })
      const right =
        signers[signer] && files[file] && evidences[evidence] && bindings[binding] && times[time]
      if ((verdict.decision === 'allow') !== right) wrong.push(choice.join(' '))
    }
    expect(all.length).toBe(162)
    expect(wrong).toEqual([])
  })
})

describe('less never allows more', () => {
  it('removing any signature, evidence, statement or endorsement never turns a refusal into an allow', async () => {
    const source = SOURCE.replace('any-of: [release]', 'any-of: [release, security], threshold: 2')
      .replace(`[${GOOD}]`, '[{from: reference-values, signer: platform}]')
      .replace(
        'machine: {any-of: [prod]}',
        `machine: {any-of: [prod]}
    admitted: {by: [registry], within: 7d, policy: {name: production}}`,
      )
    const policy = at.policy(source)
    const allowed = (await at.ask()).verdict
    const bundle = async (name: string, bytes: Promise<Uint8Array>): Promise<NamedBytes> => ({
      name,
      bytes: await bytes,
    })
    const bundles = [
      await at.signature('release'),
      await at.signature('security'),
      await at.signature('stranger'),
      await bundle('values', referenceValues('platform', GOOD)),
      await bundle('old', referenceValues('platform', GOOD, { expires: '2026-11-02T00:00:00Z' })),
      await bundle('strange', referenceValues('stranger', GOOD)),
      await bundle('verdict', saveVerdict(allowed, { signer: signerOf('registry') })),
      await bundle('forged', saveVerdict(allowed, { signer: signerOf('stranger') })),
    ]
    rmSync(join(at.model, 'model.sig'))
    const evidence = [
      at.evidence,
      machine(at.root, { nonce: OTHER_NONCE }).evidence,
      machine(at.root, { policy: 0xb0000n }).evidence,
    ]
    const caches = { snp: new SnpTrust() }
    // the files are the same each time: they need not be read each time
    const disk = pathSource(at.model)
    const known = new Map<string, FilesFact | null>()
    const model: ModelSource = {
      ...disk,
      bundles: () => Promise.resolve([]),
      compare: async (manifest, request) => {
        const key = JSON.stringify(manifest)
        if (!known.has(key)) known.set(key, await disk.compare(manifest, request))
        return known.get(key) ?? null
      },
    }
    const decision = async (used: number): Promise<string> => {
      const part = <T>(list: readonly T[], from: number): T[] =>
        list.filter((_, i) => ((used >> (from + i)) & 1) === 1)
      const { verdict } = await at.ask({
        model,
        policy,
        caches,
        bundles: part(bundles, 0),
        evidence: part(evidence, bundles.length),
      })
      return verdict.decision
    }
    const total = bundles.length + evidence.length
    const everything = (1 << total) - 1
    expect(await decision(everything)).toBe('allow')
    const seen = new Map<number, string>()
    const asked = async (used: number): Promise<string> => {
      const answer = seen.get(used) ?? (await decision(used))
      seen.set(used, answer)
      return answer
    }
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: everything }),
        fc.nat({ max: total - 1 }),
        async (used, left) => {
          if ((await asked(used)) === 'deny') expect(await asked(used & ~(1 << left))).toBe('deny')
        },
      ),
      { numRuns: 60, seed: 7 },
    )
    // and each that is needed is needed
    for (const needed of [0, 1, 3, 6, 8])
      expect(await asked(everything & ~(1 << needed))).toBe('deny')
  }, 60_000)
})

describe('damaged input', () => {
  it('any byte changed in a bundle or in evidence gives a refusal, or the same allowed model; never another exception', async () => {
    const bundle = new Uint8Array(readFileSync(join(at.model, 'model.sig')))
    rmSync(join(at.model, 'model.sig'))
    const disk = pathSource(at.model)
    const known = new Map<string, Promise<FilesFact | null>>()
    const model: ModelSource = {
      ...disk,
      bundles: () => Promise.resolve([]),
      compare: (manifest, request) => {
        const key = JSON.stringify(manifest)
        const found = known.get(key) ?? disk.compare(manifest, request)
        known.set(key, found)
        return found
      },
    }
    const caches = { snp: new SnpTrust() }
    let denied = 0
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (signature, place, change) => {
          const changed = (bytes: Uint8Array): Uint8Array =>
            bytes.with(place % bytes.length, (bytes[place % bytes.length] ?? 0) ^ change)
          const admission = await at.ask({
            model,
            caches,
            bundles: [{ name: 'sig', bytes: signature ? changed(bundle) : bundle }],
            evidence: [signature ? at.evidence : { name: 'x', bytes: changed(at.evidence.bytes) }],
          })
          if (admission.verdict.decision === 'deny') denied++
          else expect(admission.manifest?.root).toBe(at.root)
        },
      ),
      { numRuns: 150, seed: 11 },
    )
    expect(denied).toBeGreaterThan(130)
  }, 60_000)
})

describe('signatures', () => {
  it('two signers of the same files are two, and the files are read once', async () => {
    const policy = at.policy(SOURCE.replace('[release]', '[release, security], threshold: 2'))
    const disk = pathSource(at.model)
    let compared = 0
    const model: ModelSource = {
      ...disk,
      compare: (manifest, request) => {
        compared++
        return disk.compare(manifest, request)
      },
    }
    expect((await at.ask({ policy })).verdict.decision).toBe('deny')
    // the list of ignored paths is the same as the first signer's, so it is the same list
    const security = await at.signature('security')
    const { verdict } = await at.ask({ policy, model, bundles: [security] })
    expect(failing({ verdict })).toEqual([])
    expect(compared).toBe(1)
  })

  it('a list with another name for the same bytes has the same root and is another list', async () => {
    // a root covers digests and no names: neither signer may count for the other's list
    at.write('a.json', '{}')
    at.write('b.json', '{}')
    await signModel(at.model, { signer: signerOf('release') })
    const swapped = at.policy(
      SOURCE.replace('any-of: [release]', 'any-of: [release, security], threshold: 2'),
    )
    const other = join(at.folder, 'other')
    mkdirSync(other)
    for (const [from, to] of [
      ['a.json', 'a.json'],
      ['b.json', 'c.json'],
      ['config.json', 'config.json'],
      ['model.safetensors', 'model.safetensors'],
    ] as const)
      copyFileSync(join(at.model, from), join(other, to))
    await signModel(other, { signer: signerOf('security') })
    const bundles = [
      { name: 'other.sig', bytes: new Uint8Array(readFileSync(join(other, 'model.sig'))) },
    ]
    const root = (await at.ask()).verdict.subject.digest?.sha256 ?? ''
    const { verdict } = await at.ask({
      policy: swapped,
      bundles,
      evidence: [machine(root).evidence],
    })
    expect(verdict.decision).toBe('deny')
    expect(failing({ verdict })).toContain('model.signed-by SIGNERS')
  })

  it('a bundle beside the model that is no bundle is a refusal with its reason', async () => {
    at.write('model.sig', 'nonsense')
    expect(failing(await at.ask())).toContain('signature.release.bundle BUNDLE_INVALID')
  })

  it('signatures inside the model that are named are no part of it', async () => {
    await signModel(at.model, {
      signer: signerOf('security'),
      signature: join(at.model, 'security.sig'),
      ignorePaths: ['model.sig'],
    })
    expect(failing(await at.ask())).toContain('model.extra-files FILE_EXTRA')
    const model = pathSource(at.model, { signatures: [join(at.model, 'security.sig')] })
    expect(failing(await at.ask({ model }))).toEqual([])
  })
})

describe('files', () => {
  it('unsigned files that the rule allows are looked into all the same', async () => {
    const policy = at.policy(`${SOURCE}    extra-files: {allow: ['*.json', '*.bin']}\n`)
    at.write('notes.json', '{}')
    expect(failing(await at.ask({ policy }))).toEqual([])
    at.write('weights.bin', Uint8Array.from([0x80, 4, 0x8c, 2, 0x6f, 0x73, 0x2e]))
    expect(failing(await at.ask({ policy }))).toContain('model.formats FORMAT_NOT_ALLOWED')
  })

  it('what the signer left out is refused unless the rule says otherwise, links and all', async () => {
    mkdirSync(join(at.model, 'logs'))
    at.write('logs/run.txt', 'started\n')
    await signModel(at.model, { signer: signerOf('release'), ignorePaths: ['logs'] })
    const { manifest } = await signModel(at.model, {
      signer: signerOf('release'),
      ignorePaths: ['logs'],
    })
    const evidence = [machine(manifest?.root ?? '').evidence]
    expect(failing(await at.ask({ evidence }))).toEqual(['model.extra-files FILE_EXTRA'])
    const policy = at.policy(`${SOURCE}    extra-files: {ignored: allow}\n`)
    expect(failing(await at.ask({ evidence, policy }))).toEqual([])
    const { symlinkSync } = await import('node:fs')
    symlinkSync('/etc/passwd', join(at.model, 'logs', 'link'))
    expect(failing(await at.ask({ evidence, policy }))).toContain(
      'model.formats FORMAT_NOT_ALLOWED',
    )
  })

  it('one file is a model, and so is an archive', async () => {
    const single = join(at.folder, 'tiny.safetensors')
    writeFileSync(single, safetensors())
    const { manifest } = await signModel(single, { signer: signerOf('release') })
    const one = await at.ask({
      model: single,
      evidence: [machine(manifest?.root ?? '').evidence],
    })
    expect(failing(one)).toEqual([])
    const tar = join(at.folder, 'model.tar')
    const { execFileSync } = await import('node:child_process')
    copyFileSync(join(at.model, 'model.sig'), `${tar}.sig`)
    execFileSync('tar', ['-C', at.model, '-cf', tar, '.'])
    const archive = await at.ask({ model: tar })
    expect(failing(archive)).toEqual([])
    expect(archive.files?.route).toBe('streamed')
    at.write('notes.json', '{}')
    execFileSync('tar', ['-C', at.model, '-cf', tar, '.'])
    expect(failing(await at.ask({ model: tar }))).toEqual(['model.extra-files FILE_EXTRA'])
    const policy = at.policy(`${SOURCE}    extra-files: {allow: ['*']}\n`)
    expect(failing(await at.ask({ model: tar, policy }))).toEqual([])
    at.write('run.py', 'import os\n')
    execFileSync('tar', ['-C', at.model, '-cf', tar, '.'])
    expect(failing(await at.ask({ model: tar, policy }))).toEqual([
      'model.formats FORMAT_NOT_ALLOWED',
    ])
  })

  it('git files that releases before 1.1.0 signed are compared, on disk and in an archive', async () => {
    at.write('.gitattributes', '*.bin lfs\n')
    at.write('.gitignore', 'left out\n')
    const { manifest } = await signModel(at.model, {
      signer: signerOf('release'),
      defaultIgnores: false,
      ignorePaths: ['.gitignore'],
    })
    const evidence = [machine(manifest?.root ?? '').evidence]
    const tar = join(at.folder, 'model.tar')
    const both = async (): Promise<string[]> => {
      copyFileSync(join(at.model, 'model.sig'), `${tar}.sig`)
      execFileSync('tar', ['-C', at.model, '-cf', tar, '.'])
      const [disk, archive] = [await at.ask({ evidence }), await at.ask({ evidence, model: tar })]
      expect(failing(archive)).toEqual(failing(disk))
      return failing(disk)
    }
    expect(await both()).toEqual([])
    at.write('.gitattributes', '*.bin evil\n')
    expect(await both()).toEqual(['model.files FILE_CHANGED', 'model.changed FILE_CHANGED'])
  })

  it('with the method shards every file has its format, changed ones included', async () => {
    const { manifest } = await signModel(at.model, { signer: signerOf('release'), shardSize: 16 })
    const evidence = [machine(manifest?.root ?? '').evidence]
    expect(failing(await at.ask({ evidence }))).toEqual([])
    at.write('config.json', '{}\n')
    expect(failing(await at.ask({ evidence }))).toEqual([
      'model.files FILE_CHANGED',
      'model.changed FILE_CHANGED',
    ])
  })

  it('where no rule matches nothing is read', async () => {
    const model: ModelSource = {
      ...pathSource(at.model),
      compare: () => Promise.reject(new Error('was asked')),
    }
    expect(failing(await at.ask({ model, name: 'nobody/knows' }))).toEqual(['policy.rule NO_RULE'])
  })

  it('an interruption is no answer', async () => {
    const controller = new AbortController()
    controller.abort()
    await expect(at.ask({ signal: controller.signal })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    })
  })
})

describe('the machine', () => {
  it('measurements come from a signed statement, while it is in force', async () => {
    const source = SOURCE.replace(`[${GOOD}]`, '[{from: reference-values, signer: platform}]')
    const policy = at.policy(source)
    const given = async (bytes: Promise<Uint8Array>): Promise<string[]> =>
      failing(await at.ask({ policy, bundles: [{ name: 'values', bytes: await bytes }] }))
    expect(await given(referenceValues('platform', GOOD))).toEqual([])
    for (const bytes of [
      referenceValues('platform', '00'.repeat(48)),
      referenceValues('stranger', GOOD),
      referenceValues('platform', GOOD, { expires: '2026-11-02T00:00:00Z' }),
    ])
      expect(await given(bytes)).toContain('machine.measurement MEASUREMENT_UNKNOWN')
  })

  it('recorded evidence without a nonce that was asked is accepted only where the policy says so', async () => {
    const policy = at.policy(SOURCE.replace('    snp:', '    nonce: not-required\n    snp:'))
    const admission = await at.ask({ policy }, 'without a nonce')
    expect(failing(admission)).toEqual([])
    expect(admission.verdict.checks.find(({ id }) => id === 'machine.nonce')?.status).toBe('skip')
  })

  it('an old nonce is told by the asker’s clock', async () => {
    const policy = at.policy(SOURCE.replace('    snp:', '    max-age: 5m\n    snp:'))
    const asked = async (seconds: number): Promise<string[]> =>
      failing(
        await at.ask({
          policy,
          challenge: { nonce: NONCE, issued: new Date(AT.getTime() - seconds * 1000) },
        }),
      )
    expect(await asked(300)).toEqual([])
    expect(await asked(301)).toEqual(['machine.freshness EVIDENCE_OLD'])
    expect(await asked(-1)).toEqual(['machine.freshness EVIDENCE_OLD'])
    expect(failing(await at.ask({ policy }))).toEqual(['machine.freshness EVIDENCE_OLD'])
  })

  it('a key of the machine is held to its digest', async () => {
    const keyDigest = sha256(new Uint8Array([1, 2, 3]))
    const evidence = [machine(at.root, { keyDigest }).evidence]
    expect(failing(await at.ask({ evidence, keyDigest }))).toEqual([])
    expect(failing(await at.ask({ evidence }))).toContain('machine.binding BINDING_MISMATCH')
  })

  it('endorsements that can’t be read are no answer', async () => {
    const endorsements = [{ name: 'junk', bytes: new Uint8Array(10) }]
    await expect(at.ask({ endorsements })).rejects.toMatchObject({ code: 'FORMAT_UNKNOWN' })
  })
})

describe('a loader', () => {
  it('decides twice: without a level nothing is loaded, with one it must be high enough', async () => {
    const policy = at.policy(`${SOURCE}    protection: private-copy\n`)
    const gathered = await gather({
      model: at.model,
      name: 'acme/tiny',
      policy,
      at: AT,
      now: AT,
      evidence: [at.evidence],
      challenge: { nonce: NONCE },
    })
    expect(failing(decide(gathered))).toEqual([])
    expect(failing(decide(gathered, 'start'))).toEqual(['protection PROTECTION_TOO_LOW'])
    const loaded = decide(gathered, 'private-copy')
    expect(failing(loaded)).toEqual([])
    expect(loaded.verdict.protection).toBe('private-copy')
    expect(loaded.manifest?.root).toBe(at.root)
  })
})

it('a statement of the right signer about something else says why it does not count', async () => {
  rmSync(join(at.model, 'model.sig'))
  const bytes = await signStatement(
    utf8Encode(
      JSON.stringify({
        _type: 'https://in-toto.io/Statement/v1',
        subject: [{ name: 'm', digest: { sha256: at.root } }],
        predicateType: 'https://slsa.dev/provenance/v1',
        predicate: {},
      }),
    ),
    signerOf('release'),
  )
  const { verdict } = await at.ask({ bundles: [{ name: 'provenance', bytes }] })
  expect(verdict.decision).toBe('deny')
  expect(verdict.checks).toContainEqual(
    expect.objectContaining({ id: 'signature.release.predicate', code: 'PREDICATE_TYPE' }),
  )
})

it('the list that is loaded is the one that the verdict is about', async () => {
  at.write('empty.txt', '')
  const sign = async (name: string, shardSize?: number): Promise<NamedBytes> => {
    const signature = join(at.folder, name)
    await signModel(at.model, {
      signer: signerOf('release'),
      signature,
      ignorePaths: ['model.sig'],
      ...(shardSize === undefined ? {} : { method: 'shards', shardSize }),
    })
    return { name, bytes: new Uint8Array(readFileSync(signature)) }
  }
  rmSync(join(at.model, 'model.sig'))
  // both lists allow the model; the one in shards does not cover the empty file, so the other is nearer
  const bundles = [await sign('shards.sig', 16), await sign('files.sig')]
  const policy = at.policy(SOURCE.replace('machine: {any-of: [prod]}', 'machine: not-required'))
  for (const order of [bundles, [...bundles].reverse()]) {
    const admission = await at.ask({ policy, bundles: order })
    expect(admission.verdict.decision).toBe('allow')
    expect(admission.manifest?.serialization.method).toBe('files')
    expect(admission.manifest?.root).toBe(admission.verdict.subject.digest?.sha256)
  }
})

it('an archive hides nothing under the name of its signature', async () => {
  const policy = at.policy(SOURCE.replace('machine: {any-of: [prod]}', 'machine: not-required'))
  const { bytes } = await at.signature('release')
  const pack = async (): Promise<string[]> => {
    const archive = join(at.folder, 'model.tar')
    execFileSync('tar', ['-C', at.model, '-cf', archive, '.'])
    const bundles = [{ name: 'release.sig', bytes }]
    return failing(await at.ask({ model: archive, policy, bundles }))
  }
  expect(await pack()).toEqual([])
  rmSync(join(at.model, 'model.sig'))
  mkdirSync(join(at.model, 'model.sig'))
  at.write('model.sig/evil.py', 'import os\n')
  expect(await pack()).toContain('model.extra-files FILE_EXTRA')
})
