// The single owner of appraising an authenticated SNP report: every check of the owner's policy, in one stable order, whichever fail.
import type { Authenticated } from '../authenticated.ts'
import { fail, pass, skip, warn } from '../check.ts'
import type { Code } from '../codes.ts'
import { checkExpected } from '../expected.ts'
import type { Expected } from '../expected.ts'
import { bytesToHex, equalBytes, isZero } from '../lib/bytes.ts'
import type { Comparison, EvidenceCheck } from '../result.ts'
import type { SnpFacts } from './authenticate.ts'
import { STRICT_SNP_POLICY, compareFirmware, waivers } from './policy.ts'
import type { BitRule, SnpPolicy, WaivableOption } from './policy.ts'
import { tcbRow } from './product.ts'
import { PLATFORM_BITS, POLICY_BITS } from './report.ts'
import type { FirmwareVersion } from './report.ts'
import { below, describeTcb, equalTcb } from './tcb.ts'

export interface SnpAppraisal {
  readonly checks: readonly EvidenceCheck[]
  /** Ids of the checks that pass only because the policy waives something. */
  readonly waived: ReadonlySet<string>
}

type Rule = (facts: SnpFacts, policy: SnpPolicy) => EvidenceCheck

/** Each rule with the option that can loosen it. */
const RULES: readonly (readonly [Rule, WaivableOption?])[] = [
  [product],
  [debug],
  [policyBits, 'policyBits'],
  [policyAbi],
  [platformInfo, 'platformInfo'],
  [unknownPlatformInfo, 'unknownPlatformInfo'],
  [minimumTcb('reported'), 'minimumTcb'],
  [minimumTcb('committed'), 'minimumTcb'],
  [minimumTcb('launch'), 'minimumTcb'],
  [tcbOrder],
  [provisional, 'provisionalFirmware'],
  [firmware, 'minimumFirmware'],
  [mitigations],
  [vmpl, 'vmpl'],
  [chip, 'anonymousChip'],
  [csp],
  [guestSvn],
  [oneOf('snp.measurement', 'MEASUREMENT', 'measurement', (r) => r.measurement, 'measurements')],
  [oneOf('snp.host-data', 'HOST_DATA', 'host data', (r) => r.hostData, 'hostData')],
  [oneOf('snp.family-id', 'IMAGE_ID', 'family id', (r) => r.familyId, 'familyIds')],
  [oneOf('snp.image-id', 'IMAGE_ID', 'image id', (r) => r.imageId, 'imageIds')],
  [idBlock],
  [oneOf('snp.id-key', 'SIGNING_KEY_ID', 'id key digest', (r) => r.idKeyDigest, 'idKeyDigests')],
  [authorKeyPresent],
  [
    oneOf(
      'snp.author-key',
      'SIGNING_KEY_ID',
      'author key digest',
      (r) => r.authorKeyDigest,
      'authorKeyDigests',
    ),
  ],
  [oneOf('snp.report-id', 'REPORT_ID', 'report id', (r) => r.reportId, 'reportIds')],
  [
    oneOf(
      'snp.report-id-ma',
      'REPORT_ID',
      'migration report id',
      (r) => r.reportIdMa,
      'reportIdsMa',
    ),
  ],
  [reportData],
]

/**
 * Appraises. Every rule is run and reported. Where the policy is looser than the strict default, the check says so: `warn`, WAIVED, with what the strict default would have said.
 */
export function appraiseSnp(
  facts: Authenticated<SnpFacts>,
  policy: SnpPolicy,
  expected: Expected = {},
): SnpAppraisal {
  const loosened = waivers(policy)
  const checks: EvidenceCheck[] = []
  const waived = new Set<string>()
  for (const [rule, option] of RULES) {
    const check = rule(facts, policy)
    if (option === undefined || !loosened.has(option) || check.status === 'fail') {
      checks.push(check)
      continue
    }
    const strict = rule(facts, { ...policy, [option]: STRICT_SNP_POLICY[option] })
    if (strict.status === 'fail') {
      waived.add(check.id)
      checks.push({
        ...strict,
        status: 'warn',
        code: 'WAIVED',
        message: `${strict.message}: waived by ${option}`,
      })
    } else {
      checks.push(
        warn(
          check.id,
          'WAIVED',
          `${option} waives what this report does not need: ${check.message}`,
          strict.status === 'skip'
            ? { expected: `a report that does not need ${option}`, actual: 'this one does not' }
            : strict,
        ),
      )
    }
  }
  checks.push(...checkExpected('snp', facts.report.reportData, expected))
  return { checks, waived }
}

/** Milan's root seed can be extracted in software (arXiv 2605.12990): no evidence from it can tell a chip from a forger. */
function product(
  { report, product: line }: SnpFacts,
  { products, chipIds }: SnpPolicy,
): EvidenceCheck {
  const id = 'snp.allowed-product'
  const weakness =
    'the VCEK root seed of a Milan can be extracted by software (arXiv 2605.12990), so its reports can be forged for any firmware'
  const accepted = products.allow.filter((each) => !products.deny.includes(each))
  const expected = accepted.join(' or ') || 'a chip that the policy lists'
  if (products.deny.includes(line) || !products.allow.includes(line)) {
    const listed = chipIds?.some((known) => equalBytes(known, report.chipId)) === true
    if (listed && !isZero(report.chipId)) {
      return warn(id, 'WAIVED', `${line} is denied, but chipIds lists this very chip`, {
        expected,
        actual: `${line}, chip ${bytesToHex(report.chipId)}`,
      })
    }
    const more = line === 'Milan' ? { hint: weakness } : {}
    const told = { expected, actual: line, ...more }
    return fail(id, 'PRODUCT_DENIED', `the policy does not accept ${line}`, told)
  }
  return line === 'Milan'
    ? warn(id, 'PRODUCT_WEAK', weakness, {
        expected: 'a product whose root seed can’t be extracted',
        actual: line,
        hint: 'deny Milan, or list the chips that you own',
      })
    : pass(id, `${line} is accepted`, { expected, actual: line })
}

const NO_DEBUG = 'debugging not allowed (DEBUG clear)'
const DEBUG_CLEAR: Comparison = { expected: NO_DEBUG, actual: 'not allowed (DEBUG clear)' }
const DEBUG_SET: Comparison = { expected: NO_DEBUG, actual: 'allowed (DEBUG set)' }

function debug({ report }: SnpFacts): EvidenceCheck {
  const on = bit(report.policy, POLICY_BITS.DEBUG)
  return on
    ? fail(
        'snp.debug',
        'DEBUG',
        'the guest policy allows debugging: the host can read its memory',
        DEBUG_SET,
      )
    : pass('snp.debug', 'the guest can’t be debugged', DEBUG_CLEAR)
}

function bit(flags: bigint, position: bigint): boolean {
  return ((flags >> position) & 1n) === 1n
}

/** The names of the bits that break their rule, each with what it should be. */
function broken<K extends string>(
  flags: bigint,
  positions: Readonly<Record<K, bigint>>,
  rules: Readonly<Record<NoInfer<K>, BitRule>>,
): string[] {
  return (Object.keys(positions) as K[]).flatMap((name) => {
    const set = bit(flags, positions[name])
    if (rules[name] === 'required' && !set) return [`${name} must be set`]
    if (rules[name] === 'refused' && set) return [`${name} must not be set`]
    return []
  })
}

/** Flags as a number, and the names of those that are set: `0x3001f (SMT)`. */
function flagsText(flags: bigint, positions: Readonly<Record<string, bigint>>): string {
  let names = ''
  for (const [name, position] of Object.entries(positions))
    if (bit(flags, position)) names += `${names === '' ? '' : ', '}${name}`
  return `0x${flags.toString(16)} (${names || 'no known flag'} set)`
}

/** What the rules ask for, for example `SMT set, CXL_ALLOW clear`. */
function inWords(rules: Readonly<Record<string, BitRule>>): string {
  const asked = Object.entries(rules).filter(([, rule]) => rule !== 'allowed')
  const words = asked.map(([name, rule]) => `${name} ${rule === 'required' ? 'set' : 'clear'}`)
  return words.join(', ') || 'anything'
}

function policyBits({ report }: SnpFacts, policy: SnpPolicy): EvidenceCheck {
  const id = 'snp.policy-bits'
  const withoutDebug = { ...policy.policyBits, DEBUG: 'allowed' } as const // has its own check
  const more = { expected: inWords(withoutDebug), actual: flagsText(report.policy, POLICY_BITS) }
  const problems = broken(report.policy, POLICY_BITS, withoutDebug)
  return problems.length === 0
    ? pass(id, 'the guest policy is accepted', more)
    : fail(id, 'POLICY_BITS', `the guest policy: ${problems.join(', ')}`, more)
}

function policyAbi({ report }: SnpFacts, { minimumAbi }: SnpPolicy): EvidenceCheck {
  const id = 'snp.policy-abi'
  const major = Number((report.policy >> 8n) & 0xffn)
  const minor = Number(report.policy & 0xffn)
  const low = major < minimumAbi.major || (major === minimumAbi.major && minor < minimumAbi.minor)
  const more = {
    expected: `at least ${minimumAbi.major}.${minimumAbi.minor}`,
    actual: `${major}.${minor}`,
  }
  return low
    ? fail(id, 'POLICY_BITS', 'the guest did not demand a firmware ABI that is new enough', more)
    : pass(id, 'the guest demanded a firmware ABI that is new enough', more)
}

function platformInfo({ report }: SnpFacts, policy: SnpPolicy): EvidenceCheck {
  const id = 'snp.platform-info'
  const rules = policy.platformInfo
  const more = { expected: inWords(rules), actual: flagsText(report.platformInfo, PLATFORM_BITS) }
  const problems = broken(report.platformInfo, PLATFORM_BITS, rules)
  return problems.length === 0
    ? pass(id, 'the platform is set up as accepted', more)
    : fail(id, 'PLATFORM_INFO', `the platform: ${problems.join(', ')}`, more)
}

function unknownPlatformInfo({ report }: SnpFacts, policy: SnpPolicy): EvidenceCheck {
  const id = 'snp.platform-info-unknown'
  const unknown = (report.platformInfo >> 8n) << 8n
  const allowed = policy.unknownPlatformInfo
  const refused = unknown & ~allowed
  const told = {
    expected: `no flag above bit 7${allowed === 0n ? '' : ` but 0x${allowed.toString(16)}`}`,
    actual: unknown === 0n ? 'none' : `0x${unknown.toString(16)}`,
  }
  return refused === 0n
    ? pass(id, 'the platform has no unknown flag that is refused', told)
    : fail(id, 'PLATFORM_INFO', 'the platform has flags that this verifier does not know', {
        ...told,
        hint: 'unknownPlatformInfo is the mask of unknown flags that may be set',
      })
}

function minimumTcb(field: 'reported' | 'committed' | 'launch'): Rule {
  const id = `snp.tcb.${field}`
  return ({ tcb, product: line, report }, policy) => {
    const minimum = policy.minimumTcb[field][tcbRow(line, report.cpuid)]
    const low = below(tcb[field], minimum)
    const more = {
      expected: `at least ${describeTcb(minimum) || 'anything'}`,
      actual: describeTcb(tcb[field]),
    }
    return low.length === 0
      ? pass(id, `the ${field} TCB is recent enough`, more)
      : fail(id, 'TCB_BELOW_MINIMUM', `the ${field} TCB is too old: ${low.join(', ')}`, more)
  }
}

/** The firmware never reports a TCB above the committed one, nor commits one above what it runs (firmware ABI, SNP_SET_CONFIG and SNP_COMMIT). */
function tcbOrder({ tcb }: SnpFacts): EvidenceCheck {
  const id = 'snp.tcb.order'
  const problems: string[] = []
  if (below(tcb.committed, tcb.reported).length > 0) problems.push('reported is above committed')
  if (below(tcb.current, tcb.committed).length > 0) problems.push('committed is above current')
  if (below(tcb.current, tcb.reported).length > 0) problems.push('reported is above current')
  const told = { expected: 'reported ≤ committed ≤ current', actual: threeTcbs(tcb) }
  return problems.length === 0
    ? pass(id, 'reported ≤ committed ≤ current', told)
    : fail(id, 'TCB_INCONSISTENT', `the TCBs contradict each other: ${problems.join(', ')}`, told)
}

function threeTcbs({ reported, committed, current }: SnpFacts['tcb']): string {
  if (equalTcb(reported, committed) && equalTcb(committed, current))
    return `all three: ${describeTcb(current)}`
  return `reported ${describeTcb(reported)}; committed ${describeTcb(committed)}; current ${describeTcb(current)}`
}

function provisional({ tcb, report }: SnpFacts, policy: SnpPolicy): EvidenceCheck {
  const id = 'snp.provisional'
  const ahead =
    below(tcb.committed, tcb.current).length > 0 ||
    compareFirmware(report.committedFirmware, report.currentFirmware) !== 0
  const more = {
    expected: `as committed: ${describeTcb(tcb.committed)}, firmware ${words(report.committedFirmware)}`,
    actual: `running: ${describeTcb(tcb.current)}, firmware ${words(report.currentFirmware)}`,
  }
  if (!ahead) return pass(id, 'the running firmware is committed', more)
  return policy.provisionalFirmware
    ? pass(id, 'provisional firmware is accepted', more)
    : fail(id, 'PROVISIONAL_FIRMWARE', 'the running firmware is not committed', more)
}

function words({ major, minor, build }: FirmwareVersion): string {
  return `${major}.${minor}.${build}`
}

function firmware({ report, product: line }: SnpFacts, policy: SnpPolicy): EvidenceCheck {
  const id = 'snp.firmware'
  const minimum = policy.minimumFirmware[line]
  const { currentFirmware: current, committedFirmware: committed } = report
  const low = [current, committed].some((version) => compareFirmware(version, minimum) < 0)
  const more = {
    expected: `at least ${words(minimum)}`,
    actual: `current ${words(current)}, committed ${words(committed)}`,
  }
  return low
    ? fail(id, 'FIRMWARE_BELOW_MINIMUM', 'the firmware is too old', more)
    : pass(id, 'the firmware is recent enough', more)
}

function mitigations({ report }: SnpFacts, { mitigations: wanted }: SnpPolicy): EvidenceCheck {
  const id = 'snp.mitigations'
  if (wanted.launch === 0n && wanted.current === 0n) return skip(id, 'no mitigation was required')
  const hex = (value: bigint): string => `0x${value.toString(16)}`
  const expected = `launch ${hex(wanted.launch)}, current ${hex(wanted.current)}`
  const found = report.mitigations
  if (found === null) {
    const actual = `a report of version ${report.version}`
    const told = { expected, actual }
    return fail(id, 'MITIGATIONS', 'a report before version 5 can’t show mitigations', told)
  }
  const missing = (wanted.launch & ~found.launch) | (wanted.current & ~found.current)
  const more = { expected, actual: `launch ${hex(found.launch)}, current ${hex(found.current)}` }
  return missing === 0n
    ? pass(id, 'the required mitigations were in place', more)
    : fail(id, 'MITIGATIONS', 'a required mitigation is missing', more)
}

function vmpl({ report }: SnpFacts, policy: SnpPolicy): EvidenceCheck {
  const id = 'snp.vmpl'
  const expected = `level ${policy.vmpl.join(' or ')}`
  const more = { expected, actual: `level ${report.vmpl}` }
  if (report.vmpl > 3) {
    const told = { expected, actual: `${report.vmpl}, which is no level of a guest` }
    return fail(id, 'VMPL', 'the host asked for this report, not the guest', told)
  }
  return policy.vmpl.includes(report.vmpl)
    ? pass(id, 'the report was asked for at an accepted privilege level', more)
    : fail(id, 'VMPL', 'the report was asked for at another privilege level', more)
}

/** A report must name its chip; a VLEK, whose provider `cspIds` pins, stands in for that. */
function chip({ report, kind, cspId }: SnpFacts, policy: SnpPolicy): EvidenceCheck {
  const id = 'snp.chip'
  const actual = bytesToHex(report.chipId)
  const anonymous = isZero(report.chipId)
  if (policy.chipIds !== undefined && !anonymous) {
    const told = { expected: oneOfWords(policy.chipIds), actual }
    return policy.chipIds.some((known) => equalBytes(known, report.chipId))
      ? pass(id, 'the chip is on the list', told)
      : fail(id, 'CHIP_ID', 'the chip is not on the list', told)
  }
  if (!anonymous)
    return skip(id, `no list of chips was given (this one is ${actual.slice(0, 16)}…)`)
  if (kind === 'VLEK' && policy.cspIds !== undefined && policy.chipIds === undefined) {
    return pass(id, 'the cloud provider stands in for the chip', {
      expected: 'the id of a chip, or a cloud provider that the policy names',
      actual: `no chip, provider ${cspId ?? 'unknown'}`,
    })
  }
  const none = 'no chip: all zeros'
  return policy.anonymousChip && policy.chipIds === undefined
    ? pass(id, 'a report that names no chip is accepted', {
        expected: 'the id of a chip, or none',
        actual: none,
      })
    : fail(id, 'CHIP_ID', 'the report names no chip, so no chip can be excluded', {
        expected: policy.chipIds === undefined ? 'the id of a chip' : oneOfWords(policy.chipIds),
        actual: none,
        hint: 'pin the cloud provider (cspIds), or accept it (anonymousChip)',
      })
}

function csp({ cspId }: SnpFacts, { cspIds }: SnpPolicy): EvidenceCheck {
  const id = 'snp.csp'
  if (cspIds === undefined) return skip(id, 'no cloud provider was named')
  const more = { expected: cspIds.join(' or '), actual: cspId ?? 'none: the key is a chip’s' }
  return cspId !== null && cspIds.includes(cspId)
    ? pass(id, 'the cloud provider is accepted', more)
    : fail(id, 'CSP_ID', 'the cloud provider is not accepted', more)
}

function guestSvn({ report }: SnpFacts, { minimumGuestSvn: minimum }: SnpPolicy): EvidenceCheck {
  const id = 'snp.guest-svn'
  if (minimum === undefined) return skip(id, 'no minimum guest SVN was given')
  const more = { expected: `at least ${minimum}`, actual: `${report.guestSvn}` }
  return report.guestSvn >= minimum
    ? pass(id, 'the guest SVN is high enough', more)
    : fail(id, 'GUEST_SVN', 'the guest SVN is too low', more)
}

/** One reference value itself, or how many there are. */
function oneOfWords(values: readonly Uint8Array[]): string {
  const [first] = values
  return first !== undefined && values.length === 1
    ? bytesToHex(first)
    : `one of ${values.length} reference values`
}

type ListOption =
  | 'measurements'
  | 'hostData'
  | 'familyIds'
  | 'imageIds'
  | 'reportIds'
  | 'reportIdsMa'
  | 'idKeyDigests'
  | 'authorKeyDigests'

function oneOf(
  id: string,
  code: Code,
  name: string,
  field: (report: SnpFacts['report']) => Uint8Array,
  option: ListOption,
): Rule {
  return ({ report }, policy) => {
    const values = policy[option]
    if (values === undefined) return skip(id, `no reference value for the ${name} was given`)
    const told = { expected: oneOfWords(values), actual: bytesToHex(field(report)) }
    return values.some((value) => equalBytes(value, field(report)))
      ? pass(id, `the ${name} is a reference value`, told)
      : fail(id, code, `the ${name} is not a reference value`, told)
  }
}

function idBlock({ report }: SnpFacts, { requireIdBlock }: SnpPolicy): EvidenceCheck {
  const id = 'snp.id-block'
  if (!requireIdBlock) return skip(id, 'no id block was required')
  const told = { expected: 'the digest of an id key', actual: digestText(report.idKeyDigest) }
  return isZero(report.idKeyDigest)
    ? fail(id, 'SIGNING_KEY_ID', 'the guest was launched without an id block', told)
    : pass(id, 'the guest was launched with an id block', told)
}

function authorKeyPresent({ report }: SnpFacts, { requireAuthorKey }: SnpPolicy): EvidenceCheck {
  const id = 'snp.author-key-present'
  if (!requireAuthorKey) return skip(id, 'no author key was required')
  const { authorKeyEnabled: enabled, authorKeyDigest: digest } = report
  const told = {
    expected: 'AUTHOR_KEY_EN set, and the digest of an author key',
    actual: `AUTHOR_KEY_EN ${enabled ? 'set' : 'clear'}, ${digestText(digest)}`,
  }
  return enabled && !isZero(digest)
    ? pass(id, 'an author key vouched for the id key', told)
    : fail(id, 'SIGNING_KEY_ID', 'no author key vouched for the id key', told)
}

function digestText(digest: Uint8Array): string {
  return isZero(digest) ? 'no digest: all zeros' : bytesToHex(digest)
}

function reportData({ report }: SnpFacts, { reportData: wanted }: SnpPolicy): EvidenceCheck {
  const id = 'snp.report-data'
  if (wanted === undefined) return skip(id, 'no report data was given to compare with')
  const more = { expected: bytesToHex(wanted), actual: bytesToHex(report.reportData) }
  return equalBytes(wanted, report.reportData)
    ? pass(id, 'the report data is as expected', more)
    : fail(id, 'REPORT_DATA', 'the report data is not as expected', more)
}
