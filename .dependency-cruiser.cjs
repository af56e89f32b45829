// The arrows of the house, as rules. What is not allowed here is refused. ARCHITECTURE.md's picture is made from the same run (scripts/picture.mjs).
const foundation = '^src/(error|codes|hints|verdict)\\.ts$'
const faces = '^attestation/(index|lib/index)\\.ts$'

/** Which rooms of src a room may import, besides itself, the foundation and attestation's two faces. */
const arrows = {
  model: [],
  fetch: [],
  simulate: [],
  bundle: ['model'],
  sign: ['bundle', 'model'],
  verify: ['bundle', 'model'],
  registry: ['model', 'fetch'],
  policy: [],
  gate: ['policy', 'verify', 'sign', 'registry', 'bundle', 'model', 'fetch'],
  service: ['gate', 'policy', 'verify', 'sign', 'registry', 'bundle', 'model', 'fetch'],
  cli: [
    'service',
    'gate',
    'policy',
    'verify',
    'sign',
    'registry',
    'bundle',
    'model',
    'fetch',
    'simulate',
  ],
}

const rooms = Object.entries(arrows).map(([room, allowed]) => ({
  name: `arrows-of-${room}`,
  severity: 'error',
  comment: `src/${room} may import ${allowed.length === 0 ? 'no other room' : allowed.join(', ')}`,
  from: { path: `^src/${room}/` },
  to: {
    path: '^(src|attestation|test|scripts)/',
    pathNot: [`^src/(${[room, ...allowed].join('|')})/`, foundation, faces],
    // `policy → types only`: a type vanishes when compiled, so it carries no code upwards.
    ...(room === 'policy' ? { dependencyTypesNot: ['type-only'] } : {}),
  },
}))

const only = (name, package_, from) => ({
  name: `only-${name}`,
  severity: 'error',
  from: { path: '^(src|attestation)/', pathNot: from },
  to: { path: `node_modules/${package_}` },
})

module.exports = {
  forbidden: [
    ...rooms,
    {
      name: 'attestation-is-an-island',
      severity: 'error',
      comment: 'attestation/ imports itself and node:crypto, nothing else',
      from: { path: '^attestation/' },
      to: { pathNot: ['^attestation/', '^crypto$', '^node:crypto$'] },
    },
    {
      name: 'attestation-lib-is-the-ground',
      severity: 'error',
      from: { path: '^attestation/lib/' },
      to: {
        path: '^attestation/',
        pathNot: ['^attestation/lib/', '^attestation/(error|codes)\\.ts$'],
      },
    },
    {
      name: 'foundation-imports-types-of-attestation',
      severity: 'error',
      from: { path: foundation },
      to: { pathNot: [foundation, faces] },
    },
    {
      name: 'policy-is-pure',
      severity: 'error',
      comment: 'policy/ does no I/O',
      from: { path: '^src/policy/' },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?crypto$' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-dev-dependency-at-runtime',
      severity: 'error',
      from: { path: '^(src|attestation)/' },
      to: { dependencyTypes: ['npm-dev', 'npm-unknown', 'npm-no-pkg', 'unknown'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^(onnxruntime-node|@huggingface/transformers)$' },
    },
    only('cli-parses-arguments', 'commander/', '^src/cli/'),
    only(
      'keyless-touches-sigstore',
      '(@sigstore/|sigstore/)',
      '^src/(sign|verify)/keyless|^src/bundle/guard',
    ),
    only('model-hashes-with-noble', '@noble/hashes', '^src/model/'),
    only('ed25519-touches-noble-ed25519', '@noble/ed25519', '^src/(sign|verify|bundle)/'),
    only('simulate-touches-noble-curves', '@noble/curves', '^src/simulate/'),
    only('model-reads-tar', 'tar-stream', '^src/model/'),
    only('policy-reads-yaml', 'yaml/', '^src/policy/'),
    only('service-logs', '(pino|prom-client)/', '^src/service/'),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: 'specify',
    tsConfig: { fileName: 'tsconfig.base.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
}
