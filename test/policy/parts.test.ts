import { describe, expect, it } from 'vitest'
import { VENDOR_ROOTS } from '../../attestation/index.ts'
import { bytesToHex, sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'
import { expectationOf } from '../../src/policy/expect.ts'
import { durationSeconds, formatDuration, matches, namesOf } from '../../src/policy/match.ts'
import { modeOf } from '../../src/policy/mode.ts'
import { resolve } from '../../src/policy/resolve.ts'
import {
  AT,
  FILES,
  GOOD,
  KEYS,
  SOURCE,
  STATED,
  policyOf,
  referenceStatement,
  resolved,
} from './example.ts'

describe('patterns', () => {
  it.each([
    ['acme/bert', 'acme/bert', true],
    ['acme/bert', 'acme/berta', false],
    ['acme/*', 'acme/bert', true],
    ['acme/*', 'acme/', true],
    ['acme/*', 'acme/a/b', false],
    ['*', 'acme/bert', false],
    ['*/*', 'acme/bert', true],
    ['a*c', 'abc', true],
    ['a*c', 'abcd', false],
    ['*a*b*', 'xxaxxbxx', true],
    ['acme/b.rt', 'acme/bert', false],
    ['Acme/*', 'acme/x', false],
    ['', '', true],
  ])('%s on %s: %s', (pattern, text, expected) => {
    expect(matches(pattern, text)).toBe(expected)
  })

  it('takes no time to speak of on names made to cost some', () => {
    // With backtracking this would never end.
    expect(matches('*a'.repeat(60), `${'a'.repeat(1000)}b`)).toBe(false)
  })

  it('knows the true names of a reference', () => {
    const names = (reference: string): readonly string[] => namesOf({ name: 'm', reference })
    expect(names('oci://h:5000/a/b')).toEqual(['m', 'oci://h:5000/a/b'])
    expect(names('oci://h:5000/a/b:v1')).toEqual(['m', 'oci://h:5000/a/b', 'oci://h:5000/a/b:v1'])
    expect(names('oci://h:5000/a/b:v1@sha256:00')).toEqual([
      'm',
      'oci://h:5000/a/b',
      'oci://h:5000/a/b@sha256:00',
    ])
  })
})

describe('durations', () => {
  it.each([
    ['90s', 90],
    ['30m', 1800],
    ['12h', 43_200],
    ['7d', 604_800],
    ['2w', 1_209_600],
    ['0d', null],
    ['7', null],
    ['-7d', null],
    ['1.5h', null],
    ['9999999w', null],
    ['7D', null],
  ])('%s is %s', (text, seconds) => {
    expect(durationSeconds(text)).toBe(seconds)
    if (seconds !== null) expect(durationSeconds(formatDuration(seconds))).toBe(seconds)
  })
})

describe('modeOf', () => {
  it('takes the exact name, then the strictest pattern', () => {
    const policy = policyOf(`${SOURCE}modes:
  default: warn
  namespaces: {team-a: audit, 'team-*': enforce, '*-a': warn}
  exempt: [kube-system]
`)
    expect(modeOf(policy, 'kube-system')).toBe('exempt')
    expect(modeOf(policy, 'team-a')).toBe('audit')
    expect(modeOf(policy, 'team-b')).toBe('enforce')
    expect(modeOf(policy, 'x-a')).toBe('warn')
    expect(modeOf(policy, 'other')).toBe('warn')
    expect(modeOf(policyOf(), 'other')).toBe('enforce')
  })
})

describe('resolve', () => {
  it('puts in the files, and names the whole by one digest', () => {
    const whole = resolved()
    expect(whole.trust.get('release')).toEqual({ kind: 'key', publicKey: KEYS.release.pem })
    expect(whole.keys.get('release')).toBe(KEYS.release.spki)
    expect(whole.inputs.map(({ name }) => name)).toEqual([
      'policy',
      'policy:platform.pub.pem',
      'policy:registry.pub.pem',
      'policy:release.pub.pem',
      'policy:security.pub.pem',
    ])
    const swapped = new Map(FILES).set('registry.pub.pem', utf8Encode(KEYS.stranger.pem))
    expect(resolve(policyOf(), swapped).digest).not.toBe(whole.digest)
  })

  it('is the plain digest for a policy that names no file', () => {
    const source = SOURCE.replace(
      /\{file: (\w+)\.pub\.pem\}/g,
      (_, name: keyof typeof KEYS) => `{pem: ${JSON.stringify(KEYS[name].pem)}}`,
    )
    expect(resolve(policyOf(source), new Map()).digest).toBe(sha256Hex(utf8Encode(source)))
  })

  it('refuses files that are missing, broken, or the same key twice', () => {
    const put =
      (name: string, text: string): (() => unknown) =>
      () =>
        resolve(policyOf(), new Map(FILES).set(name, utf8Encode(text)))
    const broken = (path: string): unknown => expect.objectContaining({ code: 'POLICY_FILE', path })
    expect(() => resolve(policyOf(), new Map())).toThrow(broken('release.pub.pem'))
    expect(put('release.pub.pem', 'no key')).toThrow(broken('release.pub.pem'))
    expect(put('security.pub.pem', KEYS.release.pem)).toThrow(broken('security.pub.pem'))
    const rooted = policyOf(
      SOURCE.replace('    max-age: 5m', '    max-age: 5m\n    trust-root: {file: root.pem}'),
    )
    expect(() => resolve(rooted, FILES)).toThrow(broken('root.pem'))
    expect(() => resolve(rooted, new Map(FILES).set('root.pem', utf8Encode('x')))).toThrow(
      broken('root.pem'),
    )
  })
})

describe('expectationOf', () => {
  it('asks attestation for the measurements that are good now', () => {
    const { policy, trustRoots } = expectationOf(
      resolved(),
      'prod',
      [referenceStatement()],
      new Date(AT),
    )
    expect(policy.snp?.measurements?.map(bytesToHex)).toEqual([GOOD, STATED])
    expect(trustRoots).toBe(VENDOR_ROOTS)
    expect(() => expectationOf(resolved(), 'nowhere', [], new Date(AT))).toThrow(
      expect.objectContaining({ code: 'INTERNAL' }),
    )
  })

  it('asks for none where any is accepted, and for an empty list where nothing is stated', () => {
    const expected = (measurements: string): unknown => {
      const lines = SOURCE.split('\n').filter(
        (line) => !/measurements:|5e5e|reference-values/.test(line),
      )
      const source = lines
        .join('\n')
        .replace('    platform: sev-snp', `    platform: tdx\n    ${measurements}`)
      return expectationOf(resolved(source), 'prod', [], new Date(AT)).policy.tdx?.mrTd
    }
    expect(expected('any-measurement: true')).toBeUndefined()
    expect(expected('measurements: [{from: reference-values, signer: platform}]')).toEqual([])
  })
})
