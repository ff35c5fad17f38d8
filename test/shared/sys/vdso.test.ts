/** The vDSO's symbol finder on ELF images written here, byte by byte. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { findDynamicSymbol, mappedBytes, vdsoClockGettime } from "../../../shared/sys/vdso.ts";

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_HASH = 4;
const DT_STRTAB = 5;
const DT_SYMTAB = 6;
const DT_GNU_HASH = 0x6ffffef5;
const DYNAMIC_AT = 0x100;
const HASH_AT = 0x180;
const SYMBOLS_AT = 0x200;
const STRINGS_AT = 0x280;
const IMAGE_BYTES = 0x400;

interface ImageOptions {
  /** Virtual address of file offset 0. */
  readonly base?: number;
  readonly hash?: "sysv" | "gnu" | "none";
  readonly programHeaders?: number;
}

/** An image with the symbols "", "__vdso_time" (0x111) and "__vdso_clock_gettime" (0x222). */
function image({ base = 0, hash = "sysv", programHeaders = 2 }: ImageOptions = {}): DataView {
  const view = new DataView(new ArrayBuffer(IMAGE_BYTES));
  const u64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  view.setUint32(0, 0x464c457f, true);
  u64(32, 64);
  view.setUint16(54, 56, true);
  view.setUint16(56, programHeaders, true);
  view.setUint32(64, PT_LOAD, true);
  u64(64 + 8, 0);
  u64(64 + 16, base);
  view.setUint32(120, PT_DYNAMIC, true);
  u64(120 + 8, DYNAMIC_AT);
  u64(120 + 16, base + DYNAMIC_AT);
  const entries: [number, number][] = [
    [DT_STRTAB, base + STRINGS_AT],
    [DT_SYMTAB, base + SYMBOLS_AT],
  ];
  if (hash === "sysv") entries.push([DT_HASH, base + HASH_AT]);
  if (hash === "gnu") entries.push([DT_GNU_HASH, base + HASH_AT]);
  entries.forEach(([tag, value], i) => {
    u64(DYNAMIC_AT + i * 16, tag);
    u64(DYNAMIC_AT + i * 16 + 8, value);
  });
  view.setUint32(HASH_AT, 1, true);
  view.setUint32(HASH_AT + 4, 3, true);
  const names = "\0__vdso_time\0__vdso_clock_gettime\0";
  for (let i = 0; i < names.length; i++) view.setUint8(STRINGS_AT + i, names.charCodeAt(i));
  [
    [1, 0x111],
    [13, 0x222],
  ].forEach(([name, value], i) => {
    view.setUint32(SYMBOLS_AT + (i + 1) * 24, name!, true);
    u64(SYMBOLS_AT + (i + 1) * 24 + 8, value!);
  });
  return view;
}

describe("findDynamicSymbol", () => {
  for (const hash of ["sysv", "gnu"] as const) {
    test(`findDynamicSymbol() finds each symbol of an image with a ${hash} hash`, () => {
      expect(findDynamicSymbol(image({ hash }), "__vdso_time")).toBe(0x111);
      expect(findDynamicSymbol(image({ hash }), "__vdso_clock_gettime")).toBe(0x222);
    });
  }

  test("findDynamicSymbol() matches whole names only", () => {
    for (const name of ["__vdso_tim", "__vdso_timex", "vdso_time", "__vdso_clock_gettim"]) {
      expect(findDynamicSymbol(image(), name)).toBeUndefined();
    }
  });

  test("findDynamicSymbol() follows an image that is linked at another address", () => {
    const view = image({ base: 0x7000 });
    expect(findDynamicSymbol(view, "__vdso_clock_gettime")).toBe(0x222);
  });

  test("findDynamicSymbol() gives undefined where tables are missing", () => {
    expect(findDynamicSymbol(image({ programHeaders: 1 }), "__vdso_time")).toBeUndefined();
    expect(findDynamicSymbol(image({ programHeaders: 0 }), "__vdso_time")).toBeUndefined();
    expect(findDynamicSymbol(image({ hash: "none" }), "__vdso_time")).toBeUndefined();
    for (const missing of [DT_STRTAB, DT_SYMTAB]) {
      const view = image();
      const at = view.getUint32(DYNAMIC_AT, true) === missing ? DYNAMIC_AT : DYNAMIC_AT + 16;
      view.setUint32(at, 99, true);
      expect(findDynamicSymbol(view, "__vdso_time")).toBeUndefined();
    }
  });

  test("findDynamicSymbol() of a damaged image gives a number or undefined, never throws", () => {
    const damage = fc.array(
      fc.tuple(fc.nat({ max: IMAGE_BYTES - 1 }), fc.integer({ min: 0, max: 255 })),
      { minLength: 1, maxLength: 12 },
    );
    fc.assert(
      fc.property(damage, fc.nat({ max: IMAGE_BYTES }), (changes, length) => {
        const whole = image();
        for (const [at, value] of changes) whole.setUint8(at, value);
        const cut = new DataView(whole.buffer, 0, length);
        for (const view of [whole, cut]) {
          expect(["number", "undefined"]).toContain(
            typeof findDynamicSymbol(view, "__vdso_clock_gettime"),
          );
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("mappedBytes", () => {
  const maps = [
    "00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/x",
    "7ffd1c5f2000-7ffd1c5f6000 r--p 00000000 00:00 0 [vvar]",
    "7ffd1c5f6000-7ffd1c5f8000 r-xp 00000000 00:00 0 [vdso]",
    "7ffd1c5f8000-7ffd1c5f9000 --xp 00000000 00:00 0 [vsyscall]",
  ].join("\n");
  for (const [base, bytes] of [
    [0x7ffd1c5f6000, 0x2000],
    [0x400000, 0x52000],
    [0x7ffd1c5f7000, 0],
    [0x7ffd1c5f8000, 0],
  ] as const) {
    test(`mappedBytes() at 0x${base.toString(16)} gives ${bytes}`, () => {
      expect(mappedBytes(maps, base)).toBe(bytes);
    });
  }
});

describe("vdsoClockGettime", () => {
  test("vdsoClockGettime() lies in the vDSO of this process, and is always the same", async () => {
    const address = vdsoClockGettime();
    expect(vdsoClockGettime()).toBe(address);
    if ((address as number) === 0) return;
    const maps = await Bun.file("/proc/self/maps").text();
    const [from = 0, to = 0] = /^([0-9a-f]+)-([0-9a-f]+) r-xp .*\[vdso\]$/m
      .exec(maps)!
      .slice(1)
      .map((hex) => Number.parseInt(hex, 16));
    expect(address).toBeGreaterThan(from);
    expect(address).toBeLessThan(to);
  });
});
