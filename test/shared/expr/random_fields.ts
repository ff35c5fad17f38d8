// Random values for the fields of the fixture; those around the limits of each width come often.

import fc from "fast-check";
import { FIELDS } from "./record_fixture.ts";

const INTERESTING = [
  ...[0n, 1n, 2n, 63n, 64n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n],
  ...[0x7fffffffn, 0x80000000n, 0xffffffffn, 0x100000000n],
  ...[0x7fffffffffffffffn, 0x8000000000000000n, 0xffffffffffffffffn],
];

export type FieldValues = Readonly<Record<string, bigint>>;

export const fieldValues: fc.Arbitrary<FieldValues> = fc.record(
  Object.fromEntries(
    FIELDS.map(([, name]) => [
      name,
      fc.oneof(fc.constantFrom(...INTERESTING), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })),
    ]),
  ),
);
