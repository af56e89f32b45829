// The public face of simulated hardware: vendors and machines that record evidence in the genuine formats, never trusted unless named.
export { GENOA_A0, RECORDED_AT, simulateSnp, SNP_DEFAULTS } from './snp.ts'
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
