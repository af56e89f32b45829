// The single owner of what testdata/snp and testdata/tdx hold: simulated machines and negatives, recorded from the well-known seed.
import { utf8Encode } from '../../attestation/lib/index.ts'
import {
  bootLog,
  GENOA_A0,
  rootFile,
  runtimeEvent,
  simulateSnp,
  simulateTdx,
  SNP_NEGATIVES,
  snpEvidenceFile,
  snpFiles,
  TDX_NEGATIVES,
  tdxEvidenceFile,
  tdxFiles,
  type FileOptions,
  type Files,
  type SnpRequest,
  type TdxRequest,
} from '../../src/simulate/index.ts'

interface Machine<R> {
  readonly why: string
  readonly request: R
  readonly options?: FileOptions
}

const SNP: Readonly<Record<string, Machine<SnpRequest>>> = {
  'milan-v2': {
    why: 'Milan, report version 2 (no CPUID), VCEK',
    request: { product: 'Milan', report: { version: 2 } },
  },
  'milan-v3-vlek': {
    why: 'Milan, report version 3, VLEK: chip id zero, provider CN=simulated-region.example',
    request: { product: 'Milan', role: 'vlek', report: { version: 3 } },
  },
  'genoa-v4': {
    why: 'Genoa, report version 4, VCEK',
    request: { report: { version: 4 } },
  },
  'genoa-19a0-v5': {
    why: 'Genoa, CPUID of the Bergamo and Siena range, report version 5, VCEK',
    request: { report: { cpuid: GENOA_A0 } },
  },
  'turin-v3': {
    why: 'Turin (FMC, hardware id of 8 bytes), report version 3, VCEK',
    request: { product: 'Turin', report: { version: 3 } },
  },
  'turin-v5-vlek': {
    why: 'Turin, report version 5, VLEK',
    request: { product: 'Turin', role: 'vlek' },
  },
}

const model = runtimeEvent('model-digest', new Uint8Array(32).fill(0xaa))

const TDX: Readonly<Record<string, Machine<TdxRequest>>> = {
  'v4-td10': {
    why: 'quote version 4, TDX 1.0, Platform CA, CCEL log',
    request: { kind: 'td10' },
  },
  'v5-td15-dstack': {
    why: "quote version 5, TDX 1.5, Platform CA, dstack's log with a model's digest in RTMR3",
    request: { events: [...bootLog('zt4ai'), model] },
    options: { log: 'dstack' },
  },
  'v4-processor-ca': {
    why: 'quote version 4, TDX 1.0, Processor CA, no log',
    request: { kind: 'td10', ca: 'processor' },
    options: { log: 'none' },
  },
  'sgx-v3': {
    why: 'SGX quote version 3',
    request: { kind: 'sgx' },
  },
}

const SNP_REFUSED = ['revoked-ask', 'forged-ark', 'vlek-says-vcek', 'debug', 'leaf-expired']
const TDX_REFUSED = ['revoked-pck', 'relaunch-advised', 'debug', 'tcb-info-expired']

/** Every file below testdata/, by its path. */
export function recordings(): Readonly<Record<string, Uint8Array>> {
  return { ...inFolder('snp', snp()), ...inFolder('tdx', tdx()) }
}

function snp(): Files {
  const files: Record<string, Uint8Array> = {}
  for (const [name, { request }] of Object.entries(SNP)) {
    const evidence = simulateSnp(request)
    files[`${name}.evidence.json`] = utf8Encode(snpEvidenceFile(evidence))
    Object.assign(files, inFolder(evidence.product.toLowerCase(), rootFile(evidence.ark)))
  }
  Object.assign(files, inFolder('genoa-v5-raw', snpFiles(simulateSnp())))
  const refused = SNP_REFUSED.map((name) => find(SNP_NEGATIVES, name))
  for (const { name, record } of refused)
    files[`refused/${name}.evidence.json`] = utf8Encode(snpEvidenceFile(record().evidence))
  files['SOURCES.md'] = sources('SEV-SNP', SNP, refused, [
    "`genoa-v5-raw/`: the same kind of machine (report version 5) in the vendor's own shapes: report, extended report with its certificate table, chain, revocation list.",
    "`milan/`, `genoa/`, `turin/`: the simulated vendor's root of each product, to be named as a trust root.",
  ])
  return files
}

function tdx(): Files {
  const files: Record<string, Uint8Array> = {}
  for (const [name, { request, options }] of Object.entries(TDX))
    files[`${name}.evidence.json`] = utf8Encode(tdxEvidenceFile(simulateTdx(request), options))
  const raw = simulateTdx()
  Object.assign(files, rootFile(raw.root), inFolder('v5-td15-raw', tdxFiles(raw)))
  const refused = TDX_REFUSED.map((name) => find(TDX_NEGATIVES, name))
  for (const { name, record } of refused)
    files[`refused/${name}.evidence.json`] = utf8Encode(
      tdxEvidenceFile(record().evidence, { log: 'none' }),
    )
  files['SOURCES.md'] = sources('TDX and SGX', TDX, refused, [
    '`v5-td15-raw/`: quote version 5 (TDX 1.5), collateral in the usual field names, CCEL table and log.',
    "`root.pem`: the simulated vendor's root, to be named as a trust root.",
  ])
  return files
}

interface Listed {
  readonly name: string
  readonly why: string
  readonly codes: readonly string[]
}

function sources(
  platform: string,
  machines: Readonly<Record<string, Machine<unknown>>>,
  refused: readonly Listed[],
  more: readonly string[],
): Uint8Array {
  const lines = [
    `# Simulated ${platform} evidence`,
    '',
    'Recorded by `src/simulate` from the seed `zt4ai`, at 2026-06-01T00:00:00Z, with `npx tsx scripts/record-testdata.mjs`; a test records it',
    'anew and compares every byte. No vendor made any of it: the vendor is SIMULATED, and its root is trusted only where it is named.',
    '',
    '| evidence | what |',
    '|---|---|',
    ...Object.entries(machines).map(([name, { why }]) => `| ${name}.evidence.json | ${why} |`),
    '',
    '| to be refused | why | code |',
    '|---|---|---|',
    ...refused.map(
      ({ name, why, codes }) => `| refused/${name}.evidence.json | ${why} | ${codes.join(', ')} |`,
    ),
    '',
    ...more.map((line) => `- ${line}`),
    '',
  ]
  return utf8Encode(lines.join('\n'))
}

function find<T extends Listed>(list: readonly T[], name: string): T {
  const found = list.find((each) => each.name === name)
  if (found === undefined) throw new Error(`no negative ${name}`)
  return found
}

function inFolder(folder: string, files: Files): Files {
  return Object.fromEntries(
    Object.entries(files).map(([name, bytes]) => [`${folder}/${name}`, bytes]),
  )
}
