// The public face of the TDX and SGX verifier.
export { attestSgx, attestTdx } from './attest.ts'
export type { SgxOptions, TdxOptions } from './attest.ts'
export { appraiseSgx, appraiseTdx } from './appraise.ts'
export type { Appraisal } from './appraise.ts'
export { authenticateTdx } from './authenticate.ts'
export type {
  AuthenticateOptions,
  Authentication,
  QuoteFacts,
  TdxEndorsements,
} from './authenticate.ts'
export { decodeQeIdentity, decodeTcbInfo } from './collateral.ts'
export type { QeIdentity, TcbInfo } from './collateral.ts'
export { decodeSgxPolicy, decodeTdxPolicy, STRICT_SGX_POLICY, STRICT_TDX_POLICY } from './policy.ts'
export type { AdvisoryException, IntelPolicy, SgxPolicy, TdxPolicy } from './policy.ts'
export { parseQuote } from './quote.ts'
export type { Quote, QuoteBody, SgxReport, TdReport } from './quote.ts'
export { converge, evaluateTcb, relaunch, TCB_STATUSES } from './tcb.ts'
export type { TcbEvaluation, TcbStatus } from './tcb.ts'
export { TdxTrust } from './trust.ts'
export { expiryOf, fetchTdxCollateral, INTEL_PCS, PcsCache, pcsResources } from './pcs.ts'
export type { FetchedCollateral, PcsOptions } from './pcs.ts'
