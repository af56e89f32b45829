// The single owner of the product lines of AMD EPYC: which CPUID belongs to which, and which of them have a certificate authority.
import type { Cpuid } from './report.ts'

/** The product lines whose ARK is known. Genoa stands for Bergamo and Siena too: AMD's KDS knows them under that name. */
export const PRODUCT_LINES = ['Milan', 'Genoa', 'Turin'] as const
export type ProductLine = (typeof PRODUCT_LINES)[number]

/**
 * CPUID family, first and last model (both inclusive), product line, and the range in words. Microcode is numbered per range, so a minimum TCB is given
 * per `range`, not per product line. Venice is recognised but has no known certificate authority: nothing of it can be authenticated.
 */
const RANGES = [
  [0x19, 0x00, 0x0f, 'Milan', 'Milan'],
  [0x19, 0x10, 0x1f, 'Genoa', 'Genoa'],
  [0x19, 0xa0, 0xaf, 'Genoa', 'Genoa-dense'],
  [0x1a, 0x00, 0x11, 'Turin', 'Turin'],
  [0x1a, 0x50, 0x57, 'Venice', 'Venice'],
  [0x1a, 0x90, 0xaf, 'Venice', 'Venice'],
  [0x1a, 0xc0, 0xc7, 'Venice', 'Venice'],
] as const

/** The rows of a minimum-TCB table: the product lines, with Genoa's denser relatives (Bergamo, Siena: models A0h to AFh) apart. */
export const TCB_ROWS = ['Milan', 'Genoa', 'Genoa-dense', 'Turin'] as const
export type TcbRow = (typeof TCB_ROWS)[number]

export function isProductLine(value: string): value is ProductLine {
  return (PRODUCT_LINES as readonly string[]).includes(value)
}

/** The product line of a processor: null if no known range holds it, `Venice` if it is known to have no authority here. */
export function productOf(cpuid: Cpuid): ProductLine | 'Venice' | null {
  return rangeOf(cpuid)?.[3] ?? null
}

/** The row of the minimum-TCB table. Without CPUID bytes (report version 2) it is the product line's own row. */
export function tcbRow(product: ProductLine, cpuid: Cpuid | null): TcbRow {
  const row = cpuid === null ? undefined : rangeOf(cpuid)?.[4]
  return row === undefined || row === 'Venice' ? product : row
}

function rangeOf(cpuid: Cpuid): (typeof RANGES)[number] | undefined {
  return RANGES.find(
    ([family, first, last]) =>
      cpuid.family === family && cpuid.model >= first && cpuid.model <= last,
  )
}

/**
 * The product line that a leaf certificate's productName states. AMD writes the line with or without a stepping: `Milan-B0`, `Genoa`, `Turin`.
 * Any other text, `Milano` for example, is no product.
 */
export function productOfName(name: string): ProductLine | null {
  const match = /^([A-Za-z]+)(?:-[A-Z][0-9])?$/.exec(name)
  const line = match?.[1]
  return line !== undefined && isProductLine(line) ? line : null
}

/** `family 19h model A0h stepping 2`. */
export function describeCpuid(cpuid: Cpuid): string {
  const hex = (value: number): string => `${value.toString(16).toUpperCase().padStart(2, '0')}h`
  return `family ${hex(cpuid.family)} model ${hex(cpuid.model)} stepping ${cpuid.stepping}`
}
