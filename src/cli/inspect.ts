// TEMP
export { command } from './binding.ts'
