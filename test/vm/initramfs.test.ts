/** The initramfs of test guests: libraries found, cached by content. */
import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildInitramfs, parseLdd } from "./initramfs.ts";
import { ensurePrerequisites } from "./prerequisites.ts";

test("parseLdd() takes paths and passes over the vDSO", () => {
  const output = [
    "\tlinux-vdso.so.1 (0x00007ffc0b7f2000)",
    "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0d2c200000)",
    "\t/lib64/ld-linux-x86-64.so.2 (0x00007f0d2c5f3000)",
  ].join("\n");
  expect(parseLdd(output)).toEqual([
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/ld-linux-x86-64.so.2",
  ]);
});

test("parseLdd() names a library that is missing", () => {
  expect(() => parseLdd("\tlibfoo.so.1 => not found\n")).toThrow("libfoo.so.1 => not found");
});

test("buildInitramfs() is reproducible, cached, and keeps few archives", () => {
  const prerequisites = ensurePrerequisites();
  const cachePath = mkdtempSync(join(tmpdir(), "vmspan-initramfs-"));
  try {
    const build = (text: string): string =>
      buildInitramfs(prerequisites, { programs: [], files: { "/etc/text": text }, cachePath });
    const first = build("one");
    const bytes = readFileSync(first);
    expect(build("one")).toBe(first);
    rmSync(first);
    expect(readFileSync(build("one")).equals(bytes)).toBe(true);
    const later = ["two", "three", "four"].map(build);
    expect(new Set([first, ...later]).size).toBe(4);
    expect(existsSync(later.at(-1)!)).toBe(true);
    expect(readdirSync(cachePath)).toHaveLength(3);
  } finally {
    rmSync(cachePath, { recursive: true, force: true });
  }
});
