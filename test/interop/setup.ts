// Makes the virtual environment with the Python packages that are asked, once, beside the checkout's other build output.
import { execFileSync } from 'node:child_process'
import type { ExecFileSyncOptions } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { REPOSITORY } from '../shared.ts'

const VERSION = '1.1.1'
// pyOpenSSL: 1.1.1 imports it and counted on an older sigstore to bring it along
const PACKAGES = [`model-signing==${VERSION}`, 'pyOpenSSL', 'sev-snp-measure==0.0.13']
const ENVIRONMENT = resolve(REPOSITORY, '.venv')
export const PYTHON = resolve(ENVIRONMENT, 'bin/python')
/** Where an older release of sev-snp-measure lies, which computes what older hosts measured. */
export const OLD_MEASURE = resolve(ENVIRONMENT, 'old-measure')

function installed(): boolean {
  if (!existsSync(PYTHON) || !existsSync(OLD_MEASURE)) return false
  try {
    const code =
      'import OpenSSL, sevsnpmeasure, importlib.metadata as m; print(m.version("model-signing"))'
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
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
  execFileSync(PYTHON, [...install, ...PACKAGES], options)
  const old = ['--no-deps', '--target', OLD_MEASURE, 'sev-snp-measure==0.0.9']
  execFileSync(PYTHON, [...install, ...old], options)
}
