/** The order in which a guest loads modules, from made-up module trees. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { collectModules, moduleDepends } from "./kernel_modules.ts";

function fakeModule(depends: string): Uint8Array {
  return Buffer.from(`\x7fELF....license=GPL\0depends=${depends}\0name=x\0....`, "latin1");
}

describe("moduleDepends()", () => {
  test("splits the list and unifies dashes", () => {
    expect(moduleDepends(fakeModule("virtio_ring,net-failover"))).toEqual([
      "virtio_ring",
      "net_failover",
    ]);
  });

  test("gives an empty list for a module that needs nothing", () => {
    expect(moduleDepends(fakeModule(""))).toEqual([]);
  });

  test("refuses bytes without the entry, or cut off in it", () => {
    expect(() => moduleDepends(Buffer.from("no modinfo"))).toThrow(SyntaxError);
    expect(() => moduleDepends(Buffer.from("\0depends=virtio"))).toThrow(SyntaxError);
  });
});

describe("collectModules()", () => {
  let path = "";

  beforeAll(() => {
    path = mkdtempSync(join(tmpdir(), "vmspan-modules-"));
    mkdirSync(join(path, "kernel/drivers/virtio"), { recursive: true });
    const modules = { top: "left,right", left: "base", right: "base,builtin_one", base: "" };
    for (const [name, depends] of Object.entries(modules)) {
      writeFileSync(join(path, `kernel/drivers/virtio/${name}.ko`), fakeModule(depends));
    }
    writeFileSync(join(path, "modules.builtin"), "kernel/lib/builtin-one.ko\n");
    writeFileSync(join(path, "kernel/packed.ko"), fakeModule("base"));
    execFileSync("gzip", [join(path, "kernel/packed.ko")]);
    writeFileSync(join(path, "kernel/loop-a.ko"), fakeModule("loop_b"));
    writeFileSync(join(path, "kernel/loop-b.ko"), fakeModule("loop_a"));
  });
  afterAll(() => rmSync(path, { recursive: true, force: true }));

  const names = (wanted: readonly string[]): string[] =>
    collectModules(path, wanted).map(({ name }) => name);

  test("puts each module once, after what it needs, without built-in ones", () => {
    expect(names(["top", "left"])).toEqual(["base", "left", "right", "top"]);
  });

  test("decompresses what the distribution compressed", () => {
    const packed = collectModules(path, ["packed"]).at(-1)!;
    expect(packed.name).toBe("packed");
    expect(moduleDepends(packed.data)).toEqual(["base"]);
  });

  test("names the module that is nowhere", () => {
    expect(() => names(["absent"])).toThrow('Cannot find kernel module "absent"');
  });

  test("ends on a circle of dependencies", () => {
    expect(() => names(["loop_a"])).toThrow(ReferenceError);
  });
});
