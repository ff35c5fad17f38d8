/** Keys against the system's C compiler: random expressions, assignments and functions included. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { GCC, LIBC_DEV, packagesProblem } from "../../apt.ts";
import { perNight } from "../../nightly.ts";
import { type RandomExpr, randomExpr } from "./random_expr.ts";
import { type FieldValues, fieldValues } from "./random_fields.ts";
import { C_PROLOGUE, randomProgram } from "./random_program.ts";
import { FIELDS, makeRecord, runKey } from "./record_fixture.ts";

/** Expressions of one run of the compiler. */
const BATCH = 2000;
const BATCHES = perNight(1, 25);
const OPERATORS =
  /<<=|>>=|\+\+|--|&&|\|\||<<|>>|[-+*/%&|^]=|[<>=!]=|\?:|sizeof|ntohl|ntohs|strncmp|\[|[-+*/%&|^~!<>?:,=]/g;

describe("compileKeyProgram() against a C compiler", () => {
  const skip = packagesProblem([GCC, LIBC_DEV]);
  if (skip !== "") console.log(`skipped: ${skip}`);

  for (const [what, arbitrary] of [
    ["expressions", randomExpr(true)],
    ["expressions with assignments, text and functions", randomProgram],
  ] as const) {
    test.skipIf(skip !== "")(
      `random ${what} give what gcc's code gives`,
      () => {
        let equal = 0;
        const operators = new Set<string>();
        for (let batch = 0; batch < BATCHES; batch++) {
          const cases = fc.sample(fc.tuple(arbitrary, fieldValues), BATCH);
          const theirs = runCompiler(cases);
          cases.forEach(([{ text }, values], index) => {
            for (const operator of text.match(OPERATORS) ?? []) operators.add(operator);
            const record = makeRecord(values);
            // The compiled form for the first half, the closures for the second.
            const backend = index % 2 === 0 ? "wasm" : "js";
            const got = runKey(text, record, { backend }).key;
            if (got !== theirs[index]) {
              const fields = JSON.stringify(values, (_, v) =>
                typeof v === "bigint" ? v.toString() : v,
              );
              throw new Error(`${text}: ours ${got}, gcc ${theirs[index]}, ${fields}`);
            }
            equal++;
          });
        }
        const used = [...operators].sort().join(" ");
        console.log(`${what} compared with gcc: ${equal}, all equal, of ${used}`);
        expect(equal).toBe(BATCH * BATCHES);
      },
      perNight(120_000, 1_800_000),
    );
  }
});

/** Compiles one function per expression, runs them all, and returns the results. */
function runCompiler(cases: readonly [RandomExpr, FieldValues][]): bigint[] {
  const directory = mkdtempSync(join(tmpdir(), "vmspan-expr-"));
  try {
    const functions = cases.map(([{ c }, values], index) => {
      const declarations = FIELDS.map(([type, name, , bytes, signed]) => {
        const wide = bytes === 8 && signed === 0 ? "unsigned long long" : "long long";
        const narrow = type === "u64" ? "unsigned long long" : type;
        return `${wide} ${name} = (${narrow})${BigInt.asUintN(64, values[name] ?? 0n)}ULL;`;
      });
      const body = `${declarations.join(" ")} return (long long)(${c});`;
      return `static long long f${index}(void) { ${body} }`;
    });
    const calls = cases.map((_, index) => `  printf("%lld\\n", f${index}());`);
    const main = `int main(void) {\n${calls.join("\n")}\n  return 0;\n}\n`;
    writeFileSync(join(directory, "e.c"), `${C_PROLOGUE}${functions.join("\n")}\n${main}`);
    const flags = ["-w", "-O0", "-fwrapv", "-std=gnu11", "-o", join(directory, "e")];
    const built = spawnSync("gcc", [...flags, join(directory, "e.c")], { encoding: "utf8" });
    if (built.status !== 0) throw new Error(built.stderr.slice(0, 2000));
    const run = spawnSync(join(directory, "e"), { encoding: "utf8", maxBuffer: 1 << 26 });
    return run.stdout.trim().split("\n").map(BigInt);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
