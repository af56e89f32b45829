// One test for each known mistake of other verifiers that concerns TDX and SGX. The titles name who made it.
import { describe, expect, it } from 'vitest'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import { readEndorsements } from '../../../attestation/evidence/collect.ts'
import { AttestationError } from '../../../attestation/error.ts'
import { concatBytes, utf8Encode } from '../../../attestation/lib/bytes.ts'
import { MAX_QUOTE_BYTES } from '../../../attestation/tdx/quote.ts'
import { decodeTcbInfo, parseQuote } from '../../../attestation/tdx/index.ts'
import type { TdxPolicy } from '../../../attestation/tdx/index.ts'
import { simulateTdx, TDX_NEGATIVES } from '../../../src/simulate/index.ts'
import type { TdxRequest } from '../../../src/simulate/index.ts'
import { haveShared } from '../../shared.ts'
import { checkOf, failures, judge, RECORDED, simulated } from './samples.ts'

/** Failing checks of a simulated machine that differs from a sound one by `request`. */
const failing = (request: TdxRequest, tdx: Partial<TdxPolicy> = {}): string[] =>
  failures(judge(simulated(simulateTdx(request)), { tdx }))

/** Codes of a validly signed negative of the simulated hardware. */
function codesOf(name: string): string[] {
  const negative = TDX_NEGATIVES.find((each) => each.name === name)
  if (negative === undefined) throw new Error(`no negative ${name}`)
  const { evidence, trustedRoot } = negative.record()
  try {
    return failures(judge(simulated(evidence, trustedRoot))).map((each) => each.split(':')[1] ?? '')
  } catch (error) {
    if (error instanceof AttestationError) return [error.code]
    throw error
  }
}

const svn = (...values: readonly number[]): Uint8Array =>
  Uint8Array.from({ length: 16 }, (_, index) => values[index] ?? 0)
const on = (teeTcbSvn: Uint8Array): TdxRequest => ({ td: { teeTcbSvn, teeTcbSvn2: teeTcbSvn } })

describe('go-tdx-guest 91f9a52', () => {
  it('returns the module’s status only: an OutOfDate platform under an UpToDate module is refused', () => {
    expect(codesOf('pck-component-0-out-of-date')).toContain('TCB_STATUS')
    expect(codesOf('platform-OutOfDate')).toContain('TCB_STATUS')
  })

  it('knows the Platform CA only: a PCK certificate of the Processor CA is accepted', () => {
    expect(failing({ ca: 'processor' })).toEqual([])
  })

  it('compares MRSIGNERSEAM with tdxModule only: the identity of the module’s version decides', () => {
    const mrSignerSeam = new Uint8Array(48).fill(0xab)
    const named = (mrsigner: string): TdxRequest => ({
      td: { mrSignerSeam },
      tcbInfo: (info) => ({
        ...info,
        tdxModuleIdentities: info.tdxModuleIdentities?.map((each) => ({ ...each, mrsigner })),
      }),
    })
    expect(failing(named('AB'.repeat(48)))).toEqual([])
    expect(failing(named('AC'.repeat(48)))).toEqual(['tdx.module:MODULE_MISMATCH'])
    expect(failing({ td: { mrSignerSeam } })).toEqual(['tdx.module:MODULE_MISMATCH'])
  })

  it('compares the ids of modules in lower case: an id is two hex digits, in either case', () => {
    const withId = (id: string): TdxRequest => ({
      ...on(svn(5, 0x0a, 6)),
      tcbInfo: (info) => ({
        ...info,
        tdxModuleIdentities: info.tdxModuleIdentities?.slice(0, 1).map((each) => ({ ...each, id })),
      }),
    })
    expect(failing(withId('TDX_0A'))).toEqual([])
    expect(failing(withId('TDX_0a'))).toEqual([])
    expect(failing(withId('TDX_0B'))).toContain('tdx.module:MODULE_MISMATCH')
    expect(failing(withId('tdx_0a'))).toContain('tdx.tcbInfo.signature:FORMAT_INVALID')
  })

  it('makes collateral, revocation and debug checks optional: none of them can be left out', () => {
    const bare = { ...simulated(simulateTdx()), endorsements: NO_ENDORSEMENTS }
    expect(failures(judge(bare))).toEqual([
      'tdx.crl.root:CRL_MISSING',
      'tdx.crl.pck:CRL_MISSING',
      'tdx.tcbInfo.signature:COLLATERAL_MISSING',
      'tdx.qeIdentity.signature:COLLATERAL_MISSING',
    ])
    expect(codesOf('debug')).toContain('DEBUG')
    expect(codesOf('revoked-pck')).toContain('REVOKED')
  })

  it('has no TEE_TCB_SVN_2: a module that was updated under a running TD advises a relaunch', () => {
    const relaunched = judge(
      simulated(simulateTdx({ td: { teeTcbSvn: svn(4, 1, 6), teeTcbSvn2: svn(5, 1, 6) } })),
    )
    expect(relaunched.claims?.tcb).toBe('TDRelaunchAdvised')
    expect(failures(relaunched)).toContain('tdx.tcb.status:TCB_STATUS')
  })

  it('#37, #38: demands equal SVNs: higher ones are accepted', () => {
    expect(failing({ ...on(svn(9, 1, 9)), pck: { pceSvn: 200 }, qe: { isvSvn: 200 } })).toEqual([])
  })
})

describe('dcap-qvl 9bffe30 (Rust)', () => {
  it('compares TDX components from index 0: the module’s own SVN decides where it has a version', () => {
    const low = (isvsvn: number): TdxRequest => ({
      ...on(svn(3, 1, 6)),
      tcbInfo: (info) => ({
        ...info,
        tdxModuleIdentities: info.tdxModuleIdentities?.map((each) => ({
          ...each,
          tcbLevels: [{ tcb: { isvsvn }, tcbDate: '2026-01-01T00:00:00Z', tcbStatus: 'UpToDate' }],
        })),
      }),
    })
    expect(failing(low(3))).toEqual([])
    expect(failing(low(4))).toEqual(['tdx.tcb.status:TCB_NOT_SUPPORTED'])
    expect(failing(on(svn(3, 0, 6)))).toEqual(['tdx.tcb.status:TCB_NOT_SUPPORTED'])
  })

  it.skipIf(!haveShared)('the same on a genuine quote: v5-td15 is UpToDate', () => {
    expect(judge(RECORDED.v5Td15()).claims?.tcb).toBe('UpToDate')
  })

  it('merges statuses by severity: ConfigurationNeeded and OutOfDate are OutOfDateConfigurationNeeded', () => {
    const result = judge(
      simulated(
        simulateTdx({
          qe: { isvSvn: 7 },
          tcbInfo: (info) => ({
            ...info,
            tcbLevels: info.tcbLevels.map((level) => ({
              ...level,
              tcbStatus: 'ConfigurationNeeded',
            })),
          }),
        }),
      ),
    )
    expect(result.claims?.tcb).toBe('OutOfDateConfigurationNeeded')
  })

  it('does not check names and roles: nobody but the TCB signer signs collateral', () => {
    expect(codesOf('pck-ca-as-tcb-signer')).toContain('CERT_ROLE')
    expect(codesOf('pck-as-tcb-signer')).toContain('CERT_MISSING')
    expect(codesOf('tcb-signer-as-pck')).toContain('CERT_ROLE')
    expect(codesOf('tcb-signer-under-platform-ca')).toContain('CHAIN_INVALID')
  })
})

describe('@phala/dcap-qvl (JavaScript)', () => {
  it('and issue #124: does not verify the identity of the TDX module', () => {
    for (const name of ['module-identity-missing', 'module-identity-mismatch', 'seam-signer'])
      expect(codesOf(name)).toContain('MODULE_MISMATCH')
  })

  it('never checks signature, issuer and dates of revocation lists', () => {
    expect(codesOf('root-crl-signed-by-ca')).toContain('CRL_INVALID')
    expect(codesOf('pck-crl-signed-by-root')).toContain('CRL_INVALID')
    expect(codesOf('pck-crl-of-the-other-ca')).toContain('CRL_MISSING')
    expect(codesOf('pck-crl-expired')).toContain('CRL_EXPIRED')
    expect(codesOf('root-crl-not-yet-valid')).toContain('CRL_EXPIRED')
  })

  it('ignores a list that can’t be parsed: it is an error', () => {
    const { collateral } = simulateTdx()
    const broken = { ...collateral, pck_crl: collateral.pck_crl.slice(0, -2) }
    const files = [{ name: 'collateral', bytes: utf8Encode(JSON.stringify(broken)) }]
    expect(() => readEndorsements(files)).toThrow(AttestationError)
  })

  it('does not check the CA flag', () => {
    expect(codesOf('pck-ca-not-a-ca')).toContain('CERT_ROLE')
    expect(codesOf('ca-as-pck')).toContain('CERT_ROLE')
  })

  it('and issue #127: does not check the vendor of the quoting enclave', () => {
    expect(codesOf('qe-vendor')).toContain('QE_VENDOR')
  })

  it('trusts the order of TCB levels: reversed levels give the same status', () => {
    const reversed: TdxRequest = {
      tcbInfo: (info) => ({ ...info, tcbLevels: [...info.tcbLevels].reverse() }),
      qeIdentity: (identity) => ({ ...identity, tcbLevels: [...identity.tcbLevels].reverse() }),
    }
    expect(failing(reversed)).toEqual([])
    expect(codesOf('tcb-level-twice')).toContain('FORMAT_INVALID')
  })

  it('CVE-2026-22696: did not verify the identity of the quoting enclave', () => {
    expect(codesOf('qe-mrsigner')).toContain('QE_IDENTITY_MRSIGNER')
    expect(codesOf('qe-isvprodid')).toContain('QE_IDENTITY_ISVPRODID')
    expect(codesOf('qe-identity-for-sgx')).toContain('COLLATERAL_MISMATCH')
  })
})

describe('@teekit/qvl 0.0.5', () => {
  it('does not verify the signatures of TCB info and QE identity', () => {
    expect(codesOf('collateral-signed-by-a-stranger')).toContain('COLLATERAL_SIGNATURE')
    const sample = simulated(simulateTdx())
    const [signed] = sample.endorsements.tcbInfos
    if (signed === undefined) throw new Error()
    const text = new TextDecoder().decode(signed.raw).replace('"OutOfDate"', '"UpToDate" ')
    const tcbInfos = [{ ...signed, raw: utf8Encode(text) }]
    const altered = { ...sample, endorsements: { ...sample.endorsements, tcbInfos } }
    expect(failures(judge(altered))).toEqual(['tdx.tcbInfo.signature:COLLATERAL_SIGNATURE'])
  })

  it('ignores the PCK components of a TD’s platform', () => {
    for (let index = 0; index < 16; index++) {
      expect(codesOf(`pck-component-${index}-out-of-date`)).toContain('TCB_STATUS')
      expect(codesOf(`pck-component-${index}-unsupported`)).toContain('TCB_NOT_SUPPORTED')
    }
  })

  it('demands an ISVSVN that equals a level: one between two levels has the lower one', () => {
    const between: TdxRequest = {
      qe: { isvSvn: 7 },
      qeIdentity: (identity) => ({
        ...identity,
        tcbLevels: [8, 6].map((isvsvn, index) => ({
          tcb: { isvsvn },
          tcbDate: '2026-01-01T00:00:00Z',
          tcbStatus: index === 0 ? 'UpToDate' : 'OutOfDate',
        })),
      }),
    }
    expect(judge(simulated(simulateTdx(between))).claims?.tcb).toBe('OutOfDate')
  })

  it('guesses the order of the chain: leaf, CA and root in this order and nothing else', () => {
    expect(codesOf('chain-reversed')).toContain('CERT_ROLE')
    for (const name of ['chain-of-one', 'chain-of-two', 'chain-without-ca'])
      expect(codesOf(name)).toContain('CHAIN_INVALID')
  })
})

describe('Intel QVL d12717e', () => {
  it('leaves attributes and debug to the relying party', () => {
    expect(codesOf('debug')).toContain('DEBUG')
    expect(codesOf('qe-debug')).toContain('QE_DEBUG')
    for (const name of [
      'sept-ve-enabled',
      'migratable',
      'perfmon',
      'tud-bit-1',
      'attributes-reserved-8',
    ])
      expect(codesOf(name)).toContain('ATTRIBUTES')
    for (const name of ['xfam-fixed-bit-clear', 'xfam-reserved-bit'])
      expect(codesOf(name)).toContain('XFAM')
  })

  it('lets the enclave identity be omitted', () => {
    const sample = simulated(simulateTdx())
    const endorsements = { ...sample.endorsements, qeIdentities: [] }
    expect(failures(judge({ ...sample, endorsements }))).toEqual([
      'tdx.qeIdentity.signature:COLLATERAL_MISSING',
    ])
  })

  it('compares the first 32 bytes of the QE’s report data only', () => {
    expect(codesOf('qe-binding-tail')).toContain('QE_BINDING')
  })

  it('and openenclave #5067: reports expired collateral as a warning, or not at all', () => {
    for (const name of ['tcb-info-expired', 'qe-identity-expired'])
      expect(codesOf(name)).toContain('COLLATERAL_EXPIRED')
    for (const name of ['tcb-info-future', 'qe-identity-future'])
      expect(codesOf(name)).toContain('COLLATERAL_NOT_YET_VALID')
  })

  it('ignores component statuses other than OutOfDate and Revoked: the worse holds', () => {
    for (const status of ['SWHardeningNeeded', 'ConfigurationNeeded']) {
      expect(codesOf(`qe-${status}`)).toContain('TCB_STATUS')
      expect(codesOf(`module-${status}`)).toContain('TCB_STATUS')
    }
  })

  it('allows trailing bytes', () => {
    expect(codesOf('trailing-data')).toContain('TRAILING_DATA')
  })
})

describe('reported by others', () => {
  it('automata-dcap PR #132: TCB_REVOKED returned success', () => {
    for (const name of ['platform-Revoked', 'module-Revoked', 'qe-Revoked', 'sgx-revoked-status'])
      expect(codesOf(name)).toContain('TCB_STATUS')
    // not even a policy can accept it
    const { evidence } = simulateRevoked()
    const tcbStatuses = ['Revoked'] as const
    expect(failures(judge(evidence, { tdx: { tcbStatuses } }))).toContain(
      'tdx.tcb.status:TCB_STATUS',
    )
  })

  it('automata-dcap PR #132: rejected quotes of the Processor CA', () => {
    expect(failing({ ca: 'processor', kind: 'td10' })).toEqual([])
    expect(codesOf('revoked-pck-processor')).toContain('REVOKED')
  })

  it('attestation-go #23: revocation is on by default', () => {
    for (const name of ['revoked-pck', 'revoked-pck-ca', 'revoked-tcb-signer'])
      expect(codesOf(name)).toContain('REVOKED')
  })

  it('confidential-ml-transport #14: checked a quote against the key inside it', () => {
    expect(codesOf('forged-root')).toContain('ROOT_UNTRUSTED')
    expect(codesOf('pck-of-another-key')).toContain('SIGNATURE_INVALID')
    expect(codesOf('qe-binding')).toContain('QE_BINDING')
  })

  it('dstack #566, #567: allocated whatever the evidence asked for', () => {
    expect(() => parseQuote(new Uint8Array(MAX_QUOTE_BYTES + 1))).toThrow(
      expect.objectContaining({ code: 'TOO_LARGE' }),
    )
    const { quote } = simulateTdx({ kind: 'td10' })
    const huge = Uint8Array.from(quote)
    huge.set([0xff, 0xff, 0xff, 0xff], 48 + 584)
    expect(() => parseQuote(huge)).toThrow(expect.objectContaining({ code: 'TRUNCATED' }))
  })

  it('dstack #559: took a zero MRCONFIGID for one that is not set', () => {
    const wanted = [new Uint8Array(48).fill(1)]
    expect(failing({}, { mrConfigId: wanted })).toEqual(['tdx.mrconfigid:CONFIG_ID'])
    const zeros = [new Uint8Array(48)]
    expect(failing({}, { mrConfigId: zeros })).toEqual([])
    expect(
      failing({ td: { mrConfigId: new Uint8Array(48).fill(1) } }, { mrConfigId: zeros }),
    ).toEqual(['tdx.mrconfigid:CONFIG_ID'])
  })

  it('evidence factory (FOSDEM 2023): what a TD was launched with can be pinned, not only its report data', () => {
    const value = [new Uint8Array(48).fill(7)]
    expect(
      failing({}, { mrConfigId: value, mrOwner: value, mrOwnerConfig: value, mrServiceTd: value }),
    ).toEqual([
      'tdx.mrconfigid:CONFIG_ID',
      'tdx.mrowner:OWNER',
      'tdx.mrownerconfig:OWNER',
      'tdx.mrservicetd:SERVICE_TD',
    ])
  })
})

function simulateRevoked() {
  const negative = TDX_NEGATIVES.find(({ name }) => name === 'platform-Revoked')
  if (negative === undefined) throw new Error()
  return { evidence: simulated(negative.record().evidence) }
}

describe('platform attacks', () => {
  it('TEE.fail, Battering RAM, WireTap: keys of known platforms only (PPID allow-list)', () => {
    const { platform } = simulateTdx()
    expect(failing({}, { ppids: [platform.ppid] })).toEqual([])
    expect(failing({}, { ppids: [new Uint8Array(16)] })).toEqual(['tdx.ppid:PPID'])
    expect(failing({}, { fmspcs: [new Uint8Array(6)] })).toEqual(['tdx.fmspc:FMSPC'])
    const listed = judge(simulated(simulateTdx()), { tdx: { ppids: [platform.ppid] } })
    expect(listed.vector['instance-identity']).toBe(2)
  })

  it.skipIf(!haveShared)(
    'evaluation-number rollback: each of the two numbers has a minimum',
    () => {
      const minimum = (tcbInfo: number, qeIdentity: number) =>
        failures(
          judge(RECORDED.v4UpToDate(), {
            tdx: { minimumEvaluationNumbers: { tcbInfo, qeIdentity } },
          }),
        )
      expect(minimum(17, 17)).toEqual([])
      expect(minimum(18, 17)).toEqual(['tdx.tcbInfo.number:EVAL_NUMBER_LOW'])
      expect(minimum(17, 18)).toEqual(['tdx.qeIdentity.number:EVAL_NUMBER_LOW'])
    },
  )

  it('debug and migratable TDs are refused, and no policy can accept debugging', () => {
    expect(codesOf('debug')).toContain('DEBUG')
    expect(codesOf('migratable')).toContain('ATTRIBUTES')
  })

  it('a flawed TDX module can be excluded by its measurement and by TEE_TCB_SVN', () => {
    const { td } = simulateTdx()
    expect(failing({}, { mrSeam: [td.mrSeam], minimumTeeTcbSvn: td.teeTcbSvn })).toEqual([])
    expect(failing({}, { mrSeam: [new Uint8Array(48)] })).toEqual(['tdx.mrseam:MRSEAM'])
    expect(failing({}, { minimumTeeTcbSvn: svn(6, 1, 6) })).toEqual([
      'tdx.tee-tcb-svn:TCB_BELOW_MINIMUM',
    ])
  })

  it('old evidence replayed: report data, nonce and model binding', () => {
    const sample = simulated(
      simulateTdx({
        td: { reportData: concatBytes(new Uint8Array(32).fill(5), new Uint8Array(32)) },
      }),
    )
    const nonce = new Uint8Array(32).fill(5)
    expect(checkOf(judge(sample, { nonce }), 'tdx.nonce').status).toBe('pass')
    expect(failures(judge(sample, { nonce: new Uint8Array(32).fill(6) }))).toEqual([
      'tdx.nonce:NONCE',
    ])
    const binding = { nonce, modelDigest: new Uint8Array(32).fill(1) }
    expect(failures(judge(sample, { binding }))).toEqual(['tdx.model-binding:MODEL_BINDING'])
    expect(failures(judge(sample, { tdx: { reportData: new Uint8Array(64) } }))).toEqual([
      'tdx.report-data:REPORT_DATA',
    ])
  })
})

describe('parser attacks', () => {
  const { tcbInfo } = simulateTdx()

  it('duplicate JSON keys, of which JSON.parse keeps the last', () => {
    const twice = tcbInfo.text.replace('"version":3', '"version":3,"version":3')
    expect(() => decodeTcbInfo(utf8Encode(twice))).toThrow(AttestationError)
  })

  it('dates that roll over, such as 31 February', () => {
    const rolled = tcbInfo.text.replace(/"issueDate":"[^"]+"/, '"issueDate":"2026-02-31T00:00:00Z"')
    expect(() => decodeTcbInfo(utf8Encode(rolled))).toThrow(AttestationError)
  })

  it('members that are not known', () => {
    const more = tcbInfo.text.replace('"version":3', '"version":3,"exempt":true')
    expect(() => decodeTcbInfo(utf8Encode(more))).toThrow(AttestationError)
  })

  it('unknown body types, among them TD 1.5Ex, and versions', () => {
    const { quote } = simulateTdx()
    for (const type of [0, 4, 5, 0xffff]) {
      const other = Uint8Array.from(quote)
      other.set([type & 0xff, type >> 8], 48)
      expect(() => parseQuote(other)).toThrow(
        expect.objectContaining({ code: 'UNSUPPORTED_VERSION' }),
      )
    }
    for (const name of ['quote-version-2', 'quote-version-6'])
      expect(codesOf(name)).toEqual(['UNSUPPORTED_VERSION'])
  })
})
