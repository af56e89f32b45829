// The public face of policy/: the owner's file, and one verdict from facts. Pure: the caller brings every byte.
export { decodePolicy } from './decode.ts'
export { loadPolicy, resolve } from './resolve.ts'
export { evaluate, rulesFor } from './evaluate.ts'
export { explainPolicy } from './explain.ts'
export { looseEnds } from './loose.ts'
export { modeOf } from './mode.ts'
export { readReferenceValues, REFERENCE_VALUES_TYPE } from './reference.ts'
export type { ReferenceValues } from './reference.ts'
export type {
  BindingFact,
  EvidenceFact,
  Facts,
  FileFormat,
  FilesFact,
  SavedVerdictFact,
  SignatureFact,
  StatementFact,
} from './facts.ts'
export type { Policy, ResolvedPolicy, Route, Rule } from './policy.ts'
