import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Evidence, NamedBytes } from '../../../attestation/index.ts'
import {
  AttestationError,
  mergeEndorsements,
  NO_ENDORSEMENTS,
  readEndorsements,
  readEvidence,
  readEvidenceFile,
  readIssuerChain,
  writeEvidenceFile,
} from '../../../attestation/index.ts'
import { TABLE_GUID } from '../../../attestation/evidence/table.ts'
import {
  bytesToBase64,
  bytesToHex,
  parseCertificates,
  utf8Encode,
} from '../../../attestation/lib/index.ts'
import { haveShared, REPOSITORY, shared } from '../../shared.ts'

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(shared(`recorded/${path}`)))
const named = (...paths: string[]): NamedBytes[] =>
  paths.map((name) => ({ name, bytes: read(name) }))
const coded = (code: string): Error =>
  expect.objectContaining({ name: 'AttestationError', code }) as Error
const code = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof AttestationError) return error.code
    throw error
  }
  return 'OK'
}

/** A report that only has the right shape, where no genuine one is needed. */
const report = new Uint8Array(1184).fill(1)
report.set([3, 0, 0, 0])

interface TableEntry {
  readonly guid: string
  readonly offset: number
  readonly length: number
}
function table(
  entries: readonly TableEntry[],
  size: number,
  blobs: readonly (readonly [number, Uint8Array])[] = [],
): Uint8Array {
  const bytes = Buffer.alloc(size)
  for (const [index, { guid, offset, length }] of entries.entries()) {
    bytes.write(guid, index * 24, 'hex')
    bytes.writeUInt32LE(offset, index * 24 + 16)
    bytes.writeUInt32LE(length, index * 24 + 20)
  }
  for (const [at, blob] of blobs) bytes.set(blob, at)
  return new Uint8Array(bytes)
}
const extended = (rest: Uint8Array): Uint8Array => new Uint8Array(Buffer.concat([report, rest]))

describe('readEvidence', () => {
  it.runIf(haveShared).each([
    ['snp/milan-v3/report.bin', 'sev-snp', 'SNP report'],
    ['snp/genoa-19a0-v5/report.bin', 'sev-snp', 'SNP report'],
    ['snp/milan-v2-old-tcb/report.hex', 'sev-snp', 'SNP report, as hex'],
    ['snp/malformed/snp_report_msg_resp.bin', 'sev-snp', 'SNP ioctl response'],
    ['tdx/v4-uptodate/quote.bin', 'tdx', 'TDX quote v4'],
    ['tdx/v4-uptodate-eval20/quote.json', 'tdx', 'TDX quote v4, as JSON byte array'],
    ['tdx/v4-ccel/quote.bin', 'tdx', 'TDX quote v4'],
    ['tdx/v4-trailing-data/quote.bin', 'tdx', 'TDX quote v4'],
    ['tdx/v5-td15/quote.bin', 'tdx', 'TDX quote v5'],
    ['tdx/intel-test-pki/quote.dat', 'tdx', 'TDX quote v4'],
    ['sgx/v3-config-and-swhardening/quote.bin', 'sgx', 'SGX quote v3'],
  ])('knows %s', (path, platform, form) => {
    const evidence = readEvidence(read(path))
    expect(evidence).toMatchObject({ platform, form })
    if (platform === 'sev-snp') expect(evidence.raw).toHaveLength(1184)
    else if (form.length < 13) expect(evidence.raw).toEqual(read(path))
  })

  it.runIf(haveShared)('unwraps the ioctl response to the report at 0x20', () => {
    const whole = read('snp/malformed/snp_report_msg_resp.bin')
    expect(readEvidence(whole).raw).toEqual(whole.subarray(32, 32 + 1184))
  })

  it.runIf(haveShared).each([
    ['snp/malformed/guest_report_bad_sig.bin', 'TRAILING_DATA'],
    ['snp/malformed/guest_report_corrupt.bin', 'TRUNCATED'],
    ['snp/milan-v3/vcek.pem', 'FORMAT_UNKNOWN'],
    ['snp/milan-v2-debug/vcek.der', 'FORMAT_UNKNOWN'],
    ['tdx/v4-uptodate/collateral.json', 'FORMAT_UNKNOWN'],
    ['tdx/v4-ccel/ccel_table.dat', 'FORMAT_UNKNOWN'],
  ])('refuses %s as %s', (path, expected) => {
    expect(code(() => readEvidence(read(path)))).toBe(expected)
  })

  it('takes a report that is cut or has bytes behind it for neither a report nor another format', () => {
    for (let length = 8; length < 1184; length++) {
      expect(code(() => readEvidence(report.subarray(0, length)))).toBe('TRUNCATED')
    }
    for (let extra = 1; extra <= 64; extra++) {
      for (const fill of [0, 1, 0xff]) {
        expect(code(() => readEvidence(extended(new Uint8Array(extra).fill(fill))))).not.toBe('OK')
      }
    }
  })

  it('holds the ioctl response to its form', () => {
    const response = Buffer.alloc(32 + 1184 + 8)
    response.writeUInt32LE(1184, 4)
    response.set(report, 32)
    const change = (at: number, value: number): string => {
      const changed = new Uint8Array(response)
      changed[at] = value
      return code(() => readEvidence(changed))
    }
    expect(readEvidence(new Uint8Array(response)).raw).toEqual(report)
    expect(change(0, 22)).toBe('FORMAT_UNKNOWN')
    expect(change(4, 0xa1)).not.toBe('OK')
    expect(change(31, 1)).toBe('RESERVED_NOT_ZERO')
    expect(change(32 + 1184, 1)).toBe('TRAILING_DATA')
    expect(code(() => readEvidence(new Uint8Array(response.subarray(0, 500))))).toBe('TRUNCATED')
  })

  it('knows base64 and 0x-hex, with line ends around them', () => {
    expect(readEvidence(utf8Encode(`${bytesToBase64(report)}\n`)).form).toBe(
      'SNP report, as base64',
    )
    expect(readEvidence(utf8Encode(`0x${bytesToHex(report)}\r\n`)).form).toBe('SNP report, as hex')
    expect(readEvidence(utf8Encode(JSON.stringify([...report]))).form).toBe(
      'SNP report, as JSON byte array',
    )
  })

  it('knows text in lines of one width, as `base64` and `xxd -p` write it, and no other blanks', () => {
    const base64 = bytesToBase64(report)
    const lines = (text: string, width: number, end = '\n'): Uint8Array =>
      utf8Encode((text.match(new RegExp(`.{1,${width}}`, 'g')) ?? []).join(end) + end)
    for (const width of [64, 76])
      for (const end of ['\n', '\r\n'])
        expect(readEvidence(lines(base64, width, end)).raw).toEqual(report)
    expect(readEvidence(lines(bytesToHex(report), 60)).form).toBe('SNP report, as hex')
    for (const text of [
      `${base64.slice(0, 50)}\n${base64.slice(50, 140)}\n${base64.slice(140)}`,
      `${base64.slice(0, 76)} ${base64.slice(76)}`,
      `${base64.slice(0, 76)}\n\n${base64.slice(76)}`,
    ])
      expect(code(() => readEvidence(utf8Encode(text)))).toBe('FORMAT_UNKNOWN')
  })

  it.each([
    '',
    ' ',
    'hello',
    '[]',
    '[1,2,256]',
    '{}',
    '{"schema":"other"}',
    '\ufeff{}',
    '[1.5]',
    '"x"',
    'null',
  ])('refuses the text %j', (text) =>
    expect(() => readEvidence(utf8Encode(text))).toThrow(AttestationError),
  )

  it.runIf(haveShared)('takes a quote out of the answer of a guest agent, with its log', () => {
    const quote = read('tdx/v4-uptodate/quote.bin')
    const bytes = (value: unknown): Uint8Array => utf8Encode(JSON.stringify(value))
    const url = Buffer.from(quote).toString('base64url')
    const events = [{ imr: 3, event_type: 134217729, digest: '', event: 'a', event_payload: '' }]
    const dstack = [{ kind: 'dstack', text: JSON.stringify(events) }]
    for (const [value, eventLogs] of [
      [bytesToHex(quote), []],
      [bytesToBase64(quote), []],
      [{ quote: url }, []],
      [{ quote: bytesToBase64(quote), cc_eventlog: null }, []],
      [{ quote: bytesToBase64(quote), cc_eventlog: 'AQID' }, [{ kind: 'ccel', data: [1, 2, 3] }]],
      [{ quote: bytesToHex(quote), event_log: '[]', report_data: '00', vm_config: '' }, []],
      [{ quote: `0x${bytesToHex(quote)}`, event_log: JSON.stringify(events) }, dstack],
      [{ quote: bytesToHex(quote), event_log: events }, dstack],
    ] as const) {
      const found = readEvidence(bytes(value))
      expect([found.platform, bytesToHex(found.raw)]).toEqual(['tdx', bytesToHex(quote)])
      const logs = found.endorsements.eventLogs.map((log) =>
        log.kind === 'ccel' ? { ...log, data: [...log.data] } : log,
      )
      expect(logs).toEqual(eventLogs)
    }
    expect(readEvidence(utf8Encode(url)).form).toBe('TDX quote v4, as base64url')
    expect(code(() => readEvidence(bytes({ quote: 'x' })))).toBe('FORMAT_UNKNOWN')
    expect(code(() => readEvidence(bytes({ quote: bytesToHex(report) })))).toBe('FORMAT_UNKNOWN')
    expect(code(() => readEvidence(bytes({ quote: 7 })))).toBe('FORMAT_INVALID')
    const twice = `{"quote":"${url}","quote":"${url}"}`
    expect(code(() => readEvidence(utf8Encode(twice)))).toBe('FORMAT_INVALID')
  })

  it('says what an Azure HCL report is, and what to do with bytes behind a report', () => {
    const hcl = Buffer.concat([Buffer.from('HCLA'), Buffer.alloc(28), report, Buffer.alloc(1400)])
    expect(() => readEvidence(new Uint8Array(hcl))).toThrow(
      expect.objectContaining({
        code: 'FORMAT_UNKNOWN',
        message: expect.stringContaining('HCL') as string,
        hint: expect.stringContaining('offset 32') as string,
      }) as Error,
    )
    expect(() => readEvidence(extended(new Uint8Array(2912)))).toThrow(
      expect.objectContaining({
        code: 'TRAILING_DATA',
        hint: expect.stringContaining('1184') as string,
      }) as Error,
    )
  })

  it('does not guess a platform for a quote of unknown type', () => {
    const quote = Buffer.alloc(64)
    quote.set([4, 0, 2, 0, 0x82])
    expect(code(() => readEvidence(quote))).toBe('FORMAT_UNKNOWN')
    quote[4] = 0x81
    expect(readEvidence(quote).platform).toBe('tdx')
    quote[4] = 0
    expect(readEvidence(quote).platform).toBe('sgx')
    expect(code(() => readEvidence(quote.subarray(0, 47)))).toBe('TRUNCATED')
    expect(code(() => readEvidence(Buffer.concat([quote, Buffer.alloc(64 * 1024)])))).toBe(
      'TOO_LARGE',
    )
  })

  it('throws nothing but the typed error', () => {
    const start = fc.constantFrom(
      [],
      [3, 0, 0, 0],
      [4, 0, 2, 0, 0x81],
      [0, 0, 0, 0, 0xa0, 4],
      [0x5b],
      [0x7b, 0x22],
    )
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 1400 }), (head, tail) => {
        try {
          readEvidence(Uint8Array.from([...head, ...tail]))
        } catch (error) {
          if (!(error instanceof AttestationError)) throw error
        }
      }),
      { numRuns: 1000 },
    )
  })
})

describe.runIf(haveShared)('the certificate table', () => {
  const [vcek, ask] = haveShared
    ? [
        parseCertificates(read('snp/milan-v3/vcek.pem'))[0]!,
        parseCertificates(read('snp/ca/milan-ask.pem'))[0]!,
      ]
    : []
  const entries = (): TableEntry[] => [
    { guid: TABLE_GUID.VCEK, offset: 72, length: vcek!.der.length },
    { guid: TABLE_GUID.ASK, offset: 72 + vcek!.der.length, length: ask!.der.length },
  ]
  const blobs = (): (readonly [number, Uint8Array])[] => [
    [72, vcek!.der],
    [72 + vcek!.der.length, ask!.der],
  ]
  const good = (padding = 0): Uint8Array =>
    table(entries(), 72 + vcek!.der.length + ask!.der.length + padding, blobs())

  it('gives candidates, behind a report or on its own as auxblob', () => {
    const evidence = readEvidence(extended(good()))
    expect(evidence).toMatchObject({ platform: 'sev-snp', form: 'extended SNP report' })
    expect(evidence.endorsements.certificates.map(({ sha256 }) => sha256)).toEqual([
      vcek!.sha256,
      ask!.sha256,
    ])
    expect(evidence.raw).toEqual(report)
    expect(readEndorsements([{ name: 'auxblob', bytes: good(100) }]).certificates).toHaveLength(2)
    // a cloud's own entry may come first (Google's extra platform information)
    const own = { guid: 'ecae0c0f950243b1afa20ae2e0d565b6', offset: 72, length: 8 }
    const extra = Uint8Array.of(8, 0, 0, 0, 0x11, 0x0f, 0xa1, 0)
    const leaf = { guid: TABLE_GUID.VCEK, offset: 80, length: vcek!.der.length }
    const bytes = table([own, leaf], 4096, [
      [72, extra],
      [80, vcek!.der],
    ])
    expect(readEndorsements([{ name: 'auxblob', bytes }]).certificates).toHaveLength(1)
    expect(readEvidence(extended(bytes)).endorsements.certificates).toHaveLength(1)
  })

  it('skips kinds that it does not know', () => {
    const list = [...entries(), { guid: 'ecae0c0f950243b1afa20ae2e0d565b6', offset: 0, length: 8 }]
    const shift = 24
    const moved = list.map((e, i) => ({
      ...e,
      offset: i === 2 ? 96 + vcek!.der.length + ask!.der.length : e.offset + shift,
    }))
    const bytes = table(moved, 96 + vcek!.der.length + ask!.der.length + 8, [
      [96, vcek!.der],
      [96 + vcek!.der.length, ask!.der],
      [96 + vcek!.der.length + ask!.der.length, new Uint8Array(8).fill(7)],
    ])
    expect(readEvidence(extended(bytes)).endorsements.certificates).toHaveLength(2)
  })

  it.each<[string, string, () => Uint8Array]>([
    [
      'an entry twice',
      'FORMAT_INVALID',
      () => table([entries()[0]!, entries()[0]!], 4000, blobs()),
    ],
    [
      'an entry within the header',
      'FORMAT_INVALID',
      () => table([{ ...entries()[0]!, offset: 24 }], 4000),
    ],
    [
      'two that overlap',
      'FORMAT_INVALID',
      () => table([entries()[0]!, { ...entries()[1]!, offset: 73 }], 4000),
    ],
    [
      'an entry beyond the end',
      'TRUNCATED',
      () => table([{ ...entries()[0]!, offset: 3999 }], 4000),
    ],
    [
      'an offset that would overflow',
      'TRUNCATED',
      () => table([{ ...entries()[0]!, offset: 0xffffffff, length: 0xffffffff }], 4000),
    ],
    ['an empty entry', 'FORMAT_INVALID', () => table([{ ...entries()[0]!, length: 0 }], 4000)],
    ['no last entry', 'TRUNCATED', () => table(entries(), 48)],
    [
      'bytes between entries',
      'FORMAT_INVALID',
      () =>
        table([{ ...entries()[0]!, offset: 80 }], 4000, [
          [75, Uint8Array.of(1)],
          [80, vcek!.der],
        ]),
    ],
    [
      'bytes behind the last entry',
      'TRAILING_DATA',
      () => table(entries(), 4000, [...blobs(), [3999, Uint8Array.of(1)]]),
    ],
    [
      'a certificate that is cut',
      'TRUNCATED',
      () => table([{ ...entries()[0]!, length: 600 }], 672, [[72, vcek!.der.subarray(0, 600)]]),
    ],
    [
      '33 entries',
      'TOO_LARGE',
      () =>
        table(
          Array.from({ length: 33 }, (_, i) => ({
            guid: bytesToHex(new Uint8Array(16).fill(i + 1)),
            offset: 1000,
            length: 1,
          })),
          4000,
        ),
    ],
    ['nothing at all', 'TRAILING_DATA', () => new Uint8Array(4000)],
  ])('refuses %s: %s', (_, expected, make) => {
    expect(code(() => readEvidence(extended(make())))).toBe(expected)
  })

  it('throws nothing but the typed error when its bytes are changed', () => {
    const bytes = extended(good())
    fc.assert(
      fc.property(fc.nat(200), fc.nat(255), (at, value) => {
        const changed = Uint8Array.from(bytes)
        changed[1184 + at] = value
        try {
          readEvidence(changed)
        } catch (error) {
          if (!(error instanceof AttestationError)) throw error
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe.runIf(haveShared)('readEndorsements', () => {
  it('knows AMD chains, leaves in PEM and DER, and drops duplicates', () => {
    const found = readEndorsements(
      named(
        'snp/milan-v2-debug/kds-cert-chain.pem',
        'snp/ca/milan-ask-ark-asvk.pem',
        'snp/milan-v3/vcek.pem',
        'snp/milan-v2-debug/vcek.der',
      ),
    )
    expect(found.certificates.map(({ subject }) => subject.commonName).sort()).toEqual([
      'ARK-Milan',
      'SEV-Milan',
      'SEV-VCEK',
      'SEV-VCEK',
      'SEV-VLEK-Milan',
    ])
    expect(found.inputs).toHaveLength(4)
    expect(found.inputs[0]?.sha256).toMatch(/^[0-9a-f]{64}$/)
  })

  it.each([
    'tdx/v4-uptodate/collateral.json',
    'tdx/v4-uptodate-eval20/collateral.json',
    'tdx/v5-no-tcb-level/collateral.json',
    'sgx/v3-config-and-swhardening/collateral.json',
  ])('knows collateral in PCCS field names: %s', (path) => {
    const found = readEndorsements(named(path))
    expect(found.crls).toHaveLength(2)
    expect(found.tcbInfos).toHaveLength(1)
    expect(found.qeIdentities).toHaveLength(1)
    expect(found.certificates.length).toBeGreaterThanOrEqual(3)
    const json = JSON.parse(readFileSync(shared(`recorded/${path}`), 'utf8')) as Record<
      string,
      string
    >
    expect(Buffer.from(found.tcbInfos[0]!.raw).toString()).toBe(json['tcb_info'])
    expect(bytesToHex(found.tcbInfos[0]!.signature)).toBe(json['tcb_info_signature'])
  })

  it('knows what Intel serves, and keeps the exact bytes that were signed', () => {
    const folder = 'tdx/v4-debug/collateral/'
    const found = readEndorsements(
      named(...readdirSync(shared(`recorded/${folder}`)).map((file) => folder + file)),
    )
    expect(found.tcbInfos).toHaveLength(2)
    expect(found.qeIdentities).toHaveLength(1)
    expect(found.crls).toHaveLength(2)
    const text = Buffer.from(read(`${folder}td_qe_identity.json`)).toString()
    expect(
      text.startsWith(
        `{"enclaveIdentity":${Buffer.from(found.qeIdentities[0]!.raw).toString()},"signature"`,
      ),
    ).toBe(true)
  })

  it('knows the test PKI of Intel, old responses, CCEL and dstack logs', () => {
    const folder = 'tdx/intel-test-pki/'
    const files = readdirSync(shared(`recorded/${folder}`)).filter((file) => file !== 'quote.dat')
    const found = readEndorsements(named(...files.map((file) => folder + file)))
    expect([found.tcbInfos.length, found.qeIdentities.length, found.crls.length]).toEqual([1, 1, 2])
    const old = readEndorsements(
      named(
        'tdx/v4-trailing-data/tcb-info-response.json',
        'tdx/v4-trailing-data/qe-identity-response.json',
        'tdx/v4-trailing-data/pck-crl.der',
        'tdx/v4-trailing-data/root-crl.der',
      ),
    )
    expect([old.tcbInfos.length, old.qeIdentities.length, old.crls.length]).toEqual([1, 1, 2])
    const logs = readEndorsements(
      named(
        'tdx/v4-ccel/ccel_data.dat',
        'tdx/v4-ccel/ccel_table.dat',
        'tdx/v4-uptodate-eval20/tcb_info.json',
      ),
    ).eventLogs
    expect(logs.map(({ kind }) => kind)).toEqual(['ccel', 'dstack'])
    expect(logs[0]).toMatchObject({ table: read('tdx/v4-ccel/ccel_table.dat') })
    expect(logs[1]?.kind === 'dstack' && (JSON.parse(logs[1].text) as unknown[]).length).toBe(29)
    expect(code(() => readEndorsements(named('tdx/v4-ccel/ccel_table.dat')))).toBe('FORMAT_INVALID')
  })

  it('knows every certificate and list of the recordings', () => {
    for (const path of readdirSync(shared('recorded'), { recursive: true, encoding: 'utf8' })) {
      if (!/\.(der|pem)$/.test(path)) continue
      const { certificates, crls } = readEndorsements(named(path))
      expect([path, certificates.length + crls.length > 0]).toEqual([path, true])
    }
  })

  it('reads chains from headers', () => {
    const pem = Buffer.from(read('tdx/v4-debug/collateral/tcb_signing_chain.pem')).toString()
    expect(readIssuerChain(encodeURIComponent(pem))).toHaveLength(2)
    const file = { name: 'header', bytes: utf8Encode(encodeURIComponent(pem)) }
    expect(readEndorsements([file]).certificates).toHaveLength(2)
    expect(() => readIssuerChain('%zz')).toThrow(coded('FORMAT_INVALID'))
  })

  it('reads a list as PEM, hex and base64, and a whole answer within tcb_info', () => {
    const der = read('tdx/v4-trailing-data/root-crl.der')
    const body = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n').trimEnd()
    const pem = `-----BEGIN X509 CRL-----\n${body}\n-----END X509 CRL-----\n`
    expect(readEndorsements([{ name: 'a', bytes: utf8Encode(pem) }]).crls).toHaveLength(1)
    expect(readEndorsements([{ name: 'a', bytes: utf8Encode(bytesToHex(der)) }]).crls).toHaveLength(
      1,
    )
    const answer = Buffer.from(read('tdx/v5-td15/tcb-info-response.json')).toString()
    for (const crl of [pem, bytesToHex(der), bytesToBase64(der)]) {
      const file = {
        name: 'c',
        bytes: utf8Encode(JSON.stringify({ root_ca_crl: crl, tcb_info: answer })),
      }
      const found = readEndorsements([file])
      expect(found.crls).toHaveLength(1)
      expect(found.tcbInfos).toEqual(
        readEndorsements(named('tdx/v5-td15/tcb-info-response.json')).tcbInfos,
      )
    }
  })

  it('reads collateral as other tools write it: encoded chains, C strings, arrays of bytes', () => {
    const path = 'tdx/v4-uptodate/collateral.json'
    const json = JSON.parse(readFileSync(shared(`recorded/${path}`), 'utf8')) as Record<
      string,
      string
    >
    const plain = readEndorsements(named(path))
    const chains = ['pck_crl_issuer_chain', 'tcb_info_issuer_chain', 'qe_identity_issuer_chain']
    const change = (names: readonly string[], to: (text: string) => unknown): void => {
      const changed = Object.fromEntries(names.map((name) => [name, to(json[name] ?? '')]))
      const bytes = utf8Encode(JSON.stringify({ ...json, ...changed }))
      const found = readEndorsements([{ name: 'c', bytes }])
      expect({ ...found, inputs: [] }).toEqual({ ...plain, inputs: [] })
    }
    change(chains, encodeURIComponent)
    change([...chains, 'tcb_info', 'qe_identity', 'root_ca_crl'], (text) => `${text}\0`)
    change(chains, (text) =>
      text.replace(/-----END CERTIFICATE-----\n(?=-)/g, '-----END CERTIFICATE-----'),
    )
    change(['root_ca_crl', 'pck_crl', 'tcb_info_signature', 'qe_identity_signature'], (text) => [
      ...Buffer.from(text, 'hex'),
    ])
    const wrong = utf8Encode(JSON.stringify({ ...json, qe_identity_signature: 'zz' }))
    expect(() => readEndorsements([{ name: 'c', bytes: wrong }])).toThrow(
      /c: this is not hex.*\$\.qe_identity_signature/,
    )
    const short = JSON.stringify({ ...json, tcb_info_signature: [1, 2, 3] })
    expect(code(() => readEndorsements([{ name: 'c', bytes: utf8Encode(short) }]))).toBe(
      'FORMAT_INVALID',
    )
  })

  it('reads what Azure’s metadata service gives, base64 of what is known, and text around PEM', () => {
    const count = (text: string): number =>
      readEndorsements([{ name: 'f', bytes: utf8Encode(text) }]).certificates.length
    const vcek = Buffer.from(read('snp/genoa-v3/vcek.pem')).toString()
    const chain = Buffer.from(read('snp/ca/genoa-ask-ark-asvk.pem')).toString()
    const answer = JSON.stringify({ vcekCert: vcek, tcbm: '54', certificateChain: chain })
    expect(count(answer)).toBe(4)
    expect(count(Buffer.from(answer).toString('base64'))).toBe(4)
    expect(count(Buffer.from(read('snp/genoa-19a0-v5/vcek.der')).toString('base64'))).toBe(1)
    expect(count(JSON.stringify(vcek))).toBe(1)
    expect(count(vcek.trimEnd() + chain)).toBe(4)
    expect(count(`subject=CN = SEV-VCEK\n${vcek}  \n\0`)).toBe(1)
    expect(() => count(`${vcek}${vcek.replace(/^/gm, '  ')}`)).toThrow(coded('FORMAT_INVALID'))
    expect(() => count(vcek.replace(/\n/g, ' \n'))).toThrow(/line 1: a boundary that is not alone/)
    expect(() => count('AAAA')).toThrow(coded('FORMAT_UNKNOWN'))
  })

  it('says which file it could not read', () => {
    const files = [
      { name: 'good', bytes: read('snp/ca/milan-ark.pem') },
      { name: 'notes.txt', bytes: utf8Encode('hello') },
    ]
    expect(() => readEndorsements(files)).toThrow(
      expect.objectContaining({ code: 'FORMAT_UNKNOWN', path: 'notes.txt' }) as Error,
    )
    for (const text of [
      '{}',
      '[]',
      '[{"a":1}]',
      '{"tcbInfo":{}}',
      '{"tcbInfo":{},"signature":"00"}',
      '{"event_log":3}',
      '3082',
    ]) {
      expect(() => readEndorsements([{ name: 'x', bytes: utf8Encode(text) }])).toThrow(
        AttestationError,
      )
    }
    expect(() => readEndorsements(Array.from({ length: 65 }, () => files[0]!))).toThrow(
      coded('TOO_LARGE'),
    )
  })

  it('merges, each once', () => {
    const one = readEndorsements(named('tdx/v4-uptodate/collateral.json'))
    const both = mergeEndorsements(one, one, NO_ENDORSEMENTS)
    expect({ ...both, inputs: [] }).toEqual({ ...one, inputs: [] })
  })
})

describe('the evidence file', () => {
  const ajv = new Ajv2020({ strict: true, allErrors: true })
  const schema = JSON.parse(
    readFileSync(join(REPOSITORY, 'schemas/evidence.v1.schema.json'), 'utf8'),
  ) as object
  const valid = ajv.compile(schema)
  const minimal: Pick<Evidence, 'platform' | 'raw'> = { platform: 'sev-snp', raw: report }

  it('comes back as it was written, byte for byte', () => {
    const nonce = new Uint8Array(32).fill(9)
    const runtimeData = utf8Encode('{"key":1}')
    const text = writeEvidenceFile({ ...minimal, nonce, runtimeData }, NO_ENDORSEMENTS)
    const back = readEvidenceFile(text)
    expect(back).toMatchObject({ platform: 'sev-snp', raw: report, nonce, runtimeData })
    expect(writeEvidenceFile(back, back.endorsements)).toBe(text)
    expect(valid(JSON.parse(text))).toBe(true)
    expect(readEvidence(utf8Encode(text)).form).toBe('evidence file')
  })

  it.runIf(haveShared)('holds TDX evidence with all of its endorsements', () => {
    const given = readEndorsements(
      named(
        'tdx/v4-uptodate-eval20/collateral.json',
        'tdx/v4-uptodate-eval20/tcb_info.json',
        'tdx/v4-ccel/ccel_data.dat',
        'tdx/v4-ccel/ccel_table.dat',
      ),
    )
    const evidence = readEvidence(read('tdx/v4-uptodate-eval20/quote.json'))
    const text = writeEvidenceFile(evidence, given)
    expect(valid(JSON.parse(text))).toBe(true)
    const back = readEvidence(utf8Encode(text))
    expect(back.raw).toEqual(evidence.raw)
    expect(back.endorsements.certificates.map(({ sha256 }) => sha256)).toEqual(
      given.certificates.map(({ sha256 }) => sha256),
    )
    expect(back.endorsements.tcbInfos).toEqual(given.tcbInfos)
    expect(back.endorsements.qeIdentities).toEqual(given.qeIdentities)
    expect(back.endorsements.eventLogs).toEqual(given.eventLogs)
    expect(writeEvidenceFile(back, back.endorsements)).toBe(text)
    expect(readEndorsements([{ name: 'saved', bytes: utf8Encode(text) }]).tcbInfos).toEqual(
      given.tcbInfos,
    )
  })

  const base = JSON.parse(writeEvidenceFile(minimal, NO_ENDORSEMENTS)) as Record<string, unknown>
  it.each<[string, Record<string, unknown>]>([
    ['an unknown member', { ...base, extra: 1 }],
    ['another version', { ...base, schema: 'zt4ai.evidence/v2' }],
    ['an unknown kind', { ...base, kind: 'nitro' }],
    ['a quote in place of a report', { ...base, kind: 'tdx' }],
    ['both', { ...base, quote: 'AAAA' }],
    ['a short report', { ...base, report: bytesToBase64(report.subarray(1)) }],
    [
      'no endorsements',
      Object.fromEntries(Object.entries(base).filter(([key]) => key !== 'endorsements')),
    ],
    ['an unknown endorsement', { ...base, endorsements: { chains: [] } }],
    ['base64 with line ends', { ...base, report: `${bytesToBase64(report)}\n` }],
    ['an odd nonce', { ...base, nonce: '123' }],
    [
      'a signature of the wrong size',
      { ...base, endorsements: { tcbInfos: [{ body: '{}', signature: '00' }] } },
    ],
    ['an unknown event log', { ...base, eventLog: [{ kind: 'tpm', data: '' }] }],
    ['null in place of nothing', { ...base, nonce: null }],
  ])('refuses %s, as its schema does', (_, value) => {
    expect(() => readEvidenceFile(JSON.stringify(value))).toThrow(AttestationError)
    expect(valid(value)).toBe(false)
  })

  it('refuses what JSON.parse lets pass', () => {
    const text = writeEvidenceFile(minimal, NO_ENDORSEMENTS)
    expect(() => readEvidenceFile(text.replace('"kind"', '"kind": "tdx", "kind"'))).toThrow(
      AttestationError,
    )
    expect(() => readEvidenceFile(`${text}x`)).toThrow(coded('TRAILING_DATA'))
    expect(code(() => readEvidenceFile(text.replace('evidence/v1', 'evidence/v2')))).toBe(
      'UNSUPPORTED_VERSION',
    )
  })
})
