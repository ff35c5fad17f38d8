/**
 * Finds __vdso_clock_gettime in this process's memory, so that a clock is read without entering the
 * kernel: tens of nanoseconds between the two TSC readings instead of hundreds.
 *
 * /proc/self/auxv gives the vDSO's address (AT_SYSINFO_EHDR); its program headers give PT_DYNAMIC,
 * which gives the symbol table. Offsets must match Elf64_Ehdr, Elf64_Phdr, Elf64_Dyn and Elf64_Sym
 * in <linux/elf.h>. The memory is the kernel's, mapped for the life of the process.
 */
import { readFileSync } from "node:fs";
import { auxiliaryValue } from "./execute.ts";
import { type Address, NULL_ADDRESS, viewOf } from "./syscall.ts";

const AT_SYSINFO_EHDR = 33n;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_HASH = 4;
const DT_STRTAB = 5;
const DT_SYMTAB = 6;
const DT_GNU_HASH = 0x6ffffef5;
const SYMBOL_BYTES = 24;
/** The vDSO is a few pages of code; more symbols than this would not be a vDSO. */
const VDSO_SYMBOLS_MAX = 256;
const SYMBOL_NAME = "__vdso_clock_gettime";

/** Size of the mapping at `base`, out of the text of /proc/self/maps; 0 when none begins there. */
export function mappedBytes(maps: string, base: number): number {
  const from = base.toString(16).padStart(8, "0");
  const match = new RegExp(`^${from}-([0-9a-f]+) r`, "m").exec(maps);
  return match === null ? 0 : Number.parseInt(match[1]!, 16) - base;
}

interface DynamicTables {
  readonly symbols: number;
  readonly strings: number;
  readonly count: number;
}

function findDynamicTables(elf: DataView): DynamicTables | undefined {
  const programHeaders = Number(elf.getBigUint64(32, true));
  const headerBytes = elf.getUint16(54, true);
  const headerCount = elf.getUint16(56, true);
  let dynamic = -1;
  let loadBias = 0;
  for (let i = 0; i < headerCount; i++) {
    const at = programHeaders + i * headerBytes;
    const type = elf.getUint32(at, true);
    const offset = Number(elf.getBigUint64(at + 8, true));
    if (type === PT_LOAD) loadBias = offset - Number(elf.getBigUint64(at + 16, true));
    if (type === PT_DYNAMIC) dynamic = offset;
  }
  if (dynamic < 0) return undefined;
  const found = new Map<number, number>();
  for (let at = dynamic; at + 16 <= elf.byteLength; at += 16) {
    const tag = Number(elf.getBigUint64(at, true));
    if (tag === 0) break;
    found.set(tag, Number(elf.getBigUint64(at + 8, true)) + loadBias);
  }
  const symbols = found.get(DT_SYMTAB);
  const strings = found.get(DT_STRTAB);
  if (symbols === undefined || strings === undefined) return undefined;
  const hash = found.get(DT_HASH);
  if (hash === undefined && !found.has(DT_GNU_HASH)) return undefined;
  // DT_HASH's second word is the symbol count; with DT_GNU_HASH only, strings follow the symbols.
  const count =
    hash === undefined ? (strings - symbols) / SYMBOL_BYTES : elf.getUint32(hash + 4, true);
  return { symbols, strings, count: Math.min(Math.floor(count), VDSO_SYMBOLS_MAX) };
}

/** Value (offset from the image's start) of symbol `name` in an ELF image, or undefined. */
export function findDynamicSymbol(elf: DataView, name: string): number | undefined {
  try {
    return findSymbol(elf, name);
  } catch (error) {
    // A table that leads out of the image: not an image that we can use.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function findSymbol(elf: DataView, name: string): number | undefined {
  const tables = findDynamicTables(elf);
  if (tables === undefined) return undefined;
  for (let i = 0; i < tables.count; i++) {
    const at = tables.symbols + i * SYMBOL_BYTES;
    let matched = tables.strings + elf.getUint32(at, true);
    let length = 0;
    while (length < name.length && elf.getUint8(matched) === name.charCodeAt(length)) {
      matched++;
      length++;
    }
    if (length === name.length && elf.getUint8(matched) === 0) {
      return Number(elf.getBigUint64(at + 8, true));
    }
  }
  return undefined;
}

let cached: Address | undefined;

/** Address of the vDSO's clock_gettime, or NULL when there is none and the syscall must do. */
export function vdsoClockGettime(): Address {
  if (cached !== undefined) return cached;
  const base = Number(auxiliaryValue(AT_SYSINFO_EHDR));
  cached = NULL_ADDRESS;
  if (base === 0) return cached;
  const bytes = mappedBytes(readFileSync("/proc/self/maps", "latin1"), base);
  if (bytes === 0) return cached;
  const elf = new DataView(viewOf(base as Address, bytes));
  const offset = findDynamicSymbol(elf, SYMBOL_NAME);
  if (offset !== undefined) cached = (base + offset) as Address;
  return cached;
}
