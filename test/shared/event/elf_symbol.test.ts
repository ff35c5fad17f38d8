/** Functions in ELF files: written by hand, of the machine's C library, and broken ones. */
import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { ElfError, functionFileOffset } from "../../../shared/event/elf_symbol.ts";
import {
  CODE_ADDRESS,
  CODE_OFFSET,
  elfFile,
  type FixtureSymbol,
  STT_GNU_IFUNC,
  STT_OBJECT,
} from "./elf_fixture.ts";
import { libcPath } from "./kernel.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-elf-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

function write(bytes: Uint8Array): string {
  const path = join(folder, `${files++}.so`);
  writeFileSync(path, bytes);
  return path;
}

function writeElf(symtab: readonly FixtureSymbol[], dynsym?: readonly FixtureSymbol[]): string {
  return write(elfFile(symtab, dynsym));
}

describe("functionFileOffset", () => {
  test("functionFileOffset() is the offset in the file, not the address", () => {
    const path = writeElf([
      { name: "first", address: CODE_ADDRESS },
      { name: "second", address: CODE_ADDRESS + 0x64 },
    ]);
    expect(functionFileOffset(path, "first")).toBe(CODE_OFFSET);
    expect(functionFileOffset(path, "second")).toBe(CODE_OFFSET + 0x64);
  });

  test("functionFileOffset() looks into .dynsym too", () => {
    const path = writeElf([], [{ name: "exported", address: CODE_ADDRESS + 16 }]);
    expect(functionFileOffset(path, "exported")).toBe(CODE_OFFSET + 16);
  });

  test("functionFileOffset() matches whole names of functions that are defined here", () => {
    const path = writeElf([
      { name: "work_hard", address: CODE_ADDRESS + 1 },
      { name: "work", address: CODE_ADDRESS + 2, kind: STT_OBJECT },
      { name: "work", address: CODE_ADDRESS + 3, section: 0 },
      { name: "work", address: CODE_ADDRESS + 4 },
    ]);
    expect(functionFileOffset(path, "work")).toBe(CODE_OFFSET + 4);
    expect(() => functionFileOffset(path, "wor")).toThrow(
      `Cannot find function "wor" in "${path}": no such symbol`,
    );
    expect(() => functionFileOffset(path, "")).toThrow(ElfError);
  });

  test("functionFileOffset() refuses an indirect function: a probe there would never fire", () => {
    const symbol = { name: "memcpy", address: CODE_ADDRESS, kind: STT_GNU_IFUNC };
    expect(() => functionFileOffset(writeElf([symbol]), "memcpy")).toThrow(
      'Cannot probe "memcpy": it is an indirect function',
    );
  });

  test("functionFileOffset() refuses an address that no segment holds", () => {
    const path = writeElf([{ name: "lost", address: 0x900000 }]);
    expect(() => functionFileOffset(path, "lost")).toThrow("address 0x900000 is in no segment");
  });

  const refused: readonly (readonly [string, () => string, string])[] = [
    ["a missing file", () => join(folder, "missing"), "ENOENT"],
    ["a directory", () => folder, "it is no regular file"],
    ["an empty file", () => write(new Uint8Array(0)), "it ends early"],
    ["a device", () => "/dev/zero", "it is no regular file"],
    [
      "a script",
      () => write(Buffer.from("#!/bin/sh\n".padEnd(100))),
      "no 64-bit little-endian ELF",
    ],
    [
      "a 32-bit file",
      () => {
        const bytes = elfFile([]);
        bytes[4] = 1;
        return write(bytes);
      },
      "no 64-bit little-endian ELF",
    ],
    [
      "a table beyond all limits",
      () => {
        const bytes = elfFile([]);
        new DataView(bytes.buffer).setBigUint64(0x480 + 64 + 32, 1n << 40n, true);
        return write(bytes);
      },
      "it has a table of 1099511627776 bytes",
    ],
  ];
  for (const [name, path, message] of refused) {
    test(`functionFileOffset() refuses ${name}`, () => {
      const file = path();
      expect(() => functionFileOffset(file, "work")).toThrow(ElfError);
      expect(() => functionFileOffset(file, "work")).toThrow(message);
    });
  }

  test("functionFileOffset() of a damaged or cut file gives an offset or ElfError", () => {
    const whole = elfFile(
      [{ name: "work", address: CODE_ADDRESS }],
      [{ name: "other", address: CODE_ADDRESS + 8 }],
    );
    const path = join(folder, "damaged");
    const headers = fc.nat({ max: 0x480 + 5 * 64 - 1 });
    const change = fc.tuple(headers, fc.integer({ min: 0, max: 255 }));
    const changes = fc.array(change, { maxLength: 8 });
    fc.assert(
      fc.property(changes, fc.nat({ max: whole.length }), fc.boolean(), (edits, length, isCut) => {
        const bytes = whole.slice(0, isCut ? length : whole.length);
        for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
        writeFileSync(path, bytes);
        for (const name of ["work", "other"]) {
          try {
            expect(Number.isInteger(functionFileOffset(path, name))).toBe(true);
          } catch (error) {
            expect(error).toBeInstanceOf(ElfError);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("the C library of this machine", () => {
  const libc = libcPath();
  const hasReadelf = spawnSync("readelf", ["--version"]).status === 0;
  if (libc === "" || !hasReadelf) console.warn("skipped: comparison with readelf: not installed");

  test.skipIf(libc === "" || !hasReadelf)(
    "functionFileOffset() agrees with readelf on its exported functions",
    () => {
      const run = (...args: string[]): string =>
        spawnSync("readelf", [...args, libc], { encoding: "utf8", maxBuffer: 1 << 26 }).stdout;
      const segments = [...run("-lW").matchAll(/^ {2}LOAD +0x(\w+) 0x(\w+) 0x\w+ 0x(\w+)/gm)].map(
        (match) => match.slice(1).map((hex) => Number.parseInt(hex, 16)),
      );
      const rows = [...run("--dyn-syms", "-W").matchAll(/^ +\d+: (\w+) +\d+ FUNC .* (\w+)@/gm)];
      const wanted = ["getppid", "fork", "qsort", "getaddrinfo", "pthread_create", "execve"];
      let compared = 0;
      for (const [, hex, name] of rows) {
        if (!wanted.includes(name!)) continue;
        const address = Number.parseInt(hex!, 16);
        const [offset, base] = segments.find(
          ([, from, bytes]) => address >= from! && address < from! + bytes!,
        )!;
        expect(functionFileOffset(libc, name!)).toBe(address - base! + offset!);
        compared++;
      }
      expect(compared).toBeGreaterThanOrEqual(wanted.length);
    },
  );
});
