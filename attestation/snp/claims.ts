// The single owner of putting an authenticated SNP report into words.
import type { Authenticated } from '../authenticated.ts'
import { bytesToHex, isZero } from '../lib/bytes.ts'
import type { ClaimField, Claims } from '../result.ts'
import type { SnpFacts } from './authenticate.ts'
import { describeCpuid } from './product.ts'
import { PLATFORM_BITS, POLICY_BITS } from './report.ts'
import type { FirmwareVersion, PlatformBit, PolicyBit } from './report.ts'
import { describeTcb } from './tcb.ts'

const POLICY_WORDS: Record<PolicyBit, string> = {
  SMT: 'hyper-threading allowed',
  MIGRATE_MA: 'migration allowed',
  DEBUG: 'debugging allowed',
  SINGLE_SOCKET: 'one socket only',
  CXL_ALLOW: 'CXL memory allowed',
  MEM_AES_256_XTS: 'AES-256-XTS required',
  RAPL_DIS: 'power reporting must be off',
  CIPHERTEXT_HIDING_DRAM: 'ciphertext hiding required',
  PAGE_SWAP_DISABLE: 'page swapping disabled',
}

const PLATFORM_WORDS: Record<PlatformBit, string> = {
  SMT_EN: 'hyper-threading on',
  TSME_EN: 'transparent memory encryption on',
  ECC_EN: 'ECC memory',
  RAPL_DIS: 'power reporting off',
  CIPHERTEXT_HIDING_DRAM_EN: 'ciphertext hiding on',
  ALIAS_CHECK_COMPLETE: 'memory aliases checked',
  IOMMU_WRITE_SAFE: 'IOMMU writes safe',
  TIO_EN: 'trusted I/O on',
}

/** Every field of the report that a person would ask for, in reading order. */
export function snpClaims(facts: Authenticated<SnpFacts>): Claims {
  const { report, product, tcb } = facts
  const fields: ClaimField[] = []
  const add = (name: string, value: string, meaning?: string): void => {
    fields.push(
      meaning === undefined || meaning === '' ? { name, value } : { name, value, meaning },
    )
  }
  const bytes = (name: string, value: Uint8Array, none: string): void => {
    if (isZero(value)) add(name, '0', none)
    else add(name, bytesToHex(value))
  }
  add('report version', `${report.version}`)
  add('product name', facts.productName)
  if (report.cpuid !== null) add('processor', describeCpuid(report.cpuid))
  add('signing key', facts.kind, facts.kind === 'VCEK' ? 'of the chip' : 'of the cloud provider')
  if (facts.hwid !== null) add('hardware id', facts.hwid)
  if (facts.cspId !== null) add('cloud provider', facts.cspId)
  add('firmware', version(report.currentFirmware), `committed ${version(report.committedFirmware)}`)
  add('current TCB', describeTcb(tcb.current))
  add('reported TCB', describeTcb(tcb.reported))
  add('committed TCB', describeTcb(tcb.committed))
  add('launch TCB', describeTcb(tcb.launch))
  if (report.mitigations !== null) {
    add('launch mitigations', `0x${report.mitigations.launch.toString(16)}`)
    add('current mitigations', `0x${report.mitigations.current.toString(16)}`)
  }
  const abi = `firmware ABI from ${(report.policy >> 8n) & 0xffn}.${report.policy & 0xffn}`
  const terms = inWords(report.policy, POLICY_BITS, POLICY_WORDS)
  add('guest policy', `0x${report.policy.toString(16)}`, [abi, ...terms].join(', '))
  const setup = inWords(report.platformInfo, PLATFORM_BITS, PLATFORM_WORDS)
  if (report.platformInfo >> 8n !== 0n) setup.push('flags that are not known')
  add('platform info', `0x${report.platformInfo.toString(16)}`, setup.join(', '))
  add('VMPL', `${report.vmpl}`)
  add('guest SVN', `${report.guestSvn}`)
  bytes('host data', report.hostData, 'none')
  bytes('family id', report.familyId, 'none')
  bytes('image id', report.imageId, 'none')
  bytes('id key digest', report.idKeyDigest, 'no id block')
  bytes('author key digest', report.authorKeyDigest, 'no author key')
  add('report id', bytesToHex(report.reportId))
  const agent = report.reportIdMa.some((byte) => byte !== 0xff)
  add('migration report id', bytesToHex(report.reportIdMa), agent ? '' : 'no migration agent')
  return {
    platform: 'sev-snp',
    product,
    measurement: bytesToHex(report.measurement),
    reportData: bytesToHex(report.reportData),
    debug: ((report.policy >> POLICY_BITS.DEBUG) & 1n) === 1n,
    instanceId: isZero(report.chipId) ? null : bytesToHex(report.chipId),
    tcb: describeTcb(tcb.reported),
    fields,
  }
}

function version({ major, minor, build }: FirmwareVersion): string {
  return `${major}.${minor}.${build}`
}

function inWords<K extends string>(
  flags: bigint,
  positions: Readonly<Record<K, bigint>>,
  meaning: Readonly<Record<K, string>>,
): string[] {
  return (Object.keys(positions) as K[]).flatMap((name) =>
    ((flags >> positions[name]) & 1n) === 1n ? [meaning[name]] : [],
  )
}
