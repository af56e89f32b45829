// The single owner of TCB_VERSION: its layout per product, its comparison component by component, its words.
import type { ProductLine } from './product.ts'

/** The security patch levels of one TCB. A component that the product does not have is absent (`fmc` before Turin). */
export interface Tcb {
  readonly fmc?: number
  readonly bootloader: number
  readonly tee: number
  readonly snp: number
  readonly microcode: number
}

export const TCB_COMPONENTS = ['fmc', 'bootloader', 'tee', 'snp', 'microcode'] as const
export type TcbComponent = (typeof TCB_COMPONENTS)[number]

/** Byte of each component (firmware ABI, TCB_VERSION; Turin and later moved them). All other bytes must be zero. */
const LAYOUTS: Record<ProductLine, Readonly<Partial<Record<TcbComponent, number>>>> = {
  Milan: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Genoa: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Turin: { fmc: 0, bootloader: 1, tee: 2, snp: 3, microcode: 7 },
}

/** True for products whose TCB has an FMC component. */
export function hasFmc(product: ProductLine): boolean {
  return LAYOUTS[product].fmc !== undefined
}

/** The highest value of a component: an SPL has seven bits, microcode eight. */
export function highestLevel(component: TcbComponent): number {
  return component === 'microcode' ? 255 : 127
}

/** Reads a TCB_VERSION in the product's layout; null if a reserved byte is set or a level is out of range. */
export function decodeTcb(raw: Uint8Array, product: ProductLine): Tcb | null {
  const layout = LAYOUTS[product]
  const used = new Set<number>()
  const levels: Partial<Record<TcbComponent, number>> = {}
  for (const component of TCB_COMPONENTS) {
    const offset = layout[component]
    if (offset === undefined) continue
    const level = raw[offset] ?? 0
    if (level > highestLevel(component)) return null
    levels[component] = level
    used.add(offset)
  }
  for (const [offset, byte] of raw.entries()) {
    if (byte !== 0 && !used.has(offset)) return null
  }
  return {
    ...(levels.fmc === undefined ? {} : { fmc: levels.fmc }),
    bootloader: levels.bootloader ?? 0,
    tee: levels.tee ?? 0,
    snp: levels.snp ?? 0,
    microcode: levels.microcode ?? 0,
  }
}

/** The components of `tcb` that are below `minimum`. A component that `minimum` does not name asks for nothing. */
export function below(tcb: Tcb, minimum: Partial<Tcb>): TcbComponent[] {
  return TCB_COMPONENTS.filter((component) => (tcb[component] ?? 0) < (minimum[component] ?? 0))
}

/** True if all components are equal, and both have the same ones. */
export function equalTcb(a: Tcb, b: Tcb): boolean {
  return TCB_COMPONENTS.every((component) => a[component] === b[component])
}

const WORDS: Record<TcbComponent, string> = {
  fmc: 'FMC',
  bootloader: 'bootloader',
  tee: 'TEE',
  snp: 'SNP',
  microcode: 'microcode',
}

/** `bootloader 4, TEE 0, SNP 24, microcode 219`. */
export function describeTcb(tcb: Partial<Tcb>): string {
  let text = ''
  for (const component of TCB_COMPONENTS) {
    const level = tcb[component]
    if (level !== undefined) text += `${text === '' ? '' : ', '}${WORDS[component]} ${level}`
  }
  return text
}
