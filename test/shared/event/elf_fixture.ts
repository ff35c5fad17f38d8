/**
 * A 64-bit ELF file written by hand: three program headers, symbol tables in .symtab and .dynsym.
 *
 *   0x000 header   0x040 program headers   0x200 .symtab   0x300 .strtab   0x380 .dynsym
 *   0x400 .dynstr  0x480 section headers   0x1000 code
 */

export const STT_OBJECT = 1;
export const STT_FUNC = 2;
export const STT_GNU_IFUNC = 10;

export interface FixtureSymbol {
  readonly name: string;
  readonly address: number;
  readonly kind?: number;
  /** Section index: 0 is undefined. */
  readonly section?: number;
  readonly size?: number;
}

export const CODE_OFFSET = 0x1000;
export const CODE_ADDRESS = 0x401000;
const CODE_BYTES = 0x200;
const CODE_SECTION = 5;
const FILE_BYTES = 0x1200;
const SYMTAB_AT = 0x200;
const STRTAB_AT = 0x300;
const DYNSYM_AT = 0x380;
const DYNSTR_AT = 0x400;
const SECTIONS_AT = 0x480;

function writeSymbols(
  view: DataView,
  symbols: readonly FixtureSymbol[],
  tableAt: number,
  stringsAt: number,
): void {
  let nameAt = 1;
  symbols.forEach(({ name, address, kind = STT_FUNC, section = CODE_SECTION, size = 0 }, i) => {
    const at = tableAt + (i + 1) * 24;
    view.setUint32(at, nameAt, true);
    view.setUint8(at + 4, 0x10 | kind);
    view.setUint16(at + 6, section, true);
    view.setBigUint64(at + 8, BigInt(address), true);
    view.setBigUint64(at + 16, BigInt(size), true);
    for (const char of name) view.setUint8(stringsAt + nameAt++, char.charCodeAt(0));
    nameAt++;
  });
}

/** The file's bytes. Code lies at CODE_OFFSET in the file, CODE_ADDRESS in memory. */
export function elfFile(
  symtab: readonly FixtureSymbol[],
  dynsym: readonly FixtureSymbol[] = [],
): Uint8Array {
  const view = new DataView(new ArrayBuffer(FILE_BYTES));
  const u64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1].forEach((byte, i) => {
    view.setUint8(i, byte);
  });
  u64(32, 0x40);
  u64(40, SECTIONS_AT);
  view.setUint16(54, 56, true);
  view.setUint16(56, 3, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, CODE_SECTION + 1, true);
  // PT_PHDR, a PT_LOAD of the headers, and the PT_LOAD of the code.
  [
    [6, 0x40, 0x400040, 168],
    [1, 0, 0x400000, 0x800],
    [1, CODE_OFFSET, CODE_ADDRESS, CODE_BYTES],
  ].forEach(([type, offset, address, bytes], i) => {
    const at = 0x40 + i * 56;
    view.setUint32(at, type!, true);
    u64(at + 8, offset!);
    u64(at + 16, address!);
    u64(at + 32, bytes!);
  });
  writeSymbols(view, symtab, SYMTAB_AT, STRTAB_AT);
  writeSymbols(view, dynsym, DYNSYM_AT, DYNSTR_AT);
  // type, offset, bytes, link, address
  [
    [0, 0, 0, 0],
    [2, SYMTAB_AT, (symtab.length + 1) * 24, 2],
    [3, STRTAB_AT, DYNSYM_AT - STRTAB_AT, 0],
    [11, DYNSYM_AT, (dynsym.length + 1) * 24, 4],
    [3, DYNSTR_AT, SECTIONS_AT - DYNSTR_AT, 0],
    [1, CODE_OFFSET, CODE_BYTES, 0, CODE_ADDRESS],
  ].forEach(([type, offset, bytes, link, address = 0], i) => {
    const at = SECTIONS_AT + i * 64;
    view.setUint32(at + 4, type!, true);
    u64(at + 16, address);
    u64(at + 24, offset!);
    u64(at + 32, bytes!);
    view.setUint32(at + 40, link!, true);
  });
  return new Uint8Array(view.buffer);
}
