// The single owner of the progress line: bytes, rate and time left, on a terminal's standard error and nowhere else.
/** How far an operation is. A stream's total is not known. */
export interface Progress {
  readonly bytes: number
  readonly totalBytes?: number
}

/** What the line is written to. */
export interface ProgressStream {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export interface ProgressLine {
  /** To be called as often as one likes; undefined where there is no terminal. */
  readonly onProgress: ((progress: Progress) => void) | undefined
  /** Clears the line. */
  done(): void
}

/** Milliseconds between two states of the line. */
const EVERY = 100

/** A progress line on `stream`; `now` in milliseconds. */
export function progressLine(
  label: string,
  stream: ProgressStream = process.stderr,
  now: () => number = Date.now,
): ProgressLine {
  if (stream.isTTY !== true) return { onProgress: undefined, done: () => undefined }
  const start = now()
  let shown = 0
  // a terminal that was given no size says 0
  const width = (): number => (stream.columns === 0 ? 80 : (stream.columns ?? 80))
  return {
    onProgress: (progress) => {
      const at = now()
      if (shown !== 0 && at - shown < EVERY) return
      shown = at
      const line = `${label} ${describeProgress(progress, (at - start) / 1000)}`
      stream.write(`\r\u001b[2K${line.slice(0, width() - 1)}`)
    },
    done: () => {
      if (shown !== 0) stream.write('\r\u001b[2K')
    },
  }
}

/** `1.2 GB of 4.0 GB (30 %), 1.9 GB/s, 2 s left`. */
export function describeProgress({ bytes, totalBytes }: Progress, seconds: number): string {
  if (totalBytes === undefined)
    return `${size(bytes)}, ${size(seconds > 0 ? bytes / seconds : 0)}/s`
  const percent = totalBytes === 0 ? 100 : Math.floor((bytes / totalBytes) * 100)
  const rate = seconds > 0 ? bytes / seconds : 0
  const left = rate > 0 ? `, ${duration((totalBytes - bytes) / rate)} left` : ''
  return `${size(bytes)} of ${size(totalBytes)} (${percent} %), ${size(rate)}/s${left}`
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** A number of bytes for a person. */
export function size(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(value < 9.95 ? 1 : 0)} ${UNITS[unit] ?? ''}`
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}
