// CODES.md says what the code says: both lists, whole, in order, with their meanings.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { CODES as ATTESTATION } from '../../attestation/codes.ts'
import { CODES } from '../../src/codes.ts'
import { REPOSITORY } from '../shared.ts'

/** The rows of each table, under its heading. */
function tables(): readonly (readonly [string, string])[][] {
  const page = readFileSync(resolve(REPOSITORY, 'CODES.md'), 'utf8')
  return page
    .split(/^## /m)
    .slice(1)
    .map((section) =>
      [...section.matchAll(/^\| `([A-Z0-9_]+)` *\| (.*?) *\|$/gm)].map(
        ([, code = '', meaning = '']) => [code, meaning] as const,
      ),
    )
}

describe('CODES.md', () => {
  it('lists the codes of attestation/ and of src/ (npx tsx scripts/codes.mjs writes it)', () => {
    expect(tables()).toEqual([Object.entries(ATTESTATION), Object.entries(CODES)])
  })

  it('gives each code one meaning, and each meaning is one line', () => {
    for (const [code, meaning] of [...Object.entries(ATTESTATION), ...Object.entries(CODES)]) {
      expect(code).toMatch(/^[A-Z][A-Z0-9_]*$/)
      expect(meaning, code).toMatch(/^[^\n|]{10,160}$/)
    }
    const both = Object.keys(ATTESTATION).filter((code) => code in CODES)
    expect(both).toEqual([])
  })
})
