// The single owner of loading the recorded SNP evidence for tests.
import { readFileSync } from 'node:fs'
import { NO_ENDORSEMENTS } from '../../../attestation/endorsements.ts'
import type { Endorsements } from '../../../attestation/endorsements.ts'
import type { Evidence } from '../../../attestation/evidence.ts'
import { hexToBytes } from '../../../attestation/lib/bytes.ts'
import { parseCertificates } from '../../../attestation/lib/pem.ts'
import type { Certificate } from '../../../attestation/lib/x509.ts'
import { shared } from '../../shared.ts'

export function sampleFile(path: string): Uint8Array {
  return new Uint8Array(readFileSync(shared(`recorded/snp/${path}`)))
}

export function certificates(...paths: string[]): Certificate[] {
  return paths.flatMap((path) => parseCertificates(sampleFile(path)))
}

export function endorsements(list: readonly Certificate[]): Endorsements {
  return { ...NO_ENDORSEMENTS, certificates: list }
}

export function evidence(raw: Uint8Array, own: Endorsements = NO_ENDORSEMENTS): Evidence {
  return { platform: 'sev-snp', raw, form: 'report', endorsements: own }
}

export function cas(product: 'milan' | 'genoa' | 'turin', vlek = false): Certificate[] {
  return vlek
    ? certificates(`ca/${product}-asvk.der`, `ca/${product}-ark.pem`)
    : certificates(`ca/${product}-ask.pem`, `ca/${product}-ark.pem`)
}

export interface Sample {
  readonly name: string
  readonly report: Uint8Array
  readonly leaf: Certificate
  readonly chain: Certificate[]
  readonly at: Date
}

function sample(
  name: string,
  report: string,
  leaf: string,
  chain: () => Certificate[],
  at: string,
): () => Sample {
  return () => {
    const [certificate] = certificates(`${name}/${leaf}`)
    const raw = sampleFile(`${name}/${report}`)
    return {
      name,
      report: report.endsWith('.hex') ? hexToBytes(new TextDecoder().decode(raw).trim()) : raw,
      leaf: certificate!,
      chain: [certificate!, ...chain()],
      at: new Date(`${at}T00:00:00Z`),
    }
  }
}

/** Every genuine report with its chain and its moment (recorded/INDEX.md). */
export const SAMPLES = {
  debug: sample(
    'milan-v2-debug',
    'report.bin',
    'vcek.der',
    () => certificates('milan-v2-debug/kds-cert-chain.pem'),
    '2023-01-01',
  ),
  oldTcb: sample('milan-v2-old-tcb', 'report.hex', 'vcek.der', () => cas('milan'), '2024-01-01'),
  azure: sample(
    'milan-v2-azure-provisional',
    'report.bin',
    'vcek.der',
    () => cas('milan'),
    '2024-01-01',
  ),
  vlek: sample(
    'milan-v3-vlek-aws',
    'report.bin',
    'vlek.der',
    () => cas('milan', true),
    '2025-06-01',
  ),
  milan: sample('milan-v3', 'report.bin', 'vcek.pem', () => cas('milan'), '2026-06-01'),
  genoa: sample('genoa-v3', 'report.bin', 'vcek.pem', () => cas('genoa'), '2026-06-01'),
  dense: sample('genoa-19a0-v5', 'report.bin', 'vcek.der', () => cas('genoa'), '2026-06-01'),
} as const
