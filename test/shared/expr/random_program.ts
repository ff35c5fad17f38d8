// Random expressions of what random_expr.ts leaves out: assignments to fields (which are copies),
// steps, ?: without a middle, sizeof, indexing, text, and the functions that are arithmetic.
//
//   a8 += (b32 ^ 5), --b16, ((words[a64 & 3]) ?: (a8))

import fc from "fast-check";
import { type RandomExpr, randomExpr } from "./random_expr.ts";
import { FIELDS } from "./record_fixture.ts";

/**
 * What a C compiler needs to see of the fixture's record beside its numbers: runs before the
 * functions that the expressions become.
 */
export const C_PROLOGUE = `#define _GNU_SOURCE
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
static const unsigned int words[4] = { 1000, 1001, 1002, 1003 };
static const unsigned short list[3] = { 1, 2, 3 };
static const char comm[16] = "vcpu0", name[16] = "virtio0-input.3", tail[4] = "end";
#define SWAP32(x) ((long long)__builtin_bswap32((unsigned int)(x)))
#define SWAP16(x) ((long long)__builtin_bswap16((unsigned short)(x)))
`;

/** The type that a field's copy is converted to when it is assigned to. */
const NARROW: ReadonlyMap<string, string> = new Map(
  FIELDS.map(([type, name]) => [name, type === "u64" ? "unsigned long long" : type]),
);
const target = fc.constantFrom(...FIELDS.map(([, name]) => name));
const pure = randomExpr(true);

/** C has no `~` on text and no text of records: this is what they mean. */
const text: fc.Arbitrary<RandomExpr> = fc.constantFrom(
  ...(
    [
      ['comm == "vcpu0"', 'strcmp(comm, "vcpu0") == 0'],
      ['comm != "vcpu"', 'strcmp(comm, "vcpu") != 0'],
      ["comm == name", "strcmp(comm, name) == 0"],
      ['tail == "end"', 'strcmp(tail, "end") == 0'],
      ['"end" != tail', 'strcmp("end", tail) != 0'],
      ['name ~ "virtio*"', 'fnmatch("virtio*", name, 0) == 0'],
      ['name ~ "*[0-9]-in?ut.3"', 'fnmatch("*[0-9]-in?ut.3", name, 0) == 0'],
      ['comm ~ "v[!c]pu0"', 'fnmatch("v[!c]pu0", comm, 0) == 0'],
      ['strncmp(comm, "vcpX", 3) == 0', 'strncmp(comm, "vcpX", 3) == 0'],
      ['strncmp(comm, "vcpX", 4) < 0', 'strncmp(comm, "vcpX", 4) < 0'],
      ["strncmp(name, comm, a8) > 0", "strncmp(name, comm, a8) > 0"],
    ] as const
  ).map(([ours, theirs]) => ({ text: `(${ours})`, c: `(long long)(${theirs})` })),
);

const size: fc.Arbitrary<RandomExpr> = fc.constantFrom(
  ...["char", "short", "int", "unsigned long", "u64", "void *"].map((type) => {
    const known = type === "u64" ? "unsigned long long" : type;
    return { text: `sizeof(${type})`, c: `sizeof(${known})` };
  }),
  ...FIELDS.map(([type, name]) => ({
    text: `sizeof(${name})`,
    c: `sizeof(${type === "u64" ? "unsigned long long" : type})`,
  })),
  { text: "sizeof(words)", c: "sizeof(words)" },
  { text: "sizeof comm", c: "sizeof(comm)" },
);

const leaf: fc.Arbitrary<RandomExpr> = fc.oneof(
  pure,
  text,
  size,
  pure.map((a) => ({
    text: `words[(${a.text}) & 3]`,
    c: `(long long)words[(${a.c}) & 3]`,
  })),
  pure.map((a) => ({ text: `list[(${a.text}) & 1]`, c: `(long long)list[(${a.c}) & 1]` })),
  pure.map((a) => ({ text: `ntohl(${a.text})`, c: `SWAP32(${a.c})` })),
  pure.map((a) => ({ text: `ntohs(${a.text})`, c: `SWAP16(${a.c})` })),
);

const value: fc.Arbitrary<RandomExpr> = fc.oneof(
  leaf,
  fc.tuple(leaf, leaf).map(([a, b]) => ({
    text: `((${a.text}) ?: (${b.text}))`,
    c: `((${a.c}) ?: (${b.c}))`,
  })),
  fc.tuple(fc.constantFrom("+", "^", "-"), leaf, leaf).map(([op, a, b]) => ({
    text: `(${a.text}) ${op} (${b.text})`,
    c: `((${a.c}) ${op} (${b.c}))`,
  })),
);

/** In C the field is a wide variable, so what is stored is narrowed by a cast. */
function store(name: string, c: string): string {
  return `(${name} = (${NARROW.get(name)})(${c}))`;
}

const assignment: fc.Arbitrary<RandomExpr> = fc
  .tuple(target, fc.constantFrom("=", "+=", "-=", "*=", "&=", "|=", "^="), value)
  .map(([name, operator, a]) => ({
    text: `${name} ${operator} (${a.text})`,
    c: store(name, operator === "=" ? a.c : `${name} ${operator[0]} (${a.c})`),
  }));

/** Kept where C has a result. */
const guarded: fc.Arbitrary<RandomExpr> = fc
  .tuple(target, fc.constantFrom("<<=", ">>=", "/=", "%="), pure)
  .map(([name, operator, a]) => {
    const plain = operator.slice(0, -1);
    const isShift = plain.length === 2;
    const right = isShift
      ? { text: `(${a.text}) & 63`, c: `(${a.c}) & 63LL` }
      : { text: `((${a.text}) & 0xffff) | 1`, c: `((${a.c}) & 0xffffLL) | 1LL` };
    return {
      text: `${name} ${operator} (${right.text})`,
      c: store(name, `${name} ${plain} (${right.c})`),
    };
  });

const step: fc.Arbitrary<RandomExpr> = fc
  .tuple(target, fc.constantFrom("++", "--"), fc.boolean())
  .map(([name, operator, isPostfix]) => {
    const next = store(name, `${name} ${operator[0]} 1`);
    const wide = name === "a64" || name === "c64" ? "unsigned long long" : "long long";
    return isPostfix
      ? { text: `${name}${operator}`, c: `({ ${wide} was = ${name}; ${next}; was; })` }
      : { text: `${operator}${name}`, c: next };
  });

const statement = fc.oneof(assignment, guarded, step);

/** Statements by comma, after each of which what it stored is there, and a value at the end. */
export const randomProgram: fc.Arbitrary<RandomExpr> = fc
  .tuple(fc.array(statement, { maxLength: 4 }), fc.oneof(value, statement))
  .map(([statements, last]) => {
    const all = [...statements, last];
    return {
      text: all.map(({ text: source }) => source).join(", "),
      c: all.map(({ c }) => `(${c})`).join(", "),
    };
  });
