/** /proc/PID/maps and MMAP2 records as mappings of code. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  mappingAt,
  parseCodeMappings,
  recordedMapping,
} from "../../../shared/symbol/process_maps.ts";

const MAPS = `55e0f2a00000-55e0f2a01000 r--p 00000000 fe:01 92841                      /tmp/a b
55e0f2a01000-55e0f2a02000 r-xp 00001000 fe:01 92841                      /tmp/a b
7f33c1400000-7f33c1428000 r--p 00000000 fe:01 131612                     /lib/libc.so.6
7f33c1428000-7f33c15b6000 r-xp 00028000 fe:01 131612                     /lib/libc.so.6 (deleted)
7f33c1700000-7f33c1701000 rwxp 00000000 00:00 0 
7ffd1a9e2000-7ffd1a9e4000 r-xp 00000000 00:00 0                          [vdso]
`;

describe("parseCodeMappings", () => {
  test("parseCodeMappings() keeps what can be executed", () => {
    expect(parseCodeMappings(MAPS).map(({ path, file }) => [path, file])).toEqual([
      ["/tmp/a b", "fe:01 92841"],
      ["/lib/libc.so.6", "fe:01 131612"],
      ["", ""],
      ["[vdso]", ""],
    ]);
    expect(parseCodeMappings(MAPS)[1]).toEqual({
      start: 0x7f33c1428000,
      end: 0x7f33c15b6000,
      fileOffset: 0x28000,
      file: "fe:01 131612",
      path: "/lib/libc.so.6",
      isDeleted: true,
    });
  });

  test("parseCodeMappings() of any text is a list", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), fc.nat(MAPS.length), (noise, at) => {
        const text = MAPS.slice(0, at) + noise + MAPS.slice(at);
        for (const { start, end } of parseCodeMappings(text)) {
          expect(Number.isFinite(start) && Number.isFinite(end)).toBe(true);
        }
      }),
    );
  });
});

describe("mappingAt", () => {
  const mappings = parseCodeMappings(MAPS);
  test("mappingAt() finds the mapping that holds an address, its end excluded", () => {
    expect(mappingAt(mappings, 0x55e0f2a01000)?.path).toBe("/tmp/a b");
    expect(mappingAt(mappings, 0x55e0f2a02000)).toBeUndefined();
    expect(mappingAt(mappings, 0x7ffd1a9e3fff)?.path).toBe("[vdso]");
    expect(mappingAt(mappings, 0)).toBeUndefined();
    expect(mappingAt([], 1)).toBeUndefined();
  });
});

describe("recordedMapping", () => {
  test("recordedMapping() names what is mapped as maps does", () => {
    const record = { start: 0x1000, bytes: 0x2000, fileOffset: 0x3000 };
    const file = { device: [254, 1] as const, inode: 92841, name: "/tmp/x (deleted)" };
    expect(recordedMapping({ ...record, ...file })).toEqual({
      start: 0x1000,
      end: 0x3000,
      fileOffset: 0x3000,
      file: "fe:01 92841",
      path: "/tmp/x",
      isDeleted: true,
    });
    const anonymous = { device: [0, 0] as const, inode: 0, name: "//anon" };
    const { file: none, path } = recordedMapping({ ...record, ...anonymous });
    expect([none, path]).toEqual(["", ""]);
  });
});
