// Packs the package, installs the tarball in an empty folder as a user would, and runs the main job with it.
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'zt4ai-package-'))
function run(expected, command, ...args) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' })
  if (status === expected) return stdout
  console.error(
    `${command} ${args.join(' ')}: exit ${status}, expected ${expected}\n${stdout}\n${stderr}`,
  )
  process.exit(1)
}

const packed = spawnSync('npm', ['pack', '--silent', '--pack-destination', folder], {
  encoding: 'utf8',
  cwd: resolve(import.meta.dirname, '..'),
})
if (packed.status !== 0) {
  console.error(packed.stderr)
  process.exit(1)
}
const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))
writeFileSync(
  join(folder, 'package.json'),
  '{ "name": "user", "private": true, "type": "module" }\n',
)
run(
  0,
  'npm',
  'install',
  '--silent',
  '--no-audit',
  '--no-fund',
  '--ignore-scripts',
  '--omit=dev',
  `./${tarball}`,
)

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
writeFileSync(join(folder, 'key.pem'), keys.privateKey.export({ type: 'pkcs8', format: 'pem' }))
writeFileSync(join(folder, 'pub.pem'), keys.publicKey.export({ type: 'spki', format: 'pem' }))
mkdirSync(join(folder, 'model'))
writeFileSync(join(folder, 'model', 'weights.bin'), 'weights')
const bin = join(folder, 'node_modules', '.bin', 'zt4ai')
run(0, bin, '--version')
run(0, bin, '--help')
run(0, bin, 'sign', 'model', '--key', 'key.pem')
run(0, bin, 'verify', 'model', '--key', 'pub.pem')
writeFileSync(join(folder, 'model', 'weights.bin'), 'Weights')
run(1, bin, 'verify', 'model', '--key', 'pub.pem')
const library = `
  import * as zt4ai from 'zt4ai'
  import * as attestation from 'zt4ai/attestation'
  import * as snp from 'zt4ai/attestation/snp'
  import * as tdx from 'zt4ai/attestation/tdx'
  import * as policy from 'zt4ai/policy'
  for (const face of [zt4ai, attestation, snp, tdx, policy]) if (Object.keys(face).length === 0) throw new Error('an empty face')
`
run(0, process.execPath, '--input-type=module', '-e', library)
rmSync(folder, { recursive: true })
console.log(`the packed tarball ${tarball} installs and works in an empty folder`)
