// Makes the virtual environment with the Python package model-signing, once, beside the checkout's other build output.
import { execFileSync } from 'node:child_process'
import type { ExecFileSyncOptions } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { REPOSITORY } from '../shared.ts'

const VERSION = '1.1.1'
// pyOpenSSL: 1.1.1 imports it and counted on an older sigstore to bring it along
const PACKAGES = [`model-signing==${VERSION}`, 'pyOpenSSL']
const ENVIRONMENT = resolve(REPOSITORY, '.venv')
export const PYTHON = resolve(ENVIRONMENT, 'bin/python')

function installed(): boolean {
  if (!existsSync(PYTHON)) return false
  try {
    const code = 'import OpenSSL, importlib.metadata as m; print(m.version("model-signing"))'
    return execFileSync(PYTHON, ['-c', code], { encoding: 'utf8' }).trim() === VERSION
  } catch {
    return false
  }
}

export function setup(): void {
  if (installed()) return
  rmSync(ENVIRONMENT, { recursive: true, force: true })
  const options: ExecFileSyncOptions = { stdio: ['ignore', 'inherit', 'inherit'] }
  execFileSync('python3', ['-m', 'venv', ENVIRONMENT], options)
  execFileSync(
    PYTHON,
    ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES],
    options,
  )
}
