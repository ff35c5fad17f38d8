/** KVM's TSC formula: vector table, mutants that must fail it, properties. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  guestOfHost,
  guestRate,
  guestToHostSegment,
  hostOfGuest,
  hostToGuestSegment,
  isScaled,
  parseTscOffset,
  type TscRelation,
  tscRelation,
} from "../../../agent-host/align/kvm_offset.ts";
import { boundAt } from "../../../shared/tsc/time_segment.ts";
import { exactDelta, guestTsc, hostTsc } from "../../../shared/tsc/tsc.ts";
import { ClockProof } from "../../clock_proof.ts";

const U64 = 1n << 64n;
/** Of a host of 3 GHz, for printing. */
const NS_PER_CYCLE = 1 / 3;
const wrap = (value: bigint): bigint => BigInt.asUintN(64, value);

/** 2.5 GHz guest on a 3 GHz host, as the two vendors' hardware holds the ratio. */
const INTEL_5_6 = ((1n << 48n) * 5n) / 6n;
const AMD_5_6 = ((1n << 32n) * 5n) / 6n;

interface Vector {
  readonly name: string;
  readonly relation: TscRelation;
  readonly host: bigint;
  readonly guest: bigint;
  /** How far the host value found from the guest's may be from `host`: one guest step. */
  readonly stepCycles: bigint;
}

/** The guest values were computed by hand with 128-bit integers, not by the code under test. */
const VECTORS: readonly Vector[] = [
  {
    name: "no scaling files, no offset",
    relation: tscRelation(0n),
    host: 6_480_000_000_000_000n,
    guest: 6_480_000_000_000_000n,
    stepCycles: 0n,
  },
  {
    name: "no scaling files, guest booted at host TSC 10^12",
    relation: tscRelation(-1_000_000_000_000n),
    host: 1_000_000_000_042n,
    guest: 42n,
    stepCycles: 0n,
  },
  {
    name: "no scaling files, read just before the guest's zero wraps",
    relation: tscRelation(-1_000_000_000_000n),
    host: 999_999_999_999n,
    guest: U64 - 1n,
    stepCycles: 0n,
  },
  {
    name: "the offset of the spec document, 0xffdafd48df582d22",
    relation: tscRelation(0xffdafd48df582d22n),
    host: 10_603_989_726_484_398n,
    guest: 186_430_038_050_000n,
    stepCycles: 0n,
  },
  {
    name: "host beyond 2^53, offset beyond 2^53",
    relation: tscRelation(-((1n << 60n) + 12_345n)),
    host: (1n << 60n) + (1n << 54n) + 1n,
    guest: (1n << 54n) + 1n - 12_345n,
    stepCycles: 0n,
  },
  {
    name: "default ratio of Intel is no scaling",
    relation: tscRelation(-777n, 1n << 48n, 48),
    host: 9_007_199_254_740_993n,
    guest: 9_007_199_254_740_216n,
    stepCycles: 0n,
  },
  {
    name: "default ratio of AMD is no scaling",
    relation: tscRelation(777n, 1n << 32n, 32),
    host: 9_007_199_254_740_993n,
    guest: 9_007_199_254_741_770n,
    stepCycles: 0n,
  },
  {
    // 6.48e15 * 234562480592213 >> 48 = 5399999999999992, guest up for 600 s at 2.5 GHz.
    name: "Intel, 2.5 GHz guest on a 3 GHz host up for 25 days",
    relation: tscRelation(-5_398_499_999_999_992n, INTEL_5_6, 48),
    host: 6_480_000_000_000_000n,
    guest: 1_500_000_000_000n,
    stepCycles: 1n,
  },
  {
    // 6.48e15 * 3579139413 >> 32 = 5399999999497085.
    name: "AMD, the same with 32 fraction bits",
    relation: tscRelation(-5_398_499_999_497_085n, AMD_5_6, 32),
    host: 6_480_000_000_000_000n,
    guest: 1_500_000_000_000n,
    stepCycles: 1n,
  },
  {
    name: "Intel, guest ticks twice as fast",
    relation: tscRelation(5n, 1n << 49n, 48),
    host: (1n << 62n) + 3n,
    guest: (1n << 63n) + 11n,
    stepCycles: 0n,
  },
];

type Convert = (relation: TscRelation, guest: bigint) => bigint;

/** Vectors that a guest-to-host conversion gets wrong by more than one guest step. */
function failures(convert: Convert): string[] {
  return VECTORS.filter(({ relation, host, guest, stepCycles }) => {
    const error = BigInt.asIntN(64, wrap(convert(relation, guest)) - host);
    return error < -stepCycles || error > stepCycles;
  }).map((vector) => vector.name);
}

describe("vector table", () => {
  for (const { name, relation, host, guest } of VECTORS) {
    test(`guestOfHost() ${name}`, () => {
      expect(guestOfHost(relation, hostTsc(host)) as bigint).toBe(guest);
    });
  }

  test("hostOfGuest() finds every host value to within one guest step", () => {
    expect(failures((relation, guest) => hostOfGuest(relation, guestTsc(guest)))).toEqual([]);
  });

  test("segments agree with the vectors in both directions", () => {
    const proof = new ClockProof("KVM vector table, both directions");
    for (const { relation, host, guest } of VECTORS) {
      const back = guestToHostSegment(relation, guestTsc(guest), hostTsc(0n + host));
      proof.count(back.originCycles, boundAt(back, 0), 0, 0, NS_PER_CYCLE);
      const forth = hostToGuestSegment(relation, hostTsc(host), guestTsc(guest));
      proof.count(forth.originCycles, boundAt(forth, 0), 0, 0, NS_PER_CYCLE);
    }
    proof.report(2 * VECTORS.length);
  });
});

describe("mutants: formulas seen elsewhere must fail the table", () => {
  test("scale the guest stamp and subtract the offset, in 64 bits", () => {
    const wrong: Convert = ({ ratio, fracBits, offset }, guest) =>
      wrap((wrap(guest * ratio) >> BigInt(fracBits)) - offset);
    expect(failures(wrong)).toEqual(
      [
        "Intel, 2.5 GHz guest on a 3 GHz host up for 25 days",
        "AMD, the same with 32 fraction bits",
        "Intel, guest ticks twice as fast",
        // Even the default ratio fails when its product is cut to 64 bits.
        ...["default ratio of Intel is no scaling", "default ratio of AMD is no scaling"],
      ].sort(byTableOrder),
    );
  });

  test("the same without the overflow: wrong order and direction", () => {
    const wrong: Convert = ({ ratio, fracBits, offset }, guest) =>
      ((guest * ratio) >> BigInt(fracBits)) - offset;
    expect(failures(wrong)).toHaveLength(3);
    const [intel] = VECTORS.filter((v) => v.name.startsWith("Intel, 2.5"));
    const errorSeconds = Number(wrong(intel!.relation, intel!.guest) - intel!.host) / 3e9;
    expect(Math.abs(errorSeconds)).toBeGreaterThan(300_000);
  });

  test("the offset is dropped when scaling is active", () => {
    const wrong: Convert = (relation, guest) =>
      isScaled(relation)
        ? (guest << BigInt(relation.fracBits)) / relation.ratio
        : guest - relation.offset;
    expect(failures(wrong)).toHaveLength(3);
  });

  test("a missing ratio file read as ratio 0 multiplies by 0", () => {
    const wrong: Convert = (relation, guest) =>
      relation.fracBits === 0 ? 0n : hostOfGuest(relation, guestTsc(guest));
    expect(failures(wrong)).toHaveLength(5);
    expect(() => tscRelation(0n, 0n, 48)).toThrow("ratio is 0");
  });

  test("computed in doubles", () => {
    const wrong: Convert = (relation, guest) =>
      BigInt(Math.round((Number(guest) - Number(relation.offset)) / guestRate(relation)));
    expect(failures(wrong).length).toBeGreaterThan(2);
  });
});

function byTableOrder(a: string, b: string): number {
  return VECTORS.findIndex((v) => v.name === a) - VECTORS.findIndex((v) => v.name === b);
}

const relation = fc
  .record({
    offset: fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
    rate: fc.double({ min: 0.1, max: 8, noNaN: true }),
    fracBits: fc.constantFrom(32, 48),
    scaled: fc.boolean(),
  })
  .map(({ offset, rate, fracBits, scaled }) =>
    scaled
      ? tscRelation(offset, BigInt(Math.round(rate * 2 ** fracBits)), fracBits)
      : tscRelation(offset),
  );
// Scaled by 8 at most, so that the scaled value itself does not wrap.
const hostValue = fc.bigInt({ min: 0n, max: (1n << 60n) - 1n });

describe("properties", () => {
  test("hostOfGuest() gives the first host TSC that shows the guest's value", () => {
    fc.assert(
      fc.property(relation, hostValue, (r, value) => {
        const guest = guestOfHost(r, hostTsc(value));
        const first = hostOfGuest(r, guest);
        expect(first <= value).toBe(true);
        expect(guestOfHost(r, first)).toBe(guest);
        if (first > 0n) expect(guestOfHost(r, hostTsc(first - 1n))).not.toBe(guest);
      }),
      { numRuns: 2000 },
    );
  });

  test("segments hold their bound at any distance, both ways", () => {
    fc.assert(
      fc.property(
        relation,
        hostValue,
        fc.bigInt({ min: -(1n << 49n), max: 1n << 49n }),
        fc.bigInt({ min: -(1n << 40n), max: 1n << 40n }),
        (r, start, ahead, anchorDistance) => {
          const host = hostTsc(start);
          const then = start + ahead;
          if (then < 0n || then >= 1n << 60n) return;
          const guest = guestOfHost(r, host);
          const guestThen = guestOfHost(r, hostTsc(then));
          const anchor = hostTsc(wrap(start + anchorDistance));
          const back = guestToHostSegment(r, guest, anchor);
          const guestDelta = exactDelta(guestThen, guest);
          const hostError = back.originCycles + back.slope * guestDelta - exactDelta(then, anchor);
          expect(Math.abs(hostError)).toBeLessThanOrEqual(boundAt(back, guestDelta));
          const guestAnchor = guestTsc(wrap(guest + anchorDistance));
          const forth = hostToGuestSegment(r, host, guestAnchor);
          const guestError =
            forth.originCycles + forth.slope * Number(ahead) - exactDelta(guestThen, guestAnchor);
          expect(Math.abs(guestError)).toBeLessThanOrEqual(boundAt(forth, Number(ahead)));
        },
      ),
      { numRuns: 1500 },
    );
  });
});

describe("parseTscOffset()", () => {
  for (const [text, value] of [
    ["0xffdafd48df582d22", -10417559688434398n],
    ["0XFFFFFFFFFFFFFFFF", -1n],
    ["18446744073709551615", -1n],
    ["-10417559688434398", -10417559688434398n],
    ["-0x10", -16n],
    ["+5", 5n],
    ["0", 0n],
    [" 7\n", 7n],
    ["-9223372036854775808", -(1n << 63n)],
  ] as const) {
    test(`reads ${JSON.stringify(text)}`, () => expect(parseTscOffset(text)).toBe(value));
  }
  for (const text of ["", "zzz", "0x", "1.5", "1e9", "--1", "0x1g", "12 34"]) {
    test(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseTscOffset(text)).toThrow(SyntaxError);
    });
  }
  for (const text of ["0x10000000000000000", "-9223372036854775809", "99999999999999999999"]) {
    test(`refuses ${text}, which is beyond 64 bits`, () => {
      expect(() => parseTscOffset(text)).toThrow("at most 64 bits");
    });
  }
});
