/** Functions of ELF files by address: hand-written files, damaged ones, and the C library. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ElfError, ElfFile } from "../../../shared/symbol/elf_file.ts";
import { ElfSymbols } from "../../../shared/symbol/elf_symbols.ts";
import { perNight } from "../../nightly.ts";
import {
  CODE_ADDRESS,
  CODE_OFFSET,
  elfFile,
  type FixtureSymbol,
  STT_OBJECT,
} from "../event/elf_fixture.ts";
import { libcPath } from "../event/kernel.ts";

function symbolsOf(symtab: readonly FixtureSymbol[], dynsym: readonly FixtureSymbol[] = []) {
  const symbols = ElfSymbols.of(ElfFile.of("test", elfFile(symtab, dynsym)), "/nonexistent");
  return (offset: number): string | undefined => {
    const hit = symbols.lookup(CODE_OFFSET + offset);
    return hit && `${hit.name}+${hit.offset}`;
  };
}

const at = (offset: number, name: string, more: Partial<FixtureSymbol> = {}): FixtureSymbol => ({
  name,
  address: CODE_ADDRESS + offset,
  ...more,
});

describe("ElfSymbols", () => {
  test("lookup() takes offsets in the file, and gives the function and the bytes into it", () => {
    const find = symbolsOf([at(0x20, "second"), at(0x10, "first"), at(0x40, "last")]);
    expect(find(0x0f)).toBeUndefined();
    expect(find(0x10)).toBe("first+0");
    expect(find(0x1f)).toBe("first+15");
    expect(find(0x20)).toBe("second+0");
    // The last one ends with its section.
    expect(find(0x1ff)).toBe("last+447");
    expect(find(0x200)).toBeUndefined();
    expect(find(0x5000)).toBeUndefined();
  });

  test("lookup() ends a function where its size says", () => {
    const find = symbolsOf([at(0x10, "small", { size: 4 }), at(0x40, "last", { size: 0x10 })]);
    expect(find(0x13)).toBe("small+3");
    expect(find(0x14)).toBeUndefined();
    expect(find(0x4f)).toBe("last+15");
    expect(find(0x50)).toBeUndefined();
  });

  test("labels within a function are left out, those behind it are not", () => {
    const find = symbolsOf([
      at(0x10, "whole", { size: 0x10 }),
      at(0x14, "label"),
      at(0x20, "next"),
    ]);
    expect(find(0x18)).toBe("whole+8");
    const nested = symbolsOf([at(0x10, "whole", { size: 0x10 }), at(0x14, "part", { size: 2 })]);
    expect(nested(0x15)).toBe("part+1");
    expect(
      symbolsOf([at(0x10, "whole", { size: 4 }), at(0x14, "label"), at(0x20, "next")])(0x18),
    ).toBe("label+4");
  });

  test("of() leaves out what is no function, or only wanted from elsewhere", () => {
    const find = symbolsOf([
      at(0x10, "data", { kind: STT_OBJECT }),
      at(0x10, "missing", { section: 0 }),
      at(0x10, "absolute", { section: 0xfff1 }),
      at(0x20, "end"),
    ]);
    expect(find(0x10)).toBeUndefined();
  });

  test("of() takes .dynsym only when there is no .symtab", () => {
    expect(symbolsOf([], [at(0, "exported"), at(9, "end")])(4)).toBe("exported+4");
    const find = symbolsOf([at(0, "full"), at(9, "end")], [at(0, "exported"), at(9, "end")]);
    expect(find(4)).toBe("full+4");
  });

  test("of several names for one address the one that perf chooses is shown", () => {
    const find = symbolsOf([at(0, "__under"), at(0, "plain"), at(0, "longer_name"), at(9, "end")]);
    expect(find(1)).toBe("longer_name+1");
    const sized = symbolsOf([at(0, "longer_name"), at(0, "short", { size: 8 }), at(9, "end")]);
    expect(sized(1)).toBe("short+1");
  });

  test("the C library's write() is found where its symbols say", () => {
    const symbols = ElfSymbols.of(ElfFile.open(libcPath()));
    expect(symbols.count).toBeGreaterThan(1000);
    expect(symbols.bytes).toBeGreaterThan(10_000);
  });

  test("what is no ELF is an ElfError", () => {
    expect(() => ElfFile.open("/etc/passwd")).toThrow(ElfError);
    expect(() => ElfFile.open("/nonexistent")).toThrow(ElfError);
    expect(() => ElfFile.of("x", new Uint8Array(10))).toThrow(ElfError);
  });

  const runs = perNight(1000, 100_000);
  test(`a file with any bytes changed is symbols or an ElfError (${runs} files)`, () => {
    const whole = elfFile([at(0, "a"), at(8, "b")], [at(0, "c")]);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(0x600), fc.nat(255)), { maxLength: 12 }),
        fc.nat(whole.length),
        (changes, cut) => {
          const bytes = whole.slice(0, whole.length - cut);
          for (const [place, value] of changes) if (place < bytes.length) bytes[place] = value;
          try {
            const symbols = ElfSymbols.of(ElfFile.of("fuzz", bytes), "/nonexistent");
            const hit = symbols.lookup(CODE_OFFSET + 4);
            if (hit !== undefined) expect(hit.offset).toBeGreaterThanOrEqual(0);
          } catch (error) {
            expect(error).toBeInstanceOf(ElfError);
          }
        },
      ),
      { numRuns: runs },
    );
  });
});
