// The single owner of which tar archives are read at all: only those that every reader reads in the same way.
import { isUtf8 } from 'node:buffer'
import { ZtError } from '../error.ts'

const BLOCK = 512
/** Bytes of extended headers before one entry; a path has at most 4096. */
const MAX_EXTENDED = 1024 * 1024
const EXTENDED = new Set(['x', 'g', 'L', 'K'])
const KNOWN = new Set(['\0', '0', '1', '2', '3', '4', '5', '6', '7', ...EXTENDED])

function invalid(message: string, offset: number): ZtError {
  return new ZtError('TAR_INVALID', message, { path: `offset ${offset}` })
}

/**
 * Looks at the raw blocks before tar-stream does, and refuses what two readers could read differently (POSIX.1-2017 pax, GNU tar manual):
 * unknown magic or type, numbers that are not plain octal or base 256, extended headers that are doubled, malformed, orphaned or that
 * change the layout (sparse files), sizes on entries that have no data, anything after the end but zeros, a missing end.
 */
export class TarGuard {
  /** Bytes seen. */
  #offset = 0
  #header: Buffer = Buffer.alloc(BLOCK)
  #headerUsed = 0
  /** Bytes of data and padding of the current entry still to come. */
  #data = 0
  #extended: Buffer | null = null
  #extendedUsed = 0
  /** Without the padding. */
  #extendedSize = 0
  #extendedType = ''
  #paxSize: number | null = null
  readonly #pending = new Set<string>()
  #zeroBlocks = 0

  /** @throws ZtError TAR_INVALID */
  push(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      const taken = this.#take(bytes.subarray(at))
      at += taken
      this.#offset += taken
    }
  }

  /** To be called at the end of the stream. @throws ZtError TAR_INVALID */
  end(): void {
    if (this.#headerUsed > 0 || this.#data > 0 || this.#extended !== null)
      throw invalid('the archive ends within an entry', this.#offset)
    if (this.#zeroBlocks === 0) throw invalid('the archive has no end marker', this.#offset)
  }

  #take(bytes: Uint8Array): number {
    if (this.#extended !== null) return this.#takeExtended(bytes, this.#extended)
    if (this.#data > 0) {
      const count = Math.min(this.#data, bytes.length)
      this.#data -= count
      return count
    }
    const count = Math.min(BLOCK - this.#headerUsed, bytes.length)
    this.#header.set(bytes.subarray(0, count), this.#headerUsed)
    this.#headerUsed += count
    if (this.#headerUsed === BLOCK) {
      this.#headerUsed = 0
      this.#block()
    }
    return count
  }

  #takeExtended(bytes: Uint8Array, buffer: Buffer): number {
    const count = Math.min(buffer.length - this.#extendedUsed, bytes.length)
    buffer.set(bytes.subarray(0, count), this.#extendedUsed)
    this.#extendedUsed += count
    if (this.#extendedUsed === buffer.length) {
      this.#extended = null
      this.#finishExtended(buffer)
    }
    return count
  }

  #block(): void {
    const header = this.#header
    const offset = this.#offset
    if (header.every((byte) => byte === 0)) {
      if (this.#pending.size > 0) throw invalid('an extended header without its entry', offset)
      this.#zeroBlocks++
      return
    }
    if (this.#zeroBlocks > 0) throw invalid('bytes follow after the end of the archive', offset)
    const magic = header.toString('latin1', 257, 265)
    if (magic !== 'ustar\x0000' && magic !== 'ustar  \0')
      throw invalid('not a tar header in the ustar, pax or GNU format', offset)
    if (!/^ *[0-7]{1,7}[ \0]+$/.test(header.toString('latin1', 148, 156)))
      throw invalid('a checksum that is not a number', offset)
    const type = String.fromCharCode(header[156] ?? 0)
    if (!KNOWN.has(type)) throw invalid(`unknown type of entry ${JSON.stringify(type)}`, offset)
    if ((type === 'L' || type === 'K') && magic !== 'ustar  \0')
      throw invalid('a GNU long name in an archive that is not GNU', offset)
    const size = this.#number(header.subarray(124, 136))
    if (EXTENDED.has(type)) this.#startExtended(type, size)
    else this.#startEntry(type, size)
  }

  #startEntry(type: string, headerSize: number): void {
    const size = this.#paxSize ?? headerSize
    const isFile = type === '0' || type === '\0' || type === '7'
    if (!isFile && size !== 0) throw invalid('an entry without data that has a size', this.#offset)
    const nameEnd = this.#header.indexOf(0)
    const name = this.#header.subarray(0, nameEnd < 0 || nameEnd > 100 ? 100 : nameEnd)
    if (isFile && name.at(-1) === 0x2f)
      throw invalid('a file whose name ends with a slash', this.#offset)
    this.#pending.clear()
    this.#paxSize = null
    this.#data = padded(size)
  }

  #startExtended(type: string, size: number): void {
    const conflict =
      this.#pending.has(type) || (type === 'x' ? this.#has('L', 'K') : this.#pending.has('x'))
    if (conflict || (type === 'g' && this.#pending.size > 0))
      throw invalid('two extended headers for one entry', this.#offset)
    if (size === 0 || size > MAX_EXTENDED)
      throw invalid(`an extended header of ${size} bytes`, this.#offset)
    if (type !== 'g') this.#pending.add(type)
    this.#extendedType = type
    this.#extendedUsed = 0
    this.#extended = Buffer.alloc(padded(size))
    this.#extendedSize = size
  }

  #has(...types: readonly string[]): boolean {
    return types.some((type) => this.#pending.has(type))
  }

  #finishExtended(buffer: Buffer): void {
    const body = buffer.subarray(0, this.#extendedSize)
    if (this.#extendedType === 'x' || this.#extendedType === 'g') {
      this.#pax(body, this.#extendedType === 'g')
      return
    }
    const end = body.indexOf(0)
    if (end >= 0 && body.subarray(end).some((byte) => byte !== 0))
      throw invalid('a long name with a NUL in it', this.#offset)
  }

  /** Records `length key=value\n`, each length counting itself (pax Extended Header). */
  #pax(body: Buffer, global: boolean): void {
    if (!isUtf8(body)) throw invalid('a pax header that is not UTF-8', this.#offset)
    const seen = new Set<string>()
    for (let at = 0; at < body.length;) {
      const space = body.indexOf(0x20, at)
      const digits = space < 0 ? '' : body.toString('latin1', at, space)
      const length = /^[1-9]\d{0,6}$/.test(digits) ? Number(digits) : 0
      const end = at + length
      const equals = body.indexOf(0x3d, at)
      if (end > body.length || body[end - 1] !== 0x0a || equals <= space + 1 || equals >= end)
        throw invalid('a malformed pax record', this.#offset)
      const key = body.toString('utf8', space + 1, equals)
      const value = body.toString('utf8', equals + 1, end - 1)
      if (seen.has(key)) throw invalid(`the pax record ${JSON.stringify(key)} twice`, this.#offset)
      seen.add(key)
      this.#paxRecord(key, value, global)
      at = end
    }
  }

  #paxRecord(key: string, value: string, global: boolean): void {
    const layout = key === 'path' || key === 'linkpath' || key === 'size'
    const sparse = key.startsWith('GNU.sparse') || key.startsWith('SCHILY.realsize')
    // overlayfs takes these as orders to show another directory, or nothing, in the place of what was unpacked.
    const overlay = /^(?:SCHILY|LIBARCHIVE)\.xattr\.(?:trusted|user)\.overlay\./.test(key)
    if (sparse || overlay || key.startsWith('GNU.volume') || key === 'hdrcharset')
      throw invalid(`the pax record ${JSON.stringify(key)} is not supported`, this.#offset)
    if (!layout) return
    if (global) throw invalid(`a global pax header with ${key}`, this.#offset)
    if (value === '' || value.includes('\0'))
      throw invalid(`an empty or broken pax ${key}`, this.#offset)
    if (key !== 'size') return
    if (!/^(?:0|[1-9]\d{0,15})$/.test(value) || !Number.isSafeInteger(Number(value)))
      throw invalid('a pax size that is not a plain number', this.#offset)
    this.#paxSize = Number(value)
  }

  /** Octal digits ended by NUL or space, or base 256 where they do not suffice. */
  #number(field: Buffer): number {
    if (field[0] === 0x80) {
      const value = BigInt(`0x${field.toString('hex', 1)}`)
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid('an entry too large', this.#offset)
      return Number(value)
    }
    const match = /^ *([0-7]{1,12})[ \0]*$/.exec(field.toString('latin1'))
    if (match === null) throw invalid('a size that is not a number', this.#offset)
    return parseInt(match[1] ?? '', 8)
  }
}

function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK
}
