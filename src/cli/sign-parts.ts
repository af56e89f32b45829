// The single owner of `zt4ai sign` in parts: `--part i/n` on each machine, `--from-parts` on the one that has the key.
import { MAX_BUNDLE } from '../bundle/bundle.ts'
import { inModel } from '../bundle/location.ts'
import { ZtError } from '../error.ts'
import type { HashType } from '../model/manifest.ts'
import { writeAtomically } from '../model/atomic.ts'
import type { SignedModel } from '../sign/model.ts'
import type { Signer } from '../sign/signer.ts'
import { EXIT } from './exit.ts'
import { interruptible, readBytes, readIgnores } from './options.ts'
import { progressLine, size } from './progress.ts'
import { coloured, renderChecks } from './render.ts'

export interface PartNumber {
  readonly part: number
  readonly parts: number
}

/** What of `sign`'s options a part takes. */
export interface PartRunOptions {
  readonly part?: PartNumber
  readonly partOutput?: string
  readonly signature?: string
  readonly key?: string
  readonly keyless?: boolean
  readonly hash: HashType
  readonly shardSize?: number
  readonly ignore: readonly string[]
  readonly allowSymlinks?: boolean
  readonly compat?: 'reference'
  readonly sizes?: boolean
  readonly fsverity?: boolean
  readonly json?: boolean
}

/** `i/n`. @throws ZtError USAGE */
export function readPart(text: string): PartNumber {
  const match = /^([1-9][0-9]{0,4})\/([1-9][0-9]{0,4})$/.exec(text)
  if (match === null)
    throw new ZtError('USAGE', `--part is not i/n: ${text}`, { hint: 'for example --part 1/8' })
  return { part: Number(match[1]), parts: Number(match[2]) }
}

/** Hashes one part and writes it. */
export async function runPart(model: string | undefined, options: PartRunOptions): Promise<void> {
  const { part, partOutput } = options
  if (model === undefined) throw new ZtError('USAGE', 'nothing says which model')
  if (part === undefined || partOutput === undefined)
    throw new ZtError('USAGE', '--part and --part-output go together')
  if (options.key !== undefined || options.keyless === true)
    throw new ZtError('USAGE', 'a part is not signed: the key belongs to --from-parts')
  if (inModel(model, partOutput) !== null)
    throw new ZtError('USAGE', 'the part would become a file of the model', {
      path: partOutput,
      hint: 'write it outside of the model',
    })
  const { hashPart } = await import('../sign/parts.ts')
  const line = progressLine('hashing')
  const hashed = await interruptible((signal) =>
    hashPart(model, {
      ...part,
      signal,
      hashType: options.hash,
      ignorePaths: readIgnores(model, options.ignore),
      ...(options.signature === undefined ? {} : { signature: options.signature }),
      ...(options.shardSize === undefined ? {} : { shardSize: options.shardSize }),
      ...(options.allowSymlinks === true ? { allowSymlinks: true } : {}),
      ...(options.compat === undefined ? {} : { compat: options.compat }),
      ...(options.sizes === true ? { sizes: true } : {}),
      ...(options.fsverity === true ? { fsverity: true } : {}),
      ...(line.onProgress === undefined ? {} : { onProgress: line.onProgress }),
    }),
  ).finally(() => {
    line.done()
  })
  const { bytes, checks, pieces, hashedBytes } = hashed
  process.exitCode = bytes === null ? EXIT.refused : EXIT.allowed
  if (bytes !== null) writeAtomically(partOutput, bytes)
  if (options.json === true) {
    const answer = {
      hashed: bytes !== null,
      ...part,
      pieces,
      bytes: hashedBytes,
      output: partOutput,
      checks,
    }
    process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`)
    return
  }
  process.stderr.write(renderChecks(checks, coloured(process.stderr)))
  process.stdout.write(
    bytes === null
      ? 'not hashed\n'
      : `hashed part ${part.part} of ${part.parts}: ${pieces} ${pieces === 1 ? 'piece' : 'pieces'}, ${size(hashedBytes)}\n${partOutput}\n`,
  )
}

/** Joins and signs. */
export async function joinFiles(
  files: readonly string[],
  model: string | undefined,
  options: { readonly name?: string; readonly signature?: string },
  signer: Signer,
): Promise<SignedModel> {
  const { signParts } = await import('../sign/parts.ts')
  return signParts(
    files.map((path) => ({ name: path, bytes: readBytes(path, MAX_BUNDLE) })),
    {
      signer,
      ...(model === undefined ? {} : { model }),
      ...(options.name === undefined ? {} : { name: options.name }),
      ...(options.signature === undefined ? {} : { signature: options.signature }),
    },
  )
}
