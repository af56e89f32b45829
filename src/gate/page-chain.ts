// The single owner of the chain of trust as it is drawn: from the signer to the files, from the vendor to the model on the machine.
import type { Check, CheckStatus, Verdict } from '../verdict.ts'

export interface Link {
  /** How it follows from the one before; none for the first. */
  readonly from?: string
  readonly kind: string
  readonly status: CheckStatus
  readonly title: string
  readonly more?: string
}

export interface Lane {
  readonly title: string
  readonly links: readonly Link[]
}

/** The lanes of a verdict. Only what its checks say is drawn. */
export function chainOf(verdict: Verdict): readonly Lane[] {
  const { checks } = verdict
  if (checks.some(({ id, status }) => id === 'policy.rule' && status === 'fail'))
    return [
      {
        title: 'The policy',
        links: [
          {
            kind: 'Rule',
            status: 'fail',
            title: 'No rule of the policy is about this model',
            more: 'so nothing else was looked at',
          },
        ],
      },
    ]
  return [modelLane(verdict), ...machineLane(checks), ...otherLane(checks)]
}

function modelLane({ checks, subject }: Verdict): Lane {
  const signer = find(checks, 'model.signed-by')
  const steps = checks.filter(({ id }) => id.startsWith('signature.'))
  const files = checks.filter(({ id }) => id.startsWith('model.') && !SIGNING.has(id))
  const summary = worst(files)
  return {
    title: 'The model: is it the one that was signed?',
    links: [
      signer === undefined
        ? {
            kind: 'Signer',
            status: worst(steps)?.status ?? 'skip',
            title: worst(steps)?.status === 'pass' ? 'the signer that was named' : reason(steps),
          }
        : {
            kind: 'Signer',
            status: signer.status,
            title: signer.message,
            ...more(detailOf(signer)),
          },
      {
        from: 'signed',
        kind: 'List of files',
        status: subject.digest === undefined ? 'fail' : 'pass',
        title: subject.digest === undefined ? 'no list that counts' : 'a list of every file',
        ...more(
          subject.digest === undefined
            ? undefined
            : `sha256:${subject.digest.sha256.slice(0, 24)}…`,
        ),
      },
      {
        from: 'compared with',
        kind: 'Files found',
        status: summary?.status ?? 'skip',
        title:
          summary?.status === 'pass'
            ? (find(checks, 'model.files')?.message ?? summary.message)
            : (summary?.message ?? 'not looked at'),
        ...more(find(checks, 'model.route')?.message),
      },
    ],
  }
}

const SIGNING: ReadonlySet<string> = new Set([
  'model.signed-by',
  'model.hashes',
  'model.signature-age',
  'model.admitted',
])

function machineLane(checks: readonly Check[]): readonly Lane[] {
  const evidence = find(checks, 'machine.evidence')
  if (evidence === undefined) return []
  const title = 'The machine: where would it run?'
  if (evidence.status === 'skip')
    return [
      {
        title,
        links: [
          {
            kind: 'Machine',
            status: 'skip',
            title: 'No machine was asked for',
            more: 'this verdict says nothing about where the model runs',
          },
        ],
      },
    ]
  const link = (
    kind: string,
    ids: readonly string[],
    words: { readonly from?: string; readonly passed?: string } = {},
  ): Link => {
    const own = ids.flatMap((id) => find(checks, id) ?? [])
    const check = worst(own)
    const status = check?.status ?? 'skip'
    const shown = status === 'pass' ? (words.passed ?? check?.message) : check?.message
    return {
      ...(words.from === undefined ? {} : { from: words.from }),
      kind,
      status,
      title: shown ?? 'not looked at',
      ...more(shorter(detailOf(check))),
    }
  }
  return [
    {
      title,
      links: [
        link('Maker of the hardware', ['machine.root']),
        link('Machine', ['machine.evidence'], { from: 'vouches for' }),
        link('Its software', ['machine.measurement'], { from: 'measured' }),
        link('This occasion', ['machine.nonce', 'machine.freshness', 'machine.binding'], {
          from: 'bound to',
          passed: 'this model, and this question',
        }),
      ],
    },
  ]
}

/** Links that few policies ask for: drawn only where one does. */
function otherLane(checks: readonly Check[]): readonly Lane[] {
  const admitted = find(checks, 'model.admitted')
  const protection = find(checks, 'protection')
  const links = [
    { check: admitted, kind: 'Earlier verdict' },
    { check: protection, kind: 'Protection' },
  ].flatMap(({ check, kind }): Link[] =>
    check === undefined || check.status === 'skip'
      ? []
      : [
          {
            from: 'and',
            kind,
            status: check.status,
            title: check.message,
            ...more(detailOf(check)),
          },
        ],
  )
  return links.length === 0 ? [] : [{ title: 'Before and after', links }]
}

function find(checks: readonly Check[], id: string): Check | undefined {
  return checks.find((check) => check.id === id)
}

const ORDER: readonly CheckStatus[] = ['fail', 'warn', 'pass', 'skip']

/** The first of the worst status; what did not run only where nothing did. */
function worst(checks: readonly Check[]): Check | undefined {
  for (const status of ORDER) {
    const found = checks.find((check) => check.status === status)
    if (found !== undefined) return found
  }
  return undefined
}

function reason(checks: readonly Check[]): string {
  return worst(checks)?.message ?? 'no signature was looked at'
}

function detailOf(check: Check | undefined): string | undefined {
  if (check?.status !== 'fail') return check?.actual
  return check.expected === undefined ? undefined : `expected: ${check.expected}`
}

function more(text: string | undefined): { readonly more?: string } {
  return text === undefined ? {} : { more: text }
}

/** Digests in a drawing are for recognising, not for comparing. */
function shorter(text: string | undefined): string | undefined {
  return text?.replace(/\b([0-9a-f]{16})[0-9a-f]{16,}\b/g, '$1…')
}
