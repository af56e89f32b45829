// The single owner of the page of a verdict.
import { verdictJson, type Verdict } from '../verdict.ts'

export function verdictPage(verdict: Verdict): string {
  return verdictJson(verdict)
}
