// The single owner of `zt4ai attach`: a bundle (signature, saved verdict, statement) or evidence beside a model in a registry.
import { Command } from 'commander'
import { decodeBundle, MAX_BUNDLE } from '../bundle/bundle.ts'
import { decodeStatement } from '../bundle/statement.ts'
import {
  attach,
  BUNDLE_TYPE,
  bundleAnnotations,
  createdAnnotation,
  EVIDENCE_TYPE,
  IMAGE_MANIFEST,
} from '../registry/referrers.ts'
import { formatReference } from '../registry/reference.ts'
import { interruptible, readBytes } from './options.ts'
import { addRegistry, type RegistryOptions } from './registry-options.ts'
import { connect, openReference } from './registry.ts'

const HELP = `
A bundle is attached in cosign's layout. An evidence file gets its own media type. Nothing is verified here: whoever reads it verifies.
Attached evidence is a recording, which answers no nonce that is made later: admit, promote, pull and serve read it where a rule asks for a
machine and nobody gave evidence, and it counts where that machine says \`nonce: not-required\`. Save it with its endorsements first.

Examples:
  $ zt4ai attach ./my-model/model.sig oci://registry.example/team/my-model@sha256:DIGEST
  $ zt4ai attach verdict.bundle oci://registry.example/team/my-model:v1
  $ zt4ai attest report.bin --endorsements chain.pem --save evidence.json && zt4ai attach evidence.json oci://registry.example/team/my-model:v1
`

/** The command. */
export function command(): Command {
  const attaching = new Command('attach')
    .summary('attach a signature, saved verdict or evidence to a model in a registry')
    .description(
      'Attach a Sigstore bundle or an evidence file as a referrer of a model in a registry.',
    )
    .argument('<file>', 'the bundle or evidence file')
    .argument('<reference>', 'oci://HOST/REPOSITORY[:TAG][@sha256:DIGEST]')
    .addHelpText('after', HELP)
    .action(run)
  return addRegistry(attaching)
}

async function run(file: string, to: string, options: RegistryOptions): Promise<void> {
  const content = readBytes(file, MAX_BUNDLE)
  const kind = await kindOf(content)
  const attached = await interruptible(async (signal) => {
    const connection = connect(options, signal)
    try {
      const { manifest, pinned } = await openReference(to, connection)
      const subject = {
        mediaType: manifest.mediaType || IMAGE_MANIFEST,
        digest: manifest.digest,
        size: manifest.bytes.length,
      }
      const digest = await attach(connection.repository(pinned), { subject, content, ...kind })
      return formatReference({ host: pinned.host, repository: pinned.repository, digest })
    } finally {
      connection.transport.close()
    }
  })
  process.stdout.write(`${attached}\n`)
}

async function kindOf(
  content: Uint8Array,
): Promise<{ mediaType: string; annotations: Record<string, string> }> {
  const { readEvidenceFile } = await import('../../attestation/index.ts')
  try {
    readEvidenceFile(content)
    return { mediaType: EVIDENCE_TYPE, annotations: createdAnnotation(new Date()) }
  } catch {
    // Then it must be a bundle.
  }
  const { predicateType } = decodeStatement(decodeBundle(content).envelope.payload)
  return { mediaType: BUNDLE_TYPE, annotations: bundleAnnotations(predicateType, new Date()) }
}
