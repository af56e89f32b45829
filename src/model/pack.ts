// The single owner of writing a model as a tar: the same files give the same bytes, whoever packs them and when.
import { createReadStream } from 'node:fs'
import { pack as makePack } from 'tar-stream'

/** A file that is packed. */
export interface PackedFile {
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** Where its bytes are. */
  readonly path: string
}

/** The archive as a stream: ustar, names in the order given, no owner, no time, mode 644. Read again, it gives the same bytes. */
export async function* packTar(files: readonly PackedFile[]): AsyncIterable<Uint8Array> {
  const pack = makePack()
  const writing = writeAll(pack, files)
  writing.catch((error: unknown) => pack.destroy(error as Error))
  for await (const chunk of pack) yield chunk as Uint8Array
  await writing
}

async function writeAll(
  pack: ReturnType<typeof makePack>,
  files: readonly PackedFile[],
): Promise<void> {
  for (const { name, size, path } of files) {
    const header = { name, size, mode: 0o644, mtime: new Date(0), uid: 0, gid: 0 }
    await new Promise<void>((resolve, reject) => {
      const entry = pack.entry(header, (error) => (error ? reject(error) : resolve()))
      const source = createReadStream(path, { highWaterMark: 1024 * 1024 })
      source.on('error', reject)
      source.pipe(entry)
    })
  }
  pack.finalize()
}
