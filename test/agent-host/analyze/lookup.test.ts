// SampleLayout and EventLookup: what they refuse, where they point.
import { describe, expect, test } from "bun:test";
import { EventLookup } from "../../../agent-host/analyze/event_lookup.ts";
import { sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";

const TID = 1 << 1;
const TIME = 1 << 2;
const RAW = 1 << 10;
const IDENTIFIER = 1 << 16;

describe("sampleLayout()", () => {
  test.each([0, TIME, RAW, TIME | RAW | (1 << 4), TIME | RAW | (1 << 11), -1, 2 ** 40, 1.5])(
    "throws on sample_type %p",
    (sampleType) => {
      expect(() => sampleLayout(sampleType, true)).toThrow(RangeError);
    },
  );

  test("places the sample id fields behind other records", () => {
    const layout = sampleLayout(IDENTIFIER | TID | TIME | RAW, true);
    expect([layout.trailerBytes, layout.trailerTimeBack]).toEqual([24, 16]);
  });
});

describe("EventLookup", () => {
  test("refuses a second event of the same type or identifier, and indexes out of range", () => {
    const lookup = new EventLookup();
    lookup.addType(5, 0);
    lookup.addType(5, 0);
    expect(() => lookup.addType(5, 1)).toThrow(RangeError);
    expect(() => lookup.addType(65536, 1)).toThrow(RangeError);
    expect(() => lookup.addType(6, 0xffff)).toThrow(RangeError);
    lookup.addIdentifier(1, 1, 3);
    expect(() => lookup.addIdentifier(1, 1, 4)).toThrow(RangeError);
    expect(() => lookup.addIdentifier(1, 0x200000, 4)).toThrow(RangeError);
    expect(lookup.identifier(1, 1)).toBe(3);
    lookup.remove(3);
    expect(lookup.identifier(1, 1)).toBe(0xffff);
  });
});
