/**
 * Where a function lies in an executable or library, as uprobes want it: an offset in the file.
 * Reads .symtab and .dynsym through the section headers; offsets must match Elf64_Ehdr, Elf64_Shdr,
 * Elf64_Phdr and Elf64_Sym in <elf.h>. The file is read in pieces: binaries are large.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const SHT_SYMTAB = 2;
const SHT_DYNSYM = 11;
const PT_LOAD = 1;
const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;
const SHN_UNDEF = 0;
const SYMBOL_BYTES = 24;
/** Limits against broken files: a symbol table of 64 MiB holds 2.8 million symbols. */
const TABLE_BYTES_MAX = 64 * 1024 * 1024;
const HEADERS_MAX = 4096;

/** The file is no usable ELF, or has no such function. */
export class ElfError extends Error {
  override readonly name = "ElfError";
}

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly bytes: number;
  readonly link: number;
}

class ElfFile {
  readonly #fd: number;
  readonly #path: string;
  readonly #fileBytes: number;

  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, "r");
    const status = fstatSync(this.#fd);
    this.#fileBytes = status.isFile() ? status.size : 0;
  }

  read(offset: number, bytes: number): DataView {
    if (bytes > TABLE_BYTES_MAX) throw this.#error(`it has a table of ${bytes} bytes`);
    if (offset + bytes > this.#fileBytes) throw this.#error("it ends early");
    const buffer = new Uint8Array(bytes);
    let filled = 0;
    while (filled < bytes) {
      const got = readSync(this.#fd, buffer, filled, bytes - filled, offset + filled);
      if (got === 0) throw this.#error("it ends early");
      filled += got;
    }
    return new DataView(buffer.buffer);
  }

  header(): DataView {
    const header = this.read(0, 64);
    const MAGIC = 0x464c457f;
    const CLASS64_LITTLE = 0x0102;
    if (header.getUint32(0, true) !== MAGIC || header.getUint16(4, true) !== CLASS64_LITTLE) {
      throw this.#error("it is no 64-bit little-endian ELF");
    }
    return header;
  }

  sections(header: DataView): Section[] {
    const count = Math.min(header.getUint16(60, true), HEADERS_MAX);
    const table = this.read(Number(header.getBigUint64(40, true)), count * 64);
    return Array.from({ length: count }, (_, i) => ({
      type: table.getUint32(i * 64 + 4, true),
      offset: Number(table.getBigUint64(i * 64 + 24, true)),
      bytes: Number(table.getBigUint64(i * 64 + 32, true)),
      link: table.getUint32(i * 64 + 40, true),
    }));
  }

  /** The file offset of a virtual address. */
  fileOffset(header: DataView, address: number): number {
    const count = Math.min(header.getUint16(56, true), HEADERS_MAX);
    const table = this.read(Number(header.getBigUint64(32, true)), count * 56);
    for (let at = 0; at < table.byteLength; at += 56) {
      if (table.getUint32(at, true) !== PT_LOAD) continue;
      const offset = Number(table.getBigUint64(at + 8, true));
      const base = Number(table.getBigUint64(at + 16, true));
      const bytes = Number(table.getBigUint64(at + 32, true));
      if (address >= base && address < base + bytes) return address - base + offset;
    }
    throw this.#error(`address 0x${address.toString(16)} is in no segment`);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #error(detail: string): ElfError {
    return new ElfError(`Cannot read symbols of "${this.#path}": ${detail}`);
  }
}

/** Address of function `name`, or undefined when this table does not define it. */
function findIn(elf: ElfFile, section: Section, strings: Section, name: string) {
  const symbols = elf.read(section.offset, section.bytes);
  const names = elf.read(strings.offset, strings.bytes);
  const wanted = new TextEncoder().encode(`${name}\0`);
  for (let at = 0; at + SYMBOL_BYTES <= symbols.byteLength; at += SYMBOL_BYTES) {
    const kind = symbols.getUint8(at + 4) & 0xf;
    if (kind !== STT_FUNC && kind !== STT_GNU_IFUNC) continue;
    const nameAt = symbols.getUint32(at, true);
    if (nameAt + wanted.length > names.byteLength) continue;
    if (!wanted.every((byte, i) => names.getUint8(nameAt + i) === byte)) continue;
    if (symbols.getUint16(at + 6, true) === SHN_UNDEF) continue;
    if (kind === STT_GNU_IFUNC) {
      throw new ElfError(
        `Cannot probe "${name}": it is an indirect function, whose address is that of the code ` +
          "which chooses one; wants the chosen function's own name",
      );
    }
    return Number(symbols.getBigUint64(at + 8, true));
  }
  return undefined;
}

function openElf(path: string): ElfFile {
  try {
    return new ElfFile(path);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw new ElfError(`Cannot read symbols of "${path}": ${reason}`, { cause: error });
  }
}

/** File offset of function `name` in the ELF file `path`. Throws ElfError. */
export function functionFileOffset(path: string, name: string): number {
  const elf = openElf(path);
  try {
    const header = elf.header();
    const sections = elf.sections(header);
    for (const section of sections) {
      if (section.type !== SHT_SYMTAB && section.type !== SHT_DYNSYM) continue;
      const strings = sections[section.link];
      const address = strings && findIn(elf, section, strings, name);
      if (address !== undefined) return elf.fileOffset(header, address);
    }
    throw new ElfError(`Cannot find function "${name}" in "${path}": no such symbol`);
  } finally {
    elf.close();
  }
}
