// Makes a fresh clone ready: installs what the lock file names if it isn't there, then builds what changed (of the projects named, or all).
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`zt4ai needs Node.js 20.19 or newer; this is ${process.versions.node}`)
  process.exit(2)
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (error) console.error(`${command}: ${error.message}`)
  if (status !== 0) process.exit(status ?? 1)
}

const lock = createHash('sha256')
  .update(readFileSync(`${root}/package-lock.json`))
  .digest('hex')
const mark = `${root}/node_modules/.zt4ai-lock`
if (!existsSync(mark) || readFileSync(mark, 'utf8') !== lock) {
  console.error('installing dependencies …')
  // Not `npm ci`: it wants an entry for the optional binaries of every platform, and a mirror need not carry them all.
  run('npm', [
    'install',
    '--no-save',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ])
  writeFileSync(mark, lock)
}

// `--clean`: what is packed must hold nothing of sources that are no longer there.
const projects = process.argv.slice(2).filter((argument) => argument !== '--clean')
if (projects.length < process.argv.length - 2)
  rmSync(`${root}/dist`, { recursive: true, force: true })
run(process.execPath, [`${root}/node_modules/typescript/bin/tsc`, '-b', ...projects])
