/** Functions that expressions call (ksymbol, comm_get, printf, ...), and the names they print. */
import { describe, expect, test } from "bun:test";
import { compileExpr } from "../../../shared/expr/expression.ts";
import { makeEvalFunctions } from "../../../shared/expr/functions.ts";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { contextFor, FORMAT, makeRecord, runKey } from "./record_fixture.ts";

const functions = makeEvalFunctions({
  symbols: {
    lookup: (lo, hi) =>
      hi === -1 && lo === (0x81000010 | 0) ? { name: "do_idle", offset: 16 } : undefined,
  },
  comm: (pid) => (pid === 26027 ? new TextEncoder().encode("worker3_1.95") : undefined),
});

function run(source: string): string | bigint {
  const context = contextFor(makeRecord({ a64: 0xffffffff81000010n, b32: -5n, a8: 43n }));
  context.out = new ByteWriter(65536);
  context.values[0] = 7;
  const expr = compileExpr(source, FORMAT, ["key"], functions);
  expect(expr.evaluate(context)).toBe(true);
  if (context.out.length > 0) return context.out.toString();
  if (expr.kind === "int") return (BigInt(context.hi) << 32n) | BigInt(expr.lo >>> 0);
  return new TextDecoder().decode(context.textBytes.subarray(context.textFrom, context.textTo));
}

describe("makeEvalFunctions()", () => {
  for (const [source, want] of [
    ["ksymbol(a64)", "do_idle"],
    ["ksymbol(1)", "0x1"],
    ['ksymbol(a64) ~ "do_*"', 1n],
    ["comm_get(_pid)", "worker3_1.95"],
    ["comm_get(1)", "<...>"],
    ['comm_get(_pid) == "worker3_1.95"', 1n],
    ["syscall_name(0)", "read"],
    ["syscall_name(9999)", "9999"],
    ["syscall_name(-1)", "-1"],
    ["exit_reason_str(1, 12)", "HLT"],
    ["exit_reason_str(2, 0x40 + 14)", "PF excp"],
    ["exit_reason_str(2, 0x12345)", "0x12345"],
    ['printf("key %d", key)', "key 7"],
    ['printf("%-6d|%6s|%.3s|%#x", b32, comm, name, a8)', "-5    | vcpu0|vir|0x2b"],
    ['printf("%lx %d", a64, b32)', "ffffffff81000010 -5"],
    ['printf("%u %x", b32, b32)', "4294967291 fffffffb"],
    ['printf("%d", a64)', "-2130706416"],
    ['printf("%d", 1 << 40)', "1099511627776"],
    ['printf("%s %d", 5, comm)', "5 vcpu0"],
    ['printf("%*d|%-*s|", 4, 1, 6, comm)', "   1|vcpu0 |"],
    ['printf("%c%%", 65)', "A%"],
    ['printf("%d")', "(missing)"],
  ] as const) {
    test(source, () => expect(run(source)).toBe(want));
  }

  test("comm_get() asks for the name that the process had at the record's time", () => {
    const timed = makeEvalFunctions({
      comm: (_pid, cycles) => new TextEncoder().encode(cycles < 1000.5 ? "bash" : "make"),
    });
    const isBash = (timeCycles?: number): bigint => {
      const options = timeCycles === undefined ? {} : { timeCycles };
      const source = 'comm_get(_pid) == "bash"';
      return runKey(source, makeRecord(), { functions: timed, ...options }).key;
    };
    expect([isBash(1000), isBash(1001), isBash()]).toEqual([1n, 0n, 0n]);
  });

  test("ksymbol() finds a name that came later, and keeps one that it found", () => {
    const names = new Map<number, string>();
    let lookups = 0;
    const late = makeEvalFunctions({
      symbols: {
        lookup: (lo, hi) => {
          lookups++;
          const name = hi === -1 ? names.get(lo >>> 0) : undefined;
          return name === undefined ? undefined : { name, offset: 0 };
        },
      },
    });
    const context = contextFor(makeRecord({ a64: 0xffffffff81000010n }));
    const expr = compileExpr("ksymbol(a64)", FORMAT, [], late);
    const read = (): string => {
      expr.evaluate(context);
      const { textBytes, textFrom, textTo } = context;
      return new TextDecoder().decode(textBytes.subarray(textFrom, textTo));
    };
    expect([read(), read()]).toEqual(["0xffffffff81000010", "0xffffffff81000010"]);
    names.set(0x81000010, "do_idle");
    expect([read(), read(), read()]).toEqual(["do_idle", "do_idle", "do_idle"]);
    expect(lookups).toBe(3);
  });

  test("printf() without an output writes nowhere", () => {
    const expr = compileExpr('printf("%d", a8)', FORMAT, [], functions);
    const context = contextFor(makeRecord());
    expect(expr.evaluate(context)).toBe(true);
    expect(expr.lo).toBe(0);
  });

  test("printf() escapes what a record puts into text", () => {
    const record = makeRecord();
    record.set([0x1b, 0x5b, 0x4a], 64);
    const context = contextFor(record);
    context.out = new ByteWriter(65536);
    compileExpr('printf("%s%c", comm, 27)', FORMAT, [], functions).evaluate(context);
    expect(context.out.toString()).toBe("\\x1b[Ju0\\x1b");
  });
});
