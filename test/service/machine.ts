// The single owner of the simulated machine that proves itself to the verifier service.
import { modelBinding, type NamedBytes } from '../../attestation/index.ts'
import { hexToBytes, utf8Encode } from '../../attestation/lib/index.ts'
import { rootFile, simulateSnp, snpEvidenceFile } from '../../src/simulate/index.ts'

export { safetensors } from '../gate/scene.ts'

export const GOOD = '5e'.repeat(48)

/** Evidence of the machine with this report data. */
export function machine(reportData: Uint8Array, nonce: Uint8Array, measurement = GOOD): NamedBytes {
  const recorded = simulateSnp({
    at: new Date(),
    report: { reportData, measurement: hexToBytes(measurement) },
  })
  return { name: 'evidence.json', bytes: utf8Encode(snpEvidenceFile(recorded, { nonce })) }
}

const { ark } = simulateSnp({ at: new Date() })

export const simulated = {
  rootPem: rootFile(ark)['root.pem'] ?? new Uint8Array(),
  binding: (nonce: Uint8Array, root: string): Uint8Array =>
    modelBinding({ nonce, modelDigest: hexToBytes(root) }),
}
