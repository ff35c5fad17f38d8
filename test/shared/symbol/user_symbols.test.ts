/** Addresses of processes: live ones, ended ones, deleted files, what a compiler made. */
import { afterAll, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ElfFile } from "../../../shared/symbol/elf_file.ts";
import { ElfSymbols } from "../../../shared/symbol/elf_symbols.ts";
import { type CodeMapping, parseCodeMappings } from "../../../shared/symbol/process_maps.ts";
import { PROCESSES_MAX, UserSymbols } from "../../../shared/symbol/user_symbols.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { libcPath } from "../event/kernel.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-user-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Some function of a file: where in the file it begins, and its name. */
function anyFunction(path: string): { readonly offset: number; readonly name: string } {
  const symbols = ElfSymbols.of(ElfFile.open(path));
  for (let offset = 0; offset < statSync(path).size; offset += 64) {
    const hit = symbols.lookup(offset);
    if (hit !== undefined) return { offset: offset - hit.offset, name: hit.name };
  }
  throw new RangeError(`Cannot find a function in ${path}`);
}

function mappingsOf(pid: number): CodeMapping[] {
  return parseCodeMappings(readFileSync(`/proc/${pid}/maps`, "utf8"));
}

const LIBC = libcPath();
const { name, offset } = anyFunction(LIBC);
const libcFile = `fe:01 ${statSync(LIBC).ino}`;
const libc = (start: number): CodeMapping => ({
  start,
  end: start + 0x1000_0000,
  fileOffset: 0,
  file: libcFile,
  path: LIBC,
  isDeleted: false,
});
/** A process id that cannot exist. */
const GONE = 2 ** 30;

describe("UserSymbols of a live process", () => {
  test("lookup() reads what it has mapped: a function of its C library, and the vDSO", () => {
    const symbols = new UserSymbols();
    const mappings = mappingsOf(process.pid);
    const vdso = mappings.find(({ path }) => path === "[vdso]")!;
    const hits = new Set<string>();
    for (let at = vdso.start; at < vdso.end; at += 16) {
      const hit = symbols.lookup(process.pid, at);
      expect(hit?.module).toBe("[vdso]");
      hits.add(hit!.name);
    }
    expect([...hits].some((symbol) => symbol.includes("clock_gettime"))).toBe(true);
    const mapped = mappings.find(({ path }) => path.endsWith("/libc.so.6"));
    if (mapped === undefined) return;
    const at = mapped.start + offset - mapped.fileOffset;
    expect(symbols.lookup(process.pid, at)).toMatchObject({ offset: 0, module: mapped.path });
  });

  test("lookup() reaches a program whose file is deleted, by way of its mapping", async () => {
    const program = join(folder, "sleep");
    copyFileSync("/bin/sleep", program);
    const child = spawn(program, ["60"]);
    try {
      const isMapped = () => mappingsOf(child.pid!).some(({ path }) => path === program);
      await waitUntil(isMapped, 10_000, "the program to run");
      rmSync(program);
      const code = mappingsOf(child.pid!).find(({ isDeleted }) => isDeleted)!;
      const hit = new UserSymbols().lookup(child.pid!, code.start);
      expect(hit?.module).toBe(`${program} (deleted)`);
    } finally {
      child.kill("SIGKILL");
    }
  });

  test("lookup() of what is not mapped, or of no process, is undefined", () => {
    const symbols = new UserSymbols();
    expect(symbols.lookup(process.pid, 8)).toBeUndefined();
    expect(symbols.lookup(GONE, 0x400000)).toBeUndefined();
  });

  test("lookup() in memory without a file asks the map that a compiler wrote", () => {
    const child = spawnSync("true");
    const path = `/tmp/perf-${child.pid}.map`;
    writeFileSync(path, "5000 100 jitted\n");
    try {
      const symbols = new UserSymbols();
      symbols.map(child.pid!, { ...libc(0x5000), file: "", path: "" }, 10);
      expect(symbols.lookup(child.pid!, 0x5010)).toEqual({
        name: "jitted",
        offset: 16,
        module: path,
      });
      expect(symbols.lookup(child.pid!, 0x6000)?.module).toBe("//anon");
    } finally {
      rmSync(path);
    }
  });
});

describe("UserSymbols of a process that has ended", () => {
  test("lookup() goes by its MMAP2 records", () => {
    const symbols = new UserSymbols();
    symbols.map(GONE, libc(0x10000), 100);
    expect(symbols.lookup(GONE, 0x10000 + offset, 200)).toEqual({ name, offset: 0, module: LIBC });
  });

  test("lookup() goes by the time: before exec, after it, and its child's", () => {
    const symbols = new UserSymbols();
    symbols.map(GONE, libc(0x10000), 100);
    symbols.fork(GONE + 1, GONE, 150);
    symbols.exec(GONE, 200);
    symbols.map(GONE, libc(0x9000_0000), 201);
    const nameAt = (pid: number, address: number, cycles: number) =>
      symbols.lookup(pid, address, cycles)?.name;
    expect(nameAt(GONE, 0x10000 + offset, 199)).toBe(name);
    expect(nameAt(GONE, 0x9000_0000 + offset, 199)).toBeUndefined();
    expect(nameAt(GONE, 0x9000_0000 + offset, 300)).toBe(name);
    // The call that began the program still has its old frames.
    expect(nameAt(GONE, 0x10000 + offset, 300)).toBe(name);
    expect(nameAt(GONE + 1, 0x10000 + offset, 300)).toBe(name);
    expect(nameAt(GONE + 1, 0x9000_0000 + offset, 300)).toBeUndefined();
  });

  test("lookup() goes by the time, whichever CPU's ring is read first: mappings before fork and exec", () => {
    const symbols = new UserSymbols();
    symbols.map(GONE + 1, libc(0x10000), 160);
    symbols.map(GONE + 1, libc(0x9000_0000), 210);
    symbols.exec(GONE + 1, 200);
    symbols.fork(GONE + 1, GONE, 150);
    const nameAt = (address: number, cycles: number) =>
      symbols.lookup(GONE + 1, address + offset, cycles)?.name;
    expect(nameAt(0x10000, 170)).toBe(name);
    expect(nameAt(0x9000_0000, 170)).toBeUndefined();
    expect(nameAt(0x9000_0000, 220)).toBe(name);
    expect(nameAt(0x10000, 140)).toBeUndefined();
  });

  test("lookup() still knows the first of seven programs that follow each other", () => {
    const symbols = new UserSymbols();
    symbols.fork(GONE + 1, GONE, 90);
    for (let i = 1; i <= 7; i++) {
      symbols.exec(GONE + 1, i * 100);
      symbols.map(GONE + 1, libc(i * 0x1000_0000), i * 100 + 1);
    }
    for (let i = 1; i <= 7; i++) {
      expect(symbols.lookup(GONE + 1, i * 0x1000_0000 + offset, i * 100 + 50)?.name).toBe(name);
    }
  });

  test("a file that is another one now names nothing", () => {
    const symbols = new UserSymbols();
    symbols.map(GONE, { ...libc(0x10000), file: "fe:01 1" }, 100);
    expect(symbols.lookup(GONE, 0x10000 + offset, 200)).toMatchObject({ name: "", module: LIBC });
  });

  test("a new mapping takes the place of what it covers", () => {
    const symbols = new UserSymbols();
    symbols.map(GONE, libc(0x10000), 100);
    expect(symbols.lookup(GONE, 0x10000 + offset, 200)?.name).toBe(name);
    symbols.map(GONE, { ...libc(0x10000), file: "", path: "" }, 300);
    expect(symbols.lookup(GONE, 0x10000 + offset, 400)?.module).toBe("//anon");
  });

  test(`no more than ${PROCESSES_MAX} processes are kept: those that ended first go`, () => {
    const symbols = new UserSymbols();
    for (let i = 0; i < PROCESSES_MAX; i++) symbols.map(GONE + i, libc(0x10000), 100);
    symbols.exit(GONE + 7);
    symbols.map(GONE + PROCESSES_MAX, libc(0x10000), 100);
    expect(symbols.processCount).toBe(PROCESSES_MAX);
    expect(symbols.lookup(GONE + 7, 0x10000 + offset, 200)).toBeUndefined();
    expect(symbols.lookup(GONE + 8, 0x10000 + offset, 200)?.name).toBe(name);
  });
});
