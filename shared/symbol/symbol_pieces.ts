/**
 * A kernel's functions in pieces that travel in Symbols frames. Each piece stands for itself:
 *
 *   4d  varint  name                        'M': what follows is of this module, "" is the kernel
 *   54  varint  varint  name                'T' 't' 'W' 'w': address, bytes of the name, name
 *
 * Addresses are differences to the one before, from 0 on, as zigzag varints of signed 64-bit
 * numbers: most take two bytes. A kernel with 90,000 functions comes to 2 MB.
 */
import {
  emptySymbolColumns,
  internModule,
  KallsymsResolver,
  SYMBOL_NAME_MAX,
  SYMBOLS_MAX,
  type SymbolColumns,
} from "../tracefs/symbols.ts";

/** A piece with its frame fits into one write to a port. */
export const PIECE_BYTES = 28 * 1024;
/** Room for one more entry with two names of SYMBOL_NAME_MAX. */
const ENTRY_BYTES_MAX = 2 * SYMBOL_NAME_MAX + 32;
/** Names of one kernel. */
export const NAME_BYTES_MAX = 64 * 1024 * 1024;

const MODULE = 0x4d;
/** t T w W. */
const FUNCTION_TYPES = new Set([0x74, 0x54, 0x77, 0x57]);
const NAME_BYTES_FIRST = 64 * 1024;

/** Whether kallsyms' letter is that of code. */
export function isFunctionType(type: number): boolean {
  return FUNCTION_TYPES.has(type);
}

export class SymbolPieceWriter {
  readonly #bytes = new Uint8Array(PIECE_BYTES);
  #length = 0;
  #address = 0;
  #module = "";

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  get isFull(): boolean {
    return this.#length + ENTRY_BYTES_MAX > PIECE_BYTES;
  }

  /** Adds a function whose name is text[from, to); there must be room. */
  add(
    address: number,
    type: number,
    module: string,
    text: Uint8Array,
    from: number,
    to: number,
  ): void {
    if (module !== this.#module) {
      this.#module = module;
      this.#bytes[this.#length++] = MODULE;
      this.#varint(module.length);
      for (let i = 0; i < module.length; i++) this.#bytes[this.#length++] = module.charCodeAt(i);
    }
    const delta = address - this.#address;
    this.#address = address;
    this.#bytes[this.#length++] = type;
    this.#varint(delta < 0 ? -2 * delta - 1 : 2 * delta);
    this.#varint(to - from);
    for (let i = from; i < to; i++) this.#bytes[this.#length++] = text[i]!;
  }

  /** The piece so far; the next one begins. */
  take(): Uint8Array {
    const piece = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    this.#address = 0;
    this.#module = "";
    return piece;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#length++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#length++] = rest;
  }
}

/** A piece that is none. */
export class SymbolPieceError extends SyntaxError {
  override readonly name = "SymbolPieceError";
}

/** Collects the pieces of one kernel, of a peer that is not trusted. */
export class SymbolPieceReader {
  readonly #columns: SymbolColumns = emptySymbolColumns();
  #names = new Uint8Array(NAME_BYTES_FIRST);
  #nameBytes = 0;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;

  get count(): number {
    return this.#columns.addresses.length;
  }

  /** Takes a piece. Throws SymbolPieceError for what is cut off, unknown, or too much. */
  add(piece: Uint8Array): void {
    this.#bytes = piece;
    this.#at = 0;
    let address = 0;
    let module = 0;
    while (this.#at < piece.length) {
      const type = piece[this.#at++]!;
      if (type === MODULE) {
        const [from, to] = this.#name(0);
        const name = new TextDecoder("latin1").decode(piece.subarray(from, to));
        module = name === "" ? 0 : internModule(this.#columns.modules, name);
        continue;
      }
      if (!FUNCTION_TYPES.has(type)) throw new SymbolPieceError(`no entry begins with ${type}`);
      const zigzag = this.#varint();
      address += zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
      const [from, to] = this.#name(1);
      this.#push(address, module, from, to);
    }
  }

  /** The table of all that came. */
  table(): KallsymsResolver {
    return new KallsymsResolver(this.#names.slice(0, this.#nameBytes), this.#columns);
  }

  #push(address: number, module: number, from: number, to: number): void {
    const { addresses, nameFrom, nameTo, module: modules } = this.#columns;
    const bytes = to - from;
    if (addresses.length >= SYMBOLS_MAX || this.#nameBytes + bytes > NAME_BYTES_MAX) {
      throw new SymbolPieceError(`over ${SYMBOLS_MAX} functions or ${NAME_BYTES_MAX} bytes`);
    }
    if (!Number.isSafeInteger(address)) throw new SymbolPieceError("an address that is none");
    this.#reserve(bytes);
    this.#names.set(this.#bytes.subarray(from, to), this.#nameBytes);
    addresses.push(address);
    nameFrom.push(this.#nameBytes);
    this.#nameBytes += bytes;
    nameTo.push(this.#nameBytes);
    modules.push(module);
  }

  #reserve(bytes: number): void {
    if (this.#nameBytes + bytes <= this.#names.length) return;
    const grown = new Uint8Array(this.#names.length * 2);
    grown.set(this.#names);
    this.#names = grown;
  }

  /** The place of a name in the piece. */
  #name(bytesMin: number): readonly [number, number] {
    const bytes = this.#varint();
    const from = this.#at;
    if (bytes < bytesMin || bytes > SYMBOL_NAME_MAX || from + bytes > this.#bytes.length) {
      throw new SymbolPieceError(`a name of ${bytes} bytes, wanted what is left`);
    }
    this.#at += bytes;
    return [from, this.#at];
  }

  #varint(): number {
    let value = 0;
    let unit = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new SymbolPieceError("it is cut off");
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) return value;
      unit *= 128;
    }
    throw new SymbolPieceError("a number of over eight bytes");
  }
}
