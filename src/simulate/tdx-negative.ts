// The single owner of how a TDX negative is made: a simulated machine with one thing changed.
import type { Code } from '../../attestation/index.ts'
import { WELL_KNOWN_SEED } from './keys.ts'
import type { Negative } from './negative.ts'
import { certificate } from './pki.ts'
import { rootFields } from './tdx-certificates.ts'
import { LEVEL } from './tdx-collateral.ts'
import { simulateTdx, type TdxEvidence, type TdxRequest } from './tdx.ts'

export type TdxNegative = Negative<TdxEvidence>

/** A request, or one that depends on the seed because it needs the vendor's keys. */
type Ask = TdxRequest | ((seed: string) => TdxRequest)

/** A negative on the machine that `ask` describes, judged under the vendor's sound root, or under the root that the evidence came with. */
export function tdxNegative(
  name: string,
  codes: readonly Code[],
  why: string,
  ask: Ask,
  trust: "vendor's root" | 'own root' = "vendor's root",
): TdxNegative {
  return {
    name,
    why,
    codes,
    record: (seed = WELL_KNOWN_SEED) => {
      const evidence = simulateTdx({ seed, ...(typeof ask === 'function' ? ask(seed) : ask) })
      return {
        evidence,
        trustedRoot: trust === 'own root' ? evidence.root : certificate(rootFields(seed)),
      }
    },
  }
}

/** Bytes with one of them replaced. */
export const set = (
  bytes: Uint8Array | readonly number[],
  index: number,
  value: number,
): Uint8Array => Uint8Array.from(bytes, (byte, i) => (i === index ? value : byte))

/** TEE_TCB_SVN of the simulated machine: module SVN 5 of major version 1, SEAM loader SVN 6. */
export const TEE_TCB_SVN = set(LEVEL.tdx, 1, 1)
/** A TD that was launched on that module, and runs on it. */
export const running = (teeTcbSvn: Uint8Array): TdxRequest => ({
  td: { teeTcbSvn, teeTcbSvn2: teeTcbSvn },
})
