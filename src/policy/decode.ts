// The single owner of the policy's form: the text of one file in, a strict policy out.
import { sha256Hex, utf8Decode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import { Cursor } from './cursor.ts'
import { readExemption, readModes } from './decode-limits.ts'
import { readMachine } from './decode-machine.ts'
import { readRule } from './decode-rule.ts'
import { readSigner } from './decode-signer.ts'
import { MODES, POLICY_SCHEMA, type Policy } from './policy.ts'
import { MAX_TEXT, readYaml } from './yaml.ts'

export interface DecodeOptions {
  /** The file's name, for messages only. */
  readonly file?: string
}

/**
 * Reads a policy. Unknown and duplicate keys, wrong types and contradictions are refused, each with line, column and a hint.
 * Pure: files that the policy names are listed in `files` and put in by `resolve`.
 * Throws only `ZtError`: `POLICY_SYNTAX`, `POLICY_INVALID`, `TOO_LARGE`; `path` is `FILE:LINE:COLUMN`.
 */
export function decodePolicy(input: Uint8Array, options: DecodeOptions = {}): Policy {
  const file = options.file ?? 'policy'
  if (input.length > MAX_TEXT * 4) {
    throw new ZtError('TOO_LARGE', `a policy has at most ${String(MAX_TEXT)} characters`, {
      path: file,
    })
  }
  const root = new Cursor(readYaml(textOf(input, file), file), '', file)
  const top = root.fields([
    'schema',
    'name',
    'description',
    'signers',
    'machines',
    'rules',
    'exemptions',
    'modes',
  ])
  // The schema comes first: a file of another version must not be judged by this one's keys.
  top.need('schema', (value) => value.oneOf([POLICY_SCHEMA]), `write \`schema: ${POLICY_SCHEMA}\``)
  const name = top.need('name', (value) => value.text('the name of the policy', { max: 128 }))
  const description =
    top.get('description', (value) =>
      value.text('a description', { multiline: true, max: 8192 }),
    ) ?? null

  const files: string[] = []
  const signers =
    top.get('signers', (value) => value.named((item) => readSigner(item, files))) ?? new Map()
  const machines =
    top.get('machines', (value) =>
      value.named((item) => readMachine(item, [...signers.keys()], files)),
    ) ?? new Map()
  const rules = top.need(
    'rules',
    (value) => {
      const known = { signers: [...signers.keys()], machines }
      const found = value.named((item) => readRule(item, known))
      return found.size === 0
        ? value.refuse('there is no rule, so nothing would be allowed')
        : found
    },
    'a policy without rules allows nothing; `zt4ai policy init` writes a first one',
  )
  const exemptions =
    top.get('exemptions', (value) => value.named((item) => readExemption(item))) ?? new Map()
  const modes = top.get('modes', readModes) ?? {
    default: MODES[2],
    namespaces: new Map(),
    exempt: [],
  }
  return {
    schema: POLICY_SCHEMA,
    name,
    description,
    signers,
    machines,
    rules,
    exemptions,
    modes,
    files: [...new Set(files)],
    sha256: sha256Hex(input),
  }
}

function textOf(input: Uint8Array, file: string): string {
  try {
    return utf8Decode(input)
  } catch (cause) {
    throw new ZtError('POLICY_SYNTAX', 'the policy is not UTF-8 text', { path: file, cause })
  }
}
