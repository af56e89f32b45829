// The public face of the library: sign, verify, and the types of what they give.
export { CODES } from './codes.ts'
export type { Code } from './codes.ts'
export { ZtError } from './error.ts'
export { makeVerdict, PROTECTIONS, verdictJson } from './verdict.ts'
export type { Check, CheckStatus, Protection, Verdict, VerdictInput } from './verdict.ts'

export { HASH_TYPES } from './model/manifest.ts'
export type { HashType, Manifest, Resource, Serialization } from './model/manifest.ts'
export type { Comparison } from './model/compare.ts'
export type { Progress } from './model/pool.ts'

export { certificateSigner } from './sign/certificate.ts'
export type { CertificateMaterial } from './sign/certificate.ts'
export { keySigner, readPrivateKey } from './sign/key.ts'
export type { PrivateKey } from './sign/key.ts'
export { keylessSigner, PUBLIC_GOOD } from './sign/keyless.ts'
export type { KeylessOptions, KeylessServices, KeylessSigner } from './sign/keyless.ts'
export { ambientToken } from './sign/keyless-token.ts'
export type { TokenSource } from './sign/keyless-token.ts'
export { signModel, signStatement } from './sign/model.ts'
export type { SignedModel, SignModelOptions } from './sign/model.ts'
export type { SignedPieces, Signer as StatementSigner } from './sign/signer.ts'

export { fetchTrustedRoot } from './verify/keyless-tuf.ts'
export type { FetchRootOptions } from './verify/keyless-tuf.ts'
export { examineModel, verifyModel } from './verify/model.ts'
export type { ModelResult, VerifyModelOptions } from './verify/model.ts'
export type {
  AuthenticatedStatement,
  SignatureResult,
  Signer,
  SigningTime,
  StatementResult,
  Trust,
} from './verify/result.ts'
export { verifySignature, verifyStatement } from './verify/statement.ts'

export { onnxSession, serveTransformers } from './gate/adapters.ts'
export type { OnnxRuntime, TransformersEnv } from './gate/adapters.ts'
export type { OpenOptions, StreamOptions, VerifiedFile, VerifiedModel } from './gate/open.ts'
export { openSigned, openVerified } from './gate/open-verified.ts'
export type { Opened, OpenQuestion } from './gate/open-verified.ts'
export type { RunLevel, Surroundings } from './gate/protect.ts'
export { runModel } from './gate/run.ts'
export type { Ended, LiveEvidence, Running, RunOutcome, RunRequest } from './gate/run.ts'
export { openAllTensors, openTensors } from './gate/tensors.ts'
export type { TensorValues, VerifiedTensor } from './gate/tensors.ts'

export { admit, decide } from './gate/admit.ts'
export { gather } from './gate/gather.ts'
export type {
  Admission,
  AdmitCaches,
  AdmitRequest,
  Challenge,
  CompareRequest,
  Gathered,
  LoadedPolicy,
  ModelSource,
} from './gate/question.ts'
export { verdictPage } from './gate/page.ts'
export { policyFrom, readPolicy } from './gate/policy.ts'
export { readVerdict } from './gate/read-verdict.ts'
export { readReplay, replay, writeReplay } from './gate/replay.ts'
export type { Replay } from './gate/replay.ts'
export { savedVerdict, saveVerdict, verdictEar } from './gate/saved.ts'
export { pathSource } from './gate/source.ts'
export type { PathSourceOptions } from './gate/source.ts'
