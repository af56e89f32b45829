// The single owner of the page of a verdict: one file that a person who has never seen this tool can read. No script, nothing from elsewhere, everything escaped.
import { bytesToBase64, sha256, utf8Encode } from '../../attestation/lib/index.ts'
import { shownName } from '../model/name.ts'
import type { Check, CheckStatus, Verdict } from '../verdict.ts'
import { chainOf, type Lane, type Link } from './page-chain.ts'
import { STYLE } from './page-style.ts'
import { isDetail, NOT_SAID, titleOf } from './page-words.ts'

/** Checks shown of one kind; the verdict itself has them all. */
const MAX_SHOWN = 100
const MARKS: Readonly<Record<CheckStatus, readonly [string, string]>> = {
  pass: ['✓', 'passed'],
  fail: ['✗', 'failed'],
  warn: ['!', 'warning'],
  skip: ['–', 'did not run'],
}

/**
 * The page. Its only style is its own, named by digest in its content security policy; a name in a verdict can't become markup, a
 * link, or text that runs the other way.
 * @param origin `not verified` where the verdict was only found, and not computed here
 */
export function verdictPage(
  verdict: Verdict,
  origin: 'computed' | 'not verified' = 'computed',
): string {
  const { decision, subject } = verdict
  const allowed = decision === 'allow'
  const style = bytesToBase64(sha256(utf8Encode(STYLE)))
  const title = `${allowed ? 'Allowed' : 'Refused'}: ${shownName(subject.name)}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-${style}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${head(verdict)}
${origin === 'computed' ? '' : UNVERIFIED}
${asked(verdict)}
${chain(verdict)}
${results(verdict)}
${inputs(verdict)}
${footer(verdict)}
</main>
</body>
</html>
`
}

const UNVERIFIED =
  '<p class="banner">Nobody verified this verdict: it is shown as it was found in a file. Whoever relies on it must check who signed it, or compute it again.</p>'

function head({ decision, subject, policy, at, checks }: Verdict): string {
  const allowed = decision === 'allow'
  const failed = checks.filter(({ status, id }) => status === 'fail' && !isDetail(id)).length
  const under = policy === null ? '' : ` under the policy ${name(policy.name)}`
  const said = allowed
    ? `The model ${name(subject.name)} may be used${under}.`
    : `The model ${name(subject.name)} must not be used${under}: ${count(failed, 'requirement is', 'requirements are')} not met.`
  const simulated = checks.some(({ code }) => code === 'SIMULATED')
    ? '<p class="banner">SIMULATED hardware. The machine in this verdict does not exist: it is a simulation that the policy allows by name. This proves nothing about any real machine.</p>'
    : ''
  const mark = allowed ? '✓' : '✗'
  return `<header class="${decision}">
<h1 class="decision"><span class="mark" aria-hidden="true">${mark}</span>${allowed ? 'Allowed' : 'Refused'}</h1>
<p class="wrap">${said} Judged for ${escape(moment(at))}.</p>
</header>
${simulated}`
}

function asked({ subject, policy, at, checks, protection }: Verdict): string {
  const rule = checks.find(({ id, status }) => id === 'policy.rule' && status === 'pass')
  const rows: (readonly [string, string])[] = [
    ['Model', name(subject.name)],
    [
      'Its identity',
      subject.digest === undefined
        ? rule === undefined && policy !== null
          ? 'not looked at'
          : 'none: nobody who is trusted here has signed what was found'
        : `<code>sha256:${escape(subject.digest.sha256)}</code>`,
    ],
    [
      'Policy',
      policy === null
        ? 'none: one signer was named by the person who asked'
        : `${name(policy.name)} <code>sha256:${escape(policy.digest.sha256)}</code>`,
    ],
    ...(rule === undefined ? [] : [['Rule', escape(rule.actual ?? rule.message)] as const]),
    ['Judged for', escape(moment(at))],
    ...(protection === undefined ? [] : [['Protection reached', escape(protection)] as const]),
  ]
  return `<section>
<h2>What was asked</h2>
<p class="lead">May this model be used? A policy, written by whoever owns the decision, says who must have signed it, what it may consist of, and which machine may run it.</p>
<dl class="facts">${rows.map(([term, value]) => `<dt>${term}</dt><dd>${value}</dd>`).join('')}</dl>
</section>`
}

function chain(verdict: Verdict): string {
  const lanes = chainOf(verdict)
  const allowed = verdict.decision === 'allow'
  return `<section>
<h2>The chain of trust</h2>
<p class="lead">Each box rests on the one before it. A chain with a broken link proves nothing.</p>
<div class="chain">
${lanes.map(lane).join('\n')}
<div class="end ${verdict.decision}"><span class="mark ${allowed ? 'pass' : 'fail'}" aria-hidden="true">${allowed ? '✓' : '✗'}</span><div><b>${allowed ? 'Allowed' : 'Refused'}</b> <span class="lead">${allowed ? 'Every link that the policy asks for holds.' : 'At least one link that the policy asks for does not hold.'}</span></div></div>
</div>
</section>`
}

function lane({ title, links }: Lane): string {
  return `<div class="lane"><h3>${escape(title)}</h3><div class="links">${links
    .map((link, index) => (index === 0 ? '' : edge(link.from ?? '')) + node(link))
    .join('')}</div></div>`
}

function edge(label: string): string {
  return `<div class="edge"><span>${escape(label)}</span><svg viewBox="0 0 54 14" aria-hidden="true" focusable="false"><path d="M1 7h46M41 1l8 6-8 6" fill="none" stroke="currentColor" stroke-width="2"/></svg></div>`
}

function node({ kind, status, title, more }: Link): string {
  return `<div class="node ${status}">${mark(status)} <span class="kind">${escape(kind)}</span><b>${words(title)}</b>${more === undefined ? '' : `<span class="more">${words(more)}</span>`}</div>`
}

function mark(status: CheckStatus): string {
  const [sign, word] = MARKS[status]
  return `<span class="mark ${status}" role="img" aria-label="${word}">${sign}</span>`
}

function results({ checks }: Verdict): string {
  const of = (...wanted: readonly CheckStatus[]): readonly Check[] =>
    checks.filter(({ status }) => wanted.includes(status))
  const main = (list: readonly Check[]): readonly Check[] => list.filter(({ id }) => !isDetail(id))
  const rest = (list: readonly Check[]): readonly Check[] => list.filter(({ id }) => isDetail(id))
  const failed = of('fail')
  const passed = of('pass')
  const skipped = of('skip')
  const none = '<p class="lead">Nothing.</p>'
  return `${
    failed.length === 0
      ? ''
      : `<section><h2>Why it is refused</h2><p class="lead">Each of these alone is a reason. What would have passed stands beside it.</p>${listOf([...main(failed), ...rest(failed)])}</section>`
  }
<section><h2>What was proved</h2><p class="lead">Checked here, by computing it from the bytes that were given.</p>${
    main(passed).length === 0 ? none : listOf(main(passed))
  }${folded(rest(passed), 'single steps of checking signatures and evidence passed')}</section>
${of('warn').length === 0 ? '' : `<section><h2>What to know</h2><p class="lead">Let pass, but not without a word.</p>${listOf(of('warn'))}</section>`}
<section><h2>What was not proved</h2><p class="lead">Nobody asked for these, or nothing was there to compare with. None of them counts as passed.</p>${
    main(skipped).length === 0 ? none : listOf(main(skipped))
  }${folded(rest(skipped), 'single steps had nothing to compare with')}
<h3>And what no verdict says</h3><ul class="plain">${NOT_SAID.map((one) => `<li>${escape(one)}</li>`).join('')}</ul></section>`
}

function listOf(checks: readonly Check[]): string {
  const shown = checks.slice(0, MAX_SHOWN)
  const hidden = checks.length - shown.length
  return `<ul class="checks">${shown.map(item).join('')}</ul>${hidden === 0 ? '' : `<p class="lead">… and ${hidden} more, which the verdict itself lists.</p>`}`
}

function folded(checks: readonly Check[], words: string): string {
  if (checks.length === 0) return ''
  return `<details><summary>${checks.length} ${escape(words)}</summary>${listOf(checks)}</details>`
}

function item(check: Check): string {
  const { id, status, code, message, expected, actual, hint } = check
  const rows = (
    [
      ['Expected', expected],
      [status === 'fail' ? 'Found' : 'In detail', actual],
      ['What to do', status === 'pass' ? undefined : hint],
    ] as const
  ).flatMap(([term, value]) =>
    value === undefined ? [] : [`<dt>${term}</dt><dd>${lines(value)}</dd>`],
  )
  const title = titleOf(id)
  const label = status === 'fail' || status === 'warn' ? `${id} · ${code}` : id
  return `<li class="check ${status}">${mark(status)}<div><div class="title">${escape(title)}</div><div>${words(message)}</div>${rows.length === 0 ? '' : `<dl>${rows.join('')}</dl>`}<div class="id mono">${escape(label)}</div></div></li>`
}

function inputs({ inputs: list }: Verdict): string {
  if (list.length === 0) return ''
  const rows = list
    .slice(0, 1000)
    .map(
      ({ name: input, digest }) =>
        `<tr><td>${escape(input)}</td><td><code>${escape(digest.sha256)}</code></td></tr>`,
    )
  return `<section><h2>What it rests on</h2><details><summary>${count(list.length, 'input', 'inputs')}, by SHA-256</summary><table><tbody>${rows.join('')}</tbody></table></details></section>`
}

function footer({ schema }: Verdict): string {
  return `<footer><p>This page shows a verdict (${escape(schema)}); it is not signed and proves nothing by itself. Whoever has the record of the verdict can compute it again: <code>zt4ai admit --replay FILE</code>.</p></footer>`
}

function moment(at: string): string {
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return at
  const day = date.toLocaleDateString('en-GB', { dateStyle: 'long', timeZone: 'UTC' })
  return `${day}, ${at.slice(11, 19)} UTC`
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`
}

/** A name that somebody else chose, set apart from the sentence around it. */
function name(text: string): string {
  return `<bdi><b>${escape(text)}</b></bdi>`
}

function lines(text: string): string {
  const all = text.split('\n')
  const shown = all.slice(0, MAX_SHOWN).map(words).join('\n')
  return all.length > MAX_SHOWN ? `${shown}\n… and ${all.length - MAX_SHOWN} more` : shown
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

// Beside those that `shownName` knows: marks that have no width or turn the direction of what stands around them.
const UNSEEN = /[\u00ad\u061c\u200b-\u200f\u2060-\u2065\u206a-\u206f\ufeff]/g

/** Text as text: control and direction marks made visible first, then everything that HTML gives a meaning to. */
function escape(text: string): string {
  return shownName(text)
    .replace(UNSEEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .replace(/[&<>"']/g, (sign) => ENTITIES[sign] ?? '')
}

/** A message of ours: what stands in backticks is a word of the policy or the command line. */
function words(text: string): string {
  return escape(text).replace(/`([^`]{1,200})`/g, '<code>$1</code>')
}
