/** The tests' own XXH64, with which others are compared: published values, and the runtime's. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ascii } from "./fixtures.ts";
import { xxh64, xxh64Words } from "./xxh64_reference.ts";

for (const [text, hash] of [
  ["", 0xef46db3751d8e999n],
  ["a", 0xd24ec4f1a98c6e5bn],
  ["abc", 0x44bc2cf5ad770999n],
  ["Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1n],
] as const) {
  test(`xxh64() of "${text}" is the published value`, () => {
    expect(xxh64(ascii(text))).toBe(hash);
  });
}

test("xxh64() agrees with the runtime's for any length", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(xxh64(bytes)).toBe(Bun.hash.xxHash64(bytes) as bigint);
    }),
    { numRuns: 300 },
  );
});

test("xxh64Words() gives the low word first", () => {
  expect([...xxh64Words(ascii(""))]).toEqual([0x51d8e999, 0xef46db37]);
});
