// The single owner of `zt4ai admit --replay`: a saved verdict computed again, and the answer whether every byte agrees.
import { existsSync } from 'node:fs'
import { parseJson } from '../../attestation/lib/index.ts'
import { decodeBundle, MAX_BUNDLE } from '../bundle/bundle.ts'
import { ZtError } from '../error.ts'
import { MAX_REPLAY, readReplay, replay, verdictText } from '../gate/replay.ts'
import { MAX_VERDICT } from '../gate/read-verdict.ts'
import { verdictIn } from '../gate/saved.ts'
import { verdictJson, type Verdict } from '../verdict.ts'
import { EXIT } from './exit.ts'
import { readBytes } from './options.ts'
import { writeVerdict } from './render.ts'
import { replayPath } from './save.ts'

const NOT_COMPUTED =
  'the files themselves: how they compared with the signed list is taken from the record'

/** `file` is the saved verdict or its record. Gives the verdict as it came out. */
export async function runReplay(file: string, json: boolean): Promise<Verdict> {
  const record = existsSync(replayPath(file)) ? replayPath(file) : file
  const recorded = readReplay(readBytes(record, MAX_REPLAY))
  const admission = await replay(recorded)
  const text = verdictJson(admission.verdict)
  const differences: string[] = []
  if (text !== recorded.text) differences.push('the verdict in the record')
  const bundle = record === file ? null : savedText(file)
  if (bundle !== null && text !== bundle) differences.push('the verdict in the signed bundle')
  const agrees = differences.length === 0
  if (json) {
    const answer = {
      agrees,
      differences,
      notComputedAgain: [NOT_COMPUTED],
      verdict: admission.verdict,
    }
    process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`)
  } else {
    writeVerdict(admission.verdict, false)
    process.stdout.write(
      agrees
        ? `\nagrees: every byte of the verdict came out again${bundle === null ? '' : ', as in the signed bundle (whose signature was not checked here)'}\n`
        : `\nDIFFERS from ${differences.join(' and ')}\n`,
    )
    process.stdout.write(`not computed again: ${NOT_COMPUTED}\n`)
  }
  process.exitCode = agrees ? EXIT.allowed : EXIT.refused
  return admission.verdict
}

/** The verdict in a bundle as it stands there; null if there is no bundle. */
function savedText(path: string): string | null {
  if (!existsSync(path)) return null
  const { payload } = decodeBundle(readBytes(path, MAX_BUNDLE)).envelope
  const statement = parseJson(payload, { maxBytes: MAX_VERDICT }) as {
    readonly predicate?: { readonly zt4ai_verdict?: unknown }
  }
  verdictIn(statement as Parameters<typeof verdictIn>[0])
  const verdict = statement.predicate?.zt4ai_verdict
  if (verdict === undefined) throw new ZtError('VERDICT_INVALID', 'no verdict', { path })
  return verdictText(verdict as Parameters<typeof verdictText>[0])
}
