// The public face of simulated hardware: vendors and machines that record evidence in the genuine formats, never trusted unless named.
export { WELL_KNOWN_SEED } from './keys.ts'
export { RECORDED_AT } from './pki.ts'
export { GENOA_A0, simulateSnp, SNP_DEFAULTS } from './snp.ts'
export type {
  SnpEvidence,
  SnpFirmware,
  SnpProduct,
  SnpReportFields,
  SnpRequest,
  SnpRole,
  SnpTcb,
} from './snp.ts'
export { SNP_NEGATIVES } from './snp-negatives.ts'
export type { SnpNegative } from './snp-negative.ts'
export type { Negative } from './negative.ts'
export { simulateTdx } from './tdx.ts'
export type { Collateral, ServedResponse, TdxEvidence, TdxRequest } from './tdx.ts'
export { bootLog, ccel, dstackLog, runtimeEvent } from './eventlog.ts'
export type { LogEvent } from './eventlog.ts'
export { TDX_NEGATIVES } from './tdx-negatives.ts'
export type { TdxNegative } from './tdx-negative.ts'
export { rootFile, snpEvidenceFile, snpFiles, tdxEvidenceFile, tdxFiles } from './files.ts'
export type { Files, FileOptions, LogForm } from './files.ts'
export { LOG_NEGATIVES } from './log-negatives.ts'
export type { LogNegative } from './log-negatives.ts'
