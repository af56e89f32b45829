// The single owner of appraising an authenticated SNP report: every check of the owner's policy, in one stable order, whichever fail.
import type { Authenticated } from '../authenticated.ts'
import { fail, pass, skip, warn } from '../check.ts'
import type { Code } from '../codes.ts'
import { checkExpected } from '../expected.ts'
import type { Expected } from '../expected.ts'
import { bytesToHex, equalBytes, isZero } from '../lib/bytes.ts'
import type { Check } from '../result.ts'
import type { SnpFacts } from './authenticate.ts'
import { STRICT_SNP_POLICY, compareFirmware, waivers } from './policy.ts'
import type { BitRule, SnpPolicy, WaivableOption } from './policy.ts'
import { tcbRow } from './product.ts'
import { PLATFORM_BITS, POLICY_BITS } from './report.ts'
import type { FirmwareVersion } from './report.ts'
import { below, describeTcb } from './tcb.ts'

export interface SnpAppraisal {
  readonly checks: readonly Check[]
  /** Ids of the checks that pass only because the policy waives something. */
  readonly waived: ReadonlySet<string>
}

type Rule = (facts: SnpFacts, policy: SnpPolicy) => Check

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
  const checks: Check[] = []
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
        ),
      )
    }
  }
  checks.push(...checkExpected('snp', facts.report.reportData, expected))
  return { checks, waived }
}

/** Milan's root seed can be extracted in software (arXiv 2605.12990): no evidence from it can tell a chip from a forger. */
function product({ report, product: line }: SnpFacts, { products, chipIds }: SnpPolicy): Check {
  const id = 'snp.allowed-product'
  const weakness =
    'the VCEK root seed of a Milan can be extracted by software (arXiv 2605.12990), so its reports can be forged for any firmware'
  if (products.deny.includes(line) || !products.allow.includes(line)) {
    const listed = chipIds?.some((known) => equalBytes(known, report.chipId)) === true
    if (listed && !isZero(report.chipId)) {
      return warn(id, 'WAIVED', `${line} is denied, but chipIds lists this very chip`)
    }
    const more = line === 'Milan' ? { hint: weakness } : {}
    return fail(id, 'PRODUCT_DENIED', `the policy does not accept ${line}`, more)
  }
  return line === 'Milan'
    ? warn(id, 'PRODUCT_WEAK', weakness, { hint: 'deny Milan, or list the chips that you own' })
    : pass(id, `${line} is accepted`)
}

function debug({ report }: SnpFacts): Check {
  const on = bit(report.policy, POLICY_BITS.DEBUG)
  return on
    ? fail('snp.debug', 'DEBUG', 'the guest policy allows debugging: the host can read its memory')
    : pass('snp.debug', 'the guest can’t be debugged')
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

/** What the rules ask for, for example `SMT set, CXL_ALLOW clear`. */
function inWords(rules: Readonly<Record<string, BitRule>>): string {
  const asked = Object.entries(rules).filter(([, rule]) => rule !== 'allowed')
  const words = asked.map(([name, rule]) => `${name} ${rule === 'required' ? 'set' : 'clear'}`)
  return words.join(', ') || 'anything'
}

function policyBits({ report }: SnpFacts, policy: SnpPolicy): Check {
  const id = 'snp.policy-bits'
  const withoutDebug = { ...policy.policyBits, DEBUG: 'allowed' } as const // has its own check
  const more = { expected: inWords(withoutDebug), actual: `0x${report.policy.toString(16)}` }
  const problems = broken(report.policy, POLICY_BITS, withoutDebug)
  return problems.length === 0
    ? pass(id, 'the guest policy is accepted', more)
    : fail(id, 'POLICY_BITS', `the guest policy: ${problems.join(', ')}`, more)
}

function policyAbi({ report }: SnpFacts, { minimumAbi }: SnpPolicy): Check {
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

function platformInfo({ report }: SnpFacts, policy: SnpPolicy): Check {
  const id = 'snp.platform-info'
  const rules = policy.platformInfo
  const more = { expected: inWords(rules), actual: `0x${report.platformInfo.toString(16)}` }
  const problems = broken(report.platformInfo, PLATFORM_BITS, rules)
  return problems.length === 0
    ? pass(id, 'the platform is set up as accepted', more)
    : fail(id, 'PLATFORM_INFO', `the platform: ${problems.join(', ')}`, more)
}

function unknownPlatformInfo({ report }: SnpFacts, policy: SnpPolicy): Check {
  const id = 'snp.platform-info-unknown'
  const unknown = (report.platformInfo >> 8n) << 8n
  const refused = unknown & ~policy.unknownPlatformInfo
  return refused === 0n
    ? pass(id, 'the platform has no unknown flag that is refused')
    : fail(id, 'PLATFORM_INFO', 'the platform has flags that this verifier does not know', {
        actual: `0x${refused.toString(16)}`,
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
function tcbOrder({ tcb }: SnpFacts): Check {
  const id = 'snp.tcb.order'
  const problems: string[] = []
  if (below(tcb.committed, tcb.reported).length > 0) problems.push('reported is above committed')
  if (below(tcb.current, tcb.committed).length > 0) problems.push('committed is above current')
  if (below(tcb.current, tcb.reported).length > 0) problems.push('reported is above current')
  return problems.length === 0
    ? pass(id, 'reported ≤ committed ≤ current')
    : fail(id, 'TCB_INCONSISTENT', `the TCBs contradict each other: ${problems.join(', ')}`)
}

function provisional({ tcb, report }: SnpFacts, policy: SnpPolicy): Check {
  const id = 'snp.provisional'
  const ahead =
    below(tcb.committed, tcb.current).length > 0 ||
    compareFirmware(report.committedFirmware, report.currentFirmware) !== 0
  if (!ahead) return pass(id, 'the running firmware is committed')
  const more = {
    expected: `committed ${describeTcb(tcb.committed)}, firmware ${words(report.committedFirmware)}`,
    actual: `current ${describeTcb(tcb.current)}, firmware ${words(report.currentFirmware)}`,
  }
  return policy.provisionalFirmware
    ? pass(id, 'provisional firmware is accepted', more)
    : fail(id, 'PROVISIONAL_FIRMWARE', 'the running firmware is not committed', more)
}

function words({ major, minor, build }: FirmwareVersion): string {
  return `${major}.${minor}.${build}`
}

function firmware({ report, product: line }: SnpFacts, policy: SnpPolicy): Check {
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

function mitigations({ report }: SnpFacts, { mitigations: wanted }: SnpPolicy): Check {
  const id = 'snp.mitigations'
  if (wanted.launch === 0n && wanted.current === 0n) return skip(id, 'no mitigation was required')
  const hex = (value: bigint): string => `0x${value.toString(16)}`
  const expected = `launch ${hex(wanted.launch)}, current ${hex(wanted.current)}`
  const found = report.mitigations
  if (found === null) {
    return fail(id, 'MITIGATIONS', 'a report before version 5 can’t show mitigations', { expected })
  }
  const missing = (wanted.launch & ~found.launch) | (wanted.current & ~found.current)
  const more = { expected, actual: `launch ${hex(found.launch)}, current ${hex(found.current)}` }
  return missing === 0n
    ? pass(id, 'the required mitigations were in place', more)
    : fail(id, 'MITIGATIONS', 'a required mitigation is missing', more)
}

function vmpl({ report }: SnpFacts, policy: SnpPolicy): Check {
  const id = 'snp.vmpl'
  const more = { expected: policy.vmpl.join(' or '), actual: `${report.vmpl}` }
  if (report.vmpl > 3) {
    return fail(id, 'VMPL', 'the host asked for this report, not the guest', more)
  }
  return policy.vmpl.includes(report.vmpl)
    ? pass(id, 'the report was asked for at an accepted privilege level', more)
    : fail(id, 'VMPL', 'the report was asked for at another privilege level', more)
}

/** A report must name its chip; a VLEK, whose provider `cspIds` pins, stands in for that. */
function chip({ report, kind }: SnpFacts, policy: SnpPolicy): Check {
  const id = 'snp.chip'
  const actual = bytesToHex(report.chipId)
  const anonymous = isZero(report.chipId)
  if (policy.chipIds !== undefined && !anonymous) {
    return policy.chipIds.some((known) => equalBytes(known, report.chipId))
      ? pass(id, 'the chip is on the list', { actual })
      : fail(id, 'CHIP_ID', 'the chip is not on the list', { actual })
  }
  if (!anonymous)
    return skip(id, `no list of chips was given (this one is ${actual.slice(0, 16)}…)`)
  if (kind === 'VLEK' && policy.cspIds !== undefined && policy.chipIds === undefined) {
    return pass(id, 'the cloud provider stands in for the chip')
  }
  return policy.anonymousChip && policy.chipIds === undefined
    ? pass(id, 'a report that names no chip is accepted')
    : fail(id, 'CHIP_ID', 'the report names no chip, so no chip can be excluded', {
        hint: 'pin the cloud provider (cspIds), or accept it (anonymousChip)',
      })
}

function csp({ cspId }: SnpFacts, { cspIds }: SnpPolicy): Check {
  const id = 'snp.csp'
  if (cspIds === undefined) return skip(id, 'no cloud provider was named')
  const more = { expected: cspIds.join(' or '), actual: cspId ?? 'none: the key is a chip’s' }
  return cspId !== null && cspIds.includes(cspId)
    ? pass(id, 'the cloud provider is accepted', more)
    : fail(id, 'CSP_ID', 'the cloud provider is not accepted', more)
}

function guestSvn({ report }: SnpFacts, { minimumGuestSvn: minimum }: SnpPolicy): Check {
  const id = 'snp.guest-svn'
  if (minimum === undefined) return skip(id, 'no minimum guest SVN was given')
  const more = { expected: `at least ${minimum}`, actual: `${report.guestSvn}` }
  return report.guestSvn >= minimum
    ? pass(id, 'the guest SVN is high enough', more)
    : fail(id, 'GUEST_SVN', 'the guest SVN is too low', more)
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
    const actual = bytesToHex(field(report))
    const [first] = values
    const expected =
      first !== undefined && values.length === 1 ? bytesToHex(first) : `one of ${values.length}`
    return values.some((value) => equalBytes(value, field(report)))
      ? pass(id, `the ${name} is a reference value`, { actual })
      : fail(id, code, `the ${name} is not a reference value`, { expected, actual })
  }
}

function idBlock({ report }: SnpFacts, { requireIdBlock }: SnpPolicy): Check {
  const id = 'snp.id-block'
  if (!requireIdBlock) return skip(id, 'no id block was required')
  return isZero(report.idKeyDigest)
    ? fail(id, 'SIGNING_KEY_ID', 'the guest was launched without an id block')
    : pass(id, 'the guest was launched with an id block')
}

function authorKeyPresent({ report }: SnpFacts, { requireAuthorKey }: SnpPolicy): Check {
  const id = 'snp.author-key-present'
  if (!requireAuthorKey) return skip(id, 'no author key was required')
  return report.authorKeyEnabled && !isZero(report.authorKeyDigest)
    ? pass(id, 'an author key vouched for the id key')
    : fail(id, 'SIGNING_KEY_ID', 'no author key vouched for the id key')
}

function reportData({ report }: SnpFacts, { reportData: wanted }: SnpPolicy): Check {
  const id = 'snp.report-data'
  if (wanted === undefined) return skip(id, 'no report data was given to compare with')
  const more = { expected: bytesToHex(wanted), actual: bytesToHex(report.reportData) }
  return equalBytes(wanted, report.reportData)
    ? pass(id, 'the report data is as expected', more)
    : fail(id, 'REPORT_DATA', 'the report data is not as expected', more)
}
