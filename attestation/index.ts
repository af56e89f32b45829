// The public face of attestation/: the RATS verifier. Evidence and endorsements in, attestation result out.
export { CODES } from './codes.ts'
export type { Code } from './codes.ts'
export { AttestationError } from './error.ts'
export type {
  AttestationResult,
  Check,
  CheckStatus,
  ClaimField,
  Claims,
  InputDigest,
  Platform,
  TrustworthinessVector,
} from './result.ts'
export { UNAUTHENTICATED } from './result.ts'
export { attest } from './attest.ts'
export type { AttestationPolicy, AttestOptions } from './attest.ts'
export type { Authenticated } from './authenticated.ts'
export type { Expected } from './expected.ts'
export { userRoots, VENDOR_ROOTS } from './roots.ts'
export type { TrustRoot } from './roots.ts'
export { attestSnp, decodeSnpPolicy, SnpTrust, STRICT_SNP_POLICY } from './snp/index.ts'
export type { SnpOptions, SnpPolicy } from './snp/index.ts'
export {
  attestSgx,
  attestTdx,
  decodeSgxPolicy,
  decodeTdxPolicy,
  expiryOf,
  fetchTdxCollateral,
  INTEL_PCS,
  PcsCache,
  pcsResources,
  STRICT_SGX_POLICY,
  STRICT_TDX_POLICY,
  TdxTrust,
} from './tdx/index.ts'
export type {
  FetchedCollateral,
  PcsOptions,
  Quote,
  SgxOptions,
  SgxPolicy,
  TdxOptions,
  TdxPolicy,
} from './tdx/index.ts'
export type { Evidence } from './evidence.ts'
export { readEvidence } from './evidence/detect.ts'
export { readEvidenceFile, writeEvidenceFile } from './evidence/file.ts'
export { mergeEndorsements, readEndorsements, readIssuerChain } from './evidence/collect.ts'
export { NO_ENDORSEMENTS } from './endorsements.ts'
export type { Endorsements, EventLog, Fetcher, NamedBytes, SignedJson } from './endorsements.ts'
export { extractEvents, parseEventLog, replayEvents } from './eventlog/index.ts'
export type { ExtractedEvent, Extraction, ParsedLog, RequiredEvent } from './eventlog/index.ts'
export { modelBinding } from './binding.ts'
export type { ModelBinding } from './binding.ts'
export { appraisalOf, earOf, signEar, verifyEar } from './ear.ts'
export type { Ear, EarAppraisal, TrustTier } from './ear.ts'
export {
  decodeTcb,
  describeTcb,
  parseReport,
  productOf,
  waivers as snpWaivers,
} from './snp/index.ts'
export { parseQuote } from './tdx/index.ts'
export { fetchSnpEndorsements } from './snp/index.ts'
export { measureSnp, VCPU_TYPES, vcpuSignature, VMMS } from './snp/index.ts'
export type { LaunchRequest, Vmm } from './snp/index.ts'
