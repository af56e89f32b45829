// The single owner of `--verifier`: a verifier service judges this machine, on evidence that its hardware makes for the service's nonce.
import { createPublicKey } from 'node:crypto'
import type { Command } from 'commander'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { ProvedQuestion } from '../gate/proved.ts'
import type { AdmitRequest } from '../gate/question.ts'
import { readDigest } from './binding.ts'
import { readText } from './options.ts'

export interface VerifierOptions {
  readonly verifier?: string
  readonly verifierCa?: string
  readonly verifierToken?: string
  readonly verifierPolicy?: string
  readonly teeKey?: string
  readonly signature: readonly string[]
  readonly at?: string
}

/** Adds the options. */
export function addVerifier(to: Command): Command {
  return to
    .option(
      '--verifier <url>',
      "have this service (zt4ai serve --key) judge this machine's evidence",
    )
    .option('--verifier-ca <pem>', "certificate to trust for the verifier's TLS")
    .option('--verifier-token <file>', 'the token that the verifier asks for')
    .option('--verifier-policy <name>', "which of the verifier's policies")
}

/** Asks the verifier, where one is named; undefined else. @throws ZtError USAGE, TSM_UNAVAILABLE, NETWORK, EVIDENCE_UNAVAILABLE */
export async function proved(
  question: AdmitRequest,
  model: string,
  url: string | undefined,
  options: Omit<VerifierOptions, 'verifier'>,
): Promise<ProvedQuestion | undefined> {
  const { verifierToken, verifierPolicy, teeKey, signature } = options
  if (url === undefined) {
    if (options.verifierCa ?? verifierToken ?? verifierPolicy)
      throw new ZtError('USAGE', '--verifier-… goes with --verifier')
    return undefined
  }
  if (options.at !== undefined)
    throw new ZtError('USAGE', '--verifier judges as of now: leave --at out')
  const { askVerifier } = await import('../gate/proved.ts')
  const { collectEvidence } = await import('../gate/collect.ts')
  const { httpTransport } = await import('../fetch/transport.ts')
  const [first] = signature
  const root = readDigest({ model, ...(first === undefined ? {} : { signature: first }) })
  const transport = httpTransport({
    attempts: 1,
    // A verifier on this machine, behind a proxy that brings TLS.
    plainHttp: /^http:\/\/(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?=[:/]|$)/.test(url),
    ...(options.verifierCa === undefined ? {} : { ca: readText(options.verifierCa) }),
  })
  const service = {
    url,
    transport,
    ...(verifierToken === undefined ? {} : { token: readText(verifierToken).trim() }),
  }
  try {
    return await askVerifier(question, root, service, {
      evidence: (reportData, nonce) => {
        const { file } = collectEvidence({ reportData, nonce })
        return Promise.resolve({ name: 'evidence.json', bytes: utf8Encode(file) })
      },
      ...(verifierPolicy === undefined ? {} : { policy: verifierPolicy }),
      ...(teeKey === undefined ? {} : { key: keyOf(readText(teeKey)) }),
    })
  } finally {
    transport.close()
  }
}

function keyOf(pem: string): { pem: string; spki: Uint8Array } {
  try {
    const key = createPublicKey(pem)
    const spki = new Uint8Array(key.export({ type: 'spki', format: 'der' }))
    // Written anew: whatever else is in that file goes nowhere.
    return { pem: key.export({ type: 'spki', format: 'pem' }) as string, spki }
  } catch {
    throw new ZtError('KEY_INVALID', 'this is not a public key in PEM')
  }
}
