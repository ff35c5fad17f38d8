/** The import direction: each forbidden arrow on an example, each allowed one too. */
import { describe, expect, test } from "bun:test";
import { checkImportCycles, checkImports, findImports } from "./imports.ts";
import { readSource } from "./source.ts";

function refusalsOf(path: string, text: string): string[] {
  return checkImports(readSource(path, text)).map((finding) => finding.message);
}

describe("findImports()", () => {
  const rows: readonly (readonly [string, readonly string[]])[] = [
    ['import { a } from "./b.ts";', ["./b.ts"]],
    ['import type { a } from "./b.ts";', ["./b.ts (type)"]],
    ['import {\n  a,\n  type B,\n} from "./b.ts";', ["./b.ts"]],
    ['import "./b.ts";', ["./b.ts"]],
    ['import a, { b } from "c";', ["c"]],
    ['export { a } from "./b.ts";\nexport * from "./c.ts";', ["./b.ts", "./c.ts"]],
    ['const a = await import("./b.ts");', ["./b.ts"]],
    ['new Worker(new URL("./w.ts", import.meta.url), {});', ["./w.ts"]],
    ['// import { a } from "./b.ts";', []],
    ["const a = 'import { a } from \"./b.ts\"';", []],
    ['export const a = 1;\nf("b");', []],
  ];
  for (const [text, specifiers] of rows) {
    test(`findImports() reads ${JSON.stringify(text)}`, () => {
      const found = findImports(readSource("a.ts", text));
      const shown = found.map((i) => (i.typeOnly ? `${i.specifier} (type)` : i.specifier));
      expect(shown).toEqual([...specifiers]);
    });
  }
});

describe("checkImports()", () => {
  const refused: readonly (readonly [string, string])[] = [
    ["agent-guest/main.ts", "../agent-host/main.ts"],
    ["agent-host/link/tcp.ts", "../../agent-guest/sink/tcp.ts"],
    ["shared/perf/ring.ts", "../../agent-host/main.ts"],
    ["shared/sys/fd.ts", "../perf/ring.ts"],
    ["shared/ffi/bun.ts", "../sys/fd.ts"],
    ["shared/perf/ring.ts", "../ffi/ffi.ts"],
    ["agent-guest/main.ts", "../shared/ffi/ffi.ts"],
    ["agent-guest/main.ts", "../test/vm/guest.ts"],
    ["shared/perf/ring.ts", "#ffi"],
    ["agent-host/main.ts", "bun:test"],
    ["agent-host/main.ts", "bun:ffi"],
    ["agent-host/main.ts", "bun"],
    ["shared/expr/parser.ts", "../sys/clock.ts"],
    ["shared/expr/parser.ts", "node:fs"],
    ["agent-host/analyze/merge.ts", "../../shared/sys/clock.ts"],
    ["test/shared/perf/ring.test.ts", "#ffi"],
  ];
  for (const [path, specifier] of refused) {
    test(`checkImports() refuses ${specifier} in ${path}`, () => {
      expect(refusalsOf(path, `import { a } from "${specifier}";\n`)).toHaveLength(1);
    });
  }

  const allowed: readonly (readonly [string, string])[] = [
    ["agent-guest/main.ts", "./sampler.ts"],
    ["agent-guest/main.ts", "../shared/perf/ring.ts"],
    ["agent-host/main.ts", "../shared/sys/fd.ts"],
    ["agent-host/link/tcp.ts", "../analyze/chunk.ts"],
    ["shared/perf/ring.ts", "../sys/mapping.ts"],
    ["shared/sys/syscall.ts", "#ffi"],
    ["shared/sys/syscall.ts", "../ffi/ffi.ts"],
    ["shared/ffi/bun.ts", "bun:ffi"],
    ["shared/expr/parser.ts", "node:util"],
    ["shared/wire/message.ts", "@bufbuild/protobuf/wire"],
    ["test/vm/guest.test.ts", "../../agent-host/main.ts"],
    ["test/vm/guest.test.ts", "bun:test"],
  ];
  for (const [path, specifier] of allowed) {
    test(`checkImports() allows ${specifier} in ${path}`, () => {
      expect(refusalsOf(path, `import { a } from "${specifier}";\n`)).toEqual([]);
    });
  }

  test("checkImports() says where and why", () => {
    const source = readSource("shared/perf/ring.ts", '/** Ring. */\nimport { ffi } from "#ffi";\n');
    expect(checkImports(source)).toEqual([
      {
        path: "shared/perf/ring.ts",
        line: 2,
        message: 'imports "#ffi": only shared/sys imports #ffi',
      },
    ]);
  });
});

describe("checkImportCycles()", () => {
  const a = readSource("shared/a.ts", 'import { b } from "./b.ts";');

  test("checkImportCycles() shows the way round", () => {
    const b = readSource("shared/b.ts", 'import { a } from "./a.ts";');
    expect(checkImportCycles([a, b]).map((finding) => finding.message)).toEqual([
      "imports itself: shared/a.ts -> shared/b.ts -> shared/a.ts",
    ]);
  });

  test("checkImportCycles() lets types point back", () => {
    const b = readSource("shared/b.ts", 'import type { A } from "./a.ts";');
    expect(checkImportCycles([a, b])).toEqual([]);
  });
});
