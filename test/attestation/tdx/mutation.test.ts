// Altered, cut and lengthened quotes, collateral and lists; the clock moved over every edge; readers that throw nothing but their own error.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Endorsements } from '../../../attestation/endorsements.ts'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { AttestationError } from '../../../attestation/error.ts'
import { concatBytes, utf8Encode } from '../../../attestation/lib/bytes.ts'
import { parseCrl } from '../../../attestation/lib/crl.ts'
import { examinePck } from '../../../attestation/tdx/chain.ts'
import { examineCollateral } from '../../../attestation/tdx/statement.ts'
import { parsePckExtension, SGX_EXTENSION } from '../../../attestation/tdx/pck.ts'
import {
  decodeQeIdentity,
  decodeSgxPolicy,
  decodeTcbInfo,
  decodeTdxPolicy,
  parseQuote,
  TdxTrust,
} from '../../../attestation/tdx/index.ts'
import { simulateTdx } from '../../../src/simulate/index.ts'
import { haveShared } from '../../shared.ts'
import { failures, judge, RECORDED, simulated } from './samples.ts'
import type { Sample } from './samples.ts'

function flip(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}

const withQuote = (sample: Sample, raw: Uint8Array): Sample => ({
  ...sample,
  evidence: { ...sample.evidence, raw },
})

/** True if the quote is accepted; false if it is refused or can't be read. Anything else that is thrown is a fault. */
function accepts(sample: Sample, trust: TdxTrust): boolean {
  try {
    return judge(sample, { trust }).accepted
  } catch (error) {
    if (error instanceof AttestationError) return false
    throw error
  }
}

const SAMPLES: readonly (readonly [string, () => Sample])[] = [
  ['simulated v5', () => simulated(simulateTdx())],
  ...(haveShared
    ? ([
        ['v4-uptodate', RECORDED.v4UpToDate],
        ['v5-td15', RECORDED.v5Td15],
      ] as const)
    : []),
]

describe.each(SAMPLES)('%s', (_, make) => {
  const sample = make()
  const quote = parseQuote(sample.evidence.raw)
  const { bytes, certificationData } = quote
  const chainAt = certificationData.byteOffset - bytes.byteOffset

  it('is accepted whole', () => {
    expect(failures(judge(sample))).toEqual([])
  })

  it('with any one bit flipped before its certificates is refused', () => {
    const trust = new TdxTrust()
    for (let bit = 0; bit < chainAt * 8; bit++) {
      if (accepts(withQuote(sample, flip(bytes, bit)), trust))
        expect.fail(`bit ${bit} is not covered`)
    }
  })

  it('with a bit of its certificates flipped is refused', () => {
    const trust = new TdxTrust()
    for (let bit = chainAt * 8; bit < bytes.length * 8; bit += 29) {
      if (accepts(withQuote(sample, flip(bytes, bit)), trust))
        expect.fail(`bit ${bit} is not covered`)
    }
  })

  it('cut anywhere can’t be read', () => {
    for (let length = 0; length < bytes.length; length++)
      expect(() => parseQuote(bytes.subarray(0, length))).toThrow(AttestationError)
  })

  it('with bytes appended is refused, with zeros it is padded', () => {
    const trust = new TdxTrust()
    for (let count = 1; count <= 64; count++) {
      const last = new Uint8Array(count)
      expect(accepts(withQuote(sample, concatBytes(bytes, last)), trust)).toBe(true)
      last[count - 1] = 1
      const result = judge(withQuote(sample, concatBytes(bytes, last)), { trust })
      expect(failures(result)).toEqual(['tdx.quote:TRAILING_DATA'])
    }
    const most = concatBytes(bytes, new Uint8Array(16_384))
    expect(accepts(withQuote(sample, most), trust)).toBe(true)
    expect(accepts(withQuote(sample, concatBytes(most, new Uint8Array(1))), trust)).toBe(false)
  })
})

describe.each(SAMPLES)('collateral of %s', (_, make) => {
  const sample = make()
  const { endorsements } = sample
  const pck = examinePck(parseQuote(sample.evidence.raw).certificationData, [], sample.trustRoots)
  const examine = (change: Partial<Endorsements>) =>
    examineCollateral(
      { ...NO_ENDORSEMENTS, certificates: endorsements.certificates, ...change },
      pck,
      'tdx',
    )

  it.each(['tcbInfos', 'qeIdentities'] as const)('%s: no flipped bit is authentic', (kind) => {
    const [signed] = endorsements[kind]
    if (signed === undefined) throw new Error()
    expect(examine({ [kind]: [signed] })[kind][0]?.content).not.toBeNull()
    for (let bit = 0; bit < signed.raw.length * 8; bit += 5) {
      const altered = { ...signed, raw: flip(signed.raw, bit) }
      const [found] = examine({ [kind]: [altered] })[kind]
      if (found?.content != null || found?.problems.length === 0) expect.fail(`bit ${bit}`)
    }
    for (let bit = 0; bit < signed.signature.length * 8; bit++) {
      const altered = { ...signed, signature: flip(signed.signature, bit) }
      if (examine({ [kind]: [altered] })[kind][0]?.content != null)
        expect.fail(`signature bit ${bit}`)
    }
  })

  it('is not authentic if it was written anew with the same meaning', () => {
    const [signed] = endorsements.tcbInfos
    if (signed === undefined) throw new Error()
    const spaced = new TextDecoder().decode(signed.raw).replace('"version":3', '"version": 3')
    const again = { ...signed, raw: utf8Encode(spaced) }
    const [found] = examine({ tcbInfos: [again] }).tcbInfos
    expect(found?.problems.map(({ code }) => code)).toEqual(['COLLATERAL_SIGNATURE'])
  })

  it('no list with a flipped bit is sound', () => {
    for (const { der } of endorsements.crls) {
      for (let bit = 0; bit < der.length * 8; bit += 7) {
        let crls: Endorsements['crls']
        try {
          crls = [parseCrl(flip(der, bit))]
        } catch (error) {
          expect(error).toBeInstanceOf(AttestationError)
          continue
        }
        const { rootLists, pckLists } = examine({ crls })
        const sound = [...rootLists, ...pckLists].filter(({ problems }) => problems.length === 0)
        if (sound.length > 0) expect.fail(`bit ${bit}`)
      }
    }
  })

  it('a piece that is left out refuses, and names itself', () => {
    const without = (change: Partial<Endorsements>): string[] =>
      failures(judge({ ...sample, endorsements: { ...endorsements, ...change } }))
    expect(without({ tcbInfos: [] })).toEqual(['tdx.tcbInfo.signature:COLLATERAL_MISSING'])
    expect(without({ qeIdentities: [] })).toEqual(['tdx.qeIdentity.signature:COLLATERAL_MISSING'])
    expect(without({ certificates: [] })).toEqual([
      'tdx.tcbInfo.signature:CERT_MISSING',
      'tdx.qeIdentity.signature:CERT_MISSING',
    ])
    expect(without({ crls: endorsements.crls.slice(1) })).toEqual(['tdx.crl.root:CRL_MISSING'])
    expect(without({ crls: endorsements.crls.slice(0, 1) })).toEqual(['tdx.crl.pck:CRL_MISSING'])
  })
})

describe.each(SAMPLES)('the clock over %s', (_, make) => {
  const sample = make()
  const pck = examinePck(parseQuote(sample.evidence.raw).certificationData, [], sample.trustRoots)
  const found = examineCollateral(sample.endorsements, pck, 'tdx')
  const [tcbInfo] = found.tcbInfos
  const [identity] = found.qeIdentities
  const of = (cert: { notBefore: Date; notAfter: Date } | null | undefined) =>
    [cert?.notBefore ?? new Date(NaN), cert?.notAfter ?? new Date(NaN)] as const
  const stated = (content: { issueDate: Date; nextUpdate: Date } | null | undefined) =>
    [content?.issueDate ?? new Date(NaN), content?.nextUpdate ?? new Date(NaN)] as const
  const list = (crl: { thisUpdate: Date; nextUpdate: Date } | undefined) =>
    [crl?.thisUpdate ?? new Date(NaN), crl?.nextUpdate ?? new Date(NaN)] as const
  const windows: readonly (readonly [string, readonly [Date, Date]])[] = [
    ['tdx.validity.root', of(pck.root)],
    ['tdx.validity.ca', of(pck.intermediate)],
    ['tdx.validity.pck', of(pck.leaf)],
    ['tdx.tcbInfo.validity', of(tcbInfo?.signer)],
    ['tdx.tcbInfo.validity', stated(tcbInfo?.content)],
    ['tdx.qeIdentity.validity', of(identity?.signer)],
    ['tdx.qeIdentity.validity', stated(identity?.content)],
    ['tdx.crl.root', list(found.rootLists[0]?.crl)],
    ['tdx.crl.pck', list(found.pckLists[0]?.crl)],
  ]

  it('refuses outside of each window, exactly by its own check', () => {
    const trust = new TdxTrust()
    const edges = windows.flatMap(([, [from, until]]) => [
      from.getTime() - 1,
      from.getTime(),
      until.getTime(),
      until.getTime() + 1,
    ])
    for (const time of edges) {
      const at = new Date(time)
      const late = windows.filter(([, [from, until]]) => at < from || at > until)
      const wanted = new Set(late.map(([id]) => id))
      const seen = failures(judge({ ...sample, at }, { trust })).map((each) => each.split(':')[0])
      expect(new Set(seen)).toEqual(wanted)
    }
  })

  it('a moment that is none is refused', () => {
    expect(accepts({ ...sample, at: new Date(NaN) }, new TdxTrust())).toBe(false)
  })
})

describe('readers throw nothing but AttestationError', () => {
  const quiet = (run: () => unknown): void => {
    try {
      run()
    } catch (error) {
      if (!(error instanceof AttestationError)) throw error
    }
  }
  const machine = simulateTdx()
  const change = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 })
  const altered = (bytes: Uint8Array, changes: readonly (readonly [number, number])[]) => {
    const copy = Uint8Array.from(bytes)
    for (const [at, value] of changes) copy[at % copy.length] = value
    return copy
  }

  it('on quotes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2048 }), (bytes) => quiet(() => parseQuote(bytes))),
    )
    fc.assert(
      fc.property(change, fc.nat(), (changes, cut) => {
        const bytes = altered(machine.quote, changes)
        quiet(() =>
          parseQuote(bytes.subarray(0, cut % 4 === 0 ? cut % bytes.length : bytes.length)),
        )
      }),
      { numRuns: 2000 },
    )
  })

  it('on quotes, all the way to a result', () => {
    const sample = simulated(machine)
    const trust = new TdxTrust()
    fc.assert(
      fc.property(change, (changes) => {
        accepts(withQuote(sample, altered(machine.quote, changes)), trust)
      }),
      { numRuns: 300 },
    )
    expect(trust.size).toBeLessThanOrEqual(256)
  })

  it('on the PCK extension', () => {
    const { leaf } = examinePck(parseQuote(machine.quote).certificationData, [], [])
    const value = leaf?.extensions.get(SGX_EXTENSION)?.value
    if (value === undefined) throw new Error()
    fc.assert(
      fc.property(change, fc.constantFrom('platform', 'processor'), (changes, issuer) =>
        quiet(() => parsePckExtension(altered(value, changes), issuer)),
      ),
      { numRuns: 2000 },
    )
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => quiet(() => parsePckExtension(bytes, 'platform'))),
    )
  })

  it('on collateral', () => {
    fc.assert(
      fc.property(change, (changes) => {
        quiet(() => decodeTcbInfo(altered(utf8Encode(machine.tcbInfo.text), changes)))
        quiet(() => decodeQeIdentity(altered(utf8Encode(machine.qeIdentity.text), changes)))
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(fc.json(), (text) => {
        quiet(() => decodeTcbInfo(utf8Encode(text)))
        quiet(() => decodeQeIdentity(utf8Encode(text)))
      }),
    )
  })

  it('on policies', () => {
    const keys = fc.constantFrom('xfam', 'mrTd', 'tcbStatuses', 'tdAttributes', 'flags', 'other')
    const value = fc.dictionary(keys, fc.anything())
    fc.assert(
      fc.property(fc.oneof(fc.anything(), value), (given) => {
        quiet(() => decodeTdxPolicy(given))
        quiet(() => decodeSgxPolicy(given))
      }),
    )
  })
})
