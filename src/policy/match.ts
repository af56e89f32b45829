// The single owner of patterns: how a rule, an exemption or a namespace finds what it is about. And of durations.

/**
 * True if the pattern names the text. `*` stands for any characters except `/`; everything else stands for itself, case included.
 * Linear in the product of the lengths: no backtracking that an attacker's name could feed.
 */
export function matches(pattern: string, text: string): boolean {
  // reached[i]: the pattern so far can stand for the first i characters.
  let reached = Array.from({ length: text.length + 1 }, (_, index) => index === 0)
  for (const letter of pattern.split('')) {
    const next: boolean[] = []
    for (let end = 0; end <= text.length; end += 1) {
      const last = text[end - 1]
      next.push(
        letter === '*'
          ? reached[end] === true || (next[end - 1] === true && last !== '/')
          : last === letter && reached[end - 1] === true,
      )
    }
    reached = next
  }
  return reached[text.length] === true
}

/**
 * The names under which a rule may find a model: its name, and each true way of writing its reference. With a digest, the tag is
 * decoration that nobody checked, so it is left out: `oci://HOST/REPO:TAG@sha256:…` is found as `oci://HOST/REPO` and
 * `oci://HOST/REPO@sha256:…`, never by its tag.
 */
export function namesOf(subject: {
  readonly name: string
  readonly reference?: string
}): readonly string[] {
  const { reference } = subject
  // A name is never taken for a reference: a folder called `oci:` must not meet a rule about a registry.
  const names = subject.name.startsWith('oci://') ? [] : [subject.name]
  if (reference === undefined) return names
  const [path = '', digest] = reference.split('@', 2)
  const colon = path.indexOf(':', path.lastIndexOf('/'))
  const repository = colon < 0 ? path : path.slice(0, colon)
  names.push(repository)
  if (digest !== undefined) names.push(`${repository}@${digest}`)
  else if (colon >= 0) names.push(path)
  return names
}

const UNITS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 } as const
const DURATION = /^([1-9][0-9]{0,6})([smhdw])$/

/** Seconds in `90s`, `30m`, `12h`, `7d` or `2w`; null if the text is none of these or longer than a hundred years. */
export function durationSeconds(text: string): number | null {
  const found = DURATION.exec(text)
  const unit = found?.[2] as keyof typeof UNITS | undefined
  if (unit === undefined) return null
  const seconds = Number(found?.[1]) * UNITS[unit]
  return seconds <= 100 * 366 * 86_400 ? seconds : null
}

/** Seconds in words that `durationSeconds` reads. */
export function formatDuration(seconds: number): string {
  for (const unit of ['w', 'd', 'h', 'm'] as const) {
    if (seconds % UNITS[unit] === 0 && seconds >= UNITS[unit])
      return `${String(seconds / UNITS[unit])}${unit}`
  }
  return `${String(seconds)}s`
}
