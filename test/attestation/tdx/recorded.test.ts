// Every recorded TDX and SGX sample gives the verdict that INDEX.md states.
import { describe, expect, it } from 'vitest'
import { bytesToHex } from '../../../attestation/lib/bytes.ts'
import {
  decodeQeIdentity,
  decodeTcbInfo,
  evaluateTcb,
  parseQuote,
} from '../../../attestation/tdx/index.ts'
import { examinePck } from '../../../attestation/tdx/chain.ts'
import { haveShared } from '../../shared.ts'
import { checkOf, failures, judge, RECORDED, testPkiRoot } from './samples.ts'

describe.skipIf(!haveShared)('recorded TDX', () => {
  it('v4-uptodate passes', () => {
    const result = judge(RECORDED.v4UpToDate())
    expect(failures(result)).toEqual([])
    expect(result).toMatchObject({
      accepted: true,
      platform: 'tdx',
      simulated: false,
      historical: true,
      root: { name: 'Intel SGX Root CA' },
      claims: { product: 'b0c06f000000', tcb: 'UpToDate', debug: false },
    })
    expect(checkOf(result, 'tdx.quote').message).toContain('70 bytes of zero padding')
    expect(result.vector.hardware).toBe(2)
    expect(result.vector.executables).toBe(0)
  })

  it('v4-uptodate-eval20 passes, with two different evaluation numbers', () => {
    const result = judge(RECORDED.v4Eval20())
    expect(failures(result)).toEqual([])
    const field = (name: string): string | undefined =>
      result.claims?.fields.find((each) => each.name === name)?.value
    expect([field('TCB info number'), field('QE identity number')]).toEqual(['20', '19'])
    const strict = judge(RECORDED.v4Eval20(), {
      tdx: { minimumEvaluationNumbers: { tcbInfo: 20, qeIdentity: 20 } },
    })
    expect(failures(strict)).toEqual(['tdx.qeIdentity.number:EVAL_NUMBER_LOW'])
  })

  it('the quote of v4-uptodate is OutOfDate under the collateral of eval20', () => {
    const result = judge(RECORDED.v4CrossPair())
    expect(failures(result)).toEqual([
      'tdx.tcb.status:TCB_STATUS',
      'tdx.tcb.advisories:TCB_ADVISORY',
    ])
    expect(result.claims?.tcb).toBe('OutOfDate')
    expect(result.vector.hardware).toBe(96)
  })

  it('v5-no-tcb-level: no TCB level matches', () => {
    const result = judge(RECORDED.v5NoTcbLevel())
    expect(failures(result)).toEqual(['tdx.tcb.status:TCB_NOT_SUPPORTED'])
    expect(result.claims?.tcb).toBe('not supported')
  })

  it('v5-td15 passes: both module TCBs are UpToDate', () => {
    const result = judge(RECORDED.v5Td15())
    expect(failures(result)).toEqual([])
    expect(result.claims?.tcb).toBe('UpToDate')
    const now = result.claims?.fields.find(({ name }) => name === 'TCB of the module that runs now')
    expect(now?.value).toBe('UpToDate')
  })

  it('v4-trailing-data fails: trailing data, SEPT_VE_DISABLE, and no TCB level', () => {
    const sample = RECORDED.v4TrailingData()
    expect(failures(judge(sample))).toEqual([
      'tdx.quote:TRAILING_DATA',
      // the signer of 2023 was not recorded, so the collateral proves nothing
      'tdx.tcbInfo.signature:CERT_MISSING',
      'tdx.qeIdentity.signature:CERT_MISSING',
      'tdx.attributes:ATTRIBUTES',
    ])
    const quote = parseQuote(sample.evidence.raw)
    expect(quote.trailing).toBe(39)
    const { facts } = examinePck(quote.certificationData, [], sample.trustRoots)
    const [tcbInfo] = sample.endorsements.tcbInfos
    const [qeIdentity] = sample.endorsements.qeIdentities
    if (facts === null || !tcbInfo || !qeIdentity || quote.body.type === 'sgx') throw new Error()
    const { status, problems } = evaluateTcb({
      tcbInfo: decodeTcbInfo(tcbInfo.raw),
      qeIdentity: decodeQeIdentity(qeIdentity.raw),
      pck: facts,
      qeIsvSvn: quote.qeReport.isvSvn,
      teeTcbSvn: quote.body.report.teeTcbSvn,
      teeTcbSvn2: null,
    })
    expect(status).toBeNull()
    expect(problems.map(({ code }) => code)).toEqual(['TCB_NOT_SUPPORTED'])
  })

  it('v4-ccel: the chain and the signatures hold, the collateral is missing', () => {
    const result = judge(RECORDED.v4Ccel())
    expect(failures(result)).toEqual([
      'tdx.crl.root:CRL_MISSING',
      'tdx.crl.pck:CRL_MISSING',
      'tdx.tcbInfo.signature:COLLATERAL_MISSING',
      'tdx.qeIdentity.signature:COLLATERAL_MISSING',
    ])
    expect(checkOf(result, 'tdx.quote').message).toContain('3065 bytes of zero padding')
    expect(result.claims?.tcb).toBe('unknown (no collateral)')
    // the PCK certificate was issued on 2024-07-02
    const before = judge({ ...RECORDED.v4Ccel(), at: new Date('2024-06-01') })
    expect(failures(before)).toContain('tdx.validity.pck:CERT_NOT_YET_VALID')
  })

  it('v4-debug fails: DEBUG and OutOfDate', () => {
    const result = judge(RECORDED.v4Debug())
    expect(failures(result)).toEqual([
      'tdx.tcb.status:TCB_STATUS',
      'tdx.tcb.advisories:TCB_ADVISORY',
      'tdx.debug:DEBUG',
      'tdx.attributes:ATTRIBUTES',
    ])
    expect(result.claims).toMatchObject({ debug: true, tcb: 'OutOfDate' })
    expect(result.vector).toMatchObject({ configuration: 96, 'runtime-opaque': 96, hardware: 96 })
  })

  it('intel-test-pki: authentic only under its own root, named by the user', () => {
    const sample = RECORDED.intelTestPki()
    const production = judge(sample)
    expect(production.claims).toBeNull()
    expect(failures(production)).toContain('tdx.root:ROOT_UNTRUSTED')
    expect(new Set(Object.values(production.vector))).toEqual(new Set([99]))

    const named = judge({ ...sample, trustRoots: testPkiRoot() })
    expect(named.root?.name).toBe('Intel SGX Root CA')
    // Signatures, chains, dates and revocation hold. The content is filler: TDX module version 193 has no identity, levels ask for SVNs
    // beyond a byte, the identity names another MRSIGNER, and TDATTRIBUTES and XFAM are zero. So no strict policy can accept it.
    expect(failures(named)).toEqual([
      'tdx.module:MODULE_MISMATCH',
      'tdx.qe.identity:QE_IDENTITY_MRSIGNER',
      'tdx.tcb.status:TCB_NOT_SUPPORTED',
      'tdx.attributes:ATTRIBUTES',
      'tdx.xfam-fixed:XFAM',
    ])
    expect(named.claims?.instanceId).toMatch(/^[0-9a-f]{32}$/)
  })

  it('a quote is known by the digest of its own bytes, whatever padding follows', () => {
    const { raw } = RECORDED.v4UpToDate().evidence
    const bare = parseQuote(raw.subarray(0, raw.length - 70))
    expect(parseQuote(raw)).toMatchObject({ padding: 70, trailing: 0, sha256: bare.sha256 })
    expect(bytesToHex(bare.qeVendorId)).toBe('939a7233f79c4ca9940a0db3957f0607')
  })
})

describe.skipIf(!haveShared)('recorded SGX', () => {
  it('v3-config-and-swhardening: authentic, and needs configuration and hardening', () => {
    const result = judge(RECORDED.sgxV3())
    expect(failures(result)).toEqual([
      'sgx.tcb.status:TCB_STATUS',
      'sgx.tcb.advisories:TCB_ADVISORY',
    ])
    expect(result.claims).toMatchObject({
      platform: 'sgx',
      tcb: 'ConfigurationAndSWHardeningNeeded',
    })
    expect(checkOf(result, 'sgx.tcb.advisories').actual).toBe('INTEL-SA-00289, INTEL-SA-00615')
  })

  it('is accepted with the status and a live exception for each advisory, and not a day longer', () => {
    const sample = RECORDED.sgxV3()
    const exception = (advisory: string) => ({
      advisory,
      owner: 'platform team',
      reason: 'replacement ordered',
      expires: new Date('2025-07-31'),
    })
    const sgx = {
      tcbStatuses: ['UpToDate', 'ConfigurationAndSWHardeningNeeded'] as const,
      advisoryExceptions: ['INTEL-SA-00289', 'INTEL-SA-00615'].map(exception),
    }
    const accepted = judge(sample, { sgx })
    expect(accepted.accepted).toBe(true)
    expect(checkOf(accepted, 'sgx.tcb.status')).toMatchObject({ status: 'warn', code: 'WAIVED' })
    expect(checkOf(accepted, 'sgx.tcb.advisories')).toMatchObject({ status: 'warn' })
    expect(accepted.vector.hardware).toBe(32)

    const [first] = sgx.advisoryExceptions
    const one = judge(sample, { sgx: { ...sgx, advisoryExceptions: first ? [first] : [] } })
    expect(failures(one)).toEqual(['sgx.tcb.advisories:TCB_ADVISORY'])
    const expired = sgx.advisoryExceptions.map((each) => ({
      ...each,
      expires: new Date('2025-06-30'),
    }))
    expect(failures(judge(sample, { sgx: { ...sgx, advisoryExceptions: expired } }))).toEqual([
      'sgx.tcb.advisories:TCB_ADVISORY',
    ])
  })
})
