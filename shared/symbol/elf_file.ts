/**
 * The parts of an ELF file that symbols need, read piece by piece: binaries are large. Offsets must
 * match Elf64_Ehdr, Elf64_Shdr and Elf64_Phdr in <elf.h>. A file may be anybody's: sizes are
 * checked before anything is allocated.
 */
import { SysError } from "../sys/errno.ts";
import { type Fd, readAt, statusOf } from "../sys/fd.ts";
import { openRegular } from "../sys/regular_file.ts";
import { addressOf } from "../sys/syscall.ts";

export const SHT_SYMTAB = 2;
export const SHT_DYNSYM = 11;
const SHT_NOTE = 7;
export const SHF_EXECINSTR = 4;
const PT_LOAD = 1;
const PF_X = 1;
/** Limits against broken files: a symbol table of 64 MiB holds 2.8 million symbols. */
const TABLE_BYTES_MAX = 64 * 1024 * 1024;
const HEADERS_MAX = 4096;
const NOTE_BYTES_MAX = 64 * 1024;
const NT_GNU_BUILD_ID = 3;
/** "GNU\0" as a little-endian u32. */
const GNU = 0x00554e47;

/** The file is no usable ELF, or has no such function. */
export class ElfError extends Error {
  override readonly name = "ElfError";
}

export interface ElfSection {
  readonly type: number;
  readonly flags: number;
  readonly address: number;
  readonly offset: number;
  readonly bytes: number;
  readonly link: number;
}

/** A piece of the file that is mapped: address - base + offset is where it lies in the file. */
export interface ElfSegment {
  readonly isCode: boolean;
  readonly offset: number;
  readonly base: number;
  readonly bytes: number;
}

/** Where an ELF image's bytes come from. */
interface ByteSource {
  readonly bytes: number;
  /** Bytes from `at`, fewer at the end, or -errno. */
  read(into: Uint8Array, at: number): number;
  close(): void;
}

export class ElfFile {
  readonly #source: ByteSource;
  readonly #path: string;
  readonly #tableBytesMax: number;
  readonly #header: DataView;
  #sections: readonly ElfSection[] | undefined;
  #segments: readonly ElfSegment[] | undefined;

  /** Throws ElfError for what is no 64-bit little-endian ELF, and closes the source. */
  private constructor(path: string, tableBytesMax: number, source: ByteSource) {
    this.#path = path;
    this.#tableBytesMax = tableBytesMax;
    this.#source = source;
    try {
      this.#header = this.read(0, 64);
      const MAGIC = 0x464c457f;
      const CLASS64_LITTLE = 0x0102;
      const isElf = this.#header.getUint32(0, true) === MAGIC;
      if (!isElf || this.#header.getUint16(4, true) !== CLASS64_LITTLE) {
        throw this.#error("it is no 64-bit little-endian ELF");
      }
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Opens a regular file, with `inode` only if it is that one; tables of more than `tableBytesMax`
   * are refused. Throws ElfError.
   */
  static open(path: string, tableBytesMax: number = TABLE_BYTES_MAX, inode?: string): ElfFile {
    const fd = openFile(path);
    const status = statusOf(fd);
    if (inode !== undefined && inode !== `${status.inode}`) {
      fd.close();
      throw new ElfError(`Cannot read symbols of "${path}": it is another file now`);
    }
    return new ElfFile(path, tableBytesMax, {
      bytes: status.bytes,
      read: (into, at) => readAt(fd, addressOf(into), into.length, at),
      close: () => fd.close(),
    });
  }

  /** An image that is in memory. Throws ElfError. */
  static of(name: string, image: Uint8Array): ElfFile {
    return new ElfFile(name, TABLE_BYTES_MAX, {
      bytes: image.length,
      read: (into, at) => {
        const piece = image.subarray(at, at + into.length);
        into.set(piece);
        return piece.length;
      },
      close: () => {},
    });
  }

  /** Throws ElfError when the file has no such bytes, or they are too many. */
  read(offset: number, bytes: number): DataView {
    if (bytes > this.#tableBytesMax) throw this.#error(`it has a table of ${bytes} bytes`);
    if (offset + bytes > this.#source.bytes) throw this.#error("it ends early");
    const buffer = new Uint8Array(bytes);
    let filled = 0;
    while (filled < bytes) {
      const got = this.#source.read(buffer.subarray(filled), offset + filled);
      if (got <= 0) throw this.#error(got === 0 ? "it ends early" : `errno ${-got}`);
      filled += got;
    }
    return new DataView(buffer.buffer);
  }

  get sections(): readonly ElfSection[] {
    this.#sections ??= this.#readSections();
    return this.#sections;
  }

  get segments(): readonly ElfSegment[] {
    this.#segments ??= this.#readSegments();
    return this.#segments;
  }

  /** The file offset of a virtual address. Throws ElfError. */
  fileOffset(address: number): number {
    for (const { base, bytes, offset } of this.segments) {
      if (address >= base && address < base + bytes) return address - base + offset;
    }
    throw this.#error(`address 0x${address.toString(16)} is in no segment`);
  }

  /** The build id in hexadecimal; undefined when there is none. */
  get buildId(): string | undefined {
    for (const { type, offset, bytes } of this.sections) {
      if (type !== SHT_NOTE || bytes > NOTE_BYTES_MAX) continue;
      const note = this.read(offset, bytes);
      for (let at = 0; at + 12 <= bytes; ) {
        const nameBytes = note.getUint32(at, true);
        const idBytes = note.getUint32(at + 4, true);
        const idAt = at + 12 + Math.ceil(nameBytes / 4) * 4;
        const isGnu = nameBytes === 4 && at + 16 <= bytes && note.getUint32(at + 12, true) === GNU;
        if (isGnu && note.getUint32(at + 8, true) === NT_GNU_BUILD_ID && idAt + idBytes <= bytes) {
          const id = new Uint8Array(note.buffer, idAt, idBytes);
          return Array.from(id, (byte) => byte.toString(16).padStart(2, "0")).join("");
        }
        at = idAt + Math.ceil(idBytes / 4) * 4;
      }
    }
    return undefined;
  }

  close(): void {
    this.#source.close();
  }

  #readSections(): ElfSection[] {
    const count = Math.min(this.#header.getUint16(60, true), HEADERS_MAX);
    const table = this.read(Number(this.#header.getBigUint64(40, true)), count * 64);
    return Array.from({ length: count }, (_, i) => ({
      type: table.getUint32(i * 64 + 4, true),
      flags: Number(table.getBigUint64(i * 64 + 8, true)),
      address: Number(table.getBigUint64(i * 64 + 16, true)),
      offset: Number(table.getBigUint64(i * 64 + 24, true)),
      bytes: Number(table.getBigUint64(i * 64 + 32, true)),
      link: table.getUint32(i * 64 + 40, true),
    }));
  }

  #readSegments(): ElfSegment[] {
    const count = Math.min(this.#header.getUint16(56, true), HEADERS_MAX);
    const table = this.read(Number(this.#header.getBigUint64(32, true)), count * 56);
    const segments: ElfSegment[] = [];
    for (let at = 0; at < table.byteLength; at += 56) {
      if (table.getUint32(at, true) !== PT_LOAD) continue;
      segments.push({
        isCode: (table.getUint32(at + 4, true) & PF_X) !== 0,
        offset: Number(table.getBigUint64(at + 8, true)),
        base: Number(table.getBigUint64(at + 16, true)),
        bytes: Number(table.getBigUint64(at + 32, true)),
      });
    }
    return segments;
  }

  #error(detail: string): ElfError {
    return new ElfError(`Cannot read symbols of "${this.#path}": ${detail}`);
  }
}

function openFile(path: string): Fd {
  try {
    return openRegular(path);
  } catch (error) {
    if (!(error instanceof SysError || error instanceof RangeError)) throw error;
    const reason = error instanceof SysError ? error.code : "it is no regular file";
    throw new ElfError(`Cannot read symbols of "${path}": ${reason}`, { cause: error });
  }
}
