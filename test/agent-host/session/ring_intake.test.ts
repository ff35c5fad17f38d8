/** Where record bytes of a ring enter the pipeline: chunks, clocks that come late, loss, limits. */
import { describe, expect, test } from "bun:test";
import { CHUNK_BYTES, type Chunk, ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { LossLog } from "../../../agent-host/analyze/loss_log.ts";
import { Merger } from "../../../agent-host/analyze/merger.ts";
import { sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import { RingIntake } from "../../../agent-host/session/ring_intake.ts";
import { lookupOf, SAME_TIME } from "../analyze/fixtures.ts";
import {
  ascii,
  common,
  lostRecord,
  plainSample,
  record,
  u32,
  u64,
} from "../analyze/record_bytes.ts";

const TYPE = 7;

/** A sample at a time. */
function sample(time: number): number[] {
  return plainSample(time, [...common(TYPE, 1), ...u32(time)]);
}

const SAMPLE_BYTES = sample(0).length;

interface Out {
  readonly time: number;
  /** Events lost right before it. */
  readonly lost: number;
}

function setUp(chunks = 8, queuedChunksMax = chunks) {
  const pool = new ChunkPool(chunks);
  const out: Out[] = [];
  const intakes: RingIntake[] = [];
  const merger = new Merger({
    onRun: (chunk: Chunk, from: number, to: number) => {
      for (let i = from; i < to; i++) {
        const at = [...chunk.lostIndex.subarray(0, chunk.lostCount)].indexOf(i);
        out.push({ time: chunk.timeCycles[i]!, lost: at < 0 ? 0 : chunk.lostEvents[at]! });
      }
    },
    releaseChunk: (chunk) => {
      intakes[chunk.ring]!.onReleased(chunk);
      pool.release(chunk);
    },
    queuedChunksMax,
  });
  const losses = new LossLog();
  const source = merger.addSource();
  const makeIntake = (): RingIntake => {
    const decoder = new RingDecoder(lookupOf(TYPE), sampleLayout(0x404, true));
    const parts = { pool, merger, losses, programs: [] };
    const intake = new RingIntake(0, intakes.length, merger.addRing(source), decoder, parts);
    intakes.push(intake);
    return intake;
  };
  return { pool, merger, losses, out, makeIntake, intake: makeIntake() };
}

function append(intake: RingIntake, bytes: readonly number[], isTimed = true): void {
  intake.append(Uint8Array.from(bytes), 0, bytes.length, isTimed ? SAME_TIME : undefined);
}

const times = (out: readonly Out[]): number[] => out.map(({ time }) => time);

describe("RingIntake", () => {
  test("hands what it takes to the merger, in order, in as few chunks as it can", () => {
    const { intake, merger, out, pool } = setUp();
    for (let time = 1; time <= 100; time++) {
      append(intake, sample(time));
      intake.decode(SAME_TIME);
    }
    expect(pool.available).toBe(pool.capacity - 1);
    merger.flush();
    expect(times(out)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    expect(pool.available).toBe(pool.capacity);
  });

  test("goes on in a new chunk after the merger has used one up", () => {
    const { intake, merger, out } = setUp();
    for (const time of [1, 2, 3]) {
      append(intake, sample(time));
      intake.decode(SAME_TIME);
      merger.flush();
    }
    expect(times(out)).toEqual([1, 2, 3]);
  });

  test("fills several chunks with one long span, at record borders", () => {
    const { intake, merger, out } = setUp();
    const count = Math.floor((2.5 * CHUNK_BYTES) / SAMPLE_BYTES);
    const bytes = Array.from({ length: count }, (_, i) => sample(i + 1)).flat();
    append(intake, bytes);
    intake.decode(SAME_TIME);
    merger.flush();
    expect(out).toHaveLength(count);
    expect(intake.decoder.counters).toMatchObject({ samples: count, malformedBytes: 0 });
  });

  test("keeps bytes until their clock is known, and decodes each once", () => {
    const { intake, merger, out } = setUp();
    append(intake, [...sample(1), ...sample(2)], false);
    expect(intake.hasUndecoded).toBe(true);
    expect(intake.decoder.counters.samples).toBe(0);
    intake.decode(SAME_TIME);
    intake.decode(SAME_TIME);
    append(intake, sample(3));
    intake.decode(SAME_TIME);
    expect(intake.hasUndecoded).toBe(false);
    merger.flush();
    expect(times(out)).toEqual([1, 2, 3]);
  });

  test("without a clock takes half of the pool, and counts what it drops", () => {
    const { intake, merger, out, pool } = setUp(8);
    const perChunk = Math.floor(CHUNK_BYTES / SAMPLE_BYTES);
    const chunk = Array.from({ length: perChunk }, (_, i) => sample(i)).flat();
    for (let i = 0; i < 10; i++) append(intake, chunk, false);
    expect(pool.available).toBe(4);
    expect(intake.droppedEvents).toBe(6 * perChunk);
    intake.decode(SAME_TIME);
    merger.flush();
    expect(out).toHaveLength(4 * perChunk);
    expect(pool.available).toBe(8);
  });

  test.each([
    ["a name", record(3, [...u32(1), ...u32(1), ...ascii("name\0\0\0\0"), ...u64(1)]), 0],
    ["a loss", lostRecord(3, u64(1)), 1],
    ["an event", sample(1), 1],
  ])(
    "%s that finds no room before there is a clock leaves out what it has to",
    (_, bytes, lost) => {
      const { intake, makeIntake, merger, losses } = setUp(2);
      const perChunk = Math.floor(CHUNK_BYTES / SAMPLE_BYTES);
      const other = makeIntake();
      append(other, Array.from({ length: perChunk }, (_, i) => sample(i)).flat(), false);
      append(intake, bytes, false);
      for (const each of [other, intake]) each.decode(SAME_TIME);
      append(intake, sample(5));
      intake.decode(SAME_TIME);
      merger.flush();
      expect(losses.isEmpty).toBe(lost === 0);
    },
  );

  test("forces the oldest out when the pool is used up", () => {
    const { intake, merger, out } = setUp(2);
    const perChunk = Math.floor(CHUNK_BYTES / SAMPLE_BYTES);
    for (let i = 0; i < 5; i++) {
      append(intake, Array.from({ length: perChunk }, (_, k) => sample(i * perChunk + k)).flat());
      intake.decode(SAME_TIME);
    }
    expect(merger.counters.released).toBeGreaterThan(0);
    merger.flush();
    expect(out).toHaveLength(5 * perChunk);
    expect(intake.droppedEvents).toBe(0);
  });

  test("what a quiet ring takes in is not lost when its chunk is forced out", () => {
    const { intake: quiet, merger, makeIntake, out } = setUp(4, 2);
    const busy = makeIntake();
    append(quiet, sample(1));
    quiet.decode(SAME_TIME);
    append(quiet, sample(2));
    // The quiet ring's turn to decode comes after that of a ring which forces the oldest out.
    const perChunk = Math.floor(CHUNK_BYTES / SAMPLE_BYTES);
    for (let i = 0; i < 3; i++) {
      append(busy, Array.from({ length: perChunk }, (_, k) => sample(3 + i * perChunk + k)).flat());
      busy.decode(SAME_TIME);
    }
    expect(merger.counters.released).toBeGreaterThan(0);
    append(quiet, sample(3 + 3 * perChunk));
    quiet.decode(SAME_TIME);
    merger.flush();
    expect(times(out).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 3 + 3 * perChunk }, (_, i) => i + 1),
    );
    expect([quiet.droppedEvents, busy.droppedEvents]).toEqual([0, 0]);
  });

  test("a chunk that is decoded in part is neither filled without a clock nor decoded twice", () => {
    const { intake, merger, out, pool } = setUp(8);
    const perChunk = Math.floor(CHUNK_BYTES / SAMPLE_BYTES);
    const many = Array.from({ length: perChunk + 1 }, (_, k) => sample(2 + k)).flat();
    // One chunk begins with a sample, so that the merger has it; the other with none.
    for (const [first, isHanded] of [
      [sample(1), true],
      [lostRecord(5, u64(1)), false],
    ] as const) {
      append(intake, first);
      intake.decode(SAME_TIME);
      expect(merger.queuedChunks() > 0).toBe(isHanded);
      append(intake, many, false);
      expect(intake.hasUndecoded).toBe(true);
      intake.decode(SAME_TIME);
      merger.flush();
      const seen = times(out.splice(0));
      expect(seen).toEqual(Array.from(seen, (_, i) => i + (isHanded ? 1 : 2)));
      expect(seen.at(-1)).toBe(perChunk + 2);
    }
    expect(intake.decoder.counters.lostEvents).toBe(5);
    intake.close();
    expect(pool.available).toBe(pool.capacity);
  });

  test("counts and marks as lost what finds no chunk at all", () => {
    const { intake, merger, makeIntake, out, pool } = setUp(1);
    const other = makeIntake();
    append(other, sample(1), false);
    append(intake, [...sample(2), ...record(3, ascii("side")), ...sample(3)]);
    expect(intake.droppedEvents).toBe(2);
    other.discardUndecoded();
    other.close();
    expect(pool.available).toBe(1);
    append(intake, sample(4));
    intake.decode(SAME_TIME);
    merger.flush();
    expect(out).toEqual([{ time: 4, lost: 2 }]);
  });

  test("noteLost() marks the record that follows, behind those before", () => {
    const { intake, merger, out } = setUp();
    append(intake, [...sample(1), ...sample(2)]);
    intake.noteLost(5, SAME_TIME);
    intake.noteLost(6, SAME_TIME);
    append(intake, sample(3));
    intake.decode(SAME_TIME);
    append(intake, sample(4));
    intake.decode(SAME_TIME);
    merger.flush();
    expect(out.map(({ lost }) => lost)).toEqual([0, 0, 11, 0]);
  });

  test("noteLost() before the chunk changes marks the first record of the next one", () => {
    const { intake, merger, out } = setUp();
    append(intake, sample(1));
    intake.decode(SAME_TIME);
    merger.flush();
    intake.noteLost(5, SAME_TIME);
    append(intake, sample(2));
    intake.decode(SAME_TIME);
    merger.flush();
    expect(out.map(({ lost }) => lost)).toEqual([0, 5]);
  });

  test("discardUndecoded() counts the samples, and what is decoded stays", () => {
    const { intake, merger, out } = setUp();
    append(intake, sample(1));
    intake.decode(SAME_TIME);
    append(intake, [...sample(2), ...sample(3)], false);
    intake.discardUndecoded();
    expect([intake.droppedEvents, intake.hasUndecoded]).toEqual([2, false]);
    append(intake, sample(4));
    intake.decode(SAME_TIME);
    merger.flush();
    expect(times(out)).toEqual([1, 4]);
  });

  test("discardUndecoded() gives back the memory of what nobody will see", () => {
    const { intake, merger, out, pool } = setUp();
    append(intake, [...sample(2), ...sample(3)], false);
    expect(pool.available).toBe(pool.capacity - 1);
    intake.discardUndecoded();
    expect(pool.available).toBe(pool.capacity);
    append(intake, sample(4));
    intake.decode(SAME_TIME);
    intake.discardUndecoded();
    merger.flush();
    expect(times(out)).toEqual([4]);
    expect([intake.droppedEvents, pool.available]).toEqual([2, pool.capacity]);
  });

  test("discardUndecoded() marks the record that follows, with what was dropped", () => {
    const { intake, merger, out, losses } = setUp();
    append(intake, sample(1));
    intake.decode(SAME_TIME);
    append(intake, [...sample(2), ...sample(3)], false);
    intake.discardUndecoded();
    append(intake, sample(7));
    intake.decode(SAME_TIME);
    merger.flush();
    expect(out).toEqual([
      { time: 1, lost: 0 },
      { time: 7, lost: 2 },
    ]);
    expect(losses.nextCycles).toBe(1);
  });

  test("noteBreak() announces a loss without a number, from where all was there", () => {
    const { intake, out, merger, losses, makeIntake } = setUp();
    append(intake, [...sample(1), ...sample(2)]);
    intake.decode(SAME_TIME);
    intake.noteBreak(5, 2);
    append(intake, sample(9));
    intake.decode(SAME_TIME);
    expect([losses.isEmpty, losses.nextCycles]).toEqual([false, 5]);
    losses.beginNext();
    expect([losses.spans(0, 0, 8), losses.spans(0, 0, 9)]).toEqual([true, false]);
    expect(losses.nextCycles).toBe(Number.POSITIVE_INFINITY);
    // A ring of which nothing has come before.
    const late = makeIntake();
    late.noteBreak(10, Number.NEGATIVE_INFINITY);
    append(late, sample(12));
    late.decode(SAME_TIME);
    expect(losses.nextCycles).toBe(10);
    merger.flush();
    expect(out.map(({ lost }) => lost)).toEqual([0, 0, 0, 0]);
  });

  test("noteBreak() announces at once that other rings have come further", () => {
    const { intake, losses } = setUp();
    append(intake, sample(7));
    intake.decode(SAME_TIME);
    intake.noteBreak(5, 7);
    expect(losses.nextCycles).toBe(Number.POSITIVE_INFINITY);
    intake.noteBreak(5, 12);
    expect(losses.nextCycles).toBe(7);
    losses.beginNext();
    expect([losses.spans(0, 0, 11), losses.spans(0, 0, 12)]).toEqual([true, false]);
  });

  test("close() gives every chunk back that the merger does not hold", () => {
    const { intake, pool } = setUp();
    append(
      intake,
      new Array(8000).fill(0).flatMap((_, i) => sample(i)),
      false,
    );
    expect(pool.available).toBeLessThan(pool.capacity);
    intake.close();
    expect(pool.available).toBe(pool.capacity);
  });
});
