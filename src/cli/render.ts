// The single owner of how a verdict looks to a person: the decision, each check in one line, and below a failed one what was expected and found.
import { styleText } from 'node:util'
import { shownName } from '../model/name.ts'
import { verdictJson } from '../verdict.ts'
import type { Check, CheckStatus, Verdict } from '../verdict.ts'

/** A stream that may be a terminal. */
export interface Output {
  readonly isTTY?: boolean
  write(text: string): unknown
}

type Style = Parameters<typeof styleText>[0]

const MARKS: Readonly<Record<CheckStatus, { readonly mark: string; readonly style: Style }>> = {
  pass: { mark: '✓', style: 'green' },
  fail: { mark: '✗', style: 'red' },
  warn: { mark: '!', style: 'yellow' },
  skip: { mark: '-', style: 'dim' },
}
const MAX_ROWS = 20
const MAX_LINES = 10

/** Writes a verdict: as JSON (published schema), or as a table. Colour only on a terminal, and never where NO_COLOR is set. */
export function writeVerdict(
  verdict: Verdict,
  json: boolean,
  output: Output = process.stdout,
): void {
  output.write(json ? verdictJson(verdict) : renderVerdict(verdict, coloured(output)))
}

/** True if `output` shows colours (https://no-color.org). */
export function coloured(output: Output): boolean {
  const { NO_COLOR, TERM } = process.env
  return output.isTTY === true && (NO_COLOR === undefined || NO_COLOR === '') && TERM !== 'dumb'
}

/** The table. Many checks of one kind (files that differ) are cut after 20; the JSON has them all. */
export function renderVerdict(verdict: Verdict, colour: boolean): string {
  const paint = painter(colour)
  const { decision, subject, at } = verdict
  const digest = subject.digest === undefined ? '' : `  sha256:${subject.digest.sha256}`
  const head = paint(
    decision === 'allow' ? ['bold', 'green'] : ['bold', 'red'],
    decision.toUpperCase(),
  )
  const lines = [`${head}  ${shownName(subject.name)}${digest}  at ${at}`]
  if (verdict.policy !== null)
    lines.push(`policy ${shownName(verdict.policy.name)}  sha256:${verdict.policy.digest.sha256}`)
  if (verdict.protection !== undefined) lines.push(`protection ${verdict.protection}`)
  const { checks, policy } = verdict
  return `${lines.join('\n')}\n${renderChecks(policy === null ? checks : summed(checks), colour)}`
}

/** The steps of one signature or one piece of evidence that raise no question, as one line: JSON and the page have each. */
function summed(checks: readonly Check[]): readonly Check[] {
  const groups = new Map<string, { pass: number; skip: number }>()
  const groupOf = ({ id, status }: Check): string | undefined =>
    status === 'pass' || status === 'skip'
      ? /^(?:signature|evidence)\.[^.]+(?=\.)/.exec(id)?.[0]
      : undefined
  for (const check of checks) {
    const group = groupOf(check)
    if (group === undefined || check.status === 'fail' || check.status === 'warn') continue
    const counted = groups.get(group) ?? { pass: 0, skip: 0 }
    counted[check.status]++
    groups.set(group, counted)
  }
  const shown = new Set<string>()
  return checks.flatMap((check): Check[] => {
    const group = groupOf(check)
    const counted = group === undefined ? undefined : groups.get(group)
    if (group === undefined || counted === undefined) return [check]
    if (shown.has(group)) return []
    shown.add(group)
    const skipped = counted.skip === 0 ? '' : `, ${counted.skip} had nothing to compare with`
    return [
      {
        id: group,
        status: counted.pass > 0 ? 'pass' : 'skip',
        code: counted.pass > 0 ? 'OK' : 'NOT_GIVEN',
        message: `${counted.pass} single steps passed${skipped} (--json has each)`,
      },
    ]
  })
}

/** Just the checks, one line each and what belongs to those that did not pass; with `whole` also what passed ones compared. */
export function renderChecks(checks: readonly Check[], colour: boolean, whole = false): string {
  const { rows, hidden } = bounded(checks)
  const width = Math.min(28, Math.max(...rows.map(({ id }) => title(id).length), 0))
  const lines = rows.flatMap((check) => renderCheck(check, width, painter(colour), whole))
  if (hidden > 0)
    lines.push(painter(colour)('dim', `  … and ${hidden} more: --json has every check`))
  return lines.map((line) => `${line}\n`).join('')
}

type Painter = (style: Style, text: string) => string

function painter(colour: boolean): Painter {
  return (style, text) => (colour ? styleText(style, text) : text)
}

/** Only the kind of check: the name after the colon stands in the message. */
function title(id: string): string {
  return shownName(id.split(':', 1)[0] ?? id)
}

function bounded(checks: readonly Check[]): { rows: Check[]; hidden: number } {
  const seen = new Map<string, number>()
  const rows = checks.filter(({ id }) => {
    const kind = title(id)
    const count = (seen.get(kind) ?? 0) + 1
    seen.set(kind, count)
    return count <= MAX_ROWS
  })
  return { rows, hidden: checks.length - rows.length }
}

function renderCheck(check: Check, width: number, paint: Painter, whole: boolean): string[] {
  const { mark, style } = MARKS[check.status]
  const lines = [
    `  ${paint(style, mark)} ${title(check.id).padEnd(width)}  ${shownName(check.message)}`,
  ]
  if (check.status === 'pass' && !whole) return lines
  const detail = (name: string, value: string | undefined): void => {
    if (value === undefined) return
    const [first = '', ...rest] = value.split('\n')
    const shown = rest.slice(0, MAX_LINES - 1)
    lines.push(`      ${paint('dim', name.padEnd(8))}  ${shownName(first)}`)
    for (const line of shown) lines.push(`                ${shownName(line)}`)
    if (rest.length > shown.length)
      lines.push(`                … and ${rest.length - shown.length} more`)
  }
  if (check.status !== 'skip' && check.status !== 'pass') detail('code', check.code)
  detail('expected', check.expected)
  detail('actual', check.actual)
  detail('hint', check.hint)
  return lines
}
