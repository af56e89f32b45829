// The single owner of how much memory a command may take to be faster.
import { setFlagsFromString } from 'node:v8'

/**
 * Tells V8 to collect early instead of letting the heap grow: a model of 100,000 files then takes about 50 MB less, at the same speed. Called
 * once everything is loaded, because code that V8 has cached is only good under the flags under which it was made.
 */
export function saveMemory(): void {
  setFlagsFromString('--optimize-for-size')
  setFlagsFromString('--semi-space-growth-factor=1')
}
