/** What users see of errors: one line, a caret, a hint, an exit code, and a stack for bugs only. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import {
  BugError,
  EXIT,
  type Failure,
  failureOf,
  formatFailure,
  isUnforeseen,
  toLine,
  toLines,
  UsageError,
} from "../../../shared/cli/failure.ts";
import { ElfError } from "../../../shared/event/elf_symbol.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { ClockWithdrawnError } from "../../../shared/perf/user_time.ts";
import { SysError } from "../../../shared/sys/errno.ts";
import { FfiError } from "../../../shared/sys/syscall.ts";
import { TracefsError, UnknownEventError } from "../../../shared/tracefs/tracefs.ts";

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

const PLAIN: Failure = {
  message: "Cannot do it: reason",
  hint: undefined,
  text: undefined,
  position: 0,
  exitCode: EXIT.FAILED,
  stack: undefined,
};

describe("BugError", () => {
  test("is a bug whatever is thrown, with the stack of that", () => {
    const cause = new RangeError("Cannot add a ring: there are 3");
    const failure = failureOf(new BugError("Cannot go on with x", cause));
    const message = `Cannot go on with x: ${cause.message}`;
    expect(failure).toMatchObject({ message, exitCode: EXIT.BUG, stack: cause.stack });
    expect(failureOf(new BugError("Cannot go on", "text"))).toMatchObject({ exitCode: EXIT.BUG });
  });
});

describe("isUnforeseen", () => {
  test("is what no class of ours stands for", () => {
    for (const error of [new TypeError("x"), new RangeError("Cannot y"), new Error("z"), 1, null]) {
      expect(isUnforeseen(error)).toBe(true);
    }
    expect(isUnforeseen(new SysError("write stdout", 28))).toBe(false);
    expect(isUnforeseen(new UsageError("Cannot use -m"))).toBe(false);
  });
});

describe("failureOf", () => {
  const expected: readonly (readonly [string, unknown, number])[] = [
    ["a wrong command line", new UsageError("Cannot use -m 3: wants more"), EXIT.USAGE],
    ["an event's syntax", thrownBy(() => parseEventSpecs("a:b/(")), EXIT.USAGE],
    ["a system call", new SysError("open it", 13), EXIT.FAILED],
    ["tracefs", new TracefsError("Cannot find tracefs: not there"), EXIT.FAILED],
    ["an unknown event", new UnknownEventError("a:b", []), EXIT.USAGE],
    ["a clock that the kernel withdrew", new ClockWithdrawnError(), EXIT.FAILED],
    ["an ELF file", new ElfError("Cannot read symbols: no"), EXIT.FAILED],
    ["native code", new FfiError("Cannot load native code: no"), EXIT.FAILED],
    ["a range of ours", new RangeError("Cannot sample CPU 9: not online"), EXIT.FAILED],
    ["a missing file", thrownBy(() => readFileSync("/nosuch/file")), EXIT.FAILED],
    ["a directory read as a file", thrownBy(() => readFileSync("/")), EXIT.FAILED],
  ];
  for (const [name, error, exitCode] of expected) {
    test(`failureOf() ${name} exits ${exitCode} without a stack`, () => {
      const failure = failureOf(error);
      expect(failure.exitCode).toBe(exitCode as Failure["exitCode"]);
      expect(failure.stack).toBeUndefined();
      expect(failure.message).toBe((error as Error).message);
    });
  }

  const bugs: readonly (readonly [string, unknown])[] = [
    ["undefined is not an object", thrownBy(() => (undefined as unknown as Error).message)],
    // As V8 words it: it begins like a message of ours.
    ["V8's TypeError", new TypeError("Cannot read properties of undefined (reading 'x')")],
    ["a variable before its time", new ReferenceError("Cannot access 'x' before initialization")],
    ["an engine's SyntaxError", new SyntaxError("Cannot use import statement outside a module")],
    ["an error without a name of ours", new Error("oops")],
    ["a refused argument", thrownBy(() => readFileSync(-1 as never))],
    ["a thrown text", "just text"],
    ["a thrown undefined", undefined],
    ["a thrown null", null],
  ];
  for (const [name, error] of bugs) {
    test(`failureOf() ${name} is a bug, exit ${EXIT.BUG}`, () => {
      const failure = failureOf(error);
      expect(failure.exitCode).toBe(EXIT.BUG);
      if (error instanceof Error) expect(failure.stack).toContain("failure.test.ts");
      expect(typeof failure.message).toBe("string");
    });
  }

  test("failureOf() carries hint, text and position over", () => {
    expect(failureOf(new UsageError("Cannot x", "do y")).hint).toBe("do y");
    expect(failureOf(new TracefsError("Cannot x")).hint).toBeUndefined();
    expect(failureOf(thrownBy(() => parseEventSpecs("a:b/x==1")))).toMatchObject({
      text: "a:b/x==1",
      position: 8,
    });
  });

  test("failureOf() is plain data, fit to cross from a worker", () => {
    const failure = failureOf(new SysError("open it", 2, "look there"));
    expect(structuredClone(failure)).toEqual(failure);
  });
});

describe("formatFailure", () => {
  test("formatFailure() prints one line", () => {
    expect(formatFailure("agent-guest", PLAIN)).toBe("agent-guest: ERROR: Cannot do it: reason\n");
  });

  test("formatFailure() puts a caret under the place", () => {
    const failure = failureOf(thrownBy(() => parseEventSpecs("irq:irq_handler_entry/irq==3")));
    expect(formatFailure("agent-host", failure)).toBe(
      [
        'agent-host: ERROR: Cannot parse event: "/" is missing after the filter',
        "  irq:irq_handler_entry/irq==3",
        "                              ^",
        "",
      ].join("\n"),
    );
  });

  test("formatFailure() cuts a long text around the place", () => {
    const text = `${"a".repeat(500)}(${"b".repeat(500)}`;
    const [, shown, caret] = formatFailure("x", { ...PLAIN, text, position: 500 }).split("\n");
    expect(shown!.length).toBeLessThan(170);
    expect(shown![caret!.indexOf("^")]).toBe("(");
  });

  test("formatFailure() prints the hint behind it", () => {
    expect(formatFailure("x", { ...PLAIN, hint: "run as root" })).toBe(
      "x: ERROR: Cannot do it: reason\nHINT: run as root\n",
    );
  });

  test("formatFailure() calls a bug a bug, with its stack", () => {
    const stack = "Error: oops\n    at here";
    const text = formatFailure("x", { ...PLAIN, message: "oops", exitCode: EXIT.BUG, stack });
    expect(text).toBe("x: BUG: oops\nError: oops\n    at here\n");
  });

  test("formatFailure() of any text is lines that a terminal may be given", () => {
    const texts = fc.string({ unit: "binary", maxLength: 300 });
    fc.assert(
      fc.property(texts, texts, texts, fc.nat({ max: 300 }), (message, hint, text, position) => {
        const failure = { ...PLAIN, message, hint, text, position };
        const lines = formatFailure("x", failure).split("\n");
        expect(lines.length).toBe(text === "" ? 3 : 5);
        for (const line of lines) expect(line).not.toMatch(/\p{Cc}/u);
        expect(lines[0]).toStartWith("x: ERROR: ");
        if (text !== "") expect(lines[2]).toMatch(/^ +\^$/);
      }),
      { numRuns: 500 },
    );
  });

  test("formatFailure() does not print endless messages", () => {
    const long = "x".repeat(100_000);
    expect(formatFailure("x", { ...PLAIN, message: long, hint: long }).length).toBeLessThan(2100);
  });
});

describe("toLines", () => {
  test("toLines() leaves what we write ourselves: lines, a caret, letters of any language", () => {
    const text = 'HINT: the kernel refuses "ä€": agent-host runs it\n  irq==1\n     ^';
    expect(toLines(text)).toBe(text);
  });

  test("toLines() gives a terminal nothing to obey", () => {
    expect(toLines("a\x1b[2J\r\x07\t\x9b1m\x7f\0b")).toBe("a?[2J????1m??b");
  });

  test("toLine() is one line of them", () => {
    expect(toLine("Cannot find \x1b[2J\n  agent-guest: ERROR: all is lost")).toBe(
      "Cannot find ?[2J agent-guest: ERROR: all is lost",
    );
  });
});
