/** Finding and refusing to fetch what a guest needs. The download runs on bare machines. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ensurePrerequisites, isStaticElf, PrerequisiteError } from "./prerequisites.ts";

/** A little-endian ELF64 header followed by program headers of the given types. */
function elf(types: readonly number[]): Uint8Array {
  const data = new Uint8Array(64 + types.length * 56);
  const view = new DataView(data.buffer);
  view.setUint32(0, 0x7f454c46);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, types.length, true);
  for (const [index, type] of types.entries()) {
    view.setUint32(64 + index * 56, type, true);
  }
  return data;
}

describe("isStaticElf()", () => {
  test("looks for an interpreter among the program headers", () => {
    expect(isStaticElf(elf([1, 1, 4]))).toBe(true);
    expect(isStaticElf(elf([6, 3, 1]))).toBe(false);
    expect(isStaticElf(readFileSync("/bin/sh"))).toBe(false);
  });

  test("refuses what is no ELF file, or cut off", () => {
    expect(isStaticElf(Buffer.from("#!/bin/sh\n".padEnd(80)))).toBe(false);
    expect(isStaticElf(elf([1, 1]).subarray(0, 100))).toBe(false);
    expect(isStaticElf(new Uint8Array(3))).toBe(false);
  });
});

test("ensurePrerequisites() names what is missing and the command, when it may not fetch", () => {
  const before = process.env.VMSPAN_NO_INSTALL;
  process.env.VMSPAN_NO_INSTALL = "1";
  try {
    const cachePath = join(import.meta.dirname, "no-such-cache");
    const attempt = (): unknown => ensurePrerequisites({ cachePath, ignoreInstalled: true });
    expect(attempt).toThrow(PrerequisiteError);
    expect(attempt).toThrow(
      "no linux-image-amd64, no busybox-static here, and VMSPAN_NO_INSTALL=1 forbids fetching" +
        " them, wanted: apt-get install --no-install-recommends linux-image-amd64 busybox-static",
    );
  } finally {
    if (before === undefined) {
      delete process.env.VMSPAN_NO_INSTALL;
    } else {
      process.env.VMSPAN_NO_INSTALL = before;
    }
  }
});
