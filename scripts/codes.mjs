// Writes CODES.md, both closed lists of codes with their meanings, from the code itself: npx tsx scripts/codes.mjs. `--check` fails if the file is an old one.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { format, resolveConfig } from 'prettier'
import { CODES as ATTESTATION } from '../attestation/codes.ts'
import { CODES } from '../src/codes.ts'

const FILE = fileURLToPath(new URL('../CODES.md', import.meta.url))

const table = (codes) =>
  ['| code | meaning |', '| --- | --- |']
    .concat(Object.entries(codes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`))
    .join('\n')

const text = await format(
  `# Codes

Every check of a verdict and of an attestation result, and every error, carries one of these codes. Both lists are closed. A code never changes its
meaning; a new situation gets a new code. This page is made by \`npx tsx scripts/codes.mjs\`, and a test compares it with the code.

The same code is a refusal where it stands in a check with status \`fail\`, and "no answer could be reached" where an error carries it: exit code 1
and exit code 3 of the command line. With status \`warn\` it is worth knowing; with \`skip\` nothing was compared.

## Of the attestation verifier (\`attestation/\`)

${table(ATTESTATION)}

## Of everything else (\`src/\`)

${table(CODES)}
`,
  { ...(await resolveConfig(FILE)), parser: 'markdown' },
)

if (!process.argv.includes('--check')) writeFileSync(FILE, text)
else if (!existsSync(FILE) || readFileSync(FILE, 'utf8') !== text) {
  console.error('CODES.md is not the one of the code: npx tsx scripts/codes.mjs')
  process.exit(1)
}
