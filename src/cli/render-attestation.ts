// The single owner of how an attestation result looks to a person: what it is, where its trust ends, each authenticated field in words, and every check.
import { styleText } from 'node:util'
import type { AttestationResult } from '../../attestation/index.ts'
import { shownName } from '../model/name.ts'
import { renderChecks } from './render.ts'

const PLATFORMS: Readonly<Record<AttestationResult['platform'], string>> = {
  'sev-snp': 'AMD SEV-SNP report',
  tdx: 'Intel TDX quote',
  sgx: 'Intel SGX quote',
}
/** Long digests are cut in the table; JSON has them whole. */
const LONGEST = 96

/** The table. */
export function renderAttestation(
  result: AttestationResult,
  name: string,
  colour: boolean,
): string {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    colour ? styleText(style, text) : text
  const { accepted, platform, at, claims, root } = result
  const head = paint(
    accepted ? ['bold', 'green'] : ['bold', 'red'],
    accepted ? 'ACCEPTED' : 'REFUSED',
  )
  const lines = [`${head}  ${shownName(name)}  ${PLATFORMS[platform]}  at ${at}`]
  if (result.simulated)
    lines.push(
      paint(
        ['bold', 'yellow'],
        'SIMULATED hardware: this proves nothing about a real machine. It is trusted only because its root was named.',
      ),
    )
  if (result.historical)
    lines.push(paint('yellow', `Judged for ${at}, not for now: it says nothing about today.`))
  lines.push('')
  const rows: [string, string, (string | undefined)?][] = [
    [
      'root of trust',
      root === null ? 'none that is trusted' : root.name,
      root === null ? undefined : `sha256:${root.sha256}`,
    ],
  ]
  if (claims === null) rows.push(['authenticated', 'nothing: no field of it was believed'])
  else {
    rows.push(
      ['product', claims.product],
      ['TCB', claims.tcb],
      ['measurement', claims.measurement, 'the software that was launched'],
      ['report data', claims.reportData, 'what the machine bound itself to'],
      ['debugging', claims.debug ? 'POSSIBLE: its memory is not protected' : 'not possible'],
    )
    const shown = new Set(rows.map(([title]) => title.toLowerCase()))
    for (const { name: title, value, meaning } of claims.fields)
      if (!shown.has(title.toLowerCase())) rows.push([title, value, meaning])
  }
  const width = Math.min(26, Math.max(...rows.map(([title]) => title.length)))
  for (const [title, value, meaning] of rows) {
    lines.push(`  ${paint('dim', title.padEnd(width))}  ${cut(value)}`)
    if (meaning !== undefined && meaning !== '')
      lines.push(`  ${' '.repeat(width)}  ${paint('dim', cut(meaning))}`)
  }
  lines.push('', renderChecks(result.checks, colour, true).trimEnd(), '')
  return lines.join('\n')
}

function cut(text: string): string {
  const shown = shownName(text)
  return shown.length > LONGEST && /^[0-9a-f]+$/.test(shown) ? `${shown.slice(0, LONGEST)}…` : shown
}
