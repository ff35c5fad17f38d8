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

const NEWLINE = 0x0a;
const SPACE = 0x20;
/** Text, data, bss, read-only and weak; what perf takes, in both cases. */
const TYPES = new Set(Array.from("TtWwDdBbRrVv", (letter) => letter.charCodeAt(0)));

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
  readonly #names = new Map<number, string>();
  readonly #hit: SymbolHit = { name: "", offset: 0 };

  constructor(
    text: Uint8Array,
    addresses: Float64Array,
    nameFrom: Uint32Array,
    nameTo: Uint32Array,
  ) {
    this.#text = text;
    this.#addresses = addresses;
    this.#nameFrom = nameFrom;
    this.#nameTo = nameTo;
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
    const lines = readLines(text);
    const order = sortedOrder(lines, text);
    const addresses = new Float64Array(order.length);
    const nameFrom = new Uint32Array(order.length);
    const nameTo = new Uint32Array(order.length);
    order.forEach((line, i) => {
      addresses[i] = lines.addresses[line]!;
      nameFrom[i] = lines.nameFrom[line]!;
      nameTo[i] = lines.nameTo[line]!;
    });
    return new KallsymsResolver(text, addresses, nameFrom, nameTo);
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
    this.#hit.name = this.#name(index);
    this.#hit.offset = address - addresses[index]!;
    return this.#hit;
  }

  #name(index: number): string {
    let name = this.#names.get(index);
    if (name === undefined) {
      const bytes = this.#text.subarray(this.#nameFrom[index]!, this.#nameTo[index]!);
      name = new TextDecoder("latin1").decode(bytes);
      this.#names.set(index, name);
    }
    return name;
  }
}

interface SymbolLines {
  readonly addresses: number[];
  readonly types: number[];
  readonly nameFrom: number[];
  readonly nameTo: number[];
}

/** `ffffffff81000000 T _text`, with a tab and [module] behind the name of a module's symbol. */
function readLines(text: Uint8Array): SymbolLines {
  const lines: SymbolLines = { addresses: [], types: [], nameFrom: [], nameTo: [] };
  let at = 0;
  while (at < text.length && lines.addresses.length < SYMBOLS_MAX) {
    let end = text.indexOf(NEWLINE, at);
    if (end < 0) end = text.length;
    readLine(text, at, end, lines);
    at = end + 1;
  }
  return lines;
}

function readLine(text: Uint8Array, from: number, end: number, lines: SymbolLines): void {
  const nameFrom = from + 19;
  if (nameFrom >= end || text[from + 16] !== SPACE || text[from + 18] !== SPACE) return;
  const type = text[from + 17]!;
  const high = readHex(text, from);
  const low = readHex(text, from + 8);
  if (!TYPES.has(type) || high < 0 || low < 0 || (high === 0 && low === 0)) return;
  let nameTo = nameFrom;
  // Printable ASCII up to the tab before [module].
  while (nameTo < end && text[nameTo]! > SPACE && text[nameTo]! < 0x7f) nameTo++;
  if (nameTo === nameFrom || nameTo - nameFrom > SYMBOL_NAME_MAX) return;
  lines.addresses.push((high | 0) * 4294967296 + low);
  lines.types.push(type);
  lines.nameFrom.push(nameFrom);
  lines.nameTo.push(nameTo);
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

/** Lines by address; of several names for one address the best is kept. */
function sortedOrder(lines: SymbolLines, text: Uint8Array): number[] {
  const order = lines.addresses.map((_, i) => i);
  order.sort((a, b) => lines.addresses[a]! - lines.addresses[b]! || a - b);
  const kept: number[] = [];
  for (const line of order) {
    const last = kept.at(-1);
    if (last === undefined || lines.addresses[last] !== lines.addresses[line]) kept.push(line);
    else if (isBetter(line, last, lines, text)) kept[kept.length - 1] = line;
  }
  return kept;
}

/** perf's choice among aliases: not weak, global, fewer leading underscores, longer. */
function isBetter(a: number, b: number, lines: SymbolLines, text: Uint8Array): boolean {
  const ranks = [a, b].map((line) => {
    const type = lines.types[line]!;
    const isWeak = (type | 0x20) === 0x77 || (type | 0x20) === 0x76;
    let underscores = 0;
    const from = lines.nameFrom[line]!;
    while (text[from + underscores] === 0x5f) underscores++;
    return [isWeak ? 1 : 0, type >= 0x61 ? 1 : 0, underscores, from - lines.nameTo[line]!];
  });
  for (let i = 0; i < 4; i++) {
    const difference = ranks[0]![i]! - ranks[1]![i]!;
    if (difference !== 0) return difference < 0;
  }
  return false;
}
