/** Counting of records in perf.data, on hand-written bytes. */
import { expect, test } from "bun:test";
import { countPerfData } from "./perf_data.ts";

/** A file with the given records as [type, size, lost]. */
function perfData(records: readonly (readonly [number, number, number?])[]): Uint8Array {
  const headerBytes = 104;
  const dataBytes = records.reduce((sum, [, size]) => sum + Math.max(size, 8), 0);
  const bytes = new Uint8Array(headerBytes + dataBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("PERFILE2"));
  view.setBigUint64(40, BigInt(headerBytes), true);
  view.setBigUint64(48, BigInt(dataBytes), true);
  let at = headerBytes;
  for (const [type, size, lost] of records) {
    view.setUint32(at, type, true);
    view.setUint16(at + 6, size, true);
    if (lost !== undefined) view.setUint32(at + 16, lost, true);
    at += Math.max(size, 8);
  }
  return bytes;
}

test("countPerfData() counts samples and sums up lost events", () => {
  const bytes = perfData([
    [10, 40],
    [9, 104],
    [2, 24, 5],
    [9, 104],
    [2, 24, 7],
  ]);
  expect(countPerfData(bytes)).toEqual({ samples: 2, lost: 12 });
});

test("countPerfData() stops at a torn record", () => {
  expect(countPerfData(perfData([[9, 104]]).subarray(0, 107))).toEqual({ samples: 0, lost: 0 });
});

test("countPerfData() refuses other files and a record without a size", () => {
  expect(() => countPerfData(new Uint8Array(104))).toThrow("Cannot count perf.data: begins with");
  expect(() => countPerfData(perfData([[9, 0]]))).toThrow("record of 0 bytes at 104");
});
