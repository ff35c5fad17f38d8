/** Expressions: syntax trees, refusals with their place, filters and values on a made-up record. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { ExprNode } from "../../../shared/expr/ast.ts";
import { ExprError } from "../../../shared/expr/error.ts";
import type { EvalFunction } from "../../../shared/expr/eval_context.ts";
import { compileExpr, compileFilter } from "../../../shared/expr/expression.ts";
import { EXPR_CHARS_MAX } from "../../../shared/expr/lexer.ts";
import { EXPR_DEPTH_MAX, parseExpr, parseExprList } from "../../../shared/expr/parser.ts";
import { compileKeyProgram } from "../../../shared/expr/program.ts";
import { FUZZ_RUNS, FUZZ_TIMEOUT_MS } from "../text/fuzz_runs.ts";
import { contextFor, FORMAT, makeRecord } from "./record_fixture.ts";

/** The tree in prefix form: (+ 1 (* 2 3)). */
function show(node: ExprNode): string {
  switch (node.kind) {
    case "number":
      return (
        String((BigInt(node.hi) << 32n) | BigInt(node.lo >>> 0)) + (node.isUnsigned ? "u" : "")
      );
    case "string":
      return JSON.stringify(new TextDecoder().decode(node.bytes));
    case "name":
      return node.name;
    case "unary":
    case "postfix":
      return `(${node.kind === "postfix" ? "post" : ""}${node.operator} ${show(node.operand)})`;
    case "binary":
      return `(${node.operator} ${show(node.left)} ${show(node.right)})`;
    case "assign":
      return `(${node.operator ?? ""}= ${show(node.target)} ${show(node.value)})`;
    case "conditional":
      return `(? ${show(node.test)} ${node.yes ? show(node.yes) : "-"} ${show(node.no)})`;
    case "comma":
      return `(, ${show(node.left)} ${show(node.right)})`;
    case "cast": {
      const { isSigned, bits, pointers } = node.type;
      const type = `${isSigned ? "s" : "u"}${bits}${"*".repeat(pointers)}`;
      return `(cast ${type} ${show(node.operand)})`;
    }
    case "sizeof":
      return `(sizeof ${node.type ? node.type.bits : show(node.operand!)})`;
    case "call":
      return `(${[node.name, ...node.args.map(show)].join(" ")})`;
    case "index":
      return `([] ${show(node.base)} ${show(node.index)})`;
    case "member":
      return `(-> ${show(node.base)} ${node.name})`;
    case "block": {
      const variables = node.variables.map((v) => `${v.name}=${show(v.value)}`).join(" ");
      return `({ ${variables} ${show(node.result)})`;
    }
    case "list":
      return `{${node.items.map(show).join(" ")}}`;
  }
}

describe("parseExpr()", () => {
  for (const [source, want] of [
    ["1+2*3", "(+ 1 (* 2 3))"],
    ["a-b-c", "(- (- a b) c)"],
    ["a?b:c?d:e", "(? a b (? c d e))"],
    ["a=b=c", "(= a (= b c))"],
    ["a+=b<<1", "(+= a (<< b 1))"],
    ["a,b,c", "(, (, a b) c)"],
    ["-a.b", "(- (-> a b))"],
    ["!a++", "(! (post++ a))"],
    ["*p[1]", "(* ([] p 1))"],
    ["(unsigned long long)a+1", "(+ (cast u64 a) 1)"],
    ["(int)-1", "(cast s32 (- 1))"],
    ["(const char *)p", "(cast u8* p)"],
    ["(u16 *)p", "(cast u16* p)"],
    ["(irq)-1", "(- irq 1)"],
    ["(irq)", "irq"],
    ['name~"a*" && x', '(&& (~ name "a*") x)'],
    ["a ~ b == c", "(== (~ a b) c)"],
    ["~a & ~b", "(& (~ a) (~ b))"],
    ["f(a,(b,c),d)", "(f a (, b c) d)"],
    ['"a" "b\\n"', '"ab\\n"'],
    ["'virtio0'", '"virtio0"'],
    ["18446744073709551615", "-1u"],
    ["0xFFUL+07", "(+ 255u 7)"],
    ["sizeof(u64)*sizeof x", "(* (sizeof 64) (sizeof x))"],
    ["REC->a[2]", "([] (-> REC a) 2)"],
  ] as const) {
    test(source, () => expect(show(parseExpr(source))).toBe(want));
  }

  test("print formats may hold lists and casts to types that are not known", () => {
    const options = { isPrintFormat: true };
    const [first, second] = parseExprList('(xfs_ino_t)REC->a, f(x, {1,"a"}, {2, "b"})', options);
    expect(show(first!)).toBe("(cast u64 (-> REC a))");
    expect(show(second!)).toBe('(f x {1 "a"} {2 "b"})');
    const block = "({ int x = (REC->a); int y = (128); ((x) < (y) ? (x) : (y)); })";
    expect(show(parseExpr(block, options))).toBe("({ x=(-> REC a) y=128 (? (< x y) x y))");
    expect(show(parseExpr("(enum foo)x", options))).toBe("(cast s32 x)");
    expect(show(parseExpr("(struct sock *)x", options))).toBe("(cast u64* x)");
  });

  for (const [source, position, detail] of [
    ["", 0, "expected a value, found end of expression"],
    ["1+", 2, "expected a value, found end of expression"],
    ["(address>>12", 12, 'expected ")", found end of expression'],
    ["a b", 2, 'unexpected "b"'],
    ["a ++ 3", 5, 'unexpected "3"'],
    ["09", 0, '"09" is not a number'],
    ["12ab", 0, '"12ab" is not a number'],
    ["0x1ffffffffffffffff", 0, "does not fit 64 bits"],
    ['x == "abc', 5, "the string is not closed"],
    ["a ` b", 2, 'unexpected character "`"'],
    ["a + é", 4, "unexpected character U+e9"],
    ["(foo)bar", 1, 'unknown type "foo"'],
    ["{1}", 0, 'expected a value, found "{"'],
    ["a->3", 3, "expected the name of a field"],
    ["a ? b", 5, 'expected ":", found end of expression'],
    ["f(a", 3, 'expected ")"'],
    ["a[1", 3, 'expected "]"'],
    ["#", 0, 'expected a value, found "#"'],
  ] as const) {
    test(`refuses ${JSON.stringify(source)}`, () => {
      const error = thrownBy(() => parseExpr(source));
      expect(error.message).toContain(detail);
      expect(error.position).toBe(position);
    });
  }

  test("refuses what is too long or too deep", () => {
    expect(thrownBy(() => parseExpr("a".repeat(EXPR_CHARS_MAX + 1))).message).toContain("limit is");
    for (const deep of [
      "(".repeat(2000),
      "-".repeat(2000),
      "a?".repeat(2000),
      `1${"+1".repeat(2000)}`,
      `x${"[0]".repeat(2000)}`,
      `${"f(".repeat(2000)}`,
      `${"(int)".repeat(2000)}1`,
    ]) {
      expect(thrownBy(() => parseExpr(deep)).message).toContain(
        `nested deeper than ${EXPR_DEPTH_MAX} levels`,
      );
    }
    expect(parseExpr(`1${"+1".repeat(400)}`).depth).toBe(401);
  });
});

describe("ExprError", () => {
  test("caret() points at the place", () => {
    const error = thrownBy(() => compileKeyProgram("83-irqq+32", FORMAT));
    expect(error.message).toBe('Cannot parse expression: unknown variable "irqq"');
    expect(error.caret()).toBe("    83-irqq+32\n       ^");
    expect(error.hint).toStartWith("there are common_type, common_flags");
    expect(error.hint).toContain("_cpu, _pid, _tid, _vcpu, _vm");
    expect(error).toBeInstanceOf(SyntaxError);
  });

  test("caret() cuts long expressions and shows no control characters", () => {
    const source = `${"a+".repeat(100)}\x1b[2J${"+b".repeat(100)}`;
    const lines = thrownBy(() => parseExpr(source))
      .caret()
      .split("\n");
    expect(lines[0]).toMatch(/^ {4}\.\.\.[\x20-\x7e]*\.\.\.$/);
    expect(lines[0]!.length).toBeLessThan(140);
    expect(lines[0]![lines[1]!.indexOf("^")]).toBe("?");
  });

  for (const [source, position, detail] of [
    ["comm", 0, "the value is text, wanted a number"],
    ["words", 0, "the value is an array: index it"],
    ["words + 1", 6, "the value is an array: index it"],
    ["comm + 1 + a8 * comm", 16, "this is text, wanted a number"],
    ['a8 == "x"', 0, "this is a number, wanted text"],
    ['pointer == "x"', 0, '"pointer" points to memory that the record does not hold'],
    ['a8 ~ "x"', 0, "this is a number, wanted text"],
    ["words[4]", 5, 'index 4 is outside "words" of 4'],
    ["a8[0]", 2, "this is no array"],
    ["nosuch()", 0, 'unknown function "nosuch"'],
    ["ntohl(1,2)", 0, "ntohl() takes 1 argument, found 2"],
    ['strncmp(comm, "a")', 0, "strncmp() takes 3 arguments, found 2"],
    ['comm_get(1) == "a"', 0, "comm_get() is not available here"],
    ["*words = 3", 0, "only a field can be assigned to"],
    ["1 = 2", 0, "only a field can be assigned to"],
    ["comm = 1", 0, '"comm" is not a number'],
    ["&1", 1, "only a field has an address"],
    ["sizeof(struct foo)", 0, "the size of this type is not known"],
    ["x.function == y", 2, "works only in filters that the kernel runs"],
    ["a8->b", 4, "the record holds no structures"],
    ["foo == bar", 0, 'unknown variable "foo"'],
    ['com == "vcpu0"', 0, 'unknown variable "com"'],
    ['"vcpu0" == com', 11, 'unknown variable "com"'],
    ["com == comm", 0, 'unknown variable "com"'],
    ['com ~ "vcpu*"', 0, 'unknown variable "com"'],
  ] as const) {
    test(`${source}: ${detail}`, () => {
      const error = thrownBy(() => compileKeyProgram(source, FORMAT));
      expect(error.message).toContain(detail);
      expect([source, error.position]).toEqual([source, position]);
    });
  }
});

describe("compileFilter()", () => {
  const context = contextFor(makeRecord({ a8: 3n, b32: -5n }));
  for (const [source, want] of [
    ['name~"virtio0-input*"', true],
    ['name ~ "virtio1*"', false],
    ["name~'virtio0-input*'", true],
    ["common_pid==26027", true],
    ["(common_pid==1 || a8==3) && !(b32 > 0)", true],
    ["comm == vcpu0", true],
    ["comm != 'vcpu0'", false],
    ["comm == 'v'", false],
    ["a8 & 2", true],
    ["a8 & 4", false],
    ["_cpu == 5 && _pid == 26027", true],
    ['tail == "end"', true],
    ['strncmp(comm, "vcpuX", 4) == 0', true],
    ['strcmp(comm, "vcpuX") < 0', true],
    ['comm + 1 == "cpu0"', true],
    ['(a8 ? comm : name) == "vcpu0"', true],
    ['comm ~ "[uvw]cpu[0-3]"', true],
  ] as const) {
    test(`${source} is ${want}`, () => {
      expect(compileFilter(source, FORMAT).test(context)).toBe(want);
    });
  }

  test("a dynamic field that points outside the record is no text, and is counted", () => {
    const record = makeRecord();
    new DataView(record.buffer).setUint32(80, 60000 | (16 << 16), true);
    const hostile = contextFor(record);
    expect(compileFilter('name ~ "*"', FORMAT).test(hostile)).toBe(true);
    expect(compileFilter('name == ""', FORMAT).test(hostile)).toBe(true);
    expect(hostile.outsideCount).toBe(2);
  });

  test("text ends at the record's end, NUL or not", () => {
    const record = makeRecord().fill(0x41, 64);
    const short = contextFor(record, 70);
    expect(compileFilter('comm == "AAAAAA"', FORMAT).test(short)).toBe(true);
  });
});

describe("compileExpr()", () => {
  test("gives numbers, text, and takes the caller's values and functions", () => {
    const context = contextFor(makeRecord({ b64: -7n }));
    const number = compileExpr("b64 * 2", FORMAT);
    expect(number.evaluate(context)).toBe(true);
    expect([number.kind, number.lo, context.hi]).toEqual(["int", -14, -1]);

    const text = compileExpr("comm", FORMAT);
    expect(text.evaluate(context)).toBe(true);
    expect(text.kind).toBe("text");
    const { textBytes, textFrom, textTo } = context;
    expect(new TextDecoder().decode(textBytes.subarray(textFrom, textTo))).toBe("vcpu0");

    const functions = new Map<string, EvalFunction>([
      ["ksymbol", () => new TextEncoder().encode("do_idle")],
      ["printf", (args) => args.length],
    ]);
    const call = compileExpr('ksymbol(b64) ~ "do_*"', FORMAT, [], functions);
    expect(call.evaluate(context)).toBe(true);
    expect(call.lo).toBe(1);

    context.values[0] = 42;
    const key = compileExpr('printf("%d", key) + key', undefined, ["key"], functions);
    expect(key.evaluate(context)).toBe(true);
    expect(key.lo).toBe(44);
    expect(() => compileExpr("irq", undefined, ["key"])).toThrow('unknown variable "irq"');
  });

  test("counts records that are too short", () => {
    const context = contextFor(makeRecord(), 20);
    expect(compileExpr("b64", FORMAT).evaluate(context)).toBe(false);
    expect(compileFilter("b64 == 0", FORMAT).test(context)).toBe(false);
    expect(context.skippedCount).toBe(2);
  });
});

describe("hostile expressions", () => {
  test(
    "any text is a program or an ExprError, soon",
    () => {
      const piece = fc.constantFrom(
        ..."( ) [ ] { } + - * / % << >> < > == != & | ^ && || ~ ! ? : , = ++ -- += -> . \" ' \\".split(
          " ",
        ),
        ...["a8", "b64", "comm", "name", "words", "list", "tail", "pointer", "REC", "nosuch"],
        ...[
          "0",
          "1",
          "0xffffffffffffffff",
          "64",
          "int",
          "(u8)",
          "u64 *",
          "sizeof",
          "struct",
          "unsigned",
        ],
        ...["ntohl(", "strncmp(", "printf(", '"%s"', "'a'", " ", "\n", "\x1b", "\0", "é"],
      );
      const text = fc.oneof(
        fc.array(piece, { maxLength: 40 }).map((parts) => parts.join("")),
        fc.string({ maxLength: 60, unit: "binary" }),
      );
      fc.assert(
        fc.property(text, fc.nat(144), (source, rawBytes) => {
          try {
            compileKeyProgram(source, FORMAT);
            const context = contextFor(makeRecord(), rawBytes);
            const expr = compileExpr(source, FORMAT);
            expr.evaluate(context);
          } catch (error) {
            expect(error).toBeInstanceOf(ExprError);
            const lines = (error as ExprError).caret().split("\n");
            expect(lines.length).toBe(2);
            expect(lines[0]).toMatch(/^[\x20-\x7e]*$/);
          }
        }),
        { numRuns: FUZZ_RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  test("nesting that could be visited twice per level stays linear", () => {
    for (const [open, close] of [
      ['("x"==', ")"],
      ['(u==(u==comm)?"a":', '"b")'],
      ["words[", "]"],
      ['printf("%d",', ")"],
      ["&(", ")[0]"],
      ["(comm~", ")"],
      ["a8?:(", ")"],
    ] as const) {
      const source = `${open.repeat(80)}1${close.repeat(80)}`;
      try {
        compileExpr(source, FORMAT);
      } catch (error) {
        expect(error).toBeInstanceOf(ExprError);
      }
    }
  });
});

function thrownBy(action: () => unknown): ExprError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(ExprError);
    return error as ExprError;
  }
  throw new Error("expected an ExprError");
}
