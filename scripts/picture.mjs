// Draws the picture of the rooms and their arrows in ARCHITECTURE.md from the code itself. `--check` fails if the picture there is an old one.
import { cruise } from 'dependency-cruiser'
import { readFileSync, writeFileSync } from 'node:fs'

const FILE = 'ARCHITECTURE.md'
const BEGIN = '<!-- picture: made by `npm run picture` -->'
const END = '<!-- end of picture -->'

/** The room of a file: `src/model`, `attestation`, or nothing for the foundation, which everybody may use. */
function room(path) {
  if (path.startsWith('attestation/')) return 'attestation'
  const match = /^src\/([a-z]+)\//.exec(path)
  return match === null ? undefined : match[1]
}

const { output } = await cruise(['attestation', 'src'], {
  doNotFollow: { path: 'node_modules' },
  tsPreCompilationDeps: 'specify',
})
const arrows = new Map()
for (const module of output.modules) {
  const from = room(module.source)
  for (const dependency of module.dependencies) {
    const to = room(dependency.resolved)
    if (from === undefined || to === undefined || from === to) continue
    const types = dependency.dependencyTypes.includes('type-only')
    const key = `${from} ${to}`
    arrows.set(key, (arrows.get(key) ?? true) && types)
  }
}
const lines = [...arrows]
  .sort(([a], [b]) => (a < b ? -1 : 1))
  .map(([key, typesOnly]) => {
    const [from, to] = key.split(' ')
    return `  ${from} ${typesOnly ? '-. types .->' : '-->'} ${to}`
  })
const picture = ['```mermaid', 'flowchart TD', ...lines, '```'].join('\n')

const text = readFileSync(FILE, 'utf8')
const begin = text.indexOf(BEGIN)
const end = text.indexOf(END)
if (begin < 0 || end < begin) {
  console.error(`${FILE} has no place for the picture`)
  process.exit(1)
}
const next = `${text.slice(0, begin + BEGIN.length)}\n\n${picture}\n\n${text.slice(end)}`
if (process.argv.includes('--check')) {
  if (next !== text) {
    console.error(`the picture in ${FILE} is not the one of the code: npm run picture`)
    process.exit(1)
  }
} else writeFileSync(FILE, next)
