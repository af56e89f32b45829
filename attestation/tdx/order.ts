// The single owner of the order of TCB levels.

/**
 * Puts levels in descending order, so that nothing depends on the order in which collateral lists them. Componentwise greater comes first;
 * levels that can't be compared componentwise are ordered by their first difference, as in Intel's verifier.
 */
export function descending<T>(levels: readonly T[], key: (level: T) => readonly number[]): T[] {
  return levels
    .map((level) => ({ level, key: key(level) }))
    .sort((a, b) => compareKeys(b.key, a.key))
    .map(({ level }) => level)
}

/** Lexicographic comparison of equally long lists of numbers. */
export function compareKeys(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const difference = value - (b[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
