// Call chains: bytes to frames, through chunks and copies, and any bytes a guest may send.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CHAIN_FRAMES_MAX, visitFrames } from "../../../agent-host/analyze/call_chain.ts";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { EventView } from "../../../agent-host/analyze/event_view.ts";
import { sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import { Timeline } from "../../../agent-host/analyze/timeline.ts";
import { ChainWriter } from "../../../agent-host/report/chain_lines.ts";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { perNight } from "../../nightly.ts";
import { lookupOf, SAME_TIME } from "./fixtures.ts";
import { fullPool } from "./pools.ts";
import { common, raw, record, u32, u64 } from "./record_bytes.ts";

const TIME = 1 << 2;
const CALLCHAIN = 1 << 5;
const RAW = 1 << 10;
const LAYOUT = sampleLayout(TIME | CALLCHAIN | RAW, true);

/** A marker or an address of the kernel's half. */
const high = (low: number): number[] => [...u32(low >>> 0), ...u32(0xffffffff)];
const KERNEL = high(-128);
const USER = high(-512);

/** A sample with a chain of whole u64 entries. */
function chainSample(time: number, entries: readonly (readonly number[])[], type = 7): number[] {
  const chain = [...u64(entries.length), ...entries.flat()];
  return record(9, [...u64(time), ...chain, ...raw([...common(type, 42), 1, 2, 3, 4])]);
}

/** The view of the first record of these bytes, and the chunk that it is in. */
function decode(bytes: readonly number[]) {
  const pool = fullPool(1);
  const chunk = pool.acquire(0, 3, 0)!;
  chunk.bytes.fill(0xff);
  chunk.bytes.set(bytes);
  const decoder = new RingDecoder(lookupOf(7), LAYOUT);
  decoder.decodeSpan(chunk, 0, bytes.length, SAME_TIME);
  const view = new EventView();
  if (chunk.count > 0) view.setRecord(chunk, 0);
  return { chunk, view, counters: decoder.counters, done: () => pool.release(chunk) };
}

function framesOf(view: EventView): string[] {
  const frames: string[] = [];
  visitFrames(view, (lo, hi, space) => {
    frames.push(`${space} ${hi.toString(16)}:${lo.toString(16)}`);
  });
  return frames;
}

const BOTH = [KERNEL, high(0x821f8b58), high(0x821f94c3), USER, u64(0x7f33ff10e137), u64(0x1234)];
const BOTH_FRAMES = [
  "kernel ffffffff:821f8b58",
  "kernel ffffffff:821f94c3",
  "user 7f33:ff10e137",
  "user 0:1234",
];

describe("visitFrames", () => {
  test("visitFrames() tells kernel from user code by the markers between them", () => {
    const { view, done } = decode(chainSample(5, BOTH));
    expect(framesOf(view)).toEqual(BOTH_FRAMES);
    expect([...view.bytes.subarray(view.rawOffset + 8, view.rawOffset + 12)]).toEqual([1, 2, 3, 4]);
    done();
  });

  test("visitFrames() without markers goes by the address; unknown markers are nobody's code", () => {
    const { view, done } = decode(
      chainSample(5, [u64(0x401000), high(0x80000000), high(-2048), high(0x12)]),
    );
    expect(framesOf(view)).toEqual([
      "user 0:401000",
      "kernel ffffffff:80000000",
      "other ffffffff:12",
    ]);
    done();
  });

  test("an empty chain, as events have that did not ask for one, is none", () => {
    const { view, chunk, done } = decode(chainSample(5, []));
    expect(chunk.count).toBe(1);
    expect(view.chainOffset).toBe(0);
    expect(framesOf(view)).toEqual([]);
    done();
  });

  test("a chain that claims more entries than its record has is malformed", () => {
    for (const nr of [7, 0x1fff, 0x20000000, 0xffffffff]) {
      const bytes = chainSample(5, BOTH);
      bytes.splice(16, 8, ...u32(nr), 0, 0, 0, 0);
      const { chunk, counters, done } = decode(bytes);
      expect([chunk.count, counters.malformedSamples]).toEqual([0, 1]);
      done();
    }
  });

  test(`visitFrames() shows ${CHAIN_FRAMES_MAX} frames and counts the rest`, () => {
    const entries = Array.from({ length: CHAIN_FRAMES_MAX + 5 }, (_, i) => u64(i + 1));
    const { view, done } = decode(chainSample(5, [USER, ...entries]));
    let frames = 0;
    expect(visitFrames(view, () => frames++)).toBe(5);
    expect(frames).toBe(CHAIN_FRAMES_MAX);
    const out = new ByteWriter(1 << 17);
    new ChainWriter().writeLines(out, view);
    expect(out.toString().split("\n").slice(-2)).toEqual(["    ... 5 more frames", ""]);
    done();
  });
});

describe("copies of records with chains", () => {
  test("clone() and Timeline keep the chain in front of the raw data", () => {
    const { view, chunk, done } = decode(chainSample(5, BOTH));
    const clone = view.clone();
    const timeline = new Timeline(8, 4096);
    for (let i = 0; i < 40; i++) timeline.add(chunk, 0);
    chunk.bytes.fill(0);
    const seen = new EventView();
    timeline.view(39, seen);
    for (const copy of [clone, seen]) {
      expect(framesOf(copy)).toEqual(BOTH_FRAMES);
      expect(copy.rawOffset % 8).toBe(4);
      expect(copy.chainOffset % 8).toBe(0);
      expect(copy.tid).toBe(42);
    }
    done();
  });

  test("a chain that a small timeline has no room for is left out, the event stays", () => {
    const { chunk, done } = decode(chainSample(5, BOTH));
    const timeline = new Timeline(8, 64);
    timeline.add(chunk, 0);
    const seen = new EventView();
    timeline.view(0, seen);
    expect([seen.chainOffset, seen.tid]).toEqual([0, 42]);
    done();
  });
});

describe("any bytes in the place of a chain", () => {
  const runs = perNight(2000, 100_000);
  test(`${runs} records: frames stay within the record, lines are printable`, () => {
    const writer = new ChainWriter();
    const out = new ByteWriter(1 << 20);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 24, maxLength: 256 }),
        fc.oneof(fc.nat(40), fc.constantFrom(0x7fffffff, 0xffffffff, 0x20000001)),
        (body, nr) => {
          const bytes = record(9, [...u64(9), ...u32(nr), 0, 0, 0, 0, ...body]);
          const { chunk, view, counters, done } = decode(bytes);
          expect(counters.samples).toBe(1);
          if (chunk.count === 1) {
            out.clear();
            writer.writeLines(out, view);
            expect(out.toString()).toMatch(/^(?: {4} *[0-9a-f]{1,16} \[unknown\] \(\S+\)\n)*$/);
            expect(framesOf(view).length).toBeLessThanOrEqual(body.length / 8);
            const end = chunk.bytesOffset + bytes.length;
            if (view.chainOffset > 0) {
              expect(view.chainOffset).toBe(chunk.bytesOffset + 16);
              expect(view.rawOffset).toBe(view.chainOffset + 8 + nr * 8 + 4);
            }
            expect(view.rawOffset + view.rawBytes).toBeLessThanOrEqual(end);
          }
          done();
        },
      ),
      { numRuns: runs },
    );
  });
});
