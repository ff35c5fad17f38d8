// Random C expressions on the fields of the fixture, as text for our parser and for a C compiler.

import fc from "fast-check";
import { FIELDS } from "./record_fixture.ts";

/** One expression, twice: as a user writes it, and as C with every integer 64 bits wide. */
export interface RandomExpr {
  readonly text: string;
  /** For a C compiler: literals with LL, comparisons widened; free of undefined behaviour. */
  readonly c: string;
}

const CASTS = [
  ["u8", "unsigned char"],
  ["s8", "signed char"],
  ["unsigned short", "unsigned short"],
  ["short", "short"],
  ["u32", "unsigned int"],
  ["int", "int"],
  ["unsigned long", "unsigned long long"],
  ["long long", "long long"],
] as const;

const literal: fc.Arbitrary<RandomExpr> = fc
  .tuple(
    fc.oneof(
      fc.bigInt({ min: 0n, max: 100n }),
      fc.bigInt({ min: 0n, max: 0x7fffffffffffffffn }),
      fc.constantFrom(0n, 1n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 0x7fffffffffffffffn),
    ),
    fc.constantFrom("", "U", "UL", "ull", "L"),
    fc.constantFrom("dec", "hex", "oct"),
  )
  .map(([value, suffix, base]) => {
    const digits =
      base === "hex"
        ? `0x${value.toString(16)}`
        : base === "oct"
          ? `0${value.toString(8)}`
          : String(value);
    const isUnsigned = /u/i.test(suffix);
    return { text: digits + suffix, c: `${digits}${isUnsigned ? "ULL" : "LL"}` };
  });

const variable: fc.Arbitrary<RandomExpr> = fc
  .constantFrom(...FIELDS)
  .map(([, name]) => ({ text: name, c: name }));

/**
 * Random expressions. With `isDefined` shifts and divisions are kept where C has a result, for the
 * comparison with a compiler.
 */
export function randomExpr(isDefined: boolean): fc.Arbitrary<RandomExpr> {
  const { expr } = fc.letrec<{ expr: RandomExpr; node: RandomExpr }>((tie) => ({
    expr: fc.oneof({ maxDepth: 5, withCrossShrink: true }, variable, literal, tie("node")),
    node: fc.oneof(
      binary(tie("expr"), isDefined),
      fc.tuple(fc.constantFrom("-", "~", "+"), tie("expr")).map(([op, a]) => wrapped(op, a, "")),
      tie("expr").map((a) => ({ text: `!(${a.text})`, c: `(long long)(!(${a.c}))` })),
      fc.tuple(fc.constantFrom(...CASTS), tie("expr")).map(([[ours, theirs], a]) => ({
        text: `(${ours})(${a.text})`,
        c: theirs.includes("long") ? `(${theirs})(${a.c})` : `(long long)(${theirs})(${a.c})`,
      })),
      fc.tuple(tie("expr"), tie("expr"), tie("expr")).map(([a, b, c]) => ({
        text: `((${a.text}) ? (${b.text}) : (${c.text}))`,
        c: `((${a.c}) ? (${b.c}) : (${c.c}))`,
      })),
      fc.tuple(tie("expr"), tie("expr")).map(([a, b]) => ({
        text: `((${a.text}), (${b.text}))`,
        c: `((${a.c}), (${b.c}))`,
      })),
    ),
  }));
  return expr;
}

function wrapped(before: string, a: RandomExpr, after: string): RandomExpr {
  return { text: `${before}(${a.text})${after}`, c: `${before}(${a.c})${after}` };
}

function binary(expr: fc.Arbitrary<RandomExpr>, isDefined: boolean): fc.Arbitrary<RandomExpr> {
  const arithmetic = fc
    .tuple(fc.constantFrom("+", "-", "*", "&", "|", "^"), expr, expr)
    .map(([op, a, b]) => ({
      text: `(${a.text}) ${op} (${b.text})`,
      c: `((${a.c}) ${op} (${b.c}))`,
    }));
  const division = fc.tuple(fc.constantFrom("/", "%"), expr, expr).map(([op, a, b]) =>
    isDefined
      ? {
          text: `(${a.text}) ${op} (((${b.text}) & 0xffff) | 1)`,
          c: `((${a.c}) ${op} (((${b.c}) & 0xffffLL) | 1LL))`,
        }
      : { text: `(${a.text}) ${op} (${b.text})`, c: "" },
  );
  const shift = fc.tuple(fc.constantFrom("<<", ">>"), expr, expr).map(([op, a, b]) =>
    isDefined
      ? {
          text: `(${a.text}) ${op} ((${b.text}) & 63)`,
          c: `((${a.c}) ${op} ((${b.c}) & 63LL))`,
        }
      : { text: `(${a.text}) ${op} (${b.text})`, c: "" },
  );
  const compare = fc
    .tuple(fc.constantFrom("<", "<=", ">", ">=", "==", "!=", "&&", "||"), expr, expr)
    .map(([op, a, b]) => ({
      text: `(${a.text}) ${op} (${b.text})`,
      c: `(long long)((${a.c}) ${op} (${b.c}))`,
    }));
  // Binary expressions stand in parentheses of their own, so precedence is tested elsewhere.
  return fc
    .oneof(arithmetic, division, shift, compare)
    .map(({ text, c }) => ({ text: `(${text})`, c }));
}
