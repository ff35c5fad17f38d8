/** The host's side of the ledger: what came, beside what the guest says. */
import { describe, expect, test } from "bun:test";
import { noCounters } from "../../../agent-host/analyze/decode_counters.ts";
import { PLACES_MAX } from "../../../agent-host/session/drop_places.ts";
import {
  GuestLedger,
  lostEvents,
  NO_ROOM,
  NOT_RECORDED,
  withNotRecorded,
} from "../../../agent-host/session/guest_ledger.ts";
import type { CpuStats } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { fakeHello } from "../support/guest_stream.ts";

function stats(changes: Partial<CpuStats>): CpuStats {
  return {
    cpu: 0,
    produced: 0n,
    lostKernel: 0n,
    drops: [],
    headPosition: 0n,
    sentPosition: 0n,
    ackedPosition: 0n,
    ...changes,
  };
}

/** A ledger with one ring, whose counts are set by hand. */
function ledgerOf(counts: { samples: number; position?: number; dropped?: number }) {
  const ledger = new GuestLedger();
  ledger.begin({ cpus: [{ cpu: 0 }, { cpu: 3 }, { cpu: 12 }] }, false);
  const counters = noCounters();
  counters.samples = counts.samples;
  ledger.addRing(0, {
    counters,
    position: () => counts.position ?? 0,
    dropped: () => counts.dropped ?? 0,
  });
  return { ledger, counters };
}

function say(ledger: GuestLedger, rows: CpuStats[], final = true): void {
  ledger.onStats({ cpus: rows, final, agentCpuNs: 5n, rssBytes: 6n });
}

const lost = (changes: { events: bigint; bytes: bigint; place?: string; cpu?: number }) => ({
  cpu: 0,
  place: "slow client",
  fromPosition: 0n,
  toPosition: 0n,
  ...changes,
});

describe("GuestLedger", () => {
  test("what the guest shed is not lost by the kernel as well, though the ring says so", () => {
    const { ledger, counters } = ledgerOf({ samples: 7 });
    counters.lostEvents = 1010;
    ledger.onLost(lost({ events: 0n, bytes: 0n, place: "shed by --max-cpu" }));
    ledger.onLost(lost({ events: 1000n, bytes: 0n, place: "shed by --max-cpu" }));
    const drops = [{ place: "shed by --max-cpu", events: 1000 }];
    expect(ledger.rows()).toMatchObject([{ lostKernel: 10, drops }]);
    // A gap of the ring is none of it.
    expect(ledger.onGap(0, 640)).toBeUndefined();
  });

  test("a ring of which the guest has not said its totals has no `produced`", () => {
    const { ledger } = ledgerOf({ samples: 7 });
    expect(ledger.rows()).toMatchObject([{ cpu: 0, produced: undefined, delivered: 7 }]);
    say(ledger, [stats({ produced: 9n })], false);
    expect(ledger.rows()).toMatchObject([{ produced: undefined }]);
    expect(ledger).toMatchObject({ isFinal: false, agentCpuNs: 5, rssBytes: 6 });
  });

  test("the last Stats close it", () => {
    const { ledger } = ledgerOf({ samples: 7, position: 100 });
    say(ledger, [stats({ produced: 12n, lostKernel: 5n, headPosition: 100n })]);
    expect(ledger.rows()).toEqual([
      { cpu: 0, produced: 12, delivered: 7, lostKernel: 5, drops: [], gapBytes: 0 },
    ]);
  });

  test("CPUs that only the guest knows have rows, in the order of their numbers", () => {
    const { ledger } = ledgerOf({ samples: 0 });
    say(ledger, [stats({ cpu: 12, produced: 3n }), stats({ cpu: 3 })]);
    expect(ledger.rows().map(({ cpu }) => cpu)).toEqual([0, 3, 12]);
    expect(ledger.rows()[2]).toMatchObject({ produced: 3, delivered: 0 });
  });

  test("what is missing of a ring that came to its last byte was never recorded", () => {
    const { ledger } = ledgerOf({ samples: 7, position: 100 });
    say(ledger, [stats({ produced: 10n, headPosition: 100n })]);
    expect(ledger.rows()[0]!.drops).toEqual([{ place: NOT_RECORDED, events: 3 }]);
    say(ledger, [stats({ produced: 10n, headPosition: 108n })]);
    expect(ledger.rows()[0]!.drops).toEqual([]);
  });

  test("samples that found no room here are a drop of ours", () => {
    const { ledger } = ledgerOf({ samples: 7, dropped: 2 });
    expect(ledger.rows()[0]!.drops).toEqual([{ place: NO_ROOM, events: 2 }]);
  });

  test("a gap is in the row, unless a Lost frame explains it, before or after", () => {
    const { ledger } = ledgerOf({ samples: 0 });
    expect(ledger.onGap(0, 100)).toBeUndefined();
    expect(ledger.rows()).toMatchObject([{ gapBytes: 100 }]);
    ledger.onLost(lost({ events: 3n, bytes: 100n }));
    expect(ledger.rows()).toMatchObject([{ gapBytes: 0 }]);
    ledger.onLost(lost({ events: 4n, bytes: 48n }));
    expect(ledger.onGap(0, 48)).toBe(7);
    expect(ledger.onGap(0, 8)).toBeUndefined();
    expect(ledger.rows()).toMatchObject([
      { gapBytes: 8, drops: [{ place: "slow client", events: 7 }] },
    ]);
  });

  test("a Lost frame counts before the first sample of its CPU", () => {
    const ledger = new GuestLedger();
    ledger.begin(fakeHello(), false);
    ledger.onLost(lost({ events: 3n, bytes: 100n }));
    ledger.addRing(0, { counters: noCounters(), position: () => 100, dropped: () => 0 });
    expect(ledger.onGap(0, 100)).toBe(3);
    expect(ledger.rows()).toMatchObject([{ gapBytes: 0 }]);
  });

  test("another stream begins at zero, a resumed one goes on", () => {
    const { ledger, counters } = ledgerOf({ samples: 7 });
    ledger.onGap(0, 100);
    ledger.onLost(lost({ events: 3n, bytes: 8n }));
    say(ledger, [stats({ produced: 99n })]);
    ledger.begin(fakeHello(), true);
    expect(ledger.rows()).toMatchObject([{ delivered: 7, produced: 99 }]);
    ledger.begin(fakeHello(), false);
    counters.samples += 2;
    expect(ledger.rows()).toEqual([
      { cpu: 0, produced: undefined, delivered: 2, lostKernel: 0, drops: [], gapBytes: 0 },
    ]);
  });

  test("what a guest names is bounded and harmless", () => {
    const { ledger } = ledgerOf({ samples: 0 });
    const drops = Array.from({ length: 5000 }, (_, i) => ({
      place: `\x1b[2J${"x".repeat(100)}${i}`,
      events: 2n ** 64n - 1n,
      bytes: 0n,
    }));
    say(ledger, [stats({ drops, produced: 2n ** 64n - 1n })]);
    const [row] = ledger.rows();
    expect(row!.drops.length).toBeLessThanOrEqual(32);
    for (const { place } of row!.drops) expect(place).toMatch(/^[ -~]{1,40}$/);
    const sum = row!.drops.reduce((total, { events }) => total + events, 0);
    expect(sum / 2 ** 64).toBeCloseTo(5000);
  });

  test("CPUs that its Hello does not name have no rows, and are counted", () => {
    const { ledger } = ledgerOf({ samples: 0 });
    const rows = Array.from({ length: 8000 }, (_, cpu) => stats({ cpu }));
    for (let i = 0; i < 10; i++) {
      say(
        ledger,
        rows.map((row) => ({ ...row, cpu: 8000 * i + row.cpu })),
      );
    }
    expect(ledger.rows().map(({ cpu }) => cpu)).toEqual([0, 3, 12]);
    expect(ledger.foreignCounts).toBe(80_000 - 3);
    for (let cpu = 0; cpu < 10; cpu++) {
      ledger.onLost(lost({ cpu, events: 1n, bytes: 0n, place: `p${cpu}` }));
    }
    expect(ledger.foreignCounts).toBe(80_000 - 3 + 8);
  });

  test("places are bounded over all CPUs, what is dropped elsewhere is summed up", () => {
    const { ledger } = ledgerOf({ samples: 0 });
    for (let i = 0; i < 10_000; i++) {
      ledger.onLost(lost({ cpu: 3 * (i & 1), events: 1n, bytes: 1n, place: `p${i}` }));
    }
    say(ledger, [stats({ cpu: 12, drops: [{ place: "more", events: 9n, bytes: 0n }] })], false);
    ledger.addRing(3, { counters: noCounters(), position: () => 0, dropped: () => 0 });
    const drops = ledger.rows().map((row) => row.drops);
    expect(new Set(drops.flat().map(({ place }) => place)).size).toBe(PLACES_MAX);
    expect(drops[0]!.at(-1)).toEqual({ place: "other places", events: 5000 - PLACES_MAX / 2 });
    expect(drops[1]!.at(-1)).toEqual({ place: "other places", events: 5000 - PLACES_MAX / 2 + 1 });
    expect(drops[2]).toEqual([{ place: "other places", events: 9 }]);
  });
});

const ROW = { cpu: 0, produced: 10, delivered: 4, lostKernel: 0, drops: [], gapBytes: 0 };

describe("lostEvents()", () => {
  test("believes the kernel's counter, then the ring's records as far as they explain", () => {
    expect(lostEvents(3, 99, ROW)).toBe(3);
    expect(lostEvents(0, 2, ROW)).toBe(2);
    expect(lostEvents(0, 99, ROW)).toBe(6);
    expect(lostEvents(0, 99, { ...ROW, produced: undefined })).toBe(99);
  });
});

describe("withNotRecorded()", () => {
  test("explains only what nothing else does", () => {
    expect(withNotRecorded(ROW).drops).toEqual([{ place: NOT_RECORDED, events: 6 }]);
    for (const row of [
      { ...ROW, gapBytes: 8 },
      { ...ROW, produced: undefined },
      { ...ROW, delivered: 10 },
      { ...ROW, delivered: 11 },
    ]) {
      expect(withNotRecorded(row)).toEqual(row);
    }
  });
});
