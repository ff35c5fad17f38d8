/**
 * Symbols of the files that processes have mapped, each read once. A file is opened through the
 * mapping itself where that can be had (/proc/PID/map_files), which also reaches deleted files and
 * those of other mount namespaces; otherwise by its name, if that is still the same file.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { ElfError, ElfFile } from "./elf_file.ts";
import { ElfSymbols } from "./elf_symbols.ts";
import { type CodeMapping, parseCodeMappings } from "./process_maps.ts";

/** Files and bytes of symbols that are kept; the ones used longest ago go first. */
export const FILES_MAX = 512;
export const CACHE_BYTES_MAX = 256 * 1024 * 1024;

export const VDSO = "[vdso]";

export class ElfCache {
  /** undefined: it cannot be read, or is no ELF. */
  readonly #files = new Map<string, ElfSymbols | undefined>();
  readonly #bytesMax: number;
  readonly #tableBytesMax: number | undefined;
  #bytes = 0;

  /** `tableBytesMax`: larger symbol tables are not read. */
  constructor(bytesMax: number = CACHE_BYTES_MAX, tableBytesMax?: number) {
    this.#bytesMax = bytesMax;
    this.#tableBytesMax = tableBytesMax;
  }

  /** Symbols of a mapped file; undefined when there are none to be had. */
  symbolsOf(pid: number, mapping: CodeMapping): ElfSymbols | undefined {
    const key = `${mapping.file} ${mapping.path}`;
    const known = this.#files.get(key);
    if (known !== undefined || this.#files.has(key)) {
      // To the end: Map keeps the order of insertion.
      this.#files.delete(key);
      this.#files.set(key, known);
      return known;
    }
    const isVdso = mapping.path === VDSO;
    const symbols = isVdso ? vdsoSymbols() : fileSymbols(pid, mapping, this.#tableBytesMax);
    this.#bytes += symbols?.bytes ?? 0;
    this.#files.set(key, symbols);
    this.#evict();
    return symbols;
  }

  #evict(): void {
    for (const [key, symbols] of this.#files) {
      if (this.#files.size <= FILES_MAX && this.#bytes <= this.#bytesMax) return;
      this.#files.delete(key);
      this.#bytes -= symbols?.bytes ?? 0;
    }
  }
}

function fileSymbols(
  pid: number,
  mapping: CodeMapping,
  tableBytesMax: number | undefined,
): ElfSymbols | undefined {
  const { start, end, path, file } = mapping;
  if (!path.startsWith("/") || file === "") return undefined;
  const range = `${start.toString(16)}-${end.toString(16)}`;
  // The mapping itself cannot lead astray. Devices are no help with names: overlay and btrfs name
  // another one in maps than in stat.
  const inode = file.slice(file.indexOf(" ") + 1);
  const places: readonly [place: string, inode?: string][] = [
    [`/proc/${pid}/map_files/${range}`],
    [`/proc/${pid}/root${path}`, inode],
    [path, inode],
  ];
  for (const [place, wanted] of places) {
    try {
      return ElfSymbols.of(ElfFile.open(place, tableBytesMax, wanted));
    } catch (error) {
      if (!(error instanceof ElfError)) throw error;
      // Not there for us, another file by now, or no ELF: the next place may be better.
    }
  }
  return undefined;
}

/** The vDSO is the same for all 64-bit processes, this one among them. */
function vdsoSymbols(): ElfSymbols | undefined {
  const mappings = parseCodeMappings(readFileSync("/proc/self/maps", "latin1"));
  const vdso = mappings.find(({ path }) => path === VDSO);
  if (vdso === undefined) return undefined;
  const image = new Uint8Array(vdso.end - vdso.start);
  const memory = openSync("/proc/self/mem", "r");
  try {
    const got = readSync(memory, image, 0, image.length, vdso.start);
    return got < image.length ? undefined : ElfSymbols.of(ElfFile.of(VDSO, image));
  } finally {
    closeSync(memory);
  }
}
