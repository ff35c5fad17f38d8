/** ElfCache: which file a mapping's names are taken from. */
import { afterAll, expect, test } from "bun:test";
import { copyFileSync, linkSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { ElfCache } from "../../../shared/symbol/elf_cache.ts";
import { libcPath } from "../event/kernel.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-elf-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("symbolsOf() takes a path, in a process's root too, only if its inode is the mapped file's", () => {
  const mapped = join(folder, "mapped.so");
  const path = join(folder, "name.so");
  copyFileSync(libcPath(), mapped);
  linkSync(mapped, path);
  const mapping = {
    start: 0x5000,
    end: 0x6000,
    fileOffset: 0,
    file: `fe:01 ${statSync(mapped).ino}`,
    path,
    isDeleted: false,
  };
  expect(new ElfCache().symbolsOf(process.pid, mapping)).toBeDefined();
  rmSync(path);
  copyFileSync(libcPath(), path);
  expect(new ElfCache().symbolsOf(process.pid, mapping)).toBeUndefined();
});
