#!/usr/bin/env node
// The entry point that the public conformance suite of OpenSSF Model Signing calls (pytest test/ --entrypoint=test/conformance/adapter.mjs).
// It turns the suite's command line into ours: exit code 0 for success, anything else for refusal.
import { existsSync, statSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const ZT4AI = new URL('../../dist/src/cli/main.js', import.meta.url)
const REPEATED = new Set(['cert-chain', 'ignore-paths'])
const FLAGS = new Set(['ignore-unsigned-files', 'use-staging'])

/** `--name value` and flags, as the suite writes them. */
function read(args) {
  const options = new Map()
  for (let i = 0; i < args.length; i++) {
    const name = args[i].startsWith('--') ? args[i].slice(2) : fail(`not an option: ${args[i]}`)
    if (FLAGS.has(name)) options.set(name, ['true'])
    else if (i + 1 < args.length)
      options.set(
        name,
        REPEATED.has(name) ? [...(options.get(name) ?? []), args[++i]] : [args[++i]],
      )
    else fail(`no value for ${args[i]}`)
  }
  return options
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(2)
}

/** The suite gives absolute paths, also for models of one file, beside which they then lie; what lies outside a model has no meaning for it. */
function ignored(model, paths) {
  if (!existsSync(model) || !statSync(model).isDirectory()) return []
  return paths
    .filter((path) => !relative(resolve(model), resolve(path)).startsWith('..'))
    .flatMap((path) => ['--ignore', path])
}

const [operation, ...rest] = process.argv.slice(2)
if (operation === 'capabilities') {
  process.stdout.write(
    `${JSON.stringify({ flags: ['--ignore-paths', '--ignore-unsigned-files'], hash_algorithms: ['sha256', 'blake2b', 'blake3'], benchmark_model: false })}\n`,
  )
  process.exit(0)
}
const options = read(rest)
const one = (name) => options.get(name)?.[0]
const many = (name) => options.get(name) ?? []
const need = (name) => one(name) ?? fail(`--${name} is missing`)
if (one('use-staging') !== undefined)
  fail('the staging instance is not supported: give a trusted root')

const method = need('method')
const args = [
  need('model-path'),
  '--signature',
  need(operation === 'sign-model' ? 'output-bundle' : 'bundle'),
]
args.push(...ignored(need('model-path'), many('ignore-paths')))
if (operation === 'sign-model') {
  args.unshift('sign')
  if (method === 'sigstore')
    args.push(
      '--keyless',
      ...(one('identity-token') === undefined ? [] : ['--identity-token', one('identity-token')]),
    )
  else args.push('--key', need('private-key'))
  if (method === 'certificate')
    args.push(
      '--certificate',
      need('signing-cert'),
      ...many('cert-chain').flatMap((path) => ['--chain', path]),
    )
} else if (operation === 'verify-model') {
  args.unshift('verify')
  if (method === 'key') args.push('--key', need('public-key'))
  else if (method === 'certificate')
    args.push(...many('cert-chain').flatMap((path) => ['--ca', path]))
  else if (method === 'sigstore') {
    args.push('--identity', need('identity'), '--issuer', need('identity-provider'))
    const root = process.env.ZT4AI_TRUSTED_ROOT
    args.push(...(root === undefined ? ['--fetch-trusted-root'] : ['--trusted-root', root]))
  }
  if (one('ignore-unsigned-files') !== undefined) args.push('--ignore-unsigned')
} else fail(`unknown operation: ${operation}`)

process.argv = [process.execPath, fileURLToPath(ZT4AI), ...args]
await import(ZT4AI)
