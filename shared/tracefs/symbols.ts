// Kernel symbols: addresses to names, as %pS and %ps print them.
//
//   const symbols = KallsymsResolver.parse(readFileSync("/proc/kallsyms"));
//   symbols.lookup(lo, hi)     // { name: "do_idle", offset: 0x1a } or undefined
//
// The text is a guest's own when the events are: every line is checked, names are limited.

/** What an address lies in. */
export interface SymbolHit {
  name: string;
  /** Bytes from the symbol's start. */
  offset: number;
  /** The module, or program, that has it; "" or absent for the kernel itself. */
  module?: string;
}

/** Finds the symbol that holds an address, given as u32 pair. */
export interface SymbolResolver {
  /** The result is only good until the next call: it may be the same object every time. */
  lookup(lo: number, hi: number): SymbolHit | undefined;
}

/** Bytes of a kallsyms text: a distribution kernel has 12 MB with all modules. */
export const KALLSYMS_BYTES_MAX = 64 * 1024 * 1024;
export const SYMBOLS_MAX = 1_000_000;
export const SYMBOL_NAME_MAX = 512;
/** Modules of one kernel; the symbols of further ones count as the kernel's own. */
export const MODULES_MAX = 4096;

const NEWLINE = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const BRACKET = 0x5b;
const BRACKET_END = 0x5d;
const latin1 = new TextDecoder("latin1");
/** The last symbol of a module reaches at least so far, to the end of a page: as in perf. */
const PAGE_BYTES = 4096;
/** Text, data, bss, read-only and weak; what perf takes, in both cases. */
const TYPES = new Set(Array.from("TtWwDdBbRrVv", (letter) => letter.charCodeAt(0)));

/** Symbols in the order in which they were met. Addresses as signed doubles. */
export interface SymbolColumns {
  readonly addresses: number[];
  readonly nameFrom: number[];
  readonly nameTo: number[];
  /** Index into `modules`. */
  readonly module: number[];
  /** [0] is "", the kernel itself. */
  readonly modules: string[];
}

export function emptySymbolColumns(): SymbolColumns {
  return { addresses: [], nameFrom: [], nameTo: [], module: [], modules: [""] };
}

/**
 * Symbols of a /proc/kallsyms text. Addresses are kept as signed doubles: kernel addresses have the
 * top bits set, so that, as signed numbers, they are small enough to be exact.
 */
export class KallsymsResolver implements SymbolResolver {
  readonly #text: Uint8Array;
  /** Sorted; ends are the starts of the next symbol. */
  readonly #addresses: Float64Array;
  readonly #nameFrom: Uint32Array;
  readonly #nameTo: Uint32Array;
  readonly #module: Uint16Array;
  readonly #modules: readonly string[];
  readonly #names = new Map<number, string>();
  readonly #hit: SymbolHit = { name: "", offset: 0, module: "" };

  /** `columns` in any order; names are in `text`, which is kept. */
  constructor(text: Uint8Array, columns: SymbolColumns) {
    const order = sortedOrder(columns);
    this.#text = text;
    this.#addresses = Float64Array.from(order, (i) => columns.addresses[i]!);
    this.#nameFrom = Uint32Array.from(order, (i) => columns.nameFrom[i]!);
    this.#nameTo = Uint32Array.from(order, (i) => columns.nameTo[i]!);
    this.#module = Uint16Array.from(order, (i) => columns.module[i]!);
    this.#modules = columns.modules;
  }

  /** Number of symbols; 0 when kallsyms hid the addresses (no privilege). */
  get count(): number {
    return this.#addresses.length;
  }

  /**
   * Parses a kallsyms text; lines that are none are left out. Throws RangeError when it is too
   * long.
   */
  static parse(text: Uint8Array): KallsymsResolver {
    if (text.length > KALLSYMS_BYTES_MAX) {
      throw new RangeError(
        `Cannot read kernel symbols: ${text.length} bytes, limit is ${KALLSYMS_BYTES_MAX}`,
      );
    }
    return new KallsymsResolver(text, readLines(text));
  }

  lookup(lo: number, hi: number): SymbolHit | undefined {
    const address = (hi | 0) * 4294967296 + (lo >>> 0);
    const addresses = this.#addresses;
    let from = 0;
    let to = addresses.length;
    // The last symbol that starts at or before the address.
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (addresses[middle]! <= address) from = middle + 1;
      else to = middle;
    }
    // Nothing tells where the last symbol ends.
    if (from === 0 || from === addresses.length) return undefined;
    const index = from - 1;
    const offset = address - addresses[index]!;
    const module = this.#module[index]!;
    // What follows the last symbol of a module is not its own up to wherever the next module lies.
    if (module !== this.#module[from] && offset >= PAGE_BYTES) {
      const end = Math.ceil((addresses[index]! + PAGE_BYTES) / PAGE_BYTES) * PAGE_BYTES;
      if (address >= end) return undefined;
    }
    this.#hit.name = this.#name(index);
    this.#hit.offset = offset;
    this.#hit.module = this.#modules[module]!;
    return this.#hit;
  }

  #name(index: number): string {
    let name = this.#names.get(index);
    if (name === undefined) {
      const bytes = this.#text.subarray(this.#nameFrom[index]!, this.#nameTo[index]!);
      name = latin1.decode(bytes);
      this.#names.set(index, name);
    }
    return name;
  }
}

/** One line of kallsyms; filled anew by each parseKallsymsLine(). */
export class KallsymsLine {
  /** As a signed double. */
  address = 0;
  type = 0;
  nameFrom = 0;
  nameTo = 0;
  /** Empty for the kernel's own symbols. */
  moduleFrom = 0;
  moduleTo = 0;
}

/** `ffffffff81000000 T _text`, with a tab and [module] behind the name of a module's symbol. */
function readLines(text: Uint8Array): SymbolColumns {
  const lines = emptySymbolColumns();
  const line = new KallsymsLine();
  let at = 0;
  while (at < text.length && lines.addresses.length < SYMBOLS_MAX) {
    let end = text.indexOf(NEWLINE, at);
    if (end < 0) end = text.length;
    if (parseKallsymsLine(text, at, end, line) && TYPES.has(line.type)) {
      lines.addresses.push(line.address);
      lines.nameFrom.push(line.nameFrom);
      lines.nameTo.push(line.nameTo);
      lines.module.push(moduleOf(text, line, lines.modules));
    }
    at = end + 1;
  }
  return lines;
}

/** Reads text[from, end); false when it is no symbol, or its address is hidden. */
export function parseKallsymsLine(
  text: Uint8Array,
  from: number,
  end: number,
  line: KallsymsLine,
): boolean {
  const nameFrom = from + 19;
  if (nameFrom >= end || text[from + 16] !== SPACE || text[from + 18] !== SPACE) return false;
  const high = readHex(text, from);
  const low = readHex(text, from + 8);
  if (high < 0 || low < 0 || (high === 0 && low === 0)) return false;
  const nameTo = plainEnd(text, nameFrom, end);
  if (nameTo === nameFrom || nameTo - nameFrom > SYMBOL_NAME_MAX) return false;
  line.address = (high | 0) * 4294967296 + low;
  line.type = text[from + 17]!;
  line.nameFrom = nameFrom;
  line.nameTo = nameTo;
  line.moduleFrom = nameTo;
  line.moduleTo = nameTo;
  if (text[nameTo] !== TAB || text[nameTo + 1] !== BRACKET) return true;
  const moduleTo = plainEnd(text, nameTo + 2, end);
  if (text[moduleTo - 1] !== BRACKET_END || moduleTo - nameTo > SYMBOL_NAME_MAX) return true;
  line.moduleFrom = nameTo + 2;
  line.moduleTo = moduleTo - 1;
  return true;
}

/** Where printable ASCII without spaces ends. */
function plainEnd(text: Uint8Array, from: number, end: number): number {
  let to = from;
  while (to < end && text[to]! > SPACE && text[to]! < 0x7f) to++;
  return to;
}

function moduleOf(text: Uint8Array, line: KallsymsLine, modules: string[]): number {
  const { moduleFrom, moduleTo } = line;
  if (moduleFrom === moduleTo) return 0;
  return internModule(modules, latin1.decode(text.subarray(moduleFrom, moduleTo)));
}

/** Conversions that print a kernel symbol: "%pS", "%-20ps". */
const PRINTS_SYMBOL = /%[-+ #0-9]*p[SsFfB]/;

/** Whether a print format, or the text that has it, prints kernel symbols. */
export function printsSymbols(printFormat: string): boolean {
  return PRINTS_SYMBOL.test(printFormat);
}

/** Index of a module's name in `modules`, added if need be; 0 when there are too many. */
export function internModule(modules: string[], name: string): number {
  const last = modules.length - 1;
  if (modules[last] === name) return last;
  const known = modules.indexOf(name);
  if (known >= 0) return known;
  return modules.length === MODULES_MAX ? 0 : modules.push(name) - 1;
}

/** Eight hexadecimal digits, or -1. */
function readHex(text: Uint8Array, from: number): number {
  let value = 0;
  for (let i = from; i < from + 8; i++) {
    const code = text[i]! | 0x20;
    const digit = code >= 0x61 ? code - 0x57 : text[i]! - 0x30;
    if (digit < 0 || digit > 15 || (code < 0x61 && digit > 9)) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/**
 * Lines by address. Of several names for one address the last one is kept: perf means to choose,
 * but first lets each symbol end where the next one begins, and prefers those that have a length.
 */
function sortedOrder({ addresses }: SymbolColumns): number[] {
  const order = addresses.map((_, i) => i);
  order.sort((a, b) => addresses[a]! - addresses[b]! || a - b);
  return order.filter((line, i) => addresses[order[i + 1] ?? -1] !== addresses[line]);
}
