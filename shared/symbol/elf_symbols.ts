/**
 * Functions of an executable or library by address: what a frame of a call chain lies in. Offsets
 * must match Elf64_Sym in <elf.h>. Columns, not objects: a browser has half a million functions.
 *
 *   const symbols = ElfSymbols.of(ElfFile.open("/usr/lib/x86_64-linux-gnu/libc.so.6"));
 *   symbols.lookup(0x10e1d7)      // an offset in the file -> { name: "write", offset: 0x17 }
 */
import type { SymbolHit } from "../tracefs/symbols.ts";
import {
  ElfError,
  ElfFile,
  type ElfSection,
  SHF_EXECINSTR,
  SHT_DYNSYM,
  SHT_SYMTAB,
} from "./elf_file.ts";

const SYMBOL_BYTES = 24;
const STT_NOTYPE = 0;
const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;
const STB_LOCAL = 0;
const STB_WEAK = 2;
const SHN_UNDEF = 0;
const SHN_LORESERVE = 0xff00;
/** Longest name that is shown. */
const NAME_BYTES_MAX = 512;
/** Where distributions put what they strip from binaries. */
const DEBUG_ROOT = "/usr/lib/debug/.build-id";

const utf8 = new TextDecoder();

interface Columns {
  readonly value: number[];
  readonly size: number[];
  /** Where it ends: hand-written code has no size, and reaches to what comes next there. */
  readonly end: number[];
  readonly name: number[];
  readonly bind: number[];
}

export class ElfSymbols {
  /** Sorted virtual addresses, with the end and the name's place of each. */
  readonly #address: Float64Array;
  readonly #end: Float64Array;
  readonly #name: Uint32Array;
  readonly #strings: Uint8Array;
  readonly #segments: ElfFile["segments"];
  readonly #hit: SymbolHit = { name: "", offset: 0 };

  private constructor(columns: Columns, strings: Uint8Array, segments: ElfFile["segments"]) {
    const order = bestOrder(columns, strings);
    this.#address = Float64Array.from(order, (i) => columns.value[i]!);
    this.#end = Float64Array.from(order, (i) => columns.end[i]!);
    this.#name = Uint32Array.from(order, (i) => columns.name[i]!);
    this.#strings = strings;
    this.#segments = segments;
  }

  /**
   * The functions that `elf` names: in its .symtab, or in that of its separate debug file, or else
   * in its .dynsym. Closes `elf`. Throws ElfError when the file contradicts itself.
   */
  static of(elf: ElfFile, debugRoot: string = DEBUG_ROOT): ElfSymbols {
    try {
      const full = tableOf(elf, SHT_SYMTAB) ?? debugTable(elf, debugRoot);
      const table = full ?? tableOf(elf, SHT_DYNSYM);
      const columns = table?.columns ?? { value: [], size: [], end: [], name: [], bind: [] };
      return new ElfSymbols(columns, table?.strings ?? new Uint8Array(0), elf.segments);
    } finally {
      elf.close();
    }
  }

  get count(): number {
    return this.#address.length;
  }

  /** Bytes that it keeps. */
  get bytes(): number {
    return this.#strings.length + this.#address.length * 20;
  }

  /** The function that holds an offset in the file. The result is good until the next call. */
  lookup(fileOffset: number): SymbolHit | undefined {
    const address = this.#addressOf(fileOffset);
    if (address < 0) return undefined;
    let from = 0;
    let to = this.#address.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.#address[middle]! <= address) from = middle + 1;
      else to = middle;
    }
    if (from === 0) return undefined;
    const index = from - 1;
    if (address >= this.#end[index]!) return undefined;
    this.#hit.name = nameAt(this.#strings, this.#name[index]!);
    this.#hit.offset = address - this.#address[index]!;
    return this.#hit;
  }

  /** The virtual address of an offset in the file, -1 where none is mapped. */
  #addressOf(fileOffset: number): number {
    let address = -1;
    for (const { isCode, base, bytes, offset } of this.#segments) {
      if (fileOffset < offset || fileOffset >= offset + bytes) continue;
      if (isCode) return fileOffset - offset + base;
      address = fileOffset - offset + base;
    }
    return address;
  }
}

function nameAt(strings: Uint8Array, from: number): string {
  let end = from;
  while (end < strings.length && end - from < NAME_BYTES_MAX && strings[end] !== 0) end++;
  return utf8.decode(strings.subarray(from, end));
}

interface Table {
  readonly columns: Columns;
  readonly strings: Uint8Array;
}

function tableOf(elf: ElfFile, type: number): Table | undefined {
  const { sections } = elf;
  const section = sections.find((candidate) => candidate.type === type);
  const strings = section === undefined ? undefined : sections[section.link];
  if (section === undefined || strings === undefined) return undefined;
  const columns = readColumns(elf.read(section.offset, section.bytes), sections);
  if (columns.value.length === 0) return undefined;
  const names = elf.read(strings.offset, strings.bytes);
  return { columns, strings: new Uint8Array(names.buffer) };
}

/** The table of the file that has this one's build id. */
function debugTable(elf: ElfFile, debugRoot: string): Table | undefined {
  const id = elf.buildId;
  if (id === undefined || id.length < 4) return undefined;
  let debug: ElfFile;
  try {
    debug = ElfFile.open(`${debugRoot}/${id.slice(0, 2)}/${id.slice(2)}.debug`);
  } catch (error) {
    // Not installed, which is usual, or unusable: the binary's own names have to do.
    if (error instanceof ElfError) return undefined;
    throw error;
  }
  try {
    return debug.buildId === id ? tableOf(debug, SHT_SYMTAB) : undefined;
  } finally {
    debug.close();
  }
}

/** Functions, and labels in code: what perf takes. */
function readColumns(table: DataView, sections: readonly ElfSection[]): Columns {
  const columns: Columns = { value: [], size: [], end: [], name: [], bind: [] };
  for (let at = 0; at + SYMBOL_BYTES <= table.byteLength; at += SYMBOL_BYTES) {
    const info = table.getUint8(at + 4);
    const kind = info & 0xf;
    const sectionIndex = table.getUint16(at + 6, true);
    const name = table.getUint32(at, true);
    if (sectionIndex === SHN_UNDEF || sectionIndex >= SHN_LORESERVE || name === 0) continue;
    const section = sections[sectionIndex];
    if (kind !== STT_FUNC && kind !== STT_GNU_IFUNC) {
      const isVisible = (table.getUint8(at + 5) & 3) % 3 === 0;
      const isCode = ((section?.flags ?? 0) & SHF_EXECINSTR) !== 0;
      if (kind !== STT_NOTYPE || !isVisible || !isCode) continue;
    }
    const value = table.getUint32(at + 12, true) * 4294967296 + table.getUint32(at + 8, true);
    const size = table.getUint32(at + 20, true) * 4294967296 + table.getUint32(at + 16, true);
    const sectionEnd = section === undefined ? value : section.address + section.bytes;
    columns.value.push(value);
    columns.size.push(size);
    columns.end.push(size > 0 ? value + size : sectionEnd);
    columns.name.push(name);
    columns.bind.push(info >> 4);
  }
  return columns;
}

/**
 * Symbols by address; of several for one address the one that perf would choose. Labels within a
 * function that says how long it is are left out: its code behind them would bear their name.
 */
function bestOrder(columns: Columns, strings: Uint8Array): number[] {
  const order = columns.value.map((_, i) => i);
  order.sort((a, b) => columns.value[a]! - columns.value[b]! || a - b);
  const kept: number[] = [];
  let functionEnd = 0;
  for (const symbol of order) {
    const address = columns.value[symbol]!;
    const size = columns.size[symbol]!;
    const last = kept.at(-1);
    if (last !== undefined && columns.value[last] === address) {
      if (isBetter(symbol, last, columns, strings)) kept[kept.length - 1] = symbol;
    } else if (size > 0 || address >= functionEnd) kept.push(symbol);
    functionEnd = Math.max(functionEnd, address + size);
  }
  return kept;
}

/** One with a size, not weak, global, fewer leading underscores, longer. */
function isBetter(a: number, b: number, columns: Columns, strings: Uint8Array): boolean {
  const ranks = [a, b].map((symbol) => {
    const name = nameAt(strings, columns.name[symbol]!);
    return [
      columns.size[symbol] === 0 ? 1 : 0,
      columns.bind[symbol] === STB_WEAK ? 1 : 0,
      columns.bind[symbol] === STB_LOCAL ? 1 : 0,
      name.length - name.replace(/^_+/, "").length,
      -name.length,
    ];
  });
  for (let i = 0; i < 5; i++) {
    const difference = ranks[0]![i]! - ranks[1]![i]!;
    if (difference !== 0) return difference < 0;
  }
  return false;
}
