// The single owner of reading the recorded TDX and SGX samples into evidence and endorsements, for tests.
import { readFileSync } from 'node:fs'
import type { Endorsements, SignedJson } from '../../../attestation/endorsements.ts'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import type { Evidence } from '../../../attestation/evidence.ts'
import { hexToBytes, utf8Encode } from '../../../attestation/lib/bytes.ts'
import { parseCrl } from '../../../attestation/lib/crl.ts'
import { parseJson, parseJsonRaw } from '../../../attestation/lib/json.ts'
import type { JsonObject } from '../../../attestation/lib/json.ts'
import { parseCertificates } from '../../../attestation/lib/pem.ts'
import type { Certificate } from '../../../attestation/lib/x509.ts'
import { shared } from '../../shared.ts'

export const bytesOf = (path: string): Uint8Array =>
  new Uint8Array(readFileSync(shared(`recorded/${path}`)))

export const evidenceOf = (raw: Uint8Array, platform: 'tdx' | 'sgx' = 'tdx'): Evidence => ({
  platform,
  raw,
  form: 'recorded sample',
  endorsements: NO_ENDORSEMENTS,
})

/** A served response, `{"tcbInfo": …, "signature": …}`. */
export function signedOf(path: string): SignedJson {
  const { value, members } = parseJsonRaw(bytesOf(path), { maxBytes: 1 << 20 })
  const raw = members.get('tcbInfo') ?? members.get('enclaveIdentity')
  const { signature } = value as { readonly signature: string }
  return { raw: raw ?? new Uint8Array(), signature: hexToBytes(signature) }
}

const certificatesOf = (path: string): readonly Certificate[] => parseCertificates(bytesOf(path))

function once(certificates: readonly Certificate[]): readonly Certificate[] {
  return [...new Map(certificates.map((cert) => [cert.sha256, cert])).values()]
}

/** Phala's QuoteCollateralV3. */
export function phala(path: string): Endorsements {
  const json = parseJson(bytesOf(path), { maxBytes: 1 << 20 }) as JsonObject
  const text = (name: string): string => json[name] as string
  const pem = (name: string): readonly Certificate[] => parseCertificates(utf8Encode(text(name)))
  return {
    ...NO_ENDORSEMENTS,
    certificates: once([
      ...pem('pck_crl_issuer_chain'),
      ...pem('tcb_info_issuer_chain'),
      ...pem('qe_identity_issuer_chain'),
    ]),
    crls: [parseCrl(hexToBytes(text('root_ca_crl'))), parseCrl(hexToBytes(text('pck_crl')))],
    tcbInfos: [
      { raw: utf8Encode(text('tcb_info')), signature: hexToBytes(text('tcb_info_signature')) },
    ],
    qeIdentities: [
      {
        raw: utf8Encode(text('qe_identity')),
        signature: hexToBytes(text('qe_identity_signature')),
      },
    ],
  }
}

export interface Sample {
  readonly name: string
  readonly evidence: Evidence
  readonly endorsements: Endorsements
  readonly at: Date
}

const sample = (
  name: string,
  raw: Uint8Array,
  endorsements: Endorsements,
  at: string,
  platform: 'tdx' | 'sgx' = 'tdx',
): Sample => ({ name, evidence: evidenceOf(raw, platform), endorsements, at: new Date(at) })

export function v4UpToDate(): Sample {
  const dir = 'tdx/v4-uptodate'
  return sample(dir, bytesOf(`${dir}/quote.bin`), phala(`${dir}/collateral.json`), '2025-07-01')
}

export function v4Eval20(): Sample {
  const dir = 'tdx/v4-uptodate-eval20'
  const numbers = parseJson(bytesOf(`${dir}/quote.json`), { maxBytes: 1 << 20 }) as number[]
  return sample(dir, Uint8Array.from(numbers), phala(`${dir}/collateral.json`), '2026-08-20')
}

/** The quote of v4-uptodate under the collateral of a later evaluation number. */
export function v4CrossPair(): Sample {
  const later = v4Eval20()
  return { ...later, name: 'v4-uptodate with eval20', evidence: v4UpToDate().evidence }
}

export function v5NoTcbLevel(): Sample {
  const dir = 'tdx/v5-no-tcb-level'
  return sample(dir, bytesOf(`${dir}/quote.bin`), phala(`${dir}/collateral.json`), '2026-03-01')
}

export function v5Td15(): Sample {
  const dir = 'tdx/v5-td15'
  const tcbInfos = [signedOf(`${dir}/tcb-info-response.json`)]
  const endorsements = { ...phala('tdx/v5-no-tcb-level/collateral.json'), tcbInfos }
  return sample(dir, bytesOf(`${dir}/quote.bin`), endorsements, '2026-02-25')
}

/** Recorded without issuer chains: the TCB signer of that time is in no other sample either, so its certificate is missing. */
export function v4TrailingData(): Sample {
  const dir = 'tdx/v4-trailing-data'
  const endorsements: Endorsements = {
    ...NO_ENDORSEMENTS,
    crls: [parseCrl(bytesOf(`${dir}/pck-crl.der`)), parseCrl(bytesOf(`${dir}/root-crl.der`))],
    tcbInfos: [signedOf(`${dir}/tcb-info-response.json`)],
    qeIdentities: [signedOf(`${dir}/qe-identity-response.json`)],
  }
  return sample(dir, bytesOf(`${dir}/quote.bin`), endorsements, '2023-07-01')
}

export function v4Ccel(): Sample {
  const dir = 'tdx/v4-ccel'
  return sample(dir, bytesOf(`${dir}/quote.bin`), NO_ENDORSEMENTS, '2024-06-01')
}

export function v4Debug(): Sample {
  const dir = 'tdx/v4-debug'
  const of = (name: string): string => `${dir}/collateral/${name}`
  const endorsements: Endorsements = {
    ...NO_ENDORSEMENTS,
    certificates: once([
      ...certificatesOf(of('tcb_signing_chain.pem')),
      ...certificatesOf(of('qe_identity_signing_chain.pem')),
    ]),
    crls: [
      parseCrl(bytesOf(of('pck_crl_platform.der'))),
      parseCrl(bytesOf(of('root_ca_crl.der'))),
    ],
    tcbInfos: [
      signedOf(of('tcb_info_90c06f000000.json')),
      signedOf(of('tcb_info_50806f000000.json')),
    ],
    qeIdentities: [signedOf(of('td_qe_identity.json'))],
  }
  return sample(dir, bytesOf(`${dir}/quote.bin`), endorsements, '2026-04-01')
}

export function intelTestPki(): Sample {
  const dir = 'tdx/intel-test-pki'
  const endorsements: Endorsements = {
    ...NO_ENDORSEMENTS,
    certificates: once([
      ...certificatesOf(`${dir}/pckCert.pem`),
      ...certificatesOf(`${dir}/pckSignChain.pem`),
      ...certificatesOf(`${dir}/tcbSignChain.pem`),
    ]),
    crls: [
      parseCrl(bytesOf(`${dir}/rootCaCrl.der`)),
      parseCrl(bytesOf(`${dir}/intermediateCaCrl.der`)),
    ],
    tcbInfos: [signedOf(`${dir}/tcbInfo.json`)],
    qeIdentities: [signedOf(`${dir}/qeIdentity.json`)],
  }
  return sample(dir, bytesOf(`${dir}/quote.dat`), endorsements, '2026-01-01')
}

export function sgxV3(): Sample {
  const dir = 'sgx/v3-config-and-swhardening'
  const collateral = phala(`${dir}/collateral.json`)
  return sample(dir, bytesOf(`${dir}/quote.bin`), collateral, '2025-07-01', 'sgx')
}
