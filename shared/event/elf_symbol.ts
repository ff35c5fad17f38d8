/**
 * Where a function lies in an executable or library, as uprobes want it: an offset in the file.
 * Reads .symtab and .dynsym; offsets must match Elf64_Sym in <elf.h>.
 */
import { ElfError, ElfFile, type ElfSection, SHT_DYNSYM, SHT_SYMTAB } from "../symbol/elf_file.ts";

export { ElfError } from "../symbol/elf_file.ts";

const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;
const SHN_UNDEF = 0;
const SYMBOL_BYTES = 24;

/** Address of function `name`, or undefined when this table does not define it. */
function findIn(elf: ElfFile, section: ElfSection, strings: ElfSection, name: string) {
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

/** File offset of function `name` in the ELF file `path`. Throws ElfError. */
export function functionFileOffset(path: string, name: string): number {
  const elf = ElfFile.open(path);
  try {
    const { sections } = elf;
    for (const section of sections) {
      if (section.type !== SHT_SYMTAB && section.type !== SHT_DYNSYM) continue;
      const strings = sections[section.link];
      const address = strings && findIn(elf, section, strings, name);
      if (address !== undefined) return elf.fileOffset(address);
    }
    throw new ElfError(`Cannot find function "${name}" in "${path}": no such symbol`);
  } finally {
    elf.close();
  }
}
